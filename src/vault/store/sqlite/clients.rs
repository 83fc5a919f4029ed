//! Clients: programs that may send requests to the proxy.

use std::sync::Arc;

use sqlx::Row as _;

use super::database::{Change, Database};
use super::objects::{self, Object, unverified};
use crate::vault::client_proof::ClientProof;
use crate::vault::model::Client;
use crate::vault::name::{Actor, ClientName, NAMELESS, Principal};
use crate::vault::people::BundleId;
use crate::vault::record::{ClientRecord, Record as _};
use crate::vault::rights::{Forbidden, Right};
use crate::vault::store::error::{StoreError, StoreUnavailable};
use crate::vault::store::outbox::Event;
use crate::vault::token_id::{LONGEST_SELF_SIGNED, MOST_REVOKED, Revoked, RevokedToken, TokenId};

impl Database {
    pub async fn add_client(
        &self,
        actor: &Actor,
        name: &ClientName,
        principal: &Principal,
        proof: ClientProof,
        expires: Option<i64>,
    ) -> Result<Client, StoreError> {
        let mut change = self.begin(actor).await?;
        change.permit_clients_of(principal).await?;
        if NAMELESS.contains(&name.as_str()) {
            return Err(StoreError::Invalid(
                "no client is called anonymous, transparent or base-url: the ledger and rules mean requests \
                 without a client by these names",
            ));
        }
        change.remove_expired().await?;
        if change.get::<ClientRecord>(name.as_str()).await?.is_some() {
            return Err(StoreError::ClientExists(name.clone()));
        }
        change.know(principal).await?;
        let client = Client {
            name: name.clone(),
            principal: principal.clone(),
            created: change.now(),
            expires,
            enrolment: change.revision,
            bundle: None,
            is_probe: false,
            proof,
            revoked_before: None,
            revoked: Vec::new(),
        };
        change.put_client(&client).await?;
        change
            .record_client(Event::ClientAdded, name, principal)
            .await?;
        change.commit().await?;
        Ok(client)
    }

    pub async fn remove_client(
        &self,
        actor: &Actor,
        name: &ClientName,
    ) -> Result<Client, StoreError> {
        let mut change = self.begin(actor).await?;
        let client = change.client(name).await?;
        change.permit_client(&client, Right::TakeAway).await?;
        change.remove::<ClientRecord>(name.as_str()).await?;
        change
            .record_client(Event::ClientRemoved, name, &client.principal)
            .await?;
        change.commit().await?;
        Ok(client)
    }

    pub async fn bind_client(
        &self,
        actor: &Actor,
        name: &ClientName,
        bundle: Option<&BundleId>,
    ) -> Result<(), StoreError> {
        let mut change = self.begin(actor).await?;
        let mut client = change.client(name).await?;
        change.permit_client(&client, Right::Own).await?;
        if let Some(id) = bundle {
            change.bundle(id).await?;
        }
        change.takes_away = bundle.is_some();
        client.bundle = bundle.cloned().map(Arc::new);
        change.put_client(&client).await?;
        let detail = bundle.map_or("no bundle".to_owned(), |id| format!("bundle {id}"));
        change
            .record_client_change(name, &client.principal, &detail)
            .await?;
        change.commit().await
    }

    pub async fn let_client_probe(
        &self,
        actor: &Actor,
        name: &ClientName,
    ) -> Result<(), StoreError> {
        let mut change = self.begin(actor).await?;
        let mut client = change.client(name).await?;
        change.permit_client(&client, Right::Own).await?;
        client.is_probe = true;
        change.put_client(&client).await?;
        change
            .record_client_change(name, &client.principal, "uses staged values")
            .await?;
        change.commit().await
    }

    pub async fn revoke_tokens(
        &self,
        actor: &Actor,
        name: &ClientName,
        which: &Revoked,
    ) -> Result<(), StoreError> {
        let mut change = self.begin(actor).await?;
        change.takes_away = true;
        let mut client = change.client(name).await?;
        change.permit_client(&client, Right::TakeAway).await?;
        let detail = match which {
            Revoked::All => {
                client.enrolment = change.revision;
                client.revoked.clear();
                client.revoked_before = Some(change.now());
                "all action tokens are revoked".to_owned()
            }
            Revoked::One(id) => {
                revoke_one(&mut client, id, change.now())?;
                format!("the action token {id} is revoked")
            }
        };
        change.put_client(&client).await?;
        change
            .record_client_change(name, &client.principal, &detail)
            .await?;
        change.commit().await
    }

    pub async fn extend_client(&self, name: &ClientName, expires: i64) -> Result<(), StoreError> {
        let actor = Actor::client(name.as_str());
        let mut change = self.begin(&actor).await?;
        let mut client = change.client(name).await?;
        if client.expires.is_none() {
            return Err(StoreError::ClientNotFound(name.clone()));
        }
        client.expires = Some(expires);
        change.put_client(&client).await?;
        change.commit().await
    }

    pub async fn list_clients(&self) -> Result<Vec<Client>, StoreUnavailable> {
        let (mut snapshot, key) = self.snapshot().await?;
        let rows = sqlx::query(objects::OF_KIND)
            .bind(ClientRecord::KIND)
            .fetch_all(&mut *snapshot)
            .await?;
        let clients = rows.iter().map(|row| {
            let object = Object::read(row)?;
            client_of(object.id, object.content(&key))
        });
        clients.collect()
    }
}

/// Keeps the name of a token that does not work any more until it would not work anyway.
fn revoke_one(client: &mut Client, id: &TokenId, now: i64) -> Result<(), StoreError> {
    client.revoked.retain(|token| now < token.until);
    if client.revoked(id) {
        return Ok(());
    }
    if client.revoked.len() >= MOST_REVOKED {
        return Err(StoreError::Invalid(
            "1000 action tokens of this client are revoked one by one; revoke all of them: --all",
        ));
    }
    let longest = now.saturating_add(LONGEST_SELF_SIGNED);
    client.revoked.push(RevokedToken {
        id: id.clone(),
        until: id.works_until(longest),
    });
    Ok(())
}

/// The client of an object.
pub(super) fn client_of(
    id: &str,
    record: Option<ClientRecord>,
) -> Result<Client, StoreUnavailable> {
    let client = record.zip(ClientName::parse(id).ok());
    client
        .and_then(|(record, name)| record.client(name))
        .ok_or_else(|| unverified(ClientRecord::KIND, &id))
}

impl Change<'_> {
    async fn client(&mut self, name: &ClientName) -> Result<Client, StoreError> {
        match self.get::<ClientRecord>(name.as_str()).await? {
            Some(record) => Ok(client_of(name.as_str(), Some(record))?),
            None => Err(StoreError::ClientNotFound(name.clone())),
        }
    }

    pub(super) async fn put_client(&mut self, client: &Client) -> Result<(), StoreError> {
        let record = ClientRecord::of(client);
        self.put(client.name.as_str(), &record, client.expires)
            .await
    }

    /// Whether the actor may change a client. For another member it does not exist.
    async fn permit_client(&mut self, client: &Client, right: Right) -> Result<(), StoreError> {
        let unknown = || StoreError::ClientNotFound(client.name.clone());
        self.permit_to(right, &client.principal, &[], unknown).await
    }

    /// Whether the actor may add clients that act for `principal`.
    async fn permit_clients_of(&mut self, principal: &Principal) -> Result<(), StoreError> {
        let not_owner = || StoreError::Forbidden(Forbidden::NotOwner);
        self.permit_to(Right::Own, principal, &[], not_owner).await
    }

    /// Every `egret run` leaves a client that expires.
    async fn remove_expired(&mut self) -> Result<(), StoreError> {
        let now = self.now();
        let rows = sqlx::query("SELECT id FROM objects WHERE kind = ? AND due <= ?")
            .bind(ClientRecord::KIND)
            .bind(now)
            .fetch_all(&mut *self.transaction)
            .await?;
        for row in &rows {
            let id: &str = row.try_get("id")?;
            let record = self.get::<ClientRecord>(id).await;
            let client = record.ok().flatten();
            // `due` is not authenticated: what the text says counts.
            let expired = client
                .and_then(|record| client_of(id, Some(record)).ok())
                .is_some_and(|client| !client.usable(now));
            if expired {
                self.remove::<ClientRecord>(id).await?;
            }
        }
        Ok(())
    }
}

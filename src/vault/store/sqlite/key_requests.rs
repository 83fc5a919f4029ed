//! Credentials that clients ask for. Each is an object under its number, the revision of the change
//! that added it.

use std::collections::BTreeMap;

use sqlx::Row as _;

use super::database::{Change, Database};
use super::objects::{self, Object, unverified};
use crate::vault::key_request::{KeyRequest, MOST_OPEN, MOST_REQUESTS};
use crate::vault::name::Actor;
use crate::vault::record::Record as _;
use crate::vault::rights::Right;
use crate::vault::store::edit::{CredentialTarget, PendingEvent};
use crate::vault::store::error::{StoreError, StoreUnavailable};
use crate::vault::store::outbox::Event;

impl Database {
    pub async fn ask_key(&self, actor: &Actor, request: &KeyRequest) -> Result<i64, StoreError> {
        let mut change = self.begin(actor).await?;
        let now = change.now();
        let all = change.key_requests().await?;
        let mut same = all.iter().filter(|(_, other)| other.is_same(request));
        if let Some((number, _)) = same.next() {
            return Ok(*number);
        }
        let of_client = |other: &&KeyRequest| other.client == request.client && other.is_open(now);
        if all.values().filter(of_client).count() >= MOST_OPEN || all.len() >= MOST_REQUESTS {
            return Err(StoreError::Invalid(
                "this client asks for several credentials already; wait for an answer",
            ));
        }
        let number = change.revision;
        change
            .put(&number.to_string(), request, Some(request.until))
            .await?;
        change
            .record_key_request(Event::RequestAsked, number, request)
            .await?;
        change.commit().await?;
        Ok(number)
    }

    pub async fn decline_key(&self, actor: &Actor, number: i64) -> Result<(), StoreError> {
        let mut change = self.begin(actor).await?;
        let mut request = change.key_request(number).await?;
        change.permit_key_request(&request, number).await?;
        request.is_declined = true;
        change
            .put(&number.to_string(), &request, Some(request.until))
            .await?;
        change
            .record_key_request(Event::RequestDeclined, number, &request)
            .await?;
        change.commit().await
    }

    pub async fn answer_key(&self, actor: &Actor, number: i64) -> Result<(), StoreError> {
        let mut change = self.begin(actor).await?;
        let mut request = change.key_request(number).await?;
        change.permit_key_request(&request, number).await?;
        // Kept, so that the client learns it.
        request.is_saved = true;
        change
            .put(&number.to_string(), &request, Some(request.until))
            .await?;
        change
            .record_key_request(Event::RequestAnswered, number, &request)
            .await?;
        change.commit().await
    }

    pub async fn list_key_requests(&self) -> Result<BTreeMap<i64, KeyRequest>, StoreUnavailable> {
        let (mut snapshot, key) = self.snapshot().await?;
        let rows = sqlx::query(objects::OF_KIND)
            .bind(KeyRequest::KIND)
            .fetch_all(&mut *snapshot)
            .await?;
        let all = rows.iter().map(|row| {
            let object = Object::read(row)?;
            let request = object.id.parse().ok().zip(object.content(&key));
            request.ok_or_else(|| unverified(KeyRequest::KIND, &object.id))
        });
        all.collect()
    }
}

impl Change<'_> {
    async fn key_request(&mut self, number: i64) -> Result<KeyRequest, StoreError> {
        let found = self.get::<KeyRequest>(&number.to_string()).await?;
        found.ok_or(StoreError::KeyRequestNotFound(number))
    }

    /// All that are kept. What is over is removed: nobody has to be told.
    async fn key_requests(&mut self) -> Result<BTreeMap<i64, KeyRequest>, StoreError> {
        let now = self.now();
        let rows = sqlx::query("SELECT id FROM objects WHERE kind = ?")
            .bind(KeyRequest::KIND)
            .fetch_all(&mut *self.transaction)
            .await?;
        let mut all = BTreeMap::new();
        for row in &rows {
            let id: &str = row.try_get("id")?;
            // One that was not written by Egret is reported where it is loaded.
            let Ok(Some(request)) = self.get::<KeyRequest>(id).await else {
                continue;
            };
            match id.parse() {
                Ok(number) if now < request.until => drop(all.insert(number, request)),
                _ => self.remove::<KeyRequest>(id).await?,
            }
        }
        Ok(all)
    }

    /// Only who would own the credential answers. For anyone else there is no such request.
    async fn permit_key_request(
        &mut self,
        request: &KeyRequest,
        number: i64,
    ) -> Result<(), StoreError> {
        let unknown = || StoreError::KeyRequestNotFound(number);
        self.permit_to(Right::Own, &request.owner, &[], unknown)
            .await
    }

    async fn record_key_request(
        &mut self,
        event: Event,
        number: i64,
        request: &KeyRequest,
    ) -> Result<(), StoreError> {
        let KeyRequest { client, host, .. } = request;
        let event = PendingEvent {
            event,
            version: None,
            principal: None,
            detail: format!("request {number}; client {client}; host {host}"),
        };
        let target = CredentialTarget {
            owner: &request.owner,
            slug: &request.slug,
            right: Right::Own,
            with: None,
        };
        self.record_credential(&target, event).await
    }
}

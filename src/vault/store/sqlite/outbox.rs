//! Administrative events: written, read and removed.

use std::sync::Arc;

use super::database::{Change, Database};
use super::{rows, seen};
use crate::substitution::slug::Slug;
use crate::vault::name::{ClientName, Principal};
use crate::vault::store::edit::{CredentialTarget, PendingEvent};
use crate::vault::store::error::{StoreError, StoreUnavailable};
use crate::vault::store::outbox::{AdminEvent, Event};

impl Database {
    pub async fn outbox_take(&self, limit: u32) -> Result<Vec<AdminEvent>, StoreUnavailable> {
        let rows = sqlx::query("SELECT * FROM outbox ORDER BY id LIMIT ?")
            .bind(limit)
            .fetch_all(&self.pool)
            .await?;
        rows.iter().map(rows::event).collect()
    }

    pub async fn outbox_done(&self, events: &[AdminEvent]) -> Result<(), StoreUnavailable> {
        // First: an event that is in the ledger must not be forgotten by a store of before.
        if let Some(revision) = events.iter().filter_map(|event| event.revision).max() {
            let (path, keys) = (Arc::clone(&self.seen), self.keys.clone());
            let advance = move || seen::advance(&path, &keys, revision);
            let advanced = tokio::task::spawn_blocking(advance).await;
            advanced.map_err(|error| StoreUnavailable::new(error.to_string()))??;
        }
        let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        for event in events {
            sqlx::query("DELETE FROM outbox WHERE id = ?")
                .bind(event.id)
                .execute(&mut *transaction)
                .await?;
        }
        Ok(transaction.commit().await?)
    }
}

/// The columns of an event.
const INSERT: &str = "INSERT INTO outbox
     (time, revision, event, slug, version, owner, principal, client, actor, detail)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";

/// What an event is about.
#[derive(Default)]
struct About<'a> {
    owner: Option<&'a Principal>,
    slug: Option<&'a Slug>,
    version: Option<u32>,
    principal: Option<&'a Principal>,
    client: Option<&'a ClientName>,
}

impl Change<'_> {
    /// Puts an event about a credential into this transaction.
    pub(super) async fn record_credential(
        &mut self,
        target: &CredentialTarget<'_>,
        event: PendingEvent,
    ) -> Result<(), StoreError> {
        let about = About {
            owner: Some(target.owner),
            slug: Some(target.slug),
            version: event.version,
            principal: event.principal.as_ref(),
            client: None,
        };
        self.record(event.event, about, &event.detail).await
    }

    /// Puts an event about users or groups into this transaction.
    pub(super) async fn record_people(&mut self, event: PendingEvent) -> Result<(), StoreError> {
        let about = About {
            principal: event.principal.as_ref(),
            ..About::default()
        };
        self.record(event.event, about, &event.detail).await
    }

    /// Puts an event about what a client may use into this transaction.
    pub(super) async fn record_client_change(
        &mut self,
        client: &ClientName,
        principal: &Principal,
        detail: &str,
    ) -> Result<(), StoreError> {
        let about = About {
            principal: Some(principal),
            client: Some(client),
            ..About::default()
        };
        self.record(Event::ClientChanged, about, detail).await
    }

    /// Puts an event about a bundle into this transaction.
    pub(super) async fn record_bundle(
        &mut self,
        owner: &Principal,
        event: PendingEvent,
    ) -> Result<(), StoreError> {
        let about = About {
            owner: Some(owner),
            principal: event.principal.as_ref(),
            ..About::default()
        };
        self.record(event.event, about, &event.detail).await
    }

    /// Puts an event about the store itself into this transaction.
    pub(super) async fn record_store(
        &mut self,
        event: Event,
        detail: &str,
    ) -> Result<(), StoreError> {
        self.record(event, About::default(), detail).await
    }

    /// Puts an event about one user into this transaction.
    pub(super) async fn record_person(
        &mut self,
        event: Event,
        user: &Principal,
    ) -> Result<(), StoreError> {
        let about = About {
            principal: Some(user),
            ..About::default()
        };
        self.record(event, about, "").await
    }

    /// Puts an event about a personal token into this transaction.
    pub(super) async fn record_token(
        &mut self,
        event: Event,
        user: &Principal,
        detail: &str,
    ) -> Result<(), StoreError> {
        let about = About {
            principal: Some(user),
            ..About::default()
        };
        self.record(event, about, detail).await
    }

    /// Puts an event about a client into this transaction.
    pub(super) async fn record_client(
        &mut self,
        event: Event,
        client: &ClientName,
        principal: &Principal,
    ) -> Result<(), StoreError> {
        let about = About {
            principal: Some(principal),
            client: Some(client),
            ..About::default()
        };
        self.record(event, about, "").await
    }

    async fn record(
        &mut self,
        event: Event,
        about: About<'_>,
        detail: &str,
    ) -> Result<(), StoreError> {
        sqlx::query(INSERT)
            .bind(self.time)
            .bind(self.revision)
            .bind(event.as_str())
            .bind(about.slug.map(Slug::as_str))
            .bind(about.version)
            .bind(about.owner.map(Principal::as_str))
            .bind(about.principal.map(Principal::as_str))
            .bind(about.client.map(ClientName::as_str))
            .bind(self.actor.as_str())
            .bind(detail)
            .execute(&mut *self.transaction)
            .await?;
        Ok(())
    }
}

//! Administrative events: written, read and removed.

use super::database::{Change, Database};
use super::rows;
use crate::substitution::slug::Slug;
use crate::vault::name::{ClientName, Principal};
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

    pub async fn outbox_done(&self, ids: &[i64]) -> Result<(), StoreUnavailable> {
        let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        for id in ids {
            sqlx::query("DELETE FROM outbox WHERE id = ?")
                .bind(id)
                .execute(&mut *transaction)
                .await?;
        }
        Ok(transaction.commit().await?)
    }
}

impl Change<'_> {
    /// Puts an event about a credential into this transaction.
    pub(super) async fn record(
        &mut self,
        event: Event,
        owner: &Principal,
        slug: &Slug,
        version: u32,
        with: Option<&Principal>,
        detail: &str,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO outbox (time, event, slug, version, owner, principal, actor, detail)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(self.time)
        .bind(event.as_str())
        .bind(slug.as_str())
        .bind(version)
        .bind(owner.as_str())
        .bind(with.map(Principal::as_str))
        .bind(self.actor.as_str())
        .bind(detail)
        .execute(&mut *self.transaction)
        .await?;
        Ok(())
    }

    /// Puts an event about a client into this transaction.
    pub(super) async fn record_client(
        &mut self,
        event: Event,
        client: &ClientName,
        principal: &Principal,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO outbox (time, event, principal, client, actor, detail) VALUES (?, ?, ?, ?, ?, '')",
        )
        .bind(self.time)
        .bind(event.as_str())
        .bind(principal.as_str())
        .bind(client.as_str())
        .bind(self.actor.as_str())
        .execute(&mut *self.transaction)
        .await?;
        Ok(())
    }
}

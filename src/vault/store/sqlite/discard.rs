//! Removes what was not written by Egret. It cannot be used, and nothing of it can be trusted.

use sqlx::Row as _;

use super::credentials::id;
use super::database::{Change, Database};
use crate::vault::name::Actor;
use crate::vault::record::CredentialRecord;
use crate::vault::store::edit::{CredentialTarget, PendingEvent};
use crate::vault::store::error::StoreError;
use crate::vault::store::outbox::Event;

impl Database {
    pub async fn discard(
        &self,
        actor: &Actor,
        target: &CredentialTarget<'_>,
    ) -> Result<bool, StoreError> {
        let mut change = self.begin_taking_away(actor).await?;
        let id = id(target.owner, target.slug);
        match change.get::<CredentialRecord>(&id).await {
            // Whether the actor may delete it is asked by the change that does.
            Ok(_) => return Ok(false),
            Err(StoreError::Unavailable(error)) if error.is_alarming() => {}
            Err(error) => return Err(error),
        }
        change.permit(target, None).await?;
        let last = change.last_stored_version(target).await?;
        change.erase_all_values(target).await?;
        change
            .put(&id, &CredentialRecord::Deleted(last), None)
            .await?;
        let event = PendingEvent {
            event: Event::CredentialDeleted,
            version: Some(last),
            principal: None,
            detail: "its entry was not written by Egret".to_owned(),
        };
        change.record_credential(target, event).await?;
        change.commit().await?;
        self.erase_log().await;
        Ok(true)
    }
}

impl Change<'_> {
    /// The number that no later version may have, as far as it can be told: the highest that has a
    /// value here, or that an event or the entry itself names.
    async fn last_stored_version(
        &mut self,
        target: &CredentialTarget<'_>,
    ) -> Result<u32, StoreError> {
        let row = sqlx::query(
            "SELECT max(
                 (SELECT coalesce(max(version), 0) FROM sealed_values WHERE owner = ?1 AND slug = ?2),
                 (SELECT coalesce(max(version), 0) FROM outbox WHERE owner = ?1 AND slug = ?2),
                 coalesce((SELECT CASE WHEN json_valid(document)
                     THEN json_extract(document, '$.live.last_version') END
                     FROM objects WHERE kind = 'credential' AND id = ?3), 0)) AS last",
        )
        .bind(target.owner.as_str())
        .bind(target.slug.as_str())
        .bind(id(target.owner, target.slug))
        .fetch_one(&mut *self.transaction)
        .await?;
        let last: i64 = row.try_get("last")?;
        Ok(u32::try_from(last).unwrap_or(u32::MAX - 1).max(1))
    }

    async fn erase_all_values(&mut self, target: &CredentialTarget<'_>) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM sealed_values WHERE owner = ? AND slug = ?")
            .bind(target.owner.as_str())
            .bind(target.slug.as_str())
            .execute(&mut *self.transaction)
            .await?;
        Ok(())
    }
}

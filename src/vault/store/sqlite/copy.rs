//! Copies the database while others use it.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use sqlx::sqlite::SqliteJournalMode;
use sqlx::{ConnectOptions as _, Connection as _, Row as _};

use super::database::{Database, STATE, head_of, options, reading_key};
use super::schema;
use crate::files;
use crate::vault::name::Actor;
use crate::vault::store::changes::StoreCopy;
use crate::vault::store::error::{StoreError, StoreUnavailable};
use crate::vault::store::outbox::Event;

impl Database {
    /// No change is committed while it is copied, so that what `meanwhile` returns belongs to the copy.
    /// Reading goes on.
    pub async fn copy<T: Send + 'static>(
        &self,
        directory: &Path,
        meanwhile: impl FnOnce() -> T + Send + 'static,
    ) -> Result<(StoreCopy, T), StoreUnavailable> {
        let target = directory.join(files::DATABASE);
        let mut change = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        let state = sqlx::query(STATE).fetch_one(&mut *change).await?;
        let key = reading_key(&state, &self.keys)?;
        let head = head_of(&state, &key)?;
        // Not in the transaction, in which there is no VACUUM.
        self.copy_database(&target).await?;
        let (from, to) = (
            Arc::clone(&self.seen),
            directory.join(files::STORE_REVISION),
        );
        let rest = tokio::task::spawn_blocking(move || {
            let failed = |error: std::io::Error| StoreUnavailable::new(error.to_string());
            match std::fs::read(&*from) {
                Ok(sealed) => files::create_new(&to, &sealed, files::PRIVATE).map_err(failed)?,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(failed(error)),
            }
            Ok(meanwhile())
        });
        let rest = rest.await;
        change.rollback().await?;
        let rest = rest.map_err(|error| StoreUnavailable::new(error.to_string()))??;
        forget_sessions(&target).await?;
        let copy = StoreCopy {
            schema: schema::CURRENT,
            revision: head.revision,
        };
        Ok((copy, rest))
    }

    async fn copy_database(&self, target: &Path) -> Result<(), StoreUnavailable> {
        let failed = |error: std::io::Error| StoreUnavailable::new(error.to_string());
        // SQLite takes an empty file, which keeps its mode.
        files::create_new(target, b"", files::PRIVATE).map_err(failed)?;
        let path = target.to_str().ok_or_else(|| {
            StoreUnavailable::new("the path of the copy is not UTF-8; choose another directory")
        })?;
        sqlx::query("VACUUM INTO ?")
            .bind(path)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Puts an event about the store itself on record.
    pub async fn note_event(
        &self,
        actor: &Actor,
        event: Event,
        detail: &str,
    ) -> Result<(), StoreError> {
        let mut change = self.begin(actor).await?;
        // A server that finds nothing changed would leave the event where it is.
        change.head.directory_revision = change.revision;
        change.record_store(event, detail).await?;
        change.commit().await
    }

    /// Whether every event is in the ledger.
    pub async fn is_on_record(&self) -> Result<bool, StoreUnavailable> {
        let waiting = sqlx::query("SELECT EXISTS (SELECT 1 FROM outbox)");
        let waiting: bool = waiting.fetch_one(&self.pool).await?.try_get(0)?;
        Ok(!waiting)
    }

    /// Puts `revision` on record, unless a later one is: a store of before is refused from then on.
    pub async fn expect_revision(&self, revision: i64) -> Result<(), StoreUnavailable> {
        let (path, keys) = (Arc::clone(&self.seen), self.keys.clone());
        let advance = move || super::seen::advance(&path, &keys, revision);
        let advanced = tokio::task::spawn_blocking(advance).await;
        advanced.map_err(|error| StoreUnavailable::new(error.to_string()))?
    }
}

/// Whoever signed out since must not be signed in again by the copy.
async fn forget_sessions(path: &Path) -> Result<(), StoreUnavailable> {
    let options = options(path).journal_mode(SqliteJournalMode::Delete);
    let mut copy = options.connect().await?;
    sqlx::query("DELETE FROM sessions")
        .execute(&mut copy)
        .await?;
    copy.close().await?;
    let path = path.to_owned();
    let sync = tokio::task::spawn_blocking(move || File::open(path)?.sync_all()).await;
    sync.map_err(|error| StoreUnavailable::new(error.to_string()))?
        .map_err(|error| StoreUnavailable::new(error.to_string()))
}

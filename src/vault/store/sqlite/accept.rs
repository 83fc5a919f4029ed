//! Takes a store as it is, after it was lost or damaged.

use std::fs;

use sqlx::Row as _;

use super::database::{Change, Database, STATE, key_of};
use super::location::Location;
use super::objects::Object;
use super::{schema, seen};
use crate::clock;
use crate::vault::name::Actor;
use crate::vault::policy_key::{Head, PolicyKeys};
use crate::vault::store::error::{StoreError, StoreUnavailable};
use crate::vault::store::outbox::Event;

impl Database {
    pub async fn accept(
        location: &Location,
        keys: PolicyKeys,
        actor: &Actor,
    ) -> Result<Self, StoreError> {
        let database = Self::connect(location, keys).await?;
        match database.take_as_it_is(actor).await {
            Ok(()) => Ok(database),
            Err(error) => {
                database.close().await;
                Err(error)
            }
        }
    }

    async fn take_as_it_is(&self, actor: &Actor) -> Result<(), StoreError> {
        // A file that is not readable says nothing that has to be kept.
        let on_record = seen::read(&self.seen, &self.keys)
            .ok()
            .flatten()
            .unwrap_or(0);
        let mut connection = self.pool.acquire().await?;
        let version = schema::version(&mut connection).await?;
        drop(connection);
        if version != schema::CURRENT {
            self.forget_record()?;
            self.upgrade().await?;
        }
        let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        let state = sqlx::query(STATE).fetch_one(&mut *transaction).await?;
        let key = key_of(&state, &self.keys)?;
        let found: i64 = state.try_get("revision")?;
        let revision = found.max(on_record) + 1;
        let head = Head {
            revision,
            directory_revision: revision,
            ..Head::default()
        };
        let mut change = Change {
            transaction,
            key: key.clone(),
            revision,
            head,
            time: clock::unix_micros(),
            actor,
            together: None,
            takes_away: false,
            reserve: None,
            given: None,
        };
        change.count_all().await?;
        change.accept_events().await?;
        let detail = format!("store at change {found}; ledger at change {on_record}");
        change.record_store(Event::StoreAccepted, &detail).await?;
        change.commit().await?;
        seen::write(&self.seen, &key, revision)?;
        Ok(())
    }

    fn forget_record(&self) -> Result<(), StoreUnavailable> {
        match fs::remove_file(&self.seen) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(error) => {
                let path = self.seen.display();
                Err(StoreUnavailable::new(format!("{path}: {error}")))
            }
        }
    }
}

impl Change<'_> {
    /// Makes the digests those of the rows that are there.
    async fn count_all(&mut self) -> Result<(), StoreError> {
        let rows = sqlx::query("SELECT kind, id, revision, document, tag FROM objects")
            .fetch_all(&mut *self.transaction)
            .await?;
        for row in &rows {
            let object = Object::read(row)?;
            let digest = object.digest(&self.key);
            self.toggle(object.kind, digest);
        }
        Ok(())
    }
}

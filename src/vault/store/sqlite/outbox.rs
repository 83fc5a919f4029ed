//! Administrative events: written, authenticated, read and removed.
//!
//! An event becomes a line of the ledger, which people believe. So each has a tag, and the head of the
//! store says which events there are, as it says of objects.

use std::sync::Arc;

use sqlx::sqlite::SqliteRow;
use sqlx::{Row as _, SqliteConnection};

use super::database::{Change, Database, STATE, head_of, put_head, reading_key};
use super::{rows, seen};
use crate::substitution::slug::Slug;
use crate::vault::name::{CallerName, ClientName, Principal};
use crate::vault::policy_key::{Authenticated, OBJECT_TAG, PolicyKey, SetDigest};
use crate::vault::store::edit::{CredentialTarget, PendingEvent};
use crate::vault::store::error::{StoreError, StoreUnavailable};
use crate::vault::store::outbox::{Event, Waiting};

/// What events are among the things that are authenticated.
const KIND: &str = "event";

/// An event as it was read.
struct EventRow {
    id: String,
    revision: i64,
    document: String,
    tag: Vec<u8>,
}

impl EventRow {
    fn read(row: &SqliteRow) -> Result<Self, StoreUnavailable> {
        let text = |name: &str| row.try_get::<Option<&str>, _>(name);
        let columns = (
            row.try_get::<i64, _>("time")?,
            text("event")?,
            text("slug")?,
            text("field")?,
            row.try_get::<Option<i64>, _>("version")?,
            text("owner")?,
            text("principal")?,
            text("client")?,
            text("actor")?,
            text("detail")?,
        );
        let document = serde_json::to_string(&columns);
        Ok(Self {
            id: row.try_get::<i64, _>("id")?.to_string(),
            revision: row
                .try_get::<Option<i64>, _>("revision")?
                .unwrap_or_default(),
            document: document.map_err(|error| StoreUnavailable::new(error.to_string()))?,
            tag: row.try_get::<Option<_>, _>("tag")?.unwrap_or_default(),
        })
    }

    fn authenticated(&self) -> Authenticated<'_> {
        Authenticated {
            kind: KIND,
            id: &self.id,
            revision: self.revision,
            document: &self.document,
        }
    }

    fn is_known(&self, key: &PolicyKey) -> bool {
        key.verify(&self.authenticated(), &self.tag)
    }
}

/// The digest of all events that are there.
async fn digest(
    connection: &mut SqliteConnection,
    key: &PolicyKey,
) -> Result<SetDigest, StoreUnavailable> {
    let rows = sqlx::query("SELECT id, tag FROM outbox").fetch_all(connection);
    let mut digest = SetDigest::default();
    for row in &rows.await? {
        let id: i64 = row.try_get("id")?;
        let tag: Option<&[u8]> = row.try_get("tag")?;
        digest.toggle(key.digest(KIND, &id.to_string(), tag.unwrap_or_default()));
    }
    Ok(digest)
}

impl Database {
    pub async fn outbox_take(&self, limit: u32) -> Result<Waiting, StoreUnavailable> {
        let mut snapshot = self.pool.begin().await?;
        let state = sqlx::query(STATE).fetch_one(&mut *snapshot).await?;
        let key = reading_key(&state, &self.keys)?;
        let head = head_of(&state, &key)?;
        let rows = sqlx::query("SELECT * FROM outbox ORDER BY id LIMIT ?")
            .bind(limit)
            .fetch_all(&mut *snapshot)
            .await?;
        let mut waiting = Waiting::default();
        let mut digest = SetDigest::default();
        for row in &rows {
            let event = EventRow::read(row)?;
            digest.toggle(key.digest(KIND, &event.id, &event.tag));
            if event.is_known(&key) {
                waiting.events.push(rows::event(row)?);
            } else {
                waiting.unverified.push(row.try_get("id")?);
            }
        }
        // Where there are more, it shows when the last of them are taken: to look at all of them each
        // time would take a day when a hundred thousand wait.
        let is_all = rows.len() < limit as usize;
        waiting.is_incomplete = is_all && digest != head.events;
        Ok(waiting)
    }

    pub async fn outbox_done(&self, waiting: &Waiting) -> Result<(), StoreUnavailable> {
        let events = &waiting.events;
        // First: an event that is in the ledger must not be forgotten by a store of before.
        if let Some(revision) = events.iter().filter_map(|event| event.revision).max() {
            let (path, keys) = (Arc::clone(&self.seen), self.keys.clone());
            let advance = move || seen::advance(&path, &keys, revision);
            let advanced = tokio::task::spawn_blocking(advance).await;
            advanced.map_err(|error| StoreUnavailable::new(error.to_string()))??;
        }
        let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        let state = sqlx::query(STATE).fetch_one(&mut *transaction).await?;
        let key = reading_key(&state, &self.keys)?;
        let mut head = head_of(&state, &key)?;
        let ids = events.iter().map(|event| &event.id);
        for id in ids.chain(&waiting.unverified) {
            let gone = sqlx::query("DELETE FROM outbox WHERE id = ? RETURNING tag")
                .bind(id)
                .fetch_optional(&mut *transaction)
                .await?;
            if let Some(row) = gone {
                let tag: Option<&[u8]> = row.try_get("tag")?;
                let tag = tag.unwrap_or_default();
                head.events.toggle(key.digest(KIND, &id.to_string(), tag));
            }
        }
        if waiting.is_incomplete {
            // That is on record now. What is there counts from here on.
            head.events = digest(&mut transaction, &key).await?;
        }
        put_head(&mut transaction, &key, &head).await?;
        Ok(transaction.commit().await?)
    }
}

/// Authenticates events under the key `next`. Those that are not as they were written under `former`
/// keep their tags. Returns the digests before and after.
pub(super) async fn authenticate_again(
    connection: &mut SqliteConnection,
    former: &PolicyKey,
    next: &PolicyKey,
) -> Result<[SetDigest; 2], StoreUnavailable> {
    let before = digest(connection, former).await?;
    let rows = sqlx::query("SELECT * FROM outbox").fetch_all(&mut *connection);
    for row in &rows.await? {
        let event = EventRow::read(row)?;
        if event.is_known(former) {
            put_tag(connection, &event, next).await?;
        }
    }
    Ok([before, digest(connection, next).await?])
}

async fn put_tag(
    connection: &mut SqliteConnection,
    event: &EventRow,
    key: &PolicyKey,
) -> Result<[u8; OBJECT_TAG], StoreUnavailable> {
    let tag = key.tag(&event.authenticated());
    sqlx::query("UPDATE outbox SET tag = ? WHERE id = ?")
        .bind(tag.as_slice())
        .bind(&event.id)
        .execute(connection)
        .await?;
    Ok(tag)
}

/// The columns of an event.
const INSERT: &str = "INSERT INTO outbox
     (time, revision, event, slug, version, owner, principal, client, actor, detail)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING *";

/// What an event is about.
#[derive(Default)]
struct About<'a> {
    owner: Option<&'a Principal>,
    slug: Option<&'a Slug>,
    version: Option<u32>,
    principal: Option<&'a Principal>,
    client: Option<&'a str>,
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
            client: Some(client.as_str()),
            ..About::default()
        };
        self.record(Event::ClientChanged, about, detail).await
    }

    /// Puts an event about a client of an issuer into this transaction.
    pub(super) async fn record_issued(
        &mut self,
        client: &CallerName,
        detail: &str,
    ) -> Result<(), StoreError> {
        let about = About {
            client: Some(client.as_str()),
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
            client: Some(client.as_str()),
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
        self.takes_away |= event.takes_away();
        let row = sqlx::query(INSERT)
            .bind(self.time)
            .bind(self.revision)
            .bind(event.as_str())
            .bind(about.slug.map(Slug::as_str))
            .bind(about.version)
            .bind(about.owner.map(Principal::as_str))
            .bind(about.principal.map(Principal::as_str))
            .bind(about.client)
            .bind(self.actor.as_str())
            .bind(detail)
            .fetch_one(&mut *self.transaction)
            .await?;
        let event = EventRow::read(&row)?;
        let tag = put_tag(&mut self.transaction, &event, &self.key).await?;
        self.head
            .events
            .toggle(self.key.digest(KIND, &event.id, &tag));
        Ok(())
    }

    /// Authenticates the events of a store of before events were.
    pub(super) async fn authenticate_events(&mut self) -> Result<(), StoreError> {
        let rows = sqlx::query("SELECT * FROM outbox").fetch_all(&mut *self.transaction);
        for row in &rows.await? {
            put_tag(&mut self.transaction, &EventRow::read(row)?, &self.key).await?;
        }
        self.head.events = digest(&mut self.transaction, &self.key).await?;
        Ok(())
    }

    /// Drops events that Egret did not write, and takes the others as all there are.
    pub(super) async fn accept_events(&mut self) -> Result<(), StoreError> {
        let rows = sqlx::query("SELECT * FROM outbox").fetch_all(&mut *self.transaction);
        for row in &rows.await? {
            let event = EventRow::read(row)?;
            if !event.is_known(&self.key) {
                sqlx::query("DELETE FROM outbox WHERE id = ?")
                    .bind(&event.id)
                    .execute(&mut *self.transaction)
                    .await?;
            }
        }
        self.head.events = digest(&mut self.transaction, &self.key).await?;
        Ok(())
    }
}

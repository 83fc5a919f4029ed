//! Seals everything again under another master key, in one transaction.
//!
//! In between there is no state that a reader could meet: a kill leaves all of it under the former key.
//! What does not verify under the former key keeps its tag, and so does not verify under the next one.

use sqlx::sqlite::SqliteRow;
use sqlx::{Row as _, SqliteConnection};

use super::database::{Change, Database};
use super::objects::Object;
use super::outbox::authenticate_again;
use super::{rows, seen, sessions};
use crate::substitution::slug::Field;
use crate::vault::name::Actor;
use crate::vault::policy_key::{Head, PolicyKey, SetDigest};
use crate::vault::record::{CredentialRecord, Record as _};
use crate::vault::seal::Sealed;
use crate::vault::store::error::{StoreError, StoreUnavailable};
use crate::vault::store::outbox::Event;
use crate::vault::store::rekeying::{Progress, Rekeyed, Reseal, ValueOf};

/// Rows that are read at once.
const PAGE: i64 = 200;

const OBJECTS: &str = "SELECT kind, id, revision, document, tag FROM objects
     WHERE (kind, id) > (?, ?) ORDER BY kind, id LIMIT ?";
const VALUES: &str = "SELECT rowid, * FROM sealed_values WHERE rowid > ? ORDER BY rowid LIMIT ?";
const COUNT: &str = "SELECT (SELECT count(*) FROM objects) + (SELECT count(*) FROM sealed_values)";

impl Database {
    pub async fn rekey(
        &self,
        actor: &Actor,
        next: &PolicyKey,
        reseal: &Reseal<'_>,
        progress: &Progress<'_>,
    ) -> Result<Option<Rekeyed>, StoreError> {
        let mut change = self.begin(actor).await?;
        let former = change.key.clone();
        if former.id() == next.id() {
            return Ok(None);
        }
        let connection = &mut *change.transaction;
        let total: i64 = sqlx::query(COUNT)
            .fetch_one(&mut *connection)
            .await?
            .try_get(0)?;
        let mut work = Work {
            keys: [former.clone(), next.clone()],
            progress,
            total: total.try_into().unwrap_or_default(),
            done: Rekeyed::default(),
        };
        let heads = work.objects(connection).await?;
        check(&heads.before, &change.head)?;
        let [before, after] = authenticate_again(connection, &former, next).await?;
        if before != change.head.events {
            return Err(StoreUnavailable::foreign_rows("events that wait for the ledger").into());
        }
        let digests = Head {
            events: after,
            ..heads.after
        };
        work.values(connection, reseal).await?;
        work.sessions(connection).await?;
        sqlx::query("UPDATE state SET key_id = ? WHERE id = 1")
            .bind(next.id().as_bytes())
            .execute(connection)
            .await?;
        change.adopt(next, digests);
        let detail = format!("master key {} to {}", former.id(), next.id());
        change.record_store(Event::StoreRekeyed, &detail).await?;
        change.commit().await?;
        self.erase_log().await;
        Ok(Some(work.done))
    }

    pub async fn rekey_record(&self) -> Result<(), StoreUnavailable> {
        let (snapshot, key) = self.snapshot().await?;
        snapshot.rollback().await?;
        let (path, keys) = (std::sync::Arc::clone(&self.seen), self.keys.clone());
        let rewrite = move || match seen::read(&path, &keys)? {
            Some(revision) => seen::write(&path, &key, revision),
            None => Ok(()),
        };
        let rewritten = tokio::task::spawn_blocking(rewrite).await;
        rewritten.map_err(|error| StoreUnavailable::new(error.to_string()))?
    }
}

impl Change<'_> {
    /// Goes on under another key, with the digests that the rows have under it.
    fn adopt(&mut self, key: &PolicyKey, digests: Head) {
        self.key = key.clone();
        self.head = Head {
            directory_revision: self.revision,
            ..digests
        };
    }
}

/// A store that lost or regained rows must not look whole under the next key.
fn check(found: &Head, head: &Head) -> Result<(), StoreUnavailable> {
    if found.credentials != head.credentials {
        return Err(StoreUnavailable::foreign_rows("credentials"));
    }
    if found.directory != head.directory {
        return Err(StoreUnavailable::foreign_rows("users, groups and clients"));
    }
    Ok(())
}

/// The digests of all rows, under the former key and under the next.
#[derive(Default)]
struct Heads {
    before: Head,
    after: Head,
}

fn digest_of<'a>(head: &'a mut Head, kind: &str) -> &'a mut SetDigest {
    if kind == CredentialRecord::KIND {
        &mut head.credentials
    } else {
        &mut head.directory
    }
}

struct Work<'a> {
    /// The former and the next.
    keys: [PolicyKey; 2],
    progress: &'a Progress<'a>,
    total: u64,
    done: Rekeyed,
}

impl Work<'_> {
    fn count(&mut self, is_usable: bool) {
        self.done.entries += 1;
        self.done.unusable += u64::from(!is_usable);
    }

    fn report(&self) {
        (self.progress)(self.done.entries, self.total);
    }

    async fn objects(&mut self, connection: &mut SqliteConnection) -> Result<Heads, StoreError> {
        let mut heads = Heads::default();
        let mut after = (String::new(), String::new());
        loop {
            let rows = sqlx::query(OBJECTS)
                .bind(&after.0)
                .bind(&after.1)
                .bind(PAGE)
                .fetch_all(&mut *connection)
                .await?;
            for row in &rows {
                after = self.object(connection, row, &mut heads).await?;
            }
            self.report();
            if rows.is_empty() {
                return Ok(heads);
            }
        }
    }

    /// Tags a row again. Returns what it is.
    async fn object(
        &mut self,
        connection: &mut SqliteConnection,
        row: &SqliteRow,
        heads: &mut Heads,
    ) -> Result<(String, String), StoreError> {
        let [former, next] = &self.keys;
        let object = Object::read(row)?;
        let (kind, id) = (object.kind, object.id);
        digest_of(&mut heads.before, kind).toggle(object.digest(former));
        let tag = object.tagged_again(former, next);
        let digest = match &tag {
            Some(tag) => next.digest(kind, id, tag),
            None => object.digest(next),
        };
        digest_of(&mut heads.after, kind).toggle(digest);
        if let Some(tag) = &tag {
            sqlx::query("UPDATE objects SET tag = ? WHERE kind = ? AND id = ?")
                .bind(tag.as_slice())
                .bind(kind)
                .bind(id)
                .execute(connection)
                .await?;
        }
        let name = (kind.to_owned(), id.to_owned());
        self.count(tag.is_some());
        Ok(name)
    }

    async fn values(
        &mut self,
        connection: &mut SqliteConnection,
        reseal: &Reseal<'_>,
    ) -> Result<(), StoreError> {
        let mut after = i64::MIN;
        loop {
            let rows = sqlx::query(VALUES)
                .bind(after)
                .bind(PAGE)
                .fetch_all(&mut *connection)
                .await?;
            for row in &rows {
                after = row.try_get("rowid")?;
                let sealed = resealed(row, reseal)?;
                if let Some(sealed) = &sealed {
                    sqlx::query("UPDATE sealed_values SET sealed = ? WHERE rowid = ?")
                        .bind(sealed.as_bytes())
                        .bind(after)
                        .execute(&mut *connection)
                        .await?;
                }
                self.count(sealed.is_some());
            }
            self.report();
            if rows.is_empty() {
                return Ok(());
            }
        }
    }

    /// There are few, and those that were not written by Egret go.
    async fn sessions(&self, connection: &mut SqliteConnection) -> Result<(), StoreError> {
        let [former, next] = &self.keys;
        let rows = sqlx::query("SELECT id, document, tag FROM sessions")
            .fetch_all(&mut *connection)
            .await?;
        for row in &rows {
            let (id, document): (&str, &str) = (row.try_get("id")?, row.try_get("document")?);
            let session = sessions::authenticated(id, document);
            let is_own = former.verify(&session, row.try_get("tag")?);
            let query = if is_own {
                let tag = next.tag(&session).to_vec();
                sqlx::query("UPDATE sessions SET tag = ? WHERE id = ?").bind(tag)
            } else {
                sqlx::query("DELETE FROM sessions WHERE id = ?")
            };
            query.bind(id).execute(&mut *connection).await?;
        }
        Ok(())
    }
}

/// A value under the next key; `None` if it does not open.
fn resealed(row: &SqliteRow, reseal: &Reseal<'_>) -> Result<Option<Sealed>, StoreError> {
    let Ok((owner, slug)) = rows::key(row) else {
        return Ok(None);
    };
    let field = match row.try_get("field")? {
        "" => None,
        text => match Field::parse(text) {
            Ok(field) => Some(field),
            Err(_) => return Ok(None),
        },
    };
    let value = ValueOf {
        owner: &owner,
        slug: &slug,
        field: field.as_ref(),
        version: rows::version(row)?,
    };
    let sealed: &[u8] = row.try_get("sealed")?;
    Ok(reseal(value, &Sealed::from_bytes(sealed.to_vec())))
}

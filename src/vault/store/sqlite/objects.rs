//! Objects: authenticated texts, read, written and removed.

use std::fmt::Display;

use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::database::Change;
use crate::vault::policy_key::{Authenticated, OBJECT_TAG, PolicyKey, SetDigest};
use crate::vault::record::{CredentialRecord, Record};
use crate::vault::store::condition::Condition;
use crate::vault::store::error::{StoreError, StoreUnavailable};

/// A row as it was read.
pub(super) struct Object<'a> {
    pub(super) kind: &'a str,
    pub(super) id: &'a str,
    pub(super) revision: i64,
    document: &'a str,
    tag: &'a [u8],
}

impl<'a> Object<'a> {
    pub(super) fn read(row: &'a SqliteRow) -> Result<Self, StoreUnavailable> {
        Ok(Self {
            kind: row.try_get("kind")?,
            id: row.try_get("id")?,
            revision: row.try_get("revision")?,
            document: row.try_get("document")?,
            tag: row.try_get("tag")?,
        })
    }

    /// Its part of the digest of its set.
    pub(super) fn digest(&self, key: &PolicyKey) -> SetDigest {
        key.digest(self.kind, self.id, self.tag)
    }

    /// Its tag under the key `next`; `None` if it is not what was written under `former`.
    pub(super) fn tagged_again(
        &self,
        former: &PolicyKey,
        next: &PolicyKey,
    ) -> Option<[u8; OBJECT_TAG]> {
        let object = self.authenticated();
        former.verify(&object, self.tag).then(|| next.tag(&object))
    }

    /// Whether it was written under this name.
    pub(super) fn verifies(&self, key: &PolicyKey) -> bool {
        key.verify(&self.authenticated(), self.tag)
    }

    fn authenticated(&self) -> Authenticated<'_> {
        Authenticated {
            kind: self.kind,
            id: self.id,
            revision: self.revision,
            document: self.document,
        }
    }

    /// Its content; `None` if it is not what was written under this name. It is parsed only once it
    /// is known to be Egret's own.
    pub(super) fn content<T: Record>(&self, key: &PolicyKey) -> Option<T> {
        let known = self.kind == T::KIND && self.verifies(key);
        known
            .then(|| serde_json::from_str(self.document).ok())
            .flatten()
    }
}

/// The objects of one kind.
pub(super) const OF_KIND: &str =
    "SELECT kind, id, revision, document, tag FROM objects WHERE kind = ? ORDER BY id";

/// One object.
const ONE: &str = "SELECT kind, id, revision, document, tag FROM objects WHERE kind = ? AND id = ?";

/// Finds the row of one object; `None` if there is none.
pub(super) async fn find(
    connection: &mut SqliteConnection,
    kind: &str,
    id: &str,
) -> Result<Option<SqliteRow>, StoreUnavailable> {
    let row = sqlx::query(ONE).bind(kind).bind(id);
    Ok(row.fetch_optional(connection).await?)
}

/// Reads one object; `None` if there is none.
pub(super) async fn get<T: Record>(
    connection: &mut SqliteConnection,
    key: &PolicyKey,
    id: &str,
) -> Result<Option<T>, StoreUnavailable> {
    let Some(row) = find(connection, T::KIND, id).await? else {
        return Ok(None);
    };
    let content = Object::read(&row)?.content(key);
    content.map(Some).ok_or_else(|| unverified(T::KIND, &id))
}

/// For an object that was changed by someone who has no master key.
pub(super) fn unverified(kind: &str, id: &dyn Display) -> StoreUnavailable {
    StoreUnavailable::alarming(format!(
        "the {kind} {id} was changed in the database by something that is not Egret, or is damaged; \
         it is not used. Restore a backup, or delete it and add it again"
    ))
}

/// Whether the objects of a kind are in the credentials' digest, and not in the directory's.
pub(super) fn is_credential(kind: &str) -> bool {
    kind == CredentialRecord::KIND
}

impl Change<'_> {
    /// Refuses the change of an object that is no longer as its maker saw it.
    pub(super) async fn check(&mut self, condition: &Condition) -> Result<(), StoreError> {
        let found = sqlx::query("SELECT revision FROM objects WHERE kind = ? AND id = ?")
            .bind(condition.object.kind())
            .bind(condition.object.id())
            .fetch_optional(&mut *self.transaction)
            .await?;
        let revision: Option<i64> = found.map(|row| row.try_get(0)).transpose()?;
        if revision == Some(condition.revision) {
            return Ok(());
        }
        Err(StoreError::Changed)
    }

    /// Reads one object.
    pub(super) async fn get<T: Record>(&mut self, id: &str) -> Result<Option<T>, StoreError> {
        Ok(get(&mut self.transaction, &self.key, id).await?)
    }

    /// Writes an object. `due` is when something of it has to be erased.
    pub(super) async fn put<T: Record>(
        &mut self,
        id: &str,
        record: &T,
        due: Option<i64>,
    ) -> Result<(), StoreError> {
        self.forget(T::KIND, id).await?;
        let document = serde_json::to_string(record)
            .map_err(|error| StoreUnavailable::new(error.to_string()))?;
        let object = Authenticated {
            kind: T::KIND,
            id,
            revision: self.revision,
            document: &document,
        };
        let tag = self.key.tag(&object);
        sqlx::query(
            "INSERT OR REPLACE INTO objects (kind, id, revision, due, document, tag)
             VALUES (?, ?, ?, ?, ?, ?)",
        )
        .bind(T::KIND)
        .bind(id)
        .bind(self.revision)
        .bind(due)
        .bind(&document)
        .bind(tag.as_slice())
        .execute(&mut *self.transaction)
        .await?;
        let digest = self.key.digest(T::KIND, id, &tag);
        self.toggle(T::KIND, digest);
        Ok(())
    }

    /// Removes an object.
    pub(super) async fn remove<T: Record>(&mut self, id: &str) -> Result<(), StoreError> {
        self.forget(T::KIND, id).await?;
        sqlx::query("DELETE FROM objects WHERE kind = ? AND id = ?")
            .bind(T::KIND)
            .bind(id)
            .execute(&mut *self.transaction)
            .await?;
        self.directory_changed(T::KIND);
        Ok(())
    }

    /// Takes what is there out of its digest.
    async fn forget(&mut self, kind: &'static str, id: &str) -> Result<(), StoreError> {
        if let Some(row) = find(&mut self.transaction, kind, id).await? {
            let digest = Object::read(&row)?.digest(&self.key);
            self.toggle(kind, digest);
        }
        Ok(())
    }

    pub(super) fn toggle(&mut self, kind: &str, digest: SetDigest) {
        if is_credential(kind) {
            self.head.credentials.toggle(digest);
        } else {
            self.head.directory.toggle(digest);
        }
        self.directory_changed(kind);
    }

    fn directory_changed(&mut self, kind: &str) {
        if is_credential(kind) {
            return;
        }
        self.head.directory_revision = self.revision;
        if let Some(together) = &self.together {
            together.keep_people(None);
        }
    }
}

//! Changes to credentials. Each is one transaction that also writes its ledger event.

use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::database::{Change, Database};
use super::rows;
use crate::policy::grant::Grant;
use crate::substitution::slug::Slug;
use crate::vault::model::{Kind, NewCredential, SealedFields};
use crate::vault::name::{Actor, Principal};
use crate::vault::seal::SealError;
use crate::vault::store::error::{StoreError, StoreUnavailable};
use crate::vault::store::outbox::Event;

/// The condition on `credentials` that a version was replaced before a time and is still stored.
macro_rules! replaced {
    () => {
        "rotated <= ? AND EXISTS (
             SELECT 1 FROM sealed_values v
             WHERE v.owner = credentials.owner AND v.slug = credentials.slug
               AND v.version < credentials.version)"
    };
}

impl Database {
    pub async fn create_credential(
        &self,
        actor: &Actor,
        new: &NewCredential,
        seal: impl FnOnce(u32) -> Result<SealedFields, SealError> + Send,
    ) -> Result<u32, StoreError> {
        let mut change = self.begin(actor).await?;
        let (owner, slug) = (&new.owner, &new.slug);
        let version = match change.row(owner, slug).await? {
            Some(row) if row.live => {
                return Err(StoreError::Exists {
                    owner: owner.clone(),
                    slug: slug.clone(),
                });
            }
            Some(tombstone) => tombstone.version + 1,
            None => 1,
        };
        let now = change.now();
        sqlx::query(
            "INSERT OR REPLACE INTO credentials
             (owner, slug, kind, description, allowed, revoked, version, created, rotated, deleted, revision)
             VALUES (?, ?, ?, ?, ?, 0, ?, ?, ?, 0, ?)",
        )
        .bind(owner.as_str())
        .bind(slug.as_str())
        .bind(new.kind.as_str())
        .bind(&new.description)
        .bind(to_json(&new.grant)?)
        .bind(version)
        .bind(now)
        .bind(now)
        .bind(change.revision)
        .execute(&mut *change.transaction)
        .await?;
        change
            .put_values(owner, slug, version, seal(version)?)
            .await?;
        change
            .record(Event::CredentialCreated, owner, slug, version, None, "")
            .await?;
        change.commit().await?;
        Ok(version)
    }

    pub async fn rotate(
        &self,
        actor: &Actor,
        owner: &Principal,
        slug: &Slug,
        kind: Kind,
        seal: impl FnOnce(u32) -> Result<SealedFields, SealError> + Send,
    ) -> Result<u32, StoreError> {
        let mut change = self.begin(actor).await?;
        let row = change.live_row(owner, slug).await?;
        if row.kind != kind {
            return Err(StoreError::KindChanged(slug.clone()));
        }
        let version = row.version + 1;
        sqlx::query(
            "UPDATE credentials SET version = ?, rotated = ?, revision = ? WHERE owner = ? AND slug = ?",
        )
        .bind(version)
        .bind(change.now())
        .bind(change.revision)
        .bind(owner.as_str())
        .bind(slug.as_str())
        .execute(&mut *change.transaction)
        .await?;
        change.erase_values(owner, slug, row.version).await?;
        change
            .put_values(owner, slug, version, seal(version)?)
            .await?;
        change
            .record(Event::CredentialRotated, owner, slug, version, None, "")
            .await?;
        change.commit().await?;
        self.erase_log().await;
        Ok(version)
    }

    pub async fn erase_replaced(&self, rotated: i64) -> Result<u64, StoreError> {
        // A query that takes no write lock: most of the time there is nothing to erase.
        let look = concat!("SELECT 1 FROM credentials WHERE ", replaced!(), " LIMIT 1");
        let outdated = sqlx::query(look)
            .bind(rotated)
            .fetch_optional(&self.pool)
            .await?;
        if outdated.is_none() {
            return Ok(0);
        }
        let actor = Actor::new("server", "overlap");
        let mut change = self.begin(&actor).await?;
        let mark = concat!("UPDATE credentials SET revision = ? WHERE ", replaced!());
        let changed = sqlx::query(mark)
            .bind(change.revision)
            .bind(rotated)
            .execute(&mut *change.transaction)
            .await?;
        sqlx::query(
            "DELETE FROM sealed_values WHERE EXISTS (
                 SELECT 1 FROM credentials c
                 WHERE c.owner = sealed_values.owner AND c.slug = sealed_values.slug
                   AND c.revision = ? AND sealed_values.version < c.version)",
        )
        .bind(change.revision)
        .execute(&mut *change.transaction)
        .await?;
        change.commit().await?;
        self.erase_log().await;
        Ok(changed.rows_affected())
    }

    pub async fn revoke(
        &self,
        actor: &Actor,
        owner: &Principal,
        slug: &Slug,
    ) -> Result<bool, StoreError> {
        self.set_revoked(actor, owner, slug, true).await
    }

    pub async fn restore(
        &self,
        actor: &Actor,
        owner: &Principal,
        slug: &Slug,
    ) -> Result<bool, StoreError> {
        self.set_revoked(actor, owner, slug, false).await
    }

    async fn set_revoked(
        &self,
        actor: &Actor,
        owner: &Principal,
        slug: &Slug,
        revoked: bool,
    ) -> Result<bool, StoreError> {
        let mut change = self.begin(actor).await?;
        let row = change.live_row(owner, slug).await?;
        if row.revoked == revoked {
            return Ok(false);
        }
        sqlx::query(
            "UPDATE credentials SET revoked = ?, revision = ? WHERE owner = ? AND slug = ?",
        )
        .bind(revoked)
        .bind(change.revision)
        .bind(owner.as_str())
        .bind(slug.as_str())
        .execute(&mut *change.transaction)
        .await?;
        let event = if revoked {
            Event::CredentialRevoked
        } else {
            Event::CredentialRestored
        };
        change
            .record(event, owner, slug, row.version, None, "")
            .await?;
        change.commit().await?;
        Ok(true)
    }

    pub async fn delete(
        &self,
        actor: &Actor,
        owner: &Principal,
        slug: &Slug,
    ) -> Result<(), StoreError> {
        let mut change = self.begin(actor).await?;
        let row = change.live_row(owner, slug).await?;
        change.erase_values(owner, slug, u32::MAX).await?;
        sqlx::query("DELETE FROM shares WHERE owner = ? AND slug = ?")
            .bind(owner.as_str())
            .bind(slug.as_str())
            .execute(&mut *change.transaction)
            .await?;
        sqlx::query(
            "UPDATE credentials SET deleted = 1, description = '', allowed = '', revision = ?
             WHERE owner = ? AND slug = ?",
        )
        .bind(change.revision)
        .bind(owner.as_str())
        .bind(slug.as_str())
        .execute(&mut *change.transaction)
        .await?;
        change
            .record(Event::CredentialDeleted, owner, slug, row.version, None, "")
            .await?;
        change.commit().await?;
        self.erase_log().await;
        Ok(())
    }

    pub async fn allow(
        &self,
        actor: &Actor,
        owner: &Principal,
        slug: &Slug,
        grant: &Grant,
    ) -> Result<bool, StoreError> {
        let mut change = self.begin(actor).await?;
        let row = change.live_row(owner, slug).await?;
        let allowed = to_json(grant)?;
        if row.allowed == allowed {
            return Ok(false);
        }
        sqlx::query(
            "UPDATE credentials SET allowed = ?, revision = ? WHERE owner = ? AND slug = ?",
        )
        .bind(&allowed)
        .bind(change.revision)
        .bind(owner.as_str())
        .bind(slug.as_str())
        .execute(&mut *change.transaction)
        .await?;
        // The limits themselves, which are public: an auditor wants to see what was permitted.
        change
            .record(
                Event::CredentialAllowed,
                owner,
                slug,
                row.version,
                None,
                &allowed,
            )
            .await?;
        change.commit().await?;
        Ok(true)
    }

    pub async fn share(
        &self,
        actor: &Actor,
        owner: &Principal,
        slug: &Slug,
        with: &Principal,
    ) -> Result<bool, StoreError> {
        if owner == with {
            return Err(StoreError::OwnCredential(owner.clone()));
        }
        let sql = "INSERT OR IGNORE INTO shares (owner, slug, principal) VALUES (?, ?, ?)";
        self.set_share(actor, owner, slug, with, sql, Event::CredentialShared)
            .await
    }

    pub async fn unshare(
        &self,
        actor: &Actor,
        owner: &Principal,
        slug: &Slug,
        with: &Principal,
    ) -> Result<bool, StoreError> {
        let sql = "DELETE FROM shares WHERE owner = ? AND slug = ? AND principal = ?";
        self.set_share(actor, owner, slug, with, sql, Event::CredentialUnshared)
            .await
    }

    async fn set_share(
        &self,
        actor: &Actor,
        owner: &Principal,
        slug: &Slug,
        with: &Principal,
        sql: &'static str,
        event: Event,
    ) -> Result<bool, StoreError> {
        let mut change = self.begin(actor).await?;
        let row = change.live_row(owner, slug).await?;
        let done = sqlx::query(sql)
            .bind(owner.as_str())
            .bind(slug.as_str())
            .bind(with.as_str())
            .execute(&mut *change.transaction)
            .await?;
        if done.rows_affected() == 0 {
            return Ok(false);
        }
        sqlx::query("UPDATE credentials SET revision = ? WHERE owner = ? AND slug = ?")
            .bind(change.revision)
            .bind(owner.as_str())
            .bind(slug.as_str())
            .execute(&mut *change.transaction)
            .await?;
        change
            .record(event, owner, slug, row.version, Some(with), "")
            .await?;
        change.commit().await?;
        Ok(true)
    }
}

/// What a change needs to know of its row.
struct Current {
    live: bool,
    kind: Kind,
    revoked: bool,
    version: u32,
    allowed: String,
}

impl Current {
    fn read(row: &SqliteRow) -> Result<Self, StoreUnavailable> {
        Ok(Self {
            live: !row.try_get::<bool, _>("deleted")?,
            kind: rows::kind(row)?,
            revoked: row.try_get("revoked")?,
            version: rows::version(row)?,
            allowed: row.try_get("allowed")?,
        })
    }
}

impl Change<'_> {
    async fn row(&mut self, owner: &Principal, slug: &Slug) -> Result<Option<Current>, StoreError> {
        let row = sqlx::query(
            "SELECT deleted, kind, revoked, version, allowed FROM credentials WHERE owner = ? AND slug = ?",
        )
        .bind(owner.as_str())
        .bind(slug.as_str())
        .fetch_optional(&mut *self.transaction)
        .await?;
        Ok(row.as_ref().map(Current::read).transpose()?)
    }

    async fn live_row(&mut self, owner: &Principal, slug: &Slug) -> Result<Current, StoreError> {
        match self.row(owner, slug).await? {
            Some(row) if row.live => Ok(row),
            _ => Err(StoreError::NotFound {
                owner: owner.clone(),
                slug: slug.clone(),
            }),
        }
    }

    async fn put_values(
        &mut self,
        owner: &Principal,
        slug: &Slug,
        version: u32,
        values: SealedFields,
    ) -> Result<(), StoreError> {
        for (field, value) in values {
            sqlx::query(
                "INSERT INTO sealed_values (owner, slug, version, field, sealed) VALUES (?, ?, ?, ?, ?)",
            )
            .bind(owner.as_str())
            .bind(slug.as_str())
            .bind(version)
            .bind(field.as_ref().map_or("", |field| field.as_str()))
            .bind(value.sealed().as_bytes())
            .execute(&mut *self.transaction)
            .await?;
        }
        Ok(())
    }

    /// Erases the versions below `first_kept`.
    async fn erase_values(
        &mut self,
        owner: &Principal,
        slug: &Slug,
        first_kept: u32,
    ) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM sealed_values WHERE owner = ? AND slug = ? AND version < ?")
            .bind(owner.as_str())
            .bind(slug.as_str())
            .bind(first_kept)
            .execute(&mut *self.transaction)
            .await?;
        Ok(())
    }
}

fn to_json(grant: &Grant) -> Result<String, StoreUnavailable> {
    serde_json::to_string(grant).map_err(|error| StoreUnavailable::new(error.to_string()))
}

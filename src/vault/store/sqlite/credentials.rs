//! Changes to credentials. Each is one transaction that also writes its ledger events.

use std::collections::HashSet;

use super::database::{Change, Database};
use super::objects::{Object, find, unverified};
use crate::substitution::slug::Slug;
use crate::vault::model::{OVERLAP, Phase, SealedFields};
use crate::vault::name::{Actor, Principal};
use crate::vault::people::{Grantee, Group, User};
use crate::vault::record::{CredentialRecord, Policy, Record as _};
use crate::vault::rights::Right;
use crate::vault::store::edit::{CredentialEdit, CredentialTarget};
use crate::vault::store::error::{StoreError, StoreUnavailable};
use crate::vault::store::outbox::Event;

/// Most credentials that are looked through at once for what is due.
const DUE_BATCH: u32 = 500;

/// The name under which a credential is stored. Neither part can hold a `/`.
pub(super) fn id(owner: &Principal, slug: &Slug) -> String {
    format!("{owner}/{slug}")
}

/// The names in it.
pub(super) fn parse_id(id: &str) -> Result<(Principal, Slug), StoreUnavailable> {
    id.split_once('/')
        .and_then(|(owner, slug)| Some((Principal::parse(owner).ok()?, Slug::parse(slug).ok()?)))
        .ok_or_else(|| unverified(CredentialRecord::KIND, &"whose name cannot be read"))
}

impl Database {
    pub async fn change_credential(
        &self,
        actor: &Actor,
        target: &CredentialTarget<'_>,
        edit: impl FnOnce(&mut CredentialEdit) -> Result<(), StoreError> + Send,
    ) -> Result<(), StoreError> {
        let mut change = match target.right {
            Right::TakeAway => self.begin_taking_away(actor).await?,
            Right::Own => self.begin(actor).await?,
        };
        let id = id(target.owner, target.slug);
        let (before, edited) = match change.edited(target, &id, edit).await {
            Ok(edited) => edited,
            Err(error) => {
                // Nothing is written yet, so the others of several changes can still be made.
                if !matches!(error, StoreError::Unavailable(_)) {
                    change.leave().await?;
                }
                return Err(error);
            }
        };
        change.takes_away |= edited.takes_away;
        let Some(record) = edited.record.filter(|_| !edited.events.is_empty()) else {
            return change.leave().await;
        };
        if before.is_empty() {
            change.know(target.owner).await?;
        }
        let after = kept(Some(&record));
        let erased: Vec<_> = before.iter().filter(|v| !after.contains(v)).collect();
        for version in &erased {
            change.erase_values(target, **version).await?;
        }
        if let Some(new) = edited.values {
            change.put_values(target, new.number, new.fields).await?;
        }
        let due = due(&record);
        change.put(&id, &record, due).await?;
        for event in edited.events {
            change.record_credential(target, event).await?;
        }
        change.commit().await?;
        match &self.together {
            _ if erased.is_empty() => {}
            // The log cannot be emptied while the transaction is open: it would wait for that.
            Some(together) => together.note_erased(),
            None => self.erase_log().await,
        }
        Ok(())
    }

    /// Which of these slugs an owner has, whether or not Egret wrote the entry.
    pub async fn taken(
        &self,
        owner: &Principal,
        slugs: &[Slug],
    ) -> Result<HashSet<Slug>, StoreUnavailable> {
        let (mut transaction, key) = self.snapshot().await?;
        let mut taken = HashSet::new();
        for slug in slugs {
            let row = find(&mut transaction, CredentialRecord::KIND, &id(owner, slug)).await?;
            let Some(row) = row else { continue };
            let record = Object::read(&row)?.content(&key);
            if !matches!(record, Some(CredentialRecord::Deleted(_))) {
                taken.insert(slug.clone());
            }
        }
        transaction.rollback().await?;
        Ok(taken)
    }

    pub async fn erase_due(&self, now: i64) -> Result<u64, StoreError> {
        // A query that takes no write lock: most of the time there is nothing to erase.
        let rows = sqlx::query("SELECT id FROM objects WHERE kind = ? AND due <= ? LIMIT ?")
            .bind(CredentialRecord::KIND)
            .bind(now)
            .bind(DUE_BATCH)
            .fetch_all(&self.pool)
            .await?;
        if rows.is_empty() {
            return Ok(0);
        }
        let actor = Actor::server("overlap");
        let mut change = self.begin_taking_away(&actor).await?;
        let mut changed = 0;
        for row in &rows {
            let id: &str = sqlx::Row::try_get(row, "id")?;
            let Ok(Some(mut record)) = change.get::<CredentialRecord>(id).await else {
                // It is unusable, and reported where it is loaded.
                continue;
            };
            let (owner, slug) = parse_id(id)?;
            let target = CredentialTarget {
                owner: &owner,
                slug: &slug,
                right: Right::Own,
                with: None,
            };
            for version in forget_due(&mut record, now) {
                change.erase_values(&target, version).await?;
            }
            let due = due(&record);
            change.put(id, &record, due).await?;
            changed += 1;
        }
        change.commit().await?;
        self.erase_log().await;
        Ok(changed)
    }
}

/// The versions whose values are stored.
fn kept(record: Option<&CredentialRecord>) -> Vec<u32> {
    match record {
        Some(CredentialRecord::Live(policy)) => policy
            .versions
            .iter()
            .map(|version| version.number)
            .collect(),
        _ => Vec::new(),
    }
}

/// When something of it has to be erased next.
pub(super) fn due(record: &CredentialRecord) -> Option<i64> {
    let CredentialRecord::Live(policy) = record else {
        return None;
    };
    let versions = policy
        .versions
        .iter()
        .filter_map(|version| version.kept_until);
    let shares = policy.shares.iter().filter_map(|share| {
        let over = share.ended.or(share.until)?;
        Some(over.saturating_add(OVERLAP))
    });
    versions.chain(shares).chain(policy.searched_until).min()
}

/// Forgets what is no longer searched for. Returns the versions whose values have to be erased.
fn forget_due(record: &mut CredentialRecord, now: i64) -> Vec<u32> {
    let CredentialRecord::Live(policy) = record else {
        return Vec::new();
    };
    let Policy {
        versions,
        shares,
        searched_until,
        ..
    } = &mut **policy;
    let mut erased = Vec::new();
    versions.retain(|version| {
        let over =
            version.phase == Phase::Replaced && version.kept_until.is_some_and(|at| at <= now);
        if over {
            erased.push(version.number);
        }
        !over
    });
    shares.retain(|share| {
        let over = share.ended.or(share.until);
        over.is_none_or(|at| at.saturating_add(OVERLAP) > now)
    });
    *searched_until = searched_until.filter(|at| *at > now);
    erased
}

impl Change<'_> {
    /// What is to become of a credential, and the versions whose values are stored now. Writes nothing.
    async fn edited(
        &mut self,
        target: &CredentialTarget<'_>,
        id: &str,
        edit: impl FnOnce(&mut CredentialEdit) -> Result<(), StoreError> + Send,
    ) -> Result<(Vec<u32>, CredentialEdit), StoreError> {
        let record = self.get::<CredentialRecord>(id).await?;
        self.permit(target, record.as_ref()).await?;
        if let Some(with) = target.with {
            self.require(with).await?;
        }
        let before = kept(record.as_ref());
        let mut edited = CredentialEdit::new(record, self.now());
        edit(&mut edited)?;
        Ok((before, edited))
    }

    /// Whether the actor may make this change.
    pub(super) async fn permit(
        &mut self,
        target: &CredentialTarget<'_>,
        record: Option<&CredentialRecord>,
    ) -> Result<(), StoreError> {
        let shares = match record {
            Some(CredentialRecord::Live(policy)) => &policy.shares[..],
            _ => &[],
        };
        let unknown = || StoreError::NotFound {
            owner: target.owner.clone(),
            slug: target.slug.clone(),
        };
        self.permit_to(target.right, target.owner, shares, unknown)
            .await
    }

    /// Checks that a grantee exists: a share with a mistyped name would be a promise to whoever gets
    /// that name later.
    pub(super) async fn require(&mut self, with: &Grantee) -> Result<(), StoreError> {
        match with {
            Grantee::Everyone => Ok(()),
            Grantee::User(name) => match self.get::<User>(name.as_str()).await? {
                Some(_) => Ok(()),
                None => Err(StoreError::UserNotFound(name.clone())),
            },
            Grantee::Group(name) => match self.get::<Group>(name.as_str()).await? {
                Some(_) => Ok(()),
                None => Err(StoreError::GroupNotFound(name.clone())),
            },
        }
    }

    pub(super) async fn put_values(
        &mut self,
        target: &CredentialTarget<'_>,
        version: u32,
        values: SealedFields,
    ) -> Result<(), StoreError> {
        for (field, value) in values {
            if value.sealed().key_id() != Some(self.key.id()) {
                // The master key was rotated after it was sealed, and would not open it any more.
                return Err(StoreError::Changed);
            }
            sqlx::query(
                "INSERT INTO sealed_values (owner, slug, version, field, sealed) VALUES (?, ?, ?, ?, ?)",
            )
            .bind(target.owner.as_str())
            .bind(target.slug.as_str())
            .bind(version)
            .bind(field.as_ref().map_or("", |field| field.as_str()))
            .bind(value.sealed().as_bytes())
            .execute(&mut *self.transaction)
            .await?;
        }
        Ok(())
    }

    pub(super) async fn erase_values(
        &mut self,
        target: &CredentialTarget<'_>,
        version: u32,
    ) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM sealed_values WHERE owner = ? AND slug = ? AND version = ?")
            .bind(target.owner.as_str())
            .bind(target.slug.as_str())
            .bind(version)
            .execute(&mut *self.transaction)
            .await?;
        Ok(())
    }

    /// Adds a user that the store does not know: whoever owns a credential or a client is one.
    pub(super) async fn know(&mut self, user: &Principal) -> Result<(), StoreError> {
        if self.get::<User>(user.as_str()).await?.is_some() {
            return Ok(());
        }
        let now = self.now();
        self.put(user.as_str(), &User::member(now), None).await?;
        self.record_person(Event::UserAdded, user).await
    }
}

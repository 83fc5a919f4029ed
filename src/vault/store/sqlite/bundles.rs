//! Changes to bundles. Each is one transaction that also writes its ledger events.

use std::collections::{BTreeMap, BTreeSet};

use super::credentials::{due, id as credential_id};
use super::database::{Change, Database};
use super::objects::{self, Object, unverified};
use crate::substitution::slug::Slug;
use crate::vault::name::{Actor, Principal};
use crate::vault::people::{Bundle, BundleId, Share};
use crate::vault::record::{BundleRecord, CredentialRecord, Record as _};
use crate::vault::sharing;
use crate::vault::store::edit::{BundleEdit, BundleTarget};
use crate::vault::store::error::{StoreError, StoreUnavailable};

impl Database {
    pub async fn change_bundle(
        &self,
        actor: &Actor,
        target: &BundleTarget<'_>,
        edit: impl FnOnce(&mut BundleEdit) -> Result<(), StoreError> + Send,
    ) -> Result<(), StoreError> {
        let mut change = self.begin(actor).await?;
        change.permit_bundle(target).await?;
        if let Some(with) = target.with {
            change.require(with).await?;
        }
        if let Some(slug) = target.credential {
            let owner = &target.id.owner;
            let record = change.get(&credential_id(owner, slug)).await?;
            if !matches!(record, Some(CredentialRecord::Live(_))) {
                let (owner, slug) = (owner.clone(), slug.clone());
                return Err(StoreError::NotFound { owner, slug });
            }
        }
        let name = target.id.to_string();
        let before = match change.get::<BundleRecord>(&name).await? {
            Some(record) => Some(read(&name, Some(record))?),
            None => None,
        };
        let existed = before.is_some();
        let former = before.clone();
        let mut edited = BundleEdit::new(before, change.now());
        edit(&mut edited)?;
        if edited.events.is_empty() {
            return change.leave().await;
        }
        change.takes_away |= edited.takes_away;
        match &edited.bundle {
            Some(bundle) => change.put(&name, &BundleRecord::of(bundle), None).await?,
            None if existed => change.remove::<BundleRecord>(&name).await?,
            None => {}
        }
        if let Some(former) = &former {
            let left = withdrawn(former, edited.bundle.as_ref());
            let owner = &target.id.owner;
            change.keep_searching(owner, &left, &former.shares).await?;
        }
        change.know(&target.id.owner).await?;
        for event in edited.events {
            change.record_bundle(&target.id.owner, event).await?;
        }
        change.commit().await
    }

    pub async fn list_bundles(&self) -> Result<BTreeMap<BundleId, Bundle>, StoreUnavailable> {
        let (mut snapshot, key) = self.snapshot().await?;
        let rows = sqlx::query(objects::OF_KIND)
            .bind(BundleRecord::KIND)
            .fetch_all(&mut *snapshot)
            .await?;
        let bundles = rows.iter().map(|row| {
            let object = Object::read(row)?;
            let bundle = read(object.id, object.content(&key))?;
            let id = object.id.parse();
            let id = id.map_err(|_| unverified(BundleRecord::KIND, &object.id))?;
            Ok((id, bundle))
        });
        bundles.collect()
    }
}

fn read(name: &str, record: Option<BundleRecord>) -> Result<Bundle, StoreUnavailable> {
    record
        .and_then(BundleRecord::bundle)
        .ok_or_else(|| unverified(BundleRecord::KIND, &name))
}

/// The credentials that a bundle offered and does not offer any more.
fn withdrawn<'a>(former: &'a Bundle, bundle: Option<&Bundle>) -> BTreeSet<&'a Slug> {
    let offered: BTreeSet<&Slug> = bundle.iter().flat_map(|b| b.entries.values()).collect();
    let mut left: BTreeSet<&Slug> = former.entries.values().collect();
    left.retain(|slug| !offered.contains(slug));
    left
}

impl Change<'_> {
    /// Keeps with credentials what a bundle was shared with, because what these users receive is still
    /// searched for the values.
    async fn keep_searching(
        &mut self,
        owner: &Principal,
        slugs: &BTreeSet<&Slug>,
        former: &[Share],
    ) -> Result<(), StoreError> {
        let now = self.now();
        for slug in slugs {
            let id = credential_id(owner, slug);
            let mut record = match self.get(&id).await {
                // It is not used or opened, and does not keep the bundle from being taken away.
                Err(StoreError::Unavailable(error)) if error.is_alarming() => continue,
                found => found?,
            };
            let Some(CredentialRecord::Live(policy)) = &mut record else {
                continue;
            };
            if sharing::keep_ended(&mut policy.shares, former, now) {
                let record = CredentialRecord::Live(policy.clone());
                self.put(&id, &record, due(&record)).await?;
            }
        }
        Ok(())
    }

    /// The shares of the owner's bundles that hold a credential.
    pub(super) async fn shares_in_bundles(
        &mut self,
        owner: &Principal,
        slug: &Slug,
    ) -> Result<Vec<Share>, StoreError> {
        let rows = sqlx::query(objects::OF_KIND)
            .bind(BundleRecord::KIND)
            .fetch_all(&mut *self.transaction)
            .await?;
        let mut shares = Vec::new();
        for row in &rows {
            let object = Object::read(row)?;
            let id: Option<BundleId> = object.id.parse().ok();
            let bundle = object
                .content(&self.key)
                .and_then(BundleRecord::bundle)
                .filter(|bundle| bundle.entries.values().any(|held| held == slug));
            if id.is_some_and(|id| id.owner == *owner) {
                shares.extend(bundle.into_iter().flat_map(|bundle| bundle.shares));
            }
        }
        Ok(shares)
    }

    /// The bundle, if it exists.
    pub(super) async fn bundle(&mut self, id: &BundleId) -> Result<Bundle, StoreError> {
        let name = id.to_string();
        match self.get::<BundleRecord>(&name).await? {
            Some(record) => Ok(read(&name, Some(record))?),
            None => Err(StoreError::BundleNotFound(id.clone())),
        }
    }

    async fn permit_bundle(&mut self, target: &BundleTarget<'_>) -> Result<(), StoreError> {
        let shares = match self.get::<BundleRecord>(&target.id.to_string()).await? {
            Some(record) => read(&target.id.to_string(), Some(record))?.shares,
            None => Vec::new(),
        };
        let unknown = || StoreError::BundleNotFound(target.id.clone());
        self.permit_to(target.right, &target.id.owner, &shares, unknown)
            .await
    }
}

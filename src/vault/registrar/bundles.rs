//! Bundles: credentials of one owner under one name.

use std::collections::BTreeMap;

use super::Registrar;
use crate::policy::floor::FloorViolation;
use crate::substitution::slug::Slug;
use crate::vault::name::{Actor, ClientName};
use crate::vault::people::{Bundle, BundleId, Grantee};
use crate::vault::rights::Right;
use crate::vault::sharing::{self, Offer};
use crate::vault::store::edit::{BundleEdit, BundleTarget};
use crate::vault::store::{Event, StoreError};

/// Most credentials of a bundle.
const MOST_ENTRIES: usize = 1_000;

impl Registrar {
    /// Adds an empty bundle.
    pub async fn add_bundle(&self, actor: &Actor, id: &BundleId) -> Result<(), StoreError> {
        let edit = |edit: &mut BundleEdit| {
            if edit.bundle.is_some() {
                return Err(StoreError::BundleExists(id.clone()));
            }
            edit.bundle = Some(Bundle {
                entries: BTreeMap::new(),
                shares: Vec::new(),
                created: edit.now,
            });
            edit.record_event(Event::BundleAdded, None, format!("bundle {}", id.name));
            Ok(())
        };
        self.store.change_bundle(actor, &own(id), edit).await
    }

    /// Puts a credential into a bundle, under the slug `alias`. Returns whether that is new.
    pub async fn put_into_bundle(
        &self,
        actor: &Actor,
        id: &BundleId,
        alias: &Slug,
        slug: &Slug,
    ) -> Result<bool, StoreError> {
        let mut changed = false;
        let target = BundleTarget {
            credential: Some(slug),
            ..own(id)
        };
        let edit = |edit: &mut BundleEdit| {
            let bundle = edit.existing(id)?;
            if bundle.entries.len() >= MOST_ENTRIES {
                return Err(StoreError::TooMany("credentials in this bundle"));
            }
            let before = bundle.entries.insert(alias.clone(), slug.clone());
            changed = before.as_ref() != Some(slug);
            if changed {
                let detail = format!("bundle {}; {slug} as {alias}", id.name);
                edit.record_event(Event::BundleChanged, None, detail);
            }
            Ok(())
        };
        self.store.change_bundle(actor, &target, edit).await?;
        Ok(changed)
    }

    /// Takes the slug `alias` out of a bundle. Returns whether it was in it.
    pub async fn take_out_of_bundle(
        &self,
        actor: &Actor,
        id: &BundleId,
        alias: &Slug,
    ) -> Result<bool, StoreError> {
        let mut changed = false;
        let edit = |edit: &mut BundleEdit| {
            changed = edit.existing(id)?.entries.remove(alias).is_some();
            if changed {
                let detail = format!("bundle {}; without {alias}", id.name);
                edit.record_event(Event::BundleChanged, None, detail);
            }
            Ok(())
        };
        self.store.change_bundle(actor, &own(id), edit).await?;
        Ok(changed)
    }

    /// Shares a bundle. Its credentials' own limits hold, and those of the share. Returns whether
    /// anything is different.
    pub async fn share_bundle(
        &self,
        actor: &Actor,
        id: &BundleId,
        offer: &Offer,
    ) -> Result<bool, StoreError> {
        if offer.with == Grantee::Everyone && !self.floor.share_with_everyone {
            return Err(FloorViolation::Everyone.into());
        }
        let mut changed = false;
        let target = BundleTarget {
            with: Some(&offer.with),
            ..own(id)
        };
        let edit = |edit: &mut BundleEdit| {
            let now = edit.now;
            let bundle = edit.existing(id)?;
            changed = sharing::offer(&mut bundle.shares, &id.owner, offer, now)?;
            if changed {
                let detail = format!("bundle {}; {}", id.name, sharing::describe(offer));
                edit.record_event(Event::BundleShared, Some(&offer.with), detail);
            }
            Ok(())
        };
        self.store.change_bundle(actor, &target, edit).await?;
        Ok(changed)
    }

    /// Takes the share of a bundle back. Returns whether there was one.
    pub async fn unshare_bundle(
        &self,
        actor: &Actor,
        id: &BundleId,
        with: &Grantee,
    ) -> Result<bool, StoreError> {
        let mut changed = false;
        let target = BundleTarget {
            right: Right::TakeAway,
            ..own(id)
        };
        let edit = |edit: &mut BundleEdit| {
            let now = edit.now;
            changed = sharing::end(&mut edit.existing(id)?.shares, with, now);
            if changed {
                let detail = format!("bundle {}; with {with}", id.name);
                edit.record_event(Event::BundleUnshared, Some(with), detail);
            }
            Ok(())
        };
        self.store.change_bundle(actor, &target, edit).await?;
        Ok(changed)
    }

    /// Removes a bundle with its shares. The credentials stay; clients that are bound to it can use
    /// nothing.
    pub async fn remove_bundle(&self, actor: &Actor, id: &BundleId) -> Result<(), StoreError> {
        let target = BundleTarget {
            right: Right::TakeAway,
            ..own(id)
        };
        let edit = |edit: &mut BundleEdit| {
            edit.existing(id)?;
            edit.bundle = None;
            edit.record_event(Event::BundleRemoved, None, format!("bundle {}", id.name));
            Ok(())
        };
        self.store.change_bundle(actor, &target, edit).await
    }

    /// Limits a client to the slugs of a bundle; `None` lets it use everything of its principal.
    pub async fn bind_client(
        &self,
        actor: &Actor,
        name: &ClientName,
        bundle: Option<&BundleId>,
    ) -> Result<(), StoreError> {
        self.store.bind_client(actor, name, bundle).await
    }
}

/// What only the owner may change.
fn own(id: &BundleId) -> BundleTarget<'_> {
    BundleTarget {
        id,
        right: Right::Own,
        with: None,
        credential: None,
    }
}

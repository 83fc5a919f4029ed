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
                edit.takes_away = true;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vault::fixture::*;

    #[tokio::test]
    async fn what_a_bundle_no_longer_offers_is_still_searched_for() {
        let fixture = Fixture::new();
        let command = fixture.registrar().await;
        command.add_users(&["alice", "bob", "carol", "dan"]).await;
        for name in ["one", "two", "three", "four"] {
            command.add_secret("alice", name, name).await;
        }
        let id: BundleId = "alice/work".parse().unwrap();
        let put = async |alias: &str, name: &str| {
            let (alias, name) = (slug(alias), slug(name));
            let put = command.put_into_bundle(&actor(), &id, &alias, &name).await;
            assert!(put.unwrap());
        };
        command.add_bundle(&actor(), &id).await.unwrap();
        for name in ["one", "two", "three"] {
            put(name, name).await;
        }
        for name in ["bob", "dan"] {
            let shared = command.share_bundle(&actor(), &id, &with(name)).await;
            assert!(shared.unwrap());
        }
        // Before anything else ends.
        let dan = with("dan").with;
        let back = command.unshare_bundle(&actor(), &id, &dan).await;
        assert!(back.unwrap());
        let vault = fixture.vault().await;
        let all = ["one", "three", "two"];
        assert_eq!(vault.searched("bob").await, all);

        let one = slug("one");
        let out = command.take_out_of_bundle(&actor(), &id, &one).await;
        assert!(out.unwrap());
        assert_eq!(vault.value("bob", "one").await, None);
        assert_eq!(vault.searched("bob").await, all);
        // Under this slug is another credential from now on.
        put("two", "four").await;
        assert_eq!(vault.value("bob", "two").await.as_deref(), Some("four"));
        let every = ["four", "one", "three", "two"];
        assert_eq!(vault.searched("bob").await, every);
        command.remove_bundle(&actor(), &id).await.unwrap();
        for name in ["one", "two", "three", "four"] {
            assert_eq!(vault.value("bob", name).await, None);
        }
        assert_eq!(vault.searched("bob").await, every);
        assert_eq!(vault.searched("dan").await, every);
        assert!(vault.searched("carol").await.is_empty());
        // Nor is it forgotten by a server that starts now.
        assert_eq!(fixture.vault().await.searched("bob").await, every);
        assert!(command.store().check().await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_bundle_is_removed_although_something_in_it_was_edited() {
        let fixture = Fixture::new();
        let command = fixture.registrar().await;
        command.add_users(&["alice", "bob"]).await;
        command.add_secret("alice", "key", "v").await;
        let (id, key): (BundleId, Slug) = ("alice/work".parse().unwrap(), slug("key"));
        command.add_bundle(&actor(), &id).await.unwrap();
        let put = command.put_into_bundle(&actor(), &id, &key, &key).await;
        let shared = command.share_bundle(&actor(), &id, &with("bob")).await;
        assert!(put.unwrap() && shared.unwrap());
        let edit = "UPDATE objects SET document = ' ' || document WHERE kind = 'credential'";
        command.store().sqlite().execute(edit).await;
        command.remove_bundle(&actor(), &id).await.unwrap();
        assert!(command.store().list_bundles().await.unwrap().is_empty());
    }
}

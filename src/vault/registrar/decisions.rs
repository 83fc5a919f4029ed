//! What an owner decides about a credential, and what an administrator may take away.

use super::{Registrar, RegistrarError, checked, own};
use crate::policy::floor::FloorViolation;
use crate::policy::grant::Grant;
use crate::substitution::slug::Slug;
use crate::vault::model::{OVERLAP, State};
use crate::vault::name::{Actor, Principal};
use crate::vault::people::Grantee;
use crate::vault::record::{CredentialRecord, Policy};
use crate::vault::rights::Right;
use crate::vault::rotation::{self, Retention};
use crate::vault::sharing::{self, Offer};
use crate::vault::store::edit::{CredentialEdit, CredentialTarget};
use crate::vault::store::{Event, StoreError, StoreUnavailable};

impl Registrar {
    /// Revokes a credential. Returns whether it was active.
    pub async fn revoke(
        &self,
        actor: &Actor,
        owner: &Principal,
        slug: &Slug,
    ) -> Result<bool, StoreError> {
        let mut changed = false;
        let target = take_away(owner, slug);
        let edit = |edit: &mut CredentialEdit| {
            let now = edit.now;
            let policy = edit.policy(&target)?;
            changed = policy.state == State::Active;
            if changed {
                policy.state = State::Revoked;
                policy.searched_until = Some(now + OVERLAP);
                let version = policy.current();
                edit.record_event(Event::CredentialRevoked, version, "");
            }
            Ok(())
        };
        self.store.change_credential(actor, &target, edit).await?;
        Ok(changed)
    }

    /// Makes a revoked credential active again. Returns whether it was revoked.
    pub async fn restore(
        &self,
        actor: &Actor,
        owner: &Principal,
        slug: &Slug,
    ) -> Result<bool, StoreError> {
        let mut changed = false;
        let target = own(owner, slug);
        let edit = |edit: &mut CredentialEdit| {
            let policy = edit.policy(&target)?;
            changed = policy.state == State::Revoked;
            if changed {
                policy.state = State::Active;
                policy.searched_until = None;
                let version = policy.current();
                edit.record_event(Event::CredentialRestored, version, "");
            }
            Ok(())
        };
        self.store.change_credential(actor, &target, edit).await?;
        Ok(changed)
    }

    /// Removes a credential with its ciphertext and shares. Its name and the number of its last
    /// version stay. Returns the numbers of the versions whose values were erased.
    pub async fn delete(
        &self,
        actor: &Actor,
        owner: &Principal,
        slug: &Slug,
    ) -> Result<Vec<u32>, StoreError> {
        let mut erased = Vec::new();
        let target = take_away(owner, slug);
        // What something other than Egret wrote is removed without being read.
        if self.store.discard(actor, &target).await? {
            return Ok(erased);
        }
        let edit = |edit: &mut CredentialEdit| {
            let policy = edit.policy(&target)?;
            erased = policy.versions.iter().map(|v| v.number).collect();
            let (current, last) = (policy.current(), policy.last_version);
            edit.record = Some(CredentialRecord::Deleted(last));
            edit.record_event(Event::CredentialDeleted, current, numbers(&erased));
            Ok(())
        };
        self.store.change_credential(actor, &target, edit).await?;
        Ok(erased)
    }

    /// Changes where a credential may be used. Returns whether that differs from before.
    pub async fn allow(
        &self,
        actor: &Actor,
        owner: &Principal,
        slug: &Slug,
        grant: Grant,
    ) -> Result<bool, RegistrarError> {
        let grant = checked(grant)?;
        self.floor
            .check_grant(owner.as_str(), &grant)
            .map_err(StoreError::from)?;
        let mut changed = false;
        let target = own(owner, slug);
        let edit = |edit: &mut CredentialEdit| {
            let policy = edit.policy(&target)?;
            changed = policy.grant != grant;
            // What was decided before there was a floor is held against it at each use.
            if policy.grant.expires != grant.expires {
                self.floor.check_expiry(grant.expires, policy.rotated)?;
            }
            let narrows = grant.takes_away_from(&policy.grant);
            if changed {
                policy.grant = grant;
                let version = policy.current();
                // The limits themselves, which are public: an auditor wants to see what was
                // permitted.
                let detail = serde_json::to_string(&policy.grant)
                    .map_err(|error| StoreUnavailable::new(error.to_string()))?;
                edit.takes_away = narrows;
                edit.record_event(Event::CredentialAllowed, version, detail);
            }
            Ok(())
        };
        self.store.change_credential(actor, &target, edit).await?;
        Ok(changed)
    }

    /// Says how old a value may become, in seconds; `None` for any age. Returns whether that differs
    /// from before.
    pub async fn rotate_every(
        &self,
        actor: &Actor,
        owner: &Principal,
        slug: &Slug,
        every: Option<i64>,
    ) -> Result<bool, StoreError> {
        rotation::check_interval(every)?;
        let mut changed = false;
        let target = own(owner, slug);
        let edit = |edit: &mut CredentialEdit| {
            let policy = edit.policy(&target)?;
            changed = policy.rotate_every != every;
            if changed {
                policy.rotate_every = every;
                let version = policy.current();
                let detail = every.map_or("rotate never".to_owned(), |every| {
                    format!("rotate every {every} s")
                });
                edit.record_event(Event::CredentialAllowed, version, detail);
            }
            Ok(())
        };
        self.store.change_credential(actor, &target, edit).await?;
        Ok(changed)
    }

    /// Shares a credential, or changes the limits of a share. Returns whether anything is different.
    pub async fn share(
        &self,
        actor: &Actor,
        owner: &Principal,
        slug: &Slug,
        offer: &Offer,
    ) -> Result<bool, StoreError> {
        if offer.with == Grantee::Everyone && !self.floor.share_with_everyone {
            return Err(FloorViolation::Everyone.into());
        }
        let mut changed = false;
        let target = CredentialTarget {
            with: Some(&offer.with),
            ..own(owner, slug)
        };
        let edit = |edit: &mut CredentialEdit| {
            let now = edit.now;
            let policy = edit.policy(&target)?;
            changed = sharing::share(policy, owner, offer, now)?;
            if changed {
                let version = policy.current();
                let detail = sharing::describe(offer);
                edit.record_share(Event::CredentialShared, version, &offer.with, detail);
            }
            Ok(())
        };
        self.store.change_credential(actor, &target, edit).await?;
        Ok(changed)
    }

    /// Takes a share back. Returns whether there was one.
    pub async fn unshare(
        &self,
        actor: &Actor,
        owner: &Principal,
        slug: &Slug,
        with: &Grantee,
    ) -> Result<bool, StoreError> {
        let mut changed = false;
        let target = take_away(owner, slug);
        let edit = |edit: &mut CredentialEdit| {
            let now = edit.now;
            let policy = edit.policy(&target)?;
            changed = sharing::end(&mut policy.shares, with, now);
            if changed {
                let version = policy.current();
                let detail = format!("with {with}");
                edit.record_share(Event::CredentialUnshared, version, with, detail);
            }
            Ok(())
        };
        self.store.change_credential(actor, &target, edit).await?;
        Ok(changed)
    }

    /// Puts the version that waits in force and returns its number.
    pub async fn promote(
        &self,
        actor: &Actor,
        owner: &Principal,
        slug: &Slug,
        retention: &Retention,
    ) -> Result<u32, StoreError> {
        self.choose_version(
            actor,
            owner,
            slug,
            Event::CredentialPromoted,
            |edit, now| rotation::promote(edit, retention, now),
        )
        .await
    }

    /// Puts the version that was replaced last in force again and returns its number.
    pub async fn roll_back(
        &self,
        actor: &Actor,
        owner: &Principal,
        slug: &Slug,
    ) -> Result<u32, StoreError> {
        let event = Event::CredentialRolledBack;
        self.choose_version(actor, owner, slug, event, rotation::roll_back)
            .await
    }

    /// Erases the value of a version that is not in force.
    pub async fn destroy(
        &self,
        actor: &Actor,
        owner: &Principal,
        slug: &Slug,
        number: u32,
    ) -> Result<(), StoreError> {
        let event = Event::CredentialDestroyed;
        self.choose_version(actor, owner, slug, event, |policy, _| {
            rotation::destroy(policy, number).map(|()| number)
        })
        .await
        .map(drop)
    }

    async fn choose_version(
        &self,
        actor: &Actor,
        owner: &Principal,
        slug: &Slug,
        event: Event,
        choose: impl FnOnce(&mut Policy, i64) -> Result<u32, StoreError> + Send,
    ) -> Result<u32, StoreError> {
        let mut number = 0;
        let target = own(owner, slug);
        let edit = |edit: &mut CredentialEdit| {
            let now = edit.now;
            number = choose(edit.policy(&target)?, now)?;
            edit.record_event(event, number, "");
            Ok(())
        };
        self.store.change_credential(actor, &target, edit).await?;
        Ok(number)
    }
}

/// What an administrator may do as well.
fn take_away<'a>(owner: &'a Principal, slug: &'a Slug) -> CredentialTarget<'a> {
    CredentialTarget {
        right: Right::TakeAway,
        ..own(owner, slug)
    }
}

/// Which versions were erased, in words.
fn numbers(erased: &[u32]) -> String {
    let numbers: Vec<String> = erased.iter().map(u32::to_string).collect();
    format!("erased versions {}", numbers.join(" "))
}

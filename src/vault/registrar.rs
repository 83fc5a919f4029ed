//! The service through which everything is changed: credentials, shares, users, groups and clients.
//! It seals values and never opens them.

use std::sync::Arc;

use crate::clock;
use crate::policy::floor::Floor;
use crate::policy::grant::Grant;
use crate::policy::location::LocationRule;
use crate::secret::SecretBytes;
use crate::substitution::slug::Slug;
use crate::vault::credential_input::{CredentialInput, InvalidInput};
use crate::vault::keyring::Keyring;
use crate::vault::model::{MAX_DESCRIPTION, NewCredential, State};
use crate::vault::name::{Actor, Principal};
use crate::vault::record::{CredentialRecord, Policy};
use crate::vault::rights::Right;
use crate::vault::rotation::{self, Retention};
use crate::vault::seal::{SealError, Sealer};
use crate::vault::store::edit::{CredentialEdit, CredentialTarget, NewVersion};
use crate::vault::store::{
    Condition, Directory, Event, Listing, Store, StoreError, StoreUnavailable,
};

#[cfg(test)]
mod tests;

pub mod accounts;
mod approvals;
mod attachments;
mod bundles;
mod clients;
mod decisions;
mod egress;
mod key_requests;
mod mapped_groups;
pub mod people;
mod stand_ins;
pub mod tokens;

/// Changes what the store holds, for commands, API and page.
///
/// Who asks is an [`Actor`], whose rights are checked in the transaction of the change. The store
/// itself is private to a registrar: its holder cannot take events out of the outbox.
///
/// It holds the [`Sealer`] of a keyring and nothing that opens, so an attacker who takes over the
/// part of the program that holds a registrar can overwrite and remove credentials, which the ledger
/// shows, but cannot read one. Only [`Vault`](crate::vault::Vault) opens values:
///
/// ```compile_fail,E0599
/// # use egret::vault::{Credential, Registrar};
/// fn read(registrar: &Registrar, credential: &Credential) {
///     registrar.open_value(credential, None);
/// }
/// ```
///
/// ```
/// # use egret::vault::{Credential, Vault};
/// fn read(vault: &Vault, credential: &Credential) {
///     let _ = vault.open_value(credential, None);
/// }
/// ```
///
/// Nor does it give out the store, whose outbox holds the events that are not in the ledger yet:
///
/// ```compile_fail,E0599
/// # use egret::vault::Registrar;
/// fn forget(registrar: &Registrar) {
///     registrar.store();
/// }
/// ```
///
/// The half of a keyring that opens is private to the vault:
///
/// ```compile_fail,E0624
/// # use egret::vault::Keyring;
/// fn opener(keyring: &Keyring) {
///     keyring.opener();
/// }
/// ```
#[derive(Clone)]
pub struct Registrar {
    store: Store,
    sealer: Sealer,
    floor: Arc<Floor>,
}

/// Why a credential was not saved or changed. Never quotes a value.
#[derive(Debug, thiserror::Error)]
pub enum RegistrarError {
    /// The value does not fit the kind.
    #[error(transparent)]
    Input(#[from] InvalidInput),
    /// A credential without a host could never be used, and one for every host is not offered.
    #[error("name at least one host where the credential may be sent: --host api.example.com")]
    NoHost,
    /// It is too long, or has characters that a terminal would act on.
    #[error("a description has at most {MAX_DESCRIPTION} characters and no control characters")]
    Description,
    /// The store refused or failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Registrar {
    /// A registrar for `store`, which was opened with the same keyring.
    pub fn new(store: Store, keyring: &Keyring) -> Self {
        Self {
            store,
            sealer: keyring.sealer(),
            floor: Arc::default(),
        }
    }

    /// The same, under the operator's floor.
    pub fn under(self, floor: Floor) -> Self {
        Self {
            floor: Arc::new(floor),
            ..self
        }
    }

    /// Closes the connections to the store.
    pub async fn close(&self) {
        self.store.close().await;
    }

    /// The same, for changes that are made together by [`Registrar::finish`], or not at all. The store
    /// has to have this revision.
    pub async fn together(&self, actor: &Actor, revision: Option<i64>) -> Result<Self, StoreError> {
        Ok(Self {
            store: self.store.together(actor, revision).await?,
            ..self.clone()
        })
    }

    /// Makes the changes of a registrar that makes them together.
    pub async fn finish(&self, actor: &Actor) -> Result<(), StoreError> {
        self.store.finish(actor).await
    }

    /// The same, for a change that is made only if `condition` holds, which is checked in its
    /// transaction: otherwise it fails with [`StoreError::Changed`].
    pub fn when(&self, condition: Condition) -> Self {
        Self {
            store: self.store.when(condition),
            ..self.clone()
        }
    }

    /// Everything there is, and its revision. That is read first: what changes afterwards is noticed when
    /// changes are made to this revision.
    pub async fn everything(&self) -> Result<(i64, Directory, Listing), StoreUnavailable> {
        let changes = self.store.changes_since(0).await?;
        let listing = self.store.list(None).await?;
        let directory = changes.directory.unwrap_or_default();
        Ok((changes.head.revision, directory, listing))
    }

    /// The store, for tests that look into it.
    #[cfg(test)]
    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// Saves a new credential with the value `input` (see [`CredentialInput::parse`]) and returns
    /// its version. A grant without locations gets the default, any header.
    pub async fn add(
        &self,
        actor: &Actor,
        mut new: NewCredential,
        input: SecretBytes,
    ) -> Result<u32, RegistrarError> {
        new.grant = checked(new.grant)?;
        new.grant.uses = new.grant.uses.for_new();
        let owner = new.owner.as_str();
        self.floor
            .check_grant(owner, &new.grant)
            .and_then(|()| {
                let now = clock::unix_seconds();
                self.floor.check_expiry(new.grant.expires, now)
            })
            .map_err(StoreError::from)?;
        let readable = !new.description.chars().any(char::is_control);
        if !readable || new.description.chars().count() > MAX_DESCRIPTION {
            return Err(RegistrarError::Description);
        }
        rotation::check_interval(new.rotate_every)?;
        let input = CredentialInput::parse(new.kind, input)?;
        let target = own(&new.owner, &new.slug);
        let mut saved = 0;
        let edit = |edit: &mut CredentialEdit| {
            let last_version = match &edit.record {
                Some(CredentialRecord::Live(_)) => {
                    return Err(StoreError::Exists {
                        owner: new.owner.clone(),
                        slug: new.slug.clone(),
                    });
                }
                Some(CredentialRecord::Deleted(last)) => *last,
                None => 0,
            };
            let mut policy = policy(&new, last_version, edit.now);
            saved = rotation::rotate(&mut policy, &Retention::default(), edit.now)?;
            edit.record = Some(CredentialRecord::Live(Box::new(policy)));
            edit.values = Some(self.sealed(&input, &target, saved)?);
            edit.record_event(Event::CredentialCreated, saved, "");
            Ok(())
        };
        self.store.change_credential(actor, &target, edit).await?;
        Ok(saved)
    }

    /// Gives a credential a new value, which is in force at once, and returns its version.
    pub async fn rotate(
        &self,
        actor: &Actor,
        owner: &Principal,
        slug: &Slug,
        input: SecretBytes,
        retention: Retention,
    ) -> Result<u32, RegistrarError> {
        self.save_version(actor, &own(owner, slug), input, Some(retention))
            .await
    }

    /// Saves a new value that is not used before it is promoted, and returns its version.
    pub async fn stage(
        &self,
        actor: &Actor,
        owner: &Principal,
        slug: &Slug,
        input: SecretBytes,
    ) -> Result<u32, RegistrarError> {
        self.save_version(actor, &own(owner, slug), input, None)
            .await
    }

    /// Without a retention the version waits.
    async fn save_version(
        &self,
        actor: &Actor,
        target: &CredentialTarget<'_>,
        input: SecretBytes,
        retention: Option<Retention>,
    ) -> Result<u32, RegistrarError> {
        let found = self.store.get(target.owner, target.slug).await;
        let Some(credential) = found.map_err(StoreError::from)? else {
            let (owner, slug) = (target.owner.clone(), target.slug.clone());
            return Err(StoreError::NotFound { owner, slug }.into());
        };
        let input = CredentialInput::parse(credential.kind, input)?;
        let mut saved = 0;
        let edit = |edit: &mut CredentialEdit| {
            let now = edit.now;
            let policy = edit.policy(target)?;
            if policy.kind != input.kind() {
                return Err(StoreError::KindChanged(target.slug.clone()));
            }
            let (number, event, detail) = match &retention {
                Some(retention) => {
                    let number = rotation::rotate(policy, retention, now)?;
                    let detail = if retention.leaked { "leaked" } else { "" };
                    (number, Event::CredentialRotated, detail)
                }
                None => (rotation::stage(policy, now)?, Event::CredentialStaged, ""),
            };
            saved = number;
            edit.values = Some(self.sealed(&input, target, number)?);
            edit.record_event(event, number, detail);
            Ok(())
        };
        self.store.change_credential(actor, target, edit).await?;
        Ok(saved)
    }

    fn sealed(
        &self,
        input: &CredentialInput,
        target: &CredentialTarget<'_>,
        number: u32,
    ) -> Result<NewVersion, SealError> {
        let fields = input.seal(&self.sealer, target.owner, target.slug, number)?;
        Ok(NewVersion { number, fields })
    }
}

/// What only the owner may change.
fn own<'a>(owner: &'a Principal, slug: &'a Slug) -> CredentialTarget<'a> {
    CredentialTarget {
        owner,
        slug,
        right: Right::Own,
        with: None,
    }
}

/// A new credential without a version.
fn policy(new: &NewCredential, last_version: u32, now: i64) -> Policy {
    Policy {
        kind: new.kind,
        description: new.description.clone(),
        grant: new.grant.clone(),
        state: State::Active,
        searched_until: None,
        created: now,
        rotated: now,
        rotate_every: new.rotate_every,
        last_version,
        versions: Vec::new(),
        shares: Vec::new(),
        attachments: Vec::new(),
        stand_ins: Vec::new(),
    }
}

fn checked(mut grant: Grant) -> Result<Grant, RegistrarError> {
    if grant.hosts.is_empty() {
        return Err(RegistrarError::NoHost);
    }
    if grant.locations.is_empty() {
        grant.locations.push(LocationRule::Header(None));
    }
    Ok(grant)
}

//! Puts values into the store. It seals and never opens them.

use crate::policy::grant::Grant;
use crate::policy::location::LocationRule;
use crate::secret::SecretBytes;
use crate::substitution::slug::Slug;
use crate::vault::credential_input::{CredentialInput, InvalidInput};
use crate::vault::keyring::Keyring;
use crate::vault::model::{MAX_DESCRIPTION, NewCredential};
use crate::vault::name::{Actor, Principal};
use crate::vault::seal::Sealer;
use crate::vault::store::{Store, StoreError};

/// Seals values and saves them in the store.
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
    /// A registrar for `store`, which must belong to this keyring's master key, or to none yet.
    pub async fn new(store: Store, keyring: &Keyring) -> Result<Self, StoreError> {
        store.bind_key(keyring.id()).await?;
        Ok(Self {
            store,
            sealer: keyring.sealer(),
        })
    }

    /// The store, for changes that concern no value.
    pub fn store(&self) -> &Store {
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
        let readable = !new.description.chars().any(char::is_control);
        if !readable || new.description.chars().count() > MAX_DESCRIPTION {
            return Err(RegistrarError::Description);
        }
        let input = CredentialInput::parse(new.kind, input)?;
        let seal = |version| input.seal(&self.sealer, &new.owner, &new.slug, version);
        Ok(self.store.create_credential(actor, &new, seal).await?)
    }

    /// Gives a credential a new value and returns the new version.
    pub async fn rotate(
        &self,
        actor: &Actor,
        owner: &Principal,
        slug: &Slug,
        input: SecretBytes,
    ) -> Result<u32, RegistrarError> {
        let Some(credential) = self
            .store
            .get(owner, slug)
            .await
            .map_err(StoreError::from)?
        else {
            let (owner, slug) = (owner.clone(), slug.clone());
            return Err(StoreError::NotFound { owner, slug }.into());
        };
        let input = CredentialInput::parse(credential.kind, input)?;
        let seal = |version| input.seal(&self.sealer, owner, slug, version);
        Ok(self
            .store
            .rotate(actor, owner, slug, input.kind(), seal)
            .await?)
    }

    /// Changes where a credential may be used. Returns whether that differs from before.
    pub async fn allow(
        &self,
        actor: &Actor,
        owner: &Principal,
        slug: &Slug,
        grant: Grant,
    ) -> Result<bool, RegistrarError> {
        Ok(self
            .store
            .allow(actor, owner, slug, &checked(grant)?)
            .await?)
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

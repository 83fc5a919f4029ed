//! Hands credentials over to another owner. The values are bound to their owner, so they are opened
//! and sealed again: the only change that opens values, and not one that a
//! [`Registrar`](crate::vault::Registrar) can make.

use std::collections::BTreeMap;

use crate::secret::SecretBytes;
use crate::substitution::slug::{Field, Slug};
use crate::vault::keyring::Keyring;
use crate::vault::model::{Credential, SealedFields};
use crate::vault::name::{Actor, Principal};
use crate::vault::seal::{EncryptionContext, OpenError, Opener, SealError, Sealer};
use crate::vault::store::edit::Handover;
use crate::vault::store::{Store, StoreError};

/// Why nothing was handed over.
#[derive(Debug, thiserror::Error)]
pub enum HandoverError {
    /// A value could not be opened.
    #[error("the value of {slug} could not be opened, so nothing was handed over: {error}")]
    Open {
        /// Which credential.
        slug: Slug,
        /// Why.
        error: OpenError,
    },
    /// The store refused or failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The values of one credential, open until they are sealed again.
struct Opened {
    version: u32,
    fields: Vec<(Option<Field>, SecretBytes)>,
}

/// Hands one credential over and returns the number of its version there. Shares end: they were the
/// decision of its former owner.
pub async fn hand_over(
    store: &Store,
    keyring: &Keyring,
    actor: &Actor,
    owner: &Principal,
    slug: &Slug,
    to: &Principal,
) -> Result<(), HandoverError> {
    let found = store.get(owner, slug).await.map_err(StoreError::from)?;
    let Some(credential) = found else {
        let (owner, slug) = (owner.clone(), slug.clone());
        return Err(StoreError::NotFound { owner, slug }.into());
    };
    move_all(store, keyring, actor, &[credential], owner, to, false).await
}

/// Hands everything that `owner` has over to `to`, clients included: all of it, or nothing. Returns
/// the slugs.
pub async fn claim(
    store: &Store,
    keyring: &Keyring,
    actor: &Actor,
    owner: &Principal,
    to: &Principal,
) -> Result<Vec<Slug>, HandoverError> {
    let listing = store.list(Some(owner)).await.map_err(StoreError::from)?;
    if !listing.unverified.is_empty() {
        return Err(StoreError::Invalid(
            "a credential of this owner was changed by something that is not Egret; delete it first",
        )
        .into());
    }
    let slugs = listing.credentials.iter().map(|c| c.slug.clone()).collect();
    move_all(store, keyring, actor, &listing.credentials, owner, to, true).await?;
    Ok(slugs)
}

async fn move_all(
    store: &Store,
    keyring: &Keyring,
    actor: &Actor,
    credentials: &[Credential],
    owner: &Principal,
    to: &Principal,
    with_clients: bool,
) -> Result<(), HandoverError> {
    let mut opened = BTreeMap::new();
    for credential in credentials {
        let values = open(&keyring.opener(), credential);
        let values = values.map_err(|error| HandoverError::Open {
            slug: credential.slug.clone(),
            error,
        })?;
        opened.insert(credential.slug.clone(), values);
    }
    let sealer = keyring.sealer();
    let handover = Handover {
        owner,
        to,
        slugs: opened
            .iter()
            .map(|(slug, opened)| (slug.clone(), opened.version))
            .collect(),
        with_clients,
    };
    let seal = |slug: &Slug, version: u32| match opened.get(slug) {
        Some(values) => seal(&sealer, values, to, slug, version),
        None => Err(SealError),
    };
    Ok(store.hand_over(actor, &handover, seal).await?)
}

fn open(opener: &Opener, credential: &Credential) -> Result<Opened, OpenError> {
    let mut fields = Vec::new();
    for field in credential.references() {
        let sealed = credential.sealed_value(field);
        let context = EncryptionContext {
            owner: &credential.owner,
            slug: &credential.slug,
            field,
            version: credential.version,
        };
        let value = opener.open(context, sealed.ok_or(OpenError::FieldUnknown)?.sealed())?;
        fields.push((field.cloned(), value));
    }
    Ok(Opened {
        version: credential.version,
        fields,
    })
}

fn seal(
    sealer: &Sealer,
    opened: &Opened,
    owner: &Principal,
    slug: &Slug,
    version: u32,
) -> Result<SealedFields, SealError> {
    let fields = opened.fields.iter().map(|(field, value)| {
        let context = EncryptionContext {
            owner,
            slug,
            field: field.as_ref(),
            version,
        };
        Ok((field.clone(), sealer.seal(context, value)?.into()))
    });
    fields.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vault::client_proof::ClientProof;
    use crate::vault::fixture::*;
    use crate::vault::name::ClientName;
    use crate::vault::sharing::Offer;

    #[tokio::test]
    async fn what_is_handed_over_is_the_others_and_its_shares_end() {
        let fixture = Fixture::new();
        let command = fixture.registrar().await;
        command.add_users(&["alice", "bob", "carol"]).await;
        let [alice, bob] = ["alice", "bob"].map(principal);
        let key = slug("key");
        command.add_secret("alice", "key", "the value").await;
        let offer = Offer::to("carol".parse().unwrap());
        command.share(&actor(), &alice, &key, &offer).await.unwrap();
        let vault = fixture.vault().await;
        assert_eq!(vault.value("carol", "key").await.unwrap(), "the value");
        hand_over(command.store(), &keyring(), &actor(), &alice, &key, &bob)
            .await
            .unwrap();
        assert_eq!(vault.value("bob", "key").await.unwrap(), "the value");
        assert_eq!(vault.value("alice", "key").await, None);
        assert_eq!(vault.value("carol", "key").await, None);
        // A user hands over what is the user's own, and an administrator nothing.
        let theirs = Actor::user("api", &alice);
        let refused = hand_over(command.store(), &keyring(), &theirs, &bob, &key, &alice).await;
        assert!(refused.unwrap_err().to_string().contains("no credential"));
    }

    #[tokio::test]
    async fn a_claim_moves_everything_or_nothing() {
        let fixture = Fixture::new();
        let command = fixture.registrar().await;
        command.add_users(&["alice"]).await;
        let [default, alice] = ["default", "alice"].map(principal);
        for name in ["one", "two"] {
            command.add_secret("default", name, name).await;
        }
        let laptop = ClientName::parse("laptop").unwrap();
        command
            .add_client(
                &actor(),
                &laptop,
                &default,
                ClientProof::Token([1; 32]),
                None,
            )
            .await
            .unwrap();
        command.add_secret("alice", "two", "her own").await;
        let claimed = claim(command.store(), &keyring(), &actor(), &default, &alice).await;
        assert!(matches!(
            claimed,
            Err(HandoverError::Store(StoreError::Exists { .. }))
        ));
        let vault = fixture.vault().await;
        assert_eq!(vault.value("default", "one").await.unwrap(), "one");

        command
            .delete(&actor(), &alice, &slug("two"))
            .await
            .unwrap();
        let claimed = claim(command.store(), &keyring(), &actor(), &default, &alice).await;
        assert_eq!(claimed.unwrap(), [slug("one"), slug("two")]);
        for name in ["one", "two"] {
            assert_eq!(vault.value("alice", name).await.unwrap(), name);
            assert_eq!(vault.value("default", name).await, None);
        }
        assert_eq!(vault.client(&laptop, NOW).unwrap().principal, alice);
    }
}

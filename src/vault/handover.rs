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
use crate::vault::store::{Condition, Store, StoreError};

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

/// Hands credentials over for a part of the program that must not open values. The keys are private to
/// it, and it gives nothing out: what it opens, it seals again for the new owner.
///
/// ```compile_fail,E0616
/// # use egret::vault::handover::Handovers;
/// fn keys(handovers: &Handovers) {
///     let _ = &handovers.keyring;
/// }
/// ```
#[derive(Clone)]
pub struct Handovers {
    store: Store,
    keyring: Keyring,
}

impl Handovers {
    /// For credentials in `store`, which was opened with the same keyring.
    pub fn new(store: Store, keyring: &Keyring) -> Self {
        Self {
            store,
            keyring: keyring.clone(),
        }
    }

    /// [`hand_over`], if the credential is still as it was seen.
    ///
    /// # Errors
    /// When the actor may not, or nothing could be handed over.
    pub async fn hand_over(
        &self,
        actor: &Actor,
        seen: Option<Condition>,
        owner: &Principal,
        slug: &Slug,
        to: &Principal,
    ) -> Result<(), HandoverError> {
        let store = match seen {
            Some(condition) => self.store.when(condition),
            None => self.store.clone(),
        };
        hand_over(&store, &self.keyring, actor, owner, slug, to).await
    }
}

/// The values of one credential, open until they are sealed again.
struct Opened {
    /// The version in force.
    current: u32,
    /// Its fields, and those of the other versions that answers are still searched for.
    versions: BTreeMap<u32, Fields>,
}

type Fields = Vec<(Option<Field>, SecretBytes)>;

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
            .map(|(slug, opened)| (slug.clone(), opened.current))
            .collect(),
        with_clients,
    };
    let seal = |slug: &Slug, version: u32, number: u32| {
        let values = opened.get(slug).and_then(|of| of.versions.get(&version));
        let sealed = values.map(|values| seal(&sealer, values, to, slug, number));
        sealed.transpose()
    };
    Ok(store.hand_over(actor, &handover, seal).await?)
}

/// Opens what answers are searched for. Of the values that are not in force those that do not open are
/// left out: they cannot have been sent either.
fn open(opener: &Opener, credential: &Credential) -> Result<Opened, OpenError> {
    let current = credential.version;
    let fields = open_version(opener, credential, current, &credential.fields)?;
    let mut versions = BTreeMap::from([(current, fields)]);
    for stored in credential.replaced.iter().chain(&credential.staged) {
        if let Ok(fields) = open_version(opener, credential, stored.version, &stored.fields) {
            versions.insert(stored.version, fields);
        }
    }
    Ok(Opened { current, versions })
}

fn open_version(
    opener: &Opener,
    Credential { owner, slug, .. }: &Credential,
    version: u32,
    fields: &SealedFields,
) -> Result<Fields, OpenError> {
    let fields = fields.iter().map(|(field, value)| {
        let context = EncryptionContext {
            owner,
            slug,
            field: field.as_ref(),
            version,
        };
        Ok((field.clone(), opener.open(context, value.sealed())?))
    });
    fields.collect()
}

fn seal(
    sealer: &Sealer,
    opened: &Fields,
    owner: &Principal,
    slug: &Slug,
    version: u32,
) -> Result<SealedFields, SealError> {
    let fields = opened.iter().map(|(field, value)| {
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
    use crate::vault::rotation::Retention;
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
    async fn what_is_handed_over_is_still_searched_for_with_everyone_who_had_it() {
        let fixture = Fixture::new();
        let command = fixture.registrar().await;
        command.add_users(&["alice", "bob", "carol", "dan"]).await;
        let (alice, bob, key) = (principal("alice"), principal("bob"), slug("key"));
        command.add_secret("alice", "key", "first").await;
        let shared = command.share(&actor(), &alice, &key, &with("carol")).await;
        let bundle = "alice/work".parse().unwrap();
        command.add_bundle(&actor(), &bundle).await.unwrap();
        let put = command.put_into_bundle(&actor(), &bundle, &key, &key).await;
        let in_bundle = command.share_bundle(&actor(), &bundle, &with("dan")).await;
        assert!(shared.unwrap() && put.unwrap() && in_bundle.unwrap());
        let keep = Retention::default();
        let rotated = command
            .rotate(&actor(), &alice, &key, secret("second"), keep)
            .await;
        rotated.unwrap();
        let staged = command.stage(&actor(), &alice, &key, secret("third")).await;
        staged.unwrap();
        hand_over(command.store(), &keyring(), &actor(), &alice, &key, &bob)
            .await
            .unwrap();
        let vault = fixture.vault().await;
        for who in ["alice", "bob", "carol", "dan"] {
            let searched = vault.searched(who).await;
            assert_eq!(searched, ["first", "second", "third"], "{who}");
        }
        assert_eq!(vault.value("bob", "key").await.unwrap(), "second");
        for who in ["alice", "carol", "dan"] {
            assert_eq!(vault.value(who, "key").await, None, "{who}");
        }
        // What was replaced or staged there is nothing that the new owner could put in force.
        assert!(command.roll_back(&actor(), &bob, &key).await.is_err());
        let promoted = command.promote(&actor(), &bob, &key, &keep).await;
        assert!(promoted.is_err());
        assert!(command.store().check().await.unwrap().is_empty());
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

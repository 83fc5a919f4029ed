//! The keys that are derived from the master key.
//!
//! The master key itself is the input of HKDF-SHA256 and of nothing else, with a label for each
//! purpose, and is wiped right after. A weakness in one use, such as the token signatures,
//! therefore reveals nothing about the others.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, RandomizedNonceKey};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::{hkdf, hmac};
use zeroize::Zeroizing;

use crate::vault::key_ring::{Generations, InUse, KeyId};
use crate::vault::key_wrap::KeyWrap;
use crate::vault::policy_key::PolicyKeys;
use crate::vault::seal::{self, Opener, Sealer};

mod error;
mod source;
mod sources;

pub use error::KeyringError;
pub use source::{InvalidKeySource, KeySource, MASTER_KEY};
pub use sources::KeySources;

/// The derived keys, of one master key or, while it is rotated, of two. Clones share them.
#[derive(Clone)]
pub struct Keyring {
    sealer: Sealer,
    opener: Opener,
    tokens: TokenKey,
    policy: PolicyKeys,
    wrapping: Generations<RandomizedNonceKey>,
}

/// What is derived from one master key.
struct Derived {
    id: KeyId,
    sealing: Zeroizing<[u8; 32]>,
    tokens: hmac::Key,
    wrapping: RandomizedNonceKey,
    policy: [Zeroizing<[u8; 32]>; 3],
}

impl Keyring {
    /// Loads the master key, and the next one if there is one, and derives the keys.
    ///
    /// A relative `file:` path is relative to `data_dir`. A missing file is created with a random
    /// key.
    pub async fn load(
        sources: &KeySources,
        data_dir: &std::path::Path,
    ) -> Result<Self, KeyringError> {
        // The next one first: a rotation that ends in between puts it in the place of the other.
        let next = sources.read_next(data_dir).await?;
        let failed = |reason: String| KeyringError {
            source_name: sources.master.to_string(),
            reason,
        };
        let master = sources.master.read(data_dir).await.map_err(failed)?;
        let failed = |error: Unspecified| failed(error.to_string());
        let keyring = Self::from_master(&master).map_err(failed)?;
        if let Some(next) = next {
            keyring.accept(&next).map_err(failed)?;
        }
        Ok(keyring)
    }

    /// Accepts the next master key too, if there is one by now.
    pub async fn take_next(
        &self,
        sources: &KeySources,
        data_dir: &std::path::Path,
    ) -> Result<(), KeyringError> {
        let Some(next) = sources.read_next(data_dir).await? else {
            return Ok(());
        };
        self.accept(&next).map_err(|error| KeyringError {
            source_name: sources.next_name(data_dir),
            reason: error.to_string(),
        })
    }

    /// A keyring under a random key that is stored nowhere, for demonstrations and tests.
    pub fn ephemeral() -> Result<Self, Unspecified> {
        let mut master = Zeroizing::new([0; MASTER_KEY]);
        aws_lc_rs::rand::fill(master.as_mut_slice())?;
        Self::from_master(&master)
    }

    /// Derives the keys from a master key, which the caller has to wipe.
    pub fn from_master(master: &[u8; MASTER_KEY]) -> Result<Self, Unspecified> {
        let derived = Derived::from(master)?;
        let (id, in_use) = (derived.id, InUse::default());
        let (sealer, opener) = seal::halves(&derived.sealing, id, &in_use)?;
        let policy = derived.policy.each_ref().map(|key| &**key);
        Ok(Self {
            sealer,
            opener,
            tokens: TokenKey(Generations::new(id, derived.tokens, &in_use)),
            policy: PolicyKeys::new(id, policy, &in_use)?,
            wrapping: Generations::new(id, derived.wrapping, &in_use),
        })
    }

    /// Accepts what another master key sealed. The store says which of them is in use.
    pub fn accept(&self, master: &[u8; MASTER_KEY]) -> Result<(), Unspecified> {
        let derived = Derived::from(master)?;
        let id = derived.id;
        let policy = derived.policy.each_ref().map(|key| &**key);
        self.sealer.add(&derived.sealing, id)?;
        self.policy.add(id, policy)?;
        self.tokens.0.add(id, derived.tokens);
        // Last: the others have it when this one says that it is accepted.
        self.wrapping.add(id, derived.wrapping);
        Ok(())
    }

    /// The name of the master key in use.
    pub fn id(&self) -> KeyId {
        self.wrapping.current().id
    }

    /// The names of all master keys that are accepted, oldest first.
    pub fn accepted(&self) -> Vec<KeyId> {
        self.wrapping.all().iter().map(|known| known.id).collect()
    }

    /// [`Keyring::accepted`] as texts.
    pub fn names(&self) -> Vec<String> {
        self.accepted().iter().map(KeyId::to_string).collect()
    }

    /// The half of the wrapping key that seals.
    pub fn sealer(&self) -> Sealer {
        self.sealer.clone()
    }

    /// The half that opens. Only the vault asks for it.
    pub(in crate::vault) fn opener(&self) -> Opener {
        self.opener.clone()
    }

    /// Seals and opens other keys for one purpose, such as the one that signs the ledger's
    /// checkpoints. A key that was sealed for one purpose does not open for another.
    pub fn key_wrap(&self, purpose: &'static str) -> KeyWrap {
        KeyWrap::new(self.wrapping.clone(), purpose)
    }

    /// The keys that authenticate what the store holds in the clear.
    pub fn policy_keys(&self) -> PolicyKeys {
        self.policy.clone()
    }

    /// The key that signs action tokens.
    pub fn token_key(&self) -> TokenKey {
        self.tokens.clone()
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyring")
            .field("id", &self.id())
            .finish_non_exhaustive()
    }
}

impl Derived {
    fn from(master: &[u8; MASTER_KEY]) -> Result<Self, Unspecified> {
        let root = hkdf::Salt::new(hkdf::HKDF_SHA256, b"egret master key").extract(master);
        let tokens = derive::<32>(&root, "egret action token v1")?;
        let wrapping = derive::<32>(&root, "egret key wrapping v1")?;
        Ok(Self {
            id: KeyId(*derive(&root, "egret key id v1")?),
            sealing: derive(&root, "egret vault wrapping v1")?,
            tokens: hmac::Key::new(hmac::HMAC_SHA256, tokens.as_slice()),
            wrapping: RandomizedNonceKey::new(&AES_256_GCM, wrapping.as_slice())?,
            policy: [
                derive(&root, "egret policy tag v1")?,
                derive(&root, "egret policy digest v1")?,
                derive(&root, "egret policy head v1")?,
            ],
        })
    }
}

/// Signs and verifies action tokens (HMAC-SHA256).
#[derive(Clone)]
pub struct TokenKey(Generations<hmac::Key>);

impl TokenKey {
    /// The signature of `message`, 32 bytes.
    pub fn sign(&self, message: &[u8]) -> hmac::Tag {
        hmac::sign(&self.0.current().key, message)
    }

    /// Compares in constant time, so that a signature cannot be found byte by byte. One under either
    /// master key counts while both are accepted.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        let keys = self.0.all();
        let is_of = |key: &hmac::Key| hmac::verify(key, message, signature).is_ok();
        keys.iter().any(|known| is_of(&known.key))
    }
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenKey(..)")
    }
}

struct Length(usize);

impl hkdf::KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

fn derive<const N: usize>(
    root: &hkdf::Prk,
    label: &str,
) -> Result<Zeroizing<[u8; N]>, Unspecified> {
    let mut key = Zeroizing::new([0; N]);
    root.expand(&[label.as_bytes()], Length(N))?
        .fill(key.as_mut_slice())?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_master_key_gives_the_same_keys_and_another_gives_others() {
        let [a, b, c] = [[1; 32], [1; 32], [2; 32]].map(|m| Keyring::from_master(&m).unwrap());
        assert_eq!(a.id(), b.id());
        assert_ne!(a.id(), c.id());
        let signature = a.token_key().sign(b"message");
        assert!(b.token_key().verify(b"message", signature.as_ref()));
        assert!(!b.token_key().verify(b"massage", signature.as_ref()));
        assert!(!c.token_key().verify(b"message", signature.as_ref()));
    }

    #[test]
    fn what_either_master_key_sealed_is_accepted_while_both_are_loaded() {
        let [old, new, both] = [1, 2, 1].map(|m| Keyring::from_master(&[m; 32]).unwrap());
        both.accept(&[2; 32]).unwrap();
        assert_eq!(both.accepted(), [old.id(), new.id()]);
        let seal = |keyring: &Keyring| {
            let key = crate::secret::SecretBytes::new(vec![3; 32]);
            keyring.key_wrap("test").wrap(&key).unwrap()
        };
        for keyring in [&old, &new] {
            assert!(both.key_wrap("test").unwrap(&seal(keyring)).is_ok());
            let signature = keyring.token_key().sign(b"message");
            assert!(both.token_key().verify(b"message", signature.as_ref()));
        }
        assert!(old.key_wrap("test").unwrap(&seal(&both)).is_ok());
        both.policy_keys().follow(&new.id().0).unwrap();
        assert_eq!(both.clone().id(), new.id());
        assert!(new.key_wrap("test").unwrap(&seal(&both)).is_ok());
        assert!(old.key_wrap("test").unwrap(&seal(&both)).is_err());
    }

    /// Frozen: a change of salt or label would lock every existing store.
    #[test]
    fn derivation_is_frozen() {
        assert_eq!(
            Keyring::from_master(&[7; 32]).unwrap().id().to_string(),
            "8f27b12f21b2baca"
        );
    }

    #[test]
    fn debug_shows_the_name_of_the_key_only() {
        let keyring = Keyring::from_master(&[7; 32]).unwrap();
        assert_eq!(format!("{:?}", keyring.token_key()), "TokenKey(..)");
        assert_eq!(
            format!("{keyring:?}"),
            format!("Keyring {{ id: KeyId({}), .. }}", keyring.id())
        );
    }
}

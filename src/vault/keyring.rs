//! The keys that are derived from the master key.
//!
//! The master key itself is the input of HKDF-SHA256 and of nothing else, with a label for each
//! purpose, and is wiped right after. A weakness in one use, such as the token signatures,
//! therefore reveals nothing about the others.

use std::fmt;

use aws_lc_rs::{hkdf, hmac};
use zeroize::Zeroizing;

use crate::vault::key_wrap::KeyWrap;
use crate::vault::seal::{self, KeyId, Opener, Sealer};

mod source;

pub use source::{InvalidKeySource, KeySource, MASTER_KEY};

/// The derived keys.
pub struct Keyring {
    id: KeyId,
    sealer: Sealer,
    opener: Opener,
    tokens: TokenKey,
    wrapping: Zeroizing<[u8; 32]>,
}

/// The master key could not be loaded. Never holds a part of it.
#[derive(Debug, thiserror::Error)]
#[error("the master key cannot be loaded from {source_name}: {reason}")]
pub struct KeyringError {
    /// The key source as it is written in the configuration.
    pub source_name: String,
    /// What went wrong and how to fix it.
    pub reason: String,
}

impl Keyring {
    /// Loads the master key and derives the keys.
    ///
    /// A relative `file:` path is relative to `data_dir`. A missing file is created with a random
    /// key.
    pub async fn load(
        source: &KeySource,
        data_dir: &std::path::Path,
    ) -> Result<Self, KeyringError> {
        let failed = |reason: String| KeyringError {
            source_name: source.to_string(),
            reason,
        };
        let master = source.read(data_dir).await.map_err(failed)?;
        Self::from_master(&master).map_err(|error| failed(error.to_string()))
    }

    /// A keyring under a random key that is stored nowhere, for demonstrations and tests.
    pub fn ephemeral() -> Result<Self, aws_lc_rs::error::Unspecified> {
        let mut master = Zeroizing::new([0; MASTER_KEY]);
        aws_lc_rs::rand::fill(master.as_mut_slice())?;
        Self::from_master(&master)
    }

    /// Derives the keys from a master key, which the caller has to wipe.
    pub fn from_master(master: &[u8; MASTER_KEY]) -> Result<Self, aws_lc_rs::error::Unspecified> {
        let root = hkdf::Salt::new(hkdf::HKDF_SHA256, b"egret master key").extract(master);
        let id = KeyId(*derive(&root, "egret key id v1")?);
        let (sealer, opener) = seal::halves(&*derive(&root, "egret vault wrapping v1")?, id)?;
        let tokens = derive::<32>(&root, "egret action token v1")?;
        let tokens = TokenKey(hmac::Key::new(hmac::HMAC_SHA256, tokens.as_slice()));
        let wrapping = derive(&root, "egret key wrapping v1")?;
        Ok(Self {
            id,
            sealer,
            opener,
            tokens,
            wrapping,
        })
    }

    /// The name of the master key.
    pub fn id(&self) -> KeyId {
        self.id
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
    ///
    /// # Errors
    /// When the system has no memory.
    pub fn key_wrap(
        &self,
        purpose: &'static str,
    ) -> Result<KeyWrap, aws_lc_rs::error::Unspecified> {
        KeyWrap::new(&self.wrapping, self.id, purpose)
    }

    /// The key that signs action tokens.
    pub fn token_key(&self) -> TokenKey {
        self.tokens.clone()
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyring")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// Signs and verifies action tokens (HMAC-SHA256).
#[derive(Clone)]
pub struct TokenKey(hmac::Key);

impl TokenKey {
    /// The signature of `message`, 32 bytes.
    pub fn sign(&self, message: &[u8]) -> hmac::Tag {
        hmac::sign(&self.0, message)
    }

    /// Compares in constant time, so that a signature cannot be found byte by byte.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        hmac::verify(&self.0, message, signature).is_ok()
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
) -> Result<Zeroizing<[u8; N]>, aws_lc_rs::error::Unspecified> {
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

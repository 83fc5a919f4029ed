//! Seals keys other than data keys under the master key, for files beside the store that must be
//! useless to a thief.
//!
//! Each file is one AES-256-GCM message under a key derived for this alone. The purpose of the key
//! is additional data, so that one file cannot replace another.

use std::fmt;

use aws_lc_rs::aead::{Aad, Nonce, RandomizedNonceKey};
use zeroize::Zeroizing;

use super::key_ring::{Generation, Generations, KeyId};
use super::seal::{self, OpenError, SealError};
use crate::secret::SecretBytes;

const FORMAT: u8 = 1;
const NONCE: usize = 12;

/// Wraps keys for one purpose.
pub struct KeyWrap {
    keys: Generations<RandomizedNonceKey>,
    purpose: &'static str,
}

/// The name of the master key under which a key was wrapped; `None` if that cannot be read.
pub fn wrapped_under(sealed: &[u8]) -> Option<KeyId> {
    let (&[format], rest) = sealed.split_first_chunk()?;
    let (id, _) = rest.split_first_chunk()?;
    (format == FORMAT).then_some(KeyId(*id))
}

impl KeyWrap {
    pub(super) fn new(keys: Generations<RandomizedNonceKey>, purpose: &'static str) -> Self {
        Self { keys, purpose }
    }

    /// Seals a key: format, name of the master key, nonce, ciphertext.
    ///
    /// # Errors
    /// When the system has no randomness or no memory.
    pub fn wrap(&self, key: &SecretBytes) -> Result<Vec<u8>, SealError> {
        let Generation { id, key: wrapping } = self.keys.current();
        let (nonce, ciphertext) = seal::encrypt(&wrapping, self.aad(id), key.expose())?;
        let parts: [&[u8]; 4] = [&[FORMAT], &id.0, &nonce, &ciphertext];
        Ok(parts.concat())
    }

    /// Opens a sealed key.
    ///
    /// # Errors
    /// When another master key sealed it, or it was changed, or it is for another purpose.
    pub fn unwrap(&self, sealed: &[u8]) -> Result<SecretBytes, OpenError> {
        let parse = || {
            let (&[format], rest) = sealed.split_first_chunk()?;
            let (id, rest) = rest.split_first_chunk()?;
            let (nonce, ciphertext) = rest.split_first_chunk::<NONCE>()?;
            (format == FORMAT).then_some((KeyId(*id), *nonce, ciphertext))
        };
        let (id, nonce, ciphertext) = parse().ok_or(OpenError::Damaged)?;
        let keys = self.keys.all();
        let known = keys.iter().find(|known| known.id == id);
        let wrapping = &known.ok_or(OpenError::OtherKey(id))?.key;
        let mut key = Zeroizing::new(ciphertext.to_vec());
        let length = wrapping
            .open_in_place(Nonce::from(&nonce), self.aad(id), key.as_mut_slice())
            .map_err(|_| OpenError::Damaged)?
            .len();
        key.truncate(length);
        Ok(SecretBytes::new(std::mem::take(&mut *key)))
    }

    fn aad(&self, id: KeyId) -> Aad<Vec<u8>> {
        let mut aad = b"egret wrapped key".to_vec();
        aad.extend_from_slice(&[FORMAT]);
        aad.extend_from_slice(&id.0);
        aad.extend_from_slice(self.purpose.as_bytes());
        Aad::from(aad)
    }
}

impl fmt::Debug for KeyWrap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyWrap")
            .field("id", &self.keys.current().id)
            .field("purpose", &self.purpose)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use crate::vault::keyring::Keyring;

    use super::*;

    fn wrap(master: u8, purpose: &'static str) -> KeyWrap {
        Keyring::from_master(&[master; 32])
            .unwrap()
            .key_wrap(purpose)
    }

    fn seed() -> SecretBytes {
        SecretBytes::new(vec![9; 32])
    }

    #[test]
    fn what_was_wrapped_opens_under_the_same_master_key_for_the_same_purpose_only() {
        let sealed = wrap(1, "a").wrap(&seed()).unwrap();
        let opened = wrap(1, "a").unwrap(&sealed).unwrap();
        assert_eq!(opened.expose(), seed().expose());
        assert!(matches!(
            wrap(2, "a").unwrap(&sealed),
            Err(OpenError::OtherKey(_))
        ));
        assert!(matches!(
            wrap(1, "b").unwrap(&sealed),
            Err(OpenError::Damaged)
        ));
        assert!(!sealed.windows(8).any(|window| window == [9; 8]));
    }

    #[test]
    fn no_byte_can_be_changed_and_no_end_cut_off() {
        let sealed = wrap(1, "a").wrap(&seed()).unwrap();
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(wrap(1, "a").unwrap(&changed).is_err(), "{at}");
            assert!(wrap(1, "a").unwrap(&sealed[..at]).is_err(), "{at}");
        }
    }

    #[test]
    fn debug_shows_no_key() {
        let shown = format!("{:?}", wrap(1, "a"));
        assert!(shown.starts_with("KeyWrap { id: KeyId("), "{shown}");
        assert!(shown.ends_with("purpose: \"a\", .. }"), "{shown}");
    }
}

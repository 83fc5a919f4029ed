//! Envelope encryption of values.
//!
//! Each value is sealed with AES-256-GCM under a data key of its own, and the data key is sealed
//! under the wrapping key, which is derived from the master key. For a new master key only the
//! 32-byte data keys have to be sealed again, and no key but the wrapping key is ever used for more
//! than one message.
//!
//! Both layers carry the [`EncryptionContext`] of the value (owner, slug, field, version) as
//! additional data. An attacker who can write to the database but has no key cannot move the
//! ciphertext of `prod-db` to `test-db`, whose hosts they control, nor restore an old version under
//! a new number.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};
use zeroize::Zeroizing;

use crate::secret::SecretBytes;
use crate::substitution::slug::{Field, Slug};
use crate::vault::key_ring::{Generation, Generations, InUse};
use crate::vault::name::Principal;

pub use crate::vault::key_ring::KeyId;

const FORMAT: u8 = 1;
const NONCE: usize = 12;
const TAG: usize = 16;
const DATA_KEY: usize = 32;

/// A sealed value as the store has it: format, key id, wrapped data key, ciphertext.
#[derive(Clone, PartialEq, Eq)]
pub struct Sealed(Box<[u8]>);

impl Sealed {
    /// Takes bytes from the store. Nothing is checked until the value is opened.
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        Self(bytes.into())
    }

    /// The name of the master key that sealed it; `None` if that cannot be read.
    pub fn key_id(&self) -> Option<KeyId> {
        Some(Envelope::parse(&self.0)?.key_id)
    }

    /// The bytes for the store.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealed(..)")
    }
}

/// What a sealed value is bound to: with another context it does not open.
#[derive(Clone, Copy, Debug)]
pub struct EncryptionContext<'a> {
    /// Owner of the credential.
    pub owner: &'a Principal,
    /// Slug of the credential.
    pub slug: &'a Slug,
    /// The field, or `None` for a bare value.
    pub field: Option<&'a Field>,
    /// The version of the value.
    pub version: u32,
}

/// Which of the two ciphertexts of an envelope, so that neither can be used as the other.
#[derive(Clone, Copy)]
enum Layer {
    DataKey = 1,
    Value = 2,
}

impl EncryptionContext<'_> {
    /// Every part carries its length, so no two contexts have the same encoding.
    fn aad(&self, layer: Layer, key: KeyId) -> Aad<Vec<u8>> {
        let mut aad = Vec::with_capacity(160);
        aad.extend_from_slice(b"egret sealed value");
        aad.extend_from_slice(&[FORMAT, layer as u8]);
        aad.extend_from_slice(&key.0);
        let field = self.field.map_or("", Field::as_str);
        for part in [self.owner.as_str(), self.slug.as_str(), field] {
            aad.extend_from_slice(&(part.len() as u64).to_be_bytes());
            aad.extend_from_slice(part.as_bytes());
        }
        aad.extend_from_slice(&self.version.to_be_bytes());
        Aad::from(aad)
    }
}

/// A value could not be sealed: the system has no randomness or no memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the value could not be encrypted")]
pub struct SealError;

/// A sealed value could not be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The credential has no such field, or needs one named.
    #[error("the credential has no such field")]
    FieldUnknown,
    /// It was sealed under another master key.
    #[error("the value was sealed under master key {0}, which is not the one loaded")]
    OtherKey(KeyId),
    /// It was changed or moved from another row, or this version does not know its format.
    #[error("the sealed value is damaged or belongs to another credential")]
    Damaged,
}

/// Seals values and cannot open them: what commands and an admin API hold.
#[derive(Clone)]
pub struct Sealer(Generations<RandomizedNonceKey>);

/// Opens values. Only the vault holds one.
#[derive(Clone)]
pub struct Opener(Generations<RandomizedNonceKey>);

/// Makes the two halves from the wrapping key's bytes.
pub(in crate::vault) fn halves(
    key: &[u8; 32],
    id: KeyId,
    in_use: &InUse,
) -> Result<(Sealer, Opener), aws_lc_rs::error::Unspecified> {
    let key = RandomizedNonceKey::new(&AES_256_GCM, key)?;
    let keys = Generations::new(id, key, in_use);
    Ok((Sealer(keys.clone()), Opener(keys)))
}

impl Sealer {
    /// Accepts the wrapping key of one more master key, for the other half too.
    pub(in crate::vault) fn add(
        &self,
        key: &[u8; 32],
        id: KeyId,
    ) -> Result<(), aws_lc_rs::error::Unspecified> {
        self.0.add(id, RandomizedNonceKey::new(&AES_256_GCM, key)?);
        Ok(())
    }
    /// Seals under the newest master key, in use or not.
    pub(in crate::vault) fn newest(&self) -> Self {
        Self(self.0.newest())
    }

    /// Seals `value` for one context.
    pub fn seal(
        &self,
        context: EncryptionContext<'_>,
        value: &SecretBytes,
    ) -> Result<Sealed, SealError> {
        let Generation { key, id } = self.0.current();
        let mut data_key = Zeroizing::new([0; DATA_KEY]);
        aws_lc_rs::rand::fill(data_key.as_mut_slice()).map_err(|_| SealError)?;
        let (wrap_nonce, wrapped) =
            encrypt(&key, context.aad(Layer::DataKey, id), data_key.as_slice())?;
        let data_key =
            RandomizedNonceKey::new(&AES_256_GCM, data_key.as_slice()).map_err(|_| SealError)?;
        let (value_nonce, ciphertext) =
            encrypt(&data_key, context.aad(Layer::Value, id), value.expose())?;
        let parts: [&[u8]; 6] = [
            &[FORMAT],
            &id.0,
            &wrap_nonce,
            &wrapped,
            &value_nonce,
            &ciphertext,
        ];
        Ok(Sealed(parts.concat().into()))
    }
}

impl Opener {
    /// Opens a value that was sealed for exactly this context.
    pub fn open(
        &self,
        context: EncryptionContext<'_>,
        sealed: &Sealed,
    ) -> Result<SecretBytes, OpenError> {
        let envelope = Envelope::parse(&sealed.0).ok_or(OpenError::Damaged)?;
        let id = envelope.key_id;
        let keys = self.0.all();
        let known = keys.iter().find(|known| known.id == id);
        let key = &known.ok_or(OpenError::OtherKey(id))?.key;
        let mut data_key = Zeroizing::new(*envelope.wrapped);
        let data_key = key
            .open_in_place(
                Nonce::from(envelope.wrap_nonce),
                context.aad(Layer::DataKey, id),
                data_key.as_mut_slice(),
            )
            .map_err(|_| OpenError::Damaged)?;
        let data_key =
            RandomizedNonceKey::new(&AES_256_GCM, data_key).map_err(|_| OpenError::Damaged)?;
        let aad = context.aad(Layer::Value, id);
        let mut opened = Err(OpenError::Damaged);
        // Decrypted in the memory that will keep it.
        let mut value = SecretBytes::written(envelope.ciphertext.len(), |bytes| {
            bytes.copy_from_slice(envelope.ciphertext);
            opened = data_key
                .open_in_place(Nonce::from(envelope.value_nonce), aad, bytes)
                .map(|plain| plain.len())
                .map_err(|_| OpenError::Damaged);
        });
        value.truncate(opened?);
        Ok(value)
    }
}

pub(in crate::vault) fn encrypt(
    key: &RandomizedNonceKey,
    aad: Aad<Vec<u8>>,
    plaintext: &[u8],
) -> Result<([u8; NONCE], Vec<u8>), SealError> {
    // Room for the tag from the start: a reallocation would leave the plaintext in memory.
    let mut buffer = Zeroizing::new(Vec::with_capacity(plaintext.len() + TAG));
    buffer.extend_from_slice(plaintext);
    let nonce = key
        .seal_in_place_append_tag(aad, &mut *buffer)
        .map_err(|_| SealError)?;
    Ok((*nonce.as_ref(), std::mem::take(&mut *buffer)))
}

/// The parts of a [`Sealed`], not yet verified.
struct Envelope<'a> {
    key_id: KeyId,
    wrap_nonce: &'a [u8; NONCE],
    wrapped: &'a [u8; DATA_KEY + TAG],
    value_nonce: &'a [u8; NONCE],
    ciphertext: &'a [u8],
}

impl<'a> Envelope<'a> {
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (&[format], rest) = bytes.split_first_chunk()?;
        let (key_id, rest) = rest.split_first_chunk()?;
        let (wrap_nonce, rest) = rest.split_first_chunk()?;
        let (wrapped, rest) = rest.split_first_chunk()?;
        let (value_nonce, ciphertext) = rest.split_first_chunk()?;
        (format == FORMAT).then_some(Self {
            key_id: KeyId(*key_id),
            wrap_nonce,
            wrapped,
            value_nonce,
            ciphertext,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::vault::keyring::Keyring;

    fn keyring() -> Keyring {
        Keyring::from_master(&[7; 32]).unwrap()
    }

    /// A context that owns its names.
    #[derive(Clone, Debug, PartialEq)]
    struct Names(Principal, Slug, Option<Field>, u32);

    impl Names {
        fn context(&self) -> EncryptionContext<'_> {
            let Names(owner, slug, field, version) = self;
            EncryptionContext {
                owner,
                slug,
                field: field.as_ref(),
                version: *version,
            }
        }
    }

    fn names() -> impl Strategy<Value = Names> {
        let field = prop::option::of("[ab]{1,2}");
        ("[ab]{1,2}", "[ab]{1,2}", field, 1..3u32).prop_map(|(owner, slug, field, version)| {
            let field = field.map(|field| Field::parse(&field).unwrap());
            Names(
                Principal::parse(&owner).unwrap(),
                Slug::parse(&slug).unwrap(),
                field,
                version,
            )
        })
    }

    fn some_names() -> Names {
        Names(
            Principal::parse("alice").unwrap(),
            Slug::parse("github").unwrap(),
            None,
            1,
        )
    }

    fn secret(bytes: &[u8]) -> SecretBytes {
        SecretBytes::new(bytes.to_vec())
    }

    #[test]
    fn a_sealed_value_hides_its_bytes_and_differs_each_time() {
        let names = some_names();
        let value = secret(b"a value that is easy to find");
        let [one, two] =
            [(); 2].map(|()| keyring().sealer().seal(names.context(), &value).unwrap());
        assert!(memchr::memmem::find(one.as_bytes(), b"easy").is_none());
        let common = 1 + 8; // format and key id
        assert_eq!(one.as_bytes()[..common], two.as_bytes()[..common]);
        let equal = one.as_bytes()[common..]
            .iter()
            .zip(&two.as_bytes()[common..]);
        assert!(equal.filter(|(a, b)| a == b).count() < 8);
    }

    #[test]
    fn another_master_key_is_named_in_the_error() {
        let names = some_names();
        let sealed = keyring()
            .sealer()
            .seal(names.context(), &secret(b"v"))
            .unwrap();
        let other = Keyring::ephemeral().unwrap();
        let error = other.opener().open(names.context(), &sealed).unwrap_err();
        assert_eq!(error, OpenError::OtherKey(keyring().id()));
    }

    #[test]
    fn debug_shows_nothing() {
        let sealed = keyring()
            .sealer()
            .seal(some_names().context(), &secret(b"v"))
            .unwrap();
        assert_eq!(format!("{sealed:?}"), "Sealed(..)");
    }

    /// Frozen: a value sealed by an earlier version must open in every later one.
    #[test]
    fn the_format_is_frozen() {
        let hex = include_str!("seal/format-1.hex").trim();
        let bytes = hex
            .as_bytes()
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap());
        let sealed = Sealed::from_bytes(bytes.collect());
        let value = keyring()
            .opener()
            .open(some_names().context(), &sealed)
            .unwrap();
        assert_eq!(value.expose(), b"correct horse battery staple");
    }

    proptest! {
        #[test]
        fn a_sealed_value_opens_with_its_context_and_no_other(
            value in prop::collection::vec(any::<u8>(), 0..80),
            here in names(),
            there in names(),
        ) {
            let keyring = keyring();
            let sealed = keyring.sealer().seal(here.context(), &secret(&value)).unwrap();
            let opened = keyring.opener().open(there.context(), &sealed);
            if here == there {
                let opened = opened.unwrap();
                prop_assert_eq!(opened.expose(), &value[..]);
            } else {
                prop_assert_eq!(opened.unwrap_err(), OpenError::Damaged);
            }
        }

        #[test]
        fn no_byte_can_be_changed_and_no_end_cut_off(
            value in prop::collection::vec(any::<u8>(), 1..40),
            at: prop::sample::Index,
            flip in 1..=255u8,
            cut: prop::sample::Index,
        ) {
            let keyring = keyring();
            let names = some_names();
            let sealed = keyring.sealer().seal(names.context(), &secret(&value)).unwrap();
            let mut changed = sealed.as_bytes().to_vec();
            changed[at.index(sealed.as_bytes().len())] ^= flip;
            let open = |bytes: &[u8]| {
                keyring.opener().open(names.context(), &Sealed::from_bytes(bytes.to_vec()))
            };
            prop_assert!(open(&changed).is_err());
            prop_assert!(open(&sealed.as_bytes()[..cut.index(sealed.as_bytes().len())]).is_err());
            let whole = open(sealed.as_bytes()).unwrap();
            prop_assert_eq!(whole.expose(), &value[..]);
        }
    }
}

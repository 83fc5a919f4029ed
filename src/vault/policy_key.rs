//! Authenticates what the store holds in the clear: who owns, shares and may use what.
//!
//! Values are sealed, policy is not: people read it in lists, and the store searches it. Whoever can
//! write to the database, but has no master key, must still not be able to change it. Therefore each
//! object (a credential's policy, a user, a group, a bundle, a client) carries a **tag**, an HMAC over
//! its kind, its name, its revision and its text. A text that was edited, or moved to another name,
//! does not verify, and is unusable.
//!
//! A tag does not tell an old row from the present one. For that the store has one **head**: the
//! revision, and for each of two sets of objects, and for the events that wait for the ledger, the
//! exclusive-or of a keyed digest of every tag (MSet-XOR-Hash, Clarke et al., 2003). The digests are stored nowhere and the head is encrypted, so
//! that no set of other rows can be found that has the same sum. One change costs two digests,
//! whatever the number of objects.
//!
//! None of these keys opens a value.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::hmac;

use crate::vault::key_ring::{Generations, InUse, KeyId};

const NONCE: usize = 12;
const TAG: usize = 16;

/// Length of a tag in bytes.
pub const OBJECT_TAG: usize = 32;

/// The keys that authenticate policy, under each master key that is accepted. Clones share them.
#[derive(Clone)]
pub struct PolicyKeys(Generations<Keys>);

/// The keys that authenticate policy under one master key. Clones share them.
#[derive(Clone)]
pub struct PolicyKey(Arc<Keys>);

struct Keys {
    id: KeyId,
    tag: hmac::Key,
    digest: hmac::Key,
    head: RandomizedNonceKey,
}

/// An object as it is authenticated.
#[derive(Clone, Copy, Debug)]
pub struct Authenticated<'a> {
    /// What it is: `credential`, `user`.
    pub kind: &'a str,
    /// Which one.
    pub id: &'a str,
    /// The store's revision at which it was written.
    pub revision: i64,
    /// Its content.
    pub document: &'a str,
}

/// A sum of keyed digests, one for each object of a set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SetDigest([u8; 32]);

impl SetDigest {
    /// Adds an object that is missing, or takes away one that is there.
    pub fn toggle(&mut self, object: SetDigest) {
        for (byte, other) in self.0.iter_mut().zip(object.0) {
            *byte ^= other;
        }
    }
}

/// What the store contains, as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// The number of changes.
    pub revision: i64,
    /// The revision at which users, groups, bundles or clients were last changed.
    pub directory_revision: i64,
    /// All credentials.
    pub credentials: SetDigest,
    /// All users, groups, bundles and clients.
    pub directory: SetDigest,
    /// All administrative events that are not in the ledger yet.
    pub events: SetDigest,
}

const HEAD: usize = 8 + 8 + 3 * 32;
const HEAD_PURPOSE: &[u8] = b"egret store head 2";
/// Of a head that says nothing about events.
const FORMER_HEAD_PURPOSE: &[u8] = b"egret store head";
const SEEN_PURPOSE: &[u8] = b"egret store revision on record";

impl Keys {
    fn new(
        id: KeyId,
        tag: &[u8; 32],
        digest: &[u8; 32],
        head: &[u8; 32],
    ) -> Result<Self, Unspecified> {
        Ok(Self {
            id,
            tag: hmac::Key::new(hmac::HMAC_SHA256, tag),
            digest: hmac::Key::new(hmac::HMAC_SHA256, digest),
            head: RandomizedNonceKey::new(&AES_256_GCM, head)?,
        })
    }
}

impl PolicyKeys {
    /// From three derived keys of the master key `id`.
    pub(in crate::vault) fn new(
        id: KeyId,
        [tag, digest, head]: [&[u8; 32]; 3],
        in_use: &InUse,
    ) -> Result<Self, Unspecified> {
        let keys = Keys::new(id, tag, digest, head)?;
        Ok(Self(Generations::new(id, keys, in_use)))
    }

    /// Accepts those of one more master key.
    pub(in crate::vault) fn add(
        &self,
        id: KeyId,
        [tag, digest, head]: [&[u8; 32]; 3],
    ) -> Result<(), Unspecified> {
        self.0.add(id, Keys::new(id, tag, digest, head)?);
        Ok(())
    }

    /// Those in use.
    pub fn current(&self) -> PolicyKey {
        PolicyKey(self.0.current().key)
    }

    /// Those of the newest master key, in use or not.
    pub fn newest(&self) -> PolicyKey {
        PolicyKey(self.0.newest().current().key)
    }

    /// Those of the master key that the store names, which is in use from then on. `None` if it is not
    /// accepted.
    pub fn follow(&self, id: &[u8]) -> Option<PolicyKey> {
        let id = KeyId(id.try_into().ok()?);
        self.0.follow(id).map(PolicyKey)
    }

    /// The revision of [`PolicyKey::seal_seen`], under whichever key it was sealed: it is written again
    /// after the store.
    pub fn open_seen(&self, sealed: &[u8]) -> Option<i64> {
        let keys = self.0.all();
        let mut newest_first = keys.iter().rev();
        newest_first.find_map(|known| PolicyKey(Arc::clone(&known.key)).open_seen(sealed))
    }
}

impl fmt::Debug for PolicyKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PolicyKeys({})", self.0.current().id)
    }
}

impl PolicyKey {
    /// The name of the master key.
    pub fn id(&self) -> KeyId {
        self.0.id
    }

    /// The tag of an object.
    pub fn tag(&self, object: &Authenticated<'_>) -> [u8; OBJECT_TAG] {
        let tag = hmac::sign(&self.0.tag, &encoded(object));
        fixed(tag.as_ref())
    }

    /// Whether an object is as it was written.
    pub fn verify(&self, object: &Authenticated<'_>, tag: &[u8]) -> bool {
        hmac::verify(&self.0.tag, &encoded(object), tag).is_ok()
    }

    /// What an object adds to the digest of its set. It depends on the tag and not on the text, so
    /// that one edited row makes that row unusable and not the whole store.
    pub fn digest(&self, kind: &str, id: &str, tag: &[u8]) -> SetDigest {
        let mut message = Vec::with_capacity(64 + kind.len() + id.len() + tag.len());
        for part in [kind.as_bytes(), id.as_bytes(), tag] {
            put(&mut message, part);
        }
        SetDigest(fixed(hmac::sign(&self.0.digest, &message).as_ref()))
    }

    /// The head, encrypted.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub fn seal_head(&self, head: &Head) -> Result<Vec<u8>, Unspecified> {
        let mut plain = Vec::with_capacity(HEAD + TAG);
        plain.extend_from_slice(&head.revision.to_be_bytes());
        plain.extend_from_slice(&head.directory_revision.to_be_bytes());
        for digest in [&head.credentials, &head.directory, &head.events] {
            plain.extend_from_slice(&digest.0);
        }
        self.seal(HEAD_PURPOSE, plain)
    }

    /// The head that was encrypted; `None` if this key did not write it.
    pub fn open_head(&self, sealed: &[u8]) -> Option<Head> {
        let plain = self.open(HEAD_PURPOSE, sealed)?;
        let (rest, events) = plain.split_last_chunk()?;
        Some(Head {
            events: SetDigest(*events),
            ..read_head(rest)?
        })
    }

    /// A head of before events were authenticated. It is taken once, when such a store is brought up
    /// to date.
    pub fn open_former_head(&self, sealed: &[u8]) -> Option<Head> {
        read_head(&self.open(FORMER_HEAD_PURPOSE, sealed)?)
    }

    /// What an Egret of before wrote.
    #[cfg(test)]
    pub(in crate::vault) fn seal_former_head(&self, head: &Head) -> Vec<u8> {
        let revisions = [head.revision, head.directory_revision];
        let mut plain = revisions.map(i64::to_be_bytes).concat();
        plain.extend_from_slice(&head.credentials.0);
        plain.extend_from_slice(&head.directory.0);
        self.seal(FORMER_HEAD_PURPOSE, plain).unwrap()
    }

    /// A revision that is on record, for a file outside the store.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub fn seal_seen(&self, revision: i64) -> Result<Vec<u8>, Unspecified> {
        let mut plain = Vec::with_capacity(8 + TAG);
        plain.extend_from_slice(&revision.to_be_bytes());
        self.seal(SEEN_PURPOSE, plain)
    }

    /// The revision of [`PolicyKey::seal_seen`]; `None` if this key did not write it.
    pub fn open_seen(&self, sealed: &[u8]) -> Option<i64> {
        let plain = self.open(SEEN_PURPOSE, sealed)?;
        Some(i64::from_be_bytes(plain.as_slice().try_into().ok()?))
    }

    fn seal(&self, purpose: &[u8], mut plain: Vec<u8>) -> Result<Vec<u8>, Unspecified> {
        let nonce = self
            .0
            .head
            .seal_in_place_append_tag(self.aad(purpose), &mut plain)?;
        Ok([nonce.as_ref().as_slice(), &plain].concat())
    }

    fn open(&self, purpose: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, ciphertext) = sealed.split_first_chunk::<NONCE>()?;
        let mut plain = ciphertext.to_vec();
        let length = self
            .0
            .head
            .open_in_place(Nonce::from(nonce), self.aad(purpose), &mut plain)
            .ok()?
            .len();
        plain.truncate(length);
        Some(plain)
    }

    fn aad(&self, purpose: &[u8]) -> Aad<Vec<u8>> {
        Aad::from([purpose, &self.0.id.0].concat())
    }
}

impl fmt::Debug for PolicyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PolicyKey({})", self.0.id)
    }
}

/// A head without its events.
fn read_head(plain: &[u8]) -> Option<Head> {
    let (revision, rest) = plain.split_first_chunk()?;
    let (directory_revision, rest) = rest.split_first_chunk()?;
    let (credentials, rest) = rest.split_first_chunk()?;
    let directory = rest.try_into().ok()?;
    Some(Head {
        revision: i64::from_be_bytes(*revision),
        directory_revision: i64::from_be_bytes(*directory_revision),
        credentials: SetDigest(*credentials),
        directory: SetDigest(directory),
        events: SetDigest::default(),
    })
}

/// Every part carries its length, so no two objects have the same encoding.
fn encoded(object: &Authenticated<'_>) -> Vec<u8> {
    let mut message = Vec::with_capacity(96 + object.id.len() + object.document.len());
    message.extend_from_slice(b"egret policy 1");
    message.extend_from_slice(&object.revision.to_be_bytes());
    for part in [object.kind, object.id, object.document] {
        put(&mut message, part.as_bytes());
    }
    message
}

fn put(message: &mut Vec<u8>, part: &[u8]) {
    message.extend_from_slice(&(part.len() as u64).to_be_bytes());
    message.extend_from_slice(part);
}

/// A SHA-256 output as an array.
fn fixed(bytes: &[u8]) -> [u8; 32] {
    let mut array = [0; 32];
    array.copy_from_slice(bytes);
    array
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::vault::keyring::Keyring;

    fn key(master: u8) -> PolicyKey {
        Keyring::from_master(&[master; 32])
            .unwrap()
            .policy_keys()
            .current()
    }

    fn object() -> (String, String, i64, String) {
        ("user".into(), "ab".into(), 7, "{}".into())
    }

    fn tagged(
        key: &PolicyKey,
        (kind, id, revision, document): &(String, String, i64, String),
    ) -> [u8; 32] {
        key.tag(&Authenticated {
            kind,
            id,
            revision: *revision,
            document,
        })
    }

    #[test]
    fn each_part_of_an_object_and_the_key_matter() {
        let tag = tagged(&key(1), &object());
        let mut others = vec![object(); 5];
        others[0].0 = "group".into();
        others[1].1 = "abc".into();
        others[2].2 = 8;
        others[3].3 = "{ }".into();
        // The same bytes with another border between the parts.
        others[4] = ("usera".into(), "b".into(), 7, "{}".into());
        for other in &others {
            assert_ne!(tagged(&key(1), other), tag, "{other:?}");
        }
        assert_ne!(tagged(&key(2), &object()), tag);
    }

    #[test]
    fn a_head_opens_under_its_key_and_is_no_seen_revision() {
        let mut head = Head {
            revision: 3,
            directory_revision: 2,
            ..Head::default()
        };
        head.credentials
            .toggle(key(1).digest("user", "a", &[0; 32]));
        head.events.toggle(key(1).digest("event", "1", &[0; 32]));
        let sealed = key(1).seal_head(&head).unwrap();
        assert_eq!(key(1).open_head(&sealed), Some(head));
        assert_eq!(key(1).open_former_head(&sealed), None);
        let former = key(1).seal_former_head(&head);
        assert_eq!(key(1).open_head(&former), None);
        let without_events = Head {
            events: SetDigest::default(),
            ..head
        };
        assert_eq!(key(1).open_former_head(&former), Some(without_events));
        assert_eq!(key(2).open_head(&sealed), None);
        let seen = key(1).seal_seen(9).unwrap();
        assert_eq!(key(1).open_seen(&seen), Some(9));
        assert_eq!(key(1).open_head(&seen), None);
        assert_eq!(key(1).open_seen(&sealed), None);
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert_eq!(key(1).open_head(&changed), None);
            assert_eq!(key(1).open_head(&sealed[..at]), None);
        }
    }

    proptest! {
        #[test]
        fn a_set_has_one_digest_in_whatever_order_it_came_about(
            ids in prop::collection::btree_set("[a-d]{1,3}", 0..6),
            gone in prop::collection::vec("[e-h]{1,3}", 0..4),
        ) {
            let key = key(1);
            let digest = |id: &str| key.digest("user", id, id.as_bytes());
            let mut forwards = SetDigest::default();
            ids.iter().for_each(|id| forwards.toggle(digest(id)));
            let mut backwards = SetDigest::default();
            for id in gone.iter().chain(ids.iter().rev()).chain(&gone) {
                backwards.toggle(digest(id));
            }
            prop_assert_eq!(forwards, backwards);
        }
    }
}

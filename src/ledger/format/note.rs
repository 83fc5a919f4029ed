//! Signed notes: a text with the signature of a named Ed25519 key, in the form that witnesses and
//! verifiers of other logs read (<https://c2sp.org/signed-note>).

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest::{self, SHA256};
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use crate::secret::SecretBytes;

/// The signature type of plain Ed25519.
const ALGORITHM: u8 = 1;

/// An em dash and a space begin each signature line.
const SIGNATURE_PREFIX: &str = "\u{2014} ";

/// Signature lines of one note that are looked at; the specification asks for 16 at least.
const MAX_SIGNATURES: usize = 64;

/// The name of a key, by custom a URL without scheme; the checkpoints' origin as well.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeyName(String);

impl KeyName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for KeyName {
    type Err = NoteError;

    fn from_str(text: &str) -> Result<Self, NoteError> {
        let is_refused = |c: char| c.is_whitespace() || c.is_control() || c == '+';
        if text.is_empty() || text.contains(is_refused) {
            return Err(NoteError::KeyName);
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a key, note or checkpoint is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// A key name that is empty or holds a space, a control character or `+`.
    #[error("the name of a key is not empty and holds no spaces and no `+`")]
    KeyName,
    /// A seed of another length than 32 bytes.
    #[error("the seed of a signing key has 32 bytes")]
    Seed,
    /// A text that is no Ed25519 verifier key, or whose parts contradict each other.
    #[error("a public key is written NAME+ID+KEY, ID in 8 hexadecimal digits and KEY in base64")]
    VerifierKey,
    /// A text that cannot be a note's.
    #[error("the text of a note ends with a line feed and holds no other control characters")]
    Text,
    /// Not of the form of a signed note.
    #[error("not a signed note")]
    Malformed,
    /// No signature by the key asked for.
    #[error("the note is not signed with this key")]
    NotSigned,
    /// A signature by the key asked for that does not fit the text.
    #[error("the signature does not fit the text of the note")]
    BadSignature,
    /// The text of the note is no checkpoint.
    #[error("the text of the note is not a checkpoint")]
    NotACheckpoint,
}

/// Distinguishes keys of one name: the beginning of a hash over name, algorithm and public key.
fn key_id(name: &KeyName, public_key: &[u8]) -> [u8; 4] {
    let data = [name.as_str().as_bytes(), b"\n", &[ALGORITHM], public_key].concat();
    let hash = digest::digest(&SHA256, &data);
    let mut id = [0; 4];
    id.copy_from_slice(&hash.as_ref()[..4]);
    id
}

/// A key that signs notes.
pub struct Signer {
    name: KeyName,
    key: Ed25519KeyPair,
    verifier: Verifier,
}

impl Signer {
    /// A key from its 32-byte seed (RFC 8032 section 5.1.5).
    pub fn from_seed(name: KeyName, seed: &SecretBytes) -> Result<Self, NoteError> {
        let key =
            Ed25519KeyPair::from_seed_unchecked(seed.expose()).map_err(|_| NoteError::Seed)?;
        let public_key = key.public_key().as_ref();
        let public_key = public_key.try_into().map_err(|_| NoteError::Seed)?;
        let verifier = Verifier::new(name.clone(), public_key);
        Ok(Self {
            name,
            key,
            verifier,
        })
    }

    /// The key of a ledger: its name, and with it the origin of its checkpoints, follows from the
    /// public half, so that two ledgers never share one.
    ///
    /// # Errors
    /// When the seed does not have 32 bytes.
    pub fn of_ledger(seed: &SecretBytes) -> Result<Self, NoteError> {
        let key =
            Ed25519KeyPair::from_seed_unchecked(seed.expose()).map_err(|_| NoteError::Seed)?;
        let hash = digest::digest(&SHA256, key.public_key().as_ref());
        let mut name = "egret.ledger/".to_owned();
        for byte in &hash.as_ref()[..8] {
            name.push_str(&format!("{byte:02x}"));
        }
        Self::from_seed(name.parse()?, seed)
    }

    /// The public half.
    pub fn verifier(&self) -> &Verifier {
        &self.verifier
    }

    /// The text with a signature: a whole note.
    pub fn sign(&self, text: &str) -> Result<String, NoteError> {
        let is_refused = |c: char| c < ' ' && c != '\n';
        if !text.ends_with('\n') || text.contains(is_refused) {
            return Err(NoteError::Text);
        }
        let signature = self.key.sign(text.as_bytes());
        let signature = [&self.verifier.id[..], signature.as_ref()].concat();
        let signature = BASE64_STANDARD.encode(signature);
        Ok(format!(
            "{text}\n{SIGNATURE_PREFIX}{} {signature}\n",
            self.name
        ))
    }
}

/// The public half of a signing key: what someone else needs to trust a checkpoint.
///
/// Written `NAME+ID+KEY`, as the tools of other logs take it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verifier {
    name: KeyName,
    id: [u8; 4],
    public_key: [u8; 32],
}

impl Verifier {
    fn new(name: KeyName, public_key: [u8; 32]) -> Self {
        let id = key_id(&name, &public_key);
        Self {
            name,
            id,
            public_key,
        }
    }

    /// The name of the key.
    pub fn name(&self) -> &KeyName {
        &self.name
    }

    /// The text of a note, after its signature by this key has been checked.
    ///
    /// Signatures of other keys are ignored; a wrong one of this key refuses the note, even if
    /// another fits.
    pub fn open<'a>(&self, note: &'a str) -> Result<&'a str, NoteError> {
        let (text, signatures) = split_note(note)?;
        let mut is_signed = false;
        for line in signatures.split_terminator('\n').take(MAX_SIGNATURES) {
            let (name, signature) = parse_signature(line)?;
            let Some(signature) = signature.strip_prefix(&self.id[..]) else {
                continue;
            };
            if name != self.name.as_str() {
                continue;
            }
            UnparsedPublicKey::new(&ED25519, &self.public_key)
                .verify(text.as_bytes(), signature)
                .map_err(|_| NoteError::BadSignature)?;
            is_signed = true;
        }
        if is_signed {
            Ok(text)
        } else {
            Err(NoteError::NotSigned)
        }
    }
}

impl fmt::Display for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d] = self.id;
        let key = BASE64_STANDARD.encode([&[ALGORITHM], &self.public_key[..]].concat());
        write!(f, "{}+{a:02x}{b:02x}{c:02x}{d:02x}+{key}", self.name)
    }
}

impl FromStr for Verifier {
    type Err = NoteError;

    fn from_str(text: &str) -> Result<Self, NoteError> {
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(_), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(NoteError::VerifierKey);
        };
        let key = BASE64_STANDARD
            .decode(key)
            .map_err(|_| NoteError::VerifierKey)?;
        let public_key = key
            .strip_prefix(&[ALGORITHM])
            .ok_or(NoteError::VerifierKey)?;
        let public_key = public_key.try_into().map_err(|_| NoteError::VerifierKey)?;
        let verifier = Self::new(name.parse()?, public_key);
        // The id repeats what the rest says: a mistyped name or key shows here.
        if verifier.to_string() != text {
            return Err(NoteError::VerifierKey);
        }
        Ok(verifier)
    }
}

/// Splits a note at its last empty line into its text and its signature lines.
pub(super) fn split_note(note: &str) -> Result<(&str, &str), NoteError> {
    if note.contains(|c: char| c < ' ' && c != '\n') || !note.ends_with('\n') {
        return Err(NoteError::Malformed);
    }
    let end = note.rfind("\n\n").ok_or(NoteError::Malformed)?;
    let (text, signatures) = (&note[..=end], &note[end + 2..]);
    if signatures.is_empty() {
        return Err(NoteError::Malformed);
    }
    Ok((text, signatures))
}

/// The name in a signature line, and the key id and signature after it.
pub(super) fn parse_signature(line: &str) -> Result<(&str, Vec<u8>), NoteError> {
    let rest = line
        .strip_prefix(SIGNATURE_PREFIX)
        .ok_or(NoteError::Malformed)?;
    let (name, signature) = rest.split_once(' ').ok_or(NoteError::Malformed)?;
    name.parse::<KeyName>().map_err(|_| NoteError::Malformed)?;
    let signature = BASE64_STANDARD
        .decode(signature)
        .map_err(|_| NoteError::Malformed)?;
    if signature.len() < 5 {
        return Err(NoteError::Malformed);
    }
    Ok((name, signature))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Key, text and note of the reference implementation, golang.org/x/mod/sumdb/note.
    const GO_SEED: &str = "gQoUAtUUbI2E8kQzMPVAgOv5juF9nHT2JS/F1ccoMXM=";
    const GO_KEY: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    const GO_TEXT: &str = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n";
    const GO_SIGNATURE: &str = "\u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";

    /// A key and note made by a second implementation.
    const OTHER_KEY: &str = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
    const OTHER_NOTE: &str = "This is an example message.\n\n\u{2014} example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n";

    fn go_note() -> String {
        format!("{GO_TEXT}\n{GO_SIGNATURE}")
    }

    fn signer(name: &str, seed: u8) -> Signer {
        Signer::from_seed(name.parse().unwrap(), &SecretBytes::new(vec![seed; 32])).unwrap()
    }

    #[test]
    fn keys_and_notes_are_those_of_the_reference_implementation() {
        let seed = SecretBytes::new(BASE64_STANDARD.decode(GO_SEED).unwrap());
        let signer = Signer::from_seed("PeterNeumann".parse().unwrap(), &seed).unwrap();
        assert_eq!(signer.verifier().to_string(), GO_KEY);
        assert_eq!(signer.sign(GO_TEXT).unwrap(), go_note());
        assert_eq!(
            GO_KEY.parse::<Verifier>().unwrap().open(&go_note()),
            Ok(GO_TEXT)
        );
    }

    #[test]
    fn notes_of_another_implementation_are_opened() {
        let verifier: Verifier = OTHER_KEY.parse().unwrap();
        assert_eq!(
            verifier.open(OTHER_NOTE),
            Ok("This is an example message.\n")
        );
    }

    #[test]
    fn every_changed_byte_of_text_or_signature_is_noticed() {
        let verifier: Verifier = GO_KEY.parse().unwrap();
        let note = go_note();
        for at in 0..note.len() {
            for flip in [1, 0x20, 0x80] {
                let mut bytes = note.clone().into_bytes();
                bytes[at] ^= flip;
                let opened = String::from_utf8(bytes).map(|note| verifier.open(&note).is_ok());
                assert_ne!(opened, Ok(true), "byte {at} ^ {flip}");
            }
        }
        for end in 0..note.len() {
            assert!(!note.is_char_boundary(end) || verifier.open(&note[..end]).is_err());
        }
    }

    #[test]
    fn signatures_of_other_keys_are_ignored_and_wrong_ones_of_this_key_are_not() {
        let verifier: Verifier = GO_KEY.parse().unwrap();
        let other = "\u{2014} PeterNeumann AAAAAAAA\n";
        assert_eq!(
            verifier.open(&format!("{GO_TEXT}\n{other}{GO_SIGNATURE}")),
            Ok(GO_TEXT)
        );
        assert_eq!(
            verifier.open(&format!("{GO_TEXT}\n{other}")),
            Err(NoteError::NotSigned)
        );
        let renamed = GO_SIGNATURE.replace("PeterNeumann", "PeterOldmann");
        assert_eq!(
            verifier.open(&format!("{GO_TEXT}\n{renamed}")),
            Err(NoteError::NotSigned)
        );
        let wrong = "\u{2014} PeterNeumann x08gowAA\n";
        let both = format!("{GO_TEXT}\n{GO_SIGNATURE}{wrong}");
        assert_eq!(verifier.open(&both), Err(NoteError::BadSignature));
    }

    #[test]
    fn malformed_notes_are_refused() {
        let verifier: Verifier = GO_KEY.parse().unwrap();
        let notes = [
            String::new(),
            GO_TEXT.to_owned(),
            format!("{GO_TEXT}\n"),
            format!("{GO_TEXT}{GO_SIGNATURE}"),
            go_note().replace('\u{2014}', "--"),
            go_note().replace("x08go", "*08go"),
            format!("{}x", go_note()),
            go_note().replace("your problem,\n", "your problem,\r\n"),
            format!("{GO_TEXT}\n\u{2014} PeterNeumann x08g\n"),
        ];
        for note in notes {
            assert_eq!(verifier.open(&note), Err(NoteError::Malformed), "{note:?}");
        }
    }

    #[test]
    fn malformed_keys_are_refused() {
        for at in 0..GO_KEY.len() {
            let mut bytes = GO_KEY.as_bytes().to_vec();
            bytes[at] ^= 1;
            assert!(
                String::from_utf8(bytes)
                    .unwrap()
                    .parse::<Verifier>()
                    .is_err(),
                "{at}"
            );
            assert!(GO_KEY[..at].parse::<Verifier>().is_err());
        }
        for name in ["", "a b", "a+b", "a\u{a0}b", "a\n"] {
            assert_eq!(name.parse::<KeyName>(), Err(NoteError::KeyName));
        }
        let short = SecretBytes::new(vec![1; 31]);
        assert!(Signer::from_seed("a".parse().unwrap(), &short).is_err());
    }

    #[test]
    fn texts_that_no_verifier_would_accept_are_not_signed() {
        let signer = signer("a.example", 1);
        for text in ["", "a", "a\tb\n", "a\0\n"] {
            assert_eq!(signer.sign(text), Err(NoteError::Text), "{text:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_is_signed_is_opened_as_it_was(text in "([ -~é\\n]{0,40}\\n)", seed in any::<u8>()) {
            let signer = signer("a.example", seed);
            let note = signer.sign(&text).unwrap();
            prop_assert_eq!(signer.verifier().open(&note), Ok(&*text));
        }

        #[test]
        fn reading_never_panics(note in "[\u{2014} a-c+=\\n]{0,30}") {
            let verifier: Verifier = GO_KEY.parse().unwrap();
            prop_assert!(verifier.open(&note).is_err());
            prop_assert!(note.parse::<Verifier>().is_err());
        }
    }
}

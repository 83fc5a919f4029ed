//! Cosignatures: what a witness signs of a checkpoint that it has found to continue all those that it saw
//! before (<https://c2sp.org/tlog-cosignature>, with Ed25519).

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest::{self, SHA256};
use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::note::{KeyName, NoteError, parse_signature, split_note};

/// The signature type of timestamped cosignatures.
const ALGORITHM: u8 = 4;
/// The signature type of plain Ed25519, as which some witnesses print their keys.
const PLAIN: u8 = 1;

/// Bytes of the time before a signature.
const TIME: usize = 8;

/// The public key of a witness, written `NAME+ID+KEY`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WitnessKey {
    name: KeyName,
    public_key: [u8; 32],
}

/// A cosignature that was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cosignature {
    /// When it was made, in seconds since 1970, by the clock of the witness.
    pub time: i64,
    /// The line of the note.
    pub line: String,
}

impl WitnessKey {
    /// The name of the key.
    pub fn name(&self) -> &KeyName {
        &self.name
    }

    /// The latest of this witness' cosignatures among the signatures of a note. Those of others are
    /// ignored; a wrong one of this witness refuses the note.
    ///
    /// # Errors
    /// When there is none, or one does not fit the text.
    pub fn find(&self, note: &str) -> Result<Cosignature, NoteError> {
        let (text, signatures) = split_note(note)?;
        let mut found: Option<Cosignature> = None;
        for line in signatures.split_terminator('\n') {
            let (name, signature) = parse_signature(line)?;
            if name != self.name.as_str() {
                continue;
            }
            let Some(signature) =
                signature.strip_prefix(&id(&self.name, ALGORITHM, &self.public_key))
            else {
                continue;
            };
            let time = self.check(text, signature)?;
            if found.as_ref().is_none_or(|found| found.time <= time) {
                let line = line.to_owned();
                found = Some(Cosignature { time, line });
            }
        }
        found.ok_or(NoteError::NotSigned)
    }

    /// The time in a signature, after it was checked.
    fn check(&self, text: &str, signature: &[u8]) -> Result<i64, NoteError> {
        let (time, signature) = signature
            .split_first_chunk::<TIME>()
            .ok_or(NoteError::BadSignature)?;
        let time = i64::try_from(u64::from_be_bytes(*time)).map_err(|_| NoteError::BadSignature)?;
        let message = format!("cosignature/v1\ntime {time}\n{text}");
        UnparsedPublicKey::new(&ED25519, &self.public_key)
            .verify(message.as_bytes(), signature)
            .map_err(|_| NoteError::BadSignature)?;
        Ok(time)
    }

    fn written(&self, algorithm: u8) -> String {
        let [a, b, c, d] = id(&self.name, algorithm, &self.public_key);
        let key = BASE64_STANDARD.encode([&[algorithm], &self.public_key[..]].concat());
        format!("{}+{a:02x}{b:02x}{c:02x}{d:02x}+{key}", self.name)
    }
}

/// Distinguishes keys of one name and of one type.
fn id(name: &KeyName, algorithm: u8, public_key: &[u8]) -> [u8; 4] {
    let data = [name.as_str().as_bytes(), b"\n", &[algorithm], public_key].concat();
    let hash = digest::digest(&SHA256, &data);
    let mut id = [0; 4];
    id.copy_from_slice(&hash.as_ref()[..4]);
    id
}

impl fmt::Display for WitnessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written(ALGORITHM))
    }
}

impl FromStr for WitnessKey {
    type Err = NoteError;

    fn from_str(text: &str) -> Result<Self, NoteError> {
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(_), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(NoteError::VerifierKey);
        };
        let key = BASE64_STANDARD
            .decode(key)
            .map_err(|_| NoteError::VerifierKey)?;
        let (algorithm, public_key) = key.split_first().ok_or(NoteError::VerifierKey)?;
        let found = Self {
            name: name.parse()?,
            public_key: public_key.try_into().map_err(|_| NoteError::VerifierKey)?,
        };
        // The id repeats what the rest says: a mistyped name or key shows here.
        let is_known = [ALGORITHM, PLAIN].contains(algorithm);
        if !is_known || found.written(*algorithm) != text {
            return Err(NoteError::VerifierKey);
        }
        Ok(found)
    }
}

#[cfg(test)]
pub(in crate::ledger) mod tests {
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};

    use super::*;

    /// A witness, for tests.
    pub(in crate::ledger) struct Witness {
        pub(in crate::ledger) key: WitnessKey,
        pair: Ed25519KeyPair,
    }

    impl Witness {
        pub(in crate::ledger) fn new(name: &str, seed: u8) -> Self {
            let pair = Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap();
            let key = WitnessKey {
                name: name.parse().unwrap(),
                public_key: pair.public_key().as_ref().try_into().unwrap(),
            };
            Self { key, pair }
        }

        /// The note with a signature more.
        pub(in crate::ledger) fn cosign(&self, note: &str, time: u64) -> String {
            let (text, _) = split_note(note).unwrap();
            let message = format!("cosignature/v1\ntime {time}\n{text}");
            let signature = self.pair.sign(message.as_bytes());
            let id = id(&self.key.name, ALGORITHM, &self.key.public_key);
            let signature = [&id, &time.to_be_bytes()[..], signature.as_ref()].concat();
            let signature = BASE64_STANDARD.encode(signature);
            format!("{note}\u{2014} {} {signature}\n", self.key.name)
        }
    }

    const NOTE: &str = "a.example\n1\nx\n\n\u{2014} a.example AAAAAAAAAAAA\n";

    #[test]
    fn a_cosignature_is_found_and_each_changed_byte_is_noticed() {
        let witness = Witness::new("w.example", 1);
        let note = witness.cosign(NOTE, 1_700_000_000);
        let found = witness.key.find(&note).unwrap();
        assert_eq!(found.time, 1_700_000_000);
        assert!(note.ends_with(&(found.line + "\n")));
        for at in 0..note.len() {
            let mut bytes = note.clone().into_bytes();
            bytes[at] ^= 1;
            let Ok(changed) = String::from_utf8(bytes) else {
                continue;
            };
            // The other signature is none of the witness'.
            if NOTE[..NOTE.len() - 1].len() > at && at > NOTE.find('\u{2014}').unwrap() {
                continue;
            }
            assert!(witness.key.find(&changed).is_err(), "byte {at}");
        }
        assert_eq!(witness.key.find(NOTE), Err(NoteError::NotSigned));
        let later = witness.cosign(&note, 1_800_000_000);
        assert_eq!(witness.key.find(&later).unwrap().time, 1_800_000_000);
    }

    #[test]
    fn keys_are_written_and_read() {
        let key = Witness::new("w.example/1", 3).key;
        let text = key.to_string();
        assert_eq!(text.parse(), Ok(key.clone()));
        assert_eq!(key.written(PLAIN).parse(), Ok(key.clone()));
        assert_eq!(
            key.written(2).parse::<WitnessKey>(),
            Err(NoteError::VerifierKey)
        );
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1;
            let changed = String::from_utf8(bytes).unwrap();
            assert!(changed.parse::<WitnessKey>().is_err(), "{changed}");
        }
    }
}

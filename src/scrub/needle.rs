//! Spellings of a value: what is compared with the text, unit by unit.
//!
//! A spelling is never written out. Its characters are computed from the value when they are
//! compared, so that five thousand values do not become fifty thousand more strings that would
//! have to be kept secret and wiped.

use std::sync::Arc;

use super::escapes::Notations;
use crate::secret::SecretBytes;
use crate::substitution::encoding::Notation;

/// Values shorter than this are searched only as themselves, and only for the request that used
/// them: `1234` is part of too much innocent text.
pub const MIN_SEARCHED: usize = 8;

/// How a value was written where it was found. Goes into the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HitForm {
    /// As it is.
    Raw,
    /// Percent-encoded, in whole or in part; `+` for a space.
    Percent,
    /// With backslash escapes: JSON, and what other languages share with it.
    Json,
    /// With XML or HTML character references.
    Xml,
    /// With escapes of more than one kind, or one inside the other.
    Mixed,
    /// Base64 or base64url at any alignment, escaped or not.
    Base64,
    /// Hexadecimal in either case.
    Hex,
    /// UTF-16, either byte order.
    Utf16,
    /// The beginning of some form, which was masked because no more of it came in time.
    Partial,
}

impl HitForm {
    /// The name used in the ledger.
    pub fn as_str(self) -> &'static str {
        match self {
            HitForm::Raw => "raw",
            HitForm::Percent => "percent",
            HitForm::Json => "json",
            HitForm::Xml => "xml",
            HitForm::Mixed => "mixed",
            HitForm::Base64 => "base64",
            HitForm::Hex => "hex",
            HitForm::Utf16 => "utf16",
            HitForm::Partial => "partial",
        }
    }
}

/// Needles that are compared by the same rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum NeedleClass {
    /// Byte for byte, except that `+` may stand for a space.
    Exact,
    /// Both alphabets at once, perhaps broken into lines.
    Base64,
    /// Either case, perhaps with a separator between bytes.
    Hex,
    /// As `Exact`, but no escape other than percent-encoding.
    Short,
}

impl NeedleClass {
    pub const ALL: [NeedleClass; 4] = [
        NeedleClass::Exact,
        NeedleClass::Base64,
        NeedleClass::Hex,
        NeedleClass::Short,
    ];

    /// The needle characters a decoded character of the text may match.
    ///
    /// The second one is what a form encoder makes of a space.
    pub fn matched_by(self, byte: u8) -> (u8, Option<u8>) {
        match (self, byte) {
            (NeedleClass::Exact | NeedleClass::Short, b'+') => (b'+', Some(b' ')),
            (NeedleClass::Base64, b'-') => (b'+', None),
            (NeedleClass::Base64, b'_') => (b'/', None),
            (NeedleClass::Hex, b'A'..=b'F') => (byte.to_ascii_lowercase(), None),
            _ => (byte, None),
        }
    }

    /// The other text character, if any, that matches the needle character `byte`.
    pub fn twin(self, byte: u8) -> Option<u8> {
        match (self, byte) {
            (NeedleClass::Exact | NeedleClass::Short, b' ') => Some(b'+'),
            (NeedleClass::Base64, b'+') => Some(b'-'),
            (NeedleClass::Base64, b'/') => Some(b'_'),
            (NeedleClass::Hex, b'a'..=b'f') => Some(byte.to_ascii_uppercase()),
            _ => None,
        }
    }
}

/// Rule that turns the bytes of a source into the characters of a needle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spelling {
    Plain,
    /// Base64 of the value preceded by this many other bytes (modulo 3), without the characters
    /// at either end that depend on the neighbours.
    Base64(u8),
    /// Base64 of such base64.
    Nested(Nested),
    Hex,
    Utf16Be,
    /// Of a source that holds UTF-16BE: each pair of bytes turned round.
    Utf16Le,
}

/// Where a value lies in base64 within base64: the `auth` of a registry, inside a Secret of Kubernetes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Nested {
    /// How many other bytes are before the value in the text that was encoded first.
    pub inner: u8,
    /// How many characters of that are before its own in what was encoded then.
    pub outer: u8,
    /// The alphabet of the first is that of URLs. The second is found in both.
    pub is_url: bool,
}

/// How many characters of base64 depend on `length` bytes alone that come after `shift` others.
fn base64_len(length: usize, shift: u8) -> usize {
    let skipped = 8 * usize::from(shift);
    (skipped + 8 * length) / 6 - skipped.div_ceil(6)
}

/// The character at `index` of those, as its six bits.
#[inline]
fn base64_bits(byte: impl Fn(usize) -> u8, shift: u8, index: usize) -> usize {
    let skipped = 8 * usize::from(shift);
    let bit = 6 * (skipped.div_ceil(6) + index) - skipped;
    let (at, offset) = (bit / 8, bit % 8);
    let pair = u16::from_be_bytes([byte(at), byte(at + 1)]);
    usize::from(pair >> (10 - offset) & 63)
}

impl Nested {
    /// The character at `index` of what the value makes of the first base64.
    fn inner_byte(self, bytes: &[u8], index: usize) -> u8 {
        let byte = |at: usize| bytes.get(at).copied().unwrap_or(0);
        match (base64_bits(byte, self.inner, index), self.is_url) {
            (62, true) => b'-',
            (63, true) => b'_',
            (bits, _) => BASE64[bits],
        }
    }

    fn inner_len(self, length: usize) -> usize {
        base64_len(length, self.inner)
    }

    /// The first character that the value makes of the first base64, which is a byte to the second.
    pub fn first(self, bytes: &[u8]) -> u8 {
        self.inner_byte(bytes, 0)
    }

    /// All places that a value can have. The alphabet is asked for only where it makes a difference.
    pub fn all(bytes: &[u8]) -> impl Iterator<Item = Self> {
        let places = |inner, is_url| {
            (0..3).map(move |outer| Self {
                inner,
                outer,
                is_url,
            })
        };
        (0..3).flat_map(move |inner| {
            let first = Self {
                inner,
                outer: 0,
                is_url: false,
            };
            let mut chars = (0..first.inner_len(bytes.len())).map(|at| first.inner_byte(bytes, at));
            let differs = chars.any(|char| matches!(char, b'+' | b'/'));
            places(inner, false).chain(places(inner, true).filter(move |_| differs))
        })
    }
}

/// Bytes that needles are computed from.
pub(super) enum NeedleSource {
    /// A value, shared with whoever else holds it.
    Value(Arc<SecretBytes>),
    /// Other bytes that it comes back as, ours.
    Derived(SecretBytes),
}

impl NeedleSource {
    pub fn bytes(&self) -> &[u8] {
        match self {
            NeedleSource::Value(value) => value.expose(),
            NeedleSource::Derived(bytes) => bytes.expose(),
        }
    }

    /// Which value it is, if it is one.
    pub fn address(&self) -> Option<usize> {
        match self {
            NeedleSource::Value(value) => Some(address(value)),
            NeedleSource::Derived(_) => None,
        }
    }
}

/// What tells one value in memory from all others, without looking at it.
pub(super) fn address(value: &Arc<SecretBytes>) -> usize {
    Arc::as_ptr(value).addr()
}

/// One spelling of one value.
#[derive(Clone, Copy)]
pub(super) struct Needle {
    /// Index of the source.
    source: u32,
    /// Index of the value's name in its set.
    pub name: u32,
    /// Length in characters.
    pub len: u32,
    spelling: Spelling,
}

impl Needle {
    pub fn new(source: usize, name: usize, spelling: Spelling, bytes: &[u8]) -> Self {
        let n = bytes.len();
        let len = match spelling {
            Spelling::Plain | Spelling::Utf16Be | Spelling::Utf16Le => n,
            Spelling::Hex => 2 * n,
            Spelling::Base64(shift) => base64_len(n, shift),
            Spelling::Nested(nested) => base64_len(nested.inner_len(n), nested.outer),
        };
        Self {
            source: source as u32,
            name: name as u32,
            len: len as u32,
            spelling,
        }
    }

    /// The character at `index < len`.
    #[inline]
    pub fn byte(&self, sources: &[NeedleSource], index: usize) -> u8 {
        let bytes = sources[self.source as usize].bytes();
        match self.spelling {
            Spelling::Plain | Spelling::Utf16Be => bytes[index],
            Spelling::Utf16Le => bytes[index ^ 1],
            Spelling::Hex => {
                let byte = bytes[index / 2];
                let nibble = if index.is_multiple_of(2) {
                    byte >> 4
                } else {
                    byte & 15
                };
                b"0123456789abcdef"[usize::from(nibble)]
            }
            Spelling::Base64(shift) => {
                let byte = |at: usize| bytes.get(at).copied().unwrap_or(0);
                BASE64[base64_bits(byte, shift, index)]
            }
            Spelling::Nested(nested) => {
                // A byte after the last one gives the last character only bits that are not its own.
                let byte = |at| nested.inner_byte(bytes, at);
                BASE64[base64_bits(byte, nested.outer, index)]
            }
        }
    }

    /// In base64, how many bytes of its group of three are before it.
    pub fn shift(&self) -> u8 {
        match self.spelling {
            Spelling::Base64(shift) => shift,
            Spelling::Nested(nested) => nested.outer,
            _ => 0,
        }
    }

    /// The same in the base64 that was encoded once more.
    pub fn inner(&self) -> Option<u8> {
        match self.spelling {
            Spelling::Nested(nested) => Some(nested.inner),
            _ => None,
        }
    }

    /// The form of a hit that used escapes of these notations; `plus` if a `+` was read as a space.
    pub fn form(&self, notations: Notations, plus: bool) -> HitForm {
        match self.spelling {
            Spelling::Base64(_) | Spelling::Nested(_) => HitForm::Base64,
            Spelling::Hex => HitForm::Hex,
            Spelling::Utf16Be | Spelling::Utf16Le => HitForm::Utf16,
            Spelling::Plain if notations.is_empty() && !plus => HitForm::Raw,
            Spelling::Plain if notations.is_empty() => HitForm::Percent,
            Spelling::Plain => match notations.only() {
                Some(Notation::Percent) => HitForm::Percent,
                Some(Notation::Backslash) => HitForm::Json,
                Some(Notation::Reference) => HitForm::Xml,
                None => HitForm::Mixed,
            },
        }
    }
}

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// UTF-16BE of a value that is text.
pub(super) fn utf16be(value: &[u8]) -> Option<SecretBytes> {
    let text = std::str::from_utf8(value).ok()?;
    let units = text.encode_utf16();
    Some(SecretBytes::written(2 * units.clone().count(), |wide| {
        for (place, unit) in wide.as_chunks_mut::<2>().0.iter_mut().zip(units) {
            *place = unit.to_be_bytes();
        }
    }))
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE};
    use proptest::prelude::*;

    use super::*;

    fn spell(value: &[u8], spelling: Spelling) -> Vec<u8> {
        let sources = [NeedleSource::Value(Arc::new(SecretBytes::new(
            value.to_vec(),
        )))];
        let needle = Needle::new(0, 0, spelling, value);
        (0..needle.len as usize)
            .map(|index| needle.byte(&sources, index))
            .collect()
    }

    proptest! {
        /// Whatever surrounds the value, its base64 contains the needle, and no longer needle
        /// would do: the character on either side changes with the neighbours.
        #[test]
        fn base64_needles_are_what_depends_on_the_value_alone(
            value in prop::collection::vec(any::<u8>(), 8..40),
            before in prop::collection::vec(any::<u8>(), 0..3),
            after in prop::collection::vec(any::<u8>(), 0..3),
        ) {
            let needle = spell(&value, Spelling::Base64(before.len() as u8));
            let text = STANDARD.encode([&before[..], &value, &after].concat());
            prop_assert!(text.as_bytes().windows(needle.len()).any(|window| window == needle));
            let bits = 8 * (before.len() + value.len());
            let expected = bits / 6 - (8 * before.len()).div_ceil(6);
            prop_assert_eq!(needle.len(), expected);
        }
    }

    proptest! {
        /// The same one level deeper.
        #[test]
        fn nested_needles_are_what_depends_on_the_value_alone(
            value in prop::collection::vec(any::<u8>(), 8..40),
            before in prop::collection::vec(any::<u8>(), 0..3),
            after in prop::collection::vec(any::<u8>(), 3),
            prefix in 0..3_usize,
            is_url in any::<bool>(),
        ) {
            let engine = if is_url { URL_SAFE } else { STANDARD };
            let inner = engine.encode([&before[..], &value, &after].concat());
            let text = STANDARD.encode([&b"x:y"[..prefix], inner.as_bytes()].concat());
            let occurs = |nested: &Nested| {
                let needle = spell(&value, Spelling::Nested(*nested));
                text.as_bytes().windows(needle.len()).any(|window| window == needle)
            };
            let found: Vec<Nested> = Nested::all(&value).filter(occurs).collect();
            let places = found.iter().map(|n| (usize::from(n.inner), usize::from(n.outer)));
            let mut places: Vec<_> = places.collect();
            // The alphabets may differ in the last bits alone, which are not the value's own.
            places.dedup();
            let from = (8 * before.len()).div_ceil(6);
            prop_assert_eq!(places, [(before.len(), (prefix + from) % 3)]);
        }
    }

    #[test]
    fn hex_and_utf16_are_spelled_as_others_spell_them() {
        assert_eq!(spell(b"\x00\xffAz", Spelling::Hex), b"00ff417a");
        let wide = utf16be("a\u{e9}\u{1f511}".as_bytes()).expect("text");
        assert_eq!(wide.expose(), b"\0a\0\xe9\xd8\x3d\xdd\x11");
        assert_eq!(
            spell(wide.expose(), Spelling::Utf16Le),
            b"a\0\xe9\0\x3d\xd8\x11\xdd"
        );
        assert!(utf16be(b"\xff\xfe").is_none());
    }
}

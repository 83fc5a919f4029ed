//! Tells which parameter of a query or form body a byte belongs to.

use std::borrow::Cow;

use memchr::{memchr, memchr2};

use super::edit::MAX_LOCATION_NAME;
use super::encoding::hex_value;

/// Reads `name=value` pairs from left to right, in pieces of any size, and knows whose value comes
/// next.
#[derive(Debug, Default)]
pub(super) struct FormTracker {
    /// The name so far, as it was written; at most one byte more than what is kept.
    raw: Vec<u8>,
    /// The decoded name, once its `=` was read.
    name: Option<String>,
    in_value: bool,
}

/// What is kept of a name as it was written: each byte may take three.
const MAX_RAW: usize = 3 * MAX_LOCATION_NAME;

impl FormTracker {
    /// Reads on.
    pub(super) fn advance(&mut self, mut bytes: &[u8]) {
        loop {
            let end = if self.in_value {
                memchr(b'&', bytes)
            } else {
                memchr2(b'&', b'=', bytes)
            };
            if !self.in_value {
                let piece = &bytes[..end.unwrap_or(bytes.len())];
                let room = MAX_RAW + 1 - self.raw.len();
                self.raw.extend_from_slice(&piece[..piece.len().min(room)]);
            }
            let Some(end) = end else { return };
            if bytes[end] == b'=' {
                self.in_value = true;
                self.name = decoded_name(&self.raw);
            } else {
                *self = Self::default();
            }
            bytes = &bytes[end + 1..];
        }
    }

    /// The decoded name of the pair to whose value the next byte belongs. `None` inside a name, and
    /// if the name exceeds [`MAX_LOCATION_NAME`] bytes.
    pub(super) fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }
}

fn decoded_name(raw: &[u8]) -> Option<String> {
    let mut name = Vec::with_capacity(raw.len());
    let mut rest = raw;
    while let Some((&byte, tail)) = rest.split_first() {
        let (byte, tail) = match (byte, tail) {
            (b'+', _) => (b' ', tail),
            (b'%', [high, low, tail @ ..]) => match (hex_value(*high), hex_value(*low)) {
                (Some(high), Some(low)) => (high << 4 | low, tail),
                _ => (b'%', rest.get(1..).unwrap_or_default()),
            },
            _ => (byte, tail),
        };
        name.push(byte);
        rest = tail;
    }
    let fits = raw.len() <= MAX_RAW && name.len() <= MAX_LOCATION_NAME;
    // Names that are not UTF-8 get replacement characters, which no rule contains.
    fits.then(|| String::from_utf8_lossy(&name))
        .map(Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name_after(text: &str) -> Option<String> {
        let mut pairs = FormTracker::default();
        pairs.advance(text.as_bytes());
        pairs.name().map(str::to_owned)
    }

    #[test]
    fn the_name_is_that_of_the_value_reached() {
        assert_eq!(name_after("a=1&api_key=se"), Some("api_key".into()));
        assert_eq!(name_after("a=1&api%5Fk+y=x=y;b"), Some("api_k y".into()));
        assert_eq!(name_after("%zz%=x"), Some("%zz%".into()));
        assert_eq!(name_after("=x"), Some(String::new()));
    }

    #[test]
    fn inside_a_name_there_is_none() {
        for text in ["", "api_key", "a=1&", "a=1&api_key", "a&b"] {
            assert_eq!(name_after(text), None, "{text}");
        }
    }

    #[test]
    fn a_name_without_end_is_not_kept() {
        let mut pairs = FormTracker::default();
        for _ in 0..100 {
            pairs.advance(&[b'n'; 1000]);
        }
        assert!(pairs.raw.len() <= MAX_RAW + 1);
        pairs.advance(b"=");
        assert_eq!(pairs.name(), None);
        pairs.advance(b"&ok=");
        assert_eq!(pairs.name(), Some("ok"));
    }

    #[test]
    fn pieces_read_like_the_whole() {
        let text = b"a=1&long%20name=x&&b&c=d=e";
        let mut bytewise = FormTracker::default();
        for end in 0..=text.len() {
            let mut whole = FormTracker::default();
            whole.advance(&text[..end]);
            assert_eq!(bytewise.name(), whole.name(), "at {end}");
            if let Some(byte) = text.get(end) {
                bytewise.advance(&[*byte]);
            }
        }
    }
}

//! JSON as the lines have it: without spaces, each member in its place.
//!
//! Lines are written by hand because two are written for each request: a serializer that goes key by
//! key takes longer for a line than SHA-256. A property test holds what is written here to what
//! `serde_json` writes.

use std::str::FromStr;

use memchr::memchr2;

/// Appends constant text, whose length is known where it is copied.
#[inline(always)]
pub(super) fn put(json: &mut Vec<u8>, constant: &str) {
    json.extend_from_slice(constant.as_bytes());
}

/// Appends a number.
pub(super) fn decimal(json: &mut Vec<u8>, mut value: u64) {
    /// Digits of the largest number.
    const DIGITS: usize = 20;
    let mut digits = [b'0'; DIGITS];
    let mut at = DIGITS;
    loop {
        at -= 1;
        digits[at] += (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    json.extend_from_slice(&digits[at..]);
}

/// Appends the rest of a string after its opening quote: RFC 8259 section 7, escaped as
/// `serde_json` escapes.
pub(super) fn string(json: &mut Vec<u8>, value: &str) {
    let bytes = value.as_bytes();
    if is_clean(bytes) {
        json.extend_from_slice(bytes);
    } else {
        bytes.iter().for_each(|&byte| escaped(json, byte));
    }
    json.push(b'"');
}

/// Whether no byte has to be escaped. Nearly all texts are like that, so sixteen bytes are compared
/// at once, without a branch for each; most texts have fewer.
fn is_clean(bytes: &[u8]) -> bool {
    let all = |block: &[u8; 16]| {
        let must = |byte| byte < b' ' || byte == b'"' || byte == b'\\';
        !block.iter().fold(false, |found, &byte| found | must(byte))
    };
    let (blocks, rest) = bytes.as_chunks();
    let mut last = [b' '; 16];
    last[..rest.len()].copy_from_slice(rest);
    blocks.iter().all(all) && all(&last)
}

fn escaped(json: &mut Vec<u8>, byte: u8) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let short = match byte {
        b'"' | b'\\' => byte,
        0x08 => b'b',
        b'\t' => b't',
        b'\n' => b'n',
        0x0c => b'f',
        b'\r' => b'r',
        0..b' ' => {
            put(json, "\\u00");
            json.push(DIGITS[usize::from(byte >> 4)]);
            return json.push(DIGITS[usize::from(byte & 15)]);
        }
        _ => return json.push(byte),
    };
    json.extend_from_slice(&[b'\\', short]);
}

/// Reads JSON that is written as above and has nothing escaped. Each method takes what it reads off
/// the beginning; `None` means that the text is written in another way, or is not JSON.
pub(super) struct PlainJson<'a>(&'a str);

impl<'a> PlainJson<'a> {
    /// A reader of this line; `None` if it is not UTF-8 or has control characters.
    pub(super) fn new(line: &'a [u8]) -> Option<Self> {
        let text = str::from_utf8(line).ok()?;
        let is_plain = line.iter().all(|byte| *byte >= b' ');
        is_plain.then_some(Self(text))
    }

    /// What has not been read yet.
    pub(super) fn rest(&self) -> &'a str {
        self.0
    }

    /// Reads exactly this.
    pub(super) fn expect(&mut self, constant: &str) -> Option<&mut Self> {
        self.0 = self.0.strip_prefix(constant)?;
        Some(self)
    }

    /// Reads a string.
    pub(super) fn string(&mut self) -> Option<&'a str> {
        let text = self.0.strip_prefix('"')?;
        let end = memchr2(b'"', b'\\', text.as_bytes())?;
        let (text, rest) = text.split_at(end);
        self.0 = rest.strip_prefix('"')?;
        Some(text)
    }

    /// Reads a number without a sign or leading zeros.
    pub(super) fn number<N: FromStr>(&mut self) -> Option<N> {
        let digits = self.0.bytes().take_while(u8::is_ascii_digit).count();
        let (number, rest) = self.0.split_at(digits);
        if digits > 1 && number.starts_with('0') {
            return None;
        }
        self.0 = rest;
        number.parse().ok()
    }

    /// Reads `null`, or what `read` reads.
    pub(super) fn nullable<T>(
        &mut self,
        read: impl Fn(&mut Self) -> Option<T>,
    ) -> Option<Option<T>> {
        match self.0.strip_prefix("null") {
            Some(rest) => {
                self.0 = rest;
                Some(None)
            }
            None => read(self).map(Some),
        }
    }

    /// Reads an array of what `read` reads.
    pub(super) fn array<T>(&mut self, read: impl Fn(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let mut items = Vec::new();
        self.expect("[")?;
        while !self.0.starts_with(']') {
            if !items.is_empty() {
                self.expect(",")?;
            }
            items.push(read(self)?);
        }
        self.expect("]")?;
        Some(items)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_are_written_in_full(value: u64) {
            let mut json = Vec::new();
            decimal(&mut json, value);
            prop_assert_eq!(String::from_utf8(json), Ok(value.to_string()));
        }
    }

    #[test]
    fn what_is_read_is_taken_off_and_anything_else_is_refused() {
        let mut json = PlainJson::new(br#"{"a":["b","c"],"d":null,"e":12}"#).unwrap();
        let array = json.expect("{\"a\":").unwrap().array(PlainJson::string);
        assert_eq!(array, Some(vec!["b", "c"]));
        let null = json.expect(",\"d\":").unwrap().nullable(PlainJson::string);
        assert_eq!(null, Some(None));
        let number = json.expect(",\"e\":").unwrap().nullable(PlainJson::number);
        assert_eq!(number, Some(Some(12_u16)));
        assert_eq!(json.rest(), "}");
        for strange in ["", "01", "-1", "x", "65536"] {
            let number = PlainJson::new(strange.as_bytes()).unwrap().number::<u16>();
            assert_eq!(number, None, "{strange}");
        }
        for strange in ["", "a", "\"a", "\"a\\n\"", "[\"a\"\"b\"]", "[\"a\",", "["] {
            let mut json = PlainJson::new(strange.as_bytes()).unwrap();
            assert_eq!(json.string(), None, "{strange}");
            assert_eq!(json.array(PlainJson::string), None, "{strange}");
        }
        assert!(PlainJson::new(b"\"a\x01\"").is_none());
        assert!(PlainJson::new(b"\"\xff\"").is_none());
    }
}

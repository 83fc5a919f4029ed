//! A JSON object of strings, parsed without leaving copies of them in memory.
//!
//! A general JSON parser unescapes a string in a scratch buffer of its own and frees that unwiped.
//! This grammar is small enough to be parsed straight into buffers that are wiped.

use zeroize::Zeroizing;

use crate::secret::SecretBytes;

/// The members in the order of the input; `None` if it is not an object of strings (RFC 8259).
pub(super) fn parse(input: &[u8]) -> Option<Vec<(SecretBytes, SecretBytes)>> {
    let mut cursor = Cursor {
        rest: std::str::from_utf8(input).ok()?.as_bytes(),
    };
    let mut members = Vec::new();
    cursor.expect(b'{')?;
    if cursor.expect(b'}').is_none() {
        loop {
            let name = cursor.string()?;
            cursor.expect(b':')?;
            members.push((name, cursor.string()?));
            if cursor.expect(b',').is_none() {
                cursor.expect(b'}')?;
                break;
            }
        }
    }
    cursor.skip_whitespace();
    cursor.rest.is_empty().then_some(members)
}

struct Cursor<'a> {
    rest: &'a [u8],
}

impl Cursor<'_> {
    fn skip_whitespace(&mut self) {
        while let [b' ' | b'\t' | b'\n' | b'\r', rest @ ..] = self.rest {
            self.rest = rest;
        }
    }

    /// Takes `byte` after any whitespace, or takes nothing.
    fn expect(&mut self, byte: u8) -> Option<()> {
        self.skip_whitespace();
        self.rest = self.rest.strip_prefix(&[byte])?;
        Some(())
    }

    fn next(&mut self) -> Option<u8> {
        let (&first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(first)
    }

    fn string(&mut self) -> Option<SecretBytes> {
        self.expect(b'"')?;
        // An unescaped string is never longer than its escaped form, so this never reallocates.
        let end = memchr::memchr_iter(b'"', self.rest).find(|at| !is_escaped(&self.rest[..*at]))?;
        let mut text = Zeroizing::new(Vec::with_capacity(end));
        loop {
            match self.next()? {
                b'"' => return Some(SecretBytes::new(std::mem::take(&mut *text))),
                b'\\' => {
                    let mut utf8 = Zeroizing::new([0; 4]);
                    text.extend_from_slice(self.escape()?.encode_utf8(&mut *utf8).as_bytes());
                }
                0x00..=0x1f => return None,
                byte => text.push(byte),
            }
        }
    }

    fn escape(&mut self) -> Option<char> {
        Some(match self.next()? {
            byte @ (b'"' | b'\\' | b'/') => char::from(byte),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => self.unicode()?,
            _ => return None,
        })
    }

    fn unicode(&mut self) -> Option<char> {
        let first = self.four_hex_digits()?;
        if !(0xd800..0xdc00).contains(&first) {
            return char::from_u32(first);
        }
        self.rest = self.rest.strip_prefix(b"\\u")?;
        let second = self.four_hex_digits()?;
        let low = second.checked_sub(0xdc00).filter(|low| *low < 0x400)?;
        char::from_u32(0x10000 + ((first - 0xd800) << 10) + low)
    }

    fn four_hex_digits(&mut self) -> Option<u32> {
        (0..4).try_fold(0, |value, _| {
            Some(value << 4 | char::from(self.next()?).to_digit(16)?)
        })
    }
}

/// Whether the byte after `before` is escaped: preceded by an odd number of backslashes.
fn is_escaped(before: &[u8]) -> bool {
    before
        .iter()
        .rev()
        .take_while(|byte| **byte == b'\\')
        .count()
        % 2
        == 1
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Option<Vec<(String, String)>> {
        let text_of = |bytes: &SecretBytes| String::from_utf8(bytes.expose().to_vec()).unwrap();
        let members = parse(text.as_bytes())?;
        Some(
            members
                .iter()
                .map(|(name, value)| (text_of(name), text_of(value)))
                .collect(),
        )
    }

    #[test]
    fn escapes_are_understood() {
        let members =
            read(" {\"a\" : \"x\\\"\\\\\\/\\n\\u00e9\\ud83d\\ude00\" ,\"b\":\"\"}\n").unwrap();
        assert_eq!(members[0], ("a".into(), "x\"\\/\n\u{e9}\u{1f600}".into()));
        assert_eq!(members[1], ("b".into(), String::new()));
    }

    proptest! {
        #[test]
        fn agrees_with_a_general_parser(
            pieces in prop::collection::vec(
                prop::sample::select(vec![
                    "{", "}", "\"", "\\", "a", "b", ":", ",", " ", "\"a\"", "\"b\"", "\"c\":\"d\"", "é",
                    "\\u0041", "\\ud83d", "\\ude00", "1", "null", "[", "\\n", "\n", "\u{1}",
                ]),
                0..10,
            ),
            wrap: bool,
        ) {
            let middle = pieces.concat();
            let text = if wrap { format!("{{\"k\":\"{middle}\"}}") } else { middle };
            let ours: Option<HashMap<_, _>> = read(&text).map(|members| members.into_iter().collect());
            let theirs = serde_json::from_str::<HashMap<String, String>>(&text).ok();
            prop_assert_eq!(ours, theirs, "{}", text);
        }

        #[test]
        fn whatever_is_written_is_read(members in prop::collection::vec((".*", ".*"), 0..4)) {
            let body: Vec<String> = members
                .iter()
                .map(|(name, value)| {
                    format!("{}:{}", serde_json::to_string(name).unwrap(), serde_json::to_string(value).unwrap())
                })
                .collect();
            prop_assert_eq!(read(&format!("{{{}}}", body.join(","))).unwrap(), members);
        }
    }
}

//! Lines on their way into the ledger: all of their text but number, time and link, which only the
//! writer knows.
//!
//! An entry is written as JSON where it arises, while what it tells of can still be borrowed. So the
//! lines of a request cost one piece of memory, which is all that the writer's thread has to read
//! and to free, and it can write them again after a failure.
//!
//! The text is written by hand because it is written twice for each request: a serializer that goes
//! key by key takes longer for a line than SHA-256. Reading stays serde's work, and a property test
//! holds the two to each other.

use std::iter;

use memchr::memchr;

use super::record::Entry;

/// What most lines fit into, in bytes.
const LINE: usize = 640;

/// Writes a member whose value is a text.
macro_rules! member {
    ($text:ident, $name:literal, $value:expr) => {
        match $value {
            Some(value) => {
                put($text, concat!(",\"", $name, "\":\""));
                string($text, value);
            }
            None => put($text, concat!(",\"", $name, "\":null")),
        }
    };
}

/// Writes a member whose value is a number.
macro_rules! number {
    ($text:ident, $name:literal, $value:expr) => {
        match $value {
            Some(value) => {
                put($text, concat!(",\"", $name, "\":"));
                decimal($text, (*value).into());
            }
            None => put($text, concat!(",\"", $name, "\":null")),
        }
    };
}

/// Lines without number, time and link. Made of entries: `Draft::from(entries)`, or collected.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Draft {
    /// For each line what stands behind the time, a line feed, what stands behind the link, a line
    /// feed. JSON escapes line feeds, so there are no others.
    text: Vec<u8>,
    lines: usize,
}

impl Draft {
    /// How many lines there are.
    pub fn len(&self) -> usize {
        self.lines
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.lines == 0
    }

    /// Adds a line.
    pub fn push(&mut self, entry: &Entry<'_>) {
        let Entry {
            event,
            request,
            slug,
            field,
            version,
            owner,
            principal,
            client,
            action,
            action_source,
            run,
            method,
            destination,
            path,
            locations,
            outcome,
            code,
            status,
            duration_ms,
            bytes,
        } = entry;
        let text = &mut self.text;
        text.reserve(LINE);
        put(text, ",\"event\":\"");
        string(text, event);
        member!(text, "request", request);
        member!(text, "slug", slug);
        member!(text, "field", field);
        number!(text, "version", version);
        member!(text, "owner", owner);
        member!(text, "principal", principal);
        member!(text, "client", client);
        member!(text, "action", action);
        member!(text, "action_source", action_source);
        member!(text, "run", run);
        member!(text, "method", method);
        member!(text, "destination", destination);
        member!(text, "path", path);
        put(text, ",\"locations\":[");
        for (at, location) in locations.iter().enumerate() {
            if at > 0 {
                text.push(b',');
            }
            text.push(b'"');
            string(text, location);
        }
        put(text, "]");
        member!(text, "outcome", outcome);
        member!(text, "code", code);
        number!(text, "status", status);
        number!(text, "duration_ms", duration_ms);
        put(text, ",\"prev\":\"\n\"");
        number!(text, "bytes", bytes);
        put(text, "}\n");
        self.lines += 1;
    }

    /// Adds the lines of another.
    pub fn append(&mut self, other: &Draft) {
        self.text.extend_from_slice(&other.text);
        self.lines += other.lines;
    }

    /// For each line what stands between time and link, and what stands behind the link.
    pub(in crate::ledger) fn lines(&self) -> Lines<'_> {
        Lines::of(&self.text)
    }

    /// The lines as one text, to be read by [`Lines`].
    pub(in crate::ledger) fn text(&self) -> &[u8] {
        &self.text
    }
}

/// Each line of a draft: what stands between time and link, and what stands behind the link.
#[derive(Clone, Debug)]
pub(in crate::ledger) struct Lines<'a>(&'a [u8]);

impl<'a> Lines<'a> {
    /// The lines of a draft's text.
    pub(in crate::ledger) fn of(text: &'a [u8]) -> Self {
        Self(text)
    }

    fn piece(&mut self) -> Option<&'a [u8]> {
        let (piece, behind) = self.0.split_at(memchr(b'\n', self.0)?);
        self.0 = &behind[1..];
        Some(piece)
    }
}

impl<'a> Iterator for Lines<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        Some((self.piece()?, self.piece()?))
    }
}

impl From<&Entry<'_>> for Draft {
    fn from(entry: &Entry<'_>) -> Self {
        iter::once(entry).collect()
    }
}

impl<'e> From<Vec<Entry<'e>>> for Draft {
    fn from(entries: Vec<Entry<'e>>) -> Self {
        entries.iter().collect()
    }
}

impl<'a, 'e: 'a> FromIterator<&'a Entry<'e>> for Draft {
    fn from_iter<I: IntoIterator<Item = &'a Entry<'e>>>(entries: I) -> Self {
        let mut draft = Self::default();
        entries.into_iter().for_each(|entry| draft.push(entry));
        draft
    }
}

impl<'e> FromIterator<Entry<'e>> for Draft {
    fn from_iter<I: IntoIterator<Item = Entry<'e>>>(entries: I) -> Self {
        let mut draft = Self::default();
        entries.into_iter().for_each(|entry| draft.push(&entry));
        draft
    }
}

/// Constant text, whose length is known where it is copied.
#[inline(always)]
fn put(text: &mut Vec<u8>, constant: &str) {
    text.extend_from_slice(constant.as_bytes());
}

/// Writes a number.
pub(super) fn decimal(text: &mut Vec<u8>, mut value: u64) {
    /// Those of the largest.
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
    text.extend_from_slice(&digits[at..]);
}

/// Writes a text and the quote behind it: RFC 8259 section 7, spelled as `serde_json` does.
fn string(text: &mut Vec<u8>, value: &str) {
    let bytes = value.as_bytes();
    if is_clean(bytes) {
        text.extend_from_slice(bytes);
    } else {
        bytes.iter().for_each(|&byte| escaped(text, byte));
    }
    text.push(b'"');
}

/// Whether nothing in it has to be escaped. Nearly no text has anything, so it is asked of sixteen
/// bytes at once, without a branch for each; most texts have fewer.
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

fn escaped(text: &mut Vec<u8>, byte: u8) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let short = match byte {
        b'"' | b'\\' => byte,
        0x08 => b'b',
        b'\t' => b't',
        b'\n' => b'n',
        0x0c => b'f',
        b'\r' => b'r',
        0..b' ' => {
            put(text, "\\u00");
            text.push(DIGITS[usize::from(byte >> 4)]);
            return text.push(DIGITS[usize::from(byte & 15)]);
        }
        _ => return text.push(byte),
    };
    text.extend_from_slice(&[b'\\', short]);
}

#[cfg(test)]
mod tests {
    use proptest::option::of;
    use proptest::prelude::*;

    use super::*;
    use crate::ledger::format::chain::{Chain, LineHash};
    use crate::ledger::format::record::{Record, Timestamp};

    type Text = Option<std::borrow::Cow<'static, str>>;

    /// Texts with and without what has to be escaped, of lengths around those that are looked at
    /// together.
    fn text() -> impl Strategy<Value = String> {
        prop_oneof![
            any::<String>(),
            "[ -~]{0,40}",
            "[\\x00-\\x23\\x5c\\x7fé€😀]{0,40}",
        ]
    }

    fn maybe() -> impl Strategy<Value = Text> {
        of(text().prop_map(Into::into))
    }

    prop_compose! {
        fn entries()(
            event in text(),
            who in (maybe(), maybe(), maybe(), maybe(), maybe(), maybe(), maybe(), maybe()),
            what in (maybe(), maybe(), maybe(), maybe(), maybe(), maybe()),
            locations in prop::collection::vec(text(), 0..4),
            numbers in (of(any::<u32>()), of(any::<u16>()), of(any::<u64>()), of(any::<u64>())),
        ) -> Entry<'static> {
            let (request, principal, client, action, action_source, run, method, path) = who;
            let (slug, field, owner, destination, outcome, code) = what;
            let (version, status, duration_ms, bytes) = numbers;
            Entry {
                event: event.into(), request, slug, field, version, owner, principal, client,
                action, action_source, run, method, destination, path, locations, outcome, code,
                status, duration_ms, bytes,
            }
        }
    }

    proptest! {
        #[test]
        fn lines_are_those_of_serde_json(
            entries in prop::collection::vec(entries(), 1..4),
            micros in any::<i64>(),
            seq in 0..u64::MAX - 8,
        ) {
            let (time, prev) = (Timestamp::from_unix_micros(micros), LineHash::of(b"before"));
            let mut written = Vec::new();
            Chain::at(seq, prev).append(time, &entries.iter().collect(), &mut written);
            let (mut expected, mut record_prev) = (Vec::new(), prev);
            for (seq, entry) in (seq + 1..).zip(entries) {
                let line = serde_json::to_vec(&Record { seq, time, entry, prev: record_prev }).unwrap();
                record_prev = LineHash::of(&line);
                expected.extend_from_slice(&line);
                expected.push(b'\n');
            }
            prop_assert_eq!(String::from_utf8(written), String::from_utf8(expected));
        }

        #[test]
        fn numbers_are_written_in_full(value: u64) {
            let mut text = Vec::new();
            decimal(&mut text, value);
            prop_assert_eq!(String::from_utf8(text), Ok(value.to_string()));
        }
    }

    #[test]
    fn lines_of_several_drafts_follow_each_other() {
        let draft = |event: &'static str| Entry::new(event).draft();
        let mut all = draft("a");
        all.append(&draft("b\n"));
        assert_eq!(all, [Entry::new("a"), Entry::new("b\n")].iter().collect());
        assert_eq!((all.len(), all.lines().count()), (2, 2));
        assert!(Draft::from(Vec::new()).is_empty());
    }
}

//! Lines on their way into the ledger: all of their text but number, time and link, which only the
//! writer knows.
//!
//! An entry is written as JSON where it arises, while what it tells of can still be borrowed. So the
//! lines of a request cost one piece of memory, which is all that the writer's thread has to read
//! and to free, and it can write them again after a failure.

use std::hash::{DefaultHasher, Hasher as _};
use std::iter;

use memchr::memchr;

use super::entry::Entry;
use super::fields::fields;
use super::json::put;
use super::value::{Value, key};

/// What most lines fit into, in bytes.
const LINE: usize = 640;

/// Lines without number, time and link. Made of entries: `EncodedEntries::from(entries)`, or collected.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EncodedEntries {
    /// For each line what is between time and link, a line feed, what follows the link, a line feed.
    /// JSON escapes line feeds, so there are no others.
    text: Vec<u8>,
    lines: usize,
    /// Whose request they are about, as a hash of the principal's name.
    requester: Option<u64>,
}

macro_rules! encode {
    ({ $($front:ident: $front_type:ty, $front_doc:literal;)* } { $($back:ident: $back_type:ty, $back_doc:literal;)* }) => {
        fn encode(entry: &Entry<'_>, json: &mut Vec<u8>) {
            $(entry.$front.encode(key!($front), json);)*
            put(json, ",\"prev\":\"\n\"");
            $(entry.$back.encode(key!($back), json);)*
            put(json, "}\n");
        }
    };
}
fields!(encode);

/// Principals are named by administrators, so that no one searches for collisions.
fn hash(name: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(name.as_bytes());
    hasher.finish()
}

impl Entry<'_> {
    /// Its line, as far as it is known.
    pub fn encode(&self) -> EncodedEntries {
        EncodedEntries::from(self)
    }
}

impl EncodedEntries {
    /// Lines that another process has encoded, as [`text`](Self::text) gives them. Whether each is a record
    /// is not looked at.
    pub(in crate::ledger) fn of_text(text: Vec<u8>) -> Self {
        Self {
            lines: EncodedLines::of(&text).count(),
            text,
            requester: None,
        }
    }

    /// How many lines there are.
    pub fn len(&self) -> usize {
        self.lines
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.lines == 0
    }

    /// Who takes room in the queue with them; `None` for lines that are not about a request.
    pub(in crate::ledger) fn requester(&self) -> Option<u64> {
        self.requester
    }

    /// Adds a line.
    pub fn push(&mut self, entry: &Entry<'_>) {
        self.text.reserve(LINE);
        encode(entry, &mut self.text);
        self.lines += 1;
        if self.requester.is_none() && entry.request.is_some() {
            self.requester = entry.principal.as_deref().map(hash);
        }
    }

    /// Adds the lines of another.
    pub fn append(&mut self, other: &EncodedEntries) {
        self.text.extend_from_slice(&other.text);
        self.lines += other.lines;
        self.requester = self.requester.or(other.requester);
    }

    /// For each line what is between time and link, and what follows the link.
    pub(in crate::ledger) fn lines(&self) -> EncodedLines<'_> {
        EncodedLines::of(&self.text)
    }

    /// The lines as one text, to be read by [`EncodedLines`].
    pub(in crate::ledger) fn text(&self) -> &[u8] {
        &self.text
    }
}

/// Each line of a draft: what is between time and link, and what follows the link.
#[derive(Clone, Debug)]
pub(in crate::ledger) struct EncodedLines<'a>(&'a [u8]);

impl<'a> EncodedLines<'a> {
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

impl<'a> Iterator for EncodedLines<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        Some((self.piece()?, self.piece()?))
    }
}

impl From<&Entry<'_>> for EncodedEntries {
    fn from(entry: &Entry<'_>) -> Self {
        iter::once(entry).collect()
    }
}

impl<'e> From<Vec<Entry<'e>>> for EncodedEntries {
    fn from(entries: Vec<Entry<'e>>) -> Self {
        entries.iter().collect()
    }
}

impl<'a, 'e: 'a> FromIterator<&'a Entry<'e>> for EncodedEntries {
    fn from_iter<I: IntoIterator<Item = &'a Entry<'e>>>(entries: I) -> Self {
        let mut draft = Self::default();
        entries.into_iter().for_each(|entry| draft.push(entry));
        draft
    }
}

impl<'e> FromIterator<Entry<'e>> for EncodedEntries {
    fn from_iter<I: IntoIterator<Item = Entry<'e>>>(entries: I) -> Self {
        let mut draft = Self::default();
        entries.into_iter().for_each(|entry| draft.push(&entry));
        draft
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ledger::format::chain::Chain;
    use crate::ledger::format::entry::any_entry;
    use crate::ledger::format::line_hash::LineHash;
    use crate::ledger::format::record::Record;
    use crate::ledger::format::timestamp::Timestamp;

    proptest! {
        #[test]
        fn lines_are_those_of_serde_json(
            entries in prop::collection::vec(any_entry(), 1..4),
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
    }

    #[test]
    fn lines_of_several_drafts_follow_each_other() {
        let draft = |event: &'static str| Entry::new(event).encode();
        let mut all = draft("a");
        all.append(&draft("b\n"));
        assert_eq!(all, [Entry::new("a"), Entry::new("b\n")].iter().collect());
        assert_eq!((all.len(), all.lines().count()), (2, 2));
        assert!(EncodedEntries::from(Vec::new()).is_empty());
    }
}

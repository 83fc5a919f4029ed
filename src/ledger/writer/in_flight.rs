//! Requests with a `use` and no `result` yet: while Egret runs, to know when none is under way;
//! after a crash, to name them.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::path::Path;

use memchr::{memchr, memmem};

use super::walk;
use crate::ledger::format::entry::Entry;
use crate::ledger::format::event;
use crate::ledger::format::outcome;
use crate::ledger::format::record_ref::RecordRef;
use crate::ledger::layout::Segment;

/// Requests that are followed at most. A server has as many under way as it takes connections.
const REQUESTS: usize = 100_000;

/// How the lines begin after their time, up to the request's id.
const EVENT: &[u8] = br#","event":""#;
const USE: &[u8] = br#","event":"use","request":""#;
const RESULT: &[u8] = br#","event":"result","request":""#;
const RECOVERED: &[u8] = br#","event":"recovered","request":""#;

/// The requests under way, as the writer sees them pass.
#[derive(Debug, Default)]
pub(super) struct OpenRequests {
    /// Each with the number of its first line.
    requests: HashMap<Box<[u8]>, u64>,
    /// There were more than can be followed, so that it is not known whether one is left.
    overflown: bool,
}

impl OpenRequests {
    /// Takes in a line that is durable now, from its event on, as [`EncodedEntries`](crate::ledger::EncodedEntries) wrote it,
    /// and its number.
    pub(super) fn see(&mut self, seq: u64, line: &[u8]) {
        // Ids are Egret's own and hold nothing that JSON escapes.
        let id = |rest: &'_ [u8]| memchr(b'"', rest).unwrap_or(rest.len());
        let end = line
            .strip_prefix(RESULT)
            .or_else(|| line.strip_prefix(RECOVERED));
        if let Some(rest) = end {
            self.requests.remove(&rest[..id(rest)]);
        } else if let Some(rest) = line.strip_prefix(USE) {
            let request = &rest[..id(rest)];
            if self.requests.contains_key(request) {
                return;
            }
            if self.requests.len() < REQUESTS {
                self.requests.insert(request.into(), seq);
            } else {
                self.overflown = true;
            }
        }
    }

    /// Takes in requests that another process still serves.
    pub(super) fn see_elsewhere(&mut self, uses: &OpenUses) {
        for (request, uses) in uses.requests.iter().take(REQUESTS) {
            let first = uses.first().map_or(1, |(seq, _)| *seq);
            self.requests.insert(request.as_bytes().into(), first);
        }
        self.overflown |= uses.left_out > 0;
    }

    /// The first line of those that are open.
    pub(super) fn first(&self) -> Option<u64> {
        if self.overflown {
            return Some(1);
        }
        self.requests.values().min().copied()
    }

    /// Whether every `use` has its `result`.
    pub(super) fn is_none(&self) -> bool {
        self.requests.is_empty() && !self.overflown
    }
}

/// What a look back has found.
#[derive(Debug, Default)]
pub(super) struct LookBack {
    /// The uses that have no result.
    pub(super) uses: OpenUses,
    /// Ranges of lines that are not there.
    pub(super) missing: Vec<String>,
    /// Names of files that could not be read to their end.
    pub(super) unreadable: Vec<String>,
}

/// Looks for uses without a result among these lines. What is missing or cannot be read is told and
/// passed over: it was there when the last checkpoint was signed, and is the verifier's to judge.
pub(super) fn look_for(dir: &Path, segments: &[Segment], lines: RangeInclusive<u64>) -> LookBack {
    let mut open = OpenUses::default();
    let mut found = LookBack::default();
    let mut last = None;
    for at in walk::segment_of(segments, *lines.start())..segments.len() {
        let segment = &segments[at..=at];
        if let (Some(last), Some(first)) = (last, segment[0].first)
            && first > last + 1
        {
            found.missing.push(format!("{}-{}", last + 1, first - 1));
        }
        let read = walk::lines(dir, segment, 0, |seq, line| {
            if lines.contains(&seq) {
                open.see(seq, line);
            }
            Ok(seq < *lines.end())
        });
        last = match read {
            // A file without lines: where it ends is not known.
            Ok(0) => None,
            Ok(last) => Some(last),
            Err(_) => {
                let name = segment[0].path.file_name().unwrap_or_default();
                found.unreadable.push(name.to_string_lossy().into_owned());
                None
            }
        };
    }
    found.uses = open;
    found
}

/// A line with its number. It is read when it is known which are left: of a million, a few.
type NumberedLine = (u64, Box<[u8]>);

/// Uses without a result, by their requests.
#[derive(Debug, Default)]
pub(super) struct OpenUses {
    requests: HashMap<String, Vec<NumberedLine>>,
    left_out: u64,
}

/// What a line says of a request that is under way.
enum Front<'a> {
    Use(Cow<'a, str>),
    /// It is over.
    End(Cow<'a, str>),
    Other,
}

impl<'a> Front<'a> {
    /// By its beginning, as Egret writes it. A line of another form is read as a whole.
    fn of(line: &'a [u8]) -> Self {
        let rest = memmem::find(line, EVENT).map_or(&[][..], |at| &line[at..]);
        let request = |start: &[u8]| {
            let id = rest.strip_prefix(start)?;
            let id = &id[..memchr(b'"', id)?];
            // An id of Egret's holds nothing that JSON escapes.
            let is_plain = memchr(b'\\', id).is_none();
            is_plain.then(|| str::from_utf8(id).ok()).flatten()
        };
        if let Some(id) = request(USE) {
            return Self::Use(id.into());
        }
        if let Some(id) = request(RESULT).or_else(|| request(RECOVERED)) {
            return Self::End(id.into());
        }
        Self::of_whole(line)
    }

    fn of_whole(line: &'a [u8]) -> Self {
        let may_be = |event: &[u8]| memmem::find(line, event).is_some();
        let is_use = may_be(b"\"event\":\"use\"");
        if !is_use && !may_be(b"\"event\":\"result\"") && !may_be(b"\"event\":\"recovered\"") {
            return Self::Other;
        }
        #[cfg(test)]
        tests::READ_WHOLE.set(tests::READ_WHOLE.get() + 1);
        let Ok(record) = RecordRef::parse(line) else {
            return Self::Other;
        };
        let Some(request) = record.request.as_deref().map(str::to_owned) else {
            return Self::Other;
        };
        let request = Cow::Owned(request);
        if record.event == event::USE {
            Self::Use(request)
        } else {
            Self::End(request)
        }
    }
}

impl OpenUses {
    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// Takes out those that began with this line or before.
    pub(super) fn take_up_to(&mut self, last: u64) -> Self {
        let began = |uses: &Vec<NumberedLine>| uses.first().is_some_and(|(seq, _)| *seq <= last);
        Self {
            requests: self.requests.extract_if(|_, uses| began(uses)).collect(),
            left_out: 0,
        }
    }

    /// Takes in a line with its number.
    pub(super) fn see(&mut self, seq: u64, line: &[u8]) {
        let (request, is_use) = match Front::of(line) {
            Front::Use(request) => (request, true),
            Front::End(request) => (request, false),
            Front::Other => return,
        };
        if !is_use {
            self.requests.remove(&*request);
            return;
        }
        if self.requests.len() >= REQUESTS && !self.requests.contains_key(&*request) {
            self.left_out += 1;
            return;
        }
        let uses = self.requests.entry(request.into_owned()).or_default();
        uses.push((seq, line.into()));
    }

    /// The `recovered` lines for them, in the order in which they were used.
    pub(super) fn into_entries(self) -> Vec<Entry<'static>> {
        if self.left_out > 0 {
            let uses = self.left_out;
            tracing::error!(
                uses,
                "more uses were left without a result than can be named"
            );
        }
        let mut uses: Vec<_> = self.requests.into_values().flatten().collect();
        uses.sort_by_key(|(seq, _)| *seq);
        let read = |line: &[u8]| RecordRef::parse(line).ok().map(RecordRef::into_entry);
        let entries = uses.iter().filter_map(|(_, line)| read(line));
        entries.map(unknown).collect()
    }
}

fn unknown(used: Entry) -> Entry {
    Entry {
        event: event::RECOVERED.into(),
        outcome: Some(outcome::UNKNOWN.into()),
        ..used
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::ledger::format::chain::Chain;
    use crate::ledger::format::text::Text;
    use crate::ledger::format::timestamp::Timestamp;
    use crate::ledger::layout;

    thread_local! {
        /// How many lines this thread has read as a whole to know what they are.
        pub(super) static READ_WHOLE: Cell<u64> = const { Cell::new(0) };
    }

    /// A start after a crash looks through a million lines: it reads the JSON of those that are left.
    #[test]
    fn only_lines_of_another_form_are_read_as_a_whole() {
        let mut uses = OpenUses::default();
        let mut chain = Chain::start();
        let mut seq = 0;
        let mut see = |uses: &mut OpenUses, alter: &dyn Fn(String) -> String, entry: Entry<'_>| {
            let mut line = Vec::new();
            chain.append(Timestamp::from_unix_micros(1), &entry.encode(), &mut line);
            seq += 1;
            let line = alter(String::from_utf8(line).unwrap());
            uses.see(seq, line.trim_end().as_bytes());
        };
        let as_it_is = |line: String| line;
        let before = READ_WHOLE.get();
        for _ in 0..1000 {
            see(&mut uses, &as_it_is, entry(event::USE, "a"));
            see(&mut uses, &as_it_is, entry(event::DENIED, "b"));
            see(&mut uses, &as_it_is, Entry::new("credential.created"));
            see(&mut uses, &as_it_is, entry(event::RESULT, "a"));
        }
        assert!(uses.is_empty());
        assert_eq!(READ_WHOLE.get(), before);
        // As another program may have written them.
        let spaced = |line: String| line.replace("\"request\":", "\"x\":1,\"request\":");
        let escaped = |line: String| line.replace("\"request\":\"c\"", "\"request\":\"\\u0063\"");
        see(&mut uses, &spaced, entry(event::USE, "a"));
        see(&mut uses, &escaped, entry(event::USE, "c"));
        assert_eq!(uses.requests.len(), 2);
        see(&mut uses, &spaced, entry(event::RECOVERED, "a"));
        see(&mut uses, &as_it_is, entry(event::RESULT, "c"));
        assert!(uses.is_empty());
        assert_eq!(READ_WHOLE.get(), before + 3);
    }

    fn entry(event: &'static str, request: &'static str) -> Entry<'static> {
        Entry {
            request: Some(request.into()),
            slug: Some("gh".into()),
            version: Some(3),
            ..Entry::new(event)
        }
    }

    fn found(entries: &[Entry], from: u64) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        let mut chain = Chain::start();
        let mut lines = Vec::new();
        for entry in entries {
            chain.append(Timestamp::from_unix_micros(1), &entry.encode(), &mut lines);
        }
        std::fs::write(dir.path().join(layout::CURRENT), lines).unwrap();
        let segments = layout::segments(dir.path()).unwrap();
        let found = look_for(dir.path(), &segments, from..=entries.len() as u64);
        let found = found.uses.into_entries();
        for entry in &found {
            assert_eq!(entry.event, event::RECOVERED);
            assert_eq!(entry.outcome.as_deref(), Some("unknown"));
            assert_eq!(
                (entry.slug.as_deref(), entry.version),
                (Some("gh"), Some(3))
            );
        }
        found
            .into_iter()
            .filter_map(|entry| entry.request.map(Text::into_string))
            .collect()
    }

    #[test]
    fn uses_without_a_result_are_named_once_each_and_in_order() {
        let entries = [
            entry(event::USE, "a"),
            entry(event::USE, "b"),
            entry(event::USE, "a"),
            entry(event::DENIED, "c"),
            entry(event::RESULT, "b"),
            entry(event::USE, "d"),
            entry(event::RECOVERED, "d"),
            entry(event::USE, "e"),
            Entry::new("credential.created"),
        ];
        assert_eq!(found(&entries, 1), ["a", "a", "e"]);
        assert_eq!(
            found(&entries, 3),
            ["a", "e"],
            "lines before were looked at before"
        );
        assert!(found(&entries, 10).is_empty());
    }

    #[test]
    fn uses_up_to_a_line_are_taken_out_and_those_of_later_requests_stay() {
        let mut uses = OpenUses::default();
        let mut chain = Chain::start();
        for (seq, request) in [(1, "old"), (2, "new"), (3, "old")] {
            let mut line = Vec::new();
            let used = entry(event::USE, request).encode();
            chain.append(Timestamp::from_unix_micros(1), &used, &mut line);
            uses.see(seq, line.trim_ascii_end());
        }
        let requests = |uses: OpenUses| {
            let entries = uses.into_entries().into_iter();
            let requests = entries.filter_map(|entry| entry.request.map(Text::into_string));
            requests.collect::<Vec<_>>()
        };
        assert_eq!(requests(uses.take_up_to(1)), ["old", "old"]);
        assert_eq!(requests(uses), ["new"]);
    }

    #[test]
    fn requests_are_under_way_from_use_to_result() {
        let mut open_requests = OpenRequests::default();
        let mut seq = 0;
        let mut see = |open_requests: &mut OpenRequests, entry: Entry| {
            let draft = entry.encode();
            draft.lines().for_each(|(front, _)| {
                seq += 1;
                open_requests.see(seq, front);
            });
        };
        assert!(open_requests.is_none());
        see(&mut open_requests, entry(event::DENIED, "a"));
        see(&mut open_requests, Entry::new(event::USE));
        assert!(open_requests.is_none());
        see(&mut open_requests, entry(event::USE, "a"));
        see(&mut open_requests, entry(event::USE, "b"));
        assert_eq!(open_requests.first(), Some(3));
        see(&mut open_requests, entry(event::RESULT, "a"));
        assert!(!open_requests.is_none());
        assert_eq!(open_requests.first(), Some(4));
        see(&mut open_requests, entry(event::RESULT, "b"));
        assert!(open_requests.is_none());
        see(&mut open_requests, entry(event::USE, "c"));
        see(&mut open_requests, entry(event::RECOVERED, "c"));
        assert!(open_requests.is_none());
        assert_eq!(open_requests.first(), None);
    }
}

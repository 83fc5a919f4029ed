//! One line, read.

use serde::Serialize;

use super::entry::Entry;
use super::line_hash::LineHash;
use super::record_ref::{NotARecord, RecordRef};
use super::timestamp::Timestamp;

/// One line. It owns what it says; [`RecordRef`] borrows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(into = "RecordRef<'static>")]
pub struct Record {
    /// Position in the ledger, from 1, without gaps. Also the ledger's size up to this line.
    pub seq: u64,
    /// When it happened, by the clock of the machine: it may step back from one line to the next.
    pub time: Timestamp,
    /// What happened.
    pub entry: Entry<'static>,
    /// The hash of the line before.
    pub prev: LineHash,
}

impl Record {
    /// What a line says, given without its line feed.
    ///
    /// # Errors
    /// When the line is not a record.
    pub fn parse(line: &[u8]) -> Result<Self, NotARecord> {
        let record = RecordRef::parse(line)?;
        Ok(Self {
            seq: record.seq,
            time: record.time.parse().map_err(|_| NotARecord)?,
            prev: record.prev.parse().map_err(|_| NotARecord)?,
            entry: record.into_entry(),
        })
    }
}

impl From<Record> for RecordRef<'static> {
    fn from(record: Record) -> Self {
        let (time, prev) = (record.time.to_string(), record.prev.to_string());
        Self::of(record.seq, time.into(), record.entry, prev.into())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ledger::format::chain::Chain;
    use crate::ledger::format::record_ref::RecordRef;
    use crate::ledger::format::text::Text;
    use crate::ledger::format::{event, outcome};

    const GOLDEN: &str = include_str!("../../../tests/golden/ledger-record.jsonl");
    /// What was written before lines had `bytes`.
    const FIRST: &str = include_str!("../../../tests/golden/ledger-record-1.jsonl");
    /// From before lines had the key `first`.
    const SECOND: &str = include_str!("../../../tests/golden/ledger-record-2.jsonl");

    fn text(value: &str) -> Option<Text<'static>> {
        Some(value.to_owned().into())
    }

    fn used() -> Entry<'static> {
        Entry {
            request: text("01K9ZQ4T7M0000000000000001"),
            slug: text("crm-login"),
            field: text("password"),
            version: Some(3),
            owner: text("alice"),
            principal: text("bob"),
            client: text("laptop"),
            action: text("weekly-report"),
            action_source: Some("signed".into()),
            run: text("run-8841"),
            method: text("POST"),
            destination: text("https://crm.example.com:443"),
            path: text("/login/<<crm-login.username>>"),
            locations: vec!["header:authorization".into(), "body:/auth/token".into()],
            outcome: Some(outcome::USED.into()),
            first: Some(vec!["action".into(), "destination".into()]),
            ..Entry::new(event::USE)
        }
    }

    fn golden_entries() -> Vec<(Timestamp, Entry<'static>)> {
        let result = Entry {
            locations: Vec::new(),
            outcome: Some(outcome::FORWARDED.into()),
            status: Some(200),
            duration_ms: Some(187),
            bytes: Some(5120),
            ..Entry {
                event: event::RESULT.into(),
                first: None,
                ..used()
            }
        };
        let denied = Entry {
            request: text("01K9ZQ4T7M0000000000000002"),
            slug: text("gh"),
            principal: text("bob"),
            client: text("laptop"),
            action: text("say \"hi\" \\ é"),
            action_source: Some("asserted".into()),
            method: text("GET"),
            destination: text("http://[2001:db8::1]:8080"),
            path: text("/"),
            locations: vec!["query:a\tb".into()],
            outcome: Some(outcome::DENIED.into()),
            code: Some("credential_not_allowed".into()),
            status: Some(403),
            ..Entry::new(event::DENIED)
        };
        let created = Entry {
            slug: text("gh"),
            version: Some(1),
            owner: text("default"),
            ..Entry::new("credential.created")
        };
        vec![
            (Timestamp::from_unix_micros(1_795_339_800_000_001), used()),
            (Timestamp::from_unix_micros(1_795_339_800_187_000), result),
            (Timestamp::from_unix_micros(1_795_339_799_000_000), denied),
            (Timestamp::from_unix_micros(1_795_339_801_999_999), created),
        ]
    }

    #[test]
    fn lines_are_frozen() {
        let mut chain = Chain::start();
        let mut lines = Vec::new();
        for (time, entry) in golden_entries() {
            chain.append(time, &entry.encode(), &mut lines);
        }
        assert_eq!(String::from_utf8(lines).unwrap(), GOLDEN);
    }

    #[test]
    fn frozen_lines_are_read_back() {
        let read: Vec<Record> = GOLDEN
            .lines()
            .map(|line| Record::parse(line.as_bytes()).unwrap())
            .collect();
        let entries: Vec<_> = read
            .iter()
            .map(|record| (record.time, record.entry.clone()))
            .collect();
        assert_eq!(entries, golden_entries());
        assert_eq!(read[3].seq, 4);
    }

    #[test]
    fn lines_of_earlier_versions_are_read_back() {
        let without_first = |entry| Entry {
            first: None,
            ..entry
        };
        let without_both = |entry| Entry {
            bytes: None,
            first: None,
            ..entry
        };
        type AsItWas = fn(Entry<'static>) -> Entry<'static>;
        let versions = [
            (FIRST, without_both as AsItWas),
            (SECOND, without_first as AsItWas),
        ];
        for (lines, as_it_was) in versions {
            for (line, (time, entry)) in lines.lines().zip(golden_entries()) {
                let record = Record::parse(line.as_bytes()).unwrap();
                assert_eq!((record.time, record.entry), (time, as_it_was(entry)));
                // By the parser for what Egret writes, too.
                assert!(RecordRef::parse(line.as_bytes()).is_ok());
            }
        }
    }

    #[test]
    fn a_record_written_again_is_the_same_line() {
        for line in GOLDEN.lines() {
            let record = Record::parse(line.as_bytes()).unwrap();
            assert_eq!(serde_json::to_string(&record).unwrap(), line);
        }
    }

    #[test]
    fn keys_of_a_newer_version_are_ignored() {
        let line = GOLDEN.lines().next().unwrap();
        let newer = line.replace("\"destination\"]}", "\"destination\"],\"newer\":12}");
        assert_ne!(newer, line);
        let (newer, line): (Record, Record) = (
            Record::parse(newer.as_bytes()).unwrap(),
            Record::parse(line.as_bytes()).unwrap(),
        );
        assert_eq!(newer, line);
    }

    proptest! {
        #[test]
        fn no_text_breaks_a_line(action in any::<String>(), place in any::<String>()) {
            let entry = Entry { action: Some(action.into()), locations: vec![place.into()], ..used() };
            let mut line = Vec::new();
            Chain::start().append(Timestamp::from_unix_micros(1), &entry.encode(), &mut line);
            prop_assert_eq!(line.iter().filter(|&&byte| byte == b'\n').count(), 1);
            let record = Record::parse(line.strip_suffix(b"\n").unwrap()).unwrap();
            prop_assert_eq!(record.entry, entry);
        }
    }
}

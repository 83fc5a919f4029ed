//! The format of a line: one JSON object, its keys always all there and always in this order.
//!
//! `tests/golden/ledger-record.jsonl` freezes it, `ledger-record-1.jsonl` beside it what the first
//! version wrote. New keys may only be added at the end, and a line that lacks them is read as if
//! they were `null`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::chain::LineHash;
use super::encoded::Draft;

/// Names of the events that requests leave. Administrative events are named by the command that
/// makes them: `credential.created`, `credential.rotated`, …
pub mod event {
    /// A value is about to leave; durable before it does.
    pub const USE: &str = "use";
    /// What became of a request that has `use` lines.
    pub const RESULT: &str = "result";
    /// A placeholder was refused.
    pub const DENIED: &str = "denied";
    /// A placeholder was passed on literally (`unresolved = "ignore"`).
    pub const IGNORED: &str = "ignored";
    /// An answer repeated a value, which was taken out.
    pub const SCRUBBED: &str = "scrubbed";
    /// The ledger could not be written from this time on, and requests were refused for it; the
    /// line is written as soon as it can be.
    pub const INTERRUPTED: &str = "ledger.interrupted";
    /// A `use` that a crash left without its `result`, said again at the next start: what became of
    /// the request is not known. One line for each `use`, with all that it said.
    pub const RECOVERED: &str = "recovered";
    /// At start, something of the ledger was missing or did not fit; `code` says what, `locations`
    /// where, as names of files or ranges of sequence numbers.
    pub const DAMAGED: &str = "ledger.damaged";
    /// Rotated files are about to be dropped, because the configuration keeps no more; `locations`
    /// has the sequence numbers of their lines: `1-20000`.
    pub const DROPPED: &str = "ledger.dropped";
    /// Checkpoints begin here, with the key in `locations`; lines before were written without any.
    pub const SIGNED: &str = "ledger.signed";
}

/// What a line says about how things ended.
pub mod outcome {
    /// Of [`crate::ledger::event::USE`].
    pub const USED: &str = "used";
    /// Of [`crate::ledger::event::DENIED`].
    pub const DENIED: &str = "denied";
    /// Of [`crate::ledger::event::RESULT`]: the upstream answered.
    pub const FORWARDED: &str = "forwarded";
    /// Of [`crate::ledger::event::RESULT`]: there was no answer; `code` says why.
    pub const FAILED: &str = "failed";
    /// Of [`crate::ledger::event::RESULT`]: the client left before the answer was through.
    pub const CLIENT_GONE: &str = "client_gone";
    /// Of [`crate::ledger::event::RECOVERED`]: Egret ended before it could say.
    pub const UNKNOWN: &str = "unknown";
}

/// What is known when something happens; the ledger adds sequence number, time and link.
///
/// Filled by name: `Entry { slug: Some(slug.into()), ..Entry::new(event::USE) }`. A field that does
/// not apply stays `None` and is written as `null`. It borrows what it tells of, and is written
/// ([`Entry::draft`]) while that is there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry<'a> {
    /// What happened, one of [`event`] or an administrative event.
    pub event: Cow<'a, str>,
    /// The id that the answer carries in `Egret-Request`.
    pub request: Option<Cow<'a, str>>,
    /// The credential's slug.
    pub slug: Option<Cow<'a, str>>,
    /// The field of the credential, when it has several.
    pub field: Option<Cow<'a, str>>,
    /// The version of the credential whose value was used.
    pub version: Option<u32>,
    /// The principal that owns the credential.
    pub owner: Option<Cow<'a, str>>,
    /// The principal that used it.
    pub principal: Option<Cow<'a, str>>,
    /// The client, by name.
    pub client: Option<Cow<'a, str>>,
    /// The action that the request is for.
    pub action: Option<Cow<'a, str>>,
    /// `asserted` by the client, or `signed` in an action token.
    pub action_source: Option<Cow<'a, str>>,
    /// The execution of the action.
    pub run: Option<Cow<'a, str>>,
    /// The request's method.
    pub method: Option<Cow<'a, str>>,
    /// `https://api.example.com:443`.
    pub destination: Option<Cow<'a, str>>,
    /// The path with placeholders in place, without query string.
    pub path: Option<Cow<'a, str>>,
    /// Where the placeholders of this slug stood. Always an array, so that consumers can iterate.
    pub locations: Vec<String>,
    /// How it ended, one of [`outcome`].
    pub outcome: Option<Cow<'a, str>>,
    /// The error code, when Egret refused or failed.
    pub code: Option<Cow<'a, str>>,
    /// The status of the answer.
    pub status: Option<u16>,
    /// From the request's arrival to the end of its answer, in milliseconds.
    pub duration_ms: Option<u64>,
    /// Bytes of the answer's body that were sent to the client. Written behind `prev`, being younger
    /// than it.
    #[serde(skip)]
    pub bytes: Option<u64>,
}

impl<'a> Entry<'a> {
    /// An entry of which nothing but the event is known.
    pub fn new(event: impl Into<Cow<'a, str>>) -> Self {
        Self {
            event: event.into(),
            ..Self::default()
        }
    }

    /// Its line, as far as it is known.
    pub fn draft(&self) -> Draft {
        Draft::from(self)
    }
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Keys", into = "Keys")]
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

/// The keys of a line in their order.
#[derive(Serialize, Deserialize)]
struct Keys {
    seq: u64,
    time: Timestamp,
    #[serde(flatten)]
    entry: Entry<'static>,
    prev: LineHash,
    #[serde(default)]
    bytes: Option<u64>,
}

impl From<Keys> for Record {
    fn from(keys: Keys) -> Self {
        let Keys {
            seq,
            time,
            entry,
            prev,
            bytes,
        } = keys;
        Self {
            seq,
            time,
            entry: Entry { bytes, ..entry },
            prev,
        }
    }
}

impl From<Record> for Keys {
    fn from(record: Record) -> Self {
        Self {
            seq: record.seq,
            time: record.time,
            bytes: record.entry.bytes,
            entry: record.entry,
            prev: record.prev,
        }
    }
}

/// A point in time, in microseconds since 1970-01-01T00:00:00Z and before the year 10000.
///
/// Written as RFC 3339 in UTC with exactly six fractional digits, so that lines sort as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timestamp(i64);

impl Timestamp {
    const LAST: i64 = 253_402_300_799_999_999;

    /// A time by its distance from the epoch in microseconds. What lies outside the range that can
    /// be written becomes the nearest that can: a wrong clock must not stop the record.
    pub fn from_unix_micros(micros: i64) -> Self {
        Self(micros.clamp(0, Self::LAST))
    }

    /// Microseconds since the epoch.
    pub fn unix_micros(self) -> i64 {
        self.0
    }
}

/// The text of a [`Timestamp`], digits to be filled in.
const TIME: &[u8; 27] = b"0000-00-00T00:00:00.000000Z";

impl Timestamp {
    /// Digit by digit: two times are written for each request, and the formatter takes longer for
    /// them than SHA-256 for the line.
    pub(super) fn text(self) -> [u8; TIME.len()] {
        // Not by way of nanoseconds, which need 128 bits. In range by construction.
        let seconds = OffsetDateTime::from_unix_timestamp(self.0 / 1_000_000);
        let time = seconds.unwrap_or(OffsetDateTime::UNIX_EPOCH);
        let (year, month, day) = time.to_calendar_date();
        let (hour, minute, second) = time.to_hms();
        let mut text = *TIME;
        let fields = [
            (0..4, u64::from(year.unsigned_abs())),
            (5..7, u8::from(month).into()),
            (8..10, day.into()),
            (11..13, hour.into()),
            (14..16, minute.into()),
            (17..19, second.into()),
            (20..26, (self.0 % 1_000_000).unsigned_abs()),
        ];
        for (place, mut number) in fields {
            for digit in text[place].iter_mut().rev() {
                *digit = b'0' + (number % 10) as u8;
                number /= 10;
            }
        }
        text
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Digits are UTF-8; `fmt::Error` is never reached.
        f.write_str(str::from_utf8(&self.text()).map_err(|_| fmt::Error)?)
    }
}

/// A text that is no RFC 3339 time between 1970 and 9999.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a time is written as in 2026-11-22T09:30:00Z")]
pub struct InvalidTimestamp;

impl FromStr for Timestamp {
    type Err = InvalidTimestamp;

    /// Any RFC 3339 time; digits beyond microseconds are cut off.
    fn from_str(text: &str) -> Result<Self, InvalidTimestamp> {
        let time = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| InvalidTimestamp)?;
        let micros =
            i64::try_from(time.unix_timestamp_nanos() / 1000).map_err(|_| InvalidTimestamp)?;
        if !(0..=Self::LAST).contains(&micros) {
            return Err(InvalidTimestamp);
        }
        Ok(Self(micros))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ledger::format::chain::Chain;

    const GOLDEN: &str = include_str!("../../../tests/golden/ledger-record.jsonl");
    /// What was written before lines had `bytes`.
    const FIRST: &str = include_str!("../../../tests/golden/ledger-record-1.jsonl");

    fn text(value: &str) -> Option<Cow<'static, str>> {
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
            locations: vec![
                "header:authorization".to_owned(),
                "body:/auth/token".to_owned(),
            ],
            outcome: Some(outcome::USED.into()),
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
            locations: vec!["query:a\tb".to_owned()],
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
            chain.append(time, &entry.draft(), &mut lines);
        }
        assert_eq!(String::from_utf8(lines).unwrap(), GOLDEN);
    }

    #[test]
    fn frozen_lines_are_read_back() {
        let read: Vec<Record> = GOLDEN
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let entries: Vec<_> = read
            .iter()
            .map(|record| (record.time, record.entry.clone()))
            .collect();
        assert_eq!(entries, golden_entries());
        assert_eq!(read[3].seq, 4);
    }

    #[test]
    fn lines_of_the_first_version_are_read_back() {
        let read = FIRST
            .lines()
            .map(|line| serde_json::from_str(line).unwrap());
        let entries: Vec<_> = read
            .map(|Record { time, entry, .. }| (time, entry))
            .collect();
        let without_bytes = |(time, entry)| {
            (
                time,
                Entry {
                    bytes: None,
                    ..entry
                },
            )
        };
        let expected: Vec<_> = golden_entries().into_iter().map(without_bytes).collect();
        assert_eq!(entries, expected);
    }

    #[test]
    fn a_record_written_again_is_the_same_line() {
        for line in GOLDEN.lines() {
            let record: Record = serde_json::from_str(line).unwrap();
            assert_eq!(serde_json::to_string(&record).unwrap(), line);
        }
    }

    #[test]
    fn keys_of_a_newer_version_are_ignored() {
        let line = GOLDEN.lines().next().unwrap();
        let newer = line.replace("\"bytes\":null}", "\"bytes\":null,\"newer\":12}");
        assert_ne!(newer, line);
        let (newer, line): (Record, Record) = (
            serde_json::from_str(&newer).unwrap(),
            serde_json::from_str(line).unwrap(),
        );
        assert_eq!(newer, line);
    }

    #[test]
    fn times_have_six_digits_and_stay_in_range() {
        let cases = [
            (0, "1970-01-01T00:00:00.000000Z"),
            (951_782_400_000_010, "2000-02-29T00:00:00.000010Z"),
            (i64::MIN, "1970-01-01T00:00:00.000000Z"),
            (i64::MAX, "9999-12-31T23:59:59.999999Z"),
        ];
        for (micros, text) in cases {
            assert_eq!(Timestamp::from_unix_micros(micros).to_string(), text);
        }
        assert_eq!(
            "2000-02-29T01:00:00.0000109+01:00".parse(),
            Ok(Timestamp::from_unix_micros(951_782_400_000_010))
        );
        for text in [
            "",
            "2000-02-30T00:00:00Z",
            "1969-12-31T23:59:59Z",
            "2000-02-29",
        ] {
            assert_eq!(text.parse::<Timestamp>(), Err(InvalidTimestamp), "{text}");
        }
    }

    proptest! {
        #[test]
        fn times_survive_writing_and_reading(micros in 0..=Timestamp::LAST) {
            let time = Timestamp::from_unix_micros(micros);
            prop_assert_eq!(time.to_string().len(), 27);
            prop_assert_eq!(time.to_string().parse(), Ok(time));
        }

        #[test]
        fn no_text_breaks_a_line(action in any::<String>(), place in any::<String>()) {
            let entry = Entry { action: Some(action.into()), locations: vec![place], ..used() };
            let mut line = Vec::new();
            Chain::start().append(Timestamp::from_unix_micros(1), &entry.draft(), &mut line);
            prop_assert_eq!(line.iter().filter(|&&byte| byte == b'\n').count(), 1);
            let record: Record = serde_json::from_slice(&line).unwrap();
            prop_assert_eq!(record.entry, entry);
        }
    }
}

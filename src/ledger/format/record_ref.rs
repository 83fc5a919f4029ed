//! A line as its reader needs it in bulk: parsed without copying, every key with its type.

use std::borrow::Cow;
use std::ops::Deref;
use std::str::FromStr;

use memchr::memchr2;
use serde::Deserialize;

/// Text of a line; borrowed from it unless JSON escapes something in it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

/// What [`Record`](super::record::Record) says, borrowed. It exists for speed: the record's own
/// reader copies each text and goes through a map, and a ledger has millions of lines.
///
/// The two understand the same lines; a property test holds that.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[allow(missing_docs)] // The names are those of the entry, where they are explained.
pub struct View<'a> {
    /// As [`Record::seq`](super::record::Record::seq).
    pub seq: u64,
    /// A [`Timestamp`](super::record::Timestamp), still as text.
    #[serde(borrow)]
    pub time: Text<'a>,
    /// This and those below as in [`Entry`](super::record::Entry).
    #[serde(borrow)]
    pub event: Text<'a>,
    #[serde(borrow)]
    pub request: Option<Text<'a>>,
    #[serde(borrow)]
    pub slug: Option<Text<'a>>,
    #[serde(borrow)]
    pub field: Option<Text<'a>>,
    pub version: Option<u32>,
    #[serde(borrow)]
    pub owner: Option<Text<'a>>,
    #[serde(borrow)]
    pub principal: Option<Text<'a>>,
    #[serde(borrow)]
    pub client: Option<Text<'a>>,
    #[serde(borrow)]
    pub action: Option<Text<'a>>,
    #[serde(borrow)]
    pub action_source: Option<Text<'a>>,
    #[serde(borrow)]
    pub run: Option<Text<'a>>,
    #[serde(borrow)]
    pub method: Option<Text<'a>>,
    #[serde(borrow)]
    pub destination: Option<Text<'a>>,
    #[serde(borrow)]
    pub path: Option<Text<'a>>,
    #[serde(borrow)]
    pub locations: Vec<Text<'a>>,
    #[serde(borrow)]
    pub outcome: Option<Text<'a>>,
    #[serde(borrow)]
    pub code: Option<Text<'a>>,
    pub status: Option<u16>,
    pub duration_ms: Option<u64>,
    /// A [`LineHash`](super::chain::LineHash), still as text.
    #[serde(borrow)]
    pub prev: Text<'a>,
    pub bytes: Option<u64>,
}

impl<'a> View<'a> {
    /// What a line says, given without its line feed.
    ///
    /// # Errors
    /// When the line is no record. Time and `prev` are not looked into.
    pub fn parse(line: &'a [u8]) -> Result<Self, serde_json::Error> {
        match as_written(line) {
            Some(view) => Ok(view),
            None => serde_json::from_slice(line),
        }
    }
}

/// Reads a line that looks as Egret writes it, which nearly all do: each key in its place, nothing
/// between, nothing escaped. That takes a tenth of the time of a reader that knows all of JSON, who
/// has to look at whatever is `None` here.
fn as_written(line: &[u8]) -> Option<View<'_>> {
    let text = str::from_utf8(line).ok()?;
    if line.iter().any(|byte| *byte < b' ') {
        return None;
    }
    let mut rest = Rest(text);
    let view = View {
        seq: rest.key("{\"seq\":")?.number()?,
        time: rest.key(",\"time\":")?.text()?,
        event: rest.key(",\"event\":")?.text()?,
        request: rest.key(",\"request\":")?.optional(Rest::text)?,
        slug: rest.key(",\"slug\":")?.optional(Rest::text)?,
        field: rest.key(",\"field\":")?.optional(Rest::text)?,
        version: rest.key(",\"version\":")?.optional(Rest::number)?,
        owner: rest.key(",\"owner\":")?.optional(Rest::text)?,
        principal: rest.key(",\"principal\":")?.optional(Rest::text)?,
        client: rest.key(",\"client\":")?.optional(Rest::text)?,
        action: rest.key(",\"action\":")?.optional(Rest::text)?,
        action_source: rest.key(",\"action_source\":")?.optional(Rest::text)?,
        run: rest.key(",\"run\":")?.optional(Rest::text)?,
        method: rest.key(",\"method\":")?.optional(Rest::text)?,
        destination: rest.key(",\"destination\":")?.optional(Rest::text)?,
        path: rest.key(",\"path\":")?.optional(Rest::text)?,
        locations: rest.key(",\"locations\":")?.texts()?,
        outcome: rest.key(",\"outcome\":")?.optional(Rest::text)?,
        code: rest.key(",\"code\":")?.optional(Rest::text)?,
        status: rest.key(",\"status\":")?.optional(Rest::number)?,
        duration_ms: rest.key(",\"duration_ms\":")?.optional(Rest::number)?,
        prev: rest.key(",\"prev\":")?.text()?,
        bytes: rest.key(",\"bytes\":")?.optional(Rest::number)?,
    };
    (rest.0 == "}").then_some(view)
}

/// What of a line was not read yet.
struct Rest<'a>(&'a str);

impl<'a> Rest<'a> {
    fn key(&mut self, key: &str) -> Option<&mut Self> {
        self.0 = self.0.strip_prefix(key)?;
        Some(self)
    }

    fn text(&mut self) -> Option<Text<'a>> {
        let text = self.0.strip_prefix('"')?;
        let end = memchr2(b'"', b'\\', text.as_bytes())?;
        let (text, rest) = text.split_at(end);
        self.0 = rest.strip_prefix('"')?;
        Some(Text(Cow::Borrowed(text)))
    }

    /// A number as it is written: without a sign or leading zeros.
    fn number<N: FromStr>(&mut self) -> Option<N> {
        let digits = self.0.bytes().take_while(u8::is_ascii_digit).count();
        let (number, rest) = self.0.split_at(digits);
        if digits > 1 && number.starts_with('0') {
            return None;
        }
        self.0 = rest;
        number.parse().ok()
    }

    fn optional<T>(&mut self, read: impl Fn(&mut Self) -> Option<T>) -> Option<Option<T>> {
        match self.0.strip_prefix("null") {
            Some(rest) => {
                self.0 = rest;
                Some(None)
            }
            None => read(self).map(Some),
        }
    }

    fn texts(&mut self) -> Option<Vec<Text<'a>>> {
        let mut texts = Vec::new();
        self.0 = self.0.strip_prefix('[')?;
        while !self.0.starts_with(']') {
            if !texts.is_empty() {
                self.0 = self.0.strip_prefix(',')?;
            }
            texts.push(self.text()?);
        }
        self.0 = &self.0[1..];
        Some(texts)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ledger::format::chain::Chain;
    use crate::ledger::format::record::{Entry, Record, Timestamp};

    fn owned<'a>(text: Option<&'a Text<'_>>) -> Option<Cow<'a, str>> {
        text.map(|text| text.0.as_ref().into())
    }

    proptest! {
        #[test]
        fn it_says_what_the_record_says(
            texts in prop::collection::vec(prop::option::of(any::<String>()), 12),
            locations in prop::collection::vec(any::<String>(), 0..3),
            numbers in any::<(Option<u32>, Option<u16>, Option<u64>, Option<u64>)>(),
        ) {
            let mut texts = texts.into_iter();
            let mut next = || texts.next().flatten().map(Cow::Owned);
            let entry = Entry {
                request: next(), slug: next(), field: next(), owner: next(), principal: next(),
                client: next(), action: next(), run: next(), method: next(), destination: next(),
                path: next(), code: next(), locations,
                version: numbers.0, status: numbers.1, duration_ms: numbers.2,
                bytes: numbers.3,
                ..Entry::new("use")
            };
            let mut line = Vec::new();
            Chain::start().append(Timestamp::from_unix_micros(7), &entry.draft(), &mut line);
            line.pop();
            let view = View::parse(&line).unwrap();
            let record: Record = serde_json::from_slice(&line).unwrap();
            prop_assert_eq!(view.seq, record.seq);
            prop_assert_eq!(&*view.time, record.time.to_string());
            prop_assert_eq!(&*view.prev, record.prev.to_string());
            prop_assert_eq!(&*view.event, &*record.entry.event);
            let seen = Entry {
                event: entry.event.clone(),
                request: owned(view.request.as_ref()),
                slug: owned(view.slug.as_ref()),
                field: owned(view.field.as_ref()),
                version: view.version,
                owner: owned(view.owner.as_ref()),
                principal: owned(view.principal.as_ref()),
                client: owned(view.client.as_ref()),
                action: owned(view.action.as_ref()),
                action_source: owned(view.action_source.as_ref()),
                run: owned(view.run.as_ref()),
                method: owned(view.method.as_ref()),
                destination: owned(view.destination.as_ref()),
                path: owned(view.path.as_ref()),
                locations: view.locations.iter().map(|text| text.to_string()).collect(),
                outcome: owned(view.outcome.as_ref()),
                code: owned(view.code.as_ref()),
                status: view.status,
                duration_ms: view.duration_ms,
                bytes: view.bytes,
            };
            prop_assert_eq!(seen, entry);
        }
    }

    const GOLDEN: &str = include_str!("../../../tests/golden/ledger-record.jsonl");

    #[test]
    fn both_ways_of_reading_say_the_same() {
        for line in GOLDEN.lines() {
            let read: View<'_> = serde_json::from_str(line).unwrap();
            let is_plain = !line.contains('\\');
            assert_eq!(as_written(line.as_bytes()).is_some(), is_plain, "{line}");
            assert_eq!(View::parse(line.as_bytes()).unwrap(), read);
        }
    }

    proptest! {
        /// Whatever is done to a line: who reads it in short order says what JSON says, or nothing.
        #[test]
        fn a_changed_line_is_never_read_as_something_else(
            line in prop::sample::select(GOLDEN.lines().collect::<Vec<_>>()),
            at in any::<prop::sample::Index>(),
            cut in 0..3_usize,
            put in prop::sample::select(vec![
                "", " ", "0", "-1", "null", ",", "\"", "\\", "]", "}", "\u{1}", "e1", "18446744073709551616",
            ]),
        ) {
            let mut changed = line.as_bytes().to_vec();
            let at = at.index(changed.len());
            let end = (at + cut).min(changed.len());
            changed.splice(at..end, put.bytes());
            if let Some(view) = as_written(&changed) {
                prop_assert_eq!(view, serde_json::from_slice::<View<'_>>(&changed).unwrap());
            }
        }
    }

    #[test]
    fn what_is_no_record_is_no_view() {
        for line in ["", "{}", "[]", "{\"seq\":1}", "\u{feff}{}"] {
            assert!(View::parse(line.as_bytes()).is_err(), "{line}");
        }
    }
}

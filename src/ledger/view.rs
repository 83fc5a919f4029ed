//! A line as its reader needs it in bulk: parsed without copying, every key with its type.

use std::borrow::Cow;
use std::ops::Deref;

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
#[derive(Clone, Debug, Deserialize)]
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
        serde_json::from_slice(line)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ledger::chain::Chain;
    use crate::ledger::record::{Entry, Record, Timestamp};

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

    #[test]
    fn what_is_no_record_is_no_view() {
        for line in ["", "{}", "[]", "{\"seq\":1}", "\u{feff}{}"] {
            assert!(View::parse(line.as_bytes()).is_err(), "{line}");
        }
    }
}

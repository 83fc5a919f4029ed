//! A line as its reader needs it in bulk: parsed without copying, every key with its type.

use serde::{Deserialize, Serialize};

use super::entry::Entry;
use super::fields::fields;
use super::json::PlainJson;
use super::text::Text;
use super::value::{Cell, Value};

/// A line that is not a ledger record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a ledger record")]
pub struct NotARecord;

macro_rules! record_ref {
    ({ $($front:ident: $front_type:ty, $front_doc:literal;)* } { $($back:ident: $back_type:ty, $back_doc:literal;)* }) => {
        /// What [`Record`](super::record::Record) says, borrowed from its line: a ledger has
        /// millions of them.
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(bound(deserialize = "'de: 'a"))]
        pub struct RecordRef<'a> {
            /// As [`Record::seq`](super::record::Record::seq).
            pub seq: u64,
            /// A [`Timestamp`](super::timestamp::Timestamp), still as text.
            pub time: Text<'a>,
            $(#[doc = $front_doc] pub $front: $front_type,)*
            /// A [`LineHash`](super::line_hash::LineHash), still as text.
            pub prev: Text<'a>,
            $(#[doc = $back_doc] pub $back: $back_type,)*
        }

        /// How many keys a line has.
        const KEYS: usize = 3 + [$(stringify!($front),)* $(stringify!($back),)*].len();

        impl<'a> RecordRef<'a> {
            /// The keys of a line, in their order.
            pub const KEYS: [&'static str; KEYS] = [
                "seq", "time", $(stringify!($front),)* "prev", $(stringify!($back),)*
            ];

            /// What the record has under each key, in the order of [`RecordRef::KEYS`].
            pub fn cells(&self) -> [Cell<'_>; KEYS] {
                [
                    Cell::Number(self.seq), self.time.cell(), $(self.$front.cell(),)*
                    self.prev.cell(), $(self.$back.cell(),)*
                ]
            }

            /// The record of an entry.
            pub(super) fn of(seq: u64, time: Text<'a>, entry: Entry<'a>, prev: Text<'a>) -> Self {
                let Entry { $($front,)* $($back,)* } = entry;
                Self { seq, time, $($front,)* prev, $($back,)* }
            }

            /// What happened, without anything borrowed.
            pub fn into_entry(self) -> Entry<'static> {
                Entry {
                    $($front: self.$front.into_owned(),)*
                    $($back: self.$back.into_owned(),)*
                }
            }

            /// Reads a line that has each key in its place, nothing between them and nothing
            /// escaped. A line from before there was a key ends before it.
            fn read(line: &'a [u8]) -> Option<Self> {
                let mut json = PlainJson::new(line)?;
                let record = Self {
                    seq: json.expect("{\"seq\":")?.number()?,
                    time: Value::read(json.expect(",\"time\":")?)?,
                    $($front: Value::read(json.expect(concat!(",\"", stringify!($front), "\":"))?)?,)*
                    prev: Value::read(json.expect(",\"prev\":")?)?,
                    $($back: if json.rest() == "}" {
                        None
                    } else {
                        Value::read(json.expect(concat!(",\"", stringify!($back), "\":"))?)?
                    },)*
                };
                (json.rest() == "}").then_some(record)
            }
        }
    };
}
fields!(record_ref);

impl<'a> RecordRef<'a> {
    /// What a line says, given without its line feed. Time and `prev` are not looked into.
    ///
    /// Nearly all lines are written as Egret writes them and have nothing escaped. To read only those
    /// takes a tenth of the time of a parser that knows all of JSON, which reads the rest.
    ///
    /// # Errors
    /// When the line is not a record.
    pub fn parse(line: &'a [u8]) -> Result<Self, NotARecord> {
        match Self::read(line) {
            Some(record) => Ok(record),
            None => serde_json::from_slice(line).map_err(|_| NotARecord),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ledger::format::chain::Chain;
    use crate::ledger::format::entry::any_entry;
    use crate::ledger::format::line_hash::LineHash;
    use crate::ledger::format::timestamp::Timestamp;

    proptest! {
        #[test]
        fn it_says_what_was_written(entry in any_entry()) {
            let mut line = Vec::new();
            Chain::start().append(Timestamp::from_unix_micros(7), &entry.encode(), &mut line);
            line.pop();
            let record = RecordRef::parse(&line).unwrap();
            prop_assert_eq!(record.seq, 1);
            prop_assert_eq!(record.time.parse(), Ok(Timestamp::from_unix_micros(7)));
            prop_assert_eq!(record.prev.parse(), Ok(LineHash::GENESIS));
            prop_assert_eq!(record.into_entry(), entry);
        }
    }

    const GOLDEN: &str = include_str!("../../../tests/golden/ledger-record.jsonl");

    #[test]
    fn both_ways_of_reading_say_the_same() {
        for line in GOLDEN.lines() {
            let read: RecordRef<'_> = serde_json::from_str(line).unwrap();
            let is_plain = !line.contains('\\');
            assert_eq!(
                RecordRef::read(line.as_bytes()).is_some(),
                is_plain,
                "{line}"
            );
            assert_eq!(RecordRef::parse(line.as_bytes()).unwrap(), read);
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
            if let Some(record) = RecordRef::read(&changed) {
                prop_assert_eq!(record, serde_json::from_slice::<RecordRef<'_>>(&changed).unwrap());
            }
        }
    }

    #[test]
    fn what_is_not_a_record_is_refused() {
        for line in ["", "{}", "[]", "{\"seq\":1}", "\u{feff}{}"] {
            assert!(RecordRef::parse(line.as_bytes()).is_err(), "{line}");
        }
    }
}

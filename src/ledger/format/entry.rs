//! What happened.

use super::fields::fields;
use super::text::Text;

macro_rules! entry {
    ({ $($front:ident: $front_type:ty, $front_doc:literal;)* } { $($back:ident: $back_type:ty, $back_doc:literal;)* }) => {
        /// What is known when something happens; the ledger adds sequence number, time and link.
        ///
        /// Filled by name: `Entry { slug: Some(slug.into()), ..Entry::new(event::USE) }`. A field
        /// that does not apply stays `None` and is written as `null`. An entry borrows what it
        /// describes, and is [encoded](Entry::encode) while that lives.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct Entry<'a> {
            $(#[doc = $front_doc] pub $front: $front_type,)*
            $(#[doc = $back_doc] pub $back: $back_type,)*
        }

        /// Entries with anything that their fields can have.
        #[cfg(test)]
        pub(in crate::ledger) fn any_entry() -> proptest::strategy::BoxedStrategy<Entry<'static>> {
            use proptest::strategy::{Just, Strategy};

            use super::value::tests::AnyValue;

            let entry = Just(Entry::default()).boxed();
            $(let entry = (entry, AnyValue::any()).prop_map(|(entry, $front)| Entry { $front, ..entry }).boxed();)*
            $(let entry = (entry, AnyValue::any()).prop_map(|(entry, $back)| Entry { $back, ..entry }).boxed();)*
            entry
        }
    };
}
fields!(entry);

impl<'a> Entry<'a> {
    /// An entry of which nothing but the event is known.
    pub fn new(event: impl Into<Text<'a>>) -> Self {
        Self {
            event: event.into(),
            ..Self::default()
        }
    }
}

//! The types that a field of a line can have, and how each is written and read.

use super::json::{PlainJson, decimal, put, string};
use super::text::Text;

/// A type that a field of a line can have. `read` and `encode` know the JSON of [`super::json`];
/// serde reads what is written in any other way.
pub(super) trait Value<'a>: Sized {
    /// The same without anything borrowed.
    type Owned: 'static;

    fn into_owned(self) -> Self::Owned;

    /// Appends the member: `,"key":value`.
    fn encode(&self, key: Key, json: &mut Vec<u8>);

    fn read(json: &mut PlainJson<'a>) -> Option<Self>;

    fn cell(&self) -> Cell<'_>;
}

/// What a record has in one field, whatever the type of the field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cell<'a> {
    /// The field does not apply.
    Null,
    /// A number.
    Number(u64),
    /// One text.
    Text(&'a str),
    /// Any number of texts.
    Texts(&'a [Text<'a>]),
}

/// The beginning of a member up to its value, for each kind of value, so that it is copied at once.
#[derive(Clone, Copy)]
pub(super) struct Key {
    /// `,"key":`
    pub(super) number: &'static str,
    /// `,"key":"`
    pub(super) text: &'static str,
    /// `,"key":[`
    pub(super) array: &'static str,
    /// `,"key":null`
    pub(super) null: &'static str,
}

/// The [`Key`] of a field.
macro_rules! key {
    ($field:ident) => {
        $crate::ledger::format::value::Key {
            number: concat!(",\"", stringify!($field), "\":"),
            text: concat!(",\"", stringify!($field), "\":\""),
            array: concat!(",\"", stringify!($field), "\":["),
            null: concat!(",\"", stringify!($field), "\":null"),
        }
    };
}
pub(super) use key;

// The keys are constants only where `encode` is inlined.

impl<'a> Value<'a> for Text<'a> {
    type Owned = Text<'static>;

    fn into_owned(self) -> Text<'static> {
        self.into_string().into()
    }

    #[inline(always)]
    fn encode(&self, key: Key, json: &mut Vec<u8>) {
        put(json, key.text);
        string(json, self);
    }

    fn read(json: &mut PlainJson<'a>) -> Option<Self> {
        json.string().map(Text::from)
    }

    fn cell(&self) -> Cell<'_> {
        Cell::Text(self)
    }
}

impl<'a> Value<'a> for Option<Text<'a>> {
    type Owned = Option<Text<'static>>;

    fn into_owned(self) -> Self::Owned {
        self.map(Text::into_owned)
    }

    #[inline(always)]
    fn encode(&self, key: Key, json: &mut Vec<u8>) {
        match self {
            Some(text) => text.encode(key, json),
            None => put(json, key.null),
        }
    }

    fn read(json: &mut PlainJson<'a>) -> Option<Self> {
        json.nullable(Text::read)
    }

    fn cell(&self) -> Cell<'_> {
        self.as_ref().map_or(Cell::Null, Text::cell)
    }
}

impl<'a> Value<'a> for Vec<Text<'a>> {
    type Owned = Vec<Text<'static>>;

    fn into_owned(self) -> Self::Owned {
        self.into_iter().map(Text::into_owned).collect()
    }

    #[inline(always)]
    fn encode(&self, key: Key, json: &mut Vec<u8>) {
        put(json, key.array);
        for (at, text) in self.iter().enumerate() {
            if at > 0 {
                json.push(b',');
            }
            json.push(b'"');
            string(json, text);
        }
        put(json, "]");
    }

    fn read(json: &mut PlainJson<'a>) -> Option<Self> {
        json.array(Text::read)
    }

    fn cell(&self) -> Cell<'_> {
        Cell::Texts(self)
    }
}

impl<'a> Value<'a> for Option<Vec<Text<'a>>> {
    type Owned = Option<Vec<Text<'static>>>;

    fn into_owned(self) -> Self::Owned {
        self.map(Vec::into_owned)
    }

    #[inline(always)]
    fn encode(&self, key: Key, json: &mut Vec<u8>) {
        match self {
            Some(texts) => texts.encode(key, json),
            None => put(json, key.null),
        }
    }

    fn read(json: &mut PlainJson<'a>) -> Option<Self> {
        json.nullable(Vec::read)
    }

    fn cell(&self) -> Cell<'_> {
        self.as_ref().map_or(Cell::Null, Vec::cell)
    }
}

/// Numbers of these types.
macro_rules! numbers {
    ($($number:ty)*) => {$(
        impl<'a> Value<'a> for Option<$number> {
            type Owned = Self;

            fn into_owned(self) -> Self {
                self
            }

            #[inline(always)]
            fn encode(&self, key: Key, json: &mut Vec<u8>) {
                match *self {
                    Some(number) => {
                        put(json, key.number);
                        decimal(json, number.into());
                    }
                    None => put(json, key.null),
                }
            }

            fn read(json: &mut PlainJson<'a>) -> Option<Self> {
                json.nullable(PlainJson::number)
            }

            fn cell(&self) -> Cell<'_> {
                self.map_or(Cell::Null, |number| Cell::Number(number.into()))
            }
        }
    )*};
}
numbers!(u16 u32 u64);

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A type that a field can have, with any value.
    pub(crate) trait AnyValue: Sized {
        fn any() -> BoxedStrategy<Self>;
    }

    impl AnyValue for Text<'static> {
        /// Texts with and without what has to be escaped, of lengths around those that are compared
        /// together.
        fn any() -> BoxedStrategy<Self> {
            let texts = prop_oneof![
                any::<String>(),
                "[ -~]{0,40}",
                "[\\x00-\\x23\\x5c\\x7fé€😀]{0,40}",
            ];
            texts.prop_map(Text::from).boxed()
        }
    }

    impl AnyValue for Option<Text<'static>> {
        fn any() -> BoxedStrategy<Self> {
            proptest::option::of(Text::any()).boxed()
        }
    }

    impl AnyValue for Vec<Text<'static>> {
        fn any() -> BoxedStrategy<Self> {
            prop::collection::vec(Text::any(), 0..4).boxed()
        }
    }

    impl AnyValue for Option<Vec<Text<'static>>> {
        fn any() -> BoxedStrategy<Self> {
            proptest::option::of(Vec::any()).boxed()
        }
    }

    macro_rules! any_number {
        ($($number:ty)*) => {$(
            impl AnyValue for Option<$number> {
                fn any() -> BoxedStrategy<Self> {
                    any::<Option<$number>>().boxed()
                }
            }
        )*};
    }
    any_number!(u16 u32 u64);
}

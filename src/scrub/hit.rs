//! What a search finds, and what is put in its place.

use super::needle::HitForm;

/// What is put in place of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replacement {
    /// `<<slug>>` or `<<slug.field>>`.
    Placeholder,
    /// The same in JSON: as a string in place of a number.
    Json,
    /// The same in XML or HTML: `&lt;&lt;slug&gt;&gt;`.
    Xml,
    /// The same in a URI: `%3C%3Cslug%3E%3E`.
    Percent,
    /// `*` for each byte: for an answer whose length is pinned.
    SameLength,
}

/// A value was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hit {
    /// Which value, for [`Needles::name`](crate::scrub::Needles::name).
    pub reference: usize,
    /// How it was written.
    pub form: HitForm,
    /// In base64, how many bytes of its group of three were before it.
    pub(super) shift: u8,
    /// The same inside of that, if what was encoded is base64 too.
    pub(super) inner: Option<u8>,
    /// Where it began in the stream, in bytes of the input.
    pub offset: u64,
    /// How long it was there, in bytes.
    pub length: usize,
}

//! One placeholder at its place, and what can go wrong when it is replaced.

use std::ops::Range;
use std::sync::Arc;

use crate::policy::location::Location;

use super::delimiters::Delimiters;
use super::encode::Unencodable;
use super::encoding::{Encoding, Nesting};
use super::part_length::PartLength;
use super::placeholder::PlaceholderToken;
use super::slug::Reference;

/// The longest name of a parameter, field or pointer that a location carries, in bytes. Each
/// placeholder has its own copy, so the limit bounds the memory that a request can claim.
pub(super) const MAX_LOCATION_NAME: usize = 512;

/// The longest result of a splice, in bytes. A body made of nothing but placeholders of a long
/// value would otherwise grow a thousandfold in memory.
pub const MAX_OUTPUT: usize = 64 << 20;

/// One placeholder at its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// The bytes that it replaces.
    pub span: Range<usize>,
    /// The encoding in which its replacement is written.
    pub encoding: Encoding,
    /// How deep in JSON inside of that encoding it is.
    pub nesting: Nesting,
    /// Whether it is an escape, which needs no credential.
    pub escape: bool,
    /// What it names.
    pub reference: Reference,
    /// Where it is, for policy and ledger.
    pub location: Location,
    /// The length that the part around it says it has.
    pub length: Option<Arc<PartLength>>,
    /// The delimiters that its replacement must not produce, if it is in a multipart body.
    pub delimiters: Option<Arc<Delimiters>>,
}

/// Why a splice was not made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpliceError {
    /// The caller had no value for this reference.
    #[error("no value was given for {0}")]
    Missing(Reference),
    /// A value cannot be written at its place.
    #[error("the value of {reference} cannot be written at {location}: {}", problem.reason)]
    Unencodable {
        /// Whose value it is.
        reference: Reference,
        /// Where it was to be written.
        location: Location,
        /// Why not.
        problem: Unencodable,
    },
    /// The result would exceed its bound, [`MAX_OUTPUT`] or less.
    #[error("with the values put in, the text would be too large")]
    TooLarge,
    /// The result would exceed what a request's head may have.
    #[error("with the values put in, the head would be too large")]
    HeadTooLarge,
    /// The same for the request target.
    #[error("the target would be too long")]
    TargetTooLong,
    /// The edits are not those of this source.
    #[error("the edits do not fit the text")]
    Misplaced,
}

impl Edit {
    /// The same, in a place this deep in JSON.
    pub(super) fn nested(self, nesting: Nesting) -> Self {
        Self { nesting, ..self }
    }

    /// The edit for a token found at `location`.
    pub fn new(token: PlaceholderToken, encoding: Encoding, location: Location) -> Self {
        Self {
            span: token.span,
            encoding,
            nesting: Nesting::default(),
            escape: token.escape,
            reference: token.reference,
            location,
            length: None,
            delimiters: None,
        }
    }
}

pub(super) fn unencodable(edit: &Edit, problem: Unencodable) -> SpliceError {
    SpliceError::Unencodable {
        reference: edit.reference.clone(),
        location: edit.location.clone(),
        problem,
    }
}

//! Who wrote the ledger before a start, and whose requests without a result are still under way.

/// The writer before this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Before {
    /// It has ended: what has no result is named.
    Ended,
    /// It has given way and still serves requests, the first of which began with this line (0 if there are
    /// none).
    Serves {
        /// That line.
        first: u64,
    },
    /// This process itself, which gave way to another one that has ended without serving. What that one let
    /// through is named.
    Itself {
        /// The first line of requests that go on here.
        first: Option<u64>,
        /// Its last line.
        last: u64,
    },
}

impl Before {
    /// What the option says.
    pub(super) fn of(follows: Option<u64>) -> Self {
        follows.map_or(Self::Ended, |first| Self::Serves { first })
    }
}

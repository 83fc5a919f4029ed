//! Takes secret values out of what comes back, in whatever form and cut they come.
pub use needle::{Form, MIN_SEARCHED};
pub use needles::Needles;
pub use scrubber::{Scrubber, scrub_bytes};

mod filter;
mod needle;
mod needles;
mod scan;
mod scrubber;
mod set;
mod trie;
mod units;
mod walk;

/// What is put in place of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replacement {
    /// `<<slug>>` or `<<slug.field>>` of the leftmost hit of a union, the longest that begins there.
    Placeholder,
    /// `*` for each byte: for an answer whose length is pinned.
    SameLength,
}

/// A value was found and replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hit {
    /// For [`Needles::name`].
    pub reference: usize,
    /// How it was written.
    pub form: Form,
    /// Where it began in the stream, in bytes of the input.
    pub offset: u64,
    /// How long it was there, in bytes.
    pub length: usize,
}

#[cfg(test)]
mod tests;

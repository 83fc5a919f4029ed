//! The length that a part of a multipart body says it has (RFC 2046 leaves room for it; clients such as
//! OkHttp write it), and how it is corrected when a value makes the part longer.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

/// A part's own `Content-Length`.
#[derive(Debug, PartialEq, Eq)]
pub struct PartLength {
    /// Where its digits are, counted from the body's first byte.
    pub(super) digits: Range<usize>,
    /// The number.
    pub(super) declared: usize,
    /// Where the content begins.
    start: usize,
    /// Set once the content has ended and is as long as the number says.
    confirmed: OnceLock<()>,
}

impl PartLength {
    pub(super) fn new(digits: Range<usize>, declared: usize, start: usize) -> Arc<Self> {
        Arc::new(Self {
            digits,
            declared,
            start,
            confirmed: OnceLock::new(),
        })
    }

    /// What a part says of its content and cannot be corrected: a digest, or a length that recipients
    /// may read in different ways.
    pub(super) fn fixed(head: usize, start: usize) -> Arc<Self> {
        // No content has this length, so it is never confirmed.
        Self::new(head..head, usize::MAX, start)
    }

    /// The content ends here.
    pub(super) fn end(&self, end: usize) {
        if end.checked_sub(self.start) == Some(self.declared) {
            let _ = self.confirmed.set(());
        }
    }

    /// Whether the number is known to be right, so that it can be corrected.
    pub(super) fn is_confirmed(&self) -> bool {
        self.confirmed.get().is_some()
    }
}

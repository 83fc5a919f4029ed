//! The delimiters of a multipart body.

use memchr::memmem;
use zeroize::Zeroizing;

/// The delimiters (`--boundary`, RFC 2046 section 5.1.1) of the multipart bodies around a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delimiters(Vec<Vec<u8>>);

impl Delimiters {
    /// Those of the bodies with these boundaries.
    pub(super) fn new<'b>(boundaries: impl IntoIterator<Item = &'b [u8]>) -> Self {
        let delimiter = |boundary: &[u8]| [b"--".as_slice(), boundary].concat();
        Self(boundaries.into_iter().map(delimiter).collect())
    }

    /// Whether `tail` followed by `bytes` contains a delimiter that begins at `latest` or before and
    /// ends in `bytes`.
    pub(super) fn are_spelled(&self, tail: &[u8], bytes: &[u8], latest: usize) -> bool {
        let mut text = Zeroizing::new(Vec::with_capacity(tail.len() + bytes.len()));
        text.extend_from_slice(tail);
        text.extend_from_slice(bytes);
        self.0.iter().any(|delimiter| {
            let start = (tail.len() + 1).saturating_sub(delimiter.len());
            let end = text.len().min(latest.saturating_add(delimiter.len()));
            text.get(start..end)
                .is_some_and(|text| memmem::find(text, delimiter).is_some())
        })
    }
}

/// The longest delimiter, in bytes: a boundary has at most 70.
pub(super) const MAX_DELIMITER: usize = 72;

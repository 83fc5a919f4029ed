//! Where a part of a text is in it.

/// The offset at which `part` begins, which is a part of `text` itself and no copy.
pub(super) fn offset(text: &str, part: &str) -> usize {
    part.as_ptr().addr() - text.as_ptr().addr()
}

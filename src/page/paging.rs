//! Lists in parts: the links from one part to the others. Which part is shown is part of the address.

use super::text;
use crate::admin::part::Part;

/// Rows of one part.
pub(super) const PAGE: usize = 50;

/// The links of a list whose part is shown.
pub(super) struct Links {
    /// How many there are: `12 users`.
    pub(super) count: String,
    /// Where the list begins; empty if this is there.
    pub(super) first: String,
    /// Where the next part begins; empty if this is the last one.
    pub(super) next: String,
}

impl Links {
    /// Of a part that begins after a key, if `is_later`. `link` is the address of the part after a place,
    /// which is empty for the first one.
    pub(super) fn of<K: Ord, T>(
        part: &Part<K, T>,
        is_later: bool,
        [one, many]: [&str; 2],
        place: impl FnOnce(&K) -> String,
        link: impl Fn(&str) -> String,
    ) -> Self {
        let first = is_later.then(|| link(""));
        let next = part.next().map(|key| link(&place(key)));
        Self {
            count: text::count(part.count as u64, one, many),
            first: first.unwrap_or_default(),
            next: next.unwrap_or_default(),
        }
    }

    /// Whether there are other parts.
    pub(super) fn is_paged(&self) -> bool {
        !self.first.is_empty() || !self.next.is_empty()
    }
}

//! Values in the name of a field.
//!
//! Names are compared without regard to case (RFC 9110 section 5.1), so HTTP libraries keep them in
//! lower case, and may yet deliver them as they were written. Which case that is cannot be seen in
//! the name. So a name holds a value if it could be written as one in any form, whatever letters of
//! it were capitals.

use super::escapes::introduces;
use super::filter::{GROUP, Groups, group_at, variants};
use super::needle::{MIN_SEARCHED, Needle, NeedleClass, NeedleSource};

/// How far apart a name is looked at, in characters.
const STRIDE: usize = MIN_SEARCHED - GROUP + 1;

/// Where in a name a needle can begin.
pub(super) struct NameFilter {
    /// Every four characters in a row of the first [`MIN_SEARCHED`] of every needle that has as
    /// many, in lower case.
    groups: Groups,
    /// Whether there are such needles.
    any_long: bool,
    /// The first character of every shorter one, in lower case, if there are any.
    short: Option<Box<[bool; 256]>>,
}

impl NameFilter {
    /// A filter for these needles.
    pub fn new<'n>(
        needles: impl Iterator<Item = (NeedleClass, &'n Needle)> + Clone,
        sources: &[NeedleSource],
    ) -> Self {
        let long = needles
            .clone()
            .filter(|(class, _)| *class != NeedleClass::Short);
        let mut groups = Groups::with_room(long.clone().count() * STRIDE);
        for (class, needle) in long.clone() {
            for first in 0..STRIDE {
                let chars = std::array::from_fn(|n| lower(needle.byte(sources, first + n)));
                variants(class, chars, |group| groups.insert(lower_group(group)));
            }
        }
        let mut short = None;
        for (class, needle) in needles.filter(|(class, _)| *class == NeedleClass::Short) {
            let first = lower(needle.byte(sources, 0));
            let table = short.get_or_insert_with(|| Box::new([false; 256]));
            table[usize::from(first)] = true;
            table[usize::from(class.twin(first).unwrap_or(first))] = true;
        }
        Self {
            groups,
            any_long: long.count() > 0,
            short,
        }
    }

    /// Whether a needle may occur in `name`, which is in lower case. Nearly every name of a message
    /// ends here.
    ///
    /// The first eight characters of a needle hold a group at one of any five positions in a row,
    /// so every fifth is looked at.
    pub fn may_occur(&self, name: &[u8]) -> bool {
        let holds_group = || {
            let mut looks = (STRIDE - 1..name.len()).step_by(STRIDE);
            looks.any(|pos| group_at(name, pos).is_some_and(|group| self.groups.contains(group)))
        };
        self.short.is_some()
            || self.any_long
                && name.len() >= MIN_SEARCHED
                && (name.iter().copied().any(introduces) || holds_group())
    }

    /// Every position of `name`, which is in lower case, at which a needle may begin.
    pub fn candidates(&self, name: &[u8]) -> impl Iterator<Item = usize> {
        let any_long = self.any_long && name.len() >= MIN_SEARCHED;
        let escapes = (any_long || self.short.is_some()) && name.iter().copied().any(introduces);
        (0..name.len()).filter(move |&pos| {
            escapes
                || any_long && group_at(name, pos).is_some_and(|group| self.groups.contains(group))
                || self
                    .short
                    .as_ref()
                    .is_some_and(|s| s[usize::from(name[pos])])
        })
    }
}

fn lower(char: u8) -> u8 {
    char.to_ascii_lowercase()
}

fn lower_group(group: u32) -> u32 {
    let bytes: [u8; GROUP] = group.to_le_bytes().map(lower);
    u32::from_le_bytes(bytes)
}

//! The part of a list that is shown at once, by keys in order: it begins after the key of the part
//! before, so that what is added or removed meanwhile moves nothing.

use std::collections::BTreeMap;

/// A part of a list.
#[derive(Debug)]
pub struct Part<K, T> {
    /// How many there are in all.
    pub count: usize,
    /// Those of this part, by their keys.
    pub items: Vec<(K, T)>,
    /// Whether there are more behind it.
    pub has_more: bool,
}

impl<K: Ord, T> Part<K, T> {
    /// The first `size` of `all`, whose keys all differ, with a key after `after`.
    ///
    /// Nothing is kept but the part, and nothing but the part is put in order: lists may be long.
    pub fn of(all: impl Iterator<Item = (K, T)>, after: Option<&K>, size: usize) -> Self {
        let mut count = 0;
        let mut first = BTreeMap::new();
        for (key, item) in all {
            count += 1;
            if after.is_some_and(|after| key <= *after) {
                continue;
            }
            // One more than is shown tells that there is more.
            if first.len() <= size {
                first.insert(key, item);
                continue;
            }
            let Some(last) = first.last_entry() else {
                continue;
            };
            if key < *last.key() {
                last.remove();
                first.insert(key, item);
            }
        }
        let has_more = first.len() > size;
        let items = first.into_iter().take(size).collect();
        Self {
            count,
            items,
            has_more,
        }
    }

    /// After which key the next part begins, if there is one.
    pub fn next(&self) -> Option<&K> {
        let last = self.items.last().filter(|_| self.has_more);
        last.map(|(key, _)| key)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::cmp::Ordering;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn parts_follow_each_other_without_a_gap(
            keys in prop::collection::btree_set(0..1000_u32, 0..60),
            order in any::<u64>(),
            size in 1..9_usize,
        ) {
            // In any order.
            let mut mixed: Vec<u32> = keys.iter().copied().collect();
            mixed.sort_by_key(|key| u64::from(*key).wrapping_mul(order | 1).rotate_left(13));
            let (mut seen, mut after) = (Vec::new(), None);
            loop {
                let all = mixed.iter().map(|key| (*key, key.to_string()));
                let part = Part::of(all, after.as_ref(), size);
                prop_assert_eq!(part.count, keys.len());
                prop_assert!(part.items.len() <= size);
                prop_assert!(part.items.iter().all(|(key, text)| *text == key.to_string()));
                after = part.next().copied();
                seen.extend(part.items.into_iter().map(|(key, _)| key));
                if after.is_none() {
                    break;
                }
            }
            prop_assert!(seen.iter().eq(&keys));
        }
    }

    /// A key that counts how often keys are compared.
    #[derive(Clone, Copy)]
    struct Counted<'a>(u32, &'a Cell<usize>);

    impl Ord for Counted<'_> {
        fn cmp(&self, other: &Self) -> Ordering {
            self.1.set(self.1.get() + 1);
            self.0.cmp(&other.0)
        }
    }

    impl PartialOrd for Counted<'_> {
        fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
            Some(self.cmp(other))
        }
    }

    impl PartialEq for Counted<'_> {
        fn eq(&self, other: &Self) -> bool {
            self.cmp(other).is_eq()
        }
    }

    impl Eq for Counted<'_> {}

    #[test]
    fn a_part_of_a_long_list_costs_little_more_than_a_look_at_each() {
        const MANY: u32 = 100_000;
        let compared = Cell::new(0);
        let mixed = (0..MANY).map(|number| number * 7919 % 1_000_003);
        let all = mixed.map(|key| (Counted(key, &compared), ()));
        let after = Counted(500_000, &compared);
        let part = Part::of(all, Some(&after), 50);
        assert_eq!((part.count, part.items.len()), (MANY as usize, 50));
        // To put all of them in order takes some 17 for each.
        let each = compared.get() as f64 / f64::from(MANY);
        assert!(each < 2.5, "{each} comparisons for each");
    }
}

//! What is counted by name, for a bounded number of names.

use std::hash::{BuildHasher as _, RandomState};
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// A `T` for each of the first `most` names, and one for all others together: each name is a time
/// series at whoever scrapes, and names can come from clients.
///
/// A table that only grows: whoever finds a name in it takes no lock, and whoever adds one takes that of
/// its place.
pub struct Names<T> {
    places: Box<[OnceLock<Box<Named<T>>>]>,
    others: T,
    most: usize,
    known: AtomicUsize,
    hasher: RandomState,
}

/// A name in two parts, such as an owner and a slug.
pub type Name<'a> = [&'a str; 2];

/// What was found under a name, for whoever asks for the same one again and again: to hash it takes longer
/// than all the rest.
pub struct Remembered<T: 'static> {
    own: OnceLock<&'static T>,
    /// How many names were known when this one was not, and one more; 0 if none was looked for.
    missed: AtomicUsize,
}

impl<T> Default for Remembered<T> {
    fn default() -> Self {
        Self {
            own: OnceLock::new(),
            missed: AtomicUsize::new(0),
        }
    }
}

struct Named<T> {
    name: [Box<str>; 2],
    value: T,
}

impl<T: Default> Names<T> {
    /// For `most` names.
    pub fn of_at_most(most: usize) -> Self {
        // Half of it stays free, so that a search ends soon.
        let places = (most * 2).next_power_of_two();
        Self {
            places: (0..places).map(|_| OnceLock::new()).collect(),
            others: T::default(),
            most,
            known: AtomicUsize::new(0),
            hasher: RandomState::new(),
        }
    }

    /// What belongs to `name`, from now on; what all others share if there are too many.
    pub fn add(&self, name: Name<'_>) -> &T {
        let found = self.search(name, |place| {
            if let Some(named) = place.get() {
                return Some(named);
            }
            if self.known.load(Relaxed) >= self.most {
                return None;
            }
            // If another thread was faster, the place is that one's, and the search goes on after it.
            Some(place.get_or_init(|| {
                self.known.fetch_add(1, Relaxed);
                Box::new(Named {
                    name: name.map(Box::from),
                    value: T::default(),
                })
            }))
        });
        found.unwrap_or(&self.others)
    }

    /// What belongs to `name` if it is known, and otherwise what all others share.
    pub fn find(&self, name: Name<'_>) -> &T {
        let found = self.search(name, |place| place.get());
        found.unwrap_or(&self.others)
    }

    /// As [`Names::add`], with what `remembered` has of the same name.
    pub fn add_remembered(&'static self, name: Name<'_>, remembered: &Remembered<T>) -> &'static T {
        if let Some(own) = remembered.own.get() {
            return own;
        }
        self.remember(self.add(name), remembered)
    }

    /// As [`Names::find`], with what `remembered` has of the same name.
    pub fn find_remembered(
        &'static self,
        name: Name<'_>,
        remembered: &Remembered<T>,
    ) -> &'static T {
        if let Some(own) = remembered.own.get() {
            return own;
        }
        // Read before the search: a name that is added meanwhile is looked for once more.
        let known = self.known.load(Relaxed) + 1;
        if remembered.missed.load(Relaxed) == known {
            return &self.others;
        }
        remembered.missed.store(known, Relaxed);
        self.remember(self.find(name), remembered)
    }

    fn remember(&self, found: &'static T, remembered: &Remembered<T>) -> &'static T {
        if !ptr::eq(found, &self.others) {
            // Whoever was faster has found the same.
            let _ = remembered.own.set(found);
        }
        found
    }

    /// The places on the way of `name`, from the one where it should be to the first that `at` finds
    /// empty.
    fn search<'a>(
        &'a self,
        name: Name<'_>,
        at: impl Fn(&'a OnceLock<Box<Named<T>>>) -> Option<&'a Box<Named<T>>>,
    ) -> Option<&'a T> {
        let mask = self.places.len() - 1;
        #[allow(clippy::cast_possible_truncation)] // Any part of it will do.
        let start = self.hasher.hash_one(name) as usize;
        for step in 0..self.places.len() {
            let named = at(&self.places[start.wrapping_add(step) & mask])?;
            if *named.name[0] == *name[0] && *named.name[1] == *name[1] {
                return Some(&named.value);
            }
        }
        None
    }

    /// Every name with what belongs to it, in the order of the names.
    pub fn each(&self) -> Vec<(Name<'_>, &T)> {
        let named = self.places.iter().filter_map(OnceLock::get);
        let mut each: Vec<_> = named
            .map(|named| ([&*named.name[0], &*named.name[1]], &named.value))
            .collect();
        each.sort_by_key(|(name, _)| *name);
        each
    }

    /// What all share that have no place of their own.
    pub fn others(&self) -> &T {
        &self.others
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use super::*;

    fn count(of: &AtomicU64) -> u64 {
        of.load(Relaxed)
    }

    #[test]
    fn names_past_the_bound_are_counted_together() {
        let names = Names::<AtomicU64>::of_at_most(3);
        for name in ["c", "a", "b", "d", "e", "a"] {
            names.add([name, ""]).fetch_add(1, Relaxed);
        }
        let each = names.each();
        let each: Vec<_> = each.iter().map(|(name, of)| (name[0], count(of))).collect();
        assert_eq!(each, [("a", 2), ("b", 1), ("c", 1)]);
        assert_eq!(count(names.others()), 2);
    }

    #[test]
    fn both_parts_make_the_name() {
        let names = Names::<AtomicU64>::of_at_most(8);
        names.add(["ab", "c"]).fetch_add(1, Relaxed);
        names.add(["a", "bc"]).fetch_add(2, Relaxed);
        assert_eq!(count(names.find(["ab", "c"])), 1);
        assert_eq!(count(names.find(["a", "bc"])), 2);
        assert_eq!(count(names.find(["abc", ""])), 0);
    }

    #[test]
    fn what_is_only_looked_for_takes_no_place() {
        let names = Names::<AtomicU64>::of_at_most(1);
        names.find(["hostile", ""]).fetch_add(1, Relaxed);
        names.add(["own", ""]).fetch_add(1, Relaxed);
        assert_eq!((names.each().len(), count(names.others())), (1, 1));
    }

    #[test]
    fn what_is_remembered_is_what_is_found() {
        let names: &'static Names<AtomicU64> = Box::leak(Box::new(Names::of_at_most(2)));
        let (a, b) = (Remembered::default(), Remembered::default());
        for _ in 0..2 {
            names.find_remembered(["a", ""], &a).fetch_add(1, Relaxed);
        }
        assert_eq!(count(names.others()), 2, "it is not known yet");
        names.add_remembered(["b", ""], &b).fetch_add(1, Relaxed);
        names.find_remembered(["a", ""], &a).fetch_add(1, Relaxed);
        assert_eq!(count(names.others()), 3, "another became known");
        names.add(["a", ""]).fetch_add(1, Relaxed);
        for _ in 0..2 {
            names.find_remembered(["a", ""], &a).fetch_add(1, Relaxed);
            names.find_remembered(["b", ""], &b).fetch_add(1, Relaxed);
        }
        assert_eq!(count(names.find(["a", ""])), 3);
        assert_eq!(count(names.find(["b", ""])), 3);
        let over = Remembered::default();
        for _ in 0..2 {
            names.add_remembered(["c", ""], &over).fetch_add(1, Relaxed);
        }
        assert_eq!(count(names.others()), 5, "one too many");
    }

    #[test]
    fn threads_that_add_the_same_names_count_them_once_each() {
        let names = Names::<AtomicU64>::of_at_most(64);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for number in 0..64 {
                        let name = number.to_string();
                        names.add([&name, "x"]).fetch_add(1, Relaxed);
                    }
                });
            }
        });
        let each = names.each();
        let counted: u64 = each.iter().map(|(_, of)| count(of)).sum();
        assert_eq!(counted + count(names.others()), 8 * 64);
        let distinct: std::collections::BTreeSet<_> = each.iter().map(|(name, _)| name).collect();
        assert_eq!(distinct.len(), each.len());
    }
}

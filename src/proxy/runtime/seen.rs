//! What was seen before, and how often, in bounded memory.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hash, RandomState};
use std::sync::Mutex;

use crate::proxy::runtime::sync::lock;

/// Most things that are remembered. With more, all are forgotten and counted from zero.
const MOST: usize = 64 * 1024;

/// Counts things. It keeps a keyed hash of each, and not what they are.
#[derive(Default)]
pub struct SeenCounts {
    hasher: RandomState,
    counts: Mutex<HashMap<u64, u64>>,
}

impl SeenCounts {
    /// Counts one more, and returns how many there were of it by now.
    pub fn count(&self, thing: &impl Hash) -> u64 {
        let key = self.hasher.hash_one(thing);
        let mut counts = lock(&self.counts);
        if counts.len() >= MOST && !counts.contains_key(&key) {
            counts.clear();
        }
        let count = counts.entry(key).or_default();
        *count += 1;
        *count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_thing_is_counted_by_itself_in_bounded_memory() {
        let seen = SeenCounts::default();
        assert_eq!(seen.count(&("ci", "a")), 1);
        assert_eq!(seen.count(&("ci", "b")), 1);
        assert_eq!(seen.count(&("ci", "a")), 2);
        for number in 0..2 * MOST {
            seen.count(&number);
        }
        assert!(lock(&seen.counts).len() <= MOST);
    }
}

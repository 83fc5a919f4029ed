//! The generations of a key that is derived from the master key: the one in use, and, while the master
//! key is rotated, the one before or after it.
//!
//! The store says which master key it is sealed under. Whoever reads that follows it, and with it
//! everything that was derived from the same keyring: it is one number for all of them. It only goes
//! forward: a reader with an older snapshot does not bring the former key back into use.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arc_swap::{ArcSwap, Guard};

/// The name of a master key, derived from it one-way: tells which key sealed a value.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyId(pub(in crate::vault) [u8; 8]);

impl KeyId {
    /// For the store.
    pub(in crate::vault) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

/// Which generation is in use, for all keys of a keyring.
#[derive(Clone, Debug, Default)]
pub(in crate::vault) struct InUse(Arc<AtomicUsize>);

/// The generations of one key, oldest first. Clones share them.
pub(in crate::vault) struct Generations<T> {
    keys: Arc<ArcSwap<Vec<Generation<T>>>>,
    in_use: InUse,
}

/// One of them.
pub(in crate::vault) struct Generation<T> {
    pub(in crate::vault) id: KeyId,
    pub(in crate::vault) key: Arc<T>,
}

impl<T> Generations<T> {
    pub(in crate::vault) fn new(id: KeyId, key: T, in_use: &InUse) -> Self {
        let first = Generation {
            id,
            key: Arc::new(key),
        };
        Self {
            keys: Arc::new(ArcSwap::from_pointee(vec![first])),
            in_use: in_use.clone(),
        }
    }

    /// Accepts one more key.
    pub(in crate::vault) fn add(&self, id: KeyId, key: T) {
        let key = Arc::new(key);
        self.keys.rcu(|keys| {
            let mut all = Vec::with_capacity(keys.len() + 1);
            all.extend(keys.iter().cloned());
            if all.iter().all(|known| known.id != id) {
                let key = Arc::clone(&key);
                all.push(Generation { id, key });
            }
            all
        });
    }

    /// All that are accepted.
    pub(in crate::vault) fn all(&self) -> Guard<Arc<Vec<Generation<T>>>> {
        self.keys.load()
    }

    /// The one in use.
    pub(in crate::vault) fn current(&self) -> Generation<T> {
        let keys = self.keys.load();
        // Keys are added to all rings before one of them is in use, and never removed.
        let at = self.in_use.0.load(Ordering::Acquire).min(keys.len() - 1);
        keys[at].clone()
    }

    /// The newest alone, in use or not.
    pub(in crate::vault) fn newest(&self) -> Self {
        let keys = self.keys.load();
        let newest = keys.last().cloned().into_iter().collect();
        Self {
            keys: Arc::new(ArcSwap::from_pointee(newest)),
            in_use: InUse::default(),
        }
    }

    /// Takes this one into use, unless a later one is. `None` if it is not accepted.
    pub(in crate::vault) fn follow(&self, id: KeyId) -> Option<Arc<T>> {
        let keys = self.keys.load();
        let at = keys.iter().position(|known| known.id == id)?;
        self.in_use.0.fetch_max(at, Ordering::AcqRel);
        Some(Arc::clone(&keys[at].key))
    }
}

impl<T> Clone for Generations<T> {
    fn clone(&self) -> Self {
        Self {
            keys: Arc::clone(&self.keys),
            in_use: self.in_use.clone(),
        }
    }
}

impl<T> Clone for Generation<T> {
    fn clone(&self) -> Self {
        Self {
            id: self.id,
            key: Arc::clone(&self.key),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_keys_of_a_keyring_go_forward_together_and_never_back() {
        let in_use = InUse::default();
        let [old, new] = [KeyId([1; 8]), KeyId([2; 8])];
        let seals = Generations::new(old, "old", &in_use);
        let signs = Generations::new(old, 1, &in_use);
        assert!(seals.follow(new).is_none());
        seals.add(new, "new");
        signs.add(new, 2);
        signs.add(new, 3);
        assert_eq!(
            (*seals.current().key, *signs.clone().current().key),
            ("old", 1)
        );
        assert_eq!(seals.follow(new).as_deref(), Some(&"new"));
        assert_eq!((seals.current().id, *signs.current().key), (new, 2));
        assert_eq!(
            signs.follow(old).as_deref(),
            Some(&1),
            "it is still accepted"
        );
        assert_eq!(*seals.current().key, "new");
        assert_eq!(signs.all().len(), 2);
    }
}

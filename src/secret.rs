//! The one type that owns a secret value.

use std::fmt;

use zeroize::{Zeroize as _, Zeroizing};

use crate::memory::pool::Block;

/// Bytes of a secret: in locked memory where the system grants any, wiped when dropped, never
/// printed.
///
/// It has no `Clone`, `Display`, `Serialize`, `PartialEq` or `AsRef`: each of them has leaked a
/// value in some program. The bytes are reached only through [`SecretBytes::expose`], so a reviewer
/// finds every use with one search.
pub struct SecretBytes {
    storage: Storage,
    /// How much of the storage is the value. What follows it is zero.
    length: usize,
}

/// The memory that holds the bytes.
enum Storage {
    Locked(Block),
    /// Used when no more memory can be locked.
    Heap(Zeroizing<Box<[u8]>>),
}

impl SecretBytes {
    /// Takes ownership of `bytes`: they are moved into locked memory and wiped where they were.
    pub fn new(mut bytes: Vec<u8>) -> Self {
        let secret = Self::written(bytes.len(), |place| place.copy_from_slice(&bytes));
        bytes.zeroize();
        secret
    }

    /// A value of `length` bytes, which `write` writes straight into the storage. It is zero
    /// before.
    pub fn written(length: usize, write: impl FnOnce(&mut [u8])) -> Self {
        let mut secret = Self {
            storage: match Block::take(length) {
                Some(block) => Storage::Locked(block),
                None => Storage::Heap(Zeroizing::new(vec![0; length].into_boxed_slice())),
            },
            length,
        };
        write(&mut secret.storage_mut()[..length]);
        secret
    }

    /// Cuts the value off after `length` bytes, and wipes the rest.
    pub fn truncate(&mut self, length: usize) {
        if length < self.length {
            let from = length;
            let to = self.length;
            self.storage_mut()[from..to].zeroize();
            self.length = length;
        }
    }

    /// The value itself. The caller is responsible for where the bytes go.
    pub fn expose(&self) -> &[u8] {
        let bytes = match &self.storage {
            Storage::Locked(block) => block.bytes(),
            Storage::Heap(bytes) => bytes,
        };
        &bytes[..self.length]
    }

    /// Length of the value in bytes.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether the value has no bytes. Such a value is refused when it is saved.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    fn storage_mut(&mut self) -> &mut [u8] {
        match &mut self.storage {
            Storage::Locked(block) => block.bytes_mut(),
            Storage::Heap(bytes) => bytes,
        }
    }
}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not even the length: it narrows a guess.
        f.write_str("SecretBytes(redacted)")
    }
}

/// Whether two values are the same. Not in constant time, which is safe only because no client
/// chooses either of them.
pub fn is_same(one: &SecretBytes, other: &SecretBytes) -> bool {
    one.expose() == other.expose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_nothing_of_the_value() {
        let secret = SecretBytes::new(b"hunter2".to_vec());
        assert_eq!(format!("{secret:?}"), "SecretBytes(redacted)");
        assert_eq!(secret.expose(), b"hunter2");
    }

    #[test]
    fn values_of_every_size_are_kept_unchanged() {
        for length in [0, 1, 63, 64, 65, 4096, 100_000, 1 << 20, (1 << 20) + 1] {
            let bytes: Vec<u8> = (0..length).map(|n| (n % 251) as u8).collect();
            let secret = SecretBytes::new(bytes.clone());
            assert_eq!(secret.expose(), bytes);
            assert_eq!((secret.len(), secret.is_empty()), (length, length == 0));
        }
    }

    #[test]
    fn what_is_cut_off_is_wiped() {
        let mut secret = SecretBytes::written(10, |place| place.copy_from_slice(b"0123456789"));
        secret.truncate(4);
        assert_eq!(secret.expose(), b"0123");
        assert!(secret.storage_mut()[4..].iter().all(|byte| *byte == 0));
        secret.truncate(100);
        assert_eq!(secret.len(), 4);
    }
}

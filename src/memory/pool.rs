//! A pool of locked memory for values.
//!
//! Values are opened for every request, so a system call for each would be slow. The kernel locks
//! whole pages, so two values on one page could not be unlocked separately. The pool therefore
//! locks a few pages at a time, cuts them into blocks of one size, and never unlocks them: a
//! returned block is wiped and reused for the next value of its size.

use std::sync::{Mutex, PoisonError};

use zeroize::Zeroize as _;

use super::pages;

/// The smallest block, in bytes. Most tokens fit.
const SMALLEST: usize = 64;
/// Block sizes are powers of two from [`SMALLEST`]; the last one is 1 MiB, the longest value.
const SIZES: usize = 15;
/// How much is locked at a time, in bytes; for larger blocks, one block.
const CHUNK: usize = 16 * 1024;
/// The most that is ever locked, in bytes, whatever the system would grant.
const CAP: usize = 16 * 1024 * 1024;

static POOL: Mutex<Pool> = Mutex::new(Pool::new());

/// A block of locked memory, exclusively owned. Wiped and returned to the pool when dropped.
pub struct Block(Option<&'static mut [u8]>);

impl Block {
    /// A block of zeros of at least `length` bytes. `None` if no more can be locked, which is
    /// logged the first time.
    pub fn take(length: usize) -> Option<Self> {
        let size = length.max(SMALLEST).checked_next_power_of_two()?;
        let (block, exhausted) = {
            let mut pool = POOL.lock().unwrap_or_else(PoisonError::into_inner);
            let before = pool.exhausted;
            (pool.take(size), pool.exhausted && !before)
        };
        if exhausted {
            // Without the pool's lock: the filter of the log opens values, which need a block.
            tracing::warn!(
                "no more memory can be locked, so values may be swapped out; raise RLIMIT_MEMLOCK \
                 (systemd: LimitMEMLOCK=) or encrypt the swap"
            );
        }
        Some(Self(Some(block?)))
    }

    /// The bytes of the block.
    pub fn bytes(&self) -> &[u8] {
        self.0.as_deref().unwrap_or_default()
    }

    /// The bytes of the block, to be written.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        self.0.as_deref_mut().unwrap_or_default()
    }
}

/// How much is locked, in bytes, and whether no more can be.
pub fn locked() -> (usize, bool) {
    let pool = POOL.lock().unwrap_or_else(PoisonError::into_inner);
    (pool.locked, pool.exhausted)
}

impl Drop for Block {
    fn drop(&mut self) {
        if let Some(block) = self.0.take() {
            block.zeroize();
            let mut pool = POOL.lock().unwrap_or_else(PoisonError::into_inner);
            pool.give_back(block);
        }
    }
}

struct Pool {
    free: [Vec<&'static mut [u8]>; SIZES],
    locked: usize,
    exhausted: bool,
}

impl Pool {
    const fn new() -> Self {
        Self {
            free: [const { Vec::new() }; SIZES],
            locked: 0,
            exhausted: false,
        }
    }

    fn take(&mut self, size: usize) -> Option<&'static mut [u8]> {
        let class = class(size)?;
        if self.free[class].is_empty() {
            self.grow(class, size);
        }
        self.free[class].pop()
    }

    fn grow(&mut self, class: usize, size: usize) {
        let length = CHUNK.max(size);
        if self.exhausted {
            return;
        }
        let is_granted = self.locked + length <= CAP;
        let pages = is_granted.then(|| pages::locked(length)).flatten();
        let Some(pages) = pages else {
            self.exhausted = true;
            return;
        };
        self.locked += length;
        self.free[class].extend(pages.chunks_exact_mut(size));
    }

    fn give_back(&mut self, block: &'static mut [u8]) {
        if let Some(class) = class(block.len()) {
            self.free[class].push(block);
        }
    }
}

/// The list in which blocks of `size`, a power of two, are kept.
fn class(size: usize) -> Option<usize> {
    let class = (size / SMALLEST).trailing_zeros() as usize;
    (size >= SMALLEST && class < SIZES).then_some(class)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_up_to_the_longest_value_has_a_block() {
        assert_eq!(class(SMALLEST), Some(0));
        assert_eq!(class(1024 * 1024), Some(SIZES - 1));
        assert_eq!(class(2 * 1024 * 1024), None);
        assert_eq!(class(SMALLEST / 2), None);
        assert!(Block::take(usize::MAX).is_none());
    }

    #[test]
    fn a_reused_block_holds_only_zeros() {
        let mut pool = Pool::new();
        let Some(block) = pool.take(4096) else {
            // This system locks no memory, so no block is reused.
            return;
        };
        block.fill(0xa5);
        let address = block.as_ptr();
        let mut block = Block(Some(block));
        block.bytes_mut()[..7].copy_from_slice(b"canary!");
        // What `Drop` does, with a pool of this test's own.
        let inner = block.0.take().unwrap();
        inner.zeroize();
        pool.give_back(inner);
        let again = std::iter::from_fn(|| pool.take(4096)).find(|b| b.as_ptr() == address);
        assert!(again.unwrap().iter().all(|byte| *byte == 0));
    }

    #[test]
    fn blocks_do_not_overlap_and_fit() {
        let mut blocks: Vec<Block> = (1..300).filter_map(|n| Block::take(n * 7)).collect();
        for (n, block) in blocks.iter_mut().enumerate() {
            assert!(block.bytes().len() >= (n + 1) * 7);
            block.bytes_mut().fill(n as u8);
        }
        for (n, block) in blocks.iter().enumerate() {
            assert!(block.bytes().iter().all(|byte| *byte == n as u8));
        }
    }

    #[test]
    fn once_the_limit_is_reached_no_more_is_locked() {
        let mut pool = Pool::new();
        pool.locked = CAP;
        assert!(pool.take(SMALLEST).is_none());
        assert!(pool.exhausted);
        pool.locked = 0;
        assert!(pool.take(SMALLEST).is_none(), "no system call per request");
    }
}

//! What was on the stack: library code copies pieces of what it parses into local arrays, where
//! they stay until a later call happens to be as deep.
//!
//! When values go out of use ([`wipe_all`]), every thread of the runtimes is sent past its place of
//! rest, and overwrites what lies below it before it goes to sleep. On the path of a request this
//! costs one comparison each time a thread runs out of work.

use std::cell::Cell;
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::runtime::Handle;

/// How much is overwritten, in bytes, of the 2 MiB that a thread has. Compressors keep whole tables
/// on the stack, and were seen to leave a value 300 KiB down.
const DEPTH: usize = 1024 * 1024;
/// How long after a call the next one follows, if not all have come.
const INTERVAL: Duration = Duration::from_millis(100);
/// How often the threads are called before it is left to them to come by.
const CALLS: usize = 50;

/// Counts the calls of [`wipe_all`].
static WANTED: AtomicU64 = AtomicU64::new(0);
/// How many threads have come by since the last one.
static DONE: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static WIPED: Cell<u64> = const { Cell::new(0) };
}

/// Overwrites what finished calls have left on this thread's stack.
#[inline(never)]
pub fn wipe() {
    // Filled with zeros here, and as far as the compiler knows, read elsewhere.
    black_box(&mut [0u8; DEPTH]);
}

/// For [`tokio::runtime::Builder::on_thread_park`]: wipes the thread's stack if that is wanted.
pub fn on_park() {
    let wanted = WANTED.load(Ordering::Acquire);
    if WIPED.replace(wanted) != wanted {
        wipe();
        DONE.fetch_add(1, Ordering::AcqRel);
    }
}

/// Has the threads of these runtimes wipe their stacks, each of which has one thread.
pub async fn wipe_all(runtimes: &[Handle]) {
    DONE.store(0, Ordering::Release);
    WANTED.fetch_add(1, Ordering::AcqRel);
    for _ in 0..CALLS {
        for runtime in runtimes {
            // Whoever sleeps wakes up for it, and passes by on the way back.
            runtime.spawn(async {});
        }
        tokio::time::sleep(INTERVAL).await;
        if DONE.load(Ordering::Acquire) >= runtimes.len() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::runtime::Builder;

    use super::*;

    #[test]
    fn every_thread_comes_by() {
        static WIPES: AtomicUsize = AtomicUsize::new(0);
        let passed = || {
            let before = WIPED.get();
            on_park();
            if WIPED.get() != before {
                WIPES.fetch_add(1, Ordering::AcqRel);
            }
        };
        let runtimes: Vec<_> = (0..3)
            .map(|_| {
                let mut builder = Builder::new_multi_thread();
                builder.worker_threads(1).enable_time();
                builder.on_thread_park(passed).build().unwrap()
            })
            .collect();
        let handles: Vec<_> = runtimes.iter().map(|r| r.handle().clone()).collect();
        runtimes[0].block_on(wipe_all(&handles));
        assert!(WIPES.load(Ordering::Acquire) >= 3);
    }
}

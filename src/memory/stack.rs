//! Wipes stacks: library code copies pieces of what it parses into local arrays, where they stay
//! until a later call is as deep.
//!
//! When values are revoked, replaced or deleted ([`wipe_all`]), every thread of the runtimes is
//! woken and overwrites the unused part of its stack before it sleeps again. For requests this
//! costs one comparison each time a thread runs out of work.

use std::cell::Cell;
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::runtime::Handle;

/// How much is overwritten, in bytes, of the 2 MiB of a thread's stack. Compressors keep whole
/// tables on the stack, and a value was found 300 KiB deep.
const DEPTH: usize = 1024 * 1024;
/// The pause between two calls, while some threads have not wiped their stacks.
const INTERVAL: Duration = Duration::from_millis(100);
/// The most calls. A thread that is busy all the time wipes its stack when it next parks.
const CALLS: usize = 50;

/// Counts the calls of [`wipe_all`].
static WANTED: AtomicU64 = AtomicU64::new(0);
/// How many threads have wiped their stacks since the last call.
static DONE: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static WIPED: Cell<u64> = const { Cell::new(0) };
}

/// Overwrites what finished calls left on this thread's stack.
#[inline(never)]
pub fn wipe() {
    // For the compiler, `black_box` reads the zeros, so it cannot remove them.
    black_box(&mut [0u8; DEPTH]);
}

/// For [`tokio::runtime::Builder::on_thread_park`]: wipes the thread's stack if that was asked for.
pub fn on_park() {
    let wanted = WANTED.load(Ordering::Acquire);
    if WIPED.replace(wanted) != wanted {
        wipe();
        DONE.fetch_add(1, Ordering::AcqRel);
    }
}

/// Makes the threads of these runtimes, which have one each, wipe their stacks.
pub async fn wipe_all(runtimes: &[Handle]) {
    DONE.store(0, Ordering::Release);
    WANTED.fetch_add(1, Ordering::AcqRel);
    for _ in 0..CALLS {
        for runtime in runtimes {
            // It wakes a thread that sleeps, which then parks again.
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
    fn every_thread_wipes_its_stack() {
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

//! What was on the stack: library code copies pieces of what it parses into local arrays, where
//! they stay until a later call happens to be as deep.
//!
//! When values go out of use ([`wipe_all`]), every thread of the runtime is sent past its place of
//! rest, and overwrites what lies below it before it goes to sleep. On the path of a request this
//! costs one comparison each time a thread runs out of work.

use std::cell::Cell;
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;

/// How much is overwritten, in bytes, of the 2 MiB that a thread has. Compressors keep whole tables
/// on the stack, and were seen to leave a value 300 KiB down.
const DEPTH: usize = 1024 * 1024;
/// How long one thread may keep the others waiting. Requests wait as long.
const PATIENCE: Duration = Duration::from_millis(2);
/// How long after a call the next one follows, if not all have come.
const INTERVAL: Duration = Duration::from_millis(100);
/// How often the threads are called together before it is left to them to come by.
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

/// Has every worker of this runtime wipe its stack. Stops them for a moment, in the hope that all
/// come, which is why it belongs to changes and not to requests.
pub async fn wipe_all() {
    let workers = Handle::current().metrics().num_workers();
    DONE.store(0, Ordering::Release);
    WANTED.fetch_add(1, Ordering::AcqRel);
    for _ in 0..CALLS {
        call_together(workers).await;
        tokio::time::sleep(INTERVAL).await;
        if DONE.load(Ordering::Acquire) >= workers {
            return;
        }
    }
}

/// Wakes as many workers as there are. A task that only yielded would be run by the same thread
/// again and again, so each blocks its thread until the others are there.
async fn call_together(workers: usize) {
    let gate = Arc::new((Mutex::new(0), Condvar::new()));
    let visits: Vec<_> = (0..workers)
        .map(|_| {
            let gate = Arc::clone(&gate);
            tokio::spawn(async move {
                let (come, all) = &*gate;
                let mut count = come.lock().unwrap_or_else(PoisonError::into_inner);
                *count += 1;
                all.notify_all();
                // In vain if a thread is busy; then there is another call.
                let _ = all.wait_timeout_while(count, PATIENCE, |count| *count < workers);
            })
        })
        .collect();
    for visit in visits {
        // It cannot panic, and nobody aborts it.
        let _ = visit.await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_worker_comes_by() {
        static WIPES: AtomicUsize = AtomicUsize::new(0);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(3)
            .enable_time()
            .on_thread_park(|| {
                let before = WIPED.get();
                on_park();
                if WIPED.get() != before {
                    WIPES.fetch_add(1, Ordering::AcqRel);
                }
            })
            .build()
            .unwrap();
        // A task of the runtime: `block_on` would be a thread of its own.
        let done = runtime.spawn(wipe_all());
        runtime.block_on(done).unwrap();
        assert!(WIPES.load(Ordering::Acquire) >= 3);
    }
}

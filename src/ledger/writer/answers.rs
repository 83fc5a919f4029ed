//! Answers those who wait for a batch, when it is known whether it was written.

use std::time::Instant;

use super::batch::Batch;
use super::error::Answer;
use super::queue::Queue;
use super::waiter;
use crate::ledger::stats::Stats;

/// Answers everyone in the batch. Entries that nobody waits for stay in it if they could not be written.
pub(super) fn answer_all(
    batch: &mut Batch,
    answer: Answer,
    now: Instant,
    queue: &Queue,
    stats: &Stats,
) {
    let waiters = match answer {
        Ok(()) => {
            queue.done(0, None);
            batch.take_waiters()
        }
        Err(_) => {
            // Their requests are refused: they did not happen.
            let waiters = batch.refuse_waiters();
            queue.done(batch.entries(), batch.since());
            waiters
        }
    };
    let waiters = waiters.into_iter().map(|(queued, waiter)| {
        stats.commit_latency.record(now - queued);
        waiter
    });
    waiter::tell(waiters, answer);
}

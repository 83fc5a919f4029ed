//! What waits for the ledger's thread.
//!
//! The queue is swapped out as a whole, so that a batch is all that was waiting and costs one lock;
//! and its thread is woken only when someone waits for the answer, because waking a thread costs
//! more than everything else on the way of a request into the ledger.

use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::oneshot;

use super::checkpoint::Cause;
use super::draft::Draft;
use super::record::Timestamp;
use crate::error::{Code, Refusal};

/// Why entries are not on record. Nothing may be sent upstream then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LedgerUnavailable {
    /// More is waiting for the disk than [`super::Options::queue`] allows.
    #[error("more usage records are waiting for the disk than the queue holds")]
    QueueFull,
    /// The disk did not answer in time.
    #[error("the disk did not take the usage record in time")]
    Deadline,
    /// The file system refused.
    #[error("the usage record could not be written")]
    WriteFailed,
    /// The ledger is closed or its thread is gone.
    #[error("the ledger is closed")]
    Closed,
}

impl From<LedgerUnavailable> for Refusal {
    fn from(unavailable: LedgerUnavailable) -> Self {
        let detail = format!(
            "Nothing was sent: {unavailable}. Check space and health of the disk that holds the ledger (the server's log has the error), then try again."
        );
        Refusal::new(Code::LedgerUnavailable, detail)
    }
}

/// How it ended: for one caller, or for the whole ledger.
pub(super) type Answer = Result<(), LedgerUnavailable>;

/// The time by the clock of the machine.
pub(super) fn now() -> Timestamp {
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp::from_unix_micros(i64::try_from(since_epoch.as_micros()).unwrap_or(i64::MAX))
}

/// What one caller handed over.
pub(super) struct Job {
    pub(super) time: Timestamp,
    pub(super) queued: Instant,
    pub(super) lines: Draft,
    pub(super) waiter: Option<oneshot::Sender<Answer>>,
    /// A checkpoint that is owed once the lines are durable.
    pub(super) checkpoint: Option<Cause>,
}

impl Job {
    pub(super) fn new(lines: Draft, waiter: Option<oneshot::Sender<Answer>>) -> Self {
        Self {
            time: now(),
            queued: Instant::now(),
            lines,
            waiter,
            checkpoint: None,
        }
    }

    /// With a checkpoint for this cause behind it.
    pub(super) fn with_checkpoint(self, cause: Cause) -> Self {
        Self {
            checkpoint: Some(cause),
            ..self
        }
    }

    /// Whether its caller has given up, and with it the request.
    pub(super) fn is_abandoned(&self) -> bool {
        self.waiter.as_ref().is_some_and(oneshot::Sender::is_closed)
    }
}

/// Between the callers and the thread. Its lock is held for a push or a swap, never across a write.
pub(super) struct Queue {
    state: Mutex<State>,
    ready: Condvar,
    healthy: AtomicBool,
    /// Entries that may wait.
    limit: usize,
}

struct State {
    jobs: Vec<Job>,
    /// Entries in `jobs`.
    entries: usize,
    /// Entries that the writer could not write and keeps.
    backlog: usize,
    /// Entries that the writer is at.
    taken: usize,
    /// When the oldest entry that the writer has was queued.
    taken_since: Option<Instant>,
    /// Someone waits for what is in `jobs`.
    urgent: bool,
    /// The writer waits without a time limit.
    parked: bool,
    closing: bool,
    closers: Vec<oneshot::Sender<Answer>>,
    stopped: bool,
    /// How it ended, once it has stopped.
    outcome: Answer,
}

impl Queue {
    pub(super) fn new(limit: usize) -> Self {
        let state = State {
            jobs: Vec::new(),
            entries: 0,
            backlog: 0,
            taken: 0,
            taken_since: None,
            urgent: false,
            parked: false,
            closing: false,
            closers: Vec::new(),
            stopped: false,
            outcome: Err(LedgerUnavailable::Closed),
        };
        Self {
            state: Mutex::new(state),
            ready: Condvar::new(),
            healthy: AtomicBool::new(true),
            limit: limit.max(1),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change of the state is complete before anything can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a job, or refuses it at once. A job that nobody waits for is the result of a request
    /// that was let through: it finds as much room again as there is for new requests.
    pub(super) fn push(&self, job: Job, room: Room) -> Answer {
        let mut state = self.state();
        if state.closing || state.stopped {
            return Err(LedgerUnavailable::Closed);
        }
        let limit = match room {
            Room::Requests => self.limit,
            Room::Results => self.limit.saturating_mul(2),
        };
        let waiting = state.entries + state.backlog;
        // A single large job must not be refused for ever.
        if waiting > 0 && waiting + job.lines.len() > limit {
            return Err(LedgerUnavailable::QueueFull);
        }
        state.entries += job.lines.len();
        // Waking a thread costs more than all the rest of this function: only when it matters.
        let is_urgent = job.waiter.is_some();
        let wakes = (is_urgent && !state.urgent) || state.parked || state.entries >= self.half();
        state.urgent |= is_urgent;
        state.jobs.push(job);
        drop(state);
        if wakes {
            self.ready.notify_one();
        }
        Ok(())
    }

    /// Waits until there is something to write and swaps it into `jobs`: at once when someone
    /// waits for it or the queue fills up, else after `patience`. Also returns at `duty`, when the
    /// writer has something else to do. Returns whether this is the end.
    pub(super) fn take(
        &self,
        jobs: &mut Vec<Job>,
        patience: Duration,
        duty: Option<Instant>,
    ) -> bool {
        let mut state = self.state();
        let mut due = None;
        while !(state.urgent || state.closing || state.entries >= self.half()) {
            if due.is_none() && (state.backlog > 0 || !state.jobs.is_empty()) {
                due = Instant::now().checked_add(patience);
            }
            let until = [due, duty].into_iter().flatten().min();
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                break;
            }
            // Whoever pushes the first job has to wake a writer that does not wait for one.
            state.parked = due.is_none();
            state = match left {
                None => self
                    .ready
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(left) => {
                    let waited = self.ready.wait_timeout(state, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
            state.parked = false;
        }
        let oldest = state.jobs.first().map(|job| job.queued);
        state.taken_since = state.taken_since.or(oldest);
        state.taken = state.entries;
        mem::swap(&mut state.jobs, jobs);
        state.entries = 0;
        state.urgent = false;
        state.closing
    }

    /// Takes no more jobs. The answer, or the waiter's message, comes when the writer has stopped.
    pub(super) fn close(&self, waiter: Option<oneshot::Sender<Answer>>) -> Option<Answer> {
        let mut state = self.state();
        if state.stopped {
            return Some(state.outcome);
        }
        state.closing = true;
        state.closers.extend(waiter);
        drop(state);
        self.ready.notify_one();
        None
    }

    /// Tells how many entries the writer keeps because they could not be written, and since when.
    pub(super) fn set_backlog(&self, entries: usize, since: Option<Instant>) {
        let mut state = self.state();
        state.backlog = entries;
        state.taken = 0;
        state.taken_since = since;
    }

    /// How many entries are not durable, and how long the oldest of them has been waiting.
    pub(super) fn load(&self) -> (usize, Duration) {
        let state = self.state();
        let queued = state.jobs.first().map(|job| job.queued);
        let oldest = state.taken_since.or(queued);
        let entries = state.entries + state.taken + state.backlog;
        (entries, oldest.map(|at| at.elapsed()).unwrap_or_default())
    }

    /// Whether the last write succeeded.
    pub(super) fn is_healthy(&self) -> bool {
        self.healthy.load(Ordering::Relaxed)
    }

    /// Returns whether that is news.
    pub(super) fn set_healthy(&self, healthy: bool) -> bool {
        self.healthy.swap(healthy, Ordering::Relaxed) != healthy
    }

    /// Entries that the writer has not taken yet.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.state().entries
    }

    fn half(&self) -> usize {
        self.limit.div_ceil(2)
    }
}

/// Which limit counts for a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// Its request has not been let through yet.
    Requests,
    /// It tells of requests that were.
    Results,
}

/// Tells everyone when the thread ends, also if it ends by a panic: without it each request would
/// still wait for its deadline.
pub(super) struct Stopped(pub(super) Arc<Queue>);

impl Stopped {
    /// How it ended; without it, by a panic.
    pub(super) fn with(self, outcome: Answer) {
        self.0.state().outcome = outcome;
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        self.0.set_healthy(false);
        let mut state = self.0.state();
        state.stopped = true;
        state.jobs.clear();
        let outcome = state.outcome;
        for closer in state.closers.drain(..) {
            // It may have given up.
            let _ = closer.send(outcome);
        }
    }
}

//! What waits for the ledger's thread.
//!
//! The queue is swapped out as a whole, so that a batch is all that was waiting and costs one lock;
//! and its thread is woken only when it sleeps and someone waits for the answer, because waking a
//! thread costs more than everything else on the way of a request into the ledger.
//!
//! Whoever was answered a moment ago is likely to come back with the next request. So when the first
//! does, the writer gathers the others for a moment ([`Gathering`]): requests of many connections
//! share a sync instead of following each other through one for a few of them. A connection that is
//! alone never waits for others.

use std::collections::HashMap;
use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::batch::{Batch, Job};
use super::error::{Answer, LedgerUnavailable};
use super::next_writer::{NextWriter, NotFollowed};
use crate::ledger::format::encoded::EncodedEntries;

/// Entries that are written without waiting for more, however patient the writer is: a batch should
/// still be in the processor's cache when it is hashed and copied, and should not keep the writer on
/// a core for so long that requests there wait.
pub(super) const ENOUGH: usize = 1024;

/// How long the writer waits for more lines once a caller waits.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Gathering {
    /// As long as others keep coming within this time of each other,
    pub(super) pause: Duration,
    /// but no longer than this.
    pub(super) most: Duration,
}

impl Gathering {
    /// The longest pause: on a slow disk everyone is there long before the next sync would be.
    const PAUSE: Duration = Duration::from_millis(1);

    /// Beside a sync that took so long: to wait as long as it takes at most doubles what it costs,
    /// as going too early would.
    pub(super) fn beside(sync: Duration) -> Self {
        Self {
            pause: (sync / 2).min(Self::PAUSE),
            most: sync,
        }
    }
}

/// Between the callers and the thread. Its lock is held for a push or a swap, never across a write.
pub(super) struct Queue {
    state: Mutex<State>,
    ready: Condvar,
    healthy: AtomicBool,
    /// No writer is there: the last one has given way, and the next one does not write yet.
    is_between: AtomicBool,
    /// Entries that may wait.
    limit: usize,
}

/// The writer that comes next, and who is told when it writes.
pub(super) struct Next {
    pub(super) writer: Box<dyn NextWriter>,
    pub(super) told: oneshot::Sender<Result<(), NotFollowed>>,
}

struct State {
    waiting: Batch,
    /// Entries that the writer could not write and keeps.
    backlog: usize,
    /// Entries that the writer is at.
    taken: usize,
    /// When the oldest entry that the writer has was queued.
    taken_since: Option<Instant>,
    /// How many of them someone waits for.
    taken_waiters: usize,
    /// Who waited when the writer was last done, for its answer or for the next.
    company: usize,
    /// How many of the waiting entries are of each principal's requests.
    shares: HashMap<u64, usize>,
    /// What the writer sleeps for.
    wakes: Wakes,
    closing: bool,
    closers: Vec<oneshot::Sender<Answer>>,
    /// Who writes the ledger from now on, and who waits until it does.
    next: Option<Next>,
    stopped: bool,
    /// How it ended, once it has stopped.
    outcome: Answer,
}

impl Queue {
    pub(super) fn new(limit: usize) -> Self {
        let state = State {
            waiting: Batch::default(),
            backlog: 0,
            taken: 0,
            taken_since: None,
            taken_waiters: 0,
            company: 0,
            shares: HashMap::new(),
            wakes: Wakes::Nothing,
            closing: false,
            closers: Vec::new(),
            next: None,
            stopped: false,
            outcome: Err(LedgerUnavailable::Closed),
        };
        Self {
            state: Mutex::new(state),
            ready: Condvar::new(),
            healthy: AtomicBool::new(true),
            is_between: AtomicBool::new(false),
            limit: limit.max(1),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change of the state is complete before anything can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a job, or refuses it at once. A job that no caller waits for is the result of a request
    /// that was let through: it finds as much room again as there is for new requests.
    ///
    /// The requests of one principal may take as much of the room as they leave free: one alone half
    /// of it, two a third each. So there is room for the next one, whoever floods the queue.
    pub(super) fn push(&self, job: Job, lines: &EncodedEntries, room: Room) -> Answer {
        let mut state = self.state();
        if state.closing || state.stopped {
            return Err(LedgerUnavailable::Closed);
        }
        let limit = match room {
            Room::Requests => self.limit,
            Room::Results => self.limit.saturating_mul(2),
        };
        let waiting = state.waiting.entries() + state.backlog;
        // A single large job must not be refused for ever.
        if waiting > 0 && waiting + lines.len() > limit {
            return Err(LedgerUnavailable::QueueFull);
        }
        if let (Room::Requests, Some(requester)) = (room, lines.requester()) {
            let own = state.shares.entry(requester).or_default();
            if *own > 0 && *own + lines.len() > limit.saturating_sub(waiting) {
                return Err(LedgerUnavailable::ShareFull);
            }
            *own += lines.len();
        }
        state.waiting.push(job, lines);
        let wakes = match state.wakes {
            Wakes::Nothing => false,
            Wakes::Job => true,
            Wakes::Waiters(wanted) => {
                let waiting = &state.waiting;
                waiting.waiters() >= wanted || waiting.entries() >= self.enough()
            }
        };
        if wakes {
            // Once is enough.
            state.wakes = Wakes::Nothing;
            drop(state);
            self.ready.notify_one();
        }
        Ok(())
    }

    /// Waits until there is something to write and swaps it into `batch`: as soon as someone waits
    /// for it and others were gathered, or there are enough entries, else after `patience`. Also
    /// returns at `duty`, when the writer has something else to do. Returns whether this is the end.
    pub(super) fn take(
        &self,
        batch: &mut Batch,
        patience: Duration,
        duty: Option<Instant>,
        gathering: Gathering,
    ) -> bool {
        let mut state = self.state();
        let mut due = None;
        while state.waiting.waiters() == 0 && !self.has_enough_or_closes(&state) {
            if due.is_none() && (state.backlog > 0 || !state.waiting.is_empty()) {
                due = Instant::now().checked_add(patience);
            }
            let until = [due, duty].into_iter().flatten().min();
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                break;
            }
            // Whoever pushes the first job has to wake a writer that does not wait for one.
            let wakes = match due {
                None => Wakes::Job,
                Some(_) => Wakes::Waiters(1),
            };
            state = self.sleep(state, wakes, left);
        }
        if state.waiting.waiters() > 0 {
            state = self.gather(state, gathering);
        }
        state.taken_since = state.taken_since.or(state.waiting.since());
        state.taken = state.waiting.entries();
        state.taken_waiters = state.waiting.waiters();
        state.shares.clear();
        mem::swap(&mut state.waiting, batch);
        state.closing
    }

    /// Waits until all are there who waited a moment ago, or no more of them come.
    fn gather<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        gathering: Gathering,
    ) -> MutexGuard<'a, State> {
        let begun = Instant::now();
        loop {
            let (there, company) = (state.waiting.waiters(), state.company);
            let left = gathering.most.saturating_sub(begun.elapsed());
            if there >= company || left.is_zero() || self.has_enough_or_closes(&state) {
                return state;
            }
            let pause = gathering.pause.min(left);
            state = self.sleep(state, Wakes::Waiters(company), Some(pause));
            if state.waiting.waiters() == there {
                return state;
            }
        }
    }

    /// Sleeps until it is woken, or for as long as this. May also wake for no reason.
    fn sleep<'a>(
        &self,
        mut state: MutexGuard<'a, State>,
        wakes: Wakes,
        left: Option<Duration>,
    ) -> MutexGuard<'a, State> {
        state.wakes = wakes;
        let mut state = match left {
            None => self
                .ready
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner),
            Some(left) => {
                let waited = self.ready.wait_timeout(state, left);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
        };
        state.wakes = Wakes::Nothing;
        state
    }

    fn has_enough_or_closes(&self, state: &State) -> bool {
        state.closing || state.next.is_some() || state.waiting.entries() >= self.enough()
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

    /// Has the writer give way to the next one. Jobs are taken as before.
    pub(super) fn give_way(&self, next: Next) {
        let mut state = self.state();
        if state.stopped || state.closing {
            // Who waits hears of it by the end of the channel.
            return;
        }
        state.next = Some(next);
        self.is_between.store(true, Ordering::Release);
        drop(state);
        self.ready.notify_one();
    }

    /// Who is to write from now on, if the writer has to give way.
    pub(super) fn next(&self) -> Option<Next> {
        self.state().next.take()
    }

    /// The next writer writes, or never will.
    pub(super) fn passed_on(&self) {
        self.is_between.store(false, Ordering::Release);
    }

    /// Whether no writer is there at this moment.
    pub(super) fn is_between_writers(&self) -> bool {
        self.is_between.load(Ordering::Acquire)
    }

    /// The writer is done with what it took, and about to answer. Tells how many entries it keeps
    /// because they could not be written, and since when.
    pub(super) fn done(&self, entries: usize, since: Option<Instant>) {
        let mut state = self.state();
        state.company = mem::take(&mut state.taken_waiters) + state.waiting.waiters();
        state.backlog = entries;
        state.taken = 0;
        state.taken_since = since;
    }

    /// How many entries are not durable, and how long the oldest of them has been waiting.
    pub(super) fn load(&self) -> (usize, Duration) {
        let state = self.state();
        let oldest = state.taken_since.or(state.waiting.since());
        let entries = state.waiting.entries() + state.taken + state.backlog;
        (entries, oldest.map(|at| at.elapsed()).unwrap_or_default())
    }

    /// Whether the last write succeeded.
    pub(super) fn is_healthy(&self) -> bool {
        self.healthy.load(Ordering::Relaxed)
    }

    /// Whether the writer has ended although nobody closed it: only another process writes again.
    pub(super) fn has_died(&self) -> bool {
        let state = self.state();
        state.stopped && !state.closing
    }

    /// Returns whether that is news.
    pub(super) fn set_healthy(&self, healthy: bool) -> bool {
        self.healthy.swap(healthy, Ordering::Relaxed) != healthy
    }

    /// Entries that the writer has not taken yet.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.state().waiting.entries()
    }

    /// So many entries are written without waiting for more.
    fn enough(&self) -> usize {
        self.limit.div_ceil(2).min(ENOUGH)
    }
}

/// What wakes the writer, beside the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wakes {
    /// It is awake, or about to be.
    Nothing,
    /// Any job.
    Job,
    /// So many who wait, or enough entries.
    Waiters(usize),
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
        self.0.passed_on();
        let mut state = self.0.state();
        state.next = None;
        state.stopped = true;
        state.waiting.clear();
        let outcome = state.outcome;
        for closer in state.closers.drain(..) {
            // It may have given up.
            let _ = closer.send(outcome);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::ledger::format::entry::Entry;
    use crate::ledger::writer::waiter::Waiter;

    /// Longer than any test may take.
    const LONG: Duration = Duration::from_secs(600);

    fn push(queue: &Queue) -> oneshot::Receiver<Answer> {
        let (waiter, answer) = Waiter::new();
        let job = Job::new(Some(waiter));
        let lines = Entry::new("x").encode();
        queue.push(job, &lines, Room::Requests).unwrap();
        answer
    }

    /// How many entries the writer takes next.
    fn taken(queue: &Queue, gathering: Gathering) -> usize {
        let mut batch = Batch::default();
        queue.take(&mut batch, LONG, None, gathering);
        queue.done(0, None);
        batch.entries()
    }

    #[test]
    fn those_who_were_answered_are_waited_for_and_nobody_else() {
        let queue = Queue::new(1000);
        let patient = Gathering {
            pause: LONG,
            most: LONG,
        };
        let _first = [push(&queue), push(&queue), push(&queue)];
        assert_eq!(taken(&queue, patient), 3, "all who are there");
        thread::scope(|scope| {
            let writer = scope.spawn(|| taken(&queue, patient));
            let _back: Vec<_> = (0..3).map(|_| push(&queue)).collect();
            assert_eq!(writer.join().unwrap(), 3);
        });
    }

    #[test]
    fn no_principal_takes_the_room_of_others() {
        let queue = Queue::new(90);
        let push = |principal: &'static str| {
            let entry = Entry {
                request: Some("r".into()),
                principal: Some(principal.into()),
                ..Entry::new("use")
            };
            queue.push(Job::new(None), &entry.encode(), Room::Requests)
        };
        let fill = |principal| {
            let taken = (0..).find(|_| push(principal).is_err());
            assert_eq!(push(principal), Err(LedgerUnavailable::ShareFull));
            taken.unwrap()
        };
        assert_eq!(fill("alice"), 45);
        assert_eq!(fill("bob"), 23);
        assert_eq!(fill("carol"), 11);
        assert_eq!(push("dave"), Ok(()));
        // Lines about no request have all the room that is left.
        let entry = Entry::new("x").encode();
        queue.push(Job::new(None), &entry, Room::Requests).unwrap();
        // What the writer took is nobody's share any more.
        let mut batch = Batch::default();
        queue.take(&mut batch, Duration::ZERO, None, Gathering::default());
        assert_eq!(push("alice"), Ok(()));
    }

    #[test]
    fn a_writer_that_panics_is_told_from_one_that_was_closed() {
        for (closes, died) in [(false, true), (true, false)] {
            let queue = Arc::new(Queue::new(8));
            assert!(!queue.has_died());
            if closes {
                queue.close(None);
            }
            drop(Stopped(Arc::clone(&queue)));
            assert_eq!(queue.has_died(), died);
        }
    }

    #[test]
    fn one_who_is_alone_does_not_wait_for_company() {
        let queue = Queue::new(1000);
        let patient = Gathering {
            pause: LONG,
            most: LONG,
        };
        for _ in 0..3 {
            let _alone = push(&queue);
            assert_eq!(taken(&queue, patient), 1);
        }
    }

    #[test]
    fn company_that_does_not_come_is_not_waited_for_long() {
        let queue = Queue::new(1000);
        let _first = [push(&queue), push(&queue)];
        let hasty = Gathering::beside(Duration::from_micros(10));
        assert_eq!(taken(&queue, hasty), 2);
        let _alone = push(&queue);
        assert_eq!(taken(&queue, hasty), 1);
    }

    #[test]
    fn a_queue_that_fills_up_or_closes_ends_the_gathering() {
        let patient = Gathering {
            pause: LONG,
            most: LONG,
        };
        for closes in [false, true] {
            let queue = Queue::new(8);
            let _first: Vec<_> = (0..8).map(|_| push(&queue)).collect();
            assert_eq!(taken(&queue, patient), 8);
            thread::scope(|scope| {
                let writer = scope.spawn(|| taken(&queue, patient));
                let _back: Vec<_> = (0..if closes { 1 } else { 4 })
                    .map(|_| push(&queue))
                    .collect();
                if closes {
                    assert_eq!(queue.close(None), None);
                }
                assert!(writer.join().unwrap() <= 4);
            });
        }
    }
}

//! Lines that wait for the ledger's thread, and who waits for them.
//!
//! A request's lines are copied to those of the others, instead of being handed over: memory that
//! one thread takes and another gives back goes through locks of the allocator, and through the
//! caches of two cores, which costs more than to copy a kilobyte. So each worker gives back what it
//! took, and the writer reads one piece of text from its beginning to its end.

use std::mem;
use std::time::Instant;

use super::waiter::Waiter;
use crate::clock;
use crate::ledger::format::checkpoint::Cause;
use crate::ledger::format::encoded::EncodedEntries;
use crate::ledger::format::encoded::EncodedLines;
use crate::ledger::format::timestamp::Timestamp;

/// The time by the clock of the machine.
pub(super) fn now() -> Timestamp {
    Timestamp::from_unix_micros(clock::unix_micros())
}

/// What one caller handed over, beside its lines.
pub(super) struct Job {
    pub(super) time: Timestamp,
    pub(super) queued: Instant,
    pub(super) waiter: Option<Waiter>,
    /// A checkpoint that is owed once the lines are durable.
    pub(super) checkpoint: Option<Cause>,
    /// Its lines, and their bytes in the batch.
    entries: usize,
    bytes: usize,
}

impl Job {
    pub(super) fn new(waiter: Option<Waiter>) -> Self {
        Self {
            time: now(),
            queued: Instant::now(),
            waiter,
            checkpoint: None,
            entries: 0,
            bytes: 0,
        }
    }

    /// With a checkpoint for this cause after it.
    pub(super) fn with_checkpoint(self, cause: Cause) -> Self {
        Self {
            checkpoint: Some(cause),
            ..self
        }
    }

    /// Whether its caller has given up, and with it the request.
    fn is_abandoned(&self) -> bool {
        self.waiter.as_ref().is_some_and(Waiter::is_gone)
    }
}

/// Jobs with their lines, in order.
#[derive(Default)]
pub(super) struct Batch {
    jobs: Vec<Job>,
    text: Vec<u8>,
    entries: usize,
    waiters: usize,
}

/// As much room is kept for the next lines, in bytes and in jobs, when one large batch took more.
const KEPT_TEXT: usize = 1024 * 1024;
const KEPT_JOBS: usize = 1024;

impl Batch {
    /// Adds a job with its lines.
    pub(super) fn push(&mut self, job: Job, lines: &EncodedEntries) {
        self.text.extend_from_slice(lines.text());
        self.entries += lines.len();
        self.waiters += usize::from(job.waiter.is_some());
        self.jobs.push(Job {
            entries: lines.len(),
            bytes: lines.text().len(),
            ..job
        });
    }

    /// Moves what another has after what is here.
    pub(super) fn append(&mut self, other: &mut Self) {
        if self.jobs.is_empty() {
            mem::swap(self, other);
            return;
        }
        self.text.extend_from_slice(&other.text);
        self.jobs.append(&mut other.jobs);
        self.entries += other.entries;
        self.waiters += other.waiters;
        other.clear();
    }

    /// How many lines there are.
    pub(super) fn entries(&self) -> usize {
        self.entries
    }

    /// How many jobs somebody waits for.
    pub(super) fn waiters(&self) -> usize {
        self.waiters
    }

    /// Whether there is nothing to write.
    pub(super) fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    /// When the first was handed over.
    pub(super) fn since(&self) -> Option<Instant> {
        Some(self.jobs.first()?.queued)
    }

    /// Each job with its lines.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Job, EncodedLines<'_>)> {
        let mut rest = &self.text[..];
        self.jobs.iter().map(move |job| {
            let (text, behind) = rest.split_at(job.bytes);
            rest = behind;
            (job, EncodedLines::of(text))
        })
    }

    /// The lines of all jobs as one text.
    pub(super) fn text(&self) -> &[u8] {
        &self.text
    }

    /// Drops the lines of those who have given up.
    pub(super) fn drop_abandoned(&mut self) {
        if self.waiters > 0 && self.jobs.iter().any(Job::is_abandoned) {
            self.sift(|job| !job.is_abandoned());
        }
    }

    /// Takes out those who wait, with the time since which each does. Their lines stay.
    pub(super) fn take_waiters(&mut self) -> Vec<(Instant, Waiter)> {
        self.waiters = 0;
        let jobs = self.jobs.iter_mut();
        jobs.filter_map(|job| Some((job.queued, job.waiter.take()?)))
            .collect()
    }

    /// The same, and their lines go with them.
    pub(super) fn refuse_waiters(&mut self) -> Vec<(Instant, Waiter)> {
        let mut waiters = Vec::new();
        self.sift(|job| {
            let waiter = job.waiter.take().map(|waiter| (job.queued, waiter));
            let stays = waiter.is_none();
            waiters.extend(waiter);
            stays
        });
        waiters
    }

    fn sift(&mut self, mut keep: impl FnMut(&mut Job) -> bool) {
        let all = mem::take(self);
        let mut rest = &all.text[..];
        for mut job in all.jobs {
            let (text, behind) = rest.split_at(job.bytes);
            rest = behind;
            if keep(&mut job) {
                self.text.extend_from_slice(text);
                self.entries += job.entries;
                self.waiters += usize::from(job.waiter.is_some());
                self.jobs.push(job);
            }
        }
    }

    /// Empties it. The same memory serves the next.
    pub(super) fn clear(&mut self) {
        self.jobs.clear();
        self.jobs.shrink_to(KEPT_JOBS);
        self.text.clear();
        self.text.shrink_to(KEPT_TEXT);
        self.entries = 0;
        self.waiters = 0;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ledger::format::entry::Entry;

    fn lines(name: &str, count: usize) -> EncodedEntries {
        let name = name.to_owned();
        vec![Entry::new(name); count].into()
    }

    /// The lines of each job.
    fn texts(batch: &Batch) -> Vec<Vec<u8>> {
        let text = |lines: EncodedLines<'_>| lines.flat_map(|(front, _)| front.to_vec()).collect();
        batch.iter().map(|(_, lines)| text(lines)).collect()
    }

    proptest! {
        #[test]
        fn each_job_keeps_its_lines_whatever_goes(
            jobs in prop::collection::vec((0..4_usize, 0..3_usize), 0..20),
            at in 0..20_usize,
        ) {
            let (mut first, mut second) = (Batch::default(), Batch::default());
            let mut receivers = Vec::new();
            let mut expected = Vec::new();
            for (number, &(count, kind)) in jobs.iter().enumerate() {
                let lines = lines(&format!("e{number}"), count);
                // Nobody waits; somebody does; somebody did.
                let waiter = (kind > 0).then(|| {
                    let (waiter, receiver) = Waiter::new();
                    receivers.extend((kind == 1).then_some(receiver));
                    waiter
                });
                let batch = if number < at { &mut first } else { &mut second };
                batch.push(Job::new(waiter), &lines);
                expected.push((kind, lines));
            }
            first.append(&mut second);
            prop_assert!(second.is_empty() && second.entries() == 0 && second.waiters() == 0);
            let check = |batch: &Batch, expected: &[(usize, EncodedEntries)]| {
                let drafts = || expected.iter().map(|(_, lines)| lines);
                let text = |lines: &EncodedEntries| lines.lines().flat_map(|(front, _)| front.to_vec()).collect();
                assert_eq!(texts(batch), drafts().map(text).collect::<Vec<Vec<u8>>>());
                assert_eq!(batch.entries(), drafts().map(EncodedEntries::len).sum::<usize>());
            };
            check(&first, &expected);
            first.drop_abandoned();
            expected.retain(|(kind, _)| *kind < 2);
            check(&first, &expected);
            prop_assert_eq!(first.waiters(), receivers.len());
            prop_assert_eq!(first.refuse_waiters().len(), receivers.len());
            expected.retain(|(kind, _)| *kind == 0);
            check(&first, &expected);
            prop_assert_eq!(first.waiters(), 0);
            first.clear();
            check(&first, &[]);
        }
    }

    #[test]
    fn lines_of_those_who_were_answered_stay() {
        let mut batch = Batch::default();
        let (waiter, _receiver) = Waiter::new();
        batch.push(Job::new(Some(waiter)), &lines("x", 2));
        assert_eq!(batch.take_waiters().len(), 1);
        assert_eq!((batch.waiters(), batch.entries()), (0, 2));
    }
}

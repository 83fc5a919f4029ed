//! What the writer does between batches, when everyone has been answered: signing and rotating.

use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use memchr::memchr_iter;

use super::{Writer, is_pressing};
use crate::ledger::format::checkpoint::{Cause, Checkpoint};
use crate::ledger::format::timestamp::Timestamp;
use crate::ledger::priority::in_turns;
use crate::ledger::writer::batch::{Batch, now};
use crate::ledger::writer::checkpointer::Checkpointer;
use crate::ledger::writer::sealed_head::{SealedHead, State};
use crate::ledger::writer::storage::Storage;

/// How long after a rotation that failed it is tried again.
const RETRY: Duration = Duration::from_secs(10);

/// How often the head is sealed at most, but for the end: it costs two syncs.
const HEAD_INTERVAL: Duration = Duration::from_secs(10);

const MICROS_A_DAY: i64 = 24 * 60 * 60 * 1_000_000;

impl<S: Storage> Writer<S> {
    /// Takes in what a batch has made durable, which is still in the buffer.
    pub(super) fn take_in(&mut self, batch: &Batch, at: Instant) {
        let Some((first, _)) = batch.iter().next() else {
            return;
        };
        self.end.since.get_or_insert(first.time);
        let size = self.end.chain.next_seq() - 1;
        let before = self.stats.size.swap(size, Relaxed);
        self.stats.lines.fetch_add(size - before, Relaxed);
        self.stats.batches.fetch_add(1, Relaxed);
        let Some(checkpointer) = &mut self.checkpointer else {
            return;
        };
        let lines = in_turns(lines(&self.buffer), !is_pressing(batch));
        checkpointer.take_in(lines, self.end.chain.head(), at);
        let mut seq = before;
        for (job, lines) in batch.iter() {
            for (front, _) in lines {
                seq += 1;
                self.open_requests.see(seq, front);
            }
            if let Some(cause) = job.checkpoint {
                checkpointer.owe(cause);
            }
        }
    }

    /// Does what is due.
    pub(super) fn tend(&mut self) {
        let at = Instant::now();
        if self.is_rotation_due(at) {
            self.rotate(at);
        }
        // What could not be written yet belongs before a checkpoint that says what a start found.
        let is_idle = self.open_requests.is_none() && self.backlog.is_empty();
        let due = |checkpointer: &Checkpointer| checkpointer.due(at, is_idle);
        if let Some(cause) = self.checkpointer.as_ref().and_then(due) {
            self.checkpoint(cause, at);
        }
    }

    /// The last thing before the ledger is closed. The checkpoint says that the end was clean only
    /// if it was: the next start relies on it.
    pub(super) fn tend_last(&mut self) {
        let unwritten = self.backlog.entries();
        if unwritten > 0 {
            tracing::error!(
                entries = unwritten,
                "the ledger was closed before its last entries could be written"
            );
        }
        let is_clean = unwritten == 0 && self.open_requests.is_none();
        let cause = if is_clean {
            Cause::Shutdown
        } else {
            Cause::Time
        };
        if self.checkpointer.is_some() {
            self.head_sealed = None;
            self.checkpoint(cause, Instant::now());
        }
    }

    /// When there is something to do although nothing is to be written.
    pub(super) fn next_duty(&self, at: Instant) -> Option<Instant> {
        let checkpointer = self.checkpointer.as_ref()?;
        let midnight = self.end.since.map(|_| at + until_midnight(now()));
        let rotation = match self.rotate_not_before {
            // Nothing is rotated before lines can be written again.
            _ if self.needs_cut => None,
            Some(retry) if self.end.length >= self.end.max_size => Some(retry),
            Some(retry) => midnight.map(|midnight| midnight.max(retry)),
            None => midnight,
        };
        [checkpointer.next(at), rotation]
            .into_iter()
            .flatten()
            .min()
    }

    /// Signs what is durable. Returns whether the checkpoint is.
    fn checkpoint(&mut self, cause: Cause, at: Instant) -> bool {
        let Some(checkpointer) = &mut self.checkpointer else {
            return false;
        };
        let checkpoint = checkpointer.checkpoint(cause, now());
        let note = checkpoint.sign(checkpointer.signer());
        let note = note.map_err(std::io::Error::other);
        match note.and_then(|note| self.storage.checkpoint(&note)) {
            Ok(()) => {
                let size = checkpointer.written(cause, at);
                self.stats.checkpoints.fetch_add(1, Relaxed);
                self.stats.checkpoint_written(size, checkpoint.time);
                self.seal_head(checkpoint, at);
                true
            }
            Err(error) => {
                self.stats.checkpoint_failures.fetch_add(1, Relaxed);
                if checkpointer.failed(at) {
                    let lines = checkpointer.uncovered();
                    tracing::error!(%error, lines, "a checkpoint could not be written; it is tried again each second");
                }
                false
            }
        }
    }

    /// Seals this checkpoint as the head, unless that was done a moment ago. The head of a clean end
    /// says that nothing follows.
    fn seal_head(&mut self, checkpoint: Checkpoint, at: Instant) {
        let Some(checkpointer) = &self.checkpointer else {
            return;
        };
        let is_end = checkpoint.cause == Cause::Shutdown;
        let is_recent = |sealed: Instant| at.saturating_duration_since(sealed) < HEAD_INTERVAL;
        if !is_end && self.head_sealed.is_some_and(is_recent) {
            return;
        }
        let state = if is_end { State::Closed } else { State::Open };
        let head = SealedHead {
            state,
            key: checkpointer.signer().verifier().clone(),
            checkpoint: Some(checkpoint),
        };
        match self.storage.seal_head(&head) {
            Ok(()) => self.head_sealed = Some(at),
            Err(error) => {
                self.stats.checkpoint_failures.fetch_add(1, Relaxed);
                tracing::error!(%error, "the sealed head of the ledger could not be written; the next checkpoint tries again");
            }
        }
    }

    /// Whether the file is full or its day is over. A clock that went back ends no day.
    fn is_rotation_due(&self, at: Instant) -> bool {
        let is_over = |since: Timestamp| day(now()) > day(since);
        self.rotates
            && !self.needs_cut
            && self.end.length > 0
            && self.rotate_not_before.is_none_or(|retry| at >= retry)
            && (self.end.length >= self.end.max_size || self.end.since.is_some_and(is_over))
    }

    /// A checkpoint comes first: it covers the file when the file is gone.
    fn rotate(&mut self, at: Instant) {
        if !self.checkpoint(Cause::Rotation, at) {
            self.rotation_failed(at);
            return;
        }
        match self.storage.rotate(self.end.first) {
            Ok(()) => {
                self.stats.rotations.fetch_add(1, Relaxed);
                self.end.length = 0;
                self.end.first = self.end.chain.next_seq();
                self.end.since = None;
                self.rotate_not_before = None;
                if let Some(archive) = &self.archive {
                    archive.rotated(self.end.first);
                }
            }
            Err(error) => {
                tracing::error!(%error, "the ledger file could not be rotated; lines go on into it");
                self.rotation_failed(at);
            }
        }
    }

    fn rotation_failed(&mut self, at: Instant) {
        self.stats.rotation_failures.fetch_add(1, Relaxed);
        self.rotate_not_before = Some(at + RETRY);
    }
}

fn day(time: Timestamp) -> i64 {
    time.unix_micros() / MICROS_A_DAY
}

/// From then until the day is over by UTC.
fn until_midnight(time: Timestamp) -> Duration {
    let left = MICROS_A_DAY - time.unix_micros() % MICROS_A_DAY;
    Duration::from_micros(left.unsigned_abs())
}

/// The lines of a text, each of which ends with a line feed, without it.
fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut start = 0;
    memchr_iter(b'\n', text).map(move |end| {
        let line = &text[start..end];
        start = end + 1;
        line
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_over_at_midnight_utc() {
        let time = |text: &str| text.parse::<Timestamp>().unwrap();
        let late = time("2026-11-22T23:59:59.999999Z");
        assert_eq!(until_midnight(late), Duration::from_micros(1));
        let midnight = time("2026-11-23T00:00:00Z");
        assert_eq!(until_midnight(midnight), Duration::from_secs(86_400));
        assert_eq!(day(midnight), day(late) + 1);
    }
}

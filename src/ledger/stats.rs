//! What the ledger counts: plain atomics that its thread adds to and anyone may read.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::format::timestamp::Timestamp;
use crate::measure::{Histogram, Latency};

/// The counters themselves. Each is read alone: nothing is inferred from two of them together.
#[derive(Debug, Default)]
pub(super) struct Stats {
    pub(super) lines: AtomicU64,
    pub(super) batches: AtomicU64,
    pub(super) write_failures: AtomicU64,
    pub(super) commit_latency: Histogram,
    pub(super) size: AtomicU64,
    pub(super) signed: AtomicBool,
    pub(super) checkpoints: AtomicU64,
    pub(super) checkpoint_failures: AtomicU64,
    pub(super) checkpoint_size: AtomicU64,
    pub(super) checkpoint_micros: AtomicU64,
    pub(super) rotations: AtomicU64,
    pub(super) rotation_failures: AtomicU64,
    pub(super) archive_failures: AtomicU64,
    pub(super) dropped_files: AtomicU64,
    /// Whether lines are sent to a collector.
    pub(super) ships: AtomicBool,
    pub(super) shipped: AtomicU64,
    pub(super) ship_failures: AtomicU64,
    pub(super) unstored_files: AtomicU64,
    pub(super) stored_checkpoint: AtomicU64,
    pub(super) store_failures: AtomicU64,
    pub(super) witnessed: AtomicU64,
    pub(super) witness_failures: AtomicU64,
}

/// The state of the ledger at one moment, for metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Lines made durable since the start.
    pub lines: u64,
    /// Batches they were written in, each with one `fdatasync`.
    pub batches: u64,
    /// Batches that could not be written.
    pub write_failures: u64,
    /// From handing over entries to knowing them durable, of those that were waited for.
    pub commit_latency: Latency,
    /// Lines in the ledger, dropped ones included: the `seq` of the last durable one.
    pub size: u64,
    /// Entries waiting for the disk.
    pub queued: u64,
    /// How long the oldest of them has been waiting; zero when none is.
    pub lag: Duration,
    /// Whether the last write succeeded.
    pub healthy: bool,
    /// Whether there is a key to sign checkpoints with.
    pub signed: bool,
    /// Checkpoints written since the start.
    pub checkpoints: u64,
    /// Checkpoints that could not be written; each is tried again.
    pub checkpoint_failures: u64,
    /// The size of the last checkpoint; what [`Snapshot::size`] has more is under none yet.
    pub checkpoint_size: u64,
    /// When it was written; `None` when there is none.
    pub checkpoint_time: Option<Timestamp>,
    /// Files rotated since the start.
    pub rotations: u64,
    /// Rotations that failed; each is tried again, and lines go on into the old file.
    pub rotation_failures: u64,
    /// Rotated files that could not be compressed or dropped; tried again at the next rotation.
    pub archive_failures: u64,
    /// Files dropped since the start.
    pub dropped_files: u64,
    /// Lines that a collector is to have and does not have yet.
    pub unshipped: u64,
    /// Batches that it did not take.
    pub ship_failures: u64,
    /// Rotated files that a bucket is to have and does not have yet.
    pub unstored_files: u64,
    /// Lines under the last checkpoint that was stored there since the start.
    pub stored_checkpoint: u64,
    /// How often it could not be stored there.
    pub store_failures: u64,
    /// Lines under a checkpoint that each witness has cosigned.
    pub witnessed: u64,
    /// Checkpoints that a witness did not cosign.
    pub witness_failures: u64,
}

impl Stats {
    /// The last checkpoint is this one.
    pub(super) fn checkpoint_written(&self, size: u64, time: Timestamp) {
        self.checkpoint_size.store(size, Relaxed);
        let micros = u64::try_from(time.unix_micros()).unwrap_or_default();
        self.checkpoint_micros.store(micros, Relaxed);
    }

    /// The collector has the lines up to this one.
    pub(super) fn shipped(&self, seq: u64) {
        self.shipped.store(seq, Relaxed);
        self.ships.store(true, Relaxed);
    }

    fn unshipped(&self) -> u64 {
        let size = self.size.load(Relaxed);
        if self.ships.load(Relaxed) {
            size.saturating_sub(self.shipped.load(Relaxed))
        } else {
            0
        }
    }

    /// The counters; what is known elsewhere is left at its default.
    pub(super) fn snapshot(&self) -> Snapshot {
        let micros = self.checkpoint_micros.load(Relaxed);
        Snapshot {
            lines: self.lines.load(Relaxed),
            batches: self.batches.load(Relaxed),
            write_failures: self.write_failures.load(Relaxed),
            commit_latency: self.commit_latency.snapshot(),
            size: self.size.load(Relaxed),
            signed: self.signed.load(Relaxed),
            checkpoints: self.checkpoints.load(Relaxed),
            checkpoint_failures: self.checkpoint_failures.load(Relaxed),
            checkpoint_size: self.checkpoint_size.load(Relaxed),
            checkpoint_time: i64::try_from(micros)
                .ok()
                .filter(|&micros| micros > 0)
                .map(Timestamp::from_unix_micros),
            rotations: self.rotations.load(Relaxed),
            rotation_failures: self.rotation_failures.load(Relaxed),
            archive_failures: self.archive_failures.load(Relaxed),
            dropped_files: self.dropped_files.load(Relaxed),
            unshipped: self.unshipped(),
            ship_failures: self.ship_failures.load(Relaxed),
            unstored_files: self.unstored_files.load(Relaxed),
            stored_checkpoint: self.stored_checkpoint.load(Relaxed),
            store_failures: self.store_failures.load(Relaxed),
            witnessed: self.witnessed.load(Relaxed),
            witness_failures: self.witness_failures.load(Relaxed),
            ..Snapshot::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ledger_without_a_checkpoint_has_no_time_of_one() {
        let stats = Stats::default();
        assert_eq!(stats.snapshot(), Snapshot::default());
        let time = Timestamp::from_unix_micros(7);
        stats.checkpoint_written(3, time);
        let snapshot = stats.snapshot();
        assert_eq!(
            (snapshot.checkpoint_size, snapshot.checkpoint_time),
            (3, Some(time))
        );
    }
}

//! What the ledger counts.

use super::page::{Page, micros_as_seconds};
use crate::ledger::Snapshot;

/// A number that the ledger keeps.
struct LedgerMetric {
    /// Its name after `egret_ledger_`.
    name: &'static str,
    help: &'static str,
    value: fn(&Snapshot) -> u64,
}

const fn metric(
    name: &'static str,
    help: &'static str,
    value: fn(&Snapshot) -> u64,
) -> LedgerMetric {
    LedgerMetric { name, help, value }
}

/// Numbers that only grow.
const LEDGER_COUNTERS: &[LedgerMetric] = &[
    metric("lines_total", "Lines made durable.", |stats| stats.lines),
    metric(
        "batches_total",
        "Batches of lines, each made durable at once.",
        |stats| stats.batches,
    ),
    metric(
        "write_failures_total",
        "Batches that could not be written.",
        |stats| stats.write_failures,
    ),
    metric(
        "checkpoints_total",
        "Signed checkpoints written.",
        |stats| stats.checkpoints,
    ),
    metric(
        "checkpoint_failures_total",
        "Checkpoints that could not be written.",
        |stats| stats.checkpoint_failures,
    ),
    metric("rotations_total", "Files rotated.", |stats| stats.rotations),
    metric(
        "rotation_failures_total",
        "Rotations that failed.",
        |stats| stats.rotation_failures,
    ),
    metric(
        "archive_failures_total",
        "Rotated files not compressed or dropped.",
        |stats| stats.archive_failures,
    ),
    metric(
        "dropped_files_total",
        "Files dropped by retention.",
        |stats| stats.dropped_files,
    ),
    metric(
        "ship_failures_total",
        "Batches of lines that the collector did not take.",
        |stats| stats.ship_failures,
    ),
    metric(
        "s3_failures_total",
        "Failed attempts to store files or checkpoints in the bucket.",
        |stats| stats.store_failures,
    ),
    metric(
        "witness_failures_total",
        "Checkpoints that a witness did not cosign.",
        |stats| stats.witness_failures,
    ),
];

/// Numbers that grow and shrink.
const LEDGER_GAUGES: &[LedgerMetric] = &[
    metric(
        "size_lines",
        "Lines in the ledger: the seq of the last one.",
        |stats| stats.size,
    ),
    metric("queued_entries", "Entries waiting for the disk.", |stats| {
        stats.queued
    }),
    metric(
        "checkpoint_size_lines",
        "Lines under the last checkpoint.",
        |stats| stats.checkpoint_size,
    ),
    metric(
        "unshipped_lines",
        "Lines that the collector is to have and does not have yet.",
        |stats| stats.unshipped,
    ),
    metric(
        "s3_waiting_files",
        "Rotated files that the bucket is to have and does not have yet.",
        |stats| stats.unstored_files,
    ),
    metric(
        "s3_checkpoint_size_lines",
        "Lines under the last checkpoint stored in the bucket since the start.",
        |stats| stats.stored_checkpoint,
    ),
    metric(
        "witnessed_size_lines",
        "Lines under a checkpoint that each witness has cosigned.",
        |stats| stats.witnessed,
    ),
    metric("healthy", "Whether the last write succeeded.", |stats| {
        stats.healthy.into()
    }),
    metric("signed", "Whether checkpoints are signed.", |stats| {
        stats.signed.into()
    }),
];

/// The ledger's part.
pub(super) fn write(page: &mut Page, stats: &Snapshot) {
    for LedgerMetric { name, help, value } in LEDGER_COUNTERS {
        page.counter(&format!("egret_ledger_{name}"), help, value(stats));
    }
    for LedgerMetric { name, help, value } in LEDGER_GAUGES {
        page.gauge(&format!("egret_ledger_{name}"), help, value(stats));
    }
    page.gauge(
        "egret_ledger_lag_seconds",
        "How long the oldest waiting entry has been waiting.",
        stats.lag.as_secs_f64(),
    );
    if let Some(time) = stats.checkpoint_time {
        page.gauge(
            "egret_ledger_checkpoint_timestamp_seconds",
            "When the last checkpoint was written, in seconds since 1970.",
            micros_as_seconds(time.unix_micros()),
        );
    }
    let name = "egret_ledger_commit_seconds";
    let help = "From handing over entries to knowing them durable.";
    page.family(name, "histogram", help);
    page.histogram(name, &[], &stats.commit_latency);
}

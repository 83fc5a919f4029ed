//! `/metrics`: numbers, in the text format of Prometheus
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/>).
//!
//! The only labels are codes and buckets, of which there are as many as the program text has. What
//! clients name (slugs, actions, hosts) would make series without end, and tell whoever scrapes
//! more than numbers.

use std::fmt::{Display, Write as _};

use super::state::AdminState;
use crate::ledger::Snapshot;
use crate::ledger::stats::LATENCY_BOUNDS;

/// The content type of the format.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

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
    metric("healthy", "Whether the last write succeeded.", |stats| {
        stats.healthy.into()
    }),
    metric("signed", "Whether checkpoints are signed.", |stats| {
        stats.signed.into()
    }),
];

/// All metrics as text.
pub(super) fn render(state: &AdminState) -> String {
    let mut page = Page::default();
    page.requests(state);
    page.ledger(&state.ledger.stats());
    page.0
}

#[derive(Default)]
struct Page(String);

impl Page {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a string does not fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, value: impl Display) {
        let _ = writeln!(self.0, "{name} {value}");
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.family(name, "counter", help);
        self.sample(name, value);
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, "gauge", help);
        self.sample(name, value);
    }

    fn requests(&mut self, state: &AdminState) {
        let counters = &state.counters;
        let name = "egret_requests_total";
        self.family(
            name,
            "counter",
            "Requests answered, by how: forwarded, tunnel, or the code.",
        );
        let mut sample = |how: &str, count| {
            self.sample(&format!("{name}{{outcome=\"{how}\"}}"), count);
        };
        sample("forwarded", counters.forwarded());
        sample("tunnel", counters.tunnels());
        for (code, count) in counters.refused() {
            sample(code.as_str(), count);
        }
        self.gauge(
            "egret_connections",
            "Connections and tunnels that are open.",
            state.connections.len(),
        );
        self.gauge(
            "egret_draining",
            "Whether the server is shutting down.",
            u8::from(state.draining.is_cancelled()),
        );
    }

    fn ledger(&mut self, stats: &Snapshot) {
        for LedgerMetric { name, help, value } in LEDGER_COUNTERS {
            self.counter(&format!("egret_ledger_{name}"), help, value(stats));
        }
        for LedgerMetric { name, help, value } in LEDGER_GAUGES {
            self.gauge(&format!("egret_ledger_{name}"), help, value(stats));
        }
        self.gauge(
            "egret_ledger_lag_seconds",
            "How long the oldest waiting entry has been waiting.",
            stats.lag.as_secs_f64(),
        );
        if let Some(time) = stats.checkpoint_time {
            self.gauge(
                "egret_ledger_checkpoint_timestamp_seconds",
                "When the last checkpoint was written, in seconds since 1970.",
                micros_as_seconds(time.unix_micros()),
            );
        }
        self.latency(stats);
    }

    fn latency(&mut self, stats: &Snapshot) {
        let name = "egret_ledger_commit_seconds";
        self.family(
            name,
            "histogram",
            "From handing over entries to knowing them durable.",
        );
        let mut sum = 0;
        let latency = &stats.commit_latency;
        let bounds = LATENCY_BOUNDS.iter();
        let bounds = bounds
            .map(|&bound| micros_as_seconds(i64::try_from(bound).unwrap_or(i64::MAX)).to_string());
        for (bound, count) in bounds.chain(["+Inf".to_owned()]).zip(latency.buckets) {
            sum += count;
            self.sample(&format!("{name}_bucket{{le=\"{bound}\"}}"), sum);
        }
        self.sample(&format!("{name}_sum"), latency.sum.as_secs_f64());
        self.sample(&format!("{name}_count"), latency.count());
    }
}

#[allow(clippy::cast_precision_loss)] // Exact up to the year 2255.
fn micros_as_seconds(micros: i64) -> f64 {
    micros as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_summed_up_and_end_with_all() {
        let mut stats = Snapshot::default();
        stats.commit_latency.buckets[0] = 2;
        stats.commit_latency.buckets[1] = 3;
        stats.commit_latency.buckets[LATENCY_BOUNDS.len()] = 4;
        let mut page = Page::default();
        page.latency(&stats);
        let lines: Vec<&str> = page.0.lines().collect();
        assert_eq!(lines[1], "# TYPE egret_ledger_commit_seconds histogram");
        assert_eq!(
            lines[2],
            "egret_ledger_commit_seconds_bucket{le=\"0.00005\"} 2"
        );
        assert_eq!(
            lines[3],
            "egret_ledger_commit_seconds_bucket{le=\"0.0001\"} 5"
        );
        assert_eq!(lines[17], "egret_ledger_commit_seconds_bucket{le=\"5\"} 5");
        assert_eq!(
            lines[18],
            "egret_ledger_commit_seconds_bucket{le=\"+Inf\"} 9"
        );
        assert_eq!(lines[20], "egret_ledger_commit_seconds_count 9");
    }

    #[test]
    fn every_family_is_announced_once_before_its_samples() {
        let mut page = Page::default();
        page.ledger(&Snapshot::default());
        let mut announced = Vec::new();
        for line in page.0.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let name = rest.split(' ').next().unwrap();
                assert!(!announced.contains(&name), "{name}");
                announced.push(name);
            } else if !line.starts_with('#') {
                let family = announced.last().unwrap();
                assert!(line.starts_with(family), "{line}");
                assert!(
                    line.split(' ').nth(1).unwrap().parse::<f64>().is_ok(),
                    "{line}"
                );
            }
        }
    }
}

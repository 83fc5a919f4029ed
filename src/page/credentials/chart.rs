//! Uses and refusals over time, as bars.

use super::filter::Wanted;
use crate::ledger::Timestamp;
use crate::ledger::usage::HourOfUse;
use crate::page::text;
use crate::page::when::When;

const HOUR: i64 = 3600;
/// Up to this long, a bar is an hour; then six of them, a day, or a week.
const STEPS: [(i64, i64); 3] = [
    (3 * 24 * HOUR, HOUR),
    (12 * 24 * HOUR, 6 * HOUR),
    (100 * 24 * HOUR, 24 * HOUR),
];
const LONGEST_STEP: i64 = 7 * 24 * HOUR;
/// Most bars; what is older is not drawn.
const MOST: i64 = 120;

/// The drawing's size in units of its own.
const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 96.0;

/// The chart.
pub(super) struct Chart {
    pub(super) bars: Vec<Bar>,
    /// What it shows, in a sentence.
    pub(super) summary: String,
    pub(super) uses: String,
    pub(super) refused: String,
    /// The first and the last day.
    pub(super) from: String,
    pub(super) to: String,
    pub(super) is_empty: bool,
}

/// One bar, in the units of the drawing.
pub(super) struct Bar {
    pub(super) x: String,
    pub(super) width: String,
    pub(super) used: Part,
    pub(super) refused: Part,
    pub(super) label: String,
    pub(super) query: String,
    pub(super) since: String,
    pub(super) until: String,
}

/// A part of a bar.
pub(super) struct Part {
    pub(super) y: String,
    pub(super) height: String,
}

#[derive(Clone, Copy, Default)]
struct Sum {
    uses: u64,
    refused: u64,
}

impl Chart {
    pub(super) fn new(
        hours: &[HourOfUse],
        (since, until): (Timestamp, Timestamp),
        asked: &Wanted,
    ) -> Self {
        let seconds = |time: Timestamp| time.unix_micros().div_euclid(1_000_000);
        let (since, until) = (seconds(since), seconds(until));
        let step = STEPS.iter().find(|(longest, _)| until - since <= *longest);
        let step = step.map_or(LONGEST_STEP, |(_, step)| *step);
        let last = (until - 1).div_euclid(step);
        let first = since.div_euclid(step).max(last - MOST + 1);
        let mut sums = vec![Sum::default(); usize::try_from(last - first + 1).unwrap_or(1)];
        for hour in hours {
            let at = seconds(hour.start).div_euclid(step) - first;
            if let Some(sum) = usize::try_from(at).ok().and_then(|at| sums.get_mut(at)) {
                sum.uses += hour.uses;
                sum.refused += hour.refused;
            }
        }
        let highest = sums.iter().map(|sum| sum.uses + sum.refused).max();
        let highest = highest.unwrap_or_default();
        let bars = sums.iter().zip(first..);
        let bars = bars.map(|(sum, at)| Bar::new(*sum, highest, at, (first, last), step, asked));
        let bars = bars.collect();
        let total = |of: fn(&Sum) -> u64| sums.iter().map(of).sum::<u64>();
        let uses = text::count(total(|sum| sum.uses), "use", "uses");
        let refused = text::count(total(|sum| sum.refused), "refusal", "refusals");
        let (from, to) = (When::at(first * step).date(), When::at(until - 1).date());
        Self {
            summary: format!("{uses} and {refused} from {from} to {to}"),
            bars,
            uses,
            refused,
            from,
            to,
            is_empty: highest == 0,
        }
    }
}

impl Bar {
    fn new(
        sum: Sum,
        highest: u64,
        at: i64,
        (first, last): (i64, i64),
        step: i64,
        asked: &Wanted,
    ) -> Self {
        #[allow(clippy::cast_precision_loss)] // For a drawing.
        let slot = WIDTH / (last - first + 1) as f64;
        #[allow(clippy::cast_precision_loss)]
        let height = |lines: u64| match lines {
            0 => 0.0,
            lines => (lines as f64 / highest.max(1) as f64 * HEIGHT).max(2.0),
        };
        let (used, refused) = (height(sum.uses), height(sum.refused));
        #[allow(clippy::cast_precision_loss)]
        let x = slot * (at - first) as f64;
        let (start, end) = (When::at(at * step), When::at((at + 1) * step));
        let (since, until) = (start.iso(), end.iso());
        let span = match step {
            HOUR => start.utc(),
            _ => format!("{} – {}", start.utc(), end.utc()),
        };
        let uses = text::count(sum.uses, "use", "uses");
        let refusals = text::count(sum.refused, "refusal", "refusals");
        let part = |top: f64, height: f64| Part {
            y: format!("{:.1}", (HEIGHT - top).max(0.0)),
            height: format!("{:.1}", height.min(HEIGHT)),
        };
        Self {
            x: format!("{x:.1}"),
            width: format!("{:.1}", (slot - 2.0).max(1.0)),
            used: part(used, used),
            refused: part(used + refused, refused),
            label: format!("{span}: {uses}, {refusals}"),
            query: asked.query(&since, &until, ""),
            since,
            until,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::fields::Fields;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix_micros(seconds * 1_000_000)
    }

    #[test]
    fn each_hour_is_in_the_bar_of_its_time() {
        let hour = |start: i64, uses, refused| HourOfUse {
            start: at(start),
            uses,
            refused,
        };
        let hours = [hour(0, 1, 0), hour(HOUR, 2, 1), hour(9 * HOUR, 4, 0)];
        let asked = Wanted::of(&Fields::parse(b""));
        let chart = Chart::new(&hours, (at(0), at(10 * HOUR)), &asked);
        assert_eq!(chart.bars.len(), 10);
        assert_eq!(chart.bars[9].used.height, "96.0");
        assert_eq!(
            chart.bars[1].label,
            "1970-01-01 01:00:00 UTC: 2 uses, 1 refusal"
        );
        assert_eq!((&*chart.uses, &*chart.refused), ("7 uses", "1 refusal"));
        assert!(!chart.is_empty);
    }

    #[test]
    fn a_long_time_has_few_bars() {
        let asked = Wanted::of(&Fields::parse(b""));
        for days in [1, 5, 30, 90, 400, 40_000] {
            let chart = Chart::new(&[], (at(0), at(days * 24 * HOUR)), &asked);
            assert!(chart.bars.len() <= 120, "{days}: {}", chart.bars.len());
            assert!(chart.is_empty);
        }
    }
}

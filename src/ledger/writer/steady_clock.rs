//! The time by which files grow old.
//!
//! A clock that is a year ahead for some seconds must not drop a year of the record. So the clock of
//! the machine counts only when it has been steady for a while. Until then, time goes on from the
//! last checkpoint of the run before.

use std::time::{Duration, Instant, SystemTime};

/// How long the clock must have been steady.
const STEADY: Duration = Duration::from_secs(3600);
/// What a steady clock may differ by between two readings: NTP corrects by less.
const TOLERANCE: Duration = Duration::from_secs(60);

/// A clock that is believed when it has been steady.
pub(super) struct SteadyClock {
    /// The time that counts.
    trusted: SystemTime,
    /// The last reading of both clocks.
    wall: SystemTime,
    at: Instant,
    steady_since: Instant,
}

impl SteadyClock {
    /// A clock that goes on from the last time that was signed, if there is one.
    pub(super) fn new(last_signed: Option<SystemTime>, wall: SystemTime, at: Instant) -> Self {
        Self {
            trusted: last_signed.unwrap_or(SystemTime::UNIX_EPOCH),
            wall,
            at,
            steady_since: at,
        }
    }

    /// The time that counts, when the clocks show this. Never later than the clock of the machine.
    pub(super) fn read(&mut self, wall: SystemTime, at: Instant) -> SystemTime {
        let passed = at.saturating_duration_since(self.at);
        let shown = wall.duration_since(self.wall);
        let (ahead, behind) = match shown {
            Ok(shown) => (shown.saturating_sub(passed), passed.saturating_sub(shown)),
            Err(back) => (Duration::ZERO, back.duration().saturating_add(passed)),
        };
        if ahead.max(behind) > TOLERANCE {
            tracing::warn!(
                ?ahead,
                ?behind,
                "the clock was set; no file of the ledger is dropped by its age until the clock has been steady for an hour"
            );
            self.steady_since = at;
        }
        self.trusted += passed;
        if at.saturating_duration_since(self.steady_since) >= STEADY {
            self.trusted = wall;
        }
        (self.wall, self.at) = (wall, at);
        self.trusted.min(wall)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);
    const DAY: Duration = Duration::from_secs(86_400);

    #[test]
    fn a_clock_a_year_ahead_for_a_moment_counts_for_nothing() {
        let (wall, at) = (SystemTime::UNIX_EPOCH + 20_000 * DAY, Instant::now());
        let mut clock = SteadyClock::new(Some(wall - MINUTE), wall, at);
        let mut shown = wall;
        for minute in 1..600 {
            let (wall, at) = (wall + minute * MINUTE, at + minute * MINUTE);
            let is_wrong = minute % 50 == 0;
            shown = clock.read(if is_wrong { wall + 365 * DAY } else { wall }, at);
            assert!(shown <= wall, "{minute}");
            assert!(shown + 2 * MINUTE >= wall, "{minute}");
        }
        assert!(shown > wall);
    }

    #[test]
    fn a_start_under_a_wrong_clock_goes_on_from_what_was_signed() {
        let (signed, at) = (SystemTime::UNIX_EPOCH + 20_000 * DAY, Instant::now());
        let mut clock = SteadyClock::new(Some(signed), signed + 365 * DAY, at);
        let at = at + MINUTE;
        assert_eq!(clock.read(signed + 365 * DAY + MINUTE, at), signed + MINUTE);
        // A clock that is slow is never later than it shows.
        assert_eq!(clock.read(signed - DAY, at), signed - DAY);
    }

    #[test]
    fn a_clock_that_stays_is_believed() {
        let (wall, at) = (SystemTime::UNIX_EPOCH + 20_000 * DAY, Instant::now());
        let mut clock = SteadyClock::new(None, wall, at);
        assert!(clock.read(wall + 59 * MINUTE, at + 59 * MINUTE) < wall);
        let later = wall + 61 * MINUTE;
        assert_eq!(clock.read(later, at + 61 * MINUTE), later);
    }
}

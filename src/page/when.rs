//! Points in time on a page: how long ago, with UTC on hover, and the reader's own time by script.

use std::fmt;

use time::OffsetDateTime;

use crate::clock;
use crate::ledger::Timestamp;

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// A point in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct When {
    unix: i64,
    now: i64,
}

impl When {
    /// Unix seconds.
    pub(super) fn at(unix: i64) -> Self {
        Self {
            unix,
            now: clock::unix_seconds(),
        }
    }

    /// A time of the ledger.
    pub(super) fn of(time: Timestamp) -> Self {
        Self::at(time.unix_micros().div_euclid(1_000_000))
    }

    fn date_time(self) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(self.unix).unwrap_or(OffsetDateTime::UNIX_EPOCH)
    }

    /// `2026-11-30`.
    pub(super) fn date(self) -> String {
        let (year, month, day) = self.date_time().to_calendar_date();
        format!("{year:04}-{:02}-{day:02}", u8::from(month))
    }

    /// `2026-11-30 08:15:01 UTC`.
    pub(super) fn utc(self) -> String {
        let (hour, minute, second) = self.date_time().to_hms();
        format!("{} {hour:02}:{minute:02}:{second:02} UTC", self.date())
    }

    /// `2026-11-30T08:15:01Z`.
    pub(super) fn iso(self) -> String {
        let (hour, minute, second) = self.date_time().to_hms();
        format!("{}T{hour:02}:{minute:02}:{second:02}Z", self.date())
    }

    /// `3 h ago`, `in 5 d`.
    pub(super) fn ago(self) -> String {
        let seconds = self.now.saturating_sub(self.unix);
        let is_to_come = seconds < 0;
        let length = match seconds.saturating_abs() {
            ..MINUTE if is_to_come => return "in a moment".to_owned(),
            ..MINUTE => return "just now".to_owned(),
            length @ ..HOUR => (length, MINUTE, "min"),
            length @ ..DAY => (length, HOUR, "h"),
            length => (length, DAY, "d"),
        };
        let (length, unit, name) = length;
        if is_to_come {
            // What was set to three days a moment ago is in three days, not in two.
            format!("in {} {name}", length.saturating_add(unit / 2) / unit)
        } else {
            format!("{} {name} ago", length / unit)
        }
    }

    /// How long ago, as an element with its time. Safe as HTML: it holds digits and fixed words.
    pub(super) fn html(self) -> String {
        format!(
            "<time datetime=\"{}\" title=\"{}\">{}</time>",
            self.iso(),
            self.utc(),
            self.ago()
        )
    }

    /// The same, with the time itself below it: many happened at once, or days ago. A script writes the
    /// reader's own time there.
    pub(super) fn stamp(self) -> String {
        format!(
            "{}<time class=\"sub\" datetime=\"{}\" title=\"{}\" data-clock>{}</time>",
            self.html(),
            self.iso(),
            self.utc(),
            self.utc()
        )
    }
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.ago())
    }
}

/// A point in time as people type it: `30d` from now, `2027-01-31`, or empty for none.
pub(super) fn future(text: &str) -> Result<Option<i64>, &'static str> {
    let text = text.trim();
    if text.is_empty() || text == "never" {
        return Ok(None);
    }
    let relative = || {
        let duration = humantime::parse_duration(text).ok()?;
        let seconds = i64::try_from(duration.as_secs()).ok()?;
        clock::unix_seconds().checked_add(seconds)
    };
    let unix = absolute(text).or_else(relative);
    // RFC 3339 has four digits for the year.
    match unix.filter(|&unix| unix < 253_402_300_800) {
        Some(unix) if unix > clock::unix_seconds() => Ok(Some(unix)),
        Some(_) => Err("this is in the past"),
        None => Err("write a duration such as 30d, or a date such as 2027-01-31"),
    }
}

/// A duration in seconds, or empty for none.
pub(super) fn interval(text: &str) -> Result<Option<i64>, &'static str> {
    let text = text.trim();
    if text.is_empty() || text == "never" {
        return Ok(None);
    }
    let parsed = humantime::parse_duration(text).ok();
    let seconds = parsed.and_then(|parsed| i64::try_from(parsed.as_secs()).ok());
    seconds
        .map(Some)
        .ok_or("write a duration such as 90d, or nothing")
}

/// A date, `2026-11-30`, as its first second in UTC; or a whole time.
pub(super) fn absolute(text: &str) -> Option<i64> {
    use time::format_description::well_known::Rfc3339;
    use time::macros::format_description;
    let date = format_description!("[year]-[month]-[day]");
    OffsetDateTime::parse(text, &Rfc3339)
        .or_else(|_| time::Date::parse(text, &date).map(|date| date.midnight().assume_utc()))
        .map(OffsetDateTime::unix_timestamp)
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_said_as_people_say_them() {
        let at = |unix| When { unix, now: 200_000 };
        for (unix, said) in [
            (200_000, "just now"),
            (199_900, "1 min ago"),
            (200_000 - 2 * HOUR, "2 h ago"),
            (200_000 - 2 * DAY, "2 d ago"),
            (200_000 + 3 * DAY, "in 3 d"),
            (200_000 + 3 * DAY - MINUTE, "in 3 d"),
            (200_000 + 90 * MINUTE, "in 2 h"),
            (200_001, "in a moment"),
        ] {
            assert_eq!(at(unix).ago(), said);
        }
        assert_eq!(at(0).utc(), "1970-01-01 00:00:00 UTC");
        assert_eq!(at(0).iso(), "1970-01-01T00:00:00Z");
    }

    #[test]
    fn what_is_typed_is_a_time_to_come() {
        assert_eq!(future(" "), Ok(None));
        assert!(future("30d").unwrap().unwrap() > clock::unix_seconds());
        assert!(future("2001-01-01").is_err() && future("soon").is_err());
        assert_eq!(interval("1d"), Ok(Some(DAY)));
        assert!(interval("x").is_err());
    }
}

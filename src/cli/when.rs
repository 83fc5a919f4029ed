//! Points in time, as people type them and as tables show them.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;

pub(super) use crate::clock::unix_seconds as now;

/// A text that is not a point in time.
#[derive(Clone, Debug, thiserror::Error)]
#[error("expected a duration (30d, 12h), a date (2027-01-31) or a time (2027-01-31T12:00:00Z)")]
pub(super) struct InvalidTime;

fn absolute(text: &str) -> Option<i64> {
    let date = format_description!("[year]-[month]-[day]");
    OffsetDateTime::parse(text, &Rfc3339)
        .or_else(|_| time::Date::parse(text, &date).map(|date| date.midnight().assume_utc()))
        .map(OffsetDateTime::unix_timestamp)
        .ok()
}

fn seconds(text: &str) -> Option<i64> {
    let duration = humantime::parse_duration(text).ok()?;
    i64::try_from(duration.as_secs()).ok()
}

/// A point in time, in unix seconds: a duration counts from now.
fn in_future(text: &str) -> Result<i64, InvalidTime> {
    let relative = || now().checked_add(seconds(text)?);
    absolute(text).or_else(relative).ok_or(InvalidTime)
}

/// A point in time, in unix seconds: a duration counts back from now.
pub(super) fn in_past(text: &str) -> Result<i64, InvalidTime> {
    let relative = || now().checked_sub(seconds(text)?);
    absolute(text).or_else(relative).ok_or(InvalidTime)
}

/// A text that is not an expiry.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum InvalidExpiry {
    #[error(transparent)]
    Time(#[from] InvalidTime),
    #[error("that time is in the past")]
    Past,
}

/// `--expires`: a point in the future, or `never`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expiry {
    Never,
    At(i64),
}

impl Expiry {
    /// As a grant has it.
    pub(super) fn unix(self) -> Option<i64> {
        match self {
            Expiry::Never => None,
            Expiry::At(at) => Some(at),
        }
    }
}

impl std::str::FromStr for Expiry {
    type Err = InvalidExpiry;

    fn from_str(text: &str) -> Result<Self, InvalidExpiry> {
        if text == "never" {
            return Ok(Expiry::Never);
        }
        let at = in_future(text)?;
        if at <= now() {
            return Err(InvalidExpiry::Past);
        }
        Ok(Expiry::At(at))
    }
}

/// A date for tables: "2026-11-22 09:30".
pub(super) fn short(unix: i64) -> String {
    let format = format_description!("[year]-[month]-[day] [hour]:[minute]");
    OffsetDateTime::from_unix_timestamp(unix)
        .ok()
        .and_then(|time| time.format(&format).ok())
        .unwrap_or_else(|| unix.to_string())
}

/// How long ago something was, roughly: "just now", "5 minutes ago".
pub(super) fn ago(unix: i64, now: i64) -> String {
    let seconds = now.saturating_sub(unix);
    let (count, unit) = match seconds {
        ..60 => return "just now".to_owned(),
        60..3_600 => (seconds / 60, "minute"),
        3_600..86_400 => (seconds / 3_600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    format!("{count} {unit}{} ago", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_three_forms() {
        assert_eq!(absolute("1970-01-02"), Some(86_400));
        assert_eq!(absolute("1970-01-01T01:00:00+01:00"), Some(0));
        assert!((in_future("2h").expect("valid") - now() - 7_200).abs() <= 1);
        assert!((now() - in_past("1d").expect("valid") - 86_400).abs() <= 1);
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in ["", "tomorrow", "12", "2027-13-01", "2027-01-31 12:00"] {
            assert!(in_future(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_expiry_is_in_the_future_or_never() {
        assert_eq!("never".parse::<Expiry>().expect("valid").unix(), None);
        let later = "9999-01-01".parse::<Expiry>().expect("valid").unix();
        assert_eq!(later, Some(253_370_764_800));
        for text in ["1970-01-02", "0s", "tomorrow"] {
            assert!(text.parse::<Expiry>().is_err(), "{text}");
        }
    }

    #[test]
    fn times_are_shown_to_people() {
        assert_eq!(short(1_795_339_800), "2026-11-22 09:30");
        assert_eq!(ago(0, 30), "just now");
        assert_eq!(ago(0, 61), "1 minute ago");
        assert_eq!(ago(0, 7_300), "2 hours ago");
        assert_eq!(ago(100, 0), "just now");
    }
}

//! Points in time, as people type them and as tables show them.

use std::time::Duration;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;

use super::exit::usage;
pub(super) use crate::clock::unix_seconds as now;

/// A text that is not a point in time.
#[derive(Clone, Debug, thiserror::Error)]
#[error("expected a duration (30d, 12h), a date (2027-01-31) or a time (2027-01-31T12:00:00Z)")]
pub(super) struct InvalidTime;

/// A text that is a point in time which the ledger cannot write (RFC 3339 has four digits for the
/// year), or that is none.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum TimeError {
    #[error(transparent)]
    Invalid(#[from] InvalidTime),
    #[error("that time is not between the years 1 and 9999")]
    OutOfRange,
}

/// The years 1 to 9999, in unix seconds.
const YEARS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;

fn absolute(text: &str) -> Option<i64> {
    let date = format_description!("[year]-[month]-[day]");
    OffsetDateTime::parse(text, &Rfc3339)
        .or_else(|_| time::Date::parse(text, &date).map(|date| date.midnight().assume_utc()))
        .map(OffsetDateTime::unix_timestamp)
        .ok()
}

/// The seconds of a duration, at most as many as a number holds.
fn seconds(text: &str) -> Option<i64> {
    match humantime::parse_duration(text) {
        Ok(duration) => Some(i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)),
        Err(humantime::DurationError::NumberOverflow) => Some(i64::MAX),
        Err(_) => None,
    }
}

/// A point in time, in unix seconds: a duration counts from now.
pub(super) fn in_future(text: &str) -> Result<i64, TimeError> {
    let relative = || Some(now().saturating_add(seconds(text)?));
    in_range(absolute(text).or_else(relative))
}

/// A point in time, in unix seconds: a duration counts back from now.
pub(super) fn in_past(text: &str) -> Result<i64, TimeError> {
    let relative = || Some(now().saturating_sub(seconds(text)?));
    in_range(absolute(text).or_else(relative))
}

fn in_range(unix: Option<i64>) -> Result<i64, TimeError> {
    let unix = unix.ok_or(InvalidTime)?;
    if YEARS.contains(&unix) {
        Ok(unix)
    } else {
        Err(TimeError::OutOfRange)
    }
}

/// A text that is not the lifetime of a token.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum InvalidLifetime {
    #[error("expected a duration such as 15m, 12h or 30d")]
    Duration,
    #[error("a token that works for no time is of no use; expected at least 1s")]
    Zero,
    #[error(transparent)]
    Time(#[from] TimeError),
}

/// `--ttl`: how long a token works, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lifetime(i64);

impl Lifetime {
    /// When it ends if it begins at `now`.
    pub(super) fn end(self, now: i64) -> i64 {
        now.saturating_add(self.0)
    }

    /// How long it is.
    pub(super) fn seconds(self) -> i64 {
        self.0
    }
}

impl std::str::FromStr for Lifetime {
    type Err = InvalidLifetime;

    fn from_str(text: &str) -> Result<Self, InvalidLifetime> {
        let seconds = seconds(text).ok_or(InvalidLifetime::Duration)?;
        if seconds == 0 {
            return Err(InvalidLifetime::Zero);
        }
        in_range(Some(now().saturating_add(seconds)))?;
        Ok(Self(seconds))
    }
}

/// Refuses a token that would work until `expires`, or for ever, although `proxy.max_token_lifetime`
/// is `max`.
pub(super) fn check_lifetime(
    expires: Option<i64>,
    max: Option<Duration>,
    option: &str,
) -> anyhow::Result<()> {
    let Some(max) = max else {
        return Ok(());
    };
    let longest = i64::try_from(max.as_secs()).unwrap_or(i64::MAX);
    if expires.is_some_and(|expires| expires.saturating_sub(now()) <= longest) {
        return Ok(());
    }
    Err(usage(format!(
        "the token would work for longer than proxy.max_token_lifetime allows; name at most {} \
         with {option}",
        humantime::format_duration(Duration::from_secs(max.as_secs()))
    )))
}

/// A text that is not an expiry.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum InvalidExpiry {
    #[error(transparent)]
    Time(#[from] TimeError),
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

/// The same of a time that a view shows.
pub(super) fn short_text(time: &str) -> String {
    absolute(time).map_or_else(|| time.to_owned(), short)
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
    fn a_time_that_cannot_be_written_is_refused() {
        let is_out_of_range =
            |time: Result<i64, TimeError>| matches!(time, Err(TimeError::OutOfRange));
        for text in [
            "99999999d",
            "8000y",
            "99999999999999999999999d",
            "18446744073709551615s",
        ] {
            assert!(is_out_of_range(in_future(text)), "{text}");
            assert!(is_out_of_range(in_past(text)), "{text}");
            let expiry = text.parse::<Expiry>().expect_err(text).to_string();
            assert!(expiry.contains("9999"), "{expiry}");
        }
        assert!(in_future("7000y").is_ok());
        assert!(in_past("9999-12-31").is_ok());
    }

    #[test]
    fn a_lifetime_is_a_time_that_passes() {
        assert_eq!("2h".parse::<Lifetime>().expect("valid").end(5), 7_205);
        for (text, word) in [
            ("0s", "no time"),
            ("0d", "no time"),
            ("999ms", "no time"),
            ("soon", "expected a duration"),
            ("-1s", "expected a duration"),
            ("99999999d", "9999"),
        ] {
            let error = text.parse::<Lifetime>().expect_err(text).to_string();
            assert!(error.contains(word), "{text}: {error}");
        }
    }

    #[test]
    fn a_lifetime_over_the_maximum_is_refused() {
        let max = Some(Duration::from_secs(3_600));
        let check = |expires, max| check_lifetime(expires, max, "--ttl");
        assert!(check(None, None).is_ok());
        assert!(check(Some(now() + 3_600), max).is_ok());
        let error = check(Some(now() + 3_700), max)
            .expect_err("too long")
            .to_string();
        assert!(error.contains("at most 1h with --ttl"), "{error}");
        assert!(check(None, max).is_err(), "for ever is longer than an hour");
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

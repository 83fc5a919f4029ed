//! When something happened, as the ledger writes it.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A point in time, in microseconds since 1970-01-01T00:00:00Z and before the year 10000.
///
/// Written as RFC 3339 in UTC with exactly six fractional digits, so that lines sort as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timestamp(i64);

impl Timestamp {
    const LAST: i64 = 253_402_300_799_999_999;

    /// A time by its distance from the epoch in microseconds. What lies outside the range that can
    /// be written becomes the nearest that can: a wrong clock must not stop the record.
    pub fn from_unix_micros(micros: i64) -> Self {
        Self(micros.clamp(0, Self::LAST))
    }

    /// Microseconds since the epoch.
    pub fn unix_micros(self) -> i64 {
        self.0
    }
}

/// The text of a [`Timestamp`], digits to be filled in.
const TIME: &[u8; 27] = b"0000-00-00T00:00:00.000000Z";

impl Timestamp {
    /// Digit by digit: two times are written for each request, and the formatter takes longer for
    /// them than SHA-256 for the line.
    pub(super) fn text(self) -> [u8; TIME.len()] {
        // Not through nanoseconds, which need 128 bits. In range by construction.
        let seconds = OffsetDateTime::from_unix_timestamp(self.0 / 1_000_000);
        let time = seconds.unwrap_or(OffsetDateTime::UNIX_EPOCH);
        let (year, month, day) = time.to_calendar_date();
        let (hour, minute, second) = time.to_hms();
        let mut text = *TIME;
        let fields = [
            (0..4, u64::from(year.unsigned_abs())),
            (5..7, u8::from(month).into()),
            (8..10, day.into()),
            (11..13, hour.into()),
            (14..16, minute.into()),
            (17..19, second.into()),
            (20..26, (self.0 % 1_000_000).unsigned_abs()),
        ];
        for (place, mut number) in fields {
            for digit in text[place].iter_mut().rev() {
                *digit = b'0' + (number % 10) as u8;
                number /= 10;
            }
        }
        text
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Digits are UTF-8; `fmt::Error` is never reached.
        f.write_str(str::from_utf8(&self.text()).map_err(|_| fmt::Error)?)
    }
}

/// A text that is no RFC 3339 time between 1970 and 9999.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a time is written as in 2026-11-22T09:30:00Z")]
pub struct InvalidTimestamp;

impl FromStr for Timestamp {
    type Err = InvalidTimestamp;

    /// Any RFC 3339 time; digits beyond microseconds are cut off.
    fn from_str(text: &str) -> Result<Self, InvalidTimestamp> {
        let time = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| InvalidTimestamp)?;
        let micros =
            i64::try_from(time.unix_timestamp_nanos() / 1000).map_err(|_| InvalidTimestamp)?;
        if !(0..=Self::LAST).contains(&micros) {
            return Err(InvalidTimestamp);
        }
        Ok(Self(micros))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn times_have_six_digits_and_stay_in_range() {
        let cases = [
            (0, "1970-01-01T00:00:00.000000Z"),
            (951_782_400_000_010, "2000-02-29T00:00:00.000010Z"),
            (i64::MIN, "1970-01-01T00:00:00.000000Z"),
            (i64::MAX, "9999-12-31T23:59:59.999999Z"),
        ];
        for (micros, text) in cases {
            assert_eq!(Timestamp::from_unix_micros(micros).to_string(), text);
        }
        assert_eq!(
            "2000-02-29T01:00:00.0000109+01:00".parse(),
            Ok(Timestamp::from_unix_micros(951_782_400_000_010))
        );
        for text in [
            "",
            "2000-02-30T00:00:00Z",
            "1969-12-31T23:59:59Z",
            "2000-02-29",
        ] {
            assert_eq!(text.parse::<Timestamp>(), Err(InvalidTimestamp), "{text}");
        }
    }

    proptest! {
        #[test]
        fn times_survive_writing_and_reading(micros in 0..=Timestamp::LAST) {
            let time = Timestamp::from_unix_micros(micros);
            prop_assert_eq!(time.to_string().len(), 27);
            prop_assert_eq!(time.to_string().parse(), Ok(time));
        }
    }
}

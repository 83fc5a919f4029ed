//! The time of a log line.

use std::cell::Cell;
use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use time::OffsetDateTime;

thread_local! {
    /// The last second that was written, since 1970, and its text: hundreds of lines share it.
    static SECOND: Cell<(u64, [u8; 20])> = const { Cell::new((0, *b"1970-01-01T00:00:00.")) };
}

/// Writes a time in UTC with microseconds, RFC 3339.
pub(super) fn write_time(line: &mut impl fmt::Write, time: SystemTime) -> fmt::Result {
    let since_epoch = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (mut second, mut text) = SECOND.get();
    if second != since_epoch.as_secs() {
        second = since_epoch.as_secs();
        text = second_text(second);
        SECOND.set((second, text));
    }
    let mut whole = *b"0000-00-00T00:00:00.000000Z";
    whole[..text.len()].copy_from_slice(&text);
    let mut micros = since_epoch.subsec_micros();
    for digit in whole[text.len()..26].iter_mut().rev() {
        *digit = b'0' + (micros % 10) as u8;
        micros /= 10;
    }
    line.write_str(str::from_utf8(&whole).map_err(|_| fmt::Error)?)
}

fn second_text(second: u64) -> [u8; 20] {
    let time = i64::try_from(second)
        .ok()
        .and_then(|second| OffsetDateTime::from_unix_timestamp(second).ok())
        .unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let (year, month, day) = time.to_calendar_date();
    let (hour, minute, second) = time.to_hms();
    let month = u8::from(month);
    let text = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.");
    // `time` knows years of at most four digits.
    text.as_bytes()
        .try_into()
        .unwrap_or(*b"9999-12-31T23:59:59.")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use time::format_description::well_known::Rfc3339;

    use super::*;

    proptest! {
        #[test]
        fn times_are_rfc_3339_with_six_digits(micros in 0..253_402_300_800_000_000_u64) {
            for micros in [micros, micros, micros + 1] {
                let mut text = String::new();
                write_time(&mut text, UNIX_EPOCH + Duration::from_micros(micros)).unwrap();
                prop_assert_eq!(text.len(), 27);
                let read = OffsetDateTime::parse(&text, &Rfc3339).unwrap();
                prop_assert_eq!(read.unix_timestamp_nanos() / 1000, i128::from(micros));
            }
        }
    }

    #[test]
    fn a_time_out_of_range_still_has_a_text() {
        let mut text = String::new();
        let time = UNIX_EPOCH + Duration::from_secs(1 << 50);
        write_time(&mut text, time).unwrap();
        assert_eq!(text.len(), 27);
    }
}

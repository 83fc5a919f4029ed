//! Points in time as views show them.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// RFC 3339 in UTC, to the second.
pub fn rfc3339(unix: i64) -> String {
    OffsetDateTime::from_unix_timestamp(unix)
        .ok()
        .and_then(|time| time.format(&Rfc3339).ok())
        .unwrap_or_else(|| unix.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_no_fraction_and_one_out_of_range_is_its_number() {
        assert_eq!(rfc3339(1_795_339_800), "2026-11-22T09:30:00Z");
        assert_eq!(rfc3339(i64::MAX), i64::MAX.to_string());
    }
}

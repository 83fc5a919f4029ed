//! The wall clock, as expiry is compared with it.

use std::time::{SystemTime, UNIX_EPOCH};

/// The wall clock in unix seconds, as expiry is compared with it.
pub fn unix_now() -> i64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
    since_epoch.map_or(0, |since| {
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    })
}

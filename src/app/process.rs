//! How this process is, as the kernel tells.

use std::fs;
use std::sync::LazyLock;
use std::time::Duration;

use rustix::param::{clock_ticks_per_second, page_size};
use rustix::process::{Resource, getrlimit};

use crate::admin::ProcessState;
use crate::clock;
use crate::memory::pool;

/// How it is now.
pub(super) fn state() -> ProcessState {
    let (locked, is_lock_exhausted) = pool::locked();
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let stat = Stat::parse(&stat);
    ProcessState {
        locked,
        is_lock_exhausted,
        started_micros: started(stat.started),
        resident: stat.resident_pages * page_size() as u64,
        open_files: open_files(),
        most_files: getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX),
        cpu: ticks(stat.cpu),
    }
}

/// How many files it has open.
pub(super) fn open_files() -> usize {
    // The listing itself is one of them.
    fs::read_dir("/proc/self/fd").map_or(0, |all| all.count().saturating_sub(1))
}

fn ticks(count: u64) -> Duration {
    Duration::from_millis(count * 1_000 / clock_ticks_per_second().max(1))
}

/// When the process started, in microseconds since 1970. Asked once: the clock may be set, and the
/// start does not move with it.
fn started(after_boot: u64) -> i64 {
    static BOOT: LazyLock<Option<i64>> = LazyLock::new(|| {
        let uptime = fs::read_to_string("/proc/uptime").ok()?;
        let up: f64 = uptime.split(' ').next()?.parse().ok()?;
        let up = Duration::try_from_secs_f64(up).ok()?;
        Some(clock::unix_seconds() * 1_000_000 - i64::try_from(up.as_micros()).ok()?)
    });
    let after_boot = i64::try_from(ticks(after_boot).as_micros()).unwrap_or_default();
    BOOT.map_or(0, |boot| boot + after_boot)
}

/// Fields of `/proc/self/stat`, see proc(5).
#[derive(Debug, Default, PartialEq, Eq)]
struct Stat {
    /// `utime` and `stime`, in ticks.
    cpu: u64,
    /// `starttime`, in ticks since boot.
    started: u64,
    /// `rss`.
    resident_pages: u64,
}

impl Stat {
    fn parse(text: &str) -> Self {
        // The second field is the name of the program, in which anything may stand.
        let fields = text.rsplit_once(") ").map_or("", |(_, fields)| fields);
        let fields: Vec<u64> = fields
            .split(' ')
            .map(|field| field.parse().unwrap_or_default())
            .collect();
        // The first of these is the third of all.
        let field = |number: usize| fields.get(number - 3).copied().unwrap_or_default();
        Self {
            cpu: field(14) + field(15),
            started: field(22),
            resident_pages: field(24),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_counted_after_the_name() {
        let text = "7 (a) b) 1) S 1 7 7 0 -1 4194560 1 0 0 0 11 22 0 0 20 0 4 0 333 100 44 5\n";
        let expected = Stat {
            cpu: 33,
            started: 333,
            resident_pages: 44,
        };
        assert_eq!(Stat::parse(text), expected);
        assert_eq!(Stat::parse("nonsense"), Stat::default());
    }

    #[test]
    fn this_process_has_started_and_holds_memory() {
        let state = state();
        let now = clock::unix_seconds() * 1_000_000;
        assert!(state.started_micros > 0 && state.started_micros <= now + 1_000_000);
        assert!(state.resident > 0 && state.open_files > 0 && state.most_files > 0);
    }
}

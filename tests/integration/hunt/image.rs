//! The memory of a running process, as a core dump would hold it.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;

use super::Hunt;
use super::search::Search;

/// How much is read at a time, in bytes.
const STEP: usize = 1 << 20;

/// Why a process could not be looked into.
#[derive(Debug)]
pub enum Closed {
    /// This user has no permission: the process is not dumpable, so that reading takes
    /// CAP_SYS_PTRACE.
    Forbidden,
    Failed(io::Error),
}

/// The first value in the writable memory of process `pid`: which, and in what mapping.
pub fn find(pid: i32, search: &Search) -> Result<Option<String>, Closed> {
    let memory = File::open(format!("/proc/{pid}/mem")).map_err(closed)?;
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).map_err(closed)?;
    let overlap = search.longest();
    let mut seen = 0;
    for line in maps.lines() {
        let Some((start, end)) = writable(line) else {
            continue;
        };
        let mut at = start;
        while at < end {
            let length = (STEP + overlap).min(end - at);
            let mut bytes = vec![0; length];
            // A page may be unmapped between reading the map and reading the page.
            if memory.read_exact_at(&mut bytes, at as u64).is_ok() {
                seen += length;
                if let Some((offset, what)) = search.find(&bytes) {
                    let around = &bytes[offset.saturating_sub(64)..offset];
                    return Ok(Some(format!(
                        "{what} at {:#x} of {line}, after {:?}",
                        at + offset,
                        String::from_utf8_lossy(around)
                    )));
                }
            }
            at += STEP;
        }
    }
    assert!(
        seen > STEP,
        "only {seen} bytes of the process could be read"
    );
    Ok(None)
}

fn writable(line: &str) -> Option<(usize, usize)> {
    let mut parts = line.split(' ');
    let range = parts.next()?;
    if !parts.next()?.starts_with("rw") {
        return None;
    }
    let (start, end) = range.split_once('-')?;
    let address = |hex| usize::from_str_radix(hex, 16).ok();
    Some((address(start)?, address(end)?))
}

fn closed(error: io::Error) -> Closed {
    match error.kind() {
        io::ErrorKind::PermissionDenied => Closed::Forbidden,
        _ => Closed::Failed(error),
    }
}

/// Deletes the credentials, and waits until the memory of the server holds none of their values.
/// Returns `false` where this user has no permission to read it.
///
/// # Panics
/// When one stays.
pub async fn nothing_stays<U>(hunt: &mut Hunt<U>) -> bool {
    let pid = hunt.world.pid();
    match find(pid, &Search::whole(&hunt.all())) {
        Ok(found) => assert!(found.is_some(), "values that are live are in memory"),
        Err(Closed::Forbidden) => {
            crate::needs::skipped("permission to read the server's memory");
            return false;
        }
        Err(Closed::Failed(error)) => panic!("{error}"),
    }
    assert!(locked_kib(pid) > 0 || !may_lock(), "no memory is locked");
    for n in 0..hunt.canaries.len() {
        let slug = hunt.canaries[n].slug.clone();
        hunt.run(&["credential", "delete", &slug], b"").await;
    }
    let pieces = Search::pieces(&hunt.all());
    // The server follows within a fraction of a second; a connection takes its time to close.
    let deadline = tokio::time::Instant::now() + crate::PATIENCE;
    while let Some(found) = find(pid, &pieces).expect("the memory was readable before") {
        assert!(
            tokio::time::Instant::now() < deadline,
            "still in memory: {found}"
        );
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    }
    true
}

fn locked_kib(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("its status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmLck:"));
    let number = line.and_then(|line| line.trim().split(' ').next());
    number.and_then(|n| n.parse().ok()).expect("VmLck")
}

/// Whether this machine lets a process lock the few pages that the values need.
fn may_lock() -> bool {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Memlock);
    limit.current.is_none_or(|bytes| bytes >= 64 * 1024)
}

#[test]
fn a_value_of_this_process_is_found() {
    let canary = super::canary::Canary {
        slug: "own".to_owned(),
        value: (0..40u8).map(|n| b'a' + n.wrapping_mul(43) % 26).collect(),
    };
    let search = Search::whole(&[&canary]);
    let pid = i32::try_from(std::process::id()).expect("a pid");
    match find(pid, &search) {
        Ok(found) => assert!(found.is_some_and(|found| found.starts_with("own as"))),
        Err(Closed::Forbidden) => {}
        Err(Closed::Failed(error)) => panic!("{error}"),
    }
}

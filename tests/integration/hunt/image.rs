//! The memory of a running process, as a core dump would hold it.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;

use super::search::Search;

/// How much is read at a time, in bytes.
const STEP: usize = 1 << 20;

/// Why a process could not be looked into.
#[derive(Debug)]
pub enum Closed {
    /// This user may not: the process is not dumpable, so it takes CAP_SYS_PTRACE.
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
            // A page may go between the look at the map and the read.
            if memory.read_exact_at(&mut bytes, at as u64).is_ok() {
                seen += length;
                if let Some((offset, what)) = search.find(&bytes) {
                    let around = &bytes[offset.saturating_sub(64)..offset];
                    return Ok(Some(format!(
                        "{what} at {:#x} of {line}, behind {:?}",
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

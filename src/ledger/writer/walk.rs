//! Going through the lines of a ledger across its files, by number.

use std::io::{BufRead, Read};
use std::path::Path;

use serde::Deserialize;

use super::error::LedgerError;
use crate::ledger::format::line_hash::LineHash;
use crate::ledger::layout::{Form, Segment};

/// Longest line that is believed to be one, in bytes. A request's head is far smaller.
const LONGEST: u64 = 16 * 1024 * 1024;

/// What links a line to the one before.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) struct Link {
    pub(super) seq: u64,
    pub(super) prev: LineHash,
}

impl Link {
    pub(super) fn of(line: &[u8]) -> Option<Self> {
        serde_json::from_slice(line).ok()
    }
}

/// The segment that holds this line, or the first there is.
pub(super) fn segment_of(segments: &[Segment], seq: u64) -> usize {
    let later = segments.partition_point(|segment| segment.first.is_some_and(|first| first <= seq));
    // `current.jsonl` has no number in its name; if a rotated file comes before it, that one may
    // hold the line as well.
    later.saturating_sub(1)
}

/// Shows every whole line from this segment on, without its line feed, with its number by position
/// (the first line of a rotated file has the number in its name). Ends when `see` says `false`.
/// Returns the number of the last line seen; 0 when there are none.
pub(super) fn lines(
    dir: &Path,
    segments: &[Segment],
    from: usize,
    mut see: impl FnMut(u64, &[u8]) -> Result<bool, LedgerError>,
) -> Result<u64, LedgerError> {
    let mut last = None;
    for segment in segments.get(from..).unwrap_or_default() {
        let expected = last.map(|last: u64| last + 1);
        match (expected, segment.first) {
            (Some(from), Some(first)) if first > from => {
                let dir = dir.to_owned();
                let to = first - 1;
                return Err(LedgerError::Missing { dir, from, to });
            }
            (Some(expected), Some(first)) if first < expected => {
                let dir = dir.to_owned();
                return Err(LedgerError::Altered { dir, seq: first });
            }
            _ => {}
        }
        let at = LedgerError::at(&segment.path);
        let mut file = segment.open().map_err(&at)?;
        let mut line = Vec::new();
        loop {
            line.clear();
            let read = file.by_ref().take(LONGEST).read_until(b'\n', &mut line);
            read.map_err(&at)?;
            if line.pop_if(|byte| *byte == b'\n').is_none() {
                break;
            }
            let seq = match (last, segment.first) {
                (Some(last), _) => last + 1,
                (None, Some(first)) => first,
                // Whether it is a record is for `see` to judge.
                (None, None) => Link::of(&line).map_or(1, |link| link.seq),
            };
            last = Some(seq);
            if !see(seq, &line)? {
                return Ok(seq);
            }
        }
        // A rotated file without lines: the next one starts where this one would have.
        if last.is_none() && segment.form != Form::Current {
            last = segment.first.map(|first| first - 1);
        }
    }
    Ok(last.unwrap_or(0))
}

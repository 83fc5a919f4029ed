//! Continuing the tree and the chain where they ended, and finding out whether what is there is what
//! was left.
//!
//! From the last checkpoint on, every line is read. Where another line has the number of one that
//! was signed, the ledger is not opened. Lines after the last checkpoint that do not follow one
//! another are treated like a torn last line, of which they are the longer form: a loss of power may
//! leave later pages of a file and not earlier ones. They are set aside whole. So are lines after
//! the checkpoint of a clean end, which were not written with the key.
//!
//! A ledger that ends before its last checkpoint continues after it: a checkpoint holds the tree and
//! the hash of the last line. No other line ever gets the number of one that was signed, and the
//! missing numbers are named in a `ledger.damaged` line.

use std::ops::RangeInclusive;
use std::path::Path;

use super::error::LedgerError;
use super::walk::{self, Link};
use crate::ledger::format::checkpoint::Checkpoint;
use crate::ledger::format::line_hash::LineHash;
use crate::ledger::format::merkle::{Frontier, TreeHash};
use crate::ledger::layout::Segment;

/// The end of a ledger, and what is wrong with it.
#[derive(Debug, Default)]
pub(super) struct Resumed {
    pub(super) tree: Frontier,
    /// The hash of the last line; `None` when there is none.
    pub(super) head: Option<LineHash>,
    /// The first line of a ledger without checkpoints that is not linked to the one before.
    pub(super) unlinked: Option<u64>,
    /// The first line after the last checkpoint that does not follow, or that nothing vouches for.
    pub(super) broken: Option<u64>,
    /// Lines up to the checkpoint that are not there.
    pub(super) missing: Option<RangeInclusive<u64>>,
}

/// What may follow the last checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    /// Lines of a writer that did not come to its end.
    Lines,
    /// Nothing: the ledger was closed.
    Nothing,
}

/// Continues the ledger from this checkpoint.
pub(super) fn from_checkpoint(
    dir: &Path,
    segments: &[Segment],
    checkpoint: &Checkpoint,
    after: After,
) -> Result<Resumed, LedgerError> {
    let size = checkpoint.size();
    let mut walk = FromCheckpoint {
        dir,
        checkpoint,
        after,
        first: None,
        resumed: Resumed {
            tree: checkpoint.tree.clone(),
            head: (size > 0).then_some(checkpoint.head),
            ..Resumed::default()
        },
    };
    // A start that continued after missing lines began a file of its own.
    let next = segments
        .iter()
        .position(|segment| segment.first == Some(size + 1));
    let (covered, following) = segments.split_at(next.unwrap_or(segments.len()));
    let last = walk.through(covered, walk::segment_of(covered, size))?;
    if walk.resumed.broken.is_none() {
        walk.through(following, 0)?;
    }
    let FromCheckpoint {
        first, mut resumed, ..
    } = walk;
    let begins_later = first.is_some_and(|first| first > size);
    if last < size && !begins_later {
        resumed.missing = Some(last + 1..=size);
    }
    Ok(resumed)
}

/// Going through the lines from a checkpoint on.
struct FromCheckpoint<'a> {
    dir: &'a Path,
    checkpoint: &'a Checkpoint,
    after: After,
    /// The first line that was seen.
    first: Option<u64>,
    resumed: Resumed,
}

impl FromCheckpoint<'_> {
    /// Reads these files from one of them on. Returns the number of the last line before the end or
    /// the first gap.
    fn through(&mut self, segments: &[Segment], from: usize) -> Result<u64, LedgerError> {
        match walk::lines(self.dir, segments, from, |seq, line| self.line(seq, line)) {
            // What follows the gap is not linked to anything that is there.
            Err(LedgerError::Missing { from, to, .. }) => {
                self.resumed.broken.get_or_insert(to + 1);
                Ok(from - 1)
            }
            last => last,
        }
    }

    /// Takes in a line; returns whether to go on.
    fn line(&mut self, seq: u64, line: &[u8]) -> Result<bool, LedgerError> {
        let size = self.checkpoint.size();
        self.first.get_or_insert(seq);
        if seq < size {
            return Ok(true);
        }
        let hash = LineHash::of(line);
        if seq == size {
            if hash == self.checkpoint.head {
                return Ok(true);
            }
            return Err(altered(self.dir, seq));
        }
        let next = self.resumed.tree.size() + 1;
        let head = self.resumed.head();
        let follows = |link: Link| seq == next && link.seq == seq && link.prev == head;
        if self.after == After::Nothing || !Link::of(line).is_some_and(follows) {
            self.resumed.broken = Some(seq);
            return Ok(false);
        }
        self.resumed.push(line, hash);
        Ok(true)
    }
}

/// Builds tree and chain from all lines, where there is no checkpoint.
pub(super) fn from_lines(dir: &Path, segments: &[Segment]) -> Result<Resumed, LedgerError> {
    let mut resumed = Resumed::default();
    walk::lines(dir, segments, 0, |seq, line| {
        let expected = resumed.tree.size() + 1;
        if seq > expected && expected == 1 {
            // Without a checkpoint nothing vouches for the lines that retention dropped.
            let dir = dir.to_owned();
            let (from, to) = (1, seq - 1);
            return Err(LedgerError::Missing { dir, from, to });
        }
        let link = Link::of(line).filter(|link| link.seq == expected);
        let link = link.ok_or_else(|| altered(dir, expected))?;
        if link.prev != resumed.head() {
            resumed.unlinked.get_or_insert(expected);
        }
        resumed.push(line, LineHash::of(line));
        Ok(true)
    })?;
    Ok(resumed)
}

fn altered(dir: &Path, seq: u64) -> LedgerError {
    let dir = dir.to_owned();
    LedgerError::Altered { dir, seq }
}

impl Resumed {
    pub(super) fn head(&self) -> LineHash {
        self.head.unwrap_or(LineHash::GENESIS)
    }

    fn push(&mut self, line: &[u8], hash: LineHash) {
        self.tree.push(TreeHash::of_leaf(line));
        self.head = Some(hash);
    }
}

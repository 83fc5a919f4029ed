//! Taking up the tree and the chain where they ended, and finding out whether what is there is what
//! was left.
//!
//! From the last checkpoint on, every line is looked at. Where going on would put other lines under
//! numbers that were signed for, the ledger is not opened: fewer lines than were signed for, another
//! line where a checkpoint has one, a missing file. Everything else is said in the log and in a
//! `ledger.damaged` line and Egret goes on; the verifier, and not the writer, is the judge of a
//! ledger.
//!
//! Lines behind the last checkpoint that do not follow one another are treated like a torn last
//! line, of which they are the longer form: a loss of power may leave later pages of a file and not
//! earlier ones. They are set aside whole.

use std::path::Path;

use super::storage::LedgerError;
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
    /// The first line behind the last checkpoint that does not follow.
    pub(super) broken: Option<u64>,
}

/// Takes up the ledger from this checkpoint.
pub(super) fn from_checkpoint(
    dir: &Path,
    segments: &[Segment],
    checkpoint: &Checkpoint,
) -> Result<Resumed, LedgerError> {
    let size = checkpoint.size();
    let mut resumed = Resumed {
        tree: checkpoint.tree.clone(),
        head: (size > 0).then_some(checkpoint.head),
        ..Resumed::default()
    };
    let mut first = None;
    let last = walk::lines(
        dir,
        segments,
        walk::segment_of(segments, size),
        |seq, line| {
            first.get_or_insert(seq);
            if seq < size {
                return Ok(true);
            }
            let hash = LineHash::of(line);
            if seq == size {
                return match hash == checkpoint.head {
                    true => Ok(true),
                    false => Err(altered(dir, seq)),
                };
            }
            let follows = |link: Link| link.seq == seq && link.prev == resumed.head();
            if !Link::of(line).is_some_and(follows) {
                resumed.broken = Some(seq);
                return Ok(false);
            }
            resumed.push(line, hash);
            Ok(true)
        },
    )?;
    // Numbered from the first line that is there: those between it and the checkpoint are gone.
    match first {
        Some(first) if first > size + 1 => Err(LedgerError::Missing {
            dir: dir.to_owned(),
            from: size + 1,
            to: first - 1,
        }),
        _ if last < size => Err(LedgerError::Shortened {
            dir: dir.to_owned(),
            size,
            found: last,
        }),
        _ => Ok(resumed),
    }
}

/// Builds tree and chain from all lines, for want of a checkpoint.
pub(super) fn from_lines(dir: &Path, segments: &[Segment]) -> Result<Resumed, LedgerError> {
    let mut resumed = Resumed::default();
    walk::lines(dir, segments, 0, |seq, line| {
        let expected = resumed.tree.size() + 1;
        if seq > expected && expected == 1 {
            // Without a checkpoint nothing stands for the lines that retention dropped.
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

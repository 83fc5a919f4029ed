//! The file of checkpoints, read one by one: it grows for as long as the ledger does.

use std::io::BufRead;

use crate::ledger::format::checkpoint::Checkpoint;
use crate::ledger::format::note::{NoteError, Verifier};
use crate::ledger::layout::CHECKPOINTS;
use crate::ledger::lines::{Next, RawLines};

use super::flaw::{Flaw, Wrong};

/// The longest note that is read, in bytes; one of 2^63 lines has some four thousand.
const MAX_NOTE: usize = 64 * 1024;

/// The notes of a file, each ended by an empty line.
pub struct Notes<R> {
    lines: RawLines<R>,
    /// Lines that were read.
    passed: u64,
}

impl<R: BufRead> Notes<R> {
    /// The notes in this file.
    pub fn new(reader: R) -> Self {
        Self {
            lines: RawLines::new(reader),
            passed: 0,
        }
    }

    /// The next note and the number of its first line.
    ///
    /// # Errors
    /// When the file cannot be read, is not text, or ends within a note.
    pub fn next_note(&mut self) -> Result<Option<(u64, String)>, Flaw> {
        let begin = self.passed + 1;
        let at = |wrong: Wrong| Flaw {
            line: Some(begin),
            ..wrong.in_file(CHECKPOINTS)
        };
        let mut note = Vec::new();
        let mut empty_lines = 0;
        loop {
            let line = match self.lines.next_line() {
                Ok(Next::Line(line)) => line,
                Ok(Next::End) if note.is_empty() => return Ok(None),
                Ok(Next::End | Next::Unfinished(_)) => return Err(at(Wrong::CheckpointCut)),
                Err(error) => return Err(at(Wrong::Unreadable(error.to_string()))),
            };
            self.passed += 1;
            // The first empty line is between text and signatures.
            empty_lines += u8::from(line.is_empty());
            if empty_lines == 2 {
                break;
            }
            note.extend_from_slice(line);
            note.push(b'\n');
            if note.len() > MAX_NOTE {
                return Err(at(Wrong::Checkpoint(NoteError::Malformed)));
            }
        }
        let note = String::from_utf8(note);
        let note = note.map_err(|_| at(Wrong::Checkpoint(NoteError::Malformed)))?;
        Ok(Some((begin, note)))
    }
}

/// A checkpoint and the line at which it begins.
#[derive(Clone, Debug)]
pub struct Placed {
    /// What was signed.
    pub checkpoint: Checkpoint,
    /// The line of the file, counted from 1.
    pub line: u64,
}

impl Placed {
    /// What is wrong, at this checkpoint.
    pub(super) fn flaw(&self, wrong: Wrong) -> Flaw {
        Flaw {
            line: Some(self.line),
            seq: Some(self.checkpoint.size()),
            ..wrong.in_file(CHECKPOINTS)
        }
    }
}

/// The checkpoints of a file: signed by the key, and none of a smaller ledger than the one before.
pub struct Checkpoints<'k, R> {
    notes: Notes<R>,
    key: Option<&'k Verifier>,
    before: u64,
}

impl<'k, R: BufRead> Checkpoints<'k, R> {
    /// The checkpoints in this file. Without a key there may be none in it.
    pub fn new(reader: R, key: Option<&'k Verifier>) -> Self {
        Self {
            notes: Notes::new(reader),
            key,
            before: 0,
        }
    }

    /// The next checkpoint.
    ///
    /// # Errors
    /// When it is not signed by the key, or is out of order.
    pub fn next_checkpoint(&mut self) -> Result<Option<Placed>, Flaw> {
        let Some((line, note)) = self.notes.next_note()? else {
            return Ok(None);
        };
        let flaw = |wrong: Wrong| Flaw {
            line: Some(line),
            ..wrong.in_file(CHECKPOINTS)
        };
        let key = self.key.ok_or_else(|| flaw(Wrong::NoKey))?;
        let checkpoint =
            Checkpoint::open(&note, key).map_err(|error| flaw(Wrong::Checkpoint(error)))?;
        let placed = Placed { checkpoint, line };
        let (size, before) = (placed.checkpoint.size(), self.before);
        if size < before {
            return Err(placed.flaw(Wrong::CheckpointOrder { size, before }));
        }
        self.before = size;
        Ok(Some(placed))
    }
}

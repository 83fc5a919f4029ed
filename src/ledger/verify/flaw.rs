//! What can be wrong with a ledger, and where.

use std::fmt;

use crate::ledger::format::checkpoint::Checkpoint;
use crate::ledger::format::note::NoteError;
use crate::ledger::format::timestamp::Timestamp;

/// The first thing that is wrong with a ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flaw {
    /// The name of the file.
    pub file: String,
    /// The line in that file, counted from 1; `None` when it is about the file as a whole.
    pub line: Option<u64>,
    /// The sequence number that the line has, or ought to have.
    pub seq: Option<u64>,
    /// What is wrong with it.
    pub wrong: Wrong,
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(f, ", line {line}")?;
        }
        if let Some(seq) = self.seq {
            write!(f, " (seq {seq})")?;
        }
        write!(f, ": {}", self.wrong)
    }
}

impl std::error::Error for Flaw {}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    /// The line is no ledger record.
    #[error("not a ledger record")]
    NotARecord,
    /// The time of the line is none.
    #[error("its time is not written as a ledger writes times")]
    Time,
    /// The line has another sequence number than its place.
    #[error("it says seq {found}: lines were removed, repeated or moved")]
    Sequence {
        /// The number that it has.
        found: u64,
    },
    /// The line is not linked to the one before.
    #[error("its `prev` is not the hash of the line before: that line or this one was changed")]
    Unlinked,
    /// A file to which nothing is added any more ends within a line.
    #[error("the file ends within the line: it was cut")]
    CutOff,
    /// A file cannot be read, or not be decompressed.
    #[error("it cannot be read: {0}")]
    Unreadable(String),
    /// The lines are not those that were signed.
    #[error("line {first} to {last} are not those that were signed at {time}: one was changed")]
    Changed {
        /// The first line that may have been changed; those before were signed as they are.
        first: u64,
        /// The last of them.
        last: u64,
        /// The time of the checkpoint.
        time: Timestamp,
    },
    /// The ledger ends before a checkpoint says it does.
    #[error("{size} lines were signed at {time}, and the ledger ends at line {last}: {} are missing", size - last)]
    Missing {
        /// The size that was signed.
        size: u64,
        /// The number of the last line there is.
        last: u64,
        /// The time of the checkpoint.
        time: Timestamp,
    },
    /// The oldest file does not begin where a checkpoint lets it be taken up.
    #[error("the ledger begins with line {first}, and no checkpoint says what came before")]
    NoBeginning {
        /// The first line there is.
        first: u64,
    },
    /// A checkpoint's signature or form is wrong.
    #[error("a checkpoint is refused: {0}")]
    Checkpoint(NoteError),
    /// The file of checkpoints ends within one.
    #[error("the file of checkpoints ends within one: it was cut")]
    CheckpointCut,
    /// A checkpoint is of a smaller ledger than the one before it.
    #[error("the checkpoint is of {size} lines and the one before it of {before}")]
    CheckpointOrder {
        /// Its size.
        size: u64,
        /// The size of the one before.
        before: u64,
    },
    /// There is a key for checkpoints and lines to sign, and no checkpoints.
    #[error("the ledger's checkpoints are missing: there is a key that signs them")]
    NoCheckpoints,
    /// There are checkpoints and no key to check them with.
    #[error("there are checkpoints, and no key to check them: give one with --public-key")]
    NoKey,
    /// The writer found damage and put it on record.
    #[error("damage was found and recorded here: {what}. Once it is known, give --known-damage with this seq{}", others(*.more))]
    Damaged {
        /// The code and what it is about.
        what: String,
        /// How many more lines name damage.
        more: u64,
    },
    /// A checkpoint kept elsewhere is of lines that are not there any more.
    #[error(
        "the lines up to {size}, of a checkpoint kept elsewhere, are not there any more to be compared"
    )]
    TooOld {
        /// The size of the checkpoint.
        size: u64,
    },
}

fn others(more: u64) -> String {
    match more {
        0 => String::new(),
        more => format!("; {more} more such lines follow"),
    }
}

impl Wrong {
    /// The wrong, somewhere in a file.
    pub(super) fn in_file(self, file: impl Into<String>) -> Flaw {
        Flaw {
            file: file.into(),
            line: None,
            seq: None,
            wrong: self,
        }
    }

    /// Lines after `after`, up to the end of the checkpoint, are not those that were signed.
    pub(super) fn changed(after: u64, checkpoint: &Checkpoint) -> Self {
        Self::Changed {
            first: after + 1,
            last: checkpoint.size(),
            time: checkpoint.time,
        }
    }

    /// The ledger ends at `last`, before the end of the checkpoint.
    pub(super) fn missing(last: u64, checkpoint: &Checkpoint) -> Self {
        Self::Missing {
            size: checkpoint.size(),
            last,
            time: checkpoint.time,
        }
    }
}

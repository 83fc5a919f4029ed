//! Checkpoints: the size and root of the ledger's tree, signed, in the form that witnesses and
//! verifiers of other logs read (<https://c2sp.org/tlog-checkpoint>).
//!
//! After the three lines of that form come four extension lines of ours, which make a checkpoint
//! a place from which the tree and the chain can be taken up:
//!
//! ```text
//! egret.ledger/1c6fef5f5fd8a6cd                  origin, which is the name of the key
//! 3                                              size
//! rrvLz+cPSMplYkf49fZdVh…                        root, base64
//! time 2026-11-22T09:30:00.000000Z
//! cause count
//! head 5f2c…                                     SHA-256 of the last line, hexadecimal
//! frontier +sVCA+cDzG… OZyJEB…                   roots of the perfect subtrees, largest first
//! ```

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::line_hash::LineHash;
use super::merkle::{Frontier, TreeHash};
use super::note::{KeyName, NoteError, Signer, Verifier};
use super::timestamp::Timestamp;

/// What a checkpoint was written for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// The writer started, after a clean end or for the first time.
    Start,
    /// Enough lines were written since the last one.
    Count,
    /// Enough time has passed since a line was written.
    Time,
    /// Nothing was written for a while: silence is provable, too.
    Heartbeat,
    /// The file is full or its day over. The size is that of the rotated file's last line.
    Rotation,
    /// Files were dropped.
    Retention,
    /// The writer ended, and every `use` had its `result`.
    Shutdown,
    /// The writer started after an end that was not clean, and named what it left unfinished.
    Recovery,
}

impl Cause {
    const ALL: [Self; 8] = [
        Self::Start,
        Self::Count,
        Self::Time,
        Self::Heartbeat,
        Self::Rotation,
        Self::Retention,
        Self::Shutdown,
        Self::Recovery,
    ];

    /// The word in the checkpoint.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Count => "count",
            Self::Time => "time",
            Self::Heartbeat => "heartbeat",
            Self::Rotation => "rotation",
            Self::Retention => "retention",
            Self::Shutdown => "shutdown",
            Self::Recovery => "recovery",
        }
    }

    /// Whether no request was under way: whatever is unfinished comes after it.
    pub fn is_boundary(self) -> bool {
        matches!(self, Self::Start | Self::Shutdown | Self::Recovery)
    }
}

impl FromStr for Cause {
    type Err = NoteError;

    fn from_str(text: &str) -> Result<Self, NoteError> {
        let mut all = Self::ALL.into_iter();
        all.find(|cause| cause.as_str() == text)
            .ok_or(NoteError::NotACheckpoint)
    }
}

/// How large the ledger is and what is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which ledger.
    pub origin: KeyName,
    /// The tree over the lines.
    pub tree: Frontier,
    /// The hash of the last line, which the next one is linked to.
    pub head: LineHash,
    /// When it was written, by the clock of the machine.
    pub time: Timestamp,
    /// What for.
    pub cause: Cause,
}

impl Checkpoint {
    /// The number of lines, which is the `seq` of the last one.
    pub fn size(&self) -> u64 {
        self.tree.size()
    }

    /// The root of the tree over them.
    pub fn root(&self) -> TreeHash {
        self.tree.root()
    }

    /// The checkpoint as a note.
    ///
    /// # Errors
    /// None that could be met: a checkpoint's text is always a note's.
    pub fn sign(&self, signer: &Signer) -> Result<String, NoteError> {
        signer.sign(&self.to_string())
    }

    /// The checkpoint in a note that is signed with this key, whose name is also the origin: the
    /// same key may sign for another ledger.
    ///
    /// # Errors
    /// When the signature is missing or wrong, or what is signed is not such a checkpoint.
    pub fn open(note: &str, verifier: &Verifier) -> Result<Self, NoteError> {
        let checkpoint: Self = verifier.open(note)?.parse()?;
        if checkpoint.origin != *verifier.name() {
            return Err(NoteError::NotACheckpoint);
        }
        Ok(checkpoint)
    }
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let base64 = |hash: &TreeHash| BASE64_STANDARD.encode(hash.as_bytes());
        writeln!(
            f,
            "{}\n{}\n{}",
            self.origin,
            self.size(),
            base64(&self.root())
        )?;
        writeln!(f, "time {}", self.time)?;
        writeln!(f, "cause {}", self.cause.as_str())?;
        writeln!(f, "head {}", self.head)?;
        f.write_str("frontier")?;
        for peak in self.tree.peaks() {
            write!(f, " {}", base64(peak))?;
        }
        writeln!(f)
    }
}

impl FromStr for Checkpoint {
    type Err = NoteError;

    /// Reads the text of a note. Extension lines after ours are passed over, as the
    /// specification asks; a root that is not that of the frontier is refused.
    fn from_str(text: &str) -> Result<Self, NoteError> {
        parse(text).ok_or(NoteError::NotACheckpoint)
    }
}

fn parse(text: &str) -> Option<Checkpoint> {
    let mut lines = text.strip_suffix('\n')?.split('\n');
    let origin = lines.next()?.parse().ok()?;
    let size = lines.next()?.parse().ok()?;
    lines.next()?;
    let time: Timestamp = lines.next()?.strip_prefix("time ")?.parse().ok()?;
    let cause = lines.next()?.strip_prefix("cause ")?.parse().ok()?;
    let head: LineHash = lines.next()?.strip_prefix("head ")?.parse().ok()?;
    let peaks = lines.next()?.strip_prefix("frontier")?;
    let has_empty_line = lines.any(str::is_empty);
    let peaks = match peaks.strip_prefix(' ') {
        Some(peaks) => peaks.split(' ').map(parse_hash).collect::<Option<_>>()?,
        None if peaks.is_empty() => Vec::new(),
        None => return None,
    };
    let checkpoint = Checkpoint {
        origin,
        tree: Frontier::from_peaks(size, peaks)?,
        head,
        time,
        cause,
    };
    // One checkpoint has one spelling; this also compares the root with that of the frontier.
    let is_consistent = !has_empty_line
        && (size == 0) == (head == LineHash::GENESIS)
        && text.starts_with(&checkpoint.to_string());
    is_consistent.then_some(checkpoint)
}

fn parse_hash(text: &str) -> Option<TreeHash> {
    let bytes = BASE64_STANDARD.decode(text).ok()?;
    Some(TreeHash::from_bytes(bytes.try_into().ok()?))
}

/// The notes in a file of them, each followed by an empty line; [`Notes::rest`] is what is left
/// after the last whole one.
#[derive(Clone, Debug)]
pub struct Notes<'a> {
    rest: &'a str,
}

impl<'a> Notes<'a> {
    /// The notes in this text.
    pub fn new(text: &'a str) -> Self {
        Self { rest: text }
    }

    /// What has not been given out; after the last note, one that a crash tore, or nothing.
    pub fn rest(&self) -> &'a str {
        self.rest
    }
}

impl<'a> Iterator for Notes<'a> {
    type Item = &'a str;

    /// A note holds an empty line itself, between text and signatures, and ends at the next one.
    fn next(&mut self) -> Option<&'a str> {
        let signatures = self.rest.find("\n\n")? + 2;
        let end = signatures + self.rest[signatures..].find("\n\n")? + 1;
        let note = &self.rest[..end];
        self.rest = &self.rest[end + 1..];
        Some(note)
    }
}

#[cfg(test)]
mod tests;

//! A proof that one line is in a ledger, checked with nothing but itself and the public key.
//!
//! The form is that of other logs (<https://c2sp.org/tlog-proof>), with the line as its extra data:
//!
//! ```text
//! c2sp.org/tlog-proof@v1
//! extra eyJzZXEiOjQyLCJ0aW1lIjoiMj…     the line without its line feed, base64
//! index 41                              its place, counted from 0: its seq less one
//! gSKyXoYZUgZ6jduWYrkDOARinOMGJveX…     the path to the root (RFC 6962 section 2.1.1), base64
//! B95lDa8R83lS8n0eG+o0buTxRKQTYFi/…
//!
//! egret.ledger/1c6fef5f5fd8a6cd         the checkpoint, as it is in the ledger
//! 1000
//! …
//! ```
//!
//! The specification warns that extra data is not authenticated. Here it is: the leaf is computed
//! from it.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::format::checkpoint::Checkpoint;
use super::format::merkle::{self, Prover, TreeHash};
use super::format::note::{NoteError, Verifier};
use super::format::record::Record;
use super::history::History;
use super::lines::{Next, RawLines};
use super::verify::{self, Notes, VerifyError};

/// The first line of a proof.
const HEADER: &str = "c2sp.org/tlog-proof@v1";

/// The longest path there is: one hash for each doubling of a tree that has 2^64 leaves.
const MAX_PATH: usize = 64;

/// A line, its place, the path from there to a root, and the signed root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// The line without its line feed.
    pub line: String,
    /// Its place, counted from 0.
    pub index: u64,
    /// The hashes beside the way up.
    pub path: Vec<TreeHash>,
    /// The checkpoint, as a note.
    pub checkpoint: String,
}

/// What a proof proves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proven {
    /// The line, read.
    pub record: Record,
    /// The checkpoint that vouches for it.
    pub checkpoint: Checkpoint,
}

/// Why a proof proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidProof {
    /// Not of the form of a proof.
    #[error("this is not a proof in the form c2sp.org/tlog-proof@v1 with a ledger line in it")]
    Malformed,
    /// The checkpoint in it is refused.
    #[error("the checkpoint in the proof: {0}")]
    Checkpoint(NoteError),
    /// The line is not in the tree that was signed.
    #[error(
        "the line is not part of the ledger that was signed: it, its place or the path was changed"
    )]
    NotIncluded,
    /// The line gives itself another number than its place.
    #[error("the line has another sequence number than its place in the ledger")]
    Misplaced,
}

impl Proof {
    /// Checks the proof with this key.
    ///
    /// # Errors
    /// When the checkpoint is not signed by the key, or the line is not what was signed.
    pub fn check(&self, key: &Verifier) -> Result<Proven, InvalidProof> {
        let checkpoint =
            Checkpoint::open(&self.checkpoint, key).map_err(InvalidProof::Checkpoint)?;
        let leaf = TreeHash::of_leaf(self.line.as_bytes());
        let (size, root) = (checkpoint.size(), checkpoint.root());
        merkle::check_inclusion(leaf, self.index, size, root, &self.path)
            .map_err(|_| InvalidProof::NotIncluded)?;
        let record = Record::parse(self.line.as_bytes()).map_err(|_| InvalidProof::Malformed)?;
        if record.seq.checked_sub(1) != Some(self.index) {
            return Err(InvalidProof::Misplaced);
        }
        Ok(Proven { record, checkpoint })
    }
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = BASE64_STANDARD.encode(&self.line);
        writeln!(f, "{HEADER}\nextra {line}\nindex {}", self.index)?;
        for hash in &self.path {
            writeln!(f, "{}", BASE64_STANDARD.encode(hash.as_bytes()))?;
        }
        write!(f, "\n{}", self.checkpoint)
    }
}

impl FromStr for Proof {
    type Err = InvalidProof;

    fn from_str(text: &str) -> Result<Self, InvalidProof> {
        parse(text).ok_or(InvalidProof::Malformed)
    }
}

fn parse(text: &str) -> Option<Proof> {
    let (head, checkpoint) = text.split_once("\n\n")?;
    let mut lines = head.split('\n');
    if lines.next()? != HEADER {
        return None;
    }
    let line = BASE64_STANDARD.decode(lines.next()?.strip_prefix("extra ")?);
    let index = lines.next()?.strip_prefix("index ")?;
    let number: u64 = index.parse().ok()?;
    if number.to_string() != index {
        return None;
    }
    let path: Option<Vec<TreeHash>> = lines.take(MAX_PATH + 1).map(parse_hash).collect();
    Some(Proof {
        line: String::from_utf8(line.ok()?).ok()?,
        index: number,
        path: path.filter(|path| path.len() <= MAX_PATH)?,
        checkpoint: checkpoint.to_owned(),
    })
}

fn parse_hash(text: &str) -> Option<TreeHash> {
    let bytes = BASE64_STANDARD.decode(text).ok()?;
    Some(TreeHash::from_bytes(bytes.try_into().ok()?))
}

/// Why a line cannot be proven.
#[derive(Debug, thiserror::Error)]
pub enum ProveError {
    /// The ledger could not be read, or something is wrong with it.
    #[error(transparent)]
    Ledger(#[from] VerifyError),
    /// There is no key, so nothing was signed.
    #[error("this ledger has no public key: nothing in it is signed")]
    NotSigned,
    /// No checkpoint is about the line yet.
    #[error(
        "no checkpoint covers line {seq} yet; one is written within seconds of a line, by whoever writes the ledger"
    )]
    NotCovered {
        /// The line.
        seq: u64,
    },
    /// The line is not there.
    #[error("line {seq} is not in the ledger's files (dropped, or never written)")]
    NotThere {
        /// The line.
        seq: u64,
    },
    /// What was made does not prove it.
    #[error("line {seq} does not fit its checkpoint ({reason}); `egret ledger verify` says more")]
    Mismatch {
        /// The line.
        seq: u64,
        /// What the check of the proof said.
        reason: InvalidProof,
    },
}

impl ProveError {
    /// Whether the checkpoint that was given is none of this ledger.
    pub fn is_about_the_checkpoint(&self) -> bool {
        matches!(self, Self::Ledger(VerifyError::Kept(_)))
    }
}

/// Proves that the line `seq` is in the ledger in `dir`: under `kept`, a checkpoint from
/// elsewhere, or else under the first one that covers the line. Only the lines from the checkpoint
/// before it to that one are read.
///
/// # Errors
/// When the line or a checkpoint of it is not there, or they do not fit each other.
pub fn prove(dir: &Path, seq: u64, kept: Option<String>) -> Result<Proof, ProveError> {
    let key = verify::read_key(dir)?.ok_or(ProveError::NotSigned)?;
    let index = seq.checked_sub(1).ok_or(ProveError::NotThere { seq })?;
    let around = Around::find(dir, seq)?;
    let note = kept.or(around.covering);
    let note = note.ok_or(ProveError::NotCovered { seq })?;
    let refused = |error| ProveError::Ledger(VerifyError::Kept(error));
    let target = Checkpoint::open(&note, &key).map_err(refused)?;
    let before = around.before.map(|note| Checkpoint::open(&note, &key));
    let before = before.transpose().map_err(refused)?;
    let mut prover =
        Prover::inclusion(index, target.size()).ok_or(ProveError::NotCovered { seq })?;
    if let Some(before) = &before {
        let taken_up = prover.after(&before.tree);
        prover = taken_up.ok_or(ProveError::NotThere { seq })?;
    }
    let from = before.map_or(0, |before| before.size());
    let line = feed(dir, from..target.size(), index, &mut prover)?;
    let missing = ProveError::NotThere { seq };
    let (Some(line), Some(path)) = (line, prover.finish()) else {
        return Err(missing);
    };
    let proof = Proof {
        line,
        index,
        path,
        checkpoint: note,
    };
    let checked = proof.check(&key);
    checked.map_err(|reason| ProveError::Mismatch { seq, reason })?;
    Ok(proof)
}

/// The last checkpoint of the ledger in `dir`, as a note, if there is one.
///
/// # Errors
/// When the file cannot be read.
pub fn last_checkpoint(dir: &Path) -> Result<Option<String>, VerifyError> {
    let mut file = verify::checkpoints_file(dir)?;
    let mut notes = Notes::new(file.read(dir)?);
    let mut last = None;
    while let Some((_, note)) = notes.next_note()? {
        last = Some(note);
    }
    Ok(last)
}

/// The latest checkpoint, checked.
#[derive(Clone, Debug)]
pub struct Latest {
    /// The ledger's public key.
    pub key: Verifier,
    /// The signed note.
    pub note: String,
    /// What it says.
    pub checkpoint: Checkpoint,
}

/// The latest checkpoint of the ledger in `dir`; `None` where nothing is signed yet.
///
/// # Errors
/// When a file cannot be read, or the checkpoint is not signed by the ledger's key.
pub fn latest(dir: &Path) -> Result<Option<Latest>, VerifyError> {
    let Some(key) = verify::read_key(dir)? else {
        return Ok(None);
    };
    let Some(note) = last_checkpoint(dir)? else {
        return Ok(None);
    };
    let checkpoint = Checkpoint::open(&note, &key).map_err(VerifyError::Kept)?;
    Ok(Some(Latest {
        key,
        note,
        checkpoint,
    }))
}

/// The notes around a line.
struct Around {
    /// Of the last checkpoint that does not cover it.
    before: Option<String>,
    /// Of the first that does.
    covering: Option<String>,
}

impl Around {
    fn find(dir: &Path, seq: u64) -> Result<Self, VerifyError> {
        let mut file = verify::checkpoints_file(dir)?;
        let mut notes = Notes::new(file.read(dir)?);
        let mut before = None;
        while let Some((_, note)) = notes.next_note()? {
            // Signatures are checked of the two that matter.
            let size = note.lines().nth(1).and_then(|size| size.parse().ok());
            if size.is_some_and(|size: u64| size >= seq) {
                let covering = Some(note);
                return Ok(Self { before, covering });
            }
            before = Some(note);
        }
        Ok(Self {
            before,
            covering: None,
        })
    }
}

/// Passes the leaves of these lines, counted from 0, to the prover; the text of one of them.
pub(super) fn feed(
    dir: &Path,
    range: std::ops::Range<u64>,
    index: u64,
    prover: &mut Prover,
) -> Result<Option<String>, VerifyError> {
    let io_error = |path: &Path| {
        let path = path.to_owned();
        |source| VerifyError::Io { path, source }
    };
    let history = History::open(dir).map_err(io_error(dir))?;
    let mut at = range.start;
    let mut wanted = None;
    for part in history.from_seq(range.start + 1) {
        let skip = (range.start + 1).saturating_sub(part.first.unwrap_or(u64::MAX));
        if part.first != Some(at + 1 - skip) {
            break;
        }
        let mut skip = skip;
        let mut lines = RawLines::new(part.open().map_err(io_error(&part.path))?);
        while let Next::Line(line) = lines.next_line().map_err(io_error(&part.path))? {
            if skip > 0 {
                skip -= 1;
                continue;
            }
            if at == range.end {
                return Ok(wanted);
            }
            if at == index {
                wanted = String::from_utf8(line.to_vec()).ok();
            }
            prover.push(TreeHash::of_leaf(line));
            at += 1;
        }
    }
    Ok(wanted)
}

#[cfg(test)]
mod tests;

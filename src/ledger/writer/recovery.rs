//! Opening a ledger for writing: what a crash left is put in order, and what cannot be is said.

use std::path::Path;
use std::sync::Arc;

use super::before::Before;
use super::current::Current;
use super::directory;
use super::error::LedgerError;
use super::lock::DirectoryLock;
use super::sign_on::{self, Signed};
use super::signing::Signing;
use super::storage::LedgerFile;
use crate::ledger::format::chain::Chain;
use crate::ledger::format::timestamp::Timestamp;
use crate::ledger::layout;

/// An opened ledger, ready to be continued.
pub(super) struct Opened {
    pub(super) file: LedgerFile,
    /// Held as long as anyone writes in the directory.
    pub(super) lock: Arc<DirectoryLock>,
    /// Bytes in the file, all of them whole lines.
    pub(super) length: u64,
    pub(super) chain: Chain,
    /// The number of the first line in the file, or of the one that will be.
    pub(super) first: u64,
    /// When that line was written.
    pub(super) since: Option<Timestamp>,
    /// Not there for a writer that does not sign.
    pub(super) signed: Option<Signed>,
}

/// Opens or creates the ledger in this directory. A last line without its line feed, which a crash
/// can leave, is moved to a file `torn-<microseconds>.jsonl`. Uses without a result are named, unless
/// the writer `before` still serves them.
pub(super) fn open(
    dir: &Path,
    now: Timestamp,
    signing: Option<&Signing>,
    before: Before,
) -> Result<Opened, LedgerError> {
    let lock = Arc::new(DirectoryLock::acquire(dir)?);
    directory::tidy(dir).map_err(LedgerError::at(dir))?;
    let mut current = Current::open(dir)?;
    current.cut_torn(dir, now)?;
    let rotated = layout::rotated_segments(dir).map_err(LedgerError::at(dir))?;
    current.set_aside_copy(dir, &rotated, now)?;
    directory::sync(dir).map_err(LedgerError::at(dir))?;
    let mut segments = layout::segments(dir).map_err(LedgerError::at(dir))?;
    if let (Some(last), Some((first, _))) = (segments.last_mut(), current.first) {
        last.first = Some(first);
    }
    let (chain, files, signed) = match signing {
        None => (current.chain(dir, &segments)?, None, None),
        Some(signing) => {
            let (signed, files) =
                sign_on::sign_on(dir, &segments, &mut current, signing, before, now)?;
            let chain = Chain::at(signed.tree.size(), signed.head);
            (chain, Some(files), Some(signed))
        }
    };
    let Current {
        file,
        length,
        first,
        ..
    } = current;
    Ok(Opened {
        file: LedgerFile::new(dir, file, length, files, Arc::clone(&lock)),
        lock,
        length,
        first: first.map_or(chain.next_seq(), |(seq, _)| seq),
        since: first.map(|(_, time)| time),
        chain,
        signed,
    })
}

#[cfg(test)]
mod tests;

//! Why a ledger cannot be opened, and why entries are not on record.

use std::io;
use std::path::{Path, PathBuf};

use crate::error::{Code, Refusal};

/// Why a ledger cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// Another process writes to it.
    #[error(
        "the ledger in {0} is in use by another Egret; stop that one, or give this one its own --data-dir"
    )]
    Locked(PathBuf),
    /// The last line is whole but no record. Whoever wrote it was not Egret, so nothing is written
    /// after it.
    #[error(
        "the last line of {0} is not a ledger record; move the file away to start a new ledger, and keep it for examination"
    )]
    Damaged(PathBuf),
    /// There are fewer lines than a signed checkpoint covers. To go on would be to write
    /// others under their numbers.
    #[error(
        "the ledger in {dir} ends with line {found}, but its last checkpoint was signed over {size} lines: lines were cut off or a file was replaced. Bring the files back, or move the directory away to start a new ledger and keep it for examination (`egret ledger verify` says more)"
    )]
    Shortened {
        /// The ledger's directory.
        dir: PathBuf,
        /// The size in the last checkpoint.
        size: u64,
        /// The number of the last line that is there.
        found: u64,
    },
    /// A line is not the one that was there: it does not fit the checkpoint, or its number is not
    /// the one it has to have.
    #[error(
        "line {seq} of the ledger in {dir} is not the one that was written there. Bring the files back, or move the directory away to start a new ledger and keep it for examination (`egret ledger verify` says more)"
    )]
    Altered {
        /// The ledger's directory.
        dir: PathBuf,
        /// The line.
        seq: u64,
    },
    /// A file with lines is gone that retention did not drop, or no checkpoint is left to go on
    /// from where older lines were dropped.
    #[error(
        "lines {from} to {to} of the ledger in {dir} are missing. Bring their file and the checkpoints back, or move the directory away to start a new ledger and keep it for examination"
    )]
    Missing {
        /// The ledger's directory.
        dir: PathBuf,
        /// The first line that is missing.
        from: u64,
        /// The last.
        to: u64,
    },
    /// The signing key cannot be opened. A new one would be a new ledger for everyone who checks.
    #[error(
        "{path}: {reason}. Bring back the master key it was sealed with; with the file moved away, a new key is made and older checkpoints count no more"
    )]
    SigningKey {
        /// The file of the key.
        path: PathBuf,
        /// Why, without anything of the key.
        reason: String,
    },
    /// The file system refused.
    #[error("{path}: {source}")]
    Io {
        /// The file concerned.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
}

impl LedgerError {
    /// Says which file an error is about.
    pub(super) fn at(path: &Path) -> impl Fn(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Io {
            path: path.clone(),
            source,
        }
    }
}

/// Why entries are not on record. Nothing may be sent upstream then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LedgerUnavailable {
    /// More is waiting for the disk than [`crate::ledger::Options::queue`] allows.
    #[error("more usage records are waiting for the disk than the queue holds")]
    QueueFull,
    /// Of what is waiting, the principal's own requests have the share that one may take.
    #[error("too many usage records of this principal's requests are waiting for the disk already")]
    ShareFull,
    /// The disk did not answer in time.
    #[error("the disk did not take the usage record in time")]
    Deadline,
    /// The file system refused.
    #[error("the usage record could not be written")]
    WriteFailed,
    /// The ledger is closed or its thread is gone.
    #[error("the ledger is closed")]
    Closed,
}

impl From<LedgerUnavailable> for Refusal {
    fn from(unavailable: LedgerUnavailable) -> Self {
        if unavailable == LedgerUnavailable::ShareFull {
            let detail = format!(
                "Nothing was sent: {unavailable}. Send fewer requests at once, or try again later."
            );
            return Refusal::new(Code::Overloaded, detail);
        }
        let detail = format!(
            "Nothing was sent: {unavailable}. Check space and health of the disk that holds the ledger (the server's log has the error), then try again."
        );
        Refusal::new(Code::LedgerUnavailable, detail)
    }
}

/// How it ended: for one caller, or for the whole ledger.
pub(super) type Answer = Result<(), LedgerUnavailable>;

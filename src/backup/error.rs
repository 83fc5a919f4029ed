//! Why a backup was not made or not put back.

use std::io;
use std::path::{Path, PathBuf};

use crate::vault::{StoreError, StoreUnavailable};

/// Why nothing was made or put back.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// Something is where the backup should be.
    #[error("{0} is not empty; a backup is written into a directory of its own")]
    TargetNotEmpty(PathBuf),
    /// The data directory is no place for a backup of itself.
    #[error("{0} is in the data directory, and would be lost with it; choose another directory")]
    TargetInside(PathBuf),
    /// There is something to lose.
    #[error(
        "{directory} is not empty: it has {found}. A backup is restored into a data directory that has \
         nothing but its master key and its configuration"
    )]
    DataNotEmpty {
        /// The data directory.
        directory: PathBuf,
        /// Something that is in it.
        found: String,
    },
    /// A place that a rename does not reach.
    #[error("{path} is not in the data directory {directory}, into which a backup is restored")]
    Elsewhere {
        /// Where the configuration wants the file.
        path: PathBuf,
        /// The data directory.
        directory: PathBuf,
    },
    /// No manifest, or one that is none.
    #[error("{0} is not a backup: it has no manifest that can be read")]
    NotABackup(PathBuf),
    /// A later Egret made it.
    #[error("this backup was made by a newer Egret, {0}; restore it with that one")]
    Newer(String),
    /// Another master key sealed it.
    #[error(
        "this backup belongs to another master key: it was made under key {backup}, and {loaded} is \
         loaded. Put the key of the backup in its place"
    )]
    OtherKey {
        /// The name of its key.
        backup: String,
        /// The name of the key that was loaded.
        loaded: String,
    },
    /// It is not as it was written.
    #[error("the backup is damaged or was changed: {0}. Nothing was restored; take another one")]
    Changed(String),
    /// Files went while they were copied.
    #[error("retention drops files of the ledger while they are copied; try again")]
    Dropped,
    /// A ledger that has nothing to do with the backup.
    #[error("{path} is not the ledger that was backed up: {reason}")]
    OtherLedger {
        /// The directory.
        path: PathBuf,
        /// How it differs.
        reason: String,
    },
    /// The keys could not be used.
    #[error("the master key cannot be used")]
    Crypto,
    /// The file system refused.
    #[error("{path}: {source}")]
    File {
        /// The file concerned.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<StoreUnavailable> for BackupError {
    fn from(error: StoreUnavailable) -> Self {
        BackupError::Store(error.into())
    }
}

impl BackupError {
    /// Says of what file an error is.
    pub(super) fn at(path: &Path) -> impl Fn(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| BackupError::File {
            path: path.clone(),
            source,
        }
    }
}

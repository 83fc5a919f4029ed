//! The lock of a ledger's directory, which keeps a second writer out.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::error::LedgerError;
use super::identity;
use crate::ledger::layout;

/// Held by whoever writes in the directory.
#[derive(Debug)]
pub(super) struct DirectoryLock {
    file: File,
    path: PathBuf,
    /// The directory itself is locked too: `rm lock` would otherwise let a second writer in, which
    /// makes the file again and locks that one. Not every file system can lock a directory.
    _directory: File,
}

impl DirectoryLock {
    /// Locks the directory, which is made if it is not there.
    pub(super) fn acquire(dir: &Path) -> Result<Self, LedgerError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(LedgerError::at(dir))?;
        let directory = File::open(dir).map_err(LedgerError::at(dir))?;
        if let Err(TryLockError::WouldBlock) = directory.try_lock() {
            return Err(LedgerError::Locked(dir.to_owned()));
        }
        let path = dir.join(layout::LOCK);
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).write(true).mode(0o600);
        let file = options.open(&path).map_err(LedgerError::at(&path))?;
        match file.try_lock() {
            Ok(()) => Ok(Self {
                file,
                path,
                _directory: directory,
            }),
            Err(TryLockError::WouldBlock) => Err(LedgerError::Locked(dir.to_owned())),
            Err(TryLockError::Error(source)) => Err(LedgerError::at(&path)(source)),
        }
    }

    /// Checks that the lock is still the one that others would meet. Where it was removed, the
    /// directory may be another writer's by now.
    pub(super) fn check(&self) -> io::Result<()> {
        identity::check(&self.file, &self.path)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_lock_that_was_removed_lets_nobody_else_in() {
        let dir = tempfile::tempdir().unwrap();
        let first = DirectoryLock::acquire(dir.path()).unwrap();
        let refused = DirectoryLock::acquire(dir.path()).unwrap_err();
        assert!(matches!(refused, LedgerError::Locked(_)));
        fs::remove_file(dir.path().join(layout::LOCK)).unwrap();
        let refused = DirectoryLock::acquire(dir.path()).unwrap_err();
        assert!(matches!(refused, LedgerError::Locked(_)));
        assert!(first.check().is_err(), "and its holder notices");
        drop(first);
        DirectoryLock::acquire(dir.path()).unwrap();
    }
}

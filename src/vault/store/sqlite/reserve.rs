//! Space on the disk for changes that take something away.
//!
//! A value that is known to a stranger has to be revoked although the disk is full, and SQLite needs space to
//! commit: what is changed goes into the write-ahead log first. So a file of fixed size lies beside the store.
//! Where the disk has little left, such a change deletes the file, commits, has the log moved into the
//! database, and puts the file back. A change that adds something does not, or the space would be gone when
//! it is needed.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;

use sqlx::SqlitePool;

use crate::files;

/// The size of the file: several times what a change writes.
const SIZE: u64 = 512 * 1024;
/// How much of the file is written at once.
const PIECE: usize = 64 * 1024;

/// The file that keeps the space.
#[derive(Clone, Debug)]
pub(super) struct Reserve {
    file: Arc<Path>,
    pool: SqlitePool,
}

impl Reserve {
    /// The one of this database, with its connections.
    pub(super) fn of(database: &Path, pool: &SqlitePool) -> Self {
        Self {
            file: files::beside(database, "-reserve").into(),
            pool: pool.clone(),
        }
    }

    /// Makes the file, or what is missing of it. It is no hole in the file system: it is written. Blocks.
    ///
    /// # Errors
    /// When there is no space for it. What there is is kept.
    pub(super) fn keep(&self) -> io::Result<()> {
        let there = fs::metadata(&self.file).map_or(0, |file| file.len());
        if there >= SIZE {
            return Ok(());
        }
        let mut file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(files::PRIVATE)
            .open(&self.file)?;
        let mut left = usize::try_from(SIZE - there).unwrap_or(usize::MAX);
        let zeros = vec![0; PIECE];
        while left > 0 {
            let written = file.write(&zeros[..left.min(PIECE)])?;
            if written == 0 {
                return Err(ErrorKind::WriteZero.into());
            }
            left -= written;
        }
        file.sync_all()
    }

    /// Whether the disk has so little left that a change may not find room.
    pub(super) fn is_needed(&self) -> bool {
        files::is_disk_full(self.file.parent().unwrap_or(&self.file))
    }

    /// Gives the space to a change, if it is needed.
    pub(super) fn give(&self) -> Option<Given> {
        if !self.is_needed() {
            return None;
        }
        match fs::remove_file(&self.file) {
            Ok(()) => Some(Given(self.clone())),
            Err(error) => {
                if error.kind() != ErrorKind::NotFound {
                    tracing::warn!(%error, "the space that is kept for a full disk cannot be given free");
                }
                None
            }
        }
    }
}

/// Space that a change has got. What is left of it is kept again with the end of this value.
pub(super) struct Given(Reserve);

impl Given {
    /// The change is made: moves the log into the database, where what was deleted has made room.
    pub(super) async fn take_back(self) {
        let emptied = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)")
            .execute(&self.0.pool)
            .await;
        if let Err(error) = emptied {
            tracing::debug!(%error, "the write-ahead log could not be emptied yet");
        }
        let _ = tokio::task::spawn_blocking(move || drop(self)).await;
    }
}

impl Drop for Given {
    fn drop(&mut self) {
        if let Err(error) = self.0.keep() {
            tracing::warn!(%error, "the space that is kept for a full disk could not be taken back yet");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reserve(dir: &tempfile::TempDir) -> Reserve {
        let pool = SqlitePool::connect_lazy("sqlite::memory:").unwrap();
        Reserve::of(&dir.path().join("egret.db"), &pool)
    }

    #[tokio::test]
    async fn what_is_missing_of_it_is_written_again() {
        let dir = tempfile::tempdir().unwrap();
        let reserve = reserve(&dir);
        for there in [None, Some(0), Some(1), Some(SIZE - 1), Some(SIZE)] {
            let _ = fs::remove_file(&reserve.file);
            if let Some(there) = there {
                fs::write(&reserve.file, vec![0; there as usize]).unwrap();
            }
            reserve.keep().unwrap();
            assert_eq!(
                fs::metadata(&reserve.file).unwrap().len(),
                SIZE,
                "{there:?}"
            );
        }
    }

    #[tokio::test]
    async fn with_room_on_the_disk_it_stays_where_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let reserve = reserve(&dir);
        reserve.keep().unwrap();
        assert!(reserve.give().is_none());
        assert!(reserve.file.exists());
    }
}

//! The files that the writer writes to: the one that grows, and the checkpoints beside it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::checkpoint_file::NoteFile;
use super::directory;
use crate::ledger::layout;

/// Why a ledger cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// Another process writes to it.
    #[error(
        "the ledger in {0} is in use by another Egret; stop that one, or give this one its own --data-dir"
    )]
    Locked(PathBuf),
    /// The last line is whole but no record. Whoever wrote it was not Egret, so nothing is written
    /// behind it.
    #[error(
        "the last line of {0} is not a ledger record; move the file away to start a new ledger, and keep it for examination"
    )]
    Damaged(PathBuf),
    /// There are fewer lines than a signed checkpoint stands for. To go on would be to write
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

/// Where lines and checkpoints go. The writer knows no more of files than this, so that tests can
/// break them.
pub(super) trait Storage: Send + 'static {
    /// Writes behind the last byte; when it fails, part of the bytes may have been written.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Returns once everything appended survives a loss of power.
    fn sync(&mut self) -> io::Result<()>;

    /// Drops everything from this length on.
    fn cut(&mut self, length: u64) -> io::Result<()>;

    /// Gives the file, all of which is durable, the name of a rotated one and begins a new one.
    /// When it fails, the old one goes on.
    fn rotate(&mut self, first: u64) -> io::Result<()>;

    /// Writes a signed note behind the checkpoints; returns once it survives a loss of power. What
    /// a failure leaves half written is taken back before the next.
    fn checkpoint(&mut self, note: &str) -> io::Result<()>;
}

/// The file `current.jsonl`, the checkpoints beside it, and the lock on both.
pub(super) struct LedgerFile {
    file: File,
    dir: PathBuf,
    path: PathBuf,
    length: u64,
    /// Names in the directory may not survive a loss of power yet.
    needs_dir_sync: bool,
    /// Where a rotation that failed half way left the file.
    astray: Option<PathBuf>,
    /// Not there for a writer that does not sign.
    notes: Option<NoteFile>,
    /// Held for as long as files are written.
    _lock: Arc<File>,
}

impl LedgerFile {
    /// The file that is `length` bytes long, all of them whole lines.
    pub(super) fn new(
        dir: &Path,
        file: File,
        length: u64,
        notes: Option<NoteFile>,
        lock: Arc<File>,
    ) -> Self {
        Self {
            file,
            dir: dir.to_owned(),
            path: dir.join(layout::CURRENT),
            length,
            needs_dir_sync: false,
            astray: None,
            notes,
            _lock: lock,
        }
    }

    /// Whether the open file is still the ledger and as long as we left it. Lines written into a
    /// file that was deleted or moved away, or behind someone else's, would be on no record.
    fn check(&self) -> io::Result<()> {
        let metadata = self.file.metadata()?;
        let named = fs::metadata(&self.path)?;
        if (named.dev(), named.ino()) != (metadata.dev(), metadata.ino()) {
            return Err(io::Error::other(
                "the ledger file was replaced while in use",
            ));
        }
        if metadata.len() != self.length {
            return Err(io::Error::other(
                "the ledger file was changed by someone else",
            ));
        }
        Ok(())
    }

    /// Moves the file back that a failed rotation left under its new name.
    fn bring_back(&mut self) -> io::Result<()> {
        if let Some(astray) = &self.astray {
            fs::rename(astray, &self.path)?;
            self.astray = None;
        }
        Ok(())
    }
}

impl Storage for LedgerFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.check()?;
        self.file.write_all(bytes)?;
        self.length += bytes.len() as u64;
        // A file system that took less than it said would leave a line without its beginning.
        self.check()
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()?;
        // Lines in a file whose name is lost are lost.
        if self.needs_dir_sync {
            directory::sync(&self.dir)?;
            self.needs_dir_sync = false;
        }
        Ok(())
    }

    /// Opens the file anew: an error may stick to the old descriptor.
    fn cut(&mut self, length: u64) -> io::Result<()> {
        self.bring_back()?;
        let file = OpenOptions::new().append(true).open(&self.path)?;
        if file.metadata()?.len() < length {
            return Err(io::Error::other(
                "the ledger file has lost lines that were on disk",
            ));
        }
        file.set_len(length)?;
        self.file = file;
        self.length = length;
        Ok(())
    }

    /// What needs space comes first, so that a full disk leaves everything as it is. Between the
    /// two renames there is no `current.jsonl`; whoever follows it waits for the next.
    fn rotate(&mut self, first: u64) -> io::Result<()> {
        self.check()?;
        let next = self.dir.join(layout::NEXT);
        directory::remove_if_there(&next)?;
        let file = directory::open_for_append(&next)?;
        file.sync_all()?;
        let rotated = layout::rotated(&self.dir, first);
        if rotated.try_exists()? {
            return Err(io::Error::other(
                "a rotated file of that name is there already",
            ));
        }
        fs::rename(&self.path, &rotated)?;
        if let Err(error) = fs::rename(&next, &self.path) {
            self.astray = Some(rotated);
            self.bring_back()?;
            return Err(error);
        }
        (self.file, self.length) = (file, 0);
        self.needs_dir_sync = true;
        Ok(())
    }

    fn checkpoint(&mut self, note: &str) -> io::Result<()> {
        match &mut self.notes {
            Some(notes) => notes.append(note),
            None => Err(io::Error::other("this writer does not sign")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::format::timestamp::Timestamp;
    use crate::ledger::writer::recovery::{Opened, open};

    fn file(dir: &Path) -> LedgerFile {
        let Opened { file, .. } = open(dir, Timestamp::from_unix_micros(7), None).unwrap();
        file
    }

    #[test]
    fn a_file_that_was_deleted_or_changed_takes_no_more_lines() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(layout::CURRENT);
        let mut file = file(dir.path());
        file.append(b"one\n").unwrap();
        fs::write(&path, b"").unwrap();
        assert!(file.append(b"two\n").is_err());
        assert!(file.cut(4).is_err());
        fs::write(&path, b"one\nforeign\n").unwrap();
        assert!(file.append(b"two\n").is_err());
        file.cut(4).unwrap();
        file.append(b"two\n").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"one\ntwo\n");
        fs::remove_file(&path).unwrap();
        assert!(file.append(b"three\n").is_err());
        assert!(file.cut(8).is_err());
    }

    #[test]
    fn a_file_that_was_moved_away_takes_no_more_lines() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(layout::CURRENT);
        let mut file = file(dir.path());
        file.append(b"one\n").unwrap();
        fs::rename(&path, dir.path().join("mine")).unwrap();
        assert!(file.append(b"two\n").is_err());
        fs::copy(dir.path().join("mine"), &path).unwrap();
        assert!(file.append(b"two\n").is_err(), "a copy is another file");
        assert!(file.rotate(1).is_err());
    }

    #[test]
    fn rotation_gives_the_file_its_name_and_goes_on_in_a_new_one() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = file(dir.path());
        file.append(b"one\n").unwrap();
        file.rotate(1).unwrap();
        file.append(b"two\n").unwrap();
        file.sync().unwrap();
        let read = |path: PathBuf| fs::read(path).unwrap();
        assert_eq!(read(layout::rotated(dir.path(), 1)), b"one\n");
        assert_eq!(read(dir.path().join(layout::CURRENT)), b"two\n");
        assert!(!dir.path().join(layout::NEXT).exists());
    }

    #[test]
    fn a_rotation_that_cannot_be_leaves_the_file_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = file(dir.path());
        file.append(b"one\n").unwrap();
        // In the way: a directory cannot be replaced by a file.
        fs::create_dir(dir.path().join(layout::NEXT)).unwrap();
        assert!(file.rotate(1).is_err());
        fs::remove_dir(dir.path().join(layout::NEXT)).unwrap();
        fs::write(layout::rotated(dir.path(), 1), b"older\n").unwrap();
        assert!(file.rotate(1).is_err());
        file.append(b"two\n").unwrap();
        let current = fs::read(dir.path().join(layout::CURRENT)).unwrap();
        assert_eq!(current, b"one\ntwo\n");
        assert_eq!(
            fs::read(layout::rotated(dir.path(), 1)).unwrap(),
            b"older\n"
        );
    }
}

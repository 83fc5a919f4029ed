//! The files that the writer writes to: the one that grows, and the checkpoints beside it.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::batch::now;
use super::checkpoint_file::NoteFile;
use super::lock::DirectoryLock;
use super::sealed_head::{HeadFile, SealedHead};
use super::{directory, identity};
use crate::ledger::layout;

/// Where lines and checkpoints go. The writer knows no more of files than this, so that tests can
/// break them.
pub(super) trait Storage: Send + 'static {
    /// Writes after the last byte; when it fails, part of the bytes may have been written.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Returns once everything appended survives a loss of power.
    fn sync(&mut self) -> io::Result<()>;

    /// Drops everything from this length on. What somebody else added is set aside, in the file of
    /// the name that is returned.
    fn cut(&mut self, length: u64) -> io::Result<Option<String>>;

    /// Gives the file, all of which is durable, the name of a rotated one and begins a new one.
    /// When it fails, the old one goes on.
    fn rotate(&mut self, first: u64) -> io::Result<()>;

    /// Writes a signed note after the checkpoints; returns once it survives a loss of power. What
    /// a failure leaves half written is taken back before the next.
    fn checkpoint(&mut self, note: &str) -> io::Result<()>;

    /// Writes the sealed head, durably.
    fn seal_head(&mut self, head: &SealedHead) -> io::Result<()>;
}

/// The file `current.jsonl`, the checkpoints beside it, and the lock on both.
pub(super) struct LedgerFile {
    file: File,
    dir: PathBuf,
    path: PathBuf,
    length: u64,
    /// The file may be as long by lines that could not be written.
    attempted: u64,
    /// Names in the directory may not survive a loss of power yet.
    needs_dir_sync: bool,
    /// Where a rotation that failed half way left the file.
    astray: Option<PathBuf>,
    /// Not there for a writer that does not sign.
    signed: Option<SignedFiles>,
    /// Held for as long as files are written.
    lock: Arc<DirectoryLock>,
}

/// The files of a writer that signs.
pub(super) struct SignedFiles {
    pub(super) notes: NoteFile,
    pub(super) head: HeadFile,
}

impl LedgerFile {
    /// The file that is `length` bytes long, all of them whole lines.
    pub(super) fn new(
        dir: &Path,
        file: File,
        length: u64,
        signed: Option<SignedFiles>,
        lock: Arc<DirectoryLock>,
    ) -> Self {
        Self {
            file,
            dir: dir.to_owned(),
            path: dir.join(layout::CURRENT),
            length,
            attempted: length,
            needs_dir_sync: false,
            astray: None,
            signed,
            lock,
        }
    }

    /// Whether the open file is still the ledger and as long as we left it. Lines written into a
    /// file that was deleted or moved away, or after someone else's, would be on no record.
    fn check(&self) -> io::Result<()> {
        self.lock.check()?;
        identity::check(&self.file, &self.path)?;
        if self.file.metadata()?.len() != self.length {
            return Err(io::Error::other(
                "the ledger file was changed by someone else",
            ));
        }
        Ok(())
    }

    /// Moves the file back that a failed rotation left under its new name.
    fn bring_back(&mut self) -> io::Result<()> {
        if let Some(astray) = &self.astray {
            identity::check(&self.file, astray)?;
            identity::rename_to_free_name(astray, &self.path)?;
            self.astray = None;
        }
        Ok(())
    }
}

impl Storage for LedgerFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.check()?;
        self.attempted = self.length + bytes.len() as u64;
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

    /// Opens the file again: an error may stick to the old descriptor.
    fn cut(&mut self, length: u64) -> io::Result<Option<String>> {
        self.lock.check()?;
        self.bring_back()?;
        let mut options = OpenOptions::new();
        let mut file = options.read(true).append(true).open(&self.path)?;
        identity::check(&self.file, &self.path)?;
        identity::check(&file, &self.path)?;
        let found = file.metadata()?.len();
        if found < length {
            return Err(io::Error::other(
                "the ledger file has lost lines that were on disk",
            ));
        }
        let mut aside = None;
        if found > self.attempted {
            file.seek(SeekFrom::Start(length))?;
            let path = directory::set_aside(&self.dir, &mut &file, now());
            let path = path.map_err(io::Error::other)?;
            let name = path.file_name().unwrap_or_default();
            aside = Some(name.to_string_lossy().into_owned());
            // Once is enough, also when the next step fails.
            self.attempted = found;
        }
        file.set_len(length)?;
        (self.file, self.length, self.attempted) = (file, length, length);
        Ok(aside)
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
        identity::rename_to_free_name(&self.path, &rotated)?;
        if let Err(error) = identity::rename_to_free_name(&next, &self.path) {
            self.astray = Some(rotated);
            self.bring_back()?;
            return Err(error);
        }
        (self.file, self.length, self.attempted) = (file, 0, 0);
        self.needs_dir_sync = true;
        Ok(())
    }

    fn checkpoint(&mut self, note: &str) -> io::Result<()> {
        self.lock.check()?;
        match &mut self.signed {
            Some(signed) => signed.notes.append(note),
            None => Err(does_not_sign()),
        }
    }

    fn seal_head(&mut self, head: &SealedHead) -> io::Result<()> {
        self.lock.check()?;
        match &self.signed {
            Some(signed) => signed.head.write(head),
            None => Err(does_not_sign()),
        }
    }
}

fn does_not_sign() -> io::Error {
    io::Error::other("this writer does not sign")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::ledger::format::timestamp::Timestamp;
    use crate::ledger::writer::before::Before;
    use crate::ledger::writer::recovery::{Opened, open};

    fn file(dir: &Path) -> LedgerFile {
        let Opened { file, .. } =
            open(dir, Timestamp::from_unix_micros(7), None, Before::Ended).unwrap();
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
        let aside = file.cut(4).unwrap().expect("lines of somebody else");
        assert_eq!(fs::read(dir.path().join(aside)).unwrap(), b"foreign\n");
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

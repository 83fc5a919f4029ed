//! The ledger's files: the lock that makes its writer the only one, the file that grows, and what
//! happens to a last line that a crash tore.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::CURRENT;
use super::chain::Chain;
use super::record::Timestamp;

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
    /// The file system refused.
    #[error("{path}: {source}")]
    Io {
        /// The file concerned.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
}

/// Where lines go. The writer knows no more of a file than this, so that tests can break it.
pub(super) trait Storage: Send + 'static {
    /// Writes behind the last byte; when it fails, part of the bytes may have been written.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Returns once everything appended survives a loss of power.
    fn sync(&mut self) -> io::Result<()>;

    /// Drops everything from this length on.
    fn cut(&mut self, length: u64) -> io::Result<()>;
}

/// The file `current.jsonl`, locked.
pub(super) struct LedgerFile {
    file: File,
    path: PathBuf,
    length: u64,
    /// Held for as long as the file is written to.
    _lock: File,
}

/// An opened ledger, ready to be continued.
pub(super) struct Opened {
    pub(super) file: LedgerFile,
    /// Bytes in the file, all of them whole lines.
    pub(super) length: u64,
    pub(super) chain: Chain,
    /// Where a torn last line was set aside.
    pub(super) torn: Option<PathBuf>,
}

impl LedgerFile {
    /// Opens or creates the ledger in this directory. A last line without its line feed, which a
    /// crash can leave behind, is moved to a file `torn-<microseconds>.jsonl`.
    pub(super) fn open(dir: &Path, now: Timestamp) -> Result<Opened, LedgerError> {
        create_dir(dir)?;
        let lock = lock(dir)?;
        let path = dir.join(CURRENT);
        let at = |source| LedgerError::Io {
            path: path.clone(),
            source,
        };
        let mut file = open_for_append(&path).map_err(at)?;
        let tail = Tail::read(&mut file).map_err(at)?;
        let chain = match &tail.last_line {
            None => Chain::start(),
            Some(line) => Chain::after(line).map_err(|_| LedgerError::Damaged(path.clone()))?,
        };
        let torn = match tail.torn.is_empty() {
            true => None,
            false => Some(set_aside(dir, &tail.torn, now)?),
        };
        if torn.is_some() {
            file.set_len(tail.whole).map_err(at)?;
        }
        file.sync_all().map_err(at)?;
        sync_dir(dir)?;
        let file = Self {
            file,
            path,
            length: tail.whole,
            _lock: lock,
        };
        Ok(Opened {
            file,
            length: tail.whole,
            chain,
            torn,
        })
    }

    /// Whether the open file is still the ledger and as long as we left it. Lines written into a
    /// deleted file, or behind someone else's, would be on no record.
    fn check(&self) -> io::Result<()> {
        let metadata = self.file.metadata()?;
        if metadata.nlink() == 0 {
            return Err(io::Error::other("the ledger file was deleted while in use"));
        }
        if metadata.len() != self.length {
            return Err(io::Error::other(
                "the ledger file was changed by someone else",
            ));
        }
        Ok(())
    }
}

impl Storage for LedgerFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.check()?;
        self.file.write_all(bytes)?;
        self.length += bytes.len() as u64;
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Opens the file anew: an error may stick to the old descriptor.
    fn cut(&mut self, length: u64) -> io::Result<()> {
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
}

fn create_dir(dir: &Path) -> Result<(), LedgerError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|source| LedgerError::Io {
            path: dir.to_owned(),
            source,
        })
}

fn lock(dir: &Path) -> Result<File, LedgerError> {
    let path = dir.join("lock");
    let at = |source| LedgerError::Io {
        path: path.clone(),
        source,
    };
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).write(true).mode(0o600);
    let file = options.open(&path).map_err(at)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(LedgerError::Locked(dir.to_owned())),
        Err(TryLockError::Error(source)) => Err(at(source)),
    }
}

fn open_for_append(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .create(true)
        .read(true)
        .append(true)
        .mode(0o600)
        .open(path)
}

/// Copies torn bytes into a file of their own, durable before they are cut from the ledger.
fn set_aside(dir: &Path, torn: &[u8], now: Timestamp) -> Result<PathBuf, LedgerError> {
    let path = dir.join(format!("torn-{}.jsonl", now.unix_micros()));
    let write = || {
        let mut file = OpenOptions::new()
            .create_new(true)
            .write(true)
            .mode(0o600)
            .open(&path)?;
        file.write_all(torn)?;
        file.sync_all()
    };
    write().map_err(|source| LedgerError::Io {
        path: path.clone(),
        source,
    })?;
    sync_dir(dir)?;
    Ok(path)
}

/// Makes new names in the directory survive a loss of power.
fn sync_dir(dir: &Path) -> Result<(), LedgerError> {
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(|source| LedgerError::Io {
            path: dir.to_owned(),
            source,
        })
}

/// The end of a ledger file.
#[derive(Debug, PartialEq, Eq)]
struct Tail {
    /// The last whole line, without its line feed.
    last_line: Option<Vec<u8>>,
    /// What stands behind the last line feed.
    torn: Vec<u8>,
    /// Length of the file up to and with the last line feed.
    whole: u64,
}

impl Tail {
    /// Reads backwards in growing steps: a ledger can be large, its last line hardly ever is.
    fn read(file: &mut File) -> io::Result<Self> {
        let length = file.seek(SeekFrom::End(0))?;
        let mut window: u64 = 64 * 1024;
        loop {
            let start = length.saturating_sub(window);
            let mut bytes = Vec::new();
            file.seek(SeekFrom::Start(start))?;
            file.take(length - start).read_to_end(&mut bytes)?;
            if let Some(tail) = Self::of(bytes, start) {
                return Ok(tail);
            }
            window = window.saturating_mul(4);
        }
    }

    /// The tail of a file whose last bytes, from `start` on, are these; `None` when more are
    /// needed to see where its last line begins.
    fn of(mut bytes: Vec<u8>, start: u64) -> Option<Self> {
        let Some(end) = memchr::memrchr(b'\n', &bytes) else {
            return (start == 0).then_some(Self {
                last_line: None,
                torn: bytes,
                whole: 0,
            });
        };
        let begin = match memchr::memrchr(b'\n', &bytes[..end]) {
            Some(before) => before + 1,
            None if start == 0 => 0,
            None => return None,
        };
        let torn = bytes.split_off(end + 1);
        let last_line = Some(bytes[begin..end].to_vec());
        Some(Self {
            last_line,
            torn,
            whole: start + end as u64 + 1,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::ledger::record::Entry;

    fn now() -> Timestamp {
        Timestamp::from_unix_micros(1_795_339_800_000_000)
    }

    fn three_lines() -> Vec<u8> {
        let mut chain = Chain::start();
        let mut lines = Vec::new();
        for _ in 0..3 {
            chain.append(now(), &Entry::new("x"), &mut lines).unwrap();
        }
        lines
    }

    #[test]
    fn a_new_ledger_is_private() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("ledger");
        let opened = LedgerFile::open(&dir, now()).unwrap();
        assert_eq!(
            (opened.length, opened.chain, opened.torn),
            (0, Chain::start(), None)
        );
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&dir), 0o700);
        assert_eq!(mode(&dir.join(CURRENT)), 0o600);
        assert_eq!(mode(&dir.join("lock")), 0o600);
    }

    #[test]
    fn a_second_writer_is_refused_while_the_first_lives() {
        let dir = tempfile::tempdir().unwrap();
        let first = LedgerFile::open(dir.path(), now()).unwrap();
        let second = LedgerFile::open(dir.path(), now()).err().unwrap();
        assert!(matches!(second, LedgerError::Locked(_)));
        assert!(second.to_string().contains("--data-dir"));
        drop(first);
        assert!(LedgerFile::open(dir.path(), now()).is_ok());
    }

    /// A crash may leave any prefix of what was being written.
    #[test]
    fn wherever_a_crash_tears_the_end_the_chain_goes_on_and_no_byte_is_lost() {
        let lines = three_lines();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(CURRENT);
        let first = memchr::memchr(b'\n', &lines).unwrap() + 1;
        for cut in first..=lines.len() {
            let left = &lines[..cut];
            fs::write(&path, left).unwrap();
            let now = Timestamp::from_unix_micros(cut as i64);
            let opened = LedgerFile::open(dir.path(), now).unwrap();
            let whole = memchr::memrchr(b'\n', left).unwrap() + 1;
            assert_eq!(fs::read(&path).unwrap(), &lines[..whole], "cut at {cut}");
            assert_eq!(opened.length, whole as u64);
            let torn = opened
                .torn
                .map(|path| fs::read(path).unwrap())
                .unwrap_or_default();
            assert_eq!(torn, &lines[whole..cut], "cut at {cut}");
            // What comes next is what would have come without the crash.
            let mut chain = opened.chain;
            let mut next = lines[..whole].to_vec();
            while next.len() < lines.len() {
                chain
                    .append(self::now(), &Entry::new("x"), &mut next)
                    .unwrap();
            }
            assert_eq!(next, lines);
        }
    }

    #[test]
    fn a_file_of_one_torn_line_starts_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(CURRENT);
        fs::write(&path, b"{\"seq\":1,").unwrap();
        let opened = LedgerFile::open(dir.path(), now()).unwrap();
        assert_eq!(opened.chain, Chain::start());
        assert_eq!(fs::read(&path).unwrap(), b"");
        assert_eq!(fs::read(opened.torn.unwrap()).unwrap(), b"{\"seq\":1,");
    }

    #[test]
    fn a_last_line_that_is_no_record_is_not_continued() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(CURRENT);
        for last in [
            &b"hello\n"[..],
            b"\n",
            b"{}\n",
            &[0, 0, 0, b'\n'],
            b"{}\ntorn",
        ] {
            let damaged = [&three_lines(), last].concat();
            fs::write(&path, &damaged).unwrap();
            let error = LedgerFile::open(dir.path(), now()).err().unwrap();
            assert!(matches!(error, LedgerError::Damaged(_)), "{error}");
            assert_eq!(fs::read(&path).unwrap(), damaged, "nothing is touched");
        }
    }

    #[test]
    fn a_last_line_longer_than_the_window_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let mut lines = three_lines();
        let mut chain = Chain::after(lines[..].split(|&b| b == b'\n').nth(2).unwrap()).unwrap();
        let long = Entry {
            path: Some("/x".repeat(200_000)),
            ..Entry::new("x")
        };
        chain.append(now(), &long, &mut lines).unwrap();
        fs::write(dir.path().join(CURRENT), [&lines[..], b"torn"].concat()).unwrap();
        let opened = LedgerFile::open(dir.path(), now()).unwrap();
        assert_eq!(opened.chain, chain);
        assert_eq!(opened.length, lines.len() as u64);
        assert!(opened.torn.is_some());
    }

    #[test]
    fn a_file_that_was_deleted_or_changed_takes_no_more_lines() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(CURRENT);
        let mut file = LedgerFile::open(dir.path(), now()).unwrap().file;
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
}

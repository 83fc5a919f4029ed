//! Notices commits by reading shared memory.
//!
//! A change made by a command must apply from the next request on, so every request asks
//! whether there was one. To ask SQLite costs a round trip to a thread and two file locks. In WAL
//! mode, however, each commit of any process ends by rewriting the header of the shared WAL index
//! (`egret.db-shm`), which holds a change counter, the number of frames, their running checksum and
//! two salts. As long as its 96 bytes are the same, nothing was committed
//! (<https://sqlite.org/walformat.html#the_wal_index_header>).

use std::collections::HashMap;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;

use crate::files::beside;
use crate::memory;
use crate::vault::store::changes::Freshness;

/// Both copies of the WAL index header, in words. SQLite's connections share it in memory, so it is
/// read there.
const HEADER: usize = 12;
type Header = [AtomicU64; HEADER];

/// How often to check that the paths still name the files that are open.
const IDENTITY_INTERVAL: Duration = Duration::from_secs(1);

/// The header at some moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reading([u64; HEADER]);

/// Detects commits of any process to one SQLite file in WAL mode.
///
/// Where the WAL index cannot be read (a filesystem without shared memory), the store always counts
/// as changed.
#[derive(Debug)]
pub struct WalWatch {
    index: Option<&'static Header>,
    accepted: ArcSwapOption<Reading>,
    files: Vec<(PathBuf, FileId)>,
    opened: Instant,
    next_identity_check: AtomicU64,
}

/// Device and inode.
type FileId = (u64, u64);

fn file_id(metadata: &Metadata) -> FileId {
    (metadata.dev(), metadata.ino())
}

impl WalWatch {
    /// A watch for the database at `path`. At least one connection must stay open as long as the
    /// watch: the last one to close removes the index file.
    pub(super) fn new(path: &Path) -> io::Result<Self> {
        let mut files = vec![(path.to_owned(), file_id(&fs::metadata(path)?))];
        let index_path = beside(path, "-shm");
        let index = open_for_good(&index_path).ok();
        let index = index.map(|Index { id, header }| {
            files.push((index_path, id));
            header
        });
        Ok(Self {
            index,
            accepted: ArcSwapOption::empty(),
            files,
            opened: Instant::now(),
            next_identity_check: AtomicU64::new(0),
        })
    }

    /// Compares the store with the accepted reading.
    pub fn check(&self) -> Freshness {
        if let Err(reason) = self.check_identity() {
            return Freshness::Gone(reason);
        }
        match (self.read(), self.accepted.load().as_deref()) {
            (Some(now), Some(accepted)) if now == *accepted => Freshness::Fresh,
            _ => Freshness::Stale,
        }
    }

    /// See [`CommitWatch::catch_up`](crate::vault::store::CommitWatch::catch_up).
    pub async fn catch_up<T, E>(&self, read: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        // Before the store is read: a commit in between shows as one more change, and is not lost.
        let reading = self.read();
        let result = read.await;
        if result.is_ok() {
            self.accept(reading);
        }
        result
    }

    /// Counts as changed until something is accepted.
    pub fn forget(&self) {
        self.accept(None);
    }

    /// The present state.
    ///
    /// It may be read in the middle of a write. Such a reading equals neither the state before nor
    /// the one after, so it can only cause one superfluous load.
    pub(super) fn read(&self) -> Option<Reading> {
        // The words are only compared, so the order in which they are read does not matter.
        let word = |word: &AtomicU64| word.load(Ordering::Relaxed);
        Some(Reading(self.index?.each_ref().map(word)))
    }

    /// Compares later states with `reading`.
    pub(super) fn accept(&self, reading: Option<Reading>) {
        self.accepted.store(reading.map(Arc::new));
    }

    /// Ignores the index from now on: the store always counts as changed.
    pub(super) fn distrust(&mut self) {
        self.index = None;
        self.accepted.store(None);
    }

    /// Checks once per interval that each path still names the file that is open.
    fn check_identity(&self) -> Result<(), String> {
        let now = self.opened.elapsed();
        if now.as_millis() < u128::from(self.next_identity_check.load(Ordering::Relaxed)) {
            return Ok(());
        }
        for (path, id) in &self.files {
            match fs::metadata(path) {
                Ok(metadata) if file_id(&metadata) == *id => {}
                Ok(_) => {
                    return Err(format!(
                        "{} was replaced by another file while Egret was running; restart Egret",
                        path.display()
                    ));
                }
                Err(error) => return Err(format!("{}: {error}", path.display())),
            }
        }
        // Only success is remembered: while the files are gone, every check fails.
        let next = (now + IDENTITY_INTERVAL).as_millis();
        self.next_identity_check
            .store(u64::try_from(next).unwrap_or(u64::MAX), Ordering::Relaxed);
        Ok(())
    }
}

/// The header of an index file, and which file that is.
#[derive(Clone, Copy, Debug)]
struct Index {
    id: FileId,
    header: &'static Header,
}

/// Opens the index file once per process and never closes it.
///
/// Closing it would drop the POSIX locks that SQLite holds on it through a descriptor of its own
/// ([`super`]). Another process would then take the index for unused and truncate it under the
/// running connections. The price is one descriptor for each store that a process ever had open.
fn open_for_good(path: &Path) -> io::Result<Index> {
    static OPEN: OnceLock<Mutex<HashMap<FileId, Index>>> = OnceLock::new();
    let mut open = OPEN
        .get_or_init(Mutex::default)
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    if let Some(index) = open.get(&file_id(&fs::metadata(path)?)) {
        return Ok(*index);
    }
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    let (id, length) = (file_id(&metadata), metadata.len());
    let header = if length >= size_of::<Header>() as u64 {
        memory::shared(&file)
    } else {
        Err(io::ErrorKind::UnexpectedEof.into())
    };
    // Also where it cannot be mapped, and where the path was exchanged since the check above.
    std::mem::forget(file);
    let index = Index {
        id,
        header: header?,
    };
    open.insert(id, index);
    Ok(index)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    const LENGTH: usize = size_of::<Header>();

    /// Files like those of a store; the index holds `header` twice.
    fn files(directory: &Path, header: u8) -> PathBuf {
        let path = directory.join("egret.db");
        fs::write(&path, "").unwrap();
        fs::write(beside(&path, "-shm"), [header; 2 * LENGTH]).unwrap();
        path
    }

    #[test]
    fn the_store_is_stale_before_a_reading_was_accepted() {
        let directory = tempfile::tempdir().unwrap();
        let watch = WalWatch::new(&files(directory.path(), 1)).unwrap();
        assert_eq!(watch.check(), Freshness::Stale);
        watch.accept(watch.read());
        assert_eq!(watch.check(), Freshness::Fresh);
    }

    #[test]
    fn every_byte_of_the_header_counts() {
        let directory = tempfile::tempdir().unwrap();
        let path = files(directory.path(), 1);
        let watch = WalWatch::new(&path).unwrap();
        watch.accept(watch.read());
        let index = File::options()
            .write(true)
            .open(beside(&path, "-shm"))
            .unwrap();
        for at in 0..LENGTH as u64 {
            index.write_all_at(&[2], at).unwrap();
            assert_eq!(watch.check(), Freshness::Stale, "byte {at}");
            index.write_all_at(&[1], at).unwrap();
            assert_eq!(watch.check(), Freshness::Fresh, "byte {at}");
        }
        index.write_all_at(&[2], LENGTH as u64).unwrap();
        assert_eq!(
            watch.check(),
            Freshness::Fresh,
            "checkpoint progress is no commit"
        );
    }

    #[test]
    fn without_a_readable_index_the_store_is_always_stale() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("egret.db");
        fs::write(&path, "").unwrap();
        let watch = WalWatch::new(&path).unwrap();
        watch.accept(watch.read());
        assert_eq!(watch.check(), Freshness::Stale);

        let mut watch = WalWatch::new(&files(directory.path(), 1)).unwrap();
        watch.accept(watch.read());
        watch.distrust();
        watch.accept(watch.read());
        assert_eq!(watch.check(), Freshness::Stale);
    }

    #[test]
    fn a_removed_index_is_gone_even_if_it_can_still_be_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = files(directory.path(), 1);
        let watch = WalWatch::new(&path).unwrap();
        watch.accept(watch.read());
        fs::remove_file(beside(&path, "-shm")).unwrap();
        assert!(watch.read().is_some());
        assert!(matches!(watch.check(), Freshness::Gone(_)));
    }

    #[test]
    fn one_descriptor_serves_every_watch_of_a_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = beside(&files(directory.path(), 1), "-shm");
        let [one, two] = [(); 2].map(|()| open_for_good(&path).unwrap());
        assert!(std::ptr::eq(one.header, two.header));
    }
}

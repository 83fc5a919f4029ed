//! What happens to rotated files: they are compressed, and dropped when the configuration keeps no
//! more. All of it on a thread of its own, because nothing here may hold up a request.
//!
//! A file is dropped only after a line that says so is durable, and only when a checkpoint covers
//! its end: from there the rest of the ledger can still be verified.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, SyncSender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::oneshot::error::TryRecvError;

use super::batch::Job;
use super::lock::DirectoryLock;
use super::queue::{Queue, Room};
use super::steady_clock::SteadyClock;
use super::waiter::Waiter;
use super::{directory, identity};
use crate::ledger::format::checkpoint::Cause;
use crate::ledger::format::entry::Entry;
use crate::ledger::format::event;
use crate::ledger::layout::{self, Form, Segment};
use crate::ledger::priority::come_last;
use crate::ledger::stats::Stats;

/// How often it is looked whether something is old enough to be dropped, and what failed is tried
/// again.
const INTERVAL: Duration = Duration::from_secs(15 * 60);
/// How often it is asked whether the line of a drop is durable.
const ASK: Duration = Duration::from_millis(20);
/// Bytes between two looks at whether to stop.
const PIECE: usize = 256 * 1024;
/// zstd's fastest of the ordinary ones: lines shrink to a tenth, as they do with slower ones, at a
/// gigabyte a second.
const LEVEL: i32 = 1;

/// How much is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keep {
    /// Rotated files older than this are dropped, by the time of their last line.
    pub time: Option<Duration>,
    /// The oldest are dropped while all files together have more bytes.
    pub size: Option<u64>,
}

/// The thread; it ends with this handle.
pub(super) struct Archive {
    nudge: Option<SyncSender<()>>,
    stop: Arc<AtomicBool>,
    /// The first line of the file being written.
    current_first: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

/// What the thread works with.
pub(super) struct Keeper {
    pub(super) dir: PathBuf,
    pub(super) keep: Keep,
    pub(super) queue: Arc<Queue>,
    pub(super) stats: Arc<Stats>,
    /// When the last checkpoint was signed that was there at the start.
    pub(super) last_signed: Option<SystemTime>,
    /// Nobody else may write in the directory while this one does.
    pub(super) lock: Arc<DirectoryLock>,
}

impl Archive {
    pub(super) fn start(keeper: Keeper, first: u64) -> io::Result<Self> {
        // One place: a second signal while one is waiting says nothing new.
        let (nudge, nudged) = mpsc::sync_channel(1);
        let stop = Arc::new(AtomicBool::new(false));
        let current_first = Arc::new(AtomicU64::new(first));
        let clock = SteadyClock::new(keeper.last_signed, SystemTime::now(), Instant::now());
        let mut worker = Worker {
            clock,
            keeper,
            stop: Arc::clone(&stop),
            current_first: Arc::clone(&current_first),
        };
        let thread = thread::Builder::new()
            .name("ledger-archive".to_owned())
            .spawn(move || {
                come_last();
                loop {
                    worker.pass();
                    match nudged.recv_timeout(INTERVAL) {
                        Ok(()) | Err(RecvTimeoutError::Timeout) => {}
                        Err(RecvTimeoutError::Disconnected) => break,
                    }
                }
            })?;
        Ok(Self {
            nudge: Some(nudge),
            stop,
            current_first,
            thread: Some(thread),
        })
    }

    /// A file was rotated; the one being written begins with this line.
    pub(super) fn rotated(&self, first: u64) {
        self.current_first.store(first, Ordering::Release);
        if let Some(nudge) = &self.nudge {
            // When it is full the thread will look anyway.
            let _ = nudge.try_send(());
        }
    }
}

impl Drop for Archive {
    /// Waits, because the next writer of this directory must not meet the thread.
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        self.nudge = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Worker {
    clock: SteadyClock,
    keeper: Keeper,
    stop: Arc<AtomicBool>,
    current_first: Arc<AtomicU64>,
}

impl Worker {
    fn pass(&mut self) {
        let done = self.compress_all().and_then(|()| self.drop_surplus());
        if let Err(error) = done
            && !self.is_stopped()
        {
            self.keeper
                .stats
                .archive_failures
                .fetch_add(1, Ordering::Relaxed);
            tracing::error!(%error, "rotated files of the ledger could not be compressed or dropped; it is tried again");
        }
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    fn compress_all(&self) -> io::Result<()> {
        for segment in layout::rotated_segments(&self.keeper.dir)? {
            if let (Form::Plain, Some(first)) = (segment.form, segment.first) {
                self.compress(&segment.path, first)?;
            }
        }
        Ok(())
    }

    /// Compresses a file, reads the outcome back, and only then removes what it was made of.
    fn compress(&self, plain: &Path, first: u64) -> io::Result<()> {
        let target = layout::compressed(&self.keeper.dir, first);
        let mut partial = target.clone().into_os_string();
        partial.push(".new");
        let partial = PathBuf::from(partial);
        self.keeper.lock.check()?;
        directory::remove_if_there(&partial)?;
        let source = File::open(plain)?;
        self.write_compressed(&source, &partial)
            .and_then(|()| self.compare(plain, &partial))
            .inspect_err(|_| drop(fs::remove_file(&partial)))?;
        self.keeper.lock.check()?;
        fs::rename(&partial, &target)?;
        directory::sync(&self.keeper.dir)?;
        identity::check(&source, plain)?;
        fs::remove_file(plain)?;
        directory::sync(&self.keeper.dir)
    }

    fn write_compressed(&self, source: &File, partial: &Path) -> io::Result<()> {
        let metadata = source.metadata()?;
        let mut options = OpenOptions::new();
        let target = options
            .create_new(true)
            .write(true)
            .mode(0o600)
            .open(partial)?;
        let mut encoder = zstd::stream::write::Encoder::new(target, LEVEL)?;
        encoder.include_checksum(true)?;
        encoder.set_pledged_src_size(Some(metadata.len()))?;
        encoder.include_contentsize(true)?;
        self.each_piece(source, |piece| encoder.write_all(piece))?;
        let target = encoder.finish()?;
        // When its last line was written, which is what retention goes by.
        target.set_modified(metadata.modified()?)?;
        target.sync_all()
    }

    fn compare(&self, plain: &Path, partial: &Path) -> io::Result<()> {
        let differs = || io::Error::other("a compressed file does not read back as it was written");
        let packed = File::open(partial)?;
        let mut unpacked =
            BufReader::with_capacity(PIECE, zstd::stream::read::Decoder::new(packed)?);
        self.each_piece(File::open(plain)?, |mut piece| {
            while !piece.is_empty() {
                let found = unpacked.fill_buf()?;
                let length = found.len().min(piece.len());
                if length == 0 || found[..length] != piece[..length] {
                    return Err(differs());
                }
                unpacked.consume(length);
                piece = &piece[length..];
            }
            Ok(())
        })?;
        if unpacked.fill_buf()?.is_empty() {
            Ok(())
        } else {
            Err(differs())
        }
    }

    fn each_piece(
        &self,
        mut source: impl Read,
        mut take: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut piece = vec![0; PIECE];
        loop {
            if self.is_stopped() {
                return Err(io::Error::other("the ledger is being closed"));
            }
            match source.read(&mut piece)? {
                0 => return Ok(()),
                length => take(&piece[..length])?,
            }
        }
    }

    fn drop_surplus(&mut self) -> io::Result<()> {
        let surplus = self.surplus()?;
        let Some((last, _)) = surplus.last() else {
            return Ok(());
        };
        if !has_checkpoint_at(&self.keeper.dir, *last)? {
            return Err(io::Error::other(
                "files are due to be dropped, but no checkpoint covers their end",
            ));
        }
        let ranges = surplus
            .iter()
            .map(|(last, segment)| format!("{}-{last}", segment.first.unwrap_or_default()));
        self.record(ranges.collect())?;
        self.keeper.lock.check()?;
        for (_, segment) in &surplus {
            fs::remove_file(&segment.path)?;
            self.keeper
                .stats
                .dropped_files
                .fetch_add(1, Ordering::Relaxed);
        }
        directory::sync(&self.keeper.dir)
    }

    /// The oldest files, as many as are too old or too many, each with the number of its last line.
    fn surplus(&mut self) -> io::Result<Vec<(u64, Segment)>> {
        let Keep { time, size } = self.keeper.keep;
        if time.is_none() && size.is_none() {
            return Ok(Vec::new());
        }
        let now = self.clock.read(SystemTime::now(), Instant::now());
        let current_first = self.current_first.load(Ordering::Acquire);
        let segments = layout::rotated_segments(&self.keeper.dir)?;
        let firsts = segments.iter().skip(1).filter_map(|segment| segment.first);
        let lasts: Vec<u64> = firsts
            .chain([current_first])
            .map(|first| first - 1)
            .collect();
        let metadata = |segment: &Segment| fs::metadata(&segment.path);
        let current = fs::metadata(self.keeper.dir.join(layout::CURRENT))?.len();
        let mut total = current;
        for segment in &segments {
            total += metadata(segment)?.len();
        }
        let mut surplus = Vec::new();
        for (segment, last) in segments.into_iter().zip(lasts) {
            let metadata = metadata(&segment)?;
            // A clock that went back makes files look young: they are kept.
            let age = now.duration_since(metadata.modified()?).unwrap_or_default();
            let too_old = time.is_some_and(|time| age > time);
            let too_much = size.is_some_and(|size| total > size);
            if !too_old && !too_much {
                break;
            }
            total -= metadata.len();
            surplus.push((last, segment));
        }
        Ok(surplus)
    }

    /// Puts on record that these lines go, and waits until that is durable.
    fn record(&self, ranges: Vec<String>) -> io::Result<()> {
        let entry = Entry {
            locations: ranges.into_iter().map(Into::into).collect(),
            ..Entry::new(event::DROPPED)
        };
        let (waiter, mut answer) = Waiter::new();
        let job = Job::new(Some(waiter)).with_checkpoint(Cause::Retention);
        self.keeper
            .queue
            .push(job, &entry.encode(), Room::Results)
            .map_err(io::Error::other)?;
        // Not a blocking wait: if the writer is gone, it will not answer but wait for this thread.
        while !self.is_stopped() {
            match answer.try_recv() {
                Ok(answer) => return answer.map_err(io::Error::other),
                Err(TryRecvError::Empty) => thread::sleep(ASK),
                Err(TryRecvError::Closed) => break,
            }
        }
        Err(io::Error::other("the ledger is closed"))
    }
}

/// Whether a checkpoint over so many lines is in the file. Who signed it is for the verifier to say.
fn has_checkpoint_at(dir: &Path, size: u64) -> io::Result<bool> {
    let notes = BufReader::new(File::open(dir.join(layout::CHECKPOINTS))?);
    let size = size.to_string();
    let mut is_origin = false;
    let mut is_first = true;
    for line in notes.lines() {
        let line = line?;
        if is_origin && line == size {
            return Ok(true);
        }
        is_origin = is_first && !line.starts_with('\u{2014}');
        is_first = line.is_empty();
    }
    Ok(false)
}

#[cfg(test)]
mod tests;

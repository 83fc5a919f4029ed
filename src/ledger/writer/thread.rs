//! The one writer of the ledger.
//!
//! Requests hand their lines to a queue, written but for number, time and link
//! ([`EncodedEntries`]), and wait. A thread of its own takes all that is queued, writes it with
//! one `write`, makes it durable with one `fdatasync` and tells everyone at once (group commit).
//! While it waits for the disk the next batch gathers, and a moment longer for those who were just
//! answered and come back. No async worker ever waits for a file: it waits for an answer, and no
//! longer than the deadline.
//!
//! After a failed `fdatasync` the kernel may have forgotten the pages it could not write, so the
//! batch counts as not written whatever the file seems to hold: the file is cut back to the last
//! length known to be durable, and the next batch starts from there. Entries that no caller waits for
//! (results) are kept for it, together with a line that tells of the interruption. That line is
//! tried again each second and so finds out when the disk is back, even if no request comes.
//!
//! Checkpoints, rotation and the like come after everyone in a batch was answered. They never
//! hold up lines: one that fails is logged, counted ([`Snapshot`]) and tried again, and lines
//! go on being written meanwhile, into the old file if need be. How many lines are under no
//! checkpoint shows in the metrics. Only a line that cannot be written stops requests.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use std::{io, mem, thread};

use tokio::sync::oneshot;

use super::answers::answer_all;
use super::archive::{Archive, Keep, Keeper};
use super::batch::{Batch, Job, now};
use super::before::Before;
use super::checkpointer::Checkpointer;
use super::damage;
use super::error::{Answer, LedgerError, LedgerUnavailable};
use super::in_flight::{OpenRequests, OpenUses};
use super::lock::DirectoryLock;
use super::next_writer::{NextWriter, NotFollowed};
use super::queue::{ENOUGH, Gathering, Next, Queue, Room, Stopped};
use super::recovery::{self, Opened};
use super::sign_on::Signed;
use super::signing::Signing;
use super::storage::{LedgerFile, Storage};
use super::waiter::Waiter;
use crate::ledger::first_uses::FirstUses;
use crate::ledger::format::chain::Chain;
use crate::ledger::format::checkpoint::Checkpoint;
use crate::ledger::format::encoded::EncodedEntries;
use crate::ledger::format::entry::Entry;
use crate::ledger::format::event;
use crate::ledger::format::timestamp::Timestamp;
use crate::ledger::priority::in_turns;
use crate::ledger::stats::{Snapshot, Stats};

/// When [`Ledger::commit`] returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// When the lines are durable.
    Commit,
    /// At once; the lines become durable together, each time this much has passed. A crash may
    /// lose the last interval. As soon as a write fails, `commit` waits as it does with
    /// [`Durability::Commit`], until the disk is back.
    Interval(Duration),
}

/// Bounds on what waits for the disk, and what is done with what is there.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Entries that may wait; beyond it `commit` is refused at once. Results of requests that were
    /// let through may take up as much again.
    pub queue: usize,
    /// How long `commit` and `close` wait.
    pub deadline: Duration,
    /// Longest time without a checkpoint.
    pub heartbeat: Duration,
    /// Size in bytes from which on a file is rotated. A batch is never divided, so a file can be
    /// larger.
    pub max_size: u64,
    /// Which rotated files are kept.
    pub keep: Keep,
    /// The writer before has given way and still serves requests, the first of which began with this line
    /// (0 if there are none): what it left open is not named before it has ended ([`Relayed`](super::Relayed)).
    pub follows: Option<u64>,
    /// For a few lines of a command: no file is rotated, compressed or dropped, and only the end is
    /// signed.
    pub is_brief: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            queue: 32_768,
            deadline: Duration::from_secs(2),
            heartbeat: Duration::from_secs(600),
            max_size: 64 * 1024 * 1024,
            keep: Keep::default(),
            follows: None,
            is_brief: false,
        }
    }
}

/// How long lines that no caller waits for may stay in memory under [`Durability::Commit`].
const LAZY: Duration = Duration::from_secs(1);

/// A handle on the ledger; clones share one writer. When the last one is dropped, what is queued is
/// still written, in the background; [`Ledger::close`] waits for that.
#[derive(Clone)]
pub struct Ledger(Arc<Handle>);

struct Handle {
    queue: Arc<Queue>,
    stats: Arc<Stats>,
    durability: Durability,
    deadline: Duration,
    /// How long lines that no caller waits for may stay in memory.
    patience: Duration,
    first_uses: Arc<FirstUses>,
    /// Uses that the writer before has left open, for who takes its results.
    elsewhere: Mutex<OpenUses>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.queue.close(None);
    }
}

impl Ledger {
    /// Whether its thread has ended by a fault, so that nothing can be written until a restart.
    pub fn has_died(&self) -> bool {
        self.0.queue.has_died()
    }

    /// Counts that a collector has the lines up to this one.
    pub fn shipped(&self, seq: u64) {
        self.0.stats.shipped(seq);
    }

    /// Counts that a collector did not take a batch.
    pub fn ship_failed(&self) {
        self.0.stats.ship_failures.fetch_add(1, Relaxed);
    }

    /// Notes how many rotated files a bucket does not have yet.
    pub fn unstored(&self, files: u64) {
        self.0.stats.unstored_files.store(files, Relaxed);
    }

    /// Notes how many lines the last checkpoint covers that a bucket has.
    pub fn stored_checkpoint(&self, size: u64) {
        self.0.stats.stored_checkpoint.store(size, Relaxed);
    }

    /// Counts that something could not be stored in a bucket.
    pub fn store_failed(&self) {
        self.0.stats.store_failures.fetch_add(1, Relaxed);
    }

    /// Notes how many lines are under a checkpoint that each witness has cosigned.
    pub fn witnessed(&self, size: u64) {
        self.0.stats.witnessed.store(size, Relaxed);
    }

    /// Counts that a witness did not cosign a checkpoint.
    pub fn witness_failed(&self) {
        self.0.stats.witness_failures.fetch_add(1, Relaxed);
    }

    /// Opens or creates the ledger in `dir` for adding a few lines, and starts its thread. Reads
    /// and syncs files, so it blocks.
    ///
    /// Without the signing key it writes no checkpoint and rotates nothing: that is left to the
    /// next [`Ledger::open_signed`].
    ///
    /// # Errors
    /// When another process has it open, its last line is no record, or the file system refuses.
    pub fn open(dir: &Path, durability: Durability, options: Options) -> Result<Self, LedgerError> {
        Self::open_with(dir, durability, options, None)
    }

    /// Opens or creates the ledger in `dir` with everything that belongs to it: what a crash left
    /// unfinished is named in `recovered` lines, checkpoints are signed with the key that `signing`
    /// opens, files are rotated and archived. Reads what no checkpoint covers, so it blocks.
    ///
    /// # Errors
    /// As [`Ledger::open`], and when the key cannot be opened or the lines are not those that the
    /// last checkpoint was signed over.
    pub fn open_signed(
        dir: &Path,
        durability: Durability,
        options: Options,
        signing: &Signing,
    ) -> Result<Self, LedgerError> {
        Self::open_with(dir, durability, options, Some(signing))
    }

    /// Checks that no process writes to the ledger in `dir` at this moment.
    ///
    /// # Errors
    /// [`LedgerError::Locked`] when somebody does, others when the file system refuses.
    pub fn probe_lock(dir: &Path) -> Result<(), LedgerError> {
        DirectoryLock::acquire(dir).map(drop)
    }

    fn open_with(
        dir: &Path,
        durability: Durability,
        options: Options,
        signing: Option<&Signing>,
    ) -> Result<Self, LedgerError> {
        let place = Place {
            dir: dir.to_owned(),
            options,
            signing: signing.cloned(),
            queue: Arc::new(Queue::new(options.queue)),
            stats: Arc::default(),
        };
        let (writer, elsewhere) = place.open(Before::of(options.follows))?;
        let again = move |before| place.open(before).map(|(writer, _)| writer);
        writer
            .spawn(durability, options.deadline, elsewhere, Box::new(again))
            .map_err(LedgerError::at(dir))
    }

    /// Puts entries on record, in order and next to each other; see [`Durability`] for when it
    /// returns. After an error the entries may still be found in the ledger (the disk may answer
    /// right after the deadline), which is the safe side: a use recorded that did not happen.
    pub async fn commit(&self, lines: impl Into<EncodedEntries>) -> Result<(), LedgerUnavailable> {
        let lines = lines.into();
        let Handle {
            queue,
            durability,
            deadline,
            ..
        } = &*self.0;
        if lines.is_empty() {
            return Ok(());
        }
        if matches!(durability, Durability::Interval(_)) && self.healthy() {
            return queue.push(Job::new(None), &lines, Room::Requests);
        }
        let (waiter, answer) = Waiter::new();
        queue.push(Job::new(Some(waiter)), &lines, Room::Requests)?;
        drop(lines);
        await_answer(queue, *deadline, answer).await
    }

    /// Gives the ledger up, and has all further lines written by another process. Entries are taken as
    /// before, and [`commit`](Self::commit) returns once they are durable there. Returns when the other
    /// process writes.
    ///
    /// # Errors
    /// When it does not. This process has taken the ledger back then, if it can.
    pub async fn hand_over(&self, writer: Box<dyn NextWriter>) -> Result<(), NotFollowed> {
        let (told, passed_on) = oneshot::channel();
        self.0.queue.give_way(Next { writer, told });
        let closed = |_| NotFollowed {
            reason: LedgerUnavailable::Closed.to_string(),
            is_back: false,
        };
        passed_on.await.map_err(closed)?
    }

    /// What the process that has handed the ledger over to this one has left open.
    pub(super) fn take_elsewhere(&self) -> OpenUses {
        let elsewhere = self.0.elsewhere.lock();
        mem::take(&mut *elsewhere.unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts entries on record that another process has let through or waits for. Blocks, and not
    /// only for the deadline, so that the answer is true: after it nothing is written later.
    pub(super) fn take_in(&self, lines: &EncodedEntries) -> Result<(), LedgerUnavailable> {
        let (waiter, answer) = Waiter::new();
        let job = Job::new(Some(waiter));
        self.0.queue.push(job, lines, Room::Results)?;
        let answer = answer.blocking_recv();
        answer.unwrap_or(Err(LedgerUnavailable::Closed))
    }

    /// Queues entries that nothing waits for: they become durable with the next commit, or within
    /// a second (within the interval, under [`Durability::Interval`]). A write that fails is tried
    /// again until it succeeds. Never waits, so that it can be called where a request is dropped.
    ///
    /// # Errors
    /// When twice [`Options::queue`] entries are waiting already, or the ledger is closed.
    pub fn append(&self, lines: impl Into<EncodedEntries>) -> Result<(), LedgerUnavailable> {
        let lines = lines.into();
        if lines.is_empty() {
            return Ok(());
        }
        self.0.queue.push(Job::new(None), &lines, Room::Results)
    }

    /// Who has used which credential before.
    pub fn first_uses(&self) -> &Arc<FirstUses> {
        &self.0.first_uses
    }

    /// Whether the last write succeeded.
    pub fn healthy(&self) -> bool {
        self.0.queue.is_healthy()
    }

    /// Whether a request that needs a line would get it: the last write succeeded, and nothing has
    /// been waiting for longer than a request waits. A sync that hangs does not fail.
    pub fn is_ready(&self) -> bool {
        let (_, lag) = self.0.queue.load();
        self.healthy() && lag <= self.0.deadline.saturating_add(self.0.patience)
    }

    /// What the ledger has counted so far.
    pub fn stats(&self) -> Snapshot {
        let (queued, lag) = self.0.queue.load();
        Snapshot {
            queued: queued as u64,
            lag,
            healthy: self.healthy(),
            ..self.0.stats.snapshot()
        }
    }

    /// Takes no more entries, writes what is queued, and lets go of the file and its lock.
    ///
    /// # Errors
    /// When the last lines could not be written, or not in time.
    pub async fn close(&self) -> Result<(), LedgerUnavailable> {
        let Handle {
            queue, deadline, ..
        } = &*self.0;
        let (waiter, answer) = oneshot::channel();
        if let Some(answer) = queue.close(Some(waiter)) {
            return answer;
        }
        await_answer(queue, *deadline, answer).await
    }
}

/// How long entries may wait while the ledger is handed over: for the start of the next writer.
const BETWEEN_WRITERS: Duration = Duration::from_secs(30);

async fn await_answer(
    queue: &Queue,
    deadline: Duration,
    mut answer: oneshot::Receiver<Answer>,
) -> Answer {
    let mut answered = tokio::time::timeout(deadline, &mut answer).await;
    if answered.is_err() && queue.is_between_writers() {
        answered = tokio::time::timeout(BETWEEN_WRITERS, answer).await;
    }
    match answered {
        Ok(Ok(answer)) => answer,
        Ok(Err(_)) => Err(LedgerUnavailable::Closed),
        Err(_) => Err(LedgerUnavailable::Deadline),
    }
}

/// A ledger's directory, and what writes there: whoever has given way may have to open it again.
struct Place {
    dir: PathBuf,
    options: Options,
    signing: Option<Signing>,
    queue: Arc<Queue>,
    stats: Arc<Stats>,
}

impl Place {
    /// Opens it for writing. Also returns what the writer before has left open and still serves.
    fn open(&self, before: Before) -> Result<(Writer<LedgerFile>, OpenUses), LedgerError> {
        let Self { dir, options, .. } = self;
        let mut opened = recovery::open(dir, now(), self.signing.as_ref(), before)?;
        let signed = opened.signed.take();
        let end = End::of(&opened, options.max_size);
        let archive = match &signed {
            Some(signed) if !options.is_brief => {
                let signed_at = |last: &Checkpoint| {
                    let micros = u64::try_from(last.time.unix_micros()).unwrap_or(0);
                    SystemTime::UNIX_EPOCH + Duration::from_micros(micros)
                };
                let keeper = Keeper {
                    dir: dir.clone(),
                    keep: options.keep,
                    queue: Arc::clone(&self.queue),
                    stats: Arc::clone(&self.stats),
                    last_signed: signed.last.as_ref().map(signed_at),
                    lock: Arc::clone(&opened.lock),
                };
                Some(Archive::start(keeper, opened.first).map_err(LedgerError::at(dir))?)
            }
            _ => None,
        };
        let (queue, stats) = (Arc::clone(&self.queue), Arc::clone(&self.stats));
        let mut writer = Writer::new(queue, stats, opened.file, end);
        writer.archive = archive;
        let elsewhere = writer.sign_with(signed, *options);
        Ok((writer, elsewhere))
    }
}

/// Where writing goes on.
struct End {
    chain: Chain,
    /// Bytes in the file.
    length: u64,
    /// The number of the file's first line, or of the one that will be.
    first: u64,
    /// When that line was written.
    since: Option<Timestamp>,
    /// Bytes from which on the file is rotated.
    max_size: u64,
}

impl End {
    fn of(opened: &Opened, max_size: u64) -> Self {
        Self {
            chain: opened.chain.clone(),
            length: opened.length,
            first: opened.first,
            since: opened.since,
            max_size,
        }
    }
}

/// Opens the ledger again, which has been given up.
type Again<S> = Box<dyn Fn(Before) -> Result<Writer<S>, LedgerError> + Send>;

struct Writer<S> {
    queue: Arc<Queue>,
    stats: Arc<Stats>,
    storage: S,
    /// All of it durable.
    end: End,
    /// The file may hold bytes after the end.
    needs_cut: bool,
    /// Lines about what somebody else wrote, to be put on record.
    foreign: Vec<Entry<'static>>,
    /// Jobs without a waiter that could not be written yet.
    backlog: Batch,
    buffer: Vec<u8>,
    open_requests: OpenRequests,
    /// Not there for a writer that does not sign.
    checkpointer: Option<Checkpointer>,
    archive: Option<Archive>,
    /// When a rotation that failed is tried again.
    rotate_not_before: Option<Instant>,
    /// Whether files are rotated.
    rotates: bool,
    /// When the sealed head was written last; `None` when it is due.
    head_sealed: Option<Instant>,
    /// How long the writer waits for others.
    gathering: Gathering,
}

/// Lines in a batch that say that the writer does not keep up: several times those that it does not
/// wait for more with.
const PRESSING: usize = 4 * ENOUGH;

fn is_pressing(batch: &Batch) -> bool {
    batch.entries() > PRESSING
}

/// A buffer that one large batch blew up beyond this is not kept, in bytes.
const KEPT_BUFFER: usize = 1024 * 1024;

impl<S: Storage> Writer<S> {
    fn new(queue: Arc<Queue>, stats: Arc<Stats>, storage: S, end: End) -> Self {
        stats.size.store(end.chain.next_seq() - 1, Relaxed);
        Self {
            queue,
            stats,
            storage,
            end,
            needs_cut: false,
            foreign: Vec::new(),
            backlog: Batch::default(),
            buffer: Vec::new(),
            open_requests: OpenRequests::default(),
            checkpointer: None,
            archive: None,
            rotate_not_before: None,
            rotates: false,
            head_sealed: None,
            gathering: Gathering::default(),
        }
    }

    /// Gives the writer its key. What opening found out is the first thing to be written.
    /// Returns what the writer before has left open and still serves.
    fn sign_with(&mut self, signed: Option<Signed>, options: Options) -> OpenUses {
        let Some(signed) = signed else {
            return OpenUses::default();
        };
        self.stats.signed.store(true, Relaxed);
        if let Some(last) = &signed.last {
            self.stats.checkpoint_written(last.size(), last.time);
        }
        let start = (!options.is_brief).then_some(signed.start);
        let checkpointer = Checkpointer::new(
            signed.signer,
            signed.tree,
            signed.head,
            start,
            options.heartbeat,
            Instant::now(),
        );
        self.rotates = !options.is_brief;
        self.checkpointer = Some(checkpointer);
        if !signed.entries.is_empty() {
            self.backlog.push(Job::new(None), &signed.entries.into());
        }
        self.open_requests.see_elsewhere(&signed.elsewhere);
        signed.elsewhere
    }

    /// Starts the thread.
    fn spawn(
        self,
        durability: Durability,
        deadline: Duration,
        elsewhere: OpenUses,
        again: Again<S>,
    ) -> io::Result<Ledger> {
        let (queue, stats) = (Arc::clone(&self.queue), Arc::clone(&self.stats));
        let patience = match durability {
            Durability::Commit => LAZY,
            Durability::Interval(interval) => interval,
        };
        thread::Builder::new()
            .name("ledger".to_owned())
            .spawn(move || {
                let stopped = Stopped(Arc::clone(&self.queue));
                stopped.with(self.run_to_the_end(patience, &again));
            })?;
        Ok(Ledger(Arc::new(Handle {
            queue,
            stats,
            durability,
            deadline,
            patience,
            first_uses: Arc::default(),
            elsewhere: Mutex::new(elsewhere),
        })))
    }

    fn run(&mut self, patience: Duration) -> Answer {
        let mut batch = Batch::default();
        // What opening found out, and the checkpoint of the start. Lines that cannot be
        // written yet are kept like all others that no caller waits for.
        let _ = self.write(&mut batch);
        self.tend();
        loop {
            let duty = self.next_duty(Instant::now());
            let is_last = self.queue.take(&mut batch, patience, duty, self.gathering);
            let result = self.write(&mut batch);
            if is_last || self.queue.is_between_writers() {
                self.tend_last();
                return result;
            }
            self.tend();
        }
    }

    /// Writes what is new and answers everyone in it. `new` is empty afterwards.
    fn write(&mut self, new: &mut Batch) -> Answer {
        // What could not be written before came first.
        let mut batch = mem::take(&mut self.backlog);
        batch.append(new);
        batch.drop_abandoned();
        if !self.foreign.is_empty() {
            batch.push(Job::new(None), &mem::take(&mut self.foreign).into());
        }
        if batch.is_empty() {
            self.queue.done(0, None);
            // Its memory serves the next.
            self.backlog = batch;
            return Ok(());
        }
        let answer = match self.write_batch(&batch) {
            Ok(()) => {
                if self.queue.set_healthy(true) {
                    tracing::info!("the ledger can be written again");
                }
                Ok(())
            }
            Err(error) => {
                tracing::error!(%error, "the ledger cannot be written");
                self.stats.write_failures.fetch_add(1, Relaxed);
                self.restore();
                if self.queue.set_healthy(false) {
                    batch.push(Job::new(None), &Entry::new(event::INTERRUPTED).encode());
                }
                Err(LedgerUnavailable::WriteFailed)
            }
        };
        let now = Instant::now();
        answer_all(&mut batch, answer, now, &self.queue, &self.stats);
        if answer.is_ok() {
            self.take_in(&batch, now);
            batch.clear();
        }
        self.backlog = batch;
        answer
    }

    fn write_batch(&mut self, batch: &Batch) -> io::Result<()> {
        self.buffer.clear();
        self.buffer.shrink_to(KEPT_BUFFER);
        let mut chain = self.end.chain.clone();
        // Someone waits, or more is coming than goes: the thread does not yield.
        let offers = batch.waiters() == 0 && !is_pressing(batch);
        for (job, lines) in in_turns(batch.iter(), offers) {
            chain.append_lines(job.time, lines, &mut self.buffer);
        }
        if self.buffer.is_empty() {
            return Ok(());
        }
        if self.needs_cut {
            self.cut()?;
        }
        self.needs_cut = true;
        let begun = Instant::now();
        self.storage.append(&self.buffer)?;
        self.storage.sync()?;
        self.gathering = Gathering::beside(begun.elapsed());
        self.needs_cut = false;
        self.end.length += self.buffer.len() as u64;
        self.end.chain = chain;
        Ok(())
    }

    /// Takes back what a failed batch left in the file, so that readers do not see half of it. If
    /// that fails as well, the next batch tries again before it writes.
    fn restore(&mut self) {
        if self.needs_cut && self.cut().is_ok() {
            self.needs_cut = false;
        }
    }

    /// Drops what is not known to be durable. Lines of somebody else were set aside, and are named.
    fn cut(&mut self) -> io::Result<()> {
        if let Some(aside) = self.storage.cut(self.end.length)? {
            let seq = self.end.chain.next_seq().to_string();
            self.foreign
                .push(damage::entry(damage::FOREIGN, [seq, aside]));
        }
        Ok(())
    }
}

mod duties;
mod succession;

#[cfg(test)]
mod tests;

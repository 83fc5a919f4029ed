//! The one writer of the ledger.
//!
//! Requests hand their entries to a queue and wait; a thread of its own takes all that is queued,
//! writes it with one `write`, makes it durable with one `fdatasync` and tells everyone at once
//! (group commit). While it waits for the disk the next batch gathers. No async worker ever waits
//! for a file: it waits for an answer, and no longer than the deadline.
//!
//! After a failed `fdatasync` the kernel may have forgotten the pages it could not write, so the
//! batch counts as not written whatever the file seems to hold: the file is cut back to the last
//! length known to be durable, and the next batch starts from there. Entries that nobody waits for
//! (results) are kept for it, together with a line that tells of the interruption. That line is
//! tried again each second and so finds out when the disk is back, even if no request comes.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use std::{io, mem, thread};

use tokio::sync::oneshot;

use super::chain::Chain;
use super::queue::{Answer, Job, LedgerUnavailable, Queue, Room, Stopped, now};
use super::record::{Entry, event};
use super::stats::{Snapshot, Stats};
use super::storage::{LedgerError, LedgerFile, Opened, Storage};

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

/// Bounds on what waits for the disk.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Entries that may wait; beyond it `commit` is refused at once. Results of requests that were
    /// let through may take up as much again.
    pub queue: usize,
    /// How long `commit` and `close` wait.
    pub deadline: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            queue: 32_768,
            deadline: Duration::from_secs(2),
        }
    }
}

/// How long lines that nobody waits for may stay in memory under [`Durability::Commit`].
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
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.queue.close(None);
    }
}

impl Ledger {
    /// Opens or creates the ledger in `dir` and starts its thread. Reads and syncs files, so it
    /// blocks.
    ///
    /// # Errors
    /// When another process has it open, its last line is no record, or the file system refuses.
    pub fn open(dir: &Path, durability: Durability, options: Options) -> Result<Self, LedgerError> {
        let Opened {
            file,
            length,
            chain,
            torn,
        } = LedgerFile::open(dir, now())?;
        if let Some(torn) = torn {
            let torn = torn.display();
            tracing::warn!(%torn, "the last line of the ledger was torn by a crash and set aside");
        }
        Self::start(file, length, chain, durability, options).map_err(|source| LedgerError::Io {
            path: dir.to_owned(),
            source,
        })
    }

    fn start(
        storage: impl Storage,
        length: u64,
        chain: Chain,
        durability: Durability,
        options: Options,
    ) -> io::Result<Self> {
        let queue = Arc::new(Queue::new(options.queue));
        let mut writer = Writer {
            queue: Arc::clone(&queue),
            storage,
            chain,
            durable: length,
            needs_cut: false,
            backlog: Vec::new(),
            buffer: Vec::new(),
        };
        let patience = match durability {
            Durability::Commit => LAZY,
            Durability::Interval(interval) => interval,
        };
        thread::Builder::new()
            .name("ledger".to_owned())
            .spawn(move || {
                let stopped = Stopped(Arc::clone(&writer.queue));
                let result = writer.run(patience);
                // The lock goes with the file, before anyone hears that the ledger is closed.
                drop(writer);
                stopped.with(result);
            })?;
        Ok(Self(Arc::new(Handle {
            queue,
            stats: Arc::default(),
            durability,
            deadline: options.deadline,
        })))
    }

    /// Puts entries on record, in order and next to each other; see [`Durability`] for when it
    /// returns. After an error the entries may still be found in the ledger (the disk may answer
    /// right after the deadline), which is the safe side: a use recorded that did not happen.
    pub async fn commit(&self, entries: Vec<Entry>) -> Result<(), LedgerUnavailable> {
        let Handle {
            queue,
            durability,
            deadline,
            ..
        } = &*self.0;
        if entries.is_empty() {
            return Ok(());
        }
        if matches!(durability, Durability::Interval(_)) && self.healthy() {
            return queue.push(Job::new(entries, None), Room::Requests);
        }
        let (waiter, answer) = oneshot::channel();
        queue.push(Job::new(entries, Some(waiter)), Room::Requests)?;
        await_answer(*deadline, answer).await
    }

    /// Queues entries that nothing waits for: they become durable with the next commit, or within
    /// a second (within the interval, under [`Durability::Interval`]). A write that fails is tried
    /// again until it succeeds. Never waits, so that it can be called where a request is dropped.
    ///
    /// # Errors
    /// When twice [`Options::queue`] entries are waiting already, or the ledger is closed.
    pub fn append(&self, entries: Vec<Entry>) -> Result<(), LedgerUnavailable> {
        if entries.is_empty() {
            return Ok(());
        }
        self.0.queue.push(Job::new(entries, None), Room::Results)
    }

    /// Whether the last write succeeded.
    pub fn healthy(&self) -> bool {
        self.0.queue.is_healthy()
    }

    /// What the ledger has counted so far.
    pub fn stats(&self) -> Snapshot {
        Snapshot {
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
        await_answer(*deadline, answer).await
    }
}

async fn await_answer(deadline: Duration, answer: oneshot::Receiver<Answer>) -> Answer {
    match tokio::time::timeout(deadline, answer).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(_)) => Err(LedgerUnavailable::Closed),
        Err(_) => Err(LedgerUnavailable::Deadline),
    }
}

struct Writer<S> {
    queue: Arc<Queue>,
    storage: S,
    chain: Chain,
    /// Length of the file up to which everything is durable.
    durable: u64,
    /// The file may hold bytes behind `durable`.
    needs_cut: bool,
    /// Jobs without a waiter that could not be written yet.
    backlog: Vec<Job>,
    buffer: Vec<u8>,
}

/// A buffer that one large batch blew up beyond this is not kept, in bytes.
const KEPT_BUFFER: usize = 1024 * 1024;

impl<S: Storage> Writer<S> {
    fn run(&mut self, patience: Duration) -> Answer {
        let mut jobs = Vec::new();
        loop {
            let is_last = self.queue.take(&mut jobs, patience);
            let result = self.write(&mut jobs);
            if is_last {
                if !self.backlog.is_empty() {
                    let entries: usize = self.backlog.iter().map(|job| job.entries.len()).sum();
                    tracing::error!(
                        entries,
                        "the ledger was closed before its last entries could be written"
                    );
                }
                return result;
            }
        }
    }

    /// Writes a batch and answers everyone in it. `jobs` is empty afterwards.
    fn write(&mut self, jobs: &mut Vec<Job>) -> Answer {
        // What could not be written before came first.
        let mut batch = mem::take(&mut self.backlog);
        batch.append(jobs);
        batch.retain(|job| !job.is_abandoned());
        if batch.is_empty() {
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
                self.restore();
                if self.queue.set_healthy(false) {
                    batch.push(Job::new(vec![Entry::new(event::INTERRUPTED)], None));
                }
                Err(LedgerUnavailable::WriteFailed)
            }
        };
        for job in batch {
            match job.waiter {
                // It may have given up.
                Some(waiter) => drop(waiter.send(answer)),
                None if answer.is_err() => self.backlog.push(job),
                None => {}
            }
        }
        self.queue
            .set_backlog(self.backlog.iter().map(|job| job.entries.len()).sum());
        answer
    }

    fn write_batch(&mut self, batch: &[Job]) -> io::Result<()> {
        self.buffer.clear();
        self.buffer.shrink_to(KEPT_BUFFER);
        let mut chain = self.chain.clone();
        for job in batch {
            for entry in &job.entries {
                chain.append(job.time, entry, &mut self.buffer)?;
            }
        }
        if self.buffer.is_empty() {
            return Ok(());
        }
        if self.needs_cut {
            self.storage.cut(self.durable)?;
        }
        self.needs_cut = true;
        self.storage.append(&self.buffer)?;
        self.storage.sync()?;
        self.needs_cut = false;
        self.durable += self.buffer.len() as u64;
        self.chain = chain;
        Ok(())
    }

    /// Takes back what a failed batch left in the file, so that readers do not see half of it. If
    /// that fails as well, the next batch tries again before it writes.
    fn restore(&mut self) {
        if self.needs_cut && self.storage.cut(self.durable).is_ok() {
            self.needs_cut = false;
        }
    }
}

#[cfg(test)]
mod tests;

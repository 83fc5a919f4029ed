//! The ledger in other hands: a process that serves requests to their end after another one has become
//! the writer.
//!
//! ```text
//! old process                              new process
//! commit, append ─► queue ─► Relay   ──►   Relayed ─► queue ─► writer: write, fdatasync
//!        answers ◄───────────┘       ◄──   once they are durable, or were refused
//! ```
//!
//! There is one writer at any time, and no use without a durable line: whoever commits in the old process
//! waits for the new one. What the old process leaves open when it ends, by whatever end, is named as after
//! a crash.

use std::mem;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use super::answers::answer_all;
use super::batch::Batch;
use super::error::{Answer, LedgerUnavailable};
use super::next_writer::NextWriter;
use super::queue::{Gathering, Queue};
use crate::ledger::stats::Stats;

/// How long after a refusal lines that nobody waits for are sent again.
const RETRY: Duration = Duration::from_secs(1);

/// Takes the place of the writer's thread once it has given way.
pub(super) struct Relay {
    queue: Arc<Queue>,
    stats: Arc<Stats>,
    /// Gone once it has ended.
    writer: Option<Box<dyn NextWriter>>,
    /// Lines that nobody waits for and that are not on record yet.
    backlog: Batch,
}

impl Relay {
    /// Without a writer nothing is taken any more. `unwritten` is what could not be written before.
    pub(super) fn to(
        queue: Arc<Queue>,
        stats: Arc<Stats>,
        writer: Option<Box<dyn NextWriter>>,
        unwritten: Batch,
    ) -> Self {
        Self {
            queue,
            stats,
            writer,
            backlog: unwritten,
        }
    }

    /// Passes lines on until the ledger is closed here.
    pub(super) fn run(mut self, patience: Duration) -> Answer {
        let mut batch = Batch::default();
        loop {
            let retry = (!self.backlog.is_empty()).then(|| Instant::now() + RETRY);
            let is_last = self
                .queue
                .take(&mut batch, patience, retry, Gathering::default());
            let answer = self.pass_on(&mut batch);
            if is_last {
                let left = self.backlog.entries();
                if left > 0 {
                    tracing::error!(
                        entries = left,
                        "the program ends before the one that writes the ledger has taken its last entries"
                    );
                }
                return answer;
            }
        }
    }

    /// Passes on what is new and answers everyone in it. `new` is empty afterwards.
    fn pass_on(&mut self, new: &mut Batch) -> Answer {
        let mut batch = mem::take(&mut self.backlog);
        batch.append(new);
        batch.drop_abandoned();
        if batch.is_empty() {
            self.queue.done(0, None);
            self.backlog = batch;
            return Ok(());
        }
        let answer = self.send(&batch);
        self.queue.set_healthy(answer.is_ok());
        answer_all(&mut batch, answer, Instant::now(), &self.queue, &self.stats);
        if answer.is_ok() {
            batch.clear();
        } else {
            self.stats.write_failures.fetch_add(1, Relaxed);
        }
        self.backlog = batch;
        answer
    }

    fn send(&mut self, batch: &Batch) -> Answer {
        let Some(writer) = &mut self.writer else {
            return Err(LedgerUnavailable::WriteFailed);
        };
        match writer.write(batch.text()) {
            Ok(true) => Ok(()),
            Ok(false) => Err(LedgerUnavailable::WriteFailed),
            Err(error) => {
                tracing::error!(%error, "the program that writes the ledger has ended");
                self.writer = None;
                Err(LedgerUnavailable::WriteFailed)
            }
        }
    }
}

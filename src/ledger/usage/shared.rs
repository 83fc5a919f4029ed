//! The index for many who ask in one process: opened once, and caught up for those who ask together.
//!
//! Each answer knows every line that was written before its question, unless to take them in takes longer
//! than [`WAIT`], as it does while the index is made again. To take in a few lines costs a transaction, so
//! that a thousand questions a second beside requests would cost more than the requests. So after catching
//! up the index rests for a multiple of the time that took, and all who asked meanwhile are served by one
//! catching up.
//!
//! On a machine without a core to spare, the thread that keeps the index up to date comes last, and holds
//! the right to write for a long time. Whoever asks then is told what is known.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, MutexGuard};
use tokio::time::{Instant, sleep_until};

use super::answer::{LastUses, Usage};
use super::filtered::{UsageFilter, UsageLine};
use super::index::{UsageError, UsageIndex};

/// How many times as long as catching up took the index rests afterwards: it is at it for a tenth of the time.
const REST: u32 = 9;

/// The longest rest: what a person would not notice.
const LONGEST_REST: Duration = Duration::from_millis(50);

/// How long a question waits for lines to be taken in.
const WAIT: Duration = Duration::from_secs(1);

/// The usage index of one ledger. Clones share it.
#[derive(Clone)]
pub struct UsageReader {
    dir: Arc<Path>,
    /// One at a time: the index has one connection.
    held: Arc<Mutex<Held>>,
}

/// The index between questions.
#[derive(Default)]
struct Held {
    /// One that failed is opened again by whoever asks next.
    index: Option<UsageIndex>,
    caught_up: Option<CaughtUp>,
    /// Until when whoever else takes lines in is not waited for again.
    others_until: Option<Instant>,
}

/// When the index took in lines last.
#[derive(Clone, Copy)]
struct CaughtUp {
    began: Instant,
    rests_until: Instant,
}

impl UsageReader {
    /// Of the ledger in `dir`.
    pub fn new(dir: &Path) -> Self {
        Self {
            dir: dir.into(),
            held: Arc::default(),
        }
    }

    /// What is known of one credential.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub async fn usage(&self, owner: &str, slug: &str) -> Result<Usage, UsageError> {
        let (mut held, mut index) = self.current().await?;
        let usage = index.usage(owner, slug).await;
        held.index = usage.is_ok().then_some(index);
        usage
    }

    /// Its uses and refusals, see [`UsageIndex::lines`].
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub async fn lines(
        &self,
        credential: (&str, &str),
        filter: &UsageFilter,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<UsageLine>, UsageError> {
        let (mut held, mut index) = self.current().await?;
        let lines = index.lines(credential, filter, before, limit).await;
        held.index = lines.is_ok().then_some(index);
        lines
    }

    /// When each of these credentials, by owner and slug, was last used.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub async fn last_uses_of(
        &self,
        credentials: &[(String, String)],
    ) -> Result<LastUses, UsageError> {
        let (mut held, mut index) = self.current().await?;
        let uses = index.last_uses_of(credentials).await;
        held.index = uses.is_ok().then_some(index);
        uses
    }

    /// An index that knows every line of now, and the place that it is to be put back to.
    async fn current(&self) -> Result<(MutexGuard<'_, Held>, UsageIndex), UsageError> {
        let asked = Instant::now();
        let mut held = self.held.lock().await;
        if let Some(mut index) = held.index.take()
            && held.catch_up(&mut index, asked).await.is_ok()
        {
            return Ok((held, index));
        }
        let began = Instant::now();
        let index = match UsageIndex::open_within(&self.dir, WAIT).await {
            Ok(index) => index,
            // Where no file can be kept, it is made in memory.
            Err(_) => UsageIndex::open(&self.dir).await?,
        };
        held.caught_up = Some(CaughtUp::after(began));
        Ok((held, index))
    }
}

impl Held {
    /// Sees to it that `index` knows all that was written before `asked`, if that is done soon.
    async fn catch_up(&mut self, index: &mut UsageIndex, asked: Instant) -> Result<(), UsageError> {
        if let Some(last) = self.caught_up {
            let others_are_at_it = self.others_until.is_some_and(|until| asked < until);
            if last.began >= asked || others_are_at_it || index.is_current().await? {
                return Ok(());
            }
            sleep_until(last.rests_until).await;
        }
        let began = Instant::now();
        match index.catch_up(|| began.elapsed() < WAIT).await {
            Ok(_) => self.caught_up = Some(CaughtUp::after(began)),
            Err(error) if error.is_locked() => self.others_until = Some(Instant::now() + WAIT),
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

impl CaughtUp {
    fn after(began: Instant) -> Self {
        let now = Instant::now();
        Self {
            began,
            rests_until: now + ((now - began) * REST).min(LONGEST_REST),
        }
    }
}

#[cfg(test)]
mod tests {
    use sqlx::Connection as _;

    use super::*;
    use crate::ledger::usage::tests::{Growing, used};

    #[tokio::test]
    async fn an_answer_knows_every_line_written_before_the_question() {
        let mut ledger = Growing::with([used("r0", "a", 1)]);
        let reader = UsageReader::new(ledger.dir.path());
        for count in 1..200 {
            assert_eq!(reader.usage("alice", "pat").await.unwrap().uses, count);
            ledger.grow([used(&format!("r{count}"), "a", 1)]);
        }
    }

    #[tokio::test]
    async fn those_who_ask_together_wait_for_one_catching_up() {
        let mut ledger = Growing::with([used("r0", "a", 1)]);
        let reader = UsageReader::new(ledger.dir.path());
        reader.usage("alice", "pat").await.unwrap();

        // All have asked before the first gets its turn.
        let held = reader.held.lock().await;
        let mut asking = tokio::task::JoinSet::new();
        for _ in 0..20 {
            let reader = reader.clone();
            asking.spawn(async move {
                let uses = reader.usage("alice", "pat").await.unwrap().uses;
                let began = reader.held.lock().await.caught_up.unwrap().began;
                (uses, began)
            });
        }
        tokio::task::yield_now().await;
        ledger.grow([used("r1", "a", 1)]);
        drop(held);
        let first = asking.join_next().await.unwrap().unwrap();
        assert_eq!(first.0, 2);
        // For whoever comes next there would be something to take in.
        ledger.grow([used("r2", "a", 1)]);
        while let Some(answer) = asking.join_next().await {
            assert_eq!(answer.unwrap(), first);
        }
        assert_eq!(reader.usage("alice", "pat").await.unwrap().uses, 3);
    }

    #[tokio::test]
    async fn while_others_take_lines_in_the_answer_is_what_is_known() {
        let mut ledger = Growing::with([used("r0", "a", 1)]);
        let reader = UsageReader::new(ledger.dir.path());
        let uses = async || reader.usage("alice", "pat").await.unwrap().uses;
        let others_until = async || reader.held.lock().await.others_until;
        assert_eq!(uses().await, 1);

        let mut others = UsageIndex::open(ledger.dir.path()).await.unwrap();
        let change = others.connection.begin_with("BEGIN IMMEDIATE").await;
        let change = change.unwrap();
        ledger.grow([used("r1", "a", 1)]);
        assert_eq!(uses().await, 1);
        // The next ones do not wait for the same.
        let until = others_until().await.unwrap();
        assert_eq!(uses().await, 1);
        assert_eq!(others_until().await, Some(until));

        change.rollback().await.unwrap();
        sleep_until(until).await;
        assert_eq!(uses().await, 2);
    }
}

//! What is signed, and when: the tree over the durable lines, and how long they have gone without
//! a checkpoint. Knows no clock and no file; the writer tells it the time and writes what it signs.

use std::time::{Duration, Instant};

use crate::ledger::format::checkpoint::{Cause, Checkpoint};
use crate::ledger::format::line_hash::LineHash;
use crate::ledger::format::merkle::{Frontier, TreeHash};
use crate::ledger::format::note::Signer;
use crate::ledger::format::timestamp::Timestamp;

/// Lines after which a checkpoint is due.
const LINES: u64 = 1000;
/// How long a line waits for its checkpoint.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long after a failure it is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// Keeps the tree and says when it is to be signed.
pub(super) struct Checkpointer {
    signer: Signer,
    /// Over all durable lines.
    tree: Frontier,
    head: LineHash,
    /// The size of the last checkpoint.
    covered: u64,
    /// When the first line that is under no checkpoint became durable.
    uncovered_since: Option<Instant>,
    last: Instant,
    heartbeat: Duration,
    /// A checkpoint that is owed whatever the lines.
    owed: Option<Cause>,
    not_before: Option<Instant>,
}

impl Checkpointer {
    /// Continues after a tree whose last line has this hash. A checkpoint may be owed for the start.
    pub(super) fn new(
        signer: Signer,
        tree: Frontier,
        head: LineHash,
        start: Option<Cause>,
        heartbeat: Duration,
        now: Instant,
    ) -> Self {
        Self {
            signer,
            covered: tree.size(),
            tree,
            head,
            uncovered_since: None,
            last: now,
            heartbeat,
            owed: start,
            not_before: None,
        }
    }

    /// Takes in lines that are durable now, the last of which has this hash.
    pub(super) fn take_in<'a>(
        &mut self,
        lines: impl Iterator<Item = &'a [u8]>,
        head: LineHash,
        now: Instant,
    ) {
        lines.for_each(|line| self.tree.push(TreeHash::of_leaf(line)));
        self.head = head;
        self.uncovered_since.get_or_insert(now);
    }

    /// Owes a checkpoint for this cause. One that is owed already stays what it is.
    pub(super) fn owe(&mut self, cause: Cause) {
        self.owed.get_or_insert(cause);
    }

    /// The checkpoint that is due, if one is. `is_idle` says that no request is under way: those
    /// that say so wait until it is so.
    pub(super) fn due(&self, now: Instant, is_idle: bool) -> Option<Cause> {
        if self.not_before.is_some_and(|at| now < at) {
            return None;
        }
        let waited = |since: Instant, patience| now.saturating_duration_since(since) >= patience;
        match self.owed {
            Some(cause) if is_idle || !cause.is_boundary() => Some(cause),
            _ if self.uncovered() >= LINES => Some(Cause::Count),
            _ if self
                .uncovered_since
                .is_some_and(|since| waited(since, PATIENCE)) =>
            {
                Some(Cause::Time)
            }
            _ if waited(self.last, self.heartbeat) => Some(Cause::Heartbeat),
            _ => None,
        }
    }

    /// When to ask again, if nothing is written until then. `None` is never: a heartbeat of
    /// centuries.
    pub(super) fn next(&self, now: Instant) -> Option<Instant> {
        // After a failure everything waits for the retry.
        if let Some(retry) = self.not_before.filter(|at| *at > now) {
            return Some(retry);
        }
        let patience = self
            .uncovered_since
            .and_then(|since| since.checked_add(PATIENCE));
        let heartbeat = self.last.checked_add(self.heartbeat);
        [patience, heartbeat].into_iter().flatten().min()
    }

    /// Lines under no checkpoint.
    pub(super) fn uncovered(&self) -> u64 {
        self.tree.size().saturating_sub(self.covered)
    }

    /// A checkpoint over all durable lines.
    pub(super) fn checkpoint(&self, cause: Cause, time: Timestamp) -> Checkpoint {
        Checkpoint {
            origin: self.signer.verifier().name().clone(),
            tree: self.tree.clone(),
            head: self.head,
            time,
            cause,
        }
    }

    /// The key that signs.
    pub(super) fn signer(&self) -> &Signer {
        &self.signer
    }

    /// The checkpoint is durable. Returns its size.
    pub(super) fn written(&mut self, cause: Cause, now: Instant) -> u64 {
        self.covered = self.tree.size();
        self.uncovered_since = None;
        self.last = now;
        self.not_before = None;
        self.owed = self.owed.filter(|owed| *owed != cause);
        self.covered
    }

    /// The checkpoint could not be written. Returns whether that is news.
    pub(super) fn failed(&mut self, now: Instant) -> bool {
        let is_news = self.not_before.is_none();
        self.not_before = Some(now + RETRY);
        is_news
    }
}

#[cfg(test)]
mod tests {
    use std::iter;

    use super::*;
    use crate::secret::SecretBytes;

    const SECOND: Duration = Duration::from_secs(1);
    const HEARTBEAT: Duration = Duration::from_secs(600);

    fn checkpointer(now: Instant) -> Checkpointer {
        let signer = Signer::of_ledger(&SecretBytes::new(vec![1; 32])).unwrap();
        let mut checkpointer = Checkpointer::new(
            signer,
            Frontier::default(),
            LineHash::GENESIS,
            Some(Cause::Start),
            HEARTBEAT,
            now,
        );
        assert_eq!(checkpointer.due(now, true), Some(Cause::Start));
        checkpointer.written(Cause::Start, now);
        checkpointer
    }

    fn lines(count: usize) -> impl Iterator<Item = &'static [u8]> {
        iter::repeat_n(b"line".as_slice(), count)
    }

    #[test]
    fn lines_are_signed_by_number_and_by_time() {
        let start = Instant::now();
        let mut checkpointer = checkpointer(start);
        assert_eq!(checkpointer.due(start + 599 * SECOND, true), None);
        checkpointer.take_in(lines(999), LineHash::of(b"line"), start + SECOND);
        assert_eq!(checkpointer.due(start + 10 * SECOND, false), None);
        assert_eq!(checkpointer.next(start), Some(start + 11 * SECOND));
        assert_eq!(
            checkpointer.due(start + 11 * SECOND, false),
            Some(Cause::Time)
        );
        checkpointer.take_in(lines(1), LineHash::of(b"line"), start + 2 * SECOND);
        assert_eq!(
            checkpointer.due(start + 2 * SECOND, false),
            Some(Cause::Count)
        );
        assert_eq!(checkpointer.uncovered(), 1000);
        assert_eq!(checkpointer.written(Cause::Count, start + 2 * SECOND), 1000);
        assert_eq!(checkpointer.due(start + 12 * SECOND, true), None);
    }

    #[test]
    fn silence_is_signed_too() {
        let start = Instant::now();
        let mut checkpointer = checkpointer(start);
        assert_eq!(checkpointer.next(start), Some(start + HEARTBEAT));
        let then = start + HEARTBEAT;
        assert_eq!(checkpointer.due(then, false), Some(Cause::Heartbeat));
        checkpointer.written(Cause::Heartbeat, then);
        assert_eq!(checkpointer.due(then + 599 * SECOND, true), None);
        checkpointer.heartbeat = Duration::MAX;
        assert_eq!(checkpointer.next(start), None);
    }

    #[test]
    fn a_start_is_signed_as_one_only_while_no_request_is_under_way() {
        let start = Instant::now();
        let mut checkpointer = checkpointer(start);
        checkpointer.owe(Cause::Recovery);
        assert_eq!(checkpointer.due(start, false), None);
        checkpointer.take_in(lines(1000), LineHash::of(b"line"), start);
        assert_eq!(checkpointer.due(start, false), Some(Cause::Count));
        checkpointer.written(Cause::Count, start);
        assert_eq!(checkpointer.due(start, true), Some(Cause::Recovery));
        checkpointer.written(Cause::Recovery, start);
        checkpointer.owe(Cause::Retention);
        assert_eq!(checkpointer.due(start, false), Some(Cause::Retention));
    }

    #[test]
    fn a_failure_is_tried_again_after_a_while_and_is_news_once() {
        let start = Instant::now();
        let mut checkpointer = checkpointer(start);
        checkpointer.take_in(lines(5000), LineHash::of(b"line"), start);
        assert!(checkpointer.failed(start));
        assert_eq!(checkpointer.due(start, true), None);
        assert_eq!(checkpointer.next(start), Some(start + RETRY));
        assert!(!checkpointer.failed(start + SECOND));
        assert_eq!(
            checkpointer.due(start + 2 * SECOND, true),
            Some(Cause::Count)
        );
        assert_eq!(checkpointer.uncovered(), 5000);
        checkpointer.written(Cause::Count, start + 2 * SECOND);
        assert!(
            checkpointer.failed(start + 3 * SECOND),
            "the next trouble is news again"
        );
    }

    #[test]
    fn what_is_signed_is_the_tree_of_the_lines() {
        let start = Instant::now();
        let mut checkpointer = checkpointer(start);
        checkpointer.take_in(lines(3), LineHash::of(b"line"), start);
        let checkpoint = checkpointer.checkpoint(Cause::Time, Timestamp::from_unix_micros(7));
        let note = checkpoint.sign(checkpointer.signer()).unwrap();
        let checkpoint = Checkpoint::open(&note, checkpointer.signer.verifier()).unwrap();
        let mut tree = Frontier::default();
        (0..3).for_each(|_| tree.push(TreeHash::of_leaf(b"line")));
        assert_eq!(checkpoint.tree, tree);
        assert_eq!(checkpoint.head, LineHash::of(b"line"));
    }
}

//! The check of one line after the other. Pure: bytes go in, and what is wrong comes out.

use crate::ledger::format::checkpoint::Checkpoint;
use crate::ledger::format::event;
use crate::ledger::format::line_hash::LineHash;
use crate::ledger::format::merkle::{Frontier, TreeHash};
use crate::ledger::format::record_ref::RecordRef;
use crate::ledger::format::timestamp::Timestamp;

use super::flaw::Wrong;

/// What is known of the lines that were checked. A few dozen hashes, however many lines.
#[derive(Clone, Debug)]
pub struct Checker {
    prev: LineHash,
    tree: Frontier,
    time: Option<Timestamp>,
    clock_steps: u64,
    says_signed: bool,
}

impl Checker {
    /// Before the first line of a ledger.
    pub fn new() -> Self {
        Self {
            prev: LineHash::GENESIS,
            tree: Frontier::default(),
            time: None,
            clock_steps: 0,
            says_signed: false,
        }
    }

    /// After the last line of a checkpoint, which vouches for what came before.
    pub fn after(checkpoint: &Checkpoint) -> Self {
        Self {
            prev: checkpoint.head,
            tree: checkpoint.tree.clone(),
            time: None,
            clock_steps: 0,
            says_signed: false,
        }
    }

    /// The number of lines up to here, which is the `seq` of the last one.
    pub fn size(&self) -> u64 {
        self.tree.size()
    }

    /// The root of the tree over all lines up to here.
    pub fn root(&self) -> TreeHash {
        self.tree.root()
    }

    /// How often a line is earlier than the one before it. That is no flaw: clocks are set back.
    pub fn clock_steps(&self) -> u64 {
        self.clock_steps
    }

    /// Whether a line says that there are checkpoints from there on.
    pub fn says_signed(&self) -> bool {
        self.says_signed
    }

    /// The time of the last line.
    pub fn time(&self) -> Option<Timestamp> {
        self.time
    }

    /// Takes the next line, given without its line feed. Returns what it says of the ledger itself.
    ///
    /// # Errors
    /// When it is no record, not the one that comes next, or not linked to the one before.
    pub fn line(&mut self, line: &[u8]) -> Result<Option<Remark>, Wrong> {
        let view = RecordRef::parse(line).map_err(|_| Wrong::NotARecord)?;
        if view.seq != self.size() + 1 {
            return Err(Wrong::Sequence { found: view.seq });
        }
        if view.prev.parse() != Ok(self.prev) {
            return Err(Wrong::Unlinked);
        }
        let time: Timestamp = view.time.parse().map_err(|_| Wrong::Time)?;
        if self.time.is_some_and(|before| time < before) {
            self.clock_steps += 1;
        }
        self.says_signed |= view.event == event::SIGNED;
        self.time = Some(time);
        self.prev = LineHash::of(line);
        self.tree.push(TreeHash::of_leaf(line));
        Ok(Remark::of(&view))
    }

    /// Whether the lines up to here are those of the checkpoint, whose size is this one's.
    pub fn is_at(&self, checkpoint: &Checkpoint) -> bool {
        self.tree == checkpoint.tree && self.prev == checkpoint.head
    }
}

/// What a line says of the ledger itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remark {
    /// Something was missing or changed: what, and where.
    Damage(String),
    /// Another key signs from here on.
    KeyChange,
}

impl Remark {
    fn of(record: &RecordRef<'_>) -> Option<Self> {
        match &*record.event {
            event::DAMAGED => {
                let code = record.code.as_deref().unwrap_or_default();
                Some(Self::Damage(format!(
                    "{code} ({})",
                    record.locations.join(", ")
                )))
            }
            event::SIGNED if record.code.is_some() => Some(Self::KeyChange),
            _ => None,
        }
    }
}

impl Default for Checker {
    fn default() -> Self {
        Self::new()
    }
}

//! Asking how the ledger is, by those who must not write to it.

use super::stats::Snapshot;
use super::writer::Ledger;

/// Tells how the ledger is. Whoever holds a probe cannot add a line or close the file.
#[derive(Clone)]
pub struct LedgerProbe(Ledger);

impl LedgerProbe {
    /// A probe of `ledger`.
    pub fn new(ledger: Ledger) -> Self {
        Self(ledger)
    }

    /// Whether lines are written and durable in time.
    pub fn is_ready(&self) -> bool {
        self.0.is_ready()
    }

    /// Whether nothing can be written until a restart.
    pub fn has_died(&self) -> bool {
        self.0.has_died()
    }

    /// What the ledger has counted so far.
    pub fn stats(&self) -> Snapshot {
        self.0.stats()
    }
}

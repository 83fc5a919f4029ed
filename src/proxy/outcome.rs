//! The `result` line: whatever happens to a recorded request, the ledger learns how it ended.

use std::sync::Arc;

use super::uses::Facts;
use super::watch::Used;
use crate::error::Code;
use crate::ledger::record::{Entry, event, outcome};
use crate::ledger::{Draft, Ledger};

/// A `result` line waiting for its outcome. Dropped without one, it says that the client went
/// away: that is the only way to lose an exchange without an answer.
pub struct Outcome(Option<Pending>);

struct Pending {
    ledger: Ledger,
    facts: Arc<Facts>,
    /// Whether a use is on record. A body that streams may get to that late, or never.
    used: Arc<Used>,
    status: Option<u16>,
    /// Bytes of the answer's body on their way to the client.
    bytes: u64,
}

impl Outcome {
    /// For a request whose uses are on record, or come to be while its body streams.
    pub fn new(ledger: Ledger, facts: Arc<Facts>, used: Arc<Used>) -> Self {
        Self(Some(Pending {
            ledger,
            facts,
            used,
            status: None,
            bytes: 0,
        }))
    }

    /// Whether a use is on record.
    pub fn is_recorded(&self) -> bool {
        let used = |pending: &Pending| pending.used.is_recorded();
        self.0.as_ref().is_some_and(used)
    }

    /// The upstream's answer has begun.
    pub fn answered(&mut self, status: u16) {
        if let Some(pending) = &mut self.0 {
            pending.status = Some(status);
        }
    }

    /// So many more bytes of the answer's body go to the client.
    pub fn passed(&mut self, bytes: usize) {
        if let Some(pending) = &mut self.0 {
            pending.bytes += bytes as u64;
        }
    }

    /// Values were taken out of the answer. The lines stand before the result.
    pub fn scrubbed(&self, lines: Draft) {
        if let Some(pending) = &self.0
            && pending.ledger.append(lines).is_err()
        {
            tracing::error!(request = %pending.facts.id, "a scrubbed value could not be recorded");
        }
    }

    /// The upstream's answer was passed on to its end.
    pub fn forwarded(&mut self) {
        self.write(outcome::FORWARDED, None);
    }

    /// The upstream could not be reached, broke the protocol, or its answer could not be passed on.
    pub fn failed(&mut self, code: Code) {
        self.write(outcome::FAILED, Some(code));
    }

    fn write(&mut self, how: &'static str, code: Option<Code>) {
        let recorded = self.is_recorded();
        let Some(pending) = self.0.take().filter(|_| recorded) else {
            return;
        };
        let Pending {
            ledger,
            facts,
            status,
            bytes,
            ..
        } = pending;
        let duration = facts.started.elapsed().as_millis();
        let entry = Entry {
            outcome: Some(how.into()),
            code: code.map(|code| code.as_str().into()),
            status: status.or(code.map(Code::status)),
            duration_ms: Some(u64::try_from(duration).unwrap_or(u64::MAX)),
            bytes: status.map(|_| bytes),
            ..facts.entry(event::RESULT)
        };
        // Nobody waits for a result: it is queued here and durable soon.
        if ledger.append(&entry).is_err() {
            tracing::error!(request = %facts.id, "a result could not be written to the ledger");
        }
    }
}

impl Drop for Outcome {
    fn drop(&mut self) {
        self.write(outcome::CLIENT_GONE, None);
    }
}

//! The `result` line: whatever happens to a recorded request, the ledger learns how it ended.

use crate::error::Code;
use crate::ledger::Ledger;
use crate::ledger::record::Entry;

use super::exchange::Facts;

/// A `result` line waiting for its outcome. Dropped without one, it says that the client went
/// away: that is the only way to lose an exchange without an answer.
pub struct Outcome(Option<Box<Pending>>);

struct Pending {
    ledger: Ledger,
    facts: Facts,
    status: Option<u16>,
}

impl Outcome {
    /// For a request without a placeholder: nothing will be written.
    pub fn unrecorded() -> Self {
        Self(None)
    }

    /// For a request whose uses are on record.
    pub fn expected(ledger: Ledger, facts: &Facts) -> Self {
        let facts = facts.clone();
        Self(Some(Box::new(Pending {
            ledger,
            facts,
            status: None,
        })))
    }

    /// The upstream's answer has begun.
    pub fn answered(&mut self, status: u16) {
        if let Some(pending) = &mut self.0 {
            pending.status = Some(status);
        }
    }

    /// The upstream's answer was passed on to its end.
    pub fn forwarded(&mut self) {
        self.write("forwarded", None);
    }

    /// The upstream could not be reached, broke the protocol, or its answer could not be passed on.
    pub fn failed(&mut self, code: Code) {
        self.write("failed", Some(code));
    }

    fn write(&mut self, outcome: &'static str, code: Option<Code>) {
        let Some(pending) = self.0.take() else {
            return;
        };
        let Pending {
            ledger,
            facts,
            status,
        } = *pending;
        let duration = facts.started.elapsed().as_millis();
        let entry = Entry {
            outcome: Some(outcome.into()),
            code: code.map(|code| code.as_str().into()),
            status: status.or(code.map(Code::status)),
            duration_ms: Some(u64::try_from(duration).unwrap_or(u64::MAX)),
            ..facts.entry("result")
        };
        // Nobody waits for a result: it is queued here and durable soon.
        if ledger.append(vec![entry]).is_err() {
            tracing::error!(request = %facts.id, "a result could not be written to the ledger");
        }
    }
}

impl Drop for Outcome {
    fn drop(&mut self) {
        self.write("client_gone", None);
    }
}

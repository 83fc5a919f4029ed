//! The `result` line: whatever happens to a recorded request, the ledger learns how it ended.

use std::mem;
use std::sync::Arc;

use crate::error::Code;
use crate::ledger::{EncodedEntries, Entry, Ledger, event, outcome};
use crate::observe::traces::Span;
use crate::proxy::exchange::request_context::RequestContext;
use crate::proxy::exchange::used::Used;

/// A `result` line waiting for its outcome. Dropped without one, it says that the client went
/// away: that is the only way to lose an exchange without an answer.
///
/// It holds what is known of the exchange as long as it lasts, for the side that passes the answer on.
pub struct Outcome {
    ledger: Arc<Ledger>,
    context: Arc<RequestContext>,
    /// Also knows whether a use is on record. A body that streams may get to that late, or never.
    used: Arc<Used>,
    status: Option<u16>,
    /// Bytes of the answer's body on their way to the client.
    bytes: u64,
    is_told: bool,
}

impl Outcome {
    /// For a request whose uses are on record, or come to be while its body streams.
    pub fn new(ledger: Arc<Ledger>, context: Arc<RequestContext>, used: Arc<Used>) -> Self {
        Self {
            ledger,
            context,
            used,
            status: None,
            bytes: 0,
            is_told: false,
        }
    }

    /// What was known about the request.
    pub fn context(&self) -> &Arc<RequestContext> {
        &self.context
    }

    /// What the request has sent.
    pub fn used(&self) -> &Arc<Used> {
        &self.used
    }

    /// The upstream's answer has begun.
    pub fn answered(&mut self, status: u16) {
        self.status = Some(status);
    }

    /// So many more bytes of the answer's body go to the client.
    pub fn passed(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
    }

    /// Values were taken out of the answer. The lines come before the result.
    pub fn scrubbed(&self, lines: EncodedEntries) {
        if !lines.is_empty() && !self.is_told && self.ledger.append(lines).is_err() {
            tracing::error!(request = %self.context.id, "a scrubbed value could not be recorded");
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
        if mem::replace(&mut self.is_told, true) {
            return;
        }
        self.trace(code);
        if !self.used.is_recorded() {
            return;
        }
        let (context, status) = (&*self.context, self.status);
        let duration = context.started.elapsed().as_millis();
        let entry = Entry {
            outcome: Some(how.into()),
            code: code.map(|code| code.as_str().into()),
            status: status.or(code.map(Code::status)),
            duration_ms: Some(u64::try_from(duration).unwrap_or(u64::MAX)),
            bytes: status.map(|_| self.bytes),
            ..context.entry(event::RESULT)
        };
        // Nobody waits for a result: it is queued here and durable soon.
        if self.ledger.append(&entry).is_err() {
            tracing::error!(request = %context.id, "a result could not be written to the ledger");
        }
    }
}

impl Outcome {
    /// Ends the span of the request, if there is one.
    fn trace(&self, code: Option<Code>) {
        let context = &*self.context;
        let Some(trace) = &context.trace else {
            return;
        };
        trace.end(|span| Span {
            method: context.method.to_string(),
            status: self.status,
            code: code.map(Code::as_str),
            attributes: [
                ("egret.request", context.id.to_string()),
                ("egret.client", context.caller.client.to_string()),
                ("egret.action", context.caller.action.to_string()),
                ("server.address", context.origin.to_string()),
            ],
            ..span
        });
    }
}

impl Drop for Outcome {
    fn drop(&mut self) {
        self.write(outcome::CLIENT_GONE, None);
    }
}

//! What the upstream sends: messages without values.

use std::sync::Arc;

use crate::proxy::exchange::outcome::Outcome;
use crate::proxy::response::findings::Findings;
use crate::proxy::response::scrubbing::{Stages, Unscannable};
use crate::proxy::websocket::conversation::Conversation;
use crate::scrub::{Needles, Replacement, scrub_bytes};
use crate::websocket::Close;

/// Where a finding was made, for the ledger.
const PLACE: &str = "message";

/// Scrubs one side of a conversation. Every message is a text of its own, whatever frames it came
/// in.
pub struct Incoming<'a> {
    about: &'a Conversation,
    outcome: &'a Outcome,
    /// What the principal could use when the current message began.
    live: Arc<Needles>,
    stages: Stages,
    /// Whether the next piece begins a message.
    between: bool,
    findings: Findings,
}

impl<'a> Incoming<'a> {
    pub fn new(about: &'a Conversation, outcome: &'a Outcome) -> Self {
        let live = about.needles();
        Self {
            about,
            outcome,
            stages: stages(about, &live),
            live,
            between: true,
            findings: Findings::default(),
        }
    }

    /// The next piece of a message. What could still begin a value waits for the piece after it.
    pub fn data(&mut self, payload: &[u8], end: bool) -> Result<Vec<u8>, Unscannable> {
        if self.between {
            self.renew();
        }
        self.between = end;
        let scrubbed = self.stages.scrub(payload, end, PLACE, &mut self.findings);
        self.report();
        Ok(scrubbed?.join(payload))
    }

    /// The payload of a ping or pong, which may come between two pieces.
    pub fn control(&mut self, payload: &[u8]) -> Vec<u8> {
        let needles = self.live.with_used(&self.about.used.values());
        let mut hits = Vec::new();
        let clean = scrub_bytes(&needles, payload, &mut hits);
        self.findings.add(&needles, PLACE, &hits);
        self.report();
        clean.unwrap_or_else(|| payload.to_vec())
    }

    /// A close frame with its code kept.
    pub fn close(&mut self, close: &Close) -> Close {
        let reason = self.control(close.reason.as_bytes());
        Close::new(close.code, &String::from_utf8_lossy(&reason))
    }

    /// Tells the ledger what was found for the first time, before it is passed on. Not only once a
    /// message is complete: it need never be.
    fn report(&mut self) {
        let lines = self.findings.take_entries(&self.about.context);
        if !lines.is_empty() {
            self.outcome.scrubbed(lines);
        }
    }

    /// Credentials may have come, changed and gone since the last message.
    fn renew(&mut self) {
        let live = self.about.needles();
        if !Arc::ptr_eq(&live, &self.live) || !self.stages.are_fresh() {
            self.stages = stages(self.about, &live);
            self.live = live;
        }
    }
}

fn stages(about: &Conversation, live: &Arc<Needles>) -> Stages {
    let sent = about.used.values();
    let known = sent.len();
    let needles = live.with_used(&sent);
    Stages::new(needles, &about.used, known, Replacement::Placeholder)
}

impl Conversation {
    /// Every value that the principal can use at this moment.
    pub fn needles(&self) -> Arc<Needles> {
        let principal = &self.context.caller.principal;
        self.proxy
            .needle_cache
            .needles(&self.proxy.vault, principal)
    }
}

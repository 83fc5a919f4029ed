//! What the upstream sends: messages without values.

use std::sync::Arc;

use crate::proxy::exchange::outcome::Outcome;
use crate::proxy::response::findings::Findings;
use crate::proxy::response::stages::{Stages, Unscannable};
use crate::proxy::websocket::conversation::Conversation;
use crate::scrub::{Needles, Replacement, Waiting, scrub_bytes};
use crate::websocket::{Close, MessageKind};

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
    /// What the current message is, or was the last one.
    kind: MessageKind,
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
            stages: stages(about, &live, MessageKind::Text),
            live,
            kind: MessageKind::Text,
            between: true,
            findings: Findings::default(),
        }
    }

    /// The next piece of a message. What could still begin a value waits for the piece after it.
    pub fn data(
        &mut self,
        kind: MessageKind,
        payload: &[u8],
        end: bool,
    ) -> Result<Vec<u8>, Unscannable> {
        if self.between {
            self.renew(kind);
        }
        self.between = end;
        let scrubbed = self.stages.scrub(payload, end, PLACE, &mut self.findings);
        let mut clean = scrubbed.map(|scrubbed| scrubbed.join(payload));
        if let Ok(clean) = &mut clean
            && self.stages.waiting() == Waiting::Neighbour
        {
            clean.append(&mut self.stages.release(PLACE, &mut self.findings));
        }
        self.report();
        clean
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
    fn renew(&mut self, kind: MessageKind) {
        let live = self.about.needles();
        let is_same = kind == self.kind && Arc::ptr_eq(&live, &self.live);
        if !is_same || !self.stages.are_fresh() {
            self.stages = stages(self.about, &live, kind);
            self.live = live;
            self.kind = kind;
        }
    }
}

/// A binary message may say lengths in front of what it holds, so it keeps its own.
fn stages(about: &Conversation, live: &Arc<Needles>, kind: MessageKind) -> Stages {
    let replacement = match kind {
        MessageKind::Text => Replacement::Placeholder,
        MessageKind::Binary => Replacement::SameLength,
    };
    let sent = about.used.values();
    let known = sent.len();
    let needles = live.with_used(&sent);
    Stages::new(needles, &about.used, known, replacement)
}

impl Conversation {
    /// Every value that the principal can use at this moment.
    pub fn needles(&self) -> Arc<Needles> {
        let principal = &self.context.caller.principal;
        let cache = &self.proxy.needle_cache;
        let needles = cache.needles(&self.proxy.vault, principal);
        match &self.context.stand_ins {
            Some(search) => needles.with_stand_ins(search),
            None => needles,
        }
    }
}

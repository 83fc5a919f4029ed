//! What the upstream sends: messages without values.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::proxy::exchange::outcome::Outcome;
use crate::proxy::response::findings::Findings;
use crate::proxy::response::stages::{Stages, Unscannable};
use crate::proxy::websocket::conversation::Conversation;
use crate::scrub::{Needles, Replacement, Waiting, scrub_bytes};
use crate::websocket::{Close, MessageKind};

/// Where a finding was made, for the ledger.
const PLACE: &str = "message";

/// How long the end of a message waits for the next one, where it is the beginning of a value.
const SUSPICION: Duration = Duration::from_secs(1);

/// A piece of a message on its way to the client.
pub struct Piece {
    /// What the message is.
    pub kind: MessageKind,
    /// Without values.
    pub text: Vec<u8>,
    /// Whether the message is complete.
    pub end: bool,
}

/// Scrubs one side of a conversation. Every message is a text of its own, whatever frames it came in; but
/// an upstream may cut what it repeats anywhere, so a value is followed from one message into the next of
/// its kind.
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
    /// Until when the end of the last message waits, if it does.
    waits: Option<Instant>,
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
            waits: None,
            findings: Findings::default(),
        }
    }

    /// The next piece of a message. What could still begin a value waits for the piece after it, and at
    /// the end of the message for the next one, if it is more than a few bytes.
    pub fn data(
        &mut self,
        kind: MessageKind,
        payload: &[u8],
        end: bool,
    ) -> Result<Piece, Unscannable> {
        if self.between {
            self.renew(kind);
        }
        self.between = end;
        let scrubbed = self
            .stages
            .scrub(payload, false, PLACE, &mut self.findings)?;
        let mut text = scrubbed.join(payload);
        let waiting = self.stages.waiting();
        let mut is_complete = end;
        if end && (waiting <= Waiting::Neighbour || self.stages.open_text().is_none()) {
            text.append(&mut self.finish()?);
        } else if end && waiting == Waiting::Much {
            is_complete = false;
            self.waits = Some(Instant::now() + SUSPICION);
        } else if end || waiting == Waiting::Neighbour {
            text.append(&mut self.stages.release(PLACE, &mut self.findings));
        }
        self.report();
        Ok(Piece {
            kind,
            text,
            end: is_complete,
        })
    }

    /// Until when the end of the last message waits.
    pub fn waits_until(&self) -> Option<Instant> {
        self.waits
    }

    /// The end of the last message, if it waits: before `next`, the beginning of a message of this kind; or
    /// because nothing follows. A value that goes on is masked.
    pub fn settle(
        &mut self,
        next: Option<(MessageKind, &[u8])>,
    ) -> Result<Option<Piece>, Unscannable> {
        if self.waits.take().is_none() {
            return Ok(None);
        }
        let goes_on =
            next.is_some_and(|(kind, next)| kind == self.kind && self.stages.goes_on(next));
        let text = if goes_on {
            self.stages.release(PLACE, &mut self.findings)
        } else {
            self.finish()?
        };
        Ok(self.last_piece(text))
    }

    /// The same after nothing has come for too long.
    pub fn give_up(&mut self) -> Option<Piece> {
        self.waits.take()?;
        let text = self.stages.release(PLACE, &mut self.findings);
        self.last_piece(text)
    }

    fn last_piece(&mut self, text: Vec<u8>) -> Option<Piece> {
        self.report();
        Some(Piece {
            kind: self.kind,
            text,
            end: true,
        })
    }

    /// What was held back, which nothing follows. The next message is another text.
    fn finish(&mut self) -> Result<Vec<u8>, Unscannable> {
        let rest = self.stages.scrub(b"", true, PLACE, &mut self.findings)?;
        Ok(rest.join(b""))
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

//! The step that puts the uses on record, and gives the body the form in which it is sent.

use std::sync::{Arc, Mutex};

use super::{Exchange, ExchangeContext, Late, Recorded, Substitute, Substituted};
use crate::config::Exposed;
use crate::ledger::Ledger;
use crate::proxy::exchange::authorisation::{Decided, OnRecord};
use crate::proxy::exchange::body::Held;
use crate::proxy::exchange::envelope_body::EnvelopeBody;
use crate::proxy::exchange::expectation;
use crate::proxy::exchange::late::LateAuthoriser;
use crate::proxy::exchange::out_body::OutBody;
use crate::proxy::exchange::outcome::Outcome;
use crate::proxy::exchange::payload::{Spooled, Streamed};
use crate::proxy::exchange::ranges;
use crate::proxy::exchange::request_context::Refused;
use crate::proxy::exchange::spooled_body::{Changes, SpooledBody, Unchangeable};
use crate::proxy::exchange::streamed_body::StreamedBody;
use crate::proxy::exchange::used::Used;
use crate::proxy::exchange::watched_body::WatchedBody;
use crate::substitution::body::BodyKind;

impl Exchange<Substituted> {
    /// Puts every use on record and waits until it is durable. Without that nothing is sent.
    ///
    /// The handle on the ledger is the connection's own: those who hold it are counted for each
    /// request.
    pub async fn record(self, ledger: &Arc<Ledger>) -> Result<Exchange<Recorded>, Refused> {
        let Exchange { about, state } = self;
        let Substituted { payload, decision } = state;
        let body = match payload {
            Substitute::Spooled(spooled, changes) => {
                // Before the line is written: this is where a value turns out not to fit.
                let body = Box::pin(spooled_body(*spooled, changes));
                let body = body.await.map_err(|error| match error {
                    Unchangeable::Splice(error) => decision.unwritable(&about.context, error),
                    Unchangeable::Refused(refusal) => refusal.into(),
                })?;
                Ready::Spooled(Box::new(body))
            }
            Substitute::Held(held) => Ready::Held(held),
            Substitute::Streamed(streamed, late) => Ready::Streamed(streamed, late),
        };
        let used = Arc::new(Used::default());
        if about.head.extensions.get::<ranges::Withheld>().is_some() {
            used.ignore_field(ranges::NAME);
            let host = &about.context.destination;
            tracing::info!(destination = %host, "a request asked for a part of an answer that may hold a value, and gets all of it");
        }
        let (handle, context) = (Arc::clone(ledger), Arc::clone(&about.context));
        // Made before the line is written: whatever happens from then on, a result follows.
        let mut outcome = Outcome::new(handle, context, Arc::clone(&used));
        match decision.record(&about.context, ledger, &used).await {
            Ok((_, decided)) => Ok(recorded(about, body, outcome, ledger, decided)),
            Err(refused) => {
                outcome.failed(refused.refusal.code);
                Err(refused)
            }
        }
    }
}

/// The message body with its length known, as far as it can be.
enum Ready {
    Held(Held),
    Spooled(Box<SpooledBody>),
    Streamed(Box<Streamed>, Box<Late>),
}

async fn spooled_body(
    spooled: Spooled,
    changes: Option<Changes>,
) -> Result<SpooledBody, Unchangeable> {
    let Spooled {
        spool, trailers, ..
    } = spooled;
    match changes {
        None => Ok(SpooledBody::unchanged(spool, trailers)),
        Some(changes) => SpooledBody::changed(spool, trailers, &changes).await,
    }
}

/// The body in the form in which it is sent.
fn recorded(
    about: Box<ExchangeContext>,
    body: Ready,
    outcome: Outcome,
    ledger: &Arc<Ledger>,
    decided: Decided,
) -> Exchange<Recorded> {
    let (body, reframed) = match body {
        Ready::Held(held) => (OutBody::held(held), true),
        Ready::Spooled(spooled) => (OutBody::spooled(*spooled), true),
        Ready::Streamed(streamed, late) => {
            let authoriser = about.late_authoriser(*late, &outcome, ledger);
            about.streamed(*streamed, authoriser)
        }
    };
    Exchange {
        about,
        state: Recorded {
            body,
            reframed,
            outcome,
            decided,
        },
    }
}

impl ExchangeContext {
    /// Decides on what is met in a body while it is on its way.
    fn late_authoriser(
        &self,
        late: Late,
        outcome: &Outcome,
        ledger: &Arc<Ledger>,
    ) -> Arc<LateAuthoriser> {
        let is_guarded = self.treatment.exposed == Exposed::Reject;
        Arc::new(LateAuthoriser {
            context: Arc::clone(&self.context),
            signed: late.signed,
            unresolved: self.treatment.unresolved,
            guard: is_guarded.then(|| Arc::clone(&self.needles)),
            vault: late.vault,
            gate: late.gate,
            ledger: Ledger::clone(ledger),
            used: Arc::clone(outcome.used()),
            on_record: Mutex::new(OnRecord::after(late.copies)),
        })
    }

    /// A body that streams, and whether its framing has to be made again.
    fn streamed(&self, streamed: Streamed, authoriser: Arc<LateAuthoriser>) -> (OutBody, bool) {
        let Streamed {
            kind,
            codings,
            prefix,
            rest,
            unchanged,
        } = streamed;
        // What was read of it was asked for.
        let is_expected = prefix.is_empty() && expectation::is_expected(&self.head);
        let (body, reframed) = match unchanged {
            None if kind == BodyKind::Envelopes => {
                let body = EnvelopeBody::new(rest, authoriser);
                (OutBody::enveloped(body), true)
            }
            None => {
                let body = StreamedBody::new(&kind, &codings, prefix, rest, authoriser);
                (OutBody::streamed(body), kind != BodyKind::Opaque)
            }
            Some(unchanged) => {
                let body = WatchedBody::new(&kind, &codings, prefix, rest, authoriser, unchanged);
                (OutBody::watched(body), false)
            }
        };
        if is_expected {
            return (body.when_asked_for(), reframed);
        }
        (body, reframed)
    }
}

//! The pipeline: one request on its way to the upstream, in states that can only be passed in order.
//!
//! ```text
//! Authenticated ─scan─► Scanned ─resolve─► Resolved ─authorise─► Authorised ─obtain─► Obtained
//!               ─substitute─► Substituted ─record─► Recorded ─► Upstream::send
//! ```
//!
//! Each step consumes the exchange and returns it in the next state, so the wrong order does not
//! compile: a value is opened only after it was authorised, and nothing is sent that was not
//! recorded. The one way out, [`Upstream::send`](crate::proxy::outbound::upstream::Upstream::send), takes
//! `Exchange<Recorded>` and nothing else:
//!
//! ```compile_fail,E0308
//! use egret::proxy::exchange::last_look::LastLook;
//! use egret::proxy::exchange::pipeline::{Exchange, Substituted};
//! use egret::proxy::outbound::bound::BoundConnections;
//! use egret::proxy::outbound::upstream::Upstream;
//!
//! async fn send_before_recording(to: &Upstream, exchange: Exchange<Substituted>, look: LastLook<'_>) {
//!     let _ = to.send(exchange, &BoundConnections::default(), None, look).await;
//! }
//! ```
//!
//! whereas in the right order it does:
//!
//! ```
//! use std::sync::Arc;
//!
//! use egret::ledger::Ledger;
//! use egret::proxy::exchange::last_look::LastLook;
//! use egret::proxy::exchange::pipeline::{Exchange, Substituted};
//! use egret::proxy::outbound::bound::BoundConnections;
//! use egret::proxy::outbound::upstream::Upstream;
//!
//! async fn record_then_send(
//!     exchange: Exchange<Substituted>,
//!     ledger: Arc<Ledger>,
//!     to: &Upstream,
//!     look: LastLook<'_>,
//! ) {
//!     if let Ok(recorded) = exchange.record(&ledger).await {
//!         let _ = to.send(recorded, &BoundConnections::default(), None, look).await;
//!     }
//! }
//! ```

mod record;
mod scan;
mod substitute;
mod wire;

use std::sync::Arc;

use http::request::Parts;

use crate::config::Treatment;
use crate::error::Refusal;
use crate::ledger::Ledger;
use crate::proxy::exchange::authorisation::{self, Decided, Resolution};
use crate::proxy::exchange::body::{Held, InboundBody};
use crate::proxy::exchange::demands::Demands;
use crate::proxy::exchange::occurrences::Occurrence;
use crate::proxy::exchange::out_body::OutBody;
use crate::proxy::exchange::outcome::Outcome;
use crate::proxy::exchange::payload::{Payload, Spooled, Streamed};
use crate::proxy::exchange::plan::Plan;
use crate::proxy::exchange::present::Present;
use crate::proxy::exchange::request_context::{Refused, RequestContext};
use crate::proxy::exchange::signed;
use crate::proxy::exchange::spooled_body::Changes;
use crate::proxy::exchange::use_gate::{UseGate, Whole};
use crate::proxy::exchange::uses::{CopyCounts, Passage};
use crate::proxy::runtime::fair_share::ClientPlace;
use crate::scrub::Needles;
use crate::vault::Vault;

/// A request in state `S`.
pub struct Exchange<S> {
    about: Box<ExchangeContext>,
    state: S,
}

/// What a request has in every state. In a box, because each step moves the exchange.
struct ExchangeContext {
    context: Arc<RequestContext>,
    head: Parts,
    /// The fields of the head.
    present: Present,
    treatment: Treatment,
    /// What must not be sent in the clear and must not come back.
    needles: Arc<Needles>,
}

/// The client is known. Nothing has been looked at.
pub struct Authenticated {
    body: InboundBody,
}

/// Every placeholder is found.
pub struct Scanned {
    payload: Payload,
    occurrences: Vec<Occurrence>,
}

/// Every placeholder has a credential.
pub struct Resolved {
    payload: Payload,
    occurrences: Vec<Occurrence>,
    decision: authorisation::Resolved,
}

/// Every credential may be used at each of its places.
pub struct Authorised {
    payload: Payload,
    occurrences: Vec<Occurrence>,
    decision: authorisation::Authorised,
}

/// The values are here.
pub struct Obtained {
    payload: Payload,
    occurrences: Vec<Occurrence>,
    decision: authorisation::Obtained,
}

/// The values are in the request.
pub struct Substituted {
    payload: Substitute,
    decision: authorisation::Obtained,
}

/// The message body with its values, or with what those need that are met as it streams.
enum Substitute {
    Held(Held),
    Spooled(Box<Spooled>, Option<Changes>),
    Streamed(Box<Streamed>, Box<Late>),
}

/// For placeholders that are met while the body is on its way.
struct Late {
    /// Why none of them can be replaced, if that is so.
    signed: Option<Refusal>,
    vault: Arc<Vault>,
    gate: Arc<UseGate>,
    /// How often the head names each credential.
    copies: CopyCounts,
}

/// Every use is on record, durably.
pub struct Recorded {
    body: OutBody,
    /// Whether the body's length may have changed, so that the framing has to be made again.
    reframed: bool,
    outcome: Outcome,
    /// To be decided again right before the values are sent.
    decided: Decided,
}

impl<S> Exchange<S> {
    /// What is known about the request.
    pub fn context(&self) -> &Arc<RequestContext> {
        &self.about.context
    }

    fn to<T>(self, next: impl FnOnce(S) -> T) -> Exchange<T> {
        Exchange {
            about: self.about,
            state: next(self.state),
        }
    }
}

impl Exchange<Authenticated> {
    /// Gives the request a place among what its client has under way.
    pub fn set_place(&mut self, place: Arc<ClientPlace>) {
        Arc::make_mut(&mut self.about.context).place = Some(place);
    }

    /// Begins an exchange for a caller that has been authenticated. `present` are the fields of `head`,
    /// and `needles` the values that the caller's principal can use.
    pub fn new(
        context: RequestContext,
        head: Parts,
        present: Present,
        body: InboundBody,
        treatment: Treatment,
        needles: Arc<Needles>,
    ) -> Self {
        let about = ExchangeContext {
            context: Arc::new(context),
            head,
            present,
            treatment,
            needles,
        };
        Self {
            about: Box::new(about),
            state: Authenticated { body },
        }
    }
}

impl Exchange<Scanned> {
    /// Finds the credential of every placeholder, as far as the caller may know of it. Looks at
    /// metadata only. With `unresolved = "ignore"`, what has none travels literally.
    pub fn resolve(mut self, vault: &Vault) -> Result<Exchange<Resolved>, Refused> {
        let mut resolved = authorisation::Resolved::default();
        if !self.state.occurrences.is_empty() {
            let (context, unresolved) = (&self.about.context, self.about.treatment.unresolved);
            let mut resolution = Resolution::new(context, vault, unresolved);
            for occurrence in &mut self.state.occurrences {
                let only_if_named = occurrence.only_if_named;
                occurrence.edits.retain(|edit| {
                    if edit.escape {
                        return !only_if_named;
                    }
                    resolution.consider(&edit.reference, &edit.location, only_if_named)
                });
            }
            resolved = resolution.finish()?;
            self.state
                .occurrences
                .retain(|occurrence| !occurrence.edits.is_empty());
        }
        Ok(self.to(|scanned| Resolved {
            payload: scanned.payload,
            occurrences: scanned.occurrences,
            decision: resolved,
        }))
    }
}

impl Exchange<Resolved> {
    /// Checks every use of every credential against its grant and the token's limits.
    pub fn authorise(self) -> Result<Exchange<Authorised>, Refused> {
        let Exchange { about, state } = self;
        let signed = signed::check(&about.head, &state.occurrences).err();
        let decision =
            state
                .decision
                .authorise(&about.context, signed.as_ref(), &CopyCounts::new())?;
        Ok(Exchange {
            about,
            state: Authorised {
                payload: state.payload,
                occurrences: state.occurrences,
                decision,
            },
        })
    }
}

impl Exchange<Authorised> {
    /// What the destination's rule is to be asked about the request, if it has something to say.
    pub fn demands(&self) -> Option<Demands<'_>> {
        let ExchangeContext {
            context,
            head,
            treatment,
            ..
        } = &*self.about;
        treatment.is_demanding().then(|| Demands {
            context,
            head,
            treatment,
            occurrences: &self.state.occurrences,
            uses_value: !self.state.decision.is_empty(),
        })
    }

    /// What would be replaced, for people who ask beforehand.
    pub fn plan(&self) -> Plan {
        Plan::of(
            &self.about.context,
            &self.state.occurrences,
            &self.state.decision,
        )
    }

    /// Obtains the values. This is the step that may wait.
    pub async fn obtain(
        self,
        vault: &Vault,
        gate: &UseGate,
        ledger: &Ledger,
    ) -> Result<Exchange<Obtained>, Refused> {
        let Exchange { about, state } = self;
        let whole = match &state.payload {
            Payload::Held(held, _) => Whole::Here {
                head: &about.head,
                body: &held.data,
                fields: about
                    .treatment
                    .approval_fields
                    .as_deref()
                    .unwrap_or_default(),
            },
            Payload::Spooled(_) | Payload::Streamed(_) => Whole::Partly,
        };
        let passage = Passage {
            gate,
            ledger,
            whole,
        };
        let obtained = state.decision.obtain(&about.context, vault, passage);
        let decision = obtained.await?;
        Ok(Exchange {
            about,
            state: Obtained {
                payload: state.payload,
                occurrences: state.occurrences,
                decision,
            },
        })
    }
}

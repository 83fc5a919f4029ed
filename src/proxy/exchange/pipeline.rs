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
//! use egret::proxy::exchange::pipeline::{Exchange, Substituted};
//! use egret::proxy::outbound::upstream::Upstream;
//!
//! async fn send_before_recording(upstream: &Upstream, exchange: Exchange<Substituted>) {
//!     let _ = upstream.send(exchange).await;
//! }
//! ```
//!
//! whereas in the right order it does:
//!
//! ```
//! use std::sync::Arc;
//!
//! use egret::ledger::Ledger;
//! use egret::proxy::exchange::pipeline::{Exchange, Substituted};
//! use egret::proxy::outbound::upstream::Upstream;
//!
//! async fn record_then_send(exchange: Exchange<Substituted>, ledger: Arc<Ledger>, to: &Upstream) {
//!     if let Ok(recorded) = exchange.record(&ledger).await {
//!         let _ = to.send(recorded).await;
//!     }
//! }
//! ```

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::Request;
use http::header::{self, HeaderMap, HeaderValue};
use http::request::Parts;

use crate::coding;
use crate::config::{Exposed, Range, Treatment};
use crate::error::{Code, Refusal};
use crate::ledger::Ledger;
use crate::proxy::exchange::authorisation::{self, Resolution};
use crate::proxy::exchange::awaited::{Asked, Awaited};
use crate::proxy::exchange::body::{Held, InboundBody};
use crate::proxy::exchange::hop_by_hop;
use crate::proxy::exchange::late::LateAuthoriser;
use crate::proxy::exchange::leak_guard;
use crate::proxy::exchange::occurrences::{self, Occurrence};
use crate::proxy::exchange::out_body::OutBody;
use crate::proxy::exchange::outcome::Outcome;
use crate::proxy::exchange::payload::{Payload, Streamed, body_kind, take_body};
use crate::proxy::exchange::recode;
use crate::proxy::exchange::request_context::{Refused, RequestContext, shown_path};
use crate::proxy::exchange::signed;
use crate::proxy::exchange::streamed_body::StreamedBody;
use crate::proxy::exchange::upgrade;
use crate::proxy::exchange::used::Used;
use crate::scrub::Needles;
use crate::substitution::body::{self, BodyKind};
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
    Streamed(Box<Streamed>, Box<Late>),
}

/// For placeholders that are met while the body is on its way.
struct Late {
    /// Why none of them can be replaced, if that is so.
    signed: Option<Refusal>,
    vault: Arc<Vault>,
}

/// Every use is on record, durably.
pub struct Recorded {
    body: OutBody,
    /// Whether the body's length may have changed, so that the framing has to be made again.
    reframed: bool,
    outcome: Outcome,
}

impl<S> Exchange<S> {
    fn to<T>(self, next: impl FnOnce(S) -> T) -> Exchange<T> {
        Exchange {
            about: self.about,
            state: next(self.state),
        }
    }
}

impl Exchange<Authenticated> {
    /// Begins an exchange for a caller that has been authenticated. `needles` are the values that
    /// the caller's principal can use.
    pub fn new(
        context: RequestContext,
        head: Parts,
        body: InboundBody,
        treatment: Treatment,
        needles: Arc<Needles>,
    ) -> Self {
        let about = ExchangeContext {
            context: Arc::new(context),
            head,
            treatment,
            needles,
        };
        Self {
            about: Box::new(about),
            state: Authenticated { body },
        }
    }

    /// Finds the placeholders. A body of a kind that can hold one is read to its end if it has at
    /// most `buffer` bytes; a larger one is searched while it streams.
    ///
    /// `raw` is the head as it was before it was parsed, if it was kept. What is not in there
    /// is in none of its parts, and one search takes less time than one of each part.
    pub async fn scan(
        self,
        buffer: usize,
        raw: Option<Bytes>,
    ) -> Result<Exchange<Scanned>, Refused> {
        let Exchange {
            mut about,
            state: Authenticated { body },
        } = self;
        let ExchangeContext {
            context,
            head,
            treatment,
            needles,
        } = &mut *about;
        let is_clean = needles.is_empty()
            || raw
                .as_deref()
                .is_some_and(|raw| needles.find(raw).is_empty());
        if !is_clean {
            let context = Arc::make_mut(context);
            context.path = shown_path(leak_guard::without(needles, Arc::clone(&context.raw_path)));
        }
        let guarded = treatment.exposed == Exposed::Reject && !needles.is_empty();
        if guarded {
            leak_guard::check_named(context, needles)?;
        }
        if guarded && !is_clean {
            leak_guard::check_head(context, head, treatment, needles)?;
        }
        let mut occurrences = occurrences::in_head(head, raw.as_deref(), treatment)
            .map_err(|found| found.refuse(context))?;
        drop(raw);
        let kind = body_kind(head, &body, treatment);
        let is_empty = body.is_empty();
        let payload = match is_empty {
            true => Payload::Held(Held::default(), None),
            // In a box, because every request has room for this future, and few have a body.
            false => Box::pin(take_body(&kind, head, body, buffer)).await?,
        };
        if let Payload::Held(held, _) = &payload
            && !is_empty
        {
            let edits = body::find(&kind, &held.data).map_err(|problem| {
                Refusal::new(Code::BodyEncodingUnsupported, problem.to_string())
            })?;
            if guarded {
                leak_guard::check_body(context, held, needles)?;
            }
            occurrences::in_body(edits, held, treatment, &mut occurrences)
                .map_err(|found| found.refuse(context))?;
        }
        if !occurrences.is_empty() {
            let context = Arc::make_mut(context);
            context.held_placeholder = occurrences.iter().flat_map(|s| &s.edits).any(|e| !e.escape);
            if occurrences.iter().any(Occurrence::is_path) {
                let path = occurrences::shown_path(head, &occurrences);
                context.path = shown_path(leak_guard::without(needles, path.into()));
            }
        }
        Ok(Exchange {
            about,
            state: Scanned {
                payload,
                occurrences,
            },
        })
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
                occurrence.edits.retain(|edit| match edit.escape {
                    true => !only_if_named,
                    false => resolution.consider(&edit.reference, &edit.location, only_if_named),
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
        let decision = state.decision.authorise(&about.context, signed.as_ref())?;
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
    /// Obtains the values. This is the step that may wait.
    pub async fn obtain(self, vault: &Vault) -> Result<Exchange<Obtained>, Refused> {
        let Exchange { about, state } = self;
        let decision = state.decision.obtain(&about.context, vault).await?;
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

impl Exchange<Obtained> {
    /// Writes the values into the request, each in the encoding of its place.
    pub fn substitute(self, vault: &Arc<Vault>) -> Result<Exchange<Substituted>, Refused> {
        let Exchange { mut about, state } = self;
        let ExchangeContext {
            context,
            head,
            treatment,
            ..
        } = &mut *about;
        let context = &**context;
        let Obtained {
            payload,
            occurrences,
            decision,
        } = state;
        let (mut held, coded, streamed) = match payload {
            Payload::Held(held, coded) => (held, coded, None),
            Payload::Streamed(streamed) => {
                // Asked of the head as it came.
                let signed = signed::in_body(head);
                let vault = Arc::clone(vault);
                (
                    Held::default(),
                    None,
                    Some((streamed, Late { signed, vault })),
                )
            }
        };
        let value = |reference: &_| decision.value(reference);
        occurrences::substitute(head, &mut held, &occurrences, &value)
            .map_err(|error| decision.unwritable(context, error))?;
        if let Some(coded) = coded {
            held.data = match occurrences.iter().any(Occurrence::is_body) {
                true => recode::close(coded.encoder, &held.data)?,
                false => coded.original,
            };
        }
        let may_use = !decision.is_empty() || streamed.as_ref().is_some_and(|s| s.0.is_searched());
        if may_use && treatment.range == Range::Strip {
            // A few bytes at a time would defeat any scrubbing of the answer.
            head.headers.remove(header::RANGE);
            head.headers.remove(header::IF_RANGE);
        }
        Ok(Exchange {
            about,
            state: Substituted {
                payload: match streamed {
                    None => Substitute::Held(held),
                    Some((streamed, late)) => Substitute::Streamed(streamed, Box::new(late)),
                },
                decision,
            },
        })
    }
}

impl Exchange<Substituted> {
    /// Puts every use on record and waits until it is durable. Without that nothing is sent.
    ///
    /// The handle on the ledger is the connection's own: those who hold it are counted for each
    /// request.
    pub async fn record(self, ledger: &Arc<Ledger>) -> Result<Exchange<Recorded>, Refused> {
        let Exchange { about, state } = self;
        let Substituted { payload, decision } = state;
        let used = Arc::new(Used::default());
        let (handle, context) = (Arc::clone(ledger), Arc::clone(&about.context));
        // Made before the line is written: whatever happens from then on, a result follows.
        let mut outcome = Outcome::new(handle, context, Arc::clone(&used));
        if let Err(refused) = decision.record(&about.context, ledger, &used).await {
            outcome.failed(refused.refusal.code);
            return Err(refused);
        }
        Ok(recorded(about, payload, outcome, ledger))
    }
}

/// The body in the form in which it is sent.
fn recorded(
    about: Box<ExchangeContext>,
    payload: Substitute,
    outcome: Outcome,
    ledger: &Arc<Ledger>,
) -> Exchange<Recorded> {
    let (body, reframed) = match payload {
        Substitute::Held(held) => (OutBody::held(held), true),
        Substitute::Streamed(streamed, late) => {
            let Streamed {
                kind,
                codings,
                prefix,
                rest,
            } = *streamed;
            let ExchangeContext {
                context,
                treatment,
                needles,
                ..
            } = &*about;
            let authoriser = Arc::new(LateAuthoriser {
                context: Arc::clone(context),
                signed: late.signed,
                unresolved: treatment.unresolved,
                guard: (treatment.exposed == Exposed::Reject).then(|| Arc::clone(needles)),
                vault: late.vault,
                ledger: Ledger::clone(ledger),
                used: Arc::clone(outcome.used()),
                on_record: Mutex::default(),
            });
            let body = StreamedBody::new(&kind, &codings, prefix, rest, authoriser);
            (OutBody::streamed(body), kind != BodyKind::Opaque)
        }
    };
    Exchange {
        about,
        state: Recorded {
            body,
            reframed,
            outcome,
        },
    }
}

impl Exchange<Recorded> {
    /// Takes the exchange apart for the wire. Only [`crate::proxy::outbound::upstream`] calls this.
    pub(in crate::proxy) fn into_wire(self) -> (Request<OutBody>, Awaited) {
        let ExchangeContext {
            mut head, needles, ..
        } = *self.about;
        let Recorded {
            body,
            reframed,
            outcome,
        } = self.state;
        let headers = &mut head.headers;
        let framed = headers.contains_key(header::CONTENT_LENGTH)
            || headers.contains_key(header::TRANSFER_ENCODING);
        let reframed = reframed && framed;
        match head.extensions.get::<upgrade::Asked>() {
            None => hop_by_hop::strip(headers),
            Some(_) => upgrade::renew(headers),
        }
        // The body is already here or was asked for; the expectation has been met.
        headers.remove(header::EXPECT);
        if reframed {
            headers.remove(header::CONTENT_LENGTH);
            if let Some(length) = http_body::Body::size_hint(&body).exact() {
                headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
            }
        }
        let asked = Asked {
            part: headers.contains_key(header::RANGE),
            accept_encoding: narrow_accept_encoding(headers),
        };
        let awaited = Awaited {
            outcome,
            needles,
            asked,
        };
        (Request::from_parts(head, body), awaited)
    }
}

/// Leaves the upstream only codings that can be opened here; returns what the client takes.
fn narrow_accept_encoding(headers: &mut HeaderMap) -> Vec<HeaderValue> {
    let lines: Vec<_> = headers
        .get_all(header::ACCEPT_ENCODING)
        .iter()
        .cloned()
        .collect();
    let narrowed = coding::narrow_accept_encoding(lines.iter().map(HeaderValue::as_bytes));
    if let Some(narrowed) = narrowed.and_then(|text| HeaderValue::from_str(&text).ok())
        && lines.first() != Some(&narrowed)
    {
        headers.insert(header::ACCEPT_ENCODING, narrowed);
    }
    lines
}

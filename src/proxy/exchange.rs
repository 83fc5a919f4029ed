//! The pipeline: one request on its way to the upstream, in states that can only be passed in order.
//!
//! ```text
//! Authenticated ─scan─► Scanned ─resolve─► Resolved ─authorise─► Authorised
//!               ─substitute─► Substituted ─record─► Recorded ─► Upstream::send
//! ```
//!
//! Each step consumes the exchange and returns it in the next state, so the wrong order does not
//! compile: a value is opened only after it was authorised, and nothing is sent that was not
//! recorded. The one way out, [`Upstream::send`](super::upstream::Upstream::send), takes
//! `Exchange<Recorded>` and nothing else:
//!
//! ```compile_fail,E0308
//! use egret::proxy::exchange::{Exchange, Substituted};
//! use egret::proxy::upstream::Upstream;
//!
//! async fn send_before_recording(upstream: &Upstream, exchange: Exchange<Substituted>) {
//!     let _ = upstream.send(exchange).await;
//! }
//! ```
//!
//! whereas in the right order it does:
//!
//! ```
//! use egret::ledger::Ledger;
//! use egret::proxy::exchange::{Exchange, Substituted};
//! use egret::proxy::upstream::Upstream;
//!
//! async fn record_then_send(ledger: &Ledger, upstream: &Upstream, exchange: Exchange<Substituted>) {
//!     if let Ok(recorded) = exchange.record(ledger).await {
//!         let _ = upstream.send(recorded).await;
//!     }
//! }
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use http::header::{self, HeaderValue};
use http::request::Parts;

use super::body::{Held, InboundBody, OutBody};
use super::hop;
use super::outcome::Outcome;
use super::signed;
use super::sites::{self, Misplaced, Site};
use crate::config::{Range, ScanPlace, Treatment, Unresolved};
use crate::error::{Code, Refusal};
use crate::identity::Caller;
use crate::ledger::Ledger;
use crate::ledger::record::Entry;
use crate::policy::decide::{Attempt, Denial, decide};
use crate::policy::destination::Destination;
use crate::policy::location::Location;
use crate::secret::SecretBytes;
use crate::substitution::body::{self, BodyKind};
use crate::substitution::plan::{Edit, SpliceError};
use crate::substitution::slug::Reference;
use crate::vault::Vault;
use crate::vault::cache::Found;
use crate::vault::model::Credential;

/// What is known about a request whatever its state. Nothing in it is secret.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The request's id, `Egret-Request`.
    pub id: String,
    /// Who asks, and for what.
    pub caller: Caller,
    /// Where it goes.
    pub destination: Destination,
    /// The method as sent.
    pub method: String,
    /// The path with placeholders in place and without a query.
    pub path: String,
    /// When its head had arrived.
    pub started: Instant,
    /// Whether it held a placeholder.
    pub held_placeholder: bool,
    /// Slugs that were passed on literally.
    pub ignored: Vec<String>,
}

impl Facts {
    /// A ledger line about this request.
    pub fn entry(&self, event: &'static str) -> Entry {
        Entry {
            event: event.into(),
            request: Some(self.id.clone()),
            principal: Some(self.caller.principal.to_string()),
            client: Some(self.caller.client.clone()),
            action: Some(self.caller.action.clone()),
            action_source: Some(self.caller.action_source.as_str().into()),
            run: self.caller.run.clone(),
            method: Some(self.method.clone()),
            destination: Some(self.destination.to_string()),
            path: Some(self.path.clone()),
            ..Entry::default()
        }
    }

    fn entry_for(&self, event: &'static str, reference: &Reference) -> Entry {
        Entry {
            slug: Some(reference.slug.to_string()),
            field: reference.field.as_ref().map(ToString::to_string),
            ..self.entry(event)
        }
    }
}

/// A refused exchange: what the client is told, and the lines that the ledger gets.
pub struct Refused {
    /// The answer.
    pub refusal: Refusal,
    /// `denied` lines, one for each slug that was refused.
    pub denied: Vec<Entry>,
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self {
            refusal,
            denied: Vec::new(),
        }
    }
}

/// A request in state `S`.
pub struct Exchange<S> {
    facts: Facts,
    head: Parts,
    state: S,
}

/// The client is known. Nothing has been looked at.
pub struct Authenticated {
    body: InboundBody,
    treatment: Treatment,
}

/// Every placeholder is found.
pub struct Scanned {
    payload: Payload,
    sites: Vec<Site>,
    treatment: Treatment,
}

/// Every placeholder has a credential.
pub struct Resolved {
    payload: Payload,
    sites: Vec<Site>,
    range: Range,
    uses: Uses,
    ignored: Vec<Entry>,
}

/// Every credential may be used at each of its places.
pub struct Authorised(Resolved);

/// The values stand in the request.
pub struct Substituted {
    payload: Payload,
    entries: Vec<Entry>,
}

/// Every use is on record, durably.
pub struct Recorded {
    payload: Payload,
    outcome: Outcome,
}

/// The message body: read to its end because it must be searched, or passed on as it comes.
enum Payload {
    Held(Held),
    Streamed(InboundBody),
}

/// What a request uses, by reference, in the order of their names.
type Uses = BTreeMap<Reference, Use>;

struct Use {
    credential: Arc<Credential>,
    locations: BTreeSet<Location>,
}

impl<S> Exchange<S> {
    /// What is known about the request.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }
}

impl Exchange<Authenticated> {
    /// Begins an exchange for a caller that has been authenticated.
    pub fn new(facts: Facts, head: Parts, body: InboundBody, treatment: Treatment) -> Self {
        Self {
            facts,
            head,
            state: Authenticated { body, treatment },
        }
    }

    /// Finds the placeholders. Reads the body if it is of a kind that can hold one, at most
    /// `buffer` bytes.
    pub async fn scan(self, buffer: usize) -> Result<Exchange<Scanned>, Refused> {
        let Exchange {
            mut facts,
            head,
            state: Authenticated { body, treatment },
        } = self;
        let misplaced = |facts: &Facts, found: Misplaced| Refused {
            denied: vec![denied(facts, &found.reference, None, found.refusal.code)],
            refusal: found.refusal,
        };
        let mut sites =
            sites::in_head(&head, &treatment).map_err(|found| misplaced(&facts, found))?;
        let payload = match body_kind(&head, &body, &treatment)? {
            BodyKind::Opaque => Payload::Streamed(body),
            kind => {
                let held = body.hold(buffer).await?;
                let edits = body::find(&kind, &held.data).map_err(|problem| {
                    Refusal::new(Code::BodyEncodingUnsupported, problem.to_string())
                })?;
                sites::in_body(edits, &held, &treatment, &mut sites)
                    .map_err(|found| misplaced(&facts, found))?;
                Payload::Held(held)
            }
        };
        facts.held_placeholder = sites.iter().flat_map(|s| &s.edits).any(|e| !e.escape);
        facts.path = sites::shown_path(&head, &sites);
        Ok(Exchange {
            facts,
            head,
            state: Scanned {
                payload,
                sites,
                treatment,
            },
        })
    }
}

impl Exchange<Scanned> {
    /// Finds the credential of every placeholder, as far as the caller may know of it. Looks at
    /// metadata only.
    ///
    /// Unknown, revoked, expired, deleted and somebody else's get one answer, so that a client
    /// cannot find out which slugs exist.
    pub fn resolve(mut self, vault: &Vault, now: i64) -> Result<Exchange<Resolved>, Refused> {
        let mut uses = Uses::new();
        let mut missing = Missing::default();
        for site in &mut self.state.sites {
            let only_if_named = site.only_if_named;
            site.edits.retain(|edit| {
                if edit.escape {
                    return !only_if_named;
                }
                let found = vault.find(&self.facts.caller.principal, &edit.reference.slug, now);
                match found {
                    Found::One(credential) => {
                        let named = credential.grant.locations.iter();
                        if only_if_named && !named.clone().any(|rule| rule.allows(&edit.location)) {
                            return false;
                        }
                        let used = uses.entry(edit.reference.clone()).or_insert_with(|| Use {
                            credential,
                            locations: BTreeSet::new(),
                        });
                        used.locations.insert(edit.location.clone());
                        true
                    }
                    _ if only_if_named => false,
                    Found::None => missing.add(Code::CredentialNotFound, edit),
                    Found::Ambiguous => missing.add(Code::CredentialAmbiguous, edit),
                }
            });
        }
        self.state.sites.retain(|site| !site.edits.is_empty());
        let ignored = self.settle(missing)?;
        let Exchange { facts, head, state } = self;
        Ok(Exchange {
            facts,
            head,
            state: Resolved {
                payload: state.payload,
                sites: state.sites,
                range: state.treatment.range,
                uses,
                ignored,
            },
        })
    }

    /// Refuses because of what was not found, or under `unresolved = "ignore"` notes that it
    /// travels literally.
    fn settle(&mut self, missing: Missing) -> Result<Vec<Entry>, Refused> {
        let ignore = self.state.treatment.unresolved == Unresolved::Ignore;
        let mut refused: Option<Refused> = None;
        let mut ignored = Vec::new();
        for (reference, (code, location)) in missing.0 {
            let locations = BTreeSet::from([location]);
            if ignore && code == Code::CredentialNotFound {
                self.facts.ignored.push(reference.to_string());
                ignored.push(Entry {
                    locations: names(&locations),
                    outcome: Some("ignored".into()),
                    ..self.facts.entry_for("ignored", &reference)
                });
                continue;
            }
            let line = denied(&self.facts, &reference, Some(&locations), code);
            refused
                .get_or_insert_with(|| {
                    Refused::from(self.facts.about(
                        unresolved(code, &self.facts),
                        &reference,
                        locations.first(),
                    ))
                })
                .denied
                .push(line);
        }
        refused.map_or(Ok(ignored), Err)
    }
}

impl Exchange<Resolved> {
    /// Checks every use of every credential against its grant and the token's limits.
    pub fn authorise(self) -> Result<Exchange<Authorised>, Refused> {
        let mut refused: Option<Refused> = None;
        for (reference, used) in &self.state.uses {
            if let Err((refusal, location)) = self.check(reference, used) {
                let mut line = denied(&self.facts, reference, Some(&used.locations), refusal.code);
                line.version = Some(used.credential.version);
                line.owner = Some(used.credential.owner.to_string());
                let refusal = self.facts.about(refusal, reference, Some(location));
                refused
                    .get_or_insert_with(|| Refused::from(refusal))
                    .denied
                    .push(line);
            }
        }
        if let Some(refused) = refused {
            return Err(refused);
        }
        if let Err(refusal) = signed::check(&self.head, &self.state.sites) {
            let denied = self.denied_all(refusal.code);
            return Err(Refused { refusal, denied });
        }
        let Exchange { facts, head, state } = self;
        Ok(Exchange {
            facts,
            head,
            state: Authorised(state),
        })
    }

    /// The first place at which a use is not allowed, and why.
    fn check<'u>(
        &self,
        reference: &Reference,
        used: &'u Use,
    ) -> Result<(), (Refusal, &'u Location)> {
        for location in &used.locations {
            let attempt = Attempt {
                destination: &self.facts.destination,
                method: &self.facts.method,
                path: self.head.uri.path(),
                action: &self.facts.caller.action,
                location,
            };
            decide(&used.credential.grant, &attempt).map_err(|denial| {
                let code = match denial {
                    Denial::AmbiguousPath => Code::RequestAmbiguous,
                    _ => Code::CredentialNotAllowed,
                };
                (Refusal::new(code, denial.detail()), location)
            })?;
            self.check_token(reference)
                .and_then(|()| check_field(&used.credential, reference))
                .map_err(|refusal| (refusal, location))?;
        }
        Ok(())
    }

    fn check_token(&self, reference: &Reference) -> Result<(), Refusal> {
        match &self.facts.caller.slugs {
            Some(slugs) if !slugs.contains(&reference.slug) => Err(Refusal::new(
                Code::CredentialNotAllowed,
                "this action's token is limited to other slugs; mint one with `--slug` for this one",
            )),
            _ => Ok(()),
        }
    }

    fn denied_all(&self, code: Code) -> Vec<Entry> {
        let uses = self.state.uses.iter();
        uses.map(|(reference, used)| denied(&self.facts, reference, Some(&used.locations), code))
            .collect()
    }
}

impl Exchange<Authorised> {
    /// Opens the values and writes them into the request, each in the encoding of its place.
    pub fn substitute(self, vault: &Vault) -> Result<Exchange<Substituted>, Refused> {
        let Exchange {
            facts,
            mut head,
            state: Authorised(resolved),
        } = self;
        let values = open_values(&facts, &resolved.uses, vault)?;
        let (mut held, streamed) = match resolved.payload {
            Payload::Held(held) => (held, None),
            Payload::Streamed(body) => (Held::default(), Some(body)),
        };
        sites::substitute(&mut head, &mut held, &resolved.sites, &|reference| {
            values.get(reference)
        })
        .map_err(|error| unwritable(&facts, &resolved.uses, error))?;
        if !resolved.uses.is_empty() && resolved.range == Range::Strip {
            // A few bytes at a time would defeat any scrubbing of the answer.
            head.headers.remove(header::RANGE);
            head.headers.remove(header::IF_RANGE);
        }
        let payload = streamed.map_or(Payload::Held(held), Payload::Streamed);
        let mut entries = use_entries(&facts, &resolved.uses);
        entries.extend(resolved.ignored);
        Ok(Exchange {
            facts,
            head,
            state: Substituted { payload, entries },
        })
    }
}

impl Exchange<Substituted> {
    /// Puts every use on record and waits until it is durable. Without that nothing is sent.
    pub async fn record(self, ledger: &Ledger) -> Result<Exchange<Recorded>, Refused> {
        let Exchange { facts, head, state } = self;
        let outcome = if state.entries.is_empty() {
            Outcome::unrecorded()
        } else {
            ledger.commit(state.entries).await.map_err(Refusal::from)?;
            Outcome::expected(ledger.clone(), &facts)
        };
        Ok(Exchange {
            facts,
            head,
            state: Recorded {
                payload: state.payload,
                outcome,
            },
        })
    }
}

impl Exchange<Recorded> {
    /// Takes the exchange apart for the wire. Only [`super::upstream`] calls this.
    pub(super) fn into_wire(self) -> (Facts, http::Request<OutBody>, Outcome) {
        let Exchange {
            facts,
            mut head,
            state: Recorded { payload, outcome },
        } = self;
        let framed = head.headers.contains_key(header::CONTENT_LENGTH)
            || head.headers.contains_key(header::TRANSFER_ENCODING);
        hop::strip(&mut head.headers);
        // The body is already here or was asked for; the expectation has been met.
        head.headers.remove(header::EXPECT);
        head.version = http::Version::HTTP_11;
        let body = match payload {
            Payload::Streamed(body) => OutBody::streamed(body),
            Payload::Held(held) => {
                head.headers.remove(header::CONTENT_LENGTH);
                if framed && held.trailers.is_none() {
                    let length = HeaderValue::from(held.data.len());
                    head.headers.insert(header::CONTENT_LENGTH, length);
                }
                OutBody::held(held)
            }
        };
        (facts, http::Request::from_parts(head, body), outcome)
    }
}

/// References that could not be resolved, with the first place of each.
#[derive(Default)]
struct Missing(BTreeMap<Reference, (Code, Location)>);

impl Missing {
    /// Returns false: such a placeholder is not substituted.
    fn add(&mut self, code: Code, edit: &Edit) -> bool {
        self.0
            .entry(edit.reference.clone())
            .or_insert_with(|| (code, edit.location.clone()));
        false
    }
}

impl Facts {
    fn about(
        &self,
        refusal: Refusal,
        reference: &Reference,
        location: Option<&Location>,
    ) -> Refusal {
        let refusal = refusal
            .slug(reference.slug.as_str())
            .destination(self.destination.to_string());
        match location {
            Some(location) => refusal.location(location.to_string()),
            None => refusal,
        }
    }
}

/// How the body is to be read; opaque if it is not to be searched.
fn body_kind(head: &Parts, body: &InboundBody, treatment: &Treatment) -> Result<BodyKind, Refusal> {
    if body.is_empty() || !treatment.scan.contains(&ScanPlace::Body) {
        return Ok(BodyKind::Opaque);
    }
    let content_type = head.headers.get(header::CONTENT_TYPE);
    let kind = body::classify(content_type.map(HeaderValue::as_bytes));
    let coded = head
        .headers
        .get_all(header::CONTENT_ENCODING)
        .iter()
        .any(|coding| {
            !coding
                .as_bytes()
                .trim_ascii()
                .eq_ignore_ascii_case(b"identity")
        });
    if coded && kind != BodyKind::Opaque {
        return Err(Refusal::new(
            Code::BodyEncodingUnsupported,
            "a body of this type is searched for placeholders and cannot be opened in its \
             Content-Encoding; send it uncompressed, or leave \"body\" out of `scan` for this \
             destination",
        ));
    }
    Ok(kind)
}

fn unresolved(code: Code, facts: &Facts) -> Refusal {
    let detail = match code {
        Code::CredentialAmbiguous => format!(
            "two credentials of that slug are shared with {principal} and none is their own; \
             unshare one, or save a personal one",
            principal = facts.caller.principal
        ),
        _ => format!(
            "{principal} has no usable credential of that slug; check its spelling, or save one \
             with `egret credential add`",
            principal = facts.caller.principal
        ),
    };
    Refusal::new(code, detail)
}

fn check_field(credential: &Credential, reference: &Reference) -> Result<(), Refusal> {
    if credential.has_field(reference.field.as_ref()) {
        return Ok(());
    }
    let fields: Vec<_> = credential
        .field_names()
        .map(|field| format!("<<{}.{field}>>", reference.slug))
        .collect();
    let detail = match fields.is_empty() {
        true => format!(
            "this credential has one value: write <<{}>>",
            reference.slug
        ),
        false => format!("this credential has fields: write {}", fields.join(" or ")),
    };
    Err(Refusal::new(Code::CredentialFieldUnknown, detail))
}

fn open_values(
    facts: &Facts,
    uses: &Uses,
    vault: &Vault,
) -> Result<BTreeMap<Reference, SecretBytes>, Refused> {
    let mut values = BTreeMap::new();
    for (reference, used) in uses {
        let value = vault
            .open_value(&used.credential, reference.field.as_ref())
            .map_err(|_| {
                let refusal = Refusal::new(
                    Code::StoreUnavailable,
                    "the stored value cannot be opened with the current master key; see keys.master",
                );
                facts.about(refusal, reference, None)
            })?;
        values.insert(reference.clone(), value);
    }
    Ok(values)
}

fn unwritable(facts: &Facts, uses: &Uses, error: SpliceError) -> Refused {
    match error {
        SpliceError::Unencodable {
            reference,
            location,
            problem,
        } => {
            let refusal = Refusal::new(Code::CredentialUnencodable, problem.reason);
            let locations = BTreeSet::from([location]);
            let mut line = denied(facts, &reference, Some(&locations), refusal.code);
            line.version = uses.get(&reference).map(|used| used.credential.version);
            Refused {
                refusal: facts.about(refusal, &reference, locations.first()),
                denied: vec![line],
            }
        }
        SpliceError::TooLarge => Refused::from(Refusal::new(
            Code::BodyTooLarge,
            "with the values put in, the request would be too large; use fewer placeholders",
        )),
        SpliceError::Missing(_) | SpliceError::Misplaced => Refused::from(Refusal::new(
            Code::Internal,
            "the request could not be put together",
        )),
    }
}

fn use_entries(facts: &Facts, uses: &Uses) -> Vec<Entry> {
    uses.iter()
        .map(|(reference, used)| Entry {
            version: Some(used.credential.version),
            owner: Some(used.credential.owner.to_string()),
            locations: names(&used.locations),
            outcome: Some("used".into()),
            ..facts.entry_for("use", reference)
        })
        .collect()
}

fn denied(
    facts: &Facts,
    reference: &Reference,
    locations: Option<&BTreeSet<Location>>,
    code: Code,
) -> Entry {
    Entry {
        locations: locations.map(names).unwrap_or_default(),
        outcome: Some("denied".into()),
        code: Some(code.as_str().into()),
        status: Some(code.status()),
        ..facts.entry_for("denied", reference)
    }
}

fn names(locations: &BTreeSet<Location>) -> Vec<String> {
    locations.iter().map(ToString::to_string).collect()
}

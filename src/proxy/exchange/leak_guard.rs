//! The literal guard: a request that carries a stored value itself, not its placeholder.
//!
//! Whoever sent it has a value that only Egret should have: it was pasted into a prompt, lay in the
//! environment, or an upstream gave it away. It is stopped before it goes anywhere, in the places
//! that are searched for placeholders and in every form that answers are scrubbed of.

use std::sync::{Arc, LazyLock};
use std::time::Instant;

use http::HeaderMap;
use http::header::HeaderName;
use http::request::Parts;

use crate::config::{ScanPlace, Treatment};
use crate::error::{Code, Refusal};
use crate::identity::Caller;
use crate::ledger::{EncodedEntries, Entry, event};
use crate::policy::location::{HeaderRole, header_role};
use crate::proxy::exchange::body::Held;
use crate::proxy::exchange::exposure_limit::{ExposureLimit, Told};
use crate::proxy::exchange::request_context::{Refused, RequestContext, shown_path};
use crate::proxy::runtime::measures::measures;
use crate::scrub::{Hit, Needles, Replacement, Scrubber, scrub_bytes};

/// How much of a field name is compared, in bytes. No name that is in use comes near this.
const LONGEST_NAME: usize = 256;

/// Refuses a destination, a method, an action or a run that holds a stored value. Every ledger line
/// names these, so this is asked before anything else could write one.
pub fn check_named(context: &RequestContext, needles: &Needles) -> Result<(), Refused> {
    check_limit(context)?;
    if let Some(exposed) = find(needles, context.origin.as_bytes()) {
        return Err(refuse_host(context, &exposed));
    }
    let caller = &context.caller;
    let texts = [
        ("method", Some(context.method.as_str())),
        ("action", Some(&*caller.action)),
        ("run", caller.run.as_deref()),
    ];
    for (place, text) in texts {
        if let Some(text) = text {
            check(context, needles, text.as_bytes(), place)?;
        }
    }
    Ok(())
}

/// What each client was told. All of the process's guards count together.
static TOLD: LazyLock<ExposureLimit> = LazyLock::new(|| ExposureLimit::since(Instant::now()));

/// Refuses a request of a client that was told too often that it carries stored values.
fn check_limit(context: &RequestContext) -> Result<(), Refused> {
    let Caller {
        principal, client, ..
    } = &*context.caller;
    if !TOLD.is_reached(principal.as_str(), client, context.started) {
        return Ok(());
    }
    Err(limit_reached().into())
}

fn limit_reached() -> Refusal {
    Refusal::new(
        Code::ExposureLimit,
        "this client has sent stored credentials in the clear too often in the last minute; see which \
         in the ledger, write placeholders in their place, and try again in a minute",
    )
}

/// Counts a refusal of the guard. The last one of a minute is said in the log, and on a line of its own.
fn count(context: &RequestContext, lines: &mut EncodedEntries) {
    let Caller {
        principal, client, ..
    } = &*context.caller;
    if TOLD.note(principal.as_str(), client, Instant::now()) == Told::Within {
        return;
    }
    tracing::warn!(
        request = &*context.id,
        client = &**client,
        principal = principal.as_str(),
        "a client sends stored values again and again: it may be guessing them, and gets no answer for \
         up to a minute"
    );
    let about = Entry {
        path: None,
        method: None,
        action: None,
        run: None,
        destination: None,
        ..context.entry(event::DENIED)
    };
    lines.append(&Refused::with_line(limit_reached(), about).denied);
}

/// Refuses a head that carries a stored value.
pub fn check_head(
    context: &RequestContext,
    head: &Parts,
    treatment: &Treatment,
    needles: &Needles,
) -> Result<(), Refused> {
    let scans = |place| treatment.scan.contains(&place);
    if scans(ScanPlace::Path) {
        check(context, needles, head.uri.path().as_bytes(), "path")?;
    }
    if scans(ScanPlace::Query) {
        let query = head.uri.query().unwrap_or_default();
        check(context, needles, query.as_bytes(), "query")?;
    }
    if scans(ScanPlace::Header) {
        check_fields(context, &head.headers, needles)
    } else {
        Ok(())
    }
}

/// Refuses headers or trailers that carry a stored value.
pub fn check_fields(
    context: &RequestContext,
    fields: &HeaderMap,
    needles: &Needles,
) -> Result<(), Refused> {
    for (name, value) in fields {
        if header_role(name.as_str()) == HeaderRole::ProxyOwn {
            continue;
        }
        if let Some(exposed) = find(needles, value.as_bytes()) {
            return Err(refuse(context, &exposed, &format!("header:{name}")));
        }
        // Its own text may hold the value, so the refusal does not name it.
        if let Some(exposed) = find_in_name(needles, name) {
            return Err(refuse(context, &exposed, "header"));
        }
    }
    Ok(())
}

/// Refuses a body, or trailers, that carry a stored value.
pub fn check_body(context: &RequestContext, held: &Held, needles: &Needles) -> Result<(), Refused> {
    check(context, needles, &held.data, "body")?;
    let trailers = held.trailers.as_ref();
    trailers.map_or(Ok(()), |trailers| check_fields(context, trailers, needles))
}

/// The same for a field name, which is compared in any case: HTTP/2 knows lower case only.
fn find_in_name(needles: &Needles, name: &HeaderName) -> Option<String> {
    let text = name.as_str().as_bytes();
    let hit = needles.find_in_name(&text[..text.len().min(LONGEST_NAME)]);
    first_secret(needles, hit.as_slice())
}

/// The name of the first stored value in `text`, `slug` or `slug.field`.
pub fn find(needles: &Needles, text: &[u8]) -> Option<String> {
    first_secret(needles, &needles.find(text))
}

/// The name of the first of `hits`.
pub fn first_secret(needles: &Needles, hits: &[Hit]) -> Option<String> {
    hits.first()
        .map(|hit| needles.name(hit.reference).to_owned())
}

/// A text for log and ledger, without stored values: where the guard is off or does not look, a
/// path may hold one.
pub fn without(needles: &Needles, text: Arc<str>) -> Arc<str> {
    match scrub_bytes(needles, text.as_bytes(), &mut Vec::new()) {
        Some(clean) => String::from_utf8_lossy(&clean).into(),
        None => text,
    }
}

/// A path as ledger and log show it before it was searched.
pub fn shown(needles: &Needles, path: &Arc<str>) -> Arc<str> {
    shown_path(without(needles, Arc::clone(path)))
}

/// The refusal, which names the slug, and its ledger line.
pub fn refuse(context: &RequestContext, name: &str, place: &str) -> Refused {
    let destination = Some(&*context.origin);
    refuse_at(context, name, place, destination)
}

fn refuse_at(
    context: &RequestContext,
    name: &str,
    place: &str,
    destination: Option<&str>,
) -> Refused {
    measures().guard(place);
    let refusal = Refusal::new(
        Code::SecretExposed,
        format!(
            "the request carries the value of a stored credential itself; write <<{name}>> in its \
             place, and rotate the credential if nobody should have that value"
        ),
    );
    let about = Entry {
        // The path as it was sent may hold the value.
        path: None,
        destination: destination.map(Into::into),
        locations: vec![place.into()],
        ..context.entry_named(event::DENIED, name)
    };
    let about = match place {
        "method" => Entry {
            method: None,
            ..about
        },
        "action" => Entry {
            action: None,
            ..about
        },
        "run" => Entry { run: None, ..about },
        _ => about,
    };
    let slug = name.split_once('.').map_or(name, |(slug, _)| slug);
    let mut refusal = refusal.slug(slug).location(place);
    refusal.destination = destination.map(str::to_owned);
    let mut refused = Refused::with_line(refusal, about);
    count(context, &mut refused.denied);
    refused
}

/// The refusal for a value that is the host's name. It cannot say which host.
fn refuse_host(context: &RequestContext, name: &str) -> Refused {
    refuse_at(context, name, "header:host", None)
}

fn check(
    context: &RequestContext,
    needles: &Needles,
    text: &[u8],
    place: &str,
) -> Result<(), Refused> {
    find(needles, text).map_or(Ok(()), |name| Err(refuse(context, &name, place)))
}

/// Scans for exposed values; discards the output.
pub struct Guard {
    needles: Arc<Needles>,
    scrubber: Scrubber,
    unwanted: Vec<u8>,
}

impl Guard {
    /// Looks for these values.
    pub fn new(needles: Arc<Needles>) -> Self {
        Self {
            scrubber: Scrubber::new(Arc::clone(&needles), Replacement::SameLength),
            needles,
            unwanted: Vec::new(),
        }
    }

    /// The name of a stored value that these bytes complete.
    pub fn look(&mut self, piece: &[u8]) -> Option<String> {
        let mut hits = Vec::new();
        self.unwanted.clear();
        let _ = self
            .scrubber
            .pass(piece, false, &mut self.unwanted, &mut hits);
        let waiting = || self.scrubber.first_found();
        let first = hits.first().map(|hit| hit.reference).or_else(waiting)?;
        Some(self.needles.name(first).to_owned())
    }
}

//! What is known about a request whatever its state, and how it is refused.

use std::sync::Arc;
use std::time::Instant;

use http::Method;

use crate::error::Refusal;
use crate::identity::Caller;
use crate::ledger::{EncodedEntries, Entry, Ledger, Text, event, outcome};
use crate::observe::traces::Trace;
use crate::policy::destination::Destination;
use crate::policy::location::Location;
use crate::proxy::exchange::request_id::RequestId;
use crate::proxy::runtime::fair_share::ClientPlace;
use crate::proxy::runtime::origin::Origin;
use crate::substitution::slug::Reference;
use crate::substitution::stand_in::StandInSearch;
use crate::vault::Credential;

/// What is known about a request whatever its state. Nothing in it is secret.
#[derive(Clone, Debug)]
pub struct RequestContext {
    /// The request's id, `Egret-Request`.
    pub id: RequestId,
    /// Who asks, and for what.
    pub caller: Arc<Caller>,
    /// Where it goes.
    pub destination: Destination,
    /// The same as ledger and log show it, `https://host:port`.
    pub origin: Origin,
    /// The method as sent.
    pub method: Method,
    /// The path as sent, for path rules. Empty for a request whose target has none.
    pub raw_path: Arc<str>,
    /// The path with placeholders in place and without a query, for people. Without stored values
    /// from the scan on, which comes first.
    pub path: Arc<str>,
    /// When its head had arrived.
    pub started: Instant,
    /// Whether it held a placeholder.
    pub held_placeholder: bool,
    /// Names of header fields that were attached, in lower case.
    pub attached: Vec<Arc<str>>,
    /// Finds what means a placeholder, if there is any such text.
    pub stand_ins: Option<Arc<StandInSearch>>,
    /// Its place among what its client has under way, where that is limited.
    pub place: Option<Arc<ClientPlace>>,
    /// The trace that it belongs to, where traces are collected.
    pub trace: Option<Box<Trace>>,
}

/// A refused exchange: what the client is told, and the lines that the ledger gets.
#[derive(Debug)]
pub struct Refused {
    /// The answer.
    pub refusal: Refusal,
    /// `denied` lines, one for each slug that was refused.
    pub denied: EncodedEntries,
}

/// The longest path of a ledger line or log line, in bytes.
const LONGEST_PATH: usize = 2 * 1024;
/// The longest name of a place in a ledger line, in bytes: a field's name comes from the client.
const LONGEST_LOCATION: usize = 256;
/// Most places that a line names.
const MOST_LOCATIONS: usize = 64;

/// A path as ledger and log show it. A line of any length would be one that no reader takes.
pub fn shown_path(path: Arc<str>) -> Arc<str> {
    if path.len() > LONGEST_PATH {
        cut(&path, LONGEST_PATH).into()
    } else {
        path
    }
}

/// Places as a ledger line names them; the last entry says how many more there are.
pub fn shown_locations<'a>(locations: impl Iterator<Item = &'a Location>) -> Vec<Text<'static>> {
    let mut locations = locations.peekable();
    let mut shown = Vec::new();
    while shown.len() < MOST_LOCATIONS
        && let Some(location) = locations.next()
    {
        shown.push(cut(&location.text(), LONGEST_LOCATION).into());
    }
    if locations.peek().is_some() {
        shown.push(format!("and {} more", locations.count()).into());
    }
    shown
}

/// At most so many bytes of a text, with an ellipsis where something was cut off.
fn cut(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    let end = (0..=most).rev().find(|end| text.is_char_boundary(*end));
    format!("{}…", &text[..end.unwrap_or_default()])
}

impl Refused {
    /// A refusal with its `denied` line: `about` says what it concerns, and the refusal why.
    pub fn with_line(refusal: Refusal, about: Entry<'_>) -> Self {
        let line = Entry {
            outcome: Some(outcome::DENIED.into()),
            code: Some(refusal.code.as_str().into()),
            status: Some(refusal.code.status()),
            ..about
        };
        let denied = line.encode();
        Self { refusal, denied }
    }

    /// Writes the lines; what remains is the answer. Nothing left the process, so the answer holds also
    /// when the ledger does not take them.
    pub async fn record(self, ledger: &Ledger, request: &str) -> Refusal {
        if !self.denied.is_empty() && ledger.commit(self.denied).await.is_err() {
            tracing::error!(request, "a denial could not be written to the ledger");
        }
        self.refusal
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self {
            refusal,
            denied: EncodedEntries::default(),
        }
    }
}

impl RequestContext {
    /// What is known of a CONNECT.
    pub fn of_connect(
        id: RequestId,
        caller: Arc<Caller>,
        destination: Destination,
        started: Instant,
    ) -> Self {
        let nothing = Arc::<str>::from("");
        Self {
            id,
            caller,
            origin: Origin::from(&destination),
            destination,
            method: Method::CONNECT,
            raw_path: Arc::clone(&nothing),
            path: nothing,
            started,
            held_placeholder: false,
            attached: Vec::new(),
            stand_ins: None,
            place: None,
            trace: None,
        }
    }

    /// A ledger line about this request.
    pub fn entry(&self, event: &'static str) -> Entry<'_> {
        let Caller {
            client,
            principal,
            action,
            action_source,
            run,
            slugs: _,
            bundle: _,
            is_probe: _,
            expires: _,
        } = &*self.caller;
        Entry {
            request: Some((&*self.id).into()),
            principal: Some(principal.as_str().into()),
            client: Some((&**client).into()),
            action: Some((&**action).into()),
            action_source: Some(action_source.as_str().into()),
            run: run.as_deref().map(Into::into),
            method: Some(self.method.as_str().into()),
            destination: Some((&*self.origin).into()),
            path: Some((&*self.path).into()),
            ..Entry::new(event)
        }
    }

    /// A line about a placeholder.
    pub fn entry_for<'a>(&'a self, event: &'static str, reference: &'a Reference) -> Entry<'a> {
        let field = reference.field.as_ref();
        Entry {
            slug: Some(reference.slug.as_str().into()),
            field: field.map(|field| field.as_str().into()),
            ..self.entry(event)
        }
    }

    /// The line for a placeholder that travels literally.
    pub fn ignored_entry<'a>(&'a self, reference: &'a Reference, location: &Location) -> Entry<'a> {
        Entry {
            locations: shown_locations([location].into_iter()),
            outcome: Some("ignored".into()),
            ..self.entry_for(event::IGNORED, reference)
        }
    }

    /// A line about the stored value called `name`, `slug` or `slug.field`.
    pub fn entry_named<'a>(&'a self, event: &'static str, name: &'a str) -> Entry<'a> {
        let (slug, field) = match name.split_once('.') {
            Some((slug, field)) => (slug, Some(field)),
            None => (name, None),
        };
        Entry {
            slug: Some(slug.into()),
            field: field.map(Into::into),
            ..self.entry(event)
        }
    }

    /// Whether a field was set by Egret.
    pub fn is_attached(&self, location: &Location) -> bool {
        let Location::Header(name) = location else {
            return false;
        };
        self.attached.contains(name)
    }

    /// A refusal that concerns one placeholder, with its `denied` line.
    pub fn refuse(
        &self,
        refusal: Refusal,
        reference: &Reference,
        used: Option<&Credential>,
        locations: &[&Location],
    ) -> Refused {
        let about = Entry {
            version: used.map(|credential| credential.version),
            owner: used.map(|credential| credential.owner.as_str().into()),
            locations: shown_locations(locations.iter().copied()),
            ..self.entry_for(event::DENIED, reference)
        };
        let mut refusal = refusal
            .slug(reference.slug.as_str())
            .destination(self.destination.to_string());
        if locations.iter().any(|location| self.is_attached(location)) {
            let attached = ". The placeholder is not the client's: `egret credential attach` put it there, \
                 and `egret credential detach` takes it away";
            refusal.detail = format!("{}{attached}", refusal.detail).into();
        }
        if refusal.location.is_none() {
            refusal.location = locations.first().map(ToString::to_string);
        }
        Refused::with_line(refusal, about)
    }
}

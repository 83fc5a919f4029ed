//! What a destination's rule asks of a request beside its placeholders: that it uses a value which
//! Egret puts in, and that it brings no key of its own.
//!
//! An assistant that was talked into it can bring an attacker's key, and carry data out through a host
//! that is open to it.

use http::request::Parts;

use crate::config::{Exposed, OwnKeys, Treatment};
use crate::error::{Code, Refusal};
use crate::ledger::{Entry, Ledger, event};
use crate::policy::location::Location;
use crate::proxy::exchange::occurrences::Occurrence;
use crate::proxy::exchange::request_context::{Refused, RequestContext, shown_locations};
use crate::proxy::runtime::seen::SeenCounts;
use crate::services;

/// A request with every placeholder found and permitted, before any value is put in.
pub struct Demands<'a> {
    /// What is known about it.
    pub context: &'a RequestContext,
    /// Its head, with its placeholders.
    pub head: &'a Parts,
    /// How its destination is treated.
    pub treatment: &'a Treatment,
    /// Its placeholders.
    pub occurrences: &'a [Occurrence],
    /// Whether a value will be put in.
    pub uses_value: bool,
}

/// Header fields that hold a key and nothing else.
const KEY_FIELDS: &[&str] = &[
    "authorization",
    "x-api-key",
    "api-key",
    "apikey",
    "x-auth-token",
    "x-access-token",
    "x-goog-api-key",
    "x-amz-security-token",
    "x-figma-token",
    "x-github-token",
    "x-shopify-access-token",
    "x-vault-token",
    "private-token",
    "job-token",
    "deploy-token",
    "dd-api-key",
    "dd-application-key",
    "xi-api-key",
];

/// Query parameters that hold a key and nothing else.
const KEY_PARAMETERS: &[&str] = &[
    "access_token",
    "api-key",
    "api_key",
    "apikey",
    "auth_token",
    "key",
    "private_token",
    "token",
];

/// Most keys of one request that are looked at.
const MOST_KEYS: usize = 8;
/// The longest name of a header field whose value looks like a key.
const LONGEST_NAME: usize = 64;

impl Demands<'_> {
    /// Holds the request to the rule. `seen` counts keys by client, destination and place.
    pub fn check(&self, ledger: &Ledger, seen: &SeenCounts) -> Result<(), Refused> {
        let (method, path) = (self.context.method.as_str(), &*self.context.raw_path);
        let mut exceptions = self
            .treatment
            .require_except
            .iter()
            .flat_map(|all| all.iter());
        let is_excepted = exceptions.any(|except| except.covers(method, path));
        let needs_value = self.treatment.require && !is_excepted;
        let own_keys = match self.treatment.own_keys {
            OwnKeys::Off => Vec::new(),
            OwnKeys::Refuse if self.treatment.require && is_excepted => Vec::new(),
            OwnKeys::Observe | OwnKeys::Refuse => self.own_keys(),
        };
        if let Some(place) = own_keys.first()
            && self.treatment.own_keys == OwnKeys::Refuse
        {
            return Err(self.refuse_key(place));
        }
        for place in &own_keys {
            self.note_key(ledger, seen, place);
        }
        if needs_value && !self.uses_value {
            return Err(self.refuse_without_value());
        }
        Ok(())
    }

    /// Where keys are that no placeholder stands for.
    fn own_keys(&self) -> Vec<Location> {
        // The head, names of fields included, was searched for stored values then.
        let may_be_named = self.treatment.exposed == Exposed::Reject;
        let fields = self.head.headers.iter().filter(|(name, value)| {
            let text = value.as_bytes().trim_ascii();
            let is_known = KEY_FIELDS.contains(&name.as_str()) && !is_scheme_alone(text);
            is_known || may_be_named && name.as_str().len() <= LONGEST_NAME && looks_like_key(text)
        });
        let fields = fields.map(|(name, _)| Location::Header(name.as_str().into()));
        let query = self.head.uri.query().unwrap_or_default();
        let parameters = query.split('&').filter_map(|part| {
            let (name, value) = part.split_once('=')?;
            let known = KEY_PARAMETERS.iter().find(|known| **known == name)?;
            (!value.is_empty()).then(|| Location::Query((*known).to_owned()))
        });
        let mut keys: Vec<Location> = fields.chain(parameters).collect();
        keys.sort();
        keys.dedup();
        keys.retain(|place| !self.is_replaced(place));
        keys.truncate(MOST_KEYS);
        keys
    }

    /// Whether a placeholder is replaced at that place.
    fn is_replaced(&self, place: &Location) -> bool {
        let mut edits = self
            .occurrences
            .iter()
            .flat_map(|occurrence| &occurrence.edits);
        edits.any(|edit| !edit.escape && edit.location == *place)
    }

    /// Keeps a record of a key by its place: when it is met first, and each time that the number of
    /// such requests has doubled.
    fn note_key(&self, ledger: &Ledger, seen: &SeenCounts, place: &Location) {
        let context = self.context;
        let count = seen.count(&(&*context.caller.client, &*context.origin, place));
        if !count.is_power_of_two() {
            return;
        }
        let mut locations = shown_locations([place].into_iter());
        locations.push(format!("{count} requests").into());
        let line = Entry {
            locations,
            path: None,
            ..context.entry(event::OWN_KEY)
        };
        if ledger.append(&line).is_err() {
            tracing::error!(request = %context.id, "a key of a client's own could not be recorded");
        }
    }

    fn refuse_key(&self, place: &Location) -> Refused {
        let detail = "the request brings a key of its own here, and this destination takes only keys \
                      that Egret puts in (`own_keys` and `require` in the configuration); save the key \
                      with `egret credential add`, and write its placeholder";
        let refusal = Refusal::new(Code::CredentialRequired, detail)
            .location(place.to_string())
            .destination(self.context.destination.to_string());
        let about = Entry {
            locations: shown_locations([place].into_iter()),
            ..self.context.entry(event::DENIED)
        };
        Refused::with_line(refusal, about)
    }

    fn refuse_without_value(&self) -> Refused {
        let detail = "this destination takes only requests in which Egret puts a value (`require` in \
                      the configuration), and this one has no placeholder that could be replaced before \
                      it is sent; write one into a header or the target";
        let refusal = Refusal::new(Code::CredentialRequired, detail)
            .destination(self.context.destination.to_string());
        Refused::with_line(refusal, self.context.entry(event::DENIED))
    }
}

/// Whether a field names a scheme and no key, or nothing.
fn is_scheme_alone(text: &[u8]) -> bool {
    text.is_empty() || text.eq_ignore_ascii_case(b"bearer") || text.eq_ignore_ascii_case(b"basic")
}

/// Whether the last word has the form of a well-known service's keys.
fn looks_like_key(text: &[u8]) -> bool {
    let last = text.rsplit(|byte| *byte == b' ').next().unwrap_or(text);
    services::of_key(last).is_some()
}

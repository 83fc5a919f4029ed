//! Where clients may go.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::time::rfc3339;
use crate::ledger::own_keys::{Bringing, Tally};
use crate::policy::egress::{DecidedBy, Decision};
use crate::vault::egress::EgressEntry;

/// A rule.
#[derive(Debug, Serialize, Deserialize, utoipa::ToSchema)]
pub struct EgressRule {
    /// Its number.
    pub number: i64,
    /// Whom it is about: `client:ci`, `bob`, `group:ops` or `everyone`.
    pub subject: String,
    /// `allow`, `observe` or `deny`.
    pub rule: Cow<'static, str>,
    /// The hosts; none is every host.
    pub hosts: Vec<String>,
    /// The methods; none is any.
    pub methods: Vec<String>,
    /// Prefixes of paths; none is any.
    pub paths: Vec<String>,
    /// The actions; none is any.
    pub actions: Vec<String>,
    /// When it was added.
    pub created: String,
    /// What of it may be a mistake, in the answer to its adding: where it never decides, or another
    /// one does not any more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remarks: Vec<String>,
}

impl EgressRule {
    /// The view of a stored rule.
    pub fn new(number: i64, entry: &EgressEntry) -> Self {
        let rule = &entry.rule;
        Self {
            number,
            subject: entry.subject.to_string(),
            rule: rule.stance.as_str().into(),
            hosts: rule.hosts.iter().map(ToString::to_string).collect(),
            methods: rule.methods.clone(),
            paths: rule.paths.iter().map(ToString::to_string).collect(),
            actions: rule.actions.clone(),
            created: rfc3339(entry.created),
            remarks: Vec::new(),
        }
    }
}

/// A rule that was added or removed.
#[derive(Debug, Serialize)]
pub struct EgressChange<'a> {
    /// Its number.
    pub number: i64,
    /// What follows from it, and what of it may be a mistake.
    pub remarks: &'a [String],
}

/// A rule that was removed.
#[derive(Debug, Serialize, Deserialize, utoipa::ToSchema)]
pub struct EgressRuleRemoved {
    /// Its number.
    pub number: i64,
    /// What clients did in the last seven days and is refused from now on, a sentence for each client
    /// and destination.
    pub remarks: Vec<String>,
}

/// What becomes of a request.
#[derive(Debug, Serialize, Deserialize, utoipa::ToSchema)]
pub struct EgressCheck {
    /// `allow`, `observe` or `deny`.
    pub decision: Cow<'static, str>,
    /// What decides.
    pub by: String,
}

impl EgressCheck {
    /// The view of a decision.
    pub fn new(decision: &Decision) -> Self {
        let by = match decision.by {
            DecidedBy::Default => "egress.default".to_owned(),
            DecidedBy::Operator => "the configuration".to_owned(),
            DecidedBy::Rule(number) => format!("rule {number}"),
        };
        let decision = decision.stance.as_str().into();
        Self { decision, by }
    }
}

/// Hosts that would let through what a client did.
#[derive(Debug, Serialize)]
pub struct EgressSuggestion<'a> {
    /// The client.
    pub client: &'a str,
    /// The hosts.
    pub hosts: &'a [String],
}

/// A key that a client brings and Egret does not hold.
#[derive(Debug, Serialize, Deserialize, utoipa::ToSchema)]
pub struct OwnKey {
    /// The client.
    pub client: String,
    /// Where it sends the key.
    pub host: String,
    /// Where in its requests the key is, never what it is.
    pub place: String,
    /// How many requests did so, rounded down to a power of two.
    pub at_least: u64,
    /// When it was last on record.
    pub last: String,
    /// What would bring the key in.
    pub command: String,
}

impl OwnKey {
    /// The view of what the ledger has.
    pub fn new(bringing: Bringing, tally: Tally) -> Self {
        let Bringing {
            client,
            host,
            place,
            ..
        } = bringing;
        Self {
            command: format!("egret credential add SLUG --host {host} --in {place}"),
            client,
            host,
            place,
            at_least: tally.at_least(),
            last: tally.last,
        }
    }
}

/// Where a client went.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Destination {
    /// The client.
    pub client: String,
    /// For whom it acts.
    pub principal: String,
    /// The action.
    pub action: String,
    /// `https://api.example.com:443`.
    pub destination: String,
    /// When it was first on record.
    pub first: Option<String>,
    /// When it was last.
    pub last: Option<String>,
    /// How often a credential was used there.
    pub used: u64,
    /// How many lines say that it was only observed: one for each start of the server.
    pub observed: u64,
    /// How often it was refused for want of a rule.
    pub refused: u64,
    /// What becomes of such a request now: `allow`, `observe` or `deny`.
    pub decision: Option<&'static str>,
    /// What decides.
    pub decided_by: Option<String>,
}

//! Egress rules as the store keeps them: whom a rule is about, and what it says.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::policy::egress::{EgressRule, OperatorEgress, Stance};
use crate::policy::grant::HostPattern;
use crate::vault::name::{CallerName, ClientName, InvalidCaller};
use crate::vault::people::{Grantee, InvalidGrantee};

/// Most rules of a store.
pub const MOST_RULES: usize = 10_000;

/// Whom a rule is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Subject {
    /// One client. It need not be in the store: clients of an issuer of JWTs are not.
    Client(CallerName),
    /// The clients of a user, of the users of a group, or of everyone.
    Of(Grantee),
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Subject::Client(name) => f.pad(&format!("client:{name}")),
            Subject::Of(grantee) => grantee.fmt(f),
        }
    }
}

impl Subject {
    /// The client that it is about, if that is one of the store's: clients of an issuer are in none.
    pub fn registered(&self) -> Option<ClientName> {
        match self {
            Subject::Client(name) => name.registered(),
            Subject::Of(_) => None,
        }
    }
}

/// A text that names no one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSubject {
    /// After `client:`.
    #[error(transparent)]
    Client(#[from] InvalidCaller),
    /// A user, a group or everyone.
    #[error("name a client (client:ci), a user (bob), a group (group:ops) or everyone")]
    Grantee(#[from] InvalidGrantee),
}

impl FromStr for Subject {
    type Err = InvalidSubject;

    fn from_str(text: &str) -> Result<Self, InvalidSubject> {
        match text.strip_prefix("client:") {
            Some(name) => Ok(Subject::Client(name.parse()?)),
            None => Ok(Subject::Of(text.parse()?)),
        }
    }
}

impl Serialize for Subject {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Subject {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A rule as it is stored under its number, which is never given to another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EgressEntry {
    /// Whom it is about.
    pub subject: Subject,
    /// What it says.
    pub rule: EgressRule,
    /// When it was added, unix seconds.
    pub created: i64,
}

/// Rules that come and rules that go, together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EgressChange {
    /// Those that come.
    pub added: Vec<EgressEntry>,
    /// The numbers of those that go.
    pub removed: Vec<i64>,
}

impl EgressChange {
    /// One rule that comes.
    pub fn adding(entry: EgressEntry) -> Self {
        Self {
            added: vec![entry],
            removed: Vec::new(),
        }
    }

    /// One rule that goes.
    pub fn removing(number: i64) -> Self {
        Self {
            added: Vec::new(),
            removed: vec![number],
        }
    }

    /// Whether nothing is different.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty()
    }
}

/// A rule in words, for the ledger.
pub fn describe(subject: &Subject, rule: &EgressRule) -> String {
    let mut text = format!("{} {subject}", rule.stance.as_str());
    let mut list = |name: &str, items: Vec<String>| {
        if !items.is_empty() {
            text.push_str(&format!("; {name} {}", items.join(" ")));
        }
    };
    list(
        "hosts",
        rule.hosts.iter().map(ToString::to_string).collect(),
    );
    list("methods", rule.methods.clone());
    list(
        "paths",
        rule.paths.iter().map(ToString::to_string).collect(),
    );
    list("actions", rule.actions.clone());
    text
}

/// A rule and whom it is about.
#[derive(Clone, Copy, Debug)]
pub struct RuleFor<'a> {
    /// Whom it is about.
    pub subject: &'a Subject,
    /// What it says.
    pub rule: &'a EgressRule,
}

/// What a rule decides of what another one is about.
#[derive(Debug, PartialEq, Eq)]
pub enum Decides<'a> {
    /// All of it: the other one never decides anything.
    All,
    /// All of it at these hosts.
    At(Vec<&'a HostPattern>),
}

impl<'a> RuleFor<'a> {
    /// What this rule decides of what `other` is about; `None` if `other` decides something
    /// everywhere.
    pub fn decides(self, other: RuleFor<'a>) -> Option<Decides<'a>> {
        let everyone = Subject::Of(Grantee::Everyone);
        if self.subject != other.subject && *self.subject != everyone {
            return None;
        }
        if self.rule.overrules(other.rule) {
            return Some(Decides::All);
        }
        let at = |host: &&HostPattern| {
            let host = std::slice::from_ref(*host);
            self.rule.overrules_at(host, other.rule)
        };
        let hosts: Vec<_> = other.rule.hosts.iter().filter(at).collect();
        (!hosts.is_empty()).then_some(Decides::At(hosts))
    }

    /// Whether this rule decides something of what both are about that `other` would not.
    pub fn decides_more(self, other: RuleFor<'_>) -> bool {
        other.decides(self) != Some(Decides::All)
    }
}

/// Most remarks about one rule.
const MOST_REMARKS: usize = 20;

/// What a rule that comes and those that are there leave of each other, where one of them decides
/// less than it says.
pub fn remarks<'a>(
    new: RuleFor<'_>,
    present: impl Iterator<Item = (i64, &'a EgressEntry)>,
    operator: &OperatorEgress,
) -> Vec<String> {
    let of_present = present.flat_map(|(number, entry)| {
        let known = RuleFor {
            subject: &entry.subject,
            rule: &entry.rule,
        };
        remarks_between(new, known, number)
    });
    of_present
        .chain(closed(new.rule, operator))
        .take(MOST_REMARKS)
        .collect()
}

fn remarks_between(new: RuleFor<'_>, known: RuleFor<'_>, number: i64) -> Vec<String> {
    let stance = known.rule.stance.as_str();
    let by_known = known.decides(new);
    if by_known == Some(Decides::All) {
        return vec![format!(
            "rule {number} ({stance}) covers this one, which changes nothing as long as that one is there"
        )];
    }
    match (new.decides(known), by_known) {
        (Some(Decides::All), _) => vec![format!(
            "this rule covers rule {number} ({stance}), which changes nothing from now on"
        )],
        (_, Some(Decides::At(hosts))) => hosts
            .into_iter()
            .map(|host| {
                format!(
                    "rule {number} ({stance}) decides at {host}, where this one changes nothing as long as \
                     that one is there"
                )
            })
            .collect(),
        _ => Vec::new(),
    }
}

/// A mistyped name is that of no client.
pub fn no_such_client(name: &ClientName) -> String {
    format!("there is no client {name} yet")
}

/// What clients did lately and cannot do without a rule that goes.
pub fn refused_from_now_on(line: &str) -> String {
    format!("refused from now on: {line}")
}

/// The hosts that the configuration closes to everyone, whatever a rule says.
fn closed(rule: &EgressRule, operator: &OperatorEgress) -> Vec<String> {
    let mut remarks = Vec::new();
    for host in rule.hosts.iter().filter(|_| rule.stance != Stance::Deny) {
        if let Some(closed) = operator.deny.iter().find(|closed| closed.includes(host)) {
            remarks.push(format!(
                "egress.deny in the configuration closes {closed} to everyone: the rule opens nothing at {host}"
            ));
        }
    }
    remarks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_a_client_a_user_a_group_or_everyone() {
        for text in [
            "client:ci",
            "client:jwt:system:serviceaccount:build:ci",
            "bob",
            "group:ops",
            "everyone",
        ] {
            assert_eq!(text.parse::<Subject>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "client:",
            "client:A",
            "client:jwt:",
            "client:a:b",
            "group:",
            "user:bob",
            "jwt:a",
        ] {
            assert!(text.parse::<Subject>().is_err(), "{text}");
        }
    }

    #[test]
    fn an_entry_is_stored_as_text_and_unknown_parts_are_refused() {
        let hosts = vec!["*.example.com".parse().unwrap()];
        let entry = EgressEntry {
            subject: "group:ops".parse().unwrap(),
            rule: EgressRule::for_hosts(Stance::Deny, hosts),
            created: 1,
        };
        let stored = serde_json::to_string(&entry).unwrap();
        assert_eq!(
            stored,
            r#"{"subject":"group:ops","rule":{"stance":"deny","hosts":["*.example.com"]},"created":1}"#
        );
        assert_eq!(serde_json::from_str::<EgressEntry>(&stored).unwrap(), entry);
        let newer = stored.replace("\"hosts\"", "\"weekdays\":[],\"hosts\"");
        assert!(serde_json::from_str::<EgressEntry>(&newer).is_err());
        let text = describe(&entry.subject, &entry.rule);
        assert_eq!(text, "deny group:ops; hosts *.example.com");
    }

    #[test]
    fn rules_that_leave_nothing_of_each_other_are_named_and_no_others() {
        let rule = |stance, hosts: &[&str]| {
            let hosts = hosts.iter().map(|host| host.parse().unwrap());
            EgressRule::for_hosts(stance, hosts.collect())
        };
        let entry = |subject: &str, rule| EgressEntry {
            subject: subject.parse().unwrap(),
            rule,
            created: 1,
        };
        let present = [
            entry(
                "everyone",
                rule(Stance::Deny, &["closed.example", "far.example"]),
            ),
            entry("client:ci", rule(Stance::Observe, &["api.example"])),
            entry("bob", rule(Stance::Deny, &["api.example"])),
        ];
        let operator = OperatorEgress {
            deny: vec!["*.shut.example".parse().unwrap()],
            ..OperatorEgress::default()
        };
        let said = |rule: &EgressRule| {
            let new = RuleFor {
                subject: &"client:ci".parse().unwrap(),
                rule,
            };
            remarks(new, (1..).zip(&present), &operator)
        };
        let covers =
            "rule 1 (deny) covers this one, which changes nothing as long as that one is there";
        assert_eq!(said(&rule(Stance::Allow, &["closed.example"])), [covers]);
        let partly = said(&rule(Stance::Allow, &["closed.example", "open.example"]));
        assert_eq!(partly.len(), 1, "{partly:?}");
        assert!(partly[0].starts_with("rule 1 (deny) decides at closed.example"));
        assert_eq!(
            said(&rule(Stance::Deny, &["api.example", "b.example"])),
            ["this rule covers rule 2 (observe), which changes nothing from now on"]
        );
        let shut = said(&rule(Stance::Allow, &["a.shut.example", "open.example"]));
        assert_eq!(shut.len(), 1, "{shut:?}");
        assert!(shut[0].contains("*.shut.example to everyone"));
        assert!(said(&rule(Stance::Deny, &["a.shut.example"])).is_empty());
        assert!(said(&rule(Stance::Allow, &["open.example"])).is_empty());
        let many: Vec<_> = (0..50)
            .map(|number| format!("{number}.shut.example"))
            .collect();
        let many: Vec<_> = many.iter().map(String::as_str).collect();
        assert_eq!(said(&rule(Stance::Allow, &many)).len(), MOST_REMARKS);
    }
}

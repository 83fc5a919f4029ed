//! Egress rules as the store keeps them: whom a rule is about, and what it says.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::policy::egress::EgressRule;
use crate::vault::name::{CallerName, InvalidCaller};
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::egress::Stance;

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
}

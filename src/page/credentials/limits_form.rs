//! The part of a form that says where and how often a credential may be used.

use std::time::Duration;

use super::facts;
use crate::page::fields::{Fields, Wrong};
use crate::page::when::{self, When};
use crate::policy::grant::{self, Grant, HostPattern};
use crate::policy::location::LocationRule;
use crate::policy::use_limits::{Approve, Copies, UseLimits, UsesChange};
use crate::vault::Credential;

/// What the fields are filled with.
#[derive(Default)]
pub(in crate::page) struct LimitsForm {
    pub(in crate::page) hosts: String,
    pub(in crate::page) locations: String,
    pub(in crate::page) methods: String,
    pub(in crate::page) paths: String,
    pub(in crate::page) actions: String,
    pub(in crate::page) expires: String,
    pub(in crate::page) rotate_every: String,
    pub(in crate::page) copies: String,
    pub(in crate::page) max_uses: String,
    pub(in crate::page) approve: String,
}

impl LimitsForm {
    /// With what a credential has.
    pub(in crate::page) fn of(credential: &Credential) -> Self {
        let grant = &credential.grant;
        let every = credential
            .rotate_every
            .and_then(|every| u64::try_from(every).ok())
            .map(Duration::from_secs);
        let uses = grant.uses;
        Self {
            hosts: lines(&grant.hosts),
            locations: facts::texts(&grant.locations),
            methods: grant.methods.join(", "),
            paths: lines(&grant.paths),
            actions: grant.actions.join("\n"),
            expires: grant
                .expires
                .map_or_else(String::new, |at| When::at(at).iso()),
            rotate_every: every.map_or_else(String::new, |every| {
                humantime::format_duration(every).to_string()
            }),
            copies: uses.copies.unwrap_or(Copies::Any).to_string(),
            max_uses: uses
                .budget
                .map_or_else(String::new, |rate| rate.to_string()),
            approve: uses.approve.map_or("never", Approve::as_str).to_owned(),
        }
    }

    /// With what was typed.
    pub(in crate::page) fn typed(fields: &Fields) -> Self {
        let text = |name: &str| fields.text(name).to_owned();
        Self {
            hosts: text("hosts"),
            locations: text("locations"),
            methods: text("methods"),
            paths: text("paths"),
            actions: text("actions"),
            expires: text("expires"),
            rotate_every: text("rotate_every"),
            copies: text("copies"),
            max_uses: text("max_uses"),
            approve: text("approve"),
        }
    }
}

fn lines<T: ToString>(items: &[T]) -> String {
    let items: Vec<_> = items.iter().map(ToString::to_string).collect();
    items.join("\n")
}

/// The limits that a form asks for, of a credential that is used this often where it does not say.
pub(in crate::page) fn read_grant(fields: &Fields, uses: UseLimits, wrong: &mut Wrong) -> Grant {
    let hosts: Vec<HostPattern> = wrong.read("hosts", fields.items("hosts"));
    if hosts.is_empty() && wrong.of("hosts").is_empty() {
        wrong.add(
            "hosts",
            "Name at least one host. The value is sent nowhere else.",
        );
    }
    let mut locations: Vec<LocationRule> = wrong.read("locations", fields.items("locations"));
    if locations.is_empty() {
        locations.push(LocationRule::Header(None));
    }
    let expires = when::future(fields.text("expires"));
    let expires = expires.map_err(|error| wrong.add("expires", error));
    Grant {
        hosts,
        locations,
        methods: wrong.read_with("methods", fields.items("methods"), grant::parse_method),
        paths: wrong.read_with("paths", fields.items("paths"), grant::parse_path),
        actions: wrong.read_with("actions", fields.lines("actions"), grant::parse_action),
        expires: expires.unwrap_or_default(),
        uses: read_uses(fields, wrong).apply(uses),
    }
}

fn read_uses(fields: &Fields, wrong: &mut Wrong) -> UsesChange {
    let max_uses = match (fields.trimmed("max_uses"), fields.has("max_uses")) {
        ("", true) => "unlimited",
        (text, _) => text,
    };
    UsesChange {
        copies: wrong.read_one("copies", fields.trimmed("copies")),
        budget: wrong.read_one("max_uses", max_uses),
        approve: wrong.read_one("approve", fields.trimmed("approve")),
    }
}

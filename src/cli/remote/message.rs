//! What a command says, as messages of the API, and what the API shows, as a command has it.

use std::str::FromStr;

use anyhow::{Context as _, anyhow};
use serde_json::{Map, Value, json};

use crate::policy::grant::{Grant, HostPattern, PathPrefix, parse_action, parse_method};
use crate::policy::location::LocationRule;
use crate::policy::use_limits::{Asking, Budget, Copies, UseLimits};
use crate::secret::SecretBytes;
use crate::vault::Kind;
use crate::vault::sharing::Offer;
use crate::views::{self, rfc3339};

/// The items as text.
pub(in crate::cli) fn texts<T: ToString>(items: &[T]) -> Vec<String> {
    items.iter().map(T::to_string).collect()
}

/// The items that a view shows as text.
pub(in crate::cli) fn parsed<T: FromStr>(texts: &[String]) -> anyhow::Result<Vec<T>> {
    let parsed = texts.iter().map(|text| text.parse::<T>().ok());
    let parsed: Option<Vec<T>> = parsed.collect();
    parsed.context("the server says something that this version of Egret does not know")
}

/// The value of a credential. JSON has no other bytes than text.
pub(in crate::cli) fn value(kind: Kind, value: &SecretBytes) -> anyhow::Result<Value> {
    let text = std::str::from_utf8(value.expose()).ok();
    let text = text.context("over the API a value is text in UTF-8; this one is not")?;
    if kind == Kind::Secret {
        return Ok(text.into());
    }
    // What a parser says quotes the value.
    let fields = serde_json::from_str::<Map<String, Value>>(text).ok();
    Ok(fields
        .context("the value is no JSON object of texts")?
        .into())
}

/// The lists that limit a credential, a share, an attachment and a rule. The last two know no places.
pub(in crate::cli) fn lists(
    hosts: &[HostPattern],
    places: Option<&[LocationRule]>,
    methods: &[String],
    paths: &[PathPrefix],
    actions: &[String],
) -> Value {
    let mut lists = json!({
        "hosts": texts(hosts),
        "methods": methods,
        "paths": texts(paths),
        "actions": actions,
    });
    if let Some(places) = places {
        lists["locations"] = texts(places).into();
    }
    lists
}

/// Where a credential may be used.
pub(in crate::cli) fn limits(grant: &Grant) -> Value {
    let uses = &grant.uses;
    let budget = uses.budget.map(|rate| rate.to_string());
    let mut message = lists(
        &grant.hosts,
        Some(&grant.locations),
        &grant.methods,
        &grant.paths,
        &grant.actions,
    );
    message["expires"] = grant.expires.map(rfc3339).into();
    message["copies"] = uses.copies.unwrap_or(Copies::Any).to_string().into();
    message["max_uses"] = budget.unwrap_or("unlimited".to_owned()).into();
    message["approve"] = uses.approve.map_or("never", |mode| mode.as_str()).into();
    message
}

/// A share, without whom it is with.
pub(in crate::cli) fn share(offer: &Offer) -> Value {
    let limits = &offer.limits;
    let mut message = lists(
        &limits.hosts,
        Some(&limits.locations),
        &limits.methods,
        &limits.paths,
        &limits.actions,
    );
    message["until"] = offer.until.map(rfc3339).into();
    message
}

/// Where a credential may be used, from its view.
pub(in crate::cli) fn grant(view: &views::Credential) -> anyhow::Result<Grant> {
    let strange = || anyhow!("the server says something that this version of Egret does not know");
    let budget = view.max_uses.as_deref().unwrap_or("unlimited");
    let approve = view.approve.as_deref().unwrap_or("never");
    let copies: Copies = view.copies.parse().map_err(|_| strange())?;
    let budget: Budget = budget.parse().map_err(|_| strange())?;
    let approve: Asking = approve.parse().map_err(|_| strange())?;
    let names = |names: &[String], parse: fn(&str) -> Option<String>| {
        let names = names.iter().map(|name| parse(name));
        names.collect::<Option<Vec<_>>>().ok_or_else(strange)
    };
    Ok(Grant {
        hosts: parsed(&view.hosts)?,
        locations: parsed(&view.locations)?,
        methods: names(&view.methods, |name| parse_method(name).ok())?,
        paths: parsed(&view.paths)?,
        actions: names(&view.actions, |name| parse_action(name).ok())?,
        expires: view.expires.as_deref().map(moment).transpose()?,
        uses: UseLimits {
            copies: Some(copies).filter(|copies| *copies != Copies::Any),
            budget: budget.0,
            approve: approve.0,
        },
    })
}

/// A point in time that a view shows, in unix seconds.
pub(in crate::cli) fn moment(text: &str) -> anyhow::Result<i64> {
    let format = &time::format_description::well_known::Rfc3339;
    let time = time::OffsetDateTime::parse(text, format).ok();
    let time = time.context("the server says a time that is none")?;
    Ok(time.unix_timestamp())
}

//! Options that select lines.

use clap::Args;

use crate::cli::remote::segment;
use crate::cli::when;
use crate::config::{event_names, nearest};
use crate::ledger::reader::Filter;
use crate::ledger::{Timestamp, outcome};
use crate::views::rfc3339;

/// What a line must satisfy, all of it.
#[derive(Args)]
pub(super) struct Filters {
    /// Only this credential
    #[arg(long)]
    slug: Option<String>,
    /// Only this action
    #[arg(long)]
    action: Option<String>,
    /// Only this execution of an action
    #[arg(long)]
    run: Option<String>,
    /// Only this principal
    #[arg(long)]
    principal: Option<String>,
    /// Only this client
    #[arg(long)]
    client: Option<String>,
    /// Only this destination: a host, host:port, or as the ledger writes it
    #[arg(long)]
    destination: Option<String>,
    /// Only this event: use, result, denied, ignored, credential, credential.rotated, client, …
    #[arg(long, value_parser = event)]
    event: Option<String>,
    /// Only this outcome: used, denied, forwarded, failed, client_gone, unknown
    #[arg(long, value_parser = outcome)]
    outcome: Option<String>,
    /// Only from this time on: 1h (ago), 2026-11-22 or 2026-11-22T09:30:00Z
    #[arg(long, value_name = "TIME", value_parser = when::in_past)]
    since: Option<i64>,
    /// Only before this time, in the same forms
    #[arg(long, value_name = "TIME", value_parser = when::in_past)]
    until: Option<i64>,
}

/// A name that no line of the ledger has. Without the complaint nothing would be found, as if
/// nothing had happened.
#[derive(Clone, Debug, thiserror::Error)]
enum UnknownName {
    #[error("the ledger has no such name; did you mean {0}?")]
    Misspelt(&'static str),
    #[error("the ledger has no such name; it has {0}")]
    Other(String),
}

fn known(text: &str, names: &[&'static str]) -> Result<String, UnknownName> {
    if names.contains(&text) {
        return Ok(text.to_owned());
    }
    Err(match nearest(text, names.iter().copied()) {
        Some(name) => UnknownName::Misspelt(name),
        None => UnknownName::Other(names.join(", ")),
    })
}

/// An event, or a family of events: `credential` is `credential.created` and all others of that
/// family.
fn event(text: &str) -> Result<String, UnknownName> {
    let events: Vec<&str> = event_names().collect();
    let mut families: Vec<&str> = events
        .iter()
        .filter_map(|event| Some(event.split_once('.')?.0))
        .collect();
    families.sort_unstable();
    families.dedup();
    known(text, &[families, events].concat())
}

fn outcome(text: &str) -> Result<String, UnknownName> {
    known(text, outcome::ALL)
}

/// A time in unix seconds, as the ledger has it.
pub(super) fn timestamp(unix: i64) -> Timestamp {
    Timestamp::from_unix_micros(unix.saturating_mul(1_000_000))
}

impl Filters {
    /// The same as a part of a query of the API: `&slug=github-pat`.
    pub(super) fn query(&self) -> String {
        let time = |unix: Option<i64>| unix.map(rfc3339);
        let members = [
            ("slug", self.slug.clone()),
            ("action", self.action.clone()),
            ("run", self.run.clone()),
            ("principal", self.principal.clone()),
            ("client", self.client.clone()),
            ("destination", self.destination.clone()),
            ("event", self.event.clone()),
            ("outcome", self.outcome.clone()),
            ("since", time(self.since)),
            ("until", time(self.until)),
        ];
        let given = members
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)));
        given
            .map(|(name, value)| format!("&{name}={}", segment(&value)))
            .collect()
    }

    pub(super) fn filter(&self) -> Filter {
        Filter {
            slug: self.slug.clone(),
            action: self.action.clone(),
            run: self.run.clone(),
            principal: self.principal.clone(),
            client: self.client.clone(),
            destination: self.destination.clone(),
            event: self.event.clone(),
            outcome: self.outcome.clone(),
            since: self.since.map(timestamp),
            until: self.until.map(timestamp),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_ledger_are_accepted_and_the_nearest_one_is_named() {
        for name in [
            "use",
            "credential",
            "credential.rotated",
            "ledger",
            "client.added",
        ] {
            assert_eq!(event(name).expect("a name"), name);
        }
        assert!(outcome("forwarded").is_ok());
        let complaint = |result: Result<String, UnknownName>| result.expect_err("none").to_string();
        assert!(
            complaint(event("credential.roated")).ends_with("did you mean credential.rotated?")
        );
        assert!(complaint(event("used")).ends_with("did you mean use?"));
        assert!(complaint(outcome("forwaded")).ends_with("did you mean forwarded?"));
        let all = complaint(event("nosuch"));
        assert!(all.contains("ledger.damaged"));
        assert_eq!(all.matches(" user,").count(), 1, "{all}");
        assert!(event("cred").is_err() && event("use.x").is_err() && event("").is_err());
    }
}

//! Options that select lines.

use clap::Args;

use crate::cli::when;
use crate::ledger::Timestamp;
use crate::ledger::reader::Filter;

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
    #[arg(long)]
    event: Option<String>,
    /// Only this outcome: used, denied, forwarded, failed, client_gone
    #[arg(long)]
    outcome: Option<String>,
    /// Only from this time on: 1h (ago), 2026-11-22 or 2026-11-22T09:30:00Z
    #[arg(long, value_name = "TIME", value_parser = when::in_past)]
    since: Option<i64>,
    /// Only before this time, in the same forms
    #[arg(long, value_name = "TIME", value_parser = when::in_past)]
    until: Option<i64>,
}

/// A time in unix seconds, as the ledger has it.
pub(super) fn timestamp(unix: i64) -> Timestamp {
    Timestamp::from_unix_micros(unix.saturating_mul(1_000_000))
}

impl Filters {
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

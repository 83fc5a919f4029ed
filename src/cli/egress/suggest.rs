//! `egret egress suggest`: the rules that would let through what a client did.

use std::collections::BTreeSet;

use clap::Args;

use crate::cli::context::Context;
use crate::cli::output::{self, Format};
use crate::cli::when;
use crate::ledger::went::{self, Kind};
use crate::policy::grant::HostPattern;
use crate::vault::ClientName;
use crate::views;

/// Print the rule that would have let everything through that a client did
///
/// Reads the ledger: where the client went while that was only observed, and with --refused what was
/// refused because no rule allowed it.
#[derive(Args)]
#[command(after_help = "\
Examples:
  egret egress observe --client ci
  egret egress suggest --client ci --since 7d
  egret egress suggest --client ci --refused")]
pub(super) struct Suggest {
    /// The client
    #[arg(long, value_name = "CLIENT")]
    client: ClientName,
    /// Since when: 7d, 12h, 2027-01-31 or 2027-01-31T12:00:00Z
    #[arg(long, value_name = "TIME", default_value = "7d", value_parser = when::in_past)]
    since: i64,
    /// Also what was refused because no rule allowed it
    #[arg(long)]
    refused: bool,
    #[command(flatten)]
    format: Format,
}

impl Suggest {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<()> {
        context.only_here()?;
        let kind = if self.refused {
            Kind::ObservedOrRefused
        } else {
            Kind::Observed
        };
        let seen = went::recent(&context.load()?.config.ledger_dir(), self.since, kind)?;
        let of_client = seen
            .keys()
            .filter(|seen| seen.client == self.client.as_str());
        let hosts: BTreeSet<_> = of_client
            .filter_map(|seen| Some(HostPattern::of(&seen.destination()?)))
            .collect();
        let hosts: Vec<String> = hosts.iter().map(ToString::to_string).collect();
        let client = self.client.as_str();
        if hosts.is_empty() && !self.format.json {
            output::note(&format!(
                "nothing was observed of {client}; `egret egress observe --client {client}` begins"
            ));
            return Ok(());
        }
        let view = views::EgressSuggestion {
            client,
            hosts: &hosts,
        };
        output::data(self.format, &view, || {
            format!(
                "egret egress allow {} --client {client}\n",
                hosts.join(" \\\n  ")
            )
        })
    }
}

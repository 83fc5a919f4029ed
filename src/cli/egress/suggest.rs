//! `egret egress suggest`: the rules that would let through what a client did.

use std::collections::BTreeSet;

use clap::Args;

use crate::cli::child::quote::word;
use crate::cli::context::Context;
use crate::cli::output::{self, Format};
use crate::cli::remote::{Remote, RemoteLines, segment};
use crate::cli::when;
use crate::ledger::went::{self, Kind, Went};
use crate::ledger::{Record, RecordRef, event};
use crate::policy::grant::HostPattern;
use crate::vault::CallerName;
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
    client: CallerName,
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
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let seen = match context.server() {
            Some(server) => self.seen_at(server).await?,
            None => {
                let dir = context.load()?.config.ledger_dir();
                let seen = went::recent(&dir, self.since, self.kind())?;
                seen.into_keys().collect()
            }
        };
        let of_client = seen
            .iter()
            .filter(|seen| seen.client == self.client.as_str());
        let hosts: BTreeSet<_> = of_client
            .filter_map(|seen| Some(HostPattern::of(&seen.destination()?)))
            .collect();
        self.show(&hosts)
    }

    fn kind(&self) -> Kind {
        if self.refused {
            Kind::ObservedOrRefused
        } else {
            Kind::Observed
        }
    }

    /// What the client did, as the ledger of a server elsewhere has it.
    async fn seen_at(&self, server: &Remote) -> anyhow::Result<BTreeSet<Went>> {
        let mut events = vec![event::DESTINATION];
        if self.refused {
            events.push(event::DENIED);
        }
        let mut seen = BTreeSet::new();
        for event in events {
            let query = format!(
                "&client={}&event={event}&since={}",
                segment(self.client.as_str()),
                segment(&views::rfc3339(self.since))
            );
            let mut lines = RemoteLines::new(server, query, 0);
            lines
                .each(|record: &Record| {
                    let line = serde_json::to_string(record)?;
                    let line = RecordRef::parse(line.as_bytes())?;
                    seen.extend(Went::of(&line).filter(|_| self.kind().wants(&line)));
                    Ok(())
                })
                .await?;
        }
        Ok(seen)
    }

    fn show(&self, hosts: &BTreeSet<HostPattern>) -> anyhow::Result<()> {
        let hosts: Vec<String> = hosts.iter().map(ToString::to_string).collect();
        let client = self.client.as_str();
        let named = word(client);
        if hosts.is_empty() && !self.format.json {
            output::note(&format!(
                "nothing was observed of {client}; `egret egress observe --client {named}` begins"
            ));
            return Ok(());
        }
        let view = views::EgressSuggestion {
            client,
            hosts: &hosts,
        };
        output::data(self.format, &view, || {
            let words: Vec<_> = hosts.iter().map(|host| word(host)).collect();
            format!(
                "egret egress allow {} --client {named}\n",
                words.join(" \\\n  ")
            )
        })
    }
}

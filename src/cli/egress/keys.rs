//! `egret egress keys`: which keys clients bring that Egret does not hold.

use clap::Args;

use crate::cli::context::Context;
use crate::cli::output::{self, Format};
use crate::cli::when;
use crate::ledger::own_keys::own_keys;
use crate::vault::CallerName;
use crate::views;

/// Seconds of a day.
const DAY: i64 = 24 * 60 * 60;

/// List where clients bring keys of their own, never the keys
///
/// Shows who, to which host and in which field. They are looked for where egress.own_keys, or own_keys of a destination, is "observe".
#[derive(Args)]
#[command(after_help = "\
Examples:
  egret egress keys
  egret egress keys --client ci --since 30d")]
pub(super) struct Keys {
    /// Only of this client
    #[arg(long, value_name = "CLIENT")]
    client: Option<CallerName>,
    /// Since when: 7d, 12h, 2027-01-31 or 2027-01-31T12:00:00Z
    #[arg(long, value_name = "TIME", default_value = "7d", value_parser = when::in_past)]
    since: i64,
    #[command(flatten)]
    format: Format,
}

impl Keys {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let mut keys: Vec<views::OwnKey> = match context.server() {
            Some(server) => {
                // The API counts in whole days.
                let days = (when::now() - self.since).div_euclid(DAY) + 1;
                let days = days.clamp(1, 365);
                server.get(&format!("/own-keys?days={days}")).await?
            }
            None => {
                let dir = context.load()?.config.ledger_dir();
                let found = own_keys(&dir, self.since)?.into_iter();
                found
                    .map(|(bringing, tally)| views::OwnKey::new(bringing, tally))
                    .collect()
            }
        };
        if let Some(client) = &self.client {
            keys.retain(|key| key.client == client.as_str());
        }
        if self.format.json {
            return output::json(&keys);
        }
        if keys.is_empty() {
            output::note(
                "no keys of clients' own were seen; egress.own_keys = \"observe\" looks for them",
            );
            return Ok(());
        }
        let rows: Vec<[String; 5]> = keys.iter().map(row).collect();
        let headers = ["CLIENT", "HOST", "WHERE", "AT LEAST", "BRING IT IN WITH"];
        output::print(&output::table(headers, &rows))
    }
}

fn row(key: &views::OwnKey) -> [String; 5] {
    [
        key.client.clone(),
        key.host.clone(),
        key.place.clone(),
        format!("{} requests", key.at_least),
        key.command.clone(),
    ]
}

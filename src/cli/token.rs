//! `egret token`: short-lived tokens for one action.

use std::time::Duration;

use clap::{Args, Subcommand};

use super::context::Context;
use super::credential::target::parse_slug;
use super::exit::usage;
use super::output::{self, Format};
use super::when;
use crate::identity::{ActionClaims, mint_action_token};
use crate::vault::ClientName;
use crate::vault::Keyring;
use crate::vault::StoreError;
use crate::views;

/// Mint short-lived tokens, each for one action
#[derive(Args)]
pub(super) struct Token {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Mint(Mint),
}

/// Mint a token for one action, which its holder cannot change
///
/// The ledger calls the action of such a token `signed`, and one that a client states itself
/// `asserted`. The token stops working when its time is over, or when the client is removed.
#[derive(Args)]
#[command(after_help = "\
Examples:
  egret token mint --client ci --action weekly-report --run run-8841
  egret token mint --client ci --action deploy --slug registry --ttl 5m --json | jq -r .token")]
struct Mint {
    /// The client that the token belongs to
    #[arg(long, value_name = "NAME")]
    client: ClientName,
    /// The action it is for
    #[arg(long)]
    action: String,
    /// Which execution of the action it is for
    #[arg(long)]
    run: Option<String>,
    /// The only credentials that it may use; repeatable, any by default
    #[arg(long = "slug", value_name = "SLUG", value_delimiter = ',')]
    slugs: Vec<String>,
    /// How long it works
    #[arg(long, value_name = "DURATION", default_value = "15m", value_parser = humantime::parse_duration)]
    ttl: Duration,
    #[command(flatten)]
    format: Format,
}

impl Token {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let Command::Mint(mint) = self.command;
        mint.run(context).await
    }
}

impl Mint {
    async fn run(self, context: &Context) -> anyhow::Result<()> {
        let slugs = self.slugs.iter().map(|slug| parse_slug(slug));
        let slugs: Vec<_> = slugs.collect::<Result<_, _>>()?;
        let session = context.open().await?;
        let now = when::now();
        let client = session
            .store
            .list_clients()
            .await?
            .into_iter()
            .find(|client| client.name == self.client && client.usable(now))
            .ok_or_else(|| StoreError::ClientNotFound(self.client.clone()))?;
        let keyring = Keyring::load(&session.config.keys.master, &session.config.data_dir).await?;
        session.store.bind_key(keyring.id()).await?;
        session.store.close().await;
        let ttl = i64::try_from(self.ttl.as_secs()).unwrap_or(i64::MAX);
        let expires = now.saturating_add(ttl);
        let slugs = (!slugs.is_empty()).then_some(slugs);
        let claims = ActionClaims::new(&client, &self.action, self.run.as_deref(), slugs, expires);
        let Some(claims) = claims else {
            return Err(usage(
                "--action and --run are 1 to 128 printable ASCII characters",
            ));
        };
        let token = mint_action_token(&keyring.token_key(), &claims);
        if self.format.json {
            return output::json(&views::NewToken {
                expires: views::rfc3339(expires),
                token: token.as_str(),
            });
        }
        output::note(&format!(
            "a token for the action {}, until {}:",
            self.action,
            views::rfc3339(expires)
        ));
        output::print(&format!("{}\n", token.as_str()))
    }
}

//! `egret client`: the programs that may use the proxy.

use clap::{Args, Subcommand};

use super::context::{Context, actor};
use super::output::{self, Format};
use super::when;
use crate::identity::ClientToken;
use crate::vault::{ClientName, Principal};
use crate::views;

/// Add, list and remove the programs that may use the proxy
#[derive(Args)]
pub(super) struct Client {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Add a client and print its token, once
    ///
    /// Egret keeps only a hash of the token. A token that is lost cannot be shown again: remove the
    /// client and add it again. A client may use every credential of its principal.
    #[command(after_help = "\
Examples:
  egret client add laptop
  egret client add ci --principal build --json | jq -r .token

Then: HTTPS_PROXY=http://ACTION:TOKEN@127.0.0.1:7070, or EGRET_TOKEN=TOKEN egret env")]
    Add(Add),
    /// List clients, without their tokens
    #[command(visible_alias = "ls", after_help = "Example:\n  egret client list")]
    List(Format),
    /// Remove a client; its tokens stop working immediately
    #[command(
        visible_alias = "rm",
        after_help = "Example:\n  egret client remove laptop"
    )]
    Remove(Remove),
}

#[derive(Args)]
struct Add {
    /// Its name: a-z, 0-9, '.', '_', '@' and '-'
    name: ClientName,
    /// Whose credentials it may use
    #[arg(long, value_name = "PRINCIPAL", default_value = "default")]
    principal: Principal,
    /// When its token stops working: 30d, 2027-01-31; never by default
    #[arg(long, value_name = "TIME")]
    expires: Option<when::Expiry>,
    #[command(flatten)]
    format: Format,
}

#[derive(Args)]
struct Remove {
    /// The client's name
    name: ClientName,
    #[command(flatten)]
    format: Format,
}

impl Client {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<()> {
        match self.command {
            Command::Add(add) => add.run(context).await,
            Command::List(format) => list(context, format).await,
            Command::Remove(remove) => remove.run(context).await,
        }
    }
}

impl Add {
    async fn run(self, context: &Context) -> anyhow::Result<()> {
        let session = context.open().await?;
        let token = ClientToken::generate()?;
        let expires = self.expires.and_then(when::Expiry::unix);
        session
            .store
            .add_client(
                &actor(),
                &self.name,
                &self.principal,
                &token.hash(),
                expires,
            )
            .await?;
        session.finish().await?;
        if self.format.json {
            return output::json(&views::NewClient {
                name: self.name.as_str(),
                principal: self.principal.as_str(),
                token: token.expose(),
            });
        }
        output::note(&format!(
            "added client {} for principal {}. Its token, which is not shown again:",
            self.name, self.principal
        ));
        output::print(&format!("{}\n", token.expose()))
    }
}

impl Remove {
    async fn run(self, context: &Context) -> anyhow::Result<()> {
        let session = context.open().await?;
        session.store.remove_client(&actor(), &self.name).await?;
        session.finish().await?;
        let name = self.name.as_str();
        let change = views::ClientChange {
            changed: true,
            name,
        };
        let text = format!("{name} is removed; its tokens no longer work.\n");
        output::data(self.format, &change, || text)
    }
}

async fn list(context: &Context, format: Format) -> anyhow::Result<()> {
    let session = context.open().await?;
    let now = when::now();
    let mut clients = session.store.list_clients().await?;
    session.store.close().await;
    clients.retain(|client| client.usable(now));
    if format.json {
        let listed: Vec<_> = clients.iter().map(views::Client::new).collect();
        return output::json(&listed);
    }
    if clients.is_empty() {
        output::note("no clients yet; `egret client add NAME` adds one");
        return Ok(());
    }
    let rows: Vec<[String; 4]> = clients
        .iter()
        .map(|client| {
            [
                client.name.to_string(),
                client.principal.to_string(),
                when::short(client.created),
                client.expires.map_or("never".to_owned(), when::short),
            ]
        })
        .collect();
    let headers = ["NAME", "PRINCIPAL", "ADDED (UTC)", "EXPIRES (UTC)"];
    output::print(&output::table(headers, &rows))
}

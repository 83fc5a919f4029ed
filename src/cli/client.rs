//! `egret client`: the programs that may use the proxy.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde_json::json;

use super::context::{Context, actor};
use super::exit::usage;
use super::output::{self, Format};
use super::remote::{Remote, ServerArgs};
use super::when;
use crate::identity::ClientToken;
use crate::vault::client_proof::{ClientProof, PublicKey};
use crate::vault::{ClientName, Principal};
use crate::views;

/// Most bytes of a file with a public key.
const MOST_KEY: u64 = 64 * 1024;

/// Add, list and remove the programs that may use the proxy
#[derive(Args)]
pub(super) struct Client {
    #[command(flatten)]
    server: ServerArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Add a client and print its token, once
    ///
    /// Egret keeps only a hash of the token. A token that is lost cannot be shown again: remove the
    /// client and add it again. A client may use every credential of its principal.
    ///
    /// With `--public-key` there is no token and nothing secret to hand over: the client signs its
    /// action tokens itself, as JWTs with EdDSA (docs/people.md).
    #[command(after_help = "\
Examples:
  egret client add laptop
  egret client add ci --principal build --json | jq -r .token
  openssl genpkey -algorithm ed25519 -out ci.key
  openssl pkey -in ci.key -pubout | egret client add ci --public-key -

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
    /// Whose credentials it may use; those of `default`, or with --server of the user of the token
    #[arg(long, value_name = "PRINCIPAL")]
    principal: Option<Principal>,
    /// When its token stops working: 30d, 2027-01-31; never by default
    #[arg(long, value_name = "TIME")]
    expires: Option<when::Expiry>,
    /// A file with an Ed25519 public key in PEM, or - for standard input: no token is made
    #[arg(long, value_name = "FILE")]
    public_key: Option<PathBuf>,
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
        let context = &context.at(&self.server).await?;
        match self.command {
            Command::Add(add) => add.run(context).await,
            Command::List(format) => list(context, format).await,
            Command::Remove(remove) => remove.run(context).await,
        }
    }
}

impl Add {
    async fn run(self, context: &Context) -> anyhow::Result<()> {
        let principal = context.principal(self.principal.clone())?;
        let made = match context.server() {
            Some(server) => self.add_at(server, &principal).await?,
            None => self.add_here(context, &principal).await?,
        };
        if self.format.json {
            return output::json(&made);
        }
        let added = format!("added client {} for principal {principal}", self.name);
        match &made.token {
            Some(token) => {
                output::note(&format!("{added}. Its token, which is not shown again:"));
                output::print(&format!("{token}\n"))
            }
            None => {
                output::note(&format!("{added}. It signs its tokens with its own key."));
                Ok(())
            }
        }
    }

    async fn add_here(
        &self,
        context: &Context,
        principal: &Principal,
    ) -> anyhow::Result<views::NewClient> {
        let session = context.open().await?;
        session.say_if_new(principal).await?;
        let own = Own::new(self.public_key.as_deref())?;
        let expires = self.expires.and_then(when::Expiry::unix);
        if let Own::Token(_) = own {
            let max = session.config.proxy.max_token_lifetime;
            when::check_lifetime(expires, max, "--expires")?;
        }
        session
            .registrar
            .add_client(&actor(), &self.name, principal, own.proof(), expires)
            .await?;
        session.finish().await?;
        Ok(views::NewClient {
            name: self.name.to_string(),
            principal: principal.to_string(),
            token: own.token().map(str::to_owned),
        })
    }

    async fn add_at(
        &self,
        server: &Remote,
        principal: &Principal,
    ) -> anyhow::Result<views::NewClient> {
        let key = self.public_key.as_deref().map(public_key).transpose()?;
        let expires = self.expires.and_then(when::Expiry::unix);
        let message = json!({
            "principal": principal.as_str(),
            "expires": expires.map(views::rfc3339),
            "public_key": key.map(|key| key.base64url()),
        });
        server.create(&path(&self.name), &message).await
    }
}

/// The client at a server elsewhere.
fn path(name: &ClientName) -> String {
    format!("/clients/{name}")
}

/// How a new client proves who it is.
enum Own {
    Token(ClientToken),
    Key(PublicKey),
}

impl Own {
    fn new(public_key: Option<&Path>) -> anyhow::Result<Self> {
        match public_key {
            Some(path) => Ok(Own::Key(self::public_key(path)?)),
            None => Ok(Own::Token(ClientToken::generate()?)),
        }
    }

    fn proof(&self) -> ClientProof {
        match self {
            Own::Token(token) => ClientProof::Token(token.hash()),
            Own::Key(key) => ClientProof::Key(*key),
        }
    }

    fn token(&self) -> Option<&str> {
        match self {
            Own::Token(token) => Some(token.expose()),
            Own::Key(_) => None,
        }
    }
}

/// The public key in a file, or on standard input.
fn public_key(path: &Path) -> anyhow::Result<PublicKey> {
    let read = || {
        let mut text = Vec::new();
        let file: Box<dyn Read> = if path == Path::new("-") {
            Box::new(io::stdin().lock())
        } else {
            Box::new(File::open(path)?)
        };
        file.take(MOST_KEY).read_to_end(&mut text)?;
        Ok::<_, io::Error>(text)
    };
    let text = read().with_context(|| format!("cannot read {}", path.display()))?;
    PublicKey::parse(&text).map_err(|error| usage(format!("--public-key: {error}")))
}

impl Remove {
    async fn run(self, context: &Context) -> anyhow::Result<()> {
        match context.server() {
            Some(server) => {
                server.at(path(&self.name)).delete("").await?;
            }
            None => {
                let session = context.open().await?;
                let registrar = &session.registrar;
                registrar.remove_client(&actor(), &self.name).await?;
                session.finish().await?;
            }
        }
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
    let listed: Vec<views::Client> = match context.server() {
        Some(server) => server.list("/clients").await?,
        None => {
            let session = context.open().await?;
            let now = when::now();
            let mut clients = session.store.list_clients().await?;
            session.store.close().await;
            clients.retain(|client| client.usable(now));
            clients.iter().map(views::Client::new).collect()
        }
    };
    if format.json {
        return output::json(&listed);
    }
    if listed.is_empty() {
        output::note("no clients yet; `egret client add NAME` adds one");
        return Ok(());
    }
    let rows: Vec<[String; 4]> = listed.iter().map(row).collect();
    let headers = ["NAME", "PRINCIPAL", "ADDED (UTC)", "EXPIRES (UTC)"];
    output::print(&output::table(headers, &rows))
}

fn row(client: &views::Client) -> [String; 4] {
    let expires = client.expires.as_deref();
    [
        client.name.clone(),
        client.principal.clone(),
        when::short_text(&client.created),
        expires.map_or("never".to_owned(), when::short_text),
    ]
}

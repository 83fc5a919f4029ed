//! `egret token`: short-lived tokens for one action.

use clap::{Args, Subcommand};
use serde_json::json;

use super::context::{Context, actor};
use super::credential::target::parse_slug;
use super::exit::usage;
use super::output::{self, Format};
use super::remote::ServerArgs;
use super::when;
use crate::identity::{ActionClaims, ActionRequest, mint_action_token};
use crate::vault::StoreError;
use crate::vault::people::BundleId;
use crate::vault::token_id::{Revoked, TokenId};
use crate::vault::{CallerName, ClientName};
use crate::views;

/// Mint and revoke short-lived tokens, each for one action
#[derive(Args)]
pub(super) struct Token {
    #[command(flatten)]
    server: ServerArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Mint(Mint),
    Revoke(Revoke),
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
    /// The only bundle that it may use: OWNER/NAME
    #[arg(long, value_name = "BUNDLE")]
    bundle: Option<BundleId>,
    /// How long it works
    #[arg(long, value_name = "DURATION", default_value = "15m")]
    ttl: when::Lifetime,
    #[command(flatten)]
    format: Format,
}

/// Revoke action tokens before their time is over
///
/// A revoked token is refused from the next request on, inside open tunnels too. The client and its
/// own token go on working; `egret client remove` ends those as well.
///
/// A JWT of an issuer is revoked by its `jti`, or with all others of that client that were issued until
/// now: --client jwt:system:serviceaccount:build:ci. Its issuer can give the client another.
#[derive(Args)]
#[command(after_help = "\
Examples:
  egret token revoke 6a2b4f10-5f1d0c9a7be21c44 --client ci
  egret token revoke --all --client ci
  egret token revoke --all --client jwt:system:serviceaccount:build:ci")]
struct Revoke {
    /// Its id, as `egret token mint` printed it, or the `jti` of a JWT that the client signed
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    id: Option<TokenId>,
    /// The client that the token belongs to, as the ledger names it
    #[arg(long, value_name = "NAME")]
    client: CallerName,
    /// All action tokens that were minted or signed until now
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    format: Format,
}

impl Token {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let context = &context.at(&self.server).await?;
        match self.command {
            Command::Mint(mint) => mint.run(context).await,
            Command::Revoke(revoke) => revoke.run(context).await,
        }
    }
}

impl Revoke {
    async fn run(self, context: &Context) -> anyhow::Result<()> {
        let which = self.id.map_or(Revoked::All, Revoked::One);
        let registered = self.client.registered();
        match context.server() {
            Some(server) => {
                let id = match &which {
                    Revoked::One(id) => Some(id.as_str()),
                    Revoked::All => None,
                };
                if let Some(name) = registered {
                    let thing = server.at(format!("/clients/{name}"));
                    thing.post("/revoke-tokens", &json!({ "id": id })).await?;
                } else {
                    let message = json!({ "client": self.client.as_str(), "id": id });
                    let _: views::RevokedIssued =
                        server.post("/issued-tokens/revoke", &message).await?;
                }
            }
            None => {
                let session = context.open().await?;
                let registrar = &session.registrar;
                match registered {
                    Some(name) => registrar.revoke_tokens(&actor(), &name, &which).await?,
                    None => {
                        let (by, client) = (actor(), &self.client);
                        registrar.revoke_issued(&by, client, &which).await?;
                    }
                }
                session.finish().await?;
            }
        }
        let name = self.client.as_str();
        let change = views::ClientChange {
            changed: true,
            name,
        };
        let text = match which {
            Revoked::One(id) => format!("{id} is revoked.\n"),
            Revoked::All => format!("all tokens of {name} that were made until now are revoked.\n"),
        };
        output::data(self.format, &change, || text)
    }
}

impl Mint {
    async fn run(self, context: &Context) -> anyhow::Result<()> {
        let slugs = self.slugs.iter().map(|slug| parse_slug(slug));
        let slugs: Vec<_> = slugs.collect::<Result<_, _>>()?;
        let session = context.open().await?;
        let now = when::now();
        let expires = self.ttl.end(now);
        when::check_lifetime(
            Some(expires),
            session.config.proxy.max_token_lifetime,
            "--ttl",
        )?;
        let bundles = session.store.list_bundles().await?;
        if let Some(bundle) = self.bundle.as_ref().filter(|id| !bundles.contains_key(id)) {
            return Err(StoreError::BundleNotFound(bundle.clone()).into());
        }
        let client = session
            .store
            .list_clients()
            .await?
            .into_iter()
            .find(|client| client.name == self.client && client.usable(now))
            .ok_or_else(|| StoreError::ClientNotFound(self.client.clone()))?;
        session.store.close().await;
        let request = ActionRequest {
            action: &self.action,
            run: self.run.as_deref(),
            slugs: (!slugs.is_empty()).then_some(&slugs),
            bundle: self.bundle.as_ref(),
            expires,
        };
        let id = TokenId::generate(expires)?;
        let claims = ActionClaims::new(&client, id.clone(), request);
        let claims = claims.map_err(|error| usage(error.to_string()))?;
        let token = mint_action_token(&session.keyring.token_key(), &claims);
        if self.format.json {
            return output::json(&views::NewToken {
                id: id.as_str(),
                expires: views::rfc3339(expires),
                token: token.as_str(),
            });
        }
        output::note(&format!(
            "a token for the action {}, until {}; `egret token revoke {id} --client {}` ends it \
             before that:",
            self.action,
            views::rfc3339(expires),
            self.client
        ));
        output::print(&format!("{}\n", token.as_str()))
    }
}

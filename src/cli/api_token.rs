//! `egret api-token`: programs that use the API for a user.

use clap::{Args, Subcommand};

use super::context::{Context, actor};
use super::output::{self, Format};
use super::remote::{ServerArgs, segment};
use super::when;
use crate::identity::PersonalToken;
use crate::vault::Principal;
use crate::vault::access::{ApiTokenId, Scope};
use crate::vault::registrar::tokens::NewToken;
use crate::views;

/// Make, list and remove tokens for the API of the admin listener
#[derive(Args)]
pub(super) struct ApiToken {
    #[command(flatten)]
    server: ServerArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make a token with which a program acts for a user, and print it, once
    ///
    /// Egret keeps only a hash of it. `read` sees what is the user's own and what is shared with the
    /// user, `audit` also the usage record and, for administrators and auditors, what belongs to
    /// others; `manage` changes things too. No token may do more than its user.
    #[command(after_help = "\
Examples:
  egret api-token add deploy --user alice --scope manage --expires 30d
  egret api-token add dashboard --user wim --scope audit --expires 90d --json | jq -r .token
Then: curl -H \"Authorization: Bearer egp_…\" http://127.0.0.1:7071/api/v1/me")]
    Add(Add),
    /// List tokens, without the tokens themselves
    #[command(
        visible_alias = "ls",
        after_help = "Example:\n  egret api-token list --user alice"
    )]
    List(List),
    /// Remove a token; it stops working at once
    #[command(
        visible_alias = "rm",
        after_help = "Example:\n  egret api-token remove 0123456789abcdef"
    )]
    Remove(Remove),
}

#[derive(Args)]
struct Add {
    /// What it is for
    name: String,
    /// For whom it acts
    #[arg(long, value_name = "USER", default_value = "default")]
    user: Principal,
    /// What may be done with it: read, audit or manage
    #[arg(long, value_name = "SCOPE", default_value = "read")]
    scope: Scope,
    /// When it stops working: 30d, 2027-01-31
    #[arg(long, value_name = "TIME", default_value = "30d")]
    expires: when::Expiry,
    #[command(flatten)]
    format: Format,
}

#[derive(Args)]
struct List {
    /// Of which user; if it is missing of all, or with --server of the user of the token
    #[arg(long, value_name = "USER")]
    user: Option<Principal>,
    #[command(flatten)]
    format: Format,
}

#[derive(Args)]
struct Remove {
    /// Its id, as the list shows it
    #[arg(value_name = "ID")]
    id: ApiTokenId,
    #[command(flatten)]
    format: Format,
}

impl ApiToken {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let context = &context.at(&self.server).await?;
        match self.command {
            Command::Add(add) => add.run(context).await,
            Command::List(list) => list.run(context).await,
            Command::Remove(remove) => remove.run(context).await,
        }
    }
}

impl Add {
    async fn run(self, context: &Context) -> anyhow::Result<()> {
        let session = context.open().await?;
        let PersonalToken { id, token } = PersonalToken::generate()?;
        let hash = token.hash();
        // One without an end is refused with the reason.
        let expires = self.expires.unix().unwrap_or(i64::MAX);
        let new = NewToken {
            id: &id,
            hash: &hash,
            user: &self.user,
            name: &self.name,
            scope: self.scope,
            expires,
        };
        session.registrar.add_token(&actor(), &new).await?;
        session.finish().await?;
        let expires = views::rfc3339(expires);
        if self.format.json {
            return output::json(&views::NewApiToken {
                id: id.as_str(),
                token: token.expose(),
                expires,
            });
        }
        output::note(&format!(
            "a token for {} with the scope {}, until {expires}; `egret api-token remove {id}` ends it \
             sooner. It is not shown again:",
            self.user, self.scope
        ));
        output::print(&format!("{}\n", token.expose()))
    }
}

impl List {
    async fn run(self, context: &Context) -> anyhow::Result<()> {
        let listed: Vec<views::ApiToken> = match context.server() {
            Some(server) => {
                let user = self.user.as_ref();
                let query = user.map(|user| format!("?user={}", segment(user.as_str())));
                let path = format!("/api-tokens{}", query.unwrap_or_default());
                server.get(&path).await?
            }
            None => {
                let session = context.open().await?;
                let tokens = session.registrar.list_tokens(self.user.as_ref()).await?;
                session.store.close().await;
                tokens.iter().map(views::ApiToken::new).collect()
            }
        };
        output::data(self.format, &listed, || {
            let rows: Vec<[String; 6]> = listed.iter().map(row).collect();
            let headers = [
                "ID",
                "NAME",
                "USER",
                "SCOPE",
                "EXPIRES (UTC)",
                "LAST USED (UTC)",
            ];
            output::table(headers, &rows)
        })
    }
}

fn row(token: &views::ApiToken) -> [String; 6] {
    let used = token.last_used.as_deref();
    [
        token.id.clone(),
        output::printable(&token.name),
        token.user.clone(),
        token.scope.to_string(),
        when::short_text(&token.expires),
        used.map_or("never".to_owned(), when::short_text),
    ]
}

impl Remove {
    async fn run(self, context: &Context) -> anyhow::Result<()> {
        match context.server() {
            Some(server) => server.delete(&format!("/api-tokens/{}", self.id)).await?,
            None => {
                let session = context.open().await?;
                session.registrar.remove_token(&actor(), &self.id).await?;
                session.finish().await?;
            }
        }
        let id = self.id.as_str();
        let change = views::ClientChange {
            changed: true,
            name: id,
        };
        output::data(self.format, &change, || {
            format!("{id} is removed; it no longer works.\n")
        })
    }
}

//! `egret user`: the people and services that own credentials.

use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde_json::json;

use super::admin;
use super::context::{Context, actor};
use super::output::{self, Format};
use super::remote::ServerArgs;
use super::when;
use crate::admin::signin;
use crate::clock;
use crate::identity::{Bearer, Purpose};
use crate::vault::access::LinkId;
use crate::vault::access::account::Identity;
use crate::vault::people::Role;
use crate::vault::registrar::people::{NewUser, UserChange};
use crate::vault::{Principal, handover};
use crate::views;

/// Add, list, change and disable the users who own credentials
#[derive(Args)]
pub(super) struct User {
    #[command(flatten)]
    server: ServerArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Add a user
    ///
    /// A name is never used again for someone else, so that it means one user in the whole ledger.
    /// `credential add --owner` and `client add --principal` add a member that does not exist yet.
    #[command(after_help = "\
Examples:
  egret user add alice --display-name 'Alice Liddell'
  egret user add ops-lead --role administrator")]
    Add(Add),
    /// List users with their roles and states
    #[command(visible_alias = "ls", after_help = "Example:\n  egret user list")]
    List(Format),
    /// Change the role or the name for people
    #[command(after_help = "Example:\n  egret user change bob --role auditor")]
    Change(Change),
    /// Stop everything that a user does, from the next request on
    ///
    /// The clients and tokens of a disabled user do not work, and what the user shares is not offered.
    /// Nothing is deleted.
    #[command(after_help = "Example:\n  egret user disable bob")]
    Disable(Named),
    /// Print a one-time link with which a user sets a password
    ///
    /// It works once, within an hour, and replaces one that was printed before. A password that the
    /// user has works until then. With --server only for a user who has no way to sign in and owns no
    /// credential: an administrator does not become somebody else.
    #[command(after_help = "Example:\n  egret user invite bob")]
    Invite(Named),
    /// Take the password of a user away, and print a one-time link for another
    ///
    /// Every session of the user ends. Personal tokens and clients keep working: `egret user disable`
    /// stops those.
    #[command(after_help = "Example:\n  egret user reset bob")]
    Reset(Named),
    /// Link somebody at the identity provider to a user
    ///
    /// Whoever signs in there with this subject is the user here, from then on.
    #[command(after_help = "Example:\n  egret user link bob --subject 248289761001")]
    Link(Link),
    /// Take over everything that another principal owns
    ///
    /// The credentials and clients of that principal belong to the user from then on; shares end. If
    /// one of the slugs is taken, nothing is changed.
    #[command(after_help = "Example:\n  egret user claim alice --from default")]
    Claim(Claim),
    /// Let a disabled user work again
    #[command(after_help = "Example:\n  egret user enable bob")]
    Enable(Named),
}

#[derive(Args)]
struct Add {
    /// The name: a-z, 0-9, '.', '_', '@' and '-'
    name: Principal,
    /// The name for people
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    display_name: String,
    /// What the user may do: administrator, member or auditor
    ///
    /// An administrator adds users and groups, and can revoke, disable and delete what belongs to
    /// others, but not use, share, widen or rotate it. An auditor sees everything but values.
    #[arg(long, value_name = "ROLE", default_value = "member")]
    role: Role,
    #[command(flatten)]
    format: Format,
}

#[derive(Args)]
struct Change {
    /// The user's name
    name: Principal,
    /// Another name for people
    #[arg(long, value_name = "TEXT")]
    display_name: Option<String>,
    /// Another role: administrator, member or auditor
    #[arg(long, value_name = "ROLE", required_unless_present = "display_name")]
    role: Option<Role>,
    #[command(flatten)]
    format: Format,
}

#[derive(Args)]
struct Named {
    /// The user's name
    name: Principal,
    #[command(flatten)]
    format: Format,
}

impl User {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let context = &context.at(&self.server).await?;
        match self.command {
            Command::Add(add) => add.run(context).await,
            Command::List(format) => list(context, format).await,
            Command::Change(change) => change.run(context).await,
            Command::Invite(named) => invite(context, named).await,
            Command::Reset(named) => reset(context, named).await,
            Command::Link(link) => link.run(context).await,
            Command::Claim(claim) => claim.run(context).await,
            Command::Disable(named) => set_disabled(context, &named, true).await,
            Command::Enable(named) => set_disabled(context, &named, false).await,
        }
    }
}

impl Add {
    async fn run(self, context: &Context) -> anyhow::Result<()> {
        let new = NewUser {
            name: self.name,
            display_name: self.display_name,
            role: self.role,
        };
        match context.server() {
            Some(server) => {
                let message = json!({
                    "display_name": new.display_name,
                    "role": new.role.as_str(),
                });
                let path = format!("/users/{}", new.name);
                let _: views::User = server.create(&path, &message).await?;
            }
            None => {
                let session = context.open().await?;
                session.registrar.add_user(&actor(), &new).await?;
                session.finish().await?;
            }
        }
        let text = format!("{} is a user ({}).\n", new.name, new.role);
        report(self.format, true, &new.name, &text)
    }
}

impl Change {
    async fn run(self, context: &Context) -> anyhow::Result<()> {
        let change = UserChange {
            display_name: self.display_name,
            role: self.role,
        };
        let changed = match context.server() {
            Some(server) => {
                let message = json!({
                    "display_name": change.display_name,
                    "role": change.role.map(Role::as_str),
                });
                let thing = server.at(format!("/users/{}", self.name));
                thing.patch(&message).await?.changed
            }
            None => {
                let session = context.open().await?;
                let registrar = &session.registrar;
                let changed = registrar.change_user(&actor(), &self.name, &change).await?;
                session.finish().await?;
                changed
            }
        };
        let text = if changed {
            format!("{} is changed.\n", self.name)
        } else {
            format!("{} is like that already.\n", self.name)
        };
        report(self.format, changed, &self.name, &text)
    }
}

#[derive(Args)]
struct Claim {
    /// The user who will own everything
    name: Principal,
    /// Whose credentials and clients
    #[arg(long, value_name = "PRINCIPAL", default_value = "default")]
    from: Principal,
    #[command(flatten)]
    format: Format,
}

impl Claim {
    async fn run(self, context: &Context) -> anyhow::Result<()> {
        let session = context.open().await?;
        let (store, keyring) = (&session.store, &session.keyring);
        let claimed = handover::claim(store, keyring, &actor(), &self.from, &self.name).await?;
        session.finish().await?;
        let slugs: Vec<String> = claimed.iter().map(ToString::to_string).collect();
        let view = views::Claimed {
            from: self.from.as_str(),
            to: self.name.as_str(),
            credentials: &slugs,
        };
        output::data(self.format, &view, || {
            let list = if slugs.is_empty() {
                "no credentials".to_owned()
            } else {
                slugs.join(", ")
            };
            format!(
                "{} owns what {} owned ({list}), and the clients of {} act for {}.\n",
                self.name, self.from, self.from, self.name
            )
        })
    }
}

#[derive(Args)]
struct Link {
    /// The user's name
    name: Principal,
    /// The provider's name for the person: the claim `sub`
    #[arg(long, value_name = "SUBJECT")]
    subject: String,
    /// The issuer, literally; by default openid.issuer
    #[arg(long, value_name = "URL")]
    issuer: Option<String>,
    #[command(flatten)]
    format: Format,
}

impl Link {
    async fn run(self, context: &Context) -> anyhow::Result<()> {
        let session = context.open().await?;
        let configured = session.config.openid.as_ref();
        let configured = configured.map(|openid| openid.issuer.clone());
        let issuer = self.issuer.or(configured);
        let issuer = issuer.context("openid.issuer is not set; name one with --issuer")?;
        session.say_if_new(&self.name).await?;
        let id = signin::identity_id(&issuer, &self.subject);
        let identity = Identity {
            issuer,
            subject: self.subject,
            user: self.name.clone(),
            created: clock::unix_seconds(),
        };
        session
            .registrar
            .put_identity(&actor(), &id, &identity, false)
            .await?;
        session.finish().await?;
        let text = format!(
            "{} of {} is {} from now on.\n",
            output::printable(&identity.subject),
            output::printable(&identity.issuer),
            self.name
        );
        report(self.format, true, &self.name, &text)
    }
}

async fn invite(context: &Context, asked: Named) -> anyhow::Result<()> {
    if let Some(server) = context.server() {
        let path = format!("/users/{}/link", asked.name);
        let link: views::OneTimeLink = server.post(&path, &json!({})).await?;
        return admin::show(asked.format, &LinkId::User(asked.name), &link);
    }
    let session = context.open().await?;
    let token = Bearer::generate(Purpose::Link)?;
    let id = LinkId::User(asked.name);
    session
        .registrar
        .make_link(&actor(), &id, &token.hash())
        .await?;
    admin::finish(session, asked.format, &id, &token).await
}

async fn reset(context: &Context, asked: Named) -> anyhow::Result<()> {
    let session = context.open().await?;
    let token = Bearer::generate(Purpose::Link)?;
    session
        .registrar
        .reset_account(&actor(), &asked.name, &token.hash())
        .await?;
    let id = LinkId::User(asked.name);
    admin::finish(session, asked.format, &id, &token).await
}

async fn set_disabled(context: &Context, asked: &Named, disabled: bool) -> anyhow::Result<()> {
    let name = &asked.name;
    let changed = match context.server() {
        Some(server) => {
            let verb = if disabled { "/disable" } else { "/enable" };
            let thing = server.at(format!("/users/{name}"));
            thing.ask(verb).await?.changed
        }
        None => {
            let session = context.open().await?;
            let registrar = &session.registrar;
            let changed = registrar.set_disabled(&actor(), name, disabled).await?;
            session.finish().await?;
            changed
        }
    };
    let state = if disabled { "disabled" } else { "active" };
    let text = if changed && disabled {
        format!("{name} is disabled: clients, tokens and shares of this user no longer work.\n")
    } else if changed {
        format!("{name} is active again.\n")
    } else {
        format!("{name} was {state} already.\n")
    };
    report(asked.format, changed, name, &text)
}

async fn list(context: &Context, format: Format) -> anyhow::Result<()> {
    let listed: Vec<views::User> = match context.server() {
        Some(server) => server.list("/users").await?,
        None => {
            let session = context.open().await?;
            let users = session.store.list_users().await?;
            session.store.close().await;
            let users = users.iter();
            users
                .map(|(name, user)| views::User::new(name, user))
                .collect()
        }
    };
    if format.json {
        return output::json(&listed);
    }
    if listed.is_empty() {
        output::note("no users yet; `egret user add NAME` adds one");
        return Ok(());
    }
    let rows: Vec<[String; 5]> = listed.iter().map(row).collect();
    let headers = ["NAME", "ROLE", "STATE", "ADDED (UTC)", "DISPLAY NAME"];
    output::print(&output::table(headers, &rows))
}

fn row(user: &views::User) -> [String; 5] {
    [
        user.name.clone(),
        user.role.to_string(),
        user.state.to_string(),
        when::short_text(&user.created),
        output::printable(&user.display_name),
    ]
}

fn report(format: Format, changed: bool, name: &Principal, text: &str) -> anyhow::Result<()> {
    let name = name.as_str();
    output::data(format, &views::PersonChange { changed, name }, || {
        text.to_owned()
    })
}

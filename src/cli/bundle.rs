//! `egret bundle`: credentials of one owner under one name.

use clap::{Args, Subcommand};
use serde_json::json;

use super::context::{Context, actor};
use super::credential::target::parse_slug;
use super::exit::usage;
use super::output::{self, Format};
use super::remote::{Remote, ServerArgs, Thing, message};
use super::when::Expiry;
use crate::substitution::slug::Slug;
use crate::vault::name::BundleName;
use crate::vault::people::{BundleId, Grantee};
use crate::vault::sharing::{Offer, describe};
use crate::vault::{CallerName, Principal};
use crate::views;

/// Put credentials together, to share them as one or to bind a client to them
#[derive(Args)]
pub(super) struct Bundle {
    #[command(flatten)]
    server: ServerArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Add an empty bundle
    #[command(after_help = "Example:\n  egret bundle add work --owner alice")]
    Add(Named),
    /// List bundles with their credentials
    #[command(visible_alias = "ls", after_help = "Example:\n  egret bundle list")]
    List(Format),
    /// Put a credential into a bundle
    ///
    /// With --as, requests name it by another slug than its own: `github` can mean `github-work` in one
    /// bundle and `github-private` in another.
    #[command(
        after_help = "Example:\n  egret bundle put work github-work --as github --owner alice"
    )]
    Put(Put),
    /// Take a slug out of a bundle, from the next request on
    #[command(after_help = "Example:\n  egret bundle take work github --owner alice")]
    Take(Take),
    /// Let others use everything in a bundle, for use only
    #[command(
        after_help = "Example:\n  egret bundle share work --owner alice --with group:ops --until 30d"
    )]
    Share(Share),
    /// Stop sharing a bundle, from the next request on
    #[command(after_help = "Example:\n  egret bundle unshare work --owner alice --with group:ops")]
    Unshare(Unshare),
    /// Remove a bundle; its credentials stay
    #[command(after_help = "Example:\n  egret bundle remove work --owner alice")]
    Remove(Named),
    /// Let a client use only what is in a bundle, or everything of its principal again
    #[command(after_help = "\
Examples:
  egret bundle bind laptop work --owner alice
  egret bundle bind laptop")]
    Bind(Bind),
}

/// Which bundle.
#[derive(Args)]
struct Target {
    /// The bundle's name
    #[arg(value_name = "BUNDLE")]
    name: BundleName,
    /// The principal that owns the bundle; `default`, or with --server the user of the token
    #[arg(long, value_name = "PRINCIPAL")]
    owner: Option<Principal>,
}

impl Target {
    fn id(&self, context: &Context) -> anyhow::Result<BundleId> {
        Ok(BundleId {
            owner: context.principal(self.owner.clone())?,
            name: self.name.clone(),
        })
    }
}

/// The bundle at a server elsewhere.
fn at<'a>(server: &'a Remote, id: &BundleId) -> Thing<'a> {
    server.at(path(id))
}

fn path(id: &BundleId) -> String {
    format!("/bundles/{}/{}", id.owner, id.name)
}

#[derive(Args)]
struct Named {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    format: Format,
}

#[derive(Args)]
struct Put {
    #[command(flatten)]
    target: Target,
    /// The credential, by its own slug
    #[arg(value_name = "SLUG")]
    slug: String,
    /// The slug that requests name; the credential's own by default
    #[arg(long = "as", value_name = "SLUG")]
    alias: Option<String>,
    #[command(flatten)]
    format: Format,
}

#[derive(Args)]
struct Take {
    #[command(flatten)]
    target: Target,
    /// The slug that requests name
    #[arg(value_name = "SLUG")]
    slug: String,
    #[command(flatten)]
    format: Format,
}

#[derive(Args)]
struct Share {
    #[command(flatten)]
    target: Target,
    /// With whom: a user, group:NAME or everyone
    #[arg(long, value_name = "WHOM")]
    with: Grantee,
    /// When the share ends: 30d, 2027-01-31, 2027-01-31T12:00:00Z or never
    #[arg(long, value_name = "TIME")]
    until: Option<Expiry>,
    #[command(flatten)]
    format: Format,
}

#[derive(Args)]
struct Unshare {
    #[command(flatten)]
    target: Target,
    /// With whom it was shared: a user, group:NAME or everyone
    #[arg(long, value_name = "WHOM")]
    with: Grantee,
    #[command(flatten)]
    format: Format,
}

#[derive(Args)]
struct Bind {
    /// The client's name
    #[arg(value_name = "CLIENT")]
    client: CallerName,
    /// The bundle; without one the client may use everything of its principal
    #[arg(value_name = "BUNDLE")]
    bundle: Option<BundleName>,
    /// The principal that owns the bundle; `default`, or with --server the user of the token
    #[arg(long, value_name = "PRINCIPAL")]
    owner: Option<Principal>,
    #[command(flatten)]
    format: Format,
}

impl Bundle {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let context = &context.at(&self.server).await?;
        match self.command {
            Command::Add(named) => add(context, &named).await,
            Command::List(format) => list(context, format).await,
            Command::Put(put) => put.run(context).await,
            Command::Take(take) => take.run(context).await,
            Command::Share(share) => share.run(context).await,
            Command::Unshare(share) => share.run(context).await,
            Command::Remove(named) => remove(context, &named).await,
            Command::Bind(bind) => bind.run(context).await,
        }
    }
}

async fn add(context: &Context, asked: &Named) -> anyhow::Result<()> {
    let id = asked.target.id(context)?;
    match context.server() {
        Some(server) => {
            let _: views::Bundle = server.create(&path(&id), &json!({})).await?;
        }
        None => {
            let session = context.open().await?;
            session.registrar.add_bundle(&actor(), &id).await?;
            session.finish().await?;
        }
    }
    let text = format!("{id} is a bundle. `egret bundle put` puts credentials into it.\n");
    report(asked.format, true, &id, text)
}

async fn remove(context: &Context, asked: &Named) -> anyhow::Result<()> {
    let id = asked.target.id(context)?;
    match context.server() {
        Some(server) => {
            at(server, &id).delete("").await?;
        }
        None => {
            let session = context.open().await?;
            session.registrar.remove_bundle(&actor(), &id).await?;
            session.finish().await?;
        }
    }
    let text = format!(
        "{id} is removed. Its credentials stay; a client that is bound to it can use nothing.\n"
    );
    report(asked.format, true, &id, text)
}

fn entry(alias: &Slug) -> String {
    format!("/entries/{alias}")
}

fn share(with: &Grantee) -> String {
    format!("/shares/{with}")
}

impl Put {
    async fn run(self, context: &Context) -> anyhow::Result<()> {
        let id = self.target.id(context)?;
        let slug = parse_slug(&self.slug)?;
        let alias = match &self.alias {
            Some(alias) => parse_slug(alias)?,
            None => slug.clone(),
        };
        let changed = match context.server() {
            Some(server) => {
                let (below, message) = (entry(&alias), json!({ "slug": slug.as_str() }));
                at(server, &id).put(&below, &message).await?.changed
            }
            None => {
                let session = context.open().await?;
                let registrar = &session.registrar;
                let changed = registrar
                    .put_into_bundle(&actor(), &id, &alias, &slug)
                    .await?;
                session.finish().await?;
                changed
            }
        };
        let text = format!("In {id}, <<{alias}>> means {slug}.\n");
        report(self.format, changed, &id, text)
    }
}

impl Take {
    async fn run(self, context: &Context) -> anyhow::Result<()> {
        let id = self.target.id(context)?;
        let alias = parse_slug(&self.slug)?;
        let changed = match context.server() {
            Some(server) => at(server, &id).delete(&entry(&alias)).await?.changed,
            None => {
                let session = context.open().await?;
                let registrar = &session.registrar;
                let changed = registrar.take_out_of_bundle(&actor(), &id, &alias).await?;
                session.finish().await?;
                changed
            }
        };
        let text = if changed {
            format!("{alias} is no longer in {id}.\n")
        } else {
            format!("{alias} was not in {id}.\n")
        };
        report(self.format, changed, &id, text)
    }
}

impl Share {
    async fn run(self, context: &Context) -> anyhow::Result<()> {
        let id = self.target.id(context)?;
        let offer = Offer {
            until: self.until.and_then(Expiry::unix),
            ..Offer::to(self.with)
        };
        let changed = match context.server() {
            Some(server) => {
                let (below, message) = (share(&offer.with), message::share(&offer));
                at(server, &id).put(&below, &message).await?.changed
            }
            None => {
                let session = context.open().await?;
                let registrar = &session.registrar;
                let changed = registrar.share_bundle(&actor(), &id, &offer).await?;
                session.finish().await?;
                changed
            }
        };
        let text = if changed {
            format!("{id} is shared {}.\n", describe(&offer))
        } else {
            format!("{id} was shared {} already.\n", describe(&offer))
        };
        report(self.format, changed, &id, text)
    }
}

impl Unshare {
    async fn run(self, context: &Context) -> anyhow::Result<()> {
        let id = self.target.id(context)?;
        let changed = match context.server() {
            Some(server) => at(server, &id).delete(&share(&self.with)).await?.changed,
            None => {
                let session = context.open().await?;
                let registrar = &session.registrar;
                let changed = registrar.unshare_bundle(&actor(), &id, &self.with).await?;
                session.finish().await?;
                changed
            }
        };
        let text = if changed {
            format!("{} may no longer use {id}.\n", self.with)
        } else {
            format!("{id} was not shared with {}.\n", self.with)
        };
        report(self.format, changed, &id, text)
    }
}

impl Bind {
    async fn run(self, context: &Context) -> anyhow::Result<()> {
        let Some(client) = self.client.registered() else {
            return Err(usage(
                "a client of an issuer is bound in the configuration: `bundle` or `bundle_claim` of the issuer",
            ));
        };
        let owner = context.principal(self.owner)?;
        let bundle = self.bundle.map(|name| BundleId { owner, name });
        match context.server() {
            Some(server) => {
                let bundle = bundle.as_ref().map(ToString::to_string);
                let thing = server.at(format!("/clients/{client}"));
                thing.put("/bundle", &json!({ "bundle": bundle })).await?;
            }
            None => {
                let session = context.open().await?;
                let registrar = &session.registrar;
                registrar
                    .bind_client(&actor(), &client, bundle.as_ref())
                    .await?;
                session.finish().await?;
            }
        }
        let text = match &bundle {
            Some(id) => format!("{client} may use what is in {id}, and nothing else.\n"),
            None => format!("{client} may use everything of its principal.\n"),
        };
        let name = client.as_str();
        let changed = true;
        output::data(self.format, &views::ClientChange { changed, name }, || text)
    }
}

async fn list(context: &Context, format: Format) -> anyhow::Result<()> {
    let listed: Vec<views::Bundle> = match context.server() {
        Some(server) => server.list("/bundles").await?,
        None => {
            let session = context.open().await?;
            let bundles = session.store.list_bundles().await?;
            session.store.close().await;
            let bundles = bundles.iter();
            bundles
                .map(|(id, bundle)| views::Bundle::new(id, bundle))
                .collect()
        }
    };
    if format.json {
        return output::json(&listed);
    }
    if listed.is_empty() {
        output::note("no bundles yet; `egret bundle add NAME` adds one");
        return Ok(());
    }
    let rows: Vec<[String; 4]> = listed.iter().map(row).collect();
    let headers = ["NAME", "OWNER", "SLUGS", "SHARED WITH"];
    output::print(&output::table(headers, &rows))
}

fn row(bundle: &views::Bundle) -> [String; 4] {
    let entries = bundle.entries.iter();
    let entries = entries.map(|(alias, slug)| {
        if alias == slug {
            alias.clone()
        } else {
            format!("{alias}={slug}")
        }
    });
    [
        bundle.name.clone(),
        bundle.owner.clone(),
        entries.collect::<Vec<_>>().join(", "),
        bundle.shared_with.join(", "),
    ]
}

fn report(format: Format, changed: bool, id: &BundleId, text: String) -> anyhow::Result<()> {
    let name = id.name.as_str();
    output::data(format, &views::PersonChange { changed, name }, || text)
}

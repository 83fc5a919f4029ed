//! `egret credential share` and `unshare`.

use clap::Args;

use super::limits::Limits;
use super::target::Target;
use crate::cli::context::{Context, actor};
use crate::cli::output::{self, Format};
use crate::cli::remote::message;
use crate::cli::when::Expiry;
use crate::policy::grant::{self, HostPattern, PathPrefix};
use crate::policy::location::LocationRule;
use crate::vault::people::Grantee;
use crate::vault::sharing::{Offer, describe};
use crate::views::CredentialChange;

/// Let others use a credential: for use only, never to read or change it
///
/// The limits given here are added to those of the credential and can only narrow them. When the
/// credential's own limits are narrowed later, every share is narrowed with them. Sharing again with
/// the same user or group replaces the limits of that share.
#[derive(Args)]
#[command(after_help = "\
Examples:
  egret credential share github-pat --with bob
  egret credential share github-pat --with group:ops --method GET --path /repos --until 30d")]
pub(super) struct Share {
    #[command(flatten)]
    target: Target,
    /// With whom: a user, group:NAME or everyone
    #[arg(long, value_name = "WHOM")]
    with: Grantee,
    /// Only for these hosts; repeatable
    #[arg(long = "host", value_name = "HOST", value_delimiter = ',')]
    hosts: Vec<HostPattern>,
    /// Only at these places: header, query, path or body, narrowed as in `credential add`
    #[arg(long = "in", value_name = "LOCATION")]
    locations: Vec<LocationRule>,
    /// Only with these methods
    #[arg(long = "method", value_name = "METHOD", value_delimiter = ',', value_parser = grant::parse_method)]
    methods: Vec<String>,
    /// Only for paths with these prefixes
    #[arg(long = "path", value_name = "PREFIX", value_parser = grant::parse_path)]
    paths: Vec<PathPrefix>,
    /// Only for these actions
    #[arg(long = "action", value_name = "ACTION", value_parser = grant::parse_action)]
    actions: Vec<String>,
    /// When the share ends: 30d, 2027-01-31, 2027-01-31T12:00:00Z or never
    #[arg(long, value_name = "TIME")]
    until: Option<Expiry>,
    #[command(flatten)]
    format: Format,
}

/// Stop sharing a credential, from the next request on
#[derive(Args)]
#[command(after_help = "\
Examples:
  egret credential unshare github-pat --with bob
  egret credential unshare github-pat --with group:ops")]
pub(super) struct Unshare {
    #[command(flatten)]
    target: Target,
    /// With whom it was shared: a user, group:NAME or everyone
    #[arg(long, value_name = "WHOM")]
    with: Grantee,
    #[command(flatten)]
    format: Format,
}

impl Share {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let (owner, slug) = self.target.parse(context)?;
        let limits = Limits {
            locations: self.locations,
            methods: self.methods,
            paths: self.paths,
            actions: self.actions,
            expires: None,
        };
        let offer = Offer {
            with: self.with,
            limits: limits.into_share(self.hosts),
            until: self.until.and_then(Expiry::unix),
        };
        let changed = match context.server() {
            Some(server) => {
                let thing = server.credential(&owner, &slug);
                let below = format!("/shares/{}", offer.with);
                thing.put(&below, &message::share(&offer)).await?.changed
            }
            None => {
                let session = context.open().await?;
                let registrar = &session.registrar;
                let changed = registrar.share(&actor(), &owner, &slug, &offer).await?;
                session.finish().await?;
                changed
            }
        };
        let text = if changed {
            format!("{slug} of {owner} is shared {}.", describe(&offer))
        } else {
            format!("{slug} of {owner} was shared {} already.", describe(&offer))
        };
        let slug = slug.as_str();
        output::data(self.format, &CredentialChange { changed, slug }, || {
            format!("{text}\n")
        })
    }
}

impl Unshare {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let (owner, slug) = self.target.parse(context)?;
        let changed = match context.server() {
            Some(server) => {
                let thing = server.credential(&owner, &slug);
                let below = format!("/shares/{}", self.with);
                thing.delete(&below).await?.changed
            }
            None => {
                let session = context.open().await?;
                let registrar = &session.registrar;
                let changed = registrar
                    .unshare(&actor(), &owner, &slug, &self.with)
                    .await?;
                session.finish().await?;
                changed
            }
        };
        let text = if changed {
            format!("{} may no longer use {slug} of {owner}.", self.with)
        } else {
            format!("{slug} of {owner} was not shared with {}.", self.with)
        };
        let slug = slug.as_str();
        output::data(self.format, &CredentialChange { changed, slug }, || {
            format!("{text}\n")
        })
    }
}

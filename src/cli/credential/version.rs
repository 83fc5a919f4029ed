//! The commands about versions of a value: `rotate`, `promote`, `rollback` and `destroy`.

use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use serde_json::json;

use super::remarks;
use super::target::{CredentialArgs, Target};
use crate::cli::context::{Context, actor};
use crate::cli::exit::usage;
use crate::cli::output::{self, Format};
use crate::cli::remote::{Remote, message};
use crate::cli::value::{self, NoArgument};
use crate::substitution::slug::Slug;
use crate::vault::rotation::Retention;
use crate::vault::{Kind, Principal, State, StoreError};
use crate::views::{CredentialDetails, CredentialVersion};

/// What becomes of the value that is replaced.
#[derive(Args)]
struct Keep {
    /// How long the replaced value is kept and searched for in answers; 24h by default
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    keep: Option<Duration>,
    /// Keep the replaced value for `egret credential rollback` as well
    #[arg(long)]
    rollback: bool,
}

impl Keep {
    fn retention(&self) -> Retention {
        let keep = self.keep.map(|keep| i64::try_from(keep.as_secs()));
        let default = Retention::default();
        Retention {
            keep: keep.map_or(default.keep, |keep| keep.unwrap_or(i64::MAX)),
            rollback: self.rollback,
            ..default
        }
    }
}

/// Replace the value, from the next request on
///
/// The new value is read from standard input, or asked for at a prompt that does not show it. The
/// slug stays the same, so requests need no change.
#[derive(Args)]
#[command(after_help = "\
Examples:
  egret credential rotate github-pat
  vault read -field=token secret/github | egret credential rotate github-pat

  The old value is known to someone it was not meant for:
    egret credential rotate github-pat --leaked

  Save the new value without using it, try it, then put it in force:
    egret credential rotate github-pat --stage
    egret credential promote github-pat --rollback")]
pub(super) struct Rotate {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    keep: Keep,
    /// Save the value without using it, until `egret credential promote`
    #[arg(long, conflicts_with_all = ["keep", "rollback", "leaked"])]
    stage: bool,
    /// Erase every replaced value at once, and close idle connections that may hold it
    #[arg(long, conflicts_with_all = ["keep", "rollback"])]
    leaked: bool,
    #[command(flatten)]
    format: Format,
    #[command(flatten)]
    no_value: NoArgument,
}

#[derive(Args)]
pub(super) struct Promote {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    keep: Keep,
    #[command(flatten)]
    format: Format,
}

#[derive(Args)]
pub(super) struct Destroy {
    #[command(flatten)]
    target: Target,
    /// The number of the version
    #[arg(long, value_name = "NUMBER")]
    version: u32,
    #[command(flatten)]
    format: Format,
}

impl Rotate {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<()> {
        self.no_value.check("egret credential rotate SLUG")?;
        let (owner, slug) = self.target.parse(context)?;
        if let Some(server) = context.server() {
            return self.at(server, &owner, &slug).await;
        }
        let session = context.open().await?;
        // Asked for only when there is something to rotate; the kind decides how.
        let Some(credential) = session.store.get(&owner, &slug).await? else {
            return Err(StoreError::NotFound { owner, slug }.into());
        };
        let value = value::read(credential.kind, slug.as_str())?;
        remarks::say(credential.kind, &value, None, &credential.grant.hosts);
        let registrar = &session.registrar;
        let saved = if self.stage {
            registrar.stage(&actor(), &owner, &slug, value).await
        } else {
            let retention = if self.leaked {
                Retention::leaked()
            } else {
                self.keep.retention()
            };
            registrar
                .rotate(&actor(), &owner, &slug, value, retention)
                .await
        };
        let version = saved.context("nothing was changed")?;
        session.finish().await?;
        self.say(&owner, &slug, version, credential.state.as_str())
    }

    /// The same at a server elsewhere.
    async fn at(&self, server: &Remote, owner: &Principal, slug: &Slug) -> anyhow::Result<()> {
        let thing = server.credential(owner, slug);
        let before: CredentialDetails = thing.show().await?;
        let kind: Kind = before.credential.kind.parse()?;
        let value = value::read(kind, slug.as_str())?;
        let message = json!({
            "value": message::value(kind, &value)?,
            "stage": self.stage,
            "leaked": self.leaked,
            "keep": self.keep.keep.map(|keep| keep.as_secs()),
            "rollback": self.keep.rollback,
        });
        let changed = thing.post("/versions", &message).await;
        let after: CredentialDetails = changed.context("nothing was changed")?.view()?;
        after.remarks.iter().for_each(|remark| output::note(remark));
        let newest = after.versions.iter().map(|version| version.version).max();
        let version = newest.unwrap_or(after.credential.version);
        self.say(owner, slug, version, &after.credential.state)
    }

    fn say(&self, owner: &Principal, slug: &Slug, version: u32, state: &str) -> anyhow::Result<()> {
        let view = CredentialVersion {
            owner: owner.as_str(),
            slug: slug.as_str(),
            version,
        };
        let mut text = if self.stage {
            format!(
                "{slug}: version {version} is saved and not used. `egret credential promote {slug}` \
                 puts it in force."
            )
        } else if state == State::Revoked.as_str() {
            format!("{slug} is at version {version}. It stays revoked.")
        } else {
            format!("{slug} is at version {version}. Requests use it from now on.")
        };
        if self.leaked {
            text += " Every value that was replaced is erased.";
        }
        output::data(self.format, &view, || format!("{text}\n"))
    }
}

pub(super) async fn promote(context: &Context, asked: &Promote) -> anyhow::Result<()> {
    let (owner, slug) = asked.target.parse(context)?;
    if let Some(server) = context.server() {
        let message = json!({
            "keep": asked.keep.keep.map(|keep| keep.as_secs()),
            "rollback": asked.keep.rollback,
        });
        let thing = server.credential(&owner, &slug);
        let changed = thing.post("/versions/promote", &message).await?;
        let after: CredentialDetails = changed.view()?;
        let version = after.credential.version;
        return in_force(asked.format, owner.as_str(), slug.as_str(), version);
    }
    let session = context.open().await?;
    let retention = asked.keep.retention();
    let registrar = &session.registrar;
    let version = registrar
        .promote(&actor(), &owner, &slug, &retention)
        .await?;
    session.finish().await?;
    in_force(asked.format, owner.as_str(), slug.as_str(), version)
}

pub(super) async fn roll_back(context: &Context, asked: &CredentialArgs) -> anyhow::Result<()> {
    let (owner, slug) = asked.target.parse(context)?;
    let version = match context.server() {
        Some(server) => {
            let thing = server.credential(&owner, &slug);
            let changed = thing.ask("/versions/rollback").await?;
            changed.view::<CredentialDetails>()?.credential.version
        }
        None => {
            let session = context.open().await?;
            let registrar = &session.registrar;
            let version = registrar.roll_back(&actor(), &owner, &slug).await?;
            session.finish().await?;
            version
        }
    };
    in_force(asked.format, owner.as_str(), slug.as_str(), version)
}

fn in_force(format: Format, owner: &str, slug: &str, version: u32) -> anyhow::Result<()> {
    let view = CredentialVersion {
        owner,
        slug,
        version,
    };
    output::data(format, &view, || {
        format!("{slug} is at version {version}. Requests use it from now on.\n")
    })
}

pub(super) async fn destroy(context: &Context, asked: &Destroy) -> anyhow::Result<()> {
    let (owner, slug) = asked.target.parse(context)?;
    if asked.version == 0 {
        return Err(usage("versions are numbered from 1"));
    }
    match context.server() {
        Some(server) => {
            let below = format!("/versions/{}", asked.version);
            server.credential(&owner, &slug).delete(&below).await?;
        }
        None => {
            let session = context.open().await?;
            let registrar = &session.registrar;
            registrar
                .destroy(&actor(), &owner, &slug, asked.version)
                .await?;
            session.finish().await?;
        }
    }
    let view = CredentialVersion {
        owner: owner.as_str(),
        slug: slug.as_str(),
        version: asked.version,
    };
    output::data(asked.format, &view, || {
        format!(
            "The value of version {} of {slug} is erased.\n",
            asked.version
        )
    })
}

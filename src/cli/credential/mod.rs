//! `egret credential`: values go in, and never come out.

mod add;
mod allow;
mod change;
mod limits;
mod list;
mod usage;

use clap::{Args, Subcommand};

use super::context::Context;
use super::value::NoArgument;
use super::{Format, usage as usage_error};
use crate::substitution::slug::Slug;
use crate::vault::name::Principal;

/// Save credentials and say where they may be used
#[derive(Args)]
pub(super) struct Credential {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Add(add::Add),
    /// List credentials: where they may be used, never their values
    #[command(
        visible_alias = "ls",
        after_help = "Examples:\n  egret credential list\n  egret credential list --json | jq -r '.[].slug'"
    )]
    List(List),
    /// Show one credential: where it may be used, with whom it is shared, never its value
    #[command(after_help = "Example:\n  egret credential show github-pat")]
    Show(Shown),
    /// Say which actions used a credential, when, and how it ended
    #[command(after_help = "Example:\n  egret credential usage github-pat")]
    Usage(Shown),
    /// Replace the value; requests use the new one from now on
    ///
    /// The new value is read from standard input, or asked for. The slug stays, so nothing else
    /// has to change.
    #[command(after_help = "\
Examples:
  egret credential rotate github-pat
  vault read -field=token secret/github | egret credential rotate github-pat")]
    Rotate(Rotate),
    /// Switch a credential off, from the next request on
    #[command(
        after_help = "Example:\n  egret credential revoke github-pat\n\nUndo with `egret credential restore`."
    )]
    Revoke(Shown),
    /// Switch a revoked credential on again
    #[command(after_help = "Example:\n  egret credential restore github-pat")]
    Restore(Shown),
    /// Delete a credential and its values for good
    #[command(after_help = "Example:\n  egret credential delete github-pat")]
    Delete(Shown),
    Allow(allow::Allow),
    /// Let another principal use a credential
    #[command(after_help = "Example:\n  egret credential share github-pat --with bob")]
    Share(Share),
    /// End a share, from the next request on
    #[command(after_help = "Example:\n  egret credential unshare github-pat --with bob")]
    Unshare(Share),
}

/// Which credential.
#[derive(Args)]
struct Target {
    /// The credential's public name
    // Text, not a parsed slug: clap would quote back what does not parse, and that could be a value.
    #[arg(value_name = "SLUG")]
    slug: String,
    #[command(flatten)]
    owner: Owner,
}

/// Whose credential.
#[derive(Args)]
struct Owner {
    /// The principal that owns the credential
    #[arg(long, value_name = "PRINCIPAL", default_value = "default")]
    owner: Principal,
}

#[derive(Args)]
struct List {
    #[command(flatten)]
    owner: Owner,
    /// Those of every principal
    #[arg(long, conflicts_with = "owner")]
    all: bool,
    #[command(flatten)]
    format: Format,
}

#[derive(Args)]
struct Shown {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    format: Format,
}

#[derive(Args)]
struct Rotate {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    format: Format,
    #[command(flatten)]
    no_value: NoArgument,
}

#[derive(Args)]
struct Share {
    #[command(flatten)]
    target: Target,
    /// The principal that may use it
    #[arg(long, value_name = "PRINCIPAL")]
    with: Principal,
    #[command(flatten)]
    format: Format,
}

impl Target {
    /// The owner and the slug.
    fn parse(&self) -> anyhow::Result<(&Principal, Slug)> {
        Ok((&self.owner.owner, parse_slug(&self.slug)?))
    }
}

/// A slug from an argument. What does not parse is not quoted back: it could be a value that was
/// typed in the wrong place.
pub(super) fn parse_slug(text: &str) -> anyhow::Result<Slug> {
    Slug::parse(text).map_err(|_| {
        usage_error(
            "that is no slug: a slug is 1 to 64 of a-z, 0-9, '-' and '_' and starts with a \
             letter, such as github-pat",
        )
    })
}

impl Credential {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<()> {
        match self.command {
            Command::Add(add) => add.run(context).await,
            Command::List(list) => list::list(context, &list).await,
            Command::Show(Shown { target, format }) => list::show(context, &target, format).await,
            Command::Usage(Shown { target, format }) => usage::run(context, &target, format).await,
            Command::Rotate(rotate) => change::rotate(context, &rotate).await,
            Command::Revoke(revoke) => change::revoke(context, &revoke).await,
            Command::Restore(restore) => change::restore(context, &restore).await,
            Command::Delete(delete) => change::delete(context, &delete).await,
            Command::Allow(allow) => allow.run(context).await,
            Command::Share(share) => change::share(context, &share).await,
            Command::Unshare(share) => change::unshare(context, &share).await,
        }
    }
}

//! `egret credential`: values go in, and never come out.

mod add;
mod allow;
mod change;
mod limits;
mod list;
pub(super) mod target;
mod usage;

use clap::{Args, Subcommand};

use self::target::CredentialArgs;
use super::context::Context;

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
    List(list::List),
    /// Show one credential: where it may be used and with whom it is shared, never its value
    #[command(after_help = "Example:\n  egret credential show github-pat")]
    Show(CredentialArgs),
    /// Show which actions used a credential, when, and with what outcome
    #[command(after_help = "Example:\n  egret credential usage github-pat")]
    Usage(CredentialArgs),
    /// Replace the value, from the next request on
    ///
    /// The new value is read from standard input, or asked for at a prompt that does not show it.
    /// The slug stays the same, so requests need no change.
    #[command(after_help = "\
Examples:
  egret credential rotate github-pat
  vault read -field=token secret/github | egret credential rotate github-pat")]
    Rotate(change::Rotate),
    /// Switch a credential off, from the next request on
    #[command(
        after_help = "Example:\n  egret credential revoke github-pat\n\nUndo with `egret credential restore`."
    )]
    Revoke(CredentialArgs),
    /// Switch a revoked credential on again
    #[command(after_help = "Example:\n  egret credential restore github-pat")]
    Restore(CredentialArgs),
    /// Delete a credential and all its values; this cannot be undone
    #[command(after_help = "Example:\n  egret credential delete github-pat")]
    Delete(CredentialArgs),
    Allow(allow::Allow),
    /// Let another principal use a credential
    #[command(after_help = "Example:\n  egret credential share github-pat --with bob")]
    Share(change::Share),
    /// Stop sharing a credential with a principal, from the next request on
    #[command(after_help = "Example:\n  egret credential unshare github-pat --with bob")]
    Unshare(change::Share),
}

impl Credential {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<()> {
        match self.command {
            Command::Add(add) => add.run(context).await,
            Command::List(list) => list.run(context).await,
            Command::Show(show) => list::show(context, &show).await,
            Command::Usage(usage) => usage::run(context, &usage).await,
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

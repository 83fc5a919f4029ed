//! `egret credential`: values go in, and never come out.

mod add;
mod allow;
mod attach;
mod change;
pub(super) mod choice;
mod explain;
mod handover;
mod import;
mod limits;
mod list;
mod probe;
mod remarks;
mod services;
mod share;
mod stand_in;
pub(super) mod target;
mod usage;
mod uses;
mod version;

use clap::{Args, Subcommand};

use self::target::CredentialArgs;
use super::context::Context;
use super::remote::ServerArgs;

/// Save credentials and say where they may be used
#[derive(Args)]
pub(super) struct Credential {
    #[command(flatten)]
    server: ServerArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Add(add::Add),
    Import(import::Import),
    Services(services::Services),
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
    Rotate(version::Rotate),
    /// Put a staged value in force, from the next request on
    #[command(after_help = "Example:\n  egret credential promote github-pat --keep 7d --rollback")]
    Promote(version::Promote),
    Probe(Box<probe::Probe>),
    /// Return to the value before, from the next request on
    ///
    /// The value has to be kept for it: `rotate --rollback` and `promote --rollback` do that.
    #[command(after_help = "Example:\n  egret credential rollback github-pat")]
    Rollback(CredentialArgs),
    /// Erase the value of a version that is not in use
    #[command(after_help = "Example:\n  egret credential destroy github-pat --version 3")]
    Destroy(version::Destroy),
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
    Share(share::Share),
    Unshare(share::Unshare),
    StandIn(stand_in::StandIn),
    Attach(attach::Attach),
    Detach(attach::Detach),
    Explain(explain::Explain),
    Handover(handover::Handover),
}

impl Credential {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let context = &context.at(&self.server).await?;
        match self.command {
            Command::Add(add) => add.run(context).await,
            Command::Import(import) => import.run(context).await,
            Command::Services(services) => services.run(),
            Command::List(list) => list.run(context).await,
            Command::Show(show) => list::show(context, &show).await,
            Command::Usage(usage) => usage::run(context, &usage).await,
            Command::Rotate(rotate) => rotate.run(context).await,
            Command::Probe(probe) => probe.run(context).await,
            Command::Promote(promote) => version::promote(context, &promote).await,
            Command::Rollback(asked) => version::roll_back(context, &asked).await,
            Command::Destroy(destroy) => version::destroy(context, &destroy).await,
            Command::Revoke(revoke) => change::revoke(context, &revoke).await,
            Command::Restore(restore) => change::restore(context, &restore).await,
            Command::Delete(delete) => change::delete(context, &delete).await,
            Command::Allow(allow) => allow.run(context).await,
            Command::Share(share) => share.run(context).await,
            Command::Unshare(share) => share.run(context).await,
            Command::StandIn(stand_in) => stand_in.run(context).await,
            Command::Attach(attach) => attach.run(context).await,
            Command::Detach(detach) => detach.run(context).await,
            Command::Explain(explain) => explain.run(context).await,
            Command::Handover(handover) => handover.run(context).await,
        }
    }
}

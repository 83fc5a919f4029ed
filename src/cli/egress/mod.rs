//! `egret egress`: where clients may go.

pub(in crate::cli) mod check;
mod keys;
mod list;
mod rule;
mod suggest;
mod target;

use clap::{Args, Subcommand};

use super::context::Context;
use super::output::Format;
use super::remote::ServerArgs;

/// Say where clients may go, and see where they went
///
/// Of the rules that match a request, those count whose host is named most exactly, and among them the
/// strictest. Where no rule matches, egress.default in the configuration decides.
#[derive(Args)]
pub(super) struct Egress {
    #[command(flatten)]
    server: ServerArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Let clients send requests to hosts
    #[command(after_help = "\
Examples:
  egret egress allow api.github.com '*.githubusercontent.com' --client ci
  egret egress allow api.github.com --method GET --path /repos --group interns
  egret egress allow pypi.org files.pythonhosted.org --action build")]
    Allow(rule::Add),
    /// Let clients send requests to hosts, and keep a list of where they went
    #[command(after_help = "\
Examples:
  egret egress observe --client ci
  egret egress suggest --client ci --since 7d")]
    Observe(rule::Add),
    /// Refuse requests to hosts
    ///
    /// Without a host it is about every host that no other rule names.
    #[command(after_help = "\
Examples:
  egret egress deny --client ci
  egret egress deny api.github.com --method DELETE
  egret egress deny pastebin.com")]
    Deny(rule::Add),
    /// List the rules
    #[command(visible_alias = "ls", after_help = "Example:\n  egret egress list")]
    List(Format),
    /// Remove a rule, from the next request on
    #[command(after_help = "Example:\n  egret egress remove 12")]
    Remove(rule::Remove),
    Check(check::Check),
    Suggest(suggest::Suggest),
    Keys(keys::Keys),
}

impl Egress {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<()> {
        use crate::policy::egress::Stance;
        let context = &context.at(&self.server).await?;
        match self.command {
            Command::Allow(add) => add.run(context, Stance::Allow).await,
            Command::Observe(add) => add.run(context, Stance::Observe).await,
            Command::Deny(add) => add.run(context, Stance::Deny).await,
            Command::List(format) => list::run(context, format).await,
            Command::Remove(remove) => remove.run(context).await,
            Command::Check(check) => check.run(context).await,
            Command::Suggest(suggest) => suggest.run(context).await,
            Command::Keys(keys) => keys.run(context).await,
        }
    }
}

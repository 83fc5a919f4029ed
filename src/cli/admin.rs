//! `egret admin`: how people get into the page.

use clap::{Args, Subcommand};

use super::context::{Context, Session, actor};
use super::output::{self, Format};
use super::server;
use crate::admin::{names::Names, signin};
use crate::identity::{Bearer, Purpose};
use crate::vault::access::LinkId;
use crate::views;

/// Let people sign in on the page
#[derive(Args)]
pub(super) struct Admin {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Print a one-time link for a new administrator
    ///
    /// Whoever opens it chooses a name and a password, and is an administrator. It works once, within
    /// an hour, and replaces one that was printed before.
    #[command(after_help = "Example:\n  egret admin link")]
    Link(Format),
}

impl Admin {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let Command::Link(format) = self.command;
        let session = context.open().await?;
        let token = Bearer::generate(Purpose::Link)?;
        let id = LinkId::Administrator;
        session
            .registrar
            .make_link(&actor(), &id, &token.hash())
            .await?;
        finish(session, format, &id, &token).await
    }
}

/// Ends the session of a command that made a link, and prints the link.
pub(super) async fn finish(
    session: Session,
    format: Format,
    id: &LinkId,
    token: &Bearer,
) -> anyhow::Result<()> {
    let running = server::live(&session.config.data_dir);
    let address = running.as_ref().map(|server| server.admin);
    let listener = address.unwrap_or(session.config.admin.listen);
    let names = Names::new(&session.config.admin, listener);
    session.finish().await?;
    let url = signin::link_url(&names, token);
    if running.is_none() && !format.json {
        output::note("no server runs; start one with `egret serve` before you open it");
    }
    show(format, id, &views::OneTimeLink { url })
}

/// Prints a one-time link.
pub(super) fn show(format: Format, id: &LinkId, link: &views::OneTimeLink) -> anyhow::Result<()> {
    if format.json {
        return output::json(link);
    }
    output::note(&format!(
        "a one-time link {id}, which works within an hour and is not shown again:"
    ));
    output::print(&format!("{}\n", link.url))
}

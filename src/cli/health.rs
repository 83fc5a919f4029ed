//! `egret health`

mod deep;

use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Args;

use super::context::Context;
use super::output::{self, Format};
use super::server::{self, Answer};
use crate::app::{ServerFile, reachable};
use crate::views;

/// Ask a running server whether it can serve requests
///
/// For health checks that have no shell and no HTTP client: of a container image, of systemd, of
/// Kubernetes. Asks the admin listener of this data directory, and of the configuration where the
/// directory names none.
#[derive(Args)]
#[command(after_help = "\
Examples:
  egret health             ready: accepts requests, reads the store, writes the ledger
  egret health --live      alive: the process answers
  egret health --deep      a request with a value of its own goes through, and the ledger has it

Exit status: 0 healthy, 1 not healthy or no server.")]
pub(super) struct Health {
    /// Ask only whether the process answers, which is what decides about a restart
    #[arg(long)]
    live: bool,
    /// Send a request through the proxy, with a credential that is made for it
    ///
    /// It goes to an upstream within the server. One line for each check: the request was answered, the
    /// value arrived, it was taken out of the answer, and the ledger has the use. For after an upgrade,
    /// and for the first start: each run leaves lines in the ledger. It needs the master key.
    #[arg(long, conflicts_with = "live")]
    deep: bool,
    #[command(flatten)]
    format: Format,
}

impl Health {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        if self.deep {
            return deep::run(context, self.format).await;
        }
        let config = context.load()?.config;
        let admin =
            ServerFile::read(&config.data_dir).map_or(config.admin.listen, |file| file.admin);
        let admin = reachable(admin);
        let path = if self.live { "/healthz" } else { "/readyz" };
        let Answer { status, body } = server::get(admin, path)
            .with_context(|| format!("no server answers at http://{admin}{path}"))?;
        if !matches!(status, 200 | 503) {
            bail!("http://{admin}{path} answers {status}: another program listens there");
        }
        let healthy = status == 200;
        let detail = body.trim_end();
        output::data(self.format, &views::Health { healthy, detail }, || {
            format!(
                "{}: {detail}\n",
                if healthy { "healthy" } else { "not healthy" }
            )
        })?;
        Ok(if healthy {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }
}

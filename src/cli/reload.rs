//! `egret reload`

use anyhow::{Context as _, bail};
use clap::Args;
use rustix::process::{Signal, kill_process};

use super::context::Context;
use super::{output, server};

/// Put a changed configuration in force without dropping a connection
///
/// Checks the configuration first, then tells the running server. A faulty configuration changes
/// nothing. A change of the listeners, the CA, the store, the ledger, the master key or the log takes
/// effect only when the server is started again; its log names such keys.
#[derive(Args)]
#[command(after_help = "Example:\n  egret config check && egret reload")]
pub(super) struct Reload {}

impl Reload {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<()> {
        let config = context.load()?.config;
        let Some(file) = server::live(&config.data_dir) else {
            bail!("no server is running on {}", config.data_dir.display());
        };
        let pid = server::process(&file).context("the server has just ended")?;
        kill_process(pid, Signal::HUP).context("the server cannot be signalled")?;
        output::print(&format!(
            "Told the server (process {}) to reload; its log says what took effect.\n",
            file.pid
        ))
    }
}

//! `egret upgrade`

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::Args;
use rustix::process::{Signal, kill_process};

use super::context::Context;
use super::{output, server};
use crate::app::ServerFile;

/// Longest time for the new program to start.
const PATIENCE: Duration = Duration::from_secs(120);

/// Have the running server hand over to the program that is installed now
///
/// Install the new program where the server was started from, then run this. The server starts it with
/// the same arguments. Once it has read the configuration and opened the store, the old one accepts no
/// more connections; the new one has the same listening sockets, so no connection is refused. Requests
/// under way, streams and WebSockets have proxy.drain_timeout to finish in the old program, while the
/// new one serves new connections. If the new program does not start or
/// does not serve, the old one goes on.
///
/// In a container replace the container instead.
#[derive(Args)]
#[command(after_help = "Example:\n  install -m 0755 egret /usr/bin/egret && egret upgrade")]
pub(super) struct Upgrade {}

impl Upgrade {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<()> {
        let config = context.load()?.config;
        let Some(file) = server::live(&config.data_dir) else {
            bail!("no server is running on {}", config.data_dir.display());
        };
        if file.reloads.is_none() {
            bail!(
                "the server of {} is an `egret run`, which ends with its program",
                config.data_dir.display()
            );
        }
        let pid = server::process(&file).context("the server has just ended")?;
        kill_process(pid, Signal::USR2).context("the server cannot be signalled")?;
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            // Asked first: the one that ends does so after the other one is announced.
            let has_ended = server::process(&file).is_none();
            match ServerFile::read(&config.data_dir) {
                Some(now) if now.pid != file.pid => {
                    return output::print(&format!("Process {} serves now.\n", now.pid));
                }
                Some(now) if now.upgrades.failed > file.upgrades.failed => {
                    let problem = now.upgrades.problem.unwrap_or_default();
                    bail!("the server goes on as before: {problem}");
                }
                _ if has_ended => {
                    bail!("the server ended, and no other one took over; see its log")
                }
                _ => thread::sleep(Duration::from_millis(20)),
            }
        }
        bail!("no other program took over in time; see the server's log")
    }
}

//! `egret reload`

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::Args;
use rustix::process::{Signal, kill_process};

use super::context::Context;
use super::{output, server};
use crate::app::{Reloads, ServerFile};

/// Longest time that a server takes to read its configuration and to say what came of it.
const PATIENCE: Duration = Duration::from_secs(45);

/// Put a changed configuration in force without dropping a connection
///
/// Checks the configuration, tells the running server to read it, and returns when it is in force.
/// A faulty configuration changes nothing. A change of the listeners, the CA, the store, the ledger,
/// the master key or the log takes effect only when the server is started again; such keys are named.
#[derive(Args)]
#[command(after_help = "Example:\n  egret config check && egret reload")]
pub(super) struct Reload {}

impl Reload {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<()> {
        let config = context.load()?.config;
        let Some(file) = server::live(&config.data_dir) else {
            bail!("no server is running on {}", config.data_dir.display());
        };
        let Some(before) = &file.reloads else {
            bail!(
                "the server of {} is an `egret run`, which keeps the configuration with which it \
                 started",
                config.data_dir.display()
            );
        };
        let pid = server::process(&file).context("the server has just ended")?;
        kill_process(pid, Signal::HUP).context("the server cannot be signalled")?;
        let start = Instant::now();
        loop {
            if let Some(after) = over(&ServerFile::read(&config.data_dir), file.pid, before) {
                return report(&after);
            }
            if server::process(&file).is_none() {
                bail!("the server ended before the new configuration was in force");
            }
            if start.elapsed() > PATIENCE {
                bail!("the server does not say what became of the configuration; see its log");
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
}

/// What came of a reload that began after `before` was read, once it is over.
fn over(file: &Option<ServerFile>, pid: u32, before: &Reloads) -> Option<Reloads> {
    let file = file.as_ref().filter(|file| file.pid == pid)?;
    let after = file.reloads.as_ref()?;
    (after.done > before.begun).then(|| after.clone())
}

fn report(reloads: &Reloads) -> anyhow::Result<()> {
    if let Some(problem) = &reloads.problem {
        bail!("the server refuses the new configuration: {problem}");
    }
    for key in &reloads.at_restart {
        output::note(&format!(
            "the change of {key} takes effect at the next start"
        ));
    }
    output::print("The new configuration is in force.\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(pid: u32, begun: u64, done: u64) -> Option<ServerFile> {
        let text = format!(
            r#"{{"pid":{pid},"proxy":"127.0.0.1:1","admin":"127.0.0.1:2",
                "reloads":{{"begun":{begun},"done":{done},"problem":null,"at_restart":[]}}}}"#
        );
        Some(serde_json::from_str(&text).expect("a server file"))
    }

    /// One that was under way may have read the configuration of before.
    #[test]
    fn a_reload_counts_when_it_began_after_it_was_asked_for() {
        let under_way = Reloads {
            begun: 3,
            done: 2,
            ..Reloads::default()
        };
        assert_eq!(over(&file(7, 3, 3), 7, &under_way), None);
        assert_eq!(over(&file(7, 4, 3), 7, &under_way), None);
        assert!(over(&file(7, 4, 4), 7, &under_way).is_some());
        assert_eq!(over(&file(8, 4, 4), 7, &under_way), None, "another server");
        assert_eq!(over(&None, 7, &under_way), None);
    }
}

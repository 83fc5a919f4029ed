//! `egret doctor`: whether this machine is ready for Egret, and what mends it where it is not.

mod checks;
mod clients;
mod finding;
mod machine;

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use self::finding::{Finding, Verdict};
use super::context::Context;
use super::output::{self, Format, Style};

/// Check whether this machine is ready, and which clients get through
///
/// Files, permissions, keys, store, ledger, ports, disk, clock and isolation are looked at. Each line says what was found and, where something is wrong, the one thing that mends it. Nothing
/// is made: what a first start would make is named as missing. The store is opened as by any command.
///
/// With --clients the clients that are found here (curl, git, Python, Node, Go, Java, pip, npm and others)
/// each send a request through an Egret of their own to an echo of this command, with a made-up
/// credential and nothing of yours. A client works if the value arrived. Nothing leaves the machine.
#[derive(Args)]
#[command(after_help = "\
Examples:
  egret doctor
  egret doctor --json
  egret doctor --clients
  egret doctor --client git --client 'Python requests'

Exit status: 0 nothing is wrong, or only a warning; 1 something is, or a client that was named does
not work.")]
pub(super) struct Doctor {
    /// Try the clients that are found on this machine
    #[arg(long)]
    clients: bool,
    /// Try this client; repeatable
    #[arg(long = "client", value_name = "NAME")]
    named: Vec<String>,
    /// How long one client may take, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=600))]
    timeout: u64,
    #[command(flatten)]
    format: Format,
}

impl Doctor {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        if self.clients || !self.named.is_empty() {
            return self.clients().await;
        }
        let config = context.load()?.config;
        let mut findings = checks::all(&config).await;
        findings.extend(machine::all(&config));
        output::data(self.format, &findings, || {
            let style = Style::of_stdout();
            findings.iter().map(|finding| finding.line(style)).collect()
        })?;
        let is_wrong = |finding: &Finding| finding.verdict == Verdict::Fault;
        Ok(if findings.iter().any(is_wrong) {
            ExitCode::FAILURE
        } else {
            ExitCode::SUCCESS
        })
    }

    async fn clients(self) -> anyhow::Result<ExitCode> {
        let tried = clients::try_all(&self.named, Duration::from_secs(self.timeout)).await?;
        output::data(self.format, &tried, || {
            let style = Style::of_stdout();
            tried.iter().map(|tried| tried.line(style)).collect()
        })?;
        let works = |tried: &clients::Tried| tried.outcome == clients::Outcome::Works;
        Ok(if self.named.is_empty() || tried.iter().all(works) {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }
}

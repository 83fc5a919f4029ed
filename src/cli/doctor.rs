//! `egret doctor`: whether this machine is ready for Egret, and what corrects it where it is not.

mod checks;
mod clients;
mod finding;
mod machine;

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use self::finding::Verdict;
use super::context::Context;
use super::output::{self, Format, Style};

/// Check whether this machine is ready, and which clients get through
///
/// Files, permissions, keys, store, ledger, ports, disk, clock and isolation are looked at. Each line
/// says what was found and, where something is wrong, the one thing that corrects it. Nothing is made: what a first start would make is named as missing. The store is opened as by any command.
///
/// With --clients the clients that are found here (curl, git, Python, Node, Go, Java, pip, npm, docker, gh,
/// gcloud, Claude Code and others, and MCP servers that assistants start) each send a request through an Egret of their own to an echo of this command, with a made-up
/// credential and nothing of yours. A client works if the value arrived. Nothing leaves the machine: what a
/// client asks of other hosts is refused. With --filtered they have only the variables that MCP hosts pass
/// to the servers which they start. A client that speaks no HTTP is named, and not tried.
#[derive(Args)]
#[command(after_help = "\
Examples:
  egret doctor
  egret doctor --json
  egret doctor --clients
  egret doctor --clients --filtered
  egret doctor --client git --client 'Python requests'

Exit status: 0 nothing is wrong, or only a warning, and every client that was tried works; 1 something
is wrong, or a client does not work; 2 something could not be found out.")]
pub(super) struct Doctor {
    /// Try the clients that are found on this machine
    #[arg(long)]
    clients: bool,
    /// Try this client; repeatable
    #[arg(long = "client", value_name = "NAME")]
    named: Vec<String>,
    /// Try them with the variables that MCP hosts pass on: HOME, LOGNAME, PATH, SHELL, TERM and USER
    #[arg(long)]
    filtered: bool,
    /// How long one client may take, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=600))]
    timeout: u64,
    #[command(flatten)]
    format: Format,
}

impl Doctor {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        if self.clients || self.filtered || !self.named.is_empty() {
            return self.clients().await;
        }
        let config = context.load()?.config;
        let mut findings = checks::all(&config).await;
        findings.extend(machine::all(&config));
        output::data(self.format, &findings, || {
            let style = Style::of_stdout();
            findings.iter().map(|finding| finding.line(style)).collect()
        })?;
        let has = |verdict| findings.iter().any(|finding| finding.verdict == verdict);
        Ok(status(has(Verdict::Fault), has(Verdict::Unknown)))
    }

    async fn clients(self) -> anyhow::Result<ExitCode> {
        let patience = Duration::from_secs(self.timeout);
        let tried = clients::try_all(&self.named, patience, self.filtered).await?;
        output::data(self.format, &tried, || {
            let style = Style::of_stdout();
            tried.iter().map(|tried| tried.line(style)).collect()
        })?;
        let is_untried = |outcome| outcome == clients::Outcome::SpeaksNoHttp;
        // Who asks about that client by name must not read that it works.
        let is_asked = !self.named.is_empty();
        let is_unknown =
            |outcome| outcome == clients::Outcome::Unknown || is_asked && is_untried(outcome);
        let fails = |outcome| {
            outcome != clients::Outcome::Works && !is_unknown(outcome) && !is_untried(outcome)
        };
        let any =
            |is: &dyn Fn(clients::Outcome) -> bool| tried.iter().any(|tried| is(tried.outcome));
        Ok(status(any(&fails), any(&is_unknown)))
    }
}

/// What was not found out is never taken for well.
fn status(is_wrong: bool, is_unknown: bool) -> ExitCode {
    if is_wrong {
        ExitCode::FAILURE
    } else if is_unknown {
        ExitCode::from(2)
    } else {
        ExitCode::SUCCESS
    }
}

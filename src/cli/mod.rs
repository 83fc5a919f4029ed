//! The commands. Each family has a file; this one has the tree, and runs what was asked for.
//!
//! Exit status: 0 success, 1 what was asked for failed, 2 wrong usage. `egret run` passes on the status
//! of the command it ran.

mod ca;
mod child;
mod client;
mod completions;
mod config;
mod context;
mod credential;
mod demo;
mod env;
mod exit;
mod ledger;
mod output;
mod own_client;
mod reload;
mod run;
mod serve;
mod server;
mod token;
mod value;
mod version;
mod when;

use std::io;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};
use tokio::runtime::{Builder, Runtime};

use self::context::{Context, Global};
use crate::{memory, observe};

/// Put `<<slug>>` where a secret belongs; Egret puts in the real value on the way out.
///
/// Egret is an outbound HTTP proxy. Programs send ordinary requests that carry placeholders such
/// as `<<github-pat>>`. Egret checks that the credential may be used there, records the use, puts
/// the value in just before the upstream call, and takes it out of whatever comes back. The
/// program never holds the secret.
#[derive(Parser)]
#[command(
    name = "egret",
    version,
    subcommand_required = true,
    arg_required_else_help = true,
    max_term_width = 100,
    after_help = "\
Start here:
  egret demo                                              see how it works, with nothing to set up
  egret credential add github-pat --host api.github.com   save a value (asks for it)
  egret run -- curl -H 'Authorization: Bearer <<github-pat>>' https://api.github.com/user
  egret ledger tail                                       see who used what, and where

Quote placeholders in a shell: an unquoted <<name>> is a redirection.

Exit status: 0 success, 1 what was asked for failed, 2 wrong usage."
)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Serve(serve::Serve),
    Run(run::Run),
    Demo(demo::Demo),
    Env(env::Env),
    Credential(credential::Credential),
    Client(client::Client),
    Token(token::Token),
    Ledger(ledger::Ledger),
    Ca(ca::Ca),
    Config(config::Config),
    Reload(reload::Reload),
    Completions(completions::Completions),
    Version(version::Version),
}

/// Parses the command line, runs the command and says how it ended.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli) {
        Ok(code) => code,
        Err(error) => exit::report(&error),
    }
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    match &cli.command {
        // The program would inherit the file mask and the limits.
        Command::Run(_) => observe::seal_memory(),
        _ => observe::seal_process(),
    }
    let context = Context::new(cli.global);
    match cli.command {
        Command::Serve(serve) => server_runtime()?.block_on(serve.run(context)),
        Command::Run(run) => server_runtime()?.block_on(run.run(&context)),
        Command::Demo(demo) => server_runtime()?.block_on(demo.run()),
        Command::Env(env) => done(command_runtime()?.block_on(env.run(&context))),
        Command::Credential(credential) => {
            done(command_runtime()?.block_on(credential.run(&context)))
        }
        Command::Client(client) => done(command_runtime()?.block_on(client.run(&context))),
        Command::Token(token) => done(command_runtime()?.block_on(token.run(&context))),
        Command::Ledger(ledger) => done(ledger.run(&context)),
        Command::Ca(ca) => done(ca.run(&context)),
        Command::Config(config) => config.run(&context),
        Command::Reload(reload) => done(reload.run(&context)),
        Command::Completions(completions) => done(completions.run(&mut Cli::command())),
        Command::Version(version) => done(version.run()),
    }
}

fn done(result: anyhow::Result<()>) -> anyhow::Result<ExitCode> {
    result.map(|()| ExitCode::SUCCESS)
}

/// A runtime for commands that read and write files: they need no thread but their own.
fn command_runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

/// A runtime for the background tasks of a server, whose workers serve the connections. It needs a
/// thread that also runs while the main one waits.
fn server_runtime() -> io::Result<Runtime> {
    Builder::new_multi_thread()
        .worker_threads(1)
        .on_thread_park(memory::stack::on_park)
        .enable_all()
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    /// A help text that does not teach is a list of flags: every command has an example.
    #[test]
    fn every_command_has_a_help_text_and_an_example() {
        fn check(command: &clap::Command, path: &str) {
            let path = format!("{path} {}", command.get_name());
            assert!(command.get_about().is_some(), "{path} has no description");
            if command.has_subcommands() {
                command.get_subcommands().for_each(|sub| check(sub, &path));
            } else {
                let help = command.get_after_help().map(ToString::to_string);
                let shown = help.is_some_and(|help| help.contains("egret "));
                assert!(shown, "{path} has no example");
            }
            for argument in command
                .get_arguments()
                .filter(|argument| !argument.is_hide_set())
            {
                assert!(
                    argument.get_help().is_some(),
                    "{path}: {} has no help",
                    argument.get_id()
                );
            }
        }
        check(&Cli::command(), "");
    }
}

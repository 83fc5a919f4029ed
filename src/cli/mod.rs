//! The commands. Each family has a file; this one has the tree, and runs what was asked for.
//!
//! Exit status: 0 success, 1 what was asked for failed, 2 wrong usage. `egret run` passes on the status
//! of the command it ran.

mod admin;
mod adopt;
mod api_token;
mod approvals;
mod backup;
mod bundle;
mod ca;
mod child;
mod client;
mod completions;
mod config;
mod context;
mod credential;
mod declared;
mod demo;
mod doctor;
mod egress;
mod env;
mod exit;
mod explain;
mod group;
mod health;
mod keys;
mod ledger;
mod man;
mod mcp;
mod nftables;
mod output;
mod own_client;
mod prompt;
mod reload;
mod remote;
mod requests;
mod restore;
mod run;
mod serve;
mod server;
mod store;
mod token;
mod top;
mod upgrade;
mod usable;
mod user;
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
    Inside(run::Inside),
    Demo(demo::Demo),
    Env(env::Env),
    Explain(explain::Explain),
    Mcp(mcp::Mcp),
    Nftables(nftables::Nftables),
    Credential(credential::Credential),
    Adopt(adopt::Adopt),
    Admin(admin::Admin),
    User(user::User),
    Group(group::Group),
    Bundle(bundle::Bundle),
    Egress(egress::Egress),
    Approvals(approvals::Approvals),
    Request(requests::Ask),
    Requests(requests::Requests),
    ApiToken(api_token::ApiToken),
    Client(client::Client),
    Plan(declared::PlanFile),
    Apply(declared::Apply),
    Export(declared::Export),
    Store(store::Store),
    Backup(backup::Backup),
    Restore(restore::Restore),
    Keys(keys::Keys),
    Token(token::Token),
    Ledger(ledger::Ledger),
    Top(top::Top),
    #[command(visible_alias = "trust")]
    Ca(ca::Ca),
    Config(config::Config),
    Reload(reload::Reload),
    Upgrade(upgrade::Upgrade),
    Health(health::Health),
    Doctor(doctor::Doctor),
    Completions(completions::Completions),
    Man(man::Man),
    Version(version::Version),
}

/// Parses the command line, runs the command and says how it ended.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if remote::is_out_of_place(&error) => {
            return exit::report(&exit::usage(remote::ONLY_HERE));
        }
        Err(error) => error.exit(),
    };
    match run(cli) {
        Ok(code) => code,
        Err(error) => exit::report(&error),
    }
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    if let Command::Inside(inside) = cli.command {
        // Nothing secret is here, and a closed process could not set up its namespaces.
        return Ok(inside.run());
    }
    match &cli.command {
        // The program would inherit the file mask and the limits.
        Command::Run(_) => observe::seal_memory(),
        _ => observe::seal_process(),
    }
    let context = Context::new(cli.global);
    match cli.command {
        Command::Inside(inside) => Ok(inside.run()),
        Command::Serve(serve) => as_server(serve.run(context)),
        Command::Run(run) => as_server(run.run(&context)),
        Command::Demo(demo) => as_server(demo.run()),
        Command::Env(env) => done(command_runtime()?.block_on(env.run(&context))),
        Command::Explain(explain) => done(command_runtime()?.block_on(explain.run(&context))),
        Command::Nftables(nftables) => done(nftables.run(&context)),
        Command::Mcp(mcp) => done(command_runtime()?.block_on(mcp.run(&context))),
        // One of these may have to run the proxy.
        Command::Credential(credential) => {
            done(server_runtime()?.block_on(credential.run(&context)))
        }
        Command::Adopt(adopt) => done(command_runtime()?.block_on(adopt.run(&context))),
        Command::Admin(admin) => done(command_runtime()?.block_on(admin.run(&context))),
        Command::User(user) => done(command_runtime()?.block_on(user.run(&context))),
        Command::Group(group) => done(command_runtime()?.block_on(group.run(&context))),
        Command::Plan(plan) => done(command_runtime()?.block_on(plan.run(&context))),
        Command::Apply(apply) => done(command_runtime()?.block_on(apply.run(&context))),
        Command::Export(export) => done(command_runtime()?.block_on(export.run(&context))),
        Command::Store(store) => done(command_runtime()?.block_on(store.run(&context))),
        Command::Backup(backup) => done(command_runtime()?.block_on(backup.run(&context))),
        Command::Restore(restore) => done(command_runtime()?.block_on(restore.run(&context))),
        Command::Keys(keys) => done(command_runtime()?.block_on(keys.run(&context))),
        Command::Bundle(bundle) => done(command_runtime()?.block_on(bundle.run(&context))),
        Command::Approvals(approvals) => done(command_runtime()?.block_on(approvals.run(&context))),
        Command::Request(ask) => done(command_runtime()?.block_on(ask.run(&context))),
        Command::Requests(requests) => done(command_runtime()?.block_on(requests.run(&context))),
        Command::Egress(egress) => done(command_runtime()?.block_on(egress.run(&context))),
        Command::ApiToken(token) => done(command_runtime()?.block_on(token.run(&context))),
        Command::Client(client) => done(command_runtime()?.block_on(client.run(&context))),
        Command::Token(token) => done(command_runtime()?.block_on(token.run(&context))),
        Command::Ledger(ledger) => done(command_runtime()?.block_on(ledger.run(&context))),
        Command::Top(top) => done(top.run(&context)),
        Command::Ca(ca) => done(command_runtime()?.block_on(ca.run(&context))),
        Command::Config(config) => config.run(&context),
        Command::Reload(reload) => done(reload.run(&context)),
        Command::Upgrade(upgrade) => done(upgrade.run(&context)),
        Command::Doctor(doctor) => command_runtime()?.block_on(doctor.run(&context)),
        Command::Health(health) => command_runtime()?.block_on(health.run(&context)),
        Command::Completions(completions) => done(completions.run(Cli::command())),
        Command::Man(man) => done(man.run(Cli::command())),
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

/// Runs a command that is, or may be, a server. A task that still waits for the disk at the end is
/// not waited for: there would be no limit.
fn as_server(command: impl Future<Output = anyhow::Result<ExitCode>>) -> anyhow::Result<ExitCode> {
    let runtime = server_runtime()?;
    let result = runtime.block_on(command);
    runtime.shutdown_background();
    result
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

//! The command: it sets up proxy, token and environment, runs the program, and cleans up.

use std::ffi::{OsStr, OsString};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use clap::Args;
use rustix::process::{DumpableBehavior, set_dumpable_behavior};

use super::lease::{self, Lease};
use super::process::{self, Process};
use super::proxy::ProxyHandle;
use crate::cli::child::inherited::{Inherited, TOKEN_VARIABLE, inherited};
use crate::cli::child::trust::TrustFiles;
use crate::cli::child::variables::{self, ProxyAccess};
use crate::cli::child::withhold::withheld;
use crate::cli::context::{Context, Session};
use crate::cli::exit::usage;
use crate::cli::output;
use crate::config::{Config, Loaded, Origin};
use crate::policy::grant;
use crate::secret::SecretBytes;
use crate::vault::{KeySource, Keyring, Vault};
use crate::vault::{Kind, Principal};
use crate::{identity, observe};

/// Run a program whose requests may carry placeholders
///
/// The program gets environment variables that make clients use the proxy and trust its CA, and a
/// token that stops working when the program ends. Nothing has to be set up: if `egret serve` runs on
/// the same data directory it is used, otherwise the proxy runs inside this command.
///
/// Variables that hold the value of one of the principal's credentials are not passed on to the
/// program, and their names are printed. Neither are EGRET_TOKEN and a variable that holds the master
/// key.
///
/// Your NO_PROXY is not passed on: a host in it would get placeholders instead of values. The program
/// reaches localhost, 127.0.0.1 and ::1 without the proxy, which would refuse them unless
/// upstream.allow_private covers them; --no-proxy adds hosts.
///
/// Variables are only advice. A program that ignores them connects directly (Java's HttpClient and
/// Bun's WebSocket do), and its placeholders are not replaced. Java gets the proxy and the CA through
/// JAVA_TOOL_OPTIONS, but has to bring its own Authenticator for the token.
///
/// Exit status: that of the program; 128 + N if signal N ended it; 127 if it was not found, 126 if
/// it could not be run.
#[derive(Args)]
#[command(after_help = "\
Examples:
  egret run -- curl -H 'Authorization: Bearer <<github-pat>>' https://api.github.com/user
  egret run --action weekly-report -- python report.py
  egret run -- git clone 'https://x:<<github-pat>>@github.com/me/private.git'
  egret run -- sh -c 'echo \"$HTTPS_PROXY\"'

Quote placeholders in a shell: an unquoted <<name>> is a redirection. For a form field with curl
use --form-string: -F 'k=<<pat>>' would read a file.")]
pub(in crate::cli) struct Run {
    /// Whose credentials it may use
    #[arg(long, value_name = "PRINCIPAL", default_value = "default")]
    principal: Principal,
    /// What the ledger calls its requests; by default the program's name
    #[arg(long, value_parser = grant::parse_action)]
    action: Option<String>,
    /// Hosts to reach without the proxy; placeholders sent there are not replaced; repeatable
    #[arg(long, value_name = "HOST", value_delimiter = ',')]
    no_proxy: Vec<String>,
    /// Do not print which variables are kept from the program
    #[arg(short, long)]
    quiet: bool,
    /// The program and its arguments
    #[arg(
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "COMMAND"
    )]
    command: Vec<OsString>,
}

impl Run {
    pub(in crate::cli) async fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let Loaded {
            config, settings, ..
        } = context.load()?;
        // The log shares standard error with the program: errors only, unless a level is set.
        let mut log = config.log.clone();
        let level = settings.iter().find(|setting| setting.key == "log.level");
        if level.is_some_and(|level| level.origin == Origin::Default) {
            log.level = "error".to_owned();
        }
        let _log = observe::init(&log)?;
        // The program runs as the same user. It must not be able to attach to the proxy in this
        // process and read its memory. (What else a server does at its start, the program would
        // inherit.)
        let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);

        let proxy = ProxyHandle::establish(&config).await?;
        let session = match Session::open(config.clone()).await {
            Ok(session) => session,
            Err(error) => {
                proxy.close(&config, false).await;
                return Err(error);
            }
        };
        let outcome = self.with_session(&session, &proxy).await;
        // Before the store is closed: the server still writes its last ledger lines.
        proxy
            .close(&config, lease::any_other(&session.store).await)
            .await;
        session.finish().await?;
        outcome
    }

    async fn with_session(
        &self,
        session: &Session,
        proxy: &ProxyHandle,
    ) -> anyhow::Result<ExitCode> {
        let inherited = inherited();
        let mut withheld = self.withheld(&session.config, proxy, &inherited).await?;
        if !withheld.is_empty() && !self.quiet {
            output::note(&format!(
                "kept from the program, because they hold a stored value: {}",
                withheld.join(", ")
            ));
        }
        withheld.extend(own_secrets(&session.config));
        let lease = Lease::take(&session.store, &self.principal).await?;
        let outcome = self
            .child(session, proxy, &lease, &inherited, &withheld)
            .await;
        lease.release().await;
        outcome
    }

    async fn child(
        &self,
        session: &Session,
        proxy: &ProxyHandle,
        lease: &Lease,
        inherited: &Inherited,
        withheld: &[String],
    ) -> anyhow::Result<ExitCode> {
        let config = &session.config;
        // The authority exists by now: the server made it.
        let trust = TrustFiles::write(&config.data_dir, &config.tls.ca_cert, inherited)
            .context("cannot set up the certificates")?;
        let (program, arguments) = match self.command.as_slice() {
            [program, arguments @ ..] => (program, arguments),
            [] => return Err(usage("name the program to run")),
        };
        let access = ProxyAccess {
            address: proxy.address(),
            action: self.action.clone().unwrap_or_else(|| action_of(program)),
            token: lease.token(),
        };
        let direct = variables::direct(config, &self.no_proxy);
        let changes = variables::changes(&access, &trust, &direct, inherited);
        let mut process = match Process::start(program, arguments, &changes, withheld) {
            Ok(process) => process,
            Err(error) => return Ok(process::not_started(program, &error)),
        };
        tokio::select! {
            outcome = process.wait() => Ok(outcome?),
            never = lease.keep() => match never {},
        }
    }

    /// The names of the variables that hold a value.
    async fn withheld(
        &self,
        config: &Config,
        proxy: &ProxyHandle,
        inherited: &Inherited,
    ) -> anyhow::Result<Vec<String>> {
        if let Some(vault) = proxy.vault() {
            return Ok(withheld(inherited, &self.values(vault)));
        }
        let keyring = Keyring::load(&config.keys.master, &config.data_dir).await?;
        let vault = Vault::open(&config.data_dir, &config.store.url, &keyring).await?;
        let names = withheld(inherited, &self.values(&vault));
        vault.store().close().await;
        Ok(names)
    }

    /// Every value that the program could use, without user names, which would withhold `USER`.
    fn values(&self, vault: &Vault) -> Vec<Arc<SecretBytes>> {
        let mut values = Vec::new();
        for credential in vault.live(&self.principal) {
            for field in credential.references() {
                let name = field.map(|field| field.as_str());
                if credential.kind == Kind::Login && name == Some("username") {
                    continue;
                }
                match vault.open_value(&credential, field) {
                    Ok(value) => values.push(value),
                    Err(error) => output::note(&format!(
                        "the variables could not be searched for the value of {}: {error}",
                        credential.slug
                    )),
                }
            }
        }
        values
    }
}

/// Variables of Egret's own that a program must not have: the master key opens everything, and a
/// token that was given to `egret env` outlives the program.
fn own_secrets(config: &Config) -> Vec<String> {
    let mut names = vec![TOKEN_VARIABLE.to_owned()];
    if let KeySource::Env(name) = &config.keys.master {
        names.push(name.clone());
    }
    names
}

/// The action of a program for which none is given: its name.
fn action_of(program: &OsStr) -> String {
    let name = std::path::Path::new(program).file_name().unwrap_or(program);
    let action: String = name
        .to_string_lossy()
        .chars()
        .map(|c| if c.is_ascii_graphic() { c } else { '-' })
        .take(identity::MAX_LABEL)
        .collect();
    if action.is_empty() {
        "run".to_owned()
    } else {
        action
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_action_is_the_programs_name() {
        assert_eq!(action_of(OsStr::new("/usr/bin/python3")), "python3");
        assert_eq!(action_of(OsStr::new("./my tool\n")), "my-tool-");
        assert_eq!(action_of(OsStr::new("")), "run");
    }
}

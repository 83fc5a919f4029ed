//! The command: it sets up proxy, token and environment, runs the program, and cleans up.

use std::convert::Infallible;
use std::ffi::{OsStr, OsString};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use http::Uri;
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use zeroize::Zeroizing;

use super::git;
use super::isolated::{Asked, Isolation, Unavailable};
use super::kept;
use super::lease::{self, Lease};
use super::own_listener::OwnListener;
use super::placeholders::{self, PlaceholderVariable};
use super::process::{self, Process};
use super::project::{self, Project};
use super::proxy::ProxyHandle;
use super::remote::Remote;
use super::tunnels::{self, Tunnels};
use super::way::Way;
use crate::cli::context::{Context, Session};
use crate::cli::exit::usage;
use crate::cli::output;
use crate::cli::usable::{Usable, usable};
use crate::cli::when;
use crate::config::{Config, Loaded, Origin};
use crate::environment::inherited::{Inherited, TOKEN_VARIABLE, inherited};
use crate::environment::proxy_access::ProxyAccess;
use crate::environment::trust::TrustFiles;
use crate::environment::variables::{self, Changes};
use crate::environment::wrappers;
use crate::policy::grant;
use crate::tls::fingerprint::Fingerprint;
use crate::vault::{Principal, Vault};
use crate::{identity, observe};

/// Run a program whose requests may carry placeholders
///
/// The program gets environment variables that make clients use the proxy and trust its CA. Nothing
/// has to be set up: if `egret serve` runs on the same data directory it is used, otherwise the proxy
/// runs inside this command.
///
/// Variables that hold the value of one of the principal's credentials, the master key, EGRET_TOKEN or
/// EGRET_API_TOKEN are not passed on to the program, and their names are printed. Values are found in
/// base64, in hex and percent-encoded too. A master key that a command prints (keys.master = "command:…") is not
/// looked for: the command would have to run again.
///
/// Your NO_PROXY is not passed on: a host in it would get placeholders instead of values. The program
/// reaches localhost, 127.0.0.1 and ::1 without the proxy, which would refuse them unless
/// upstream.allow_private covers them; --no-proxy adds hosts.
///
/// The proxy's address carries no password: the program has a port of its own, which vouches for it,
/// is closed to other users, and ends with this command.
///
/// Subversion reads its proxy from no variable: svn, svnmucc, svnsync and svnrdump are found in a directory
/// of Egret's first, where a script calls the real ones with the options for it.
///
/// Git remotes of the form git@HOST: and ssh://git@HOST/ are reached by HTTPS, with a placeholder as the
/// password, where the principal has exactly one credential for the host (GIT_CONFIG_PARAMETERS).
///
/// --env sets a variable to a placeholder: --env GITHUB_TOKEN=github-pat sets GITHUB_TOKEN to
/// '<<github-pat>>'. A file .egret.toml in the working directory, or the nearest one above, can hold
/// these (in a table [env]) and the action (action = "NAME"), and nothing else.
///
/// Variables are only advice. A program that ignores them connects directly (Bun's WebSocket does),
/// and its placeholders are not replaced. A program runs as you: it can run `egret credential allow`
/// as well. What you do not trust, run with --isolate.
///
/// --isolate needs no privilege, only a kernel that allows user namespaces. The program has a network
/// of its own in which every address leads to Egret on ports 80 and 443 (and --port), also for
/// programs that know of no proxy. TLS needs a server name, HTTP a Host; everything else is refused,
/// UDP too. --allow-tcp lets it reach one host and port more, as for a database: Egret finds the address,
/// checks and records the connection, and does not look into it. Names are not looked up before Egret connects. Egret's own files, sockets of services of
/// this machine, and files in which programs keep credentials (.netrc, .ssh, .aws and others) are
/// hidden, or shown with placeholders where the principal has a credential for their hosts; --show shows
/// one as it is. The program is still you on the same files: what it writes,
/// something else may execute later.
///
/// --server uses the proxy of another machine over TLS, with the token in EGRET_TOKEN. Credentials,
/// limits and the ledger are there; here is nothing but this command. --ca-sha256 says which
/// authority the proxy must have, and nothing is started if it has another. The port that the program
/// uses stays on this machine's loopback interface.
///
/// Exit status: that of the program; 128 + N if signal N ended it; 127 if it was not found, 126 if
/// it could not be run.
#[derive(Args)]
#[command(after_help = "\
Examples:
  egret run -- curl -H 'Authorization: Bearer <<github-pat>>' https://api.github.com/user
  egret run --action weekly-report -- python report.py
  egret run --env GITHUB_TOKEN=github-pat -- npm test
  egret run -- git clone 'https://x:<<github-pat>>@github.com/me/private.git'
  egret run --isolate -- claude
  egret run --isolate --allow-tcp db.example.com:5432 -- python report.py
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
    /// Set a variable to the placeholder of a credential, or of a field of one; repeatable
    #[arg(long, value_name = "NAME=SLUG")]
    // Text, not parsed: clap would quote back what does not parse, and that could be a value.
    env: Vec<String>,
    /// Hosts to reach without the proxy; placeholders sent there are not replaced; repeatable
    #[arg(long, value_name = "HOST", value_delimiter = ',')]
    no_proxy: Vec<String>,
    /// Use the proxy of another machine, at its proxy.tls_listen; EGRET_TOKEN is the token
    #[arg(long, value_name = "https://HOST:PORT", conflicts_with = "principal")]
    server: Option<Uri>,
    /// With --server: the SHA-256 of its authority, as `egret ca status` prints it there
    #[arg(long, value_name = "FINGERPRINT", requires = "server")]
    ca_sha256: Option<Fingerprint>,
    /// With --server: a PEM file with the certificate and key that it wants of clients
    #[arg(long, value_name = "FILE", requires = "server")]
    client_cert: Option<PathBuf>,
    /// Run the program in namespaces of its own, where every connection leads to Egret
    #[arg(
        long,
        value_enum,
        value_name = "WHEN",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "always"
    )]
    isolate: Option<Isolate>,
    /// With --isolate: another TCP port, beside 80 and 443, that leads to Egret; repeatable
    #[arg(long, value_name = "PORT", requires = "isolate")]
    port: Vec<u16>,
    /// With --isolate: a port of this machine's localhost that the program may reach; repeatable
    #[arg(long, value_name = "PORT", requires = "isolate")]
    host_port: Vec<u16>,
    /// With --isolate: a host and port that the program may reach by TCP, as for a database; repeatable
    // Text, not parsed: clap would quote back what does not parse.
    #[arg(
        long,
        value_name = "HOST:PORT",
        requires = "isolate",
        conflicts_with = "server"
    )]
    allow_tcp: Vec<String>,
    /// With --isolate: a file or directory that is not to be hidden; repeatable
    #[arg(long, value_name = "PATH", requires = "isolate")]
    show: Vec<PathBuf>,
    /// Do not print which variables are kept from the program, nor that a project file is used
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

        if let Some(server) = &self.server {
            return self.run_remote(&config, server).await;
        }
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
        let kept = kept::find(&session.config, proxy, &self.principal).await?;
        if !kept.is_empty() && !self.quiet {
            kept::note(&kept);
        }
        let names = kept.into_iter().map(|kept| kept.name);
        let withheld: Vec<OsString> = names.chain(kept::own_variables(&session.config)).collect();
        let action = self.action()?;
        let usable = self.usable(&session.config, proxy).await?;
        let lease = Lease::take(&session.store, &self.principal).await?;
        let config = &session.config;
        let ground = Ground {
            config,
            // The authority exists by now: the server made it.
            directory: &config.data_dir,
            ca_file: &config.tls.ca_cert,
            inherited: &inherited,
            withheld: &withheld,
            usable: &usable,
            tunnels: Arc::new(self.tunnels(session, proxy, &lease).await?),
        };
        let way = proxy.way(&lease.credentials(&action));
        let outcome = self.child(&ground, way, lease.keep()).await;
        lease.release().await;
        outcome
    }

    /// Runs the program on the proxy of another machine. Nothing of this machine's Egret is used but its
    /// configuration.
    async fn run_remote(&self, config: &Config, server: &Uri) -> anyhow::Result<ExitCode> {
        let fingerprint = self.ca_sha256.ok_or_else(|| {
            usage(
                "--server: say with --ca-sha256 which authority the proxy has; `egret ca status` \
                 prints it there",
            )
        })?;
        let token = std::env::var(TOKEN_VARIABLE).map(Zeroizing::new);
        let token = token.map_err(|_| {
            usage(format!(
                "--server: set {TOKEN_VARIABLE} to a token of the proxy (`egret client add`)"
            ))
        })?;
        let remote = Remote::new(server, fingerprint, self.client_cert.as_deref(), config)?;
        let credentials = lease::credentials(&self.action()?, &token);
        let authority = remote.authority(&credentials, &config.data_dir).await?;
        let ground = Ground {
            config,
            directory: &authority.directory,
            ca_file: &authority.file,
            inherited: &inherited(),
            withheld: &kept::own_variables(config),
            // They are on the other machine.
            usable: &[],
            tunnels: Arc::default(),
        };
        let way = Way::Far(remote, Arc::new(credentials));
        self.child(&ground, way, std::future::pending()).await
    }

    /// What the ledger calls the requests.
    fn action(&self) -> anyhow::Result<String> {
        let program = self.command.first();
        let program = program.ok_or_else(|| usage("name the program to run"))?;
        let named = self.action.clone();
        let action = match named {
            Some(action) => Some(action),
            None => self.project(false)?.action,
        };
        Ok(action.unwrap_or_else(|| action_of(program)))
    }

    async fn child(
        &self,
        ground: &Ground<'_>,
        way: Way,
        keep: impl Future<Output = Infallible>,
    ) -> anyhow::Result<ExitCode> {
        let config = ground.config;
        let (program, arguments) = match self.command.as_slice() {
            [program, arguments @ ..] => (program, arguments),
            [] => return Err(usage("name the program to run")),
        };
        let project = self.project(!self.quiet)?;
        let trust = TrustFiles::write(ground.directory, ground.ca_file, ground.inherited)
            .context("cannot set up the certificates")?;
        let launch = Launch {
            config,
            directory: ground.directory,
            trust: &trust,
            way,
            inherited: ground.inherited,
            withheld: ground.withheld,
            tunnels: &ground.tunnels,
            usable: ground.usable,
            placeholders: &project.env,
            given: &placeholders::parse(&self.env)?,
            program,
            arguments,
        };
        let (mut process, accepting) = match self.start(&launch).await? {
            Started::Running(process, accepting) => (process, accepting),
            Started::NotFound(error) => return Ok(process::not_started(program, &error)),
        };
        tokio::select! {
            outcome = process.wait() => Ok(outcome?),
            never = keep => match never {},
            never = accepting => match never {},
        }
    }

    async fn start(&self, launch: &Launch<'_>) -> anyhow::Result<Started> {
        if let Some(when) = self.isolate {
            match self.start_isolated(launch).await? {
                Ok(started) => return Ok(started),
                Err(Unavailable(text)) if when == Isolate::Try => output::note(&format!(
                    "not isolated: the program can connect directly, and widen what it may use \
                     ({text})"
                )),
                Err(Unavailable(text)) => {
                    bail!(
                        "this machine does not allow the program to be isolated: {text}. {CORRECTION}"
                    )
                }
            }
        }
        let listener = OwnListener::open(launch.way.clone())
            .await
            .context("cannot listen on a loopback port")?;
        let mut changes = self.changes(launch, listener.address())?;
        wrappers::add(&mut changes, launch.directory, launch.inherited)
            .context("cannot write the scripts for programs that read no variable")?;
        let started = Process::start(launch.program, launch.arguments, &changes, launch.withheld);
        Ok(match started {
            Ok(process) => {
                let accepting = async move { listener.accept().await };
                Started::Running(Box::new(process), Box::pin(accepting))
            }
            Err(error) => Started::NotFound(error),
        })
    }

    async fn start_isolated(
        &self,
        launch: &Launch<'_>,
    ) -> anyhow::Result<Result<Started, Unavailable>> {
        let changes = self.changes(launch, Isolation::proxy_address())?;
        let asked = Asked {
            program: launch.program,
            arguments: launch.arguments,
            changes: &changes,
            withheld: launch.withheld,
            ports: &self.port,
            host_ports: &self.host_port,
            tunnels: launch.tunnels,
            visible: &self.show,
            usable: launch.usable,
        };
        let started = Isolation::start(&asked, launch.config, launch.trust, &launch.way).await?;
        Ok(started.map(|(process, isolation)| {
            Started::Running(Box::new(process), Box::pin(isolation.accept()))
        }))
    }

    /// The variables of a program that finds the proxy at `address`.
    fn changes(&self, launch: &Launch<'_>, address: SocketAddr) -> anyhow::Result<Changes> {
        let access = ProxyAccess::at(address, None);
        let direct = variables::direct(launch.config, &self.no_proxy);
        let mut changes = variables::changes(&access, launch.trust, &direct, launch.inherited);
        git::add(&mut changes, launch.usable);
        placeholders::add(&mut changes, launch.placeholders, launch.given)?;
        Ok(changes)
    }

    /// What the program could use.
    async fn usable(&self, config: &Config, proxy: &ProxyHandle) -> anyhow::Result<Vec<Usable>> {
        let read = |vault: &Vault| usable(vault, &self.principal, when::now());
        kept::with_vault(config, proxy, read).await
    }

    /// Where an isolated program may connect to beside HTTP.
    async fn tunnels(
        &self,
        session: &Session,
        proxy: &ProxyHandle,
        lease: &Lease,
    ) -> anyhow::Result<Tunnels> {
        let (config, client) = (&session.config, lease.client());
        let all = tunnels::parse(&self.allow_tcp)?;
        if !all.is_empty() {
            let check =
                |vault: &Vault| tunnels::check_rules(vault, config, &self.principal, client, &all);
            kept::with_vault(config, proxy, check).await??;
        }
        Tunnels::new(config, all, session.store.clone(), client.clone())
    }

    /// The project file, with a note that it is used if that is to be said.
    fn project(&self, says_so: bool) -> anyhow::Result<Project> {
        let directory = std::env::current_dir().context("the working directory is gone")?;
        let Some((path, project)) = project::find(&directory)? else {
            return Ok(Project::default());
        };
        if says_so {
            let path = output::printable(&path.to_string_lossy());
            output::note(&format!("using {path}: {}", project.summary()));
        }
        Ok(project)
    }
}

/// What there is before the program is started.
struct Ground<'a> {
    config: &'a Config,
    /// Where files are put that make clients use the proxy and trust the authority.
    directory: &'a Path,
    /// The authority of the proxy.
    ca_file: &'a Path,
    inherited: &'a Inherited,
    withheld: &'a [OsString],
    /// What the program could use, if it is to be isolated.
    usable: &'a [Usable],
    /// Where it may connect to beside HTTP, if it is to be isolated.
    tunnels: Arc<Tunnels>,
}

/// What a start needs to know.
struct Launch<'a> {
    config: &'a Config,
    /// Where files for the program are put.
    directory: &'a Path,
    trust: &'a TrustFiles,
    way: Way,
    inherited: &'a Inherited,
    withheld: &'a [OsString],
    tunnels: &'a Arc<Tunnels>,
    /// What the program could use.
    usable: &'a [Usable],
    /// Of the project file.
    placeholders: &'a [PlaceholderVariable],
    /// Of the command line.
    given: &'a [PlaceholderVariable],
    program: &'a OsStr,
    arguments: &'a [OsString],
}

/// How a start ended.
enum Started {
    /// The program runs; the future serves its connections.
    Running(Box<Process>, Pin<Box<dyn Future<Output = Infallible>>>),
    /// There is no such program, or it cannot be executed.
    NotFound(io::Error),
}

/// When the program is isolated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Isolate {
    /// Always; where the machine does not allow it, the program is not started
    Always,
    /// Where the machine allows it; otherwise a warning says that it is not
    Try,
}

/// What helps where namespaces are forbidden.
const CORRECTION: &str = "Allow unprivileged user namespaces (sysctl kernel.unprivileged_userns_clone and \
                    user.max_user_namespaces; on Ubuntu an AppArmor profile with `userns` for egret; in a \
                    container a seccomp profile that allows unshare and mount), or run it with \
                    --isolate=try, which goes on without";

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

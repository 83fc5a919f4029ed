//! `egret serve`

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};

use super::context::Context;
use super::output;
use super::server;
use crate::app::{Reloads, Server, Shutdown, Successor, Upgrades};
use crate::config::{Config, Flag, LogFormat, Sources};
use crate::observe::{self, Logging};

/// Longest time for reading a configuration.
const READING: Duration = Duration::from_secs(10);

/// Run the proxy
///
/// Listens for programs on 127.0.0.1:7070, and on 127.0.0.1:7071 for people, the API and health
/// checks (/healthz, /readyz). Everything it needs is created on first start: a store, a master key
/// (mode 0600), a certificate authority, the ledger. The first start prints a link that makes one
/// administrator.
///
/// SIGTERM and SIGINT let open requests and WebSockets go on for proxy.drain_timeout, then close the
/// ledger in at most ten seconds; a second one stops without waiting. SIGHUP, or `egret reload`, puts a changed
/// configuration in force without dropping a connection, and refuses a faulty one. SIGUSR2, or
/// `egret upgrade`, hands over to the program that is installed now.
#[derive(Args)]
#[command(after_help = "\
Examples:
  egret serve
  egret serve --listen 127.0.0.1:8888
  egret serve --config /etc/egret/egret.toml

Then, in another terminal:
  egret run -- curl -H 'Authorization: Bearer <<github-pat>>' https://api.github.com/user
or, for every command of a shell:
  eval \"$(egret env)\"")]
pub(super) struct Serve {
    /// Where programs send their requests (proxy.listen)
    #[arg(long, value_name = "IP:PORT")]
    listen: Option<String>,
    /// Where the pages, the API and health checks are (admin.listen)
    #[arg(long, value_name = "IP:PORT")]
    admin_listen: Option<String>,
    /// Take over from the running server, which starts this process
    #[arg(long, hide = true)]
    take_over: bool,
}

impl Serve {
    pub(super) async fn run(self, context: Context) -> anyhow::Result<ExitCode> {
        let flags = [
            ("proxy.listen", "--listen", self.listen),
            ("admin.listen", "--admin-listen", self.admin_listen),
        ];
        let flags = flags.into_iter().filter_map(|(key, name, text)| {
            let text = text?;
            Some(Flag { key, name, text })
        });
        let sources = context.sources(flags.collect());
        let config = sources.load()?.config;
        let log = observe::init(&config.log)?;

        // Before the start, so that an early signal is not lost.
        let mut signals = Signals::new()?;
        let mut server = if self.take_over {
            Server::take_over(config.clone()).await?
        } else {
            server::start(&config).await?
        };
        let mut reloads = Reloads::default();
        server.announce_reloads(&reloads).await?;
        announce_addresses(&server, &config, &log);
        if !self.take_over {
            welcome(&server, &config);
            invite(&server, &config).await;
        }
        tell_manager(NotifyState::Ready);
        let mut drain_timeout = config.proxy.drain_timeout;
        let mut upgrades = Upgrades::default();
        let is_followed = loop {
            match signals.next().await {
                Signal::Stop => break false,
                Signal::Upgrade => {
                    let Some(successor) = upgrade(&server, &mut upgrades).await else {
                        continue;
                    };
                    let pid = successor.pid();
                    let handed = tokio::select! {
                        handed = server.hand_over(successor) => handed,
                        () = signals.stop() => return Ok(ended(Shutdown::AT_ONCE)),
                    };
                    match handed {
                        Ok(()) => {
                            tracing::info!("the new program serves");
                            if let Some(pid) = pid {
                                tell_manager(NotifyState::MainPid(pid));
                            }
                            break true;
                        }
                        Err(failed) if failed.is_back => {
                            server = server.take_back().await?;
                            announce(&server, &reloads).await;
                            upgrade_failed(&server, &mut upgrades, failed.reason).await;
                        }
                        Err(failed) => {
                            server.shutdown(drain_timeout, false).await;
                            bail!("the new program does not serve: {failed}");
                        }
                    }
                }
                Signal::Reload => {
                    if let Some(config) = reload(&sources, &server, &mut reloads).await {
                        drain_timeout = config.proxy.drain_timeout;
                    }
                }
            }
        };
        if !is_followed {
            tell_manager(NotifyState::Stopping);
        }
        tracing::info!(?drain_timeout, "stopping; open requests may finish");
        let end = tokio::select! {
            end = server.shutdown(drain_timeout, is_followed) => end,
            () = signals.stop() => Shutdown::AT_ONCE,
        };
        Ok(ended(end))
    }
}

/// Says how the server ended.
fn ended(end: Shutdown) -> ExitCode {
    if !end.is_drained {
        tracing::warn!("stopped before every request had finished");
    }
    if !end.is_closed {
        tracing::error!("the last lines of the ledger may not be on disk");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// Tells systemd, where it started this process and asked for it (`Type=notify`).
fn tell_manager(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(%error, "the service manager cannot be told about a change of state");
    }
}

/// Reads the configuration again, and says what came of it in the log and to `egret reload`. A
/// faulty one changes nothing.
async fn reload(sources: &Sources, server: &Server, reloads: &mut Reloads) -> Option<Config> {
    reloads.begin();
    announce(server, reloads).await;
    let applied = apply(sources, server).await;
    let config = match applied {
        Ok((config, at_restart)) => {
            for key in &at_restart {
                tracing::warn!(key, "this change takes effect at the next start");
            }
            tracing::info!("the new configuration is in force");
            reloads.end(Ok(at_restart));
            Some(config)
        }
        Err(error) => {
            let problem = format!("{error:#}");
            tracing::error!("the new configuration is refused: {problem}");
            reloads.end(Err(problem));
            None
        }
    };
    announce(server, reloads).await;
    config
}

async fn apply(sources: &Sources, server: &Server) -> anyhow::Result<(Config, Vec<&'static str>)> {
    let sources = sources.clone();
    let read = tokio::task::spawn_blocking(move || sources.load());
    let read = tokio::time::timeout(READING, read).await;
    let config = read.context("its files cannot be read in time")???.config;
    let at_restart = server.reload(config.clone()).await?;
    Ok((config, at_restart))
}

async fn announce(server: &Server, reloads: &Reloads) {
    if let Err(error) = server.announce_reloads(reloads).await {
        tracing::warn!("`egret reload` cannot be told how it ended: {error:#}");
    }
}

/// Starts the program that is to follow this one, and says what came of it in the log and to
/// `egret upgrade`. If it does not start nothing changes.
async fn upgrade(server: &Server, upgrades: &mut Upgrades) -> Option<Successor> {
    upgrades.begun += 1;
    tracing::info!("the program that is installed now is to take over");
    match server.start_successor().await {
        Ok(successor) => Some(successor),
        Err(error) => {
            upgrade_failed(server, upgrades, format!("{error:#}")).await;
            None
        }
    }
}

/// Says why this program goes on.
async fn upgrade_failed(server: &Server, upgrades: &mut Upgrades, problem: String) {
    tracing::error!("this program goes on, because the new one cannot take over: {problem}");
    upgrades.problem = Some(problem);
    upgrades.failed = upgrades.begun;
    if let Err(error) = server.announce_upgrades(upgrades).await {
        tracing::warn!("`egret upgrade` cannot be told how it ended: {error:#}");
    }
}

/// Says where the server listens.
fn announce_addresses(server: &Server, config: &Config, log: &Logging) {
    tracing::info!(
        proxy = %server.proxy_addr(),
        admin = %server.admin_addr(),
        data_dir = %config.data_dir.display(),
        "ready"
    );
    for address in server.proxy_tls() {
        tracing::info!(%address, ca_sha256 = server.ca_fingerprint(), "the proxy is spoken to over TLS");
    }
    log.flush();
}

/// Says what to do next, unless the log is for a program that reads JSON.
fn welcome(server: &Server, config: &Config) {
    if config.log.format == LogFormat::Json {
        return;
    }
    eprintln!(
        "\n\
         egret listens on {proxy}; data in {data}\n\n\
         Next, in another terminal:\n  \
           egret credential add github-pat --host api.github.com\n  \
           egret run -- curl -H 'Authorization: Bearer <<github-pat>>' https://api.github.com/user\n  \
           egret ledger tail -f\n\n\
         Is it alive? curl http://{admin}/readyz\n",
        proxy = server.proxy_addr(),
        admin = server.admin_addr(),
        data = config.data_dir.display(),
    );
    if let Some(address) = server.proxy_tls().first() {
        eprintln!(
            "On other machines: https://{address} with the CA {}\n",
            server.ca_fingerprint()
        );
    }
    if !config.proxy.require_auth {
        output::note(&format!(
            "proxy.require_auth is off: every local program may use the credentials of {}",
            config.proxy.principal
        ));
    }
}

/// Says how somebody becomes an administrator, on the first start of a store. The proxy works without.
///
/// The link is a secret for an hour, and is no log line: a log goes to others, and is kept.
async fn invite(server: &Server, config: &Config) {
    if config.log.format == LogFormat::Json {
        tracing::info!("`egret admin link` prints a link for the first administrator");
        return;
    }
    match server.first_link().await {
        Ok(None) => {}
        Ok(Some(link)) => eprintln!(
            "Become the administrator, once, within an hour:\n  {link}\n\
             (`egret admin link` prints another)\n"
        ),
        Err(error) => tracing::warn!("no link for a first administrator was made: {error:#}"),
    }
}

enum Signal {
    Stop,
    Reload,
    Upgrade,
}

/// The signals that a server handles.
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    hangup: tokio::signal::unix::Signal,
    user: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            user: signal(SignalKind::user_defined2())?,
        })
    }

    async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.terminate.recv() => Signal::Stop,
            _ = self.interrupt.recv() => Signal::Stop,
            _ = self.hangup.recv() => Signal::Reload,
            _ = self.user.recv() => Signal::Upgrade,
        }
    }

    /// Waits for a request to stop, whatever else comes.
    async fn stop(&mut self) {
        while !matches!(self.next().await, Signal::Stop) {}
    }
}

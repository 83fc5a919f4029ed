//! `egret serve`

use std::process::ExitCode;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use super::context::Context;
use super::output;
use super::server;
use crate::app::Server;
use crate::config::{Config, Flag, LogFormat, Sources};
use crate::observe::{self, Logging};

/// Run the proxy
///
/// Listens for programs on 127.0.0.1:7070 and for health checks (/healthz, /readyz) on
/// 127.0.0.1:7071. Everything it needs is created on first start: a store, a master key (mode
/// 0600), a certificate authority, the ledger.
///
/// SIGTERM and SIGINT let open requests finish; a second one stops without waiting. SIGHUP, or
/// `egret reload`, puts a changed configuration in force without dropping a connection, and refuses
/// a faulty one.
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
    /// Where health checks go (admin.listen)
    #[arg(long, value_name = "IP:PORT")]
    admin_listen: Option<String>,
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
        let server = server::start(&config).await?;
        welcome(&server, &config, &log);
        let mut drain_timeout = config.proxy.drain_timeout;
        loop {
            match signals.next().await {
                Signal::Stop => break,
                Signal::Reload => {
                    if let Some(config) = reload(&sources, &server) {
                        drain_timeout = config.proxy.drain_timeout;
                    }
                }
            }
        }
        tracing::info!(?drain_timeout, "stopping; open requests may finish");
        let finished = tokio::select! {
            finished = server.shutdown(drain_timeout) => finished,
            () = signals.stop() => false,
        };
        if !finished {
            tracing::warn!("stopped before every request had finished");
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Reads the configuration again. A faulty one changes nothing.
fn reload(sources: &Sources, server: &Server) -> Option<Config> {
    let config = match sources.load() {
        Ok(loaded) => loaded.config,
        Err(problems) => {
            for problem in problems.iter() {
                tracing::error!(%problem, "the new configuration is refused");
            }
            return None;
        }
    };
    match server.reload(config.clone()) {
        Ok(at_restart) => {
            for key in at_restart {
                tracing::warn!(key, "this change takes effect at the next start");
            }
            tracing::info!("the new configuration is in force");
            Some(config)
        }
        Err(error) => {
            tracing::error!("the new configuration is refused: {error:#}");
            None
        }
    }
}

/// Says what to do next, unless the log is for a program that reads JSON.
fn welcome(server: &Server, config: &Config, log: &Logging) {
    tracing::info!(
        proxy = %server.proxy_addr(),
        admin = %server.admin_addr(),
        data_dir = %config.data_dir.display(),
        "ready"
    );
    log.flush();
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
    if !config.proxy.require_auth {
        output::note(&format!(
            "proxy.require_auth is off: every local program may use the credentials of {}",
            config.proxy.principal
        ));
    }
}

enum Signal {
    Stop,
    Reload,
}

/// The signals that a server handles.
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    hangup: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.terminate.recv() => Signal::Stop,
            _ = self.interrupt.recv() => Signal::Stop,
            _ = self.hangup.recv() => Signal::Reload,
        }
    }

    /// Waits for a request to stop, whatever else comes.
    async fn stop(&mut self) {
        while let Signal::Reload = self.next().await {}
    }
}

//! How the program reaches the proxy: one that runs already, or one of our own.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::gate::Gate;
use crate::app::{Server, ServerFile};
use crate::cli::server;
use crate::config::Config;
use crate::vault::Vault;

/// Time for requests that are under way when the program has ended: those of another `egret run`,
/// or our own program's, whose results belong into the ledger.
const DRAIN: Duration = Duration::from_secs(3);

/// Time for tunnels of another `egret run` that were opened a moment ago to say what they want.
const HANDOVER: Duration = Duration::from_millis(250);

/// A way to the proxy.
pub(super) enum Route {
    /// `egret serve` runs on this data directory.
    Serve(SocketAddr),
    /// The proxy runs in this process.
    Own(Box<Server>),
    /// The proxy runs in another `egret run`, which may end first.
    Gate(Gate),
}

impl Route {
    pub(super) async fn establish(config: &Config) -> anyhow::Result<Self> {
        if let Some(route) = Self::to_running(config).await? {
            return Ok(route);
        }
        match server::start(&embedded(config)).await {
            Ok(server) => Ok(Route::Own(Box::new(server))),
            // Someone else was faster.
            Err(error) => match Self::to_running(config).await? {
                Some(route) => Ok(route),
                None => Err(error),
            },
        }
    }

    async fn to_running(config: &Config) -> anyhow::Result<Option<Self>> {
        let Some(file) = server::live(&config.data_dir) else {
            return Ok(None);
        };
        // A server on the configured port was started to stay. Others are those of `egret run`.
        if config.proxy.listen.port() != 0 && file.proxy.port() == config.proxy.listen.port() {
            return Ok(Some(Route::Serve(file.proxy)));
        }
        Ok(Some(Route::Gate(Gate::open(config, file.proxy).await?)))
    }

    /// Where the program connects to.
    pub(super) fn address(&self) -> SocketAddr {
        match self {
            Route::Serve(address) => *address,
            Route::Own(server) => server.proxy_addr(),
            Route::Gate(gate) => gate.address(),
        }
    }

    /// The credentials, where they are in this process anyway.
    pub(super) fn vault(&self) -> Option<&Arc<Vault>> {
        match self {
            Route::Own(server) => Some(server.vault()),
            Route::Serve(_) | Route::Gate(_) => None,
        }
    }

    /// Lets go of the proxy. `shared` says that another `egret run` may be using ours.
    pub(super) async fn close(self, config: &Config, shared: bool) {
        match self {
            Route::Serve(_) => {}
            Route::Own(server) => shutdown(*server, config, shared).await,
            Route::Gate(gate) => gate.close(shared).await,
        }
    }
}

/// The configuration for a server inside this command: on ports that nobody else wants, and closed
/// to whoever finds them.
pub(super) fn embedded(config: &Config) -> Config {
    let mut config = config.clone();
    config.proxy.listen = (Ipv4Addr::LOCALHOST, 0).into();
    config.admin.listen = (Ipv4Addr::LOCALHOST, 0).into();
    config.proxy.require_auth = true;
    config
}

/// Ends a proxy of ours. Others go elsewhere as soon as the file no longer names it, so what they
/// have begun can be finished and nothing new comes.
pub(super) async fn shutdown(server: Server, config: &Config, shared: bool) {
    if shared && fs::remove_file(ServerFile::path(&config.data_dir)).is_ok() {
        tokio::time::sleep(HANDOVER).await;
    }
    server.shutdown(DRAIN).await;
}

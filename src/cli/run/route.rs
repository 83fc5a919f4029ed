//! How the program reaches the proxy: one that runs already, or one of our own.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::gate::Gate;
use crate::app::Server;
use crate::cli::server;
use crate::config::Config;
use crate::vault::Vault;

/// Time for requests that are under way when the program has ended: whoever made them is gone,
/// but their results belong into the ledger.
const DRAIN: Duration = Duration::from_secs(2);

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

    pub(super) async fn close(self) {
        match self {
            Route::Serve(_) => {}
            Route::Own(server) => shutdown(*server).await,
            Route::Gate(gate) => gate.close().await,
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

pub(super) async fn shutdown(server: Server) {
    server.shutdown(DRAIN).await;
}

//! How the program reaches the proxy: one that runs already, or one of our own.

use std::net::SocketAddr;
use std::sync::Arc;

use super::embedded;
use super::forwarder::Forwarder;
use crate::app::Server;
use crate::cli::server;
use crate::config::Config;
use crate::vault::Vault;

/// A way to the proxy.
pub(super) enum ProxyHandle {
    /// `egret serve` runs on this data directory.
    Serving(SocketAddr),
    /// The proxy runs in this process.
    Embedded(Box<Server>),
    /// The proxy runs in another `egret run`, which may end first.
    Forwarded(Forwarder),
}

impl ProxyHandle {
    pub(super) async fn establish(config: &Config) -> anyhow::Result<Self> {
        if let Some(proxy) = Self::to_running(config).await? {
            return Ok(proxy);
        }
        match server::start(&embedded::config(config)).await {
            Ok(server) => Ok(ProxyHandle::Embedded(Box::new(server))),
            // Someone else was faster.
            Err(error) => match Self::to_running(config).await? {
                Some(proxy) => Ok(proxy),
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
            return Ok(Some(ProxyHandle::Serving(file.proxy)));
        }
        Ok(Some(ProxyHandle::Forwarded(
            Forwarder::open(config, file.proxy).await?,
        )))
    }

    /// Where the program connects to.
    pub(super) fn address(&self) -> SocketAddr {
        match self {
            ProxyHandle::Serving(address) => *address,
            ProxyHandle::Embedded(server) => server.proxy_addr(),
            ProxyHandle::Forwarded(forwarder) => forwarder.address(),
        }
    }

    /// The credentials, where they are in this process anyway.
    pub(super) fn vault(&self) -> Option<&Arc<Vault>> {
        match self {
            ProxyHandle::Embedded(server) => Some(server.vault()),
            ProxyHandle::Serving(_) | ProxyHandle::Forwarded(_) => None,
        }
    }

    /// Lets go of the proxy. `shared` says that another `egret run` may be using ours.
    pub(super) async fn close(self, config: &Config, shared: bool) {
        match self {
            ProxyHandle::Serving(_) => {}
            ProxyHandle::Embedded(server) => embedded::shutdown(*server, config, shared).await,
            ProxyHandle::Forwarded(forwarder) => forwarder.close(shared).await,
        }
    }
}

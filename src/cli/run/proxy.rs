//! How the program reaches the proxy: one that is running, or one in this process.

use std::net::SocketAddr;
use std::sync::Arc;

use zeroize::Zeroizing;

use super::embedded;
use super::forwarder::Forwarder;
use super::way::Way;
use crate::app::Server;
use crate::cli::server;
use crate::config::Config;
use crate::vault::Vault;

/// How the program reaches the proxy.
pub(in crate::cli) enum ProxyHandle {
    /// `egret serve` runs on this data directory.
    Serving(SocketAddr),
    /// The proxy runs in this process.
    Embedded(Box<Server>),
    /// The proxy runs in another `egret run`, which may end before this one.
    Forwarded(Forwarder),
}

impl ProxyHandle {
    pub(in crate::cli) async fn establish(config: &Config) -> anyhow::Result<Self> {
        if let Some(proxy) = Self::to_running(config).await? {
            return Ok(proxy);
        }
        match server::start(&embedded::config(config)).await {
            Ok(server) => Ok(ProxyHandle::Embedded(Box::new(server))),
            // Another process was faster.
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
        // A server on the configured port is an `egret serve`. On another port it is an `egret run`.
        if config.proxy.listen.port() != 0 && file.proxy.port() == config.proxy.listen.port() {
            return Ok(Some(ProxyHandle::Serving(file.proxy)));
        }
        Ok(Some(ProxyHandle::Forwarded(
            Forwarder::open(config, file.proxy).await?,
        )))
    }

    /// Where the program connects to.
    pub(in crate::cli) fn address(&self) -> SocketAddr {
        match self {
            ProxyHandle::Serving(address) => *address,
            ProxyHandle::Embedded(server) => server.proxy_addr(),
            ProxyHandle::Forwarded(forwarder) => forwarder.address(),
        }
    }

    /// How connections get to the proxy that are vouched for: for the client with these credentials.
    pub(super) fn way(&self, credentials: &str) -> Way {
        let own = || Arc::new(Zeroizing::new(credentials.to_owned()));
        match self {
            ProxyHandle::Serving(address) => Way::To(*address, own()),
            ProxyHandle::Embedded(server) => Way::Here(server.vouch_for(credentials)),
            ProxyHandle::Forwarded(forwarder) => Way::Through(forwarder.state(), own()),
        }
    }

    /// The credentials, if the proxy runs in this process.
    pub(super) fn vault(&self) -> Option<&Arc<Vault>> {
        match self {
            ProxyHandle::Embedded(server) => Some(server.vault()),
            ProxyHandle::Serving(_) | ProxyHandle::Forwarded(_) => None,
        }
    }

    /// Stops using the proxy, and ends it if it runs in this process. `shared` says that another
    /// `egret run` may be using it.
    pub(in crate::cli) async fn close(self, config: &Config, shared: bool) {
        match self {
            ProxyHandle::Serving(_) => {}
            ProxyHandle::Embedded(server) => embedded::shutdown(*server, config, shared).await,
            ProxyHandle::Forwarded(forwarder) => forwarder.close(shared).await,
        }
    }
}

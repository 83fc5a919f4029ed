//! The listeners of a server: bound first, so that what fails does so before anything is served, and
//! started once the proxy is there.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::config::Config;
use crate::identity::Presented;
use crate::proxy::inbound::listener::{self, Admission, Port};
use crate::proxy::inbound::port::{BaseUrlPort, ProxyPort, TransparentPort};
use crate::proxy::runtime::workers::Workers;

/// A listener, and where it is.
pub(super) struct Bound {
    listener: TcpListener,
    pub address: SocketAddr,
}

impl Bound {
    fn to(address: SocketAddr, key: &str) -> Result<Self> {
        let listener = match listener::bind(address) {
            Ok(listener) => listener,
            Err(error) => bail!(
                "cannot listen on {address} ({key}): {error}; is another egret running? \
                 Choose another port with {key}"
            ),
        };
        Ok(Self {
            address: listener.local_addr()?,
            listener,
        })
    }

    fn to_all(addresses: &[SocketAddr], key: &str) -> Result<Vec<Self>> {
        let bound = addresses.iter().map(|address| Self::to(*address, key));
        bound.collect()
    }

    /// Has the workers accept from it.
    fn serve<P: Port>(
        self,
        port: &P,
        admission: &Admission,
        workers: &Workers,
    ) -> Result<Vec<JoinHandle<()>>> {
        listener::start(port, self.listener, admission, workers)
            .context("cannot accept connections")
    }

    /// The socket, for who accepts from it otherwise.
    pub fn into_listener(self) -> TcpListener {
        self.listener
    }
}

/// Every listener of a server.
pub(super) struct Listeners {
    pub admin: Bound,
    pub clients: ClientListeners,
}

/// The listeners that clients connect to.
pub(super) struct ClientListeners {
    pub proxy: Bound,
    transparent: Vec<Bound>,
    base_url: Vec<Bound>,
}

impl Listeners {
    /// Binds what the configuration names.
    pub fn bind(config: &Config) -> Result<Self> {
        Ok(Self {
            clients: ClientListeners {
                proxy: Bound::to(config.proxy.listen, "proxy.listen")?,
                transparent: Bound::to_all(&config.transparent.listen, "transparent.listen")?,
                base_url: Bound::to_all(&config.base_url.listen, "base_url.listen")?,
            },
            admin: Bound::to(config.admin.listen, "admin.listen")?,
        })
    }

    /// Where all of them are.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let ClientListeners {
            proxy,
            transparent,
            base_url,
        } = &self.clients;
        let others = transparent.iter().chain(base_url);
        let all = [proxy, &self.admin].into_iter().chain(others);
        all.map(|bound| bound.address).collect()
    }
}

impl ClientListeners {
    /// Where base URLs are served.
    pub fn base_urls(&self) -> Vec<SocketAddr> {
        self.base_url.iter().map(|bound| bound.address).collect()
    }

    /// Accepts clients on all of them. Returns what accepts, to be ended with the server.
    pub fn serve(
        self,
        config: &Config,
        admission: &Admission,
        workers: &Workers,
    ) -> Result<Vec<JoinHandle<()>>> {
        let mut accepting = self.proxy.serve(&ProxyPort, admission, workers)?;
        let transparent = &config.transparent;
        for bound in self.transparent {
            // Without a principal the configuration is refused, or the list is empty.
            let Some(principal) = transparent.principal.clone() else {
                break;
            };
            let holder = Presented::configured(principal, &transparent.action, "transparent");
            let port = TransparentPort {
                holder: Arc::new(holder),
                own: bound.address,
            };
            accepting.extend(bound.serve(&port, admission, workers)?);
        }
        let base_url = &config.base_url;
        for bound in self.base_url {
            let holder = base_url.principal.clone();
            let holder =
                holder.map(|holder| Presented::configured(holder, &base_url.action, "base-url"));
            let port = BaseUrlPort {
                holder: holder.map(Arc::new),
                own: bound.address,
            };
            accepting.extend(bound.serve(&port, admission, workers)?);
        }
        Ok(accepting)
    }
}

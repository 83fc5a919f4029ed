//! The listeners of a server: bound first, so that what fails does so before anything is served, and
//! started once the proxy is there.

use std::net::SocketAddr;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::handover::Handed;
use super::inherited::{Inherited, MANAGED};
use super::unix_socket::UnixSocket;
use crate::config::Config;
use crate::identity::Presented;
use crate::proxy::inbound::listener::{self, Admission, Port};
use crate::proxy::inbound::port::{
    BaseUrlPort, BaseUrlTlsPort, BaseUrlUnixPort, ProxyPort, TlsPort, TransparentPort,
};
use crate::proxy::runtime::workers::Workers;

/// A listener, and where it is.
pub(super) struct Bound {
    listener: TcpListener,
    pub address: SocketAddr,
    /// The configuration's key that names it.
    key: &'static str,
}

impl Bound {
    fn to(address: SocketAddr, key: &'static str, inherited: &mut Inherited) -> Result<Self> {
        let before = inherited.take(address, key).map(TcpListener::from_std);
        let listener = match before.unwrap_or_else(|| listener::bind(address)) {
            Ok(listener) => listener,
            Err(error) => bail!(
                "cannot listen on {address} ({key}): {error}; is another egret running? \
                 Choose another port with {key}"
            ),
        };
        Ok(Self {
            address: listener.local_addr()?,
            listener,
            key,
        })
    }

    fn to_all(
        addresses: &[SocketAddr],
        key: &'static str,
        inherited: &mut Inherited,
    ) -> Result<Vec<Self>> {
        let bound = addresses
            .iter()
            .map(|address| Self::to(*address, key, inherited));
        bound.collect()
    }

    /// The socket once more, for a process that follows this one.
    fn handed(&self) -> Result<Handed> {
        Ok(Handed {
            key: self.key.to_owned(),
            socket: self.listener.as_fd().try_clone_to_owned()?,
        })
    }

    /// Has the workers accept from it.
    fn serve<P: Port<Stream = TcpStream>>(
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

/// The same for a Unix socket.
struct BoundUnix {
    listener: UnixListener,
    socket: UnixSocket,
    /// The configuration's key that names it.
    key: &'static str,
}

impl BoundUnix {
    fn to(path: &Path, key: &'static str, inherited: &mut Inherited) -> Result<Self> {
        let before = inherited.take_unix(path, key);
        let bound = match before {
            // One that was removed meanwhile is reached by nobody.
            Some(before) if path.exists() => {
                UnixSocket::inherited(path, before.is_managed).map(|it| (before.listener, it))
            }
            _ => UnixSocket::bind(path),
        };
        let (listener, socket) =
            bound.with_context(|| format!("cannot listen on unix:{} ({key})", path.display()))?;
        Ok(Self {
            listener,
            socket,
            key,
        })
    }

    fn handed(&self) -> Result<Handed> {
        let prefix = if self.socket.is_managed { MANAGED } else { "" };
        Ok(Handed {
            key: format!("{prefix}{}", self.key),
            socket: self.listener.as_fd().try_clone_to_owned()?,
        })
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
    proxy_tls: Vec<Bound>,
    transparent: Vec<Bound>,
    base_url: Vec<Bound>,
    base_url_unix: Vec<BoundUnix>,
    base_url_tls: Vec<Bound>,
}

impl Listeners {
    /// Binds what the configuration names, unless such a socket is there already.
    pub fn bind(config: &Config, mut inherited: Inherited) -> Result<Self> {
        let from = &mut inherited;
        let sockets = config.base_url.sockets.iter();
        let sockets = sockets.map(|path| BoundUnix::to(path, "base_url.listen", from));
        let base_url_unix = sockets.collect::<Result<_>>()?;
        let listeners = Self {
            clients: ClientListeners {
                proxy: Bound::to(config.proxy.listen, "proxy.listen", from)?,
                proxy_tls: Bound::to_all(&config.proxy.tls.listen, "proxy.tls_listen", from)?,
                transparent: Bound::to_all(&config.transparent.listen, "transparent.listen", from)?,
                base_url: Bound::to_all(&config.base_url.listen, "base_url.listen", from)?,
                base_url_unix,
                base_url_tls: Bound::to_all(
                    &config.base_url.tls_listen,
                    "base_url.tls_listen",
                    from,
                )?,
            },
            admin: Bound::to(config.admin.listen, "admin.listen", from)?,
        };
        for address in inherited.left() {
            tracing::warn!(%address, "a socket was passed to this process that no key names");
        }
        Ok(listeners)
    }

    /// All of them once more, for a process that follows this one.
    pub fn handed(&self) -> Result<Vec<Handed>> {
        let unix = self.clients.base_url_unix.iter().map(BoundUnix::handed);
        self.all().map(Bound::handed).chain(unix).collect()
    }

    /// Where all of them are.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.all().map(|bound| bound.address).collect()
    }

    fn all(&self) -> impl Iterator<Item = &Bound> {
        let ClientListeners {
            proxy,
            proxy_tls,
            transparent,
            base_url,
            base_url_unix: _,
            base_url_tls,
        } = &self.clients;
        let others = proxy_tls.iter().chain(transparent);
        let others = others.chain(base_url).chain(base_url_tls);
        [proxy, &self.admin].into_iter().chain(others)
    }
}

impl ClientListeners {
    /// Where base URLs are served.
    pub fn base_urls(&self) -> Vec<SocketAddr> {
        addresses(&self.base_url)
    }

    /// Where base URLs are served over TLS.
    pub fn base_urls_tls(&self) -> Vec<SocketAddr> {
        addresses(&self.base_url_tls)
    }

    /// Where the proxy is spoken to over TLS.
    pub fn proxy_tls(&self) -> Vec<SocketAddr> {
        addresses(&self.proxy_tls)
    }

    /// The Unix sockets where base URLs are served.
    pub fn base_url_sockets(&self) -> Vec<PathBuf> {
        let sockets = self.base_url_unix.iter();
        sockets.map(|bound| bound.socket.path.clone()).collect()
    }

    /// Accepts clients on all of them. Returns what accepts, to be ended with the server, and the Unix
    /// sockets, to be removed with it.
    pub fn serve(
        self,
        config: &Config,
        admission: &Admission,
        workers: &Workers,
    ) -> Result<(Vec<JoinHandle<()>>, Vec<UnixSocket>)> {
        let mut accepting = self.proxy.serve(&ProxyPort, admission, workers)?;
        for bound in self.proxy_tls {
            accepting.extend(bound.serve(&TlsPort, admission, workers)?);
        }
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
        let holder = base_url.principal.clone();
        let holder =
            holder.map(|holder| Presented::configured(holder, &base_url.action, "base-url"));
        let holder = holder.map(Arc::new);
        for bound in self.base_url {
            let port = BaseUrlPort {
                holder: holder.clone(),
                own: bound.address,
            };
            accepting.extend(bound.serve(&port, admission, workers)?);
        }
        let mut sockets = Vec::new();
        for bound in self.base_url_unix {
            let port = BaseUrlUnixPort {
                holder: holder.clone(),
            };
            let accepted = listener::start_unix(port, bound.listener, admission);
            accepting.push(accepted.context("cannot accept connections")?);
            sockets.push(bound.socket);
        }
        for bound in self.base_url_tls {
            accepting.extend(bound.serve(&BaseUrlTlsPort, admission, workers)?);
        }
        Ok((accepting, sockets))
    }
}

fn addresses(listeners: &[Bound]) -> Vec<SocketAddr> {
    listeners.iter().map(|bound| bound.address).collect()
}

//! The parent proxy (`upstream.proxy`): the one way to the network where a company has no other.
//!
//! Everything goes through it in a tunnel, plain HTTP too, so that it sees no request. There is no way
//! round it: where it does not connect, nothing is connected.
//!
//! It resolves the names. So of a name only the name is checked here; what it leads to, the parent has
//! to refuse. Addresses are checked here as always.

mod failure;
mod http;
mod login;
mod socks;

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;

pub use self::failure::Target;
use self::failure::{Failed, proxy_failed};
pub use self::login::Login;
use crate::config::{ParentProtocol, ParentProxy};
use crate::error::Refusal;
use crate::policy::destination::{Host, Scheme};
use crate::proxy::outbound::connected::Connected;

/// A parent proxy.
pub struct Parent {
    config: ParentProxy,
    /// Where it is, if its name is not looked up.
    addresses: Vec<SocketAddr>,
    tls: TlsConnector,
    login: Option<Login>,
}

impl Parent {
    /// A parent at `addresses`, or, without any, where its name leads.
    pub fn new(
        config: ParentProxy,
        addresses: Vec<SocketAddr>,
        tls: &Arc<ClientConfig>,
        login: Option<Login>,
    ) -> Self {
        let mut tls = ClientConfig::clone(tls);
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        Self {
            config,
            addresses,
            tls: TlsConnector::from(Arc::new(tls)),
            login,
        }
    }

    /// Whether `host` is reached without it.
    pub fn is_exempt(&self, host: &Host) -> bool {
        self.config.is_exempt(host)
    }

    /// Opens a tunnel to `target`.
    ///
    /// # Errors
    /// `upstream_proxy_failed` where the parent is at fault, and `upstream_unreachable` where it says
    /// that the target is.
    pub async fn open(&self, target: &Target, deadline: Instant) -> Result<Connected, Refusal> {
        let opened = timeout_at(deadline, self.try_open(target)).await;
        match opened {
            Ok(Ok(connected)) => Ok(connected),
            Ok(Err(Failed::Refused(refusal))) => Err(refusal),
            Ok(Err(Failed::Io(error))) => Err(proxy_failed(format!(
                "the proxy of upstream.proxy cannot be used: {}",
                error.kind()
            ))),
            Err(_) => Err(proxy_failed(
                "the proxy of upstream.proxy did not connect within upstream.connect_timeout",
            )),
        }
    }

    async fn try_open(&self, target: &Target) -> Result<Connected, Failed> {
        let stream = self.connect().await?;
        // Without it the connection is only slower.
        let _ = stream.set_nodelay(true);
        let mut connected = if self.config.place.scheme == Scheme::Https {
            Connected::Tls(Box::new(self.encrypt(stream).await?))
        } else {
            Connected::Tcp(stream)
        };
        let login = match &self.login {
            Some(login) => Some(login.take(&self.config).await?),
            None => None,
        };
        match self.config.protocol {
            ParentProtocol::Http => http::connect(&mut connected, target, login.as_ref()).await?,
            ParentProtocol::Socks => socks::connect(&mut connected, target, login.as_ref()).await?,
        }
        Ok(connected)
    }

    /// The operator has named the parent, so its address is not asked about: it is usually private.
    async fn connect(&self) -> Result<TcpStream, Failed> {
        if !self.addresses.is_empty() {
            return Ok(TcpStream::connect(&*self.addresses).await?);
        }
        let (host, port) = (&self.config.place.host, self.config.place.port);
        if let Some(address) = host.as_ip() {
            return Ok(TcpStream::connect((address, port)).await?);
        }
        let found = lookup_host((host.to_string(), port)).await;
        let found: Vec<SocketAddr> = found
            .map_err(|_| proxy_failed("the name of upstream.proxy cannot be resolved"))?
            .collect();
        Ok(TcpStream::connect(&*found).await?)
    }

    async fn encrypt(
        &self,
        stream: TcpStream,
    ) -> Result<tokio_rustls::client::TlsStream<TcpStream>, Failed> {
        let host = &self.config.place.host;
        let name = match host.as_ip() {
            Some(address) => ServerName::from(address),
            None => ServerName::try_from(host.to_string())
                .map_err(|_| proxy_failed("the name of upstream.proxy is no TLS server name"))?,
        };
        let shaken = self.tls.connect(name, stream).await;
        Ok(shaken.map_err(|_| {
            proxy_failed(
                "the TLS handshake with the proxy of upstream.proxy failed; if its certificate is \
                 signed by a private authority, add that to upstream.ca_files",
            )
        })?)
    }
}

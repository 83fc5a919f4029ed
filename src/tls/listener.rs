//! TLS on the proxy's own listener: for clients that speak to the proxy itself over TLS.

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{Acceptor, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use super::leaf::{self, LeafCache};
use super::provider::provider;
use crate::policy::destination::Host;

/// What programs speak inside: a proxy is asked in HTTP/1.1.
const PROTOCOL: &[u8] = b"http/1.1";
/// The name that every listener has.
const LOCAL: &str = "localhost";

/// Why TLS cannot be set up on a listener. Texts of the library are not shown: they quote files.
#[derive(Debug, thiserror::Error)]
pub enum ListenerTlsError {
    /// A file cannot be read as PEM.
    #[error("{key}: {path} cannot be read, or holds no {what} as PEM")]
    File {
        /// The configuration's key.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
    },
    /// The certificate was made for another key.
    #[error("proxy.tls_key: {path} is not the key of the certificate in proxy.tls_cert")]
    Mismatch {
        /// The key's file.
        path: PathBuf,
    },
    /// The cryptography library refused.
    #[error("TLS cannot be set up for proxy.tls_listen")]
    Crypto,
}

/// What a listener shows, and what it demands.
pub struct ListenerTls {
    common: ServerConfig,
    /// The certificate is a given one; otherwise the authority signs one for the name.
    is_given: bool,
    names: Vec<Host>,
}

impl ListenerTls {
    /// For clients that connect under these `names`, with certificate and key from two files if they
    /// are given. With `client_ca` clients have to show a certificate of that authority.
    ///
    /// # Errors
    /// When a file cannot be used.
    pub fn new(
        names: Vec<Host>,
        certificate: Option<(&Path, &Path)>,
        client_ca: Option<&Path>,
    ) -> Result<Self, ListenerTlsError> {
        let clients = match client_ca {
            Some(path) => verifier(path)?,
            None => WebPkiClientVerifier::no_client_auth(),
        };
        let mut common =
            leaf::common(vec![PROTOCOL.to_vec()], clients).map_err(|_| ListenerTlsError::Crypto)?;
        if let Some((chain, key)) = certificate {
            common.cert_resolver = Arc::new(SingleCertAndKey::from(certified(chain, key)?));
        }
        Ok(Self {
            common,
            is_given: certificate.is_some(),
            names,
        })
    }

    /// Performs the server's side of the handshake on a connection that was made to the address `local`.
    ///
    /// Under a name that is not the listener's the client gets the certificate of the address: nobody
    /// can have certificates made here for other hosts.
    ///
    /// # Errors
    /// When the handshake failed.
    pub async fn accept<S>(
        &self,
        io: S,
        local: IpAddr,
        leaves: &LeafCache,
    ) -> io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let start = LazyConfigAcceptor::new(Acceptor::default(), io).await?;
        let mut config = self.common.clone();
        if !self.is_given {
            let named = start.client_hello().server_name().map(Host::parse);
            let named = named.and_then(Result::ok).filter(|name| self.is_own(name));
            let host = named.unwrap_or_else(|| match local.to_canonical() {
                IpAddr::V4(address) => Host::Ipv4(address),
                IpAddr::V6(address) => Host::Ipv6(address),
            });
            let leaf = leaves.leaf_for(&host).map_err(io::Error::other)?;
            config.cert_resolver = Arc::clone(&leaf.config.cert_resolver);
        }
        start.into_stream(Arc::new(config)).await
    }

    fn is_own(&self, name: &Host) -> bool {
        let is_local = matches!(name, Host::Domain(name) if **name == *LOCAL);
        is_local || self.names.contains(name)
    }
}

fn certified(chain: &Path, key: &Path) -> Result<CertifiedKey, ListenerTlsError> {
    let certificates = read_chain(chain, "proxy.tls_cert")?;
    let private = PrivateKeyDer::from_pem_file(key).map_err(|_| ListenerTlsError::File {
        key: "proxy.tls_key",
        path: key.to_owned(),
        what: "private key",
    })?;
    CertifiedKey::from_der(certificates, private, &provider()).map_err(|_| {
        ListenerTlsError::Mismatch {
            path: key.to_owned(),
        }
    })
}

fn read_chain(
    path: &Path,
    key: &'static str,
) -> Result<Vec<CertificateDer<'static>>, ListenerTlsError> {
    let read = || {
        let all = CertificateDer::pem_file_iter(path).ok()?;
        let all: Vec<_> = all.collect::<Result<_, _>>().ok()?;
        (!all.is_empty()).then_some(all)
    };
    read().ok_or_else(|| ListenerTlsError::File {
        key,
        path: path.to_owned(),
        what: "certificate",
    })
}

fn verifier(path: &Path) -> Result<Arc<dyn ClientCertVerifier>, ListenerTlsError> {
    const KEY: &str = "proxy.tls_client_ca";
    let mut roots = RootCertStore::empty();
    for certificate in read_chain(path, KEY)? {
        roots.add(certificate).map_err(|_| ListenerTlsError::File {
            key: KEY,
            path: path.to_owned(),
            what: "certificate of an authority",
        })?;
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider())
        .build()
        .map_err(|_| ListenerTlsError::Crypto)
}

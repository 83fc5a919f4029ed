//! TLS towards the client on the proxy's own listeners.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::policy::destination::Host;

/// The `tls_…` keys of `[proxy]`.
#[derive(Clone, Debug)]
pub struct ListenerTls {
    /// Where it listens. Port 0 picks a free one.
    pub listen: Vec<SocketAddr>,
    /// Under which names clients connect, beside `localhost` and the address itself.
    pub names: Vec<Host>,
    /// The given certificate; without one Egret's authority signs one for the name.
    pub certificate: Option<CertificateFiles>,
    /// The authority that has signed the clients' certificates, if they have to show one.
    pub client_ca: Option<PathBuf>,
}

/// A certificate chain and its key, PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The certificate, and those between it and its authority.
    pub chain: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

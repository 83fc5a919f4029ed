//! The proxy of another machine, to which the run's own listener passes connections on over TLS.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use http::Uri;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use zeroize::Zeroizing;

use crate::cli::exit::usage;
use crate::config::Config;
use crate::environment::inherited::TOKEN_VARIABLE;
use crate::files;
use crate::tls;
use crate::tls::fingerprint::Fingerprint;

/// Time to connect to the proxy, with its handshake.
const CONNECT: Duration = Duration::from_secs(15);
/// Time for its answer that says which authority it has.
const ANSWER: Duration = Duration::from_secs(15);
/// The longest such answer that is read, in bytes.
const LONGEST: u64 = 256 * 1024;
/// The directory in the data directory with the authorities of other machines' proxies.
const DIRECTORY: &str = "remote";

/// A proxy on another machine.
#[derive(Clone)]
pub(super) struct Remote {
    host: Arc<str>,
    port: u16,
    name: ServerName<'static>,
    tls: TlsConnector,
    fingerprint: Fingerprint,
}

/// What is known of the authority of such a proxy.
pub(super) struct RemoteAuthority {
    /// The directory for what is made of it.
    pub directory: PathBuf,
    /// Its file, PEM.
    pub file: PathBuf,
}

impl Remote {
    /// The proxy at the address `https://HOST:PORT`, whose authority has this fingerprint. `own` is a file
    /// with the certificate that it wants of its clients, and the key.
    pub(super) fn new(
        address: &Uri,
        fingerprint: Fingerprint,
        own: Option<&Path>,
        config: &Config,
    ) -> anyhow::Result<Self> {
        let expected = || usage("--server: expected https://HOST:PORT");
        let is_bare = matches!(address.path(), "" | "/") && address.query().is_none();
        let authority = address
            .authority()
            .filter(|_| is_bare)
            .ok_or_else(expected)?;
        if address.scheme_str() != Some("https") || authority.as_str().contains('@') {
            return Err(expected());
        }
        let port = authority.port_u16().ok_or_else(expected)?;
        let host = authority.host().trim_matches(['[', ']']);
        let name = ServerName::try_from(host.to_owned()).map_err(|_| expected())?;
        let tls = tls::client::pinned(fingerprint, &config.upstream.ca_files, own)?;
        Ok(Self {
            host: host.into(),
            port,
            name,
            tls: TlsConnector::from(tls),
            fingerprint,
        })
    }

    /// A connection to it, on which nothing was said yet.
    pub(super) async fn connect(&self) -> io::Result<TlsStream<TcpStream>> {
        let connected = timeout(CONNECT, async {
            let socket = TcpStream::connect((&*self.host, self.port)).await?;
            // Small writes followed by waits: with Nagle's algorithm each would cost 40 ms.
            socket.set_nodelay(true)?;
            self.tls.connect(self.name.clone(), socket).await
        });
        connected
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    /// Asks which authority is to be trusted, and keeps it if it has the fingerprint.
    pub(super) async fn authority(
        &self,
        credentials: &str,
        data_dir: &Path,
    ) -> anyhow::Result<RemoteAuthority> {
        let pem = self.fetch(credentials).await?;
        let certificates = CertificateDer::pem_slice_iter(pem.as_bytes());
        let certificates: Vec<_> = certificates
            .collect::<Result<_, _>>()
            .map_err(|_| anyhow::anyhow!("the proxy's answer holds no certificates"))?;
        let mut fingerprints = certificates.iter().map(Fingerprint::of);
        if !fingerprints.any(|fingerprint| fingerprint == self.fingerprint) {
            bail!(
                "the proxy's authority is not the one of --ca-sha256; nothing was started. On its \
                 machine `egret ca status` prints the fingerprint"
            );
        }
        let directory = data_dir.join(DIRECTORY).join(self.fingerprint.to_string());
        let file = directory.join(files::CA_CERT);
        let write = || {
            for own in [data_dir, &data_dir.join(DIRECTORY), &directory] {
                files::private_directory(own)?;
            }
            files::replace(&file, pem.as_bytes(), files::PUBLIC)
        };
        write().with_context(|| format!("cannot write {}", file.display()))?;
        Ok(RemoteAuthority { directory, file })
    }

    async fn fetch(&self, credentials: &str) -> anyhow::Result<String> {
        let mut stream = self.connect().await.map_err(|error| match error.kind() {
            io::ErrorKind::InvalidData => anyhow::anyhow!(
                "{}:{} has no certificate of the authority of --ca-sha256; nothing was started",
                self.host,
                self.port
            ),
            kind => anyhow::anyhow!("{}:{} cannot be reached: {kind}", self.host, self.port),
        })?;
        let request = Zeroizing::new(format!(
            "GET http://egret.internal/ca.pem HTTP/1.1\r\nHost: egret.internal\r\n\
             Proxy-Authorization: {credentials}\r\nConnection: close\r\n\r\n"
        ));
        let answered = timeout(ANSWER, async {
            stream.write_all(request.as_bytes()).await?;
            let mut answer = String::new();
            stream.take(LONGEST).read_to_string(&mut answer).await?;
            Ok::<_, io::Error>(answer)
        });
        let answer = match answered.await {
            Ok(Ok(answer)) => answer,
            // A proxy that wants a certificate of its clients says so after the handshake.
            Ok(Err(_)) => bail!(
                "the proxy closed the connection; does it want a certificate (--client-cert)?"
            ),
            Err(_) => bail!("the proxy did not answer in time"),
        };
        match answer.split_once("\r\n\r\n") {
            Some((head, pem)) if head.starts_with("HTTP/1.1 200 ") => Ok(pem.to_owned()),
            Some((head, _)) if head.starts_with("HTTP/1.1 407 ") => {
                bail!("the proxy does not accept the token in {TOKEN_VARIABLE}")
            }
            _ => bail!("the proxy does not say which authority it has; is it an Egret?"),
        }
    }
}

//! The assistant: an ordinary client that goes through the proxy and knows no secret.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use zeroize::Zeroizing;

use crate::tls;

/// Longest answer that is read. Those of the demonstration are short.
const MAX_ANSWER: u64 = 64 * 1024;

pub(super) struct Assistant {
    proxy: SocketAddr,
    host: &'static str,
    token: Zeroizing<String>,
    connector: TlsConnector,
}

/// What came back.
pub(super) struct Answer {
    pub(super) status: u16,
    bytes: Vec<u8>,
}

impl Assistant {
    /// Trusts the proxy's CA and nothing else.
    pub(super) fn new(
        proxy: SocketAddr,
        host: &'static str,
        token: Zeroizing<String>,
        ca_pem: &str,
    ) -> anyhow::Result<Self> {
        let mut roots = RootCertStore::empty();
        // While the authority is rotated there are two.
        for certificate in CertificateDer::pem_slice_iter(ca_pem.as_bytes()) {
            roots.add(certificate?)?;
        }
        let config = ClientConfig::builder_with_provider(tls::provider())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self {
            proxy,
            host,
            token,
            connector: TlsConnector::from(Arc::new(config)),
        })
    }

    /// Sends one request through a tunnel of its own and reads the answer to its end.
    pub(super) async fn send(&self, request: &[u8]) -> anyhow::Result<Answer> {
        let tunnel = self.connect().await?;
        let name = ServerName::try_from(self.host)?;
        let mut stream = self.connector.connect(name, tunnel).await?;
        stream.write_all(request).await?;
        stream.flush().await?;
        let mut bytes = Vec::new();
        match stream.take(MAX_ANSWER).read_to_end(&mut bytes).await {
            // A peer may close the connection without TLS's close_notify; the answer is complete by then.
            Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => return Err(error.into()),
            _ => {}
        }
        Answer::parse(bytes).context("the proxy's answer is not HTTP")
    }

    async fn connect(&self) -> anyhow::Result<TcpStream> {
        let mut stream = TcpStream::connect(self.proxy).await?;
        let credentials = STANDARD.encode(format!("demo:{}", self.token.as_str()));
        let head = format!(
            "CONNECT {0}:443 HTTP/1.1\r\nHost: {0}:443\r\n\
             Proxy-Authorization: Basic {credentials}\r\n\r\n",
            self.host
        );
        stream.write_all(head.as_bytes()).await?;
        let mut answer = Vec::new();
        // Byte by byte, so as not to read into the tunnel.
        while !answer.ends_with(b"\r\n\r\n") && answer.len() < 4096 {
            answer.push(stream.read_u8().await?);
        }
        if !answer.starts_with(b"HTTP/1.1 200") {
            bail!("the proxy refused the tunnel");
        }
        Ok(stream)
    }
}

impl Answer {
    fn parse(bytes: Vec<u8>) -> Option<Self> {
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut head = httparse::Response::new(&mut headers);
        head.parse(&bytes).ok()?;
        let status = head.code?;
        Some(Self { status, bytes })
    }

    /// A member of the problem body, or nothing.
    fn member(&self, name: &str) -> String {
        let end = memchr::memmem::find(&self.bytes, b"\r\n\r\n");
        let body = end
            .and_then(|end| self.bytes.get(end + 4..))
            .unwrap_or_default();
        // The body may come in chunks; the object is what lies between the outer braces.
        let from = memchr::memchr(b'{', body);
        let to = memchr::memrchr(b'}', body);
        let object = from
            .zip(to)
            .and_then(|(from, to)| body.get(from..=to))
            .unwrap_or_default();
        let object: serde_json::Value = serde_json::from_slice(object).unwrap_or_default();
        object
            .get(name)
            .and_then(|value| value.as_str())
            .unwrap_or_default()
            .to_owned()
    }

    /// The error code, of a refusal.
    pub(super) fn code(&self) -> String {
        self.member("code")
    }

    /// How to fix it, of a refusal.
    pub(super) fn detail(&self) -> String {
        self.member("detail")
    }

    /// Whether the value is in it.
    pub(super) fn holds(&self, value: &[u8]) -> bool {
        memchr::memmem::find(&self.bytes, value).is_some()
    }
}

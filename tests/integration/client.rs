//! A client that sends exactly the bytes that a test gives it.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::wire::{Response, Wire, WireError};
use crate::within;
use crate::world::{HOST, World};

/// A tunnel through the proxy with TLS inside.
pub struct Tunnel {
    pub wire: Wire<TlsStream<TcpStream>>,
}

/// What a tunnel is opened with.
#[derive(Clone)]
pub struct Wanted {
    /// Authority of the CONNECT.
    pub authority: String,
    /// Server name of the TLS handshake; without one the tunnel carries no TLS.
    pub server_name: String,
    /// The whole value of `Proxy-Authorization`.
    pub authorization: Option<String>,
    /// TLS configuration; by default one that trusts Egret's CA only.
    pub tls: Option<Arc<rustls::ClientConfig>>,
}

/// `Basic base64(action:token)`.
pub fn basic(action: &str, token: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{action}:{token}")))
}

/// A TLS client configuration that trusts one PEM root and offers HTTP/1.1.
pub fn trusting(pem: &[u8]) -> Arc<rustls::ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    for cert in CertificateDer::pem_slice_iter(pem) {
        roots.add(cert.expect("a certificate")).expect("add a root");
    }
    trusting_store(roots)
}

/// [`trusting`] with a root store.
pub fn trusting_store(roots: rustls::RootCertStore) -> Arc<rustls::ClientConfig> {
    let mut config = rustls::ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Arc::new(config)
}

impl Wanted {
    /// A tunnel to [`HOST`] for action `act-1` of client `tester`.
    pub fn new(world: &World) -> Self {
        Self {
            authority: format!("{HOST}:443"),
            server_name: HOST.to_owned(),
            authorization: Some(basic("act-1", &world.token)),
            tls: None,
        }
    }

    /// The same for another host.
    pub fn host(mut self, host: &str) -> Self {
        self.authority = format!("{host}:443");
        self.server_name = host.to_owned();
        self
    }

    /// The same with another `Proxy-Authorization`.
    pub fn authorized(mut self, value: impl Into<String>) -> Self {
        self.authorization = Some(value.into());
        self
    }

    /// The head of the CONNECT.
    pub fn head(&self) -> String {
        let authorization = self
            .authorization
            .as_ref()
            .map(|value| format!("Proxy-Authorization: {value}\r\n"))
            .unwrap_or_default();
        format!(
            "CONNECT {0} HTTP/1.1\r\nHost: {0}\r\n{authorization}\r\n",
            self.authority
        )
    }

    /// Sends the CONNECT. Returns the tunnel's socket, or the answer that refused it.
    pub async fn connect(&self, world: &World) -> Result<TcpStream, Response> {
        let mut wire = world.dial().await;
        wire.send(self.head()).await.expect("send a CONNECT");
        let answer = within("the answer to a CONNECT", wire.connect_response())
            .await
            .expect("an answer to a CONNECT");
        match answer.status {
            200..=299 => Ok(wire.into_io()),
            _ => Err(answer),
        }
    }

    /// Opens the tunnel and completes the TLS handshake in it.
    pub async fn open(&self, world: &World) -> Result<Tunnel, Response> {
        let tls = match &self.tls {
            Some(tls) => tls.clone(),
            None => trusting(&world.ca_pem().await),
        };
        let socket = self.connect(world).await?;
        let name = ServerName::try_from(self.server_name.clone()).expect("a server name");
        let stream = within(
            "the handshake in a tunnel",
            TlsConnector::from(tls).connect(name, socket),
        )
        .await
        .expect("TLS in a tunnel");
        Ok(Tunnel {
            wire: Wire::new(stream),
        })
    }
}

impl Tunnel {
    /// Sends bytes as they are and reads one answer.
    pub async fn roundtrip(&mut self, request: impl AsRef<[u8]>) -> Response {
        self.try_roundtrip(request)
            .await
            .unwrap_or_else(|e| panic!("no answer in the tunnel: {e}"))
    }

    /// [`Tunnel::roundtrip`] where a failure is a possible outcome.
    pub async fn try_roundtrip(
        &mut self,
        request: impl AsRef<[u8]>,
    ) -> Result<Response, WireError> {
        let request = request.as_ref();
        // A refusal may come, and the connection close, before a large request is written.
        let _ = within("sending a request", self.wire.send(request)).await;
        let to_head = request.starts_with(b"HEAD ");
        within("an answer", self.wire.response(to_head)).await
    }

    /// `GET target` with extra header lines.
    pub async fn get(&mut self, target: &str, headers: &[&str]) -> Response {
        self.roundtrip(request("GET", target, headers, "")).await
    }

    /// `POST target` with a body of that type.
    pub async fn post(&mut self, target: &str, content_type: &str, body: &str) -> Response {
        let content_type = format!("Content-Type: {content_type}");
        self.roundtrip(request("POST", target, &[&content_type], body))
            .await
    }

    /// The certificate chain that the proxy presented.
    pub fn peer_certificates(&self) -> Vec<CertificateDer<'static>> {
        let session = self.wire.io.get_ref().1;
        session.peer_certificates().unwrap_or_default().to_vec()
    }

    /// Whether the TLS session of this tunnel was resumed.
    pub fn resumed(&self) -> bool {
        self.wire.io.get_ref().1.handshake_kind() == Some(rustls::HandshakeKind::Resumed)
    }
}

/// A request for [`HOST`] in origin form.
pub fn request(method: &str, target: &str, headers: &[&str], body: &str) -> String {
    request_to(HOST, method, target, headers, body)
}

/// A request in origin form.
pub fn request_to(host: &str, method: &str, target: &str, headers: &[&str], body: &str) -> String {
    let mut text = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n");
    for header in headers {
        text.push_str(header);
        text.push_str("\r\n");
    }
    if !body.is_empty() {
        text.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    text.push_str("\r\n");
    text.push_str(body);
    text
}

/// Asserts that an answer is the proxy's own refusal, in every respect that the reference promises.
///
/// # Panics
/// When it is not, or has another code.
pub fn assert_refused(answer: &Response, code: &str) {
    assert_eq!(
        answer.egret_error().as_deref(),
        Some(code),
        "{answer:#?}\n{}",
        answer.text()
    );
    assert!(answer.header("proxy-status").is_some(), "{answer:#?}");
    let media_type = answer.header("content-type").unwrap_or_default();
    if ["application/xml", "text/xml", "application/x-amz-json-1.1"].contains(&&*media_type) {
        // A client of AWS reads no problem document.
        assert!(answer.text().contains(code), "{}", answer.text());
        return;
    }
    assert_eq!(media_type, "application/problem+json");
    let problem = answer.json();
    assert_eq!(problem["code"], code);
    assert_eq!(problem["status"], answer.status);
    for member in ["type", "title", "detail", "request_id"] {
        assert!(problem[member].is_string(), "{member} in {problem}");
    }
}

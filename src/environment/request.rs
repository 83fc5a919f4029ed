//! One request of Egret's own through the proxy, as a client sends it. Only the head of its answer is
//! read.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::policy::destination::{Destination, Scheme};
use crate::tls;

/// Longest head of an answer, in bytes.
const MAX_HEAD: usize = 64 * 1024;
/// How long the whole exchange may take.
const DEADLINE: Duration = Duration::from_secs(60);

/// A request that cannot be sent as it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRequest {
    /// It is no URL of a host.
    #[error("the URL has to be https://HOST/PATH")]
    Url,
    /// It would be another request.
    #[error("the URL holds a blank or a control character")]
    Target,
    /// It would be another field.
    #[error("a header field is `NAME: VALUE` on one line")]
    Field,
}

/// A request that got no answer.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// It did not come in time.
    #[error("there was no answer in {} s", DEADLINE.as_secs())]
    Late,
    /// The connection broke off.
    #[error("the connection ended early: {0}")]
    Io(#[from] io::Error),
    /// TLS could not be set up.
    #[error("TLS could not be set up: {0}")]
    Tls(#[from] rustls::Error),
    /// The authority, the name or the answer is not what it has to be.
    #[error("{0}")]
    Wrong(&'static str),
}

/// A request without a body.
pub struct Request {
    destination: Destination,
    method: Method,
    target: String,
    fields: Vec<String>,
}

/// What came back.
pub struct Answer {
    /// The status.
    pub status: u16,
    /// Egret's own code, if it refused the request.
    pub code: Option<String>,
}

impl Request {
    /// A request to an `https://` URL. Neither it nor a header field may hold a line break.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn new(method: &Method, url: &str, fields: Vec<String>) -> Result<Self, InvalidRequest> {
        let rest = url.strip_prefix("https://").ok_or(InvalidRequest::Url)?;
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(end);
        let destination = Destination::from_authority(Scheme::Https, authority)
            .map_err(|_| InvalidRequest::Url)?;
        let target = match target.chars().next() {
            Some('/') => target.to_owned(),
            _ => format!("/{target}"),
        };
        let is_plain = |text: &str| !text.chars().any(|c| c.is_control() || c == ' ');
        if !is_plain(&target) {
            return Err(InvalidRequest::Target);
        }
        let is_field = |field: &String| field.contains(':') && !field.chars().any(char::is_control);
        if !fields.iter().all(is_field) {
            return Err(InvalidRequest::Field);
        }
        Ok(Self {
            destination,
            method: method.clone(),
            target,
            fields,
        })
    }

    fn head(&self) -> String {
        let mut head = format!(
            "{} {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: egret\r\nConnection: close\r\n",
            self.method,
            self.target,
            self.destination.authority()
        );
        for field in &self.fields {
            head.push_str(field);
            head.push_str("\r\n");
        }
        head.push_str("\r\n");
        head
    }
}

/// Sends a request through a tunnel of its own, trusting the proxy's CA and nothing else.
///
/// # Errors
/// When there is no answer.
pub async fn send(
    request: &Request,
    proxy: SocketAddr,
    action: &str,
    token: &str,
    ca_pem: &str,
) -> Result<Answer, SendError> {
    let exchange = exchange(request, proxy, action, token, ca_pem);
    match tokio::time::timeout(DEADLINE, exchange).await {
        Ok(answer) => answer,
        Err(_) => Err(SendError::Late),
    }
}

async fn exchange(
    request: &Request,
    proxy: SocketAddr,
    action: &str,
    token: &str,
    ca_pem: &str,
) -> Result<Answer, SendError> {
    let mut tunnel = TcpStream::connect(proxy).await?;
    let credentials = STANDARD.encode(format!("{action}:{token}"));
    let name = request.destination.host.to_string();
    let port = request.destination.port;
    let connect = format!(
        "CONNECT {0}:{port} HTTP/1.1\r\nHost: {0}:{port}\r\n\
         Proxy-Authorization: Basic {credentials}\r\n\r\n",
        bracketed(&name)
    );
    tunnel.write_all(connect.as_bytes()).await?;
    let opened = read_answer(&mut tunnel).await?;
    if opened.status != 200 {
        return Ok(opened);
    }
    let mut roots = RootCertStore::empty();
    // While the authority is rotated there are two.
    for certificate in CertificateDer::pem_slice_iter(ca_pem.as_bytes()) {
        let certificate = certificate
            .map_err(|_| SendError::Wrong("the certificate authority cannot be read"))?;
        roots.add(certificate)?;
    }
    let config = ClientConfig::builder_with_provider(tls::provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let server = ServerName::try_from(name.trim_matches(['[', ']']).to_owned())
        .map_err(|_| SendError::Wrong("the host cannot be a server name"))?;
    let connector = TlsConnector::from(Arc::new(config));
    let mut stream = connector.connect(server, tunnel).await?;
    write(&mut stream, &request.head()).await?;
    read_answer(&mut stream).await
}

async fn write(stream: &mut (impl AsyncWrite + Unpin), head: &str) -> io::Result<()> {
    stream.write_all(head.as_bytes()).await?;
    stream.flush().await
}

/// An IPv6 address as an authority has it.
fn bracketed(host: &str) -> String {
    if host.contains(':') && !host.starts_with('[') {
        format!("[{host}]")
    } else {
        host.to_owned()
    }
}

/// Reads a head, byte by byte so as not to read into the tunnel.
async fn read_answer(stream: &mut (impl AsyncRead + Unpin)) -> Result<Answer, SendError> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        if bytes.len() >= MAX_HEAD {
            return Err(SendError::Wrong("the head of the answer is too long"));
        }
        bytes.push(stream.read_u8().await?);
    }
    let mut headers = [httparse::EMPTY_HEADER; 128];
    let mut head = httparse::Response::new(&mut headers);
    head.parse(&bytes)
        .map_err(|_| SendError::Wrong("the answer is not HTTP"))?;
    let status = head
        .code
        .ok_or(SendError::Wrong("the answer has no status"))?;
    let code = head
        .headers
        .iter()
        .find(|field| field.name.eq_ignore_ascii_case("egret-error"));
    let code = code.map(|field| String::from_utf8_lossy(field.value).into_owned());
    Ok(Answer { status, code })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_written_as_it_was_asked_for() {
        let fields = vec!["Authorization: Bearer <<pat>>".to_owned()];
        let request = Request::new(&Method::GET, "https://api.example.com/v1?k=<<pat>>", fields);
        let head = request.expect("a request").head();
        assert_eq!(
            head,
            "GET /v1?k=<<pat>> HTTP/1.1\r\nHost: api.example.com\r\nUser-Agent: egret\r\n\
             Connection: close\r\nAuthorization: Bearer <<pat>>\r\n\r\n"
        );
        let root = Request::new(&Method::GET, "https://api.example.com?a", Vec::new());
        assert!(
            root.expect("a request")
                .head()
                .starts_with("GET /?a HTTP/1.1\r\n")
        );
    }

    #[test]
    fn what_would_be_another_request_is_refused() {
        for url in [
            "http://a.example/",
            "a.example",
            "https:///x",
            "https://a.example/a b",
        ] {
            assert!(
                Request::new(&Method::GET, url, Vec::new()).is_err(),
                "{url}"
            );
        }
        for field in ["no colon", "A: b\r\nC: d", "A: \u{7f}"] {
            let fields = vec![field.to_owned()];
            assert!(Request::new(&Method::GET, "https://a.example/", fields).is_err());
        }
    }
}

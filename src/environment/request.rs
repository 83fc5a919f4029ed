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

use super::proxy_access::percent_encode;
use crate::policy::destination::{Destination, Scheme};
use crate::tls;

/// Longest head of an answer, in bytes.
const MAX_HEAD: usize = 64 * 1024;
/// Longest body, in bytes.
const MAX_BODY: usize = 64 * 1024;
/// How long the whole exchange may take.
const DEADLINE: Duration = Duration::from_secs(60);

/// A request that cannot be sent as it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRequest {
    /// It is no URL of a host.
    #[error("the URL has to be https://HOST/PATH or http://HOST/PATH")]
    Url,
    /// It would be another request.
    #[error("the URL holds a blank or a control character")]
    Target,
    /// It would be another field.
    #[error("a header field is `NAME: VALUE` on one line")]
    Field,
    /// It is longer than a request by hand is.
    #[error("the body is longer than {} KiB", MAX_BODY / 1024)]
    Body,
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

/// A request. What it holds are placeholders, never values.
pub struct Request {
    destination: Destination,
    method: Method,
    target: String,
    fields: Vec<String>,
    body: Option<String>,
}

/// What came back.
pub struct Answer {
    /// The status.
    pub status: u16,
    /// Egret's own code, if it refused the request.
    pub code: Option<String>,
}

impl Request {
    /// A request without a body to an `https://` or `http://` URL. Neither it nor a header field may
    /// hold a line break.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn new(method: &Method, url: &str, fields: Vec<String>) -> Result<Self, InvalidRequest> {
        let (scheme, rest) = match url.split_once("://") {
            Some(("https", rest)) => (Scheme::Https, rest),
            Some(("http", rest)) => (Scheme::Http, rest),
            _ => return Err(InvalidRequest::Url),
        };
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(end);
        let destination =
            Destination::from_authority(scheme, authority).map_err(|_| InvalidRequest::Url)?;
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
            body: None,
        })
    }

    /// The same with a body of this media type.
    ///
    /// # Errors
    /// When the body is too long, or the media type would be another field.
    pub fn with_body(mut self, media_type: &str, body: String) -> Result<Self, InvalidRequest> {
        if body.len() > MAX_BODY {
            return Err(InvalidRequest::Body);
        }
        if media_type.is_empty() || media_type.chars().any(char::is_control) {
            return Err(InvalidRequest::Field);
        }
        self.fields.push(format!("Content-Type: {media_type}"));
        self.body = Some(body);
        Ok(self)
    }

    /// The whole request, through a tunnel or to the proxy itself.
    fn text(&self, to_proxy: Option<&str>) -> String {
        let authority = self.destination.authority();
        let origin = to_proxy.map_or_else(String::new, |_| format!("http://{authority}"));
        let mut text = format!(
            "{} {origin}{} HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: egret\r\nConnection: close\r\n",
            self.method, self.target,
        );
        let length = self
            .body
            .as_ref()
            .map(|body| format!("Content-Length: {}", body.len()));
        for field in to_proxy.into_iter().chain(length.as_deref()) {
            text.push_str(field);
            text.push_str("\r\n");
        }
        for field in &self.fields {
            text.push_str(field);
            text.push_str("\r\n");
        }
        text.push_str("\r\n");
        text.push_str(self.body.as_deref().unwrap_or_default());
        text
    }
}

/// Sends a request through the proxy, for `https` through a tunnel of its own and trusting the proxy's CA
/// and nothing else.
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
    let action = percent_encode(action.as_bytes());
    let credentials = STANDARD.encode(format!("{action}:{token}"));
    let authorization = format!("Proxy-Authorization: Basic {credentials}");
    if request.destination.scheme == Scheme::Http {
        write(&mut tunnel, &request.text(Some(&authorization))).await?;
        return read_answer(&mut tunnel).await;
    }
    let name = request.destination.host.to_string();
    let port = request.destination.port;
    let connect = format!(
        "CONNECT {0}:{port} HTTP/1.1\r\nHost: {0}:{port}\r\n{authorization}\r\n\r\n",
        bracketed(&name)
    );
    write(&mut tunnel, &connect).await?;
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
    write(&mut stream, &request.text(None)).await?;
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
        let head = request.expect("a request").text(None);
        assert_eq!(
            head,
            "GET /v1?k=<<pat>> HTTP/1.1\r\nHost: api.example.com\r\nUser-Agent: egret\r\n\
             Connection: close\r\nAuthorization: Bearer <<pat>>\r\n\r\n"
        );
        let root = Request::new(&Method::GET, "https://api.example.com?a", Vec::new());
        assert!(
            root.expect("a request")
                .text(None)
                .starts_with("GET /?a HTTP/1.1\r\n")
        );
    }

    #[test]
    fn a_body_has_its_length_and_plain_http_goes_to_the_proxy() {
        let request = Request::new(&Method::POST, "http://api.example.com/v1", Vec::new());
        let request = request.and_then(|request| {
            request.with_body(
                "application/x-www-form-urlencoded",
                "key=<<pat>>".to_owned(),
            )
        });
        let text = request
            .expect("a request")
            .text(Some("Proxy-Authorization: Basic YQ=="));
        assert_eq!(
            text,
            "POST http://api.example.com/v1 HTTP/1.1\r\nHost: api.example.com\r\n\
             User-Agent: egret\r\nConnection: close\r\nProxy-Authorization: Basic YQ==\r\n\
             Content-Length: 11\r\nContent-Type: application/x-www-form-urlencoded\r\n\r\nkey=<<pat>>"
        );
        for (media_type, length) in [("text/plain\r\nA: b", 1), ("", 1), ("text/plain", 65_537)] {
            let request = Request::new(&Method::POST, "https://a.example/", Vec::new());
            let request = request.expect("a request");
            assert!(request.with_body(media_type, "a".repeat(length)).is_err());
        }
    }

    #[test]
    fn what_would_be_another_request_is_refused() {
        for url in [
            "ftp://a.example/",
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

//! Requests of Egret's own: to the identity provider, and from a command to the API of a server.
//!
//! They are for places that the operator or the user of a command has named. They go past the pipeline
//! of the proxy, whose one way out is for the values of credentials: the identity provider is asked by a
//! side that opens none, and a command sends a value that is just being saved to the API alone.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;

use crate::policy::destination::{Destination, Host, Scheme};
use crate::proxy::outbound::way::Way;
use crate::tls;

/// What an answer may take.
#[derive(Clone, Copy, Debug)]
pub struct FetchLimits {
    /// Longest time for a request with its answer.
    pub deadline: Duration,
    /// Longest answer, in bytes.
    pub longest: usize,
}

impl Default for FetchLimits {
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(10),
            longest: 256 * 1024,
        }
    }
}

/// What was answered, whatever the status.
#[derive(Debug)]
pub struct Fetched {
    /// The status.
    pub status: StatusCode,
    /// The fields of the head.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

/// Why there is no usable answer. Holds nothing of what was sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// The certificates to be trusted cannot be read.
    #[error("TLS cannot be set up: {0}")]
    Tls(String),
    /// It cannot be a URL to fetch.
    #[error("{0:?} is no URL that can be fetched: https://…, or http:// to this machine")]
    Url(String),
    /// No connection, or it broke.
    #[error("{0} cannot be reached")]
    Unreachable(String),
    /// It took too long.
    #[error("{0} does not answer in time")]
    TimedOut(String),
    /// It answered with another status than 200.
    #[error("{place} answered with status {status}")]
    Status {
        /// Who.
        place: String,
        /// The status.
        status: u16,
    },
}

/// Fetches JSON.
#[derive(Clone)]
pub struct Fetcher {
    tls: Arc<ClientConfig>,
    way: Way,
    limits: FetchLimits,
}

impl Fetcher {
    /// One that trusts the system's roots and these files, and goes this way.
    pub async fn trusting(files: Vec<PathBuf>, way: Way) -> Result<Self, FetchError> {
        let config = tokio::task::spawn_blocking(move || tls::client::config(&files)).await;
        let config = config.map_err(|error| FetchError::Tls(error.to_string()))?;
        config
            .map(|tls| Self {
                tls,
                way,
                limits: FetchLimits::default(),
            })
            .map_err(|error| FetchError::Tls(error.to_string()))
    }

    /// The same with other limits.
    pub fn within(self, limits: FetchLimits) -> Self {
        Self { limits, ..self }
    }

    /// The answer to a GET, if it is 200.
    pub async fn get(&self, url: &str) -> Result<Bytes, FetchError> {
        let asked = self.request(url, Method::GET, HeaderMap::new(), Bytes::new());
        successful(url, asked.await?)
    }

    /// The answer to a form, if it is 200.
    pub async fn post(
        &self,
        url: &str,
        authorization: Option<HeaderValue>,
        form: String,
    ) -> Result<Bytes, FetchError> {
        let mut headers = HeaderMap::new();
        let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
        headers.insert(header::CONTENT_TYPE, kind);
        if let Some(authorization) = authorization {
            headers.insert(header::AUTHORIZATION, authorization);
        }
        let asked = self.request(url, Method::POST, headers, form.into());
        successful(url, asked.await?)
    }

    /// The answer to a request, on a connection of its own.
    pub async fn request(
        &self,
        url: &str,
        method: Method,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Fetched, FetchError> {
        let target = Target::parse(url).ok_or_else(|| FetchError::Url(shown(url)))?;
        let place = target.destination.to_string();
        let exchange = async {
            let request = target.request(method, headers, body)?;
            self.exchange(&target, request).await
        };
        let answered = tokio::time::timeout(self.limits.deadline, exchange).await;
        let answered = answered.map_err(|_| FetchError::TimedOut(place.clone()))?;
        answered.ok_or(FetchError::Unreachable(place))
    }

    async fn exchange(&self, target: &Target, request: Request<Full<Bytes>>) -> Option<Fetched> {
        let host = &target.destination.host;
        let port = target.destination.port;
        let longest = self.limits.longest;
        let stream = self.way.connect(&target.dialled()?, port).await.ok()?;
        if target.destination.scheme == Scheme::Http {
            return converse(stream, request, longest).await;
        }
        let name = match host.as_ip() {
            Some(address) => ServerName::from(address),
            None => ServerName::try_from(host.to_string()).ok()?,
        };
        let connector = TlsConnector::from(Arc::clone(&self.tls));
        let stream = connector.connect(name, stream).await.ok()?;
        converse(stream, request, longest).await
    }
}

/// The body of an answer whose status is 200.
fn successful(url: &str, answer: Fetched) -> Result<Bytes, FetchError> {
    if answer.status == StatusCode::OK {
        return Ok(answer.body);
    }
    let place =
        Target::parse(url).map_or_else(String::new, |target| target.destination.to_string());
    let status = answer.status.as_u16();
    Err(FetchError::Status { place, status })
}

/// A part of a URL, for a message.
fn shown(url: &str) -> String {
    url.chars().take(200).filter(|c| !c.is_control()).collect()
}

/// One request and its answer on a connection of its own.
async fn converse<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    request: Request<Full<Bytes>>,
    longest: usize,
) -> Option<Fetched> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.ok()?;
    let exchange = async {
        let response = sender.send_request(request).await.ok()?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, longest).collect().await;
        Some(Fetched {
            status: head.status,
            headers: head.headers,
            body: body.ok()?.to_bytes(),
        })
    };
    let mut connection = std::pin::pin!(connection);
    let mut exchange = std::pin::pin!(exchange);
    tokio::select! {
        biased;
        answer = &mut exchange => answer,
        // The last bytes may have come with the end of the connection.
        _ = &mut connection => exchange.await,
    }
}

struct Target {
    destination: Destination,
    path: String,
}

impl Target {
    fn parse(url: &str) -> Option<Self> {
        let uri: Uri = url.parse().ok()?;
        let scheme = Scheme::named(uri.scheme_str()?)?;
        let destination = Destination::from_authority(scheme, uri.authority()?.as_str()).ok()?;
        if scheme == Scheme::Http && !is_local(&destination.host) {
            return None;
        }
        let path = uri.path_and_query()?.as_str().to_owned();
        Some(Self { destination, path })
    }

    /// Whom to connect to. A name below `localhost` is this machine (RFC 6761 section 6.3), whatever a
    /// resolver says, which could lead what is not encrypted elsewhere.
    fn dialled(&self) -> Option<Host> {
        let host = &self.destination.host;
        if is_below_localhost(host) {
            return Host::parse("127.0.0.1").ok();
        }
        Some(host.clone())
    }

    fn request(
        &self,
        method: Method,
        headers: HeaderMap,
        body: Bytes,
    ) -> Option<Request<Full<Bytes>>> {
        let host = &self.destination.host;
        let port = self.destination.port;
        let host = if port == self.destination.scheme.default_port() {
            host.to_string()
        } else {
            format!("{host}:{port}")
        };
        let mut request = Request::builder()
            .method(method)
            .uri(&self.path)
            .body(Full::new(body))
            .ok()?;
        *request.headers_mut() = headers;
        let fields = request.headers_mut();
        fields.insert(header::HOST, host.try_into().ok()?);
        fields.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        fields.insert(header::CONNECTION, HeaderValue::from_static("close"));
        Some(request)
    }
}

fn is_below_localhost(host: &Host) -> bool {
    host.to_string().ends_with(".localhost")
}

/// Whether what is sent to `host` stays on this machine.
fn is_local(host: &Host) -> bool {
    let name = host.to_string();
    let is_address = host.as_ip().is_some_and(|address| address.is_loopback());
    name == "localhost" || is_below_localhost(host) || is_address
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_urls_that_nobody_on_the_way_can_change_are_fetched() {
        for good in [
            "https://a.example/x?y",
            "http://127.0.0.1:1/",
            "http://localhost/x",
            "http://egret.localhost:7071/x",
        ] {
            assert!(Target::parse(good).is_some(), "{good}");
        }
        for bad in [
            "http://a.example/",
            "http://localhost.example/",
            "file:///etc/passwd",
            "/x",
            "https://u:p@a.example/",
        ] {
            assert!(Target::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn no_resolver_is_asked_for_a_name_of_this_machine() {
        let target = Target::parse("http://egret.localhost:7071/x").unwrap();
        assert_eq!(target.dialled(), Host::parse("127.0.0.1").ok());
        let target = Target::parse("https://a.example/x").unwrap();
        assert_eq!(target.dialled(), Host::parse("a.example").ok());
    }
}

//! Requests to the identity provider.
//!
//! No value of a credential can be in one: this side holds none. So they go past the pipeline of the
//! proxy, whose one way out is for values.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;

use crate::policy::destination::{Destination, Scheme};
use crate::proxy::outbound::way::Way;
use crate::tls;

/// Longest time for a request with its answer.
const DEADLINE: Duration = Duration::from_secs(10);
/// Longest answer, in bytes.
const LONGEST: usize = 256 * 1024;

/// Why the provider gave no usable answer. Holds nothing of what was sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// The certificates to be trusted cannot be read.
    #[error("TLS cannot be set up: {0}")]
    Tls(String),
    /// It cannot be a URL to fetch.
    #[error("{0:?} is no URL that can be fetched")]
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
}

impl Fetcher {
    /// One that trusts the system's roots and these files, and goes this way.
    pub async fn trusting(files: Vec<PathBuf>, way: Way) -> Result<Self, FetchError> {
        let config = tokio::task::spawn_blocking(move || tls::client::config(&files)).await;
        let config = config.map_err(|error| FetchError::Tls(error.to_string()))?;
        config
            .map(|tls| Self { tls, way })
            .map_err(|error| FetchError::Tls(error.to_string()))
    }

    /// The answer to a GET.
    pub async fn get(&self, url: &str) -> Result<Bytes, FetchError> {
        self.send(url, Method::GET, None, String::new()).await
    }

    /// The answer to a form.
    pub(super) async fn post(
        &self,
        url: &str,
        authorization: Option<HeaderValue>,
        form: String,
    ) -> Result<Bytes, FetchError> {
        self.send(url, Method::POST, authorization, form).await
    }

    async fn send(
        &self,
        url: &str,
        method: Method,
        authorization: Option<HeaderValue>,
        form: String,
    ) -> Result<Bytes, FetchError> {
        let target = Target::parse(url).ok_or_else(|| FetchError::Url(shown(url)))?;
        let place = target.destination.to_string();
        let exchange = async {
            let request = target.request(method, authorization, form)?;
            self.exchange(&target, request).await
        };
        let answered = tokio::time::timeout(DEADLINE, exchange).await;
        let answered = answered.map_err(|_| FetchError::TimedOut(place.clone()))?;
        let (status, body) = answered.ok_or_else(|| FetchError::Unreachable(place.clone()))?;
        if status != StatusCode::OK {
            let status = status.as_u16();
            return Err(FetchError::Status { place, status });
        }
        Ok(body)
    }

    async fn exchange(
        &self,
        target: &Target,
        request: Request<Full<Bytes>>,
    ) -> Option<(StatusCode, Bytes)> {
        let host = &target.destination.host;
        let port = target.destination.port;
        let stream = self.way.connect(host, port).await.ok()?;
        if target.destination.scheme == Scheme::Http {
            return converse(stream, request).await;
        }
        let name = match host.as_ip() {
            Some(address) => ServerName::from(address),
            None => ServerName::try_from(host.to_string()).ok()?,
        };
        let connector = TlsConnector::from(Arc::clone(&self.tls));
        let stream = connector.connect(name, stream).await.ok()?;
        converse(stream, request).await
    }
}

/// A part of a URL of the provider's, for a message.
fn shown(url: &str) -> String {
    url.chars().take(200).filter(|c| !c.is_control()).collect()
}

/// One request and its answer on a connection of its own.
async fn converse<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    request: Request<Full<Bytes>>,
) -> Option<(StatusCode, Bytes)> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.ok()?;
    let exchange = async {
        let response = sender.send_request(request).await.ok()?;
        let status = response.status();
        let body = Limited::new(response.into_body(), LONGEST).collect().await;
        Some((status, body.ok()?.to_bytes()))
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
        let scheme = match uri.scheme_str()? {
            "https" => Scheme::Https,
            "http" => Scheme::Http,
            _ => return None,
        };
        let destination = Destination::from_authority(scheme, uri.authority()?.as_str()).ok()?;
        let is_local = destination.host.to_string() == "localhost"
            || destination.host.as_ip().is_some_and(|ip| ip.is_loopback());
        if scheme == Scheme::Http && !is_local {
            return None;
        }
        let path = uri.path_and_query()?.as_str().to_owned();
        Some(Self { destination, path })
    }

    fn request(
        &self,
        method: Method,
        authorization: Option<HeaderValue>,
        form: String,
    ) -> Option<Request<Full<Bytes>>> {
        let host = &self.destination.host;
        let port = self.destination.port;
        let host = if port == self.destination.scheme.default_port() {
            host.to_string()
        } else {
            format!("{host}:{port}")
        };
        let is_form = method == Method::POST;
        let mut request = Request::builder()
            .method(method)
            .uri(&self.path)
            .header(header::HOST, host)
            .header(header::ACCEPT, "application/json")
            .header(header::CONNECTION, "close");
        if is_form {
            let kind = "application/x-www-form-urlencoded";
            request = request.header(header::CONTENT_TYPE, kind);
        }
        if let Some(authorization) = authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        request.body(Full::new(form.into())).ok()
    }
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
        ] {
            assert!(Target::parse(good).is_some(), "{good}");
        }
        for bad in [
            "http://a.example/",
            "file:///etc/passwd",
            "/x",
            "https://u:p@a.example/",
        ] {
            assert!(Target::parse(bad).is_none(), "{bad}");
        }
    }
}

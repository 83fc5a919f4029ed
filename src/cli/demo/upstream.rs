//! The upstream: an API that speaks TLS on loopback and remembers what it received.

use std::convert::Infallible;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::tls;

/// What the API calls itself. Nothing is looked up: the proxy is told its address.
pub(in crate::cli) const HOST: &str = "api.example.com";

/// A request as it arrived, with the real value in it.
pub(in crate::cli) struct Received {
    pub(in crate::cli) method: String,
    pub(in crate::cli) target: String,
    pub(in crate::cli) headers: HeaderMap,
    pub(in crate::cli) body: String,
}

impl Received {
    pub(in crate::cli) fn authorization(&self) -> String {
        let value = self.headers.get(header::AUTHORIZATION);
        let text = value.map(|value| String::from_utf8_lossy(value.as_bytes()));
        text.unwrap_or_default().into_owned()
    }
}

/// What the API says to a request without `Authorization`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Welcome {
    /// The same as to any other.
    Any,
    /// That it wants a password: some clients send theirs only then (RFC 9110 section 11.6.1).
    Challenged,
}

type Seen = Arc<Mutex<Vec<Received>>>;

pub(in crate::cli) struct Upstream {
    address: SocketAddr,
    ca_file: PathBuf,
    seen: Seen,
}

impl Upstream {
    /// Starts the API of these hosts under a CA of its own, which is written to `directory`.
    pub(in crate::cli) async fn start(
        directory: &Path,
        hosts: &[&str],
        welcome: Welcome,
    ) -> anyhow::Result<Self> {
        let (ca_pem, acceptor) = certificates(hosts)?;
        let ca_file = directory.join("upstream-ca.pem");
        fs::write(&ca_file, ca_pem)?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let seen = Seen::default();
        tokio::spawn(accept(listener, acceptor, welcome, Arc::clone(&seen)));
        Ok(Self {
            address,
            ca_file,
            seen,
        })
    }

    pub(in crate::cli) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(in crate::cli) fn ca_file(&self) -> &Path {
        &self.ca_file
    }

    /// Whether such a request has arrived since those that were taken.
    pub(in crate::cli) fn has(&self, is: impl Fn(&Received) -> bool) -> bool {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.iter().any(is)
    }

    /// The request that arrived last, if any did since the last call.
    pub(in crate::cli) fn take(&self) -> Option<Received> {
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop()
    }
}

fn certificates(hosts: &[&str]) -> anyhow::Result<(String, TlsAcceptor)> {
    let ca_key = KeyPair::generate()?;
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.distinguished_name
        .push(DnType::CommonName, "The demonstration's upstream");
    let ca_pem = ca.self_signed(&ca_key)?.pem();
    let issuer = Issuer::new(ca, ca_key);

    let key = KeyPair::generate()?;
    let names: Vec<_> = hosts.iter().map(|&host| host.to_owned()).collect();
    let certificate = CertificateParams::new(names)?.signed_by(&key, &issuer)?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(tls::provider())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)?;
    Ok((ca_pem, TlsAcceptor::from(Arc::new(config))))
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, welcome: Welcome, seen: Seen) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(serve(stream, acceptor.clone(), welcome, Arc::clone(&seen)));
    }
}

async fn serve(stream: TcpStream, acceptor: TlsAcceptor, welcome: Welcome, seen: Seen) {
    let Ok(stream) = acceptor.accept(stream).await else {
        return;
    };
    let service = service_fn(move |request| answer(request, welcome, Arc::clone(&seen)));
    // The proxy closes the connection at the end of the demonstration.
    let _ = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn answer(
    request: Request<Incoming>,
    welcome: Welcome,
    seen: Seen,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let body = body
        .collect()
        .await
        .map(|body| body.to_bytes())
        .unwrap_or_default();
    let is_challenged =
        welcome == Welcome::Challenged && !parts.headers.contains_key(header::AUTHORIZATION);
    let received = Received {
        method: parts.method.to_string(),
        target: parts.uri.to_string(),
        headers: parts.headers,
        body: String::from_utf8_lossy(&body).into_owned(),
    };
    seen.lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(received);
    let text = Full::new(Bytes::from_static(b"{\"hello\":\"egret\"}\n"));
    let mut answer = Response::new(text);
    if is_challenged {
        *answer.status_mut() = StatusCode::UNAUTHORIZED;
        let challenge = HeaderValue::from_static("Basic realm=\"egret\"");
        answer
            .headers_mut()
            .insert(header::WWW_AUTHENTICATE, challenge);
    }
    Ok(answer)
}

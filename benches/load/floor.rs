//! The floor: the least that an interception proxy made of hyper, hyper-util and rustls can cost.
//!
//! It answers CONNECT, shows a leaf of its own, and passes requests on through the shared pool of
//! hyper-util's client. No substitution, no scrubbing, no ledger, no policy, no limits, no
//! timeouts: not something to use, only something to compare with.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, RwLock};
use std::task::{Context, Poll};

use anyhow::Result;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use crate::pki::{self, Authority};
use crate::target::write_port;

type Body = BoxBody<Bytes, hyper::Error>;
type Connector = HttpsConnector<HttpConnector<Loopback>>;

/// Every name is this machine.
#[derive(Clone)]
struct Loopback;

impl tower_service::Service<Name> for Loopback {
    type Response = std::iter::Once<SocketAddr>;
    type Error = std::io::Error;
    type Future = std::future::Ready<Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Name) -> Self::Future {
        std::future::ready(Ok(std::iter::once(([127, 0, 0, 1], 0).into())))
    }
}

/// A leaf for each name, minted once.
struct Leaves {
    authority: Authority,
    minted: RwLock<std::collections::HashMap<String, Arc<CertifiedKey>>>,
}

impl std::fmt::Debug for Leaves {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Leaves")
    }
}

impl ResolvesServerCert for Leaves {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name()?;
        if let Some(leaf) = self.minted.read().ok()?.get(name) {
            return Some(Arc::clone(leaf));
        }
        let leaf = self.authority.leaf(&[name]).ok()?;
        let mut minted = self.minted.write().ok()?;
        minted.insert(name.to_owned(), Arc::clone(&leaf));
        Some(leaf)
    }
}

struct Floor {
    acceptor: TlsAcceptor,
    client: Client<Connector, Incoming>,
}

/// Serves until it is killed.
pub fn run(directory: &Path) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(serve(directory))
}

async fn serve(directory: &Path) -> Result<()> {
    let leaves = Leaves {
        authority: Authority::load(directory, "floor-ca")?,
        minted: RwLock::default(),
    };
    let tls = ClientConfig::builder_with_provider(pki::provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(pki::roots(&directory.join("origin-ca.pem"))?)
        .with_no_client_auth();
    let mut http = HttpConnector::new_with_resolver(Loopback);
    http.enforce_http(false);
    http.set_nodelay(true);
    let connector = hyper_rustls::HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_or_http()
        .enable_http1()
        .wrap_connector(http);
    let floor = Arc::new(Floor {
        acceptor: TlsAcceptor::from(Arc::new(pki::server_config(Arc::new(leaves))?)),
        client: Client::builder(TokioExecutor::new()).build(connector),
    });
    let listener = crate::target::listen()?;
    write_port(directory, "floor", listener.local_addr()?.port())?;
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        let floor = Arc::clone(&floor);
        tokio::spawn(async move {
            let _ = stream.set_nodelay(true);
            let service = service_fn(move |request| outer(Arc::clone(&floor), request));
            // A client may end its connection as it likes.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .with_upgrades()
                .await;
        });
    }
}

async fn outer(
    floor: Arc<Floor>,
    request: Request<Incoming>,
) -> Result<Response<Body>, hyper::Error> {
    if request.method() != Method::CONNECT {
        return forward(&floor, request).await;
    }
    let Some(authority) = request.uri().authority().cloned() else {
        return Ok(failed());
    };
    tokio::spawn(async move {
        if let Ok(upgraded) = hyper::upgrade::on(request).await {
            let _ = tunnel(floor, upgraded, authority.as_str().into()).await;
        }
    });
    Ok(Response::new(
        Empty::new().map_err(|never| match never {}).boxed(),
    ))
}

async fn tunnel(floor: Arc<Floor>, upgraded: hyper::upgrade::Upgraded, to: Arc<str>) -> Result<()> {
    let Ok(parts) = upgraded.downcast::<TokioIo<TcpStream>>() else {
        return Ok(());
    };
    let stream = floor.acceptor.accept(parts.io.into_inner()).await?;
    let is_h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let service = service_fn(move |request| inner(Arc::clone(&floor), Arc::clone(&to), request));
    let io = TokioIo::new(stream);
    if is_h2 {
        hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .max_concurrent_streams(256)
            .serve_connection(io, service)
            .await?;
    } else {
        hyper::server::conn::http1::Builder::new()
            .serve_connection(io, service)
            .await?;
    }
    Ok(())
}

async fn inner(
    floor: Arc<Floor>,
    to: Arc<str>,
    mut request: Request<Incoming>,
) -> Result<Response<Body>, hyper::Error> {
    let target = request.uri().path_and_query().map_or("/", |p| p.as_str());
    let Ok(uri) = format!("https://{to}{target}").parse::<Uri>() else {
        return Ok(failed());
    };
    *request.uri_mut() = uri;
    *request.version_mut() = http::Version::HTTP_11;
    forward(&floor, request).await
}

async fn forward(
    floor: &Floor,
    request: Request<Incoming>,
) -> Result<Response<Body>, hyper::Error> {
    Ok(match floor.client.request(request).await {
        Ok(response) => response.map(|body| body.boxed()),
        Err(_) => failed(),
    })
}

fn failed() -> Response<Body> {
    let mut response = Response::new(Empty::new().map_err(|never| match never {}).boxed());
    *response.status_mut() = StatusCode::BAD_GATEWAY;
    response
}

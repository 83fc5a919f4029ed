//! Serving the admin listener.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::metrics;
use super::state::AdminState;

/// Most probes served at once.
const CONNECTIONS: usize = 64;
/// Longest life of a probe's connection: a probe is one short request.
const CONNECTION_LIFE: Duration = Duration::from_secs(10);
/// Pause after a failed accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves the admin listener until the proxy has drained: a drain is watched through it.
pub async fn run(state: Arc<AdminState>, listener: TcpListener) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        // Past the limit a probe is dropped, and reads as a failed one.
        if let Ok(place) = Arc::clone(&places).try_acquire_owned() {
            let state = Arc::clone(&state);
            tokio::spawn(async move {
                // A probe that stalls or breaks off concerns no one else.
                let _ = timeout(CONNECTION_LIFE, serve(state, stream)).await;
                drop(place);
            });
        }
    }
}

async fn serve(state: Arc<AdminState>, stream: TcpStream) {
    let service = service_fn(move |request| {
        let state = Arc::clone(&state);
        async move { Ok::<_, Infallible>(answer(&state, &request).await) }
    });
    let _ = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn answer(state: &AdminState, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return plain(
            StatusCode::METHOD_NOT_ALLOWED,
            "only GET is answered here\n",
        );
    }
    match request.uri().path() {
        "/healthz" => plain(StatusCode::OK, "ok\n"),
        "/readyz" => readiness(state).await,
        "/metrics" => with_type(
            StatusCode::OK,
            metrics::render(state).into(),
            metrics::CONTENT_TYPE,
        ),
        _ => plain(StatusCode::NOT_FOUND, "try /healthz, /readyz or /metrics\n"),
    }
}

async fn readiness(state: &AdminState) -> Response<Full<Bytes>> {
    let readiness = state.readiness().await;
    let status = if readiness.is_ready() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let body = serde_json::to_string(&readiness).unwrap_or_default() + "\n";
    with_type(status, body.into(), "application/json")
}

fn plain(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    with_type(status, Bytes::from_static(text.as_bytes()), "text/plain")
}

fn with_type(status: StatusCode, body: Bytes, kind: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

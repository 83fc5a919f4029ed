//! Liveness, readiness and metrics. They are answered without authentication and for any name, and
//! say nothing but yes, no and numbers, so that anything that reaches the listener can probe it.

use axum::body::Body;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};

use super::metrics;
use super::state::AdminState;

/// Whether this is a path of a probe.
pub(super) fn is_probe(path: &str) -> bool {
    matches!(path, "/healthz" | "/startupz" | "/readyz" | "/metrics")
}

/// The answer to a probe.
pub(super) async fn answer<B>(state: &AdminState, request: &Request<B>) -> Response<Body> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return plain(
            StatusCode::METHOD_NOT_ALLOWED,
            "only GET is answered here\n",
        );
    }
    match request.uri().path() {
        // A disk that is full or slow comes back by itself; what a restart would not change is not asked.
        "/healthz" if state.ledger.has_died() => plain(
            StatusCode::SERVICE_UNAVAILABLE,
            "the ledger's writer has ended; only a restart helps\n",
        ),
        // The listener answers when everything is open.
        "/healthz" | "/startupz" => plain(StatusCode::OK, "ok\n"),
        "/readyz" => readiness(state).await,
        _ => with_type(
            StatusCode::OK,
            metrics::render(state).into(),
            metrics::CONTENT_TYPE,
        ),
    }
}

async fn readiness(state: &AdminState) -> Response<Body> {
    let readiness = state.readiness().await;
    let status = if readiness.is_ready() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let body = serde_json::to_string(&readiness).unwrap_or_default() + "\n";
    with_type(status, body.into(), "application/json")
}

fn plain(status: StatusCode, text: &'static str) -> Response<Body> {
    with_type(status, text.into(), "text/plain")
}

fn with_type(status: StatusCode, body: Body, kind: &'static str) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

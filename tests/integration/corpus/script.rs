//! What a client sends for a case.

use crate::http2::client::Request;
use crate::wire::{Framing, Wire, values};

use super::Mode;
use super::case::{Case, Via, b64};

/// The client's part.
pub enum Script {
    /// These bytes, whether they are HTTP/1.1 or not.
    Bytes(Vec<u8>),
    /// This request, over HTTP/2.
    Http2(Request),
}

/// Connection-specific fields, which HTTP/2 does not have (RFC 9113 section 8.2.2).
const CONNECTION_FIELDS: &[&str] = &[
    "host",
    "connection",
    "keep-alive",
    "proxy-connection",
    "transfer-encoding",
    "upgrade",
    "expect",
];

impl Script {
    /// The script of a case; `None` if it cannot be played that way.
    pub async fn of(case: &Case, mode: Mode) -> Option<Self> {
        match (case.via, mode.is_http2()) {
            (Via::ConnectTlsH2, false) => Some(Self::Http2(written_for_http2(case))),
            (Via::ConnectTlsH1, true) => said_in_http2(case).await.map(Self::Http2),
            (_, true) => None,
            (_, false) => Some(Self::Bytes(case.raw())),
        }
    }
}

fn lower(text: &str) -> String {
    text.to_ascii_lowercase()
}

fn written_for_http2(case: &Case) -> Request {
    let mut request = Request::new(&case.request.method, &case.request.target);
    for (name, value) in &case.request.headers {
        // The cases write `:authority` as `Host`; `host` is the field of that name.
        request = match name.as_str() {
            "Host" => request.pseudo(":authority", value),
            _ => request.field(name, value.as_bytes()),
        };
    }
    let body = b64(case.request.body_b64.as_deref().unwrap_or_default());
    // Frames of one byte.
    let size = match case.request.framing.get("chunks") {
        Some(_) => 1,
        None => body.len().max(1),
    };
    body.chunks(size).fold(request, |r, part| r.data(part))
}

/// The HTTP/1.1 request of a case, if HTTP/2 can express it: one well-formed message without an
/// upgrade, whose target holds only bytes that are allowed in `:path`.
async fn said_in_http2(case: &Case) -> Option<Request> {
    let raw = case.raw();
    let mut wire = Wire::new(&raw[..]);
    let head = wire.request_head().await.ok()?;
    let body = wire.body(&head.framing).await.ok()?;
    let host = values(&head.headers, "host");
    let &[host] = host.as_slice() else {
        return None;
    };
    let says_more = ["upgrade", "trailer", "te"]
        .iter()
        .any(|name| !values(&head.headers, name).is_empty());
    let nominates = values(&head.headers, "connection").iter().any(|value| {
        !value.eq_ignore_ascii_case(b"keep-alive") && !value.eq_ignore_ascii_case(b"close")
    });
    let is_path = head.target.starts_with('/')
        && head
            .target
            .bytes()
            .all(|b| b.is_ascii_graphic() && !b"<>\"`#\\^{|}".contains(&b));
    let is_whole = wire.pending().is_empty() && wire.until_closed().await.is_empty();
    let is_one = case.responses.unwrap_or(1) == 1;
    // Cases about chunked framing apply to HTTP/1.1 only.
    let is_about_chunks = case.group == "smuggling" && head.framing == Framing::Chunked;
    if is_about_chunks
        || says_more
        || nominates
        || !is_path
        || !is_whole
        || !is_one
        || head.version != "HTTP/1.1"
    {
        return None;
    }
    let mut request = Request::new(&head.method, &head.target).pseudo(":authority", host);
    for (name, value) in &head.headers {
        let name = lower(name);
        if !CONNECTION_FIELDS.contains(&name.as_str()) {
            let value = value.trim_ascii().to_vec();
            request = request.field(&name, value);
        }
    }
    // Small frames, so that a placeholder spans several, but not so many that they count as an
    // attack.
    Some(
        body.chunks((body.len() / 500).max(7))
            .fold(request, |r, part| r.data(part)),
    )
}

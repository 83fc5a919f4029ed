//! The change from HTTP to WebSocket (RFC 6455 section 4, RFC 9110 section 7.8; RFC 8441).
//!
//! The request that asks for it is a request like any other: searched, authorised, recorded. Only
//! what belongs to this hop is made again on each side of the proxy. So is every extension: compressed
//! messages could not be searched for values.
//!
//! Any other upgrade would carry bytes that are not searched. One that only offers another version of
//! HTTP, or TLS, is ignored, as RFC 9110 section 7.8 allows: the client goes on in HTTP/1.1, and the
//! answer says so. One without which the request is of no use (SPDY of `kubectl exec`, docker's `tcp`)
//! is refused before a value is used.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::response::Parts;
use http::{Method, Request, Response, StatusCode, Version};
use hyper::body::Body;
use hyper::ext::Protocol;
use hyper::upgrade::OnUpgrade;

use crate::error::{Code, Refusal};
use crate::proxy::exchange::hop_by_hop;
use crate::proxy::exchange::present::Present;

const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");
/// What makes an answer to the key one that only a WebSocket server gives (RFC 6455 section 1.3).
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// The bytes in a `Sec-WebSocket-Key` (RFC 6455 section 4.1).
const KEY_BYTES: usize = 16;

/// Marks a request that asks its upstream for WebSocket, on its way through the pipeline.
#[derive(Clone, Copy, Debug)]
pub struct Asked;

/// A client's offer to speak WebSocket.
pub struct Offer {
    client: OnUpgrade,
    over: Over,
    /// What the server has to answer.
    accept: String,
}

/// What the client's offer came by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Over {
    Http1,
    Http2,
}

impl Offer {
    /// The offer that a request makes, if it is one to be passed on. The request is marked, and is
    /// then one that makes it over HTTP/1.1. Its head has the fields that are `present`.
    pub fn of<B: Body>(
        request: &mut Request<B>,
        present: Present,
    ) -> Result<Option<Self>, Refusal> {
        let is_offer = Present::SEC_WEBSOCKET_KEY.and(Present::UPGRADE);
        if *request.method() != Method::CONNECT && !present.has(is_offer) {
            return Ok(None);
        }
        let over = if is_extended_connect(request) {
            Over::Http2
        } else {
            Over::Http1
        };
        let key = match over {
            Over::Http1 => offered(request),
            Over::Http2 => Some(take_the_place(request)?),
        };
        let Some(accept) = key.map(|key| accept(&key)) else {
            check_others(request)?;
            return Ok(None);
        };
        let Some(client) = request.extensions_mut().remove::<OnUpgrade>() else {
            return Ok(None);
        };
        request.extensions_mut().insert(Asked);
        Ok(Some(Self {
            client,
            over,
            accept,
        }))
    }

    /// Whether the client takes such an answer for a yes. Over HTTP/2 any success is one (RFC 9113
    /// section 8.5), so there an upstream that did not change the protocol must not give it.
    pub fn is_met_by(&self, status: StatusCode) -> bool {
        self.over == Over::Http2 && status.is_success()
    }

    /// Makes the upstream's answer one to this offer.
    pub fn answer(&self, head: &mut Parts) {
        head.headers.remove(header::CONTENT_LENGTH);
        match self.over {
            Over::Http1 => renew(&mut head.headers),
            // RFC 8441 section 5: a success, with nothing in it about the change.
            Over::Http2 => {
                hop_by_hop::strip(&mut head.headers);
                head.headers.remove(header::SEC_WEBSOCKET_ACCEPT);
                head.status = StatusCode::OK;
            }
        }
    }

    /// Whether the upstream has agreed to speak WebSocket from here on, and nothing else with it.
    pub fn check<B>(&self, response: &Response<B>) -> Result<(), &'static str> {
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err("it answered without changing the protocol");
        }
        let headers = response.headers();
        let upgrade = only(headers, header::UPGRADE).map(HeaderValue::as_bytes);
        if !upgrade.is_some_and(|name| name.eq_ignore_ascii_case(b"websocket"))
            || !hop_by_hop::nominates(headers, &header::UPGRADE)
        {
            return Err("it changes to another protocol");
        }
        let accept = only(headers, header::SEC_WEBSOCKET_ACCEPT).map(HeaderValue::as_bytes);
        if accept != Some(self.accept.as_bytes()) {
            return Err("its Sec-WebSocket-Accept does not belong to this handshake");
        }
        if headers.contains_key(header::SEC_WEBSOCKET_EXTENSIONS) {
            return Err("it uses an extension that nobody offered");
        }
        Ok(())
    }

    /// The client's connection, once it has its answer.
    pub fn into_client(self) -> OnUpgrade {
        self.client
    }
}

/// Upgrades that a client does without: other versions of HTTP, and the versions of TLS (RFC 2817).
const OPTIONAL: [&str; 10] = [
    "h2", "h2c", "http/1.1", "http/2.0", "tls/1.0", "tls/1.1", "tls/1.2", "tls/1.3", "ssl/2.0",
    "ssl/3.0",
];

/// The protocols that a request asks to change to. `Upgrade` says so only where `Connection` names it,
/// and not in HTTP/1.0 (RFC 9110 section 7.8).
fn protocols<B>(request: &Request<B>) -> impl Iterator<Item = &[u8]> {
    let headers = request.headers();
    let is_asked = headers.contains_key(header::UPGRADE)
        && request.version() == Version::HTTP_11
        && hop_by_hop::nominates(headers, &header::UPGRADE);
    let lines = headers.get_all(header::UPGRADE).into_iter();
    let protocols = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    let protocols = protocols
        .map(<[u8]>::trim_ascii)
        .filter(|name| !name.is_empty());
    protocols.filter(move |_| is_asked)
}

/// Whether a request that makes no offer asks for another protocol all the same.
pub fn is_ignored<B>(request: &Request<B>, present: Present) -> bool {
    present.has(Present::UPGRADE) && protocols(request).next().is_some()
}

fn check_others<B>(request: &Request<B>) -> Result<(), Refusal> {
    if !request.headers().contains_key(header::UPGRADE) {
        return Ok(());
    }
    let is = |name: &[u8], wanted: &str| name.eq_ignore_ascii_case(wanted.as_bytes());
    for name in protocols(request) {
        if is(name, "websocket") {
            return Err(Refusal::new(
                Code::RequestMalformed,
                "this is no handshake of WebSocket version 13: a GET of HTTP/1.1 without a body, with \
                 `Sec-WebSocket-Version: 13` and a key of 16 bytes (RFC 6455 section 4.1)",
            ));
        }
        if !OPTIONAL.iter().any(|optional| is(name, optional)) {
            return Err(Refusal::new(
                Code::UpgradeUnsupported,
                "the protocol in Upgrade is not passed on: what it carries could not be searched; \
                 WebSocket is, and hosts in tls.passthrough are not looked into",
            ));
        }
    }
    Ok(())
}

/// The key of an offer over HTTP/1.1: version 13, with a key that is one.
fn offered<B: Body>(request: &Request<B>) -> Option<String> {
    let headers = request.headers();
    // First, because hardly any request has one.
    let key = only(headers, header::SEC_WEBSOCKET_KEY)?.to_str().ok()?;
    let named = |name: HeaderName, wanted: &[u8]| {
        let values = headers.get_all(name).into_iter();
        let mut options = values.flat_map(|v| v.as_bytes().split(|byte| *byte == b','));
        options.any(|option| option.trim_ascii().eq_ignore_ascii_case(wanted))
    };
    let is_one = *request.method() == Method::GET
        && request.version() == Version::HTTP_11
        && request.body().is_end_stream()
        && named(header::UPGRADE, b"websocket")
        && named(header::CONNECTION, b"upgrade")
        && is_version_13(headers);
    let is_key = STANDARD
        .decode(key)
        .is_ok_and(|bytes| bytes.len() == KEY_BYTES);
    (is_one && is_key).then(|| key.to_owned())
}

/// Whether a request is the extended CONNECT that is a WebSocket handshake in HTTP/2 (RFC 8441). It
/// has a target and is a request like any other.
pub fn is_extended_connect<B>(request: &Request<B>) -> bool {
    let protocol = || request.extensions().get::<Protocol>();
    *request.method() == Method::CONNECT
        && protocol().is_some_and(|name| name.as_str().eq_ignore_ascii_case("websocket"))
}

/// Turns an extended CONNECT into the handshake of HTTP/1.1, with a key of the proxy's own, because
/// that of its client does not exist (RFC 8441 section 5).
fn take_the_place<B: Body>(request: &mut Request<B>) -> Result<String, Refusal> {
    if !is_version_13(request.headers()) {
        return Err(Refusal::new(
            Code::RequestMalformed,
            "WebSocket is spoken here in version 13 (RFC 6455)",
        ));
    }
    let no_key = || Refusal::new(Code::Internal, "no key could be drawn");
    let mut bytes = [0; KEY_BYTES];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| no_key())?;
    let key = STANDARD.encode(bytes);
    let value = HeaderValue::from_str(&key).map_err(|_| no_key())?;
    request
        .headers_mut()
        .insert(header::SEC_WEBSOCKET_KEY, value);
    *request.method_mut() = Method::GET;
    *request.version_mut() = Version::HTTP_11;
    Ok(key)
}

fn is_version_13(headers: &HeaderMap) -> bool {
    only(headers, header::SEC_WEBSOCKET_VERSION).is_some_and(|version| version == "13")
}

/// Leaves out of a handshake what is not offered here, along with what ends at this hop anyway, and
/// asks for the upgrade in the proxy's own name.
pub fn renew(headers: &mut HeaderMap) {
    let extensions = HeaderValue::from_static("sec-websocket-extensions");
    headers.append(header::CONNECTION, extensions);
    hop_by_hop::strip(headers);
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, WEBSOCKET);
}

/// The refusal for an upstream that changes the protocol in a way that was not asked for.
pub fn unasked(why: &str, destination: String) -> Refusal {
    let detail = format!("no WebSocket to the destination can begin: {why}");
    Refusal::new(Code::UpstreamProtocolError, detail).destination(destination)
}

/// RFC 6455 section 4.2.2. The hash proves that the answer belongs to the request, no more.
fn accept(key: &str) -> String {
    let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, format!("{key}{GUID}").as_bytes());
    STANDARD.encode(hash)
}

/// The value of a header that is there once.
pub(in crate::proxy) fn only(headers: &HeaderMap, name: HeaderName) -> Option<&HeaderValue> {
    let mut values = headers.get_all(name).into_iter();
    values.next().filter(|_| values.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_accept_value_is_that_of_the_rfc() {
        assert_eq!(
            accept("dGhlIHNhbXBsZSBub25jZQ=="),
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        );
    }

    #[test]
    fn a_handshake_keeps_its_order_and_loses_extensions_and_other_upgrades() {
        let lines = [
            ("host", "a"),
            ("upgrade", "h2c, websocket"),
            ("connection", "keep-alive, Upgrade, X-Hop"),
            ("x-hop", "1"),
            ("sec-websocket-extensions", "permessage-deflate"),
            ("sec-websocket-key", "k"),
            ("origin", "o"),
        ];
        let mut headers: HeaderMap = lines
            .iter()
            .map(|(name, value)| {
                let name = HeaderName::from_static(name);
                (name, HeaderValue::from_static(value))
            })
            .collect();
        renew(&mut headers);
        let left: Vec<_> = headers
            .iter()
            .map(|(n, v)| (n.as_str(), v.to_str().unwrap()))
            .collect();
        let expected = [
            ("host", "a"),
            ("sec-websocket-key", "k"),
            ("origin", "o"),
            ("connection", "Upgrade"),
            ("upgrade", "websocket"),
        ];
        assert_eq!(left, expected);
    }
}

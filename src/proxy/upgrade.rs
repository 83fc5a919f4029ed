//! The change from HTTP/1.1 to WebSocket (RFC 6455 section 4, RFC 9110 section 7.8).
//!
//! The request that asks for it is a request like any other: searched, authorised, recorded. Only
//! what belongs to this hop is made anew on each side of the proxy. Any other upgrade is stripped
//! (h2c would carry requests that nobody looks at), and so is every extension: compressed messages
//! could not be searched for values.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Response, Version};
use hyper::body::{Body as _, Incoming};
use hyper::upgrade::OnUpgrade;

use super::hop;
use crate::error::{Code, Refusal};

const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");
/// What makes an answer to the key one that only a WebSocket server gives (RFC 6455 section 1.3).
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// The bytes behind a `Sec-WebSocket-Key` (RFC 6455 section 4.1).
const KEY_BYTES: usize = 16;

/// Marks a request that asks its upstream for WebSocket, on its way through the pipeline.
#[derive(Clone, Copy, Debug)]
pub struct Asked;

/// A client's offer to speak WebSocket.
pub struct Offer {
    client: OnUpgrade,
    /// What the server has to answer.
    accept: String,
}

impl Offer {
    /// The offer that a request makes, if it is one to be passed on: version 13, with a key that is
    /// one. The request is marked.
    pub fn of(request: &mut Request<Incoming>) -> Option<Self> {
        let headers = request.headers();
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
            && only(headers, header::SEC_WEBSOCKET_VERSION)?.as_bytes() == b"13";
        let key = only(headers, header::SEC_WEBSOCKET_KEY)?.to_str().ok()?;
        if !is_one || STANDARD.decode(key).ok()?.len() != KEY_BYTES {
            return None;
        }
        let accept = accept(key);
        let client = request.extensions_mut().remove::<OnUpgrade>()?;
        request.extensions_mut().insert(Asked);
        Some(Self { client, accept })
    }

    /// Takes the upstream at its word that it speaks WebSocket from here on, if it has given it.
    /// Both connections can then be had.
    pub fn accept(
        self,
        response: &mut Response<Incoming>,
    ) -> Result<(OnUpgrade, OnUpgrade), &'static str> {
        let headers = response.headers();
        let upgrade = only(headers, header::UPGRADE).map(HeaderValue::as_bytes);
        if !upgrade.is_some_and(|name| name.eq_ignore_ascii_case(b"websocket"))
            || !hop::nominated(headers).contains("upgrade")
        {
            return Err("it switches to another protocol than WebSocket");
        }
        let accept = only(headers, header::SEC_WEBSOCKET_ACCEPT).map(HeaderValue::as_bytes);
        if accept != Some(self.accept.as_bytes()) {
            return Err("its Sec-WebSocket-Accept does not belong to this handshake");
        }
        if headers.contains_key(header::SEC_WEBSOCKET_EXTENSIONS) {
            return Err("it uses an extension that nobody offered");
        }
        Ok((self.client, hyper::upgrade::on(response)))
    }
}

/// Leaves out of a handshake what is not offered here, along with what ends at this hop anyway, and
/// asks for the upgrade in the proxy's own name.
pub fn renew(headers: &mut HeaderMap) {
    let extensions = HeaderValue::from_static("sec-websocket-extensions");
    headers.append(header::CONNECTION, extensions);
    hop::strip(headers);
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, WEBSOCKET);
}

/// The refusal for an upstream that changes the protocol in a way that was not asked for.
pub fn unasked(why: &str, destination: String) -> Refusal {
    let detail = format!("the destination answered 101 (Switching Protocols), but {why}");
    Refusal::new(Code::UpstreamProtocolError, detail).destination(destination)
}

/// RFC 6455 section 4.2.2. The hash proves that the answer belongs to the request, no more.
fn accept(key: &str) -> String {
    let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, format!("{key}{GUID}").as_bytes());
    STANDARD.encode(hash)
}

/// The value of a header that is there once.
fn only(headers: &HeaderMap, name: HeaderName) -> Option<&HeaderValue> {
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

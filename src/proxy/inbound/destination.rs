//! Where a request goes, decided once from everything that names it.

use http::header::{self, HeaderValue};
use http::request::Parts;
use http::uri::PathAndQuery;

use crate::error::{Code, Refusal};
use crate::policy::destination::{Destination, Scheme};
use crate::proxy::inbound::entry::{Entry, TunnelEntry, mismatch};

/// Where the request goes, decided once. Leaves the head with a target in origin form and a `Host`
/// that names the destination.
pub fn of(entry: &Entry, head: &mut Parts) -> Result<Destination, Refusal> {
    let named = named_in_target(head)?;
    let destination = match entry {
        Entry::Proxy(_) => named.ok_or_else(not_a_proxy_request)?,
        Entry::Tunnel(tunnel) => {
            if let Some(mismatch) = &tunnel.mismatch {
                return Err(mismatch.clone());
            }
            if named.is_some_and(|named| named != tunnel.destination) {
                return Err(mismatch(&tunnel.destination, "the request target"));
            }
            check_host(head, tunnel)?;
            tunnel.destination.clone()
        }
    };
    // RFC 9112 section 3.2.2: beside an absolute target the received Host is ignored and replaced.
    // Where it was compared it stays as the client wrote it.
    if matches!(entry, Entry::Proxy(_)) || !head.headers.contains_key(header::HOST) {
        let host = HeaderValue::from_str(&destination.authority()).map_err(|_| {
            Refusal::new(Code::RequestMalformed, "the host cannot be a Host header")
        })?;
        head.headers.insert(header::HOST, host);
    }
    Ok(destination)
}

/// The destination of an absolute-form target, which then becomes origin-form.
fn named_in_target(head: &mut Parts) -> Result<Option<Destination>, Refusal> {
    let Some(authority) = head.uri.authority() else {
        return Ok(None);
    };
    let scheme = match head.uri.scheme_str() {
        Some("http") => Scheme::Http,
        Some("https") => Scheme::Https,
        _ => {
            return Err(Refusal::new(
                Code::RequestMalformed,
                "only http:// and https:// targets are understood",
            ));
        }
    };
    let destination = Destination::from_authority(scheme, authority.as_str())
        .map_err(|error| Refusal::new(Code::RequestMalformed, error.to_string()))?;
    let target = head.uri.path_and_query().cloned();
    head.uri = target
        .unwrap_or_else(|| PathAndQuery::from_static("/"))
        .into();
    Ok(Some(destination))
}

/// CONNECT and `Host` name the same host and port, or the request goes nowhere (domain fronting).
/// A `Host` without a port means the well-known ones, also where plain HTTP is spoken in a
/// tunnel to 443: the credential's scheme decides about that.
fn check_host(head: &Parts, tunnel: &TunnelEntry) -> Result<(), Refusal> {
    let Some(host) = head.headers.get(header::HOST) else {
        return Ok(());
    };
    if host.as_bytes() == tunnel.authority.as_bytes() {
        return Ok(());
    }
    let destination = &tunnel.destination;
    let named = host
        .to_str()
        .ok()
        .and_then(|host| Destination::from_authority(destination.scheme, host).ok());
    let same = named.is_some_and(|named| {
        let both_well_known = [named.port, destination.port]
            .iter()
            .all(|port| matches!(port, 80 | 443));
        let explicit = host
            .as_bytes()
            .ends_with(format!(":{}", named.port).as_bytes());
        named.host == destination.host
            && (named.port == destination.port || (both_well_known && !explicit))
    });
    match same {
        true => Ok(()),
        false => Err(mismatch(destination, "Host")),
    }
}

fn not_a_proxy_request() -> Refusal {
    Refusal::new(
        Code::RequestMalformed,
        "this is a proxy, not a web server: set HTTP_PROXY and HTTPS_PROXY to it and request the \
         real URL (`egret env` prints the variables)",
    )
}

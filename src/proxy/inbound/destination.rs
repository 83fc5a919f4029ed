//! Where a request goes, decided once from everything that names it.

use http::header::{self, HeaderValue};
use http::request::Parts;
use http::uri::PathAndQuery;

use crate::error::{Code, Refusal};
use crate::policy::destination::{Destination, Scheme};
use crate::proxy::context::Settings;
use crate::proxy::inbound::base_url;
use crate::proxy::inbound::entry::{Entry, TunnelEntry, mismatch};

/// Ports below this one belong to other protocols' servers: mail, databases' admin ports, SSH.
const FIRST_UNPRIVILEGED: u16 = 1_024;

/// Where the request goes, decided once. Leaves the head with a target in origin form and a `Host`
/// that names the destination.
pub fn of(entry: &Entry, head: &mut Parts, settings: &Settings) -> Result<Destination, Refusal> {
    let named = named_in_target(head)?;
    let destination = match entry {
        Entry::Proxy(_) => {
            let named = named.ok_or_else(not_a_proxy_request)?;
            check_port(&settings.config.proxy.connect_ports, &named)?;
            named
        }
        Entry::Transparent(entry) => {
            let destination = of_host(head, entry.port)?;
            if named.is_some_and(|named| named != destination) {
                return Err(mismatch(&destination, "the request target"));
            }
            check_port(&settings.config.proxy.connect_ports, &destination)?;
            destination
        }
        Entry::BaseUrl(entry) => {
            let destination = base_url::destination(&entry.own, named.as_ref(), head)?;
            check_port(&settings.config.proxy.connect_ports, &destination)?;
            destination
        }
        Entry::Tunnel(tunnel) => {
            if let Some(mismatch) = &tunnel.mismatch {
                return Err(mismatch.clone());
            }
            if named.is_some_and(|named| named != tunnel.destination) {
                return Err(mismatch(&tunnel.destination, "the request target"));
            }
            if check_host(head, tunnel)? {
                // It stays as the client wrote it.
                return Ok(tunnel.destination.clone());
            }
            tunnel.destination.clone()
        }
    };
    // RFC 9112 section 3.2.2: beside an absolute target the received Host is ignored and replaced.
    // Where it was compared it stays as the client wrote it.
    let is_replaced = matches!(entry, Entry::Proxy(_) | Entry::BaseUrl(_));
    if is_replaced || !head.headers.contains_key(header::HOST) {
        let host = HeaderValue::from_str(&destination.authority()).map_err(|_| {
            Refusal::new(Code::RequestMalformed, "the host cannot be a Host header")
        })?;
        head.headers.insert(header::HOST, host);
    }
    Ok(destination)
}

/// Refuses the ports of other protocols' servers that are not among those `allowed`, whichever way they
/// are named.
pub fn check_port(allowed: &[u16], destination: &Destination) -> Result<(), Refusal> {
    let port = destination.port;
    if matches!(port, 80 | 443) || port >= FIRST_UNPRIVILEGED || allowed.contains(&port) {
        return Ok(());
    }
    let detail = format!("port {port} is refused; if that is meant, add it to proxy.connect_ports");
    Err(Refusal::new(Code::DestinationForbidden, detail).destination(destination.to_string()))
}

/// The destination of a request that knows of no proxy. `Host` says no port where it is the scheme's
/// own; the client has connected to this one.
fn of_host(head: &Parts, port: u16) -> Result<Destination, Refusal> {
    let malformed = |detail| Refusal::new(Code::RequestMalformed, detail);
    let host = head.headers.get(header::HOST);
    let host = host.ok_or_else(|| malformed("the request names no host"))?;
    let named = host
        .to_str()
        .ok()
        .and_then(|host| Destination::from_authority(Scheme::Http, host).ok())
        .ok_or_else(|| malformed("Host is not a host and a port"))?;
    if named.port != port {
        return Err(mismatch(&named, "the port that the client connected to"));
    }
    Ok(named)
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
/// tunnel to 443: the credential's scheme decides about that. Says whether there is a `Host`.
fn check_host(head: &Parts, tunnel: &TunnelEntry) -> Result<bool, Refusal> {
    let Some(host) = head.headers.get(header::HOST) else {
        return Ok(false);
    };
    if host.as_bytes() == tunnel.authority.as_bytes() {
        return Ok(true);
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
    if same {
        Ok(true)
    } else {
        Err(mismatch(destination, "Host"))
    }
}

fn not_a_proxy_request() -> Refusal {
    Refusal::new(
        Code::RequestMalformed,
        "this is a proxy, not a web server: set HTTP_PROXY and HTTPS_PROXY to it and request the \
         real URL (`egret env` prints the variables)",
    )
}

//! CONNECT: who may open a tunnel, and to where.

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;

use crate::error::{Code, Refusal};
use crate::policy::destination::{Destination, Scheme};
use crate::proxy::context::{Proxy, Settings};
use crate::proxy::inbound::client::Client;
use crate::proxy::inbound::entry::{Entry, PresentedIdentity};
use crate::proxy::inbound::service::Service;
use crate::proxy::inbound::tunnel::{self, Tunnel};
use crate::proxy::response::reply_body::ReplyBody;
use crate::proxy::runtime::slot::ConnectionSlot;

/// Ports below this one belong to other protocols' servers: mail, databases' admin ports, SSH.
const FIRST_UNPRIVILEGED: u16 = 1_024;

/// Answers a CONNECT request; on success a tunnel runs in a task of its own.
pub async fn open<A: Service>(
    client: &Client,
    request: Request<Incoming>,
) -> Result<Response<ReplyBody>, Refusal> {
    let opened = try_open::<A>(&client.proxy, &client.entry, request).await;
    if opened.is_err() {
        // git and others send CONNECT again on the same connection after a 407.
        client.signal.connect_refused();
    }
    opened
}

async fn try_open<A: Service>(
    proxy: &Arc<Proxy>,
    entry: &Entry,
    request: Request<Incoming>,
) -> Result<Response<ReplyBody>, Refusal> {
    let Entry::Proxy(slot) = entry else {
        return Err(Refusal::new(
            Code::RequestMalformed,
            "CONNECT inside a tunnel is not supported",
        ));
    };
    let settings = proxy.settings.load_full();
    proxy.changes.follow(&proxy.vault, &proxy.ledger).await?;
    // The CONNECT head is not scanned. Who asks is judged here too, so that a bad token fails with
    // an answer that every client understands.
    let identity = PresentedIdentity::of(&settings, request.headers());
    identity.caller(&settings, request.headers())?;
    let tunnel = Tunnel {
        destination: target(&request, &settings)?,
        identity,
        slot: ConnectionSlot::clone(slot),
    };
    if is_passthrough(&settings, &tunnel.destination) {
        let upstream = settings.upstream.dial_blind(&tunnel.destination).await?;
        tunnel::spawn_blind(proxy, tunnel, upstream, request);
    } else {
        tunnel::spawn_intercepted::<A>(proxy, tunnel, request);
    }
    Ok(Response::new(ReplyBody::full(Bytes::new())))
}

/// The authority-form target (RFC 9110 section 9.3.6: host and port are both required). Python
/// sends HTTP/1.0 without Host, so Host is not asked for and not compared.
fn target(request: &Request<Incoming>, settings: &Settings) -> Result<Destination, Refusal> {
    let malformed = |detail: String| Refusal::new(Code::RequestMalformed, detail);
    let authority = request
        .uri()
        .authority()
        .filter(|authority| authority.port().is_some() && request.uri().scheme().is_none())
        .ok_or_else(|| malformed("a CONNECT target is host:port".into()))?;
    let destination = Destination::from_authority(Scheme::Https, authority.as_str())
        .map_err(|error| malformed(error.to_string()))?;
    let port = destination.port;
    let allowed = matches!(port, 80 | 443)
        || port >= FIRST_UNPRIVILEGED
        || settings.config.proxy.connect_ports.contains(&port);
    match allowed {
        true => Ok(destination),
        false => Err(Refusal::new(
            Code::DestinationForbidden,
            format!(
                "CONNECT to port {port} is refused; if that is meant, add it to proxy.connect_ports"
            ),
        )
        .destination(destination.to_string())),
    }
}

fn is_passthrough(settings: &Settings, destination: &Destination) -> bool {
    let patterns = &settings.config.tls.passthrough;
    patterns.iter().any(|pattern| pattern.matches(destination))
}

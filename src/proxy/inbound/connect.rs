//! CONNECT: who may open a tunnel, and to where.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;

use crate::config::Exposed;
use crate::error::{Code, Refusal};
use crate::policy::destination::{Destination, Scheme};
use crate::proxy::context::{Proxy, Settings};
use crate::proxy::exchange::egress::ConnectRules;
use crate::proxy::exchange::leak_guard;
use crate::proxy::exchange::request_context::{Refused, RequestContext};
use crate::proxy::exchange::request_id::RequestId;
use crate::proxy::inbound::client::Client;
use crate::proxy::inbound::destination::check_port;
use crate::proxy::inbound::entry::Entry;
use crate::proxy::inbound::service::Service;
use crate::proxy::inbound::tunnel::{self, Tunnel};
use crate::proxy::response::reply_body::ReplyBody;
use crate::proxy::runtime::slot::ConnectionSlot;

/// Answers a CONNECT request; on success a tunnel runs in a task of its own.
pub async fn open<A: Service>(
    client: &Client,
    request: Request<Incoming>,
    id: RequestId,
) -> Result<Response<ReplyBody>, Refused> {
    let opened = try_open::<A>(&client.proxy, &client.entry, request, id).await;
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
    id: RequestId,
) -> Result<Response<ReplyBody>, Refused> {
    let started = Instant::now();
    let Entry::Proxy(entry) = entry else {
        return Err(Refused::from(Refusal::new(
            Code::RequestMalformed,
            "CONNECT inside a tunnel is not supported",
        )));
    };
    let settings = proxy.settings.load_full();
    proxy.changes.follow(&proxy.vault, &proxy.ledger).await?;
    // The CONNECT head is not scanned. Who asks is judged here too, so that a bad token fails with
    // an answer that every client understands.
    let identity = entry.identity(&settings, request.headers());
    let caller = identity.caller(&settings, request.headers())?;
    let destination = target(&request, &settings)?;
    let is_blind = is_passthrough(&settings, &destination);
    let context = RequestContext::of_connect(id, Arc::new(caller), destination, started);
    check_rules(proxy, &settings, &context, is_blind)?;
    let tunnel = Tunnel {
        destination: context.destination,
        identity,
        client: Arc::clone(&context.caller.client),
        slot: ConnectionSlot::clone(&entry.slot),
    };
    if is_blind {
        let upstream = settings.upstream.dial_blind(&tunnel.destination).await?;
        tunnel::spawn_blind(proxy, tunnel, upstream, request);
    } else {
        tunnel::spawn_intercepted::<A>(proxy, tunnel, request);
    }
    Ok(Response::new(ReplyBody::full(Bytes::new())))
}

/// Asks the rules for egress whether a tunnel may be opened. Nobody looks into one that `is_blind`, so a
/// stored value in the name of its host is looked for here: to look up the name tells it to others.
///
/// # Errors
/// Why it may not.
pub fn check_rules(
    proxy: &Proxy,
    settings: &Settings,
    context: &RequestContext,
    is_blind: bool,
) -> Result<(), Refused> {
    let operator = &settings.config.egress.rules;
    let principal = &context.caller.principal;
    let needles = || proxy.needle_cache.needles(&proxy.vault, principal);
    let treatment = settings.config.treatment(&context.destination);
    if is_blind && treatment.exposed == Exposed::Reject {
        leak_guard::check_named(context, &needles())?;
    }
    if let Some(rules) = ConnectRules::of(operator, &proxy.vault, context)? {
        let needles = needles();
        rules.check(proxy.egress_observer(&needles), context, is_blind)?;
    }
    Ok(())
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
    check_port(&settings.config.proxy.connect_ports, &destination)?;
    Ok(destination)
}

/// Whether a tunnel to it is passed on unopened.
pub fn is_passthrough(settings: &Settings, destination: &Destination) -> bool {
    let patterns = &settings.config.tls.passthrough;
    patterns.iter().any(|pattern| pattern.matches(destination))
}

//! One HTTP request, whichever door it came through: the glue between hyper and the exchange.

use crate::proxy::inbound::client::Client;
use crate::proxy::inbound::entry::mismatch;
use crate::proxy::runtime::limits::HEADERS_ON_STACK;
use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

use http::header::{self, HeaderValue};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use super::connect;
use crate::error::{Code, Refusal};
use crate::observe::access::Forwarded;
use crate::policy::destination::{Destination, Scheme};
use crate::proxy::context::{Proxy, Settings};
use crate::proxy::exchange::authorisation::{Refused, RequestContext};
use crate::proxy::exchange::body::InboundBody;
use crate::proxy::exchange::pipeline::{Authenticated, Exchange};
use crate::proxy::exchange::request_id::RequestId;
use crate::proxy::exchange::upgrade::{Offer, is_extended_connect};
use crate::proxy::inbound::entry::{Entry, TunnelEntry};
use crate::proxy::inbound::head_guard::HeadGuard;
use crate::proxy::response::reply_body::ReplyBody;
use crate::proxy::response::{problem, relay};
use crate::proxy::runtime::signal::{HeadNote, HeadSignal, RawHead};
use crate::proxy::websocket;
use crate::proxy::websocket::Asker;

/// The least read buffer of a client connection: a whole head has to fit after its request line
/// was encoded, which can treble it.
const HEAD_GROWTH: usize = 3;
const LEAST_BUFFER: usize = 256 * 1024;

/// Notes how a connection ended.
pub(in crate::proxy) fn note_end(ended: hyper::Result<()>) {
    if ended.is_err() {
        // The usual cause is a client that went away. The library's text is not logged.
        tracing::debug!("a client connection ended in an error");
    }
}

/// Serves HTTP/1.1 on a connection until it ends or the proxy drains.
///
/// The connection is made before the future, and in a box: handed to an `async fn` it would be held
/// twice, by its argument and by what that becomes.
pub fn serve<S>(
    proxy: Arc<Proxy>,
    guard: HeadGuard<S>,
    signal: HeadSignal,
    entry: Entry,
) -> impl Future<Output = ()> + Send
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let client = Client::new(proxy, entry, signal);
    let settings = client.proxy.settings.load();
    let limits = &settings.config.proxy;
    let mut builder = http1::Builder::new();
    builder
        .preserve_header_case(true)
        .max_buf_size(LEAST_BUFFER.max(limits.max_header_bytes * HEAD_GROWTH));
    if limits.max_headers > HEADERS_ON_STACK {
        builder.max_headers(limits.max_headers);
    }
    drop(settings);
    let asked = Arc::clone(&client);
    let service =
        service_fn(move |request| handle(Arc::clone(&asked), asked.signal.take(), request));
    let connection = builder
        .serve_connection(TokioIo::new(guard), service)
        .with_upgrades();
    let mut connection = Box::pin(connection);
    async move {
        let ended = tokio::select! {
            biased;
            ended = connection.as_mut() => ended,
            () = client.drain() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        note_end(ended);
    }
}

/// Answers one request. `note` is what was found out about its head before it was parsed.
///
/// A connection keeps this future for as long as it lives, and moves it for each request. So it is
/// kept small here and below: what is rare is in a box, and a function that would be `async` but
/// takes what is large returns a block, because an `async fn` has room for each argument twice.
pub(in crate::proxy) fn handle(
    client: Arc<Client>,
    note: Option<HeadNote>,
    request: Request<Incoming>,
) -> impl Future<Output = Result<Response<ReplyBody>, Infallible>> {
    let id = client.proxy.ids.next();
    async move {
        let proxy = &client.proxy;
        let Some(note) = note else {
            let unguarded = Refusal::new(
                Code::RequestMalformed,
                "a request was pipelined behind a chunked body; wait for the answer first",
            );
            proxy.counters.refuse(unguarded.code);
            return Ok(problem::refuse(&unguarded, &id));
        };
        let is_tunnel = *request.method() == Method::CONNECT && !is_extended_connect(&request);
        let answer = match note.refusal {
            Some(refusal) => Err(Refused::from(*refusal)),
            None if client.is_draining() => Err(Refused::from(shutting_down())),
            None if is_tunnel => Box::pin(connect::open(&client, request))
                .await
                .map_err(Refused::from),
            None => forward(&client, request, id, note.head).await,
        };
        let answer = match answer {
            Ok(response) => {
                match is_tunnel {
                    true => proxy.counters.tunnel(),
                    false => proxy.counters.forward(),
                }
                response
            }
            Err(refused) => Box::pin(refuse(proxy, refused, &id)).await,
        };
        Ok(answer.map(|body| body.with_in_flight(note.in_flight)))
    }
}

/// The pipeline. Everything that may happen to a request is in these lines.
fn forward(
    client: &Arc<Client>,
    mut request: Request<Incoming>,
    id: RequestId,
    raw: Option<RawHead>,
) -> impl Future<Output = Result<Response<ReplyBody>, Refused>> {
    let started = Instant::now();
    let Client { proxy, signal, .. } = &**client;
    async move {
        let settings = proxy.settings.load();
        proxy.changes.follow(&proxy.vault, &proxy.ledger).await?;
        let offer = Offer::of(&mut request)?;
        if offer.is_none() && raw.as_ref().is_some_and(|raw| !raw.has_capitals) {
            // How the client spelled the names is how they are sent anyway.
            request.extensions_mut().clear();
        }
        let offer = offer.map(|offer| Box::new((Asker::new(client, request.headers()), offer)));

        let authenticated = authenticated(client, &settings, request, id, started)?;
        let scanned = authenticated
            .scan(settings.config.body.buffer, raw.map(|raw| raw.bytes))
            .await?;
        let authorised = scanned.resolve(&proxy.vault)?.authorise()?;
        let substituted = authorised.substitute(&proxy.vault)?;
        let recorded = substituted.record(&client.ledger).await?;
        let answer = settings.upstream.send(recorded).await?;

        log_answer(
            answer.awaited.outcome.context(),
            answer.response.status().as_u16(),
        );
        let status = answer.response.status();
        if status == StatusCode::SWITCHING_PROTOCOLS
            || offer.as_ref().is_some_and(|o| o.1.is_met_by(status))
        {
            let answer = websocket::begin(proxy, offer.map(|offer| *offer), answer)?;
            signal.upgraded();
            return Ok(answer);
        }
        let idle = settings.config.upstream.idle_timeout;
        Ok(relay::relay(answer, idle).await?)
    }
}

/// Who asks for what, and of whom: the beginning of an exchange.
fn authenticated(
    client: &Client,
    settings: &Arc<Settings>,
    request: Request<Incoming>,
    id: RequestId,
    started: Instant,
) -> Result<Exchange<Authenticated>, Refusal> {
    let Client {
        proxy,
        entry,
        signal,
        ..
    } = client;
    let (mut head, body) = request.into_parts();
    let (caller, destination, origin, treatment) = match entry {
        Entry::Tunnel(tunnel) => {
            let (caller, treatment) = tunnel.standing(settings, &proxy.vault, &head.headers)?;
            let destination = destination(entry, &mut head)?;
            (caller, destination, Arc::clone(&tunnel.origin), treatment)
        }
        Entry::Proxy(_) => {
            let caller = entry.caller(settings, &proxy.vault, &head.headers)?;
            let destination = destination(entry, &mut head)?;
            let treatment = settings.config.treatment(&destination);
            let origin = destination.to_string().into();
            (caller, destination, origin, treatment)
        }
    };
    let needles = proxy.needle_cache.needles(&proxy.vault, &caller.principal);
    let raw_path = Arc::<str>::from(head.uri.path());
    let context = RequestContext {
        id,
        caller,
        destination,
        origin,
        method: head.method.clone(),
        path: Arc::clone(&raw_path),
        raw_path,
        started,
        held_placeholder: false,
        ignored: Vec::new(),
    };
    let idle = settings.config.proxy.idle_timeout;
    let body = InboundBody::new(body, idle, signal);
    Ok(Exchange::new(context, head, body, treatment, needles))
}

/// Where the request goes, decided once. Leaves the head with a target in origin form and a `Host`
/// that names the destination.
fn destination(entry: &Entry, head: &mut Parts) -> Result<Destination, Refusal> {
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
/// A `Host` without a port stands for the well-known ones, also where plain HTTP is spoken in a
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

/// Writes the ledger lines of a refusal and makes its answer.
async fn refuse(proxy: &Proxy, refused: Refused, id: &str) -> Response<ReplyBody> {
    let refusal = &refused.refusal;
    tracing::info!(request = id, code = %refusal.code, slug = refusal.slug, location = refusal.location,
        destination = refusal.destination, "refused");
    let refusal = refused.record(&proxy.ledger, id).await;
    proxy.counters.refuse(refusal.code);
    problem::refuse(&refusal, id)
}

fn log_answer(context: &RequestContext, status: u16) {
    let line = Forwarded {
        request: &context.id,
        client: &context.caller.client,
        action: &context.caller.action,
        method: context.method.as_str(),
        destination: &context.origin,
        path: &context.path,
        status,
    };
    line.log();
}

fn not_a_proxy_request() -> Refusal {
    Refusal::new(
        Code::RequestMalformed,
        "this is a proxy, not a web server: set HTTP_PROXY and HTTPS_PROXY to it and request the \
         real URL (`egret env` prints the variables)",
    )
}

fn shutting_down() -> Refusal {
    Refusal::new(
        Code::ShuttingDown,
        "the proxy is shutting down; send the request again in a moment",
    )
}

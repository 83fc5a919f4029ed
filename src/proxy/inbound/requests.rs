//! One HTTP request, wherever it came in: the glue between hyper and the exchange.

use crate::proxy::inbound::client::Client;
use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

use http::header::{self, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use hyper::body::{Body as _, Incoming};

use crate::error::{Code, Refusal};
use crate::observe::access_log::Forwarded;
use crate::proxy::context::{Proxy, Settings};
use crate::proxy::exchange::body::InboundBody;
use crate::proxy::exchange::pipeline::{Authenticated, Exchange};
use crate::proxy::exchange::request_context::{Refused, RequestContext, shown_path};
use crate::proxy::exchange::request_id::RequestId;
use crate::proxy::exchange::upgrade::{Offer, is_extended_connect};
use crate::proxy::inbound::agreement;
use crate::proxy::inbound::client::Asking;
use crate::proxy::inbound::connect;
use crate::proxy::inbound::destination;
use crate::proxy::inbound::entry::Entry;
use crate::proxy::inbound::service::Service;
use crate::proxy::response::reply_body::ReplyBody;
use crate::proxy::response::{problem, relay};
use crate::proxy::runtime::signal::{HeadNote, RawHead};
use crate::proxy::websocket::handshake;

/// Answers requests by the pipeline.
pub struct Requests;

impl Service for Requests {
    // A connection keeps this future for as long as it lives, and moves it for each request. So it is
    // kept small here and below: what is rare is in a box, and a function that would be `async` but
    // takes what is large returns a block, because an `async fn` has room for each argument twice.
    fn answer(
        client: Arc<Client>,
        note: Option<HeadNote>,
        request: Request<Incoming>,
    ) -> impl Future<Output = Result<Response<ReplyBody>, Infallible>> {
        let id = client.proxy.ids.next();
        async move {
            let proxy = &client.proxy;
            let Some(note) = note else {
                let unguarded = agreement::out_of_step();
                proxy.counters.refuse(unguarded.code);
                return Ok(problem::refuse(&unguarded, &id));
            };
            let is_tunnel = *request.method() == Method::CONNECT && !is_extended_connect(&request);
            let has_body = note.head.is_some() && !request.body().is_end_stream();
            let refusal = note.refusal.map(|refusal| *refusal);
            let refusal = refusal.or_else(|| agreement::check(note.head.as_ref(), &request).err());
            let answer = match refusal {
                Some(refusal) => Err(Refused::from(refusal)),
                None if client.is_draining() => Err(Refused::from(shutting_down())),
                None if is_tunnel => Box::pin(connect::open::<Self>(&client, request))
                    .await
                    .map_err(Refused::from),
                None => forward(&client, request, id, note.head).await,
            };
            let mut answer = match answer {
                Ok(response) => {
                    match is_tunnel {
                        true => proxy.counters.tunnel(),
                        false => proxy.counters.forward(),
                    }
                    response
                }
                Err(refused) => Box::pin(refuse(proxy, refused, &id)).await,
            };
            if has_body && !client.unread.settle().await {
                let close = HeaderValue::from_static("close");
                answer.headers_mut().insert(header::CONNECTION, close);
            }
            Ok(answer.map(|body| body.with_in_flight(note.in_flight)))
        }
    }
}

/// The pipeline. Everything that may happen to a request is in these lines.
fn forward(
    client: &Arc<Client>,
    request: Request<Incoming>,
    id: RequestId,
    raw: Option<RawHead>,
) -> impl Future<Output = Result<Response<ReplyBody>, Refused>> {
    let started = Instant::now();
    let Client { proxy, signal, .. } = &**client;
    async move {
        let settings = proxy.settings.load();
        let idle = settings.config.proxy.idle_timeout;
        let unread = raw.as_ref().map(|_| &client.unread);
        let mut request = InboundBody::new(request, idle, signal, unread);
        proxy.changes.follow(&proxy.vault, &proxy.ledger).await?;
        let offer = Offer::of(&mut request)?;
        if offer.is_none() && raw.as_ref().is_some_and(|raw| !raw.has_capitals) {
            // How the client spelled the names is how they are sent anyway.
            request.extensions_mut().clear();
        }
        let offer = offer.map(|offer| Box::new((Asking::of(client, request.headers()), offer)));

        let authenticated = authenticated(client, &settings, request, id, started)?;
        let scanned = authenticated
            .scan(settings.config.body.buffer, raw.map(|raw| raw.bytes))
            .await?;
        let authorised = scanned.resolve(&proxy.vault)?.authorise()?;
        let obtained = authorised.obtain(&proxy.vault).await?;
        let substituted = obtained.substitute(&proxy.vault)?;
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
            let answer = handshake::begin(proxy, offer.map(|offer| *offer), answer)?;
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
    request: Request<InboundBody>,
    id: RequestId,
    started: Instant,
) -> Result<Exchange<Authenticated>, Refusal> {
    let Client { proxy, entry, .. } = client;
    let (mut head, body) = request.into_parts();
    let (caller, destination, origin, treatment) = match entry {
        Entry::Tunnel(tunnel) => {
            let (caller, treatment) = tunnel.standing(settings, &proxy.vault, &head.headers)?;
            let destination = destination::of(entry, &mut head)?;
            (caller, destination, Arc::clone(&tunnel.origin), treatment)
        }
        Entry::Proxy(_) => {
            let caller = entry.caller(settings, &proxy.vault, &head.headers)?;
            let destination = destination::of(entry, &mut head)?;
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
        path: shown_path(Arc::clone(&raw_path)),
        raw_path,
        started,
        held_placeholder: false,
    };
    Ok(Exchange::new(context, head, body, treatment, needles))
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

fn shutting_down() -> Refusal {
    Refusal::new(
        Code::ShuttingDown,
        "the proxy is shutting down; send the request again in a moment",
    )
}

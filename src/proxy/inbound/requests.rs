//! One HTTP request, wherever it came in: the glue between hyper and the exchange.

use crate::proxy::inbound::client::Client;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use hyper::body::{Body as _, Incoming};

use crate::error::{Code, Refusal};
use crate::observe::access_log::Forwarded;
use crate::observe::traces::Trace;
use crate::proxy::context::{Proxy, Settings};
use crate::proxy::exchange::body::InboundBody;
use crate::proxy::exchange::discovery;
use crate::proxy::exchange::egress;
use crate::proxy::exchange::headers::EGRET_IGNORED;
use crate::proxy::exchange::last_look::{FirstLook, LastLook};
use crate::proxy::exchange::leak_guard;
use crate::proxy::exchange::outcome::Outcome;
use crate::proxy::exchange::payload::BodyLimits;
use crate::proxy::exchange::pipeline::{Authenticated, Exchange};
use crate::proxy::exchange::present::Present;
use crate::proxy::exchange::request_context::{Refused, RequestContext, shown_path};
use crate::proxy::exchange::request_id::RequestId;
use crate::proxy::exchange::stand_ins;
use crate::proxy::exchange::upgrade::{self, Offer, is_extended_connect};
use crate::proxy::exchange::via;
use crate::proxy::inbound::agreement;
use crate::proxy::inbound::asking;
use crate::proxy::inbound::base::Base;
use crate::proxy::inbound::client::Asking;
use crate::proxy::inbound::connect;
use crate::proxy::inbound::destination;
use crate::proxy::inbound::entry::{Entry, Standing};
use crate::proxy::inbound::fairness;
use crate::proxy::inbound::service::Service;
use crate::proxy::response::audience::{Audience, Reader};
use crate::proxy::response::reply_body::ReplyBody;
use crate::proxy::response::{interim, own, problem, relay};
use crate::proxy::runtime::origin::Origin;
use crate::proxy::runtime::signal::{HeadNote, RawHead};
use crate::proxy::websocket::handshake;

/// What a client says about the trace that its request belongs to.
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

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
        client.asked();
        async move {
            let proxy = &client.proxy;
            let Some(note) = note else {
                let unguarded = agreement::out_of_step();
                proxy.counters.refuse(unguarded.code);
                return Ok(problem::refuse(&unguarded, &id, Audience::Json));
            };
            let raw = note.head.as_ref();
            let reader = Reader::of(raw.map(|head| &head.bytes), request.headers());
            let is_tunnel = *request.method() == Method::CONNECT && !is_extended_connect(&request);
            let is_http1 = raw.is_some();
            let is_head = *request.method() == Method::HEAD;
            let has_body = is_http1 && !request.body().is_end_stream();
            let refusal = note.refusal.map(|refusal| *refusal);
            let refusal = refusal.or_else(|| agreement::check(raw, &request).err());
            let answer = match refusal {
                Some(refusal) => Err(Refused::from(refusal)),
                None if client.is_draining() => Err(Refused::from(shutting_down())),
                None if is_tunnel => Box::pin(connect::open::<Self>(&client, request, id)).await,
                None => {
                    let mut forwarded = pin!(forward(&client, request, id, raw));
                    poll_fn(|cx| {
                        client.begin_turn();
                        forwarded.as_mut().poll(cx)
                    })
                    .await
                }
            };
            let mut answer = match answer {
                Ok(response) => {
                    if is_tunnel {
                        proxy.counters.tunnel();
                    } else {
                        proxy.counters.forward();
                    }
                    response
                }
                Err(refused) => {
                    let refused = Box::pin(refuse(proxy, refused, &id, reader.audience())).await;
                    if is_head && !is_http1 {
                        // The library leaves the body out over HTTP/1.1 only.
                        refused.map(|_| ReplyBody::full(Bytes::new()))
                    } else {
                        refused
                    }
                }
            };
            let is_unread = has_body && !client.unread.settle().await;
            // A tunnel, or another protocol, goes on.
            let is_answer = !is_tunnel && answer.status() != StatusCode::SWITCHING_PROTOCOLS;
            if is_unread || is_http1 && is_answer && client.is_leaving() {
                let close = HeaderValue::from_static("close");
                answer.headers_mut().insert(header::CONNECTION, close);
            }
            Ok(answer.map(|body| body.with_in_flight(note.in_flight)))
        }
    }
}

/// The pipeline. Everything that may happen to a request is in these lines.
///
/// Awaited where it lies, here and below: what is awaited by value is moved first, and it is large.
fn forward(
    client: &Arc<Client>,
    request: Request<Incoming>,
    id: RequestId,
    raw: Option<&RawHead>,
) -> impl Future<Output = Result<Response<ReplyBody>, Refused>> {
    let started = Instant::now();
    let Client {
        proxy,
        signal,
        entry,
        ..
    } = &**client;
    async move {
        let settings = proxy.settings.load();
        let idle = settings.config.proxy.idle_timeout;
        let unread = raw.map(|_| &client.unread);
        let mut request = InboundBody::new(request, idle, signal, unread);
        let mut present = Present::of(request.headers());
        proxy.changes.follow(&proxy.vault, &proxy.ledger).await?;
        let offer = match Offer::of(&mut request, present) {
            Ok(offer) => offer,
            Err(refusal) => {
                // Told to whoever may ask.
                authenticated(client, &settings, request, present, id, started)?;
                return Err(refusal.into());
            }
        };
        if offer.is_some() {
            // It may have made another request of it.
            present = Present::of(request.headers());
        }
        let is_upgrade_ignored = offer.is_none() && upgrade::is_ignored(&request, present);
        let (method, headers) = (request.method().clone(), request.headers_mut());
        if via::ends_here(&method, headers) {
            entry.caller(&settings, proxy, headers)?;
            return Ok(last_recipient(&method));
        }
        if offer.is_none() && raw.is_some_and(|raw| !raw.has_capitals) {
            // How the client spelled the names is how they are sent anyway.
            request.extensions_mut().clear();
        }
        let offer = offer.map(|offer| Box::new((Asking::of(client, request.headers()), offer)));

        let base = match entry {
            Entry::BaseUrl(entry) => Base::of(&entry.own, &request).map(Arc::new),
            _ => None,
        };
        let first_look = FirstLook::now(&proxy.vault, client.turns());
        let mut authenticated = authenticated(client, &settings, request, present, id, started)?;
        if discovery::is_for_egret(&authenticated.context().destination) {
            return Ok(own::answer(
                authenticated.context(),
                &proxy.vault,
                &proxy.leaves.authority(),
            )?);
        }
        if settings.config.egress.limits_clients() {
            let placed = Box::pin(fairness::admit(proxy, &settings, authenticated));
            authenticated = placed.await?;
        }
        let limits = body_limits(proxy, &settings);
        let raw = raw.map(|raw| &*raw.bytes);
        let scanned = authenticated.scan(limits, &proxy.vault, raw).await?;
        let context = Arc::clone(scanned.context());
        let resolved = match scanned.resolve(&proxy.vault) {
            Ok(resolved) => resolved,
            Err(refused) => {
                let asked = asking::ask(proxy, &settings, &context, refused);
                return Err(Box::pin(asked).await);
            }
        };
        let authorised = resolved.authorise()?;
        if let Some(demands) = authorised.demands() {
            demands.check(&proxy.ledger, &proxy.own_keys_seen)?;
        }
        let obtained = authorised
            .obtain(&proxy.vault, &proxy.gate, &client.ledger)
            .await?;
        if first_look.is_stale() {
            // While the body came, or while it waited.
            check_egress_again(proxy, &settings, obtained.context())?;
        }
        let substituted = obtained.substitute(&proxy.vault, &proxy.gate)?;
        let recorded = substituted.record(&client.ledger).await?;
        let change = base.as_ref().map(Base::on_interim);
        let on_interim = interim::relay(&recorded, signal, change);
        let now: &Settings = &settings;
        let may_go = |context: &RequestContext| check_egress_again(proxy, now, context);
        let look = LastLook::after(first_look, &may_go);
        let upstream = &settings.upstream;
        let answer = pin!(upstream.send(recorded, &client.bound, on_interim, look)).await?;
        let status = answer.response.status();
        note_answer(proxy, &answer.awaited.outcome, status);
        if status == StatusCode::SWITCHING_PROTOCOLS
            || offer.as_ref().is_some_and(|o| o.1.is_met_by(status))
        {
            let mut answer = handshake::begin(proxy, offer.map(|offer| *offer), answer)?;
            for_client(answer.headers_mut(), base, false);
            signal.upgraded();
            return Ok(answer);
        }
        let mut answer = pin!(relay::relay(answer, upstream.limits())).await?;
        for_client(answer.headers_mut(), base, is_upgrade_ignored);
        Ok(answer)
    }
}

/// Changes what leads elsewhere from a base URL, and says what of the request was ignored.
fn for_client(fields: &mut HeaderMap, base: Option<Arc<Base>>, is_upgrade_ignored: bool) {
    if let Some(base) = base {
        base.rewrite(fields);
    }
    if is_upgrade_ignored {
        fields.append(EGRET_IGNORED, HeaderValue::from_static("upgrade"));
    }
}

/// The answer to a request that may go no further (`Max-Forwards: 0`). TRACE gets its method back and no
/// field: an answer must not repeat what could be a value (RFC 9110 section 9.3.8).
fn last_recipient(method: &Method) -> Response<ReplyBody> {
    let is_trace = *method == Method::TRACE;
    let body = if is_trace {
        "TRACE * HTTP/1.1\r\n\r\n"
    } else {
        ""
    };
    let mut answer = Response::new(ReplyBody::full(Bytes::from_static(body.as_bytes())));
    if is_trace {
        let kind = HeaderValue::from_static("message/http");
        answer.headers_mut().insert(header::CONTENT_TYPE, kind);
    }
    answer
}

/// Who asks for what, and of whom: the beginning of an exchange.
fn authenticated(
    client: &Client,
    settings: &Arc<Settings>,
    request: Request<InboundBody>,
    present: Present,
    id: RequestId,
    started: Instant,
) -> Result<Exchange<Authenticated>, Refused> {
    let Client { proxy, entry, .. } = client;
    let (mut head, body) = request.into_parts();
    let (standing, destination, origin) = match entry {
        Entry::Tunnel(tunnel) => {
            let standing = tunnel.standing(settings, proxy, &head.headers)?;
            let destination = destination::of(entry, &mut head, settings)?;
            (standing, destination, tunnel.origin.clone())
        }
        Entry::Proxy(_) | Entry::Transparent(_) | Entry::BaseUrl(_) => {
            let caller = entry.caller(settings, proxy, &head.headers)?;
            client.signal.authenticated();
            let destination = destination::of(entry, &mut head, settings)?;
            let standing = Standing::of(settings, proxy, caller, &destination)?;
            let origin = Origin::from(&destination);
            (standing, destination, origin)
        }
    };
    let Standing {
        caller,
        treatment,
        egress,
        needles,
    } = standing;
    let stand_ins = stand_ins::search(&proxy.vault, &caller);
    let needles = match &stand_ins {
        Some(search) => needles.with_stand_ins(search),
        None => needles,
    };
    let raw_path = Arc::<str>::from(head.uri.path());
    let mut context = RequestContext {
        id,
        caller,
        destination,
        origin,
        method: head.method.clone(),
        path: shown_path(Arc::clone(&raw_path)),
        raw_path,
        started,
        held_placeholder: false,
        attached: Vec::new(),
        stand_ins,
        place: None,
        trace: Trace::of(|| head.headers.get(TRACEPARENT).map(HeaderValue::as_bytes)),
    };
    if let Some(rules) = egress {
        // A line about it must not hold a value that the path carries.
        context.path = leak_guard::shown(&needles, &context.raw_path);
        egress::check(proxy.egress_observer(&needles), &context, &rules)?;
    }
    Ok(Exchange::new(
        context, head, present, body, treatment, needles,
    ))
}

/// Asks once more where the caller may go, after rules may have changed.
fn check_egress_again(
    proxy: &Proxy,
    settings: &Settings,
    context: &RequestContext,
) -> Result<(), Refused> {
    let (caller, operator) = (&context.caller, &settings.config.egress.rules);
    let rules = egress::rules(operator, &proxy.vault, caller, &context.destination)?;
    let Some(rules) = rules else { return Ok(()) };
    let needles = proxy.needle_cache.needles(&proxy.vault, &caller.principal);
    egress::check_again(&needles, context, &rules)
}

/// Writes the ledger lines of a refusal and makes its answer.
async fn refuse(
    proxy: &Proxy,
    refused: Refused,
    id: &str,
    audience: Audience,
) -> Response<ReplyBody> {
    let refusal = &refused.refusal;
    tracing::info!(request = id, code = %refusal.code, slug = refusal.slug, location = refusal.location,
        destination = refusal.destination, "refused");
    let refusal = refused.record(&proxy.ledger, id).await;
    proxy.counters.refuse(refusal.code);
    problem::refuse(&refusal, id, audience)
}

fn body_limits<'a>(proxy: &'a Proxy, settings: &Settings) -> BodyLimits<'a> {
    let body = &settings.config.body;
    BodyLimits {
        buffer: body.buffer,
        spool: body.spool,
        space: &proxy.spool,
    }
}

/// Logs the answer, and what it says of the keys that the request carried.
fn note_answer(proxy: &Proxy, outcome: &Outcome, status: StatusCode) {
    let context = outcome.context();
    let line = Forwarded {
        request: &context.id,
        client: &context.caller.client,
        action: &context.caller.action,
        method: context.method.as_str(),
        destination: &context.origin,
        path: &context.path,
        status: status.as_u16(),
        trace: context.trace.as_ref().map(|trace| trace.id()),
    };
    line.log();
    let health = &proxy.health;
    if health.is_concerned(status) {
        health.note(outcome, &proxy.vault, &proxy.ledger, status);
        proxy.counters.set_rejected(health.rejected());
    }
}

fn shutting_down() -> Refusal {
    Refusal::new(
        Code::ShuttingDown,
        "the proxy is shutting down; send the request again in a moment",
    )
}

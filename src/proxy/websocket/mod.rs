//! A WebSocket connection through the proxy, once both sides have agreed to it (RFC 6455).
//!
//! What a client sends is searched message by message and every placeholder is decided on at that
//! moment (`outgoing`); what the upstream sends is scrubbed (`incoming`). All that is needed is
//! a pair of byte streams, so it does not matter which version of HTTP they came out of.
//!
//! Each direction is one loop that reads only when all it has read before was written, so a slow
//! reader slows its writer down and nothing piles up here.

mod incoming;
mod outbox;
mod outgoing;

use crate::proxy::response::reply_body::ReplyBody;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{HeaderMap, HeaderValue};
use http::{Response, StatusCode};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, split};
use tokio::time::timeout;

use crate::error::{Code, Refusal};
use crate::identity::Caller;
use crate::proxy::context::{Proxy, Settings};
use crate::proxy::exchange::authorisation::RequestContext;
use crate::proxy::exchange::awaited::Awaited;
use crate::proxy::exchange::headers::EGRET_REQUEST;
use crate::proxy::exchange::outcome::Outcome;
use crate::proxy::exchange::upgrade;
use crate::proxy::exchange::used::Used;
use crate::proxy::inbound::client::Client;
use crate::proxy::inbound::entry::CLAIMS;
use crate::proxy::runtime::signal::InFlight;

use crate::proxy::outbound::answer::Answer;
use crate::proxy::response::findings::Findings;

use crate::proxy::response::relay::mark;

use crate::proxy::response::scrubbing::{scrub_head, unscannable};
use crate::proxy::runtime::idle::Activity;

use crate::websocket::{Close, FrameEvent, MessageKind, Peer, Receiver, Violation};
use incoming::Incoming;
use outbox::{Outbox, discard, read_some};
use outgoing::Outgoing;

/// How long a side may take to answer a close frame, or to take the last that there is for it.
const CLOSING: Duration = Duration::from_secs(5);
/// How long a side is listened to after its last frame was written, so that closing does not reset
/// the connection under that frame (RFC 9112 section 9.6).
const LINGER: Duration = Duration::from_secs(1);

/// Who asked for the connection. Asked again for every message that uses a credential.
pub struct Asker {
    /// Where the handshake came in. Counts the connection as long as it lives.
    client: Arc<Client>,
    /// The headers of the handshake that said who and what for.
    headers: HeaderMap,
    /// Keeps a connection that it shares with others from counting as idle.
    in_flight: InFlight,
}

impl Asker {
    /// Whoever sent these headers.
    pub fn new(client: &Arc<Client>, headers: &HeaderMap) -> Self {
        let claims = CLAIMS.into_iter().filter_map(|name| {
            let value = headers.get(&name)?.clone();
            Some((name, value))
        });
        Self {
            client: Arc::clone(client),
            headers: claims.collect(),
            in_flight: client.signal.in_flight(),
        }
    }

    fn caller(&self, settings: &Arc<Settings>) -> Result<Arc<Caller>, Refusal> {
        let Client { proxy, entry, .. } = &*self.client;
        entry.caller(settings, &proxy.vault, &self.headers)
    }
}

/// What both directions know of the connection.
struct Conversation {
    proxy: Arc<Proxy>,
    asker: Asker,
    context: Arc<RequestContext>,
    used: Arc<Used>,
}

impl Conversation {
    /// One side has sent something.
    fn moved(&self, activity: &Activity) {
        activity.touch();
        self.asker.in_flight.moved();
    }
}

/// Passes the upstream's answer to the handshake on, and begins the conversation.
pub fn begin(
    proxy: &Arc<Proxy>,
    offer: Option<(Asker, upgrade::Offer)>,
    answer: Answer,
) -> Result<Response<ReplyBody>, Refusal> {
    let Answer {
        mut response,
        lease,
        awaited,
        ..
    } = answer;
    let Awaited {
        mut outcome,
        needles,
        ..
    } = awaited;
    let (context, used) = (Arc::clone(outcome.context()), Arc::clone(outcome.used()));
    outcome.answered(StatusCode::SWITCHING_PROTOCOLS.as_u16());
    let accepted = match offer {
        Some((asker, offer)) => offer.check(&response).map(|()| (asker, offer)),
        None => Err("it changes the protocol without being asked to"),
    };
    let (asker, offer) = accepted.map_err(|why| {
        outcome.failed(Code::UpstreamProtocolError);
        upgrade::unasked(why, context.destination.to_string())
    })?;
    let upstream = hyper::upgrade::on(&mut response);
    let (mut head, _) = response.into_parts();
    offer.answer(&mut head);
    let client = offer.into_client();
    let mut findings = Findings::default();
    let sent = used.values();
    let needles = needles.with_used(&sent);
    scrub_head(&mut head, &needles, &mut findings);
    outcome.scrubbed(findings.take_entries(&context));
    mark(&mut head, &outcome);
    // Its messages may use credentials later, and the ledger will speak of this request.
    if let Ok(id) = HeaderValue::from_str(&context.id) {
        head.headers.insert(EGRET_REQUEST, id);
    }
    let about = Conversation {
        proxy: Arc::clone(proxy),
        asker,
        context,
        used,
    };
    let deadline = proxy.settings.load().config.proxy.handshake_timeout;
    proxy.tasks.spawn(async move {
        if let Ok(Some((client, upstream))) = timeout(deadline, both(client, upstream)).await {
            drop(lease);
            converse(about, outcome, client, upstream).await;
        }
    });
    Ok(Response::from_parts(head, ReplyBody::full(Bytes::new())))
}

type Upgraded = TokioIo<hyper::upgrade::Upgraded>;

/// The connections, once the client has its answer.
async fn both(client: OnUpgrade, upstream: OnUpgrade) -> Option<(Upgraded, Upgraded)> {
    let client = client.await.ok()?;
    let upstream = upstream.await.ok()?;
    Some((TokioIo::new(client), TokioIo::new(upstream)))
}

/// How a conversation ended.
enum End {
    /// The client has sent its close frame, and it was passed on.
    ClientClosed,
    /// The same for the upstream.
    UpstreamClosed,
    /// The connection broke without one.
    ClientGone,
    UpstreamGone,
    ClientBroke(Violation),
    UpstreamBroke(Violation),
    /// A message was not let through.
    Refused(Refusal),
    /// Neither side has said anything for too long.
    Idle,
    Draining,
}

/// Carries messages until one side, or the proxy, has had enough.
async fn converse<C, U>(about: Conversation, outcome: Outcome, client: C, upstream: U)
where
    C: AsyncRead + AsyncWrite + Unpin,
    U: AsyncRead + AsyncWrite + Unpin,
{
    let idle = {
        let settings = about.proxy.settings.load();
        let config = &settings.config;
        config.proxy.idle_timeout.min(config.upstream.idle_timeout)
    };
    let draining = about.proxy.draining.clone();
    let activity = Arc::new(Activity::new());
    let (mut client, to_client) = split(client);
    let (mut upstream, to_upstream) = split(upstream);
    let mut to_client = Outbox::new(to_client, Peer::Client, Arc::clone(&activity));
    let mut to_upstream = Outbox::new(to_upstream, Peer::Server, Arc::clone(&activity));
    let end = {
        let outward = outward(&about, &mut client, &mut to_upstream, &activity);
        let homeward = homeward(&about, &outcome, &mut upstream, &mut to_client, &activity);
        tokio::pin!(outward, homeward);
        let first = tokio::select! {
            end = &mut outward => end,
            end = &mut homeward => end,
            () = activity.silence(idle) => End::Idle,
            () = draining.cancelled() => End::Draining,
        };
        // Each side answers the other's close frame with its own; the code is the first one's.
        match first {
            End::ClientClosed => drop(timeout(CLOSING, homeward).await),
            End::UpstreamClosed => drop(timeout(CLOSING, outward).await),
            _ => {}
        }
        first
    };
    let (told_client, told_upstream) = closes(&end);
    let goodbye = async {
        tokio::join!(to_client.end(told_client), to_upstream.end(told_upstream));
    };
    let _ = timeout(CLOSING, goodbye).await;
    let linger = async { tokio::join!(discard(&mut client), discard(&mut upstream)) };
    finish(outcome, &about.context, &end);
    let _ = timeout(LINGER, linger).await;
}

/// What the client and the upstream are told, as far as no close frame has gone to them.
fn closes(end: &End) -> (Option<Close>, Option<Close>) {
    let away = |reason: &str| Some(Close::new(Close::GOING_AWAY, reason));
    match end {
        End::ClientClosed | End::UpstreamClosed | End::ClientGone | End::UpstreamGone => {
            (None, None)
        }
        End::ClientBroke(violation) => {
            (Some(Close::new(violation.code, violation.reason)), away(""))
        }
        End::UpstreamBroke(violation) => {
            let reason = Code::UpstreamProtocolError.as_str();
            let told = Close::new(Close::BAD_GATEWAY, reason);
            (
                Some(told),
                Some(Close::new(violation.code, violation.reason)),
            )
        }
        End::Refused(refusal) => {
            let code = match refusal.code.status() {
                500.. => Close::INTERNAL_ERROR,
                _ => Close::POLICY_VIOLATION,
            };
            (Some(Close::new(code, refusal.code.as_str())), away(""))
        }
        End::Idle => (away("idle"), away("idle")),
        End::Draining => (away(Code::ShuttingDown.as_str()), away("")),
    }
}

/// The log line and the `result` line.
fn finish(mut outcome: Outcome, context: &RequestContext, end: &End) {
    let code = match end {
        End::ClientClosed | End::UpstreamClosed => return outcome.forwarded(),
        // Dropped, the outcome says so.
        End::ClientGone => return,
        End::ClientBroke(_) => Code::RequestMalformed,
        End::UpstreamGone | End::UpstreamBroke(_) => Code::UpstreamProtocolError,
        End::Refused(refusal) => refusal.code,
        End::Idle => Code::UpstreamTimeout,
        End::Draining => Code::ShuttingDown,
    };
    tracing::info!(request = %context.id, %code, destination = %context.destination,
        "a WebSocket connection was closed");
    outcome.failed(code);
}

/// From the client to the upstream, to the client's close frame.
async fn outward<R, W>(
    about: &Conversation,
    client: &mut R,
    upstream: &mut Outbox<W>,
    activity: &Activity,
) -> End
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut receiver = Receiver::new(Peer::Client);
    let mut texts = Outgoing::new(about);
    loop {
        loop {
            let sent = match receiver.event() {
                Err(violation) => return End::ClientBroke(violation),
                Ok(None) => break,
                Ok(Some(FrameEvent::Data {
                    kind: MessageKind::Text,
                    payload,
                    end,
                })) => texts.take(payload, end, upstream).await,
                Ok(Some(FrameEvent::Data { kind, payload, end })) => {
                    upstream.data(kind, payload, end).await.map_err(Stop::from)
                }
                Ok(Some(FrameEvent::Ping(payload))) => {
                    upstream.ping(payload).await.map_err(Stop::from)
                }
                Ok(Some(FrameEvent::Pong(payload))) => {
                    upstream.pong(payload).await.map_err(Stop::from)
                }
                Ok(Some(FrameEvent::Close(close))) => {
                    // An upstream that is gone already has nothing to be told.
                    let _ = upstream.close(close.as_ref()).await;
                    return End::ClientClosed;
                }
            };
            match sent {
                Ok(()) => {}
                Err(Stop::Refused(refusal)) => return End::Refused(refusal),
                Err(Stop::Gone) => return End::UpstreamGone,
            }
        }
        if upstream.flush().await.is_err() {
            return End::UpstreamGone;
        }
        match read_some(client, &mut receiver).await {
            Ok(0) | Err(_) => return End::ClientGone,
            Ok(_) => about.moved(activity),
        }
    }
}

/// From the upstream to the client, to the upstream's close frame.
async fn homeward<R, W>(
    about: &Conversation,
    outcome: &Outcome,
    upstream: &mut R,
    client: &mut Outbox<W>,
    activity: &Activity,
) -> End
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut receiver = Receiver::new(Peer::Server);
    let mut scrubber = Incoming::new(about, outcome);
    loop {
        loop {
            let sent = match receiver.event() {
                Err(violation) => return End::UpstreamBroke(violation),
                Ok(None) => break,
                Ok(Some(FrameEvent::Data { kind, payload, end })) => {
                    let Ok(clean) = scrubber.data(payload, end) else {
                        return End::Refused(unscannable(&about.context));
                    };
                    client.data(kind, &clean, end).await
                }
                Ok(Some(FrameEvent::Ping(payload))) => {
                    client.ping(&scrubber.control(payload)).await
                }
                Ok(Some(FrameEvent::Pong(payload))) => {
                    client.pong(&scrubber.control(payload)).await
                }
                Ok(Some(FrameEvent::Close(close))) => {
                    let close = close.map(|close| scrubber.close(&close));
                    let _ = client.close(close.as_ref()).await;
                    return End::UpstreamClosed;
                }
            };
            if sent.is_err() {
                return End::ClientGone;
            }
        }
        if client.flush().await.is_err() {
            return End::ClientGone;
        }
        match read_some(upstream, &mut receiver).await {
            Ok(0) | Err(_) => return End::UpstreamGone,
            Ok(_) => about.moved(activity),
        }
    }
}

/// Why a message goes no further.
enum Stop {
    /// It is not let through.
    Refused(Refusal),
    /// There is nobody to take it.
    Gone,
}

impl From<io::Error> for Stop {
    fn from(_: io::Error) -> Self {
        Self::Gone
    }
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

//! Carries messages both ways, until one side or the proxy has had enough.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, split};
use tokio::time::{timeout, timeout_at};

use crate::error::{Code, Refusal};
use crate::proxy::exchange::outcome::Outcome;
use crate::proxy::exchange::request_context::RequestContext;
use crate::proxy::response::scrubbing::unscannable;
use crate::proxy::response::stages::Unscannable;
use crate::proxy::runtime::idle::Activity;
use crate::proxy::websocket::conversation::{Conversation, Standing, Stop};
use crate::proxy::websocket::incoming::{Incoming, Piece};
use crate::proxy::websocket::outbox::{Outbox, discard, read_some};
use crate::proxy::websocket::outgoing::Outgoing;
use crate::websocket::{Close, FrameEvent, MessageKind, Peer, Receiver, Violation};

/// How long a side may take to answer a close frame, or to take the last that there is for it.
const CLOSING: Duration = Duration::from_secs(5);
/// How long a side is listened to after its last frame was written, so that closing does not reset
/// the connection under that frame (RFC 9112 section 9.6).
const LINGER: Duration = Duration::from_secs(1);

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
pub async fn converse<C, U>(about: Conversation, outcome: Outcome, client: C, upstream: U)
where
    C: AsyncRead + AsyncWrite + Unpin,
    U: AsyncRead + AsyncWrite + Unpin,
{
    let idle = about
        .proxy
        .settings
        .load()
        .config
        .upstream
        .websocket_timeout;
    let ending = about.proxy.ending.clone();
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
            () = ending.cancelled() => End::Draining,
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
    let mut messages = Outgoing::new(about);
    let mut standing = Standing::default();
    loop {
        loop {
            let event = match receiver.event() {
                Err(violation) => return End::ClientBroke(violation),
                Ok(None) => break,
                Ok(Some(event)) => event,
            };
            let is_close = matches!(event, FrameEvent::Close(_));
            match send_on(event, &mut messages, upstream).await {
                Ok(()) if is_close => return End::ClientClosed,
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
        if let Err(refusal) = about.check(&mut standing).await {
            return End::Refused(refusal);
        }
    }
}

/// Passes on what the client has sent, if it may go.
async fn send_on<W: AsyncWrite + Unpin>(
    event: FrameEvent<'_>,
    messages: &mut Outgoing<'_>,
    upstream: &mut Outbox<W>,
) -> Result<(), Stop> {
    match event {
        FrameEvent::Data {
            kind: MessageKind::Text,
            payload,
            end,
        } => messages.take(payload, end, upstream).await,
        FrameEvent::Data { payload, end, .. } => messages.take_binary(payload, end, upstream).await,
        FrameEvent::Ping(payload) => {
            messages.look(payload).await?;
            Ok(upstream.ping(payload).await?)
        }
        FrameEvent::Pong(payload) => {
            messages.look(payload).await?;
            Ok(upstream.pong(payload).await?)
        }
        FrameEvent::Close(close) => {
            let reason = close.as_ref().map(|close| close.reason.as_bytes());
            messages.look(reason.unwrap_or_default()).await?;
            // An upstream that is gone already has nothing to be told.
            let _ = upstream.close(close.as_ref()).await;
            Ok(())
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
    let mut standing = Standing::default();
    loop {
        loop {
            let event = match receiver.event() {
                Err(violation) => return End::UpstreamBroke(violation),
                Ok(None) => break,
                Ok(Some(event)) => event,
            };
            let is_close = matches!(event, FrameEvent::Close(_));
            match bring_home(event, &mut scrubber, client).await {
                Ok(()) | Err(Unsent::Gone) if is_close => return End::UpstreamClosed,
                Ok(()) => {}
                Err(Unsent::Gone) => return End::ClientGone,
                Err(Unsent::Unscannable) => {
                    return End::Refused(unscannable(&about.context, None));
                }
            }
        }
        if client.flush().await.is_err() {
            return End::ClientGone;
        }
        let read = read_some(upstream, &mut receiver);
        let read = match scrubber.waits_until() {
            Some(until) => timeout_at(until, read).await,
            None => Ok(read.await),
        };
        match read {
            Ok(Ok(0) | Err(_)) => {
                let rest = scrubber.settle(None).unwrap_or_default();
                let _ = deliver(client, rest).await;
                return End::UpstreamGone;
            }
            Ok(Ok(_)) => about.moved(activity),
            Err(_) => {
                if deliver(client, scrubber.give_up()).await.is_err() {
                    return End::ClientGone;
                }
            }
        }
        if let Err(refusal) = about.check(&mut standing).await {
            return End::Refused(refusal);
        }
    }
}

/// Why nothing of what the upstream has sent reaches the client.
enum Unsent {
    Unscannable,
    Gone,
}

impl From<Unscannable> for Unsent {
    fn from(_: Unscannable) -> Self {
        Self::Unscannable
    }
}

impl From<io::Error> for Unsent {
    fn from(_: io::Error) -> Self {
        Self::Gone
    }
}

/// Passes on what the upstream has sent, without values.
async fn bring_home<W: AsyncWrite + Unpin>(
    event: FrameEvent<'_>,
    scrubber: &mut Incoming<'_>,
    client: &mut Outbox<W>,
) -> Result<(), Unsent> {
    match event {
        FrameEvent::Data { kind, payload, end } => {
            let before = scrubber.settle(Some((kind, payload)))?;
            deliver(client, before).await?;
            let piece = scrubber.data(kind, payload, end)?;
            deliver(client, Some(piece)).await?;
        }
        FrameEvent::Ping(payload) => client.ping(&scrubber.control(payload)).await?,
        FrameEvent::Pong(payload) => client.pong(&scrubber.control(payload)).await?,
        FrameEvent::Close(close) => {
            let rest = scrubber.settle(None)?;
            deliver(client, rest).await?;
            let close = close.map(|close| scrubber.close(&close));
            client.close(close.as_ref()).await?;
        }
    }
    Ok(())
}

async fn deliver<W: AsyncWrite + Unpin>(
    client: &mut Outbox<W>,
    piece: Option<Piece>,
) -> io::Result<()> {
    match piece {
        Some(Piece { kind, text, end }) => client.data(kind, &text, end).await,
        None => Ok(()),
    }
}

//! HTTP/2 inside a tunnel (RFC 9113): many requests at once, each through the same pipeline.
//!
//! Framing is binary and checked by the library, so there is no head guard; [`H2Guard`] looks at targets
//! and tells clients that they may send their body (`Expect`). What remains to be done before the pipeline is in `admit`: the same
//! limits, and a head as HTTP/1 would have brought it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::Request;
use http::header::{self, HeaderMap, HeaderValue};
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{sleep, timeout};

use crate::error::{Code, Refusal};
use crate::policy::location::LONGEST_TARGET;
use crate::proxy::context::{Proxy, Settings};
use crate::proxy::exchange::leave::{Leave, Leaves};
use crate::proxy::inbound::client::Client;
use crate::proxy::inbound::entry::Entry;
use crate::proxy::inbound::h2_guard::{self, H2Guard};
use crate::proxy::inbound::head_guard;
use crate::proxy::inbound::http1::note_end;
use crate::proxy::inbound::linger::Linger;
use crate::proxy::inbound::service::Service;
use crate::proxy::runtime::limits::HeadLimits;
use crate::proxy::runtime::signal::{HeadNote, HeadSignal};

/// What a client that means HTTP/2 begins a connection with (RFC 9113 section 3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Requests that one connection may have on their way.
const STREAMS: u32 = 128;
/// How much of a request's body may wait here to be read, in bytes: for one stream, and for all
/// streams of a connection.
const STREAM_WINDOW: u32 = 512 * 1024;
const CONNECTION_WINDOW: u32 = 2 * 1024 * 1024;
/// How much of the answers may wait to be written, for one stream, in bytes.
const SEND_BUFFER: usize = 256 * 1024;
/// A header section so many times `proxy.max_header_bytes` long is refused by the library, with a
/// bare 431; one that is too long but shorter, by [`admit`] with a problem document.
const LIST_SIZE: usize = 4;
/// So that a target that is too long gets a code as well.
const LEAST_LIST_SIZE: usize = 2 * LONGEST_TARGET;
/// Streams that a client may reset before they were looked at, and streams that it may force to be
/// reset here, before the connection is closed (the "rapid reset" attack, CVE-2023-44487).
const RESETS: usize = 64;
/// How long a client may take to answer a ping while something is on its way.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a client may take to read that the connection ends.
const GOODBYE: Duration = Duration::from_secs(5);

/// Serves HTTP/2 on a tunnel until it ends, falls silent, or the proxy drains.
pub async fn serve<A, S>(proxy: Arc<Proxy>, io: S, entry: Entry)
where
    A: Service,
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let client = Client::new(proxy, entry, HeadSignal::default());
    let settings = client.proxy.settings.load_full();
    let silence = silence(Silences::under(&settings), client.signal.clone());
    let builder = builder(&settings);
    let limits = settings.head_limits();
    let leaves = Arc::new(Leaves::default());
    let service = service_fn(|mut request: Request<Incoming>| {
        if !request.body().is_end_stream() {
            Leave::attach(&mut request, &leaves);
        }
        let note = HeadNote {
            refusal: admit(&mut request, limits).err().map(Box::new),
            ..client.signal.unguarded()
        };
        A::answer(Arc::clone(&client), Some(note), request)
    });
    let io = TellsFlushed {
        io: H2Guard::new(io, list_size(&settings), Arc::clone(&leaves)),
        signal: client.signal.clone(),
        linger: None,
    };
    drop(settings);
    let connection = builder.serve_connection(TokioIo::new(io), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = may_end(&client) => {
            // What is asked before the client has read that is still served.
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                ended = connection.as_mut() => ended,
                () = client.drain() => connection.await,
            }
        }
        silence = silence => {
            if silence == Silence::Stalled {
                tracing::info!("a client connection was closed: it took nothing of what it asked for");
                return;
            }
            connection.as_mut().graceful_shutdown();
            timeout(GOODBYE, connection).await.unwrap_or(Ok(()))
        }
    };
    note_end(ended);
}

/// Waits until the client may be told to go elsewhere: not before its first request, which a client that
/// reads GOAWAY on a new connection does not send at all.
async fn may_end(client: &Client) {
    client.leave().await;
    tokio::select! {
        () = client.first_request() => {}
        () = client.drain() => {}
    }
}

/// Tells the requests of the connection when all that there was to write was written.
struct TellsFlushed<S> {
    io: S,
    signal: HeadSignal,
    linger: Option<Linger>,
}

impl<S: AsyncRead + Unpin> AsyncRead for TellsFlushed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, out)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for TellsFlushed<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.io).poll_flush(cx);
        if flushed.is_ready() {
            self.signal.flushed();
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        ready!(Pin::new(&mut this.io).poll_shutdown(cx))?;
        // Windows that open, and requests that were sent before the client has read GOAWAY.
        this.linger
            .get_or_insert_with(Linger::short)
            .poll(cx, &mut this.io)
            .map(Ok)
    }
}

/// The most bytes of a header section that are read.
fn list_size(settings: &Settings) -> usize {
    let most = settings.config.proxy.max_header_bytes;
    most.saturating_mul(LIST_SIZE).max(LEAST_LIST_SIZE)
}

fn builder(settings: &Settings) -> http2::Builder<TokioExecutor> {
    let list_size = list_size(settings);
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        // WebSocket (RFC 8441); anything else that asks for it is refused as CONNECT in a tunnel is.
        .enable_connect_protocol()
        .max_concurrent_streams(STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .max_header_list_size(u32::try_from(list_size).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(RESETS)
        .max_local_error_reset_streams(RESETS)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT);
    builder
}

/// Why a connection should end although the client has not ended it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Silence {
    /// Nothing was asked for.
    Idle,
    /// Something was asked for, and nothing of it moves.
    Stalled,
}

/// How long nothing may move.
struct Silences {
    /// While nothing is asked for.
    idle: Duration,
    /// While something is: all that a slow upstream is granted, and the same again.
    stalled: Duration,
}

impl Silences {
    fn under(settings: &Settings) -> Self {
        let idle = settings.config.proxy.idle_timeout;
        let upstream = &settings.config.upstream;
        let longest = upstream.first_byte_timeout.max(upstream.idle_timeout);
        let longest = longest
            .max(upstream.stream_timeout)
            .max(upstream.websocket_timeout);
        Self {
            idle,
            stalled: longest.max(idle) * 2,
        }
    }
}

/// Completes once nothing has moved for too long (noticed within twice the idle timeout). That a
/// client does not take what it asked for (a window that it never opens) has to be bounded too: it
/// holds an upstream connection.
async fn silence(Silences { idle, stalled }: Silences, signal: HeadSignal) -> Silence {
    let mut before = signal.progress().1;
    let mut quiet = Duration::ZERO;
    loop {
        sleep(idle).await;
        let (in_flight, moved) = signal.progress();
        if moved != before {
            (before, quiet) = (moved, Duration::ZERO);
            continue;
        }
        quiet += idle;
        match in_flight {
            0 => return Silence::Idle,
            _ if quiet >= stalled => return Silence::Stalled,
            _ => {}
        }
    }
}

/// Holds the head to the limits that the head guard holds HTTP/1 heads to, and gives it the form
/// that the pipeline knows: `Host` from `:authority`, and one `Cookie` line, which HTTP/2 clients
/// split into crumbs (RFC 9113 section 8.2.3). A placeholder in a crumb is one in a cookie.
fn admit(request: &mut Request<Incoming>, limits: HeadLimits) -> Result<(), Refusal> {
    h2_guard::check(request.uri())?;
    check_size(request, limits)?;
    let authority = request.uri().authority();
    let authority = authority.and_then(|named| HeaderValue::from_str(named.as_str()).ok());
    let headers = request.headers_mut();
    let has_crumbs = headers.get_all(header::COOKIE).iter().nth(1).is_some();
    let cookie = has_crumbs.then(|| join_crumbs(headers)).transpose()?;
    if let Some(host) = headers.get(header::HOST) {
        let mut all = headers.get_all(header::HOST).iter();
        let differs = |named: &HeaderValue| !named.as_bytes().eq_ignore_ascii_case(host.as_bytes());
        if all.nth(1).is_some() || authority.as_ref().is_some_and(differs) {
            // RFC 9113 section 8.3.1: beside `:authority` a Host must not differ.
            return Err(Refusal::new(
                Code::DestinationMismatch,
                "`:authority` and Host do not name the same",
            ));
        }
    }
    if authority.is_none() && cookie.is_none() {
        return Ok(());
    }
    // `Host` comes first, as HTTP/1 recipients expect (RFC 9110 section 7.2).
    let mut rebuilt = HeaderMap::with_capacity(headers.len() + 1);
    if let Some(host) = authority.or_else(|| headers.remove(header::HOST)) {
        rebuilt.insert(header::HOST, host);
    }
    for (name, value) in headers.iter() {
        match (name, &cookie) {
            (&header::HOST, _) => {}
            (&header::COOKIE, Some(whole)) => drop(rebuilt.insert(name, whole.clone())),
            _ => drop(rebuilt.append(name, value.clone())),
        }
    }
    *headers = rebuilt;
    Ok(())
}

/// As long as the same head would be in HTTP/1.1.
fn check_size(request: &Request<Incoming>, limits: HeadLimits) -> Result<(), Refusal> {
    let target = request
        .uri()
        .path_and_query()
        .map_or(0, |target| target.as_str().len());
    let lines = request.headers().iter();
    let bytes: usize = lines
        .map(|(name, value)| name.as_str().len() + value.len() + 4)
        .sum();
    if target + bytes > limits.bytes {
        return Err(head_guard::too_large(limits.bytes));
    }
    if request.headers().len() > limits.headers {
        return Err(Refusal::new(
            Code::HeadersTooLarge,
            format!("the request has more than {} header lines", limits.headers),
        ));
    }
    Ok(())
}

fn join_crumbs(headers: &HeaderMap) -> Result<HeaderValue, Refusal> {
    let crumbs = headers.get_all(header::COOKIE).iter();
    let crumbs: Vec<&[u8]> = crumbs.map(HeaderValue::as_bytes).collect();
    HeaderValue::from_bytes(&crumbs.join(&b"; "[..]))
        .map_err(|_| Refusal::new(Code::RequestMalformed, "the cookies are not a header value"))
}

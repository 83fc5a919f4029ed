//! What runs inside a CONNECT tunnel: intercepted TLS, plain HTTP, or bytes that are not looked at.

use crate::proxy::inbound::entry::mismatch;
use crate::proxy::runtime::measures::{Handshake, Kind, Side, measures};
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use ::http::Request;
use bytes::{Buf as _, BytesMut};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf, copy_bidirectional_with_sizes};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::server::TlsStream;

use crate::policy::destination::{Destination, Scheme};
use crate::proxy::context::Proxy;
use crate::proxy::inbound::entry::{Entry, PresentedIdentity, TunnelEntry};
use crate::proxy::inbound::head_guard::HeadGuard;
use crate::proxy::inbound::http1;
use crate::proxy::inbound::http2;
use crate::proxy::inbound::service::Service;
use crate::proxy::outbound::connected::Connected;
use crate::proxy::runtime::idle::Activity;
use crate::proxy::runtime::pacing::paced;
use crate::proxy::runtime::read_ahead::{ReadAhead, RecordCoalescer, writes_pass_through};
use crate::proxy::runtime::signal::HeadSignal;
use crate::proxy::runtime::slot::ConnectionSlot;
use crate::proxy::runtime::tcp_or_tls::TcpOrTls;
use crate::tls::server::{Intercepted, intercept};

/// The first byte of a TLS handshake record (RFC 8446 section 5.1).
pub const TLS_HANDSHAKE: u8 = 22;
/// How much of an answer TLS takes at once, in bytes: as much as it does by itself, and the framing of
/// a chunk. Without room for that each large chunk would leave a few bytes for a record, a system
/// call and a wake-up of the client of their own.
const WRITTEN_AT_ONCE: usize = 65 * 1024;
/// How long a client that has just come gives way to handshakes for what came before it: they are
/// what requests under way wait for.
pub const PATIENCE: Duration = Duration::from_secs(2);
/// Buffer of a blind tunnel, each way: half the system calls of the default 8 KiB.
const BLIND_BUFFER: usize = 64 * 1024;

/// A tunnel that CONNECT has granted.
pub struct Tunnel {
    /// The CONNECT authority.
    pub destination: Destination,
    /// Who asked for it.
    pub identity: PresentedIdentity,
    /// The client's name.
    pub client: Arc<str>,
    /// Counts the connection until the tunnel ends.
    pub slot: ConnectionSlot,
}

/// Serves the tunnel's requests once the client has its answer to CONNECT.
pub fn spawn_intercepted<A: Service>(
    proxy: &Arc<Proxy>,
    tunnel: Tunnel,
    request: Request<Incoming>,
) {
    let shared = Arc::clone(proxy);
    proxy.tasks.spawn(async move {
        if let Some(stream) = client_stream(request).await {
            run_intercepted::<A>(shared, tunnel, stream).await;
        }
    });
}

/// Joins the tunnel to `upstream` without looking into it.
pub fn spawn_blind(
    proxy: &Arc<Proxy>,
    tunnel: Tunnel,
    upstream: Connected,
    request: Request<Incoming>,
) {
    let shared = Arc::clone(proxy);
    proxy.tasks.spawn(async move {
        if let Some(client) = client_stream(request).await {
            run_blind(shared, tunnel, upstream, client).await;
        }
    });
}

/// Joins both ends, without looking at what they say.
pub async fn run_blind(proxy: Arc<Proxy>, tunnel: Tunnel, upstream: Connected, client: Rewound) {
    let _open = measures().open(Kind::Passthrough);
    let idle = proxy.settings.load().config.proxy.idle_timeout;
    tracing::info!(destination = %tunnel.destination, "blind tunnel (tls.passthrough)");
    tokio::select! {
        () = copy_until_idle(client, upstream, idle) => {}
        // The proxy does not see whether anything inside is unfinished.
        () = proxy.ending.cancelled() => {}
    }
    drop(tunnel.slot);
}

/// The client's stream after CONNECT, with the bytes that came along with it.
async fn client_stream(request: Request<Incoming>) -> Option<Rewound> {
    let upgraded = hyper::upgrade::on(request).await.ok()?;
    let parts = upgraded
        .downcast::<TokioIo<HeadGuard<ClientStream>>>()
        .ok()?;
    let (io, rest) = parts.io.into_inner().into_parts();
    // In the order in which they came: what the HTTP library had read, then what the guard had.
    let mut early = BytesMut::from(parts.read_buf);
    early.extend_from_slice(&rest);
    Some(Rewound { early, io })
}

/// Serves what is inside: TLS, or plain HTTP.
pub async fn run_intercepted<A: Service>(proxy: Arc<Proxy>, tunnel: Tunnel, mut stream: Rewound) {
    let _open = measures().open(Kind::Tunnel);
    let handshake = proxy.settings.load().config.proxy.handshake_timeout;
    let draining = proxy.draining.clone();
    let first = tokio::select! {
        // What has come is served.
        biased;
        first = timeout(handshake, stream.first_byte()) => first,
        () = draining.cancelled() => return,
    };
    match first {
        Ok(Ok(TLS_HANDSHAKE)) => run_tls::<A>(proxy, tunnel, stream, handshake).await,
        // Anything that can begin a method. Whether it is HTTP the head guard finds out.
        Ok(Ok(b'A'..=b'Z' | b'a'..=b'z')) => Box::pin(run_plain::<A>(proxy, tunnel, stream)).await,
        Ok(Ok(_)) => tracing::info!(destination = %tunnel.destination,
            "a tunnel was closed: neither TLS nor HTTP inside (see tls.passthrough)"),
        Ok(Err(_)) => {}
        Err(_) => tracing::info!(destination = %tunnel.destination,
            "a tunnel was closed: nothing came through it in time"),
    }
}

async fn run_tls<A: Service>(
    proxy: Arc<Proxy>,
    tunnel: Tunnel,
    stream: Rewound,
    deadline: Duration,
) {
    let destination = &tunnel.destination;
    // What only the handshake needs is in a box of its own, which goes when it is over.
    let accepted = Box::pin(async {
        let accepted = intercept(
            ReadAhead::new(stream),
            Some(&destination.host),
            &proxy.leaves,
            Some(&tunnel.client),
        );
        paced(pin!(accepted), PATIENCE).await
    });
    let accepted = timeout(deadline, accepted).await;
    measures().shaken(Side::Client, Handshake::of(&accepted));
    match accepted {
        Ok(Ok(intercepted)) => speak::<A>(proxy, tunnel, intercepted).await,
        Ok(Err(error)) => tracing::info!(%destination, "a tunnel was closed: {error}"),
        Err(_) => {
            tracing::info!(%destination, "a tunnel was closed: its TLS handshake stalled");
        }
    }
}

/// Serves the requests inside TLS, in the protocol that was chosen. In a box, because the task of a
/// tunnel would otherwise hold room for each protocol it may come to, and for the handshake.
pub fn speak<A: Service>(
    proxy: Arc<Proxy>,
    tunnel: Tunnel,
    intercepted: Intercepted<ReadAhead<Rewound>>,
) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    let Tunnel {
        destination,
        identity,
        slot,
        client: _,
    } = tunnel;
    let disagrees = intercepted
        .server_name
        .is_some_and(|name| name != destination.host);
    let mismatch = disagrees.then(|| mismatch(&destination, "the TLS server name"));
    let entry = TunnelEntry::new(destination, identity, slot, mismatch);
    let entry = Entry::Tunnel(Box::new(entry));
    let mut stream = intercepted.stream;
    stream.get_mut().1.set_buffer_limit(Some(WRITTEN_AT_ONCE));
    match stream.get_ref().1.alpn_protocol() {
        Some(b"h2") => Box::pin(http2::serve::<A, _>(proxy, stream, entry)),
        _ => Box::pin(serve::<A, _>(
            proxy,
            RecordCoalescer::new(stream),
            BytesMut::new(),
            entry,
        )),
    }
}

/// Node, undici and every `ws://` client send CONNECT for plain HTTP too, and gRPC without TLS
/// begins HTTP/2 at once ("prior knowledge", RFC 9113 section 3.3).
async fn run_plain<A: Service>(proxy: Arc<Proxy>, tunnel: Tunnel, mut stream: Rewound) {
    let handshake = proxy.settings.load().config.proxy.handshake_timeout;
    let Ok(Ok(is_http2)) = timeout(handshake, stream.begins_with(http2::PREFACE)).await else {
        return;
    };
    let destination = Destination {
        scheme: Scheme::Http,
        ..tunnel.destination
    };
    let entry = Entry::Tunnel(Box::new(TunnelEntry::new(
        destination,
        tunnel.identity,
        tunnel.slot,
        None,
    )));
    if is_http2 {
        http2::serve::<A, _>(proxy, stream, entry).await;
    } else {
        serve::<A, _>(proxy, stream.io, stream.early, entry).await;
    }
}

/// Serves HTTP/1.1 in a tunnel, or in what came without one.
pub fn serve<A, S>(
    proxy: Arc<Proxy>,
    stream: S,
    early: BytesMut,
    entry: Entry,
) -> impl Future<Output = ()> + Send
where
    A: Service,
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let signal = HeadSignal::default();
    let limits = proxy.settings.load().head_limits();
    let guard = HeadGuard::new(stream, early, limits, signal.clone());
    http1::serve::<A, _>(proxy, guard, signal, entry)
}

/// What a client speaks to the proxy on: a socket, or TLS with the proxy itself.
pub type ClientStream = TcpOrTls<TlsStream<ReadAhead<TcpStream>>>;

/// A stream whose first bytes were read already.
pub struct Rewound {
    early: BytesMut,
    io: ClientStream,
}

impl Rewound {
    /// A stream of which `early` was read.
    pub fn new(io: ClientStream, early: BytesMut) -> Self {
        Self { early, io }
    }

    /// The stream, and what was read of it.
    pub fn into_parts(self) -> (ClientStream, BytesMut) {
        (self.io, self.early)
    }

    /// The first byte, left where it is.
    pub async fn first_byte(&mut self) -> io::Result<u8> {
        if self.early.is_empty() && self.io.read_buf(&mut self.early).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(self.early[0])
    }
}

impl Rewound {
    /// Whether the stream begins with these bytes, which are left where they are. Reads no further
    /// than it takes to tell.
    pub async fn begins_with(&mut self, start: &[u8]) -> io::Result<bool> {
        while self.early.len() < start.len() && start.starts_with(&self.early) {
            if self.io.read_buf(&mut self.early).await? == 0 {
                return Ok(false);
            }
        }
        Ok(self.early.starts_with(start))
    }
}

impl AsyncRead for Rewound {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.early.is_empty() {
            return Pin::new(&mut self.io).poll_read(cx, out);
        }
        let count = self.early.len().min(out.remaining());
        out.put_slice(&self.early[..count]);
        self.early.advance(count);
        Poll::Ready(Ok(()))
    }
}

writes_pass_through!(Rewound);

/// Copies both ways until both sides ended or neither has sent anything for `idle`.
async fn copy_until_idle(client: Rewound, mut upstream: Connected, idle: Duration) {
    let activity = Arc::new(Activity::new());
    let mut client = Watched {
        io: client,
        activity: Arc::clone(&activity),
    };
    let copy =
        copy_bidirectional_with_sizes(&mut client, &mut upstream, BLIND_BUFFER, BLIND_BUFFER);
    tokio::select! {
        // Either side may end the connection as it likes; and no one is told.
        _ = copy => {}
        () = activity.silence(idle) => {}
    }
}

/// The client's side of a blind tunnel: every byte passes it in one direction or the other.
struct Watched {
    io: Rewound,
    activity: Arc<Activity>,
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.io).poll_read(cx, out);
        if polled.is_ready() {
            self.activity.touch();
        }
        polled
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write(cx, bytes);
        if polled.is_ready() {
            self.activity.touch();
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

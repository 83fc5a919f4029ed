//! The proxy's own port: clients that know of the proxy, and name their destination in the request.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::pin::pin;
use std::sync::Arc;

use bytes::BytesMut;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use crate::error::Code;
use crate::identity::Presented;
use crate::policy::destination::Scheme;
use crate::proxy::context::{Proxy, Settings};
use crate::proxy::inbound::arrival::{self, Arrival};
use crate::proxy::inbound::base_url::Own;
use crate::proxy::inbound::entry::{BaseUrlEntry, Entry, ProxyEntry};
use crate::proxy::inbound::head_guard::HeadGuard;
use crate::proxy::inbound::http1;
use crate::proxy::inbound::http2;
use crate::proxy::inbound::listener::Port;
use crate::proxy::inbound::original;
use crate::proxy::inbound::requests::Requests;
use crate::proxy::inbound::socks;
use crate::proxy::inbound::transparent::{self, Redirected};
use crate::proxy::inbound::tunnel::{ClientStream, PATIENCE, Rewound};
use crate::proxy::runtime::limits::HeadLimits;
use crate::proxy::runtime::measures::{Handshake, Kind, Side, measures};
use crate::proxy::runtime::pacing::paced;
use crate::proxy::runtime::read_ahead::ReadAhead;
use crate::proxy::runtime::signal::HeadSignal;
use crate::proxy::runtime::slot::ConnectionSlot;

/// How clients call a Unix socket: `http://localhost`, at the port that needs no mention.
const UNIX_NAME: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 80));

/// The port that anyone may connect to. A connection says in its first byte what it begins with.
#[derive(Clone)]
pub struct ProxyPort;

impl Port for ProxyPort {
    type Stream = TcpStream;

    async fn serve(self, proxy: Arc<Proxy>, mut stream: TcpStream, slot: ConnectionSlot) {
        let deadline = limits(&proxy).first_timeout;
        let draining = proxy.draining.child_token();
        let begun = timeout(deadline, begin(&proxy, &mut stream));
        // Who is silent, or sends half a header, has shown nothing yet and is not answered.
        if let Some(Ok(Ok((arrival, opening)))) = draining.run_until_cancelled(begun).await {
            speak(proxy, stream, slot, arrival, opening).await;
        }
    }
}

/// What is known of the first bytes.
enum Opening {
    /// Nothing.
    Unseen,
    /// The first of them, which is still to be read; none if the client said nothing.
    Begins(Option<u8>),
    /// These were read.
    Read(BytesMut),
}

/// What the connection begins with, and what is known of its first request.
async fn begin(proxy: &Proxy, stream: &mut TcpStream) -> io::Result<(Arrival, Opening)> {
    let mut first = [0];
    let seen = stream.peek(&mut first).await?;
    let first = (seen > 0).then_some(first[0]);
    if first != Some(arrival::FIRST_BYTE) {
        return Ok((Arrival::default(), Opening::Begins(first)));
    }
    let mut early = BytesMut::new();
    let settings = proxy.settings.load_full();
    let arrival = Arrival::read(stream, &settings, &mut early).await;
    if arrival.is_err() {
        tracing::info!("a connection was closed: its PROXY protocol header is not understood");
    }
    let opening = if early.is_empty() {
        Opening::Unseen
    } else {
        Opening::Read(early)
    };
    Ok((arrival?, opening))
}

/// The same port for clients that speak TLS to the proxy itself. There is no SOCKS on it.
#[derive(Clone)]
pub struct TlsPort;

impl Port for TlsPort {
    type Stream = TcpStream;

    const EXPLAINS: bool = false;

    async fn serve(self, proxy: Arc<Proxy>, stream: TcpStream, slot: ConnectionSlot) {
        let draining = proxy.draining.child_token();
        let begun = Box::pin(begin_tls(&proxy, stream));
        if let Some(Some((stream, arrival, early))) = draining.run_until_cancelled(begun).await {
            speak_http(proxy, stream, slot, arrival, early).await;
        }
    }
}

/// The handshake, and what the connection begins with.
async fn begin_tls(proxy: &Proxy, stream: TcpStream) -> Option<(ClientStream, Arrival, BytesMut)> {
    let settings = proxy.settings.load_full();
    let mut stream = accept_tls(proxy, &settings, stream).await?;
    let mut early = BytesMut::new();
    let read = Arrival::read(&mut stream, &settings, &mut early);
    let read = timeout(limits(proxy).first_timeout, read).await;
    let arrival = read.ok()?.ok()?;
    Some((stream, arrival, early))
}

/// TLS with the proxy itself.
async fn accept_tls(proxy: &Proxy, settings: &Settings, stream: TcpStream) -> Option<ClientStream> {
    let local = stream.local_addr().ok()?.ip();
    let tls = settings.listener_tls.as_ref()?;
    let accepted = tls.accept(ReadAhead::new(stream), local, &proxy.leaves);
    let deadline = settings.config.proxy.handshake_timeout;
    let accepted = timeout(deadline, paced(pin!(accepted), PATIENCE)).await;
    measures().shaken(Side::Client, Handshake::of(&accepted));
    match accepted {
        Ok(Ok(stream)) => Some(ClientStream::Tls(Box::new(stream))),
        Ok(Err(_)) | Err(_) => {
            tracing::info!("a connection was closed: its TLS handshake with the proxy failed");
            None
        }
    }
}

/// A port whose connections are accepted, and vouched for, by somebody else in this process.
#[derive(Clone)]
pub struct VouchedPort(pub Arrival);

impl Port for VouchedPort {
    type Stream = TcpStream;

    async fn serve(self, proxy: Arc<Proxy>, stream: TcpStream, slot: ConnectionSlot) {
        speak(proxy, stream, slot, self.0, Opening::Unseen).await;
    }
}

/// A port to which connections are redirected.
#[derive(Clone)]
pub struct TransparentPort {
    /// For whom it stands.
    pub holder: Arc<Presented>,
    /// Where it is.
    pub own: SocketAddr,
}

impl Port for TransparentPort {
    type Stream = TcpStream;

    async fn serve(self, proxy: Arc<Proxy>, stream: TcpStream, slot: ConnectionSlot) {
        match original::destination(&stream) {
            // Nobody redirected it: to serve it would be to connect to ourselves.
            Some(original) if original == self.own => {
                tracing::info!(code = %Code::LoopDetected, "a connection was closed: it was made to \
                    transparent.listen itself");
            }
            Some(original) => {
                let redirected = Redirected {
                    original,
                    holder: Some(self.holder),
                    slot,
                };
                let stream = ClientStream::Tcp(stream);
                transparent::serve::<Requests>(proxy, stream, redirected).await;
            }
            None => {}
        }
    }
}

/// A port where the path of each request names its destination.
#[derive(Clone)]
pub struct BaseUrlPort {
    /// For whom it stands; without one each request shows a token.
    pub holder: Option<Arc<Presented>>,
    /// Where it is.
    pub own: SocketAddr,
}

impl Port for BaseUrlPort {
    type Stream = TcpStream;

    async fn serve(self, proxy: Arc<Proxy>, stream: TcpStream, slot: ConnectionSlot) {
        let entry = BaseUrlEntry {
            own: Own::plain(self.own),
            holder: self.holder,
            _slot: slot,
        };
        serve_base_url(proxy, ClientStream::Tcp(stream), entry).await;
    }
}

/// The same on a Unix socket.
#[derive(Clone)]
pub struct BaseUrlUnixPort {
    /// For whom it stands; without one each request shows a token.
    pub holder: Option<Arc<Presented>>,
}

impl Port for BaseUrlUnixPort {
    type Stream = UnixStream;

    async fn serve(self, proxy: Arc<Proxy>, stream: UnixStream, slot: ConnectionSlot) {
        let entry = BaseUrlEntry {
            own: Own::plain(UNIX_NAME),
            holder: self.holder,
            _slot: slot,
        };
        serve_base_url(proxy, ClientStream::Unix(stream), entry).await;
    }
}

/// The same with TLS. Each request shows a token: others reach it.
#[derive(Clone)]
pub struct BaseUrlTlsPort;

impl Port for BaseUrlTlsPort {
    type Stream = TcpStream;

    const EXPLAINS: bool = false;

    async fn serve(self, proxy: Arc<Proxy>, stream: TcpStream, slot: ConnectionSlot) {
        let draining = proxy.draining.child_token();
        let settings = proxy.settings.load_full();
        let Ok(address) = stream.local_addr() else {
            return;
        };
        let accepted = Box::pin(accept_tls(&proxy, &settings, stream));
        let Some(Some(stream)) = draining.run_until_cancelled(accepted).await else {
            return;
        };
        let entry = BaseUrlEntry {
            own: Own {
                address,
                scheme: Scheme::Https,
                names: settings.config.proxy.tls.names.as_slice().into(),
            },
            holder: None,
            _slot: slot,
        };
        drop(settings);
        serve_base_url(proxy, stream, entry).await;
    }
}

async fn serve_base_url(proxy: Arc<Proxy>, stream: ClientStream, entry: BaseUrlEntry) {
    let mut stream = Rewound::new(stream, BytesMut::new());
    let draining = proxy.draining.child_token();
    let begins = timeout(
        limits(&proxy).first_timeout,
        stream.begins_with(http2::PREFACE),
    );
    let Some(Ok(Ok(is_http2))) = draining.run_until_cancelled(begins).await else {
        return;
    };
    let entry = Entry::BaseUrl(entry);
    if is_http2 {
        http2::serve::<Requests, _>(proxy, stream, entry).await;
    } else {
        let (stream, early) = stream.into_parts();
        let signal = HeadSignal::default();
        let guard = HeadGuard::new(stream, early, limits(&proxy), signal.clone());
        http1::serve::<Requests, _>(proxy, guard, signal, entry).await;
    }
}

async fn speak(
    proxy: Arc<Proxy>,
    stream: TcpStream,
    slot: ConnectionSlot,
    arrival: Arrival,
    opening: Opening,
) {
    let (first, early) = match opening {
        // What was redirected begins with what the client says to its destination.
        Opening::Unseen if arrival.original.is_some() => (None, BytesMut::new()),
        Opening::Unseen => (peek(&proxy, &stream).await, BytesMut::new()),
        Opening::Begins(first) => (first, BytesMut::new()),
        Opening::Read(early) => (None, early),
    };
    if first == Some(socks::VERSION) {
        let entry = ProxyEntry {
            slot,
            holder: arrival.holder,
        };
        return socks::serve::<Requests>(proxy, stream, entry).await;
    }
    speak_http(proxy, ClientStream::Tcp(stream), slot, arrival, early).await;
}

/// Serves what is no SOCKS, of which `early` was read.
async fn speak_http(
    proxy: Arc<Proxy>,
    stream: ClientStream,
    slot: ConnectionSlot,
    arrival: Arrival,
    early: BytesMut,
) {
    if let Some(original) = arrival.original {
        let redirected = Redirected {
            original,
            holder: arrival.holder,
            slot,
        };
        return transparent::serve::<Requests>(proxy, stream, redirected).await;
    }
    let entry = ProxyEntry {
        slot,
        holder: arrival.holder,
    };
    let _open = measures().open(Kind::Proxy);
    let signal = HeadSignal::default();
    let guard = HeadGuard::new(stream, early, limits(&proxy), signal.clone());
    http1::serve::<Requests, _>(proxy, guard, signal, Entry::Proxy(entry)).await;
}

/// The first byte, which is still to be read; none if the client says nothing in time.
async fn peek(proxy: &Proxy, stream: &TcpStream) -> Option<u8> {
    let mut first = [0];
    let draining = proxy.draining.child_token();
    let peeked = timeout(limits(proxy).first_timeout, stream.peek(&mut first));
    let peeked = draining.run_until_cancelled(peeked).await;
    matches!(peeked, Some(Ok(Ok(1)))).then_some(first[0])
}

/// Whoever has shown no token must not hold a place for long: a few hundred silent connections
/// would shut everyone out.
fn limits(proxy: &Proxy) -> HeadLimits {
    let limits = proxy.settings.load().head_limits();
    HeadLimits {
        first_timeout: limits.head_timeout.min(limits.idle_timeout),
        ..limits
    }
}

//! Upstreams that record every byte they receive, and misbehave as a test asks.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::HandshakeKind;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;

use crate::http2::frames as http2_frames;
use crate::http2::upstream::{self as http2, Reply};
use crate::pki::{Flaw, Pki};
use crate::wire::{Framing, Request, Wire, WireError};

/// One step of an upstream's answer.
#[derive(Clone)]
pub enum Step {
    /// Writes these bytes.
    Send(Vec<u8>),
    /// Writes these bytes repeatedly.
    Repeat(Vec<u8>, usize),
    /// The same, and counts the bytes written.
    Counted(Vec<u8>, usize, Arc<std::sync::atomic::AtomicU64>),
    /// Waits.
    Pause(Duration),
    /// Waits until the test gives a signal.
    Hold(Arc<Notify>),
    /// Closes the connection cleanly.
    Close,
    /// Resets the connection.
    Reset,
    /// Drops the connection: without TLS's goodbye, and with a reset if something was not read.
    Drop,
    /// Keeps the connection open and sends nothing more until the peer closes it.
    Hang,
}

/// How an upstream receives a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    Open,
    /// Accepts and closes at once.
    Slam,
    /// Accepts and sends nothing, not even a TLS handshake.
    Mute,
    /// Completes the TLS handshake and closes.
    CloseAfterHandshake,
}

/// The record of one connection.
#[derive(Clone, Debug, Default)]
pub struct Connection {
    /// Application bytes, exactly as received (after TLS).
    pub bytes: Vec<u8>,
    /// How many of them belong to complete requests.
    pub parsed: usize,
    /// Over HTTP/2, the sizes of the header blocks received.
    pub blocks: Vec<usize>,
    /// Whether the TLS session was resumed.
    pub resumed: bool,
    /// Server name of the handshake.
    pub sni: Option<String>,
    /// Why reading stopped inside a message, if it did.
    pub broken: Option<String>,
    /// Closed, by either side.
    pub over: bool,
}

type Answer = Pin<Box<dyn Future<Output = Vec<Step>> + Send>>;
type Handler = Arc<dyn Fn(Arc<Request>) -> Answer + Send + Sync>;
type Replies = Pin<Box<dyn Future<Output = Vec<Reply>> + Send>>;
type Http2Handler = Arc<dyn Fn(u32, Arc<Request>) -> Replies + Send + Sync>;

struct State {
    door: Mutex<Door>,
    handler: Mutex<Handler>,
    /// In place of `handler`, over HTTP/2.
    http2: Mutex<Option<Http2Handler>>,
    /// Concurrent streams that an HTTP/2 connection accepts.
    streams: AtomicU32,
    at_head: Mutex<Option<Vec<Step>>>,
    requests: Mutex<Vec<Arc<Request>>>,
    connections: Mutex<Vec<Arc<Mutex<Connection>>>>,
    open: AtomicUsize,
    arrived: Notify,
}

/// A recording upstream on a loopback port of its own.
#[derive(Clone)]
pub struct Stub {
    pub addr: SocketAddr,
    state: Arc<State>,
}

/// `200 OK` with a text body.
pub fn ok(body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

impl Stub {
    /// An `https` upstream with a valid certificate for `names`.
    pub async fn tls(pki: &Pki, names: &[&str]) -> Self {
        Self::tls_with(pki, names, Flaw::None).await
    }

    /// An `https` upstream with a flaw in its certificate.
    pub async fn tls_with(pki: &Pki, names: &[&str], flaw: Flaw) -> Self {
        let acceptor = TlsAcceptor::from(pki.server_config(names, flaw));
        Self::listen(Some(acceptor)).await
    }

    /// An `https` upstream that chooses among these protocols.
    pub async fn tls_alpn(pki: &Pki, names: &[&str], protocols: &[&str]) -> Self {
        let config = pki.server_config(names, Flaw::None);
        let mut config = rustls::ServerConfig::clone(&config);
        config.alpn_protocols = protocols.iter().map(|p| p.as_bytes().to_vec()).collect();
        Self::listen(Some(TlsAcceptor::from(Arc::new(config)))).await
    }

    /// An `http` upstream. It accepts HTTP/2 with prior knowledge.
    pub async fn plain() -> Self {
        Self::listen(None).await
    }

    async fn listen(tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind a stub");
        let stub = Self {
            addr: listener.local_addr().expect("address of a stub"),
            state: Arc::new(State {
                door: Mutex::new(Door::Open),
                handler: Mutex::new(fixed(vec![Step::Send(ok("ok"))])),
                http2: Mutex::default(),
                streams: AtomicU32::new(100),
                at_head: Mutex::new(None),
                requests: Mutex::default(),
                connections: Mutex::default(),
                open: AtomicUsize::new(0),
                arrived: Notify::new(),
            }),
        };
        let state = stub.state.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (state, tls) = (state.clone(), tls.clone());
                tokio::spawn(async move { receive(state, tls, socket).await });
            }
        });
        stub
    }

    /// Every request gets these bytes.
    pub fn answer(&self, bytes: impl Into<Vec<u8>>) {
        self.steps(vec![Step::Send(bytes.into())]);
    }

    /// Every request gets these steps.
    pub fn steps(&self, steps: Vec<Step>) {
        *self.state.handler.lock().unwrap() = fixed(steps);
    }

    /// Every request is answered by a function of it.
    pub fn serve<F, A>(&self, f: F)
    where
        F: Fn(Arc<Request>) -> A + Send + Sync + 'static,
        A: Future<Output = Vec<Step>> + Send + 'static,
    {
        *self.state.handler.lock().unwrap() = Arc::new(move |r| Box::pin(f(r)));
    }

    /// Over HTTP/2, every request is answered by a function of it and its stream.
    pub fn serve_http2<F, A>(&self, f: F)
    where
        F: Fn(u32, Arc<Request>) -> A + Send + Sync + 'static,
        A: Future<Output = Vec<Reply>> + Send + 'static,
    {
        *self.state.http2.lock().unwrap() = Some(Arc::new(move |id, r| Box::pin(f(id, r))));
    }

    /// Later HTTP/2 connections accept so many concurrent streams.
    pub fn allow_streams(&self, streams: u32) {
        self.state.streams.store(streams, Ordering::SeqCst);
    }

    /// From now on the answer begins after the head, before the body is read.
    pub fn at_head(&self, steps: Option<Vec<Step>>) {
        *self.state.at_head.lock().unwrap() = steps;
    }

    pub fn door(&self, door: Door) {
        *self.state.door.lock().unwrap() = door;
    }

    /// The requests recorded since the last call.
    pub fn take(&self) -> Vec<Arc<Request>> {
        std::mem::take(&mut *self.state.requests.lock().unwrap())
    }

    /// The one request recorded since the last call.
    ///
    /// # Panics
    /// When there was none, or more than one.
    pub fn take_one(&self) -> Arc<Request> {
        let mut seen = self.take();
        assert_eq!(seen.len(), 1, "requests at the upstream");
        seen.remove(0)
    }

    /// Every connection ever accepted.
    pub fn connections(&self) -> Vec<Connection> {
        let all = self.state.connections.lock().unwrap();
        all.iter().map(|c| c.lock().unwrap().clone()).collect()
    }

    /// Connections that are open now.
    pub fn open(&self) -> usize {
        self.state.open.load(Ordering::SeqCst)
    }

    /// Every application byte ever received, over all connections.
    pub fn bytes(&self) -> Vec<u8> {
        self.connections()
            .into_iter()
            .flat_map(|c| c.bytes)
            .collect()
    }

    /// The current length of every connection's record, for [`Stub::bytes_since`].
    pub fn mark(&self) -> Vec<usize> {
        self.connections().iter().map(|c| c.bytes.len()).collect()
    }

    /// Application bytes received after a mark.
    pub fn bytes_since(&self, mark: &[usize]) -> Vec<u8> {
        let connections = self.connections();
        let from = mark.iter().copied().chain(std::iter::repeat(0));
        let new = connections
            .iter()
            .zip(from)
            .map(|(c, from)| &c.bytes[from..]);
        new.collect::<Vec<_>>().concat()
    }

    /// Bytes that belong to no request, of connections that were open after a mark.
    pub fn leftover_since(&self, mark: &[usize]) -> usize {
        let connections = self.connections();
        let from = mark.iter().copied().chain(std::iter::repeat(0));
        let touched = connections
            .iter()
            .zip(from)
            .filter(|(c, from)| c.bytes.len() > *from);
        touched.map(|(c, _)| c.bytes.len() - c.parsed).sum()
    }

    /// Waits until `n` requests have been recorded since the last [`Stub::take`].
    pub async fn until_requests(&self, n: usize) {
        let enough = async {
            loop {
                let arrived = self.state.arrived.notified();
                if self.state.requests.lock().unwrap().len() >= n {
                    return;
                }
                arrived.await;
            }
        };
        crate::within("a request at the upstream", enough).await;
    }
}

fn fixed(steps: Vec<Step>) -> Handler {
    Arc::new(move |_| {
        let steps = steps.clone();
        Box::pin(async move { steps })
    })
}

async fn receive(state: Arc<State>, tls: Option<TlsAcceptor>, socket: TcpStream) {
    let record = Arc::new(Mutex::new(Connection::default()));
    let id = {
        let mut all = state.connections.lock().unwrap();
        all.push(record.clone());
        all.len()
    };
    state.open.fetch_add(1, Ordering::SeqCst);
    let door = *state.door.lock().unwrap();
    let _ = socket.set_nodelay(true);
    match (door, tls) {
        (Door::Slam, _) => drop(socket),
        (Door::Mute, _) => hang(socket).await,
        (_, None) => {
            let mut start = [0; 4];
            match socket.peek(&mut start).await {
                Ok(4) if &start == b"PRI " => converse_http2(&state, id, &record, socket).await,
                _ => converse(&state, id, &record, socket).await,
            }
        }
        (_, Some(tls)) => match tls.accept(socket).await {
            Ok(mut stream) => {
                let session = stream.get_ref().1;
                {
                    let mut record = record.lock().unwrap();
                    record.resumed = session.handshake_kind() == Some(HandshakeKind::Resumed);
                    record.sni = session.server_name().map(str::to_owned);
                }
                let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                if door == Door::CloseAfterHandshake {
                    let _ = stream.shutdown().await;
                } else if is_http2 {
                    converse_http2(&state, id, &record, stream).await;
                } else {
                    converse(&state, id, &record, stream).await;
                }
            }
            Err(e) => record.lock().unwrap().broken = Some(format!("TLS: {e}")),
        },
    }
    record.lock().unwrap().over = true;
    state.open.fetch_sub(1, Ordering::SeqCst);
}

/// Keeps reading and never answers, until the peer closes.
async fn hang<S: AsyncRead + AsyncWrite + Unpin>(io: S) {
    Wire::new(io).until_closed().await;
}

/// A transport that can be reset.
pub trait Transport: AsyncRead + AsyncWrite + Unpin + Send {
    fn tcp(&self) -> &TcpStream;
}

impl Transport for TcpStream {
    fn tcp(&self) -> &TcpStream {
        self
    }
}

impl Transport for tokio_rustls::server::TlsStream<TcpStream> {
    fn tcp(&self) -> &TcpStream {
        self.get_ref().0
    }
}

async fn converse<S: Transport>(state: &State, id: usize, record: &Arc<Mutex<Connection>>, io: S) {
    let tee = Tee {
        io,
        copy: record.clone(),
    };
    let mut wire = Wire::new(tee);
    loop {
        let mut request = match wire.request_head().await {
            Ok(request) => request,
            Err(WireError::Closed) => return,
            Err(e) => return record.lock().unwrap().broken = Some(e.to_string()),
        };
        request.connection = id;
        let expects = request
            .header("expect")
            .is_some_and(|v| v.eq_ignore_ascii_case("100-continue"));
        let early = state.at_head.lock().unwrap().clone();
        if expects && request.framing != Framing::None && early.is_none() {
            let _ = wire.send(b"HTTP/1.1 100 Continue\r\n\r\n").await;
        }
        let steps = if let Some(steps) = early {
            note(state, request);
            steps
        } else {
            match wire.body(&request.framing.clone()).await {
                Ok(body) => request.body = body,
                Err(e) => return record.lock().unwrap().broken = Some(e.to_string()),
            }
            record.lock().unwrap().parsed = wire.received.len() - wire.pending().len();
            // Chosen first: whoever has waited for the request may have the next one answered otherwise.
            let handler = state.handler.lock().unwrap().clone();
            handler(note(state, request)).await
        };
        if !perform(&mut wire, steps).await {
            return;
        }
    }
}

async fn converse_http2<S>(state: &Arc<State>, id: usize, record: &Arc<Mutex<Connection>>, io: S)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let streams = state.streams.load(Ordering::SeqCst);
    let shared = state.clone();
    http2::converse(io, record.clone(), streams, move |stream, mut request| {
        request.connection = id;
        let own = shared.http2.lock().unwrap().clone();
        let handler = shared.handler.lock().unwrap().clone();
        let request = note(&shared, request);
        async move {
            match own {
                Some(own) => own(stream, request).await,
                None => as_replies(handler(request).await).await,
            }
        }
    })
    .await;
}

/// An answer that was written for HTTP/1.1, sent over HTTP/2.
async fn as_replies(steps: Vec<Step>) -> Vec<Reply> {
    let mut written = Vec::new();
    for step in steps {
        match step {
            Step::Send(bytes) => written.extend(bytes),
            Step::Repeat(bytes, times) | Step::Counted(bytes, times, _) => {
                written.extend(bytes.repeat(times));
            }
            Step::Pause(time) => tokio::time::sleep(time).await,
            Step::Hold(gate) => gate.notified().await,
            // Closing delimits a body in HTTP/1.1 only.
            Step::Close | Step::Drop => {}
            Step::Reset => return vec![Reply::Reset(http2_frames::CANCEL)],
            Step::Hang => std::future::pending().await,
        }
    }
    vec![Reply::Answer(http2::parsed(&written).await, Vec::new())]
}

fn note(state: &State, request: Request) -> Arc<Request> {
    let request = Arc::new(request);
    state.requests.lock().unwrap().push(request.clone());
    state.arrived.notify_waiters();
    request
}

/// Plays the steps. Returns whether the connection stays open.
async fn perform<S: Transport>(wire: &mut Wire<Tee<S>>, steps: Vec<Step>) -> bool {
    for step in steps {
        match step {
            Step::Send(bytes) => {
                if wire.send(&bytes).await.is_err() {
                    return false;
                }
            }
            Step::Repeat(bytes, times) => {
                for _ in 0..times {
                    if wire.send(&bytes).await.is_err() {
                        return false;
                    }
                }
            }
            Step::Counted(bytes, times, count) => {
                for _ in 0..times {
                    if wire.send(&bytes).await.is_err() {
                        return false;
                    }
                    count.fetch_add(bytes.len() as u64, Ordering::SeqCst);
                }
            }
            Step::Pause(time) => tokio::time::sleep(time).await,
            Step::Hold(gate) => gate.notified().await,
            Step::Close => {
                let _ = wire.io.shutdown().await;
                return false;
            }
            Step::Reset => {
                let _ = wire.io.io.tcp().set_zero_linger();
                return false;
            }
            Step::Drop => return false,
            Step::Hang => {
                wire.until_closed().await;
                return false;
            }
        }
    }
    true
}

/// Keeps a copy of every byte read.
struct Tee<S> {
    io: S,
    copy: Arc<Mutex<Connection>>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Tee<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.io).poll_read(cx, buf);
        let new = &buf.filled()[before..];
        self.copy.lock().unwrap().bytes.extend_from_slice(new);
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Tee<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

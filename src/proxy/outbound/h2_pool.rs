//! HTTP/2 connections to upstreams, shared by the requests to one destination (RFC 9113 section 5).

use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use dashmap::DashMap;
use h2::client::SendRequest;
use tokio::time::Instant;

use crate::policy::destination::Destination;
use crate::proxy::runtime::sync::lock;
use crate::proxy::runtime::workers::PerWorker;

/// Requests that share one connection. Small enough that all of them together may leave their
/// answers unread ([`STREAM_WINDOW`] each) without stopping the others: a connection's window is
/// this many streams' windows, so one slow client never holds up another's answer.
pub const STREAMS: usize = 32;
/// How much of an answer may wait here for its client, in bytes.
pub const STREAM_WINDOW: u32 = 512 * 1024;
/// The window of a connection, in bytes.
pub const CONNECTION_WINDOW: u32 = STREAMS as u32 * STREAM_WINDOW;
/// How long a connection without requests is kept.
const IDLE_LIFE: Duration = Duration::from_secs(55);
/// Most destinations remembered. A hostile client can name any number.
const DESTINATIONS: usize = 4_096;

/// What a destination was found to speak when HTTP/2 was offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum NegotiatedProtocol {
    /// It was not asked yet.
    Unknown,
    /// It chose HTTP/1.1.
    Http1,
    /// It chose HTTP/2.
    Http2,
    /// It refused HTTP/1.1.
    OnlyHttp2,
}

/// A connection of HTTP/2.
pub struct Shareable {
    /// Takes requests.
    pub sender: SendRequest<Bytes>,
    /// How many the upstream takes at once (SETTINGS_MAX_CONCURRENT_STREAMS), kept up to date.
    pub most: Arc<AtomicUsize>,
    /// How many are on their way on it.
    pub streams: Arc<AtomicUsize>,
}

/// The shared connections of one [`crate::proxy::outbound::upstream::Upstream`].
#[derive(Default)]
pub struct H2Pool {
    routes: DashMap<Destination, Arc<H2Host>>,
}

/// Everything about HTTP/2 with one destination.
#[derive(Default)]
pub struct H2Host {
    /// Each worker has its own, because a connection is driven by the worker that opened it.
    shared: PerWorker<Shared>,
    spoken: AtomicU8,
}

#[derive(Default)]
struct Shared {
    opening: Arc<tokio::sync::Mutex<()>>,
    connections: Mutex<Vec<Arc<Connection>>>,
}

struct Connection {
    sender: SendRequest<Bytes>,
    /// How many requests the upstream takes at once (SETTINGS_MAX_CONCURRENT_STREAMS), as far as
    /// its connection has told.
    most: Arc<AtomicUsize>,
    /// Requests on their way on it.
    streams: Arc<AtomicUsize>,
    /// When the last of them ended.
    quiet_since: Mutex<Instant>,
}

impl H2Pool {
    /// What is known of a destination.
    pub fn h2_host(&self, destination: &Destination) -> Arc<H2Host> {
        if let Some(h2_host) = self.routes.get(destination) {
            return Arc::clone(&h2_host);
        }
        if self.routes.len() >= DESTINATIONS {
            self.routes
                .retain(|_, h2_host| h2_host.shared.all().any(Shared::is_in_use));
        }
        Arc::clone(&self.routes.entry(destination.clone()).or_default())
    }

    /// What the destination was found to speak, without remembering that it was asked for.
    pub fn spoken(&self, destination: &Destination) -> NegotiatedProtocol {
        let h2_host = self.routes.get(destination);
        h2_host.map_or(NegotiatedProtocol::Unknown, |h2_host| h2_host.spoken())
    }

    /// Lets go of connections that ended or carried nothing for too long.
    pub fn sweep(&self) {
        for h2_host in &self.routes {
            for shared in h2_host.shared.all() {
                lock(&shared.connections).retain(|connection| connection.is_worth_keeping());
            }
        }
    }
}

impl Shared {
    fn is_in_use(&self) -> bool {
        !lock(&self.connections).is_empty()
    }
}

impl H2Host {
    /// To be held while a connection is opened, and until its upstream has said how many requests it
    /// takes: so that a burst of requests opens one, or as many as it needs, and not one each.
    pub fn opening(&self) -> Arc<tokio::sync::Mutex<()>> {
        Arc::clone(&self.shared.own().opening)
    }

    /// What the destination was found to speak.
    pub fn spoken(&self) -> NegotiatedProtocol {
        match self.spoken.load(Ordering::Relaxed) {
            1 => NegotiatedProtocol::Http1,
            2 => NegotiatedProtocol::Http2,
            3 => NegotiatedProtocol::OnlyHttp2,
            _ => NegotiatedProtocol::Unknown,
        }
    }

    /// Remembers what the destination was found to speak.
    pub fn set_spoken(&self, spoken: NegotiatedProtocol) {
        self.spoken.store(spoken as u8, Ordering::Relaxed);
    }

    /// A place on a connection that has one.
    pub fn checkout(&self) -> Option<Stream> {
        let mut connections = lock(&self.shared.own().connections);
        loop {
            let with_room = connections.iter().position(|c| c.has_room())?;
            match connections[with_room].open_sender() {
                Some(sender) => return Some(Stream::on(&connections[with_room], sender)),
                None => drop(connections.remove(with_room)),
            }
        }
    }

    /// Shares a fresh connection; the first place on it is the caller's.
    pub fn add(&self, shareable: Shareable) -> Stream {
        let stream = Stream::alone(shareable);
        lock(&self.shared.own().connections).push(Arc::clone(&stream.connection));
        stream
    }

    /// Gives no more requests to the connection of this one: the upstream is leaving it.
    pub fn retire(&self, stream: &Stream) {
        lock(&self.shared.own().connections)
            .retain(|connection| !Arc::ptr_eq(connection, &stream.connection));
    }
}

impl Connection {
    fn has_room(&self) -> bool {
        let most = self.most.load(Ordering::Relaxed).clamp(1, STREAMS);
        self.streams.load(Ordering::Acquire) < most
    }

    fn is_worth_keeping(&self) -> bool {
        let is_used = self.streams.load(Ordering::Acquire) > 0;
        let is_young = is_used || lock(&self.quiet_since).elapsed() < IDLE_LIFE;
        is_young && self.open_sender().is_some()
    }

    /// A sender of its own for a request; none if the connection has ended or the upstream is
    /// leaving it.
    fn open_sender(&self) -> Option<SendRequest<Bytes>> {
        let mut sender = self.sender.clone();
        // A sender that has sent nothing has nothing to wait for.
        let ready = sender.poll_ready(&mut Context::from_waker(Waker::noop()));
        matches!(ready, Poll::Ready(Ok(()))).then_some(sender)
    }
}

/// A request's place on a shared connection, until its answer is through.
pub struct Stream {
    connection: Arc<Connection>,
    sender: SendRequest<Bytes>,
}

impl Stream {
    /// The only place on a fresh connection, which ends with it.
    pub fn alone(shareable: Shareable) -> Self {
        let connection = Arc::new(Connection {
            sender: shareable.sender,
            most: shareable.most,
            streams: shareable.streams,
            quiet_since: Mutex::new(Instant::now()),
        });
        let sender = connection.sender.clone();
        Self::on(&connection, sender)
    }

    fn on(connection: &Arc<Connection>, sender: SendRequest<Bytes>) -> Self {
        connection.streams.fetch_add(1, Ordering::AcqRel);
        Self {
            connection: Arc::clone(connection),
            sender,
        }
    }

    /// Takes the request.
    pub fn sender(&mut self) -> &mut SendRequest<Bytes> {
        &mut self.sender
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        *lock(&self.connection.quiet_since) = Instant::now();
        self.connection.streams.fetch_sub(1, Ordering::AcqRel);
    }
}

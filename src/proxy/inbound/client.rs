//! A client's connection.

use http::HeaderMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::Notify;

use crate::clock::unix_seconds;
use crate::error::Refusal;
use crate::identity::Caller;
use crate::ledger::Ledger;
use crate::proxy::context::{Proxy, Settings};
use crate::proxy::exchange::unread::Unread;
use crate::proxy::inbound::entry::{Entry, IDENTITY};
use crate::proxy::outbound::bound::BoundConnections;
use crate::proxy::runtime::signal::HeadSignal;
use crate::proxy::websocket::conversation::{Asker, Identify};

/// A client's connection, for its requests. Each request shares it, and nothing that other
/// connections hold as well: counting those who hold something is what cores wait for each other for.
pub struct Client {
    /// The proxy that serves it.
    pub proxy: Arc<Proxy>,
    /// Where its requests come in.
    pub entry: Entry,
    /// The service's end of its head guard.
    pub signal: HeadSignal,
    /// The body of the request that it sends now, over HTTP/1.1.
    pub unread: Unread,
    /// The upstream connections that belong to this one.
    pub bound: BoundConnections,
    /// A handle of its own on the usage record.
    pub ledger: Arc<Ledger>,
    /// The proxy takes no more requests.
    is_draining: AtomicBool,
    /// The next request should come on another connection.
    is_leaving: AtomicBool,
    /// A request has come.
    has_asked: AtomicBool,
    /// Told of the first one.
    first: Notify,
    /// How often one of its requests was given its turn.
    turns: AtomicU64,
}

impl Client {
    /// A connection that was just made.
    pub fn new(proxy: Arc<Proxy>, entry: Entry, signal: HeadSignal) -> Arc<Self> {
        let is_draining = AtomicBool::new(proxy.draining.is_cancelled());
        let is_leaving = AtomicBool::new(proxy.leaving.is_cancelled());
        Arc::new(Self {
            ledger: Arc::new(proxy.ledger.clone()),
            proxy,
            entry,
            signal,
            unread: Unread::default(),
            bound: BoundConnections::default(),
            is_draining,
            is_leaving,
            has_asked: AtomicBool::new(false),
            first: Notify::new(),
            turns: AtomicU64::new(0),
        })
    }

    /// Whether the proxy takes no more requests.
    pub fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::Relaxed)
    }

    /// Whether the next request should come on another connection, which another process accepts.
    pub fn is_leaving(&self) -> bool {
        self.is_leaving.load(Ordering::Relaxed)
    }

    /// A request has come.
    pub fn asked(&self) {
        if !self.has_asked.load(Ordering::Relaxed) {
            self.has_asked.store(true, Ordering::SeqCst);
            self.first.notify_waiters();
        }
    }

    /// Waits for the first request.
    pub async fn first_request(&self) {
        let first = self.first.notified();
        if !self.has_asked.load(Ordering::SeqCst) {
            first.await;
        }
    }

    /// A request gets its turn: it was woken. All of a connection is on one thread.
    pub fn begin_turn(&self) {
        let turn = self.turns.load(Ordering::Relaxed);
        self.turns.store(turn.wrapping_add(1), Ordering::Relaxed);
    }

    /// A number that changes with each turn.
    pub fn turns(&self) -> &AtomicU64 {
        &self.turns
    }

    /// Waits until another process takes over, or the proxy drains.
    pub async fn leave(&self) {
        // One of its own, as below.
        let leaving = self.proxy.leaving.child_token();
        leaving.cancelled().await;
        self.is_leaving.store(true, Ordering::Relaxed);
        self.signal.leave();
    }

    /// Waits until the proxy drains, and takes no more requests from then on.
    pub async fn drain(&self) {
        // One of its own: each time that it is asked it takes a lock, which all would wait for.
        let draining = self.proxy.draining.child_token();
        draining.cancelled().await;
        self.is_draining.store(true, Ordering::Relaxed);
        self.signal.drain();
    }
}

/// A client that has asked for a connection of another protocol, with what it showed.
pub struct Asking {
    client: Arc<Client>,
    /// The headers of the handshake that said who and what for.
    headers: HeaderMap,
    /// When it was asked for, unix seconds.
    since: i64,
}

impl Asking {
    /// Whoever sent these headers.
    pub fn of(client: &Arc<Client>, headers: &HeaderMap) -> Asker {
        let named = IDENTITY.into_iter().filter_map(|name| {
            let value = headers.get(&name)?.clone();
            Some((name, value))
        });
        Asker {
            identity: Box::new(Self {
                client: Arc::clone(client),
                headers: named.collect(),
                since: unix_seconds(),
            }),
            in_flight: client.signal.in_flight(),
        }
    }
}

impl Identify for Asking {
    fn caller(&self, settings: &Arc<Settings>) -> Result<Arc<Caller>, Refusal> {
        let Client { proxy, entry, .. } = &*self.client;
        entry.caller(settings, proxy, &self.headers)
    }

    fn first_caller(&self, settings: &Settings) -> Result<Caller, Refusal> {
        let entry = &self.client.entry;
        entry.caller_at(settings, &self.headers, self.since)
    }
}

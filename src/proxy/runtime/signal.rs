//! What the two ends of a client's connection tell each other: the guard that reads request heads,
//! and the service that answers them.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Context, Waker};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use crate::error::Refusal;
use crate::proxy::runtime::idle::Activity;
use crate::proxy::runtime::sync::lock;

/// How long a break in an answer waits for what came before it to be written.
const WRITTEN: Duration = Duration::from_secs(10);

/// Most bytes of interim answers that wait to be written; what comes beyond them is dropped.
const INTERIM_BYTES: usize = 64 * 1024;

/// What the guard found out about one head.
#[derive(Debug)]
pub struct HeadNote {
    /// Why the request cannot be served, if it cannot.
    pub refusal: Option<Box<Refusal>>,
    /// The head itself. None over HTTP/2, where no guard reads it.
    pub head: Option<RawHead>,
    /// To be kept until the answer has been written.
    pub in_flight: InFlight,
}

/// A head as it goes to the parser.
#[derive(Debug)]
pub struct RawHead {
    /// All of it.
    pub bytes: Bytes,
    /// How many header lines it has.
    pub lines: usize,
    /// A name in it is not written in small letters only.
    pub has_capitals: bool,
}

/// A request on its way through the proxy. While one lives, the connection is not idle, however
/// long the upstream takes.
#[derive(Debug)]
pub struct InFlight(Arc<Shared>);

impl InFlight {
    fn new(shared: &Arc<Shared>) -> Self {
        shared.in_flight.fetch_add(1, Ordering::AcqRel);
        shared.moved();
        Self(Arc::clone(shared))
    }

    /// Part of the answer is on its way to the client.
    pub fn moved(&self) {
        self.0.moved();
    }

    /// Completes once what was given to the connection before the first poll was written, or after a
    /// while in which it was not.
    pub fn written(&self) -> impl Future<Output = ()> + Send + 'static {
        let shared = Arc::clone(&self.0);
        async move {
            let mut flushed = std::pin::pin!(shared.flushed.notified());
            flushed.as_mut().enable();
            shared.is_flush_awaited.store(true, Ordering::Release);
            let _ = timeout(WRITTEN, flushed).await;
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.ended.touch();
        self.0.in_flight.fetch_sub(1, Ordering::SeqCst);
        if self.0.is_awaited.load(Ordering::SeqCst)
            && let Some(reader) = lock(&self.0.reader).take()
        {
            reader.wake();
        }
    }
}

/// The service's end of the guard.
#[derive(Clone, Debug, Default)]
pub struct HeadSignal(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    notes: Mutex<VecDeque<HeadNote>>,
    connect_refused: AtomicBool,
    /// What is wrong with the framing of the current body.
    broken: OnceLock<&'static str>,
    upgraded: AtomicBool,
    authenticated: AtomicBool,
    leaving: AtomicBool,
    draining: AtomicBool,
    in_flight: AtomicUsize,
    /// Counts requests and pieces of bodies, either way.
    moved: AtomicU64,
    /// A reader has waited for requests to end: its client has ended its side.
    is_awaited: AtomicBool,
    reader: Mutex<Option<Waker>>,
    /// When the last request ended.
    ended: Activity,
    /// Heads of interim answers, to be written to the client before the answer.
    interim: Mutex<BytesMut>,
    has_interim: AtomicBool,
    /// How many there were for the request under way.
    interim_count: AtomicUsize,
    /// Someone waits for `flushed`.
    is_flush_awaited: AtomicBool,
    /// All that was to be written to the client was.
    flushed: Notify,
}

impl HeadSignal {
    /// The note on the request that the service was just called with. `None` means that the head
    /// never went through the guard.
    pub fn take(&self) -> Option<HeadNote> {
        lock(&self.0.notes).pop_front()
    }

    /// Says that a CONNECT was refused, so that the next bytes are a head again.
    pub fn connect_refused(&self) {
        self.0.connect_refused.store(true, Ordering::Release);
    }

    /// Whether the service has said so since this was last asked.
    pub fn take_connect_refused(&self) -> bool {
        self.0.connect_refused.swap(false, Ordering::AcqRel)
    }

    /// Says that a request of the connection was authenticated.
    pub fn authenticated(&self) {
        self.0.authenticated.store(true, Ordering::Relaxed);
    }

    /// Whether one was.
    pub fn is_authenticated(&self) -> bool {
        self.0.authenticated.load(Ordering::Relaxed)
    }

    /// Says that another process has taken over.
    pub fn leave(&self) {
        self.0.leaving.store(true, Ordering::Relaxed);
    }

    /// Whether another process has taken over.
    pub fn is_leaving(&self) -> bool {
        self.0.leaving.load(Ordering::Relaxed)
    }

    /// Says that the proxy shuts down.
    pub fn drain(&self) {
        self.0.draining.store(true, Ordering::Relaxed);
    }

    /// Whether the proxy shuts down.
    pub fn is_draining(&self) -> bool {
        self.0.draining.load(Ordering::Relaxed)
    }

    /// Says that the framing of the current body is wrong, and why: the connection ends with it.
    pub fn broken(&self, reason: &'static str) {
        let _ = self.0.broken.set(reason);
    }

    /// What is wrong with the framing of the current body, if that is why it ended.
    pub fn broken_framing(&self) -> Option<&'static str> {
        self.0.broken.get().copied()
    }

    /// Says that what follows on this connection is no HTTP. The client hears of it after this.
    pub fn upgraded(&self) {
        self.0.upgraded.store(true, Ordering::Release);
    }

    /// Whether the connection has left HTTP.
    pub fn is_upgraded(&self) -> bool {
        self.0.upgraded.load(Ordering::Acquire)
    }

    /// Counts the interim answers from here on: a request begins.
    pub fn begin_interim(&self) {
        self.0.interim_count.store(0, Ordering::Relaxed);
    }

    /// The number of an interim answer among those to the same request, from 1.
    pub fn next_interim(&self) -> usize {
        self.0.interim_count.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Has the head of an interim answer written to the client, if the answer is not on its way by then.
    pub fn interim(&self, head: &[u8]) {
        let mut interim = lock(&self.0.interim);
        if interim.len() + head.len() <= INTERIM_BYTES {
            interim.extend_from_slice(head);
            self.0.has_interim.store(true, Ordering::Release);
        }
    }

    /// Whether heads wait to be written.
    pub fn has_interim(&self) -> bool {
        self.0.has_interim.load(Ordering::Acquire)
    }

    /// The heads that wait to be written.
    pub fn take_interim(&self) -> Option<Bytes> {
        if !self.has_interim() {
            return None;
        }
        self.0.has_interim.store(false, Ordering::Release);
        Some(std::mem::take(&mut *lock(&self.0.interim)).freeze())
    }

    /// Says that the connection has nothing left to write.
    pub fn flushed(&self) {
        if self.0.is_flush_awaited.load(Ordering::Acquire) {
            self.0.is_flush_awaited.store(false, Ordering::Release);
            self.0.flushed.notify_waiters();
        }
    }

    /// When the last request ended.
    pub fn last_end(&self) -> Instant {
        self.0.ended.last()
    }

    /// The note on a request that came over HTTP/2, whose framing leaves nothing to guard.
    pub fn unguarded(&self) -> HeadNote {
        HeadNote {
            refusal: None,
            head: None,
            in_flight: self.in_flight(),
        }
    }

    /// For work that continues after its request was answered.
    pub fn in_flight(&self) -> InFlight {
        InFlight::new(&self.0)
    }

    /// Part of a request's body has come.
    pub fn moved(&self) {
        self.0.moved();
    }

    /// How many requests are on their way, and a number that changes with everything that moves.
    pub fn progress(&self) -> (usize, u64) {
        let in_flight = self.0.in_flight.load(Ordering::Acquire);
        (in_flight, self.0.moved.load(Ordering::Relaxed))
    }

    /// Leaves a note for the service, in the order of the requests.
    pub fn note(&self, refusal: Option<Box<Refusal>>, head: Option<RawHead>) {
        let note = HeadNote {
            refusal,
            head,
            in_flight: InFlight::new(&self.0),
        };
        lock(&self.0.notes).push_back(note);
    }

    /// Whether a request is on its way.
    pub fn is_busy(&self) -> bool {
        self.0.in_flight.load(Ordering::Acquire) > 0
    }

    /// The same; `cx` is woken when it no longer is.
    pub fn is_busy_until_woken(&self, cx: &Context<'_>) -> bool {
        if !self.is_busy() {
            return false;
        }
        *lock(&self.0.reader) = Some(cx.waker().clone());
        self.0.is_awaited.store(true, Ordering::SeqCst);
        // Looked at again, because it may have ended before the waker was in its place.
        self.0.in_flight.load(Ordering::SeqCst) > 0
    }
}

impl Shared {
    /// Something moved. All of a connection is on one thread; where it was not, the number would
    /// change just as well.
    fn moved(&self) {
        let moved = self.moved.load(Ordering::Relaxed);
        self.moved.store(moved.wrapping_add(1), Ordering::Relaxed);
    }
}

/// Drops the notes that the service never took, about heads that the library refused. Each of them
/// owns a reference to the list that it is in.
pub struct Untaken(pub HeadSignal);

impl Drop for Untaken {
    fn drop(&mut self) {
        let notes = std::mem::take(&mut *lock(&self.0.0.notes));
        drop(notes);
    }
}

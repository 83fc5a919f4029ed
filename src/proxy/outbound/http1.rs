//! A connection to an upstream that takes one request at a time, driven by the exchange that uses it.
//!
//! The library's connection is a future that has to be polled. A task of its own would be woken
//! for each request and wake the client's task for each answer, which costs more than most requests
//! do otherwise. So the exchange polls it: as long as it waits for the answer or for more of the
//! answer's body, the connection's events wake the client's task itself.
//!
//! Two kinds of exchange give it a task ([`Connection::detach`]): an upload that streams continues
//! whether or not the client reads the answer meanwhile, and a connection that changes its protocol has
//! to outlive its request.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::Ordering::{AcqRel, Acquire, Release};
use std::sync::atomic::{AtomicBool, AtomicU8};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use hyper::client::conn::http1::SendRequest;
use tokio::task::{JoinHandle, unconstrained};
use tokio::time::timeout;

use crate::proxy::exchange::out_body::OutBody;
use crate::proxy::outbound::answer_first::Abort;
use crate::proxy::outbound::leftover::Leftover;
use crate::proxy::runtime::idle::LazyTimer;
use crate::proxy::runtime::sync::lock;

/// How often a connection that keeps itself busy is polled before others get their turn.
const TURNS: usize = 4;

/// How long a task that drives a connection may take to hand over what is left of it.
const HANDOVER: Duration = Duration::from_secs(1);

/// The library's connection, whatever it runs over, see [`drive`](super::leftover::drive).
pub type Driver = Pin<Box<dyn Future<Output = Option<Leftover>> + Send>>;

/// What drives a connection.
enum Driven {
    /// The exchange on it.
    Here(Driver),
    /// A task of its own.
    Elsewhere(JoinHandle<Option<Leftover>>),
    /// Nothing: it has ended.
    Ended(Option<Leftover>),
}

/// An HTTP/1.1 connection that takes one request at a time. Dropped, it is closed, because its
/// position in the stream of messages is unknown.
///
/// In a box, because each request moves it some twenty times on its way out of the pool and back.
pub struct Connection(Box<Parts>);

struct Parts {
    sender: SendRequest<OutBody>,
    driver: Driven,
    /// What is left of it is another protocol's.
    changes_protocol: Arc<AtomicBool>,
    signal: Arc<Signal>,
    /// The same, as the library wants it.
    waker: Waker,
    abort: Abort,
    /// Bounds the wait for each answer.
    timer: LazyTimer,
}

impl Connection {
    /// A connection of which nothing was polled yet.
    pub fn new(
        sender: SendRequest<OutBody>,
        driver: impl FnOnce(Arc<AtomicBool>) -> Driver,
        abort: Abort,
    ) -> Self {
        let changes_protocol = Arc::default();
        let signal = Arc::new(Signal {
            user: Mutex::new(None),
            state: AtomicU8::new(WOKEN),
        });
        Self(Box::new(Parts {
            sender,
            driver: Driven::Here(driver(Arc::clone(&changes_protocol))),
            changes_protocol,
            waker: Waker::from(Arc::clone(&signal)),
            signal,
            abort,
            timer: LazyTimer::default(),
        }))
    }

    /// Bounds the wait for an answer.
    pub fn timer(&mut self) -> &mut LazyTimer {
        &mut self.0.timer
    }

    /// Set, it has the connection end in a reset.
    pub fn abort(&self) -> &Abort {
        &self.0.abort
    }

    /// Takes requests.
    pub fn sender(&mut self) -> &mut SendRequest<OutBody> {
        &mut self.0.sender
    }

    /// Does what there is to do; `cx` is woken when there is more.
    fn drive(&mut self, cx: &mut Context<'_>) {
        let _ = self.poll_with(cx, |_| Poll::<()>::Pending);
    }

    /// Polls what comes from the connection, once that has done what there is to do; `cx` is woken
    /// when there is more.
    ///
    /// Answers and bodies come to light by this call alone, so they are polled without a waker.
    pub fn poll_with<T>(
        &mut self,
        cx: &mut Context<'_>,
        poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        if matches!(self.0.driver, Driven::Here(_)) {
            self.0.signal.tell(cx.waker());
        }
        self.take_turns(cx, poll)
    }

    /// The connection and what comes from it in turn, until neither has more to do.
    fn take_turns<T>(
        &mut self,
        cx: &mut Context<'_>,
        mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        let parts = &mut *self.0;
        let Driven::Here(driver) = &mut parts.driver else {
            return poll(cx);
        };
        // What either wakes the connection for is done in the next turn, and needs no other task.
        parts.signal.enter();
        for _ in 0..TURNS {
            if parts.signal.take() {
                let polled = driver.as_mut().poll(&mut Context::from_waker(&parts.waker));
                if let Poll::Ready(left) = polled {
                    parts.driver = Driven::Ended(left);
                    return poll(cx);
                }
            }
            let unwoken = &mut Context::from_waker(Waker::noop());
            // Out of turn: a task that has done much already would be told to come back later, and
            // nothing would tell it when.
            let polled = pin!(unconstrained(poll_fn(&mut poll))).poll(unwoken);
            if polled.is_ready() {
                parts.signal.leave();
                return polled;
            }
            if !parts.signal.is_woken() {
                break;
            }
        }
        if parts.signal.leave() {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    /// Waits until it takes a request; false if it never will again.
    pub async fn ready(&mut self) -> bool {
        poll_fn(|cx| {
            self.drive(cx);
            if self.0.sender.is_closed() {
                return Poll::Ready(false);
            }
            self.0.sender.poll_ready(cx).map(|ready| ready.is_ok())
        })
        .await
    }

    /// Nobody uses it for now. Events are still noted, for [`Connection::is_open`].
    pub fn rest(&mut self) {
        lock(&self.0.signal.user).take();
    }

    /// Whether it can be used again, as far as events have come that say otherwise.
    pub fn is_open(&mut self) -> bool {
        if self.0.signal.is_woken() {
            let nobody = &mut Context::from_waker(Waker::noop());
            let _ = self.take_turns(nobody, |_| Poll::<()>::Pending);
        }
        !self.0.sender.is_closed()
    }

    /// Has it driven by a task of its own from now on. It ends when this value is dropped, or what
    /// it became does.
    pub fn detach(&mut self) {
        self.0.driver = match std::mem::replace(&mut self.0.driver, Driven::Ended(None)) {
            Driven::Here(driver) => Driven::Elsewhere(tokio::spawn(driver)),
            driver => driver,
        };
    }

    /// The same, for a request that changes the protocol: what is left when the library has read the
    /// answer is not HTTP.
    pub fn detach_for_upgrade(&mut self) {
        self.0.changes_protocol.store(true, Release);
        self.detach();
    }

    /// What is left of it once the library has ended it, see [`drive`](super::leftover::drive).
    pub async fn leftover(&mut self) -> Option<Leftover> {
        match std::mem::replace(&mut self.0.driver, Driven::Ended(None)) {
            Driven::Here(_) => None,
            Driven::Elsewhere(task) => timeout(HANDOVER, task).await.ok()?.ok()?,
            Driven::Ended(left) => left,
        }
    }
}

/// The connection has something to do.
const WOKEN: u8 = 1;
/// Its user is about to see to that, and looks again afterwards.
const ENTERED: u8 = 2;

/// Notes that the connection has something to do, and wakes the exchange that uses it.
///
/// Both notes are in one place, so that each change of one is seen in order with those of the other:
/// who wakes a connection either sees that its user is at it, or the user sees it woken.
struct Signal {
    user: Mutex<Option<Waker>>,
    state: AtomicU8,
}

impl Signal {
    /// Whom to tell from now on.
    fn tell(&self, waker: &Waker) {
        let mut user = lock(&self.user);
        if !user.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *user = Some(waker.clone());
        }
    }

    /// The user is at it and need not be told.
    fn enter(&self) {
        self.state.fetch_or(ENTERED, AcqRel);
    }

    /// The user looks no more; returns whether there is something to do.
    fn leave(&self) -> bool {
        self.state.fetch_and(!ENTERED, AcqRel) & WOKEN != 0
    }

    fn is_woken(&self) -> bool {
        self.state.load(Acquire) & WOKEN != 0
    }

    /// Takes the note away that there is something to do, to see to it.
    fn take(&self) -> bool {
        self.is_woken() && self.state.swap(ENTERED, AcqRel) & WOKEN != 0
    }
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Woken before: the exchange was told already, or will look.
        if self.state.fetch_or(WOKEN, AcqRel) != 0 {
            return;
        }
        let user = lock(&self.user).take();
        if let Some(user) = user {
            user.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::sync::atomic::Ordering::SeqCst;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, SeqCst);
        }
    }

    /// A connection whose driver is this function, called with its waker.
    async fn connection(
        mut poll: impl FnMut(&mut Context<'_>) -> Poll<Option<Leftover>> + Send + 'static,
    ) -> Connection {
        let (stream, _other) = tokio::io::duplex(64);
        let io = hyper_util::rt::TokioIo::new(stream);
        let (sender, _connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
        Connection::new(
            sender,
            |_| Box::pin(poll_fn(move |cx| poll(cx))),
            Abort::default(),
        )
    }

    #[tokio::test]
    async fn only_a_connection_with_something_to_do_is_polled() {
        let polls = Arc::new(Count::default());
        let (counted, seen) = (Arc::clone(&polls), Arc::new(Mutex::new(None)));
        let kept = Arc::clone(&seen);
        let mut connection = connection(move |cx| {
            counted.0.fetch_add(1, SeqCst);
            *lock(&kept) = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
        let user = Arc::new(Count::default());
        let waker = Waker::from(Arc::clone(&user));
        let mut cx = Context::from_waker(&waker);
        connection.drive(&mut cx);
        connection.drive(&mut cx);
        assert_eq!((polls.0.load(SeqCst), user.0.load(SeqCst)), (1, 0));
        let event: Waker = lock(&seen).take().unwrap();
        event.wake_by_ref();
        assert_eq!(user.0.load(SeqCst), 1, "the user is told");
        connection.drive(&mut cx);
        assert_eq!(polls.0.load(SeqCst), 2);
        connection.rest();
        event.wake();
        assert_eq!(user.0.load(SeqCst), 1, "nobody uses it");
        assert!(connection.0.signal.is_woken(), "and yet it is noted");
    }

    #[tokio::test]
    async fn what_wakes_itself_is_polled_again_within_bounds() {
        let polls = Arc::new(Count::default());
        let counted = Arc::clone(&polls);
        let mut connection = connection(move |cx| {
            counted.0.fetch_add(1, SeqCst);
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
        let user = Arc::new(Count::default());
        let waker = Waker::from(Arc::clone(&user));
        connection.drive(&mut Context::from_waker(&waker));
        assert_eq!(polls.0.load(SeqCst), TURNS);
        assert_eq!(user.0.load(SeqCst), 1, "others first, then again");
    }

    #[tokio::test]
    async fn an_answer_is_seen_however_much_its_task_has_done() {
        let mut connection = connection(|_| Poll::Pending).await;
        let (answer, mut answered) = tokio::sync::oneshot::channel();
        answer.send(7).unwrap();
        let seen = poll_fn(move |cx| {
            while pin!(tokio::task::consume_budget()).poll(cx).is_ready() {}
            Poll::Ready(connection.poll_with(cx, |cx| Pin::new(&mut answered).poll(cx)))
        });
        assert_eq!(tokio::spawn(seen).await.unwrap(), Poll::Ready(Ok(7)));
    }
}

//! Handshakes take turns, and requests go first.
//!
//! A step of a TLS handshake (a key exchange, a signature, a chain to verify) keeps a worker ten
//! times as long as a request does. Left to themselves, the steps of a thousand handshakes that
//! begin at once fill the worker's queue, and every request waits for all of them. So they
//! wait in a line of their own, and have a step or two before the worker looks at its sockets again
//! and serves what is ready there.
//!
//! Where others had the worker for as long as handshakes did, the next step is taken without such a
//! look. So is that of a handshake which comes alone.

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use tokio::task::yield_now;

use crate::proxy::runtime::sync::lock;

/// How long handshakes may run before the sockets are polled again: a step or two.
const BUDGET: Duration = Duration::from_micros(300);

thread_local! {
    static OWN: Arc<HandshakePacer> = Arc::new(HandshakePacer::new(Instant::now));
}

/// Drives a handshake, a step at a time, each when the calling worker's line comes to it. While it
/// waits for the other side it is not in the line. Its first step gives way for `patience` to those
/// that come meanwhile.
pub async fn paced<F: Future + Unpin>(handshake: F, patience: Duration) -> F::Output {
    OWN.with(Arc::clone).pace(handshake, patience).await
}

/// Where the handshakes of one worker wait.
struct HandshakePacer {
    queue: Mutex<Queue>,
    now: fn() -> Instant,
}

/// When it is due, and a number that no other place has.
type Position = (Instant, u64);

struct Queue {
    /// Whose turn it is.
    called: Option<Position>,
    /// Who else is there, and how they are told.
    waiting: BTreeMap<Position, Option<Waker>>,
    /// The number of the next to come.
    next: u64,
    /// Until then the worker's time is others'. Never further ahead than the last step was long.
    owed_until: Instant,
}

impl HandshakePacer {
    fn new(now: fn() -> Instant) -> Self {
        let queue = Queue {
            called: None,
            waiting: BTreeMap::new(),
            next: 0,
            owed_until: now(),
        };
        Self {
            queue: Mutex::new(queue),
            now,
        }
    }

    async fn pace<F: Future + Unpin>(&self, mut handshake: F, patience: Duration) -> F::Output {
        let mut patience = Some(patience);
        loop {
            let turn = self.turn(patience.take().unwrap_or_default()).await;
            let step = poll_fn(|cx| Poll::Ready(Pin::new(&mut handshake).poll(cx))).await;
            drop(turn);
            match step {
                Poll::Ready(output) => return output,
                Poll::Pending => woken().await,
            }
        }
    }

    /// Waits for a turn, which lasts until the result is dropped.
    async fn turn(&self, patience: Duration) -> Turn<'_> {
        let mut turn = Turn::new(self, patience);
        poll_fn(|cx| turn.poll_called(cx.waker())).await;
        if !self.has_time() {
            // Continues after everything that the sockets have woken.
            yield_now().await;
            lock(&self.queue).looked((self.now)());
        }
        turn.begun = Some((self.now)());
        turn
    }

    fn has_time(&self) -> bool {
        lock(&self.queue).owed_until <= (self.now)()
    }
}

/// A place in the line, and the turn that it leads to.
struct Turn<'a> {
    pacer: &'a HandshakePacer,
    place: Position,
    begun: Option<Instant>,
}

impl<'a> Turn<'a> {
    fn new(pacer: &'a HandshakePacer, patience: Duration) -> Self {
        let due = (pacer.now)() + patience;
        let place = lock(&pacer.queue).join(due);
        Self {
            pacer,
            place,
            begun: None,
        }
    }

    fn poll_called(&self, waker: &Waker) -> Poll<()> {
        let mut queue = lock(&self.pacer.queue);
        if queue.called == Some(self.place) {
            return Poll::Ready(());
        }
        queue.waiting.insert(self.place, Some(waker.clone()));
        Poll::Pending
    }
}

impl Drop for Turn<'_> {
    /// Also of one who has not waited to the end.
    fn drop(&mut self) {
        let mut queue = lock(&self.pacer.queue);
        if let Some(begun) = self.begun {
            queue.charge(begun, (self.pacer.now)());
        }
        let called = queue.leave(self.place);
        drop(queue);
        if let Some(waker) = called {
            waker.wake();
        }
    }
}

impl Queue {
    fn join(&mut self, due: Instant) -> Position {
        let place = (due, self.next);
        self.next += 1;
        match self.called {
            None => self.called = Some(place),
            Some(_) => {
                self.waiting.insert(place, None);
            }
        }
        place
    }

    /// Returns who is to be woken, because it is called now.
    fn leave(&mut self, place: Position) -> Option<Waker> {
        if self.called != Some(place) {
            self.waiting.remove(&place);
            return None;
        }
        let (called, waker) = self.waiting.pop_first().unzip();
        self.called = called;
        waker?
    }

    /// What was ready has been served.
    fn looked(&mut self, now: Instant) {
        self.owed_until = now.checked_sub(BUDGET).unwrap_or(now);
    }

    /// Others are to have as long as this step took. That they had longer before counts up to a point.
    fn charge(&mut self, begun: Instant, ended: Instant) {
        let took = ended.saturating_duration_since(begun);
        let had = begun.checked_sub(BUDGET).unwrap_or(begun);
        let until = self.owed_until.max(had) + 2 * took;
        self.owed_until = until.min(ended + took);
    }
}

/// Waits for whatever the last poll has arranged to be woken by.
async fn woken() {
    let mut has_waited = false;
    poll_fn(|_| {
        if std::mem::replace(&mut has_waited, true) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::pending;
    use std::pin::pin;
    use std::sync::LazyLock;
    use std::task::Context;

    use tokio::io::AsyncReadExt as _;
    use tokio::net::UnixStream;
    use tokio::task::{JoinSet, LocalSet};

    use super::*;

    const MILLISECOND: Duration = Duration::from_millis(1);

    thread_local! {
        static CLOCK: Cell<Duration> = const { Cell::new(Duration::ZERO) };
    }

    /// A clock that advances only when it is told to.
    fn now() -> Instant {
        static START: LazyLock<Instant> = LazyLock::new(Instant::now);
        *START + Duration::from_secs(60) + CLOCK.get()
    }

    fn pass(time: Duration) {
        CLOCK.set(CLOCK.get() + time);
    }

    /// A handshake whose other side answers at once. Each step takes a millisecond.
    async fn handshake(steps: usize, mut step: impl FnMut()) {
        for _ in 0..steps {
            pass(MILLISECOND);
            step();
            let mut has_answered = false;
            poll_fn(|cx| {
                cx.waker().wake_by_ref();
                if std::mem::replace(&mut has_answered, true) {
                    Poll::Ready(())
                } else {
                    Poll::Pending
                }
            })
            .await;
        }
    }

    #[tokio::test]
    async fn each_in_turn() {
        let pacer = HandshakePacer::new(now);
        let order = &Mutex::new(Vec::new());
        let one = |name| {
            let steps = handshake(3, move || lock(order).push(name));
            pacer.pace(Box::pin(steps), Duration::ZERO)
        };
        tokio::join!(one('a'), one('b'), one('c'));
        let order: String = lock(order).iter().collect();
        assert_eq!(order, "abcabcabc");
    }

    /// As each step makes a socket ready, each has to find that what the one before it sent was read.
    async fn find_what_was_sent_read(pacer: Arc<HandshakePacer>) -> bool {
        let (near, mut far) = UnixStream::pair().unwrap();
        let near = Arc::new(near);
        let unread = Arc::new(Mutex::new((0, 0)));
        let counted = Arc::clone(&unread);
        let reader = tokio::task::spawn_local(async move {
            while far.read_u8().await.is_ok() {
                lock(&counted).0 -= 1;
            }
        });
        let mut handshakes = JoinSet::new();
        for _ in 0..20 {
            let (pacer, unread) = (Arc::clone(&pacer), Arc::clone(&unread));
            let near = Arc::clone(&near);
            near.writable().await.unwrap();
            let send = move || {
                let mut unread = lock(&unread);
                unread.1 = unread.1.max(unread.0);
                assert_eq!(near.try_write(b".").unwrap(), 1);
                unread.0 += 1;
            };
            handshakes.spawn_local(async move {
                let steps = Box::pin(handshake(2, send));
                pacer.pace(steps, Duration::ZERO).await;
            });
        }
        handshakes.join_all().await;
        drop(near);
        reader.await.unwrap();
        lock(&unread).1 == 0
    }

    #[tokio::test]
    async fn between_two_steps_what_is_ready_is_served() {
        let served = find_what_was_sent_read(Arc::new(HandshakePacer::new(now)));
        assert!(LocalSet::new().run_until(served).await);
    }

    #[tokio::test]
    async fn what_waits_for_the_other_side_holds_nobody_up() {
        let pacer = HandshakePacer::new(now);
        let mut silent = pin!(pacer.pace(pending::<()>(), Duration::ZERO));
        let mut cx = Context::from_waker(Waker::noop());
        assert!(silent.as_mut().poll(&mut cx).is_pending());
        let other = Box::pin(handshake(3, || ()));
        pacer.pace(other, Duration::ZERO).await;
    }

    #[tokio::test]
    async fn whoever_leaves_is_passed_over() {
        let pacer = HandshakePacer::new(now);
        let first = pacer.turn(Duration::ZERO).await;
        let mut rest: Vec<_> = (0..4)
            .map(|_| Box::pin(pacer.turn(Duration::ZERO)))
            .collect();
        let mut cx = Context::from_waker(Waker::noop());
        for waiting in &mut rest {
            assert!(waiting.as_mut().poll(&mut cx).is_pending());
        }
        let last = rest.pop().unwrap();
        drop(rest.remove(1));
        drop(first);
        // Called, and gone before it came.
        drop(rest.remove(0));
        drop(rest.remove(0).await);
        drop(last.await);
        assert!(lock(&pacer.queue).called.is_none());
    }

    #[tokio::test]
    async fn who_has_patience_gives_way_for_so_long() {
        let pacer = HandshakePacer::new(now);
        let order = &Mutex::new(Vec::new());
        let one = |name, patience| {
            let steps = handshake(1, move || lock(order).push(name));
            pacer.pace(Box::pin(steps), patience)
        };
        let held = pacer.turn(Duration::ZERO).await;
        let later = async {
            pass(2 * MILLISECOND);
            let late = one('d', Duration::ZERO);
            let end = async { drop(held) };
            tokio::join!(late, end);
        };
        tokio::join!(
            one('a', MILLISECOND),
            one('b', 3 * MILLISECOND),
            one('c', Duration::ZERO),
            later
        );
        let order: String = lock(order).iter().collect();
        assert_eq!(order, "cadb");
    }

    #[test]
    fn handshakes_have_up_to_half_of_a_busy_workers_time() {
        const STEP: Duration = Duration::from_micros(200);
        let pacer = HandshakePacer::new(now);
        let step = || {
            let begun = now();
            pass(STEP);
            lock(&pacer.queue).charge(begun, now());
        };
        let spree = || {
            let mut steps = 0;
            while pacer.has_time() {
                step();
                steps += 1;
            }
            steps * STEP
        };
        assert_eq!(spree(), STEP, "others have had nothing yet");
        for others in [1, 2, 10] {
            pass(others * MILLISECOND / 2);
            let most = (others * MILLISECOND / 2).min(BUDGET);
            let had = spree();
            assert!(
                had + STEP >= most && had <= most + 2 * STEP,
                "{others}: {had:?}"
            );
        }
        lock(&pacer.queue).looked(now());
        let had = spree();
        assert!(had + STEP >= BUDGET && had <= BUDGET + STEP, "{had:?}");
        // Steps that were taken after a look at the sockets do not add up.
        spree();
        (0..100).for_each(|_| step());
        pass(STEP);
        assert!(pacer.has_time());
    }
}

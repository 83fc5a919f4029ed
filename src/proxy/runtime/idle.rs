//! Silence on a connection: how long it has lasted, and when it has lasted too long.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::thread::{self, ThreadId};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// When bytes last moved. Shared between the side that moves them and the side that waits.
#[derive(Debug)]
pub struct Activity {
    origin: Instant,
    last_ms: AtomicU64,
}

impl Activity {
    /// Something moved just now.
    pub fn new() -> Self {
        Self {
            origin: Instant::now(),
            last_ms: AtomicU64::new(0),
        }
    }

    /// Bytes moved.
    pub fn touch(&self) {
        let elapsed = u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_ms.store(elapsed, Ordering::Relaxed);
    }

    /// When bytes last moved.
    pub fn last(&self) -> Instant {
        self.origin + Duration::from_millis(self.last_ms.load(Ordering::Relaxed))
    }

    /// Completes once nothing has moved for `idle`.
    pub async fn silence(&self, idle: Duration) {
        loop {
            let until = self.last() + idle;
            if Instant::now() >= until {
                return;
            }
            sleep_until(until).await;
        }
    }
}

impl Default for Activity {
    fn default() -> Self {
        Self::new()
    }
}

/// A timer for deadlines of which nearly all move away before they come. To set one costs more than to look
/// at one: so it is left as it is, and set again when it fires too early.
///
/// A timer belongs to the runtime of the thread that set it, and each worker has a runtime of its own: asked
/// from another thread, it is set there.
#[derive(Debug, Default)]
pub struct LazyTimer(Option<(ThreadId, Pin<Box<Sleep>>)>);

impl LazyTimer {
    /// Whether it is `due` now; if not, `cx` is woken by then, or earlier.
    pub fn poll_due(&mut self, cx: &mut Context<'_>, due: impl Fn() -> Instant) -> Poll<()> {
        let here = thread::current().id();
        self.0 = self.0.take().filter(|(thread, _)| *thread == here);
        loop {
            let until = due();
            let new = || (here, Box::pin(sleep_until(until)));
            let (_, timer) = self.0.get_or_insert_with(new);
            if until < timer.deadline() {
                timer.as_mut().reset(until);
            }
            ready!(timer.as_mut().poll(cx));
            if until <= Instant::now() {
                return Poll::Ready(());
            }
            timer.as_mut().reset(until);
        }
    }
}

/// A deadline that moves with every sign of life. Costs nothing while bytes flow.
#[derive(Debug)]
pub struct IdleTimer {
    limit: Duration,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl IdleTimer {
    /// A timer that fires after `limit` of silence.
    pub fn new(limit: Duration) -> Self {
        Self { limit, sleep: None }
    }

    /// Bytes moved.
    pub fn reset(&mut self) {
        self.sleep = None;
    }

    /// Nothing moved: has it been so for too long?
    pub fn poll_expired(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let limit = self.limit;
        self.sleep
            .get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + limit)))
            .as_mut()
            .poll(cx)
    }
}

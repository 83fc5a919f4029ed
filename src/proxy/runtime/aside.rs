//! A future beside a busy one: polled only when it was itself woken.
//!
//! Whoever waits for either of two polls both each time that one of them is woken. A connection is
//! woken several times for each request, and waits for the end of the proxy besides, which takes locks to
//! ask for.

use std::pin::Pin;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Release};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use crate::proxy::runtime::sync::lock;

/// See the module.
pub struct Aside<F> {
    future: F,
    bell: Arc<Bell>,
    /// The same, as the future wants it.
    waker: Waker,
    /// Whom the bell wakes: as a rule the same from the first poll on.
    told: Option<Waker>,
}

struct Bell {
    has_rung: AtomicBool,
    user: Mutex<Option<Waker>>,
}

impl<F: Future + Unpin> Aside<F> {
    /// Of a future that was not polled yet.
    pub fn new(future: F) -> Self {
        let bell = Arc::new(Bell {
            has_rung: AtomicBool::new(true),
            user: Mutex::new(None),
        });
        Self {
            future,
            waker: Waker::from(Arc::clone(&bell)),
            bell,
            told: None,
        }
    }
}

impl<F: Future + Unpin> Future for Aside<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let aside = &mut *self;
        if !aside
            .told
            .as_ref()
            .is_some_and(|told| told.will_wake(cx.waker()))
        {
            aside.told = Some(cx.waker().clone());
            *lock(&aside.bell.user) = Some(cx.waker().clone());
        }
        // Looked at after the user is in its place: who rings later wakes it.
        if !aside.bell.has_rung.load(Acquire) || !aside.bell.has_rung.swap(false, AcqRel) {
            return Poll::Pending;
        }
        Pin::new(&mut aside.future).poll(&mut Context::from_waker(&aside.waker))
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.has_rung.store(true, Release);
        let user = lock(&self.user).clone();
        if let Some(user) = user {
            user.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
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

    #[test]
    fn it_is_polled_when_it_was_woken_and_wakes_who_waits_last() {
        let (sender, mut receiver) = tokio::sync::oneshot::channel::<u8>();
        let polls = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&polls);
        let future = poll_fn(move |cx| {
            counted.fetch_add(1, SeqCst);
            Pin::new(&mut receiver).poll(cx)
        });
        let mut aside = Aside::new(future);
        let (first, last) = (Arc::new(Count::default()), Arc::new(Count::default()));
        for user in [&first, &first, &last] {
            let waker = Waker::from(Arc::clone(user));
            let polled = Pin::new(&mut aside).poll(&mut Context::from_waker(&waker));
            assert!(polled.is_pending());
        }
        assert_eq!(polls.load(SeqCst), 1);
        sender.send(7).expect("a receiver");
        assert_eq!((first.0.load(SeqCst), last.0.load(SeqCst)), (0, 1));
        let waker = Waker::from(last);
        let polled = Pin::new(&mut aside).poll(&mut Context::from_waker(&waker));
        assert_eq!(polled, Poll::Ready(Ok(7)));
        assert_eq!(polls.load(SeqCst), 2);
    }
}

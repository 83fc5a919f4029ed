//! A client that waits for leave to send its body (`Expect: 100-continue`, RFC 9110 section 10.1.1).
//!
//! Where a body is passed on as it comes, the question is passed on too: an upstream that redirects, or
//! refuses the request by its head, spares the upload. The body is not asked for before the upstream has
//! said 100, or has said nothing for a while, as one does that does not know of the question. Where Egret
//! reads the body before it decides, it gives the leave itself.

use std::future::Future as _;
use std::pin::Pin;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use http::request::Parts;
use http::{Version, header};
use tokio::time::{Sleep, sleep};

use crate::proxy::exchange::leave::Leave;
use crate::proxy::runtime::sync::lock;

/// How long the upstream may take to say 100. Most clients wait a second and then send the body unasked.
const PATIENCE: Duration = Duration::from_secs(2);

/// Whether the client waits for leave to send its body. In HTTP/1.0 there is no such leave (RFC 9110
/// section 10.1.1).
pub fn is_expected(head: &Parts) -> bool {
    if head.version == Version::HTTP_2 {
        return head.extensions.get::<Leave>().is_some();
    }
    let expect = head.headers.get(header::EXPECT);
    head.version == Version::HTTP_11
        && expect.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

const WAITING: u8 = 0;
const MET: u8 = 1;
const ANSWERED: u8 = 2;

/// Whether the body may be asked for.
#[derive(Debug, Default)]
pub struct Expectation {
    state: AtomicU8,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    timer: Option<Pin<Box<Sleep>>>,
    body: Option<Waker>,
}

impl Expectation {
    /// The upstream asks for the body.
    pub fn meet(&self) {
        self.leave_waiting(MET);
    }

    /// The answer is here. If it came first, the body is not asked for any more.
    pub fn answered(&self) {
        self.leave_waiting(ANSWERED);
    }

    fn leave_waiting(&self, next: u8) {
        let (success, failure) = (Ordering::AcqRel, Ordering::Acquire);
        let left = self.state.compare_exchange(WAITING, next, success, failure);
        if left.is_ok()
            && let Some(body) = lock(&self.waiting).body.take()
        {
            body.wake();
        }
    }

    /// Whether the body may be asked for.
    pub fn is_met(&self) -> bool {
        self.state.load(Ordering::Acquire) == MET
    }

    /// Ready when the body may be asked for.
    pub fn poll_met(&self, cx: &mut Context<'_>) -> Poll<()> {
        {
            let mut waiting = lock(&self.waiting);
            waiting.body = Some(cx.waker().clone());
            match self.state.load(Ordering::Acquire) {
                MET => return Poll::Ready(()),
                ANSWERED => return Poll::Pending,
                _ => {}
            }
            let timer = waiting
                .timer
                .get_or_insert_with(|| Box::pin(sleep(PATIENCE)));
            ready!(timer.as_mut().poll(cx));
        }
        self.meet();
        Poll::Ready(())
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    async fn is_met_at_once(expectation: &Expectation) -> bool {
        poll_fn(|cx| Poll::Ready(expectation.poll_met(cx).is_ready())).await
    }

    #[tokio::test]
    async fn the_body_waits_for_leave_or_for_its_time() {
        let expectation = Expectation::default();
        assert!(!is_met_at_once(&expectation).await);
        expectation.meet();
        expectation.answered();
        assert!(is_met_at_once(&expectation).await && expectation.is_met());
        let expectation = Expectation::default();
        poll_fn(|cx| expectation.poll_met(cx)).await;
        assert!(expectation.is_met());
    }

    #[tokio::test]
    async fn an_answer_that_comes_first_is_the_end() {
        let expectation = Expectation::default();
        expectation.answered();
        expectation.meet();
        let met = tokio::time::timeout(
            PATIENCE + PATIENCE / 2,
            poll_fn(|cx| expectation.poll_met(cx)),
        );
        assert!(met.await.is_err());
        assert!(!expectation.is_met());
    }
}

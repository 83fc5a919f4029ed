//! A client that has ended its side of the connection while it is owed an answer.
//!
//! It may have sent all that it has to send (`printf … | nc`), or it may have gone. TCP says the same
//! in both cases, until something is written: a client that has gone answers that with a reset, and
//! the next write fails. So interim responses are written, which every HTTP/1.1 client has to skip
//! (RFC 9110 section 15.2), and none is once the answer has begun.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::AsyncWrite;
use tokio::time::{Instant, Sleep, sleep_until};

/// How long the next piece of an answer is waited for at most.
const PATIENCE: Duration = Duration::from_secs(10);

/// When the first interim response is written, and when the next: in between its reset arrives.
const FIRST_PROBE: Duration = Duration::from_millis(400);
const NEXT_PROBE: Duration = Duration::from_millis(300);
const PROBES: u8 = 2;
const PROBE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// See the module.
pub struct HalfClosed {
    until: Instant,
    timer: Pin<Box<Sleep>>,
    probes: u8,
}

impl HalfClosed {
    /// The client has just ended its side.
    pub fn begin() -> Self {
        let now = Instant::now();
        Self {
            until: now + PATIENCE,
            timer: Box::pin(sleep_until(now + FIRST_PROBE)),
            probes: 0,
        }
    }

    /// Part of the answer was written, and did not fail.
    pub fn progress(&mut self) {
        self.until = Instant::now() + PATIENCE;
    }

    /// Ready when the client has gone, or has waited for too long. An interim response is written
    /// only if `may_probe`.
    pub fn poll_gone<W: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        io: &mut W,
        may_probe: bool,
    ) -> Poll<()> {
        loop {
            ready!(self.timer.as_mut().poll(cx));
            let now = Instant::now();
            if now >= self.until {
                return Poll::Ready(());
            }
            if !may_probe || self.probes == PROBES {
                self.timer.as_mut().reset(self.until);
                continue;
            }
            let written = ready!(Pin::new(&mut *io).poll_write(cx, PROBE));
            if written.is_err() || written.is_ok_and(|count| count < PROBE.len()) {
                return Poll::Ready(());
            }
            self.probes += 1;
            self.timer.as_mut().reset(now + NEXT_PROBE);
            if let Poll::Ready(Err(_)) = Pin::new(&mut *io).poll_flush(cx) {
                return Poll::Ready(());
            }
        }
    }
}

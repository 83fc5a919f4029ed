//! Until when the guard waits for a request.

use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::{HeadGuard, State};

/// How long a client says nothing before its connection is closed where another process has taken over.
/// One that asks within this time learns from the answer that the connection ends.
const NOTICE: Duration = Duration::from_secs(5);

impl<S> HeadGuard<S> {
    /// The deadline of what we wait for: only heads have one, bodies and tunnels have theirs where
    /// they are consumed. None while a request is on its way.
    fn deadline(&mut self) -> Option<Instant> {
        if self.signal.is_busy() {
            return None;
        }
        Some(if self.raw.is_empty() {
            let quiet = self.signal.last_end() + self.quiet_timeout();
            self.end_of_notice().map_or(quiet, |end| end.min(quiet))
        } else {
            *self.head_since.get_or_insert_with(Instant::now) + self.limits.head_timeout
        })
    }

    fn quiet_timeout(&self) -> Duration {
        if self.signal.is_authenticated() {
            self.limits.idle_timeout
        } else {
            self.limits.first_timeout
        }
    }

    /// Until when the client may begin another request where another process has taken over. A new
    /// connection is served its first one, which a client does not send again.
    fn end_of_notice(&mut self) -> Option<Instant> {
        if !self.has_asked || !self.signal.is_leaving() {
            return None;
        }
        let since = *self.leaving_since.get_or_insert_with(Instant::now);
        Some(since.max(self.signal.last_end()) + NOTICE)
    }

    /// Waits for the deadline. It moves away with every request, and setting a timer costs more than
    /// looking at one: so the timer is left as it is, and set again when it fires too early.
    pub(super) fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.state != State::Head {
            return Poll::Pending;
        }
        loop {
            let due = self.deadline();
            let quiet = self.quiet_timeout();
            let later = || Instant::now() + quiet;
            let timer = self
                .timer
                .get_or_insert_with(|| Box::pin(sleep_until(due.unwrap_or_else(later))));
            if let Some(due) = due.filter(|due| *due < timer.deadline()) {
                timer.as_mut().reset(due);
            }
            ready!(timer.as_mut().poll(cx));
            match due {
                Some(due) if due <= Instant::now() => return Poll::Ready(()),
                due => timer.as_mut().reset(due.unwrap_or_else(later)),
            }
        }
    }
}

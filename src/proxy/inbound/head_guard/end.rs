//! How a connection ends: by the client, or by us while the client still sends.

use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite};

use super::{HeadGuard, State};
use crate::proxy::inbound::half_closed::HalfClosed;
use crate::proxy::inbound::linger::Linger;

impl<S: AsyncRead + AsyncWrite + Unpin> HeadGuard<S> {
    /// The client has ended its side. After a whole message the library hears of it once the answer
    /// is written, because it takes the end for the end of the client.
    pub(super) fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let is_whole = matches!(self.state, State::Head | State::Connect);
        if !is_whole || !self.limits.serves_half_closed || !self.signal.is_busy_until_woken(cx) {
            return Poll::Ready(());
        }
        let may_probe = self.has_interim && !self.is_answered && !self.is_writing;
        self.half_closed
            .get_or_insert_with(HalfClosed::begin)
            .poll_gone(cx, &mut self.io, may_probe)
    }

    pub(super) fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // After an early answer. Who has not sent a whole head in time is owed none.
        let is_long = self.state != State::Head && !self.signal.is_draining();
        let begin = if is_long { Linger::long } else { Linger::short };
        let linger = self.linger.get_or_insert_with(begin);
        if self.signal.is_draining() {
            linger.shorten();
        }
        linger.poll(cx, &mut self.io)
    }
}

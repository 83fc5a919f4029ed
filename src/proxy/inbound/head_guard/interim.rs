//! Interim answers, written past the library.

use std::io;
use std::task::{Context, Poll};

use tokio::io::AsyncWrite;

use super::HeadGuard;
use crate::proxy::inbound::write_out::poll_write_out;

impl<S: AsyncWrite + Unpin> HeadGuard<S> {
    /// Writes the interim answers that have come (RFC 9110 section 15.2). The library has no way to, and
    /// has nothing to write itself while a request waits for its answer.
    pub(super) fn poll_interim(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.interim.is_empty() && !self.signal.has_interim() {
            return Poll::Ready(Ok(()));
        }
        let written = self.write_interim(cx);
        self.bound_write(cx, written)
    }

    fn write_interim(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(interim) = self.signal.take_interim()
            && self.has_interim
            && !self.is_answered
            && !self.is_writing
        {
            self.interim = interim;
        }
        poll_write_out(&mut self.io, &mut self.interim, cx)
    }
}

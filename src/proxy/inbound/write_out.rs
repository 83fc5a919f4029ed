//! Bytes that a guard writes past the library.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Buf;
use tokio::io::AsyncWrite;

/// Writes all that is `left`, which becomes empty.
pub(super) fn poll_write_out<S: AsyncWrite + Unpin>(
    io: &mut S,
    left: &mut impl Buf,
    cx: &mut Context<'_>,
) -> Poll<io::Result<()>> {
    while left.has_remaining() {
        let written = ready!(Pin::new(&mut *io).poll_write(cx, left.chunk()))?;
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        left.advance(written);
    }
    Poll::Ready(Ok(()))
}

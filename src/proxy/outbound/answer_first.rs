//! An answer that can still be read comes before the failure to write the rest of its request.
//!
//! An upstream that answers early (403, 413) often closes without reading the upload, and its kernel
//! then answers what is still sent with a reset. The next write fails, and the HTTP library gives up
//! the exchange at that, although the answer is here to be read. So a failed write is kept back until
//! the upstream's side has been read to its end. A socket that refused a write always has an end.
//!
//! A request that is given up before its end, because the client has gone or a value in it cannot be
//! recorded, ends in a reset: a server that is careless about framing would take an orderly end for the
//! end of the request.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Has a connection end in a reset once it is dropped.
pub type Abort = Arc<AtomicBool>;

/// A connection that can end in a reset.
pub trait Resets {
    /// From now on it does.
    fn reset_when_closed(&self);
}

impl Resets for TcpStream {
    fn reset_when_closed(&self) {
        // Without it the other side sees an end in the middle of a message.
        let _ = self.set_zero_linger();
    }
}

/// See the module. Directly over the socket: TLS needs the same.
pub struct AnswerFirst<S: Resets> {
    io: S,
    /// The request is given up: the upstream must not take its part for the whole.
    abort: Abort,
    /// Why a write failed.
    failed: Option<io::ErrorKind>,
    /// The other side was read to its end.
    has_ended: bool,
    /// Waits for that to hear of the failure.
    writer: Option<Waker>,
}

impl<S: Resets> AnswerFirst<S> {
    /// Over a connection that was just made.
    pub fn new(io: S, abort: Abort) -> Self {
        Self {
            io,
            abort,
            failed: None,
            has_ended: false,
            writer: None,
        }
    }

    /// What became of a write, as the writer is to see it.
    fn tell<T>(&mut self, cx: &Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match written {
            Poll::Ready(Err(error)) if !self.has_ended => {
                self.failed = Some(error.kind());
                self.writer = Some(cx.waker().clone());
                Poll::Pending
            }
            written => written,
        }
    }

    /// What a writer is told after a failure.
    fn again<T>(&mut self, cx: &Context<'_>) -> Option<Poll<io::Result<T>>> {
        let failed = self.failed?;
        Some(self.tell(cx, Poll::Ready(Err(failed.into()))))
    }
}

impl<S: Resets> Drop for AnswerFirst<S> {
    fn drop(&mut self) {
        if self.abort.load(Ordering::Acquire) {
            self.io.reset_when_closed();
        }
    }
}

impl<S: AsyncRead + Resets + Unpin> AsyncRead for AnswerFirst<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = out.filled().len();
        let polled = Pin::new(&mut self.io).poll_read(cx, out);
        let has_ended = match &polled {
            Poll::Ready(Ok(())) => out.filled().len() == before && out.remaining() > 0,
            Poll::Ready(Err(_)) => true,
            Poll::Pending => false,
        };
        if has_ended {
            self.has_ended = true;
            if let Some(writer) = self.writer.take() {
                writer.wake();
            }
        }
        polled
    }
}

impl<S: AsyncWrite + Resets + Unpin> AsyncWrite for AnswerFirst<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if let Some(told) = self.again(cx) {
            return told;
        }
        let written = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.tell(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let Some(told) = self.again(cx) {
            return told;
        }
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, bytes);
        self.tell(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(told) = self.again(cx) {
            return told;
        }
        let flushed = Pin::new(&mut self.io).poll_flush(cx);
        self.tell(cx, flushed)
    }

    /// Ends the connection at once: whoever closes reads no more.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// Refuses every write, and gives out an answer in two pieces.
    struct Refusing(Vec<&'static [u8]>);

    impl Resets for Refusing {
        fn reset_when_closed(&self) {}
    }

    impl AsyncRead for Refusing {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            out: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            if let Some(piece) = self.0.pop() {
                out.put_slice(piece);
            }
            Poll::Ready(Ok(()))
        }
    }

    impl AsyncWrite for Refusing {
        fn poll_write(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &[u8],
        ) -> Poll<io::Result<usize>> {
            Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn a_write_fails_once_the_answer_was_read() {
        let mut stream = AnswerFirst::new(Refusing(vec![b"too large", b"413 "]), Abort::default());
        let mut answer = Vec::new();
        let mut piece = [0; 64];
        loop {
            let (write, read) = {
                let mut write = std::pin::pin!(stream.write(b"more"));
                let write = std::future::poll_fn(|cx| Poll::Ready(write.as_mut().poll(cx))).await;
                (write, stream.read(&mut piece).await.unwrap())
            };
            assert!(write.is_pending(), "{write:?}");
            if read == 0 {
                break;
            }
            answer.extend_from_slice(&piece[..read]);
        }
        assert_eq!(answer, b"413 too large");
        let error = stream.write(b"more").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }
}

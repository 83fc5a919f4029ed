//! What is left of a connection that the library drives no longer: the stream, and what was read of it
//! and not taken for part of a message.
//!
//! The library stops at a head that it was not made to read: one with more fields than it reads without
//! setting memory aside for each answer, or with a folded line. Both are rare, so an ordinary answer pays
//! for neither, and the request need not be sent twice: what it read is here, and is read again.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};

use bytes::{Buf as _, Bytes, BytesMut};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};

use crate::proxy::exchange::out_body::OutBody;
use crate::proxy::outbound::answer_first::Abort;
use crate::proxy::outbound::unfold::{Heads, unfold};
use crate::scrub::Needles;

/// How every answer begins (RFC 9112 section 4).
const ANSWER: &[u8] = b"HTTP/1.";

/// A stream, whatever it is made of.
pub trait Io: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Io for S {}

/// A stream of which something was read already.
pub struct Leftover {
    read: Bytes,
    io: Box<dyn Io>,
    /// What is written goes nowhere: it was sent before.
    is_mute: Arc<AtomicBool>,
    /// Nothing was written yet, so nothing is read: the library takes an answer that comes before its
    /// request for one that nobody asked for.
    is_early: bool,
    /// Waits for that.
    reader: Option<Waker>,
}

/// Drives a connection to its end. What is left of it is kept if the end is at a head, or if
/// `changes_protocol`; else the stream is shut down, unless it is to `abort`: the upstream must not see an
/// orderly end of a request that was given up.
pub async fn drive<S>(
    mut connection: http1::Connection<TokioIo<S>, OutBody>,
    changes_protocol: Arc<AtomicBool>,
    abort: Abort,
    leave: fn(Bytes, S) -> Leftover,
) -> Option<Leftover>
where
    S: Io,
{
    // Its error is seen by the exchange on it.
    let _ = std::future::poll_fn(|cx| connection.poll_without_shutdown(cx)).await;
    let parts = connection.into_parts();
    let mut io = parts.io.into_inner();
    if changes_protocol.load(Ordering::Acquire) || parts.read_buf.starts_with(ANSWER) {
        return Some(leave(parts.read_buf, io));
    }
    if !abort.load(Ordering::Acquire) {
        let _ = io.shutdown().await;
    }
    None
}

impl Leftover {
    /// Of a stream.
    pub fn of(read: Bytes, io: impl Io + 'static) -> Self {
        Self {
            read,
            io: Box::new(io),
            is_mute: Arc::default(),
            is_early: false,
            reader: None,
        }
    }

    /// Of a stream that was left over before.
    pub fn again(read: Bytes, mut io: Self) -> Self {
        let more = std::mem::replace(&mut io.read, read);
        if !more.is_empty() {
            io.read = [&io.read[..], &more].concat().into();
        }
        io
    }

    /// Whether an interim answer comes first.
    pub fn begins_interim(&self) -> bool {
        Heads::is_interim(&self.read)
    }

    /// Whether there is a folded line in it, as far as it was read.
    pub fn has_fold(&self) -> bool {
        let is_fold = |pair: &[u8]| matches!(pair, b"\n " | b"\n\t");
        self.read.windows(2).any(is_fold)
    }

    /// Reads on to the end of the head, or to `most` bytes, and takes the folds out of it. A fold is a
    /// space (RFC 9112 section 5.2), but nothing where it cuts one of the `needles`.
    pub async fn unfolded(mut self, needles: &Needles, most: usize) -> Self {
        let mut read = BytesMut::from(self.read);
        let mut heads = Heads::default();
        let end = loop {
            if let Some(end) = heads.end(&read) {
                break end;
            }
            if read.len() >= most || !matches!(self.io.read_buf(&mut read).await, Ok(1..)) {
                break 0;
            }
        };
        let rest = read.split_off(end);
        let mut text = unfold(&read, needles);
        text.extend_from_slice(&rest);
        self.read = text.into();
        self
    }

    /// The same stream, for the library to read the answer from: it has to send a request first, which
    /// goes nowhere until that is set to false.
    pub fn mute(mut self) -> (Self, Arc<AtomicBool>) {
        self.is_early = true;
        self.is_mute.store(true, Ordering::Release);
        let is_mute = Arc::clone(&self.is_mute);
        (self, is_mute)
    }

    /// Whether what is written now goes nowhere.
    fn swallows(&mut self) -> bool {
        self.is_early = false;
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
        self.is_mute.load(Ordering::Acquire)
    }
}

impl AsyncRead for Leftover {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.is_early {
            self.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        if self.read.is_empty() {
            return Pin::new(&mut *self.io).poll_read(cx, out);
        }
        let count = self.read.len().min(out.remaining());
        out.put_slice(&self.read[..count]);
        self.read.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Leftover {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.swallows() {
            return Poll::Ready(Ok(bytes.len()));
        }
        Pin::new(&mut *self.io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.swallows() {
            return Poll::Ready(Ok(bytes.iter().map(|slice| slice.len()).sum()));
        }
        Pin::new(&mut *self.io).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.io).poll_shutdown(cx)
    }
}

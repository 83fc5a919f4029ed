//! Fewer, larger reads while much is coming.
//!
//! The TLS library reads 4 KiB at a time and gives out one record, 16 KiB, at a time. Left alone, a
//! large body costs a system call for each 4 KiB of it, and a turn of both connections' tasks for
//! each record. [`ReadAhead`] is below TLS and [`RecordCoalescer`] above it. Neither does anything as
//! long as messages are small, and neither keeps memory for a connection that waits.

use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What is read at once.
const AHEAD: usize = 64 * 1024;
/// A read that leaves no room, of at least this size, is taken for a part of more.
const FULL: usize = 4 * 1024;
/// A read of at least so many bytes comes from a large record, and another may be there.
const LARGE: usize = 8 * 1024;

/// Below TLS: reads 64 KiB at once after a read that was full.
pub struct ReadAhead<S> {
    io: S,
    /// Memory for reading ahead; none while nothing flows.
    buffer: Vec<u8>,
    /// What of it was read but not asked for yet.
    ahead: Range<usize>,
    /// The last read was full.
    is_flowing: bool,
}

impl<S> ReadAhead<S> {
    /// Over a stream of which nothing was read.
    pub fn new(io: S) -> Self {
        Self {
            io,
            buffer: Vec::new(),
            ahead: 0..0,
            is_flowing: false,
        }
    }

    fn give_out(&mut self, out: &mut ReadBuf<'_>) {
        let count = self.ahead.len().min(out.remaining());
        let end = self.ahead.start + count;
        out.put_slice(&self.buffer[self.ahead.start..end]);
        self.ahead.start = end;
        if self.ahead.is_empty() && !self.is_flowing {
            self.buffer = Vec::new();
        }
    }
}

impl<S: AsyncRead + Unpin> ReadAhead<S> {
    fn poll_ahead(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.buffer.resize(AHEAD, 0);
        let mut wide = ReadBuf::new(&mut self.buffer);
        let polled = Pin::new(&mut self.io).poll_read(cx, &mut wide);
        self.ahead = 0..wide.filled().len();
        // After a pause the memory is given back, so that an idle connection holds none.
        self.is_flowing = self.ahead.len() >= LARGE;
        if self.ahead.is_empty() {
            self.buffer = Vec::new();
        }
        polled
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ReadAhead<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let reads_ahead = this.ahead.is_empty() && this.is_flowing;
        if reads_ahead {
            ready!(this.poll_ahead(cx))?;
        }
        if reads_ahead || !this.ahead.is_empty() {
            // Nothing, if the stream has ended.
            this.give_out(out);
            return Poll::Ready(Ok(()));
        }
        let wanted = out.remaining();
        ready!(Pin::new(&mut this.io).poll_read(cx, out))?;
        this.is_flowing = wanted >= FULL && out.remaining() == 0;
        Poll::Ready(Ok(()))
    }
}

/// Above TLS: fills the reader's buffer with as many large records as have come.
pub struct RecordCoalescer<S> {
    io: S,
    /// What ended the stream while there were still bytes to be given out.
    error: Option<io::Error>,
}

impl<S> RecordCoalescer<S> {
    /// Over a stream that gives out a record at a time.
    pub fn new(io: S) -> Self {
        Self { io, error: None }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for RecordCoalescer<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(error) = self.error.take() {
            return Poll::Ready(Err(error));
        }
        let begin = out.filled().len();
        loop {
            let before = out.filled().len();
            let polled = Pin::new(&mut self.io).poll_read(cx, out);
            let has_some = before > begin;
            match polled {
                Poll::Pending if has_some => return Poll::Ready(Ok(())),
                Poll::Ready(Err(error)) if has_some => {
                    self.error = Some(error);
                    return Poll::Ready(Ok(()));
                }
                Poll::Ready(Ok(()))
                    if out.filled().len() - before >= LARGE && out.remaining() > 0 => {}
                polled => return polled,
            }
        }
    }
}

/// For a stream that changes how its field `io` is read: what is written passes through as it is.
macro_rules! writes_pass_through {
    ($stream:ident $(<$inner:ident>)?) => {
        impl $(<$inner: AsyncWrite + Unpin>)? AsyncWrite for $stream $(<$inner>)? {
            fn poll_write(
                mut self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                bytes: &[u8],
            ) -> Poll<io::Result<usize>> {
                Pin::new(&mut self.io).poll_write(cx, bytes)
            }

            fn poll_write_vectored(
                mut self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                bytes: &[io::IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                Pin::new(&mut self.io).poll_write_vectored(cx, bytes)
            }

            fn is_write_vectored(&self) -> bool {
                self.io.is_write_vectored()
            }

            fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                Pin::new(&mut self.io).poll_flush(cx)
            }

            fn poll_shutdown(
                mut self: Pin<&mut Self>,
                cx: &mut Context<'_>,
            ) -> Poll<io::Result<()>> {
                Pin::new(&mut self.io).poll_shutdown(cx)
            }
        }
    };
}

pub(in crate::proxy) use writes_pass_through;

writes_pass_through!(ReadAhead<S>);
writes_pass_through!(RecordCoalescer<S>);

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use tokio::io::AsyncReadExt as _;

    use super::*;

    /// Gives out what it was told to, a piece at a time; nothing more is to come after the last.
    struct Script {
        pieces: VecDeque<Piece>,
        /// How much each read had room for.
        rooms: Vec<usize>,
    }

    enum Piece {
        Bytes(Vec<u8>),
        Pause,
        Error,
    }

    impl AsyncRead for Script {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            out: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            self.rooms.push(out.remaining());
            match self.pieces.pop_front() {
                None => Poll::Ready(Ok(())),
                Some(Piece::Bytes(mut bytes)) => {
                    let rest = bytes.split_off(bytes.len().min(out.remaining()));
                    out.put_slice(&bytes);
                    if !rest.is_empty() {
                        self.pieces.push_front(Piece::Bytes(rest));
                    }
                    Poll::Ready(Ok(()))
                }
                Some(Piece::Pause) => {
                    cx.waker().wake_by_ref();
                    Poll::Pending
                }
                Some(Piece::Error) => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            }
        }
    }

    fn script(pieces: impl IntoIterator<Item = Piece>) -> Script {
        Script {
            pieces: pieces.into_iter().collect(),
            rooms: Vec::new(),
        }
    }

    fn numbers(count: usize) -> Vec<u8> {
        (0..count).map(|n| (n % 251) as u8).collect()
    }

    #[tokio::test]
    async fn small_messages_are_read_as_they_were_asked_for() {
        let small = || Piece::Bytes(numbers(300));
        let mut stream = ReadAhead::new(script([small(), Piece::Pause, small()]));
        let mut read = [0; 4096];
        for _ in 0..2 {
            assert_eq!(stream.read(&mut read).await.unwrap(), 300);
        }
        assert_eq!(stream.read(&mut read).await.unwrap(), 0);
        assert_eq!(stream.io.rooms, [4096; 4]);
    }

    #[tokio::test]
    async fn a_large_body_is_read_ahead_and_a_pause_ends_that() {
        let large = numbers(300_000);
        let pieces = [
            Piece::Bytes(large.clone()),
            Piece::Pause,
            Piece::Bytes(large.clone()),
        ];
        let mut stream = ReadAhead::new(script(pieces));
        let mut read = Vec::new();
        let mut piece = [0; 4096];
        loop {
            let count = stream.read(&mut piece).await.unwrap();
            if count == 0 {
                break;
            }
            read.extend_from_slice(&piece[..count]);
        }
        assert!(read == [large.clone(), large].concat());
        assert!(stream.buffer.is_empty(), "no memory waits");
        let rooms = &stream.io.rooms;
        assert!(rooms.len() < 20, "{rooms:?}");
        assert_eq!(
            rooms.iter().filter(|room| **room == FULL).count(),
            2,
            "{rooms:?}"
        );
    }

    #[tokio::test]
    async fn records_that_have_come_are_given_out_together() {
        let records = numbers(16_000);
        let records = records.chunks(16_000 / 2).map(|r| Piece::Bytes(r.to_vec()));
        let rest = [Piece::Bytes(numbers(16_384)), Piece::Bytes(numbers(100))];
        let mut stream = RecordCoalescer::new(script(
            [Piece::Bytes(numbers(16_384))]
                .into_iter()
                .chain(rest)
                .chain(records),
        ));
        let mut read = vec![0; AHEAD];
        let count = stream.read(&mut read).await.unwrap();
        assert_eq!(count, 2 * 16_384 + 100, "a small record ends it");
    }

    #[tokio::test]
    async fn an_error_comes_after_what_came_before_it() {
        let pieces = [Piece::Bytes(numbers(16_384)), Piece::Error];
        let mut stream = RecordCoalescer::new(script(pieces));
        let mut read = vec![0; AHEAD];
        assert_eq!(stream.read(&mut read).await.unwrap(), 16_384);
        let error = stream.read(&mut read).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }
}

//! What is still read of a connection after its last answer.
//!
//! A socket that is closed with unread bytes in it sends a reset, and so does one that gets bytes after it
//! was closed. A reset can overtake the answer, and a client that sent its next request a moment before it
//! heard of the end cannot tell from it that the request was not looked at. So the end is written first, and
//! what comes is read and thrown away until the client has ended its side too (RFC 9112 section 9.6).

use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

/// How much is read at once. From the stack, so that a connection that waits holds no buffer.
const READ_SIZE: usize = 8 * 1024;

/// How long, and for how many bytes, a client that was answered early may still be sending. A client
/// that writes its whole request before it reads needs that to see the answer.
const LONG: Duration = Duration::from_secs(30);
const BYTES: usize = 16 * 1024 * 1024;
/// How long a client may take to read that the connection ends: between two requests, or while the proxy
/// shuts down.
const SHORT: Duration = Duration::from_secs(1);

/// The rest of a connection's life.
pub struct Linger {
    timer: Pin<Box<Sleep>>,
    left: usize,
}

impl Linger {
    /// For a client that may be in the middle of a request.
    pub fn long() -> Self {
        Self::of(LONG)
    }

    /// For one that is between two requests.
    pub fn short() -> Self {
        Self::of(SHORT)
    }

    fn of(longest: Duration) -> Self {
        Self {
            timer: Box::pin(sleep_until(Instant::now() + longest)),
            left: BYTES,
        }
    }

    /// Takes no longer than a short one would from now on.
    pub fn shorten(&mut self) {
        let short = Instant::now() + SHORT;
        if short < self.timer.deadline() {
            self.timer.as_mut().reset(short);
        }
    }

    /// Ready once the client has ended its side, or has taken or sent too much.
    pub fn poll(&mut self, cx: &mut Context<'_>, io: &mut (impl AsyncRead + Unpin)) -> Poll<()> {
        if self.timer.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        poll_discard(cx, io, &mut self.left)
    }
}

/// Reads and throws away, at most `left` bytes. Ready when no more is to come.
pub fn poll_discard(
    cx: &mut Context<'_>,
    io: &mut (impl AsyncRead + Unpin),
    left: &mut usize,
) -> Poll<()> {
    while *left > 0 {
        let mut space = [const { MaybeUninit::uninit() }; READ_SIZE];
        let mut read = ReadBuf::uninit(&mut space);
        match ready!(Pin::new(&mut *io).poll_read(cx, &mut read)) {
            Ok(()) if !read.filled().is_empty() => {
                *left = left.saturating_sub(read.filled().len());
            }
            Ok(()) | Err(_) => break,
        }
    }
    Poll::Ready(())
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::AsyncWriteExt as _;

    use super::*;

    #[tokio::test]
    async fn it_ends_with_the_client_or_with_its_time() {
        let (mut client, mut server) = tokio::io::duplex(64);
        client.write_all(b"GET / HTTP/1.1").await.unwrap();
        drop(client);
        let begun = Instant::now();
        let mut linger = Linger::long();
        poll_fn(|cx| linger.poll(cx, &mut server)).await;
        assert!(begun.elapsed() < LONG);

        let (_silent, mut server) = tokio::io::duplex(64);
        let begun = Instant::now();
        let mut linger = Linger::long();
        linger.shorten();
        poll_fn(|cx| linger.poll(cx, &mut server)).await;
        assert!((SHORT..LONG).contains(&begun.elapsed()));
    }

    #[tokio::test]
    async fn a_client_that_sends_without_end_is_left() {
        let (mut client, mut server) = tokio::io::duplex(1 << 20);
        let sending =
            tokio::spawn(async move { while client.write_all(&[0; 1 << 16]).await.is_ok() {} });
        let mut linger = Linger::long();
        poll_fn(|cx| linger.poll(cx, &mut server)).await;
        assert_eq!(linger.left, 0);
        drop(server);
        sending.await.unwrap();
    }
}

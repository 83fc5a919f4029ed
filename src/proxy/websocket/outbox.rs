//! The writing end of one side, and reading without holding a buffer.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};

use crate::proxy::runtime::idle::Activity;
use crate::websocket::{Close, MessageKind, Peer, Receiver, Sender};

/// How much is read at once, in bytes: a TLS record.
const READ: usize = 16 * 1024;
/// How much may wait to be written before the reading side has to wait too, in bytes. One frame
/// more can be queued after it.
const WAITING: usize = 64 * 1024;
/// How many masking keys are drawn at once.
const KEYS: usize = 64;

/// Frames on their way to one side.
///
/// Whoever waits for one of its methods may give up at any time: what was not written is still
/// here, so the next frame never lands in the middle of another.
pub struct Outbox<W> {
    io: W,
    sender: Sender<Keys>,
    buffer: Vec<u8>,
    written: usize,
    activity: Arc<Activity>,
}

impl<W: AsyncWrite + Unpin> Outbox<W> {
    /// To `peer` through `io`; `activity` is told what moves.
    pub fn new(io: W, peer: Peer, activity: Arc<Activity>) -> Self {
        Self {
            io,
            sender: Sender::new(peer, Keys::default()),
            buffer: Vec::new(),
            written: 0,
            activity,
        }
    }

    /// Writes a piece of a message.
    pub async fn data(&mut self, kind: MessageKind, payload: &[u8], end: bool) -> io::Result<()> {
        self.sender
            .data(kind, payload, end, &mut self.buffer)
            .map_err(io::Error::other)?;
        self.relieve().await
    }

    pub async fn ping(&mut self, payload: &[u8]) -> io::Result<()> {
        self.sender
            .ping(payload, &mut self.buffer)
            .map_err(io::Error::other)?;
        self.relieve().await
    }

    pub async fn pong(&mut self, payload: &[u8]) -> io::Result<()> {
        self.sender
            .pong(payload, &mut self.buffer)
            .map_err(io::Error::other)?;
        self.relieve().await
    }

    /// Writes a close frame, and everything before it.
    pub async fn close(&mut self, close: Option<&Close>) -> io::Result<()> {
        self.sender
            .close(close, &mut self.buffer)
            .map_err(io::Error::other)?;
        self.flush().await
    }

    /// Writes what waits, then `close` if nothing else has ended the conversation, and
    /// ends the stream.
    pub async fn end(&mut self, close: Option<Close>) {
        if let Some(close) = close {
            // Without a key the stream ends without a word.
            let _ = self.sender.close(Some(&close), &mut self.buffer);
        }
        // To a side that is gone there is nothing left to say.
        if self.flush().await.is_ok() {
            let _ = self.io.shutdown().await;
        }
    }

    /// Writes all that waits.
    pub async fn flush(&mut self) -> io::Result<()> {
        while self.written < self.buffer.len() {
            match self.io.write(&self.buffer[self.written..]).await? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                count => self.written += count,
            }
            self.activity.touch();
        }
        self.empty();
        self.io.flush().await
    }

    async fn relieve(&mut self) -> io::Result<()> {
        if self.buffer.len() - self.written > WAITING {
            self.flush().await
        } else {
            Ok(())
        }
    }

    /// Gives the memory back, wiped: it held values.
    fn empty(&mut self) {
        self.buffer.fill(0);
        self.buffer = Vec::new();
        self.written = 0;
    }
}

impl<W> Drop for Outbox<W> {
    fn drop(&mut self) {
        self.buffer.fill(0);
    }
}

/// Masking keys from the cryptographic generator, many at a time (RFC 6455 section 10.3: an attacker who
/// could foresee them could put bytes of his choosing on the wire).
#[derive(Default)]
pub struct Keys(Vec<[u8; 4]>);

impl Iterator for Keys {
    type Item = [u8; 4];

    fn next(&mut self) -> Option<[u8; 4]> {
        if self.0.is_empty() {
            let mut drawn = [0; 4 * KEYS];
            aws_lc_rs::rand::fill(&mut drawn).ok()?;
            self.0 = drawn.as_chunks().0.to_vec();
        }
        self.0.pop()
    }
}

/// Reads what there is into `receiver`. Through the stack, so that a connection that waits holds
/// no buffer. Giving up loses nothing.
pub async fn read_some<R: AsyncRead + Unpin>(
    io: &mut R,
    receiver: &mut Receiver,
) -> io::Result<usize> {
    std::future::poll_fn(|cx| {
        let mut space = [const { MaybeUninit::uninit() }; READ];
        let mut read = ReadBuf::uninit(&mut space);
        Pin::new(&mut *io).poll_read(cx, &mut read).map_ok(|()| {
            receiver.push(read.filled());
            read.filled().len()
        })
    })
    .await
}

/// Reads to the end and throws it away.
pub async fn discard<R: AsyncRead + Unpin>(io: &mut R) {
    let _ = tokio::io::copy(io, &mut tokio::io::sink()).await;
}

//! One end of an HTTP/2 connection: reads frames, answers SETTINGS and PING, and assembles
//! messages.

use std::collections::HashMap;
use std::io;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use super::frames::{self, Frame};
use crate::wire::Headers;

/// A message as far as it has been received.
#[derive(Clone, Debug, Default)]
pub struct Message {
    /// Pseudo-header fields included.
    pub headers: Headers,
    pub body: Vec<u8>,
    pub trailers: Headers,
    has_head: bool,
    pub ended: bool,
    /// The code of a RST_STREAM.
    pub reset: Option<u32>,
}

impl Message {
    /// The first value of a field, as text.
    pub fn field(&self, name: &str) -> Option<String> {
        let found = self.headers.iter().find(|(n, _)| n == name)?;
        Some(String::from_utf8_lossy(&found.1).into_owned())
    }
}

/// One end of a connection.
pub struct Peer<S> {
    pub io: S,
    decoder: fluke_hpack::Decoder<'static>,
    pub streams: HashMap<u32, Message>,
    /// The header block that is not complete yet.
    block: Vec<u8>,
    block_ends_stream: bool,
    /// Sizes of the header blocks received.
    pub blocks: Vec<usize>,
    /// The flow-control credit that the other end has granted for the connection, in total.
    pub window: u64,
    /// Code of the GOAWAY, once received.
    pub goaway: Option<u32>,
    /// Every byte of header fields and bodies received, for leak checks.
    pub received: Vec<u8>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Peer<S> {
    /// Reads and handles one frame. Returns the stream whose message it continued, if any.
    pub async fn advance(&mut self) -> io::Result<Option<u32>> {
        let frame = frames::read(&mut self.io).await?;
        self.take(frame).await
    }
}

impl<S: AsyncWrite + Unpin> Peer<S> {
    pub fn new(io: S) -> Self {
        Self {
            io,
            decoder: fluke_hpack::Decoder::new(),
            streams: HashMap::new(),
            block: Vec::new(),
            block_ends_stream: false,
            blocks: Vec::new(),
            window: 65_535,
            goaway: None,
            received: Vec::new(),
        }
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.io.write_all(bytes.as_ref()).await?;
        self.io.flush().await
    }

    /// Reacts to this frame as the protocol requires.
    pub async fn take(&mut self, frame: Frame) -> io::Result<Option<u32>> {
        let id = frame.stream;
        match frame.kind {
            frames::SETTINGS if !frame.is(frames::ACK) => {
                self.send(frames::frame(frames::SETTINGS, frames::ACK, 0, b""))
                    .await?;
                return Ok(None);
            }
            frames::PING if !frame.is(frames::ACK) => {
                let pong = frames::frame(frames::PING, frames::ACK, 0, &frame.payload);
                self.send(pong).await?;
                return Ok(None);
            }
            frames::WINDOW_UPDATE if id == 0 => self.window += u64::from(frame.number(0)),
            frames::GOAWAY => self.goaway = Some(frame.number(4)),
            frames::DATA => {
                let content = frame.content();
                self.received.extend(content);
                let message = self.streams.entry(id).or_default();
                message.body.extend(content);
                message.ended |= frame.is(frames::END_STREAM);
            }
            frames::HEADERS | frames::CONTINUATION => self.add_block(&frame),
            frames::RST_STREAM => {
                self.streams.entry(id).or_default().reset = Some(frame.number(0));
            }
            _ => return Ok(None),
        }
        Ok(Some(id).filter(|id| *id != 0))
    }

    fn add_block(&mut self, frame: &Frame) {
        self.block.extend(frame.content());
        if frame.kind == frames::HEADERS {
            self.block_ends_stream = frame.is(frames::END_STREAM);
        }
        if !frame.is(frames::END_HEADERS) {
            return;
        }
        let block = std::mem::take(&mut self.block);
        self.blocks.push(block.len());
        let fields = self.decoder.decode(&block).expect("an HPACK block");
        let message = self.streams.entry(frame.stream).or_default();
        for (name, value) in fields {
            self.received
                .extend([&name[..], b": ", &value, b"\n"].concat());
            let field = (String::from_utf8_lossy(&name).into_owned(), value);
            match message.has_head {
                false => message.headers.push(field),
                true => message.trailers.push(field),
            }
        }
        let status = message.field(":status").unwrap_or_default();
        match status.starts_with('1') {
            true => message.headers.clear(),
            false => message.has_head = true,
        }
        message.ended |= self.block_ends_stream;
    }
}

//! HTTP/2 frames written by hand (RFC 9113 section 4): independent of the library under test, and
//! malformed where a test needs that.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

use crate::wire::Headers;

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Frame types.
pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

/// Flags.
pub const END_STREAM: u8 = 1;
pub const ACK: u8 = 1;
pub const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
const PRIORITY: u8 = 32;

/// Settings.
pub const ENABLE_PUSH: u16 = 2;
pub const MAX_CONCURRENT_STREAMS: u16 = 3;
pub const INITIAL_WINDOW_SIZE: u16 = 4;

/// Error codes.
pub const NO_ERROR: u32 = 0;
pub const PROTOCOL_ERROR: u32 = 1;
pub const REFUSED_STREAM: u32 = 7;
pub const CANCEL: u32 = 8;
pub const ENHANCE_YOUR_CALM: u32 = 11;

/// The largest window (RFC 9113 section 6.9.1).
pub const WIDE: u32 = (1 << 31) - 1;

/// The largest payload that every peer accepts.
pub const MAX_PAYLOAD: usize = 16_384;

#[derive(Clone, Debug)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl Frame {
    pub fn is(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// The big-endian number at this offset of the payload.
    pub fn number(&self, at: usize) -> u32 {
        u32::from_be_bytes(self.payload[at..at + 4].try_into().expect("four bytes"))
    }

    /// The payload of DATA or HEADERS without padding and priority.
    pub fn content(&self) -> &[u8] {
        let mut content = &self.payload[..];
        if self.is(PADDED) {
            let padding = usize::from(content[0]);
            content = &content[1..content.len() - padding];
        }
        if self.kind == HEADERS && self.is(PRIORITY) {
            content = &content[5..];
        }
        content
    }
}

pub async fn read<R: AsyncRead + Unpin>(io: &mut R) -> io::Result<Frame> {
    let mut head = [0; 9];
    io.read_exact(&mut head).await?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & WIDE;
    let mut payload = vec![0; length as usize];
    io.read_exact(&mut payload).await?;
    Ok(Frame {
        kind: head[3],
        flags: head[4],
        stream,
        payload,
    })
}

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a length");
    let mut bytes = length.to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

pub fn settings(values: &[(u16, u32)]) -> Vec<u8> {
    let payload: Vec<u8> = values
        .iter()
        .flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat())
        .collect();
    frame(SETTINGS, 0, 0, &payload)
}

pub fn window_update(stream: u32, by: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &by.to_be_bytes())
}

pub fn reset(stream: u32, code: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &code.to_be_bytes())
}

pub fn goaway(last: u32, code: u32) -> Vec<u8> {
    let payload = [last.to_be_bytes(), code.to_be_bytes()].concat();
    frame(GOAWAY, 0, 0, &payload)
}

/// A header section as HEADERS and as many CONTINUATION frames as it takes.
pub fn section(stream: u32, end_stream: bool, headers: &Headers) -> Vec<u8> {
    let block = literals(headers);
    let mut chunks = block.chunks(MAX_PAYLOAD).peekable();
    let mut bytes = Vec::new();
    let mut kind = HEADERS;
    while let Some(chunk) = chunks.next() {
        let mut flags = u8::from(kind == HEADERS && end_stream) * END_STREAM;
        flags |= u8::from(chunks.peek().is_none()) * END_HEADERS;
        bytes.extend(frame(kind, flags, stream, chunk));
        kind = CONTINUATION;
    }
    bytes
}

/// DATA frames of at most `size` bytes; the last one ends the stream if `end_stream` is set.
pub fn data(stream: u32, end_stream: bool, bytes: &[u8], size: usize) -> Vec<u8> {
    if bytes.is_empty() {
        return frame(DATA, u8::from(end_stream) * END_STREAM, stream, b"");
    }
    let mut chunks = bytes.chunks(size).peekable();
    let mut frames = Vec::new();
    while let Some(chunk) = chunks.next() {
        let is_last = end_stream && chunks.peek().is_none();
        frames.extend(frame(DATA, u8::from(is_last) * END_STREAM, stream, chunk));
    }
    frames
}

/// HPACK (RFC 7541 section 6.2.2): every field a literal with a literal name, nothing indexed,
/// nothing compressed, nothing checked.
fn literals(headers: &Headers) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in headers {
        block.push(0);
        string(name.as_bytes(), &mut block);
        string(value, &mut block);
    }
    block
}

fn string(text: &[u8], block: &mut Vec<u8>) {
    if text.len() < 127 {
        block.push(text.len() as u8);
    } else {
        block.push(127);
        let mut rest = text.len() - 127;
        while rest >= 128 {
            block.push((rest % 128) as u8 | 128);
            rest /= 128;
        }
        block.push(rest as u8);
    }
    block.extend(text);
}

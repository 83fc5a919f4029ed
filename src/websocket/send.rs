//! Writing to one side of a connection.

use super::close::Close;
use super::frame::{FrameHead, MAX_CONTROL, MAX_HEAD, MessageKind, Opcode, Peer, mask};

/// No masking key was available, so the frame was not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no masking key could be drawn")]
pub struct NoKey;

/// Writes frames for one side. `keys` yields the masking keys, which a client takes from a strong
/// source of randomness, a new one for each frame (RFC 6455 section 5.3).
#[derive(Debug)]
pub struct Sender<K> {
    keys: Option<K>,
    /// Whether the beginning of a message was written.
    begun: bool,
    closed: bool,
}

impl<K: Iterator<Item = [u8; 4]>> Sender<K> {
    /// To `peer`: masked for a server.
    pub fn new(peer: Peer, keys: K) -> Self {
        Self {
            keys: (peer == Peer::Server).then_some(keys),
            begun: false,
            closed: false,
        }
    }

    /// Appends the next piece of a message to `out` as one frame. An empty piece that is not the last
    /// is not written.
    pub fn data(
        &mut self,
        kind: MessageKind,
        payload: &[u8],
        end: bool,
        out: &mut Vec<u8>,
    ) -> Result<(), NoKey> {
        if payload.is_empty() && !end {
            return Ok(());
        }
        let opcode = match kind {
            _ if self.begun => Opcode::Continuation,
            MessageKind::Text => Opcode::Text,
            MessageKind::Binary => Opcode::Binary,
        };
        self.begun = !end;
        self.frame(end, opcode, payload, out)
    }

    /// Appends a ping. What exceeds 125 bytes is cut off.
    pub fn ping(&mut self, payload: &[u8], out: &mut Vec<u8>) -> Result<(), NoKey> {
        self.control(Opcode::Ping, payload, out)
    }

    /// Appends a pong. What exceeds 125 bytes is cut off.
    pub fn pong(&mut self, payload: &[u8], out: &mut Vec<u8>) -> Result<(), NoKey> {
        self.control(Opcode::Pong, payload, out)
    }

    /// Appends a close frame. No frame is written after it.
    pub fn close(&mut self, close: Option<&Close>, out: &mut Vec<u8>) -> Result<(), NoKey> {
        let mut payload = Vec::new();
        if let Some(close) = close {
            payload.extend_from_slice(&close.code.to_be_bytes());
            payload.extend_from_slice(close.reason.as_bytes());
        }
        self.control(Opcode::Close, &payload, out)?;
        self.closed = true;
        Ok(())
    }

    fn control(&mut self, opcode: Opcode, payload: &[u8], out: &mut Vec<u8>) -> Result<(), NoKey> {
        let payload = &payload[..payload.len().min(MAX_CONTROL)];
        self.frame(true, opcode, payload, out)
    }

    fn frame(
        &mut self,
        fin: bool,
        opcode: Opcode,
        payload: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), NoKey> {
        if self.closed {
            return Ok(());
        }
        let key = match &mut self.keys {
            Some(keys) => Some(keys.next().ok_or(NoKey)?),
            None => None,
        };
        let head = FrameHead {
            fin,
            opcode,
            len: payload.len() as u64,
            mask: key,
        };
        // Allocated once, so that no growing buffer leaves copies of a value in freed memory.
        out.reserve(MAX_HEAD + payload.len());
        head.write(out);
        let start = out.len();
        out.extend_from_slice(payload);
        if let Some(key) = key {
            mask(&mut out[start..], key, 0);
        }
        Ok(())
    }
}

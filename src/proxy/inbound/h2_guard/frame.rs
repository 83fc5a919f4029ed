//! What each frame of HTTP/2 begins with (RFC 9113 section 4.1).

use crate::proxy::exchange::leave::Stream;

/// Its length.
pub const FRAME_HEAD: usize = 9;

/// The head of a frame.
#[derive(Clone, Copy)]
pub struct FrameHead {
    pub length: usize,
    pub kind: u8,
    pub flags: u8,
    pub stream: Stream,
}

impl FrameHead {
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let head = bytes.first_chunk::<FRAME_HEAD>()?;
        let [a, b, c, kind, flags, stream @ ..] = *head;
        Some(Self {
            length: usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c),
            kind,
            flags,
            stream,
        })
    }

    pub fn write(self, payload: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(&(payload.len() as u32).to_be_bytes()[1..]);
        out.extend_from_slice(&[self.kind, self.flags]);
        out.extend_from_slice(&self.stream);
        out.extend_from_slice(payload);
    }

    pub fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

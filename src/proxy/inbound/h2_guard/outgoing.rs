//! Where the library is in what it writes: only between two frames may something else be written.

use crate::proxy::inbound::h2_guard::frame::{FRAME_HEAD, FrameHead};

/// The place in the stream of frames that the library writes.
#[derive(Default)]
pub struct Outgoing {
    /// What has been written of the head of a frame.
    head: Vec<u8>,
    /// What is left of a frame.
    left: usize,
    /// The library's own preface, which comes first, has begun.
    has_begun: bool,
}

impl Outgoing {
    pub fn is_between_frames(&self) -> bool {
        self.has_begun && self.left == 0 && self.head.is_empty()
    }

    pub fn wrote(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let count = if self.left > 0 {
                let count = self.left.min(bytes.len());
                self.left -= count;
                count
            } else {
                let count = bytes.len().min(FRAME_HEAD - self.head.len());
                self.head.extend_from_slice(&bytes[..count]);
                count
            };
            bytes = &bytes[count..];
            if let Some(head) = FrameHead::read(&self.head) {
                self.left = head.length;
                self.head.clear();
                self.has_begun = true;
            }
        }
    }
}

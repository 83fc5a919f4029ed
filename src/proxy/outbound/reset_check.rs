//! A stream that is reset before its end, and one that is reset after it.
//!
//! A server that needs no more of a request may end its answer and then reset the stream with
//! NO_ERROR (RFC 9113 section 8.1): such an answer is complete. The HTTP/2 library reports that reset in
//! the same way when the answer has not ended, and a part would be taken for the whole. So the headers
//! of the frames are read as they pass, and a NO_ERROR for a stream without END_STREAM becomes an error.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::proxy::runtime::read_ahead::writes_pass_through;

/// A frame's header (RFC 9113 section 4.1).
const HEADER: usize = 9;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const END_STREAM: u8 = 1;
/// What NO_ERROR is changed to.
const INTERNAL_ERROR: u8 = 2;
/// Streams of which it is known that they have ended. The reset comes with the end, or not at all.
const ENDED: usize = 256;

/// Under the HTTP/2 library, on what an upstream sends.
pub struct ResetCheck<S> {
    io: S,
    frames: Frames,
}

impl<S> ResetCheck<S> {
    /// Over a connection on which nothing was received.
    pub fn new(io: S) -> Self {
        Self {
            io,
            frames: Frames::default(),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ResetCheck<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = out.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, out))?;
        self.frames.pass(&mut out.filled_mut()[before..]);
        Poll::Ready(Ok(()))
    }
}

writes_pass_through!(ResetCheck<S>);

/// The position in the stream of frames.
#[derive(Default)]
struct Frames {
    /// What has come of a frame's header.
    header: [u8; HEADER],
    header_len: usize,
    /// Bytes of its payload that are still to come.
    left: usize,
    /// The payload is the code of a reset that came too early, and all of it so far was 0.
    is_early_reset: bool,
    ended: VecDeque<u32>,
}

impl Frames {
    fn pass(&mut self, mut bytes: &mut [u8]) {
        while !bytes.is_empty() {
            if self.left > 0 {
                let (payload, rest) = bytes.split_at_mut(self.left.min(bytes.len()));
                self.left -= payload.len();
                if self.is_early_reset {
                    self.check_code(payload);
                }
                bytes = rest;
                continue;
            }
            let wanted = HEADER - self.header_len;
            let (part, rest) = bytes.split_at_mut(wanted.min(bytes.len()));
            self.header[self.header_len..][..part.len()].copy_from_slice(part);
            self.header_len += part.len();
            if self.header_len == HEADER {
                self.header_len = 0;
                self.begin();
            }
            bytes = rest;
        }
    }

    fn begin(&mut self) {
        let [a, b, c, kind, flags, stream @ ..] = self.header;
        let stream = u32::from_be_bytes(stream) & (u32::MAX >> 1);
        self.left = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        self.is_early_reset = kind == RST_STREAM && !self.ended.contains(&stream);
        if matches!(kind, DATA | HEADERS) && flags & END_STREAM != 0 {
            if self.ended.len() == ENDED {
                self.ended.pop_front();
            }
            self.ended.push_back(stream);
        }
    }

    /// NO_ERROR is 0, in four bytes.
    fn check_code(&mut self, payload: &mut [u8]) {
        if payload.iter().any(|byte| *byte != 0) {
            self.is_early_reset = false;
        } else if self.left == 0
            && let Some(last) = payload.last_mut()
        {
            *last = INTERNAL_ERROR;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
        let length = u8::try_from(payload.len()).unwrap();
        [&[0, 0, length, kind, flags, 0, 0, 0, stream], payload].concat()
    }

    /// What becomes of these bytes, in pieces of each size.
    fn passed(bytes: &[u8]) -> Vec<u8> {
        let mut whole = None;
        for size in 1..=bytes.len() {
            let mut frames = Frames::default();
            let mut out = bytes.to_vec();
            out.chunks_mut(size).for_each(|piece| frames.pass(piece));
            assert_eq!(whole.get_or_insert_with(|| out.clone()), &out, "{size}");
        }
        whole.unwrap()
    }

    #[test]
    fn a_reset_without_error_stays_one_only_after_the_end() {
        let head = frame(HEADERS, 4, 1, b"head");
        let data = |is_last| frame(DATA, u8::from(is_last), 1, b"data");
        let reset = |code| frame(RST_STREAM, 0, 1, &[0, 0, 0, code]);
        for ended in [
            [head.clone(), data(true), reset(0)].concat(),
            [frame(HEADERS, 5, 1, b"head"), reset(0)].concat(),
            [
                head.clone(),
                data(false),
                frame(HEADERS, 5, 1, b""),
                reset(0),
            ]
            .concat(),
            [head.clone(), data(false), reset(8)].concat(),
            [
                head.clone(),
                data(false),
                frame(RST_STREAM, 0, 1, &[1, 0, 0, 0]),
            ]
            .concat(),
        ] {
            assert_eq!(passed(&ended), ended);
        }
        for cut in [
            [head.clone(), data(false)].concat(),
            head.clone(),
            // The end of another stream.
            [head, frame(DATA, 1, 3, b"data")].concat(),
            // A flag that means something else elsewhere: the acknowledgement of SETTINGS.
            frame(4, 1, 0, b""),
        ] {
            let sent = [cut.clone(), reset(0), frame(4, 0, 0, b"")].concat();
            let changed = [cut, reset(INTERNAL_ERROR), frame(4, 0, 0, b"")].concat();
            assert_eq!(passed(&sent), changed);
        }
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut frames = Frames::default();
        for stream in 0..3 * ENDED {
            frames.pass(&mut frame(DATA, 1, (stream % 200) as u8, b""));
        }
        assert_eq!(frames.ended.len(), ENDED);
    }
}

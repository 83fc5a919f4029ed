//! Reading one side of a connection: frames and messages, with all checks of the protocol.

use super::close::Close;
use super::frame::{FrameHead, MAX_CONTROL, MessageKind, Opcode, Peer, mask};
use super::utf8::Utf8;

/// What the peer has sent.
#[derive(Debug, PartialEq, Eq)]
pub enum FrameEvent<'a> {
    /// The next piece of the current message, or the first of a new one. `end`: also its last.
    Data {
        /// What the message holds.
        kind: MessageKind,
        /// Unmasked. May be empty.
        payload: &'a [u8],
        /// Whether the message is complete.
        end: bool,
    },
    /// A ping, which may come between the pieces of a message.
    Ping(&'a [u8]),
    /// A pong.
    Pong(&'a [u8]),
    /// The peer sends nothing more. `None`: it gave no code.
    Close(Option<Close>),
}

/// The peer broke the protocol. The connection has to be closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The close code that says so.
    pub code: u16,
    /// What was wrong. Contains nothing of what was sent.
    pub reason: &'static str,
}

/// Reads the frames of one side.
///
/// Holds what was pushed until the caller asks for it, and then no more than a part of a frame header
/// or of a control frame.
#[derive(Debug)]
pub struct Receiver {
    peer: Peer,
    buffer: Vec<u8>,
    /// How much of the buffer was read.
    at: usize,
    frame: Option<OpenFrame>,
    message: Option<MessageKind>,
    utf8: Utf8,
    closed: bool,
    failed: Option<Violation>,
}

/// A data frame whose payload is being read.
#[derive(Clone, Copy, Debug)]
struct OpenFrame {
    fin: bool,
    mask: Option<[u8; 4]>,
    read: u64,
    left: u64,
}

impl Receiver {
    /// At the start of what `peer` sends.
    pub fn new(peer: Peer) -> Self {
        Self {
            peer,
            buffer: Vec::new(),
            at: 0,
            frame: None,
            message: None,
            utf8: Utf8::default(),
            closed: false,
            failed: None,
        }
    }

    /// Takes what has arrived. Ask for all events before the next push.
    pub fn push(&mut self, bytes: &[u8]) {
        let kept = self.buffer.len() - self.at;
        if kept == 0 {
            // A new buffer, not the old one: a connection that waits holds no memory.
            self.buffer = Vec::with_capacity(bytes.len());
        } else {
            self.buffer.drain(..self.at);
        }
        self.at = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// The next event, if all of it has arrived. After a close frame there is none.
    pub fn event(&mut self) -> Result<Option<FrameEvent<'_>>, Violation> {
        if let Some(violation) = &self.failed {
            return Err(violation.clone());
        }
        if self.closed {
            return Ok(None);
        }
        match self.read() {
            Ok(None) => Ok(None),
            Ok(Some(found)) => Ok(Some(found.event(&self.buffer))),
            Err(violation) => {
                self.failed = Some(violation.clone());
                Err(violation)
            }
        }
    }

    fn read(&mut self) -> Result<Option<EventSpan>, Violation> {
        loop {
            if let Some(frame) = self.frame {
                return self.read_data(frame);
            }
            let parsed = FrameHead::parse(&self.buffer[self.at..]).map_err(protocol)?;
            let Some((head, len)) = parsed else {
                return Ok(None);
            };
            self.check(&head)?;
            if head.opcode.is_control() {
                return self.read_control(&head, len);
            }
            self.at += len;
            self.begin(&head);
        }
    }

    fn check(&self, head: &FrameHead) -> Result<(), Violation> {
        match (self.peer, head.mask) {
            (Peer::Client, None) => return Err(protocol("a client's frame is not masked")),
            (Peer::Server, Some(_)) => return Err(protocol("a server's frame is masked")),
            _ => {}
        }
        match head.opcode {
            opcode if opcode.is_control() && !head.fin => {
                Err(protocol("a control frame is fragmented"))
            }
            opcode if opcode.is_control() && head.len > MAX_CONTROL as u64 => {
                Err(protocol("a control frame has more than 125 bytes"))
            }
            Opcode::Continuation if self.message.is_none() => {
                Err(protocol("there is no message to continue"))
            }
            Opcode::Text | Opcode::Binary if self.message.is_some() => Err(protocol(
                "a message begins before the one before it has ended",
            )),
            _ => Ok(()),
        }
    }

    fn begin(&mut self, head: &FrameHead) {
        match head.opcode {
            Opcode::Text => self.message = Some(MessageKind::Text),
            Opcode::Binary => self.message = Some(MessageKind::Binary),
            _ => {}
        }
        self.frame = Some(OpenFrame {
            fin: head.fin,
            mask: head.mask,
            read: 0,
            left: head.len,
        });
    }

    fn read_data(&mut self, mut frame: OpenFrame) -> Result<Option<EventSpan>, Violation> {
        let there = self.buffer.len() - self.at;
        if there == 0 && frame.left > 0 {
            return Ok(None);
        }
        let len = usize::try_from(frame.left).map_or(there, |left| left.min(there));
        let payload = self.at..self.at + len;
        let bytes = &mut self.buffer[payload.clone()];
        if let Some(key) = frame.mask {
            mask(bytes, key, frame.read);
        }
        let kind = self.message.unwrap_or(MessageKind::Binary);
        frame.read += len as u64;
        frame.left -= len as u64;
        self.at += len;
        let end = frame.left == 0 && frame.fin;
        if kind == MessageKind::Text {
            self.utf8.push(bytes).map_err(|_| not_utf8())?;
        }
        if end {
            self.utf8.finish().map_err(|_| not_utf8())?;
            self.message = None;
        }
        self.frame = Some(frame).filter(|frame| frame.left > 0);
        Ok(Some(EventSpan::Data { kind, payload, end }))
    }

    fn read_control(
        &mut self,
        head: &FrameHead,
        head_len: usize,
    ) -> Result<Option<EventSpan>, Violation> {
        let start = self.at + head_len;
        // Checked above to be small.
        let end = start + head.len as usize;
        if self.buffer.len() < end {
            return Ok(None);
        }
        self.at = end;
        let payload = &mut self.buffer[start..end];
        if let Some(key) = head.mask {
            mask(payload, key, 0);
        }
        Ok(Some(match head.opcode {
            Opcode::Ping => EventSpan::Ping(start..end),
            Opcode::Pong => EventSpan::Pong(start..end),
            _ => {
                let close = read_close(payload)?;
                self.closed = true;
                EventSpan::Close(close)
            }
        }))
    }
}

/// An event by its place in the buffer.
enum EventSpan {
    Data {
        kind: MessageKind,
        payload: std::ops::Range<usize>,
        end: bool,
    },
    Ping(std::ops::Range<usize>),
    Pong(std::ops::Range<usize>),
    Close(Option<Close>),
}

impl EventSpan {
    fn event(self, buffer: &[u8]) -> FrameEvent<'_> {
        match self {
            Self::Data { kind, payload, end } => FrameEvent::Data {
                kind,
                payload: &buffer[payload],
                end,
            },
            Self::Ping(payload) => FrameEvent::Ping(&buffer[payload]),
            Self::Pong(payload) => FrameEvent::Pong(&buffer[payload]),
            Self::Close(close) => FrameEvent::Close(close),
        }
    }
}

/// RFC 6455 section 5.5.1: nothing, or a code and a reason in UTF-8.
fn read_close(payload: &[u8]) -> Result<Option<Close>, Violation> {
    let &[high, low, ref reason @ ..] = payload else {
        return if payload.is_empty() {
            Ok(None)
        } else {
            Err(protocol("a close code has two bytes"))
        };
    };
    let code = u16::from_be_bytes([high, low]);
    if !may_be_sent(code) {
        return Err(protocol("the close code is not one that may be sent"));
    }
    let reason = std::str::from_utf8(reason).map_err(|_| not_utf8())?;
    Ok(Some(Close {
        code,
        reason: reason.to_owned(),
    }))
}

/// RFC 6455 section 7.4 and its registry: 1004 to 1006 and 1015 are never sent in a frame.
fn may_be_sent(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

fn protocol(reason: &'static str) -> Violation {
    Violation {
        code: Close::PROTOCOL_ERROR,
        reason,
    }
}

fn not_utf8() -> Violation {
    Violation {
        code: Close::INVALID_PAYLOAD,
        reason: "a text is not UTF-8",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn violated(peer: Peer, bytes: &[u8]) -> u16 {
        let mut receiver = Receiver::new(peer);
        receiver.push(bytes);
        loop {
            match receiver.event() {
                Ok(Some(_)) => {}
                Ok(None) => panic!("{bytes:x?} was accepted"),
                Err(violation) => {
                    assert_eq!(receiver.event(), Err(violation.clone()));
                    return violation.code;
                }
            }
        }
    }

    #[test]
    fn what_breaks_the_protocol_is_refused() {
        for (bytes, code) in [
            (&b"\xc1\x00"[..], 1002),
            (b"\x83\x00", 1002),
            (b"\x80\x01a", 1002),
            (b"\x01\x01a\x81\x01b", 1002),
            (b"\x09\x00", 1002),
            (b"\x89\x7e\x00\x7e", 1002),
            (b"\x88\x01\x03", 1002),
            (b"\x88\x02\x03\xed", 1002),
            (b"\x88\x02\x03\xe7", 1002),
            (b"\x88\x03\x03\xe8\xff", 1007),
            (b"\x81\x01\xff", 1007),
            (b"\x81\x01\xc3", 1007),
            (b"\x01\x01\xc3\x80\x01a", 1007),
            (b"\x81\x81abcda", 1002),
        ] {
            assert_eq!(violated(Peer::Server, bytes), code, "{bytes:x?}");
        }
        assert_eq!(violated(Peer::Client, b"\x81\x01a"), 1002);
    }

    #[test]
    fn a_message_that_is_no_longer_utf8_is_refused_at_once() {
        let mut receiver = Receiver::new(Peer::Server);
        receiver.push(b"\x81\x7e\x10\x00ab\xff");
        assert!(receiver.event().is_err());
    }

    #[test]
    fn control_frames_may_come_between_the_pieces_of_a_message() {
        let mut receiver = Receiver::new(Peer::Server);
        receiver.push(b"\x01\x02\xc3\xa9\x89\x01p\x80\x01!\x88\x04\x03\xe8ok\x81\x01x");
        let data = |payload, end| FrameEvent::Data {
            kind: MessageKind::Text,
            payload,
            end,
        };
        assert_eq!(receiver.event(), Ok(Some(data("é".as_bytes(), false))));
        assert_eq!(receiver.event(), Ok(Some(FrameEvent::Ping(b"p"))));
        assert_eq!(receiver.event(), Ok(Some(data(b"!", true))));
        assert_eq!(
            receiver.event(),
            Ok(Some(FrameEvent::Close(Some(Close::new(1000, "ok")))))
        );
        assert_eq!(receiver.event(), Ok(None), "nothing follows a close frame");
    }

    #[test]
    fn a_frame_of_any_length_is_handed_on_as_it_comes() {
        let mut receiver = Receiver::new(Peer::Server);
        receiver.push(b"\x82\x7f\x7f\xff\xff\xff\xff\xff\xff\xff");
        for _ in 0..100 {
            receiver.push(&[7; 1000]);
            assert!(matches!(
                receiver.event(),
                Ok(Some(FrameEvent::Data { payload, end: false, .. })) if payload.len() == 1000
            ));
            assert_eq!(receiver.event(), Ok(None));
            assert!(receiver.buffer.capacity() <= 2000);
        }
    }
}

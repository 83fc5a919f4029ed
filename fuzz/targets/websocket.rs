//! WebSocket framing: whatever a peer sends is read the same way however it is cut, and what was
//! read or said arrives as it was when it is written on. Input: mode, cuts, and then what a peer
//! sends (even modes) or what is said to it, line by line (odd ones; see [`Said`]).

#![no_main]

use egret_fuzz::websocket::{Close, FrameEvent, MessageKind, MAX_CONTROL, Peer, Receiver, Sender, Violation};
use egret_fuzz::{choose, pieces};
use libfuzzer_sys::fuzz_target;

/// The most that a line is made to say, in bytes: a frame with the longest form of a length.
const MOST: usize = 70_000;
/// How often what stands in a line is said.
const REPEATS: [usize; 8] = [1, 2, 7, 31, 126, 300, 4_000, MOST];

fuzz_target!(|data: &[u8]| {
    let [mode, cuts, input @ ..] = data else {
        return;
    };
    let mode = mode.wrapping_sub(b'0');
    let (from, to) = match mode / 2 % 2 {
        0 => (Peer::Server, Peer::Client),
        _ => (Peer::Client, Peer::Server),
    };
    let wire = match mode % 2 {
        0 => input.to_vec(),
        // What is written to a client is what comes from a server.
        _ => said(input, from, to),
    };
    let whole = Read::of(from, &[&wire]);
    whole.check();
    let cut = Read::of(from, &pieces(&wire, *cuts));
    assert_eq!(cut.heard, whole.heard);
    assert_eq!(cut.end, whole.end);
    // What was read of a message before a violation depends on the pieces.
    if !matches!(whole.end, End::Violated(_)) {
        assert_eq!(cut.open, whole.open);
    }
    assert_eq!(passed_on(&cut, to, from), cut.without_violation());
});

/// Something whole that a peer has sent.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Heard {
    Message(MessageKind, Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
}

/// How reading ended.
#[derive(Clone, Debug, PartialEq, Eq)]
enum End {
    Open,
    Closed(Option<Close>),
    Violated(Violation),
}

/// All that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Read {
    heard: Vec<Heard>,
    /// The message that has not ended, unless nothing of it was read.
    open: Option<(MessageKind, Vec<u8>)>,
    end: End,
}

impl Read {
    fn of(peer: Peer, pieces: &[&[u8]]) -> Self {
        let mut receiver = Receiver::new(peer);
        let mut read = Self {
            heard: Vec::new(),
            open: None,
            end: End::Open,
        };
        for piece in pieces {
            receiver.push(piece);
            while read.end == End::Open && read.one(&mut receiver) {}
            match &read.end {
                End::Open => {}
                End::Closed(_) => assert_eq!(receiver.event(), Ok(None), "behind the end"),
                End::Violated(violation) => {
                    assert_eq!(receiver.event().as_ref(), Err(violation), "it stays");
                }
            }
        }
        read
    }

    /// Reads one event, if there is one.
    fn one(&mut self, receiver: &mut Receiver) -> bool {
        match receiver.event() {
            Ok(None) => return false,
            Ok(Some(FrameEvent::Data { kind, payload, end })) => self.data(kind, payload, end),
            Ok(Some(FrameEvent::Ping(payload))) => self.heard.push(Heard::Ping(payload.to_vec())),
            Ok(Some(FrameEvent::Pong(payload))) => self.heard.push(Heard::Pong(payload.to_vec())),
            Ok(Some(FrameEvent::Close(close))) => self.end = End::Closed(close),
            Err(violation) => self.end = End::Violated(violation),
        }
        true
    }

    fn data(&mut self, kind: MessageKind, payload: &[u8], end: bool) {
        let (first, mut message) = self.open.take().unwrap_or((kind, Vec::new()));
        assert_eq!(first, kind, "a message is of one kind");
        message.extend_from_slice(payload);
        if end {
            self.heard.push(Heard::Message(kind, message));
        } else if !message.is_empty() {
            self.open = Some((kind, message));
        }
    }

    /// What RFC 6455 promises of anything that is let through.
    fn check(&self) {
        for heard in &self.heard {
            match heard {
                Heard::Message(MessageKind::Text, text) => {
                    assert!(std::str::from_utf8(text).is_ok(), "{text:x?}");
                }
                Heard::Message(MessageKind::Binary, _) => {}
                Heard::Ping(payload) | Heard::Pong(payload) => {
                    assert!(payload.len() <= MAX_CONTROL);
                }
            }
        }
        if let Some((MessageKind::Text, text)) = &self.open {
            let begins =
                std::str::from_utf8(text).map_or_else(|e| e.error_len().is_none(), |_| true);
            assert!(begins, "{text:x?}");
        }
        if let End::Closed(Some(close)) = &self.end {
            assert!(close.reason.len() + 2 <= MAX_CONTROL);
            assert!(
                (1000..5000).contains(&close.code) && ![1004, 1005, 1006].contains(&close.code)
            );
        }
    }

    /// What is left to pass on of it.
    fn without_violation(&self) -> Self {
        let mut read = self.clone();
        if matches!(read.end, End::Violated(_)) {
            read.end = End::Open;
        }
        read
    }
}

/// Masking keys, among them the one that changes nothing.
fn keys() -> impl Iterator<Item = [u8; 4]> {
    (0u32..).map(|n| n.wrapping_mul(0x9e37_79b1).to_be_bytes())
}

/// What the other side reads when what was read is written on.
fn passed_on(read: &Read, to: Peer, from: Peer) -> Read {
    // A proxy writes to the peer of the one that it reads from.
    let mut sender = Sender::new(to, keys());
    let mut wire = Vec::new();
    for heard in &read.heard {
        let written = match heard {
            Heard::Message(kind, payload) => sender.data(*kind, payload, true, &mut wire),
            Heard::Ping(payload) => sender.ping(payload, &mut wire),
            Heard::Pong(payload) => sender.pong(payload, &mut wire),
        };
        written.expect("a key");
    }
    if let Some((kind, payload)) = &read.open {
        sender
            .data(*kind, payload, false, &mut wire)
            .expect("a key");
    }
    if let End::Closed(close) = &read.end {
        sender.close(close.as_ref(), &mut wire).expect("a key");
        sender.ping(b"too late", &mut wire).expect("a key");
    }
    Read::of(from, &[&wire])
}

/// Writes what the lines say, and checks that it is read so. A line is what (`t` for a piece of
/// text, `b` for one of a binary message, `T` and `B` for the last one; `p`, `q` and `c` for ping,
/// pong and close), how often, and the payload.
fn said(lines: &[u8], from: Peer, to: Peer) -> Vec<u8> {
    let mut sender = Sender::new(to, keys());
    let mut wire = Vec::new();
    let mut meant = Read {
        heard: Vec::new(),
        open: None,
        end: End::Open,
    };
    let mut room = MOST + 10_000;
    for line in lines.split(|byte| *byte == b'\n') {
        let [what, repeat, payload @ ..] = line else {
            continue;
        };
        let times = choose(&REPEATS, *repeat)
            .min(MOST / payload.len().max(1))
            .max(1);
        let payload = payload.repeat(times);
        room = room.saturating_sub(payload.len());
        if room == 0 || meant.end != End::Open {
            break;
        }
        say(&mut sender, &mut meant, *what, &payload, &mut wire);
    }
    let read = Read::of(from, &[&wire]);
    if is_text(&meant) {
        assert_eq!(read, meant);
    } else {
        match read.end {
            End::Violated(violation) => assert_eq!(violation.code, Close::INVALID_PAYLOAD),
            end => panic!("{end:?} of what is not UTF-8"),
        }
    }
    wire
}

fn say(
    sender: &mut Sender<impl Iterator<Item = [u8; 4]>>,
    meant: &mut Read,
    what: u8,
    payload: &[u8],
    wire: &mut Vec<u8>,
) {
    let control = &payload[..payload.len().min(MAX_CONTROL)];
    let written = match what {
        b'p' => {
            meant.heard.push(Heard::Ping(control.to_vec()));
            sender.ping(payload, wire)
        }
        b'q' => {
            meant.heard.push(Heard::Pong(control.to_vec()));
            sender.pong(payload, wire)
        }
        b'c' => {
            let close = match std::str::from_utf8(payload) {
                Ok(reason) if !reason.is_empty() => Some(Close::new(4321, reason)),
                _ => None,
            };
            meant.end = End::Closed(close.clone());
            sender.close(close.as_ref(), wire)
        }
        b't' | b'T' | b'b' | b'B' => {
            let end = what.is_ascii_uppercase();
            let kind = match (&meant.open, what | 0x20) {
                (Some((kind, _)), _) => *kind,
                (None, b't') => MessageKind::Text,
                (None, _) => MessageKind::Binary,
            };
            meant.data(kind, payload, end);
            sender.data(kind, payload, end, wire)
        }
        _ => return,
    };
    written.expect("a key");
}

/// Whether all texts, and the beginning of one that has not ended, are UTF-8.
fn is_text(meant: &Read) -> bool {
    let whole = meant.heard.iter().all(|heard| match heard {
        Heard::Message(MessageKind::Text, text) => std::str::from_utf8(text).is_ok(),
        _ => true,
    });
    whole
        && match &meant.open {
            Some((MessageKind::Text, text)) => {
                std::str::from_utf8(text).map_or_else(|e| e.error_len().is_none(), |_| true)
            }
            _ => true,
        }
}

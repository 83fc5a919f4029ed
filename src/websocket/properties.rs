//! Properties of the codec as a whole.

use proptest::prelude::*;

use super::*;

/// A message or a control frame.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Item {
    Message(MessageKind, Vec<Vec<u8>>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
}

fn item() -> impl Strategy<Value = Item> {
    let payload = || prop::collection::vec(any::<u8>(), 0..200);
    let control = || prop::collection::vec(any::<u8>(), 0..=MAX_CONTROL);
    prop_oneof![
        prop::collection::vec("\\PC{0,40}".prop_map(String::into_bytes), 1..4)
            .prop_map(|parts| Item::Message(MessageKind::Text, parts)),
        prop::collection::vec(payload(), 1..4)
            .prop_map(|parts| Item::Message(MessageKind::Binary, parts)),
        control().prop_map(Item::Ping),
        control().prop_map(Item::Pong),
    ]
}

fn written(peer: Peer, items: &[Item], close: Option<&Close>) -> Vec<u8> {
    let keys = (1u32..).map(|n| n.wrapping_mul(0x9e37_79b1).to_be_bytes());
    let mut sender = Sender::new(peer, keys);
    let mut out = Vec::new();
    for item in items {
        match item {
            Item::Message(kind, parts) => {
                for (n, part) in parts.iter().enumerate() {
                    let end = n + 1 == parts.len();
                    sender.data(*kind, part, end, &mut out).unwrap();
                }
            }
            Item::Ping(payload) => sender.ping(payload, &mut out).unwrap(),
            Item::Pong(payload) => sender.pong(payload, &mut out).unwrap(),
        }
    }
    sender.close(close, &mut out).unwrap();
    sender.ping(b"too late", &mut out).unwrap();
    out
}

/// What a receiver makes of bytes in pieces, messages put together.
fn read(
    peer: Peer,
    bytes: &[u8],
    cuts: &[usize],
) -> (Vec<Item>, Option<Result<Option<Close>, Violation>>) {
    let mut receiver = Receiver::new(peer);
    let (mut items, mut open) = (Vec::new(), Vec::new());
    let mut rest = bytes;
    for cut in cuts.iter().cycle() {
        let (piece, tail) = rest.split_at(rest.len().min(*cut));
        rest = tail;
        receiver.push(piece);
        loop {
            match receiver.event() {
                Ok(None) => break,
                Ok(Some(FrameEvent::Data { kind, payload, end })) => {
                    open.extend_from_slice(payload);
                    if end {
                        items.push(Item::Message(kind, vec![std::mem::take(&mut open)]));
                    }
                }
                Ok(Some(FrameEvent::Ping(payload))) => items.push(Item::Ping(payload.to_vec())),
                Ok(Some(FrameEvent::Pong(payload))) => items.push(Item::Pong(payload.to_vec())),
                Ok(Some(FrameEvent::Close(close))) => return (items, Some(Ok(close))),
                Err(violation) => return (items, Some(Err(violation))),
            }
        }
        if rest.is_empty() {
            return (items, None);
        }
    }
    unreachable!("there is at least one cut")
}

fn cuts() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(1usize..60, 1..20)
}

proptest! {
    #[test]
    fn what_was_sent_arrives_however_it_is_cut(
        items in prop::collection::vec(item(), 0..8),
        close in prop::option::of((prop::sample::select(vec![1000u16, 1001, 1008, 3000, 4999]), "\\PC{0,200}")),
        client: bool,
        cuts in cuts(),
    ) {
        let close = close.map(|(code, reason)| Close::new(code, &reason));
        // The frames that a client receives are those of a server, and the other way round.
        let (to, from) = if client { (Peer::Client, Peer::Server) } else { (Peer::Server, Peer::Client) };
        let bytes = written(to, &items, close.as_ref());
        let joined: Vec<Item> = items.into_iter().map(|item| match item {
            Item::Message(kind, parts) => Item::Message(kind, vec![parts.concat()]),
            other => other,
        }).collect();
        prop_assert_eq!(read(from, &bytes, &cuts), (joined, Some(Ok(close))));
    }

    /// Nothing a peer can send makes the receiver panic, and how it was cut does not matter.
    #[test]
    fn any_bytes_are_read_the_same_however_they_are_cut(
        frames in prop::collection::vec(
            (any::<u8>(), prop_oneof![0u8..6, Just(126u8), Just(127), any::<u8>()], prop::collection::vec(any::<u8>(), 0..12)),
            0..8,
        ),
        mostly_valid: bool,
        masked: bool,
        cuts in cuts(),
    ) {
        let mut bytes = Vec::new();
        for (first, second, payload) in frames {
            let (first, second) = if mostly_valid {
                let key = if masked { 0x80 } else { 0 };
                let opcode = [0, 1, 2, 8, 9, 10][usize::from(first & 0x0f) % 6];
                (first & 0x80 | opcode, key | payload.len() as u8)
            } else {
                (first, second)
            };
            bytes.extend([first, second]);
            if mostly_valid && masked {
                bytes.extend(*b"\0\0\0\0");
            }
            bytes.extend(payload);
        }
        for peer in [Peer::Client, Peer::Server] {
            let whole = read(peer, &bytes, &[usize::MAX]);
            let pieces = read(peer, &bytes, &cuts);
            prop_assert_eq!(pieces, whole);
        }
    }
}

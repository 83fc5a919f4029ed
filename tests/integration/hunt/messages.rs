//! The messages of a hostile upstream that echoes a value over WebSocket.

use super::canary::Chance;
use super::names;
use crate::websocket::socket::{
    BINARY, CLOSE, CONTINUATION, FIN, PING, PONG, TEXT, frame, switching,
};

/// Where the conversation holds the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Text,
    Json,
    Binary,
    Ping,
    Pong,
    Close,
}

const PLACES: [Place; 9] = [
    Place::Text,
    Place::Text,
    Place::Json,
    Place::Json,
    Place::Binary,
    Place::Binary,
    Place::Ping,
    Place::Pong,
    Place::Close,
];

/// The most that a control frame holds, in bytes.
const CONTROL: usize = 125;
/// Longer messages are not sent byte by byte, in bytes.
const SHORT: usize = 700;

/// Something that is said to the client.
pub struct Echo {
    pub place: Place,
    pub frames: Vec<u8>,
    /// How many frames carry the message.
    pub pieces: usize,
}

/// Frames that hold `form` as a whole or in the pieces of one message.
pub fn echo(chance: &mut Chance, form: &[u8]) -> Echo {
    let place = *chance.pick(&PLACES);
    let room = match place {
        Place::Close => CONTROL - 2,
        Place::Ping | Place::Pong => CONTROL,
        _ => usize::MAX,
    };
    let place = if form.len() > room {
        Place::Binary
    } else {
        place
    };
    let whole = |first: u8, payload: &[u8]| frame(FIN | first, payload, false);
    let (opcode, message) = match place {
        Place::Ping => return Echo::whole(place, whole(PING, &padded(chance, form))),
        Place::Pong => return Echo::whole(place, whole(PONG, &padded(chance, form))),
        Place::Close => {
            let code = *chance.pick(&[1000u16, 1001, 1008, 1011, 3000, 4999]);
            let payload = [&code.to_be_bytes()[..], form].concat();
            return Echo::whole(place, whole(CLOSE, &payload));
        }
        Place::Binary => (BINARY, around(chance, b"\0\xff", form, b"\xfe")),
        Place::Text => (TEXT, around(chance, b"heard ", form, b" so")),
        Place::Json => (TEXT, around(chance, b"[1,\"", form, b"\",{\"z\":null}]")),
    };
    let pieces = cut(chance, &message);
    let frames = fragmented(chance, opcode, &pieces, form);
    Echo {
        place,
        frames,
        pieces: pieces.len(),
    }
}

impl Echo {
    fn whole(place: Place, frames: Vec<u8>) -> Self {
        Self {
            place,
            frames,
            pieces: 1,
        }
    }
}

/// As much before the form as a control frame has room for, or less.
fn padded(chance: &mut Chance, form: &[u8]) -> Vec<u8> {
    let padding = chance.below(CONTROL - form.len() + 1);
    [&b".".repeat(padding), form].concat()
}

/// Filling puts the value across the borders of the buffers on the way.
fn around(chance: &mut Chance, before: &[u8], form: &[u8], after: &[u8]) -> Vec<u8> {
    let filling = match chance.below(8) {
        0 => chance.below(70_000),
        1 => 16_384 - chance.below(64),
        _ => chance.below(40),
    };
    [before, &b".".repeat(filling), b" ", form, after].concat()
}

/// A message in pieces: one, two, any, or its bytes; some pieces are empty.
fn cut<'m>(chance: &mut Chance, message: &'m [u8]) -> Vec<&'m [u8]> {
    let longest = match chance.below(4) {
        0 => return vec![message],
        1 => {
            let (head, tail) = message.split_at(chance.below(message.len() + 1));
            return vec![head, tail];
        }
        2 if message.len() <= SHORT => 1,
        _ => message.len().div_ceil(20).max(2),
    };
    let mut pieces = Vec::new();
    let mut rest = message;
    while !rest.is_empty() {
        let length = match chance.once_in(8) {
            true => 0,
            false => 1 + chance.below(longest),
        };
        let (piece, behind) = rest.split_at(length.min(rest.len()));
        pieces.push(piece);
        rest = behind;
    }
    pieces
}

/// The frames of a message, with control frames between them that hold the value too if it fits.
fn fragmented(chance: &mut Chance, opcode: u8, pieces: &[&[u8]], form: &[u8]) -> Vec<u8> {
    let mut frames = Vec::new();
    for (n, piece) in pieces.iter().enumerate() {
        if n > 0 && chance.once_in(3) {
            let said = if form.len() <= CONTROL { form } else { b"." };
            let opcode = *chance.pick(&[PING, PONG]);
            frames.extend(frame(FIN | opcode, said, false));
        }
        let fin = if n + 1 == pieces.len() { FIN } else { 0 };
        let opcode = if n == 0 { opcode } else { CONTINUATION };
        frames.extend(frame(fin | opcode, piece, false));
    }
    frames
}

/// An answer to a handshake: a yes, most often with the value in its head, or nearly one.
pub fn agreement(chance: &mut Chance, form: &str) -> String {
    let yes = switching("");
    match chance.below(12) {
        10 | 11 if names::is_token(form.as_bytes()) => switching(&format!("{form}: 1\r\n")),
        0 => yes.replace("Switching Protocols", form),
        1 => switching(&format!("Sec-WebSocket-Protocol: {form}\r\n")),
        2 => switching(&format!("Sec-WebSocket-Extensions: {form}\r\n")),
        3 => yes.replace("Accept: ", &format!("Accept: {form}")),
        4 => yes.replace("Upgrade: WebSocket", &format!("Upgrade: {form}")),
        5 => yes,
        _ => {
            let names = ["X-Echo", "Set-Cookie", "Location", "Server", "Connection"];
            let name = chance.pick(&names);
            switching(&format!("{name}: {form}\r\n"))
        }
    }
}

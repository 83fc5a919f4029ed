//! Helpers that the tests of this module share.

use super::{CodingError, Codings, DecodeLimits, Decoder, Encoder, Pulled};

pub(super) fn codings(value: &str) -> Codings {
    Codings::parse([value.as_bytes()]).expect("known codings")
}

/// The whole text in these codings.
pub(super) fn compress(codings: &Codings, text: &[u8]) -> Vec<u8> {
    let mut wire = Vec::new();
    let mut encoder = Encoder::new(codings);
    encoder.push(text, &mut wire).expect("taken");
    encoder.finish(&mut wire).expect("finished");
    wire
}

/// Pulls until there is no more output, and checks that no pull returns more than its room.
pub(super) fn drain(
    decoder: &mut Decoder,
    out: &mut Vec<u8>,
    room: usize,
) -> Result<Pulled, CodingError> {
    loop {
        let before = out.len();
        let result = decoder.pull(out, room);
        let given = out.len() - before;
        assert!(given <= room, "{given} bytes in a room of {room}");
        if result != Ok(Pulled::More) {
            return result;
        }
        assert_eq!(given, room, "more is said only when the room is full");
    }
}

/// Decodes a whole body that arrives in pieces, and returns the output and how it ended.
pub(super) fn decompress_pieces<'a>(
    codings: &Codings,
    limits: DecodeLimits,
    pieces: impl IntoIterator<Item = &'a [u8]>,
    room: usize,
) -> (Vec<u8>, Result<(), CodingError>) {
    let mut decoder = Decoder::new(codings, limits);
    let mut out = Vec::new();
    for piece in pieces {
        decoder.push(piece);
        match drain(&mut decoder, &mut out, room) {
            Ok(pulled) => assert_eq!(pulled, Pulled::NeedInput),
            Err(error) => {
                assert_eq!(decoder.pull(&mut out, room), Err(error), "an error stays");
                return (out, Err(error));
            }
        }
    }
    decoder.finish();
    let end = drain(&mut decoder, &mut out, room);
    (out, end.map(|pulled| assert_eq!(pulled, Pulled::Done)))
}

/// Decodes a whole body at once.
pub(super) fn decompress(codings: &Codings, wire: &[u8]) -> Result<Vec<u8>, CodingError> {
    let (out, end) = decompress_pieces(codings, DecodeLimits::default(), [wire], 4096);
    end.map(|()| out)
}

//! A coded body on its way through: opened, searched, closed again. What the receiver opens is
//! what an uncoded body would have become. Input: codings, cuts, values, text.

#![no_main]

use egret_fuzz::coding::{CodingError, Codings, Decoder, Encoder, DecodeLimits, Pulled};
use egret_fuzz::substituted::Values;
use egret_fuzz::substitution::body::BodyKind;
use egret_fuzz::{choose, pieces};
use libfuzzer_sys::fuzz_target;

const CODINGS: [&str; 8] = [
    "gzip",
    "deflate",
    "br",
    "zstd",
    "gzip, br",
    "zstd, gzip",
    "br, deflate",
    "identity",
];

fuzz_target!(|data: &[u8]| {
    let [codings, cuts, seed, text @ ..] = data else {
        return;
    };
    let codings = Codings::parse([choose(&CODINGS, *codings).as_bytes()]).expect("known");
    let wire = close(Encoder::new(&codings), &pieces(text, *cuts));
    let mut decoder = Decoder::new(&codings, DecodeLimits::default());
    let opened = open(&mut decoder, &pieces(&wire, *cuts)).expect("what was just closed");
    assert_eq!(opened, text);

    let mut values = Values::new(*seed);
    let held = values.held(&BodyKind::Json, text);
    let streamed = values.streamed(&BodyKind::Json, pieces(&opened, *cuts));
    assert_eq!(held, streamed);
    if let Some(changed) = streamed {
        let again = close(Encoder::like(&decoder), &pieces(&changed, *cuts));
        let mut receiver = Decoder::new(&codings, DecodeLimits::default());
        assert_eq!(open(&mut receiver, &[&again]), Ok(changed));
    }
});

/// Every other piece is flushed, as a stream of events would be.
fn close(mut encoder: Encoder, pieces: &[&[u8]]) -> Vec<u8> {
    let mut wire = Vec::new();
    for (index, piece) in pieces.iter().enumerate() {
        encoder.push(piece, &mut wire).expect("taken");
        if index % 2 == 1 {
            encoder.flush(&mut wire).expect("flushed");
        }
    }
    encoder.finish(&mut wire).expect("finished");
    wire
}

fn open(decoder: &mut Decoder, pieces: &[&[u8]]) -> Result<Vec<u8>, CodingError> {
    let mut out = Vec::new();
    for piece in pieces {
        decoder.push(piece);
        while decoder.pull(&mut out, 4096)? == Pulled::More {}
    }
    decoder.finish();
    while decoder.pull(&mut out, 4096)? != Pulled::Done {}
    Ok(out)
}

//! Bytes that claim to be coded: never a panic, never beyond the limits, and one verdict however
//! they are cut. Input: codings, cuts, bytes.

#![no_main]

use egret_fuzz::coding::{CodingError, Codings, Decoder, DecodeLimits, Pulled};
use egret_fuzz::{choose, pieces};
use libfuzzer_sys::fuzz_target;

const CODINGS: [&str; 6] = ["gzip", "deflate", "br", "zstd", "gzip, br", "zstd, gzip"];

/// The most that is opened here, in bytes.
const CAP: u64 = 256 << 10;

fuzz_target!(|data: &[u8]| {
    let [codings, cuts, wire @ ..] = data else {
        return;
    };
    let codings = Codings::parse([choose(&CODINGS, *codings).as_bytes()]).expect("known");
    let (whole, end) = open(&codings, &[wire]);
    let (cut, cut_end) = open(&codings, &pieces(wire, *cuts));
    // How far a body has got when its ratio is looked at depends on the pieces.
    let bomb = Err(CodingError::Bomb);
    if end != bomb && cut_end != bomb {
        assert_eq!(end.is_ok(), cut_end.is_ok(), "{end:?} {cut_end:?}");
        if end.is_ok() {
            assert!(whole == cut, "the pieces matter");
        }
    }
});

fn open(codings: &Codings, pieces: &[&[u8]]) -> (Vec<u8>, Result<(), CodingError>) {
    let limits = DecodeLimits {
        max_output: Some(CAP),
        ..DecodeLimits::default()
    };
    let mut decoder = Decoder::new(codings, limits);
    let mut out = Vec::new();
    let end = drive(&mut decoder, pieces, &mut out);
    assert!(out.len() as u64 <= CAP);
    if let Err(error) = end {
        assert_eq!(decoder.pull(&mut out, 100), Err(error), "an error stays");
    }
    (out, end)
}

fn drive(decoder: &mut Decoder, pieces: &[&[u8]], out: &mut Vec<u8>) -> Result<(), CodingError> {
    for piece in pieces {
        decoder.push(piece);
        while decoder.pull(out, 4096)? == Pulled::More {}
    }
    decoder.finish();
    loop {
        match decoder.pull(out, 4096)? {
            Pulled::Done => return Ok(()),
            Pulled::More => {}
            Pulled::NeedInput => panic!("there is no more input"),
        }
    }
}

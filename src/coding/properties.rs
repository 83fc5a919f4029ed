//! What holds for every body, every coding and every way of cutting it.

use proptest::prelude::*;
use proptest::sample::Index;

use super::fixture::{compress, decompress, decompress_pieces, drain};
use super::{Coding, CodingError, Codings, DecodeLimits, Decoder, Encoder, Pulled};

fn any_codings() -> impl Strategy<Value = Codings> {
    let coding = prop::sample::select(Coding::ALL.to_vec());
    prop::collection::vec(coding, 0..=4).prop_map(|stack| {
        let value = stack
            .iter()
            .map(|coding| coding.as_str())
            .collect::<Vec<_>>()
            .join(",");
        super::fixture::codings(&value)
    })
}

/// Text with repetitions as well as bytes that cannot be compressed.
fn any_text() -> impl Strategy<Value = Vec<u8>> {
    let bytes = prop::collection::vec(any::<u8>(), 0..400);
    let piece = (bytes, 1_usize..60).prop_map(|(bytes, times)| bytes.repeat(times));
    prop::collection::vec(piece, 0..4).prop_map(|pieces| pieces.concat())
}

fn any_cuts() -> impl Strategy<Value = Vec<Index>> {
    prop::collection::vec(any::<Index>(), 0..8)
}

/// The bytes cut at these places.
fn cut<'a>(bytes: &'a [u8], cuts: &[Index]) -> Vec<&'a [u8]> {
    let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    places.extend([0, bytes.len()]);
    places.sort_unstable();
    places
        .windows(2)
        .map(|ends| &bytes[ends[0]..ends[1]])
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn what_was_closed_opens_again_however_both_are_cut(
        codings in any_codings(),
        text in any_text(),
        taken in any_cuts(),
        sent in any_cuts(),
        room in prop_oneof![1_usize..40, 1000_usize..70_000],
    ) {
        let mut encoder = Encoder::new(&codings);
        let mut wire = Vec::new();
        for piece in cut(&text, &taken) {
            encoder.push(piece, &mut wire).expect("taken");
        }
        encoder.finish(&mut wire).expect("finished");
        let opened = decompress_pieces(&codings, DecodeLimits::default(), cut(&wire, &sent), room);
        prop_assert_eq!(opened, (text, Ok(())));
    }

    #[test]
    fn everything_flushed_can_be_read(
        codings in any_codings(),
        text in any_text(),
        flushed in any_cuts(),
        room in 1_usize..5000,
    ) {
        let mut encoder = Encoder::new(&codings);
        let mut decoder = Decoder::new(&codings, DecodeLimits::default());
        let (mut wire, mut out, mut pushed) = (Vec::new(), Vec::new(), 0);
        for piece in cut(&text, &flushed) {
            wire.clear();
            encoder.push(piece, &mut wire).expect("taken");
            encoder.flush(&mut wire).expect("flushed");
            decoder.push(&wire);
            pushed += piece.len();
            prop_assert_eq!(drain(&mut decoder, &mut out, room), Ok(Pulled::NeedInput));
            prop_assert_eq!(&out[..], &text[..pushed]);
        }
        wire.clear();
        encoder.flush(&mut wire).expect("flushed");
        prop_assert!(wire.is_empty(), "a second flush has nothing to say");
    }

    #[test]
    fn a_damaged_body_gives_an_error_or_some_text_in_any_pieces(
        codings in any_codings(),
        text in any_text(),
        damage in prop::collection::vec((any::<Index>(), any::<u8>()), 1..4),
        sent in any_cuts(),
    ) {
        let mut wire = compress(&codings, &text);
        for (place, byte) in damage {
            if !wire.is_empty() {
                let at = place.index(wire.len());
                wire[at] = byte;
            }
        }
        let whole = decompress(&codings, &wire);
        let (out, end) = decompress_pieces(&codings, DecodeLimits::default(), cut(&wire, &sent), 100);
        // In a stack, the pieces decide which coding fails first, but not whether one fails.
        prop_assert_eq!(whole.is_ok(), end.is_ok(), "{:?} {:?}", whole.err(), end);
        if let Ok(whole) = whole {
            prop_assert_eq!(out, whole);
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic_and_never_outgrow_the_limits(
        codings in any_codings(),
        wire in prop::collection::vec(any::<u8>(), 0..600),
        sent in any_cuts(),
        cap in 0_u64..2000,
    ) {
        let limits = DecodeLimits { max_output: Some(cap), ..DecodeLimits::default() };
        let (out, end) = decompress_pieces(&codings, limits, cut(&wire, &sent), 64);
        prop_assert!(out.len() as u64 <= cap);
        prop_assert!(!matches!(end, Err(CodingError::Compressor(_))));
    }
}

//! What substitution can write, the scrubber can find: an upstream may send back what it received.

use proptest::prelude::*;

use super::properties::value;
use super::*;
use crate::substitution::encode::encode;
use crate::substitution::encoding::Encoding;

proptest! {
    #![proptest_config(cases(512))]

    #[test]
    fn a_value_is_found_in_every_encoding_that_substitution_writes(
        value in value(),
        before in "[\\[,;| ]{0,3}",
    ) {
        // Where `+` is a space too, such a value begins at two places, and the later one is not looked for.
        prop_assume!(!reads_as_itself_moved(&value));
        let needles = one(&value);
        for encoding in Encoding::ALL {
            let mut text = before.clone().into_bytes();
            if encode(encoding, &value, before.as_bytes(), &mut text).is_err() {
                continue;
            }
            let end = text.len();
            text.extend(b"|,");
            let covered = needles.find(&text).iter().any(|hit| {
                hit.offset <= before.len() as u64 && hit.offset as usize + hit.length >= end
            });
            prop_assert!(covered, "{:?}: {}", encoding, text.escape_ascii());
        }
    }
}

/// Whether a value agrees with itself, moved, only if a space and `+` are the same.
fn reads_as_itself_moved(value: &[u8]) -> bool {
    let same =
        |one: u8, other: u8| one == other || [one, other] == *b" +" || [one, other] == *b"+ ";
    let pairs = |by: usize| value.iter().zip(&value[by..]);
    (1..value.len())
        .any(|by| pairs(by).all(|(a, b)| same(*a, *b)) && !pairs(by).all(|(a, b)| a == b))
}

/// A byte beside wide text can belong to the value in the other byte order, or as the rest of an escape. Where
/// the length is to stay, it is one byte more to replace and none to add.
#[test]
fn a_byte_beside_wide_text_keeps_its_length() {
    for value in [&br"40%;0tt\"[..], b"ghp_Zk3vQ9xT7mB2"] {
        let needles = one(value);
        let text = std::str::from_utf8(value).unwrap_or_default();
        let little: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let big: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
        for (wide, byte) in [little, big]
            .iter()
            .flat_map(|wide| (0..=255).map(move |byte| (wide, byte)))
        {
            for text in [[&wide[..], &[byte]].concat(), [&[byte], &wide[..]].concat()] {
                let (out, hits) = scrub_with(&needles, Replacement::SameLength, &[&text]);
                assert_eq!(
                    (out.len(), hits.is_empty()),
                    (text.len(), false),
                    "{}",
                    text.escape_ascii()
                );
            }
        }
    }
}

/// Whether a zero byte of the neighbour is part of what is replaced shows only where that ends.
#[test]
fn wide_text_is_replaced_the_same_in_any_pieces() {
    let value = b"AaaA0__a0AAA_AAa";
    let needles = one(value);
    let big: Vec<u8> = value.iter().flat_map(|byte| [0, *byte]).collect();
    for text in [
        [&big[..], &big].concat(),
        [&big[..], b"\0x"].concat(),
        [&big[..], &big, b"\0x"].concat(),
    ] {
        let whole = scrub(&needles, &text);
        let bytes: Vec<&[u8]> = text.chunks(1).collect();
        assert_eq!(
            scrub_with(&needles, Replacement::Placeholder, &bytes),
            whole
        );
        let readable = whole
            .0
            .chunks(2)
            .all(|unit| unit.len() == 2 && unit[0] == 0);
        assert!(readable, "{}", whole.0.escape_ascii());
    }
}

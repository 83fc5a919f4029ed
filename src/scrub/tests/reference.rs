//! The search compared with the slow and obvious one: from every position, all readings of the text
//! to the end of every value.

use std::collections::BTreeSet;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::*;
use crate::scrub::escapes::TextUnit;
use crate::scrub::haystack::Haystack;

/// Every stretch of `text` that reads as `value` itself, in any mix of notations.
fn readings(text: &[u8], value: &[u8]) -> Vec<(usize, usize)> {
    let haystack = Haystack::whole(text);
    let mut found = Vec::new();
    for start in 0..text.len() {
        let mut open = BTreeSet::from([(start, 0)]);
        while let Some((pos, read)) = open.pop_first() {
            if read == value.len() {
                found.push((start, pos));
            } else if pos < text.len() {
                let mut units = vec![TextUnit::literal(text[pos], pos)];
                if matches!(text[pos], b'%' | b'\\' | b'&') {
                    units.extend(haystack.escapes(pos).iter().copied());
                }
                for unit in &units {
                    let bytes = unit.bytes();
                    let space = bytes == b"+" && value[read..].starts_with(b" ");
                    if space || value[read..].starts_with(bytes) {
                        open.insert((unit.next, read + bytes.len()));
                    }
                }
            }
        }
    }
    found
}

/// The bytes of `text` that belong to a value.
fn covered(text: &[u8], values: &[Vec<u8>]) -> Vec<bool> {
    let mut covered = vec![false; text.len()];
    for (start, end) in values.iter().flat_map(|value| readings(text, value)) {
        covered[start..end].fill(true);
    }
    covered
}

/// The bytes of `text` that are replaced. The text has no star.
fn replaced(values: &[Vec<u8>], text: &[u8], cuts: &[&[u8]]) -> Vec<bool> {
    let (out, _) = scrub_with(&needles(values), Replacement::SameLength, cuts);
    assert_eq!(out.len(), text.len());
    out.iter().zip(text).map(|(new, old)| new != old).collect()
}

/// Values of few characters: they repeat themselves, and contain and overlap each other.
fn repetitive() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let run = ("[ab]", 1..4_usize, 8..40_usize).prop_map(|(unit, times, len)| {
        unit.bytes()
            .cycle()
            .take(len.max(times))
            .collect::<Vec<u8>>()
    });
    let period = ("[ab]{1,6}", 8..40_usize)
        .prop_map(|(unit, len)| unit.bytes().cycle().take(len).collect::<Vec<u8>>());
    let nearly = ("[ab]{1,5}", 8..40_usize, "[abc]{1,3}").prop_map(|(unit, len, end)| {
        let start = unit.bytes().cycle().take(len);
        start.chain(end.bytes()).collect::<Vec<u8>>()
    });
    let any = "[ab]{8,24}".prop_map(String::into_bytes);
    vec(prop_oneof![run, period, nearly, any], 1..5)
}

/// Values and pieces of them, one after the other.
fn made_of(values: &[Vec<u8>], pieces: &[(Index, Index, Index)]) -> Vec<u8> {
    let mut text = Vec::new();
    for (value, from, to) in pieces {
        let value = value.get(values);
        let (from, to) = (from.index(value.len() + 1), to.index(value.len() + 1));
        text.extend(&value[from.min(to)..from.max(to)]);
    }
    text
}

/// Ways to write one letter.
const LETTERS: &[&[u8]] = &[b"a", b"%61", b"\\u0061", b"&#97;"];

/// Texts that can be read in many ways are made of these.
#[rustfmt::skip]
const PIECES: &[&[u8]] = &[
    b"a", b"%61", b"\\u0061", b"&#97;", b"%2561", b"\\", b"\\\\", b"%25", b"&amp;", b"aaaaaaaa",
    b"%61%61%61%61%61%61", b"\\\\\\\\", b"%25%25%25", b"x", b"+",
];

proptest! {
    #![proptest_config(cases(1_500))]

    /// In plain text exactly what belongs to a value is replaced, however it repeats itself.
    #[test]
    fn in_plain_text_the_search_is_exact(
        values in repetitive(),
        pieces in vec(any::<(Index, Index, Index)>(), 1..10),
        size in 1..40_usize,
    ) {
        let text = made_of(&values, &pieces);
        let chunks: Vec<&[u8]> = text.chunks(size).collect();
        prop_assert_eq!(
            replaced(&values, &text, &chunks),
            covered(&text, &values),
            "{}", text.escape_ascii()
        );
    }

    /// Whatever notations a text uses, and however much it and the values repeat themselves, nothing
    /// of a value is left.
    #[test]
    fn nothing_that_reads_as_a_value_is_left(
        values in vec(
            prop_oneof![
                vec(select(LETTERS), 8..14)
                    .prop_map(|parts| parts.concat()),
                vec(select(&b"\\%&a"[..]), 8..20),
                vec(select(&b"%25"[..]), 8..20),
            ],
            1..3,
        ),
        text in vec(
            select(PIECES),
            0..40,
        ),
        size in 1..40_usize,
    ) {
        let text = text.concat();
        let chunks: Vec<&[u8]> = text.chunks(size).collect();
        let replaced = replaced(&values, &text, &chunks);
        for (at, covered) in covered(&text, &values).into_iter().enumerate() {
            prop_assert!(replaced[at] || !covered, "{} at {}", text.escape_ascii(), at);
        }
    }

    /// Where only a few readings meet, what is written in escapes is replaced exactly too.
    #[test]
    fn few_escapes_leave_the_search_exact(
        values in repetitive(),
        pieces in vec(any::<(Index, Index, Index)>(), 1..6),
        escaped in vec((any::<Index>(), 0..3_u8), 0..4),
        size in 1..40_usize,
    ) {
        let plain = made_of(&values, &pieces);
        let mut how = vec![None; plain.len()];
        for (at, notation) in &escaped {
            if !plain.is_empty() {
                how[at.index(plain.len())] = Some(*notation);
            }
        }
        let mut text = Vec::new();
        for (byte, how) in plain.iter().zip(how) {
            match how {
                None => text.push(*byte),
                Some(0) => text.extend(format!("%{byte:02x}").bytes()),
                Some(1) => text.extend(format!("\\u00{byte:02x}").bytes()),
                Some(_) => text.extend(format!("&#{byte};").bytes()),
            }
        }
        let chunks: Vec<&[u8]> = text.chunks(size).collect();
        let replaced = replaced(&values, &text, &chunks);
        let covered = covered(&text, &values);
        for at in 0..text.len() {
            prop_assert!(replaced[at] || !covered[at], "{} at {}", text.escape_ascii(), at);
        }
        let too_much = (0..text.len()).filter(|&at| replaced[at] && !covered[at]).count();
        prop_assert!(too_much == 0 || values.iter().any(|v| v.len() > 16), "{}", text.escape_ascii());
    }
}

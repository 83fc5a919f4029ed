//! Nothing of a value comes through the scrubber, and its output does not depend on the pieces.
//! Input: values, cuts, text in which the bytes 1 to 14 stand for a value in some spelling.

#![no_main]

use std::sync::{Arc, LazyLock};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use egret_fuzz::pieces;
use egret_fuzz::scrub::{MIN_SEARCHED, Needles, Replacement, Scrubber, scrub_bytes};
use egret_fuzz::secret::SecretBytes;
use libfuzzer_sys::fuzz_target;

/// Values that overlap, repeat, contain placeholders and look like their own encodings; the last
/// of each set may be a short one, which counts as used by the request.
const SETS: [&[&[u8]]; 6] = [
    &[b"s3cr3t+Canary/9f8e7d6c&x=\"1\""],
    &[b"abcdefgh", b"efghijkl", b"ijklabcd"],
    &[b"aaaaaaaa", b"abababab", b"aaaaaaaaaaab"],
    &[b"secret12<", b">secret12", b"<<s0>>xyz", b"secret1*"],
    &[b"\xff\xfe\x00\x01binary\x80", "pässwörd-🔑".as_bytes()],
    &[b"AAAAAAAAAAAA", b"%41%41%41", b"q7#Z"],
];

fn needles_of(values: &[&[u8]]) -> Arc<Needles> {
    let named = |(index, value): (usize, &&[u8])| {
        (
            format!("s{index}"),
            Arc::new(SecretBytes::new(value.to_vec())),
        )
    };
    let named: Vec<(String, Arc<SecretBytes>)> = values.iter().enumerate().map(named).collect();
    let base = Arc::new(Needles::new(named.iter().cloned()));
    base.with_used(&named)
}

static NEEDLES: LazyLock<Vec<Arc<Needles>>> =
    LazyLock::new(|| SETS.iter().map(|values| needles_of(values)).collect());

fuzz_target!(|data: &[u8]| {
    let [mode, cuts, text @ ..] = data else {
        return;
    };
    let mode = mode.wrapping_sub(b'0');
    let set = usize::from(mode) % SETS.len();
    let replacement = match usize::from(mode) / SETS.len() % 2 {
        0 => Replacement::Placeholder,
        _ => Replacement::SameLength,
    };
    let text = expand(SETS[set], text);
    let needles = &NEEDLES[set];
    let (out, hits) = scrub(needles, replacement, &[&text]);
    let cut = scrub(needles, replacement, &pieces(&text, *cuts));
    assert_eq!((&out, &hits), (&cut.0, &cut.1));
    if hits.is_empty() {
        assert_eq!(out, text);
    }
    match replacement {
        Replacement::Json | Replacement::Xml | Replacement::Percent => {}
        Replacement::SameLength => assert_eq!(out.len(), text.len()),
        Replacement::Placeholder => {
            let alone = scrub_bytes(needles, &text, &mut Vec::new());
            assert_eq!(alone.unwrap_or_else(|| text.clone()), out);
        }
    }
    // A short value is found in a slug by mere chance.
    let left: Vec<_> = needles
        .find(&out)
        .into_iter()
        .filter(|hit| hit.length >= MIN_SEARCHED)
        .collect();
    assert!(left.is_empty(), "{left:?} in {}", out.escape_ascii());
    for value in SETS[set] {
        assert!(
            !out.windows(value.len()).any(|w| w == *value),
            "{}",
            out.escape_ascii()
        );
    }
});

fn scrub(
    needles: &Arc<Needles>,
    replacement: Replacement,
    pieces: &[&[u8]],
) -> (Vec<u8>, Vec<(String, u64, usize)>) {
    let mut scrubber = Scrubber::new(Arc::clone(needles), replacement);
    let (mut out, mut hits) = (Vec::new(), Vec::new());
    for piece in pieces {
        scrubber.push(piece, &mut out, &mut hits);
    }
    scrubber.finish(&mut out, &mut hits);
    assert_eq!(format!("{:?}", scrubber.waiting()), "Nothing");
    let hits = hits.iter();
    let shown = hits.map(|hit| {
        (
            format!("{:?} {}", hit.form, hit.reference),
            hit.offset,
            hit.length,
        )
    });
    (out, shown.collect())
}

/// A fuzzer does not come upon base64 by chance.
fn expand(values: &[&[u8]], text: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut which = 0;
    for &byte in text {
        let value = values[which % values.len()];
        let escaped = |each: &dyn Fn(u8) -> String| {
            value
                .iter()
                .map(|b| each(*b))
                .collect::<String>()
                .into_bytes()
        };
        let behind = |prefix: &[u8]| [prefix, value].concat();
        let spelled: Vec<u8> = match byte {
            1 => value.to_vec(),
            2 => escaped(&|b| format!("%{b:02x}")),
            3 => escaped(&|b| format!("\\u00{b:02X}")),
            4 => escaped(&|b| format!("&#{b};")),
            5 => escaped(&|b| format!("{b:02x}")),
            6 => STANDARD.encode(value).into_bytes(),
            7 => STANDARD.encode(behind(b"u:")).into_bytes(),
            8 => URL_SAFE_NO_PAD.encode(behind(b"a")).into_bytes(),
            9 | 10 | 13 => {
                // White space, which texts are full of.
                out.push(byte);
                continue;
            }
            11 => value[..value.len() / 2].to_vec(),
            12 => value[value.len() / 2..].to_vec(),
            14 => {
                which += 1;
                continue;
            }
            other => {
                out.push(other);
                continue;
            }
        };
        out.extend(spelled);
    }
    out
}

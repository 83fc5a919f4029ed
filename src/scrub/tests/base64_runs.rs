//! Base64 stays base64.

use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use proptest::prelude::*;

use super::*;

const VALUE: &[u8] = b"ghp_Zk3vQ9xT7mB2wLr8NcYd5H";

fn decoded(text: &[u8]) -> Option<Vec<u8>> {
    let text: Vec<u8> = text
        .iter()
        .copied()
        .filter(|byte| !b"\r\n".contains(byte))
        .collect();
    let engines = [&STANDARD, &STANDARD_NO_PAD, &URL_SAFE, &URL_SAFE_NO_PAD];
    engines.iter().find_map(|engine| engine.decode(&text).ok())
}

proptest! {
    #![proptest_config(cases(400))]

    /// Whatever surrounds the value, what is decoded is the same text with the placeholder in it.
    #[test]
    fn a_masked_text_in_base64_is_the_base64_of_the_masked_text(
        slug in "[a-z][a-z0-9_-]{0,8}",
        parts in prop::collection::vec("[ -~]{0,12}", 2..4),
        url in any::<bool>(),
        padded in any::<bool>(),
        wrapped in any::<bool>(),
        size in 1..60_usize,
        around in prop_oneof![Just(("\"", "\"")), Just(("Basic ", "")), Just(("x: ", " next"))],
    ) {
        let value = Arc::new(SecretBytes::new(VALUE.to_vec()));
        let needles = Arc::new(Needles::new([(slug.clone(), value)]));
        let plain = parts.join(std::str::from_utf8(VALUE).expect("text"));
        let engine = match (url, padded) {
            (false, true) => &STANDARD,
            (false, false) => &STANDARD_NO_PAD,
            (true, true) => &URL_SAFE,
            (true, false) => &URL_SAFE_NO_PAD,
        };
        let mut coded = engine.encode(&plain);
        if wrapped {
            let lines: Vec<&str> = coded.as_bytes().chunks(60).map(|line| std::str::from_utf8(line).expect("text")).collect();
            coded = lines.join("\r\n");
        }
        let text = format!("{}{coded}{}", around.0, around.1);
        let pieces: Vec<&[u8]> = text.as_bytes().chunks(size).collect();
        let (out, _) = scrub_with(&needles, Replacement::Placeholder, &pieces);
        let inside = out.strip_prefix(around.0.as_bytes()).and_then(|rest| rest.strip_suffix(around.1.as_bytes()));
        let expected = parts.join(&format!("<<{slug}>>"));
        // The alphabet shows only where it matters.
        let standard = inside.map(|text| text.iter().map(|&byte| match byte {
            b'-' => b'+',
            b'_' => b'/',
            byte => byte,
        }).collect::<Vec<u8>>());
        let found = standard.as_deref().and_then(decoded);
        prop_assert_eq!(
            found.as_deref().map(String::from_utf8_lossy), Some(expected.into()),
            "{} from {}", String::from_utf8_lossy(&out), text
        );
        let (masked, _) = scrub_with(&needles, Replacement::SameLength, &pieces);
        prop_assert_eq!(masked.len(), text.len());
        let inside = &masked[around.0.len()..masked.len() - around.1.len()];
        let stars = parts.join(&"*".repeat(VALUE.len()));
        let found = decoded(inside);
        prop_assert_eq!(found.as_deref().map(String::from_utf8_lossy), Some(stars.into()));
    }
}

proptest! {
    #![proptest_config(cases(1_000))]

    /// The same one level deeper, with one text or two of them in the outer one.
    #[test]
    fn base64_within_base64_is_masked_there(
        slug in "[a-z][a-z0-9_-]{0,8}",
        texts in prop::collection::vec(prop::collection::vec("[ -~]{0,12}", 2..4), 1..3),
        before in "[ -~]{0,3}",
        engines in (0..2_usize, 0..2_usize),
        size in 1..60_usize,
    ) {
        let value = Arc::new(SecretBytes::new(VALUE.to_vec()));
        let needles = Arc::new(Needles::new([(slug.clone(), value)]));
        let (inner, outer) = ([&STANDARD, &URL_SAFE][engines.0], [&STANDARD, &URL_SAFE][engines.1]);
        let document = |secret: &str| {
            let auths = texts.iter().map(|parts| format!("\"auth\":\"{}\"", inner.encode(parts.join(secret))));
            format!("{before}{{{}}}", auths.collect::<Vec<_>>().join(","))
        };
        let value = std::str::from_utf8(VALUE).expect("text");
        let text = format!("{{\"data\":\"{}\"}}", outer.encode(document(value)));
        let pieces: Vec<&[u8]> = text.as_bytes().chunks(size).collect();
        let (out, _) = scrub_with(&needles, Replacement::Placeholder, &pieces);
        let coded = out.strip_prefix(b"{\"data\":\"").and_then(|rest| rest.strip_suffix(b"\"}"));
        let found = coded.and_then(decoded).unwrap_or_default();
        // The alphabet shows only where it matters, and with it whether the end is padded.
        let same = |text: &str| text.replace('-', "+").replace('_', "/").replace('=', "");
        let (found, expected) = (String::from_utf8_lossy(&found), document(&format!("<<{slug}>>")));
        prop_assert_eq!(same(&found), same(&expected), "{} from {}", String::from_utf8_lossy(&out), text);
        let (masked, _) = scrub_with(&needles, Replacement::SameLength, &pieces);
        prop_assert_eq!(masked.len(), text.len());
        prop_assert!(needles.find(&masked).is_empty());
    }
}

#[test]
fn a_masked_pair_is_a_pair() {
    let both = needles(&[b"user-0123456789".to_vec(), b"pass-0123456789".to_vec()]);
    for (user, password, masked) in [
        ("bob", "pass-0123456789", "bob:<<b>>"),
        ("user-0123456789", "pass-0123456789", "<<a>>:<<b>>"),
        ("user-0123456789", "", "<<a>>:"),
    ] {
        let text = format!(
            "{{\"auth\":\"{}\"}}",
            STANDARD.encode(format!("{user}:{password}"))
        );
        let expected = format!("{{\"auth\":\"{}\"}}", STANDARD.encode(masked));
        assert_eq!(scrubbed(&both, &text), expected);
    }
}

#[test]
fn escapes_in_base64_stay_escapes() {
    let one = one(VALUE);
    let plain = [b"\xff\xef\xbf", VALUE, b"\xff\xfe\xfd>>>???"].concat();
    let coded = STANDARD.encode(&plain);
    let masked = STANDARD.encode([&b"\xff\xef\xbf<<a>>\xff\xfe\xfd>>>???"[..]].concat());
    let percent = |text: &str| {
        let text = text.replace('+', "%2B").replace('/', "%2F");
        text.replace('=', "%3D")
    };
    let out = scrubbed(&one, coded.replace('/', "\\/"));
    assert_eq!(out.replace("\\/", "/"), masked);
    let out = scrubbed(&one, format!("k={}&l=1", percent(&coded)));
    assert_eq!(
        percent(
            &out.replace("%2B", "+")
                .replace("%2F", "/")
                .replace("%3D", "=")
        ),
        format!("k%3D{}&l%3D1", percent(&masked))
    );
}

#[test]
fn what_follows_a_pem_block_is_not_part_of_it() {
    let one = one(VALUE);
    let body = STANDARD.encode([&[7; 30][..], VALUE, &[9; 61][..]].concat());
    let lines: Vec<&str> = body
        .as_bytes()
        .chunks(64)
        .map(|line| std::str::from_utf8(line).expect("text"))
        .collect();
    let text = format!("-----BEGIN X-----\n{}\n-----END X-----\n", lines.join("\n"));
    let out = scrubbed(&one, text);
    let inside = out
        .strip_prefix("-----BEGIN X-----\n")
        .expect("the first line");
    let inside = inside
        .strip_suffix("-----END X-----\n")
        .expect("the last line");
    let expected = [&[7; 30][..], b"<<a>>", &[9; 61][..]].concat();
    assert_eq!(decoded(inside.as_bytes()), Some(expected), "{out}");
}

#[test]
fn values_that_share_a_character_are_replaced_in_any_pieces() {
    let one = one(VALUE);
    let text = STANDARD.encode([b" a", VALUE, VALUE].concat());
    let expected = STANDARD.encode(" a<<a>><<a>>");
    for size in 1..text.len() {
        let pieces: Vec<&[u8]> = text.as_bytes().chunks(size).collect();
        let (out, _) = scrub_with(&one, Replacement::Placeholder, &pieces);
        assert_eq!(
            String::from_utf8_lossy(&out),
            expected,
            "in pieces of {size}"
        );
    }
}

/// Values that touch share no byte, and each is replaced by as many bytes as were read of it: with
/// more, what waits to be written would grow with each value.
#[test]
fn values_that_touch_keep_the_length() {
    let needles = needles(&[
        b"aaaaaaaa".to_vec(),
        b"abababab".to_vec(),
        b"aaaaaaaaaaab".to_vec(),
    ]);
    let encoded = URL_SAFE_NO_PAD.encode("aabababab");
    for count in 1..12 {
        let text = format!("42{}c\0a", encoded.repeat(count));
        let (out, hits) = scrub_with(&needles, Replacement::SameLength, &[text.as_bytes()]);
        assert_eq!(out.len(), text.len(), "{count}");
        assert!(!hits.is_empty() && needles.find(&out).is_empty(), "{count}");
        assert!(out.ends_with(b"\0a"), "{}", out.escape_ascii());
    }
}

/// The character after a value in base64 holds bits of both, and may be an escape, which has more bytes than
/// what it becomes.
#[test]
fn stars_keep_the_length_of_an_escape_beside_them() {
    let needles = one(b"/+/++/++");
    for after in [
        "%2B",
        "%2f",
        r"\/",
        r"\u002b",
        "+",
        "/",
        "s",
        "%2B%2B%2B%2B",
        r"\/\/\/\/",
    ] {
        for shift in 0..3 {
            let value = super::encoders::base64(b"/+/++/++", shift, false);
            for before in ["", "AAA", "%2F", r"\/"] {
                let text = [before.as_bytes(), &value, after.as_bytes()].concat();
                let (out, hits) = scrub_with(&needles, Replacement::SameLength, &[&text]);
                assert_eq!(
                    (out.len(), hits.len()),
                    (text.len(), 1),
                    "{}",
                    text.escape_ascii()
                );
            }
        }
    }
}

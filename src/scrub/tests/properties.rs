//! What holds for every text, every set of values and every way to cut the stream.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::encoders::{base64, forms, hex, near_forms, percent};
use super::*;

fn cut<'a>(text: &'a [u8], cuts: &[Index]) -> Vec<&'a [u8]> {
    let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
    at.extend([0, text.len()]);
    at.sort_unstable();
    at.windows(2).map(|pair| &text[pair[0]..pair[1]]).collect()
}

/// Values that provoke every escape, that repeat and overlap, and that are pieces of escapes.
pub(super) fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        "[a-zA-Z0-9_]{8,40}".prop_map(String::into_bytes),
        "[ -~]{8,24}".prop_map(String::into_bytes),
        "[ab+/ ]{8,12}".prop_map(String::into_bytes),
        r#"[%&\\";#x2u04lt]{8,14}"#.prop_map(String::into_bytes),
        "[<>*a]{8,12}".prop_map(String::into_bytes),
        "[a\"\u{e9}\u{43f}\u{5bc6}\u{1f511}\n]{4,10}"
            .prop_map(String::into_bytes)
            .prop_filter("long enough", |v| v.len() >= 8),
        vec(any::<u8>(), 8..24),
    ]
}

/// The same, as long as tokens are: alone or together with short ones they are filtered otherwise.
fn long_value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        (value(), value()).prop_map(|(one, other)| [one, other].concat()),
        "(ghp_)[ab0-9]{12,14}".prop_map(String::into_bytes),
        "[0-9a-f:]{16,20}".prop_map(String::into_bytes),
    ]
}

/// As long as those for which the filter looks least often.
fn wide_value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        (long_value(), long_value()).prop_map(|(one, other)| [one, other].concat()),
        "(ghp_)[ab0-9]{28,32}".prop_map(String::into_bytes),
        "[0-9a-f:]{32,36}".prop_map(String::into_bytes),
    ]
}

pub(super) fn values() -> impl Strategy<Value = Vec<Vec<u8>>> {
    prop_oneof![
        vec(value(), 1..4),
        vec(long_value(), 1..4),
        vec(wide_value(), 1..4),
        (value(), long_value()).prop_map(|(short, long)| vec![short, long]),
    ]
}

#[derive(Clone, Debug)]
pub(super) enum Piece {
    /// A form of a value.
    Form(Index, Index),
    /// What is almost a form.
    Near(Index, Index),
    /// A piece of one.
    Part(Index, Index, Index, Index),
    Noise(Vec<u8>),
}

pub(super) fn pieces() -> impl Strategy<Value = Vec<Piece>> {
    let noise = prop_oneof![
        r#"[ -~]{0,12}"#.prop_map(String::into_bytes),
        r#"[%&\\<>"a*; ]{0,6}"#.prop_map(String::into_bytes),
        vec(any::<u8>(), 0..6),
    ];
    let index = || any::<Index>();
    let piece = prop_oneof![
        3 => (index(), index()).prop_map(|(value, form)| Piece::Form(value, form)),
        1 => (index(), index()).prop_map(|(value, form)| Piece::Near(value, form)),
        2 => (index(), index(), index(), index()).prop_map(|(v, f, a, b)| Piece::Part(v, f, a, b)),
        3 => noise.prop_map(Piece::Noise),
    ];
    vec(piece, 0..8)
}

pub(super) fn assemble(pieces: &[Piece], values: &[Vec<u8>]) -> Vec<u8> {
    let form =
        |value: &Index, form: &Index| form.get(&forms(&values[value.index(values.len())])).clone();
    let mut text = Vec::new();
    for piece in pieces {
        match piece {
            Piece::Form(value, which) => text.extend(form(value, which)),
            Piece::Near(value, which) => {
                text.extend(which.get(&near_forms(&values[value.index(values.len())])));
            }
            Piece::Part(value, which, a, b) => {
                let form = form(value, which);
                let (a, b) = (a.index(form.len() + 1), b.index(form.len() + 1));
                text.extend(&form[a.min(b)..a.max(b)]);
            }
            Piece::Noise(noise) => text.extend(noise),
        }
    }
    text
}

fn assert_clean(out: &[u8], values: &[Vec<u8>]) -> Result<(), TestCaseError> {
    for form in values.iter().flat_map(|value| forms(value)) {
        let (out, form) = (out.escape_ascii(), form.escape_ascii());
        prop_assert!(
            !contains(out.to_string().as_bytes(), form.to_string().as_bytes()),
            "{form} is in {out}"
        );
    }
    Ok(())
}

proptest! {
    #![proptest_config(cases(192))]

    /// Nothing survives, whatever the text, the values and the chunks.
    #[test]
    fn no_form_of_a_value_is_left(
        values in values(),
        pieces in pieces(),
        cuts in vec(any::<Index>(), 0..6),
        stars in any::<bool>(),
    ) {
        let text = assemble(&pieces, &values);
        let replacement = if stars { Replacement::SameLength } else { Replacement::Placeholder };
        let (out, hits) = scrub_with(&needles(&values), replacement, &cut(&text, &cuts));
        assert_clean(&out, &values)?;
        if stars {
            prop_assert_eq!(out.len(), text.len());
        }
        if hits.is_empty() {
            prop_assert_eq!(out, text);
        }
    }

    /// Bytes in, bytes out: where they are cut shows neither in the text nor in the report.
    #[test]
    fn the_output_does_not_depend_on_the_chunks(
        values in values(),
        pieces in pieces(),
        cuts in vec(any::<Index>(), 1..12),
    ) {
        let text = assemble(&pieces, &values);
        let needles = needles(&values);
        let whole = scrub(&needles, &text);
        prop_assert_eq!(&scrub_with(&needles, Replacement::Placeholder, &cut(&text, &cuts)), &whole);
        let bytes: Vec<&[u8]> = text.chunks(1).collect();
        prop_assert_eq!(&scrub_with(&needles, Replacement::Placeholder, &bytes), &whole);
        let mut hits = Vec::new();
        let once = scrub_bytes(&needles, &text, &mut hits);
        prop_assert_eq!((once.unwrap_or(text), hits), whole);
    }

    /// What is reported and taken out is that value, in that form. (Of escapes, this test undoes
    /// percent-encoding alone.)
    #[test]
    fn only_values_are_replaced(
        values in vec("[a-c0-9 /]{8,30}".prop_map(String::into_bytes), 1..4),
        pieces in pieces(),
    ) {
        let text = assemble(&pieces, &values);
        for hit in needles(&values).find(&text) {
            let value = &values[hit.reference];
            let found = &text[hit.offset as usize..][..hit.length];
            if contains(found, b"\\") || contains(found, b"&") || contains(found, b"%u") {
                continue;
            }
            let plain = unescaped(found);
            let expected = match hit.form {
                HitForm::Raw => vec![(found.to_vec(), value.clone())],
                HitForm::Percent => vec![(unplussed(&plain), value.clone())],
                HitForm::Hex => vec![(only_hex(&plain), hex(value, "", false))],
                HitForm::Base64 => (0..3)
                    .map(|shift| (standard(&plain), base64(value, shift, false)))
                    .collect(),
                HitForm::Json
                | HitForm::Xml
                | HitForm::Mixed
                | HitForm::Utf16
                | HitForm::Partial => continue,
            };
            prop_assert!(expected.iter().any(|(a, b)| a == b), "{hit:?}: {}", found.escape_ascii());
        }
    }

    #[test]
    fn text_without_values_is_unchanged(
        text in vec(prop_oneof![any::<u8>(), select(&br#"%\&;u0041x"#[..])], 0..400),
        values in prop_oneof![vec("[a-z]{12,20}", 1..20), vec("[a-z]{16,20}", 1..20), vec("[a-z]{32,36}", 1..20)],
        cuts in vec(any::<Index>(), 0..6),
    ) {
        // Sixteen bytes of random text spell twelve given letters in no form.
        let values: Vec<Vec<u8>> = values.into_iter().map(String::into_bytes).collect();
        let (out, hits) = scrub_with(&needles(&values), Replacement::Placeholder, &cut(&text, &cuts));
        prop_assert_eq!(out, text);
        prop_assert!(hits.is_empty());
    }

    /// Every character written in a notation of its own choice, twice over.
    #[test]
    fn any_mix_of_notations_is_one_hit(
        text in "[ -~\u{e9}\u{43f}\u{1f511}]{8,30}",
        choices in vec((0..7_u8, 0..7_u8), 30),
        cuts in vec(any::<Index>(), 0..4),
    ) {
        let write = |c: char, how: u8| -> String {
            let bytes = c.encode_utf8(&mut [0; 4]).as_bytes().to_vec();
            match how {
                0 => String::from_utf8_lossy(&percent(&bytes, |_| false, true, false)).into_owned(),
                1 => format!("&#{};", c as u32),
                2 => format!("&#x{:x};", c as u32),
                3 => c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04X}")).collect(),
                4 => bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect(),
                _ => c.to_string(),
            }
        };
        // An encoder always encodes what introduces its own escapes.
        let introducer = |how: u8| ['%', '&', '&', '\\', '\\'].get(usize::from(how)).copied();
        let twice = |c: char, (first, second): (u8, u8)| -> String {
            let once = write(c, first);
            let again = |(index, c)| {
                let encode = index % 3 == 0 || Some(c) == introducer(second);
                write(c, if encode { second } else { u8::MAX })
            };
            once.chars().enumerate().map(again).collect()
        };
        let form: String = text.chars().zip(&choices).map(|(c, choice)| twice(c, *choice)).collect();
        let whole = format!("before-|{form}|-after");
        let needles = one(text.as_bytes());
        let (out, hits) = scrub_with(&needles, Replacement::SameLength, &cut(whole.as_bytes(), &cuts));
        prop_assert_eq!(hits.len(), 1, "{}", form);
        let middle = out.strip_prefix(b"before-|").and_then(|rest| rest.strip_suffix(b"|-after"));
        let middle = middle.map(|middle| middle.iter().all(|byte| *byte == middle[0]));
        prop_assert_eq!(middle, Some(true), "{}", String::from_utf8_lossy(&out));
    }
}

/// Undoes percent-encoding as often as there is any.
fn unescaped(text: &[u8]) -> Vec<u8> {
    let (mut out, mut rest) = (Vec::new(), text);
    while let Some((&first, tail)) = rest.split_first() {
        let digits = tail.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        let byte = digits.and_then(|two| u8::from_str_radix(two, 16).ok());
        let (byte, after) = match byte {
            Some(byte) if first == b'%' => (byte, &tail[2..]),
            _ => (first, tail),
        };
        out.push(byte);
        rest = after;
    }
    if out == text { out } else { unescaped(&out) }
}

fn unplussed(text: &[u8]) -> Vec<u8> {
    text.iter()
        .map(|&byte| if byte == b'+' { b' ' } else { byte })
        .collect()
}

fn only_hex(text: &[u8]) -> Vec<u8> {
    text.iter()
        .filter(|byte| byte.is_ascii_hexdigit())
        .map(u8::to_ascii_lowercase)
        .collect()
}

/// In the standard alphabet, without line breaks.
fn standard(text: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(text).replace(['\r', '\n'], "");
    text.replace('-', "+").replace('_', "/").into_bytes()
}

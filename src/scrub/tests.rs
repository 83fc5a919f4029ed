//! The promises of the scrubber, held against encoders written for these tests alone.

use std::fmt::Write as _;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::*;
use crate::secret::SecretBytes;

/// Names are `a`, `b`, …: too short to be part of anything.
fn named(values: &[Vec<u8>]) -> Vec<(String, Arc<SecretBytes>)> {
    let name = |index: usize| char::from(b'a' + index as u8).to_string();
    let secret = |value: &Vec<u8>| Arc::new(SecretBytes::new(value.clone()));
    values
        .iter()
        .enumerate()
        .map(|(index, value)| (name(index), secret(value)))
        .collect()
}

fn needles(values: &[Vec<u8>]) -> Arc<Needles> {
    Arc::new(Needles::new(named(values)))
}

fn one(value: &[u8]) -> Arc<Needles> {
    needles(&[value.to_vec()])
}

fn scrub_with(
    needles: &Arc<Needles>,
    replacement: Replacement,
    chunks: &[&[u8]],
) -> (Vec<u8>, Vec<Hit>) {
    let mut scrubber = Scrubber::new(Arc::clone(needles), replacement);
    let (mut out, mut hits) = (Vec::new(), Vec::new());
    for chunk in chunks {
        scrubber.push(chunk, &mut out, &mut hits);
    }
    scrubber.finish(&mut out, &mut hits);
    assert_eq!(scrubber.held(), 0);
    (out, hits)
}

fn scrub(needles: &Arc<Needles>, text: &[u8]) -> (Vec<u8>, Vec<Hit>) {
    scrub_with(needles, Replacement::Placeholder, &[text])
}

fn scrubbed(needles: &Arc<Needles>, text: impl AsRef<[u8]>) -> String {
    String::from_utf8_lossy(&scrub(needles, text.as_ref()).0).into_owned()
}

fn contains(text: &[u8], needle: &[u8]) -> bool {
    memchr::memmem::find(text, needle).is_some()
}

fn cut<'a>(text: &'a [u8], cuts: &[Index]) -> Vec<&'a [u8]> {
    let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
    at.extend([0, text.len()]);
    at.sort_unstable();
    at.windows(2).map(|pair| &text[pair[0]..pair[1]]).collect()
}

// Encoders.

fn percent(value: &[u8], keep: impl Fn(u8) -> bool, upper: bool, plus: bool) -> Vec<u8> {
    let mut out = String::new();
    for &byte in value {
        match byte {
            b' ' if plus => out.push('+'),
            byte if keep(byte) => out.push(char::from(byte)),
            byte if upper => write!(out, "%{byte:02X}").unwrap_or_default(),
            byte => write!(out, "%{byte:02x}").unwrap_or_default(),
        }
    }
    out.into_bytes()
}

fn unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

fn json(text: &str, slash: bool, html_safe: bool, ascii: bool) -> Vec<u8> {
    let mut out = String::new();
    for c in text.chars() {
        let short = match c {
            '"' => Some("\\\""),
            '\\' => Some("\\\\"),
            '/' if slash => Some("\\/"),
            '\n' => Some("\\n"),
            '\r' => Some("\\r"),
            '\t' => Some("\\t"),
            '\u{8}' => Some("\\b"),
            '\u{c}' => Some("\\f"),
            _ => None,
        };
        if let Some(short) = short {
            out.push_str(short);
        } else if c < ' ' || html_safe && "<>&'".contains(c) || ascii && !c.is_ascii() {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                write!(out, "\\u{unit:04x}").unwrap_or_default();
            }
        } else {
            out.push(c);
        }
    }
    out.into_bytes()
}

fn xml(text: &str, entity: impl Fn(char) -> Option<String>) -> Vec<u8> {
    text.chars()
        .map(|c| entity(c).unwrap_or(c.to_string()))
        .collect::<String>()
        .into_bytes()
}

/// The characters of the base64 of anything around `value` that depend on `value` alone.
fn base64(value: &[u8], shift: usize, url: bool) -> Vec<u8> {
    let encode = |around: u8| {
        let text = [&vec![around; shift][..], value, &[around; 3]].concat();
        if url {
            URL_SAFE.encode(text)
        } else {
            STANDARD.encode(text)
        }
    };
    let (a, b) = (encode(0x00), encode(0xff));
    let from = (8 * shift).div_ceil(6);
    let same = a
        .bytes()
        .zip(b.bytes())
        .skip(from)
        .take_while(|(a, b)| a == b);
    same.map(|(a, _)| a).collect()
}

fn hex(value: &[u8], separator: &str, upper: bool) -> Vec<u8> {
    let digits: Vec<String> = value.iter().map(|byte| format!("{byte:02x}")).collect();
    let text = digits.join(separator);
    if upper {
        text.to_ascii_uppercase().into_bytes()
    } else {
        text.into_bytes()
    }
}

/// Every form of the contract, and the others that are found as well.
fn forms(value: &[u8]) -> Vec<Vec<u8>> {
    let mut forms = vec![
        value.to_vec(),
        hex(value, "", false),
        hex(value, "", true),
        hex(value, " ", false),
        hex(value, ":", true),
        percent(value, |_| false, true, false),
        percent(
            &percent(value, unreserved, true, false),
            unreserved,
            true,
            false,
        ),
    ];
    for upper in [true, false] {
        for plus in [true, false] {
            forms.push(percent(value, unreserved, upper, plus));
            forms.push(percent(
                value,
                |byte| unreserved(byte) || b"!'()*,;:@/?<>".contains(&byte),
                upper,
                plus,
            ));
        }
    }
    for shift in 0..3 {
        forms.push(base64(value, shift, false));
        forms.push(base64(value, shift, true));
        forms.push(percent(
            &base64(value, shift, false),
            unreserved,
            false,
            false,
        ));
        forms.push(
            String::from_utf8_lossy(&base64(value, shift, false))
                .replace('/', "\\/")
                .into_bytes(),
        );
    }
    if let Ok(text) = std::str::from_utf8(value) {
        for bits in 0..8 {
            forms.push(json(text, bits & 1 != 0, bits & 2 != 0, bits & 4 != 0));
        }
        forms.push(json(
            &String::from_utf8_lossy(&json(text, false, false, true)),
            false,
            false,
            true,
        ));
        let named = |c| match c {
            '&' => Some("&amp;".to_owned()),
            '<' => Some("&lt;".to_owned()),
            '>' => Some("&gt;".to_owned()),
            '"' => Some("&quot;".to_owned()),
            '\'' => Some("&#39;".to_owned()),
            _ => None,
        };
        forms.push(xml(text, named));
        forms.push(xml(text, |c| Some(format!("&#{};", c as u32))));
        forms.push(xml(text, |c| {
            (!c.is_ascii_alphanumeric()).then(|| format!("&#x{:X};", c as u32))
        }));
        forms.push(xml(
            &String::from_utf8_lossy(&json(text, false, false, false)),
            named,
        ));
        let wide: Vec<u16> = text.encode_utf16().collect();
        forms.push(wide.iter().flat_map(|unit| unit.to_le_bytes()).collect());
        forms.push(wide.iter().flat_map(|unit| unit.to_be_bytes()).collect());
    }
    forms.push(
        value
            .iter()
            .flat_map(|byte| format!("\\x{byte:02x}").into_bytes())
            .collect(),
    );
    forms
}

// Generators.

/// Values that provoke every escape, that repeat and overlap, and that are pieces of escapes.
fn value() -> impl Strategy<Value = Vec<u8>> {
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

#[derive(Clone, Debug)]
enum Piece {
    /// A form of a value.
    Form(Index, Index),
    /// A piece of one.
    Part(Index, Index, Index, Index),
    Noise(Vec<u8>),
}

fn pieces() -> impl Strategy<Value = Vec<Piece>> {
    let noise = prop_oneof![
        r#"[ -~]{0,12}"#.prop_map(String::into_bytes),
        r#"[%&\\<>"a*; ]{0,6}"#.prop_map(String::into_bytes),
        vec(any::<u8>(), 0..6),
    ];
    let index = || any::<Index>();
    let piece = prop_oneof![
        3 => (index(), index()).prop_map(|(value, form)| Piece::Form(value, form)),
        2 => (index(), index(), index(), index()).prop_map(|(v, f, a, b)| Piece::Part(v, f, a, b)),
        3 => noise.prop_map(Piece::Noise),
    ];
    vec(piece, 0..8)
}

fn assemble(pieces: &[Piece], values: &[Vec<u8>]) -> Vec<u8> {
    let form =
        |value: &Index, form: &Index| form.get(&forms(&values[value.index(values.len())])).clone();
    let mut text = Vec::new();
    for piece in pieces {
        match piece {
            Piece::Form(value, which) => text.extend(form(value, which)),
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
    #![proptest_config(ProptestConfig::with_cases(192))]

    /// Nothing survives, whatever the text, the values and the chunks.
    #[test]
    fn no_form_of_a_value_is_left(
        values in vec(value(), 1..4),
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
        values in vec(value(), 1..4),
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

    /// What is reported and taken out is that value, in that form.
    #[test]
    fn only_values_are_replaced(
        values in vec("[a-c0-9 /\u{e9}]{8,20}".prop_map(String::into_bytes), 1..4),
        pieces in pieces(),
    ) {
        let text = assemble(&pieces, &values);
        for hit in needles(&values).find(&text) {
            let value = &values[hit.reference];
            let found = &text[hit.offset as usize..][..hit.length];
            let plain = unescaped(found);
            let expected = match hit.form {
                Form::Raw => vec![(found.to_vec(), value.clone())],
                Form::Percent => vec![(unplussed(&plain), value.clone())],
                Form::Hex => vec![(only_hex(&plain), hex(value, "", false))],
                Form::Base64 => (0..3).map(|shift| (standard(&plain), base64(value, shift, false))).collect(),
                Form::Json | Form::Xml | Form::Mixed | Form::Utf16 => continue,
            };
            prop_assert!(expected.iter().any(|(a, b)| a == b), "{hit:?}: {}", found.escape_ascii());
        }
    }

    #[test]
    fn text_without_values_is_unchanged(
        text in vec(prop_oneof![any::<u8>(), select(&br#"%\&;u0041x"#[..])], 0..400),
        values in vec("[a-z]{12,20}", 1..20),
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
        text in "[ -~\u{e9}\u{43f}\u{1f511}]{8,20}",
        choices in vec((0..7_u8, 0..7_u8), 20),
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
        let once = |c: char, how: u8| write(c, how);
        let twice = |c: char, (a, b): (u8, u8)| -> String {
            once(c, a).chars().enumerate().map(|(index, c)| if index % 3 == 0 { write(c, b) } else { c.to_string() }).collect()
        };
        let form: String = text.chars().zip(&choices).map(|(c, choice)| twice(c, *choice)).collect();
        let whole = format!("before-|{form}|-after");
        let needles = one(text.as_bytes());
        let (out, hits) = scrub_with(&needles, Replacement::SameLength, &cut(whole.as_bytes(), &cuts));
        prop_assert_eq!(hits.len(), 1);
        let middle = out.strip_prefix(b"before-|").and_then(|rest| rest.strip_suffix(b"|-after"));
        let middle = middle.map(|middle| middle.iter().all(|byte| *byte == middle[0]));
        prop_assert_eq!(middle, Some(true), "{}", String::from_utf8_lossy(&out));
    }
}

/// Undoes percent-encoding and backslashed slashes as often as there are any.
fn unescaped(text: &[u8]) -> Vec<u8> {
    let (mut out, mut rest) = (Vec::new(), text);
    while let Some((&first, tail)) = rest.split_first() {
        let digits = tail.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        let byte = digits.and_then(|two| u8::from_str_radix(two, 16).ok());
        rest = match (first, byte) {
            (b'%', Some(byte)) => {
                out.push(byte);
                &tail[2..]
            }
            (b'\\', _) if tail.starts_with(b"/") => tail,
            _ => {
                out.push(first);
                tail
            }
        };
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

fn standard(text: &[u8]) -> Vec<u8> {
    let folded = text.iter().map(|&byte| match byte {
        b'-' => b'+',
        b'_' => b'/',
        byte => byte,
    });
    folded.collect()
}

#[test]
fn each_hit_becomes_the_placeholder_of_its_value() {
    let values = [b"ghp_Zk3vQ9xT7mB2".to_vec(), b"p@ss/w+rd=&%#".to_vec()];
    let both = needles(&values);
    assert_eq!(scrubbed(&both, "x=ghp_Zk3vQ9xT7mB2;"), "x=<<a>>;");
    assert_eq!(scrubbed(&both, "p%40ss%2Fw%2brd%3D%26%25%23"), "<<b>>");
    assert_eq!(
        scrubbed(&both, r#"{"k":"p@ss\/w+rd=\u0026%#"}"#),
        r#"{"k":"<<b>>"}"#
    );
    assert_eq!(scrubbed(&both, "p@ss/w+rd=&amp;%#"), "<<b>>");
    assert_eq!(
        scrubbed(&both, "Basic dTpnaHBfWmszdlE5eFQ3bUIy"),
        "Basic dTp<<a>>"
    );
    let (_, hits) = scrub(&both, b"--p%40ss/w+rd=&%#");
    let [hit] = hits[..] else { panic!("{hits:?}") };
    assert_eq!(
        (both.name(hit.reference), hit.form, hit.offset, hit.length),
        ("b", Form::Percent, 2, 15)
    );
}

#[test]
fn overlapping_hits_are_redacted_as_their_union_and_touching_ones_are_not_merged() {
    let values = [
        b"abcdefgh".to_vec(),
        b"efghijkl".to_vec(),
        b"abcdefgh-tail".to_vec(),
    ];
    let all = needles(&values);
    assert_eq!(scrubbed(&all, ".abcdefghijkl."), ".<<a>>.");
    assert_eq!(scrubbed(&all, ".abcdefgh-tail."), ".<<c>>.");
    assert_eq!(scrubbed(&all, ".abcdefgh-tai."), ".<<a>>-tai.");
    assert_eq!(scrubbed(&all, "abcdefghabcdefgh"), "<<a>><<a>>");
    let (out, hits) = scrub_with(&all, Replacement::SameLength, &[b".abcdefghijkl."]);
    assert_eq!(out, b".************.");
    let named: Vec<&str> = hits.iter().map(|hit| all.name(hit.reference)).collect();
    assert_eq!(named, ["a", "b"], "each value in a union is reported");
}

#[test]
fn a_value_that_overlaps_itself_is_one_hit() {
    let run = one(b"aaaaaaaa");
    assert_eq!(scrubbed(&run, "b aaaaaaaaaaaa b"), "b <<a>> b");
}

#[test]
fn a_replacement_never_completes_another_value() {
    let values = [
        b"abcdefgh".to_vec(),
        b"secret12<".to_vec(),
        b"12<<a>>34".to_vec(),
        b"x*******".to_vec(),
    ];
    let all = needles(&values);
    for text in ["secret12abcdefgh", "12abcdefgh34", "xabcdefgh"] {
        for replacement in [Replacement::Placeholder, Replacement::SameLength] {
            let (out, _) = scrub_with(&all, replacement, &[text.as_bytes()]);
            assert!(
                values.iter().all(|value| !contains(&out, value)),
                "{}",
                out.escape_ascii()
            );
        }
        let out = scrub_bytes(&all, text.as_bytes(), &mut Vec::new()).unwrap_or_default();
        assert!(
            values.iter().all(|value| !contains(&out, value)),
            "{}",
            out.escape_ascii()
        );
    }
}

#[test]
fn a_slug_that_spells_a_value_does_not_bring_it_back() {
    let value = Arc::new(SecretBytes::new(b"password".to_vec()));
    let needles = Arc::new(Needles::new([("password".to_owned(), value)]));
    assert_eq!(scrubbed(&needles, "my password is"), "my <<***>> is");
}

#[test]
fn events_leave_when_they_are_complete() {
    let values: Vec<Vec<u8>> = (0..20)
        .map(|index| format!("{index:x}ken-{}", index * 7919 + 1_000_000).into_bytes())
        .collect();
    let mut scrubber = Scrubber::new(needles(&values), Replacement::Placeholder);
    let (mut out, mut hits) = (Vec::new(), Vec::new());
    for event in [
        "data: 1ken-1007919 seen\n\n",
        "data: {\"a\": 1}\n\n",
        "id: 3\ndata: aGVsbG8\n\n",
    ] {
        scrubber.push(event.as_bytes(), &mut out, &mut hits);
        assert_eq!(scrubber.held(), 0, "{event}");
    }
    scrubber.push(b"data: 1ken-100", &mut out, &mut hits);
    assert_eq!(
        scrubber.held(),
        b"1ken-100".len(),
        "only what may begin a hit waits"
    );
    scrubber.push(b"x\n\n", &mut out, &mut hits);
    assert_eq!(scrubber.held(), 0);
    assert_eq!(hits.len(), 1);
}

#[test]
fn base64_broken_into_lines_is_found_whole() {
    let value = b"Zk3vQ9xT7mB2wLr8NcYd5HsJ6pFa1eUg40iX-Zk3vQ9xT7mB2wLr8NcYd5HsJ6pFa1eUg40iX";
    let needles = one(value);
    for before in 0..80 {
        let text = STANDARD.encode(
            [
                &vec![b'.'; before][..],
                value,
                &b"and so on, for another line and a half of plain text"[..],
            ]
            .concat(),
        );
        for (width, end) in [(76, "\r\n"), (64, "\n"), (60, "\\n")] {
            let lines: Vec<&str> = (0..text.len())
                .step_by(width)
                .map(|at| &text[at..text.len().min(at + width)])
                .collect();
            let text = lines.join(end);
            let chunks: Vec<&[u8]> = text.as_bytes().chunks(7).collect();
            let (_, hits) = scrub_with(&needles, Replacement::Placeholder, &chunks);
            assert_eq!(hits.len(), 1, "{before} bytes before, lines of {width}");
            assert_eq!(scrub(&needles, text.as_bytes()).1, hits);
        }
    }
}

#[test]
fn short_values_are_searched_for_the_request_that_used_them_and_raw_or_percent_encoded_only() {
    let short = [b"p w%9".to_vec()];
    let base = needles(&[short[0].clone(), b"long-enough-value".to_vec()]);
    assert_eq!(scrubbed(&base, "p w%9 long-enough-value"), "p w%9 <<b>>");
    let used = base.with_used([(
        "pin".to_owned(),
        Arc::new(SecretBytes::new(short[0].clone())),
    )]);
    assert_eq!(
        scrubbed(&used, "p w%9 p+w%259 p%20%77%25%39."),
        "<<pin>> <<pin>> <<pin>>."
    );
    let untouched = format!(
        "{} {} p\\u0020w%9",
        STANDARD.encode(&short[0]),
        String::from_utf8_lossy(&hex(&short[0], "", false))
    );
    assert_eq!(scrubbed(&used, &untouched), untouched);
    assert_eq!(scrubbed(&used, "long-enough-value"), "<<b>>");
}

#[test]
fn used_values_that_are_known_already_are_not_added_again() {
    let base = one(b"long-enough-value");
    let same = base.with_used(named(&[b"long-enough-value".to_vec()]));
    assert!(Arc::ptr_eq(&base, &same));
    let rotated = base.with_used([(
        "old".to_owned(),
        Arc::new(SecretBytes::new(b"previous-value".to_vec())),
    )]);
    assert_eq!(
        scrubbed(&rotated, "previous-value, long-enough-value"),
        "<<old>>, <<a>>"
    );
}

#[test]
fn without_values_everything_passes() {
    let none = needles(&[]);
    assert!(none.is_empty());
    assert_eq!(scrubbed(&none, "%41 & \\u0041"), "%41 & \\u0041");
    assert_eq!(scrub_bytes(&none, b"text", &mut Vec::new()), None);
}

#[test]
fn debug_shows_nothing_of_the_values() {
    assert_eq!(
        format!("{:?}", one(b"hunter2-hunter2")),
        "Needles(redacted)"
    );
}

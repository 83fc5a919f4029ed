//! The search for a value in every encoded form in which it could leak.

use std::fmt::Write as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use memchr::memmem;

/// A form of a value: its name and its bytes.
pub type Form = (String, Vec<u8>);

/// The encoded forms of a value that the reference promises to find.
pub fn forms(value: &[u8]) -> Vec<Form> {
    let mut forms = vec![
        ("raw".to_owned(), value.to_vec()),
        ("hex".to_owned(), hex(value, false).into_bytes()),
        ("HEX".to_owned(), hex(value, true).into_bytes()),
    ];
    for pad in 0..3 {
        for (name, engine) in [
            ("base64", &STANDARD_NO_PAD),
            ("base64url", &URL_SAFE_NO_PAD),
        ] {
            forms.push((format!("{name}+{pad}"), aligned(value, pad, engine)));
        }
    }
    forms.push((
        "base64 padded".to_owned(),
        STANDARD.encode(value).into_bytes(),
    ));
    for upper in [false, true] {
        let case = if upper { "upper" } else { "lower" };
        forms.push((
            format!("percent all {case}"),
            percent(value, upper, |_| false),
        ));
        forms.push((format!("percent {case}"), percent(value, upper, unreserved)));
        let plus = percent(value, upper, |b| unreserved(b) || b == b' ');
        forms.push((
            format!("form {case}"),
            plus.iter()
                .map(|b| if *b == b' ' { b'+' } else { *b })
                .collect(),
        ));
    }
    if let Ok(text) = std::str::from_utf8(value) {
        let json = serde_json::to_string(text).expect("JSON of a string");
        let json = &json[1..json.len() - 1];
        forms.push(("json".to_owned(), json.as_bytes().to_vec()));
        forms.push((
            "json of json".to_owned(),
            json.replace('\\', "\\\\").replace('"', "\\\"").into_bytes(),
        ));
        forms.push((
            "json html-safe".to_owned(),
            html_safe_json(json).into_bytes(),
        ));
        forms.push(("xml".to_owned(), xml(text).into_bytes()));
        forms.push((
            "debug".to_owned(),
            text.escape_debug().to_string().into_bytes(),
        ));
    }
    let list: Vec<String> = value.iter().map(u8::to_string).collect();
    forms.push(("list of numbers".to_owned(), list.join(", ").into_bytes()));
    forms.push((
        "ascii escape".to_owned(),
        value.escape_ascii().to_string().into_bytes(),
    ));
    forms.sort_by(|a, b| a.1.cmp(&b.1));
    forms.dedup_by(|a, b| a.1 == b.1);
    forms
}

/// The characters of base64 that depend on `value` alone when `pad` unknown bytes precede it and
/// any number follow it.
fn aligned(value: &[u8], pad: usize, engine: &impl base64::Engine) -> Vec<u8> {
    let mut bytes = vec![0u8; pad];
    bytes.extend_from_slice(value);
    let text = engine.encode(&bytes);
    let from = [0, 2, 3][pad];
    let to = bytes.len() * 8 / 6;
    text.as_bytes()[from..to].to_vec()
}

fn hex(value: &[u8], upper: bool) -> String {
    value.iter().fold(String::new(), |mut text, b| {
        let _ = if upper {
            write!(text, "{b:02X}")
        } else {
            write!(text, "{b:02x}")
        };
        text
    })
}

fn unreserved(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"-._~".contains(&b)
}

/// Percent-encoding of all bytes except those in `keep`.
pub fn percent(value: &[u8], upper: bool, keep: impl Fn(u8) -> bool) -> Vec<u8> {
    let mut text = Vec::new();
    for b in value {
        if keep(*b) {
            text.push(*b);
        } else {
            text.push(b'%');
            text.extend_from_slice(hex(&[*b], upper).as_bytes());
        }
    }
    text
}

fn html_safe_json(json: &str) -> String {
    json.replace('&', "\\u0026")
        .replace('<', "\\u003c")
        .replace('>', "\\u003e")
}

fn xml(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

/// The first form found in `haystack`.
pub fn find<'a>(haystack: &[u8], forms: &'a [Form]) -> Option<&'a str> {
    forms
        .iter()
        .find(|(_, bytes)| memmem::find(haystack, bytes).is_some())
        .map(|(name, _)| name.as_str())
}

/// Asserts that `haystack` holds no form of any value; `place` names the haystack in the message.
///
/// # Panics
/// When it holds one. The message names the form, not the value.
pub fn assert_absent(place: &str, haystack: &[u8], forms: &[Form]) {
    if let Some(form) = find(haystack, forms) {
        panic!("a value is in {place} as {form}");
    }
}

/// Every place below `dir` whose content holds one of the forms, with the form's name.
pub fn in_tree(dir: &Path, forms: &[Form]) -> Vec<String> {
    let mut found = Vec::new();
    let Ok(entries) = std::fs::read_dir(dir) else {
        return found;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        if let Some(form) = find(entry.file_name().as_encoded_bytes(), forms) {
            found.push(format!("the name of {} as {form}", path.display()));
        }
        if path.is_dir() {
            found.extend(in_tree(&path, forms));
        } else if let Some(form) = std::fs::read(&path)
            .ok()
            .and_then(|c| find(&c, forms).map(str::to_owned))
        {
            found.push(format!("{} as {form}", path.display()));
        }
    }
    found
}

#[test]
fn every_alignment_of_base64_is_recognised() {
    let value = b"s3cr3t+Canary/9f8e";
    let forms = forms(value);
    for pad in 0..5 {
        for tail in 0..4 {
            let mut bytes = vec![0xA7; pad];
            bytes.extend_from_slice(value);
            bytes.extend(vec![0x5C; tail]);
            let text = STANDARD.encode(&bytes);
            assert!(
                find(text.as_bytes(), &forms).is_some(),
                "{pad} before, {tail} after: {text}"
            );
        }
    }
    assert_eq!(find(b"czNjcjN0", &forms), None);
}

//! Encoders written for the tests alone, as others write them.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};

pub(super) fn percent(value: &[u8], keep: impl Fn(u8) -> bool, upper: bool, plus: bool) -> Vec<u8> {
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

pub(super) fn unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

pub(super) fn json(text: &str, slash: bool, html_safe: bool, ascii: bool) -> Vec<u8> {
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

pub(super) fn xml(text: &str, entity: impl Fn(char) -> Option<String>) -> Vec<u8> {
    text.chars()
        .map(|c| entity(c).unwrap_or(c.to_string()))
        .collect::<String>()
        .into_bytes()
}

/// The characters of the base64 of anything around `value` that depend on `value` alone.
pub(super) fn base64(value: &[u8], shift: usize, url: bool) -> Vec<u8> {
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

pub(super) fn hex(value: &[u8], separator: &str, upper: bool) -> Vec<u8> {
    let digits: Vec<String> = value.iter().map(|byte| format!("{byte:02x}")).collect();
    let text = digits.join(separator);
    if upper {
        text.to_ascii_uppercase().into_bytes()
    } else {
        text.into_bytes()
    }
}

/// Every form that the reference promises, and the others that are found as well.
pub(super) fn forms(value: &[u8]) -> Vec<Vec<u8>> {
    let mut forms = vec![
        value.to_vec(),
        hex(value, "", false),
        hex(value, "", true),
        hex(value, " ", false),
        hex(value, ":", true),
    ];
    forms.extend(percent_forms(value));
    forms.extend((0..3).flat_map(|shift| base64_forms(value, shift)));
    if let Ok(text) = std::str::from_utf8(value) {
        forms.extend(text_forms(text));
    }
    let escaped = |byte: &u8| format!("\\x{byte:02x}").into_bytes();
    forms.push(value.iter().flat_map(escaped).collect());
    forms
}

fn percent_forms(value: &[u8]) -> Vec<Vec<u8>> {
    let once = percent(value, unreserved, true, false);
    let mut forms = vec![
        percent(value, |_| false, true, false),
        percent(&once, unreserved, true, false),
    ];
    let kept = |byte| unreserved(byte) || b"!'()*,;:@/?<>".contains(&byte);
    for upper in [true, false] {
        for plus in [true, false] {
            forms.push(percent(value, unreserved, upper, plus));
            forms.push(percent(value, kept, upper, plus));
        }
    }
    forms
}

fn base64_forms(value: &[u8], shift: usize) -> [Vec<u8>; 4] {
    let standard = base64(value, shift, false);
    let escaped = String::from_utf8_lossy(&standard).replace('/', "\\/");
    [
        percent(&standard, unreserved, false, false),
        escaped.into_bytes(),
        base64(value, shift, true),
        standard,
    ]
}

fn text_forms(text: &str) -> Vec<Vec<u8>> {
    let again = |form: Vec<u8>| String::from_utf8_lossy(&form).into_owned();
    let named = |c| match c {
        '&' => Some("&amp;".to_owned()),
        '<' => Some("&lt;".to_owned()),
        '>' => Some("&gt;".to_owned()),
        '"' => Some("&quot;".to_owned()),
        '\'' => Some("&#39;".to_owned()),
        _ => None,
    };
    let punctuation = |c: char| (!c.is_ascii_alphanumeric()).then(|| format!("&#x{:X};", c as u32));
    let wide: Vec<u16> = text.encode_utf16().collect();
    let mut forms: Vec<Vec<u8>> = (0..8)
        .map(|bits| json(text, bits & 1 != 0, bits & 2 != 0, bits & 4 != 0))
        .collect();
    forms.extend([
        json(&again(json(text, false, false, true)), false, false, true),
        xml(text, named),
        xml(text, |c| Some(format!("&#{};", c as u32))),
        xml(text, punctuation),
        xml(&again(json(text, false, false, false)), named),
        wide.iter().flat_map(|unit| unit.to_le_bytes()).collect(),
        wide.iter().flat_map(|unit| unit.to_be_bytes()).collect(),
    ]);
    forms
}

/// What almost is a form and need not be found, but must then be left alone however it is cut.
pub(super) fn near_forms(value: &[u8]) -> Vec<Vec<u8>> {
    let digits = |separators: [&str; 3]| -> Vec<u8> {
        let bytes = value.iter().zip(separators.iter().cycle());
        bytes
            .flat_map(|(byte, gap)| format!("{byte:02x}{gap}").into_bytes())
            .collect()
    };
    let wrapped = |end: &str| -> Vec<u8> {
        let text = STANDARD.encode([&[b'.'; 31][..], value, &[b'.'; 40]].concat());
        let lines: Vec<&str> = text
            .as_bytes()
            .chunks(44)
            .flat_map(std::str::from_utf8)
            .collect();
        lines.join(end).into_bytes()
    };
    vec![
        digits([" ", ":", ""]),
        digits(["", "", " "]),
        digits([" ", " ", "  "]),
        wrapped("\r"),
        wrapped("\n\n"),
        wrapped("\r\r\n"),
        wrapped("\r\\n"),
        wrapped("\\r\n"),
        wrapped("\\r\\n"),
    ]
}

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

/// Every form of the contract, and the others that are found as well.
pub(super) fn forms(value: &[u8]) -> Vec<Vec<u8>> {
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

//! Placeholders found the slow and obvious way: decode from every position, then read the grammar.

use crate::substitution::encoding::Encoding;

/// A placeholder: from where to where, whether it is an escape, and what it names.
#[derive(Debug, PartialEq, Eq)]
pub struct Found {
    /// First byte.
    pub start: usize,
    /// Behind the last byte.
    pub end: usize,
    /// `<<!slug>>`
    pub escape: bool,
    /// `slug` or `slug.field`
    pub name: String,
}

/// Longer than the longest placeholder, in characters.
const MOST: usize = 110;

/// Every placeholder, from left to right.
pub fn scan(form: Encoding, bytes: &[u8]) -> Vec<Found> {
    let mut all = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        match at_position(form, bytes, at) {
            Some(found) => {
                at = found.end;
                all.push(found);
            }
            None => at += 1,
        }
    }
    all
}

/// The text with `value` in place of each placeholder, as the receiver sees it once it has decoded
/// both.
pub fn replaced(text: &str, value: &dyn Fn(&str) -> String) -> String {
    let mut out = String::new();
    let mut from = 0;
    for found in scan(Encoding::Raw, text.as_bytes()) {
        out.push_str(&text[from..found.start]);
        if found.escape {
            out.push_str(&format!("<<{}>>", found.name));
        } else {
            out.push_str(&value(&found.name));
        }
        from = found.end;
    }
    out + &text[from..]
}

fn at_position(form: Encoding, bytes: &[u8], at: usize) -> Option<Found> {
    let escaped = bytes[..at]
        .iter()
        .rev()
        .take_while(|b| **b == b'\\')
        .count()
        % 2
        == 1;
    if form == Encoding::Json && escaped {
        return None;
    }
    let (mut text, mut ends) = (String::new(), Vec::new());
    let mut end = at;
    while let Some((byte, length)) = unit(form, &bytes[end..]).filter(|_| text.len() < MOST) {
        end += length;
        text.push(char::from(byte).is_ascii().then_some(char::from(byte))?);
        ends.push(end);
        if text.ends_with(">>") {
            break;
        }
    }
    let inside = text.strip_prefix("<<")?.strip_suffix(">>")?;
    let (escape, name) = match inside.strip_prefix('!') {
        Some(name) => (true, name),
        None => (false, inside),
    };
    is_name(name).then(|| Found {
        start: at,
        end: ends[ends.len() - 1],
        escape,
        name: name.to_owned(),
    })
}

/// `slug` or `slug.field` of the contract.
fn is_name(name: &str) -> bool {
    let part = |text: &str, most: usize, more: &str| {
        text.len() <= most
            && text.starts_with(|c: char| c.is_ascii_lowercase())
            && text
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || more.contains(c))
    };
    match name.split_once('.') {
        None => part(name, 64, "_-"),
        Some((slug, field)) => part(slug, 64, "_-") && part(field, 32, "_"),
    }
}

/// One character and the length of its spelling.
fn unit(form: Encoding, bytes: &[u8]) -> Option<(u8, usize)> {
    let first = *bytes.first()?;
    let text =
        |range: std::ops::Range<usize>| bytes.get(range).and_then(|b| std::str::from_utf8(b).ok());
    let hex = |digits: &str| {
        let all = digits.bytes().all(|b| b.is_ascii_hexdigit());
        all.then(|| u8::from_str_radix(digits, 16).ok())?
    };
    match (form, first) {
        (Encoding::Percent | Encoding::FormUrl, b'%') => Some((hex(text(1..3)?)?, 3)),
        (Encoding::Json, b'\\') => {
            let digits = text(1..6)?.strip_prefix("u00")?;
            Some((hex(digits)?, 6))
        }
        (Encoding::Xml, b'&') => {
            let end = bytes.iter().take(16).position(|b| *b == b';')?;
            let byte = match text(1..end)? {
                "lt" => b'<',
                "gt" => b'>',
                number => {
                    let number = number.strip_prefix('#')?;
                    let (digits, radix) = match number.strip_prefix('x') {
                        Some(digits) => (digits, 16),
                        None => (number, 10),
                    };
                    let fits = (1..=8).contains(&digits.len())
                        && digits.chars().all(|c| c.is_digit(radix));
                    let value = fits.then(|| u32::from_str_radix(digits, radix).ok())??;
                    u8::try_from(value).ok().filter(u8::is_ascii)?
                }
            };
            Some((byte, end + 1))
        }
        _ => Some((first, 1)),
    }
}

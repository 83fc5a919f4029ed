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
    /// In how many JSON strings it has to be for that reading.
    pub depth: u8,
}

/// Longer than the longest placeholder, in characters.
const MOST: usize = 110;

/// How many levels of JSON are undone inside of an encoding.
const LEVELS: u8 = 2;

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

/// Bytes with `value` in place of each placeholder that no escape of JSON spells.
pub fn replaced_in(bytes: &[u8], value: &dyn Fn(&str) -> String) -> Vec<u8> {
    let mut out = Vec::new();
    let mut from = 0;
    for found in scan(Encoding::Raw, bytes) {
        if found.depth == 0 {
            out.extend_from_slice(&bytes[from..found.start]);
            out.extend_from_slice(found.meant(value).as_bytes());
            from = found.end;
        }
    }
    out.extend_from_slice(&bytes[from..]);
    out
}

impl Found {
    /// What stands in its place, before it is encoded.
    pub fn meant(&self, value: &dyn Fn(&str) -> String) -> String {
        match self.escape {
            true => format!("<<{}>>", self.name),
            false => value(&self.name),
        }
    }
}

/// A character at some level of JSON.
#[derive(Clone, Copy)]
struct Char {
    byte: u8,
    /// Behind its spelling.
    end: usize,
    /// The level of the escape that it was.
    depth: u8,
}

fn at_position(form: Encoding, bytes: &[u8], at: usize) -> Option<Found> {
    if !matches!(bytes[at], b'<' | b'\\' | b'%' | b'&') {
        return None;
    }
    let levels = match form {
        Encoding::BasicUser | Encoding::BasicForm => 0,
        _ => LEVELS,
    };
    let mut chars = encoded(form, bytes, at);
    for level in 1..=levels {
        chars = unescaped(&chars, level);
    }
    let (mut text, mut depths) = (String::new(), Vec::new());
    let mut end = at;
    for char in chars.iter().take(MOST) {
        text.push(
            char::from(char.byte)
                .is_ascii()
                .then_some(char::from(char.byte))?,
        );
        depths.push(char.depth);
        end = char.end;
        if text.ends_with(">>") {
            break;
        }
    }
    let inside = text.strip_prefix("<<")?.strip_suffix(">>")?;
    let (escape, name) = match inside.strip_prefix('!') {
        Some(name) => (true, name),
        None => (false, inside),
    };
    // No program escapes the second bracket alone.
    let is_even = depths[1] <= depths[0];
    (is_name(name) && is_even && may_begin(form, bytes, at, depths[0])).then(|| Found {
        start: at,
        end,
        escape,
        name: name.to_owned(),
        depth: depths.into_iter().max().unwrap_or_default(),
    })
}

/// Whether an escape of this depth begins here: it is spelled as programs spell it, and the backslashes
/// before it are whole characters at its level.
fn may_begin(form: Encoding, bytes: &[u8], at: usize, depth: u8) -> bool {
    let is_native = matches!(form, Encoding::Json | Encoding::Message) && bytes[at] == b'\\';
    // In XML it may be spelled as a reference, which is not counted.
    if depth == 0 && !is_native || bytes[at] == b'&' {
        return true;
    }
    let mut rest = at;
    while let Some(length) = backslash(form, &bytes[rest..]) {
        rest += length;
    }
    let is_usual = rest > at && bytes[rest..].starts_with(b"u003");
    if !is_usual && depth > 0 {
        return false;
    }
    let mut start = at;
    while let Some(length) = (1..=3).find(|&length| {
        start >= length && backslash(form, &bytes[start - length..]) == Some(length)
    }) {
        start -= length;
    }
    let mut chars = encoded(form, bytes, start);
    for level in 1..=depth {
        chars = unescaped(&chars, level);
    }
    start == at || chars.iter().any(|char| char.end == at)
}

/// The length of the backslash that these bytes begin with.
fn backslash(form: Encoding, bytes: &[u8]) -> Option<usize> {
    let is_percent = matches!(
        form,
        Encoding::Percent | Encoding::FormUrl | Encoding::BasicForm
    );
    match bytes {
        [b'\\', ..] => Some(1),
        [b'%', b'5', b'c' | b'C', ..] if is_percent => Some(3),
        _ => None,
    }
}

/// The characters from a position on, as far as they can be read.
fn encoded(form: Encoding, bytes: &[u8], at: usize) -> Vec<Char> {
    let mut chars = Vec::new();
    let mut end = at;
    while let Some((byte, length)) = unit(form, &bytes[end..]) {
        end += length;
        chars.push(Char {
            byte,
            end,
            depth: 0,
        });
    }
    chars
}

/// The same with the escapes of one more level undone.
fn unescaped(chars: &[Char], level: u8) -> Vec<Char> {
    let mut undone = Vec::new();
    let mut rest = chars;
    while let Some((&first, tail)) = rest.split_first() {
        if first.byte != b'\\' {
            undone.push(first);
            rest = tail;
            continue;
        }
        let letters: Vec<u8> = tail.iter().take(5).map(|char| char.byte).collect();
        let (byte, length) = match letters[..] {
            [byte @ (b'\\' | b'"' | b'/'), ..] => (byte, 1),
            [b'u', ref digits @ ..] if digits.len() == 4 => {
                let digits = digits.iter().map(|&digit| char::from(digit).to_digit(16));
                let value = digits.reduce(|value, digit| Some(value? << 4 | digit?));
                let Some(byte) = value.flatten().and_then(|value| u8::try_from(value).ok()) else {
                    return undone;
                };
                (byte, 5)
            }
            _ => return undone,
        };
        undone.push(Char {
            byte,
            end: tail[length - 1].end,
            depth: level,
        });
        rest = &tail[length..];
    }
    undone
}

/// `slug` or `slug.field`, as the reference has it.
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
        (Encoding::Percent | Encoding::FormUrl | Encoding::BasicForm, b'%') => {
            Some((hex(text(1..3)?)?, 3))
        }
        (Encoding::Json | Encoding::Message, b'\\') => {
            if let Some(&byte @ (b'\\' | b'"' | b'/')) = bytes.get(1) {
                return Some((byte, 2));
            }
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

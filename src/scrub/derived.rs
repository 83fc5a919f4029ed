//! Other bytes that a value comes back as: in another character set, or as the lines of a key.

use super::weakness::is_weak;
use crate::secret::SecretBytes;

/// Lines and keys shorter than this are not searched on their own.
const SHORTEST_LINE: usize = 16;

/// The value in the one-byte character set of Western Europe, and what its UTF-8 becomes where that is
/// taken for such text. Nothing for a value in ASCII, which is the same in all of them.
pub(super) fn in_other_charsets(value: &[u8]) -> Vec<SecretBytes> {
    let Ok(text) = std::str::from_utf8(value) else {
        return Vec::new();
    };
    if text.is_ascii() {
        return Vec::new();
    }
    let mut forms = Vec::new();
    let count = text.chars().count();
    if text.chars().all(|c| windows_1252(c).is_some()) {
        forms.push(SecretBytes::written(count, |bytes| {
            let encoded = text.chars().filter_map(windows_1252);
            bytes
                .iter_mut()
                .zip(encoded)
                .for_each(|(at, byte)| *at = byte);
        }));
    }
    forms.push(misread(value, char::from));
    let has_controls = value.iter().any(|byte| (0x80..0xa0).contains(byte));
    if has_controls {
        forms.push(misread(value, of_windows_1252));
    }
    forms
}

/// UTF-8 that was read as one character for each byte, and written as UTF-8 again.
fn misread(value: &[u8], read: impl Fn(u8) -> char) -> SecretBytes {
    let length = value.iter().map(|&byte| read(byte).len_utf8()).sum();
    SecretBytes::written(length, |bytes| {
        let mut at = 0;
        for &byte in value {
            at += read(byte).encode_utf8(&mut bytes[at..]).len();
        }
    })
}

/// What Windows-1252 has at 0x80 to 0x9f, where Latin-1 has control characters. It leaves five of them.
#[rustfmt::skip]
const AT_0X80: [char; 32] = [
    '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8d}', 'Ž', '\u{8f}',
    '\u{90}', '‘', '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9d}', 'ž', 'Ÿ',
];

fn of_windows_1252(byte: u8) -> char {
    let special = usize::from(byte).checked_sub(0x80);
    let special = special.and_then(|index| AT_0X80.get(index));
    special.copied().unwrap_or(char::from(byte))
}

fn windows_1252(c: char) -> Option<u8> {
    let special = AT_0X80.iter().position(|known| *known == c);
    match special {
        Some(index) => Some(0x80 + index as u8),
        None => u8::try_from(u32::from(c)).ok(),
    }
}

/// The base64 of each private key that the value holds in PEM (RFC 7468), whole and in its lines.
///
/// Programs print keys with other line ends, indented, line by line between other text, or joined into
/// one line; the labels around them are no secret.
pub(super) struct KeyText {
    /// Without line breaks and padding.
    pub joined: SecretBytes,
    pub lines: Vec<SecretBytes>,
}

/// The private keys in a value.
pub(super) fn private_keys(value: &[u8]) -> Vec<KeyText> {
    const BEGIN: &[u8] = b"-----BEGIN ";
    const END: &[u8] = b"-----";
    let find = |text: &[u8], what: &[u8]| memchr::memmem::find(text, what);
    let mut keys = Vec::new();
    let mut rest = value;
    while let Some(begin) = find(rest, BEGIN) {
        rest = &rest[begin + BEGIN.len()..];
        let Some(end) = find(rest, END) else { break };
        let (label, text) = (&rest[..end], &rest[end + END.len()..]);
        let length = find(text, END).unwrap_or(text.len());
        rest = &text[length..];
        if label.len() < 64 && find(label, b"PRIVATE KEY").is_some() {
            keys.extend(key_text(&text[..length]));
        }
    }
    keys
}

/// The first characters of every OpenSSH key: a line of these alone is no secret.
const OPENSSH: &[u8] = b"b3BlbnNzaC1rZXktdjEA";

fn key_text(text: &[u8]) -> Option<KeyText> {
    let lines: Vec<&[u8]> = lines(text).filter(|line| is_base64(line)).collect();
    let length = lines.iter().map(|line| line.len()).sum();
    if length < 2 * SHORTEST_LINE {
        return None;
    }
    let joined = SecretBytes::written(length, |bytes| {
        let mut at = 0;
        for line in &lines {
            bytes[at..at + line.len()].copy_from_slice(line);
            at += line.len();
        }
    });
    let lines = lines.iter().filter(|line| line.len() >= SHORTEST_LINE);
    let lines = lines.filter(|line| !line.starts_with(OPENSSH) || line.len() > 80);
    let lines = lines.map(|line| SecretBytes::new(line.to_vec()));
    let lines = lines.filter(|line| !is_weak(line)).collect();
    Some(KeyText { joined, lines })
}

/// The lines of a PEM block, without padding. In a value that is JSON the line breaks are escaped.
fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = text;
    std::iter::from_fn(move || {
        while !rest.is_empty() {
            let at = memchr::memchr3(b'\n', b'\r', b'\\', rest).unwrap_or(rest.len());
            let line = rest[..at].trim_ascii();
            let escape = usize::from(rest.get(at) == Some(&b'\\'));
            rest = rest.get(at + 1 + escape..).unwrap_or_default();
            let padding = line.iter().rev().take_while(|&&byte| byte == b'=').count();
            if line.len() > padding {
                return Some(&line[..line.len() - padding]);
            }
        }
        None
    })
}

/// Whether it is base64, and not a header like `Proc-Type`, a checksum or blank.
fn is_base64(line: &[u8]) -> bool {
    let char = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    line.iter().all(char)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(forms: &[SecretBytes]) -> Vec<&[u8]> {
        forms.iter().map(SecretBytes::expose).collect()
    }

    #[test]
    fn other_charsets_are_those_that_mistakes_make() {
        assert!(in_other_charsets(b"plain").is_empty());
        assert!(in_other_charsets(b"\xff\xfe").is_empty());
        let forms = in_other_charsets("päß".as_bytes());
        assert_eq!(
            shown(&forms),
            [b"p\xe4\xdf", "pÃ¤Ã\u{9f}".as_bytes(), "pÃ¤ÃŸ".as_bytes()]
        );
        // What the character set lacks is not written in it.
        assert_eq!(in_other_charsets("λ".as_bytes()).len(), 1);
        assert_eq!(shown(&in_other_charsets("€".as_bytes()))[0], b"\x80");
    }

    #[test]
    fn the_lines_of_private_keys_are_theirs_alone() {
        let line = |c: char| format!("{}{c}", "Q2hhbmNl".repeat(7));
        let body = format!("{}\n{}\nshortline+/==\n", line('a'), line('b'));
        let pem = |label: &str, body: &str| {
            format!("-----BEGIN {label}-----\n{body}-----END {label}-----\n")
        };
        let escaped = pem("RSA PRIVATE KEY", &body).replace('\n', "\\n");
        for value in [
            pem("PRIVATE KEY", &body),
            pem(
                "RSA PRIVATE KEY",
                &format!("Proc-Type: 4,ENCRYPTED\n\n{body}"),
            ),
            pem("EC PRIVATE KEY", &body).replace('\n', "\r\n"),
            format!("{{\"key\":\"{escaped}\"}}"),
            pem("CERTIFICATE", "QUJD\n") + &pem("PRIVATE KEY", &body),
        ] {
            let [key] = &private_keys(value.as_bytes())[..] else {
                panic!("{value}");
            };
            let joined = format!("{}{}shortline+/", line('a'), line('b'));
            assert_eq!(key.joined.expose(), joined.as_bytes(), "{value}");
            assert_eq!(
                shown(&key.lines),
                [line('a').as_bytes(), line('b').as_bytes()]
            );
        }
        for value in [
            pem("CERTIFICATE", &body),
            pem("PUBLIC KEY", &body),
            pem("PRIVATE KEY", "c2hvcnQ=\n"),
            "-----BEGIN PRIVATE KEY".to_owned(),
            String::new(),
        ] {
            assert!(private_keys(value.as_bytes()).is_empty(), "{value}");
        }
    }
}

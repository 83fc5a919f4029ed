//! Writing a value in the encoding of the part of the request that it is written to.
//!
//! The receiver's parser must read the value exactly as it was saved, and the value must not be able
//! to end the string, parameter, header or element that contains it. A value with a byte that the
//! encoding cannot write is refused; nothing is dropped or replaced.

use zeroize::Zeroizing;

use super::encoding::{Doubt, Encoding, Nesting, Notation};

/// A value that an encoding cannot write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Unencodable {
    /// Why, in words that contain nothing of the value.
    pub reason: &'static str,
}

/// Appends `bytes` to `out` in `encoding`. On an error, the caller discards what was appended.
///
/// `before` is the text before it. If it ends in the beginning of an escape (`%` or `\u00`), the first
/// character is written as an escape of its own. Otherwise the receiver would read it as the rest
/// of the escape, and what it then sent back would not be the value that the scrubber searches.
pub fn encode(
    encoding: Encoding,
    bytes: &[u8],
    before: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), Unencodable> {
    let rest = match bytes.split_first() {
        Some((&first, rest))
            if stands_for_itself(encoding, first) && begins_escape(encoding, before) =>
        {
            escaped(encoding, first, out);
            rest
        }
        _ => bytes,
    };
    write(encoding, rest, out)
}

/// Appends `bytes` to `out` at a place that is this deep in JSON inside of `encoding`.
pub(super) fn encode_nested(
    encoding: Encoding,
    nesting: Nesting,
    bytes: &[u8],
    before: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), Unencodable> {
    match nested(encoding, nesting, bytes)? {
        None => encode(encoding, bytes, before, out),
        Some(text) => encode(encoding, &text, before, out),
    }
}

/// How many bytes [`encode_nested`] would append at most.
pub(super) fn nested_len(
    encoding: Encoding,
    nesting: Nesting,
    bytes: &[u8],
) -> Result<usize, Unencodable> {
    match nested(encoding, nesting, bytes)? {
        None => encoded_len(encoding, bytes),
        Some(text) => encoded_len(encoding, &text),
    }
}

/// The refusal of a place whose length was said before it, and stays.
pub(super) const MEASURED: Unencodable = Unencodable {
    reason: "the part of the body that holds it says its own length or digest, which cannot be \
             corrected here; leave the part's Content-Length and digest out",
};

/// How many escapes on top of each other a value is written in. The scrubber undoes as many, so what
/// an upstream sends back is found.
const MAX_LAYERS: u8 = 2;

/// `bytes` as the JSON around their place says them. `None` if they say themselves there.
fn nested(
    encoding: Encoding,
    nesting: Nesting,
    bytes: &[u8],
) -> Result<Option<Zeroizing<Vec<u8>>>, Unencodable> {
    match nesting.doubt {
        Some(Doubt::Escaped) => {
            let reason = "a backslash stands directly before the placeholder, and would take the \
                          value's first character with it; leave the backslash out";
            return Err(Unencodable { reason });
        }
        Some(Doubt::Measured) => return Err(MEASURED),
        None if nesting.depth == 0 => return Ok(None),
        _ => {}
    }
    let mut length = Counter(0);
    json(bytes, &mut length)?;
    if length.0 == bytes.len() {
        return Ok(None);
    }
    let reason = match nesting.doubt {
        Some(Doubt::Quotation) => {
            "it stands in a string in a string, which may be JSON or a quotation, and is written \
             differently in each; leave the inner quotation marks out"
        }
        Some(_) => {
            "it holds a quotation mark, a backslash or a control character, which the header \
             section of a part of the body cannot carry; put it into the part itself"
        }
        None => "",
    };
    if !reason.is_empty() {
        return Err(Unencodable { reason });
    }
    if nesting.depth + u8::from(has_escapes(encoding)) > MAX_LAYERS {
        let reason = "it stands in JSON inside of JSON, deeper than a value is escaped; send that \
                      part less deeply nested";
        return Err(Unencodable { reason });
    }
    let mut text = Zeroizing::new(bytes.to_vec());
    for _ in 0..nesting.depth {
        let mut length = Counter(0);
        json(&text, &mut length)?;
        let mut deeper = Zeroizing::new(Vec::with_capacity(length.0));
        json(&text, &mut *deeper)?;
        text = deeper;
    }
    Ok(Some(text))
}

/// How many bytes [`encode`] would append at most. The caller can then allocate once, so that no
/// growing buffer leaves copies of a value in freed memory.
pub(super) fn encoded_len(encoding: Encoding, bytes: &[u8]) -> Result<usize, Unencodable> {
    let mut counter = Counter(0);
    write(encoding, bytes, &mut counter)?;
    let guard = if has_escapes(encoding) { MAX_GUARD } else { 0 };
    Ok(counter.0 + guard)
}

/// By how much an escape of the first character is longer than the character.
const MAX_GUARD: usize = 5;

/// The longest beginning of an escape that a character can continue: an entity of HTML has up to
/// 31 letters.
const MAX_BEGUN: usize = 32;

/// Whether `before` ends in the beginning of an escape.
fn begins_escape(encoding: Encoding, before: &[u8]) -> bool {
    let near = &before[before.len().saturating_sub(MAX_BEGUN)..];
    let Some(introducer) = introducer(encoding) else {
        return false;
    };
    let Some(at) = near.iter().rposition(|&byte| byte == introducer) else {
        return false;
    };
    match (encoding, &near[at + 1..]) {
        (Encoding::Json, [b'u', digits @ ..]) => {
            digits.len() < 4 && digits.iter().all(u8::is_ascii_hexdigit)
        }
        (Encoding::Json, begun) => begun.is_empty(),
        (Encoding::Xml, begun) => begun
            .iter()
            .all(|&byte| byte == b'#' || byte.is_ascii_alphanumeric()),
        (_, begun) => begun.len() < 2 && begun.iter().all(u8::is_ascii_hexdigit),
    }
}

/// Whether `encoding` has escapes, so that what is written depends on the text before it.
pub(super) fn has_escapes(encoding: Encoding) -> bool {
    introducer(encoding).is_some()
}

/// What the escapes begin with that are written in this encoding, if it has any.
fn introducer(encoding: Encoding) -> Option<u8> {
    let is_written_raw = encoding == Encoding::Message;
    let notation = encoding.notation().filter(|_| !is_written_raw);
    notation.map(Notation::introducer)
}

/// Whether `encoding` writes this byte as it is, and could write it as an escape.
fn stands_for_itself(encoding: Encoding, byte: u8) -> bool {
    byte.is_ascii_graphic()
        && match encoding {
            Encoding::Percent | Encoding::FormUrl | Encoding::BasicForm => is_unreserved(byte),
            Encoding::Json => !matches!(byte, b'"' | b'\\'),
            Encoding::Xml => !matches!(byte, b'&' | b'<' | b'>' | b'"' | b'\''),
            Encoding::Raw
            | Encoding::Header
            | Encoding::BasicUser
            | Encoding::Cdata
            | Encoding::Message => false,
        }
}

/// A graphic ASCII character as an escape.
fn escaped(encoding: Encoding, byte: u8, out: &mut Vec<u8>) {
    match encoding {
        Encoding::Json => json_escape(byte, out),
        Encoding::Xml => out.put(format!("&#{byte};").as_bytes()),
        _ => percent_escape(byte, out),
    }
}

trait Sink {
    fn put(&mut self, bytes: &[u8]);
}

impl Sink for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

struct Counter(usize);

impl Sink for Counter {
    fn put(&mut self, bytes: &[u8]) {
        self.0 += bytes.len();
    }
}

fn write(encoding: Encoding, bytes: &[u8], out: &mut impl Sink) -> Result<(), Unencodable> {
    match encoding {
        Encoding::Raw => out.put(bytes),
        Encoding::Header => header(bytes, out)?,
        Encoding::BasicUser => basic_user(bytes, out)?,
        Encoding::Percent => percent(bytes, false, out),
        Encoding::FormUrl | Encoding::BasicForm => percent(bytes, true, out),
        Encoding::Json => json(bytes, out)?,
        Encoding::Xml => xml(bytes, out)?,
        Encoding::Cdata => cdata(bytes, out)?,
        Encoding::Message => {
            out.put(utf8(bytes, "it is not UTF-8, which a text message must be")?.as_bytes())
        }
    }
    Ok(())
}

/// RFC 9110 section 5.5: a field value is made of HTAB, SP, VCHAR and obs-text.
fn header(bytes: &[u8], out: &mut impl Sink) -> Result<(), Unencodable> {
    // Without a branch for each byte, so that many are looked at at once.
    let fits = |byte: u8| (byte == b'\t') | ((byte >= b' ') & (byte != 0x7f));
    if bytes.iter().fold(true, |all, &byte| all & fits(byte)) {
        out.put(bytes);
        Ok(())
    } else {
        Err(Unencodable {
            reason: "it holds a control character, which a header value cannot carry",
        })
    }
}

fn basic_user(bytes: &[u8], out: &mut impl Sink) -> Result<(), Unencodable> {
    if bytes.contains(&b':') {
        return Err(Unencodable {
            reason: "it holds a colon, which would end the user name of Basic credentials",
        });
    }
    out.put(bytes);
    Ok(())
}

/// RFC 3986 section 2.3: only the unreserved characters are written as they are.
fn percent(bytes: &[u8], space_as_plus: bool, out: &mut impl Sink) {
    for &byte in bytes {
        match byte {
            byte if is_unreserved(byte) => out.put(&[byte]),
            b' ' if space_as_plus => out.put(b"+"),
            _ => percent_escape(byte, out),
        }
    }
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

fn percent_escape(byte: u8, out: &mut impl Sink) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    out.put(&[
        b'%',
        HEX[usize::from(byte >> 4)],
        HEX[usize::from(byte & 15)],
    ]);
}

/// RFC 8259 section 7: the quotation mark, the backslash and the controls are escaped.
fn json(bytes: &[u8], out: &mut impl Sink) -> Result<(), Unencodable> {
    let text = utf8(bytes, "it is not UTF-8, which a JSON string must be")?;
    for &byte in text.as_bytes() {
        match byte {
            b'"' => out.put(b"\\\""),
            b'\\' => out.put(b"\\\\"),
            b'\n' => out.put(b"\\n"),
            b'\r' => out.put(b"\\r"),
            b'\t' => out.put(b"\\t"),
            0..0x20 => json_escape(byte, out),
            _ => out.put(&[byte]),
        }
    }
    Ok(())
}

fn json_escape(byte: u8, out: &mut impl Sink) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.put(b"\\u00");
    out.put(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
}

/// White space is written as references too: parsers turn it into spaces inside attributes
/// (XML 1.0 section 3.3.3) and a carriage return into a line feed anywhere (section 2.11).
fn xml(bytes: &[u8], out: &mut impl Sink) -> Result<(), Unencodable> {
    for &byte in xml_text(bytes)?.as_bytes() {
        match byte {
            b'&' => out.put(b"&amp;"),
            b'<' => out.put(b"&lt;"),
            b'>' => out.put(b"&gt;"),
            b'"' => out.put(b"&quot;"),
            b'\'' => out.put(b"&apos;"),
            b'\t' => out.put(b"&#9;"),
            b'\n' => out.put(b"&#10;"),
            b'\r' => out.put(b"&#13;"),
            _ => out.put(&[byte]),
        }
    }
    Ok(())
}

/// A CDATA section has no escapes: a value is refused if it would end the section, alone or together
/// with any text around it.
fn cdata(bytes: &[u8], out: &mut impl Sink) -> Result<(), Unencodable> {
    let text = xml_text(bytes)?;
    if text.contains("]]>")
        || text.starts_with('>')
        || text.starts_with("]>")
        || text.ends_with(']')
    {
        return Err(Unencodable {
            reason: "it could end the CDATA section that contains it; use character data instead",
        });
    }
    if text.contains('\r') {
        return Err(Unencodable {
            reason: "it holds a carriage return, which a CDATA section cannot carry",
        });
    }
    out.put(bytes);
    Ok(())
}

/// XML 1.0 section 2.2: most control characters cannot be written at all, not even as references.
fn xml_text(bytes: &[u8]) -> Result<&str, Unencodable> {
    let text = utf8(bytes, "it is not UTF-8, which an XML document must be")?;
    let legal = |c: char| matches!(c, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..);
    if text.chars().all(legal) {
        Ok(text)
    } else {
        Err(Unencodable {
            reason: "it holds a character that XML cannot carry",
        })
    }
}

fn utf8<'a>(bytes: &'a [u8], reason: &'static str) -> Result<&'a str, Unencodable> {
    std::str::from_utf8(bytes).map_err(|_| Unencodable { reason })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(encoding: Encoding, text: &str) -> Result<String, Unencodable> {
        encoded_behind(encoding, "", text)
    }

    fn encoded_behind(encoding: Encoding, before: &str, text: &str) -> Result<String, Unencodable> {
        let mut out = Vec::new();
        encode(encoding, text.as_bytes(), before.as_bytes(), &mut out)?;
        let most = encoded_len(encoding, text.as_bytes())?;
        assert!((out.len()..=out.len() + MAX_GUARD).contains(&most));
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn a_value_does_not_complete_an_escape_begun_before_it() {
        for (encoding, before, value, expected) in [
            (Encoding::FormUrl, "k=%", "41b", "%341b"),
            (Encoding::FormUrl, "k=%4", "1b", "%31b"),
            (Encoding::Percent, "/%", "ab", "%61b"),
            (Encoding::Json, "\"\\u", "0041", "\\u0030041"),
            (Encoding::Json, "\"\\u004", "1x", "\\u0031x"),
            (Encoding::Xml, "<a>&", "lt;x", "&#108;t;x"),
            (Encoding::Xml, "<a>&#6", "5;x", "&#53;;x"),
            (Encoding::Xml, "<a>&lt", ";x", "&#59;x"),
        ] {
            let written = encoded_behind(encoding, before, value);
            assert_eq!(written.as_deref(), Ok(expected), "{encoding:?} {before}");
        }
        for (encoding, before) in [
            (Encoding::FormUrl, "k=%41"),
            (Encoding::FormUrl, "k=%g"),
            (Encoding::Json, "\"\\u0041"),
            (Encoding::Json, "\"\\n"),
            (Encoding::Xml, "<a>&lt;"),
            (Encoding::Xml, "<a>& "),
            (Encoding::Raw, "%"),
            (Encoding::Header, "\0"),
            (Encoding::Cdata, "&#"),
        ] {
            let written = encoded_behind(encoding, before, "41b");
            assert_eq!(written.as_deref(), Ok("41b"), "{encoding:?} {before}");
        }
    }

    #[test]
    fn each_form_has_its_own_spelling() {
        let value = "p@ss/w+rd =&%#?\"\\'<>;~*é";
        for (encoding, expected) in [
            (Encoding::Raw, value),
            (Encoding::Header, value),
            (Encoding::BasicUser, value),
            (
                Encoding::Percent,
                "p%40ss%2Fw%2Brd%20%3D%26%25%23%3F%22%5C%27%3C%3E%3B~%2A%C3%A9",
            ),
            (
                Encoding::FormUrl,
                "p%40ss%2Fw%2Brd+%3D%26%25%23%3F%22%5C%27%3C%3E%3B~%2A%C3%A9",
            ),
            (Encoding::Json, "p@ss/w+rd =&%#?\\\"\\\\'<>;~*é"),
            (
                Encoding::Xml,
                "p@ss/w+rd =&amp;%#?&quot;\\&apos;&lt;&gt;;~*é",
            ),
            (Encoding::Cdata, value),
            (Encoding::Message, value),
        ] {
            assert_eq!(
                encoded(encoding, value).as_deref(),
                Ok(expected),
                "{encoding:?}"
            );
        }
        assert_eq!(
            encoded(Encoding::Json, "\n\r\t\u{1f}\u{7f}").as_deref(),
            Ok("\\n\\r\\t\\u001f\u{7f}")
        );
        assert_eq!(
            encoded(Encoding::Xml, "\n\r\t\u{7f}").as_deref(),
            Ok("&#10;&#13;&#9;\u{7f}")
        );
    }

    fn nested(encoding: Encoding, nesting: Nesting, text: &str) -> Result<String, Unencodable> {
        let mut out = Vec::new();
        encode_nested(encoding, nesting, text.as_bytes(), b"", &mut out)?;
        let most = nested_len(encoding, nesting, text.as_bytes())?;
        assert!((out.len()..=out.len() + MAX_GUARD).contains(&most));
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn json_inside_is_escaped_once_for_each_string_around() {
        let deep = |depth| Nesting {
            depth,
            ..Nesting::default()
        };
        let value = "a\"b\\c\n\u{1}";
        for (encoding, depth, expected) in [
            (Encoding::Raw, 1, r#"a\"b\\c\n\u0001"#),
            (Encoding::Header, 1, r#"a\"b\\c\n\u0001"#),
            (Encoding::Json, 1, r#"a\\\"b\\\\c\\n\\u0001"#),
            (Encoding::Raw, 2, r#"a\\\"b\\\\c\\n\\u0001"#),
            (Encoding::FormUrl, 1, "a%5C%22b%5C%5Cc%5Cn%5Cu0001"),
            (Encoding::Xml, 1, r#"a\&quot;b\\c\n\u0001"#),
            (Encoding::Cdata, 1, r#"a\"b\\c\n\u0001"#),
        ] {
            let written = nested(encoding, deep(depth), value);
            assert_eq!(written.as_deref(), Ok(expected), "{encoding:?} {depth}");
        }
        // What needs no escape is written at any depth; the rest is not written where it would be found no more.
        for (encoding, depth) in [
            (Encoding::Json, 2),
            (Encoding::FormUrl, 2),
            (Encoding::Raw, 3),
        ] {
            assert_eq!(
                nested(encoding, deep(depth), "plain").as_deref(),
                Ok("plain")
            );
            assert!(
                nested(encoding, deep(depth), value).is_err(),
                "{encoding:?}"
            );
        }
        assert!(nested(Encoding::Json, deep(1), "plain").is_ok());
        for doubt in [
            Doubt::Quotation,
            Doubt::PartHead,
            Doubt::Escaped,
            Doubt::Measured,
        ] {
            let doubtful = Nesting {
                depth: 0,
                doubt: Some(doubt),
            };
            let may_be_plain = matches!(doubt, Doubt::Quotation | Doubt::PartHead);
            let plain = nested(Encoding::Json, doubtful, "plain");
            assert_eq!(plain.is_ok(), may_be_plain, "{doubt:?}");
            assert!(
                nested(Encoding::Json, doubtful, value).is_err(),
                "{doubt:?}"
            );
        }
    }

    #[test]
    fn a_header_carries_no_control_characters() {
        for bad in ["a\r\nX-Injected: 1", "\n", "\r", "\0", "\u{1b}", "\u{7f}"] {
            assert!(encoded(Encoding::Header, bad).is_err(), "{bad:?}");
        }
        assert!(encoded(Encoding::Header, "tab\there, пароль").is_ok());
    }

    #[test]
    fn a_basic_user_name_has_no_colon() {
        assert!(encoded(Encoding::BasicUser, "a:b").is_err());
        assert!(encoded(Encoding::BasicUser, "a\0b").is_ok());
    }

    #[test]
    fn json_xml_and_messages_carry_only_text() {
        let mut out = Vec::new();
        for encoding in [
            Encoding::Json,
            Encoding::Xml,
            Encoding::Cdata,
            Encoding::Message,
        ] {
            assert!(encode(encoding, b"\xff", b"", &mut out).is_err());
        }
        for bad in ["\0", "\u{1}", "\u{fffe}", "\u{ffff}"] {
            assert!(encoded(Encoding::Xml, bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_cdata_section_cannot_be_ended_by_a_value() {
        for bad in ["]]>", "x]]>y", ">", "]>", "x]", "\r\n"] {
            assert!(encoded(Encoding::Cdata, bad).is_err(), "{bad:?}");
        }
        for good in ["x>", "]x", "]]x", "&lt;\n"] {
            assert_eq!(encoded(Encoding::Cdata, good).as_deref(), Ok(good));
        }
    }
}

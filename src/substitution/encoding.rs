//! Encodings: how one character of a placeholder may be written in each part of a request.
//!
//! An encoding is decoded *one character at a time* and only one level deep: `%253C` is data, and
//! so is `&amp;lt;`. The receiver does the same, so what is found here is exactly what the receiver
//! would read as a placeholder. JSON inside of a part is the exception ([`crate::substitution::placeholder`]
//! reads its escapes, and `json_text` knows where it is): programs nest it, and escape `<` in it.
//!
//! # Adding an encoding
//!
//! The compiler names every place that has to know a new [`Encoding`]: here how it is decoded, in
//! `encode` how a value is written in it, in `placeholder` what a placeholder in it begins with.
//! What an upstream receives in that encoding it can send back in it, so the scrubber must be able
//! to undo it. That is what [`Encoding::notation`] is for: it names the [`Notation`] of the
//! encoding's escapes, and `scrub::escapes` undoes every notation by a `match` over all of them. A
//! property test of the scrubber writes values in every encoding and expects to find them.

/// The encoding of the part of a request that contains a placeholder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// Text without an encoding of its own.
    Raw,
    /// A header value (RFC 9110 section 5.5). Read like [`Encoding::Raw`], but some bytes cannot be
    /// written.
    Header,
    /// The user name of Basic credentials, after base64: as [`Encoding::Raw`], but a colon would end it
    /// (RFC 7617 section 2).
    BasicUser,
    /// A part of Basic credentials that the client encoded as a form does (RFC 6749 section 2.3.1).
    BasicForm,
    /// Path and query (RFC 3986 section 2.1).
    Percent,
    /// `application/x-www-form-urlencoded`.
    FormUrl,
    /// A JSON string (RFC 8259 section 7).
    Json,
    /// XML character data or attribute value.
    Xml,
    /// Inside an XML CDATA section, where references are not read.
    Cdata,
    /// A WebSocket text message (RFC 6455 section 5.6), which has no media type: read raw and like
    /// [`Encoding::Json`], written raw. What turns out to be JSON is written as [`Encoding::Json`].
    Message,
}

/// Where a place is, with respect to JSON.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Nesting {
    /// How many JSON strings are around it, without the one of the encoding itself.
    pub depth: u8,
    /// What makes it uncertain that a value can be written there.
    pub doubt: Option<Doubt>,
}

impl Nesting {
    /// Whether a placeholder is meant there that escapes of JSON spell, so many levels deep. Without
    /// JSON that would undo them it is data.
    pub(super) fn reads(self, depth: u8) -> bool {
        // A quotation may be a string of JSON.
        let deepest = self.depth + u8::from(self.doubt == Some(Doubt::Quotation));
        depth <= deepest
    }
}

/// Why a place may be none for a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// It is directly after a backslash that takes the next character with it.
    Escaped,
    /// It is in a string that begins with a quotation mark: JSON inside, or a quotation.
    Quotation,
    /// It is in the header section of a part, where a value may be quoted or not.
    PartHead,
    /// The length of what it is in was said before, and is not corrected.
    Measured,
}

/// How escapes are written. Each notation is undone by the scrubber (`scrub::escapes`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Notation {
    /// `%41` (RFC 3986 section 2.1).
    Percent,
    /// `\u0041`, `\n`, `\"` (RFC 8259 section 7).
    Backslash,
    /// `&lt;`, `&#60;`, `&#x3c;` (XML 1.0 section 4.1).
    Reference,
}

impl Notation {
    /// Every notation.
    pub const ALL: [Self; 3] = [Self::Percent, Self::Backslash, Self::Reference];

    /// The notation whose escapes begin with this byte.
    #[inline]
    pub fn of_introducer(byte: u8) -> Option<Self> {
        match byte {
            b'%' => Some(Self::Percent),
            b'\\' => Some(Self::Backslash),
            b'&' => Some(Self::Reference),
            _ => None,
        }
    }

    /// The byte with which its escapes begin.
    pub fn introducer(self) -> u8 {
        match self {
            Self::Percent => b'%',
            Self::Backslash => b'\\',
            Self::Reference => b'&',
        }
    }
}

/// The longest spelling of one character in any encoding, in bytes: `&#x` + digits + `;`.
pub(super) const MAX_ENCODED_CHAR: usize = MAX_XML_DIGITS + 4;

/// The number of leading zeros in a character reference has no limit; what a stream holds back
/// needs one.
const MAX_XML_DIGITS: usize = 8;

/// The character at the front of some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EncodedChar {
    /// This character, and the length of its spelling in bytes.
    Is(u8, usize),
    /// No character that can be part of a placeholder.
    Other,
    /// The bytes end inside a spelling.
    Cut,
}

impl Encoding {
    /// Every encoding.
    pub const ALL: [Self; 10] = [
        Self::Raw,
        Self::Header,
        Self::BasicUser,
        Self::BasicForm,
        Self::Percent,
        Self::FormUrl,
        Self::Json,
        Self::Xml,
        Self::Cdata,
        Self::Message,
    ];

    /// The notation of the escapes that are read in this encoding, if it has any.
    pub fn notation(self) -> Option<Notation> {
        match self {
            Self::Percent | Self::FormUrl | Self::BasicForm => Some(Notation::Percent),
            Self::Json | Self::Message => Some(Notation::Backslash),
            Self::Xml => Some(Notation::Reference),
            Self::Raw | Self::Header | Self::BasicUser | Self::Cdata => None,
        }
    }

    /// Decodes the character at the front of `bytes`; `Cut` if there are too few to tell.
    pub(super) fn encoded_char(self, bytes: &[u8]) -> EncodedChar {
        let Some(&first) = bytes.first() else {
            return EncodedChar::Cut;
        };
        match self.notation().filter(|it| it.introducer() == first) {
            None => EncodedChar::Is(first, 1),
            Some(Notation::Percent) => percent_escape(&bytes[1..]),
            Some(Notation::Backslash) => json_escape(&bytes[1..]),
            Some(Notation::Reference) => xml_reference(&bytes[1..]),
        }
    }
}

/// `rest` follows a `%`.
fn percent_escape(rest: &[u8]) -> EncodedChar {
    hex_pair(rest, 1)
}

/// `rest` follows a backslash that begins an escape. Only `\u00XX` can mean a character of the
/// grammar. An escaped backslash or quotation mark can begin an escape of JSON inside of it.
fn json_escape(rest: &[u8]) -> EncodedChar {
    if let Some(&byte @ (b'\\' | b'"' | b'/')) = rest.first() {
        return EncodedChar::Is(byte, 2);
    }
    for (index, expected) in b"u00".iter().enumerate() {
        match rest.get(index) {
            None => return EncodedChar::Cut,
            Some(byte) if byte == expected => {}
            Some(_) => return EncodedChar::Other,
        }
    }
    hex_pair(&rest[3..], 4)
}

/// Reads two hexadecimal digits, after a prefix of `before` bytes.
fn hex_pair(digits: &[u8], before: usize) -> EncodedChar {
    let mut value = 0;
    for index in 0..2 {
        match digits.get(index).map(|&digit| hex_value(digit)) {
            None => return EncodedChar::Cut,
            Some(None) => return EncodedChar::Other,
            Some(Some(digit)) => value = value << 4 | digit,
        }
    }
    EncodedChar::Is(value, before + 2)
}

/// `rest` follows an `&`. Of the named entities only `&lt;` and `&gt;` mean a character of the grammar.
fn xml_reference(rest: &[u8]) -> EncodedChar {
    match rest.first() {
        None => EncodedChar::Cut,
        Some(b'#') if rest.len() == 1 => EncodedChar::Cut,
        Some(b'#') if rest[1] == b'x' => xml_number(&rest[2..], 16, 3),
        Some(b'#') => xml_number(&rest[1..], 10, 2),
        Some(b'l') => xml_named(rest, b"lt;", b'<'),
        Some(b'g') => xml_named(rest, b"gt;", b'>'),
        Some(_) => EncodedChar::Other,
    }
}

fn xml_named(rest: &[u8], name: &[u8], byte: u8) -> EncodedChar {
    if rest.starts_with(name) {
        EncodedChar::Is(byte, 1 + name.len())
    } else if name.starts_with(rest) {
        EncodedChar::Cut
    } else {
        EncodedChar::Other
    }
}

/// Reads digits up to the semicolon, after a prefix of `before` bytes.
fn xml_number(digits: &[u8], radix: u32, before: usize) -> EncodedChar {
    let mut value: u32 = 0;
    for (index, &byte) in digits.iter().enumerate() {
        if byte == b';' && index > 0 {
            return match u8::try_from(value) {
                Ok(value) if value.is_ascii() => EncodedChar::Is(value, before + index + 1),
                _ => EncodedChar::Other,
            };
        }
        match char::from(byte).to_digit(radix) {
            Some(digit) if index < MAX_XML_DIGITS => value = value.saturating_mul(radix) + digit,
            _ => return EncodedChar::Other,
        }
    }
    EncodedChar::Cut
}

/// The value of a hexadecimal digit in either case.
pub(super) fn hex_value(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded_char(encoding: Encoding, text: &str) -> EncodedChar {
        encoding.encoded_char(text.as_bytes())
    }

    /// A new encoding does not compile without a line here, which is the reminder that it belongs
    /// into [`Encoding::ALL`] too.
    #[test]
    fn all_means_all() {
        let number = |encoding| match encoding {
            Encoding::Raw => 0,
            Encoding::Header => 1,
            Encoding::BasicUser => 2,
            Encoding::Percent => 3,
            Encoding::FormUrl => 4,
            Encoding::Json => 5,
            Encoding::Xml => 6,
            Encoding::Cdata => 7,
            Encoding::Message => 8,
            Encoding::BasicForm => 9,
        };
        let mut numbers = Encoding::ALL.map(number);
        numbers.sort_unstable();
        assert!(numbers.into_iter().eq(0..Encoding::ALL.len()));
    }

    #[test]
    fn each_form_reads_its_own_spellings_only() {
        for encoding in [
            Encoding::Raw,
            Encoding::Header,
            Encoding::Cdata,
            Encoding::BasicUser,
        ] {
            assert_eq!(encoded_char(encoding, "<"), EncodedChar::Is(b'<', 1));
            assert_eq!(encoded_char(encoding, "%3C"), EncodedChar::Is(b'%', 1));
            assert_eq!(encoded_char(encoding, "&lt;"), EncodedChar::Is(b'&', 1));
            assert_eq!(encoded_char(encoding, "\\u003c"), EncodedChar::Is(b'\\', 1));
        }
        for encoding in [Encoding::Percent, Encoding::FormUrl, Encoding::BasicForm] {
            assert_eq!(encoded_char(encoding, "%3c%3C"), EncodedChar::Is(b'<', 3));
            assert_eq!(encoded_char(encoding, "%253C"), EncodedChar::Is(b'%', 3));
            assert_eq!(encoded_char(encoding, "%g3"), EncodedChar::Other);
        }
        assert_eq!(
            encoded_char(Encoding::Json, "\\u003C."),
            EncodedChar::Is(b'<', 6)
        );
        assert_eq!(encoded_char(Encoding::Json, "\\u013C"), EncodedChar::Other);
        assert_eq!(encoded_char(Encoding::Json, "\\n"), EncodedChar::Other);
        assert_eq!(
            encoded_char(Encoding::Json, "\\\\u003c"),
            EncodedChar::Is(b'\\', 2)
        );
        for spelling in ["&lt;", "&#60;", "&#060;", "&#x3c;", "&#x3C;", "&#x0003c;"] {
            assert_eq!(
                encoded_char(Encoding::Xml, spelling),
                EncodedChar::Is(b'<', spelling.len())
            );
        }
        for other in [
            "&amp;",
            "&#;",
            "&#x;",
            "&#X3c;",
            "&#955;",
            "&#60 ;",
            "&#x00000003c;",
            "&lt ",
        ] {
            assert_eq!(
                encoded_char(Encoding::Xml, other),
                EncodedChar::Other,
                "{other}"
            );
        }
    }

    #[test]
    fn every_proper_prefix_of_a_spelling_is_cut() {
        for (encoding, spelling) in [
            (Encoding::Percent, "%3C"),
            (Encoding::FormUrl, "%3c"),
            (Encoding::Json, "\\u003c"),
            (Encoding::Xml, "&lt;"),
            (Encoding::Xml, "&gt;"),
            (Encoding::Xml, "&#60;"),
            (Encoding::Xml, "&#x0000003c;"),
        ] {
            assert!(spelling.len() <= MAX_ENCODED_CHAR);
            for end in 0..spelling.len() {
                assert_eq!(
                    encoded_char(encoding, &spelling[..end]),
                    EncodedChar::Cut,
                    "{spelling} cut at {end}"
                );
            }
        }
    }
}

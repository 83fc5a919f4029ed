//! The text that a part of a request means, once its own encoding is undone, and the JSON in it.
//!
//! It is read only to know how deep in JSON strings a place is; see [`JsonText`].

use super::encoding::{Encoding, Nesting, hex_value};
use super::json_text::JsonText;

/// The longest escape that is undone: `&#x0000003c;` and shorter names.
const MAX_ESCAPE: usize = 12;

/// Reads a part of a request from left to right, in pieces of any size.
pub(super) struct InnerText {
    json: JsonText,
    syntax: Syntax,
    /// The beginning of an escape.
    escape: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Syntax {
    /// What is read is what is meant.
    Plain,
    /// Pairs of names and values, percent-encoded. Each is a text of its own.
    Pairs { in_value: bool },
    /// Character data and attribute values. Each is a text of its own.
    Xml(XmlPlace),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum XmlPlace {
    Text,
    Tag,
    /// In an attribute value with this quotation mark around it.
    Value(u8),
    Cdata,
}

impl InnerText {
    /// At the start of a part that is read in this encoding.
    pub(super) fn new(encoding: Encoding) -> Self {
        let syntax = match encoding {
            Encoding::Percent | Encoding::FormUrl => Syntax::Pairs { in_value: false },
            Encoding::Xml | Encoding::Cdata => Syntax::Xml(XmlPlace::Text),
            Encoding::Raw
            | Encoding::Header
            | Encoding::BasicUser
            | Encoding::BasicForm
            | Encoding::Json
            | Encoding::Message => Syntax::Plain,
        };
        let json = match encoding {
            Encoding::Json => JsonText::of_json(),
            Encoding::Message => JsonText::of_message(),
            _ => JsonText::new(),
        };
        Self {
            json,
            syntax,
            escape: Vec::new(),
        }
    }

    /// Where the next byte is.
    pub(super) fn nesting(&self) -> Nesting {
        self.json.nesting()
    }

    /// Passes over a placeholder.
    pub(super) fn pass_placeholder(&mut self) {
        self.escape.clear();
        self.json.pass_placeholder();
    }

    /// Reads on in a part, or in a section of it, of this encoding.
    pub(super) fn advance(&mut self, encoding: Encoding, bytes: &[u8]) {
        if let Syntax::Xml(place) = self.syntax
            && (place == XmlPlace::Cdata) != (encoding == Encoding::Cdata)
        {
            self.syntax = Syntax::Xml(match encoding {
                Encoding::Cdata => XmlPlace::Cdata,
                _ => XmlPlace::Text,
            });
            self.json.restart();
        }
        match self.syntax {
            Syntax::Plain | Syntax::Xml(XmlPlace::Cdata) => self.json.advance(bytes),
            Syntax::Pairs { .. } => bytes.iter().for_each(|&byte| self.pair_byte(byte)),
            Syntax::Xml(_) => bytes.iter().for_each(|&byte| self.xml_byte(byte)),
        }
    }

    fn pair_byte(&mut self, byte: u8) {
        let Syntax::Pairs { in_value } = self.syntax else {
            return;
        };
        match (byte, in_value, self.escape.is_empty()) {
            (b'&', _, _) | (b'=', false, _) => {
                let in_value = byte == b'=';
                self.syntax = Syntax::Pairs { in_value };
                self.escape.clear();
                self.json.restart();
            }
            (b'%', _, true) => self.escape.push(byte),
            (b'+', _, true) => self.json.advance(b" "),
            (_, _, true) => self.json.advance(&[byte]),
            _ => {
                self.escape.push(byte);
                if let [_, high, low] = self.escape[..] {
                    let digits = hex_value(high).zip(hex_value(low));
                    let meant = digits.map_or(b'%', |(high, low)| high << 4 | low);
                    self.escape.clear();
                    self.json.advance(&[meant]);
                }
            }
        }
    }

    fn xml_byte(&mut self, byte: u8) {
        let Syntax::Xml(place) = self.syntax else {
            return;
        };
        let next = match (place, byte) {
            (XmlPlace::Text, b'<') => XmlPlace::Tag,
            (XmlPlace::Tag, b'>') => XmlPlace::Text,
            (XmlPlace::Tag, b'"' | b'\'') => XmlPlace::Value(byte),
            (XmlPlace::Value(quote), byte) if byte == quote => XmlPlace::Tag,
            _ => place,
        };
        if next != place {
            self.syntax = Syntax::Xml(next);
            self.escape.clear();
            self.json.restart();
        } else if place != XmlPlace::Tag {
            self.xml_text(byte);
        }
    }

    fn xml_text(&mut self, byte: u8) {
        if self.escape.is_empty() && byte != b'&' {
            self.json.advance(&[byte]);
            return;
        }
        self.escape.push(byte);
        if byte == b';' || self.escape.len() > MAX_ESCAPE {
            let meant = meant_by(&self.escape);
            self.escape.clear();
            self.json.advance(&[meant]);
        }
    }
}

/// The character that a reference of XML 1.0 section 4.6 means. One beyond ASCII only matters as being
/// some character.
fn meant_by(reference: &[u8]) -> u8 {
    let name = reference.strip_prefix(b"&").unwrap_or(reference);
    let name = name.strip_suffix(b";").unwrap_or(name);
    match name {
        b"quot" => b'"',
        b"apos" => b'\'',
        b"amp" => b'&',
        b"lt" => b'<',
        b"gt" => b'>',
        _ => number(name).unwrap_or(b'x'),
    }
}

fn number(name: &[u8]) -> Option<u8> {
    let text = std::str::from_utf8(name.strip_prefix(b"#")?).ok()?;
    let code = match text.strip_prefix('x') {
        Some(digits) => u32::from_str_radix(digits, 16).ok()?,
        None => text.parse().ok()?,
    };
    u8::try_from(code).ok().filter(u8::is_ascii)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn depth(encoding: Encoding, read: &str) -> u8 {
        let mut whole = InnerText::new(encoding);
        whole.advance(encoding, read.as_bytes());
        let mut bytewise = InnerText::new(encoding);
        for byte in read.as_bytes() {
            bytewise.advance(encoding, &[*byte]);
        }
        assert_eq!(whole.nesting(), bytewise.nesting(), "{read}");
        whole.nesting().depth
    }

    #[test]
    fn each_value_of_a_form_is_a_text_of_its_own() {
        for encoding in [Encoding::FormUrl, Encoding::Percent] {
            for (read, expected) in [
                ("payload=%7B%22t%22%3A+%22", 1),
                ("payload={\"t\":\"", 1),
                ("payload={\"t\":\"&b=", 0),
                ("a=1&b=%5B%22%7B%5C%22t%5C%22%3a%5C%22", 2),
                ("a=%7b%22b%22:%221=2", 1),
                ("{\"t\":\"", 1),
                ("{\"t\":\"=", 0),
                ("a=100%25{\"t\":\"", 1),
            ] {
                assert_eq!(depth(encoding, read), expected, "{read}");
            }
        }
    }

    #[test]
    fn each_text_and_attribute_of_xml_is_a_text_of_its_own() {
        for (read, expected) in [
            ("<a>{\"t\":\"", 1),
            ("<a>{&quot;t&quot;:&#34;", 1),
            ("<a b=\"{&quot;t&quot;:&quot;", 1),
            ("<a b='{\"t\":\"", 1),
            ("<a b='{\"t\":\"' c='", 0),
            ("<a>{\"t\":\"</a><b>", 0),
            ("<a>{&quot;t&quot;:&quot;{\\&quot;u\\&quot;:\\&quot;", 2),
            ("<a b=\"", 0),
        ] {
            assert_eq!(depth(Encoding::Xml, read), expected, "{read}");
        }
    }

    #[test]
    fn a_cdata_section_is_read_as_it_is() {
        let mut text = InnerText::new(Encoding::Xml);
        text.advance(Encoding::Xml, b"<a><![CDATA[");
        text.advance(Encoding::Cdata, b"{\"<b>\":\"&quot;");
        assert_eq!(text.nesting().depth, 1);
        text.advance(Encoding::Cdata, b"\"}]]>");
        text.advance(Encoding::Xml, b"</a>");
        assert_eq!(text.nesting().depth, 0);
    }
}

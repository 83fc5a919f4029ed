//! Tells which parts of an XML text are in a CDATA section.
//!
//! Character references are read everywhere but there. Comments and processing instructions are
//! tracked only so that a `<![CDATA[` inside one is not taken for a section.

use memchr::memchr;

use super::encoding::Encoding;

/// Reads XML from left to right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum XmlTracker {
    /// Character data and tags.
    #[default]
    Text,
    /// After `<` and this much of what may open a section.
    Opening(Opening),
    /// In a comment, after this many hyphens (two at most).
    Comment(u8),
    /// In a processing instruction, and whether directly after a question mark.
    Instruction(bool),
    /// In a CDATA section, after this many closing brackets (two at most).
    Cdata(u8),
}

/// What was read after a `<`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opening {
    Less,
    Bang,
    BangHyphen,
    /// After `<![` and this many bytes of `CDATA[`.
    Bracket(usize),
}

const CDATA: &[u8] = b"CDATA[";

impl XmlTracker {
    /// The encoding in which the next byte is read.
    pub(super) fn encoding(self) -> Encoding {
        match self {
            XmlTracker::Cdata(_) => Encoding::Cdata,
            _ => Encoding::Xml,
        }
    }

    /// Reads on.
    pub(super) fn advance(&mut self, bytes: &[u8]) {
        let mut read = 0;
        while read < bytes.len() {
            read += self.advance_to_change(&bytes[read..]).0;
        }
    }

    /// Reads on until the encoding changes. Returns how many bytes were read and whether it did.
    pub(super) fn advance_to_change(&mut self, bytes: &[u8]) -> (usize, bool) {
        let encoding = self.encoding();
        let mut at = 0;
        while at < bytes.len() {
            if let Some(stop) = self.resting() {
                match memchr(stop, &bytes[at..]) {
                    None => return (bytes.len(), false),
                    Some(ahead) => at += ahead,
                }
            }
            *self = self.step(bytes[at]);
            at += 1;
            if self.encoding() != encoding {
                return (at, true);
            }
        }
        (at, false)
    }

    /// The only byte that leads out of the present state, if there is just one.
    fn resting(self) -> Option<u8> {
        match self {
            XmlTracker::Text => Some(b'<'),
            XmlTracker::Comment(0) => Some(b'-'),
            XmlTracker::Instruction(false) => Some(b'?'),
            XmlTracker::Cdata(0) => Some(b']'),
            _ => None,
        }
    }

    fn step(self, byte: u8) -> Self {
        match self {
            XmlTracker::Text => XmlTracker::text(byte),
            XmlTracker::Opening(opening) => opening.step(byte),
            XmlTracker::Comment(2) if byte == b'>' => XmlTracker::Text,
            XmlTracker::Comment(hyphens) if byte == b'-' => XmlTracker::Comment(2.min(hyphens + 1)),
            XmlTracker::Comment(_) => XmlTracker::Comment(0),
            XmlTracker::Instruction(true) if byte == b'>' => XmlTracker::Text,
            XmlTracker::Instruction(_) => XmlTracker::Instruction(byte == b'?'),
            XmlTracker::Cdata(2) if byte == b'>' => XmlTracker::Text,
            XmlTracker::Cdata(brackets) if byte == b']' => XmlTracker::Cdata(2.min(brackets + 1)),
            XmlTracker::Cdata(_) => XmlTracker::Cdata(0),
        }
    }

    fn text(byte: u8) -> Self {
        if byte == b'<' {
            XmlTracker::Opening(Opening::Less)
        } else {
            XmlTracker::Text
        }
    }
}

impl Opening {
    fn step(self, byte: u8) -> XmlTracker {
        match (self, byte) {
            (Opening::Less, b'!') => XmlTracker::Opening(Opening::Bang),
            (Opening::Less, b'?') => XmlTracker::Instruction(false),
            (Opening::Bang, b'-') => XmlTracker::Opening(Opening::BangHyphen),
            (Opening::Bang, b'[') => XmlTracker::Opening(Opening::Bracket(0)),
            (Opening::BangHyphen, b'-') => XmlTracker::Comment(0),
            (Opening::Bracket(matched), byte) if CDATA.get(matched) == Some(&byte) => {
                if matched + 1 == CDATA.len() {
                    XmlTracker::Cdata(0)
                } else {
                    XmlTracker::Opening(Opening::Bracket(matched + 1))
                }
            }
            _ => XmlTracker::text(byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(text: &str) -> XmlTracker {
        let mut section = XmlTracker::default();
        section.advance(text.as_bytes());
        let mut bytewise = XmlTracker::default();
        text.bytes().for_each(|byte| bytewise.advance(&[byte]));
        assert_eq!(section, bytewise, "{text}");
        section
    }

    #[test]
    fn a_cdata_section_is_told_from_what_looks_like_one() {
        for inside in [
            "<a><![CDATA[",
            "<![CDATA[x]]",
            "<![CDATA[]]]",
            "<<![CDATA[ <a> ]] >",
            "<!--x--><![CDATA[<!--",
        ] {
            assert_eq!(after(inside).encoding(), Encoding::Cdata, "{inside}");
        }
        for outside in [
            "<![CDATA[x]]>",
            "<![CDATA[x]]]>",
            "<!-- <![CDATA[",
            "<!--> <![CDATA[",
            "<?pi <![CDATA[",
            "<![CDAT[",
            "<! [CDATA[",
            "&lt;![CDATA[",
            "<<gh>>![CDATA[",
        ] {
            assert_eq!(after(outside).encoding(), Encoding::Xml, "{outside}");
        }
    }

    #[test]
    fn the_encoding_changes_right_after_the_marks() {
        let mut section = XmlTracker::default();
        assert_eq!(section.advance_to_change(b"<a><![CDATA[x]]>y"), (12, true));
        assert_eq!(section.advance_to_change(b"x]]>y"), (4, true));
        assert_eq!(section.advance_to_change(b"y"), (1, false));
    }
}

//! What may stand between the characters of a needle in the text.
//!
//! Nothing is skipped here that the filter does not know of: a hit would then be found or not
//! depending on how the stream was cut.

use super::haystack::Haystack;

/// The separators of a hex dump.
pub(super) const HEX_SEPARATORS: [u8; 3] = [b' ', b':', b'-'];

/// The most blanks before a line of base64.
pub(super) const MAX_INDENT: u8 = 40;

/// What was read since the last character of a needle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gap {
    /// Nothing, and it is open whether this hex text has separators.
    None,
    /// A carriage return: only a line feed may follow.
    Cr,
    /// A line break and so many blanks: only more of these, up to [`MAX_INDENT`], and the next
    /// character may follow. A second line break would keep whole paragraphs waiting for the next one.
    Break(u8),
    /// This separator, as between all bytes of this hex dump; only the next character may follow.
    After(u8),
    /// Nothing: the separator is due after every second character, and this is not its place.
    Within(u8),
    /// Nothing: this hex text has no separators.
    Dense,
}

impl Gap {
    /// The gap after `byte` at `at` if it is part of a line break in base64 of which `depth`
    /// characters were read.
    pub fn after_line_break(
        self,
        text: Haystack<'_>,
        at: usize,
        depth: u32,
        byte: u8,
    ) -> Option<Self> {
        match (byte, self) {
            (b'\n', Self::Cr) => Some(Self::Break(0)),
            (b' ' | b'\t', Self::Break(count @ ..MAX_INDENT)) => Some(Self::Break(count + 1)),
            (b'\r' | b'\n', Self::None) if depth > 0 && text.wraps_at(at) => {
                Some(if byte == b'\r' {
                    Self::Cr
                } else {
                    Self::Break(0)
                })
            }
            _ => None,
        }
    }

    /// The gap after `byte` of a hex text of which `depth` characters were read: [`Gap::After`] if
    /// it is the separator, which must then be between all bytes. `None` if it can be neither that
    /// nor a digit.
    pub fn after_hex(self, depth: u32, byte: u8) -> Option<Self> {
        let boundary = depth > 0 && depth.is_multiple_of(2);
        match self {
            Self::After(separator) => Some(Self::Within(separator)),
            Self::Within(separator) if boundary => {
                (byte == separator).then_some(Self::After(separator))
            }
            Self::None if boundary && HEX_SEPARATORS.contains(&byte) => Some(Self::After(byte)),
            Self::None if boundary => Some(Self::Dense),
            gap => Some(gap),
        }
    }
}

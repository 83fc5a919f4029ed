//! One unit of text: a literal byte, or an escape that stands for a character.
//!
//! A value can come back in any mix of notations: percent-encoded by a URL library that leaves
//! half of the punctuation alone, JSON-escaped by one that writes `/` as `\/`, or first one and
//! then the other. Listing every spelling as a needle of its own is hopeless (each byte doubles
//! the list), so a needle is compared with the text unit by unit instead, and this module says
//! what the unit at a position may stand for. That answer depends on the bytes of the unit alone,
//! never on what comes before it: a hit is found wherever it begins, even after an odd backslash.

use super::backslash::meant_by;
use super::entities::named;
use super::haystack::Haystack;

/// Percent-encoding was used: `%41`, `%u0041`.
pub(super) const PERCENT: u8 = 1;
/// A backslash escape was used: `\n`, `\/`, `\u0041`, `\x41`, `\101`.
pub(super) const BACKSLASH: u8 = 2;
/// An XML or HTML character reference was used: `&lt;`, `&#60;`, `&#x3c;`.
pub(super) const ENTITY: u8 = 4;

/// Escapes are undone twice: JSON in a query parameter (`%5C%22`), JSON in JSON (`\\\"`),
/// HTML in JSON (`\u0026lt;`) and double percent-encoding (`%2541`) are all ordinary echoes.
const LEVELS: u8 = 2;

/// The most digits a numeric reference may have, and more letters than any name has.
const NAME_MAX: usize = 8;

/// No escape has more characters than this after the first (`\ud83d\udd11`).
const SYNTAX_MAX: usize = 12;

/// What an escape stands for, and where it ends.
#[derive(Clone, Copy)]
pub(super) struct TextUnit {
    bytes: [u8; 4],
    len: u8,
    /// Position after the escape.
    pub next: usize,
    /// Notations used, a mask of [`PERCENT`], [`BACKSLASH`] and [`ENTITY`].
    pub kinds: u8,
}

impl TextUnit {
    /// The byte at `pos` as itself.
    pub fn literal(byte: u8, pos: usize) -> Self {
        Self::of_byte(byte, pos + 1, 0)
    }

    pub fn of_byte(byte: u8, next: usize, kinds: u8) -> Self {
        Self {
            bytes: [byte, 0, 0, 0],
            len: 1,
            next,
            kinds,
        }
    }

    fn of_char(c: char, next: usize, kinds: u8) -> Self {
        let mut bytes = [0; 4];
        let len = c.encode_utf8(&mut bytes).len() as u8;
        Self {
            bytes,
            len,
            next,
            kinds,
        }
    }

    /// The bytes the escape stands for: one, or the UTF-8 of one character.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

/// The escapes that may begin at a position; the literal reading is always possible besides.
pub(super) struct Escapes {
    items: [TextUnit; 4],
    len: usize,
    /// The text ends before it is known which escapes begin here.
    pub undecided: bool,
}

impl Escapes {
    const NONE: Self = Self {
        items: [TextUnit {
            bytes: [0; 4],
            len: 0,
            next: 0,
            kinds: 0,
        }; 4],
        len: 0,
        undecided: false,
    };

    fn push(&mut self, unit: TextUnit) {
        if let Some(slot) = self.items.get_mut(self.len) {
            *slot = unit;
            self.len += 1;
        }
    }

    fn push_parsed(&mut self, escape: ParsedEscape) {
        let ParsedEscape {
            meaning,
            next,
            kinds,
        } = escape;
        match meaning {
            Meaning::Byte(byte) => self.push(TextUnit::of_byte(byte, next, kinds)),
            Meaning::Char(c) => {
                self.push(TextUnit::of_char(c, next, kinds));
                // Binary data put through Latin-1 on its way into JSON or XML.
                if ('\u{80}'..='\u{ff}').contains(&c) {
                    self.push(TextUnit::of_byte(c as u32 as u8, next, kinds));
                }
            }
        }
    }

    pub fn iter(&self) -> std::slice::Iter<'_, TextUnit> {
        self.items[..self.len].iter()
    }
}

/// The text ended inside an escape.
struct Cut;

/// A character of escape syntax, itself perhaps written as an escape.
struct Symbol {
    byte: u8,
    next: usize,
    kinds: u8,
}

#[derive(Clone, Copy)]
enum Meaning {
    Byte(u8),
    Char(char),
}

#[derive(Clone, Copy)]
struct ParsedEscape {
    meaning: Meaning,
    next: usize,
    kinds: u8,
}

impl ParsedEscape {
    /// The ASCII character meant; a byte that is none for any other.
    fn ascii(self) -> u8 {
        match self.meaning {
            Meaning::Byte(byte) => byte,
            Meaning::Char(c) if c.is_ascii() => c as u8,
            Meaning::Char(_) => u8::MAX,
        }
    }

    fn introduces(self) -> bool {
        introduces(self.ascii())
    }
}

/// Whether an escape can begin with this byte.
pub(super) fn introduces(byte: u8) -> bool {
    matches!(byte, b'%' | b'\\' | b'&')
}

impl Haystack<'_> {
    /// The escapes that begin at `pos`, at any level.
    pub fn escapes(self, pos: usize) -> Escapes {
        let mut escapes = Escapes::NONE;
        for level in 1..=LEVELS {
            match self.escape(pos, level) {
                Ok(Some(escape)) => {
                    escapes.push_parsed(escape);
                    // One of the second level begins with one that stands for `%`, `\` or `&`.
                    if !escape.introduces() {
                        break;
                    }
                }
                Ok(None) if self.nothing_nested(pos) => break,
                Ok(None) => {}
                Err(Cut) => escapes.undecided |= !self.complete,
            }
        }
        escapes
    }

    /// Whether all of what would be escape syntax at `pos` is literal.
    fn nothing_nested(self, pos: usize) -> bool {
        let syntax = self.bytes[pos + 1..].iter().take(SYNTAX_MAX);
        !syntax.fold(false, |any, &byte| any | introduces(byte))
    }

    /// Only `%41`: the one escape in which values too short for the rest are searched.
    pub fn percent_escapes(self, pos: usize) -> Escapes {
        let mut escapes = Escapes::NONE;
        if self.bytes.get(pos) == Some(&b'%') {
            match self.hex(pos + 1, 0, 2) {
                Ok(Some((value, next, _))) => {
                    escapes.push(TextUnit::of_byte(value as u8, next, PERCENT));
                }
                Ok(None) => {}
                Err(Cut) => escapes.undecided = !self.complete,
            }
        }
        escapes
    }

    /// The character at `pos` after `level` rounds of unescaping.
    fn symbol(self, pos: usize, level: u8) -> Result<Symbol, Cut> {
        let byte = *self.bytes.get(pos).ok_or(Cut)?;
        // `\&quot;` is a backslash before an entity, not an escaped ampersand before `quot;`.
        let before_another = byte == b'\\' && matches!(self.bytes.get(pos + 1), Some(b'%' | b'&'));
        if level > 0 && introduces(byte) && !before_another {
            match self.escape(pos, level) {
                Ok(Some(escape)) => {
                    return Ok(Symbol {
                        byte: escape.ascii(),
                        next: escape.next,
                        kinds: escape.kinds,
                    });
                }
                Err(Cut) if !self.complete => return Err(Cut),
                Ok(None) | Err(Cut) => {}
            }
        }
        Ok(Symbol {
            byte,
            next: pos + 1,
            kinds: 0,
        })
    }

    /// The escape at `pos` whose own characters are read after `level - 1` rounds.
    fn escape(self, pos: usize, level: u8) -> Result<Option<ParsedEscape>, Cut> {
        let inner = level - 1;
        let first = self.symbol(pos, inner)?;
        let found = match first.byte {
            b'%' => self.percent(first.next, inner)?,
            b'\\' => self.backslash(first.next, inner)?,
            b'&' => self.entity(first.next, inner)?,
            _ => None,
        };
        Ok(found.map(|escape| ParsedEscape {
            kinds: escape.kinds | first.kinds,
            ..escape
        }))
    }

    fn percent(self, pos: usize, level: u8) -> Result<Option<ParsedEscape>, Cut> {
        if matches!(self.symbol(pos, level)?.byte, b'u' | b'U') {
            return self.utf16(pos, level, b'%', PERCENT);
        }
        Ok(self
            .hex(pos, level, 2)?
            .map(|(value, next, kinds)| ParsedEscape {
                meaning: Meaning::Byte(value as u8),
                next,
                kinds: kinds | PERCENT,
            }))
    }

    fn backslash(self, pos: usize, level: u8) -> Result<Option<ParsedEscape>, Cut> {
        let letter = self.symbol(pos, level)?;
        let byte = match letter.byte {
            b'u' => return self.utf16(pos, level, b'\\', BACKSLASH),
            b'x' => {
                return Ok(self
                    .hex(letter.next, level, 2)?
                    .map(|(value, next, kinds)| ParsedEscape {
                        meaning: Meaning::Byte(value as u8),
                        next,
                        kinds: kinds | letter.kinds | BACKSLASH,
                    }));
            }
            b'0'..=b'3' => return self.octal(pos, level),
            byte => meant_by(byte),
        };
        Ok(byte.map(|byte| ParsedEscape {
            meaning: Meaning::Byte(byte),
            next: letter.next,
            kinds: letter.kinds | BACKSLASH,
        }))
    }

    /// `uXXXX`, and the second half of a surrogate pair with its introducer.
    fn utf16(
        self,
        pos: usize,
        level: u8,
        again: u8,
        kind: u8,
    ) -> Result<Option<ParsedEscape>, Cut> {
        let letter = self.symbol(pos, level)?;
        let Some((high, next, kinds)) = self.hex(letter.next, level, 4)? else {
            return Ok(None);
        };
        let kinds = kinds | letter.kinds | kind;
        if let Some(c) = char::from_u32(high) {
            return Ok(Some(ParsedEscape {
                meaning: Meaning::Char(c),
                next,
                kinds,
            }));
        }
        if !(0xd800..0xdc00).contains(&high) {
            return Ok(None);
        }
        let introducer = self.symbol(next, level)?;
        if introducer.byte != again {
            return Ok(None);
        }
        let letter = self.symbol(introducer.next, level)?;
        if !letter.byte.eq_ignore_ascii_case(&b'u') {
            return Ok(None);
        }
        let Some((low, next, more)) = self.hex(letter.next, level, 4)? else {
            return Ok(None);
        };
        if !(0xdc00..0xe000).contains(&low) {
            return Ok(None);
        }
        let c = char::from_u32(0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00));
        let kinds = kinds | introducer.kinds | letter.kinds | more;
        Ok(c.map(|c| ParsedEscape {
            meaning: Meaning::Char(c),
            next,
            kinds,
        }))
    }

    fn octal(self, mut pos: usize, level: u8) -> Result<Option<ParsedEscape>, Cut> {
        let (mut value, mut kinds) = (0, BACKSLASH);
        for _ in 0..3 {
            let digit = self.symbol(pos, level)?;
            if !matches!(digit.byte, b'0'..=b'7') {
                return Ok(None);
            }
            value = value * 8 + (digit.byte - b'0');
            kinds |= digit.kinds;
            pos = digit.next;
        }
        Ok(Some(ParsedEscape {
            meaning: Meaning::Byte(value),
            next: pos,
            kinds,
        }))
    }

    fn entity(self, pos: usize, level: u8) -> Result<Option<ParsedEscape>, Cut> {
        let first = self.symbol(pos, level)?;
        if first.byte == b'#' {
            let found = self.numeric(first.next, level)?;
            return Ok(found.map(|escape| ParsedEscape {
                kinds: escape.kinds | first.kinds,
                ..escape
            }));
        }
        let (mut name, mut len) = ([0; NAME_MAX], 0);
        let (mut at, mut kinds) = (pos, ENTITY);
        loop {
            let letter = self.symbol(at, level)?;
            at = letter.next;
            kinds |= letter.kinds;
            match letter.byte {
                b';' => break,
                byte if byte.is_ascii_alphanumeric() && len < NAME_MAX => {
                    name[len] = byte;
                    len += 1;
                }
                _ => return Ok(None),
            }
        }
        Ok(named(&name[..len]).map(|c| ParsedEscape {
            meaning: Meaning::Char(c),
            next: at,
            kinds,
        }))
    }

    /// `60;` or `x3c;`
    fn numeric(self, mut pos: usize, level: u8) -> Result<Option<ParsedEscape>, Cut> {
        let mut kinds = ENTITY;
        let mut radix = 10;
        let first = self.symbol(pos, level)?;
        if matches!(first.byte, b'x' | b'X') {
            radix = 16;
            kinds |= first.kinds;
            pos = first.next;
        }
        let mut value = 0_u32;
        for count in 0..=NAME_MAX {
            let symbol = self.symbol(pos, level)?;
            kinds |= symbol.kinds;
            pos = symbol.next;
            if symbol.byte == b';' && count > 0 {
                let c = char::from_u32(value);
                return Ok(c.map(|c| ParsedEscape {
                    meaning: Meaning::Char(c),
                    next: pos,
                    kinds,
                }));
            }
            let Some(digit) = char::from(symbol.byte).to_digit(radix) else {
                return Ok(None);
            };
            value = value.saturating_mul(radix).saturating_add(digit);
        }
        Ok(None)
    }

    /// Exactly `count` hex digits.
    fn hex(self, mut pos: usize, level: u8, count: u8) -> Result<Option<(u32, usize, u8)>, Cut> {
        let (mut value, mut kinds) = (0, 0);
        for _ in 0..count {
            let symbol = self.symbol(pos, level)?;
            let Some(digit) = char::from(symbol.byte).to_digit(16) else {
                return Ok(None);
            };
            value = value << 4 | digit;
            kinds |= symbol.kinds;
            pos = symbol.next;
        }
        Ok(Some((value, pos, kinds)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every reading of the escape that covers the whole of `text`.
    fn readings(text: &str) -> Vec<Vec<u8>> {
        let escapes = Haystack::whole(text.as_bytes()).escapes(0);
        escapes
            .iter()
            .filter(|unit| unit.next == text.len())
            .map(|unit| unit.bytes().to_vec())
            .collect()
    }

    #[test]
    fn one_escape_stands_for_one_character_in_every_notation() {
        let quote = [
            "%22", "\\\"", "\\u0022", "\\x22", "\\042", "&quot;", "&#34;", "&#x22;", "&#X0022;",
            "%u0022",
        ];
        for text in quote {
            assert_eq!(readings(text), [b"\""], "{text}");
        }
    }

    #[test]
    fn an_escape_inside_an_escape_is_undone_too() {
        for text in [
            "%2522",
            "\\\\\\\"",
            "\\\\u0022",
            "%5C%22",
            "%5cu0022",
            "\\&quot;",
            "&amp;quot;",
            "\\u0026quot;",
            "%26%2334%3B",
        ] {
            assert!(readings(text).contains(&b"\"".to_vec()), "{text}");
        }
    }

    #[test]
    fn characters_beyond_ascii_come_back_as_utf8_and_as_latin1() {
        assert_eq!(readings("\\ud83d\\udd11"), ["\u{1f511}".as_bytes()]);
        assert_eq!(readings("&#128273;"), ["\u{1f511}".as_bytes()]);
        assert_eq!(readings("\\u00E9"), ["\u{e9}".as_bytes(), b"\xe9"]);
        assert_eq!(readings("&eacute;"), ["\u{e9}".as_bytes(), b"\xe9"]);
    }

    #[test]
    fn what_is_no_escape_has_no_reading() {
        for text in [
            "%4",
            "%zz",
            "\\q",
            "\\u12",
            "\\ud83d\\u0041",
            "&nope;",
            "&#;",
            "&#x110000;",
            "&",
            "\\",
        ] {
            assert_eq!(
                Haystack::whole(text.as_bytes()).escapes(0).iter().count(),
                0,
                "{text}"
            );
        }
    }

    #[test]
    fn a_cut_escape_is_undecided_until_the_text_is_complete() {
        for text in ["%4", "\\", "\\ud83d\\u", "&am", "&#x", "%25"] {
            let cut = Haystack {
                bytes: text.as_bytes(),
                complete: false,
                run_before: 0,
            };
            assert!(cut.escapes(0).undecided, "{text}");
            assert!(
                !Haystack::whole(text.as_bytes()).escapes(0).undecided,
                "{text}"
            );
        }
    }
}

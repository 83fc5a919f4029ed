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
use crate::substitution::encoding::Notation;

const PERCENT: Notations = Notations::of(Notation::Percent);
const BACKSLASH: Notations = Notations::of(Notation::Backslash);
const REFERENCE: Notations = Notations::of(Notation::Reference);

/// The notations of the escapes that a reading has undone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Notations(u8);

impl Notations {
    /// No escape was undone.
    pub const NONE: Self = Self(0);

    /// Just this one.
    pub const fn of(notation: Notation) -> Self {
        Self(1 << notation as u8)
    }

    /// These and those.
    pub const fn with(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    /// Whether no escape was undone.
    pub fn is_empty(self) -> bool {
        self == Self::NONE
    }

    /// The only notation, if there is just one.
    pub fn only(self) -> Option<Notation> {
        let is_it = |notation: &Notation| self == Self::of(*notation);
        Notation::ALL.into_iter().find(is_it)
    }
}

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
    pub notations: Notations,
}

impl TextUnit {
    /// The byte at `pos` as itself.
    pub fn literal(byte: u8, pos: usize) -> Self {
        Self::of_byte(byte, pos + 1, Notations::NONE)
    }

    pub fn of_byte(byte: u8, next: usize, notations: Notations) -> Self {
        Self {
            bytes: [byte, 0, 0, 0],
            len: 1,
            next,
            notations,
        }
    }

    fn of_char(c: char, next: usize, notations: Notations) -> Self {
        let mut bytes = [0; 4];
        let len = c.encode_utf8(&mut bytes).len() as u8;
        Self {
            bytes,
            len,
            next,
            notations,
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
            notations: Notations::NONE,
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
            notations,
        } = escape;
        match meaning {
            Meaning::Byte(byte) => self.push(TextUnit::of_byte(byte, next, notations)),
            Meaning::Char(c) => {
                self.push(TextUnit::of_char(c, next, notations));
                // Binary data put through Latin-1 on its way into JSON or XML.
                if ('\u{80}'..='\u{ff}').contains(&c) {
                    self.push(TextUnit::of_byte(c as u32 as u8, next, notations));
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
    notations: Notations,
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
    notations: Notations,
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
    Notation::of_introducer(byte).is_some()
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
                        notations: escape.notations,
                    });
                }
                Err(Cut) if !self.complete => return Err(Cut),
                Ok(None) | Err(Cut) => {}
            }
        }
        Ok(Symbol {
            byte,
            next: pos + 1,
            notations: Notations::NONE,
        })
    }

    /// The escape at `pos` whose own characters are read after `level - 1` rounds.
    fn escape(self, pos: usize, level: u8) -> Result<Option<ParsedEscape>, Cut> {
        let inner = level - 1;
        let first = self.symbol(pos, inner)?;
        let found = match Notation::of_introducer(first.byte) {
            Some(Notation::Percent) => self.percent(first.next, inner)?,
            Some(Notation::Backslash) => self.backslash(first.next, inner)?,
            Some(Notation::Reference) => self.reference(first.next, inner)?,
            None => None,
        };
        Ok(found.map(|escape| ParsedEscape {
            notations: escape.notations.with(first.notations),
            ..escape
        }))
    }

    fn percent(self, pos: usize, level: u8) -> Result<Option<ParsedEscape>, Cut> {
        if matches!(self.symbol(pos, level)?.byte, b'u' | b'U') {
            return self.utf16(pos, level, Notation::Percent);
        }
        Ok(self
            .hex(pos, level, 2)?
            .map(|(value, next, notations)| ParsedEscape {
                meaning: Meaning::Byte(value as u8),
                next,
                notations: notations.with(PERCENT),
            }))
    }

    fn backslash(self, pos: usize, level: u8) -> Result<Option<ParsedEscape>, Cut> {
        let letter = self.symbol(pos, level)?;
        let byte = match letter.byte {
            b'u' => return self.utf16(pos, level, Notation::Backslash),
            b'x' => {
                return Ok(self
                    .hex(letter.next, level, 2)?
                    .map(|(value, next, notations)| ParsedEscape {
                        meaning: Meaning::Byte(value as u8),
                        next,
                        notations: notations.with(letter.notations).with(BACKSLASH),
                    }));
            }
            b'0'..=b'3' => return self.octal(pos, level),
            byte => meant_by(byte),
        };
        Ok(byte.map(|byte| ParsedEscape {
            meaning: Meaning::Byte(byte),
            next: letter.next,
            notations: letter.notations.with(BACKSLASH),
        }))
    }

    /// `uXXXX`, and the second half of a surrogate pair with its introducer.
    fn utf16(self, pos: usize, level: u8, notation: Notation) -> Result<Option<ParsedEscape>, Cut> {
        let letter = self.symbol(pos, level)?;
        let Some((high, next, notations)) = self.hex(letter.next, level, 4)? else {
            return Ok(None);
        };
        let notations = notations
            .with(letter.notations)
            .with(Notations::of(notation));
        if let Some(c) = char::from_u32(high) {
            return Ok(Some(ParsedEscape {
                meaning: Meaning::Char(c),
                next,
                notations,
            }));
        }
        if !(0xd800..0xdc00).contains(&high) {
            return Ok(None);
        }
        let introducer = self.symbol(next, level)?;
        if introducer.byte != notation.introducer() {
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
        let notations = notations
            .with(introducer.notations)
            .with(letter.notations)
            .with(more);
        Ok(c.map(|c| ParsedEscape {
            meaning: Meaning::Char(c),
            next,
            notations,
        }))
    }

    fn octal(self, mut pos: usize, level: u8) -> Result<Option<ParsedEscape>, Cut> {
        let (mut value, mut notations) = (0, BACKSLASH);
        for _ in 0..3 {
            let digit = self.symbol(pos, level)?;
            if !matches!(digit.byte, b'0'..=b'7') {
                return Ok(None);
            }
            value = value * 8 + (digit.byte - b'0');
            notations = notations.with(digit.notations);
            pos = digit.next;
        }
        Ok(Some(ParsedEscape {
            meaning: Meaning::Byte(value),
            next: pos,
            notations,
        }))
    }

    fn reference(self, pos: usize, level: u8) -> Result<Option<ParsedEscape>, Cut> {
        let first = self.symbol(pos, level)?;
        if first.byte == b'#' {
            let found = self.numeric(first.next, level)?;
            return Ok(found.map(|escape| ParsedEscape {
                notations: escape.notations.with(first.notations),
                ..escape
            }));
        }
        let (mut name, mut len) = ([0; NAME_MAX], 0);
        let (mut at, mut notations) = (pos, REFERENCE);
        loop {
            let letter = self.symbol(at, level)?;
            at = letter.next;
            notations = notations.with(letter.notations);
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
            notations,
        }))
    }

    /// `60;` or `x3c;`
    fn numeric(self, mut pos: usize, level: u8) -> Result<Option<ParsedEscape>, Cut> {
        let mut notations = REFERENCE;
        let mut radix = 10;
        let first = self.symbol(pos, level)?;
        if matches!(first.byte, b'x' | b'X') {
            radix = 16;
            notations = notations.with(first.notations);
            pos = first.next;
        }
        let mut value = 0_u32;
        for count in 0..=NAME_MAX {
            let symbol = self.symbol(pos, level)?;
            notations = notations.with(symbol.notations);
            pos = symbol.next;
            if symbol.byte == b';' && count > 0 {
                let c = char::from_u32(value);
                return Ok(c.map(|c| ParsedEscape {
                    meaning: Meaning::Char(c),
                    next: pos,
                    notations,
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
    fn hex(
        self,
        mut pos: usize,
        level: u8,
        count: u8,
    ) -> Result<Option<(u32, usize, Notations)>, Cut> {
        let (mut value, mut notations) = (0, Notations::NONE);
        for _ in 0..count {
            let symbol = self.symbol(pos, level)?;
            let Some(digit) = char::from(symbol.byte).to_digit(16) else {
                return Ok(None);
            };
            value = value << 4 | digit;
            notations = notations.with(symbol.notations);
            pos = symbol.next;
        }
        Ok(Some((value, pos, notations)))
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

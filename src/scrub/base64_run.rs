//! Base64 text that a value was taken out of.
//!
//! A value in base64 is replaced by what stands for it in base64, so that the text can still be
//! decoded: the characters at both edges, which hold bits of their neighbours too, are written again,
//! and where the replacement has another length than the value, so is the rest of the run, whose
//! bits are then spread over other characters. A masked `user:password` can be sent again.

use super::haystack::Haystack;

/// The lengths of lines into which encoders break base64 (RFC 7468 and RFC 2045 among them). After a
/// line of another length the next one is another text.
const LINES: [usize; 4] = [60, 64, 72, 76];

/// What is put in place of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Substitute {
    /// A text of its own length.
    Text,
    /// This byte for each byte of the value.
    Each(u8),
}

/// A run that is written again, from a value in it to its end, or to where the characters are the
/// same again.
pub(super) struct Base64Run {
    substitute: Substitute,
    /// Characters of the run that were read and written since the start of a group of four.
    read: usize,
    written: usize,
    /// Bits of a byte that is not complete yet.
    incoming: Bits,
    /// Bits of a character that is not complete yet.
    outgoing: Bits,
    /// Where in the run a value begins, in bytes, if one is being read.
    value_at: Option<usize>,
    /// Bytes that were written in place of it.
    replaced: usize,
    /// Bits of the next character that belong to the value before it.
    skipped: u32,
    alphabet: Alphabet,
    /// Escapes are percent-encoding.
    is_percent: bool,
    /// An escape as far as it has come.
    escape: Vec<u8>,
    /// Characters since the last line break.
    line: usize,
    /// After a line break.
    is_broken: bool,
    is_padding: bool,
    /// What is decoded is base64 that a value was taken out of too.
    nested: Option<Box<Base64Run>>,
}

#[derive(Clone, Copy, Default)]
struct Bits {
    bits: u32,
    count: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Alphabet {
    Unknown,
    Standard,
    Url,
}

/// What a byte of the text completes.
enum Symbol {
    /// A character of the alphabet.
    Char(u8),
    /// `=`
    Pad,
    LineBreak,
    /// An escape, not complete.
    Part,
    /// The end of the run.
    Other,
}

impl Base64Run {
    /// At a value whose first whole character is preceded by `shift` other bytes of its group of
    /// three. The character `before` holds bits of both, and was not written.
    pub fn new(substitute: Substitute, shift: u8, before: Option<u8>, line: usize) -> Self {
        let shift = usize::from(shift);
        let read = (8 * shift).div_ceil(6);
        let mut outgoing = Bits::default();
        if let Some(char) = before.and_then(value_of) {
            // Two bits of the neighbour, or four.
            let count = (8 * shift as u32) % 6;
            outgoing.push(u32::from(char) >> (6 - count), count);
        }
        Self {
            substitute,
            read,
            written: read - usize::from(before.is_some()),
            incoming: Bits::default(),
            outgoing,
            value_at: Some(shift),
            replaced: 0,
            skipped: 0,
            alphabet: Alphabet::Unknown,
            is_percent: false,
            escape: Vec::new(),
            line,
            is_broken: false,
            is_padding: false,
            nested: None,
        }
    }

    /// Writes bytes in place of a value in base64 within this base64. Of the first base64 `shift` bytes
    /// are before it in its group of three. The character `before` holds bits of both; it counts to the
    /// value here.
    pub fn write_nested(&mut self, shift: u8, before: Option<u8>, bytes: &[u8], out: &mut Vec<u8>) {
        let mut text = Vec::new();
        let mut goes_on = self.nested.take();
        if let Some(nested) = &mut goes_on
            && !nested.begin_value(before, &mut text)
        {
            nested.finish(None, &mut text);
            goes_on = None;
        }
        let begun = || Box::new(Self::new(Substitute::Text, shift, before, 0));
        let mut nested = goes_on.unwrap_or_else(begun);
        nested.write(bytes, &mut text);
        self.write(&text, out);
        self.value_at = self.value_at.map(|at| at + usize::from(before.is_some()));
        self.nested = Some(nested);
    }

    /// Another value begins with the next character, and with bits of the one `before` it, which was
    /// not read yet. False if it cannot be part of this run.
    pub fn begin_value(&mut self, before: Option<u8>, out: &mut Vec<u8>) -> bool {
        self.end_value();
        if self.is_padding || !self.escape.is_empty() {
            return false;
        }
        if let Some(char) = before.and_then(value_of) {
            self.take(char, out);
            self.line = 1 + if std::mem::take(&mut self.is_broken) {
                0
            } else {
                self.line
            };
        }
        // What was read of its first byte is part of it, unless that byte was the last one of the
        // value before, and was replaced with it.
        self.incoming = Bits::default();
        let is_replaced = self.skipped > 0;
        self.value_at = Some(if is_replaced {
            (6 * self.read).div_ceil(8)
        } else {
            6 * self.read / 8
        });
        self.replaced = 0;
        true
    }

    /// Writes bytes in place of a value.
    pub fn write(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        for &byte in bytes {
            self.outgoing.push(u32::from(byte), 8);
            self.put_complete(out);
        }
    }

    /// Writes the characters that are complete; if the length is to stay, not more than were read.
    fn put_complete(&mut self, out: &mut Vec<u8>) {
        while (self.substitute == Substitute::Text || self.written < self.read)
            && let Some(char) = self.outgoing.take(6)
        {
            self.put(char, out);
        }
    }

    /// Takes bytes of the text that belong to a value.
    pub fn cover(&mut self, text: &[u8], out: &mut Vec<u8>) {
        self.substitute_each(out);
        for &byte in text {
            let length = self.escape.len() + 1;
            let symbol = self.symbol(byte);
            let extra = match symbol {
                Symbol::Part => continue,
                Symbol::Char(_) => {
                    self.read += 1;
                    self.substitute_each(out);
                    length - 1
                }
                _ => length,
            };
            // What is not a character keeps its length too.
            match (symbol, self.substitute) {
                (_, Substitute::Text) => {}
                (Symbol::LineBreak, Substitute::Each(_)) => out.extend_from_slice(&self.escape),
                (_, Substitute::Each(byte)) => out.resize(out.len() + extra, byte),
            }
            self.escape.clear();
        }
    }

    /// Takes text that follows a value. Returns how many bytes of it belong to the run; `true` if
    /// the run, or the need to write it again, ends there.
    pub fn pass(&mut self, text: &[u8], out: &mut Vec<u8>) -> (usize, bool) {
        self.end_value();
        if self.is_even(out) {
            return (0, true);
        }
        for (at, &byte) in text.iter().enumerate() {
            match self.symbol(byte) {
                Symbol::Part => {}
                Symbol::Char(char) if !self.is_padding => {
                    let end = out.len() + self.escape.len();
                    self.escape.clear();
                    self.take(char, out);
                    let is_even = self.is_even(out);
                    // It was an escape, and what it became with bits of the value needs none.
                    if let Substitute::Each(byte) = self.substitute {
                        out.resize(out.len().max(end), byte);
                    }
                    if is_even {
                        return (at + 1, true);
                    }
                }
                Symbol::LineBreak => out.append(&mut self.escape),
                Symbol::Pad if self.substitute == Substitute::Text => {
                    self.escape.clear();
                    self.pad(true, out);
                }
                Symbol::Char(_) | Symbol::Pad | Symbol::Other => {
                    self.finish(Some(byte), out);
                    return (at + 1, true);
                }
            }
        }
        (text.len(), false)
    }

    /// Ends the run, before `next` if that is known, which was taken and is written too.
    pub fn finish(&mut self, next: Option<u8>, out: &mut Vec<u8>) {
        self.end_value();
        let is_padded = match self.read % 4 {
            // Whether it would have been padded cannot be seen.
            0 => self.alphabet != Alphabet::Url && next != Some(b'.'),
            _ => false,
        };
        self.pad(is_padded, out);
        out.append(&mut self.escape);
    }

    /// Whether a value is being read.
    pub fn is_in_value(&self) -> bool {
        self.value_at.is_some()
    }

    fn substitute_each(&mut self, out: &mut Vec<u8>) {
        if let (Substitute::Each(byte), Some(start)) = (self.substitute, self.value_at) {
            // No more than were read: each byte too many would move what follows.
            let begun = (6 * self.read).div_ceil(8) - start;
            while self.replaced < begun {
                self.replaced += 1;
                self.write(&[byte], out);
            }
            self.put_complete(out);
        }
    }

    fn end_value(&mut self) {
        if let Some(start) = self.value_at.take() {
            self.skipped = ((8 - 6 * self.read % 8) % 8) as u32;
            if let Some(nested) = &mut self.nested
                && nested.is_in_value()
            {
                nested.read += (6 * self.read).div_ceil(8).saturating_sub(start);
                nested.end_value();
            }
        }
    }

    /// Reads a character that is not part of a value.
    fn take(&mut self, char: u8, out: &mut Vec<u8>) {
        self.read += 1;
        let count = 6 - self.skipped;
        self.skipped = 0;
        self.incoming
            .push(u32::from(char) & ((1 << count) - 1), count);
        match self.incoming.take(8) {
            Some(byte) => self.write_decoded(byte, out),
            None => self.put_complete(out),
        }
    }

    /// Writes a byte that is not part of a value.
    fn write_decoded(&mut self, byte: u8, out: &mut Vec<u8>) {
        let Some(mut nested) = self.nested.take() else {
            return self.write(&[byte], out);
        };
        let mut text = Vec::new();
        let (taken, ended) = nested.pass(&[byte], &mut text);
        if taken == 0 {
            text.push(byte);
        }
        if !ended {
            self.nested = Some(nested);
        }
        self.write(&text, out);
    }

    /// Ends the base64 within this one.
    pub fn end_nested(&mut self, out: &mut Vec<u8>) {
        if let Some(mut nested) = self.nested.take() {
            let mut text = Vec::new();
            nested.finish(None, &mut text);
            self.write(&text, out);
        }
    }

    /// Whether the bits are spread over the characters as they were before: the rest can stay. What
    /// is at hand of them is then written.
    fn is_even(&mut self, out: &mut Vec<u8>) -> bool {
        let at_hand = self.outgoing.count + self.incoming.count;
        let position = 6 * self.written + at_hand as usize;
        if self.nested.is_some()
            || self.skipped > 0
            || self.is_padding
            || position % 24 != 6 * self.read % 24
        {
            return false;
        }
        self.outgoing.push(self.incoming.bits, self.incoming.count);
        self.incoming = Bits::default();
        while let Some(char) = self.outgoing.take(6) {
            self.put(char, out);
        }
        true
    }

    /// Writes what is left of a character, and padding.
    fn pad(&mut self, is_padded: bool, out: &mut Vec<u8>) {
        if std::mem::replace(&mut self.is_padding, true) {
            return;
        }
        self.incoming = Bits::default();
        self.end_nested(out);
        self.put_complete(out);
        if let Some(missing) = 6_u32.checked_sub(self.outgoing.count)
            && missing < 6
        {
            self.outgoing.push(0, missing);
            self.put_complete(out);
        }
        if is_padded && self.substitute == Substitute::Text {
            let pad: &[u8] = if self.is_percent { b"%3D" } else { b"=" };
            for _ in 0..(4 - self.written % 4) % 4 {
                out.extend_from_slice(pad);
            }
        }
    }

    fn put(&mut self, char: u8, out: &mut Vec<u8>) {
        self.written += 1;
        match (char, self.alphabet == Alphabet::Url, self.is_percent) {
            (62, true, _) => out.push(b'-'),
            (63, true, _) => out.push(b'_'),
            (62, _, true) => out.extend_from_slice(b"%2B"),
            (63, _, true) => out.extend_from_slice(b"%2F"),
            _ => out.push(CHARS[usize::from(char)]),
        }
    }

    /// Reads a byte. The bytes of what it completes are in `escape`.
    fn symbol(&mut self, byte: u8) -> Symbol {
        self.escape.push(byte);
        let symbol = match *self.escape {
            [b'\r' | b'\n'] | [b'\\', b'r' | b'n'] if self.may_break() => Symbol::LineBreak,
            [b' ' | b'\t'] if self.is_broken => Symbol::LineBreak,
            [b'\\', b'u', ref digits @ ..] if digits.len() < 4 => Symbol::Part,
            [b'\\'] | [b'%'] | [b'%', _] => Symbol::Part,
            [b'\\', b'/'] => Symbol::Char(63),
            [b'%', high, low] => self.escaped(&[high, low]),
            [b'\\', b'u', b'0', b'0', high, low] => self.escaped(&[high, low]),
            [b'='] => Symbol::Pad,
            [char] => self.plain(char),
            _ => Symbol::Other,
        };
        match symbol {
            Symbol::Char(_) if std::mem::take(&mut self.is_broken) => self.line = 1,
            Symbol::Char(_) => self.line += 1,
            Symbol::LineBreak => self.is_broken = true,
            _ => {}
        }
        symbol
    }

    /// Whether a line break here is one of the encoder's, or the second character of one.
    fn may_break(&self) -> bool {
        LINES.contains(&self.line) || self.is_broken
    }

    fn escaped(&mut self, digits: &[u8]) -> Symbol {
        let text = std::str::from_utf8(digits).ok();
        let byte = text.and_then(|text| u8::from_str_radix(text, 16).ok());
        let symbol = match byte {
            Some(b'=') => Symbol::Pad,
            Some(byte @ (b'+' | b'/')) => self.plain(byte),
            _ => Symbol::Other,
        };
        self.is_percent |= self.escape[0] == b'%' && !matches!(symbol, Symbol::Other);
        symbol
    }

    fn plain(&mut self, char: u8) -> Symbol {
        let alphabet = match char {
            b'+' | b'/' => Alphabet::Standard,
            // After a line break this begins the last line of a PEM block.
            b'-' if self.is_broken => return Symbol::Other,
            b'-' | b'_' => Alphabet::Url,
            _ => self.alphabet,
        };
        if self.alphabet != Alphabet::Unknown && self.alphabet != alphabet {
            return Symbol::Other;
        }
        self.alphabet = alphabet;
        value_of(char).map_or(Symbol::Other, Symbol::Char)
    }
}

impl Bits {
    fn push(&mut self, bits: u32, count: u32) {
        self.bits = self.bits << count | bits;
        self.count += count;
    }

    /// The first `count` bits, if there are so many.
    fn take(&mut self, count: u32) -> Option<u8> {
        let left = self.count.checked_sub(count)?;
        let taken = self.bits >> left;
        self.bits &= (1 << left) - 1;
        self.count = left;
        Some(taken as u8)
    }
}

const CHARS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// The six bits that a character stands for, in either alphabet.
pub(super) fn value_of(char: u8) -> Option<u8> {
    Some(match char {
        b'A'..=b'Z' => char - b'A',
        b'a'..=b'z' => char - b'a' + 26,
        b'0'..=b'9' => char - b'0' + 52,
        b'+' | b'-' => 62,
        b'/' | b'_' => 63,
        _ => return None,
    })
}

/// How many characters of base64 stand directly before `pos`.
pub(super) fn line_before(text: &[u8], pos: usize, run_before: usize) -> usize {
    let text = Haystack {
        bytes: text,
        complete: false,
        run_before,
    };
    text.base64_run(pos)
}

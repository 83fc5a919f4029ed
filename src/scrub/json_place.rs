//! Where in a JSON text a value was taken out: in a string, or in a number.
//!
//! A number of which a part is a value is replaced by a string. A placeholder without quotation marks
//! would leave a text that no client can parse.

use memchr::memchr2;

/// The place that is read next.
#[derive(Default)]
pub(super) struct JsonPlace {
    in_string: bool,
    /// After a backslash in a string.
    is_escaped: bool,
    /// The last byte belongs to a number.
    in_number: bool,
    /// A string was begun in place of a number, which has not ended yet.
    is_open: bool,
}

impl JsonPlace {
    /// Reads on.
    pub fn follow(&mut self, text: &[u8]) {
        let mut rest = text;
        if !rest.is_empty() && std::mem::take(&mut self.is_escaped) {
            rest = &rest[1..];
        }
        while let Some(at) = memchr2(b'"', b'\\', rest) {
            let is_quote = rest[at] == b'"';
            rest = &rest[at + 1..];
            if is_quote {
                self.in_string = !self.in_string;
            } else if self.in_string {
                self.is_escaped = rest.is_empty();
                rest = rest.get(1..).unwrap_or_default();
            }
        }
        if let Some(&last) = text.last() {
            self.in_number = !self.in_string && is_number(last);
        }
    }

    /// A value begins. Returns whether nothing more is to be written in its place.
    pub fn begin_value(&mut self, out: &mut Vec<u8>) -> bool {
        if self.in_string || self.is_open {
            return false;
        }
        if self.in_number {
            // The beginning of the number is written already. A digit keeps it one.
            out.push(b'1');
            return true;
        }
        out.push(b'"');
        self.is_open = true;
        false
    }

    /// Ends the string that was begun in place of a number, where the number ends. Returns the text
    /// after it.
    pub fn end_number<'a>(&mut self, text: &'a [u8], out: &mut Vec<u8>) -> &'a [u8] {
        if !self.is_open {
            return text;
        }
        match text.iter().position(|&byte| !is_number(byte)) {
            Some(end) => {
                self.end_string(out);
                &text[end..]
            }
            None => &[],
        }
    }

    /// Whether a string was begun in place of a number, which has not ended yet.
    pub fn is_open(&self) -> bool {
        self.is_open
    }

    /// Ends the string that was begun in place of a number.
    pub fn end_string(&mut self, out: &mut Vec<u8>) {
        if std::mem::take(&mut self.is_open) {
            out.push(b'"');
        }
    }
}

/// Whether a number can contain this byte.
pub(super) fn is_number(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_told_from_numbers_however_the_text_is_cut() {
        let text = br#"{"a \" 1": 12, "b\\": [3, "4"], "c": -5.5e+6}"#;
        let mut expected = Vec::new();
        for size in 1..text.len() {
            let mut place = JsonPlace::default();
            let mut at_ends = Vec::new();
            for piece in text.chunks(size) {
                place.follow(piece);
                at_ends.push((place.in_string, place.in_number));
            }
            if size == 1 {
                expected = at_ends;
                continue;
            }
            let of_single: Vec<_> = expected.iter().skip(size - 1).step_by(size).collect();
            assert!(
                of_single
                    .iter()
                    .zip(&at_ends)
                    .all(|(one, other)| *one == other),
                "{size}"
            );
        }
        let numbers: Vec<u8> = (0..text.len())
            .filter(|&at| expected[at].1)
            .map(|at| text[at])
            .collect();
        assert_eq!(numbers, b"123-5.5e+6");
    }
}

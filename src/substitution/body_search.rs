//! Finds the placeholders of a body that comes in pieces and is not changed on the way.

use std::sync::Arc;

use super::body_kind::{BodyKind, BodyProblem};
use super::body_scanner::BodyScanner;
use super::edit::Edit;
use super::stand_in::StandInSearch;
use crate::policy::location::{BodyField, Location};

/// The search of one body. It holds back only bytes that could begin a placeholder or a delimiter.
pub struct BodySearch {
    scanner: BodyScanner,
    /// Bytes that are not decided yet.
    window: Vec<u8>,
    /// How many bytes were decided.
    decided: usize,
    has_pointers: bool,
    utf8: Utf8Check,
}

impl BodySearch {
    /// At the start of a body of this kind.
    pub fn new(kind: &BodyKind) -> Self {
        Self {
            scanner: BodyScanner::new(kind),
            window: Vec::new(),
            decided: 0,
            has_pointers: matches!(kind, BodyKind::Json | BodyKind::Message),
            utf8: Utf8Check::default(),
        }
    }

    /// Looks for stand-ins, too.
    pub fn with(self, stand_ins: Option<Arc<StandInSearch>>) -> Self {
        let scanner = self.scanner.with(stand_ins);
        Self { scanner, ..self }
    }

    /// Reads the next piece. Adds what was found to `edits`, with spans from the body's first byte.
    pub fn push(&mut self, piece: &[u8], edits: &mut Vec<Edit>) -> Result<(), BodyProblem> {
        if self.has_pointers {
            self.utf8.push(piece);
        }
        let before = std::mem::take(&mut self.window);
        self.window = if before.is_empty() {
            self.read(piece, false, edits)?.to_vec()
        } else {
            self.read(&[&before, piece].concat(), false, edits)?
                .to_vec()
        };
        Ok(())
    }

    /// Ends the body. `edits` are all of its placeholders.
    ///
    /// A location keeps its JSON pointer only if the body is strictly valid JSON: otherwise recipients
    /// may read the value at another pointer.
    pub fn finish(&mut self, edits: &mut Vec<Edit>) -> Result<(), BodyProblem> {
        let window = std::mem::take(&mut self.window);
        self.read(&window, true, edits)?;
        let relied_on = self.scanner.is_complete_json() && self.utf8.is_whole();
        if self.has_pointers && !relied_on {
            for edit in edits {
                edit.location = Location::Body(BodyField::Whole);
            }
        }
        Ok(())
    }

    /// Reads what can be decided of `window`, and returns the rest.
    fn read<'w>(
        &mut self,
        window: &'w [u8],
        eof: bool,
        edits: &mut Vec<Edit>,
    ) -> Result<&'w [u8], BodyProblem> {
        let read = self.scanner.read(window, eof)?;
        let offset = self.decided;
        edits.extend(read.edits.into_iter().map(|mut edit| {
            edit.span = edit.span.start + offset..edit.span.end + offset;
            edit
        }));
        self.decided += read.len;
        Ok(&window[read.len..])
    }
}

/// Whether bytes that come in pieces are UTF-8.
#[derive(Default)]
struct Utf8Check {
    /// The beginning of a character that the last piece ended in.
    begun: Vec<u8>,
    is_broken: bool,
}

impl Utf8Check {
    fn push(&mut self, piece: &[u8]) {
        let mut rest = piece;
        while !self.begun.is_empty() && !rest.is_empty() && !self.is_broken {
            self.begun.push(rest[0]);
            rest = &rest[1..];
            match std::str::from_utf8(&self.begun) {
                Ok(_) => self.begun.clear(),
                Err(error) => self.is_broken = error.error_len().is_some(),
            }
        }
        if let Err(error) = std::str::from_utf8(rest) {
            self.is_broken |= error.error_len().is_some();
            if !self.is_broken {
                self.begun = rest[error.valid_up_to()..].to_vec();
            }
        }
    }

    fn is_whole(&self) -> bool {
        self.begun.is_empty() && !self.is_broken
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::substitution::body::find;

    proptest! {
        #[test]
        fn pieces_read_like_the_whole(
            parts in prop::collection::vec(prop::sample::select(vec![
                "{\"a\":\"", "<<gh>>", "<<!gh>>", "\\u003c", "<gh>>", "\",\"é\":[\"", "\"]}", "<<", "ü", "\u{10ffff}",
                "&lt;&lt;gh>>", "--B\r\n", "\r\n--B--", "k=%3C%3Cgh%3E%3E&", "<![CDATA[", "]]>",
            ]), 0..12),
            broken in any::<bool>(),
            size in 1_usize..9,
            kind in prop::sample::select(vec![
                BodyKind::Json, BodyKind::JsonLines, BodyKind::Form, BodyKind::Xml, BodyKind::Text,
                BodyKind::Multipart { boundary: b"B".to_vec() },
            ]),
        ) {
            let mut body = parts.concat().into_bytes();
            if broken {
                body.push(0xe2);
            }
            let mut search = BodySearch::new(&kind);
            let mut edits = Vec::new();
            for piece in body.chunks(size) {
                search.push(piece, &mut edits).unwrap();
            }
            search.finish(&mut edits).unwrap();
            prop_assert_eq!(edits, find(&kind, &body).unwrap());
        }

        #[test]
        fn utf8_in_pieces_is_checked_like_the_whole(
            bytes in prop::collection::vec(prop::sample::select(vec![b'a', 0xc3, 0xa9, 0xe2, 0x82, 0xac, 0xf0, 0x90, 0x80]), 0..12),
            size in 1_usize..4,
        ) {
            let mut check = Utf8Check::default();
            for piece in bytes.chunks(size) {
                check.push(piece);
            }
            prop_assert_eq!(check.is_whole(), std::str::from_utf8(&bytes).is_ok());
        }
    }
}

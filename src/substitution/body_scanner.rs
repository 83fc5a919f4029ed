//! Finds the placeholders of a body as it is read from left to right, whole or in pieces. No other
//! code finds placeholders in bodies.

use std::sync::Arc;

use super::body_kind::{BodyKind, BodyProblem};
use super::edit::Edit;
use super::encoding::{Encoding, Nesting};
use super::form::FormTracker;
use super::json::JsonTracker;
use super::multipart::MultipartReader;
use super::placeholder::{Partial, scan_partial};
use super::single_part::{Segment, SinglePart};
use super::stand_in::StandInSearch;
use crate::policy::location::{BodyField, Location};

/// Reads a body in pieces and finds its placeholders, each with its location.
pub(super) struct BodyScanner {
    reader: BodyReader,
    /// Finds what means a placeholder, too.
    stand_ins: Option<Arc<StandInSearch>>,
    is_ambiguous: bool,
}

/// The decided bytes of a window.
#[derive(Debug)]
pub(super) struct Decided {
    /// The placeholders, with spans in the bytes given.
    pub(super) edits: Vec<Edit>,
    /// How many bytes are decided. The caller gives the others again, with what follows them.
    pub(super) len: usize,
}

enum BodyReader {
    SinglePart {
        part: SinglePart,
        tracker: PositionTracker,
    },
    Multipart(MultipartReader),
}

/// Tracks which field of the body a byte belongs to.
enum PositionTracker {
    Whole,
    FormTracker(FormTracker),
    JsonTracker(JsonTracker),
}

impl BodyScanner {
    /// At the start of a body of this kind.
    pub(super) fn new(kind: &BodyKind) -> Self {
        let tracker = match kind {
            BodyKind::Form => PositionTracker::FormTracker(FormTracker::default()),
            BodyKind::Json => PositionTracker::JsonTracker(JsonTracker::new()),
            BodyKind::Message => PositionTracker::JsonTracker(JsonTracker::of_several()),
            _ => PositionTracker::Whole,
        };
        let reader = match kind {
            BodyKind::Multipart { boundary } => {
                BodyReader::Multipart(MultipartReader::new(boundary))
            }
            kind => BodyReader::SinglePart {
                part: SinglePart::new(kind),
                tracker,
            },
        };
        Self {
            reader,
            stand_ins: None,
            is_ambiguous: *kind == BodyKind::Ambiguous,
        }
    }

    /// Looks for stand-ins, too.
    pub(super) fn with(self, stand_ins: Option<Arc<StandInSearch>>) -> Self {
        Self { stand_ins, ..self }
    }

    /// Reads what can be decided of `window`, which begins after the bytes that the last call
    /// decided. With `eof`, no bytes follow it and all of it is decided.
    pub(super) fn read(&mut self, window: &[u8], eof: bool) -> Result<Decided, BodyProblem> {
        if self.is_ambiguous {
            return Err(BodyProblem::Boundary);
        }
        if let BodyReader::Multipart(parts) = &mut self.reader {
            parts.refresh();
        }
        let mut edits = Vec::new();
        let mut at = 0;
        loop {
            let stretch = self.reader.front(&window[at..], eof)?;
            let bytes = &window[at..at + stretch.len];
            let decided = match stretch.scan {
                None => {
                    self.reader.advance(bytes)?;
                    bytes.len()
                }
                Some(encoding) => {
                    let found =
                        scan_partial(encoding, bytes, stretch.closed, self.stand_ins.as_deref());
                    let decided = found.decided;
                    edits.extend(self.edits(found, encoding, bytes, at)?);
                    decided
                }
            };
            at += decided;
            if !stretch.closed || stretch.len == 0 || at == window.len() {
                return Ok(Decided { edits, len: at });
            }
        }
    }

    /// Advances over the decided part of `bytes`, which are at `offset` of the window, and makes an
    /// edit of each token, with its location.
    fn edits(
        &mut self,
        found: Partial,
        encoding: Encoding,
        bytes: &[u8],
        offset: usize,
    ) -> Result<Vec<Edit>, BodyProblem> {
        let mut edits = Vec::with_capacity(found.tokens.len());
        let mut read = 0;
        for mut token in found.tokens {
            self.reader.advance(&bytes[read..token.span.start])?;
            read = token.span.start;
            let nesting = self.reader.nesting();
            if !nesting.reads(token.depth) {
                continue;
            }
            let field = self.reader.field();
            let length = match &self.reader {
                BodyReader::Multipart(parts) => parts.length(),
                BodyReader::SinglePart { .. } => None,
            };
            read = token.span.end;
            self.reader.pass_placeholder(&bytes[token.span.clone()])?;
            token.span = token.span.start + offset..token.span.end + offset;
            let mut edit = Edit::new(token, encoding, Location::Body(field)).nested(nesting);
            if let BodyReader::Multipart(parts) = &self.reader {
                edit.delimiters = Some(parts.delimiters());
                edit.length = length;
            }
            edits.push(edit);
        }
        self.reader.advance(&bytes[read..found.decided])?;
        Ok(edits)
    }

    /// Whether the pointers can be relied on: the body is one strictly valid JSON text.
    pub(super) fn is_complete_json(&self) -> bool {
        self.document()
            .is_some_and(|document| document.is_complete() && !document.is_later())
    }

    fn document(&self) -> Option<&JsonTracker> {
        match &self.reader {
            BodyReader::SinglePart {
                tracker: PositionTracker::JsonTracker(document),
                ..
            } => Some(document),
            _ => None,
        }
    }
}

impl PositionTracker {
    fn advance(&mut self, bytes: &[u8]) {
        match self {
            Self::Whole => {}
            Self::FormTracker(pairs) => pairs.advance(bytes),
            Self::JsonTracker(document) => document.advance(bytes),
        }
    }
}

impl BodyReader {
    fn front(&mut self, window: &[u8], eof: bool) -> Result<Segment, BodyProblem> {
        match self {
            Self::SinglePart { part, .. } => Ok(part.front(window, eof)),
            Self::Multipart(parts) => parts.front(window, eof),
        }
    }

    fn advance(&mut self, bytes: &[u8]) -> Result<(), BodyProblem> {
        match self {
            Self::SinglePart { part, tracker } => {
                tracker.advance(bytes);
                part.advance(bytes)
            }
            Self::Multipart(parts) => parts.advance(bytes),
        }
    }

    /// Takes the bytes of a placeholder.
    fn pass_placeholder(&mut self, bytes: &[u8]) -> Result<(), BodyProblem> {
        match self {
            Self::SinglePart { part, tracker } => {
                tracker.advance(bytes);
                part.pass_placeholder(bytes)
            }
            Self::Multipart(parts) => parts.pass_placeholder(bytes),
        }
    }

    fn nesting(&self) -> Nesting {
        match self {
            Self::SinglePart { part, .. } => part.nesting(),
            Self::Multipart(parts) => parts.nesting(),
        }
    }

    fn field(&self) -> BodyField {
        let named = |name: Option<&str>| name.map(|name| BodyField::Field(name.to_owned()));
        let field = match self {
            Self::SinglePart {
                tracker: PositionTracker::Whole,
                ..
            } => None,
            Self::SinglePart {
                tracker: PositionTracker::FormTracker(pairs),
                ..
            } => named(pairs.name()),
            Self::SinglePart {
                tracker: PositionTracker::JsonTracker(document),
                ..
            } => document.pointer().map(BodyField::Pointer),
            Self::Multipart(parts) => named(parts.field()),
        };
        field.unwrap_or(BodyField::Whole)
    }
}

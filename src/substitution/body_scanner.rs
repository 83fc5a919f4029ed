//! Reading a body from left to right, whole or in pieces: the one way in which placeholders in
//! bodies are found.

use super::body::{BodyKind, BodyProblem};
use super::encoding::Form;
use super::form::Pairs;
use super::json::Document;
use super::multipart::Parts;
use super::placeholder::{Partial, scan_partial};
use super::splice::Edit;
use super::xml::Section;
use crate::policy::location::{BodyField, Location};

/// Reads a body in pieces and tells where its placeholders stand.
pub(super) struct Walker {
    reader: Reader,
}

/// What could be decided.
#[derive(Debug)]
pub(super) struct Decided {
    /// The placeholders, with spans in the bytes given.
    pub(super) edits: Vec<Edit>,
    /// How many bytes are decided. The others are to be given again, with what follows them.
    pub(super) len: usize,
}

enum Reader {
    Leaf { leaf: Leaf, place: Place },
    Parts(Parts),
}

/// Follows a body to know the place of each placeholder.
enum Place {
    Whole,
    Pairs(Pairs),
    Document(Document),
}

/// Bytes at the front that are read in one way.
pub(super) struct Stretch {
    len: usize,
    /// How. `None`: they are passed over.
    scan: Option<Form>,
    /// Whether what comes behind them is read anew. Otherwise they may go on.
    closed: bool,
}

impl Stretch {
    /// Bytes to be passed over.
    pub(super) fn skip(len: usize, closed: bool) -> Self {
        Self {
            len,
            scan: None,
            closed,
        }
    }

    fn scan(len: usize, form: Form, closed: bool) -> Self {
        let scan = Some(form);
        Self { len, scan, closed }
    }
}

impl Walker {
    /// At the start of a body of this kind.
    pub(super) fn new(kind: &BodyKind) -> Self {
        let place = match kind {
            BodyKind::Form => Place::Pairs(Pairs::default()),
            BodyKind::Json => Place::Document(Document::new()),
            BodyKind::Message => Place::Document(Document::of_several()),
            _ => Place::Whole,
        };
        let reader = match kind {
            BodyKind::Multipart { boundary } => Reader::Parts(Parts::new(boundary)),
            kind => Reader::Leaf {
                leaf: Leaf::new(kind),
                place,
            },
        };
        Self { reader }
    }

    /// Reads what can be decided of `window`, which begins where the last call left off. With
    /// `eof`, nothing follows it and everything is decided.
    pub(super) fn read(&mut self, window: &[u8], eof: bool) -> Result<Decided, BodyProblem> {
        if let Reader::Parts(parts) = &mut self.reader {
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
                Some(form) => {
                    let found = scan_partial(form, bytes, stretch.closed);
                    let decided = found.decided;
                    edits.extend(self.place(found, form, bytes, at)?);
                    decided
                }
            };
            at += decided;
            if !stretch.closed || stretch.len == 0 || at == window.len() {
                return Ok(Decided { edits, len: at });
            }
        }
    }

    /// Advances over the decided part of `bytes`, which stand at `offset` of the window, and takes
    /// down the place of each token on the way.
    fn place(
        &mut self,
        found: Partial,
        form: Form,
        bytes: &[u8],
        offset: usize,
    ) -> Result<Vec<Edit>, BodyProblem> {
        let mut edits = Vec::with_capacity(found.tokens.len());
        let mut read = 0;
        for mut token in found.tokens {
            self.reader.advance(&bytes[read..token.span.start])?;
            read = token.span.start;
            token.span = token.span.start + offset..token.span.end + offset;
            let form = self.reader.written_as(form);
            let mut edit = Edit::new(token, form, Location::Body(self.reader.field()));
            if let Reader::Parts(parts) = &self.reader {
                edit.delimiters = Some(parts.delimiters());
            }
            edits.push(edit);
        }
        self.reader.advance(&bytes[read..found.decided])?;
        Ok(edits)
    }

    /// Whether the pointers given are to be relied on: the body is one strictly valid JSON text.
    pub(super) fn is_complete_json(&self) -> bool {
        self.document()
            .is_some_and(|document| document.is_complete() && !document.is_later())
    }

    /// Whether the body is valid JSON, in one text or, where there may be, in several.
    pub(super) fn is_json(&self) -> bool {
        self.document().is_some_and(Document::is_complete)
    }

    fn document(&self) -> Option<&Document> {
        match &self.reader {
            Reader::Leaf {
                place: Place::Document(document),
                ..
            } => Some(document),
            _ => None,
        }
    }
}

impl Reader {
    fn front(&mut self, window: &[u8], eof: bool) -> Result<Stretch, BodyProblem> {
        match self {
            Self::Leaf { leaf, .. } => Ok(leaf.front(window, eof)),
            Self::Parts(parts) => parts.front(window, eof),
        }
    }

    fn advance(&mut self, bytes: &[u8]) -> Result<(), BodyProblem> {
        match self {
            Self::Leaf { leaf, place } => {
                match place {
                    Place::Whole => {}
                    Place::Pairs(pairs) => pairs.advance(bytes),
                    Place::Document(document) => document.advance(bytes),
                }
                leaf.advance(bytes)
            }
            Self::Parts(parts) => parts.advance(bytes),
        }
    }

    /// The form in which a value goes where `form` was read. A message is written as JSON as long as
    /// it may be some: one that is streamed has to be decided on before its end.
    fn written_as(&self, form: Form) -> Form {
        match self {
            Self::Leaf {
                place: Place::Document(document),
                ..
            } if form == Form::Message && !document.is_broken() => Form::Json,
            _ => form,
        }
    }

    fn field(&self) -> BodyField {
        let named = |name: Option<&str>| name.map(|name| BodyField::Field(name.to_owned()));
        let field = match self {
            Self::Leaf {
                place: Place::Whole,
                ..
            } => None,
            Self::Leaf {
                place: Place::Pairs(pairs),
                ..
            } => named(pairs.name()),
            Self::Leaf {
                place: Place::Document(document),
                ..
            } => document.pointer().map(BodyField::Pointer),
            Self::Parts(parts) => named(parts.field()),
        };
        field.unwrap_or(BodyField::Whole)
    }
}

/// Reads a body, or a part of one, that has a single type and is not multipart.
pub(super) struct Leaf {
    syntax: Syntax,
    /// Nothing was read yet.
    at_start: bool,
}

enum Syntax {
    Plain(Form),
    Xml(Section),
    Wide(Narrowed),
    Opaque,
}

impl Leaf {
    /// At the start of a body of this kind. A multipart is read as text here.
    pub(super) fn new(kind: &BodyKind) -> Self {
        let syntax = match kind {
            BodyKind::Json | BodyKind::JsonLines => Syntax::Plain(Form::Json),
            BodyKind::Form => Syntax::Plain(Form::FormUrl),
            BodyKind::Xml => Syntax::Xml(Section::default()),
            BodyKind::Text | BodyKind::Multipart { .. } => Syntax::Plain(Form::Raw),
            BodyKind::Message => Syntax::Plain(Form::Message),
            BodyKind::Wide => Syntax::Wide(Narrowed::default()),
            BodyKind::Opaque => Syntax::Opaque,
        };
        Self {
            syntax,
            at_start: true,
        }
    }

    /// What stands at the front of `window`, which belongs to this body as a whole.
    pub(super) fn front(&mut self, window: &[u8], eof: bool) -> Stretch {
        if self.at_start {
            if window.len() < 2 && !eof {
                return Stretch::skip(0, false);
            }
            self.at_start = false;
            if is_wide(&self.syntax, window) {
                self.syntax = Syntax::Wide(Narrowed::default());
            }
        }
        match &self.syntax {
            Syntax::Plain(form) => Stretch::scan(window.len(), *form, eof),
            Syntax::Xml(section) => {
                let mut section = *section;
                let form = section.form();
                let (len, changed) = section.advance_to_change(window);
                Stretch::scan(len, form, eof || changed)
            }
            Syntax::Wide(_) | Syntax::Opaque => Stretch::skip(window.len(), eof),
        }
    }

    /// Takes the first bytes of what [`Leaf::front`] described, at most its length.
    pub(super) fn advance(&mut self, bytes: &[u8]) -> Result<(), BodyProblem> {
        match &mut self.syntax {
            Syntax::Xml(section) => section.advance(bytes),
            Syntax::Wide(narrowed) => narrowed.advance(bytes)?,
            Syntax::Plain(_) | Syntax::Opaque => {}
        }
        Ok(())
    }
}

/// Whether the first two bytes are those of UTF-16 or UTF-32: a byte order mark or, where a text
/// must begin with ASCII, a zero byte (RFC 4627 section 3, XML 1.0 appendix F).
fn is_wide(syntax: &Syntax, start: &[u8]) -> bool {
    let begins_with_ascii = matches!(syntax, Syntax::Plain(Form::Json) | Syntax::Xml(_));
    let is_text = begins_with_ascii || matches!(syntax, Syntax::Plain(Form::Raw));
    match start {
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => is_text,
        [0, _, ..] | [_, 0, ..] => begins_with_ascii,
        _ => false,
    }
}

/// Searches UTF-16 and UTF-32. Without their zero bytes, ASCII characters stand side by side in
/// every byte order.
#[derive(Default)]
struct Narrowed {
    /// The end of what was read that could begin a placeholder.
    carry: Vec<u8>,
}

impl Narrowed {
    fn advance(&mut self, bytes: &[u8]) -> Result<(), BodyProblem> {
        self.carry.extend(bytes.iter().filter(|&&byte| byte != 0));
        let mut decided = self.carry.len();
        for form in [Form::Raw, Form::Percent, Form::Json, Form::Xml] {
            let found = scan_partial(form, &self.carry, false);
            if !found.tokens.is_empty() {
                return Err(BodyProblem::Wide);
            }
            decided = decided.min(found.decided);
        }
        self.carry.drain(..decided);
        Ok(())
    }
}

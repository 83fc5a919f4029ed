//! Reading a body, or a part of one, that has a single media type.

use super::body_kind::{BodyKind, BodyProblem};
use super::encoding::{Doubt, Encoding, Nesting};
use super::http_message::HttpHead;
use super::inner_text::InnerText;
use super::placeholder::scan_partial;
use super::xml::XmlTracker;

/// Bytes at the front of the window that are read in one way.
pub(super) struct Segment {
    pub(super) len: usize,
    /// The encoding in which they are searched. `None`: they are not searched.
    pub(super) scan: Option<Encoding>,
    /// Whether what follows is read as a new segment. Otherwise more of this one may follow.
    pub(super) closed: bool,
}

impl Segment {
    /// Bytes that are not searched.
    pub(super) fn skip(len: usize, closed: bool) -> Self {
        Self {
            len,
            scan: None,
            closed,
        }
    }

    pub(super) fn scan(len: usize, encoding: Encoding, closed: bool) -> Self {
        let scan = Some(encoding);
        Self { len, scan, closed }
    }
}

/// Reads a body, or a part of one, that has a single type and is not multipart.
pub(super) struct SinglePart {
    syntax: Syntax,
    /// Nothing was read yet.
    at_start: bool,
    /// How deep in JSON the next byte is, where that is known.
    inner: Option<InnerText>,
}

enum Syntax {
    Plain(Encoding),
    Xml(XmlTracker),
    HttpHead(HttpHead),
    /// The body of a message, and whether the head says its length or a digest of it.
    HttpBody(Box<SinglePart>, bool),
    Wide(WideSearch),
    Opaque,
}

impl SinglePart {
    /// At the start of a body of this kind. A multipart is read as text here.
    pub(super) fn new(kind: &BodyKind) -> Self {
        let syntax = match kind {
            BodyKind::Json | BodyKind::JsonLines => Syntax::Plain(Encoding::Json),
            BodyKind::Form => Syntax::Plain(Encoding::FormUrl),
            BodyKind::Xml => Syntax::Xml(XmlTracker::default()),
            BodyKind::Text | BodyKind::Multipart { .. } | BodyKind::Ambiguous => {
                Syntax::Plain(Encoding::Raw)
            }
            BodyKind::Http => Syntax::HttpHead(HttpHead::default()),
            BodyKind::Message => Syntax::Plain(Encoding::Message),
            BodyKind::Wide => Syntax::Wide(WideSearch::default()),
            BodyKind::Opaque | BodyKind::Envelopes => Syntax::Opaque,
        };
        let inner = match &syntax {
            Syntax::Plain(encoding) => Some(InnerText::new(*encoding)),
            Syntax::Xml(_) => Some(InnerText::new(Encoding::Xml)),
            Syntax::HttpHead(head) => Some(InnerText::new(head.encoding())),
            Syntax::HttpBody(..) | Syntax::Wide(_) | Syntax::Opaque => None,
        };
        Self {
            syntax,
            at_start: true,
            inner,
        }
    }

    /// How deep in JSON the next byte is.
    pub(super) fn nesting(&self) -> Nesting {
        match &self.syntax {
            Syntax::HttpBody(body, true) => Nesting {
                doubt: Some(Doubt::Measured),
                ..body.nesting()
            },
            Syntax::HttpBody(body, false) => body.nesting(),
            _ => self
                .inner
                .as_ref()
                .map(InnerText::nesting)
                .unwrap_or_default(),
        }
    }

    /// The segment at the front of `window`, all of which belongs to this body.
    pub(super) fn front(&mut self, window: &[u8], eof: bool) -> Segment {
        if self.at_start {
            if window.len() < 2 && !eof {
                return Segment::skip(0, false);
            }
            self.at_start = false;
            if is_wide(&self.syntax, window) {
                self.syntax = Syntax::Wide(WideSearch::default());
            }
        }
        match &mut self.syntax {
            Syntax::Plain(encoding) => Segment::scan(window.len(), *encoding, eof),
            Syntax::Xml(section) => {
                let mut section = *section;
                let encoding = section.encoding();
                let (len, changed) = section.advance_to_change(window);
                Segment::scan(len, encoding, eof || changed)
            }
            Syntax::HttpHead(head) => {
                let (len, changed) = HttpHead::to_change(window);
                Segment::scan(len, head.encoding(), eof || changed)
            }
            Syntax::HttpBody(body, _) => body.front(window, eof),
            Syntax::Wide(_) | Syntax::Opaque => Segment::skip(window.len(), eof),
        }
    }

    /// Takes the first bytes of the segment that [`SinglePart::front`] returned, at most its length.
    pub(super) fn advance(&mut self, bytes: &[u8]) -> Result<(), BodyProblem> {
        if let (Some(inner), Some(encoding)) = (&mut self.inner, self.syntax.encoding()) {
            inner.advance(encoding, bytes);
        }
        self.advance_syntax(bytes)
    }

    /// The same for the bytes of a placeholder.
    pub(super) fn pass_placeholder(&mut self, bytes: &[u8]) -> Result<(), BodyProblem> {
        if let Some(inner) = &mut self.inner {
            inner.pass_placeholder();
        }
        if let Syntax::HttpBody(body, _) = &mut self.syntax {
            return body.pass_placeholder(bytes);
        }
        self.advance_syntax(bytes)
    }

    fn advance_syntax(&mut self, bytes: &[u8]) -> Result<(), BodyProblem> {
        match &mut self.syntax {
            Syntax::Xml(section) => section.advance(bytes),
            Syntax::HttpHead(head) => {
                if let Some(body) = head.advance(bytes) {
                    let part = Box::new(SinglePart::new(&body.kind));
                    self.inner = None;
                    self.syntax = Syntax::HttpBody(part, body.is_measured);
                } else if bytes.ends_with(b"\n") {
                    self.inner = Some(InnerText::new(head.encoding()));
                }
            }
            Syntax::HttpBody(body, _) => body.advance(bytes)?,
            Syntax::Wide(search) => search.advance(bytes)?,
            Syntax::Plain(_) | Syntax::Opaque => {}
        }
        Ok(())
    }
}

impl Syntax {
    /// The encoding in which the next byte is read.
    fn encoding(&self) -> Option<Encoding> {
        match self {
            Self::Plain(encoding) => Some(*encoding),
            Self::Xml(section) => Some(section.encoding()),
            Self::HttpHead(head) => Some(head.encoding()),
            Self::HttpBody(..) | Self::Wide(_) | Self::Opaque => None,
        }
    }
}

/// Whether the first two bytes are those of UTF-16 or UTF-32: a byte order mark or, where a text
/// must begin with ASCII, a zero byte (RFC 4627 section 3, XML 1.0 appendix F).
fn is_wide(syntax: &Syntax, start: &[u8]) -> bool {
    let begins_with_ascii = matches!(syntax, Syntax::Plain(Encoding::Json) | Syntax::Xml(_));
    let is_text = begins_with_ascii || matches!(syntax, Syntax::Plain(Encoding::Raw));
    match start {
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => is_text,
        [0, _, ..] | [_, 0, ..] => begins_with_ascii,
        _ => false,
    }
}

/// Searches UTF-16 and UTF-32. Once their zero bytes are removed, ASCII characters are adjacent in
/// every byte order.
#[derive(Default)]
struct WideSearch {
    /// The end of what was read that could begin a placeholder.
    carry: Vec<u8>,
}

impl WideSearch {
    fn advance(&mut self, bytes: &[u8]) -> Result<(), BodyProblem> {
        self.carry.extend(bytes.iter().filter(|&&byte| byte != 0));
        let mut decided = self.carry.len();
        for encoding in [
            Encoding::Raw,
            Encoding::Percent,
            Encoding::Json,
            Encoding::Xml,
        ] {
            let found = scan_partial(encoding, &self.carry, false, None);
            if !found.tokens.is_empty() {
                return Err(BodyProblem::Wide);
            }
            decided = decided.min(found.decided);
        }
        self.carry.drain(..decided);
        Ok(())
    }
}

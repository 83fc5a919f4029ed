//! Splits a multipart body (RFC 2046 section 5.1, RFC 7578) into its parts as it is read.
//!
//! Delimiters are never changed. A part is read by its own type, and its header section as one. What
//! precedes the first part and follows the last is read as text, so that no placeholder there is sent
//! unnoticed.

use std::ops::Range;
use std::sync::Arc;

use memchr::memmem;

use super::body_kind::{BodyKind, BodyProblem};
use super::delimiters::Delimiters;
use super::encoding::{Doubt, Encoding, Nesting};
use super::part_head::PartHead;
use super::part_length::PartLength;
use super::single_part::{Segment, SinglePart};

/// The deepest nesting of which the parts are read; a deeper multipart is read as text.
const MAX_DEPTH: usize = 8;

/// The longest header section of a part, in bytes.
const MAX_PART_HEAD: usize = 16 << 10;

/// Reads a multipart body from left to right.
pub(super) struct MultipartReader {
    /// The boundaries of the open multiparts, outermost first.
    boundaries: Vec<Vec<u8>>,
    delimiters: Arc<Delimiters>,
    /// The name of the outermost part: what a rule can name.
    field: Option<String>,
    state: PartState,
    /// How many bytes were read.
    read: usize,
    /// The lengths that open parts say they have, outermost first, each with the depth of its part.
    lengths: Vec<(usize, Arc<PartLength>)>,
}

enum PartState {
    Content {
        part: SinglePart,
        /// Whether a delimiter may follow without a line break before it.
        at_line_start: bool,
        ahead: Option<Lookahead>,
    },
    /// In a delimiter of the multipart at this depth, with this many bytes to go.
    Delimiter { depth: usize, left: usize },
    /// After a delimiter: two hyphens close the multipart. If they follow, they are in the window:
    /// without them the delimiter would not have been recognised.
    Tail { depth: usize },
    /// On the rest of a delimiter's line.
    Line,
    /// At the header section of a part.
    Head,
    /// In a header section of `left` bytes more, of which these were read.
    InHead { head: Vec<u8>, left: usize },
}

/// What is known of the bytes to come.
#[derive(Clone, Copy)]
struct Lookahead {
    /// How many of them are content for certain.
    content: usize,
    /// The delimiter after them, if one was found.
    delimiter: Option<Delimiter>,
}

#[derive(Clone, Copy)]
struct Delimiter {
    depth: usize,
    /// With the line break before it, in bytes.
    len: usize,
}

impl MultipartReader {
    /// At the start of a body.
    pub(super) fn new(boundary: &[u8]) -> Self {
        Self {
            boundaries: vec![boundary.to_vec()],
            delimiters: Arc::new(Delimiters::new([boundary])),
            field: None,
            state: PartState::content(BodyKind::Text, true),
            read: 0,
            lengths: Vec::new(),
        }
    }

    /// The length that the part says it has to which the next byte belongs. Parts inside of each other
    /// may say several.
    pub(super) fn length(&self) -> Option<Arc<PartLength>> {
        match &self.lengths[..] {
            [(_, length)] => Some(Arc::clone(length)),
            _ => None,
        }
    }

    /// The name of the current part, if it has one.
    pub(super) fn field(&self) -> Option<&str> {
        self.field.as_deref()
    }

    /// The delimiters that a value must not produce here.
    pub(super) fn delimiters(&self) -> Arc<Delimiters> {
        Arc::clone(&self.delimiters)
    }

    /// How deep in JSON the next byte is.
    pub(super) fn nesting(&self) -> Nesting {
        match &self.state {
            PartState::Content { part, .. } => {
                let nesting = part.nesting();
                match self.lengths.len() {
                    0 | 1 => nesting,
                    // Each would have to be corrected by what becomes of those inside of it.
                    _ => Nesting {
                        doubt: Some(Doubt::Measured),
                        ..nesting
                    },
                }
            }
            PartState::InHead { .. } => Nesting {
                depth: 0,
                doubt: Some(Doubt::PartHead),
            },
            _ => Nesting::default(),
        }
    }

    /// Takes the bytes of a placeholder.
    pub(super) fn pass_placeholder(&mut self, bytes: &[u8]) -> Result<(), BodyProblem> {
        self.take(bytes, true)
    }

    /// Forgets what was concluded from the end of the bytes, because more have come.
    pub(super) fn refresh(&mut self) {
        if let PartState::Content { ahead, .. } = &mut self.state
            && ahead.is_some_and(|ahead| ahead.delimiter.is_none())
        {
            *ahead = None;
        }
    }

    /// The segment at the front of `window`.
    pub(super) fn front(&mut self, window: &[u8], eof: bool) -> Result<Segment, BodyProblem> {
        match &mut self.state {
            PartState::Content {
                part,
                at_line_start,
                ahead,
            } => {
                let known = *ahead.get_or_insert_with(|| {
                    look_ahead(&self.boundaries, window, *at_line_start, eof)
                });
                match known.delimiter {
                    Some(Delimiter { depth, len }) if known.content == 0 => {
                        self.state = PartState::Delimiter { depth, left: len };
                        Ok(Segment::skip(len, true))
                    }
                    delimiter => {
                        Ok(part.front(&window[..known.content], eof || delimiter.is_some()))
                    }
                }
            }
            PartState::Delimiter { left, .. } => Ok(Segment::skip(*left, true)),
            PartState::Tail { .. } if window.starts_with(b"--") => Ok(Segment::skip(2, true)),
            PartState::Tail { .. } => {
                self.state = PartState::Line;
                Ok(line(window))
            }
            PartState::Line => Ok(line(window)),
            PartState::Head => self.head(window, eof),
            PartState::InHead { left, .. } => Ok(Segment::scan(*left, Encoding::Header, true)),
        }
    }

    /// Takes the first bytes of the segment that [`MultipartReader::front`] returned, at most its
    /// length.
    pub(super) fn advance(&mut self, bytes: &[u8]) -> Result<(), BodyProblem> {
        self.take(bytes, false)
    }

    fn take(&mut self, bytes: &[u8], is_placeholder: bool) -> Result<(), BodyProblem> {
        if bytes.is_empty() {
            return Ok(());
        }
        let start = self.read;
        self.read += bytes.len();
        match &mut self.state {
            PartState::Content {
                part,
                at_line_start,
                ahead,
            } => {
                *at_line_start = false;
                if let Some(ahead) = ahead {
                    ahead.content = ahead.content.saturating_sub(bytes.len());
                }
                if is_placeholder {
                    part.pass_placeholder(bytes)?
                } else {
                    part.advance(bytes)?
                }
            }
            PartState::Delimiter { depth, left } => {
                let (depth, left) = (*depth, left.saturating_sub(bytes.len()));
                // The content ended where the delimiter begins, which includes the line break before it.
                self.end_lengths(depth, start);
                if left == 0 {
                    // A delimiter of an outer multipart ends the inner ones, closed or not.
                    self.narrow(depth + 1);
                    self.state = PartState::Tail { depth };
                } else {
                    self.state = PartState::Delimiter { depth, left };
                }
            }
            PartState::Tail { depth } => {
                let depth = *depth;
                self.leave(depth);
            }
            PartState::Line if bytes.ends_with(b"\n") => self.state = PartState::Head,
            PartState::Line => {}
            PartState::Head => {}
            PartState::InHead { head, left } => {
                head.extend_from_slice(bytes);
                *left = left.saturating_sub(bytes.len());
                if *left == 0 {
                    let head = std::mem::take(head);
                    self.enter(&head);
                }
            }
        }
        Ok(())
    }

    /// The segment of the header section at the front of `window`, blank line included. It must be
    /// complete. A part may lack one: then the next delimiter comes first.
    fn head(&mut self, window: &[u8], eof: bool) -> Result<Segment, BodyProblem> {
        let ahead = look_ahead(&self.boundaries, window, true, eof);
        let reach = &window[..ahead.content + ahead.delimiter.map_or(0, |delimiter| delimiter.len)];
        match (
            head_end(&reach[..reach.len().min(MAX_PART_HEAD)]),
            ahead.delimiter,
        ) {
            // An empty part may lack the line break of its own before the delimiter.
            (Some(end), _) => {
                if self.boundaries.len() == 1 {
                    // The name of this part is not known yet, and the last part's is not its name.
                    self.field = None;
                }
                self.state = PartState::InHead {
                    head: Vec::with_capacity(end),
                    left: end,
                };
                Ok(Segment::scan(end, Encoding::Header, true))
            }
            (None, Some(_)) => {
                self.state = PartState::Content {
                    part: SinglePart::new(&BodyKind::Opaque),
                    at_line_start: true,
                    ahead: Some(ahead),
                };
                self.front(window, eof)
            }
            (None, None) if window.len() > MAX_PART_HEAD => Err(BodyProblem::PartHead),
            (None, None) => Ok(Segment::skip(if eof { window.len() } else { 0 }, eof)),
        }
    }

    /// Starts the content of a part with this header section.
    fn enter(&mut self, head: &[u8]) {
        let begin = self.read - head.len();
        let bytes = head;
        let number = |digits: &Range<usize>| {
            let text = std::str::from_utf8(&bytes[digits.clone()]).ok()?;
            text.parse().ok()
        };
        let head = PartHead::read(bytes);
        let digits = head.length.clone().filter(|_| !head.is_digested);
        let declared = digits.as_ref().and_then(number);
        let length = match digits.zip(declared) {
            Some((digits, declared)) => {
                let digits = begin + digits.start..begin + digits.end;
                Some(PartLength::new(digits, declared, self.read))
            }
            // Said twice, folded, no number, or beside a digest.
            None if head.says_length || head.is_digested => {
                Some(PartLength::fixed(begin, self.read))
            }
            None => None,
        };
        if let Some(length) = length {
            self.lengths.push((self.boundaries.len() - 1, length));
        }
        if self.boundaries.len() == 1 {
            self.field = head.field;
        }
        self.state = match head.kind {
            BodyKind::Multipart { boundary } if self.boundaries.len() < MAX_DEPTH => {
                self.boundaries.push(boundary);
                self.narrow(MAX_DEPTH);
                PartState::content(BodyKind::Text, true)
            }
            BodyKind::Multipart { .. } => PartState::content(BodyKind::Text, true),
            kind => PartState::content(kind, true),
        };
    }

    /// Ends the parts of the multipart at `depth` and of those inside it.
    fn end_lengths(&mut self, depth: usize, end: usize) {
        while let Some((_, length)) = self.lengths.pop_if(|(of, _)| *of >= depth) {
            length.end(end);
        }
    }

    /// Ends the multipart at `depth`, and those inside it that were not ended.
    fn leave(&mut self, depth: usize) {
        self.narrow(depth);
        if depth == 0 {
            self.field = None;
        }
        self.state = PartState::content(BodyKind::Text, false);
    }

    /// Keeps the outermost `depth` multiparts.
    fn narrow(&mut self, depth: usize) {
        self.boundaries.truncate(depth);
        self.delimiters = Arc::new(Delimiters::new(self.boundaries.iter().map(Vec::as_slice)));
    }
}

impl PartState {
    fn content(kind: BodyKind, at_line_start: bool) -> Self {
        Self::Content {
            part: SinglePart::new(&kind),
            at_line_start,
            ahead: None,
        }
    }
}

/// The rest of a line, its end included if it is there.
fn line(window: &[u8]) -> Segment {
    match memchr::memchr(b'\n', window) {
        Some(end) => Segment::skip(end + 1, true),
        None => Segment::skip(window.len(), false),
    }
}

/// The length of a header section, blank line included.
fn head_end(window: &[u8]) -> Option<usize> {
    if window.starts_with(b"\n") {
        return Some(1);
    }
    if window.starts_with(b"\r\n") {
        return Some(2);
    }
    memchr::memchr_iter(b'\n', window).find_map(|at| match &window[at + 1..] {
        [b'\n', ..] => Some(at + 2),
        [b'\r', b'\n', ..] => Some(at + 3),
        _ => None,
    })
}

/// Finds the next delimiter of any open multipart. A delimiter follows a line break, so all
/// boundaries are searched in one pass over the line breaks.
fn look_ahead(boundaries: &[Vec<u8>], window: &[u8], at_line_start: bool, eof: bool) -> Lookahead {
    let first = (at_line_start && window.starts_with(b"--")).then_some(0);
    let others = memmem::find_iter(window, b"\n--").map(|at| at + 1);
    for hyphens in first.into_iter().chain(others) {
        let content = before_line_break(window, hyphens);
        match delimiter_at(boundaries, &window[hyphens + 2..], eof) {
            DelimiterMatch::No => {}
            DelimiterMatch::Cut => {
                return Lookahead {
                    content,
                    delimiter: None,
                };
            }
            DelimiterMatch::Yes { depth } => {
                let len = hyphens + 2 + boundaries[depth].len() - content;
                let delimiter = Some(Delimiter { depth, len });
                return Lookahead { content, delimiter };
            }
        }
    }
    let content = if eof {
        window.len()
    } else {
        window.len() - begun_delimiter(window, at_line_start)
    };
    Lookahead {
        content,
        delimiter: None,
    }
}

/// How many bytes at the end of `window` could begin a delimiter that is cut before its second
/// hyphen.
fn begun_delimiter(window: &[u8], at_line_start: bool) -> usize {
    if at_line_start && b"-".starts_with(window) {
        return window.len();
    }
    let beginnings: [&[u8]; 5] = [b"\r\n-", b"\r\n", b"\n-", b"\n", b"\r"];
    let begun = beginnings
        .iter()
        .find(|beginning| window.ends_with(beginning));
    begun.map_or(0, |beginning| beginning.len())
}

/// The line break before a delimiter belongs to it.
fn before_line_break(window: &[u8], hyphens: usize) -> usize {
    match &window[..hyphens] {
        [.., b'\r', b'\n'] => hyphens - 2,
        [.., b'\n'] => hyphens - 1,
        _ => hyphens,
    }
}

enum DelimiterMatch {
    No,
    /// Not enough bytes to tell.
    Cut,
    Yes {
        depth: usize,
    },
}

/// Whether `text`, which follows two hyphens at the start of a line, continues as a delimiter. The
/// innermost multipart is tried first.
fn delimiter_at(boundaries: &[Vec<u8>], text: &[u8], eof: bool) -> DelimiterMatch {
    let mut cut = false;
    for (depth, boundary) in boundaries.iter().enumerate().rev() {
        match text.strip_prefix(boundary.as_slice()) {
            // One boundary may begin like another (`B`, `B2`), so what follows decides.
            Some([b'\r' | b'\n' | b' ' | b'\t', ..] | [b'-', b'-', ..]) => {
                return DelimiterMatch::Yes { depth };
            }
            Some([] | [b'-']) if eof => return DelimiterMatch::Yes { depth },
            Some([] | [b'-']) => cut = true,
            Some(_) => {}
            None => cut |= !eof && boundary.starts_with(text),
        }
    }
    if cut {
        DelimiterMatch::Cut
    } else {
        DelimiterMatch::No
    }
}

#[cfg(test)]
mod tests {
    use crate::secret::SecretBytes;
    use crate::substitution::body::{BodyKind, BodyProblem, find};
    use crate::substitution::edit::SpliceError;
    use crate::substitution::splice::splice;

    fn kind() -> BodyKind {
        BodyKind::Multipart {
            boundary: b"B0".to_vec(),
        }
    }

    /// What is found and where, in a body with `\n` for each line break.
    fn shown(body: &str) -> Vec<String> {
        let body = body.replace('\n', "\r\n");
        let edits = find(&kind(), body.as_bytes()).unwrap();
        edits
            .iter()
            .map(|edit| {
                format!(
                    "{} in {} as {:?}",
                    edit.reference, edit.location, edit.encoding
                )
            })
            .collect()
    }

    fn put(body: &str, value: &str) -> Result<String, SpliceError> {
        let value = SecretBytes::new(value.as_bytes().to_vec());
        let edits = find(&kind(), body.as_bytes()).unwrap();
        let out = splice(body.as_bytes(), &edits, |_| Some(&value))?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn each_part_is_read_by_its_own_type() {
        let body = "--B0\nContent-Disposition: form-data; name=\"plain\"\n\n<<a>>%3C%3Cno%3E%3E\n\
            --B0\ncontent-disposition:form-data; NAME=json; filename=\"a.json\"\nContent-Type: application/json\n\n\
            {\"k\":\"\\u003c<b>>\"}\n\
            --B0\nContent-Disposition: form-data; name=\"xml\"\nContent-Type: text/xml\n\n<![CDATA[<<c>>]]>&lt;<d>>\n\
            --B0\nContent-Disposition: form-data; name=\"<<no>>\"; filename=\"<<no>>.png\"\nContent-Type: image/png\n\n<<no>>\n\
            --B0\nContent-Disposition: form-data; name=\"b64\"\nContent-Transfer-Encoding: base64\n\n<<no>>\n\
            --B0\n\n<<e>>\n--B0--\n<<f>>\n--B0\n<<g>>";
        assert_eq!(
            shown(body),
            [
                "a in body:plain as Raw",
                "b in body:json as Json",
                "c in body:xml as Cdata",
                "d in body:xml as Xml",
                "no in body as Header",
                "no in body as Header",
                "e in body as Raw",
                "f in body as Raw",
                "g in body as Raw"
            ]
        );
    }

    #[test]
    fn nested_parts_count_under_the_outer_name() {
        let body = "--B0\nContent-Disposition: form-data; name=\"outer\"\nContent-Type: multipart/mixed;\n boundary=\"B01\"\n\n\
            --B01\nContent-Disposition: form-data; name=\"inner\"\nContent-Type: application/json\n\n\"<<a>>\"\n\
            --B01\nContent-Type: image/png\n\n<<no>>\n\
            --B01--\n<<b>>\n--B0\n\n<<c>>\n--B01\n<<d>>\n--B0--\n";
        assert_eq!(
            shown(body),
            [
                "a in body:outer as Json",
                "b in body:outer as Raw",
                "c in body as Raw",
                "d in body as Raw"
            ]
        );
    }

    #[test]
    fn an_outer_delimiter_ends_an_unclosed_inner_multipart() {
        let body = "--B0\nContent-Type: multipart/mixed; boundary=I\n\n--I\nContent-Type: image/png\n\n<<no>>\n\
            --B0\nContent-Type: application/json\n\n\"<<a>>\"\n--I\n<<b>>\n--B0--";
        assert_eq!(shown(body), ["a in body as Json", "b in body as Json"]);
    }

    #[test]
    fn a_delimiter_begins_a_line() {
        let body = "--B0\nContent-Type: multipart/mixed; boundary=I\n\n--I----B0\n\
            Content-Type: application/json\n\n\"<<a>>\"";
        assert_eq!(shown(body), ["a in body as Raw"]);
    }

    #[test]
    fn an_ambiguous_part_name_is_no_name() {
        for disposition in [
            "form-data; name=a; name=b",
            "form-data; name=a; name*=UTF-8''b",
            "attachment; name=a",
            "form-data; name=a\nContent-Disposition: form-data; name=b",
        ] {
            let body = format!("--B0\nContent-Disposition: {disposition}\n\n<<gh>>\n--B0--\n");
            assert_eq!(shown(&body), ["gh in body as Raw"], "{disposition}");
        }
    }

    #[test]
    fn parts_without_headers_or_content_are_followed() {
        assert_eq!(
            shown("--B0\n--B0\n\n--B0\n\n\n--B0\n\n<<a>>\n--B0--"),
            ["a in body as Raw"]
        );
        assert_eq!(
            shown("<<p>>\n--B0  \n\n<<a>>"),
            ["p in body as Raw", "a in body as Raw"]
        );
        assert_eq!(
            shown("--B0x\n\n<<a>>\n--B0-\n<<b>>"),
            ["a in body as Raw", "b in body as Raw"]
        );
    }

    #[test]
    fn everything_but_the_placeholder_stays() {
        let body = "pre\r\n--B0 \t\r\nX: <x>\r\n\r\n<<gh>>\r\n--B0\n\n<<!gh>>\n--B0--\r\nepi";
        assert_eq!(
            put(body, "p@ss\"\\\r\n&").as_deref(),
            Ok("pre\r\n--B0 \t\r\nX: <x>\r\n\r\np@ss\"\\\r\n&\r\n--B0\n\n<<gh>>\n--B0--\r\nepi")
        );
    }

    #[test]
    fn a_value_cannot_spell_a_delimiter() {
        let part = |content: &str| format!("--B0\r\n\r\n{content}\r\n--B0--\r\n");
        for (content, value) in [
            (
                "<<gh>>",
                "x\r\n--B0\r\nContent-Disposition: form-data; name=\"admin\"\r\n\r\n1",
            ),
            ("<<gh>>", "--B0"),
            ("<<gh>>0", "\n--B"),
            ("\r\n--<<gh>>", "B0"),
            ("<<gh>>--B0", "x\r\n"),
            ("<<gh>><<gh>>", "B0\r\n--"),
            ("-<<gh>><<gh>>", "-B0\n"),
        ] {
            let refused = put(&part(content), value);
            assert!(
                matches!(refused, Err(SpliceError::Unencodable { .. })),
                "{content:?} {value:?}"
            );
        }
        for (content, value) in [
            ("<<gh>>", "x--B"),
            ("<<gh>>", "-"),
            ("<<gh>>-B0", "x"),
            ("<<gh>>\r\n--B", "--"),
        ] {
            assert!(put(&part(content), value).is_ok(), "{content:?} {value:?}");
        }
    }

    #[test]
    fn an_endless_header_section_is_a_problem() {
        let body = format!("--B0\r\nX: {}", "x".repeat(20_000));
        assert_eq!(find(&kind(), body.as_bytes()), Err(BodyProblem::PartHead));
    }

    #[test]
    fn many_small_parts_are_read_in_linear_time() {
        let nested = "--B0\r\nContent-Type: multipart/mixed; boundary=I\r\n\r\n";
        let body = format!(
            "{nested}{}",
            "--I\r\nContent-Type: text/xml\r\n\r\n<![CDATA[]]>\r\n".repeat(20_000)
        );
        assert!(find(&kind(), body.as_bytes()).unwrap().is_empty());
        let flips = format!(
            "--B0\r\nContent-Type: text/xml\r\n\r\n{}",
            "<![CDATA[]]>".repeat(80_000)
        );
        assert!(find(&kind(), flips.as_bytes()).unwrap().is_empty());
    }
}

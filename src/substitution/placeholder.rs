//! The placeholder scanner: the only one there is.
//!
//! Held bodies, streams, headers, URLs and messages are all read by the same [`scan_partial`];
//! [`scan`] is the case in which no more bytes follow. It searches for the few byte pairs with which
//! a placeholder can begin in the encoding at hand and reads the grammar only there, so text without
//! them costs a vectorised search and no allocation.

use std::ops::Range;
use std::sync::LazyLock;

use memchr::memmem::Finder;
use memchr::{memchr, memchr2};

use super::encoding::{EncodedChar, Encoding, MAX_ENCODED_CHAR, Notation};
use super::slug::{self, Field, Reference, Slug};

/// A placeholder, or an escaped one, in some bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlaceholderToken {
    /// The bytes that it consists of.
    pub span: Range<usize>,
    /// Whether it is `<<!slug>>`, which is sent as the literal `<<slug>>`.
    pub escape: bool,
    /// What it names.
    pub reference: Reference,
}

/// What can be said of bytes that may be continued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partial {
    /// The placeholders found, leftmost first.
    pub tokens: Vec<PlaceholderToken>,
    /// How many bytes are decided. What follows them could still begin a placeholder; it is at most
    /// [`MAX_CARRY`] bytes and must be scanned again with its continuation.
    pub decided: usize,
}

/// The longest a placeholder can be on the wire, in bytes, less one: what a stream holds back.
pub const MAX_CARRY: usize = MAX_ENCODED_CHAR * (slug::MAX_SLUG + slug::MAX_FIELD + 6) - 1;

/// Whether `bytes` may contain a placeholder. `false` is certain, and cheap.
pub fn may_contain(encoding: Encoding, bytes: &[u8]) -> bool {
    let Some(first) = first_byte(encoding, bytes) else {
        return false;
    };
    let mut starters = starters(encoding).iter();
    starters.any(|starter| starter.find(&bytes[first..]).is_some())
}

/// Finds every placeholder, leftmost first, without overlap.
pub fn scan(encoding: Encoding, bytes: &[u8]) -> Vec<PlaceholderToken> {
    scan_map(encoding, bytes, |token| token)
}

/// [`scan`], with each placeholder converted by `make`.
pub fn scan_map<T>(
    encoding: Encoding,
    bytes: &[u8],
    mut make: impl FnMut(PlaceholderToken) -> T,
) -> Vec<T> {
    let mut found = Vec::new();
    search(encoding, bytes, true, |token| found.push(make(token)));
    found
}

/// Finds every placeholder that is complete. With `eof`, no more bytes follow.
///
/// The decided bytes never end inside an escape of the encoding, so the next call need not know
/// them.
pub fn scan_partial(encoding: Encoding, bytes: &[u8], eof: bool) -> Partial {
    let mut tokens = Vec::new();
    let decided = search(encoding, bytes, eof, |token| tokens.push(token));
    Partial { tokens, decided }
}

/// Calls `found` with every placeholder and returns how many bytes are decided.
fn search(
    encoding: Encoding,
    bytes: &[u8],
    eof: bool,
    mut found: impl FnMut(PlaceholderToken),
) -> usize {
    let mut candidates = Candidates::new(encoding, bytes);
    let mut from = 0;
    while let Some(at) = candidates.next(from) {
        match read_at(encoding, bytes, at, eof) {
            CandidateReading::Found(token) => {
                from = token.span.end;
                found(token);
            }
            CandidateReading::Nothing => from = at + 1,
            CandidateReading::Cut => return at,
        }
    }
    // A starter may itself be cut by the end of the bytes, so the last few positions are tried one by one.
    let tail = if eof {
        bytes.len()
    } else {
        from.max(bytes.len().saturating_sub(MAX_STARTER - 1))
    };
    (tail..bytes.len())
        .find(|&at| matches!(read_at(encoding, bytes, at, eof), CandidateReading::Cut))
        .unwrap_or(bytes.len())
}

type Starters = Vec<Finder<'static>>;

/// The longest of the starters below, in bytes.
const MAX_STARTER: usize = 6;

/// Byte strings with one of which every placeholder in `encoding` begins: either its first character
/// is encoded, or it is a bare `<` followed by the second character, encoded or not.
fn starters(encoding: Encoding) -> &'static Starters {
    static RAW: LazyLock<Starters> = LazyLock::new(|| finders(&["<<"]));
    static PERCENT: LazyLock<Starters> = LazyLock::new(|| finders(&["<<", "<%3", "%3C", "%3c"]));
    static BACKSLASH: LazyLock<Starters> = LazyLock::new(|| finders(&["<<", "<\\u003", "\\u003"]));
    static REFERENCE: LazyLock<Starters> = LazyLock::new(|| finders(&["<<", "<&", "&lt;", "&#"]));
    match encoding.notation() {
        None => &RAW,
        Some(Notation::Percent) => &PERCENT,
        Some(Notation::Backslash) => &BACKSLASH,
        Some(Notation::Reference) => &REFERENCE,
    }
}

/// Where the first byte is with which a starter of `encoding` begins.
fn first_byte(encoding: Encoding, bytes: &[u8]) -> Option<usize> {
    match encoding.notation() {
        None => memchr(b'<', bytes),
        Some(notation) => memchr2(b'<', notation.introducer(), bytes),
    }
}

fn finders(starters: &[&'static str]) -> Starters {
    starters
        .iter()
        .map(|starter| Finder::new(*starter))
        .collect()
}

/// Positions at which a starter begins. Each finder passes over the bytes once in all.
struct Candidates<'a> {
    bytes: &'a [u8],
    starters: &'static Starters,
    /// The next hit of each starter; `None` when it has no more.
    ahead: [Option<usize>; 4],
}

impl<'a> Candidates<'a> {
    fn new(encoding: Encoding, bytes: &'a [u8]) -> Self {
        let starters = starters(encoding);
        let mut ahead = [None; 4];
        // One search rules out all starters in most short texts.
        if let Some(first) = first_byte(encoding, bytes) {
            for (next, starter) in ahead.iter_mut().zip(starters) {
                *next = starter.find(&bytes[first..]).map(|at| first + at);
            }
        }
        Self {
            bytes,
            starters,
            ahead,
        }
    }

    /// The first candidate at or after `from`, which never decreases.
    fn next(&mut self, from: usize) -> Option<usize> {
        for (next, starter) in self.ahead.iter_mut().zip(self.starters) {
            if next.is_some_and(|at| at < from) {
                *next = starter.find(&self.bytes[from..]).map(|at| from + at);
            }
        }
        self.ahead.iter().flatten().min().copied()
    }
}

enum CandidateReading {
    Found(PlaceholderToken),
    Nothing,
    Cut,
}

/// Whether a backslash at the end of `bytes` takes the next character with it. In `\\u003c` the
/// second backslash is the escaped one, and `u003c` is text.
fn ends_in_escape(bytes: &[u8]) -> bool {
    let run = bytes.iter().rev().take_while(|&&byte| byte == b'\\');
    run.count() % 2 == 1
}

/// Why reading stopped short of a token.
enum ReadStop {
    Nothing,
    Cut,
}

fn read_at(encoding: Encoding, bytes: &[u8], at: usize, eof: bool) -> CandidateReading {
    // In JSON a backslash never precedes a bare `<`, so there the two encodings read alike.
    let may_be_escaped = match encoding {
        Encoding::Json => true,
        Encoding::Message => bytes[at] == b'\\',
        _ => false,
    };
    if may_be_escaped && ends_in_escape(&bytes[..at]) {
        return CandidateReading::Nothing;
    }
    let mut reader = GrammarReader {
        encoding,
        bytes,
        at,
    };
    match reader.placeholder() {
        Ok((escape, reference)) => CandidateReading::Found(PlaceholderToken {
            span: at..reader.at,
            escape,
            reference,
        }),
        Err(ReadStop::Cut) if !eof => CandidateReading::Cut,
        Err(_) => CandidateReading::Nothing,
    }
}

/// Reads the grammar unit by unit.
struct GrammarReader<'a> {
    encoding: Encoding,
    bytes: &'a [u8],
    at: usize,
}

impl GrammarReader<'_> {
    fn placeholder(&mut self) -> Result<(bool, Reference), ReadStop> {
        self.expect(b'<')?;
        self.expect(b'<')?;
        let mut next = self.take()?;
        let escape = next == b'!';
        if escape {
            next = self.take()?;
        }
        let mut slug = NameBuffer::default();
        next = self.name(next, slug::MAX_SLUG, slug::is_slug_byte, &mut slug)?;
        let mut field = None;
        if next == b'.' {
            let mut name = NameBuffer::default();
            next = self.take()?;
            next = self.name(next, slug::MAX_FIELD, slug::is_field_byte, &mut name)?;
            field = Some(name);
        }
        if next != b'>' {
            return Err(ReadStop::Nothing);
        }
        self.expect(b'>')?;
        let slug = Slug::parse(slug.as_str()).map_err(|_| ReadStop::Nothing)?;
        let field = field.map(|name| Field::parse(name.as_str()));
        let field = field.transpose().map_err(|_| ReadStop::Nothing)?;
        Ok((escape, Reference { slug, field }))
    }

    /// Reads a name that begins with `first` and returns the character after it.
    fn name(
        &mut self,
        first: u8,
        max: usize,
        allowed: fn(u8) -> bool,
        name: &mut NameBuffer,
    ) -> Result<u8, ReadStop> {
        if !slug::is_first_byte(first) {
            return Err(ReadStop::Nothing);
        }
        name.push(first);
        loop {
            let next = self.take()?;
            if !allowed(next) {
                return Ok(next);
            }
            if name.len == max {
                return Err(ReadStop::Nothing);
            }
            name.push(next);
        }
    }

    fn take(&mut self) -> Result<u8, ReadStop> {
        match self.encoding.encoded_char(&self.bytes[self.at..]) {
            EncodedChar::Is(byte, len) => {
                self.at += len;
                Ok(byte)
            }
            EncodedChar::Other => Err(ReadStop::Nothing),
            EncodedChar::Cut => Err(ReadStop::Cut),
        }
    }

    fn expect(&mut self, expected: u8) -> Result<(), ReadStop> {
        if self.take()? == expected {
            Ok(())
        } else {
            Err(ReadStop::Nothing)
        }
    }
}

/// A decoded name on the stack: most candidates turn out to be none, and must not allocate.
struct NameBuffer {
    bytes: [u8; slug::MAX_SLUG],
    len: usize,
}

impl Default for NameBuffer {
    fn default() -> Self {
        Self {
            bytes: [0; slug::MAX_SLUG],
            len: 0,
        }
    }
}

impl NameBuffer {
    /// The caller keeps within `MAX_SLUG`.
    fn push(&mut self, byte: u8) {
        self.bytes[self.len] = byte;
        self.len += 1;
    }

    fn as_str(&self) -> &str {
        // Only ASCII was pushed, so the fallback (which is no name) is never taken.
        std::str::from_utf8(&self.bytes[..self.len]).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn found(encoding: Encoding, text: &str) -> Vec<(String, bool, String)> {
        let show = |token: PlaceholderToken| {
            (
                text[token.span].to_owned(),
                token.escape,
                token.reference.to_string(),
            )
        };
        scan(encoding, text.as_bytes())
            .into_iter()
            .map(show)
            .collect()
    }

    fn names(encoding: Encoding, text: &str) -> Vec<String> {
        found(encoding, text)
            .into_iter()
            .map(|(_, _, name)| name)
            .collect()
    }

    #[test]
    fn what_is_not_of_the_grammar_is_no_placeholder() {
        let long_slug = format!("<<{}>>", "a".repeat(65));
        let long_field = format!("<<a.{}>>", "f".repeat(33));
        let endless = format!("<<{}", "a".repeat(5000));
        for text in [
            "",
            "<",
            "<<",
            "<<>>",
            "<<EOF",
            "a << b >> c",
            "<<Upper>>",
            "<< a >>",
            "<<a >>",
            "<<a\t>>",
            "<<g/h>>",
            "<<1a>>",
            "<<-a>>",
            "<<a>",
            "<a>>",
            "<<a> >",
            "<<a.>>",
            "<<.a>>",
            "<<a.B>>",
            "<<a.1>>",
            "<<a.b-c>>",
            "<<a.b.c>>",
            "<<!>>",
            "<<!!a>>",
            "<<! a>>",
            "«gh»",
            "<<g\u{125}>>",
            "<<g\u{200b}h>>",
            "<<g\0h>>",
            "std::cout<<a<<b;",
            "1<<2 >>3",
            "<<<EOT",
            &long_slug,
            &long_field,
            &endless,
        ] {
            for encoding in [
                Encoding::Raw,
                Encoding::Header,
                Encoding::Percent,
                Encoding::FormUrl,
                Encoding::Json,
                Encoding::Xml,
                Encoding::Cdata,
            ] {
                assert_eq!(
                    names(encoding, text),
                    Vec::<String>::new(),
                    "{encoding:?} {text}"
                );
            }
        }
    }

    #[test]
    fn the_leftmost_full_match_counts() {
        let longest = format!("<<{}.{}>>", "a".repeat(64), "f".repeat(32));
        for (text, whole, at) in [
            ("<<<a>>>", "<<a>>", 1),
            ("<<<<gh>>>>", "<<gh>>", 2),
            ("<<gh>><<", "<<gh>>", 0),
            ("<<x <<gh>>", "<<gh>>", 4),
            ("<<x<<gh>>", "<<gh>>", 3),
            ("<<a.<<b.c>>>>", "<<b.c>>", 4),
            ("x<<gh-1_2.user_name>>y", "<<gh-1_2.user_name>>", 1),
            (longest.as_str(), longest.as_str(), 0),
        ] {
            let tokens = scan(Encoding::Raw, text.as_bytes());
            assert_eq!(tokens.len(), 1, "{text}");
            assert_eq!(tokens[0].span, at..at + whole.len(), "{text}");
            assert_eq!(tokens[0].reference.placeholder(), whole);
            assert!(!tokens[0].escape);
        }
        assert_eq!(names(Encoding::Raw, "<<a>><<b>> <<a>>"), ["a", "b", "a"]);
    }

    #[test]
    fn an_exclamation_mark_escapes() {
        let escape = ("<<!gh.user>>".to_owned(), true, "gh.user".to_owned());
        assert_eq!(found(Encoding::Raw, "<<<!gh.user>>>"), [escape]);
        assert_eq!(
            found(Encoding::Percent, "%3c<%21gh%2Euser%3E>")[0].2,
            "gh.user"
        );
    }

    #[test]
    fn one_level_of_encoding_is_undone() {
        for (encoding, text) in [
            (Encoding::Percent, "%253C%253Cgh%253E%253E"),
            (Encoding::FormUrl, "%253C%253Cgh%253E%253E"),
            (Encoding::Json, r"\\u003c\\u003cgh\\u003e\\u003e"),
            (Encoding::Xml, "&amp;lt;&amp;lt;gh&amp;gt;&amp;gt;"),
            (Encoding::Cdata, "&lt;&lt;gh&gt;&gt;"),
            (Encoding::Raw, "%3C%3Cgh%3E%3E"),
            (Encoding::Header, r"\u003c\u003cgh\u003e\u003e"),
        ] {
            assert_eq!(
                names(encoding, text),
                Vec::<String>::new(),
                "{encoding:?} {text}"
            );
        }
    }

    #[test]
    fn in_json_an_escaped_backslash_escapes_nothing() {
        assert_eq!(names(Encoding::Json, r"\\<<gh>>"), ["gh"]);
        assert_eq!(names(Encoding::Json, r"\\\\\u003c<gh>\u003E"), ["gh"]);
        assert_eq!(names(Encoding::Json, r"\\\u003c\u003Cgh>>"), ["gh"]);
        assert_eq!(names(Encoding::Json, r"\\u003c<gh>>"), Vec::<String>::new());
        assert_eq!(names(Encoding::Json, r"<\\u003cgh>>"), Vec::<String>::new());
        // The backslash takes the first bracket with it: a value behind it could end the string.
        assert_eq!(names(Encoding::Json, r"\<<gh>>"), Vec::<String>::new());
        assert_eq!(names(Encoding::Json, r"\<<<gh>>"), ["gh"]);
    }

    const FORMS: [Encoding; 7] = [
        Encoding::Raw,
        Encoding::Header,
        Encoding::Percent,
        Encoding::FormUrl,
        Encoding::Json,
        Encoding::Xml,
        Encoding::Cdata,
    ];

    /// Texts near placeholders: fragments of them in random order.
    fn noise() -> impl Strategy<Value = String> {
        let fragment = prop::sample::select(vec![
            "<", ">", "<<", ">>", "%3C", "%3c", "%3E", "%", "%3", "\\u003c", "\\u003C", "\\u003e",
            "\\", "\\u", "\\u0", "&lt;", "&gt;", "&#60;", "&#x3e;", "&#x", "&", "&l", "gh", "a-1",
            ".", "f", "!", "X", " ", "<<gh>>",
        ]);
        prop::collection::vec(fragment, 0..14).prop_map(|fragments| fragments.concat())
    }

    /// The scanner without its shortcuts: the grammar is tried at every position.
    fn scan_everywhere(encoding: Encoding, bytes: &[u8]) -> Vec<PlaceholderToken> {
        let mut tokens = Vec::new();
        let mut at = 0;
        while at < bytes.len() {
            match read_at(encoding, bytes, at, true) {
                CandidateReading::Found(token) => {
                    at = token.span.end;
                    tokens.push(token);
                }
                _ => at += 1,
            }
        }
        tokens
    }

    proptest! {
        #[test]
        fn the_shortcuts_miss_nothing(text in noise()) {
            for encoding in FORMS {
                let tokens = scan(encoding, text.as_bytes());
                prop_assert_eq!(&tokens, &scan_everywhere(encoding, text.as_bytes()), "{:?}", encoding);
                prop_assert!(tokens.is_empty() || may_contain(encoding, text.as_bytes()));
            }
        }

        #[test]
        fn pieces_are_read_like_the_whole(text in noise(), cuts in prop::collection::vec(1usize..6, 1..20)) {
            for encoding in FORMS {
                let whole = scan(encoding, text.as_bytes());
                let mut tokens = Vec::new();
                let (mut start, mut end) = (0, 0);
                let mut cuts = cuts.iter().cycle();
                while end < text.len() {
                    end = text.len().min(end + cuts.next().unwrap());
                    let window = &text.as_bytes()[start..end];
                    let partial = scan_partial(encoding, window, end == text.len());
                    tokens.extend(partial.tokens.into_iter().map(|mut token| {
                        token.span = token.span.start + start..token.span.end + start;
                        token
                    }));
                    start += partial.decided;
                }
                prop_assert_eq!(start, text.len());
                prop_assert_eq!(&tokens, &whole, "{:?}", encoding);
            }
        }

        #[test]
        fn no_more_than_one_placeholder_is_held_back(encoding in prop::sample::select(FORMS.to_vec()), len in 0usize..4000) {
            let encoded_char = match encoding {
                Encoding::Percent | Encoding::FormUrl => "%61",
                Encoding::Json => "\\u0061",
                Encoding::Xml => "&#x00000061;",
                _ => "a",
            };
            let text = format!("<<{}", encoded_char.repeat(len / encoded_char.len()));
            let partial = scan_partial(encoding, text.as_bytes(), false);
            prop_assert!(text.len() - partial.decided <= MAX_CARRY);
        }
    }
}

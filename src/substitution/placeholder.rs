//! The placeholder scanner: the only one there is.
//!
//! Held bodies, streams, headers, URLs and messages are all read by the same [`scan_partial`];
//! [`scan`] is the case in which no more bytes follow. It searches for the few byte pairs with which
//! a placeholder can begin in the encoding at hand and reads the grammar only there, so text without
//! them costs a vectorised search and no allocation.
//!
//! Inside of any encoding, escapes of JSON are read as well (`\\u003c` in a JSON string, `%5Cu003c` in a
//! form), because programs put JSON into strings and fields. The token says how many levels of them it
//! takes, and the caller, who knows where JSON is, drops one that is data.

use std::ops::Range;

use super::candidates::{
    Candidates, LEVELS, MAX_STARTER, backslash_before, backslashes_before, may_begin, may_nest,
};
use super::encoding::{EncodedChar, Encoding, MAX_ENCODED_CHAR, Notation, hex_value};
use super::slug::{self, Field, Reference, Slug};
use super::stand_in::StandInSearch;

/// A placeholder, or an escaped one, in some bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlaceholderToken {
    /// The bytes that it consists of.
    pub span: Range<usize>,
    /// Whether it is `<<!slug>>`, which is sent as the literal `<<slug>>`.
    pub escape: bool,
    /// What it names.
    pub reference: Reference,
    /// In how many JSON strings, inside of each other, it has to be for that reading.
    pub depth: u8,
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

/// What a stream holds back at most, in bytes.
pub const MAX_CARRY: usize = LONGEST + MAX_NESTED_CHAR + 3 * (WHOLE - 1) - 1;

/// The longest a placeholder can be on the wire, in bytes. A longer one, in which escapes of JSON are
/// themselves escaped character by character, is none.
const LONGEST: usize = MAX_ENCODED_CHAR * (slug::MAX_SLUG + slug::MAX_FIELD + 6);

/// The longest spelling of a character under [`LEVELS`] of JSON: `%5C%5C%75%30%30%33%63`, and more than
/// any other.
const MAX_NESTED_CHAR: usize = 24;

/// So many backslashes are whole characters at every level, the one of the encoding itself included.
const WHOLE: usize = 1 << (LEVELS + 1);

/// Whether `bytes` may contain a placeholder. `false` is certain, and cheap.
pub fn may_contain(encoding: Encoding, bytes: &[u8]) -> bool {
    may_begin(encoding, bytes)
}

/// Finds every placeholder, leftmost first, without overlap.
pub fn scan(encoding: Encoding, bytes: &[u8]) -> Vec<PlaceholderToken> {
    scan_with(encoding, bytes, None)
}

/// [`scan`], for stand-ins as well.
pub fn scan_with(
    encoding: Encoding,
    bytes: &[u8],
    stand_ins: Option<&StandInSearch>,
) -> Vec<PlaceholderToken> {
    scan_partial(encoding, bytes, true, stand_ins).tokens
}

/// Finds every placeholder that is complete. With `eof`, no more bytes follow.
///
/// The decided bytes never end inside an escape of the encoding, so the next call need not know
/// them.
pub fn scan_partial(
    encoding: Encoding,
    bytes: &[u8],
    eof: bool,
    stand_ins: Option<&StandInSearch>,
) -> Partial {
    let mut tokens = Vec::new();
    let decided = search(encoding, bytes, eof, |token| tokens.push(token));
    let mut partial = Partial { tokens, decided };
    if let Some(stand_ins) = stand_ins {
        add_stand_ins(encoding, bytes, eof, stand_ins, &mut partial);
    }
    partial
}

/// Adds the stand-ins in the same bytes. No placeholder overlaps with one.
fn add_stand_ins(
    encoding: Encoding,
    bytes: &[u8],
    eof: bool,
    stand_ins: &StandInSearch,
    partial: &mut Partial,
) {
    let found = stand_ins.find(bytes).into_iter();
    let tokens = found.map(|(span, reference)| PlaceholderToken {
        span,
        escape: false,
        reference,
        depth: 0,
    });
    partial.tokens.extend(tokens);
    partial.tokens.sort_by_key(|token| token.span.start);
    let mut end = 0;
    partial.tokens.retain(|token| {
        let is_next = token.span.start >= end;
        if is_next {
            end = token.span.end;
        }
        is_next
    });
    if !eof && let Some(at) = stand_ins.cut(bytes, end) {
        partial.decided = partial.decided.min(before_escape(encoding, bytes, at));
    }
    let decided = partial.decided;
    partial.tokens.retain(|token| token.span.end <= decided);
}

/// Where the escape begins that `at` is in the middle of; else `at`.
fn before_escape(encoding: Encoding, bytes: &[u8], at: usize) -> usize {
    let percent = (1..=2).find(|back| bytes[..at].iter().rev().nth(back - 1) == Some(&b'%'));
    match percent {
        Some(back) => at - back,
        None => whole_before(encoding, bytes, at),
    }
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
            CandidateReading::Cut => return whole_before(encoding, bytes, at),
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
        .map_or(bytes.len(), |at| whole_before(encoding, bytes, at))
}

/// Where the backslashes directly before `at` begin that are no whole characters: how what is at `at` is
/// read depends on them.
fn whole_before(encoding: Encoding, bytes: &[u8], at: usize) -> usize {
    let count = backslashes_before(encoding, &bytes[..at]) % WHOLE;
    (0..count).fold(at, |at, _| {
        backslash_before(encoding, &bytes[..at]).unwrap_or(at)
    })
}

enum CandidateReading {
    Found(PlaceholderToken),
    Nothing,
    Cut,
}

/// Why reading stopped short of a token.
enum ReadStop {
    Nothing,
    Cut,
}

fn read_at(encoding: Encoding, bytes: &[u8], at: usize, eof: bool) -> CandidateReading {
    let mut reader = GrammarReader {
        encoding,
        bytes,
        start: at,
        at,
        depth: 0,
    };
    match reader.placeholder() {
        Ok((escape, reference)) => CandidateReading::Found(PlaceholderToken {
            span: at..reader.at,
            escape,
            reference,
            depth: reader.depth,
        }),
        Err(ReadStop::Cut) if !eof => CandidateReading::Cut,
        Err(_) => CandidateReading::Nothing,
    }
}

/// Reads the grammar unit by unit.
struct GrammarReader<'a> {
    encoding: Encoding,
    bytes: &'a [u8],
    start: usize,
    at: usize,
    /// The deepest level of an escape inside of the encoding so far.
    depth: u8,
}

/// A character at some level of JSON inside of the encoding.
struct NestedChar {
    byte: u8,
    /// Where the next one begins.
    next: usize,
    /// The level of the escape that it is, 0 without one.
    depth: u8,
}

impl GrammarReader<'_> {
    fn placeholder(&mut self) -> Result<(bool, Reference), ReadStop> {
        self.expect(b'<')?;
        let depth = self.depth;
        if self.is_within_escape(depth) {
            return Err(ReadStop::Nothing);
        }
        self.expect(b'<')?;
        if self.depth > depth {
            // No program escapes the second one alone.
            return Err(ReadStop::Nothing);
        }
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

    /// Whether the backslashes directly before the first character, an escape of this depth, are no
    /// whole characters at its level: the last of them then takes its backslash with it.
    fn is_within_escape(&self, depth: u8) -> bool {
        let is_native = self.encoding.notation() == Some(Notation::Backslash);
        let is_escape = matches!(self.bytes[self.start], b'\\' | b'%');
        let is_backslash = is_escape && (depth > 0 || is_native);
        let levels = depth + u8::from(is_native);
        is_backslash && {
            let before = backslashes_before(self.encoding, &self.bytes[..self.start]);
            !before.is_multiple_of(1 << levels)
        }
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
        let levels = match may_nest(self.encoding) {
            true => LEVELS,
            false => 0,
        };
        let read = self.at_level(levels, self.at)?;
        if read.next > self.start + LONGEST {
            return Err(ReadStop::Nothing);
        }
        self.at = read.next;
        self.depth = self.depth.max(read.depth);
        Ok(read.byte)
    }

    /// The character at `at`, with the escapes of so many levels undone.
    fn at_level(&self, level: u8, at: usize) -> Result<NestedChar, ReadStop> {
        // What is no backslash is the same at every level, and nearly every character is none.
        let plain = self.encoded(at)?;
        let below = match level.checked_sub(1) {
            Some(below) if plain.byte == b'\\' => below,
            _ => return Ok(plain),
        };
        let first = self.at_level(below, at)?;
        if first.byte != b'\\' {
            return Ok(first);
        }
        let kind = self.at_level(below, first.next)?;
        let is = |byte, next| NestedChar {
            byte,
            next,
            depth: level,
        };
        match kind.byte {
            b'\\' | b'"' | b'/' => Ok(is(kind.byte, kind.next)),
            b'u' => {
                let mut next = kind.next;
                let mut value = 0;
                for _ in 0..4 {
                    let digit = self.at_level(below, next)?;
                    value = value << 4 | u16::from(hex_value(digit.byte).ok_or(ReadStop::Nothing)?);
                    next = digit.next;
                }
                let byte = u8::try_from(value).map_err(|_| ReadStop::Nothing)?;
                Ok(is(byte, next))
            }
            _ => Err(ReadStop::Nothing),
        }
    }

    /// The character at `at` in the encoding itself.
    fn encoded(&self, at: usize) -> Result<NestedChar, ReadStop> {
        match self.encoding.encoded_char(&self.bytes[at..]) {
            EncodedChar::Is(byte, len) => Ok(NestedChar {
                byte,
                next: at + len,
                depth: 0,
            }),
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
        let tokens = scan(encoding, text.as_bytes()).into_iter();
        tokens.filter(|token| token.depth == 0).map(show).collect()
    }

    /// At which depth of JSON inside of the encoding a placeholder is.
    fn depths(encoding: Encoding, text: &str) -> Vec<u8> {
        let tokens = scan(encoding, text.as_bytes()).into_iter();
        tokens.map(|token| token.depth).collect()
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
        // The backslash takes the first bracket with it. The place is known to be escaped by its reader.
        assert_eq!(names(Encoding::Json, r"\<<gh>>"), ["gh"]);
        assert_eq!(names(Encoding::Json, r"\<<<gh>>"), ["gh"]);
    }

    #[test]
    fn json_inside_of_an_encoding_is_read_with_its_depth() {
        for (encoding, text, depth) in [
            (Encoding::Json, r"\\u003c\\u003Cgh\\u003e>", 1),
            (Encoding::Json, r"\\u003c<gh>>", 1),
            (Encoding::Json, r"\\\\u003c\\\\u003cgh\\\\u003e\\\\u003e", 2),
            (Encoding::Json, r"\\\\\\u003c<gh>>", 1),
            (Encoding::Json, r"\\\\\\\\\\\\u003c<gh>>", 2),
            (Encoding::Message, r"\\u003c\\u003cgh\\u003e\\u003e", 1),
            (Encoding::Raw, r"\u003c\u003cgh\u003e\u003e", 1),
            (Encoding::Header, r"\u003c\u003cgh\u003e\u003e", 1),
            (Encoding::Cdata, r"\\\u003c<gh>>", 1),
            (Encoding::Raw, r"\\u003c\\u003cgh\\u003e\\u003e", 2),
            (Encoding::Raw, r"\\\u003c<gh>>", 1),
            (Encoding::Xml, r"\u003c&lt;gh\u003e&gt;", 1),
            (Encoding::Xml, r"&#92;u003c<gh>>", 1),
            (Encoding::FormUrl, "%5Cu003c%5Cu003Cgh%5cu003e%5Cu003e", 1),
            (Encoding::Percent, r"\u003c%5Cu003cgh%3E>", 1),
            (Encoding::FormUrl, "%5C%5C%5Cu003c%3Cgh>>", 1),
            (Encoding::FormUrl, "%5C%5Cu003c%5C%5Cu003cgh%3E>", 2),
            (Encoding::Json, r"\\<<gh>>", 0),
        ] {
            assert_eq!(depths(encoding, text), [depth], "{encoding:?} {text}");
            assert!(may_contain(encoding, text.as_bytes()));
        }
        assert!(depths(Encoding::BasicForm, "%5Cu003c%5Cu003cgh%3E>").is_empty());
        assert!(depths(Encoding::Json, r"<\\u003cgh>>").is_empty());
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
            "<",
            ">",
            "<<",
            ">>",
            "%3C",
            "%3c",
            "%3E",
            "%",
            "%3",
            "\\u003c",
            "\\u003C",
            "\\u003e",
            "\\",
            "\\u",
            "\\u0",
            "&lt;",
            "&gt;",
            "&#60;",
            "&#x3e;",
            "&#x",
            "&",
            "&l",
            "gh",
            "a-1",
            ".",
            "f",
            "!",
            "X",
            " ",
            "<<gh>>",
            "\\\\u003c",
            "%5C",
            "%5cu003c",
            "\\\\\\\\u003e",
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
                    let partial = scan_partial(encoding, window, end == text.len(), None);
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
            let partial = scan_partial(encoding, text.as_bytes(), false, None);
            prop_assert!(text.len() - partial.decided <= MAX_CARRY);
        }
    }
}

//! Path rules, and how a request path is read for comparison with one.
//!
//! A path rule protects only if Egret and the upstream read the path alike, and upstreams differ:
//! some decode before they resolve `..`, some decode twice, some merge slashes, some take `\` for `/`,
//! some cut `;parameters` off first (`/v1/..;/admin`). A path that they read differently is
//! [`Unclear::Ambiguous`]; Egret never guesses.

use std::fmt::{self, Write};
use std::str::FromStr;

use super::serde_text::serde_as_string;

/// A path that can be compared: split at `/`, dot segments removed, unreserved bytes decoded,
/// everything else percent-encoded in upper case (RFC 3986 sections 5.2.4 and 6.2.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ReadPath {
    segments: Vec<String>,
    /// The segments as a server sees them that decodes before it splits; only where that differs.
    split_after_decoding: Option<Vec<String>>,
}

/// Why a path cannot be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unclear {
    /// It does not start with `/`: `*`, or empty.
    NotAbsolute,
    /// Different servers read it differently.
    Ambiguous,
}

/// Layers of percent-encoding that are decoded. More have no legitimate use, and decoding them all
/// would take quadratic time in the length of `%252525…`.
const MAX_LAYERS: usize = 3;

impl ReadPath {
    /// Reads a path as it was sent, without query string.
    pub(super) fn read(path: &str) -> Result<Self, Unclear> {
        let rest = path.strip_prefix('/').ok_or(Unclear::NotAbsolute)?;
        if rest.contains(['\\', '?', '#']) {
            return Err(Unclear::Ambiguous);
        }
        let mut reading = SegmentReader::default();
        let mut raw_segments = rest.split('/').peekable();
        while let Some(raw) = raw_segments.next() {
            reading.push(raw, raw_segments.peek().is_none())?;
        }
        reading.finish()
    }

    /// The segments, of which there is always at least one: `/` is one empty segment.
    pub(super) fn segments(&self) -> &[String] {
        &self.segments
    }

    /// The segments when encoded slashes separate as well; `None` when there are none of those.
    pub(super) fn split_after_decoding(&self) -> Option<&[String]> {
        self.split_after_decoding.as_deref()
    }
}

#[derive(Default)]
struct SegmentReader {
    segments: Vec<String>,
    split_after_decoding: Vec<String>,
    climbs: bool,
    has_encoded_slash: bool,
    has_empty_inside: bool,
}

impl SegmentReader {
    fn push(&mut self, raw: &str, is_last: bool) -> Result<(), Unclear> {
        if raw == "." || raw == ".." {
            if raw == ".." {
                self.climbs = true;
                self.segments.pop();
                self.split_after_decoding.pop();
            }
            if is_last {
                self.segments.push(String::new());
                self.split_after_decoding.push(String::new());
            }
            return Ok(());
        }
        self.has_empty_inside |= raw.is_empty() && !is_last;
        let decoded = decode_layers(raw)?;
        let mut pieces = 0;
        for piece in decoded.split('/') {
            let name = piece.split(';').next().unwrap_or(piece).trim();
            if name == "." || name == ".." {
                return Err(Unclear::Ambiguous);
            }
            self.split_after_decoding.push(normalise(piece.as_bytes()));
            pieces += 1;
        }
        self.has_encoded_slash |= pieces > 1;
        self.segments.push(normalise_raw(raw));
        Ok(())
    }

    fn finish(self) -> Result<ReadPath, Unclear> {
        // How far `..` climbs depends on whether `//` and `%2F` count as steps.
        if self.climbs && (self.has_empty_inside || self.has_encoded_slash) {
            return Err(Unclear::Ambiguous);
        }
        Ok(ReadPath {
            segments: self.segments,
            split_after_decoding: self.has_encoded_slash.then_some(self.split_after_decoding),
        })
    }
}

/// Undoes the percent-encoding of a segment to the last layer.
fn decode_layers(raw: &str) -> Result<String, Unclear> {
    let Some(mut text) = decode_once(raw.as_bytes(), Malformed::Refused)? else {
        return Ok(raw.to_owned());
    };
    for _ in 1..MAX_LAYERS {
        match decode_once(text.as_bytes(), Malformed::Kept)? {
            Some(inner) => text = inner,
            None => return Ok(text),
        }
    }
    match decode_once(text.as_bytes(), Malformed::Kept)? {
        Some(_) => Err(Unclear::Ambiguous),
        None => Ok(text),
    }
}

/// What happens to a `%` that begins no escape. As sent it has no agreed meaning (`%u002e`); in a
/// decoded text it is a percent sign.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Malformed {
    Refused,
    Kept,
}

/// Undoes one layer; `None` when there is none.
fn decode_once(bytes: &[u8], malformed: Malformed) -> Result<Option<String>, Unclear> {
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut found = false;
    let mut at = 0;
    while at < bytes.len() {
        let byte = match escape_at(bytes, at) {
            Some(byte) => {
                found = true;
                at += 3;
                byte
            }
            None if bytes[at] == b'%' && malformed == Malformed::Refused => {
                return Err(Unclear::Ambiguous);
            }
            None => {
                at += 1;
                bytes[at - 1]
            }
        };
        // A NUL or line break ends the path early for some; `\` is a slash for others.
        if byte.is_ascii_control() || byte == b'\\' {
            return Err(Unclear::Ambiguous);
        }
        decoded.push(byte);
    }
    // Overlong UTF-8 (`%c0%ae`) is a dot to careless decoders.
    let text = String::from_utf8(decoded).map_err(|_| Unclear::Ambiguous)?;
    Ok(found.then_some(text))
}

/// The byte that `%XX` at this index means.
fn escape_at(bytes: &[u8], at: usize) -> Option<u8> {
    let [b'%', high, low] = *bytes.get(at..at + 3)? else {
        return None;
    };
    let digit = |byte: u8| {
        char::from(byte)
            .to_digit(16)
            .and_then(|d| u8::try_from(d).ok())
    };
    Some(digit(high)? << 4 | digit(low)?)
}

/// Percent-encodes everything but `pchar` (RFC 3986 section 3.3).
fn normalise(segment: &[u8]) -> String {
    let mut text = String::with_capacity(segment.len());
    for &byte in segment {
        push_normal(&mut text, byte, is_unreserved(byte) || is_sub_delim(byte));
    }
    text
}

/// The same for a segment whose escapes stay escapes, unless they mean unreserved bytes.
fn normalise_raw(segment: &str) -> String {
    let bytes = segment.as_bytes();
    let mut text = String::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        match escape_at(bytes, at) {
            Some(byte) => {
                push_normal(&mut text, byte, is_unreserved(byte));
                at += 3;
            }
            None => {
                let byte = bytes[at];
                push_normal(&mut text, byte, is_unreserved(byte) || is_sub_delim(byte));
                at += 1;
            }
        }
    }
    text
}

fn push_normal(text: &mut String, byte: u8, stands_for_itself: bool) {
    if stands_for_itself {
        text.push(char::from(byte));
    } else {
        // Writing to a `String` cannot fail.
        let _ = write!(text, "%{byte:02X}");
    }
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

fn is_sub_delim(byte: u8) -> bool {
    b"!$&'()*+,;=:@".contains(&byte)
}

/// The beginning of the paths that a grant allows, by whole segments: `/v1` covers `/v1` and
/// `/v1/x` but not `/v10`; `/v1/` covers only what is below it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PathPrefix {
    segments: Vec<String>,
    only_below: bool,
}

/// How a path compares with a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coverage {
    /// However it is read, the path is at or below the prefix.
    Covered,
    /// Only if `%2F` separates segments, which servers disagree on.
    Ambiguous,
    /// It is elsewhere.
    Outside,
}

impl PathPrefix {
    pub(super) fn coverage(&self, path: &ReadPath) -> Coverage {
        if self.covers(path.segments()) {
            // The prefix has no encoded slash, so the segments that it fixes have none either.
            Coverage::Covered
        } else if path
            .split_after_decoding()
            .is_some_and(|segments| self.covers(segments))
        {
            Coverage::Ambiguous
        } else {
            Coverage::Outside
        }
    }

    /// Whether every path that `other` covers is covered by this prefix.
    pub(super) fn includes(&self, other: &Self) -> bool {
        let deeper = other.segments.len() > self.segments.len() || other.only_below;
        other.segments.starts_with(&self.segments) && (!self.only_below || deeper)
    }

    fn covers(&self, segments: &[String]) -> bool {
        segments.starts_with(&self.segments)
            && (!self.only_below || segments.len() > self.segments.len())
    }
}

impl fmt::Display for PathPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for segment in &self.segments {
            write!(f, "/{segment}")?;
        }
        f.write_str(if self.only_below { "/" } else { "" })
    }
}

/// Why a text is not a path prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPathPrefix {
    /// No slash in front.
    #[error("a path starts with `/`")]
    NotAbsolute,
    /// Something that no comparison can be built on.
    #[error(
        "a path rule cannot hold `.` or `..` segments, `//`, `\\`, `%2F`, `?`, `#`, control characters or a `%` that is no escape"
    )]
    Ambiguous,
}

impl FromStr for PathPrefix {
    type Err = InvalidPathPrefix;

    fn from_str(text: &str) -> Result<Self, InvalidPathPrefix> {
        let path = ReadPath::read(text).map_err(|unclear| match unclear {
            Unclear::NotAbsolute => InvalidPathPrefix::NotAbsolute,
            Unclear::Ambiguous => InvalidPathPrefix::Ambiguous,
        })?;
        let has_dots = text
            .split('/')
            .any(|segment| segment == "." || segment == "..");
        if has_dots || path.split_after_decoding().is_some() {
            return Err(InvalidPathPrefix::Ambiguous);
        }
        let mut segments = path.segments().to_vec();
        let only_below = segments.pop_if(|last| last.is_empty()).is_some();
        if segments.iter().any(String::is_empty) {
            return Err(InvalidPathPrefix::Ambiguous);
        }
        Ok(Self {
            segments,
            only_below,
        })
    }
}

serde_as_string!(PathPrefix);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn segments(path: &str) -> String {
        ReadPath::read(path).unwrap().segments().join("|")
    }

    #[test]
    fn dot_segments_are_removed_as_rfc_3986_says() {
        let cases = [
            ("/", ""),
            ("/a/b", "a|b"),
            ("/a/b/", "a|b|"),
            ("/a/./b", "a|b"),
            ("/a/../b", "b"),
            ("/a/b/..", "a|"),
            ("/a/.", "a|"),
            ("/../../a", "a"),
            ("/a/b/c/./../../g", "a|g"),
            ("/a/...", "a|..."),
            ("/.well-known/x", ".well-known|x"),
        ];
        for (path, expected) in cases {
            assert_eq!(segments(path), expected, "{path}");
        }
    }

    #[test]
    fn unreserved_bytes_are_decoded_and_nothing_else() {
        assert_eq!(segments("/%61%2Db%2ec"), "a-b.c");
        assert_eq!(segments("/a%20b/%c3%A9/é"), "a%20b|%C3%A9|%C3%A9");
        assert_eq!(segments("/a%3Ab/a:b"), "a%3Ab|a:b");
        assert_eq!(segments("/<<a>>"), "%3C%3Ca%3E%3E");
        assert_eq!(segments("/100%25"), "100%25");
    }

    #[test]
    fn paths_that_servers_read_differently_are_ambiguous() {
        let paths = [
            "/a/%2e%2e/b",
            "/a/.%2E/b",
            "/a/%2e",
            "/a/%252e%252e/b",
            "/a/%25252e./b",
            "/a/%2525252525252561",
            "/a/..%2fb",
            "/a/x%2f..%2f..%2fb",
            "/a/x%252f..%252fb",
            "/a\\..\\b",
            "/a/..%5cb",
            "/a/%255c",
            "/a/..;/b",
            "/a/..;x=1/b",
            "/a/..%3b/b",
            "/a/..%20/b",
            "/a/..%00/b",
            "/a/%0d%0a",
            "/a/%c0%ae%c0%ae/b",
            "/a/%u002e%u002e/b",
            "/a/%",
            "/a/%2",
            "/a//../b",
            "/a%2fb/../c",
            "/a#/../b",
            "/a?b",
        ];
        for path in paths {
            assert_eq!(ReadPath::read(path), Err(Unclear::Ambiguous), "{path}");
        }
        for path in ["", "*", "a/b", "http://a.example/"] {
            assert_eq!(ReadPath::read(path), Err(Unclear::NotAbsolute), "{path}");
        }
    }

    #[test]
    fn deep_encoding_costs_linear_time() {
        let path = format!("/{}", "%25".repeat(20_000) + &"25".repeat(20_000));
        assert_eq!(ReadPath::read(&path), Err(Unclear::Ambiguous));
    }

    fn covers(prefix: &str, path: &str) -> Coverage {
        let prefix: PathPrefix = prefix.parse().unwrap();
        prefix.coverage(&ReadPath::read(path).unwrap())
    }

    #[test]
    fn path_prefixes_compare_whole_segments() {
        for path in [
            "/v1",
            "/v1/",
            "/v1/x",
            "/%761",
            "/a/../v1/x",
            "/v1/x%2Fy",
            "/v1//x",
        ] {
            assert_eq!(covers("/v1", path), Coverage::Covered, "{path}");
        }
        for path in [
            "/",
            "/v10",
            "/V1",
            "/x/v1",
            "/v1/../v2",
            "//v1",
            "/v1;x",
            "/v2%2Fv1",
        ] {
            assert_eq!(covers("/v1", path), Coverage::Outside, "{path}");
        }
        assert_eq!(covers("/", "/"), Coverage::Covered);
        assert_eq!(covers("/", "/anything"), Coverage::Covered);
        assert_eq!(covers("/v1/", "/v1"), Coverage::Outside);
        assert_eq!(covers("/v1/", "/v1/x"), Coverage::Covered);
    }

    #[test]
    fn an_encoded_slash_inside_the_matched_prefix_is_ambiguous() {
        assert_eq!(covers("/v1", "/v1%2Fadmin"), Coverage::Ambiguous);
        assert_eq!(covers("/v1/repos", "/v1%2frepos/x"), Coverage::Ambiguous);
        assert_eq!(covers("/v1/repos", "/v1%252frepos/x"), Coverage::Ambiguous);
        assert_eq!(
            covers("/v1/repos", "/v1/repos/group%2Fproject"),
            Coverage::Covered
        );
    }

    #[test]
    fn placeholders_in_path_rules_match_in_every_spelling() {
        for path in ["/bot<<tg>>/sendMessage", "/bot%3c%3Ctg%3E>/sendMessage"] {
            assert_eq!(
                covers("/bot<<tg>>/sendMessage", path),
                Coverage::Covered,
                "{path}"
            );
        }
    }

    #[test]
    fn malformed_path_prefixes_are_refused() {
        for text in ["", "v1", "*", "https://a.example/v1"] {
            assert_eq!(
                text.parse::<PathPrefix>(),
                Err(InvalidPathPrefix::NotAbsolute),
                "{text}"
            );
        }
        for text in [
            "/a/../b", "/a/.", "//", "/a//b", "/a\\b", "/a%2Fb", "/a?b", "/a#b", "/%zz", "/%2e",
        ] {
            assert_eq!(
                text.parse::<PathPrefix>(),
                Err(InvalidPathPrefix::Ambiguous),
                "{text}"
            );
        }
    }

    /// A server that decodes as often as it can, takes `\` for `/`, cuts `;parameters`, merges
    /// slashes, and only then resolves dot segments.
    fn lax_server(path: &str) -> Vec<String> {
        let mut text = path.to_owned();
        loop {
            let mut decoded = Vec::new();
            let bytes = text.as_bytes();
            let mut at = 0;
            while at < bytes.len() {
                match escape_at(bytes, at) {
                    Some(byte) => {
                        decoded.push(byte);
                        at += 3;
                    }
                    None => {
                        decoded.push(bytes[at]);
                        at += 1;
                    }
                }
            }
            let decoded = String::from_utf8_lossy(&decoded).into_owned();
            if decoded == text {
                break;
            }
            text = decoded;
        }
        let mut segments = Vec::new();
        for segment in text.split(['/', '\\']) {
            match segment.split(';').next().unwrap_or_default().trim() {
                "" | "." => {}
                ".." => drop(segments.pop()),
                name => segments.push(name.to_owned()),
            }
        }
        segments
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        /// The attack that a path rule exists for: what we take for `/v1/…` must not be something
        /// else upstream.
        #[test]
        fn what_reads_as_below_a_prefix_is_there_for_a_lax_server_too(
            path in "/v1(/|%2[fF]|%252f|\\.|%2e|%252E|\\\\|%5c|;|a|%61|%25|%20|//){0,8}",
        ) {
            if let Ok(read) = ReadPath::read(&path)
                && read.segments()[0] == "v1"
            {
                let lax = lax_server(&path);
                prop_assert_eq!(lax.first().map(String::as_str), Some("v1"), "{}", path);
            }
        }

        #[test]
        fn path_prefixes_survive_writing_and_cover_themselves(text in "/[ -~é]{0,12}") {
            if let Ok(prefix) = text.parse::<PathPrefix>() {
                prop_assert_eq!(&prefix.to_string().parse::<PathPrefix>().unwrap(), &prefix);
                let path = ReadPath::read(&text).unwrap();
                prop_assert_eq!(prefix.coverage(&path), Coverage::Covered);
            }
        }

        #[test]
        fn reading_never_panics_and_its_result_reads_the_same(path in "/[%./\\\\;a-f0-9é <>]{0,16}") {
            if let Ok(read) = ReadPath::read(&path) {
                let written = format!("/{}", read.segments().join("/"));
                prop_assert_eq!(ReadPath::read(&written), Ok(read));
            }
        }
    }
}

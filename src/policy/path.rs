//! How a request path is read for comparison with a path rule.
//!
//! A path rule is only worth something if Egret and the upstream read the path alike, and
//! upstreams differ: some decode before they resolve `..`, some decode twice, some merge slashes,
//! some take `\` for `/`, some cut `;parameters` off first (`/v1/..;/admin`). A path on which such
//! readers disagree is [`Unclear::Ambiguous`]; it is never guessed at.

use std::fmt::Write;

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

/// Layers of percent-encoding that are looked through. More have no honest use, and undoing them
/// all would take quadratic time in the length of `%252525…`.
const MAX_LAYERS: usize = 3;

impl ReadPath {
    /// Reads a path as it was sent, without query string.
    pub(super) fn read(path: &str) -> Result<Self, Unclear> {
        let rest = path.strip_prefix('/').ok_or(Unclear::NotAbsolute)?;
        if rest.contains(['\\', '?', '#']) {
            return Err(Unclear::Ambiguous);
        }
        let mut reading = Reading::default();
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
struct Reading {
    segments: Vec<String>,
    split_after_decoding: Vec<String>,
    climbs: bool,
    has_encoded_slash: bool,
    has_empty_inside: bool,
}

impl Reading {
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

/// What becomes of a `%` that starts no escape. As sent it has no agreed meaning (`%u002e`);
/// inside a decoded text it is just a percent sign.
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

/// The byte that `%XX` at this index stands for.
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

/// The same for a segment whose escapes stay escapes, unless they stand for unreserved bytes.
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
        fn reading_never_panics_and_its_result_reads_the_same(path in "/[%./\\\\;a-f0-9é <>]{0,16}") {
            if let Ok(read) = ReadPath::read(&path) {
                let written = format!("/{}", read.segments().join("/"));
                prop_assert_eq!(ReadPath::read(&written), Ok(read));
            }
        }
    }
}

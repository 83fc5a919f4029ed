//! What a trustworthy HTTP/1 request head looks like (RFC 9112), and the one rewrite it may need.

use bytes::{BufMut as _, BytesMut};
use memchr::{memchr, memchr2};

use crate::error::{Code, Refusal};
use crate::policy::location::{LONGEST_TARGET, is_token_byte};

/// How the end of the message that a head begins is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// After so many bytes of body, 0 for none.
    Length(u64),
    /// At the last chunk.
    Chunked,
    /// Never: this is a CONNECT, and what follows is not HTTP.
    Tunnel,
}

/// What a head that can be trusted says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checked {
    /// Where its message ends.
    pub framing: Framing,
    /// How many header lines there are.
    pub lines: usize,
    /// A name in it is not written in small letters only.
    pub has_capitals: bool,
    /// It is HTTP/1.1.
    pub is_http11: bool,
}

/// Checks a whole head, terminator included.
///
/// Everything refused here is a message that two parsers could read differently.
pub fn check(head: &[u8], max_headers: usize) -> Result<Checked, Refusal> {
    let mut lines = Lines(head);
    let request_line = lines.next().ok_or_else(bare_line_feed)??;
    let (method, version) = check_request_line(request_line)?;
    let mut fields = Fields::default();
    for line in lines {
        let line = line?;
        if line.is_empty() {
            break;
        }
        fields.add(line, max_headers)?;
    }
    Ok(Checked {
        framing: fields.framing(method, version)?,
        lines: fields.count,
        has_capitals: fields.has_capitals,
        is_http11: version == Version::Http11,
    })
}

/// A head of which only the beginning has come: why waiting for the rest is pointless, if it is.
/// Bytes before `from` were looked at before.
pub fn hopeless(start: &[u8], from: usize) -> Option<Refusal> {
    let first = *start.first()?;
    if !is_token_byte(first) && first != b'\r' {
        return Some(malformed("the bytes on this connection are not HTTP"));
    }
    let bare = memchr::memchr_iter(b'\n', &start[from..])
        .any(|at| from + at == 0 || start[from + at - 1] != b'\r');
    bare.then(bare_line_feed)
}

/// Percent-encodes what RFC 3986 does not allow in a request target but clients send all the same,
/// first of all the `<` and `>` of a placeholder. Everything else stays as it came.
pub fn normalise_request_line(head: BytesMut) -> BytesMut {
    let end = memchr(b'\r', &head).unwrap_or(head.len());
    let needs = |b: &u8| matches!(b, b'<' | b'>' | b'"' | b'`') || !b.is_ascii();
    // To the end in any case: a loop that may stop is not done sixteen bytes at a time.
    if !head[..end].iter().fold(false, |any, b| any | needs(b)) {
        return head;
    }
    let mut out = BytesMut::with_capacity(head.len() + 32);
    for byte in &head[..end] {
        if needs(byte) {
            const HEX: &[u8; 16] = b"0123456789ABCDEF";
            out.put_u8(b'%');
            out.put_u8(HEX[usize::from(byte >> 4)]);
            out.put_u8(HEX[usize::from(byte & 15)]);
        } else {
            out.put_u8(*byte);
        }
    }
    out.extend_from_slice(&head[end..]);
    out
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Version {
    Http10,
    Http11,
}

/// `method SP request-target SP HTTP-version`, with nothing else between (RFC 9112 section 3).
fn check_request_line(line: &[u8]) -> Result<(&[u8], Version), Refusal> {
    let mut parts = line.split(|b| *b == b' ');
    let (Some(method), Some(target), Some(version), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(malformed(
            "the request line is not `METHOD target HTTP/1.1` with single spaces between",
        ));
    };
    if method.is_empty() || kinds(method) & OTHER != 0 {
        return Err(malformed(
            "the method is not a token (RFC 9110 section 9.1)",
        ));
    }
    let version = match version {
        b"HTTP/1.1" => Version::Http11,
        b"HTTP/1.0" => Version::Http10,
        _ => return Err(malformed("only HTTP/1.1 and HTTP/1.0 are spoken here")),
    };
    check_target(method, target)?;
    Ok((method, version))
}

fn check_target(method: &[u8], target: &[u8]) -> Result<(), Refusal> {
    if target.len() > LONGEST_TARGET {
        return Err(Refusal::new(
            Code::TargetTooLong,
            format!("the request target is longer than {LONGEST_TARGET} bytes"),
        ));
    }
    if target.is_empty() || has_control(target, NO_EXCEPTION) {
        return Err(malformed("the request target holds a control character"));
    }
    if memchr(b'#', target).is_some() {
        return Err(malformed(
            "the request target holds a fragment; a `#` that is data is sent as %23",
        ));
    }
    // Here a placeholder would become part of a host name and leave by DNS.
    if method == b"CONNECT" && target.iter().any(|b| matches!(b, b'<' | b'>' | b'%')) {
        return Err(malformed(
            "a CONNECT target is host:port; a placeholder is never put into it",
        ));
    }
    // What a path may hold was looked at. A host can be wrong in more ways, and the library answers what
    // it cannot read with a bare status.
    let is_path = target.first() == Some(&b'/');
    if !is_path && !is_uri(target) {
        return Err(malformed(
            "the request target is no path, no address and no host:port (RFC 9112 section 3.2)",
        ));
    }
    Ok(())
}

/// Whether the library reads a target, as it is passed on.
fn is_uri(target: &[u8]) -> bool {
    let passed_on = normalise_request_line(BytesMut::from(target));
    http::Uri::try_from(&passed_on[..]).is_ok()
}

/// A byte that is no part of a token (RFC 9110 section 5.6.2).
const OTHER: u8 = 1;
/// A capital letter.
const CAPITAL: u8 = 2;

/// What each byte is.
const KINDS: [u8; 256] = {
    let mut kinds = [0; 256];
    let mut byte = 0;
    while byte < kinds.len() {
        if !is_token_byte(byte as u8) {
            kinds[byte] = OTHER;
        } else if (byte as u8).is_ascii_uppercase() {
            kinds[byte] = CAPITAL;
        }
        byte += 1;
    }
    kinds
};

/// The kinds of bytes that occur in `name`.
fn kinds(name: &[u8]) -> u8 {
    let kinds = name.iter().map(|byte| KINDS[usize::from(*byte)]);
    kinds.fold(0, |seen, kind| seen | kind)
}

/// No control character is allowed: this is none.
const NO_EXCEPTION: u8 = b' ';

/// Whether `text` holds a control character other than `allowed`. It is read to its end in any case: a loop
/// that may stop is not done sixteen bytes at a time.
fn has_control(text: &[u8], allowed: u8) -> bool {
    let is_control = |byte: u8| byte < b' ' && byte != allowed || byte == 0x7f;
    text.iter().fold(false, |any, byte| any | is_control(*byte))
}

/// The header lines that decide about framing.
#[derive(Default)]
struct Fields {
    count: usize,
    hosts: usize,
    authorizations: usize,
    length: Option<u64>,
    chunked: bool,
    has_capitals: bool,
}

impl Fields {
    fn add(&mut self, line: &[u8], max: usize) -> Result<(), Refusal> {
        self.count += 1;
        if self.count > max {
            return Err(Refusal::new(
                Code::HeadersTooLarge,
                format!("the request has more than {max} header lines"),
            ));
        }
        let colon = memchr(b':', line).ok_or_else(|| malformed("a header line has no colon"))?;
        let (name, value) = (&line[..colon], trim(&line[colon + 1..]));
        // Also catches folded lines (they begin with white space) and `Name :`.
        let seen = kinds(name);
        if name.is_empty() || seen & OTHER != 0 {
            return Err(malformed(
                "a header name is not a token; folded lines and space before the colon are refused",
            ));
        }
        self.has_capitals |= seen & CAPITAL != 0;
        if has_control(value, b'\t') {
            return Err(malformed("a header value holds a control character"));
        }
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => self.add_host(),
            14 if name.eq_ignore_ascii_case(b"content-length") => self.add_length(value),
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => self.add_coding(value),
            19 if name.eq_ignore_ascii_case(b"proxy-authorization") => self.add_authorization(),
            _ => Ok(()),
        }
    }

    fn add_host(&mut self) -> Result<(), Refusal> {
        self.hosts += 1;
        if self.hosts > 1 {
            return Err(malformed("the request has more than one Host"));
        }
        Ok(())
    }

    /// RFC 9110 section 11.7.2 knows one. With two, what reads the first and what reads the last would
    /// take the request for different clients'.
    fn add_authorization(&mut self) -> Result<(), Refusal> {
        self.authorizations += 1;
        if self.authorizations > 1 {
            return Err(malformed(
                "the request has more than one Proxy-Authorization",
            ));
        }
        Ok(())
    }

    fn add_length(&mut self, value: &[u8]) -> Result<(), Refusal> {
        let digits = std::str::from_utf8(value)
            .ok()
            .filter(|text| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()));
        let length = digits
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| malformed("Content-Length is not one number"))?;
        if self.length.replace(length).is_some() {
            return Err(malformed("the request has more than one Content-Length"));
        }
        Ok(())
    }

    fn add_coding(&mut self, value: &[u8]) -> Result<(), Refusal> {
        if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
            return Err(malformed(
                "the only Transfer-Encoding understood is a single `chunked`",
            ));
        }
        self.chunked = true;
        Ok(())
    }

    fn framing(&self, method: &[u8], version: Version) -> Result<Framing, Refusal> {
        if self.chunked && self.length.is_some() {
            return Err(malformed(
                "the request has both Content-Length and Transfer-Encoding",
            ));
        }
        if self.chunked && version == Version::Http10 {
            return Err(malformed("HTTP/1.0 has no Transfer-Encoding"));
        }
        if method == b"CONNECT" {
            return self.tunnel();
        }
        // RFC 9112 section 3.2. CONNECT is exempt: Python's http.client sends none.
        if self.hosts == 0 && version == Version::Http11 {
            return Err(malformed("an HTTP/1.1 request needs a Host"));
        }
        Ok(match self.length {
            _ if self.chunked => Framing::Chunked,
            Some(length) => Framing::Length(length),
            None => Framing::Length(0),
        })
    }

    /// A body on CONNECT has no meaning (RFC 9110 section 9.3.6); its bytes would be taken for the
    /// tunnel's first.
    fn tunnel(&self) -> Result<Framing, Refusal> {
        if self.chunked || self.length.is_some_and(|length| length > 0) {
            return Err(malformed("a CONNECT request has no body"));
        }
        Ok(Framing::Tunnel)
    }
}

/// The CRLF-terminated lines of a head; a bare CR or LF is an error.
struct Lines<'a>(&'a [u8]);

impl<'a> Iterator for Lines<'a> {
    type Item = Result<&'a [u8], Refusal>;

    fn next(&mut self) -> Option<Self::Item> {
        let at = memchr2(b'\r', b'\n', self.0)?;
        if self.0[at] == b'\n' || self.0.get(at + 1) != Some(&b'\n') {
            self.0 = &[];
            return Some(Err(bare_line_feed()));
        }
        let line = &self.0[..at];
        self.0 = &self.0[at + 2..];
        Some(Ok(line))
    }
}

fn trim(value: &[u8]) -> &[u8] {
    let is_space = |b: &u8| matches!(b, b' ' | b'\t');
    let start = value.iter().position(|b| !is_space(b));
    let end = value.iter().rposition(|b| !is_space(b));
    match (start, end) {
        (Some(start), Some(end)) => &value[start..=end],
        _ => &[],
    }
}

fn malformed(detail: &'static str) -> Refusal {
    Refusal::new(Code::RequestMalformed, detail)
}

fn bare_line_feed() -> Refusal {
    malformed("lines end with CR LF; a CR or LF alone is refused")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(head: &str) -> Result<Framing, Code> {
        let checked = check(head.as_bytes(), 100).map_err(|refusal| refusal.code);
        checked.map(|checked| checked.framing)
    }

    fn with_fields(fields: &str) -> Result<Framing, Code> {
        outcome(&format!("POST /x HTTP/1.1\r\nHost: a\r\n{fields}\r\n"))
    }

    #[test]
    fn framing_is_read_from_the_head() {
        assert_eq!(with_fields(""), Ok(Framing::Length(0)));
        assert_eq!(with_fields("Content-Length: 7\r\n"), Ok(Framing::Length(7)));
        assert_eq!(
            with_fields("transfer-encoding: CHUNKED\r\n"),
            Ok(Framing::Chunked)
        );
        assert_eq!(
            outcome("CONNECT a:443 HTTP/1.0\r\n\r\n"),
            Ok(Framing::Tunnel)
        );
    }

    #[test]
    fn capitals_are_seen_in_names_and_nowhere_else() {
        let has_capitals = |fields: &str| {
            let head = format!("POST /X HTTP/1.1\r\n{fields}\r\n");
            check(head.as_bytes(), 100).unwrap().has_capitals
        };
        assert!(!has_capitals("host: A\r\nx-b: C: D\r\n"));
        assert!(has_capitals("Host: a\r\nx-b: c\r\n"));
        assert!(has_capitals("host: a\r\nx-B: c\r\n"));
    }

    #[test]
    fn heads_that_can_be_read_in_two_ways_are_refused() {
        for fields in [
            "Content-Length: 1\r\nContent-Length: 1\r\n",
            "Content-Length: 1,1\r\n",
            "Content-Length: +1\r\n",
            "Content-Length:\r\n",
            "Content-Length: 99999999999999999999\r\n",
            "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
            "Transfer-Encoding: gzip, chunked\r\n",
            "Transfer-Encoding: \u{b}chunked\r\n",
            "Host: b\r\n",
            "Proxy-Authorization: Basic YTpi\r\nproxy-authorization: Basic YTpi\r\n",
            " folded: x\r\n",
            "Name : x\r\n",
            "Garbage\r\n",
            ": x\r\n",
            "X: a\nY: b\r\n",
            "X: a\rb\r\n",
            "X: a\0b\r\n",
        ] {
            assert_eq!(
                with_fields(fields),
                Err(Code::RequestMalformed),
                "{fields:?}"
            );
        }
    }

    #[test]
    fn request_lines_have_one_form() {
        for line in [
            "GET /x y HTTP/1.1",
            "GET  /x HTTP/1.1",
            "GET /x",
            "GET /x HTTP/2.0",
            "GET /x\u{1} HTTP/1.1",
            "GET /x#y HTTP/1.1",
            "G<T /x HTTP/1.1",
            "GET ? HTTP/1.1",
            "GET :// HTTP/1.1",
            "GET http:// HTTP/1.1",
            "GET http://[::1 HTTP/1.1",
            "GET http://a:b:c/ HTTP/1.1",
            "CONNECT [::1:443 HTTP/1.1",
            "CONNECT <<gh>>.evil.test:443 HTTP/1.1",
            "CONNECT %3C%3Cgh%3E%3E.evil.test:443 HTTP/1.1",
        ] {
            let head = format!("{line}\r\nHost: a\r\n\r\n");
            assert_eq!(outcome(&head), Err(Code::RequestMalformed), "{line}");
        }
        assert_eq!(
            outcome("GET / HTTP/1.1\r\n\r\n"),
            Err(Code::RequestMalformed),
            "HTTP/1.1 without Host"
        );
        assert_eq!(outcome("GET / HTTP/1.0\r\n\r\n"), Ok(Framing::Length(0)));
        for line in [
            "GET http://a.test/<<gh>>\u{e9} HTTP/1.1",
            "OPTIONS * HTTP/1.1",
        ] {
            let head = format!("{line}\r\nHost: a.test\r\n\r\n");
            assert_eq!(outcome(&head), Ok(Framing::Length(0)), "{line}");
        }
    }

    #[test]
    fn too_many_lines_are_their_own_error() {
        let fields = "X: y\r\n".repeat(100);
        assert_eq!(with_fields(&fields), Err(Code::HeadersTooLarge));
    }

    #[test]
    fn only_what_a_target_may_not_hold_is_encoded() {
        let head = "GET /a%3cb?k=<<gh>>&q=\"x\" HTTP/1.1\r\nHost: a\r\nX: <<gh>>\r\n\r\n";
        assert_eq!(
            &normalise_request_line(head.into())[..],
            b"GET /a%3cb?k=%3C%3Cgh%3E%3E&q=%22x%22 HTTP/1.1\r\nHost: a\r\nX: <<gh>>\r\n\r\n"
        );
        let plain = "GET /a|b^c{d}?e[f] HTTP/1.1\r\n\r\n";
        assert_eq!(&normalise_request_line(plain.into())[..], plain.as_bytes());
    }

    #[test]
    fn beginnings_without_a_future_are_recognised() {
        for start in [
            &b"\x16\x03\x01"[..],
            b"GET / HTTP/1.1\nHost",
            b"\0",
            b" GET",
        ] {
            assert!(hopeless(start, 0).is_some(), "{start:?}");
        }
        for start in [&b""[..], b"G", b"\r", b"GET / HTTP/1.1\r\nHost: x"] {
            assert!(hopeless(start, 0).is_none(), "{start:?}");
        }
    }
}

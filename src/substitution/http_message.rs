//! An HTTP message as a body, or as a part of one (`application/http`, `message/http`; RFC 9112 section
//! 10). Batch requests are made of them.

use super::body_kind::BodyKind;
use super::encoding::Encoding;
use super::part_head::PartHead;

/// The longest head that is kept, in bytes.
const MAX_HEAD: usize = 16 << 10;

/// The longest end of a head: the end of a line, and a blank one.
const END: usize = b"\n\r\n".len();

/// Reads the head of a message from left to right.
#[derive(Debug, Default)]
pub(super) struct HttpHead {
    /// What was read of it.
    head: Vec<u8>,
    /// Its first line has ended.
    is_after_target: bool,
}

/// What the head says of the body.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct HttpBody {
    /// How it is to be read.
    pub(super) kind: BodyKind,
    /// Its length or a digest of it is said.
    pub(super) is_measured: bool,
}

impl HttpHead {
    /// The encoding in which the next byte is read: the first line holds the target.
    pub(super) fn encoding(&self) -> Encoding {
        if self.is_after_target {
            Encoding::Header
        } else {
            Encoding::Percent
        }
    }

    /// How many of these bytes belong to the same line, and whether it ends with them. Each line is a
    /// text of its own.
    pub(super) fn to_change(bytes: &[u8]) -> (usize, bool) {
        match memchr::memchr(b'\n', bytes) {
            Some(at) => (at + 1, true),
            None => (bytes.len(), false),
        }
    }

    /// Reads on in a line. What follows is the body if there is one.
    pub(super) fn advance(&mut self, bytes: &[u8]) -> Option<HttpBody> {
        self.head.extend_from_slice(bytes);
        if self.head.len() > MAX_HEAD {
            // Only the end is needed, to know where it ends. It counts as measured.
            let surplus = MAX_HEAD - END..self.head.len() - END;
            self.head.drain(surplus);
        }
        self.is_after_target |= bytes.ends_with(b"\n");
        if self.is_after_target && self.head.trim_ascii().is_empty() {
            // RFC 9112 section 2.2: blank lines may come before the first.
            *self = Self::default();
        }
        let is_over = self.head.ends_with(b"\n\r\n") || self.head.ends_with(b"\n\n");
        is_over.then(|| self.body())
    }

    fn body(&self) -> HttpBody {
        let head = PartHead::read(&self.head);
        HttpBody {
            kind: match head.kind {
                // The head of a message in a message in a message would never end.
                BodyKind::Http => BodyKind::Text,
                kind => kind,
            },
            is_measured: self.head.len() >= MAX_HEAD || head.says_length || head.is_digested,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, size: usize) -> (HttpHead, Option<HttpBody>) {
        let mut head = HttpHead::default();
        let mut body = None;
        for line in text.as_bytes().split_inclusive(|&byte| byte == b'\n') {
            for piece in line.chunks(size) {
                assert!(body.is_none(), "{text}");
                body = head.advance(piece);
            }
        }
        (head, body)
    }

    #[test]
    fn the_body_begins_after_the_first_blank_line() {
        for size in [1, 2, 3, 1000] {
            for (head, kind, is_measured) in [
                (
                    "POST /x HTTP/1.1\r\nContent-Type: text/plain\r\n",
                    BodyKind::Text,
                    false,
                ),
                ("GET / HTTP/1.1\n", BodyKind::Text, false),
                (
                    "POST /x HTTP/1.1\r\nContent-Length: 3\r\n",
                    BodyKind::Text,
                    true,
                ),
                (
                    "POST /x HTTP/1.1\r\nContent-Digest: sha-256=::\r\n",
                    BodyKind::Text,
                    true,
                ),
                (
                    "POST /x HTTP/1.1\r\ncontent-type: application/json\r\n",
                    BodyKind::Json,
                    false,
                ),
                (
                    "\r\nPOST /x HTTP/1.1\nContent-Type: message/http\n",
                    BodyKind::Text,
                    false,
                ),
            ] {
                assert_eq!(read(head, size).0.encoding(), Encoding::Header, "{head}");
                let (_, body) = read(&format!("{head}\r\n"), size);
                assert_eq!(body, Some(HttpBody { kind, is_measured }), "{head} {size}");
            }
        }
        assert_eq!(read("GET /x HTTP/1.1", 1).0.encoding(), Encoding::Percent);
        let endless = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(9000));
        for size in [1, 2, 777] {
            let (_, body) = read(&endless, size);
            assert!(body.is_some_and(|body| body.is_measured));
        }
    }
}

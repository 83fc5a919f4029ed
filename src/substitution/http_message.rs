//! An HTTP message as a body, or as a part of one (`application/http`, `message/http`; RFC 9112 section
//! 10). Batch requests are made of them.

use super::encoding::Encoding;
use super::media_type::header_lines;

/// The longest head that is kept, in bytes.
const MAX_HEAD: usize = 16 << 10;

/// Reads a message from left to right.
#[derive(Debug, Default)]
pub(super) struct HttpMessage {
    state: State,
}

#[derive(Debug)]
enum State {
    /// What was read of the head.
    Head(Vec<u8>),
    /// Whether the head says how long the body is.
    Body { is_measured: bool },
}

impl Default for State {
    fn default() -> Self {
        Self::Head(Vec::new())
    }
}

impl HttpMessage {
    /// The encoding in which the next byte is read.
    pub(super) fn encoding(&self) -> Encoding {
        match self.state {
            State::Head(_) => Encoding::Header,
            State::Body { .. } => Encoding::Raw,
        }
    }

    /// Whether the head says how long the part is in which the next byte is.
    pub(super) fn is_measured(&self) -> bool {
        matches!(self.state, State::Body { is_measured: true })
    }

    /// How many of these bytes are read in one way, and whether the way changes after them.
    pub(super) fn to_change(&self, bytes: &[u8]) -> (usize, bool) {
        let State::Head(head) = &self.state else {
            return (bytes.len(), false);
        };
        let mut last = head.last().copied();
        let mut is_blank = matches!(head[..], [.., b'\n', b'\r'] | [.., b'\n'] | []);
        for (at, &byte) in bytes.iter().enumerate() {
            match byte {
                b'\n' if is_blank && last.is_some() => return (at + 1, true),
                b'\n' => is_blank = true,
                b'\r' if is_blank => {}
                _ => is_blank = false,
            }
            last = Some(byte);
        }
        (bytes.len(), false)
    }

    /// Reads on.
    pub(super) fn advance(&mut self, bytes: &[u8]) {
        let (read, changes) = self.to_change(bytes);
        let State::Head(head) = &mut self.state else {
            return;
        };
        let room = MAX_HEAD.saturating_sub(head.len());
        // Of a longer one only the end is needed, to know where it ends; it counts as measured.
        let is_cut = read > room;
        if is_cut {
            let end = bytes[..read].len().min(2);
            head.truncate(MAX_HEAD.saturating_sub(end));
            head.extend_from_slice(&bytes[read - end..read]);
        } else {
            head.extend_from_slice(&bytes[..read]);
        }
        if changes {
            let is_measured = head.len() >= MAX_HEAD || says_length(head);
            self.state = State::Body { is_measured };
        }
    }
}

fn says_length(head: &[u8]) -> bool {
    header_lines(head).iter().any(|line| {
        let end = memchr::memchr(b':', line).unwrap_or(0);
        let name = line[..end].trim_ascii();
        [
            &b"content-length"[..],
            b"transfer-encoding",
            b"content-md5",
            b"digest",
        ]
        .iter()
        .any(|known| name.eq_ignore_ascii_case(known))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, size: usize) -> HttpMessage {
        let mut message = HttpMessage::default();
        for piece in text.as_bytes().chunks(size) {
            message.advance(piece);
        }
        message
    }

    #[test]
    fn the_body_begins_after_the_first_blank_line() {
        for size in [1, 2, 3, 1000] {
            for head in [
                "POST /x HTTP/1.1\r\nContent-Type: text/plain\r\n",
                "GET / HTTP/1.1\n",
                "POST /x HTTP/1.1\r\nContent-Length: 3\r\n",
            ] {
                assert_eq!(read(head, size).encoding(), Encoding::Header, "{head}");
                let message = read(&format!("{head}\r\n"), size);
                assert_eq!(message.encoding(), Encoding::Raw, "{head} {size}");
                assert_eq!(message.is_measured(), head.contains("Length"));
            }
        }
        let endless = format!("GET / HTTP/1.1\r\n{}\r\n\r\n", "a: b\r\n".repeat(9000));
        assert!(read(&endless, 777).is_measured());
    }
}

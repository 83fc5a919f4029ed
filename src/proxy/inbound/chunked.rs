//! Where a chunked body ends (RFC 9112 section 7.1), read from the bytes that hyper will decode.
//!
//! hyper decodes the body; this reader only has to find the byte after it, where the next request
//! head begins. It accepts a subset of what hyper accepts, so that the two cannot disagree about a
//! message that both of them accept: a chunk size has at most 16 digits, every line ends with CR LF,
//! extensions hold no control character (RFC 9112 section 7.1.1), and trailer fields follow the rules
//! of header fields (no folded line, no white space before the colon).

use crate::policy::location::is_token_byte;

/// The most hexadecimal digits of a chunk size: it fits 64 bits.
const SIZE_DIGITS: u8 = 16;

/// The most bytes that all chunk extensions of a body may have, and its trailer section. hyper
/// gives up at 16 KiB of each.
const EXTENSION_BYTES: usize = 16_000;
const TRAILER_BYTES: usize = 16_000;

/// A chunked body that is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunked {
    at: At,
    /// The size of the current chunk, and then what remains of its data.
    left: u64,
    extensions: usize,
    trailers: Trailers,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Trailers {
    lines: usize,
    bytes: usize,
}

/// What the next byte is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// Part of a chunk size that has so many digits so far.
    Size(u8),
    /// White space after a size, or what follows it.
    SizeSpace,
    Extension,
    /// The LF of a size line.
    SizeEnd,
    Data,
    /// The CR LF after the data.
    DataCr,
    DataLf,
    /// The first byte of a trailer line, or of the empty line that ends the body.
    Trailer,
    TrailerName,
    TrailerValue,
    TrailerLf,
    /// The LF of the empty line.
    LastLf,
    End,
}

/// What some bytes held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// So many of the bytes belong to the body.
    pub taken: usize,
    /// The body has ended; what follows is the next message.
    pub has_ended: bool,
}

/// The framing is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// So many bytes before the wrong one were right.
    pub taken: usize,
    /// What is wrong, for the client.
    pub reason: &'static str,
}

impl Chunked {
    /// A body of which nothing has come yet.
    pub fn begin() -> Self {
        Self {
            at: At::Size(0),
            left: 0,
            extensions: 0,
            trailers: Trailers::default(),
        }
    }

    /// So many of the bytes that come next are data, whatever they are.
    pub fn data_left(&self) -> u64 {
        match self.at {
            At::Data => self.left,
            _ => 0,
        }
    }

    /// Reads on, to the end of the body at most. `max_trailers` is the most trailer lines.
    pub fn read(&mut self, bytes: &[u8], max_trailers: usize) -> Result<Progress, Malformed> {
        let mut taken = 0;
        while let Some(&byte) = bytes.get(taken) {
            if self.at == At::Data {
                taken += self.skip_data(bytes.len() - taken);
                continue;
            }
            self.at = self
                .step(byte, max_trailers)
                .map_err(|reason| Malformed { taken, reason })?;
            taken += 1;
            if self.at == At::End {
                break;
            }
        }
        let has_ended = self.at == At::End;
        Ok(Progress { taken, has_ended })
    }

    fn skip_data(&mut self, most: usize) -> usize {
        let count = usize::try_from(self.left).unwrap_or(usize::MAX).min(most);
        self.left -= count as u64;
        if self.left == 0 {
            self.at = At::DataCr;
        }
        count
    }

    fn step(&mut self, byte: u8, max_trailers: usize) -> Result<At, &'static str> {
        match self.at {
            At::Size(digits) => self.size(byte, digits),
            At::SizeSpace => self.after_size(byte),
            At::Extension => self.extension(byte),
            At::SizeEnd => {
                let next = match self.left {
                    0 => At::Trailer,
                    _ => At::Data,
                };
                line_feed(byte, next)
            }
            At::DataCr if byte == b'\r' => Ok(At::DataLf),
            At::DataCr => Err("a chunk is longer than its size says"),
            At::DataLf => {
                self.left = 0;
                line_feed(byte, At::Size(0))
            }
            At::Trailer | At::TrailerName | At::TrailerValue | At::TrailerLf => {
                self.trailer(byte, max_trailers)
            }
            At::LastLf => line_feed(byte, At::End),
            At::Data | At::End => Ok(self.at),
        }
    }

    fn size(&mut self, byte: u8, digits: u8) -> Result<At, &'static str> {
        let Some(digit) = (byte as char).to_digit(16) else {
            return match digits {
                0 => Err("a chunk has no size"),
                _ => self.after_size(byte),
            };
        };
        if digits == SIZE_DIGITS {
            return Err("a chunk size has more than 16 digits");
        }
        self.left = self.left << 4 | u64::from(digit);
        Ok(At::Size(digits + 1))
    }

    /// RFC 9112 section 7.1.1 allows white space before the semicolon of an extension.
    fn after_size(&mut self, byte: u8) -> Result<At, &'static str> {
        match byte {
            b'\r' => Ok(At::SizeEnd),
            b' ' | b'\t' => self.count_extension(At::SizeSpace),
            b';' => self.count_extension(At::Extension),
            _ => Err("a chunk size is not hexadecimal"),
        }
    }

    fn extension(&mut self, byte: u8) -> Result<At, &'static str> {
        match byte {
            b'\r' => Ok(At::SizeEnd),
            _ if is_control(byte) => Err("a chunk extension holds a control character"),
            _ => self.count_extension(At::Extension),
        }
    }

    fn count_extension(&mut self, next: At) -> Result<At, &'static str> {
        self.extensions += 1;
        if self.extensions > EXTENSION_BYTES {
            Err("the chunk extensions are too long")
        } else {
            Ok(next)
        }
    }

    fn trailer(&mut self, byte: u8, max_trailers: usize) -> Result<At, &'static str> {
        self.trailers.bytes += 1;
        if self.trailers.bytes > TRAILER_BYTES {
            return Err("the trailer section is too long");
        }
        match self.at {
            At::Trailer if byte == b'\r' => return Ok(At::LastLf),
            At::Trailer => {
                self.trailers.lines += 1;
                if self.trailers.lines > max_trailers {
                    return Err("the request has too many trailer lines");
                }
            }
            At::TrailerName if byte == b':' => return Ok(At::TrailerValue),
            At::TrailerValue if byte == b'\r' => return Ok(At::TrailerLf),
            At::TrailerLf => return line_feed(byte, At::Trailer),
            _ => {}
        }
        match self.at {
            At::TrailerValue if is_control(byte) => {
                Err("a trailer value holds a control character")
            }
            At::TrailerValue => Ok(At::TrailerValue),
            _ if is_token_byte(byte) => Ok(At::TrailerName),
            _ => Err(
                "a trailer name is not a token; folded lines and space before the colon are refused",
            ),
        }
    }
}

fn line_feed(byte: u8, next: At) -> Result<At, &'static str> {
    match byte {
        b'\n' => Ok(next),
        _ => Err("lines end with CR LF; a CR or LF alone is refused"),
    }
}

fn is_control(byte: u8) -> bool {
    byte < b' ' && byte != b'\t' || byte == 0x7f
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<Progress, Malformed> {
        Chunked::begin().read(bytes, 3)
    }

    #[test]
    fn a_body_ends_where_its_last_line_does() {
        for body in [
            "0\r\n\r\n",
            "000\r\n\r\n",
            "5\r\nhello\r\n0\r\n\r\n",
            "5;a=b;c=\"d;e\"\r\nhello\r\n0 ; last\r\n\r\n",
            "a \t\r\n0\r\n\r\n0\r\n\r\n\r\n0\r\n\r\n",
            "1\r\n\r\r\n1\r\n\n\r\n0\r\nA: b\r\nc:\r\n\r\n",
            "0\r\nX: \u{e9}\t\r\n\r\n",
        ] {
            for next in ["", "GET / HTTP/1.1\r\n\r\n", "\r\n", "0\r\n\r\n"] {
                let bytes = format!("{body}{next}");
                let expected = Progress {
                    taken: body.len(),
                    has_ended: true,
                };
                assert_eq!(read(bytes.as_bytes()), Ok(expected), "{bytes:?}");
                for cut in 0..body.len() {
                    let (first, rest) = bytes.as_bytes().split_at(cut);
                    let mut chunked = Chunked::begin();
                    let begun = chunked.read(first, 3).unwrap();
                    assert_eq!((begun.taken, begun.has_ended), (cut, false), "{bytes:?}");
                    let ended = chunked.read(rest, 3).unwrap();
                    assert_eq!((cut + ended.taken, ended.has_ended), (body.len(), true));
                }
            }
        }
    }

    #[test]
    fn framing_that_two_readers_could_read_differently_is_refused_at_its_byte() {
        for (body, taken) in [
            ("\r\n", 0),
            (";a\r\n", 0),
            ("+5\r\nhello\r\n", 0),
            ("0x5\r\nhello\r\n", 1),
            ("5_0\r\n", 1),
            ("5\nhello\r\n", 1),
            ("5\r\r\n", 2),
            ("5 5\r\n", 2),
            ("5;a\nhello", 3),
            ("5;a\r5", 4),
            ("5;\0\r\n", 2),
            ("5\r\nhello!\r\n", 8),
            ("5\r\nhello\n", 8),
            ("5\r\nhello\r\r", 9),
            ("00000000000000005\r\n", 16),
            ("0\r\n\n", 3),
            ("0\r\n\r\r", 4),
            ("0\r\n folded: x\r\n", 3),
            ("0\r\nA: b\r\n folded\r\n", 9),
            ("0\r\nA : b\r\n", 4),
            ("0\r\n: b\r\n", 3),
            ("0\r\nA\r\n", 4),
            ("0\r\nA: b\nHost: c\r\n", 7),
            ("0\r\nA: b\rc\r\n", 8),
            ("0\r\nA: \0\r\n", 6),
            ("0\r\na:\r\nb:\r\nc:\r\nd:\r\n\r\n", 15),
        ] {
            let malformed = read(body.as_bytes()).expect_err(body);
            assert_eq!(malformed.taken, taken, "{body:?}: {}", malformed.reason);
        }
    }

    #[test]
    fn extensions_and_trailers_are_bounded_over_the_whole_body() {
        let chunk = format!("1;{}\r\nx\r\n", "e".repeat(999));
        assert!(read(chunk.repeat(16).as_bytes()).is_ok());
        assert!(read(chunk.repeat(17).as_bytes()).is_err());
        let trailer = |length| format!("0\r\na:{}\r\n\r\n", "v".repeat(length));
        assert!(read(trailer(TRAILER_BYTES - 5).as_bytes()).is_ok());
        assert!(read(trailer(TRAILER_BYTES).as_bytes()).is_err());
        assert!(read(b"ffffffffffffffff\r\nx").is_ok());
    }
}

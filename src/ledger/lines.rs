//! The bytes of lines, one after the other, without copying where that can be avoided.

use std::io::{self, BufRead, ErrorKind};

/// The longest line that is read, in bytes. The writer's are some hundred; a file without line
/// feeds must not fill the memory.
pub const MAX_LINE: usize = 4 * 1024 * 1024;

/// What comes next in a file of lines.
#[derive(Debug, PartialEq, Eq)]
pub enum Next<'a> {
    /// A line, without its line feed.
    Line(&'a [u8]),
    /// The file ended within a line; these are its bytes.
    Unfinished(&'a [u8]),
    /// The file ended after a line feed, or is empty.
    End,
}

/// The lines of a file.
pub struct RawLines<R> {
    reader: R,
    /// Bytes of the reader's buffer that the last line was lent from.
    lent: usize,
    /// A line that lies across the end of the reader's buffer.
    joined: Vec<u8>,
}

impl<R: BufRead> RawLines<R> {
    /// The lines of what is read here.
    pub fn new(reader: R) -> Self {
        Self {
            reader,
            lent: 0,
            joined: Vec::new(),
        }
    }

    /// The next line. After the end it may be asked again: a file grows.
    ///
    /// # Errors
    /// When reading fails, or a line is longer than [`MAX_LINE`] ([`ErrorKind::InvalidData`]).
    pub fn next_line(&mut self) -> io::Result<Next<'_>> {
        self.reader.consume(std::mem::take(&mut self.lent));
        self.joined.clear();
        loop {
            let available = match self.reader.fill_buf() {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                other => other?,
            };
            let length = available.len();
            match memchr::memchr(b'\n', available) {
                _ if length == 0 && self.joined.is_empty() => return Ok(Next::End),
                _ if length == 0 => return Ok(Next::Unfinished(&self.joined)),
                Some(at) if self.joined.is_empty() => {
                    self.lent = at + 1;
                    // The buffer is not empty, so this reads nothing.
                    return Ok(Next::Line(&self.reader.fill_buf()?[..at]));
                }
                Some(at) => {
                    self.joined.extend_from_slice(&available[..at]);
                    self.reader.consume(at + 1);
                    return Ok(Next::Line(&self.joined));
                }
                None => {
                    self.joined.extend_from_slice(available);
                    self.reader.consume(length);
                }
            }
            if self.joined.len() > MAX_LINE {
                return Err(io::Error::new(ErrorKind::InvalidData, "a line without end"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn lines_come_out_as_they_stand_whatever_the_buffer(
            text in "[a\\n]{0,40}", capacity in 1_usize..9,
        ) {
            let mut lines = RawLines::new(BufReader::with_capacity(capacity, text.as_bytes()));
            let mut seen = Vec::new();
            loop {
                match lines.next_line().unwrap() {
                    Next::Line(line) => seen.extend([line, b"\n"].concat()),
                    Next::Unfinished(rest) => {
                        prop_assert!(!rest.is_empty());
                        seen.extend(rest);
                        break;
                    }
                    Next::End => break,
                }
            }
            prop_assert_eq!(seen, text.as_bytes());
        }
    }

    #[test]
    fn a_file_without_line_feeds_does_not_fill_the_memory() {
        let endless = BufReader::new(std::io::repeat(b'x'));
        let error = RawLines::new(endless).next_line().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData);
    }
}

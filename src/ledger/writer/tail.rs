//! The end of a file of lines.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

/// The end of a ledger file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Tail {
    /// The last whole line, without its line feed.
    pub(super) last_line: Option<Vec<u8>>,
    /// What follows the last line feed.
    pub(super) torn: Vec<u8>,
    /// Length of the file up to and with the last line feed.
    pub(super) whole: u64,
}

impl Tail {
    /// Reads backwards in growing steps: a ledger can be large, its last line hardly ever is.
    pub(super) fn read(file: &mut File) -> io::Result<Self> {
        let length = file.seek(SeekFrom::End(0))?;
        let mut window: u64 = 64 * 1024;
        loop {
            let start = length.saturating_sub(window);
            let mut bytes = Vec::new();
            file.seek(SeekFrom::Start(start))?;
            file.take(length - start).read_to_end(&mut bytes)?;
            if let Some(tail) = Self::of(bytes, start) {
                return Ok(tail);
            }
            window = window.saturating_mul(4);
        }
    }

    /// The tail of a file whose last bytes, from `start` on, are these; `None` when more are
    /// needed to see where its last line begins.
    fn of(mut bytes: Vec<u8>, start: u64) -> Option<Self> {
        let Some(end) = memchr::memrchr(b'\n', &bytes) else {
            return (start == 0).then_some(Self {
                last_line: None,
                torn: bytes,
                whole: 0,
            });
        };
        let begin = match memchr::memrchr(b'\n', &bytes[..end]) {
            Some(before) => before + 1,
            None if start == 0 => 0,
            None => return None,
        };
        let torn = bytes.split_off(end + 1);
        let last_line = Some(bytes[begin..end].to_vec());
        Some(Self {
            last_line,
            torn,
            whole: start + end as u64 + 1,
        })
    }
}

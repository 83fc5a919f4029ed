//! The text as far as it has come.

/// Base64 is wrapped at 60, 64 or 76 characters; a line shorter than this is not a wrapped one.
pub(super) const WRAP_MIN: usize = 40;

/// The bytes at hand, and what is known about those that are not.
#[derive(Clone, Copy)]
pub(super) struct Text<'a> {
    pub bytes: &'a [u8],
    /// No byte follows; a cut-off escape is literal text.
    pub complete: bool,
    /// How many base64 characters came directly before the first byte (see [`Text::wraps_at`]).
    pub run_before: usize,
}

impl<'a> Text<'a> {
    /// A text of which every byte is at hand.
    pub fn whole(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            complete: true,
            run_before: 0,
        }
    }

    /// Whether a line break at `pos` may be one that an encoder put into a long base64 text.
    #[inline]
    pub fn wraps_at(self, pos: usize) -> bool {
        // Most lines end in words; without a branch for each byte that is seen at once.
        let near = self.bytes[..pos].last_chunk::<16>();
        let plausible =
            near.is_none_or(|near| near.iter().fold(true, |all, &b| all & is_base64(b)));
        plausible && self.base64_run(pos) >= WRAP_MIN
    }

    /// How many base64 characters stand directly before `pos`, counted no further than needed.
    pub fn base64_run(self, pos: usize) -> usize {
        let before = &self.bytes[pos.saturating_sub(WRAP_MIN)..pos];
        let run = before
            .iter()
            .rev()
            .take_while(|&&byte| is_base64(byte))
            .count();
        if run == pos {
            (run + self.run_before).min(WRAP_MIN)
        } else {
            run
        }
    }
}

fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() | (byte == b'+') | (byte == b'/') | (byte == b'-') | (byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_of_base64_goes_on_from_the_piece_before() {
        let text = |run_before| Text {
            bytes: b"abc/+_\n",
            complete: false,
            run_before,
        };
        assert_eq!(text(0).base64_run(6), 6);
        assert_eq!(text(30).base64_run(6), 36);
        assert!(text(WRAP_MIN - 6).wraps_at(6));
        assert!(!text(WRAP_MIN - 7).wraps_at(6));
        assert_eq!(text(30).base64_run(7), 0);
    }
}

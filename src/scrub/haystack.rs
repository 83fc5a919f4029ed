//! The text as far as it has come.

use memchr::{memchr2, memchr2_iter};

/// Base64 is wrapped at 60, 64 or 76 characters; a line shorter than this is not a wrapped one.
const WRAP_MIN: usize = 40;

/// No line of wrapped base64 is as long as this.
const RUN_MAX: usize = 80;

/// The bytes at hand, and what is known about those that are not.
#[derive(Clone, Copy)]
pub(super) struct Haystack<'a> {
    pub bytes: &'a [u8],
    /// No byte follows; a cut-off escape is literal text.
    pub complete: bool,
    /// How many base64 characters came directly before the first byte (see [`Haystack::wraps_at`]).
    pub run_before: usize,
}

impl<'a> Haystack<'a> {
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
        match self.bytes[..pos].last_chunk::<WRAP_MIN>() {
            // Most lines end in words, which is seen first.
            Some(line) => line.last_chunk::<SEEN>().is_some_and(are_base64) && are_base64(line),
            None => self.base64_run(pos) >= WRAP_MIN,
        }
    }

    /// Calls `each` with every position from `from` on at which the text [wraps](Text::wraps_at).
    ///
    /// Line breaks are frequent, and long runs of base64 are not. So the runs are looked for, and
    /// the breaks behind them.
    pub fn each_wrap(self, from: usize, mut each: impl FnMut(usize)) {
        // The lines before these breaks may have begun ahead of `from`.
        let near = self.bytes.len().min(from + WRAP_MIN);
        let breaks = memchr2_iter(b'\r', b'\n', &self.bytes[from..near]);
        breaks
            .map(|found| from + found)
            .filter(|&pos| self.wraps_at(pos))
            .for_each(&mut each);
        let mut at = from;
        while let Some(run) = self.run_from(at)
            && let Some(found) = memchr2(b'\r', b'\n', &self.bytes[run..])
        {
            let pos = run + found;
            if pos >= near && self.wraps_at(pos) {
                each(pos);
            }
            at = pos + 1;
        }
    }

    /// Where the first [`WRAP_MIN`] base64 characters in a row may begin, of those that begin at
    /// `from` or later: none do before that.
    fn run_from(self, from: usize) -> Option<usize> {
        let (looks, _) = self.bytes.get(from..)?.as_chunks::<LOOK>();
        let found = looks.iter().position(|look| {
            let seen = look.first_chunk();
            seen.is_some_and(|seen: &[u8; SEEN]| may_be_base64(seen) && are_base64(seen))
        });
        // The next look would see beyond the end.
        let end = from + looks.len() * LOOK;
        let rest = (self.bytes.len() - end >= SEEN).then_some(end);
        found.map(|index| from + index * LOOK).or(rest)
    }

    /// How many base64 characters stand directly before `pos`, counted no further than needed.
    pub fn base64_run(self, pos: usize) -> usize {
        let before = &self.bytes[pos.saturating_sub(RUN_MAX)..pos];
        let run = before
            .iter()
            .rev()
            .take_while(|&&byte| is_base64(byte))
            .count();
        if run == pos {
            (run + self.run_before).min(RUN_MAX)
        } else {
            run
        }
    }
}

/// Distance between two looks for a run, and how many bytes are seen in one: a run of
/// [`WRAP_MIN`] contains all that is seen in one of them, wherever it begins.
const LOOK: usize = 24;
const SEEN: usize = 16;
const _: () = assert!(LOOK - 1 + SEEN <= WRAP_MIN);

/// Whether these may all be base64 characters. `false` is certain and costs a handful of
/// instructions: it is said of what holds a control character, a space, a quote or a brace.
#[inline]
fn may_be_base64(seen: &[u8; SEEN]) -> bool {
    let between = |byte: u8| byte.wrapping_sub(b'+') <= b'z' - b'+';
    seen.iter().fold(true, |all, &byte| all & between(byte))
}

/// Without a branch for each byte.
#[inline]
fn are_base64<const COUNT: usize>(seen: &[u8; COUNT]) -> bool {
    seen.iter().fold(true, |all, &byte| all & is_base64(byte))
}

#[inline]
fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() | (byte == b'+') | (byte == b'/') | (byte == b'-') | (byte == b'_')
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        /// Looking for the runs finds the same breaks as looking at every break.
        #[test]
        fn no_wrap_is_passed_over(
            stretches in vec((0..100_usize, select(&b"\n\r \"{.%\x80"[..])), 0..12),
            run_before in 0..=WRAP_MIN,
            start in 0..400_usize,
        ) {
            let mut bytes = Vec::new();
            for (length, end) in stretches {
                bytes.extend((0..length).map(|n| b"Az09+/-_"[n % 8]));
                bytes.push(end);
            }
            let text = Haystack { bytes: &bytes, complete: false, run_before };
            let start = start.min(bytes.len());
            let wraps = |&pos: &usize| matches!(bytes[pos], b'\r' | b'\n') && text.wraps_at(pos);
            let expected: Vec<usize> = (start..bytes.len()).filter(wraps).collect();
            let mut found = Vec::new();
            text.each_wrap(start, |pos| found.push(pos));
            prop_assert_eq!(found, expected);
            // And that is what it says it is.
            let is_wrap = |&pos: &usize| {
                let run = bytes[..pos].iter().rev().take_while(|&&byte| is_base64(byte)).count();
                run >= WRAP_MIN || run == pos && run + run_before >= WRAP_MIN
            };
            prop_assert!((0..bytes.len()).all(|pos| text.wraps_at(pos) == is_wrap(&pos)));
        }
    }

    #[test]
    fn a_run_of_base64_goes_on_from_the_piece_before() {
        let text = |run_before| Haystack {
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

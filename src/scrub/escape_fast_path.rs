//! What can be said of an escape from its first bytes: that there is none, or that it is an ordinary one.
//!
//! Text is full of introducers. In binary data hardly any begins an escape, and in the JSON of
//! most answers nearly all are `\n` and `\"`. What [`super::escapes`] would say of those is said here
//! without listing the readings of every level.

use super::backslash::meant_by;
use super::escapes::{Notations, TextUnit, introduces};
use super::haystack::Haystack;
use crate::substitution::encoding::Notation;

impl Haystack<'_> {
    /// Whether an escape may begin with the introducer at `pos`. `false` is certain, and cheap: in
    /// binary data hardly any introducer is one.
    #[inline]
    pub fn may_escape(self, pos: usize) -> bool {
        let Some(&next) = self.bytes.get(pos + 1) else {
            return !self.complete;
        };
        let continues = match self.bytes[pos] {
            b'%' => next.is_ascii_hexdigit() || matches!(next, b'u' | b'U'),
            b'\\' => next.is_ascii_alphanumeric() || next.is_ascii_punctuation() || next == b' ',
            _ => next.is_ascii_alphanumeric() || next == b'#',
        };
        continues || introduces(next)
    }

    /// The one escape at `pos`, if it is among the most frequent: a backslash before a single
    /// character, or `%41`. As [`Haystack::units`] says, but with little ado.
    #[inline]
    pub fn plain_escape(self, pos: usize) -> Option<TextUnit> {
        let (byte, next, notation) = match *self.bytes.get(pos..)? {
            [b'\\', letter, ..] => (meant_by(letter)?, pos + 2, Notation::Backslash),
            [b'%', high, low, ..] => {
                let digit = |byte| char::from(byte).to_digit(16);
                (
                    (digit(high)? << 4 | digit(low)?) as u8,
                    pos + 3,
                    Notation::Percent,
                )
            }
            _ => return None,
        };
        (!introduces(byte)).then(|| TextUnit::of_byte(byte, next, Notations::of(notation)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;

    fn same(one: &TextUnit, other: &TextUnit) -> bool {
        (one.bytes(), one.next, one.notations) == (other.bytes(), other.next, other.notations)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        /// The first bytes say no more and nothing else than the whole.
        #[test]
        fn a_glance_agrees_with_a_close_look(
            introducer in select(&b"%\\&"[..]),
            rest in vec(prop_oneof![
                4 => select(&br##"%\&#;x2u041aAnrtlquot" /"##[..]),
                1 => any::<u8>(),
            ], 0..14),
            complete in any::<bool>(),
        ) {
            let bytes = [&[introducer][..], &rest].concat();
            let text = Haystack { bytes: &bytes, complete, run_before: 0 };
            let escapes = text.escapes(0);
            if !text.may_escape(0) {
                prop_assert!(escapes.iter().next().is_none() && !escapes.undecided);
            }
            if let Some(plain) = text.plain_escape(0) {
                prop_assert!(!escapes.undecided && escapes.iter().count() == 1);
                prop_assert!(escapes.iter().all(|unit| same(unit, &plain)));
            }
        }
    }

    #[test]
    fn ordinary_escapes_are_seen_at_a_glance() {
        for (escape, stands_for) in [("\\n", b'\n'), ("\\\"", b'"'), ("%41", b'A'), ("%2f", b'/')] {
            let unit = Haystack::whole(escape.as_bytes()).plain_escape(0);
            assert_eq!(
                unit.map(|unit| unit.bytes().to_vec()),
                Some(vec![stands_for]),
                "{escape}"
            );
        }
        for innocent in ["% ", "%g1", "\\\u{e9}", "& ", "&;"] {
            assert!(
                !Haystack::whole(innocent.as_bytes()).may_escape(0),
                "{innocent}"
            );
        }
    }
}

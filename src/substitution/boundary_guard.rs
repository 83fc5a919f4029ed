//! Refuses values that would produce a delimiter of the multipart body that contains them.
//!
//! A value that contains `CR LF --boundary` would add a part of its own. A value can also produce a
//! delimiter together with the text around it. So the guard checks what is written, values and
//! literal text alike, and remembers as many bytes as a delimiter is long.

use std::sync::Arc;

use zeroize::Zeroizing;

use super::delimiters::{Delimiters, MAX_DELIMITER};
use super::edit::{Edit, SpliceError, unencodable};
use super::encode::{Unencodable, has_escapes};

/// Checks what is written.
#[derive(Default)]
pub(super) struct BoundaryGuard {
    /// The last bytes written, as many as a delimiter could begin in.
    tail: Zeroizing<Vec<u8>>,
    /// The last value written, while a delimiter could still begin in it.
    last: Option<LastValue>,
    /// Nothing that will be written depends on what was written before.
    idle: bool,
}

struct LastValue {
    edit: Edit,
    delimiters: Arc<Delimiters>,
    /// How many bytes were written after it.
    since: usize,
}

impl BoundaryGuard {
    /// For these edits and no others. Most are where there are neither delimiters nor escapes.
    pub(super) fn around(edits: &[Edit]) -> Self {
        let depends = |edit: &Edit| edit.delimiters.is_some() || has_escapes(edit.encoding);
        Self {
            idle: !edits.iter().any(depends),
            ..Self::default()
        }
    }

    /// Takes literal text. Refuses it if a delimiter ends in it that begins in a value, or directly
    /// after one. Line breaks are not considered: recipients disagree on them.
    pub(super) fn literal(&mut self, bytes: &[u8]) -> Result<(), SpliceError> {
        if let Some(last) = &mut self.last {
            let value_end = self.tail.len().saturating_sub(last.since);
            let near = &bytes[..bytes.len().min(MAX_DELIMITER)];
            if last.delimiters.are_spelled(&self.tail, near, value_end) {
                return Err(boundary_spelled(&last.edit));
            }
            last.since += bytes.len();
            if last.since >= MAX_DELIMITER {
                self.last = None;
            }
        }
        self.keep(bytes);
        Ok(())
    }

    /// Takes what was written for `edit`. Refuses it if a delimiter ends in it.
    pub(super) fn value(&mut self, edit: &Edit, written: &[u8]) -> Result<(), SpliceError> {
        if let Some(delimiters) = &edit.delimiters {
            if delimiters.are_spelled(&self.tail, written, usize::MAX) {
                return Err(boundary_spelled(edit));
            }
            let (edit, delimiters) = (edit.clone(), Arc::clone(delimiters));
            self.last = Some(LastValue {
                edit,
                delimiters,
                since: 0,
            });
        }
        self.keep(written);
        Ok(())
    }

    /// The last bytes written.
    pub(super) fn tail(&self) -> &[u8] {
        &self.tail
    }

    fn keep(&mut self, written: &[u8]) {
        if self.idle {
            return;
        }
        let kept = MAX_DELIMITER - 1;
        let fresh = &written[written.len().saturating_sub(kept)..];
        let stale = (self.tail.len() + fresh.len()).saturating_sub(kept);
        if self.tail.capacity() == 0 {
            // Allocated once: a growing buffer would leave copies of a value in freed memory.
            self.tail.reserve_exact(kept);
        }
        self.tail.drain(..stale);
        self.tail.extend_from_slice(fresh);
    }
}

fn boundary_spelled(edit: &Edit) -> SpliceError {
    let reason = "with the text around it, it spells the boundary of the multipart body";
    unencodable(edit, Unencodable { reason })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::policy::location::{BodyField, Location};
    use crate::substitution::encoding::Encoding;
    use crate::substitution::placeholder::scan;

    const DELIMITERS: [&str; 2] = ["--Boo", "--Baa-aa-aa-aa"];

    fn edit() -> Edit {
        let token = scan(Encoding::Raw, b"<<gh>>").remove(0);
        let mut edit = Edit::new(token, Encoding::Raw, Location::Body(BodyField::Whole));
        let boundaries = DELIMITERS.map(|delimiter| &delimiter.as_bytes()[2..]);
        edit.delimiters = Some(Arc::new(Delimiters::new(boundaries)));
        edit
    }

    /// Whether the text of all pieces contains a delimiter that begins in a value or directly after
    /// one, or ends in one.
    fn is_spelled(pieces: &[(bool, String)]) -> bool {
        let text: String = pieces.iter().map(|(_, piece)| piece.as_str()).collect();
        let mut at = 0;
        pieces.iter().any(|(is_value, piece)| {
            let (start, end) = (at, at + piece.len());
            at = end;
            let touches = |delimiter: &str| {
                (0..text.len()).any(|at| {
                    text[at..].starts_with(delimiter) && at <= end && at + delimiter.len() > start
                })
            };
            *is_value && DELIMITERS.iter().any(|delimiter| touches(delimiter))
        })
    }

    fn pieces() -> impl Strategy<Value = Vec<(bool, String)>> {
        let piece = prop::sample::select(vec![
            "-", "--", "B", "o", "oo", "aa", "--Boo", "Boo-", "x", "--Baa-aa", "-aa-aa",
        ]);
        prop::collection::vec((any::<bool>(), piece.prop_map(str::to_owned)), 0..8)
    }

    #[test]
    fn a_delimiter_that_follows_a_value_byte_by_byte_is_seen() {
        let mut guard = BoundaryGuard::default();
        let (value, rest) = DELIMITERS[1].split_at(1);
        guard.value(&edit(), value.as_bytes()).unwrap();
        let (last, others) = rest.as_bytes().split_last().unwrap();
        others
            .iter()
            .for_each(|&byte| guard.literal(&[byte]).unwrap());
        assert!(guard.literal(&[*last]).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn whatever_the_pieces_a_delimiter_that_touches_a_value_is_seen(pieces in pieces()) {
            let mut guard = BoundaryGuard::default();
            let edit = edit();
            let seen = pieces.iter().any(|(is_value, piece)| {
                let taken = if *is_value { guard.value(&edit, piece.as_bytes()) } else { guard.literal(piece.as_bytes()) };
                taken.is_err()
            });
            prop_assert_eq!(seen, is_spelled(&pieces));
        }
    }
}

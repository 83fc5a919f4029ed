//! The splice of a body that was searched whole and is sent in pieces.

use std::sync::Arc;

use super::correction::{Correction, corrections};
use super::edit::{Edit, SpliceError};
use super::slug::Reference;
use super::splice::{Insertion, SpliceWriter, check_length};
use crate::secret::SecretBytes;

/// How much longer the values may make a body. A few placeholders take a few bytes, and a value has up
/// to 64 KiB: without a bound on the sum, a small body would become a gigabyte.
const MOST_GROWTH: usize = 16 << 20;

/// Puts values into a body as its pieces pass. Every value is there before the first piece is.
pub struct PiecewiseSplice {
    plan: Arc<SplicePlan>,
    writer: SpliceWriter,
    /// The edit that comes next.
    next: usize,
    /// How many bytes of the body were taken.
    taken: usize,
    /// Where the last edit ended.
    resume: usize,
    /// How many bytes were written for values, at most.
    grown: usize,
    /// How long each replacement became.
    written: Vec<usize>,
    /// New lengths of parts, in order, of which so many were written.
    corrections: Vec<Correction>,
    corrected: usize,
}

/// What is put where.
pub struct SplicePlan {
    edits: Vec<Edit>,
    values: Vec<(Reference, Arc<SecretBytes>)>,
}

impl SplicePlan {
    /// `edits` are in order and do not overlap; spans count from the body's first byte. Fails if an
    /// edit that is no escape has no value.
    pub fn new(
        edits: Vec<Edit>,
        mut value: impl FnMut(&Reference) -> Option<Arc<SecretBytes>>,
    ) -> Result<Self, SpliceError> {
        let mut values: Vec<(Reference, Arc<SecretBytes>)> = Vec::new();
        let mut end = 0;
        for edit in &edits {
            if edit.span.start < end {
                return Err(SpliceError::Misplaced);
            }
            end = edit.span.end;
            check_length(edit)?;
            if edit.escape || values.iter().any(|(known, _)| *known == edit.reference) {
                continue;
            }
            let found = value(&edit.reference)
                .ok_or_else(|| SpliceError::Missing(edit.reference.clone()))?;
            values.push((edit.reference.clone(), found));
        }
        Ok(Self { edits, values })
    }

    fn replacement(&self, edit: &Edit) -> Result<Insertion<'_>, SpliceError> {
        Insertion::new(edit, &mut |wanted| {
            let mut values = self.values.iter();
            let found = values.find(|(reference, _)| reference == wanted);
            found.map(|(_, value)| value.as_ref())
        })
    }
}

impl PiecewiseSplice {
    /// At the start of the body.
    pub fn new(plan: Arc<SplicePlan>) -> Self {
        Self {
            plan,
            writer: SpliceWriter::default(),
            next: 0,
            taken: 0,
            resume: 0,
            grown: 0,
            written: Vec::new(),
            corrections: Vec::new(),
            corrected: 0,
        }
    }

    /// The same splice once more, from the start, with the lengths that the parts have come to have. To
    /// be called at the end of the body; `None` if no part says its length.
    pub fn again_corrected(&self) -> Option<Self> {
        let corrections = corrections(&self.plan.edits, &self.written);
        (!corrections.is_empty()).then(|| Self {
            corrections,
            ..Self::new(Arc::clone(&self.plan))
        })
    }

    /// The same splice once more, from the start.
    pub fn again(&self) -> Self {
        Self {
            corrections: self.corrections.clone(),
            ..Self::new(Arc::clone(&self.plan))
        }
    }

    /// Takes the next piece and appends what becomes of it to `out`.
    pub fn push(&mut self, piece: &[u8], out: &mut Vec<u8>) -> Result<(), SpliceError> {
        let plan = Arc::clone(&self.plan);
        let (start, end) = (self.taken, self.taken + piece.len());
        out.reserve(self.room(&plan, piece.len())?);
        loop {
            let edit = plan.edits.get(self.next);
            let edit = edit.filter(|edit| edit.span.start < end);
            let correction = self.corrections.get(self.corrected);
            let correction = correction.filter(|correction| {
                let place = correction.digits.start;
                place < end && edit.is_none_or(|edit| place < edit.span.start)
            });
            let (place, correction) = match (correction.cloned(), edit) {
                (Some(correction), _) => (correction.digits.clone(), Some(correction)),
                (None, Some(edit)) => (edit.span.clone(), None),
                (None, None) => break,
            };
            let from = self.resume.max(start);
            let literal = &piece[from - start..place.start - start];
            self.writer.literal(literal, out)?;
            let before = out.len();
            match (correction, edit) {
                (Some(correction), _) => {
                    self.writer.literal(correction.text.as_bytes(), out)?;
                    self.corrected += 1;
                }
                (None, Some(edit)) => {
                    self.writer.replace(edit, &plan.replacement(edit)?, out)?;
                    self.written.push(out.len() - before);
                    self.next += 1;
                }
                (None, None) => break,
            }
            self.resume = place.end;
        }
        let from = self.resume.max(start);
        if from < end {
            self.writer.literal(&piece[from - start..], out)?;
        }
        self.taken = end;
        Ok(())
    }

    /// How many bytes the next `len` of the body become at most. Reserved at once, so that no growing
    /// buffer leaves copies of a value in freed memory.
    fn room(&mut self, plan: &SplicePlan, len: usize) -> Result<usize, SpliceError> {
        let mut sum = len;
        let end = self.taken + len;
        let edits = plan.edits[self.next..].iter();
        let begun = edits.take_while(|edit| edit.span.start < end);
        for edit in begun {
            let added = plan.replacement(edit)?.encoded_len(edit)?;
            self.grown = self.grown.saturating_add(added);
            sum += added;
            if self.grown > MOST_GROWTH {
                return Err(SpliceError::TooLarge);
            }
        }
        Ok(sum)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::substitution::body::{BodyKind, find};
    use crate::substitution::splice::splice;

    proptest! {
        #[test]
        fn pieces_become_what_the_whole_becomes(
            parts in prop::collection::vec(prop::sample::select(vec![
                "<<a>>", "<<!b>>", "<<b>>", " text ", "\"", "%", "\\u003c<a>>", "k=%3C%3Cb%3E%3E&",
            ]), 0..10),
            kind in prop::sample::select(vec![BodyKind::Json, BodyKind::Form, BodyKind::Text]),
            size in 1_usize..8,
        ) {
            let body = parts.concat();
            let edits = find(&kind, body.as_bytes()).unwrap();
            let values = [Arc::new(SecretBytes::new(b"x\"y".to_vec())), Arc::new(SecretBytes::new(b"41".to_vec()))];
            let value = |wanted: &Reference| &values[usize::from(wanted.slug.as_str() == "b")];
            let whole = splice(body.as_bytes(), &edits, |wanted| Some(value(wanted))).unwrap();
            let plan = SplicePlan::new(edits, |wanted| Some(Arc::clone(value(wanted)))).unwrap();
            let mut splice = PiecewiseSplice::new(Arc::new(plan));
            let mut out = Vec::new();
            for piece in body.as_bytes().chunks(size) {
                splice.push(piece, &mut out).unwrap();
            }
            prop_assert_eq!(out, whole);
        }
    }

    #[test]
    fn the_length_of_a_part_is_corrected_whole_and_in_pieces() {
        let part = |length: &str, text: &str| {
            format!("--B\r\nContent-Length: {length}\r\nX: <<a>>\r\n\r\n{text}\r\n")
        };
        let body = [
            part("8", "x<<a>>y1"),
            part("5", "plain"),
            part("99", "wrong"),
            part(" 13 ", "<<a>><<!b>><x"),
            "--B--\r\n".to_owned(),
        ]
        .concat();
        let kind = BodyKind::Multipart {
            boundary: b"B".to_vec(),
        };
        let edits = find(&kind, body.as_bytes()).unwrap();
        let value = Arc::new(SecretBytes::new(b"value of 90 bytes ".repeat(5)));
        let whole = splice(body.as_bytes(), &edits, |_| Some(&value)).unwrap();
        let text = String::from_utf8(whole.clone()).unwrap();
        for part in text
            .split("--B\r\n")
            .skip(1)
            .filter(|part| !part.contains("wrong"))
        {
            let (head, content) = part.split_once("\r\n\r\n").unwrap();
            let content = content
                .rsplit_once("\r\n")
                .unwrap()
                .0
                .trim_end_matches("\r\n--B--");
            let (_, rest) = head.split_once("Content-Length:").unwrap();
            let said: usize = rest.lines().next().unwrap().trim().parse().unwrap();
            assert_eq!(said, content.len(), "{part}");
        }
        assert!(
            text.contains("Content-Length: 99\r\n"),
            "it was wrong before"
        );
        let plan = SplicePlan::new(edits, |_| Some(Arc::clone(&value))).unwrap();
        for size in [1, 7, 64, 1000] {
            let mut first = PiecewiseSplice::new(Arc::new(SplicePlan {
                edits: plan.edits.clone(),
                values: plan.values.clone(),
            }));
            let mut out = Vec::new();
            for piece in body.as_bytes().chunks(size) {
                first.push(piece, &mut out).unwrap();
            }
            let mut second = first.again_corrected().unwrap();
            for _ in 0..2 {
                let mut out = Vec::new();
                for piece in body.as_bytes().chunks(size) {
                    second.push(piece, &mut out).unwrap();
                }
                assert!(out == whole, "{size}");
                second = second.again();
            }
        }
        let wrong = part("99", "<<a>>");
        let edits = find(&kind, wrong.as_bytes()).unwrap();
        assert!(splice(wrong.as_bytes(), &edits, |_| Some(&value)).is_err());
    }

    #[test]
    fn a_missing_value_is_told_before_anything_is_written() {
        let edits = find(&BodyKind::Text, b"<<a>> <<!b>> <<c>>").unwrap();
        let value = Arc::new(SecretBytes::new(b"v".to_vec()));
        let plan = SplicePlan::new(edits, |wanted| {
            (wanted.slug.as_str() == "a").then(|| Arc::clone(&value))
        });
        assert!(matches!(plan, Err(SpliceError::Missing(missing)) if missing.slug.as_str() == "c"));
    }
}

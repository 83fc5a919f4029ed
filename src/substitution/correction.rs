//! New lengths for the parts of a multipart body that values make longer.

use std::ops::Range;
use std::sync::Arc;

use super::edit::Edit;
use super::part_length::PartLength;

/// New digits for a length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Correction {
    /// Where the old ones are in the source.
    pub(super) digits: Range<usize>,
    pub(super) text: String,
}

/// The new lengths of the parts that these edits change. `written` is how long each replacement became.
pub(super) fn corrections(edits: &[Edit], written: &[usize]) -> Vec<Correction> {
    let mut corrections: Vec<(&Arc<PartLength>, usize)> = Vec::new();
    for (edit, written) in edits.iter().zip(written) {
        let Some(length) = &edit.length else {
            continue;
        };
        let known = corrections
            .iter_mut()
            .find(|(known, _)| Arc::ptr_eq(known, length));
        let new = match known {
            Some((_, new)) => new,
            None => {
                corrections.push((length, length.declared));
                match corrections.last_mut() {
                    Some((_, new)) => new,
                    None => continue,
                }
            }
        };
        *new = (*new + written).saturating_sub(edit.span.len());
    }
    let correction = |(length, new): (&Arc<PartLength>, usize)| Correction {
        digits: length.digits.clone(),
        text: new.to_string(),
    };
    corrections.into_iter().map(correction).collect()
}

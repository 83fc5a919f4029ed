//! The one pass that puts values into some bytes.

use crate::policy::location::Location;
use crate::secret::SecretBytes;

use super::boundary_guard::BoundaryGuard;
use super::correction::{Correction, corrections};
use super::edit::{Edit, MAX_OUTPUT, SpliceError, unencodable};
use super::encode::{MEASURED, Unencodable, encode, encode_nested, encoded_len, nested_len};
use super::encoding::Encoding;
use super::slug::Reference;

/// Puts the values in, in one pass over `source`: what was put in is never read again. An escape
/// becomes the literal placeholder. `edits` are in order and do not overlap.
///
/// The result holds secrets and is allocated once.
pub fn splice<'v>(
    source: &[u8],
    edits: &[Edit],
    value: impl FnMut(&Reference) -> Option<&'v SecretBytes>,
) -> Result<Vec<u8>, SpliceError> {
    splice_within(MAX_OUTPUT, source, edits, value)
}

/// The same for a result of at most `most` bytes. The length is added up before anything is
/// allocated.
pub fn splice_within<'v>(
    most: usize,
    source: &[u8],
    edits: &[Edit],
    mut value: impl FnMut(&Reference) -> Option<&'v SecretBytes>,
) -> Result<Vec<u8>, SpliceError> {
    let mut replacements = Vec::with_capacity(edits.len());
    let mut len = source.len();
    let mut cursor = 0;
    for edit in edits {
        if edit.span.start < cursor
            || edit.span.end < edit.span.start
            || edit.span.end > source.len()
        {
            return Err(SpliceError::Misplaced);
        }
        cursor = edit.span.end;
        let replacement = Insertion::new(edit, &mut value)?;
        replacement.check_segment(edit)?;
        check_length(edit)?;
        len = len - edit.span.len() + replacement.encoded_len(edit)?;
        if len > most {
            return Err(SpliceError::TooLarge);
        }
        replacements.push(replacement);
    }
    let mut out = Vec::with_capacity(len);
    let mut writer = SpliceWriter {
        guard: BoundaryGuard::around(edits),
    };
    let mut cursor = 0;
    let has_lengths = edits.iter().any(|edit| edit.length.is_some());
    let mut written = Vec::new();
    for (edit, replacement) in edits.iter().zip(&replacements) {
        writer.literal(&source[cursor..edit.span.start], &mut out)?;
        let start = out.len();
        writer.replace(edit, replacement, &mut out)?;
        if has_lengths {
            written.push(out.len() - start);
        }
        cursor = edit.span.end;
    }
    writer.literal(&source[cursor..], &mut out)?;
    if has_lengths {
        Ok(corrected(&out, edits, &written))
    } else {
        Ok(out)
    }
}

/// The result with the lengths of its parts corrected. `written` is how long each replacement became.
fn corrected(spliced: &[u8], edits: &[Edit], written: &[usize]) -> Vec<u8> {
    let corrections = corrections(edits, written);
    let room: usize = corrections
        .iter()
        .map(|correction| correction.text.len())
        .sum();
    let mut out = Vec::with_capacity(spliced.len() + room);
    let mut cursor = 0;
    for Correction { digits, text } in corrections {
        // Where the digits came to be: everything replaced before them has moved them.
        let before = edits.iter().zip(written);
        let before = before.take_while(|(edit, _)| edit.span.end <= digits.start);
        let start = before.fold(digits.start, |at, (edit, written)| {
            at + written - edit.span.len()
        });
        out.extend_from_slice(&spliced[cursor..start]);
        out.extend_from_slice(text.as_bytes());
        cursor = start + digits.len();
    }
    out.extend_from_slice(&spliced[cursor..]);
    out
}

/// Refuses a place in a part whose length cannot be corrected.
pub(super) fn check_length(edit: &Edit) -> Result<(), SpliceError> {
    match &edit.length {
        Some(length) if !length.is_confirmed() => Err(unencodable(edit, MEASURED)),
        _ => Ok(()),
    }
}

/// What `value` is written as in `encoding`, if that is not the value itself.
pub fn spelling(encoding: Encoding, value: &SecretBytes) -> Option<SecretBytes> {
    let most = encoded_len(encoding, value.expose()).ok()?;
    let mut spelling = Vec::with_capacity(most);
    encode(encoding, value.expose(), b"", &mut spelling).ok()?;
    (spelling != value.expose()).then(|| SecretBytes::new(spelling))
}

/// Writes the bytes that stay and the replacements, in order. Values are written only here.
#[derive(Default)]
pub(super) struct SpliceWriter {
    guard: BoundaryGuard,
}

impl SpliceWriter {
    /// Writes bytes of the source.
    pub(super) fn literal(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), SpliceError> {
        self.pass(bytes)?;
        out.extend_from_slice(bytes);
        Ok(())
    }

    /// Notes bytes of the source that the caller writes.
    pub(super) fn pass(&mut self, bytes: &[u8]) -> Result<(), SpliceError> {
        self.guard.literal(bytes)
    }

    /// Writes the replacement of `edit`. On an error, the caller discards what was written to `out`.
    pub(super) fn replace(
        &mut self,
        edit: &Edit,
        replacement: &Insertion<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), SpliceError> {
        let start = out.len();
        let (bytes, before) = (replacement.bytes(), self.guard.tail());
        encode_nested(edit.encoding, edit.nesting, bytes, before, out)
            .map_err(|problem| unencodable(edit, problem))?;
        self.guard.value(edit, &out[start..])
    }
}

/// The replacement of one edit, before it is encoded.
pub(super) enum Insertion<'v> {
    /// A credential's value.
    Value(&'v SecretBytes),
    /// The literal placeholder that an escape means.
    Literal(String),
}

impl<'v> Insertion<'v> {
    /// Asks for the value, unless `edit` is an escape.
    pub(super) fn new(
        edit: &Edit,
        value: &mut impl FnMut(&Reference) -> Option<&'v SecretBytes>,
    ) -> Result<Self, SpliceError> {
        if edit.escape {
            return Ok(Self::Literal(edit.reference.placeholder()));
        }
        match value(&edit.reference) {
            Some(value) => Ok(Self::Value(value)),
            None => Err(SpliceError::Missing(edit.reference.clone())),
        }
    }

    /// How many bytes [`SpliceWriter::replace`] will write at most.
    pub(super) fn encoded_len(&self, edit: &Edit) -> Result<usize, SpliceError> {
        nested_len(edit.encoding, edit.nesting, self.bytes())
            .map_err(|problem| unencodable(edit, problem))
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Self::Value(value) => value.expose(),
            Self::Literal(text) => text.as_bytes(),
        }
    }

    /// Refuses a path value made of dots: it could make a segment `..`, and the path sent would not
    /// be the path decided on.
    fn check_segment(&self, edit: &Edit) -> Result<(), SpliceError> {
        let dots = self.bytes().iter().all(|&byte| byte == b'.');
        if edit.location == Location::Path && dots {
            let reason = "it consists of dots, which would change the path";
            return Err(unencodable(edit, Unencodable { reason }));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::substitution::find::{in_header, in_path, in_query};

    fn spliced(source: &str, edits: &[Edit], value: &str) -> Result<String, SpliceError> {
        let value = SecretBytes::new(value.as_bytes().to_vec());
        let out = splice(source.as_bytes(), edits, |_| Some(&value))?;
        let most = edits.iter().try_fold(source.len(), |len, edit| {
            let replacement = Insertion::new(edit, &mut |_| Some(&value))?;
            Ok(len - edit.span.len() + replacement.encoded_len(edit)?)
        })?;
        assert_eq!(out.capacity(), most, "the buffer must not grow");
        Ok(String::from_utf8(out).unwrap())
    }

    fn in_headers(source: &str, value: &str) -> Result<String, SpliceError> {
        spliced(source, &in_header("x-key", source.as_bytes(), None), value)
    }

    #[test]
    fn a_value_is_not_scanned_again() {
        assert_eq!(
            in_headers("a<<x>>b<<y>>", "<<x>>").as_deref(),
            Ok("a<<x>>b<<x>>")
        );
        assert_eq!(in_headers("<<<x>>>", "<x>").as_deref(), Ok("<<x>>"));
    }

    #[test]
    fn what_surrounds_a_placeholder_is_not_normalised() {
        let query = "z=%2f%41+%20&key=<<gh>>&e=&&x=;y";
        assert_eq!(
            spliced(query, &in_query(query, None), "a b").as_deref(),
            Ok("z=%2f%41+%20&key=a%20b&e=&&x=;y")
        );
    }

    #[test]
    fn an_escape_leaves_the_literal_in_the_encoding_of_its_place() {
        let none = |_: &Reference| None;
        let header = b"k=<<!gh.user>>";
        assert_eq!(
            splice(header, &in_header("x-key", header, None), none).unwrap(),
            b"k=<<gh.user>>"
        );
        let path = "/<<!gh>>/x";
        assert_eq!(
            splice(path.as_bytes(), &in_path(path, None), none).unwrap(),
            b"/%3C%3Cgh%3E%3E/x"
        );
    }

    #[test]
    fn white_space_at_the_edge_of_a_header_is_sent_as_it_was_saved() {
        assert_eq!(in_headers("<<x>>", " v\t").as_deref(), Ok(" v\t"));
    }

    #[test]
    fn a_value_cannot_become_a_dot_segment() {
        for dots in [".", ".."] {
            assert!(spliced("/a/<<x>>/b", &in_path("/a/<<x>>/b", None), dots).is_err());
        }
        assert_eq!(
            spliced("/a/<<x>>/b", &in_path("/a/<<x>>/b", None), "../x").as_deref(),
            Ok("/a/..%2Fx/b")
        );
        assert_eq!(
            spliced("a=<<x>>", &in_query("a=<<x>>", None), "..").as_deref(),
            Ok("a=..")
        );
    }

    #[test]
    fn an_error_names_the_place_and_nothing_of_the_value() {
        let error = in_headers("<<x>>", "hunter2\n").unwrap_err();
        let text = format!("{error} {error:?}");
        assert!(
            text.contains("header:x-key") && !text.contains("hunter2"),
            "{text}"
        );
    }

    #[test]
    fn edits_of_another_text_are_refused() {
        let edits = in_header("x-key", b"<<a>><<b>>", None);
        assert_eq!(spliced("<<a>>", &edits, "v"), Err(SpliceError::Misplaced));
        let swapped: Vec<Edit> = edits.iter().rev().cloned().collect();
        assert_eq!(
            spliced("<<a>><<b>>", &swapped, "v"),
            Err(SpliceError::Misplaced)
        );
        let none = splice(b"<<a>><<b>>", &edits, |_| None);
        assert_eq!(none, Err(SpliceError::Missing(edits[0].reference.clone())));
    }

    #[test]
    fn a_text_does_not_grow_without_limit() {
        let source = "<<x>>".repeat(MAX_OUTPUT / 1000 + 1);
        assert_eq!(
            in_headers(&source, &"v".repeat(1000)),
            Err(SpliceError::TooLarge)
        );
    }
}

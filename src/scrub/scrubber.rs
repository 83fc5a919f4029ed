//! The stream: bytes in, the same bytes without values out.

use std::ops::Range;
use std::sync::Arc;

use super::hit::{Hit, Replacement};
use super::mark::Mark;
use super::needles::Needles;
use super::pass::{Pass, Waiting};
use super::scan::Scan;

/// Scrubs one stream of bytes: a body, or the messages of one direction.
///
/// What goes out does not depend on how what comes in is cut. A byte is held back only while a
/// hit that would cover it can still be completed by bytes to come.
pub struct Scrubber {
    needles: Arc<Needles>,
    main: Pass,
    /// Where a replacement may complete a value together with its neighbours, what the first pass
    /// has written is read again.
    again: Option<(Pass, Vec<u8>)>,
}

impl Scrubber {
    /// A scrubber at the start of a stream.
    pub fn new(needles: Arc<Needles>, replacement: Replacement) -> Self {
        let (main, again) = passes(&needles, replacement);
        Self {
            needles,
            main,
            again: again.map(|pass| (pass, Vec::new())),
        }
    }

    /// What it looks for.
    pub fn needles(&self) -> &Arc<Needles> {
        &self.needles
    }

    /// Appends to `out` whatever of the stream so far is decided, and to `hits` what was replaced.
    pub fn push(&mut self, input: &[u8], out: &mut Vec<u8>, hits: &mut Vec<Hit>) {
        let rest = self.pass(input, false, out, hits);
        out.extend_from_slice(&input[rest]);
    }

    /// The end of the stream: appends what was held back.
    ///
    /// The scrubber is then at the start of a new stream, as each WebSocket message is one.
    pub fn finish(&mut self, out: &mut Vec<u8>, hits: &mut Vec<Hit>) {
        self.pass(&[], true, out, hits);
    }

    /// Like [`Scrubber::push`], and [`Scrubber::finish`] if the input is the `last`, for a caller
    /// that can pass on a piece of its input as it is. Which piece that is, is what this returns;
    /// it comes behind what was appended to `out`.
    ///
    /// Nearly every input holds nothing, and is not copied then.
    pub fn pass(
        &mut self,
        input: &[u8],
        last: bool,
        out: &mut Vec<u8>,
        hits: &mut Vec<Hit>,
    ) -> Range<usize> {
        if self.needles.is_empty() {
            return 0..input.len();
        }
        let Some((again, between)) = &mut self.again else {
            return self.main.run(&self.needles, input, last, out, hits);
        };
        let rest = self.main.run(&self.needles, input, last, between, hits);
        between.extend_from_slice(&input[rest]);
        let rest = again.run(&self.needles, between, last, out, &mut Vec::new());
        out.extend_from_slice(&between[rest]);
        between.clear();
        input.len()..input.len()
    }

    /// The reference of a value that was found and still waits for the bytes that follow it: it may be
    /// part of a longer hit.
    pub fn first_found(&self) -> Option<usize> {
        self.main.first_found()
    }

    /// What waits for the bytes that follow it.
    pub fn waiting(&self) -> Waiting {
        let again = self.again.as_ref();
        let again = again.map_or(Waiting::Nothing, |(pass, _)| pass.waiting(&self.needles));
        self.main.waiting(&self.needles).max(again)
    }

    /// What is not decided before more follows, as it came, also what was let go of it. None where that
    /// cannot be told.
    pub fn open_text(&self) -> Option<&[u8]> {
        self.again.is_none().then(|| self.main.open_text())?
    }

    /// Appends to `out` what waits for the bytes that follow it, so that the end of a message is not
    /// kept back until the next one comes. The search goes on across what is let go: what then turns
    /// out to be the rest of a value is replaced.
    ///
    /// At most three bytes of a value leave as they are. That is what chance makes of an ordinary
    /// text, in which some byte nearly always begins some form of some value. Longer beginnings are
    /// masked, and are among the `hits`.
    pub fn release(&mut self, out: &mut Vec<u8>, hits: &mut Vec<Hit>) {
        let Some((again, between)) = &mut self.again else {
            return self.main.release(&self.needles, out, hits);
        };
        self.main.release(&self.needles, between, hits);
        let rest = again.run(&self.needles, between, false, out, &mut Vec::new());
        out.extend_from_slice(&between[rest]);
        between.clear();
        again.release(&self.needles, out, &mut Vec::new());
    }

    /// How many bytes wait for what follows them.
    #[cfg(test)]
    pub fn held(&self) -> usize {
        let again = self.again.as_ref().map_or(0, |(pass, _)| pass.held());
        self.main.held() + again
    }
}

/// Scrubs a complete text: a header value, a status line. `None` if there was nothing to replace;
/// nothing is allocated then unless the text came close to a value.
pub fn scrub_bytes(needles: &Needles, text: &[u8], hits: &mut Vec<Hit>) -> Option<Vec<u8>> {
    scrub_bytes_with(needles, Replacement::Placeholder, text, hits)
}

/// Like [`scrub_bytes`], with `replacement` in place of each hit.
pub fn scrub_bytes_with(
    needles: &Needles,
    replacement: Replacement,
    text: &[u8],
    hits: &mut Vec<Hit>,
) -> Option<Vec<u8>> {
    Scan::of(needles.indexes(), text)?;
    let (mut main, again) = passes(needles, replacement);
    let mut out = Vec::with_capacity(text.len());
    let rest = main.run(needles, text, true, &mut out, hits);
    out.extend_from_slice(&text[rest]);
    if let Some(mut again) = again {
        let between = std::mem::take(&mut out);
        let rest = again.run(needles, &between, true, &mut out, &mut Vec::new());
        out.extend_from_slice(&between[rest]);
    }
    Some(out)
}

fn passes(needles: &Needles, replacement: Replacement) -> (Pass, Option<Pass>) {
    let (first, second) = match replacement {
        Replacement::SameLength => (Mark::Stars, Mark::Fillers),
        other => (Mark::Placeholder(other), Mark::Filler),
    };
    let again = needles.completed_by(replacement);
    let again = again.then(|| Pass::new(second, needles));
    (Pass::new(first, needles), again)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::SecretBytes;

    fn scrubber() -> Scrubber {
        let value = Arc::new(SecretBytes::new(b"correct-horse".to_vec()));
        let needles = Needles::new([("x".to_owned(), value)]);
        Scrubber::new(Arc::new(needles), Replacement::Placeholder)
    }

    #[test]
    fn only_the_seam_to_what_was_held_back_is_copied() {
        let mut scrubber = scrubber();
        let (mut out, mut hits) = (Vec::new(), Vec::new());
        let pieces = [
            "some text and corr",
            "igendum: ",
            &"no value. ".repeat(1000),
        ];
        assert_eq!(
            scrubber.pass(pieces[0].as_bytes(), false, &mut out, &mut hits),
            0..pieces[0].len() - "corr".len()
        );
        assert!(out.is_empty());
        let rest = scrubber.pass(pieces[1].as_bytes(), false, &mut out, &mut hits);
        assert_eq!((&out[..], rest.len()), (&b"corrigendum: "[..], 0));

        out.clear();
        let cut = &pieces[0][..pieces[0].len()];
        scrubber.pass(cut.as_bytes(), false, &mut out, &mut hits);
        let rest = scrubber.pass(pieces[2].as_bytes(), true, &mut out, &mut hits);
        assert!(out.starts_with(b"corrno value. ") && out.len() < 256);
        assert_eq!(
            [&out[4..], &pieces[2].as_bytes()[rest]].concat(),
            pieces[2].as_bytes()
        );
        assert!(hits.is_empty() && scrubber.held() == 0);
    }

    #[test]
    fn a_piece_that_holds_something_is_written_anew() {
        let mut scrubber = scrubber();
        let (mut out, mut hits) = (Vec::new(), Vec::new());
        let rest = scrubber.pass(b"a correct-horse b", true, &mut out, &mut hits);
        assert_eq!(
            (&out[..], rest.len(), hits.len()),
            (&b"a <<x>> b"[..], 0, 1)
        );
    }
}

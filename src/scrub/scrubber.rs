//! The stream: bytes in, the same bytes without values out.

use std::ops::Range;
use std::sync::Arc;

use zeroize::Zeroize as _;

use super::haystack::Haystack;
use super::hit::{Hit, Replacement};
use super::needles::Needles;
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

    /// How many bytes wait for what follows them.
    pub fn held(&self) -> usize {
        let again = self.again.as_ref().map_or(0, |(pass, _)| pass.held.len());
        self.main.held.len() + again
    }
}

/// Scrubs a complete text: a header value, a status line. `None` if there was nothing to replace;
/// nothing is allocated then unless the text came close to a value.
pub fn scrub_bytes(needles: &Needles, text: &[u8], hits: &mut Vec<Hit>) -> Option<Vec<u8>> {
    Scan::of(needles.indexes(), text)?;
    let (mut main, again) = passes(needles, Replacement::Placeholder);
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
        Replacement::Placeholder => (Mark::Placeholder, Mark::Filler),
        Replacement::SameLength => (Mark::Stars, Mark::Fillers),
    };
    let again = needles.completed_by(replacement).then(|| Pass::new(second));
    (Pass::new(first), again)
}

/// What is put in place of a union of hits.
#[derive(Clone, Copy)]
enum Mark {
    Placeholder,
    Stars,
    /// Three characters that no value contains.
    Filler,
    /// As many of them as there were bytes.
    Fillers,
}

/// How much of an input is read at first together with what is held, in bytes.
const SEAM: usize = 128;

/// Where one input is joined to those before it.
#[derive(Clone, Copy, Default)]
struct Seam {
    /// All before this is written.
    start: usize,
    /// All before this was read.
    known: usize,
}

/// One reading of a stream.
struct Pass {
    mark: Mark,
    scan: Scan,
    /// Bytes read but not yet written.
    held: Vec<u8>,
    /// Base64 characters directly before it.
    run_before: usize,
}

impl Pass {
    fn new(mark: Mark) -> Self {
        Self {
            mark,
            scan: Scan::default(),
            held: Vec::new(),
            run_before: 0,
        }
    }

    /// Reads on. What is returned is a piece of `input` that comes after what was written, as it
    /// is.
    fn run(
        &mut self,
        needles: &Needles,
        input: &[u8],
        complete: bool,
        out: &mut Vec<u8>,
        hits: &mut Vec<Hit>,
    ) -> Range<usize> {
        let nothing = input.len()..input.len();
        let mut seam = Seam::default();
        if !self.held.is_empty() {
            match self.cross(needles, input, complete, out, hits) {
                Some(crossed) => seam = crossed,
                None => return nothing,
            }
        }
        let text = Haystack {
            bytes: &input[seam.start..],
            complete,
            run_before: self.run_before,
        };
        let read = self.read(needles, text, seam.known - seam.start);
        if !read.is_clean {
            self.write(needles, &text.bytes[..read.decided], out, hits);
        }
        self.leave(text, read.decided);
        self.held.extend_from_slice(&text.bytes[read.decided..]);
        if read.is_clean {
            seam.start..seam.start + read.decided
        } else {
            nothing
        }
    }

    /// Reads the beginning of `input` together with what is held, as far as it takes until that is
    /// decided. `None`: all of `input` was read.
    fn cross(
        &mut self,
        needles: &Needles,
        input: &[u8],
        complete: bool,
        out: &mut Vec<u8>,
        hits: &mut Vec<Hit>,
    ) -> Option<Seam> {
        let mut known = 0;
        loop {
            let end = input.len().min(SEAM.max(2 * known));
            let mut held = std::mem::take(&mut self.held);
            let from = held.len();
            append_wiping(&mut held, &input[known..end]);
            let text = Haystack {
                bytes: &held,
                complete: complete && end == input.len(),
                run_before: self.run_before,
            };
            let read = self.read(needles, text, from);
            self.write(needles, &held[..read.decided], out, hits);
            self.leave(text, read.decided);
            drop_front_wiping(&mut held, read.decided);
            self.held = held;
            known = end;
            if known == input.len() {
                return None;
            }
            if let Some(start) = known.checked_sub(self.held.len()) {
                drop_front_wiping(&mut self.held, known - start);
                return Some(Seam { start, known });
            }
        }
    }

    /// Searches the text, of which the bytes before `from` were searched before.
    fn read(&mut self, needles: &Needles, text: Haystack<'_>, from: usize) -> Read {
        self.scan.advance(needles.indexes(), text, from);
        Read {
            decided: self.scan.open_from().unwrap_or(text.bytes.len()),
            is_clean: self.scan.regions().is_empty(),
        }
    }

    /// Writes what is decided with its hits replaced.
    fn write(&mut self, needles: &Needles, decided: &[u8], out: &mut Vec<u8>, hits: &mut Vec<Hit>) {
        let mut pos = 0;
        for region in self.scan.regions().before(decided.len()) {
            if !region.is_begun {
                out.extend_from_slice(&decided[pos..region.start]);
                self.mark.begin(needles, region.reference(), out);
                region.is_begun = true;
                pos = region.start;
            }
            // It may go on with bytes that are not decided yet.
            let end = region.end.min(decided.len());
            self.mark.cover(needles, end - pos, out);
            pos = end;
        }
        out.extend_from_slice(&decided[pos..]);
        self.scan.regions().take_until(decided.len(), hits);
    }

    /// Takes down where the bytes begin that follow the first `decided` of `text`.
    fn leave(&mut self, text: Haystack<'_>, decided: usize) {
        self.scan.shift(decided);
        self.run_before = text.base64_run(decided);
        if text.complete {
            self.run_before = 0;
            self.scan.restart();
        }
    }
}

/// What is known after reading.
struct Read {
    /// How many bytes can be written.
    decided: usize,
    /// There is no hit.
    is_clean: bool,
}

impl Drop for Pass {
    fn drop(&mut self) {
        // Only as far as it is filled: what lies beyond has been wiped before.
        self.held.as_mut_slice().zeroize();
    }
}

impl Mark {
    /// Writes what takes the place of a union whatever its length.
    fn begin(self, needles: &Needles, reference: usize, out: &mut Vec<u8>) {
        match self {
            Mark::Placeholder => out.extend_from_slice(needles.placeholder(reference).as_bytes()),
            Mark::Filler => out.extend_from_slice(&[needles.filler(); 3]),
            Mark::Stars | Mark::Fillers => {}
        }
    }

    /// Writes what takes the place of so many bytes of a union.
    fn cover(self, needles: &Needles, length: usize, out: &mut Vec<u8>) {
        match self {
            Mark::Stars => out.resize(out.len() + length, b'*'),
            Mark::Fillers => out.resize(out.len() + length, needles.filler()),
            Mark::Placeholder | Mark::Filler => {}
        }
    }
}

/// Appends without leaving what was held in memory given back.
fn append_wiping(held: &mut Vec<u8>, input: &[u8]) {
    let needed = held.len() + input.len();
    if needed > held.capacity() {
        let mut grown = Vec::with_capacity(needed.next_power_of_two());
        grown.extend_from_slice(held);
        held.zeroize();
        *held = grown;
    }
    held.extend_from_slice(input);
}

/// Drops the first `count` bytes and wipes what is left of the old text: it held values.
fn drop_front_wiping(held: &mut Vec<u8>, count: usize) {
    if count == 0 {
        return;
    }
    held.copy_within(count.., 0);
    let kept = held.len() - count;
    // Not `zeroize`, which stores byte by byte: the buffer lives on, so nothing may omit this.
    held[kept..].fill(0);
    held.truncate(kept);
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
        assert!(out.starts_with(b"corrno value. ") && out.len() < 2 * SEAM);
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

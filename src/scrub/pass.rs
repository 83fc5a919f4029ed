//! One reading of a stream: what is held back, and what is written.

use std::ops::Range;

use zeroize::Zeroize as _;

use super::haystack::Haystack;
use super::hit::Hit;
use super::mark::{Beginning, Between, Mark, Writer};
use super::needles::Needles;
use super::scan::Scan;

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
pub(super) struct Pass {
    writer: Writer,
    scan: Scan,
    /// Bytes read but not yet decided.
    held: Vec<u8>,
    /// How many of them were let go before they were decided, from the first on.
    given: usize,
    /// Base64 characters directly before it.
    run_before: usize,
}

impl Pass {
    /// At the start of a stream.
    pub fn new(mark: Mark, needles: &Needles) -> Self {
        Self {
            writer: Writer::new(mark, needles),
            scan: Scan::default(),
            held: Vec::new(),
            given: 0,
            run_before: 0,
        }
    }

    /// Reads on. What is returned is a piece of `input` that comes after what was written, as it
    /// is.
    pub fn run(
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
        if read.is_clean {
            self.writer.follow(&text.bytes[..read.decided]);
        } else {
            self.write(needles, &text.bytes[..read.decided], out, hits);
        }
        if complete {
            self.writer.finish(out);
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
            if text.complete {
                self.writer.finish(out);
            }
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
        let mut decided = self.scan.open_from().unwrap_or(text.bytes.len());
        let regions = self.scan.regions();
        if !text.complete {
            let shared = needles.shared_at_end(&text.bytes[..decided]);
            let before = (1..=shared).take_while(|back| !regions.cover(decided - back));
            decided -= before.count();
        }
        Read {
            decided,
            is_clean: regions.is_empty() && !self.writer.is_busy(),
        }
    }

    /// Writes what is decided with its hits replaced.
    fn write(&mut self, needles: &Needles, decided: &[u8], out: &mut Vec<u8>, hits: &mut Vec<Hit>) {
        let from = self.given.min(decided.len());
        self.given -= from;
        self.emit(needles, decided, from, &Between::AsItIs, out);
        self.scan.regions().take_until(decided.len(), hits);
    }

    /// Writes the bytes of `text` after the first `from`, which were written before: what the hits
    /// cover is replaced.
    fn emit(
        &mut self,
        needles: &Needles,
        text: &[u8],
        from: usize,
        between: &Between,
        out: &mut Vec<u8>,
    ) {
        let mut pos = from;
        let run_before = self.run_before;
        for region in self.scan.regions().before(text.len()) {
            if !region.is_begun {
                let at = region.start.max(pos);
                let beginning = Beginning {
                    text,
                    from: pos,
                    at,
                    run_before,
                };
                self.writer
                    .begin(needles, region.lead(), &beginning, between, out);
                region.is_begun = true;
                pos = at;
            }
            // It may go on with bytes that are not at hand yet.
            let end = region.end.min(text.len());
            if end > pos {
                self.writer.cover(needles, &text[pos..end], out);
                pos = end;
            }
        }
        self.writer.between(&text[pos..], between, out);
    }

    /// The first value that was found and still waits for the bytes that follow it.
    pub fn first_found(&self) -> Option<usize> {
        self.scan.first_found()
    }

    /// What waits for the bytes that follow it.
    pub fn waiting(&self, needles: &Needles) -> Waiting {
        if self.held.len() == self.given {
            Waiting::Nothing
        } else if self.scan.open_from().is_none() {
            Waiting::Neighbour
        } else if self.scan.is_suspicious(needles.indexes(), self.held.len()) {
            Waiting::Much
        } else {
            Waiting::Little
        }
    }

    /// The text that is not decided, also what was let go of it. None where what is written in place of a
    /// value is not complete yet.
    pub fn open_text(&self) -> Option<&[u8]> {
        (!self.writer.is_busy()).then_some(self.held.as_slice())
    }

    /// Writes what waits: little of it as it is, much of it masked. The search goes on across it.
    pub fn release(&mut self, needles: &Needles, out: &mut Vec<u8>, hits: &mut Vec<Hit>) {
        let between = match self.waiting(needles) {
            Waiting::Nothing => return,
            Waiting::Neighbour | Waiting::Little => Between::AsItIs,
            Waiting::Much => {
                hits.extend(self.scan.open_hit(needles.indexes(), self.held.len()));
                Between::Masked(needles.filler())
            }
        };
        let held = std::mem::take(&mut self.held);
        self.emit(needles, &held, self.given, &between, out);
        self.given = held.len();
        self.held = held;
    }

    /// How many bytes wait for what follows them.
    #[cfg(test)]
    pub fn held(&self) -> usize {
        self.held.len() - self.given
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

/// What a scrubber holds back, see [`Scrubber::release`](super::Scrubber::release).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Waiting {
    /// Nothing.
    Nothing,
    /// Characters that are not part of a value, but would be written again with one in base64.
    Neighbour,
    /// No more than chance makes the beginning of a value.
    Little,
    /// More.
    Much,
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

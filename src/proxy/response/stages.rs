//! Scrubs one text after another while more values may come to be sent.

use std::ops::Range;
use std::sync::Arc;

use crate::proxy::exchange::used::Used;
use crate::proxy::response::findings::Findings;
use crate::scrub::{Hit, Needles, Replacement, Scrubber, Waiting};

/// Most times that an answer learns of new values while it streams.
const STAGES: usize = 16;

/// The longest beginning of a value that is looked at again, in bytes.
const LONGEST_LOOK: usize = 4 * 1024;

/// Scrubs one text after another while more values may come to be sent.
pub struct Stages {
    /// One after the other: the values known when the text began, then those that were sent since,
    /// because a request's body, or the other side of a conversation, was still on the way.
    stages: Vec<Stage>,
    replacement: Replacement,
    used: Arc<Used>,
    /// How many of the used values a stage looks for.
    known: usize,
}

/// A scrubber with what it looks for.
struct Stage(Scrubber);

impl Stage {
    fn new(needles: Arc<Needles>, replacement: Replacement) -> Self {
        Self(Scrubber::new(needles, replacement))
    }

    fn needles(&self) -> &Arc<Needles> {
        self.0.needles()
    }

    fn pass(&mut self, input: &[u8], last: bool, place: &str, findings: &mut Findings) -> Clean {
        let (mut written, mut hits) = (Vec::new(), Vec::new());
        let passed = self.0.pass(input, last, &mut written, &mut hits);
        findings.add(self.needles(), place, &hits);
        Clean { written, passed }
    }
}

/// What became of a piece of text.
pub struct Clean {
    /// What comes first: what was held back before, or all of a piece that held something.
    pub written: Vec<u8>,
    /// The rest of the piece, which is unchanged.
    pub passed: Range<usize>,
}

impl Clean {
    /// The whole of it as one text.
    pub fn join(mut self, input: &[u8]) -> Vec<u8> {
        self.written.extend_from_slice(&input[self.passed]);
        self.written
    }
}

impl Stages {
    /// At the start of a text. `needles` hold the first `known` values of `used`.
    pub fn new(
        needles: Arc<Needles>,
        used: &Arc<Used>,
        known: usize,
        replacement: Replacement,
    ) -> Self {
        Self {
            stages: vec![Stage::new(needles, replacement)],
            replacement,
            used: Arc::clone(used),
            known,
        }
    }

    /// Whether no value was sent that the first stage does not look for.
    pub fn are_fresh(&self) -> bool {
        self.stages.len() == 1 && self.used.count() == self.known
    }

    /// The next piece of a text; after its `last` the next one begins. Hits were found at `place`.
    pub fn scrub(
        &mut self,
        input: &[u8],
        last: bool,
        place: &str,
        findings: &mut Findings,
    ) -> Result<Clean, Unscannable> {
        self.follow_used()?;
        let Some((first, later)) = self.stages.split_first_mut() else {
            return Err(Unscannable);
        };
        let mut clean = first.pass(input, last, place, findings);
        for stage in later {
            let text = clean.join(input);
            let written = stage.pass(&text, last, place, findings).join(&text);
            clean = Clean {
                written,
                passed: 0..0,
            };
        }
        Ok(clean)
    }

    /// What waits for the bytes that follow it.
    pub fn waiting(&self) -> Waiting {
        let stages = self.stages.iter();
        stages
            .map(|stage| stage.0.waiting())
            .max()
            .unwrap_or(Waiting::Nothing)
    }

    /// What is not decided before more follows, as it came. None where that cannot be told.
    pub fn open_text(&self) -> Option<&[u8]> {
        match &self.stages[..] {
            [only] => only.0.open_text(),
            _ => None,
        }
    }

    /// Whether a value that began in what is not decided may go on in `next`. Of one that has come so far
    /// that it would cost much to look again, it is supposed.
    pub fn goes_on(&self, next: &[u8]) -> bool {
        let Some(open) = self.open_text().filter(|_| !next.is_empty()) else {
            return false;
        };
        if open.len() > LONGEST_LOOK {
            return true;
        }
        let needles = Arc::clone(self.stages[0].needles());
        let mut search = Scrubber::new(needles, Replacement::SameLength);
        let (mut decided, mut hits) = (Vec::new(), Vec::new());
        search.push(&[open, next].concat(), &mut decided, &mut hits);
        let end = open.len() as u64;
        let crosses = |hit: &Hit| hit.offset < end && hit.offset + hit.length as u64 > end;
        decided.len() < open.len() || hits.iter().any(crosses)
    }

    /// What waits, see [`Scrubber::release`]. Hits were found at `place`.
    pub fn release(&mut self, place: &str, findings: &mut Findings) -> Vec<u8> {
        let mut text = Vec::new();
        for stage in &mut self.stages {
            let mut written = stage.pass(&text, false, place, findings).join(&text);
            let mut hits = Vec::new();
            stage.0.release(&mut written, &mut hits);
            findings.add(stage.needles(), place, &hits);
            text = written;
        }
        text
    }

    /// What all of them look for, one stage after the other.
    pub fn needles(&self) -> impl Iterator<Item = &Arc<Needles>> {
        self.stages.iter().map(Stage::needles)
    }

    /// Whether nothing was sent so far.
    pub fn is_nothing_used(&self) -> bool {
        self.used.count() == 0
    }

    /// Looks for what was sent since the last look. An upstream cannot echo a value before it was
    /// sent, so what has passed already needs no second look.
    fn follow_used(&mut self) -> Result<(), Unscannable> {
        let count = self.used.count();
        if count == self.known {
            return Ok(());
        }
        let late = self.used.values()[self.known..].to_vec();
        self.known += late.len();
        let first = self.stages[0].needles();
        let needles = first.with_used(&late);
        if Arc::ptr_eq(&needles, first) {
            return Ok(());
        }
        if self.stages.len() >= STAGES {
            return Err(Unscannable);
        }
        self.stages.push(Stage::new(needles, self.replacement));
        Ok(())
    }
}

/// A text that cannot be searched: the answer's coding cannot be opened or is not what it says, or
/// too many values were sent meanwhile.
#[derive(Debug)]
pub struct Unscannable;

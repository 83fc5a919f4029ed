//! Decoding a body, bounded at every step.
//!
//! The codings of a stack form a chain of stages, and output is pulled from its end: a stage asks
//! the one outside it for more only when it has used up its input. So a pull never produces more
//! than the caller asks for, whatever size the body decodes to, and each stage holds a few
//! kilobytes.

use zeroize::Zeroizing;

use super::codings::{Coding, Codings};
use super::decompressor::Decompressor;
use super::error::CodingError;

/// How much one stage passes to the next at a time, in bytes.
const LINK: usize = 16 << 10;

/// What a coding may decode to whatever its ratio, in bytes. A short body of blanks has the ratio
/// of a bomb and does no harm.
const FREE: u64 = 1 << 20;

/// What the start of another member or frame counts for, in bytes of output. It costs time even if
/// it decodes to nothing.
const RESTART: u64 = 1 << 10;

/// How much a body may decode to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeLimits {
    /// Bytes of output for each byte of input beyond the first MiB of output. Applies to every
    /// coding of a stack, against the bytes on the wire: a coding whose gigabyte of output the next
    /// one decodes to nothing is a bomb as well.
    pub max_ratio: u32,
    /// Bytes of output altogether, if there is a cap.
    pub max_output: Option<u64>,
}

impl Default for DecodeLimits {
    /// A ratio of 200, more than compressed text reaches and far less than a bomb needs. No cap.
    fn default() -> Self {
        Self {
            max_ratio: 200,
            max_output: None,
        }
    }
}

/// How a [`Decoder::pull`] ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pulled {
    /// There was as much as the caller asked for, and there may be more. Pull again.
    More,
    /// All that can be decoded of what was pushed was returned. Push, or finish.
    NeedInput,
    /// The body is complete, and so is its coding.
    Done,
}

/// A body that is being decoded.
///
/// [`push`](Self::push) what arrived, [`pull`](Self::pull) until [`Pulled::NeedInput`], and repeat;
/// [`finish`](Self::finish) at the end of the body and pull until [`Pulled::Done`]. Everything that
/// can be decoded of what was pushed is returned at once. A body without any bytes decodes to
/// nothing: servers name a coding for empty bodies too.
pub struct Decoder {
    wire: Wire,
    /// Outermost first.
    stages: Vec<DecoderStage>,
    limits: DecodeLimits,
    given: u64,
    failed: Option<CodingError>,
}

impl Decoder {
    /// At the start of a body with these codings. No decompressor is made before the first byte.
    pub fn new(codings: &Codings, limits: DecodeLimits) -> Self {
        Self {
            wire: Wire::default(),
            stages: codings
                .as_slice()
                .iter()
                .rev()
                .map(|coding| DecoderStage::new(*coding))
                .collect(),
            limits,
            given: 0,
            failed: None,
        }
    }

    /// Takes the next bytes of the body. They are kept until a pull reads them.
    pub fn push(&mut self, input: &[u8]) {
        self.wire.push(input);
    }

    /// Ends the body: no more bytes follow.
    pub fn finish(&mut self) {
        self.wire.eof = true;
    }

    /// Appends at most `room` bytes of the decoded body to `out`. On an error, `out` may have got
    /// bytes from before the fault; the next pull returns the same error.
    ///
    /// # Errors
    ///
    /// All but [`CodingError::Compressor`]. [`CodingError::Truncated`] only after
    /// [`finish`](Self::finish).
    pub fn pull(&mut self, out: &mut Vec<u8>, room: usize) -> Result<Pulled, CodingError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let result = self.fill(out, room);
        self.failed = result.as_ref().err().copied();
        result
    }

    fn fill(&mut self, out: &mut Vec<u8>, room: usize) -> Result<Pulled, CodingError> {
        let start = out.len();
        loop {
            let before = out.len();
            let left = room - (before - start);
            if left == 0 {
                return Ok(Pulled::More);
            }
            let pulled = draw(
                &mut self.stages,
                &mut self.wire,
                self.limits.max_ratio,
                out,
                left,
            )?;
            self.given += (out.len() - before) as u64;
            if let Some(excess) = self
                .limits
                .max_output
                .and_then(|max| self.given.checked_sub(max))
                && excess > 0
            {
                // The output is in memory, so its length fits as well.
                out.truncate(
                    out.len()
                        .saturating_sub(usize::try_from(excess).unwrap_or(usize::MAX)),
                );
                return Err(CodingError::Bomb);
            }
            if pulled != Pulled::More {
                return Ok(pulled);
            }
        }
    }

    /// The codings in the order in which they were applied, and whether each was found to be raw
    /// deflate.
    pub(super) fn dialects(&self) -> impl Iterator<Item = (Coding, bool)> {
        let bare =
            |stage: &DecoderStage| matches!(stage.decompressor, Some(Decompressor::RawDeflate(_)));
        self.stages
            .iter()
            .rev()
            .map(move |stage| (stage.coding, bare(stage)))
    }
}

/// Appends some output of the last stage to `out`, at most `room` bytes. [`Pulled::More`] means
/// that there was some.
fn draw(
    stages: &mut [DecoderStage],
    wire: &mut Wire,
    max_ratio: u32,
    out: &mut Vec<u8>,
    room: usize,
) -> Result<Pulled, CodingError> {
    let Some((stage, outer)) = stages.split_last_mut() else {
        return Ok(wire.take(out, room));
    };
    loop {
        let written = stage.decompress_some(out, room)?;
        stage.written += written as u64;
        let allowed = wire
            .taken
            .saturating_mul(max_ratio.into())
            .saturating_add(FREE);
        if stage.written > allowed {
            return Err(CodingError::Bomb);
        }
        if written > 0 {
            return Ok(Pulled::More);
        }
        stage.discard_read();
        match draw(outer, wire, max_ratio, &mut stage.input, LINK)? {
            Pulled::More => {}
            Pulled::NeedInput => return Ok(Pulled::NeedInput),
            Pulled::Done => return stage.close(),
        }
    }
}

/// The body as it arrived.
#[derive(Default)]
struct Wire {
    bytes: Zeroizing<Vec<u8>>,
    read: usize,
    /// How much was passed to the outermost coding since the start.
    taken: u64,
    eof: bool,
}

impl Wire {
    fn push(&mut self, input: &[u8]) {
        self.bytes.drain(..self.read);
        self.read = 0;
        self.bytes.extend_from_slice(input);
    }

    fn take(&mut self, out: &mut Vec<u8>, room: usize) -> Pulled {
        let rest = &self.bytes[self.read..];
        let some = &rest[..rest.len().min(room)];
        if some.is_empty() {
            return if self.eof {
                Pulled::Done
            } else {
                Pulled::NeedInput
            };
        }
        out.extend_from_slice(some);
        self.read += some.len();
        self.taken += some.len() as u64;
        Pulled::More
    }
}

/// One coding of the stack.
struct DecoderStage {
    coding: Coding,
    decompressor: Option<Decompressor>,
    /// What the stage outside wrote, read up to `read`.
    input: Zeroizing<Vec<u8>>,
    read: usize,
    /// A member, frame or stream is complete and no other has begun.
    ended: bool,
    /// The last output filled its space, so the decompressor may hold more.
    holds_more: bool,
    /// What counts against the ratio.
    written: u64,
}

impl DecoderStage {
    fn new(coding: Coding) -> Self {
        Self {
            coding,
            decompressor: None,
            input: Zeroizing::default(),
            read: 0,
            ended: false,
            holds_more: false,
            written: 0,
        }
    }

    /// Decodes input until there is some output, and returns how much. Zero means that all input
    /// from which output can be made was read.
    fn decompress_some(&mut self, out: &mut Vec<u8>, room: usize) -> Result<usize, CodingError> {
        let corrupt = CodingError::Corrupt(self.coding);
        loop {
            let input = &self.input[self.read..];
            if input.is_empty() && !self.holds_more {
                return Ok(0);
            }
            let decompressor = match &mut self.decompressor {
                Some(decompressor) => decompressor,
                empty => match Decompressor::start(self.coding, input)? {
                    Some(decompressor) => empty.insert(decompressor),
                    None => return Ok(0),
                },
            };
            if self.ended {
                if !decompressor.restart() {
                    return Err(corrupt);
                }
                self.ended = false;
                self.written += RESTART;
            }
            let start = out.len();
            out.resize(start + room.min(LINK), 0);
            let step = decompressor.step(input, &mut out[start..]);
            let written = step.as_ref().map_or(0, |step| step.written);
            self.holds_more = written == out.len() - start;
            out.truncate(start + written);
            let step = step.ok_or(corrupt)?;
            let stuck = step.read == 0 && written == 0 && !step.ended && !input.is_empty();
            self.read += step.read;
            self.ended = step.ended;
            self.holds_more &= !step.ended;
            if stuck {
                return Err(corrupt);
            }
            if written > 0 {
                return Ok(written);
            }
        }
    }

    fn discard_read(&mut self) {
        self.input.drain(..self.read);
        self.read = 0;
    }

    /// Decides whether the input may end here.
    fn close(&self) -> Result<Pulled, CodingError> {
        let untouched = self.decompressor.is_none() && self.input.is_empty();
        if self.ended || untouched {
            Ok(Pulled::Done)
        } else {
            Err(CodingError::Truncated(self.coding))
        }
    }
}

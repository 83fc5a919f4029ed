//! The three decompressors behind one face.

use brotli::enc::StandardAlloc;
use brotli::{BrotliDecompressStream, BrotliResult, BrotliState};
use flate2::{Decompress, FlushDecompress, Status};
use zstd::stream::raw::{DParameter, Decoder as ZstdState, InBuffer, Operation, OutBuffer};

use super::{Coding, CodingError};

/// The window of deflate, as a power of two. There is no other in practice.
pub(super) const DEFLATE_WINDOW: u8 = 15;

/// The window that a zstd coding may need at most, as a power of two (8 MiB, RFC 9659). Without a
/// limit, a frame header of a few bytes would claim memory at will.
const ZSTD_WINDOW: u32 = 23;

type Brotli = BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>;

/// A decompressor at work.
pub(super) enum Open {
    Gzip(Decompress),
    Zlib(Decompress),
    RawDeflate(Decompress),
    Brotli(Box<Brotli>),
    Zstd(ZstdState<'static>),
}

/// What one call of a decompressor did.
pub(super) struct Step {
    pub(super) read: usize,
    pub(super) written: usize,
    /// A member, frame or stream is complete, and all of it was written.
    pub(super) ended: bool,
}

impl Open {
    /// Starts on a body that begins with these bytes. None if they do not tell enough yet.
    pub(super) fn start(coding: Coding, head: &[u8]) -> Result<Option<Self>, CodingError> {
        Ok(Some(match (coding, head) {
            (_, []) | (Coding::Deflate, [_]) => return Ok(None),
            (Coding::Deflate, [cmf, flg, ..]) if is_zlib_header(*cmf, *flg) => {
                Self::Zlib(Decompress::new(true))
            }
            (Coding::Deflate, _) => Self::RawDeflate(Decompress::new(false)),
            (Coding::Gzip, _) => Self::Gzip(Decompress::new_gzip(DEFLATE_WINDOW)),
            // Strict: the other constructor accepts windows of 1 GiB, which `br` does not have.
            (Coding::Brotli, _) => Self::Brotli(Box::new(BrotliState::new_strict(
                StandardAlloc::default(),
                StandardAlloc::default(),
                StandardAlloc::default(),
            ))),
            (Coding::Zstd, _) => Self::Zstd(zstd_state().ok_or(CodingError::Corrupt(coding))?),
        }))
    }

    /// Gets ready for what follows after an end. False if nothing may.
    pub(super) fn restart(&mut self) -> bool {
        match self {
            Self::Gzip(state) => {
                state.reset(true);
                true
            }
            // The library begins the next frame by itself.
            Self::Zstd(_) => true,
            Self::Zlib(_) | Self::RawDeflate(_) | Self::Brotli(_) => false,
        }
    }

    /// Reads some input and writes some output. None if the input is wrong.
    pub(super) fn step(&mut self, input: &[u8], out: &mut [u8]) -> Option<Step> {
        match self {
            Self::Gzip(state) | Self::Zlib(state) | Self::RawDeflate(state) => {
                inflate(state, input, out)
            }
            Self::Brotli(state) => open_brotli(state, input, out),
            Self::Zstd(state) => open_zstd(state, input, out),
        }
    }
}

/// RFC 1950, 2.2: the method, a window that exists, and the check of both bytes. What a
/// compressor writes as bare deflate never begins like that.
fn is_zlib_header(cmf: u8, flg: u8) -> bool {
    cmf & 0x0f == 8 && cmf >> 4 <= 7 && u16::from_be_bytes([cmf, flg]).is_multiple_of(31)
}

fn zstd_state() -> Option<ZstdState<'static>> {
    let mut state = ZstdState::new().ok()?;
    state
        .set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW))
        .ok()?;
    Some(state)
}

fn inflate(state: &mut Decompress, input: &[u8], out: &mut [u8]) -> Option<Step> {
    let (read, written) = (state.total_in(), state.total_out());
    let status = state.decompress(input, out, FlushDecompress::None).ok()?;
    Some(Step {
        read: usize::try_from(state.total_in() - read).ok()?,
        written: usize::try_from(state.total_out() - written).ok()?,
        ended: status == Status::StreamEnd,
    })
}

fn open_brotli(state: &mut Brotli, input: &[u8], out: &mut [u8]) -> Option<Step> {
    let (mut read, mut written) = (0, 0);
    let result = BrotliDecompressStream(
        &mut input.len(),
        &mut read,
        input,
        &mut out.len(),
        &mut written,
        out,
        &mut 0,
        state,
    );
    let ended = match result {
        BrotliResult::ResultFailure => return None,
        BrotliResult::ResultSuccess => true,
        BrotliResult::NeedsMoreInput | BrotliResult::NeedsMoreOutput => false,
    };
    Some(Step {
        read,
        written,
        ended,
    })
}

fn open_zstd(state: &mut ZstdState<'_>, input: &[u8], out: &mut [u8]) -> Option<Step> {
    let mut source = InBuffer::around(input);
    let mut target = OutBuffer::around(out);
    let wanted = state.run(&mut source, &mut target).ok()?;
    Some(Step {
        read: source.pos(),
        written: target.pos(),
        ended: wanted == 0,
    })
}

//! The three decompressors with one interface.

use brotli::enc::StandardAlloc;
use brotli::{BrotliDecompressStream, BrotliResult, BrotliState};
use flate2::{Decompress, FlushDecompress, Status};
use zstd::stream::raw::{DParameter, Decoder as ZstdState, InBuffer, Operation, OutBuffer};

use super::codings::Coding;
use super::error::CodingError;

/// The window of deflate, as a power of two. No other occurs in practice.
pub(super) const DEFLATE_WINDOW: u8 = 15;

/// The largest window that a zstd body may need, as a power of two (8 MiB, RFC 9659). Without a
/// limit, a frame header of a few bytes could claim any amount of memory.
const ZSTD_WINDOW: u32 = 23;

/// The longest header of a zstd frame, in bytes (RFC 8878, 3.1.1: with the magic number).
const ZSTD_HEADER: usize = 18;

type Brotli = BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>;

/// The state of a decompressor.
pub(super) enum Decompressor {
    Gzip(Decompress),
    Zlib(Decompress),
    RawDeflate(Decompress),
    Brotli(Box<Brotli>),
    Zstd(Zstd),
}

/// The state of a zstd decompressor.
pub(super) struct Zstd {
    state: ZstdState<'static>,
    /// How many bytes of the frame can still belong to its header.
    header: usize,
}

/// What one call of a decompressor did.
pub(super) struct Decompressed {
    pub(super) read: usize,
    pub(super) written: usize,
    /// A member, frame or stream is complete, and all of it was written.
    pub(super) ended: bool,
}

impl Decompressor {
    /// The decompressor for a body that begins with these bytes. None if they are too few to tell.
    pub(super) fn start(coding: Coding, head: &[u8]) -> Result<Option<Self>, CodingError> {
        Ok(Some(match (coding, head) {
            (_, []) | (Coding::Deflate, [_]) => return Ok(None),
            (Coding::Deflate, [cmf, flg, ..]) if is_zlib_header(*cmf, *flg) => {
                Self::Zlib(Decompress::new(true))
            }
            (Coding::Deflate, _) => Self::RawDeflate(Decompress::new(false)),
            (Coding::Gzip, _) => Self::Gzip(Decompress::new_gzip(DEFLATE_WINDOW)),
            // Strict: the other constructor accepts windows of 1 GiB, which `br` does not allow.
            (Coding::Brotli, _) => Self::Brotli(Box::new(BrotliState::new_strict(
                StandardAlloc::default(),
                StandardAlloc::default(),
                StandardAlloc::default(),
            ))),
            (Coding::Zstd, _) => Self::Zstd(Zstd::new().ok_or(CodingError::Corrupt(coding))?),
        }))
    }

    /// Prepares for another member or frame after an end. False if none may follow.
    pub(super) fn restart(&mut self) -> bool {
        match self {
            Self::Gzip(state) => {
                state.reset(true);
                true
            }
            Self::Zstd(zstd) => {
                zstd.header = ZSTD_HEADER;
                true
            }
            Self::Zlib(_) | Self::RawDeflate(_) | Self::Brotli(_) => false,
        }
    }

    /// Reads some input and writes some output. None if the input is wrong.
    pub(super) fn step(&mut self, input: &[u8], out: &mut [u8]) -> Option<Decompressed> {
        match self {
            Self::Gzip(state) | Self::Zlib(state) | Self::RawDeflate(state) => {
                inflate(state, input, out)
            }
            Self::Brotli(state) => decompress_brotli(state, input, out),
            Self::Zstd(zstd) => zstd.step(input, out),
        }
    }
}

/// RFC 1950, 2.2: the method, a valid window, and the check of both bytes. Raw deflate as a
/// compressor writes it never begins like that.
fn is_zlib_header(cmf: u8, flg: u8) -> bool {
    cmf & 0x0f == 8 && cmf >> 4 <= 7 && u16::from_be_bytes([cmf, flg]).is_multiple_of(31)
}

fn inflate(state: &mut Decompress, input: &[u8], out: &mut [u8]) -> Option<Decompressed> {
    let (read, written) = (state.total_in(), state.total_out());
    let status = state.decompress(input, out, FlushDecompress::None).ok()?;
    Some(Decompressed {
        read: usize::try_from(state.total_in() - read).ok()?,
        written: usize::try_from(state.total_out() - written).ok()?,
        ended: status == Status::StreamEnd,
    })
}

fn decompress_brotli(state: &mut Brotli, input: &[u8], out: &mut [u8]) -> Option<Decompressed> {
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
    Some(Decompressed {
        read,
        written,
        ended,
    })
}

impl Zstd {
    fn new() -> Option<Self> {
        let mut state = ZstdState::new().ok()?;
        state
            .set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW))
            .ok()?;
        Some(Self {
            state,
            header: ZSTD_HEADER,
        })
    }

    fn step(&mut self, input: &[u8], out: &mut [u8]) -> Option<Decompressed> {
        // If the input contains a whole frame, the library takes a shortcut with checks and limits
        // of its own, also where its input happens to be cut within a header. Headers given byte by
        // byte keep all frames on one path, however they arrive.
        let input = if self.header > 0 {
            &input[..input.len().min(1)]
        } else {
            input
        };
        self.header = self.header.saturating_sub(input.len());
        let mut source = InBuffer::around(input);
        let mut target = OutBuffer::around(out);
        // The library continues with the next frame by itself.
        let wanted = self.state.run(&mut source, &mut target).ok()?;
        Some(Decompressed {
            read: source.pos(),
            written: target.pos(),
            ended: wanted == 0,
        })
    }
}

//! The three compressors with one interface.

use brotli::enc::StandardAlloc;
use brotli::enc::encode::{
    BrotliEncoderOperation, BrotliEncoderParameter, BrotliEncoderStateStruct,
};
use flate2::{Compress, Compression, FlushCompress, Status};
use zstd::stream::raw::{CParameter, Encoder as ZstdState, InBuffer, Operation, OutBuffer};

use super::codings::Coding;
use super::decompressor::DEFLATE_WINDOW;

/// The level at which most servers compress a body that is sent once: time matters more than the
/// last percent of size.
const DEFLATE_LEVEL: u32 = 6;
const BROTLI_LEVEL: u32 = 4;
const ZSTD_LEVEL: i32 = 3;

/// Windows as powers of two, in bytes. Smaller than the levels would choose, because every open
/// stream holds a window.
const BROTLI_WINDOW: u32 = 18;
const ZSTD_WINDOW: u32 = 19;

/// The state of a compressor.
pub(super) enum Compressor {
    Flate(Compress),
    Brotli(Box<BrotliEncoderStateStruct<StandardAlloc>>),
    Zstd(ZstdState<'static>),
}

/// A request to a compressor.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum CompressRequest {
    /// Take the input; some of it may stay inside.
    Take,
    /// Write everything that was taken.
    Flush,
    /// Write it, and the end.
    Finish,
}

/// What one call of a compressor did.
pub(super) struct Compressed {
    pub(super) read: usize,
    pub(super) written: usize,
    /// It did all that was asked.
    pub(super) done: bool,
}

impl Compressor {
    /// At the start of a body. `bare` writes raw deflate, without the zlib wrapping.
    pub(super) fn start(coding: Coding, bare: bool) -> Option<Self> {
        let level = Compression::new(DEFLATE_LEVEL);
        Some(match coding {
            Coding::Gzip => Self::Flate(Compress::new_gzip(level, DEFLATE_WINDOW)),
            Coding::Deflate => Self::Flate(Compress::new(level, !bare)),
            Coding::Brotli => Self::Brotli(Box::new(brotli_state())),
            Coding::Zstd => Self::Zstd(zstd_state()?),
        })
    }

    /// Reads some input and writes some output; to flush and finish without input. None if the
    /// library fails.
    pub(super) fn step(
        &mut self,
        request: CompressRequest,
        input: &[u8],
        out: &mut [u8],
    ) -> Option<Compressed> {
        match self {
            Self::Flate(state) => deflate(state, request, input, out),
            Self::Brotli(state) => compress_brotli(state, request, input, out),
            Self::Zstd(state) => compress_zstd(state, request, input, out),
        }
    }
}

fn brotli_state() -> BrotliEncoderStateStruct<StandardAlloc> {
    let mut state = BrotliEncoderStateStruct::new(StandardAlloc::default());
    state.set_parameter(BrotliEncoderParameter::BROTLI_PARAM_QUALITY, BROTLI_LEVEL);
    state.set_parameter(BrotliEncoderParameter::BROTLI_PARAM_LGWIN, BROTLI_WINDOW);
    state
}

fn zstd_state() -> Option<ZstdState<'static>> {
    let mut state = ZstdState::new(ZSTD_LEVEL).ok()?;
    state
        .set_parameter(CParameter::WindowLog(ZSTD_WINDOW))
        .ok()?;
    Some(state)
}

fn deflate(
    state: &mut Compress,
    request: CompressRequest,
    input: &[u8],
    out: &mut [u8],
) -> Option<Compressed> {
    let flush = match request {
        CompressRequest::Take => FlushCompress::None,
        CompressRequest::Flush => FlushCompress::Sync,
        CompressRequest::Finish => FlushCompress::Finish,
    };
    let (read, written) = (state.total_in(), state.total_out());
    let status = state.compress(input, out, flush).ok()?;
    let read = usize::try_from(state.total_in() - read).ok()?;
    let written = usize::try_from(state.total_out() - written).ok()?;
    let done = match request {
        CompressRequest::Take => read == input.len(),
        CompressRequest::Flush => written < out.len(),
        CompressRequest::Finish => status == Status::StreamEnd,
    };
    Some(Compressed {
        read,
        written,
        done,
    })
}

fn compress_brotli(
    state: &mut BrotliEncoderStateStruct<StandardAlloc>,
    request: CompressRequest,
    input: &[u8],
    out: &mut [u8],
) -> Option<Compressed> {
    let operation = match request {
        CompressRequest::Take => BrotliEncoderOperation::BROTLI_OPERATION_PROCESS,
        CompressRequest::Flush => BrotliEncoderOperation::BROTLI_OPERATION_FLUSH,
        CompressRequest::Finish => BrotliEncoderOperation::BROTLI_OPERATION_FINISH,
    };
    let (mut read, mut written) = (0, 0);
    let fine = state.compress_stream(
        operation,
        &mut input.len(),
        input,
        &mut read,
        &mut out.len(),
        out,
        &mut written,
        &mut None,
        &mut |_, _, _, _| (),
    );
    let done = match request {
        CompressRequest::Take => read == input.len(),
        CompressRequest::Flush => !state.has_more_output(),
        CompressRequest::Finish => state.is_finished(),
    };
    fine.then_some(Compressed {
        read,
        written,
        done,
    })
}

fn compress_zstd(
    state: &mut ZstdState<'_>,
    request: CompressRequest,
    input: &[u8],
    out: &mut [u8],
) -> Option<Compressed> {
    let mut source = InBuffer::around(input);
    let mut target = OutBuffer::around(out);
    let done = match request {
        CompressRequest::Take => {
            state.run(&mut source, &mut target).ok()?;
            source.pos() == input.len()
        }
        CompressRequest::Flush => state.flush(&mut target).ok()? == 0,
        CompressRequest::Finish => state.finish(&mut target, true).ok()? == 0,
    };
    Some(Compressed {
        read: source.pos(),
        written: target.pos(),
        done,
    })
}

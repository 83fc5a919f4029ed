//! Writing a body in its codings.

use zeroize::Zeroizing;

use super::codings::{Coding, Codings};
use super::compressor::{CompressRequest, Compressor};
use super::decoder::Decoder;
use super::error::CodingError;

/// How much one stage passes to the next at a time, in bytes.
const LINK: usize = 8 << 10;

/// A body that is being encoded.
///
/// A [`push`](Self::push) need not write anything: compressors buffer. A [`flush`](Self::flush)
/// writes everything that was pushed, at the cost of a few bytes, and [`finish`](Self::finish) ends
/// the body and consumes the encoder. A body that is finished without a push is a valid empty one,
/// which in most codings is not a body of no bytes.
pub struct Encoder {
    /// Innermost first.
    stages: Vec<EncoderStage>,
}

impl Encoder {
    /// At the start of a body. No compressor is made before the first byte or the end.
    pub fn new(codings: &Codings) -> Self {
        let stages = codings
            .as_slice()
            .iter()
            .map(|coding| EncoderStage::new(*coding, false));
        Self {
            stages: stages.collect(),
        }
    }

    /// In the codings that this decoder reads, and in the dialect that it met: a client that sends
    /// raw deflate may know that its server reads only that. The dialect is known once the decoder
    /// has returned some output.
    pub fn like(decoder: &Decoder) -> Self {
        let stages = decoder
            .dialects()
            .map(|(coding, bare)| EncoderStage::new(coding, bare));
        Self {
            stages: stages.collect(),
        }
    }

    /// Takes the next bytes of the body and appends what the compressors write to `out`.
    ///
    /// # Errors
    ///
    /// Only [`CodingError::Compressor`], here and below. The encoder is of no use after it.
    pub fn push(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<(), CodingError> {
        drive(&mut self.stages, CompressRequest::Take, input, out)
    }

    /// Appends to `out` what a decoder needs to read all that was pushed. Nothing if it can already.
    pub fn flush(&mut self, out: &mut Vec<u8>) -> Result<(), CodingError> {
        drive(&mut self.stages, CompressRequest::Flush, &[], out)
    }

    /// Appends the end of the body to `out`.
    pub fn finish(mut self, out: &mut Vec<u8>) -> Result<(), CodingError> {
        drive(&mut self.stages, CompressRequest::Finish, &[], out)
    }
}

/// One coding of the stack.
struct EncoderStage {
    coding: Coding,
    /// Raw deflate, without the zlib wrapping.
    bare: bool,
    compression: Option<Compression>,
    /// Something was taken since the last flush.
    holds_some: bool,
}

struct Compression {
    compressor: Compressor,
    space: Zeroizing<Box<[u8]>>,
}

impl EncoderStage {
    fn new(coding: Coding, bare: bool) -> Self {
        Self {
            coding,
            bare,
            compression: None,
            holds_some: false,
        }
    }

    fn compression(&mut self) -> Option<&mut Compression> {
        if self.compression.is_none() {
            self.compression = Some(Compression {
                compressor: Compressor::start(self.coding, self.bare)?,
                space: Zeroizing::new(vec![0; LINK].into_boxed_slice()),
            });
        }
        self.compression.as_mut()
    }
}

/// Makes a request to the first stage, and passes what it writes to the stages outside it.
fn drive(
    stages: &mut [EncoderStage],
    request: CompressRequest,
    input: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), CodingError> {
    let Some((stage, outer)) = stages.split_first_mut() else {
        out.extend_from_slice(input);
        return Ok(());
    };
    let idle = match request {
        CompressRequest::Take => input.is_empty(),
        // A second flush would write its marker again, for the outer coding to encode.
        CompressRequest::Flush => !stage.holds_some,
        CompressRequest::Finish => false,
    };
    if idle {
        return Ok(());
    }
    stage.holds_some = request == CompressRequest::Take;
    let failed = CodingError::Compressor(stage.coding);
    let Compression { compressor, space } = stage.compression().ok_or(failed)?;
    let mut rest = input;
    loop {
        let step = compressor.step(request, rest, space).ok_or(failed)?;
        rest = &rest[step.read..];
        drive(outer, CompressRequest::Take, &space[..step.written], out)?;
        if step.done {
            break;
        }
        if step.read == 0 && step.written == 0 {
            return Err(failed);
        }
    }
    match request {
        CompressRequest::Take => Ok(()),
        CompressRequest::Flush | CompressRequest::Finish => drive(outer, request, &[], out),
    }
}

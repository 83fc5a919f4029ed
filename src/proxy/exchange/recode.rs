//! Request bodies under a content coding: opened to be searched, and closed again in the same coding.

use bytes::Bytes;

use crate::coding::{CodingError, Codings, DecodeLimits, Decoder, Encoder, Pulled};
use crate::error::{Code, Refusal};

/// How much is opened at once, in bytes.
const PIECE: usize = 64 * 1024;

/// Opens a whole body, if it opens to at most `limit` bytes.
pub fn open(codings: &Codings, body: &[u8], limit: usize) -> Result<Option<Opened>, Refusal> {
    let mut decoder = Decoder::new(codings, DecodeLimits::default());
    decoder.push(body);
    decoder.finish();
    let mut data = Vec::new();
    loop {
        match decoder.pull(&mut data, PIECE).map_err(refusal)? {
            _ if data.len() > limit => return Ok(None),
            Pulled::Done => break,
            Pulled::More | Pulled::NeedInput => {}
        }
    }
    Ok(Some(Opened {
        encoder: Encoder::like(&decoder),
        data: data.into(),
    }))
}

/// A body that was opened, and what closes it again.
pub struct Opened {
    /// The bytes inside.
    pub data: Bytes,
    /// Writes the coding that the client chose.
    pub encoder: Encoder,
}

/// The bytes of a body in its coding.
pub fn close(mut encoder: Encoder, data: &[u8]) -> Result<Bytes, Refusal> {
    let mut out = Vec::new();
    encoder
        .push(data, &mut out)
        .and_then(|()| encoder.finish(&mut out))
        .map_err(refusal)?;
    Ok(out.into())
}

/// A coded body that streams: opened piece by piece on one side of the search, closed on the other.
pub struct Recoder {
    decoder: Decoder,
    /// Made once the decoder has met the dialect.
    encoder: Option<Encoder>,
    more: bool,
    ended: bool,
}

impl Recoder {
    /// At the start of a body with these codings.
    pub fn new(codings: &Codings) -> Self {
        Self {
            decoder: Decoder::new(codings, DecodeLimits::default()),
            encoder: None,
            more: false,
            ended: false,
        }
    }

    /// Takes bytes as they arrived.
    pub fn push(&mut self, input: &[u8]) {
        self.decoder.push(input);
        self.more = true;
    }

    /// Says that nothing more will arrive.
    pub fn finish(&mut self) {
        self.decoder.finish();
        self.more = true;
    }

    /// Whether [`Recoder::pull`] may have something.
    pub fn has_more(&self) -> bool {
        self.more
    }

    /// Whether everything was opened.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// The next opened bytes.
    pub fn pull(&mut self) -> Result<Vec<u8>, Refusal> {
        let mut opened = Vec::new();
        let pulled = self.decoder.pull(&mut opened, PIECE).map_err(refusal)?;
        self.more = pulled == Pulled::More;
        self.ended = pulled == Pulled::Done;
        Ok(opened)
    }

    /// Closes `data` again; `last` ends the body.
    pub fn close(&mut self, data: &[u8], last: bool) -> Result<Vec<u8>, Refusal> {
        let mut out = Vec::new();
        if self.encoder.is_none() && (!data.is_empty() || last) {
            self.encoder = Some(Encoder::like(&self.decoder));
        }
        let Some(encoder) = &mut self.encoder else {
            return Ok(out);
        };
        encoder.push(data, &mut out).map_err(refusal)?;
        if last && let Some(encoder) = self.encoder.take() {
            encoder.finish(&mut out).map_err(refusal)?;
        }
        Ok(out)
    }
}

/// The refusal of a body whose coding has no name here.
pub fn unsupported() -> Refusal {
    Refusal::new(
        Code::BodyEncodingUnsupported,
        "a body of this type is searched for placeholders and cannot be opened in its \
         Content-Encoding; use gzip, deflate, br or zstd, send it uncompressed, or leave \"body\" \
         out of `scan` for this destination",
    )
}

fn refusal(error: CodingError) -> Refusal {
    match error {
        CodingError::Bomb => Refusal::new(
            Code::BodyTooLarge,
            "the compressed body opens to an absurd size",
        ),
        CodingError::Corrupt(coding) | CodingError::Truncated(coding) => Refusal::new(
            Code::BodyEncodingUnsupported,
            format!("the body is not the {coding} that its Content-Encoding says; send it again"),
        ),
        CodingError::Compressor(_) => {
            Refusal::new(Code::Internal, "the body could not be compressed again")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coding::Coding;

    fn coded(text: &[u8]) -> Bytes {
        close(Encoder::new(&Coding::Gzip.into()), text).unwrap()
    }

    #[test]
    fn what_was_opened_closes_to_the_same_again() {
        let body = coded(b"hello <<gh>>");
        let opened = open(&Coding::Gzip.into(), &body, 100).unwrap().unwrap();
        assert_eq!(&opened.data[..], b"hello <<gh>>");
        let again = close(opened.encoder, b"hello value").unwrap();
        let opened = open(&Coding::Gzip.into(), &again, 100).unwrap().unwrap();
        assert_eq!(&opened.data[..], b"hello value");
    }

    #[test]
    fn a_body_that_opens_too_far_is_not_held_and_a_bomb_is_refused() {
        let body = coded(&[b'a'; 1000]);
        assert!(open(&Coding::Gzip.into(), &body, 100).unwrap().is_none());
        let bomb = coded(&vec![0; 64 << 20]);
        let refused = open(&Coding::Gzip.into(), &bomb, usize::MAX).err().unwrap();
        assert_eq!(refused.code, Code::BodyTooLarge);
    }

    #[test]
    fn a_lie_about_the_coding_is_refused() {
        let refused = open(&Coding::Gzip.into(), b"plain <<gh>>", 100)
            .err()
            .unwrap();
        assert_eq!(refused.code, Code::BodyEncodingUnsupported);
    }
}

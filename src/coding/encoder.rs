//! Writing a body in its codings.

use zeroize::Zeroizing;

use super::compressor::{Ask, Close};
use super::{Coding, CodingError, Codings, Decoder};

/// How much passes from one coding to the next at a time, in bytes.
const LINK: usize = 8 << 10;

/// A body being coded.
///
/// Nothing needs to come out of a [`push`](Self::push): compressors gather. A
/// [`flush`](Self::flush) lets everything out that was pushed, at the price of a few bytes, and
/// [`finish`](Self::finish) ends the body; after it, the encoder is used up. A body that is
/// finished without a push is a valid empty one, which in most codings is not a body of no bytes.
pub struct Encoder {
    /// Innermost first.
    links: Vec<Link>,
}

impl Encoder {
    /// At the start of a body. No compressor is made before the first byte or the end.
    pub fn new(codings: &Codings) -> Self {
        let links = codings
            .as_slice()
            .iter()
            .map(|coding| Link::new(*coding, false));
        Self {
            links: links.collect(),
        }
    }

    /// In the codings that this decoder opens, and in the dialect that it met: who sends bare
    /// deflate talks to somebody who may read only that. Which it is, is known once the decoder
    /// has given some output.
    pub fn like(decoder: &Decoder) -> Self {
        let links = decoder
            .dialects()
            .map(|(coding, bare)| Link::new(coding, bare));
        Self {
            links: links.collect(),
        }
    }

    /// Takes the next bytes of the body and appends to `out` what comes out.
    ///
    /// # Errors
    ///
    /// Only [`CodingError::Compressor`], here and below. The encoder is of no use after it.
    pub fn push(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<(), CodingError> {
        drive(&mut self.links, Ask::Take, input, out)
    }

    /// Appends to `out` all that makes what was pushed readable. Nothing if it is already.
    pub fn flush(&mut self, out: &mut Vec<u8>) -> Result<(), CodingError> {
        drive(&mut self.links, Ask::Flush, &[], out)
    }

    /// Appends the end of the body to `out`.
    pub fn finish(mut self, out: &mut Vec<u8>) -> Result<(), CodingError> {
        drive(&mut self.links, Ask::Finish, &[], out)
    }
}

/// One coding of the stack.
struct Link {
    coding: Coding,
    /// Deflate without the zlib wrapping.
    bare: bool,
    work: Option<Work>,
    /// Something was taken since the last flush.
    holds_some: bool,
}

struct Work {
    close: Close,
    space: Zeroizing<Box<[u8]>>,
}

impl Link {
    fn new(coding: Coding, bare: bool) -> Self {
        Self {
            coding,
            bare,
            work: None,
            holds_some: false,
        }
    }

    fn work(&mut self) -> Option<&mut Work> {
        if self.work.is_none() {
            self.work = Some(Work {
                close: Close::start(self.coding, self.bare)?,
                space: Zeroizing::new(vec![0; LINK].into_boxed_slice()),
            });
        }
        self.work.as_mut()
    }
}

/// Has the first link do what is asked, and those outside it with what it lets out.
fn drive(links: &mut [Link], ask: Ask, input: &[u8], out: &mut Vec<u8>) -> Result<(), CodingError> {
    let Some((link, outer)) = links.split_first_mut() else {
        out.extend_from_slice(input);
        return Ok(());
    };
    let idle = match ask {
        Ask::Take => input.is_empty(),
        // A second flush would write its marker again, which the outer coding would have to carry.
        Ask::Flush => !link.holds_some,
        Ask::Finish => false,
    };
    if idle {
        return Ok(());
    }
    link.holds_some = ask == Ask::Take;
    let failed = CodingError::Compressor(link.coding);
    let Work { close, space } = link.work().ok_or(failed)?;
    let mut rest = input;
    loop {
        let step = close.step(ask, rest, space).ok_or(failed)?;
        rest = &rest[step.read..];
        drive(outer, Ask::Take, &space[..step.written], out)?;
        if step.done {
            break;
        }
        if step.read == 0 && step.written == 0 {
            return Err(failed);
        }
    }
    match ask {
        Ask::Take => Ok(()),
        Ask::Flush | Ask::Finish => drive(outer, ask, &[], out),
    }
}

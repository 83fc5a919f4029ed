//! Bodies made of messages that say their length in front.
//!
//! gRPC, gRPC-Web and the streams of the Connect protocol put five bytes before each message: flags,
//! and a length. The lowest flag says that this message is compressed, in the coding that
//! `grpc-encoding` or `Connect-Content-Encoding` names. A value in such a message would not be
//! found, so it is opened here and passed on uncompressed, with the flag cleared: both protocols
//! allow any message to be uncompressed. The watch streams of Kubernetes in protobuf put four bytes
//! with a length before each object.

use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use zeroize::Zeroizing;

use crate::coding::{Codings, DecodeLimits, Decoder, Pulled};
use crate::proxy::response::stages::Unscannable;

/// The most bytes of a compressed message, and of what it opens to. Clients accept 4 MiB by default.
const MOST: usize = 16 << 20;

/// The flag of a compressed message.
const COMPRESSED: u8 = 1;

/// What stands before each message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prefix {
    /// A byte of flags, and a length of four bytes.
    Envelope,
    /// A length of four bytes.
    Length,
}

impl Prefix {
    fn len(self) -> usize {
        match self {
            Self::Envelope => 5,
            Self::Length => 4,
        }
    }
}

/// Where in which message a body is.
pub struct MessageFraming {
    prefix: Prefix,
    /// The coding of compressed messages, if it can be opened.
    codings: Option<Codings>,
    /// The prefix of the message, as far as it has come.
    head: [u8; 5],
    read: usize,
    /// Bytes of the message that are still to come.
    left: usize,
    /// The compressed message, as far as it has come.
    coded: Option<Zeroizing<Vec<u8>>>,
}

impl MessageFraming {
    /// At the start of a body with this head.
    pub fn new(prefix: Prefix, headers: &HeaderMap) -> Self {
        Self {
            prefix,
            codings: message_codings(headers),
            head: [0; 5],
            read: 0,
            left: 0,
            coded: None,
        }
    }

    /// Whether the body is between two messages.
    pub fn is_between(&self) -> bool {
        self.read == 0
    }

    /// What comes in place of `input`: the same with compressed messages opened. If `lenient`, those
    /// whose coding is not known stay as they are.
    pub fn open(&mut self, input: Bytes, lenient: bool) -> Result<Bytes, Unscannable> {
        let mut changed = self.coded.is_some();
        let mut out = Vec::new();
        // All before this is in `out`, if anything changes.
        let mut taken = 0;
        let mut at = 0;
        while at < input.len() {
            if self.read == 0 && self.begins_coded(input[at], lenient)? {
                changed = true;
                out.extend_from_slice(&input[taken..at]);
                self.coded = Some(Zeroizing::default());
            }
            at += self.read_some(&input[at..])?;
            if self.coded.is_some() {
                taken = at;
                if self.is_complete() {
                    self.open_message(&mut out)?;
                }
            }
            if self.is_complete() {
                self.read = 0;
            }
        }
        if !changed {
            return Ok(input);
        }
        out.extend_from_slice(&input[taken..]);
        Ok(out.into())
    }

    /// The end of the body. A compressed message that is not complete was kept back.
    pub fn finish(&self) -> Result<(), Unscannable> {
        if self.coded.is_some() {
            return Err(Unscannable);
        }
        Ok(())
    }

    fn is_complete(&self) -> bool {
        self.read == self.prefix.len() && self.left == 0
    }

    /// Whether the message that begins with the byte `flags` has to be opened.
    fn begins_coded(&self, flags: u8, lenient: bool) -> Result<bool, Unscannable> {
        let is_coded = self.prefix == Prefix::Envelope && flags & COMPRESSED != 0;
        match (is_coded, &self.codings) {
            (true, None) if lenient => Ok(false),
            (true, None) => Err(Unscannable),
            (is_coded, _) => Ok(is_coded),
        }
    }

    /// Reads a byte of the prefix, or what there is of the message. Returns how much that was.
    fn read_some(&mut self, input: &[u8]) -> Result<usize, Unscannable> {
        if self.read < self.prefix.len() {
            self.head[self.read] = input[0];
            self.read += 1;
            if self.read == self.prefix.len() {
                self.left = self.length();
                if self.coded.is_some() && self.left > MOST {
                    return Err(Unscannable);
                }
            }
            return Ok(1);
        }
        let count = self.left.min(input.len());
        if let Some(coded) = &mut self.coded {
            coded.extend_from_slice(&input[..count]);
        }
        self.left -= count;
        Ok(count)
    }

    fn length(&self) -> usize {
        let end = self.prefix.len();
        let bytes = self.head[end - 4..end].iter();
        bytes.fold(0, |length, &byte| length << 8 | usize::from(byte))
    }

    /// Appends the message that was compressed.
    fn open_message(&mut self, out: &mut Vec<u8>) -> Result<(), Unscannable> {
        let (Some(coded), Some(codings)) = (self.coded.take(), &self.codings) else {
            return Err(Unscannable);
        };
        let limits = DecodeLimits {
            max_output: Some(MOST as u64),
            ..DecodeLimits::default()
        };
        let mut decoder = Decoder::new(codings, limits);
        decoder.push(&coded);
        decoder.finish();
        let mut opened = Zeroizing::new(Vec::new());
        while decoder.pull(&mut opened, MOST).map_err(|_| Unscannable)? != Pulled::Done {}
        let length = u32::try_from(opened.len()).map_err(|_| Unscannable)?;
        out.push(self.head[0] & !COMPRESSED);
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(&opened);
        Ok(())
    }
}

/// The coding of compressed messages. `None` if it cannot be opened, or none is named.
fn message_codings(headers: &HeaderMap) -> Option<Codings> {
    static NAMES: [HeaderName; 2] = [
        HeaderName::from_static("grpc-encoding"),
        HeaderName::from_static("connect-content-encoding"),
    ];
    let lines = NAMES.iter().flat_map(|name| headers.get_all(name));
    let codings = Codings::parse(lines.map(HeaderValue::as_bytes)).ok()?;
    (!codings.is_identity()).then_some(codings)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::coding::{Coding, Encoder};

    fn envelope(flags: u8, message: &[u8]) -> Vec<u8> {
        let length = (message.len() as u32).to_be_bytes();
        [&[flags][..], &length, message].concat()
    }

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = Encoder::new(&Codings::from(Coding::Gzip));
        let mut out = Vec::new();
        encoder.push(text, &mut out).expect("push");
        encoder.finish(&mut out).expect("finish");
        out
    }

    fn framing(encoding: &'static str) -> MessageFraming {
        let mut headers = HeaderMap::new();
        headers.insert("grpc-encoding", HeaderValue::from_static(encoding));
        MessageFraming::new(Prefix::Envelope, &headers)
    }

    proptest! {
        /// However the body is cut, each compressed message is opened and the others stay.
        #[test]
        fn compressed_messages_are_opened(
            messages in prop::collection::vec(("[a-z]{0,40}", any::<bool>(), 0..3_u8), 0..6),
            size in 1..50_usize,
        ) {
            let (mut body, mut expected) = (Vec::new(), Vec::new());
            for (text, is_coded, flags) in &messages {
                let flags = flags << 1;
                let sent = if *is_coded { gzip(text.as_bytes()) } else { text.clone().into_bytes() };
                body.extend(envelope(flags | u8::from(*is_coded), &sent));
                expected.extend(envelope(flags, text.as_bytes()));
            }
            let mut framing = framing("gzip");
            let mut out = Vec::new();
            for piece in body.chunks(size) {
                let opened = framing.open(Bytes::copy_from_slice(piece), false);
                out.extend_from_slice(&opened.expect("gzip"));
            }
            prop_assert!(framing.is_between() && framing.finish().is_ok());
            prop_assert_eq!(out, expected);
        }
    }

    #[test]
    fn what_cannot_be_opened_is_refused_unless_nothing_was_used() {
        let message = Bytes::from(envelope(1, b"not gzip"));
        for encoding in ["gzip", "snappy", "identity", "gzip, snappy"] {
            let opened = framing(encoding).open(message.clone(), false);
            assert!(opened.is_err(), "{encoding}");
        }
        let passed = framing("snappy").open(message.clone(), true);
        assert_eq!(passed.expect("lenient"), message);
    }

    #[test]
    fn a_message_that_is_cut_off_or_too_long_is_refused() {
        let message = envelope(1, &gzip(b"text"));
        let mut cut = framing("gzip");
        let opened = cut.open(Bytes::from(message[..12].to_vec()), false);
        assert!(opened.expect("so far").is_empty());
        assert!(cut.finish().is_err());
        let mut long = framing("gzip");
        let head = Bytes::from_static(&[1, 0x7f, 0, 0, 0]);
        assert!(long.open(head, false).is_err());
    }
}

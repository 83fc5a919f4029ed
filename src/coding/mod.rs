//! Content codings (RFC 9110, 8.4.1): decoding a body, and encoding it again.
//!
//! A compressed body has to be decoded before placeholders can be found in a request, or values in
//! an answer. This module does no input or output: [`Decoder`] and [`Encoder`] take bytes and return
//! bytes. It supports gzip (RFC 1952), deflate (RFC 1950, and the raw RFC 1951 that some senders
//! write instead), br (RFC 7932) and zstd (RFC 8878, with the window limit of RFC 9659), alone and
//! stacked.
//!
//! ```
//! use egret::coding::{Codings, Decoder, Encoder, DecodeLimits, Pulled};
//!
//! let codings = Codings::parse([b"gzip, br".as_slice()])?;
//! let mut encoder = Encoder::new(&codings);
//! let mut wire = Vec::new();
//! encoder.push(b"data: 1\n\n", &mut wire)?;
//! encoder.flush(&mut wire)?;
//!
//! let mut decoder = Decoder::new(&codings, DecodeLimits::default());
//! let mut out = Vec::new();
//! decoder.push(&wire);
//! assert_eq!(decoder.pull(&mut out, 4096)?, Pulled::NeedInput);
//! assert_eq!(out, b"data: 1\n\n");
//!
//! wire.clear();
//! encoder.finish(&mut wire)?;
//! decoder.push(&wire);
//! decoder.finish();
//! assert_eq!(decoder.pull(&mut out, 4096)?, Pulled::Done);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What stays in memory
//!
//! The buffers between codings are wiped when they are dropped. The libraries' own windows are not
//! and cannot be: a [`Decoder`] or [`Encoder`] holds up to a window of plaintext (32 KiB for gzip
//! and deflate, 16 MiB at most for br, 8 MiB for zstd; an [`Encoder`]'s stays below 1 MiB) until it
//! is dropped, and after that the freed memory holds it until it is used again.

mod accept;
mod codings;
mod compressor;
mod decoder;
mod decompressor;
mod encoder;
mod error;
#[cfg(test)]
mod fixture;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod vectors;

pub use accept::{acceptable, narrow_accept_encoding, narrow_message_encodings};
pub use codings::{Coding, Codings, UnsupportedCoding};
pub use decoder::{DecodeLimits, Decoder, Pulled};
pub use encoder::Encoder;
pub use error::CodingError;

//! Why a coded body cannot be read or written.

use super::codings::Coding;

/// Why a coded body cannot be read or written any further. Nothing in it comes from the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodingError {
    /// Not what its coding says, or followed by something else after its end.
    #[error("the body is not valid {0}")]
    Corrupt(Coding),
    /// The body ended before its coding did.
    #[error("the {0} body ends too early")]
    Truncated(Coding),
    /// It opens to more than the [`DecodeLimits`](crate::coding::DecodeLimits) allow.
    #[error("the coded body opens to an absurd size")]
    Bomb,
    /// The compressor gave up, which it has no reason to but a lack of memory.
    #[error("the body cannot be written as {0}")]
    Compressor(Coding),
}

//! Why a coded body cannot be read or written.

use super::codings::Coding;

/// Why a coded body cannot be read or written any further. It contains nothing of the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodingError {
    /// Not valid in its coding, or followed by other bytes after its end.
    #[error("the body is not valid {0}")]
    Corrupt(Coding),
    /// The body ended before its coding did.
    #[error("the {0} body ends too early")]
    Truncated(Coding),
    /// It decodes to more than the [`DecodeLimits`](crate::coding::DecodeLimits) allow.
    #[error("the coded body opens to an absurd size")]
    Bomb,
    /// The compressor failed. The only known reason is a lack of memory.
    #[error("the body cannot be written as {0}")]
    Compressor(Coding),
}

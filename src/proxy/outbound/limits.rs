//! Bounds on an upstream's connection.

use std::time::Duration;

/// Bounds on waiting for an upstream.
#[derive(Clone, Copy, Debug)]
pub struct UpstreamLimits {
    /// For a TLS handshake.
    pub handshake: Duration,
    /// For any silence: before the answer, or in either body.
    pub idle: Duration,
    /// Most header lines of an answer.
    pub max_headers: usize,
}

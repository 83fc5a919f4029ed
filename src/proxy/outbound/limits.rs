//! Bounds on an upstream's connection.

use std::time::Duration;

/// Bounds on waiting for an upstream.
#[derive(Clone, Copy, Debug)]
pub struct UpstreamLimits {
    /// For a TLS handshake.
    pub handshake: Duration,
    /// From the end of the request to the head of its answer.
    pub first_byte: Duration,
    /// For a silence in the body of an answer.
    pub idle: Duration,
    /// The same, if the answer is a stream of events.
    pub stream: Duration,
    /// Largest head of an answer, in bytes.
    pub max_header_bytes: usize,
}

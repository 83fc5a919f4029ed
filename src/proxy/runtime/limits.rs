//! Bounds on a client's connection.

use std::time::Duration;

/// Bounds on the head of a message and on how long one may take.
#[derive(Clone, Copy, Debug)]
pub struct HeadLimits {
    /// Largest request head in bytes, request line and terminator included.
    pub bytes: usize,
    /// Most header lines.
    pub headers: usize,
    /// From a head's first byte to its last.
    pub head_timeout: Duration,
    /// How long a connection may stay silent as long as no request of it was authenticated.
    pub first_timeout: Duration,
    /// How long a connection may stay silent between requests.
    pub idle_timeout: Duration,
    /// Whether a client that has ended its side still gets the answer that it waits for.
    pub serves_half_closed: bool,
}

/// Up to so many header lines the library parses without an allocation. The head guard enforces
/// the configured number either way.
pub const HEADERS_ON_STACK: usize = 100;

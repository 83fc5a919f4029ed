//! What is kept of a request until its answer comes.

use std::sync::Arc;

use http::HeaderValue;

use crate::proxy::exchange::outcome::Outcome;
use crate::scrub::Needles;

/// What is needed of a request once its answer comes.
pub struct Awaited {
    /// What the ledger is waiting for, with what was known about the request and what it has sent.
    pub outcome: Outcome,
    /// What the caller's principal can use.
    pub needles: Arc<Needles>,
    /// What the client would have.
    pub asked: Asked,
}

/// What a request said of the answer it would have.
pub struct Asked {
    /// The client's own `Accept-Encoding` lines.
    pub accept_encoding: Vec<HeaderValue>,
    /// Whether the upstream was asked for a part (`Range`).
    pub part: bool,
    /// Whether the client takes trailers.
    pub takes_trailers: bool,
}

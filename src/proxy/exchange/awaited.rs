//! What is kept of a request until its answer comes.

use std::sync::Arc;

use http::header::{self, HeaderMap, HeaderValue};

use crate::proxy::exchange::authorisation::Decided;
use crate::proxy::exchange::outcome::Outcome;
use crate::scrub::Needles;
use crate::substitution::body::{BodyKind, classify};

/// What is needed of a request once its answer comes.
pub struct Awaited {
    /// What the ledger is waiting for, with what was known about the request and what it has sent.
    pub outcome: Outcome,
    /// What was decided about its values, to be decided again before they are sent.
    pub decided: Decided,
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
    /// Whether it has an `Authorization`, which may authenticate the connection.
    pub has_authorization: bool,
    /// Whether the client takes trailers.
    pub takes_trailers: bool,
    /// Whether it asked by HEAD for one type, which is not text.
    pub opaque_head: bool,
}

/// Whether these fields of a request ask for one type that is not text.
pub fn wants_opaque(headers: &HeaderMap) -> bool {
    let mut lines = headers.get_all(header::ACCEPT).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else {
        return false;
    };
    let is_one_type = !line.as_bytes().iter().any(|byte| b"*,;".contains(byte));
    is_one_type && matches!(classify(Some(line.as_bytes())), BodyKind::Opaque)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_type_that_is_not_text_is_opaque() {
        for (accept, is_opaque) in [
            ("application/vnd.x.restic.rest.v2", true),
            ("application/octet-stream", true),
            ("application/json", false),
            ("text/plain", false),
            ("*/*", false),
            ("image/*", false),
            ("image/png, application/json", false),
            ("image/png;q=0.5", false),
            ("", false),
        ] {
            let headers =
                HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static(accept))]);
            assert_eq!(wants_opaque(&headers), is_opaque, "{accept}");
        }
        assert!(!wants_opaque(&HeaderMap::new()));
    }
}

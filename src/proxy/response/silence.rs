//! How long the body of an answer may be silent.

use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::header::{self, HeaderMap};

use crate::proxy::exchange::out_body::Transfer;
use crate::proxy::outbound::limits::UpstreamLimits;
use crate::proxy::runtime::idle::IdleTimer;

/// Types of answers that consist of events, which come when something happens. What ends with `/` or
/// `+` is a prefix.
const STREAMS: [&str; 6] = [
    "text/event-stream",
    "application/grpc",
    "application/connect+",
    "application/x-ndjson",
    "application/json-seq",
    "multipart/x-mixed-replace",
];
/// The parameter by which Kubernetes says the same.
const WATCH: &str = "stream=watch";

/// A bound on silence, and the name of the key that sets it.
pub struct SilenceLimit {
    timer: IdleTimer,
    limit: Duration,
    key: &'static str,
}

/// The bound for an answer with these fields.
pub fn silence_limit(headers: &HeaderMap, limits: UpstreamLimits) -> SilenceLimit {
    let (limit, key) = if is_stream(headers) {
        (limits.stream, "upstream.stream_timeout")
    } else {
        (limits.idle, "upstream.idle_timeout")
    };
    SilenceLimit {
        timer: IdleTimer::new(limit),
        limit,
        key,
    }
}

fn is_stream(headers: &HeaderMap) -> bool {
    let named = headers.get(header::CONTENT_TYPE);
    let Some(named) = named.and_then(|value| value.to_str().ok()) else {
        return false;
    };
    let begins_with = |start: &&str| {
        let begin = named.get(..start.len());
        begin.is_some_and(|begin| begin.eq_ignore_ascii_case(start))
    };
    STREAMS.iter().any(begins_with) || named.ends_with(WATCH)
}

impl SilenceLimit {
    /// The key that sets it.
    pub fn key(&self) -> &'static str {
        self.key
    }

    /// Bytes moved.
    pub fn reset(&mut self) {
        self.timer.reset();
    }

    /// Nothing came: has it been so for too long? Not while the upload moves, which many upstreams read
    /// to its end first.
    pub fn poll_expired(&mut self, cx: &mut Context<'_>, upload: Option<&Transfer>) -> Poll<()> {
        loop {
            ready!(self.timer.poll_expired(cx));
            let is_moving = upload.is_some_and(|upload| {
                !upload.is_complete() && upload.last_activity().elapsed() < self.limit
            });
            if !is_moving {
                return Poll::Ready(());
            }
            self.timer.reset();
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn streams_of_events_are_known_by_their_type() {
        let is_one = |kind: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
            is_stream(&headers)
        };
        for stream in [
            "text/event-stream",
            "Text/Event-Stream; charset=utf-8",
            "application/grpc+proto",
            "application/connect+json",
            "application/json;stream=watch",
            "application/vnd.kubernetes.protobuf;stream=watch",
        ] {
            assert!(is_one(stream), "{stream}");
        }
        for other in ["application/json", "text/plain", "", "application/connect"] {
            assert!(!is_one(other), "{other}");
        }
        assert!(!is_stream(&HeaderMap::new()));
    }
}

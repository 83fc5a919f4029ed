//! Spans of requests, for a collector of traces (OpenTelemetry), where the operator names one.
//!
//! What a client sends as `traceparent` (<https://www.w3.org/TR/trace-context/>) is passed on as it is, so
//! that its trace goes on at the destination whether this is on or not. A span here is one more child of
//! the client's. It names what the access log does, without the path.

use std::fmt;
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::SystemTime;

/// Spans that wait for the collector; what comes beyond is dropped. No request waits for room.
const WAITING: usize = 8 * 1024;
/// The version of `traceparent` that is known.
const VERSION: &[u8] = b"00";
/// The flag that says that a trace is to be recorded.
const SAMPLED: u8 = 1;

static SPANS: OnceLock<SyncSender<Span>> = OnceLock::new();

/// Turns spans on, for the whole process. `None` if they are on already.
pub fn collect() -> Option<Receiver<Span>> {
    let (sender, receiver) = sync_channel(WAITING);
    SPANS.set(sender).ok().map(|()| receiver)
}

/// What a request belongs to.
#[derive(Clone, Debug)]
pub struct Trace {
    trace: [u8; 16],
    parent: Option<[u8; 8]>,
    begun: SystemTime,
}

/// A span that is over.
#[derive(Debug)]
pub struct Span {
    /// The trace that it belongs to.
    pub trace: [u8; 16],
    /// Its own number.
    pub id: [u8; 8],
    /// The client's span.
    pub parent: Option<[u8; 8]>,
    /// When it began.
    pub begun: SystemTime,
    /// When it ended.
    pub ended: SystemTime,
    /// The request's method.
    pub method: String,
    /// The status of the answer, if there was one.
    pub status: Option<u16>,
    /// What went wrong, if something did.
    pub code: Option<&'static str>,
    /// Other attributes, by name.
    pub attributes: [(&'static str, String); 4],
}

/// The number of a trace, written as in `traceparent`.
#[derive(Clone, Copy, Debug)]
pub struct TraceId(pub(super) [u8; 16]);

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Trace {
    /// The number of the trace.
    pub fn id(&self) -> TraceId {
        TraceId(self.trace)
    }

    /// Of a request with this `traceparent`, or a new one. `None` where no spans are collected, or the
    /// client says that this trace is not recorded.
    pub fn of<'a>(traceparent: impl FnOnce() -> Option<&'a [u8]>) -> Option<Box<Self>> {
        SPANS.get()?;
        let begun = SystemTime::now();
        let (trace, parent) = match traceparent().and_then(parse) {
            Some((_, _, flags)) if flags & SAMPLED == 0 => return None,
            Some((trace, parent, _)) => (trace, Some(parent)),
            None => (random()?, None),
        };
        Some(Box::new(Self {
            trace,
            parent,
            begun,
        }))
    }

    /// Gives the span of the request to the collector, made by `make` from what only this knows.
    pub fn end(&self, make: impl FnOnce(Span) -> Span) {
        let (Some(spans), Some(id)) = (SPANS.get(), random()) else {
            return;
        };
        let span = make(Span {
            trace: self.trace,
            id,
            parent: self.parent,
            begun: self.begun,
            ended: SystemTime::now(),
            method: String::new(),
            status: None,
            code: None,
            attributes: Default::default(),
        });
        // Full, or nobody collects any more.
        let _ = spans.try_send(span);
    }
}

fn random<const N: usize>() -> Option<[u8; N]> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).ok()?;
    Some(bytes)
}

/// Trace, span and flags of a `traceparent`; `None` if it is not valid.
fn parse(text: &[u8]) -> Option<([u8; 16], [u8; 8], u8)> {
    let mut parts = text.split(|byte| *byte == b'-');
    let version = parts.next()?;
    let (trace, span): ([u8; 16], [u8; 8]) = (hex(parts.next()?)?, hex(parts.next()?)?);
    let [flags] = hex(parts.next()?)?;
    let is_whole = version != VERSION || parts.next().is_none();
    let is_known = hex::<1>(version).is_some_and(|version| version != [0xFF]);
    (is_known && is_whole && trace != [0; 16] && span != [0; 8]).then_some((trace, span, flags))
}

/// Digits in lower case, as they have to be.
fn hex<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    if text.len() != 2 * N || text.iter().any(u8::is_ascii_uppercase) {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.chunks(2)) {
        let pair = std::str::from_utf8(pair).ok()?;
        if pair.starts_with('+') {
            return None;
        }
        *byte = u8::from_str_radix(pair, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_traceparent_is_read_strictly() {
        let valid = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let (trace, span, flags) = parse(valid).unwrap();
        assert_eq!((trace[0], trace[15], span[7], flags), (0x0a, 0x9c, 0x31, 1));
        // A later version may say more.
        assert!(parse(b"01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00-x").is_some());
        for wrong in [
            &b""[..],
            b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
            b"00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            b"00-00000000000000000000000000000000-b7ad6b7169203331-01",
            b"00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            b"ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            b"00-+af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            assert!(parse(wrong).is_none(), "{}", String::from_utf8_lossy(wrong));
        }
    }
}

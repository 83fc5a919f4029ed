//! Interim answers (RFC 9110 section 15.2) on their way to a client over HTTP/1.1: Early Hints, and
//! whatever is not an answer to Egret's own question.

use std::sync::Arc;

use http::{HeaderMap, Response, StatusCode, Version};

use crate::proxy::exchange::hop_by_hop;
use crate::proxy::exchange::pipeline::{Exchange, Recorded};
use crate::proxy::exchange::via;
use crate::proxy::outbound::interim::{Change, OnInterim};
use crate::proxy::response::findings::Findings;
use crate::proxy::response::relay::remove_own_status;
use crate::proxy::response::scrubbing::scrub_head;
use crate::proxy::runtime::signal::HeadSignal;

/// Most interim answers that are passed on to one request.
const MOST: usize = 16;

/// What passes interim answers on, if the client can take them: HTTP/1.0 has none, and the HTTP library
/// has no way to send one over HTTP/2.
pub fn relay(
    exchange: &Exchange<Recorded>,
    signal: &HeadSignal,
    change: Option<Change>,
) -> Option<OnInterim> {
    if exchange.version() != Version::HTTP_11 {
        return None;
    }
    signal.begin_interim();
    let (needles, used) = exchange.secrets();
    Some(OnInterim {
        relay: pass_on,
        needles: Arc::clone(needles),
        used: Arc::clone(used),
        change,
        signal: signal.clone(),
    })
}

fn pass_on(to: &OnInterim, status: StatusCode, fields: &HeaderMap) {
    if status == StatusCode::SWITCHING_PROTOCOLS || to.signal.next_interim() > MOST {
        return;
    }
    match clean(to, status, fields) {
        Some(head) => to.signal.interim(&head),
        None => tracing::warn!("an interim answer held a stored value and was not passed on"),
    }
}

/// The head as it goes to the client; none if it holds a value.
fn clean(to: &OnInterim, status: StatusCode, fields: &HeaderMap) -> Option<Vec<u8>> {
    let (mut head, ()) = Response::new(()).into_parts();
    head.headers = fields.clone();
    hop_by_hop::strip_answer(&mut head.headers, false);
    remove_own_status(&mut head);
    let needles = to.needles.with_used(&to.used.values());
    if !needles.is_empty() {
        let mut findings = Findings::default();
        scrub_head(&mut head, &needles, &mut findings);
        if !findings.is_empty() {
            return None;
        }
    }
    if let Some(change) = &to.change {
        change(&mut head.headers);
    }
    via::add(&mut head.headers, Version::HTTP_11);
    let reason = status.canonical_reason().unwrap_or_default();
    let mut text = format!("HTTP/1.1 {} {reason}\r\n", status.as_u16()).into_bytes();
    for (name, value) in &head.headers {
        text.extend_from_slice(name.as_str().as_bytes());
        text.extend_from_slice(b": ");
        text.extend_from_slice(value.as_bytes());
        text.extend_from_slice(b"\r\n");
    }
    text.extend_from_slice(b"\r\n");
    Some(text)
}

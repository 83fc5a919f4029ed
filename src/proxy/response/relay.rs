//! From the upstream's answer to the client's.

use crate::proxy::exchange::awaited::Awaited;
use crate::proxy::outbound::answer::Answer;
use crate::proxy::response::reply_body::ReplyBody;
use crate::proxy::response::reply_body::UpstreamBody;
use std::time::Duration;

use http::header::HeaderValue;
use http::response::Parts;
use http::{Response, StatusCode, Version};
use http_body::Body;

use crate::error::{Code, Refusal};
use crate::proxy::exchange::headers::{EGRET_IGNORED, EGRET_REQUEST};
use crate::proxy::exchange::hop_by_hop;
use crate::proxy::exchange::outcome::Outcome;
use crate::proxy::response::findings::Findings;

use crate::proxy::response::scrubbing::{BodyScrubber, scrub_head, unscannable};
use crate::proxy::runtime::idle::IdleTimer;

/// Makes the client's answer of the upstream's: without values, and without what ends at this hop.
/// `idle` bounds every silence in the body.
pub fn relay(
    answer: Answer,
    idle: Duration,
) -> impl Future<Output = Result<Response<ReplyBody>, Refusal>> {
    let begun = begin(answer, idle);
    async move {
        let (mut head, mut body, declared) = begun?;
        body.prime(&mut head, declared).await?;
        Ok(Response::from_parts(head, ReplyBody::upstream(body)))
    }
}

/// The answer's head and body, and how long the upstream said that the body is.
type Begun = (Parts, Box<UpstreamBody>, Option<u64>);

fn begin(answer: Answer, idle: Duration) -> Result<Begun, Refusal> {
    let Answer {
        response,
        lease,
        transfer,
        awaited,
    } = answer;
    let Awaited {
        mut outcome,
        needles,
        asked,
    } = awaited;
    let (mut head, incoming) = response.into_parts();
    head.version = Version::HTTP_11;
    hop_by_hop::strip(&mut head.headers);
    outcome.answered(head.status.as_u16());
    let mut findings = Findings::default();
    let used = outcome.used();
    let sent = used.values();
    let known = sent.len();
    // A body that is still on its way may yet send more.
    let may_use_more = transfer
        .as_ref()
        .is_some_and(|upload| !upload.is_complete());
    let needles = match known {
        0 => needles,
        _ => needles.with_used(&sent),
    };
    if !needles.is_empty() {
        scrub_head(&mut head, &needles, &mut findings);
    }
    let has_body = !incoming.is_end_stream();
    let declared = incoming.size_hint().exact();
    // A part of a coded body cannot be opened. To a client that asked for one without a secret it is
    // passed on; an upstream that sends one unasked has something to hide.
    let is_wanted = head.status != StatusCode::PARTIAL_CONTENT || asked.part;
    let scrubber = match has_body && (!needles.is_empty() || may_use_more) {
        false => None,
        true => {
            match BodyScrubber::new(&mut head, &needles, used, known, &asked.accept_encoding) {
                Ok(scrubber) => Some(Box::new(scrubber)),
                // Without a secret in the request the answer holds what it would hold without Egret.
                Err(_) if known == 0 && !may_use_more && is_wanted => {
                    let scrubber = BodyScrubber::unopened(&mut head, &needles, used);
                    Some(Box::new(scrubber))
                }
                Err(_) => {
                    outcome.failed(Code::ResponseUnscannable);
                    return Err(unscannable(outcome.context()));
                }
            }
        }
    };
    mark(&mut head, &outcome);
    let mut body = Box::new(UpstreamBody {
        incoming,
        idle: IdleTimer::new(idle),
        scrubber,
        findings,
        trailers: None,
        pending: None,
        ended: false,
        drained: false,
        lease: Some(lease),
        transfer,
        outcome,
    });
    if !has_body {
        body.finish();
    }
    Ok((head, body, declared))
}

/// Egret's own headers.
pub(in crate::proxy) fn mark(head: &mut Parts, outcome: &Outcome) {
    let (context, used) = (outcome.context(), outcome.used());
    let is_recorded = used.is_recorded();
    if (context.held_placeholder || is_recorded)
        && let Ok(id) = HeaderValue::from_str(&context.id)
    {
        head.headers.insert(EGRET_REQUEST, id);
    }
    // What is passed on literally is on record.
    if !is_recorded {
        return;
    }
    let ignored = used.ignored();
    if !ignored.is_empty()
        && let Ok(names) = HeaderValue::from_str(&ignored.join(", "))
    {
        head.headers.insert(EGRET_IGNORED, names);
    }
}

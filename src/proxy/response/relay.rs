//! From the upstream's answer to the client's.

use std::sync::Arc;

use http::header::{self, HeaderName, HeaderValue};
use http::response::Parts;
use http::{Method, Response, StatusCode, Version};
use http_body::Body;

use crate::error::{Code, Refusal};
use crate::proxy::exchange::awaited::{Asked, Awaited};
use crate::proxy::exchange::headers::{EGRET_IGNORED, EGRET_REQUEST};
use crate::proxy::exchange::hop_by_hop;
use crate::proxy::exchange::out_body::Transfer;
use crate::proxy::exchange::outcome::Outcome;
use crate::proxy::exchange::present::Present;
use crate::proxy::exchange::via;
use crate::proxy::outbound::answer::Answer;
use crate::proxy::outbound::limits::UpstreamLimits;
use crate::proxy::response::answer_kind::AnswerKind;
use crate::proxy::response::findings::Findings;
use crate::proxy::response::pause::Pause;
use crate::proxy::response::reply_body::{ReplyBody, UpstreamBody};
use crate::proxy::response::scrubbing::{BodyScrubber, Coded, coding_of, scrub_head, unscannable};
use crate::proxy::response::silence::silence_limit;
use crate::proxy::response::stages::Unscannable;
use crate::proxy::response::transfer_coding::{self, length_beside_none, transfer_codings};
use crate::scrub::{Needles, Replacement};

/// RFC 9209.
const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");

/// Makes the client's answer of the upstream's: without values, and without what ends at this hop.
/// `limits` bound every silence in the body.
pub fn relay(
    answer: Answer,
    limits: UpstreamLimits,
) -> impl Future<Output = Result<Response<ReplyBody>, Refusal>> {
    let begun = begin(answer, limits);
    async move {
        let (mut head, mut body, declared) = begun?;
        body.prime(&mut head, declared).await?;
        Ok(Response::from_parts(head, ReplyBody::upstream(body)))
    }
}

/// The answer's head and body, and how long the upstream said that the body is.
type Begun = (Parts, Box<UpstreamBody>, Option<u64>);

fn begin(answer: Answer, limits: UpstreamLimits) -> Result<Begun, Refusal> {
    let Answer {
        response,
        mut lease,
        transfer,
        awaited,
    } = answer;
    let Awaited {
        mut outcome,
        needles,
        asked,
        decided: _,
    } = awaited;
    let (mut head, mut incoming) = response.into_parts();
    let present = Present::of(&head.headers);
    if let Some(length) = length_beside_none(&head.headers, present) {
        incoming = incoming.limited(length);
        lease.close_after();
    }
    let transfer_codings = transfer_codings(&head.headers, present);
    make_own(&mut head, &asked, present);
    outcome.answered(head.status.as_u16());
    let search = Search::of(needles, &outcome, transfer.as_deref());
    let mut findings = Findings::default();
    if !search.needles.is_empty() {
        scrub_head(&mut head, &search.needles, &mut findings);
    }
    let Ok(transfer_codings) = transfer_codings else {
        outcome.failed(Code::ResponseUnscannable);
        return Err(transfer_coding::refuse(outcome.context()));
    };
    let has_body = !incoming.is_end_stream();
    let declared = incoming.size_hint().exact();
    let is_searched = search.is_needed() || !transfer_codings.is_identity();
    if is_searched && outcome.context().method == Method::HEAD {
        forget_length(&mut head, &asked);
    }
    let mut scrubber = None;
    if has_body && is_searched {
        let coded = Coded {
            present,
            transfer_codings: &transfer_codings,
        };
        let Ok(opened) = search.scrubber(&mut head, coded, &outcome, &asked) else {
            outcome.failed(Code::ResponseUnscannable);
            return Err(unscannable(outcome.context(), Some(&head.headers)));
        };
        scrubber = Some(Box::new(opened));
    }
    mark(&mut head, &outcome);
    let mut body = Box::new(UpstreamBody {
        incoming,
        idle: silence_limit(&head.headers, limits),
        scrubber,
        findings,
        pause: Pause::default(),
        trailers: None,
        pending: None,
        broken: None,
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

/// Makes a head one that this hop sends.
fn make_own(head: &mut Parts, asked: &Asked, present: Present) {
    let ends = Present::ENDS_HERE.and(Present::TRAILER);
    if present.has(ends) {
        hop_by_hop::strip_answer(&mut head.headers, asked.takes_trailers);
    }
    via::add(&mut head.headers, head.version);
    head.version = Version::HTTP_11;
    if present.has(Present::PROXY_STATUS) {
        remove_own_status(head);
    }
}

/// What an answer is searched for.
struct Search {
    needles: Arc<Needles>,
    /// How many values the request has sent. The needles hold them.
    known: usize,
    /// A body that is still on its way may yet send more.
    may_use_more: bool,
}

impl Search {
    fn of(needles: Arc<Needles>, outcome: &Outcome, transfer: Option<&Transfer>) -> Self {
        let sent = outcome.used().values();
        let needles = match sent.len() {
            0 => needles,
            _ => needles.with_used(&sent),
        };
        Self {
            needles,
            known: sent.len(),
            may_use_more: transfer.is_some_and(|upload| !upload.is_complete()),
        }
    }

    fn is_needed(&self) -> bool {
        !self.needles.is_empty() || self.may_use_more
    }

    fn scrubber(
        &self,
        head: &mut Parts,
        coded: Coded<'_>,
        outcome: &Outcome,
        asked: &Asked,
    ) -> Result<BodyScrubber, Unscannable> {
        let (needles, used) = (&self.needles, outcome.used());
        let accepted = &asked.accept_encoding;
        let opened = BodyScrubber::new(head, coded, needles, used, self.known, accepted);
        // A part of a coded body cannot be opened. To a client that asked for one without a secret it is
        // passed on; an upstream that sends one unasked has something to hide.
        let is_wanted = head.status != StatusCode::PARTIAL_CONTENT || asked.part;
        // Without a secret in the request the answer holds what it would hold without Egret.
        if opened.is_err() && self.known == 0 && !self.may_use_more && is_wanted {
            tracing::info!(
                request = %outcome.context().id,
                destination = %outcome.context().destination,
                coding = coding_of(&head.headers),
                "an answer that cannot be opened was passed on: its request used no secret"
            );
            return Ok(BodyScrubber::unopened(head, coded, needles, used));
        }
        opened
    }
}

/// Removes the length from an answer to HEAD if the body of the same answer to GET may get another
/// one. Some stores (restic's) say a type in GET only: then it is the one that the client takes.
fn forget_length(head: &mut Parts, asked: &Asked) {
    let is_coded = head.headers.contains_key(header::CONTENT_ENCODING);
    let is_typed = head.headers.contains_key(header::CONTENT_TYPE);
    let present = Present::of(&head.headers);
    let keeps_length = AnswerKind::of(head, present).replacement == Replacement::SameLength
        || !is_typed && asked.opaque_head;
    if is_coded || !keeps_length {
        head.headers.remove(header::CONTENT_LENGTH);
    }
}

/// Removes what an upstream says in the proxy's name (RFC 9209 section 2: each member begins with
/// the name of the intermediary that added it).
pub(super) fn remove_own_status(head: &mut Parts) {
    let own = |line: &HeaderValue| {
        let mut members = line.as_bytes().split(|byte| *byte == b',');
        members.any(|member| {
            let name = member.split(|byte| *byte == b';').next();
            let name = name.unwrap_or_default().trim_ascii();
            // A token or a string (RFC 9209 section 2).
            name.eq_ignore_ascii_case(b"egret") || name.eq_ignore_ascii_case(b"\"egret\"")
        })
    };
    if head.headers.get_all(PROXY_STATUS).iter().any(own) {
        head.headers.remove(PROXY_STATUS);
    }
}

/// Egret's own headers.
pub(in crate::proxy) fn mark(head: &mut Parts, outcome: &Outcome) {
    let (context, used) = (outcome.context(), outcome.used());
    if (context.held_placeholder || used.is_recorded())
        && let Ok(id) = HeaderValue::from_str(&context.id)
    {
        head.headers.insert(EGRET_REQUEST, id);
    }
    let ignored = used.ignored();
    if !ignored.is_empty()
        && let Ok(names) = HeaderValue::from_str(&ignored.join(", "))
    {
        head.headers.insert(EGRET_IGNORED, names);
    }
}

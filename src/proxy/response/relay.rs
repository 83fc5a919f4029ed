//! From the upstream's answer to the client's.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{self, HeaderMap, HeaderValue};
use http::response::Parts;
use http::{Response, StatusCode, Version};
use http_body::{Body, Frame, SizeHint};

use crate::error::{Code, Refusal};
use crate::proxy::exchange::body::{BodyError, ReplyBody, Transfer};
use crate::proxy::exchange::hop;
use crate::proxy::exchange::outcome::Outcome;
use crate::proxy::outbound::stream::Arriving;
use crate::proxy::outbound::upstream::Lease;
use crate::proxy::response::findings::Findings;
use crate::proxy::response::respond::{EGRET_IGNORED, EGRET_REQUEST};
use crate::proxy::response::scrubbing::{BodyScrubber, Unscannable, scrub_head, unscannable};
use crate::proxy::runtime::idle::IdleTimer;
use crate::scrub::Needles;

type Polled = Poll<Option<Result<Frame<Bytes>, BodyError>>>;

/// An answer of a declared length up to this is scrubbed whole, and keeps a length. A longer one
/// that may change on the way is chunked.
const HELD: u64 = 64 * 1024;

/// An upstream's answer together with what has to happen when it ends.
pub struct Answer {
    /// Head and body as they came.
    pub response: Response<Arriving>,
    /// The connection it comes on.
    pub lease: Lease,
    /// How the upload got on, if it was one that streams.
    pub transfer: Option<Arc<Transfer>>,
    /// What is known about the request.
    pub awaited: Awaited,
}

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
}

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
    hop::strip(&mut head.headers);
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
    // A part of a coded body cannot be opened. To somebody who asked for one without a secret it is
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
                    return Err(unscannable(outcome.facts()));
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

/// Says how long the body is: once, and by one number.
fn set_length(headers: &mut HeaderMap, length: usize) {
    let mut lines = headers.get_all(header::CONTENT_LENGTH).iter();
    let line = lines.next().filter(|_| lines.next().is_none());
    let said = line.and_then(|line| line.to_str().ok()?.parse().ok());
    // In nearly every answer it is what the upstream said.
    if said != Some(length) {
        headers.insert(header::CONTENT_LENGTH, length.into());
    }
}

/// Egret's own headers.
pub(in crate::proxy) fn mark(head: &mut Parts, outcome: &Outcome) {
    let (facts, used) = (outcome.facts(), outcome.used());
    let is_recorded = used.is_recorded();
    if (facts.held_placeholder || is_recorded)
        && let Ok(id) = HeaderValue::from_str(&facts.id)
    {
        head.headers.insert(EGRET_REQUEST, id);
    }
    // What is passed on literally is on record.
    if !is_recorded {
        return;
    }
    let mut ignored = used.ignored();
    ignored.extend_from_slice(&facts.ignored);
    if !ignored.is_empty()
        && let Ok(names) = HeaderValue::from_str(&ignored.join(", "))
    {
        head.headers.insert(EGRET_IGNORED, names);
    }
}

/// The body of an upstream's answer on its way to the client.
pub struct UpstreamBody {
    incoming: Arriving,
    idle: IdleTimer,
    scrubber: Option<Box<BodyScrubber>>,
    findings: Findings,
    /// What follows the body.
    trailers: Option<HeaderMap>,
    /// What was scrubbed before the head of the answer went out.
    pending: Option<Bytes>,
    /// Whether all of the upstream's body has come.
    ended: bool,
    /// Whether all of it was scrubbed too.
    drained: bool,
    lease: Option<Lease>,
    transfer: Option<Arc<Transfer>>,
    outcome: Outcome,
}

impl UpstreamBody {
    /// Scrubs the beginning before the head goes out, where that changes the head: a short body of
    /// known length keeps a length, and one that cannot be opened is answered with an error.
    async fn prime(&mut self, head: &mut Parts, declared: Option<u64>) -> Result<(), Refusal> {
        let Some(scrubber) = &self.scrubber else {
            return Ok(());
        };
        let pinned = scrubber.keeps_length();
        let whole = declared.is_some_and(|length| length <= HELD) && !pinned;
        let opens = scrubber.opens();
        if !whole && !opens {
            if !pinned {
                head.headers.remove(header::CONTENT_LENGTH);
            }
            return Ok(());
        }
        let mut held = Bytes::new();
        // Opened, a short body may be long: then it streams after all.
        while !self.drained && held.len() as u64 <= HELD && (whole || held.is_empty()) {
            match std::future::poll_fn(|cx| self.poll_scrubbed(cx)).await {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(bytes) if held.is_empty() => held = bytes,
                    Ok(bytes) => {
                        let mut joined = BytesMut::from(held);
                        joined.extend_from_slice(&bytes);
                        held = joined.freeze();
                    }
                    // Trailers need chunked framing, and go out behind everything held.
                    Err(frame) => {
                        self.trailers = frame.into_trailers().ok();
                        break;
                    }
                },
                Some(Err(error)) => return Err(self.unanswerable(error)),
                None => break,
            }
        }
        if whole && self.drained && self.trailers.is_none() {
            set_length(&mut head.headers, held.len());
        } else if !pinned {
            head.headers.remove(header::CONTENT_LENGTH);
        }
        self.pending = Some(held).filter(|held| !held.is_empty());
        Ok(())
    }

    fn unanswerable(&self, error: BodyError) -> Refusal {
        let destination = self.outcome.facts().destination.to_string();
        match error {
            BodyError::Refused => unscannable(self.outcome.facts()),
            BodyError::Stalled => Refusal::new(
                Code::UpstreamTimeout,
                "the destination's answer stalled for longer than upstream.idle_timeout",
            )
            .destination(destination),
            BodyError::Broken => Refusal::new(
                Code::UpstreamProtocolError,
                "the destination's answer broke off",
            )
            .destination(destination),
        }
    }

    /// The answer is complete: the connection can serve another request, provided that the upload
    /// is over too, and the ledger learns how it went.
    fn finish(&mut self) {
        self.drained = true;
        if let Some(lease) = self.lease.take()
            && self
                .transfer
                .as_ref()
                .is_none_or(|upload| upload.is_complete())
        {
            lease.give_back();
        }
        self.tell_findings();
        self.outcome.forwarded();
    }

    /// Puts on record what was found so far.
    fn tell_findings(&mut self) {
        let lines = self.findings.take_entries(self.outcome.facts());
        self.outcome.scrubbed(lines);
    }

    fn fail(&mut self, code: Code, error: BodyError) -> BodyError {
        self.tell_findings();
        self.outcome.failed(code);
        error
    }

    /// The next frame as it came, with the deadline on silence.
    fn poll_incoming(&mut self, cx: &mut Context<'_>) -> Polled {
        let incoming = &mut self.incoming;
        let mut poll = |cx: &mut Context<'_>| Pin::new(&mut *incoming).poll_frame(cx);
        let polled = match &mut self.lease {
            Some(lease) => lease.poll_with(cx, poll),
            None => poll(cx),
        };
        match polled {
            Poll::Ready(Some(Ok(frame))) => {
                self.idle.reset();
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Ready(Some(Err(_))) => {
                let error = self.fail(Code::UpstreamProtocolError, BodyError::Broken);
                Poll::Ready(Some(Err(error)))
            }
            Poll::Pending => self
                .idle
                .poll_expired(cx)
                .map(|()| Some(Err(self.fail(Code::UpstreamTimeout, BodyError::Stalled)))),
        }
    }

    /// The next frame without values.
    fn poll_scrubbed(&mut self, cx: &mut Context<'_>) -> Polled {
        let Some(mut scrubber) = self.scrubber.take() else {
            return self.poll_plain(cx);
        };
        let polled = self.poll_through(&mut scrubber, cx);
        self.scrubber = Some(scrubber);
        polled
    }

    fn poll_plain(&mut self, cx: &mut Context<'_>) -> Polled {
        let polled = ready!(self.poll_incoming(cx));
        if let Some(Ok(frame)) = &polled {
            self.outcome.passed(frame.data_ref().map_or(0, Bytes::len));
        }
        if polled.is_none() || self.incoming.is_end_stream() {
            self.finish();
        }
        Poll::Ready(polled)
    }

    fn poll_through(&mut self, scrubber: &mut BodyScrubber, cx: &mut Context<'_>) -> Polled {
        loop {
            if self.drained {
                return Poll::Ready(self.trailers.take().map(|t| Ok(Frame::trailers(t))));
            }
            let clean = if scrubber.has_more() {
                scrubber.next(&mut self.findings)
            } else {
                match ready!(self.poll_incoming(cx)) {
                    Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                    frame => self.scrub_frame(scrubber, frame.and_then(Result::ok)),
                }
            };
            let Ok(clean) = clean else {
                let error = self.fail(Code::ResponseUnscannable, BodyError::Refused);
                return Poll::Ready(Some(Err(error)));
            };
            self.outcome.passed(clean.len());
            if self.ended && !scrubber.has_more() {
                self.finish();
            }
            if !clean.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(clean))));
            }
        }
    }

    /// Scrubs what came; `None` is the end. Where the end is known with the last piece it is taken
    /// at once: a body of pinned length is not asked again once its length has been written.
    fn scrub_frame(
        &mut self,
        scrubber: &mut BodyScrubber,
        frame: Option<Frame<Bytes>>,
    ) -> Result<Bytes, Unscannable> {
        let bytes = match frame.map(Frame::into_data) {
            Some(Ok(bytes)) => {
                self.ended = self.incoming.is_end_stream();
                bytes
            }
            Some(Err(frame)) => {
                let trailers = frame.into_trailers().ok();
                self.trailers = trailers.map(|t| scrubber.trailers(t, &mut self.findings));
                self.ended = true;
                Bytes::new()
            }
            None => {
                self.ended = true;
                Bytes::new()
            }
        };
        scrubber.push(bytes, self.ended, &mut self.findings)
    }
}

/// A client that leaves in the middle takes nothing of the record with it.
impl Drop for UpstreamBody {
    fn drop(&mut self) {
        self.tell_findings();
    }
}

impl Body for UpstreamBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled {
        match self.pending.take() {
            Some(held) => Poll::Ready(Some(Ok(Frame::data(held)))),
            None => self.poll_scrubbed(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.scrubber {
            None => self.incoming.is_end_stream(),
            Some(_) => self.pending.is_none() && self.drained && self.trailers.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.scrubber {
            None => self.incoming.size_hint(),
            // Whatever is known of the length stands in the head.
            Some(_) => SizeHint::default(),
        }
    }
}

//! The body of an answer to a client: a document of the proxy's own, or an upstream's body on its
//! way through the scrubber.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::header::{self, HeaderMap};
use http::response::Parts;
use http_body::{Body, Frame, SizeHint};

use crate::error::{Code, Refusal};
use crate::proxy::exchange::body::{BodyError, without_foreign_fields};
use crate::proxy::exchange::out_body::Transfer;
use crate::proxy::exchange::outcome::Outcome;
use crate::proxy::outbound::answer::Lease;
use crate::proxy::outbound::http2::Arriving;
use crate::proxy::response::findings::Findings;
use crate::proxy::response::pause::Pause;
use crate::proxy::response::scrubbing::{BodyScrubber, mislabelled, unscannable};
use crate::proxy::response::silence::SilenceLimit;
use crate::proxy::response::stages::Unscannable;
use crate::proxy::runtime::signal::InFlight;
use crate::scrub::Waiting;

/// The body of an answer to a client.
pub struct ReplyBody {
    source: ReplySource,
    /// Keeps the client's connection from counting as idle until the answer is written.
    in_flight: Option<InFlight>,
}

enum ReplySource {
    Full(Option<Bytes>),
    Upstream(Box<UpstreamBody>),
    /// The upstream's body broke off. The client hears of it once it has what came before: the HTTP
    /// library drops what it has not written.
    Broken(BodyError, Pin<Box<dyn Future<Output = ()> + Send>>),
}

impl ReplyBody {
    /// A body of our own.
    pub fn full(bytes: Bytes) -> Self {
        Self {
            source: ReplySource::Full(Some(bytes).filter(|bytes| !bytes.is_empty())),
            in_flight: None,
        }
    }

    /// An upstream's body.
    pub fn upstream(body: Box<UpstreamBody>) -> Self {
        Self {
            source: ReplySource::Upstream(body),
            in_flight: None,
        }
    }

    /// Ties the request's in-flight mark to this body.
    pub fn with_in_flight(mut self, in_flight: InFlight) -> Self {
        self.in_flight = Some(in_flight);
        self
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let polled = match &mut self.source {
            ReplySource::Full(bytes) => Poll::Ready(bytes.take().map(|b| Ok(Frame::data(b)))),
            ReplySource::Upstream(body) => Pin::new(&mut **body).poll_frame(cx),
            ReplySource::Broken(error, written) => {
                written.as_mut().poll(cx).map(|()| Some(Err(*error)))
            }
        };
        if let Poll::Ready(Some(Err(error))) = polled
            && matches!(self.source, ReplySource::Upstream(_))
            && let Some(in_flight) = &self.in_flight
        {
            self.source = ReplySource::Broken(error, Box::pin(in_flight.written()));
            return self.poll_frame(cx);
        }
        if let (Poll::Ready(_), Some(in_flight)) = (&polled, &self.in_flight) {
            in_flight.moved();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            ReplySource::Full(bytes) => bytes.is_none(),
            ReplySource::Upstream(body) => body.is_end_stream(),
            ReplySource::Broken(..) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            ReplySource::Full(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |b| b.len() as u64))
            }
            ReplySource::Upstream(body) => body.size_hint(),
            ReplySource::Broken(..) => SizeHint::default(),
        }
    }
}

type Polled = Poll<Option<Result<Frame<Bytes>, BodyError>>>;

/// An answer of a declared length up to this is scrubbed whole, and keeps a length. A longer one
/// that may change on the way is chunked.
const HELD: u64 = 64 * 1024;

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

/// The body of an upstream's answer on its way to the client.
pub struct UpstreamBody {
    pub(super) incoming: Arriving,
    pub(super) idle: SilenceLimit,
    pub(super) scrubber: Option<Box<BodyScrubber>>,
    pub(super) findings: Findings,
    pub(super) pause: Pause,
    /// What follows the body.
    pub(super) trailers: Option<HeaderMap>,
    /// What was scrubbed before the head of the answer went out.
    pub(super) pending: Option<Bytes>,
    /// How the body broke off after that.
    pub(super) broken: Option<BodyError>,
    /// Whether all of the upstream's body has come.
    pub(super) ended: bool,
    /// Whether all of it was scrubbed too.
    pub(super) drained: bool,
    pub(super) lease: Option<Lease>,
    pub(super) transfer: Option<Arc<Transfer>>,
    pub(super) outcome: Outcome,
}

impl UpstreamBody {
    /// Scrubs the beginning before the head goes out, where that changes the head: a short body of
    /// known length keeps a length, and one that cannot be opened is answered with an error.
    pub(super) async fn prime(
        &mut self,
        head: &mut Parts,
        declared: Option<u64>,
    ) -> Result<(), Refusal> {
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
        while !self.drained
            && self.broken.is_none()
            && held.len() as u64 <= HELD
            && (whole || held.is_empty())
        {
            match std::future::poll_fn(|cx| self.poll_scrubbed(cx)).await {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(bytes) if held.is_empty() => held = bytes,
                    Ok(bytes) => {
                        let mut joined = BytesMut::from(held);
                        joined.extend_from_slice(&bytes);
                        held = joined.freeze();
                    }
                    // Trailers need chunked framing, and are sent after everything that is held.
                    Err(frame) => {
                        self.trailers = frame.into_trailers().ok();
                        break;
                    }
                },
                // What came is worth more to the client than an error of the proxy's.
                Some(Err(error)) if !held.is_empty() && error != BodyError::Refused => {
                    self.broken = Some(error);
                    break;
                }
                Some(Err(error)) => return Err(self.unanswerable(error)),
                None => break,
            }
        }
        if whole && self.drained && self.trailers.is_none() && self.broken.is_none() {
            set_length(&mut head.headers, held.len());
        } else if !pinned {
            head.headers.remove(header::CONTENT_LENGTH);
        }
        self.pending = Some(held).filter(|held| !held.is_empty());
        Ok(())
    }

    fn unanswerable(&self, error: BodyError) -> Refusal {
        let destination = self.outcome.context().destination.to_string();
        match error {
            BodyError::Refused if self.outcome.used().values().is_empty() => {
                mislabelled(self.outcome.context())
            }
            BodyError::Refused => unscannable(self.outcome.context(), None),
            BodyError::Stalled => Refusal::new(
                Code::UpstreamTimeout,
                format!(
                    "the destination's answer stalled for longer than {}",
                    self.idle.key()
                ),
            )
            .destination(destination),
            BodyError::Broken | BodyError::Malformed(_) => Refusal::new(
                Code::UpstreamProtocolError,
                "the destination's answer broke off",
            )
            .destination(destination),
        }
    }

    /// The answer is complete: the connection can serve another request, provided that the upload
    /// is over too, and the ledger learns how it went.
    pub(super) fn finish(&mut self) {
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
        let lines = self.findings.take_entries(self.outcome.context());
        self.outcome.scrubbed(lines);
    }

    fn fail(&mut self, code: Code, error: BodyError) -> BodyError {
        self.tell_findings();
        self.outcome.failed(code);
        error
    }

    /// Puts on record that the answer broke off.
    fn break_off(&mut self, error: BodyError) -> BodyError {
        let code = match error {
            BodyError::Stalled => Code::UpstreamTimeout,
            BodyError::Broken | BodyError::Malformed(_) => Code::UpstreamProtocolError,
            BodyError::Refused => Code::ResponseUnscannable,
        };
        self.fail(code, error)
    }

    /// The same after what waits for the bytes that follow it: none do, and it came.
    fn break_off_after_rest(&mut self, scrubber: &mut BodyScrubber, error: BodyError) -> Polled {
        let rest = match scrubber.waiting() {
            Waiting::Nothing => Ok(Bytes::new()),
            _ => scrubber.release(&mut self.findings),
        };
        let rest = rest.unwrap_or_default();
        self.outcome.passed(rest.len());
        let error = self.break_off(error);
        if rest.is_empty() {
            return Poll::Ready(Some(Err(error)));
        }
        self.broken = Some(error);
        Poll::Ready(Some(Ok(Frame::data(rest))))
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
                Poll::Ready(Some(Ok(without_foreign_fields(frame))))
            }
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Ready(Some(Err(_))) => Poll::Ready(Some(Err(BodyError::Broken))),
            Poll::Pending => {
                ready!(self.idle.poll_expired(cx, self.transfer.as_deref()));
                tracing::info!(request = %self.outcome.context().id, limit = self.idle.key(),
                    "an answer stalled");
                Poll::Ready(Some(Err(BodyError::Stalled)))
            }
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
        let polled = match ready!(self.poll_incoming(cx)) {
            Some(Err(error)) => Some(Err(self.break_off(error))),
            polled => polled,
        };
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
                match self.poll_incoming(cx) {
                    Poll::Ready(Some(Err(error))) => {
                        return self.break_off_after_rest(scrubber, error);
                    }
                    Poll::Ready(frame) => {
                        self.pause.end();
                        self.scrub_frame(scrubber, frame.and_then(Result::ok))
                    }
                    Poll::Pending => {
                        let (waiting, ends) = (scrubber.waiting(), scrubber.ends_message());
                        ready!(self.pause.poll_over(waiting, ends, cx));
                        scrubber.release(&mut self.findings)
                    }
                }
            };
            let Ok(clean) = clean else {
                return Poll::Ready(Some(Err(self.break_off(BodyError::Refused))));
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
            None => match self.broken.take() {
                Some(error) => Poll::Ready(Some(Err(error))),
                None => self.poll_scrubbed(cx),
            },
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
            // What is known of the length is in the head.
            Some(_) => SizeHint::default(),
        }
    }
}

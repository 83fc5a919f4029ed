//! Message bodies on their way through: what comes from the client, what goes to the upstream, and
//! what goes back.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Instant;

use crate::error::{Code, Refusal};
use crate::proxy::exchange::searched::{Fault, SearchedBody};
use crate::proxy::inbound::head::{HeadSignal, InFlight};
use crate::proxy::response::relay::UpstreamBody;
use crate::proxy::runtime::idle::{Activity, IdleTimer};

/// A body ended before its end. Carries no text of a library: those quote what they were reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// The sender broke the framing or went away.
    #[error("the body broke off or its framing is wrong")]
    Broken,
    /// The sender was silent for longer than the idle timeout.
    #[error("the body stalled")]
    Stalled,
    /// A placeholder in it was refused. The upstream must see a reset, never a clean end.
    #[error("the body was refused")]
    Refused,
}

/// How an upload that streams is getting on, shared between the body that hyper pulls and whoever
/// waits for the answer.
#[derive(Debug)]
pub struct Transfer {
    activity: Activity,
    complete: AtomicBool,
    fault: OnceLock<Refusal>,
}

impl Transfer {
    fn new(complete: bool) -> Arc<Self> {
        Arc::new(Self {
            activity: Activity::new(),
            complete: AtomicBool::new(complete),
            fault: OnceLock::new(),
        })
    }

    /// When bytes last moved.
    pub fn last_activity(&self) -> Instant {
        self.activity.last()
    }

    /// Whether the whole body has been handed over. Only then may the connection be used again.
    pub fn is_complete(&self) -> bool {
        self.complete.load(Ordering::Acquire)
    }

    /// Why the upload ended before its end, if that lies with the client or the proxy.
    pub fn fault(&self) -> Option<Refusal> {
        self.fault.get().cloned()
    }
}

/// The body of a client's request as it arrives.
pub struct InboundBody(Source);

enum Source {
    Arriving(Arriving),
    /// Everything was read; only the trailers, if any, are still to be passed on.
    Ended(Option<Box<HeaderMap>>),
}

struct Arriving {
    incoming: Incoming,
    idle: IdleTimer,
    /// Told when a chunked body ends, see [`crate::proxy::inbound::head`].
    signal: HeadSignal,
    chunked: bool,
}

impl InboundBody {
    /// Wraps a request's body; `idle` bounds every silence in it.
    pub fn new(incoming: Incoming, idle: Duration, signal: &HeadSignal) -> Self {
        if incoming.is_end_stream() {
            return Self::ended(None);
        }
        Self(Source::Arriving(Arriving {
            chunked: incoming.size_hint().exact().is_none(),
            incoming,
            idle: IdleTimer::new(idle),
            signal: signal.clone(),
        }))
    }

    /// What is left of a body whose bytes were all read.
    pub fn ended(trailers: Option<Box<HeaderMap>>) -> Self {
        Self(Source::Ended(trailers))
    }

    /// Whether there is no body.
    pub fn is_empty(&self) -> bool {
        self.is_end_stream()
    }

    /// The length that the client declared, if it did.
    pub fn declared_length(&self) -> Option<u64> {
        self.size_hint().exact()
    }

    /// Reads the body to its end if it has at most `limit` bytes.
    pub async fn hold(mut self, limit: usize) -> Result<Holding, Refusal> {
        let mut data = BytesMut::new();
        let mut trailers = None;
        if self.declared_length().is_some_and(|n| n > limit as u64) {
            return Ok(Holding::Part(Bytes::new(), self));
        }
        while let Some(frame) = next_frame(&mut self).await {
            match frame.map_err(broken)?.into_data() {
                Ok(bytes) => data.extend_from_slice(&bytes),
                Err(frame) => trailers = frame.into_trailers().ok().map(Box::new),
            }
            if data.len() > limit {
                return Ok(Holding::Part(data.freeze(), self));
            }
        }
        Ok(Holding::Whole(Held {
            data: data.freeze(),
            trailers,
        }))
    }
}

/// What came of the attempt to hold a body.
pub enum Holding {
    /// All of it.
    Whole(Held),
    /// It is larger than the limit: what was read, and the rest to come.
    Part(Bytes, InboundBody),
}

impl Body for InboundBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = match &mut self.0 {
            Source::Arriving(arriving) => arriving,
            Source::Ended(trailers) => {
                return Poll::Ready(trailers.take().map(|t| Ok(Frame::trailers(*t))));
            }
        };
        match Pin::new(&mut this.incoming).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                this.idle.reset();
                this.signal.moved();
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(_))) => Poll::Ready(Some(Err(BodyError::Broken))),
            Poll::Ready(None) => {
                if this.chunked {
                    this.signal.message_complete();
                }
                Poll::Ready(None)
            }
            Poll::Pending => this
                .idle
                .poll_expired(cx)
                .map(|()| Some(Err(BodyError::Stalled))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Source::Arriving(arriving) => arriving.incoming.is_end_stream(),
            Source::Ended(trailers) => trailers.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Source::Arriving(arriving) => arriving.incoming.size_hint(),
            Source::Ended(_) => SizeHint::new(),
        }
    }
}

/// A body that was read to its end before anything was decided.
#[derive(Clone, Debug, Default)]
pub struct Held {
    /// The bytes.
    pub data: Bytes,
    /// The trailer section, if one came (RFC 9110 section 6.5). In a box, because what sends a
    /// request moves it several times.
    pub trailers: Option<Box<HeaderMap>>,
}

/// The body of an upstream request.
pub struct OutBody(OutSource);

enum OutSource {
    Held(Held),
    Streamed(Box<SearchedBody>, Arc<Transfer>),
}

impl OutBody {
    /// Sends what was held (and perhaps changed).
    pub fn held(held: Held) -> Self {
        Self(OutSource::Held(held))
    }

    /// Passes the client's body on as it comes.
    pub fn streamed(body: SearchedBody) -> Self {
        let transfer = Transfer::new(body.is_end_stream());
        Self(OutSource::Streamed(Box::new(body), transfer))
    }

    /// The names of the trailers that will follow, as far as they are known.
    pub fn trailer_names(&self) -> Option<String> {
        let OutSource::Held(held) = &self.0 else {
            return None;
        };
        let trailers = held.trailers.as_ref()?;
        let names: Vec<&str> = trailers.keys().map(http::HeaderName::as_str).collect();
        Some(names.join(", ")).filter(|names| !names.is_empty())
    }

    /// A copy of it, if all of it is here.
    pub fn to_held(&self) -> Option<Held> {
        match &self.0 {
            OutSource::Held(held) => Some(held.clone()),
            OutSource::Streamed(..) => None,
        }
    }

    /// The view of this upload for whoever waits for the answer. None where all of it is here.
    pub fn transfer(&self) -> Option<Arc<Transfer>> {
        match &self.0 {
            OutSource::Held(_) => None,
            OutSource::Streamed(_, transfer) => Some(Arc::clone(transfer)),
        }
    }
}

impl Body for OutBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let (body, transfer) = match &mut self.0 {
            OutSource::Held(held) if !held.data.is_empty() => {
                return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut held.data)))));
            }
            OutSource::Held(held) => {
                return Poll::Ready(held.trailers.take().map(|t| Ok(Frame::trailers(*t))));
            }
            OutSource::Streamed(body, transfer) => (body, transfer),
        };
        let polled = ready!(body.poll_frame(cx));
        if polled.is_none() || body.is_end_stream() {
            transfer.complete.store(true, Ordering::Release);
        }
        Poll::Ready(match polled {
            None => None,
            Some(Ok(frame)) => {
                transfer.activity.touch();
                Some(Ok(frame))
            }
            Some(Err(fault)) => {
                let (error, refusal) = match fault {
                    Fault::Body(error) => (error, broken(error)),
                    Fault::Refused(refusal) => (BodyError::Refused, refusal),
                };
                // Only the first fault counts; hyper asks no further after one.
                let _ = transfer.fault.set(refusal);
                Some(Err(error))
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            OutSource::Held(held) => held.data.is_empty() && held.trailers.is_none(),
            OutSource::Streamed(body, _) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            // Trailers need chunked framing, so the length must not be known then.
            OutSource::Held(held) if held.trailers.is_some() => SizeHint::new(),
            OutSource::Held(held) => SizeHint::with_exact(held.data.len() as u64),
            OutSource::Streamed(body, _) => body
                .exact_length()
                .map_or_else(SizeHint::new, SizeHint::with_exact),
        }
    }
}

/// The body of an answer to a client.
pub struct ReplyBody {
    source: ReplySource,
    /// Keeps the client's connection from counting as idle until the answer is written.
    in_flight: Option<InFlight>,
}

enum ReplySource {
    Full(Option<Bytes>),
    Upstream(Box<UpstreamBody>),
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
        };
        if let (Poll::Ready(_), Some(in_flight)) = (&polled, &self.in_flight) {
            in_flight.moved();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            ReplySource::Full(bytes) => bytes.is_none(),
            ReplySource::Upstream(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            ReplySource::Full(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |b| b.len() as u64))
            }
            ReplySource::Upstream(body) => body.size_hint(),
        }
    }
}

async fn next_frame<B: Body + Unpin>(body: &mut B) -> Option<Result<Frame<B::Data>, B::Error>> {
    std::future::poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await
}

/// The client's fault in its own upload, as the answer it gets.
pub fn broken(error: BodyError) -> Refusal {
    let detail = match error {
        BodyError::Stalled => "the request body stalled for longer than proxy.idle_timeout",
        _ => "the request body broke off or its framing is wrong; send it again",
    };
    Refusal::new(Code::RequestMalformed, detail)
}

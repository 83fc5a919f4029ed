//! The body of an upstream request, and how an upload is getting on.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::Instant;

use crate::error::Refusal;
use crate::proxy::exchange::body::{BodyError, Held, broken};
use crate::proxy::exchange::envelope_body::EnvelopeBody;
use crate::proxy::exchange::expectation::Expectation;
use crate::proxy::exchange::spooled_body::SpooledBody;
use crate::proxy::exchange::streamed_body::{Fault, StreamedBody};
use crate::proxy::exchange::watched_body::WatchedBody;
use crate::proxy::runtime::idle::Activity;

/// The progress of an upload that streams, shared between the body that hyper pulls and the exchange that
/// waits for the answer.
#[derive(Debug)]
pub struct Transfer {
    activity: Activity,
    complete: AtomicBool,
    fault: OnceLock<Refusal>,
    client_gone: AtomicBool,
    /// The client waits for leave to send it.
    expectation: Option<Expectation>,
    /// Has the upstream's connection end in a reset.
    abort: OnceLock<Arc<AtomicBool>>,
}

impl Transfer {
    fn new(complete: bool, expectation: Option<Expectation>) -> Arc<Self> {
        Arc::new(Self {
            activity: Activity::new(),
            complete: AtomicBool::new(complete),
            fault: OnceLock::new(),
            client_gone: AtomicBool::new(false),
            expectation,
            abort: OnceLock::new(),
        })
    }

    /// Where the client waits for leave to send the body, and the upstream is asked for it.
    pub fn expectation(&self) -> Option<&Expectation> {
        self.expectation.as_ref()
    }

    /// What is set when the body ends before its end.
    pub fn sets_on_fault(&self, abort: &Arc<AtomicBool>) {
        // A body that streams is sent once.
        let _ = self.abort.set(Arc::clone(abort));
    }

    /// When bytes last moved.
    pub fn last_activity(&self) -> Instant {
        self.activity.last()
    }

    /// Whether the whole body has been handed over. Only then may the connection be used again.
    pub fn is_complete(&self) -> bool {
        self.complete.load(Ordering::Acquire)
    }

    /// Whether the client went away before the end of its upload.
    pub fn is_client_gone(&self) -> bool {
        self.client_gone.load(Ordering::Acquire)
    }

    /// Why the upload ended before its end, if the client or the proxy is the reason.
    pub fn fault(&self) -> Option<Refusal> {
        self.fault.get().cloned()
    }
}

/// The body of an upstream request.
pub struct OutBody(OutSource);

enum OutSource {
    Held(Held),
    Moving(Box<Moving>, Arc<Transfer>),
}

/// A body that is not all in memory.
enum Moving {
    Streamed(StreamedBody),
    Watched(WatchedBody),
    Enveloped(EnvelopeBody),
    Spooled(SpooledBody),
}

impl Moving {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        match self {
            Self::Streamed(body) => body.poll_frame(cx),
            Self::Watched(body) => body.poll_frame(cx),
            Self::Enveloped(body) => body.poll_frame(cx),
            Self::Spooled(body) => body
                .poll_frame(cx)
                .map(|frame| frame.map(|frame| frame.map_err(Fault::Refused))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Streamed(body) => body.is_end_stream(),
            Self::Watched(body) => body.is_end_stream(),
            Self::Enveloped(body) => body.is_end_stream(),
            Self::Spooled(body) => body.is_end_stream(),
        }
    }

    fn exact_length(&self) -> Option<u64> {
        match self {
            Self::Streamed(body) => body.exact_length(),
            Self::Watched(body) => body.exact_length(),
            // A message may get longer.
            Self::Enveloped(_) => None,
            Self::Spooled(body) => body.exact_length(),
        }
    }
}

impl OutBody {
    /// Sends what was held (and perhaps changed).
    pub fn held(held: Held) -> Self {
        Self(OutSource::Held(held))
    }

    /// Passes the client's body on as it comes.
    pub fn streamed(body: StreamedBody) -> Self {
        Self::moving(Moving::Streamed(body))
    }

    /// Passes the client's body on as it comes, in its own framing.
    pub fn watched(body: WatchedBody) -> Self {
        Self::moving(Moving::Watched(body))
    }

    /// Passes envelopes on, each once it is decided on.
    pub fn enveloped(body: EnvelopeBody) -> Self {
        Self::moving(Moving::Enveloped(body))
    }

    /// Sends what was kept aside.
    pub fn spooled(body: SpooledBody) -> Self {
        Self::moving(Moving::Spooled(body))
    }

    fn moving(body: Moving) -> Self {
        let transfer = Transfer::new(body.is_end_stream(), None);
        Self(OutSource::Moving(Box::new(body), transfer))
    }

    /// The same body, which the client sends only once the upstream asks for it.
    pub fn when_asked_for(self) -> Self {
        match self.0 {
            OutSource::Moving(body, _) => {
                let expectation = Some(Expectation::default());
                let transfer = Transfer::new(body.is_end_stream(), expectation);
                Self(OutSource::Moving(body, transfer))
            }
            held => Self(held),
        }
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
            OutSource::Moving(..) => None,
        }
    }

    /// The progress of this upload, for the exchange that waits for the answer. None where all of it is here.
    pub fn transfer(&self) -> Option<Arc<Transfer>> {
        match &self.0 {
            OutSource::Held(_) => None,
            OutSource::Moving(_, transfer) => Some(Arc::clone(transfer)),
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
            OutSource::Moving(body, transfer) => (body, transfer),
        };
        if let Some(expectation) = transfer.expectation() {
            ready!(expectation.poll_met(cx));
        }
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
                if matches!(fault, Fault::Body(BodyError::Broken)) {
                    transfer.client_gone.store(true, Ordering::Release);
                }
                if let Some(abort) = transfer.abort.get() {
                    abort.store(true, Ordering::Release);
                }
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
            OutSource::Moving(body, _) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            // Trailers need chunked framing, so the length must not be known then.
            OutSource::Held(held) if held.trailers.is_some() => SizeHint::new(),
            OutSource::Held(held) => SizeHint::with_exact(held.data.len() as u64),
            OutSource::Moving(body, _) => body
                .exact_length()
                .map_or_else(SizeHint::new, SizeHint::with_exact),
        }
    }
}

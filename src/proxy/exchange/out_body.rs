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
use crate::proxy::exchange::streamed_body::{Fault, StreamedBody};
use crate::proxy::runtime::idle::Activity;

/// The progress of an upload that streams, shared between the body that hyper pulls and the exchange that
/// waits for the answer.
#[derive(Debug)]
pub struct Transfer {
    activity: Activity,
    complete: AtomicBool,
    fault: OnceLock<Refusal>,
    client_gone: AtomicBool,
}

impl Transfer {
    fn new(complete: bool) -> Arc<Self> {
        Arc::new(Self {
            activity: Activity::new(),
            complete: AtomicBool::new(complete),
            fault: OnceLock::new(),
            client_gone: AtomicBool::new(false),
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
    Streamed(Box<StreamedBody>, Arc<Transfer>),
}

impl OutBody {
    /// Sends what was held (and perhaps changed).
    pub fn held(held: Held) -> Self {
        Self(OutSource::Held(held))
    }

    /// Passes the client's body on as it comes.
    pub fn streamed(body: StreamedBody) -> Self {
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

    /// The progress of this upload, for the exchange that waits for the answer. None where all of it is here.
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
                if matches!(fault, Fault::Body(BodyError::Broken)) {
                    transfer.client_gone.store(true, Ordering::Release);
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

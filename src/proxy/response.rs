//! From the upstream's answer to the client's.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use crate::error::Code;

use super::body::{BodyError, IdleTimer, ReplyBody, Transfer};
use super::hop;
use super::outcome::Outcome;
use super::pool::Lease;
use super::respond::{EGRET_IGNORED, EGRET_REQUEST};
use super::uses::Facts;

/// An upstream's answer together with what has to happen when it ends.
pub struct Answer {
    /// Head and body as they came.
    pub response: Response<Incoming>,
    /// The connection it comes on.
    pub lease: Lease,
    /// How the upload got on.
    pub transfer: Arc<Transfer>,
    /// What the ledger is waiting for.
    pub outcome: Outcome,
    /// What was known about the request.
    pub facts: Facts,
}

/// Makes the client's answer of the upstream's. `idle` bounds every silence in the body.
pub fn relay(answer: Answer, idle: Duration) -> Response<ReplyBody> {
    let (mut head, incoming) = answer.response.into_parts();
    hop::strip(&mut head.headers);
    let facts = &answer.facts;
    if (facts.held_placeholder || answer.outcome.is_recorded())
        && let Ok(id) = HeaderValue::from_str(&facts.id)
    {
        head.headers.insert(EGRET_REQUEST, id);
    }
    if !facts.ignored.is_empty()
        && let Ok(names) = HeaderValue::from_str(&facts.ignored.join(", "))
    {
        head.headers.insert(EGRET_IGNORED, names);
    }
    let mut body = UpstreamBody {
        incoming,
        idle: IdleTimer::new(idle),
        lease: Some(answer.lease),
        transfer: answer.transfer,
        outcome: answer.outcome,
    };
    body.outcome.answered(head.status.as_u16());
    if body.incoming.is_end_stream() {
        body.finish();
    }
    Response::from_parts(head, ReplyBody::upstream(body))
}

/// The body of an upstream's answer on its way to the client.
pub struct UpstreamBody {
    incoming: Incoming,
    idle: IdleTimer,
    lease: Option<Lease>,
    transfer: Arc<Transfer>,
    outcome: Outcome,
}

impl UpstreamBody {
    /// The answer is complete: the connection can serve another request, provided that the upload
    /// is over too, and the ledger learns how it went.
    fn finish(&mut self) {
        if let Some(lease) = self.lease.take()
            && self.transfer.is_complete()
        {
            lease.give_back();
        }
        self.outcome.forwarded();
    }
}

impl Body for UpstreamBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        match Pin::new(&mut this.incoming).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                this.idle.reset();
                if this.incoming.is_end_stream() {
                    this.finish();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(None) => {
                this.finish();
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(_))) => {
                this.outcome.failed(Code::UpstreamProtocolError);
                Poll::Ready(Some(Err(BodyError::Broken)))
            }
            Poll::Pending => this.idle.poll_expired(cx).map(|()| {
                this.outcome.failed(Code::UpstreamTimeout);
                Some(Err(BodyError::Stalled))
            }),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

//! Message bodies on their way through: what comes from the client, what goes to the upstream, and
//! what goes back.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Request, header};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use crate::error::{Code, Refusal};
use crate::proxy::exchange::hop_by_hop;
use crate::proxy::exchange::leave::Leave;
use crate::proxy::exchange::unread::Unread;
use crate::proxy::runtime::idle::IdleTimer;
use crate::proxy::runtime::signal::HeadSignal;

/// A body ended before its end. Carries no text of a library: those quote what they were reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// The sender broke the framing or went away.
    #[error("the body broke off or its framing is wrong")]
    Broken,
    /// The framing is wrong, as the head guard found out: this is why.
    #[error("the framing of the body is wrong")]
    Malformed(&'static str),
    /// The sender was silent for longer than the idle timeout.
    #[error("the body stalled")]
    Stalled,
    /// A placeholder in it was refused. The upstream must see a reset, never a clean end.
    #[error("the body was refused")]
    Refused,
}

/// The body of a client's request as it arrives.
pub struct InboundBody(Source);

enum Source {
    Arriving(Arriving),
    /// Everything was read; only the trailers, if any, are still to be passed on.
    Ended(Option<Box<HeaderMap>>),
    /// It did not come from a client: one piece, until it was taken.
    Given(Bytes),
}

struct Arriving {
    /// None once it was read to its end, or broke off.
    incoming: Option<Incoming>,
    idle: IdleTimer,
    /// Told of every piece; knows what was wrong with the framing, if something was.
    signal: HeadSignal,
    /// Told how far it was read, where the connection depends on that.
    unread: Option<Unread>,
    /// Whether the rest may be read after it was given up. Not where the client waits for leave to
    /// send it: reading on would give that leave (RFC 9110 section 10.1.1).
    may_be_left: bool,
    /// Given when the body is wanted, where the client waits for it over HTTP/2.
    leave: Option<Leave>,
}

impl Drop for Arriving {
    fn drop(&mut self) {
        if self.may_be_left
            && let Some((unread, incoming)) = self.unread.take().zip(self.incoming.take())
        {
            unread.leave(incoming);
        }
    }
}

impl Arriving {
    fn is_at_end(&self) -> bool {
        self.incoming.as_ref().is_none_or(Body::is_end_stream)
    }

    /// Nothing more comes.
    fn end(&mut self, is_whole: bool) {
        self.incoming = None;
        if is_whole && let Some(unread) = &self.unread {
            unread.end();
        }
    }
}

impl InboundBody {
    /// Wraps the body of a request; `idle` bounds every silence in it. `unread` is there over
    /// HTTP/1.1.
    pub fn new(
        request: Request<Incoming>,
        idle: Duration,
        signal: &HeadSignal,
        unread: Option<&Unread>,
    ) -> Request<Self> {
        if request.body().is_end_stream() {
            return request.map(|_| Self::ended(None));
        }
        let leave = request.extensions().get::<Leave>().cloned();
        let may_be_left = !request.headers().contains_key(header::EXPECT);
        if let Some(unread) = unread {
            unread.begin();
        }
        request.map(|incoming| {
            Self(Source::Arriving(Arriving {
                incoming: Some(incoming),
                idle: IdleTimer::new(idle),
                signal: signal.clone(),
                unread: unread.cloned(),
                may_be_left,
                leave,
            }))
        })
    }

    /// What is left of a body whose bytes were all read.
    pub fn ended(trailers: Option<Box<HeaderMap>>) -> Self {
        Self(Source::Ended(trailers))
    }

    /// A body that did not come from a client.
    pub fn given(data: Bytes) -> Self {
        Self(Source::Given(data))
    }

    /// Whether there is no body.
    pub fn is_empty(&self) -> bool {
        self.is_end_stream()
    }

    /// The length that the client declared, if it did.
    pub fn declared_length(&self) -> Option<u64> {
        self.size_hint().exact()
    }

    /// Reads on until `begun` has at least `least` bytes, or all of them. Whether all are there.
    pub async fn read_to(&mut self, begun: &mut Begun, least: usize) -> Result<bool, Refusal> {
        while begun.data.len() < least {
            let Some(frame) = next_frame(self).await else {
                return Ok(true);
            };
            match frame.map_err(broken)?.into_data() {
                Ok(bytes) => begun.data.extend_from_slice(&bytes),
                Err(frame) => begun.trailers = frame.into_trailers().ok().map(Box::new),
            }
        }
        Ok(false)
    }
}

/// What was read of a body so far.
#[derive(Default)]
pub struct Begun {
    /// Its first bytes.
    pub data: BytesMut,
    /// The trailer section, once it came.
    pub trailers: Option<Box<HeaderMap>>,
}

impl Begun {
    /// The body, if these are all of its bytes.
    pub fn into_held(self) -> Held {
        Held {
            data: self.data.freeze(),
            trailers: self.trailers,
        }
    }
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
            Source::Given(data) => {
                let data = std::mem::take(data);
                return Poll::Ready((!data.is_empty()).then(|| Ok(Frame::data(data))));
            }
        };
        let Some(incoming) = &mut this.incoming else {
            return Poll::Ready(None);
        };
        if let Some(leave) = this.leave.take() {
            leave.give();
        }
        match Pin::new(incoming).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                this.idle.reset();
                this.signal.moved();
                if this.is_at_end() {
                    this.end(true);
                }
                Poll::Ready(Some(Ok(without_foreign_fields(frame))))
            }
            Poll::Ready(Some(Err(_))) => {
                this.end(false);
                let malformed = this.signal.broken_framing().map(BodyError::Malformed);
                Poll::Ready(Some(Err(malformed.unwrap_or(BodyError::Broken))))
            }
            Poll::Ready(None) => {
                this.end(true);
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
            Source::Arriving(arriving) => arriving.is_at_end(),
            Source::Ended(trailers) => trailers.is_none(),
            Source::Given(data) => data.is_empty(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Source::Arriving(Arriving {
                incoming: Some(incoming),
                ..
            }) => incoming.size_hint(),
            Source::Arriving(_) => SizeHint::with_exact(0),
            Source::Ended(_) => SizeHint::new(),
            Source::Given(data) => SizeHint::with_exact(data.len() as u64),
        }
    }
}

/// The frame, if it is a trailer section without what is no trailer.
pub fn without_foreign_fields(mut frame: Frame<Bytes>) -> Frame<Bytes> {
    if let Some(trailers) = frame.trailers_mut() {
        hop_by_hop::strip_trailers(trailers);
    }
    frame
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

async fn next_frame<B: Body + Unpin>(body: &mut B) -> Option<Result<Frame<B::Data>, B::Error>> {
    std::future::poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await
}

/// The client's fault in its own upload, as the answer it gets.
pub fn broken(error: BodyError) -> Refusal {
    let detail = match error {
        BodyError::Malformed(reason) => reason,
        BodyError::Stalled => "the request body stalled for longer than proxy.idle_timeout",
        _ => "the request body broke off or its framing is wrong; send it again",
    };
    Refusal::new(Code::RequestMalformed, detail)
}

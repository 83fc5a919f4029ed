//! One request on a shared HTTP/2 connection (RFC 9113 section 8), driven by the exchange that asks.
//!
//! The HTTP library would give each request a task of its own, as large as the state of a whole
//! connection, and hand request and answer from task to task. Here the task that serves the client
//! asks the framing library itself: what comes on the connection wakes it and no other.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use h2::client::ResponseFuture;
use h2::{Reason, RecvStream, SendStream};
use http::Response;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio_util::task::AbortOnDropHandle;

use crate::proxy::exchange::body::BodyError;
use crate::proxy::exchange::expectation::Expectation;
use crate::proxy::exchange::out_body::{OutBody, Transfer};
use crate::proxy::outbound::interim::{self, OnInterim};
use crate::proxy::outbound::limited::Limited;
use crate::proxy::outbound::wire;

/// A request that was sent, until the head of its answer comes. Dropped, it is reset, the upload
/// that continues in a task with it.
pub struct Sent {
    answer: ResponseFuture,
    upload: Option<AbortOnDropHandle<()>>,
    /// The upload, if it waits for the upstream to ask for it.
    expecting: Option<Arc<Transfer>>,
    on_interim: Option<OnInterim>,
}

impl Sent {
    /// A request whose head was sent. Goes on with its body, if it has one.
    pub fn begin(
        answer: ResponseFuture,
        stream: SendStream<Bytes>,
        body: OutBody,
        on_interim: Option<OnInterim>,
    ) -> Self {
        let expecting = body
            .transfer()
            .filter(|upload| upload.expectation().is_some());
        let upload = if body.is_end_stream() {
            None
        } else {
            begin(upload(body, stream))
        };
        Self {
            answer,
            upload,
            expecting,
            on_interim,
        }
    }
}

/// Goes on with an upload in a task of its own, unless it is over at once.
fn begin(upload: impl Future<Output = ()> + Send + 'static) -> Option<AbortOnDropHandle<()>> {
    let mut upload = Box::pin(upload);
    match upload
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()))
    {
        Poll::Ready(()) => None,
        // Its task polls it first of all, and so comes to be woken.
        Poll::Pending => Some(AbortOnDropHandle::new(tokio::spawn(upload))),
    }
}

/// Sends a body as fast as the upstream takes it, until it ends or the upstream wants no more.
async fn upload(mut body: OutBody, mut stream: SendStream<Bytes>) {
    loop {
        let Some(frame) = next(&mut body, &mut stream).await else {
            return;
        };
        let sent = match frame.map(|frame| frame.map(Frame::into_data)) {
            Some(Ok(Ok(data))) => {
                let is_last = body.is_end_stream();
                if !data.is_empty() && !has_room(&mut stream).await {
                    return;
                }
                stream.send_data(data, is_last).map(|()| is_last)
            }
            Some(Ok(Err(frame))) => {
                stream.reserve_capacity(0);
                let trailers = frame.into_trailers().unwrap_or_default();
                stream.send_trailers(trailers).map(|()| true)
            }
            // The upstream must see that this was not the end.
            Some(Err(_)) => return stream.send_reset(Reason::INTERNAL_ERROR),
            None => stream.send_data(Bytes::new(), true).map(|()| true),
        };
        if sent.unwrap_or(true) {
            return;
        }
    }
}

type Piece = Option<Result<Frame<Bytes>, BodyError>>;

/// What comes next of the body; nothing at all if the stream was reset.
async fn next(body: &mut OutBody, stream: &mut SendStream<Bytes>) -> Option<Piece> {
    poll_fn(|cx| match stream.poll_reset(cx) {
        Poll::Ready(_) => Poll::Ready(None),
        Poll::Pending => Pin::new(&mut *body).poll_frame(cx).map(Some),
    })
    .await
}

/// Waits until the upstream takes a byte; the library keeps the rest of the piece. More is not asked
/// for, because what one stream is granted of the connection's window the others have to do without.
async fn has_room(stream: &mut SendStream<Bytes>) -> bool {
    stream.reserve_capacity(1);
    while stream.capacity() == 0 {
        let granted = poll_fn(|cx| stream.poll_capacity(cx)).await;
        if !matches!(granted, Some(Ok(_))) {
            return false;
        }
    }
    true
}

impl Sent {
    /// Takes note of interim answers. Whether the upload was asked for, as far as that is known.
    fn poll_interim(&mut self, cx: &mut Context<'_>) -> bool {
        let (upload, on_interim) = (self.expecting.as_deref(), self.on_interim.as_ref());
        if upload.is_none() && on_interim.is_none() {
            return true;
        }
        while let Poll::Ready(Some(Ok(interim))) = self.answer.poll_informational(cx) {
            interim::take(interim.status(), interim.headers(), upload, on_interim);
        }
        let expectation = upload.and_then(Transfer::expectation);
        expectation.is_none_or(Expectation::is_met)
    }
}

impl Future for Sent {
    type Output = Result<Response<Arriving>, h2::Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let is_expected = self.poll_interim(cx);
        let answer = ready!(Pin::new(&mut self.answer).poll(cx))?;
        // An upload may outlast its answer. One that was not asked for before it is not sent.
        if let Some(upload) = self.upload.take()
            && is_expected
        {
            upload.detach();
        }
        let (mut head, stream) = answer.into_parts();
        let length = wire::settle_length(&mut head.headers).map_err(|_| Reason::PROTOCOL_ERROR)?;
        let body = Arriving::Http2 {
            left: length.or(stream.is_end_stream().then_some(0)),
            stream,
        };
        Poll::Ready(Ok(Response::from_parts(head, body)))
    }
}

/// The body of an answer as it comes from the upstream.
pub enum Arriving {
    /// On a connection of its own.
    Http1(Incoming),
    /// On one that has to be closed after it.
    Http1Limited(Box<Limited<Incoming>>),
    /// On a shared one. The library holds it to the length that was declared.
    Http2 {
        /// Its stream.
        stream: RecvStream,
        /// Bytes that are still to come, if that is known.
        left: Option<u64>,
    },
}

impl Arriving {
    /// The same, of which the first `length` bytes are the body.
    pub fn limited(self, length: u64) -> Self {
        match self {
            Self::Http1(incoming) if !incoming.is_end_stream() => {
                Self::Http1Limited(Box::new(Limited::new(incoming, length)))
            }
            other => other,
        }
    }
}

impl Body for Arriving {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let (stream, left) = match &mut *self {
            Self::Http1(incoming) => {
                let polled = Pin::new(incoming).poll_frame(cx);
                return polled.map_err(|_| BodyError::Broken);
            }
            Self::Http1Limited(limited) => return Pin::new(&mut **limited).poll_frame(cx),
            Self::Http2 { stream, left } => (stream, left),
        };
        let ended = match ready!(stream.poll_data(cx)) {
            Some(Ok(data)) => {
                // It fails only where the stream is over, and then nothing waits for it.
                let _ = stream.flow_control().release_capacity(data.len());
                *left = left.map(|left| left.saturating_sub(data.len() as u64));
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
            Some(Err(error)) => Err(error),
            None => ready!(stream.poll_trailers(cx)),
        };
        Poll::Ready(match ended {
            Ok(trailers) => trailers.map(|trailers| Ok(Frame::trailers(trailers))),
            // RFC 9113 section 8.1: no more of the request is wanted. The answer is complete, or
            // [`ResetCheck`](crate::proxy::outbound::reset_check) had made an error of it.
            Err(error) if error.reason() == Some(Reason::NO_ERROR) => None,
            Err(_) => Some(Err(BodyError::Broken)),
        })
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Http1(incoming) => incoming.is_end_stream(),
            Self::Http1Limited(limited) => limited.is_end_stream(),
            Self::Http2 { stream, .. } => stream.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Http1(incoming) => incoming.size_hint(),
            Self::Http1Limited(limited) => limited.size_hint(),
            Self::Http2 { left, .. } => left.map_or_else(SizeHint::new, SizeHint::with_exact),
        }
    }
}

#[cfg(test)]
mod tests {
    use h2::client::{self, SendRequest};
    use h2::server::{self, SendResponse};
    use http::Request;
    use http_body_util::BodyExt as _;
    use tokio::io::{DuplexStream, duplex};
    use tokio::sync::oneshot;

    use super::*;
    use crate::proxy::exchange::body::Held;
    use crate::proxy::outbound::reset_check::ResetCheck;

    type Upstream = server::Connection<DuplexStream, Bytes>;

    /// A sender, and the other end of its connection, which takes `window` bytes of a body.
    async fn connected(window: u32) -> (SendRequest<Bytes>, Upstream) {
        let (near, far) = duplex(64 * 1024);
        let mut upstream = server::Builder::new();
        upstream.initial_window_size(window);
        let near = client::handshake(ResetCheck::new(near));
        let (near, far) = tokio::join!(near, upstream.handshake(far));
        let (sender, connection) = near.unwrap();
        tokio::spawn(connection);
        (sender, far.unwrap())
    }

    fn begin(sender: &mut SendRequest<Bytes>, body: &'static [u8]) -> Sent {
        let request = Request::post("https://a.test/").body(()).unwrap();
        let (answer, stream) = sender.send_request(request, false).unwrap();
        let held = Held {
            data: Bytes::from_static(body),
            trailers: None,
        };
        Sent::begin(answer, stream, OutBody::held(held), None)
    }

    async fn accept(upstream: &mut Upstream) -> (RecvStream, SendResponse<Bytes>) {
        let (request, respond) = upstream.accept().await.unwrap().unwrap();
        (request.into_body(), respond)
    }

    #[tokio::test]
    async fn an_upload_ends_with_whoever_waits_for_its_answer() {
        let (mut sender, mut upstream) = connected(0).await;
        let mut sent = begin(&mut sender, b"held up");
        let begun = async {
            // Its settings have come once the head of the request is here.
            accept(&mut upstream).await
        };
        let (mut body, _respond) = tokio::select! {
            begun = begun => begun,
            _ = &mut sent => panic!("nobody has answered"),
        };
        drop(sent);
        let data = poll_fn(|cx| {
            let _ = upstream.poll_closed(cx);
            body.poll_data(cx)
        });
        let reset = data.await.unwrap().unwrap_err();
        assert_eq!(reset.reason(), Some(Reason::CANCEL));
    }

    /// The answer to an upload that is not asked for, reset without an error, before its end or after.
    async fn reset_after(has_ended: bool) -> (Bytes, Option<Result<(), BodyError>>) {
        let (mut sender, mut upstream) = connected(0).await;
        let sent = begin(&mut sender, b"never asked for");
        let (take, taken) = oneshot::channel();
        let answered = async {
            let (_body, mut respond) = accept(&mut upstream).await;
            let mut answer = respond.send_response(Response::new(()), false).unwrap();
            let enough = Bytes::from_static(b"enough");
            answer.send_data(enough, has_ended).unwrap();
            tokio::select! {
                _ = taken => answer.send_reset(Reason::NO_ERROR),
                ended = poll_fn(|cx| upstream.poll_closed(cx)) => panic!("{ended:?}"),
            }
            poll_fn(|cx| upstream.poll_closed(cx)).await
        };
        let collected = async {
            let mut body = sent.await.unwrap().into_body();
            let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
            take.send(()).unwrap();
            (first, body.frame().await.map(|frame| frame.map(drop)))
        };
        tokio::select! {
            collected = collected => collected,
            ended = answered => panic!("{ended:?}"),
        }
    }

    #[tokio::test]
    async fn an_answer_that_wants_no_more_of_the_request_is_whole_if_it_has_ended() {
        let enough = Bytes::from_static(b"enough");
        assert_eq!(reset_after(true).await, (enough.clone(), None));
        let broken = Some(Err(BodyError::Broken));
        assert_eq!(reset_after(false).await, (enough, broken));
    }
}

//! A request body of envelopes with JSON in them: the streams of the Connect protocol, gRPC and gRPC-Web
//! (`application/connect+json`, `application/grpc+json`, `application/grpc-web+json`).
//!
//! Each envelope says its length before its message. A message is decided on whole, as soon as it is
//! there: the other side may answer it before the next one comes. It gets the length that it has with
//! its values.

use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body as _, Frame};

use crate::error::{Code, Refusal};
use crate::proxy::exchange::body::{BodyError, InboundBody};
use crate::proxy::exchange::late::LateAuthoriser;
use crate::proxy::exchange::streamed_body::Fault;
use crate::proxy::exchange::{leak_guard, occurrences};
use crate::substitution::body::{self, BodyKind};
use crate::substitution::stream::StreamError;

/// The flags and the length before a message.
const PREFIX: usize = 5;

/// The longest message that is searched: what servers of gRPC take by default.
const MOST: usize = 4 << 20;

/// A body of envelopes.
pub struct EnvelopeBody {
    /// What was read and is not decided on yet.
    window: BytesMut,
    rest: InboundBody,
    /// How many bytes of an envelope go on as they come: it is compressed, or holds no message.
    passing: usize,
    authoriser: Arc<LateAuthoriser>,
    waiting: Option<Waiting>,
    ended: bool,
}

/// Something that has to be decided before the body continues.
enum Waiting {
    Envelope(Deciding<Bytes>),
    Trailers(Deciding<HeaderMap>),
}

type Deciding<T> = Pin<Box<dyn Future<Output = Result<T, Refusal>> + Send>>;

impl EnvelopeBody {
    /// Reads `rest`, which is at its first byte.
    pub fn new(rest: InboundBody, authoriser: Arc<LateAuthoriser>) -> Self {
        Self {
            window: BytesMut::new(),
            rest,
            passing: 0,
            authoriser,
            waiting: None,
            ended: false,
        }
    }

    /// Whether nothing more will come.
    pub fn is_end_stream(&self) -> bool {
        self.ended
    }

    /// The next piece to send.
    pub fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        loop {
            if let Some(waiting) = &mut self.waiting {
                let frame = match waiting {
                    Waiting::Envelope(decided) => {
                        ready!(decided.as_mut().poll(cx)).map(Frame::data)
                    }
                    Waiting::Trailers(decided) => {
                        ready!(decided.as_mut().poll(cx)).map(Frame::trailers)
                    }
                };
                self.waiting = None;
                return Poll::Ready(Some(frame.map_err(Fault::Refused)));
            }
            if let Some(bytes) = self.next() {
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
            if self.waiting.is_some() {
                continue;
            }
            if self.ended {
                return Poll::Ready(None);
            }
            match ready!(Pin::new(&mut self.rest).poll_frame(cx)) {
                Some(Err(error)) => return Poll::Ready(Some(Err(Fault::Body(error)))),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(bytes) => self.window.extend_from_slice(&bytes),
                    Err(frame) => {
                        if let Ok(trailers) = frame.into_trailers() {
                            let decided = Arc::clone(&self.authoriser).trailers(trailers);
                            self.waiting = Some(Waiting::Trailers(Box::pin(decided)));
                        }
                    }
                },
                None if self.window.is_empty() && self.passing == 0 => self.ended = true,
                // It ends inside of an envelope.
                None => return Poll::Ready(Some(Err(Fault::Body(BodyError::Broken)))),
            }
        }
    }

    /// What can be sent of the window at once. Otherwise more is needed, or a decision.
    fn next(&mut self) -> Option<Bytes> {
        if self.passing == 0 {
            let prefix: [u8; PREFIX] = self.window.get(..PREFIX)?.try_into().ok()?;
            let [flags, length @ ..] = prefix;
            let length = u32::from_be_bytes(length) as usize;
            if flags == 0 {
                return self.message(length);
            }
            self.passing = PREFIX.saturating_add(length);
        }
        let passed = self.window.split_to(self.window.len().min(self.passing));
        self.passing -= passed.len();
        (!passed.is_empty()).then(|| passed.freeze())
    }

    /// The envelope at the front, if its message is there and holds no placeholder.
    fn message(&mut self, length: usize) -> Option<Bytes> {
        if length > MOST {
            self.refuse(Refusal::new(
                Code::BodyTooLarge,
                "a message of the stream has more than 4 MiB, and is searched for placeholders whole; \
                 send it in smaller ones, or leave \"body\" out of `scan` for this destination",
            ));
            return None;
        }
        let whole = PREFIX + length;
        if self.window.len() < whole {
            return None;
        }
        let envelope = self.window.split_to(whole).freeze();
        let text = envelope.slice(PREFIX..);
        let edits = match body::find_with(
            &BodyKind::Json,
            &text,
            self.authoriser.context.stand_ins.as_ref(),
        ) {
            Ok(edits) => edits,
            Err(problem) => {
                let failed = Arc::clone(&self.authoriser).failed(StreamError::Body(problem));
                let refused = async move { Err(failed.await) };
                self.waiting = Some(Waiting::Envelope(Box::pin(refused)));
                return None;
            }
        };
        let needles = self.authoriser.guard.as_ref();
        if let Some(name) = needles.and_then(|needles| leak_guard::find(needles, &text)) {
            let exposed = Arc::clone(&self.authoriser).exposed(name);
            self.waiting = Some(Waiting::Envelope(Box::pin(
                async move { Err(exposed.await) },
            )));
            return None;
        }
        if edits.is_empty() {
            return Some(envelope);
        }
        let authoriser = Arc::clone(&self.authoriser);
        let decided = async move {
            let values = Arc::clone(&authoriser).ask_all(&edits).await?;
            match occurrences::substitute_message(&text, &edits, &values) {
                Ok(text) => Ok(enveloped(&text)),
                Err(error) => Err(authoriser.failed(StreamError::Splice(error)).await),
            }
        };
        self.waiting = Some(Waiting::Envelope(Box::pin(decided)));
        None
    }

    fn refuse(&mut self, refusal: Refusal) {
        self.waiting = Some(Waiting::Envelope(Box::pin(ready(Err(refusal)))));
    }
}

/// A message in its envelope. `edit::MAX_OUTPUT` bounds it far below what four bytes can say.
fn enveloped(text: &[u8]) -> Bytes {
    let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
    let mut envelope = Vec::with_capacity(PREFIX + text.len());
    envelope.push(0);
    envelope.extend_from_slice(&length.to_be_bytes());
    envelope.extend_from_slice(text);
    envelope.into()
}

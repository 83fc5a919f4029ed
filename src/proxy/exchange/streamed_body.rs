//! A request body that is passed on as it comes, and searched on the way if its type can hold a
//! placeholder. Memory is bounded whatever its size.

use crate::proxy::exchange::leak_guard::Guard;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame};

use crate::coding::Codings;
use crate::error::Refusal;
use crate::proxy::exchange::body::{BodyError, InboundBody};
use crate::proxy::exchange::late::LateAuthoriser;
use crate::proxy::exchange::recode::Recoder;
use crate::secret::SecretBytes;
use crate::substitution::body::BodyKind;
use crate::substitution::stream::{BodyStream, StreamError, StreamStep};

/// Most bytes searched at once, so that one large frame does not hold up the connection.
const PIECE: usize = 64 * 1024;

/// Why the body ends before its end.
#[derive(Debug)]
pub enum Fault {
    /// The client broke off or stalled.
    Body(BodyError),
    /// A placeholder was refused.
    Refused(Refusal),
}

/// A streamed request body.
pub struct StreamedBody {
    /// What had been read before it was clear that the body is too large to hold.
    prefix: Bytes,
    rest: InboundBody,
    /// The search, unless the body's type cannot hold a placeholder.
    search: Option<BodyStream>,
    /// Looks for stored values in the clear.
    guard: Option<Guard>,
    /// Opens what is searched and closes it again, under a content coding.
    recoder: Option<Recoder>,
    authoriser: Arc<LateAuthoriser>,
    waiting: Option<Waiting>,
    trailers: Option<HeaderMap>,
    ended: bool,
}

/// Something that has to be decided before the body continues.
enum Waiting {
    Value(Deciding<Arc<SecretBytes>>),
    Trailers(Deciding<HeaderMap>),
    Failure(Pin<Box<dyn Future<Output = Refusal> + Send>>),
}

type Deciding<T> = Pin<Box<dyn Future<Output = Result<T, Refusal>> + Send>>;
type Polled = Poll<Option<Result<Frame<Bytes>, Fault>>>;

impl StreamedBody {
    /// Streams `prefix` and then `rest`, as a body of `kind` under `codings`.
    pub fn new(
        kind: &BodyKind,
        codings: &Codings,
        prefix: Bytes,
        rest: InboundBody,
        authoriser: Arc<LateAuthoriser>,
    ) -> Self {
        let searched = *kind != BodyKind::Opaque;
        let guard = authoriser.guard.as_ref().filter(|_| searched);
        Self {
            prefix,
            rest,
            guard: guard.map(|needles| Guard::new(Arc::clone(needles))),
            search: searched
                .then(|| BodyStream::new(kind).with(authoriser.context.stand_ins.clone())),
            recoder: (!codings.is_identity()).then(|| Recoder::new(codings)),
            authoriser,
            waiting: None,
            trailers: None,
            ended: false,
        }
    }

    /// The body as it came, if nothing is searched in it and its length is known.
    pub fn exact_length(&self) -> Option<u64> {
        match self.search {
            None => {
                let rest = self.rest.declared_length();
                rest.map(|rest| rest + self.prefix.len() as u64)
            }
            Some(_) => None,
        }
    }

    /// Whether nothing more will come.
    pub fn is_end_stream(&self) -> bool {
        self.ended || (self.search.is_none() && self.prefix.is_empty() && self.rest.is_end_stream())
    }

    /// The next piece to send.
    pub fn poll_frame(&mut self, cx: &mut Context<'_>) -> Polled {
        loop {
            if self.waiting.is_some() {
                match ready!(self.poll_waiting(cx)) {
                    Ok(()) => {}
                    Err(fault) => return Poll::Ready(Some(Err(fault))),
                }
            }
            if self.ended {
                let trailers = self.trailers.take();
                return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
            }
            let Some(out) = self.search_on() else {
                match ready!(self.poll_source(cx)) {
                    Some(frame) => return Poll::Ready(Some(frame)),
                    None => continue,
                }
            };
            if !out.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(out))));
            }
        }
    }

    /// Takes the search one step further. `None`: it needs more of the body.
    fn search_on(&mut self) -> Option<Bytes> {
        let search = self.search.as_mut()?;
        let out = match search.pass() {
            Ok(passed) if !passed.is_empty() => passed,
            _ => self.step()?,
        };
        let Some(recoder) = &mut self.recoder else {
            return Some(out);
        };
        match recoder.close(&out, self.ended) {
            Ok(closed) => Some(closed.into()),
            Err(refusal) => {
                self.waiting = Some(Waiting::Failure(Box::pin(std::future::ready(refusal))));
                Some(Bytes::new())
            }
        }
    }

    fn step(&mut self) -> Option<Bytes> {
        let mut out = Vec::new();
        match self.search.as_mut()?.step(&mut out) {
            Ok(StreamStep::More) if out.is_empty() => return None,
            Ok(StreamStep::More | StreamStep::Flush) => {}
            Ok(StreamStep::Resolve(need)) => {
                let asked = Arc::clone(&self.authoriser).ask(need.reference, need.location);
                self.waiting = Some(Waiting::Value(Box::pin(asked)));
            }
            Ok(StreamStep::Done) => self.ended = true,
            Err(error) => self.fail(error),
        }
        Some(out.into())
    }

    /// Stops a body that carries a stored value, before the bytes that complete it are sent.
    fn look(&mut self, piece: &[u8]) {
        if let Some(name) = self.guard.as_mut().and_then(|guard| guard.look(piece)) {
            let exposed = Arc::clone(&self.authoriser).exposed(name);
            self.waiting = Some(Waiting::Failure(Box::pin(exposed)));
        }
    }

    fn fail(&mut self, error: StreamError) {
        let failed = Arc::clone(&self.authoriser).failed(error);
        self.waiting = Some(Waiting::Failure(Box::pin(failed)));
    }

    /// Opens the next bytes under the coding and hands them to the search.
    fn open_on(&mut self, recoder: &mut Recoder) -> Result<(), Refusal> {
        let opened = recoder.pull()?;
        self.look(&opened);
        let Some(search) = &mut self.search else {
            return Ok(());
        };
        let searched = search.push(opened.into()).and_then(|()| {
            if recoder.has_ended() {
                search.finish()
            } else {
                Ok(())
            }
        });
        if let Err(error) = searched {
            self.fail(error);
        }
        Ok(())
    }

    /// Reads on. Bytes that are not searched come back as a frame; searched ones go to the search.
    fn poll_source(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        if let Some(mut recoder) = self.recoder.take_if(|recoder| recoder.has_more()) {
            let opened = self.open_on(&mut recoder);
            self.recoder = Some(recoder);
            return Poll::Ready(opened.err().map(|refusal| Err(Fault::Refused(refusal))));
        }
        if !self.prefix.is_empty() {
            let piece = self.prefix.split_to(self.prefix.len().min(PIECE));
            return Poll::Ready(self.take_in(piece));
        }
        Poll::Ready(match ready!(Pin::new(&mut self.rest).poll_frame(cx)) {
            None => {
                self.end_of_source();
                None
            }
            Some(Err(error)) => Some(Err(Fault::Body(error))),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(mut bytes) => {
                    let piece = bytes.split_to(bytes.len().min(PIECE));
                    self.prefix = bytes;
                    self.take_in(piece)
                }
                Err(frame) => {
                    if let Ok(trailers) = frame.into_trailers() {
                        let decided = Arc::clone(&self.authoriser).trailers(trailers);
                        self.waiting = Some(Waiting::Trailers(Box::pin(decided)));
                    }
                    None
                }
            },
        })
    }

    fn take_in(&mut self, piece: Bytes) -> Option<Result<Frame<Bytes>, Fault>> {
        if self.search.is_none() {
            return Some(Ok(Frame::data(piece)));
        }
        if let Some(recoder) = &mut self.recoder {
            recoder.push(&piece);
            return None;
        }
        self.look(&piece);
        let Some(search) = &mut self.search else {
            return None;
        };
        if let Err(error) = search.push(piece) {
            self.fail(error);
        }
        None
    }

    fn end_of_source(&mut self) {
        match &mut self.search {
            None => self.ended = true,
            Some(_) if self.recoder.is_some() => {
                if let Some(recoder) = &mut self.recoder {
                    recoder.finish();
                }
            }
            Some(search) => {
                if let Err(error) = search.finish() {
                    self.fail(error);
                }
            }
        }
    }

    fn poll_waiting(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        let decided = match &mut self.waiting {
            None => Ok(()),
            Some(Waiting::Value(value)) => match ready!(value.as_mut().poll(cx)) {
                Ok(value) => {
                    if let Some(search) = &mut self.search {
                        search.supply(value);
                    }
                    Ok(())
                }
                Err(refusal) => Err(Fault::Refused(refusal)),
            },
            Some(Waiting::Trailers(trailers)) => match ready!(trailers.as_mut().poll(cx)) {
                Ok(trailers) => {
                    self.trailers = Some(trailers);
                    Ok(())
                }
                Err(refusal) => Err(Fault::Refused(refusal)),
            },
            Some(Waiting::Failure(failure)) => {
                Err(Fault::Refused(ready!(failure.as_mut().poll(cx))))
            }
        };
        self.waiting = None;
        Poll::Ready(decided)
    }
}

//! A request body of known length that is searched on its way and sent as it came: its bytes and its
//! length are the client's.
//!
//! Either the client signed them, or the caller has no credential that could be written there. A
//! placeholder that would have to be replaced is refused, and so is an escape: it would be shorter.

use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as _, Frame};

use crate::coding::Codings;
use crate::error::Refusal;
use crate::proxy::exchange::body::InboundBody;
use crate::proxy::exchange::late::LateAuthoriser;
use crate::proxy::exchange::leak_guard::Guard;
use crate::proxy::exchange::payload::unreadable;
use crate::proxy::exchange::recode::Recoder;
use crate::proxy::exchange::spooled_body::PIECE;
use crate::proxy::exchange::streamed_body::Fault;
use crate::substitution::body::{BodyKind, BodySearch};
use crate::substitution::edit::Edit;

/// A body that is searched and not changed.
pub struct WatchedBody {
    prefix: Bytes,
    rest: InboundBody,
    /// How many bytes of it are still to come, by its declared length.
    left: u64,
    search: BodySearch,
    /// Opens what is searched, under a content coding.
    recoder: Option<Recoder>,
    guard: Option<Guard>,
    authoriser: Arc<LateAuthoriser>,
    /// Why nothing may be changed.
    unchanged: Refusal,
    waiting: Option<Waiting>,
    /// What is sent next, once `waiting` is decided.
    next: Option<Frame<Bytes>>,
    is_searched: bool,
}

/// Something that has to be decided before the body continues.
enum Waiting {
    Placeholders(Deciding<()>),
    Trailers(Deciding<HeaderMap>),
}

type Deciding<T> = Pin<Box<dyn Future<Output = Result<T, Refusal>> + Send>>;

impl WatchedBody {
    /// Watches `prefix` and then `rest`, as a body of `kind` under `codings`.
    pub fn new(
        kind: &BodyKind,
        codings: &Codings,
        prefix: Bytes,
        rest: InboundBody,
        authoriser: Arc<LateAuthoriser>,
        unchanged: Refusal,
    ) -> Self {
        let guard = authoriser.guard.as_ref();
        let left = prefix.len() as u64 + rest.declared_length().unwrap_or_default();
        Self {
            left,
            prefix,
            rest,
            search: BodySearch::new(kind).with(authoriser.context.stand_ins.clone()),
            recoder: (!codings.is_identity()).then(|| Recoder::new(codings)),
            guard: guard.map(|needles| Guard::new(Arc::clone(needles))),
            authoriser,
            unchanged,
            waiting: None,
            next: None,
            is_searched: false,
        }
    }

    /// The length that the client declared, less what was sent.
    pub fn exact_length(&self) -> Option<u64> {
        let waiting = self.next.as_ref().and_then(Frame::data_ref);
        Some(self.left + waiting.map_or(0, |data| data.len() as u64))
    }

    /// Whether nothing more will come.
    pub fn is_end_stream(&self) -> bool {
        let is_idle = self.waiting.is_none() && self.next.is_none();
        self.is_searched && is_idle && self.left == 0 && self.rest.is_end_stream()
    }

    /// The next piece to send.
    pub fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        loop {
            if let Some(waiting) = &mut self.waiting {
                match waiting {
                    Waiting::Placeholders(decided) => {
                        ready!(decided.as_mut().poll(cx)).map_err(Fault::Refused)?;
                    }
                    Waiting::Trailers(decided) => {
                        let trailers = ready!(decided.as_mut().poll(cx)).map_err(Fault::Refused)?;
                        self.next = Some(Frame::trailers(trailers));
                    }
                }
                self.waiting = None;
            }
            if let Some(frame) = self.next.take() {
                return Poll::Ready(Some(Ok(frame)));
            }
            if !self.prefix.is_empty() {
                let piece = self.prefix.split_to(self.prefix.len().min(PIECE));
                self.take(piece);
                continue;
            }
            match ready!(Pin::new(&mut self.rest).poll_frame(cx)) {
                Some(Err(error)) => return Poll::Ready(Some(Err(Fault::Body(error)))),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(bytes) => self.prefix = bytes,
                    Err(frame) => self.take_trailers(frame),
                },
                None if self.is_searched => return Poll::Ready(None),
                None => self.end(),
            }
        }
    }

    /// Searches a piece before it is sent, and with the last one all that was held back: the library
    /// asks no further once it has as many bytes as the length says.
    fn take(&mut self, piece: Bytes) {
        self.left = self.left.saturating_sub(piece.len() as u64);
        let mut edits = Vec::new();
        let mut searched = self.search_piece(&piece, &mut edits);
        if self.left == 0 && searched.is_ok() {
            searched = self.search_end(&mut edits);
        }
        self.next = Some(Frame::data(piece));
        self.decide(searched, edits);
    }

    fn end(&mut self) {
        let mut edits = Vec::new();
        let searched = self.search_end(&mut edits);
        self.decide(searched, edits);
    }

    fn take_trailers(&mut self, frame: Frame<Bytes>) {
        if let Ok(trailers) = frame.into_trailers() {
            let decided = Arc::clone(&self.authoriser).trailers(trailers);
            self.waiting = Some(Waiting::Trailers(Box::pin(decided)));
        }
    }

    fn search_piece(&mut self, piece: &[u8], edits: &mut Vec<Edit>) -> Result<(), Stop> {
        let Some(mut recoder) = self.recoder.take() else {
            return self.look(piece, edits);
        };
        recoder.push(piece);
        let opened = self.open_on(&mut recoder, edits);
        self.recoder = Some(recoder);
        opened
    }

    fn search_end(&mut self, edits: &mut Vec<Edit>) -> Result<(), Stop> {
        if self.is_searched {
            return Ok(());
        }
        self.is_searched = true;
        if let Some(mut recoder) = self.recoder.take() {
            recoder.finish();
            self.open_on(&mut recoder, edits)?;
        }
        let finished = self.search.finish(edits).map_err(unreadable);
        finished.map_err(Stop::Refused)
    }

    fn open_on(&mut self, recoder: &mut Recoder, edits: &mut Vec<Edit>) -> Result<(), Stop> {
        while recoder.has_more() {
            let opened = recoder.pull().map_err(Stop::Refused)?;
            self.look(&opened, edits)?;
        }
        Ok(())
    }

    fn look(&mut self, piece: &[u8], edits: &mut Vec<Edit>) -> Result<(), Stop> {
        if let Some(name) = self.guard.as_mut().and_then(|guard| guard.look(piece)) {
            return Err(Stop::Exposed(name));
        }
        let searched = self.search.push(piece, edits).map_err(unreadable);
        searched.map_err(Stop::Refused)
    }

    fn decide(&mut self, searched: Result<(), Stop>, edits: Vec<Edit>) {
        let authoriser = Arc::clone(&self.authoriser);
        let refusal = self.unchanged.clone();
        let decided: Deciding<()> = match searched {
            Err(Stop::Refused(refusal)) => Box::pin(ready(Err(refusal))),
            Err(Stop::Exposed(name)) => {
                Box::pin(async move { Err(authoriser.exposed(name).await) })
            }
            Ok(()) if edits.is_empty() => return,
            Ok(()) if edits.iter().any(|edit| edit.escape) => Box::pin(ready(Err(refusal))),
            Ok(()) => Box::pin(async move { authoriser.ask_all(&edits).await.map(drop) }),
        };
        self.waiting = Some(Waiting::Placeholders(decided));
    }
}

/// Why the body ends before its end.
enum Stop {
    Refused(Refusal),
    /// It carries the stored value of this name in the clear.
    Exposed(String),
}

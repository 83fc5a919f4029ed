//! A request body that was kept aside, on its way to the upstream with its values in place.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::Frame;

use crate::coding::Codings;
use crate::error::{Code, Refusal};
use crate::proxy::exchange::recode::Recoder;
use crate::proxy::exchange::spool::{Spool, SpoolReader};
use crate::substitution::edit::SpliceError;
use crate::substitution::piecewise::{PiecewiseSplice, SplicePlan};

/// Most bytes searched or changed at once, so that one large body does not hold up the connection.
pub const PIECE: usize = 64 * 1024;

/// A body that was kept aside.
pub struct SpooledBody {
    source: Reading,
    change: Option<Change>,
    length: u64,
    trailers: Option<Box<HeaderMap>>,
}

/// What is read from the spool.
enum Reading {
    Next(SpoolReader),
    Waiting(Pending),
    Ended,
}

type Piece = io::Result<Option<(Bytes, SpoolReader)>>;
type Pending = Pin<Box<dyn Future<Output = Piece> + Send>>;

/// What becomes of each piece.
struct Change {
    recoder: Option<Recoder>,
    splice: PiecewiseSplice,
}

/// What is to be changed in a spooled body.
pub struct Changes {
    /// Which values are put where, in the opened bytes.
    pub plan: Arc<SplicePlan>,
    /// The content codings of the body.
    pub codings: Codings,
}

/// Why a body cannot be changed.
pub enum Unchangeable {
    /// A value cannot be written.
    Splice(SpliceError),
    /// The disk or the coding failed.
    Refused(Refusal),
}

impl From<SpliceError> for Unchangeable {
    fn from(error: SpliceError) -> Self {
        Self::Splice(error)
    }
}

impl From<Refusal> for Unchangeable {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl SpooledBody {
    /// The body as it came.
    pub fn unchanged(spool: Arc<Spool>, trailers: Option<Box<HeaderMap>>) -> Self {
        Self {
            length: spool.length(),
            source: Reading::Next(SpoolReader::new(spool)),
            change: None,
            trailers,
        }
    }

    /// The body with its values in place. All of it is put together once to learn its length, and again
    /// as it is sent: nothing that holds a value is kept.
    pub async fn changed(
        spool: Arc<Spool>,
        trailers: Option<Box<HeaderMap>>,
        changes: &Changes,
    ) -> Result<Self, Unchangeable> {
        let mut change = Change::new(
            &changes.codings,
            PiecewiseSplice::new(Arc::clone(&changes.plan)),
        );
        let mut length = change.measure(&spool).await?;
        if let Some(corrected) = change.splice.again_corrected() {
            change = Change::new(&changes.codings, corrected);
            length = change.measure(&spool).await?;
        }
        Ok(Self {
            source: Reading::Next(SpoolReader::new(spool)),
            change: Some(Change::new(&changes.codings, change.splice.again())),
            length,
            trailers,
        })
    }

    /// Its length as it is sent.
    pub fn exact_length(&self) -> Option<u64> {
        // Trailers need chunked framing over HTTP/1.1, so the length must not be known then.
        self.trailers.is_none().then_some(self.length)
    }

    /// Whether nothing more will come.
    pub fn is_end_stream(&self) -> bool {
        matches!(self.source, Reading::Ended) && self.trailers.is_none()
    }

    /// The next piece to send.
    pub fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Refusal>>> {
        loop {
            let read = match std::mem::replace(&mut self.source, Reading::Ended) {
                Reading::Ended => {
                    let trailers = self.trailers.take();
                    return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(*trailers))));
                }
                Reading::Next(reader) => {
                    self.source = Reading::Waiting(Box::pin(reader.read()));
                    continue;
                }
                Reading::Waiting(mut pending) => match pending.as_mut().poll(cx) {
                    Poll::Ready(read) => read,
                    Poll::Pending => {
                        self.source = Reading::Waiting(pending);
                        return Poll::Pending;
                    }
                },
            };
            let piece = match read {
                Err(error) => return Poll::Ready(Some(Err(unreadable(error)))),
                Ok(None) => None,
                Ok(Some((piece, rest))) => {
                    self.source = Reading::Next(rest);
                    Some(piece)
                }
            };
            match self.changed_piece(piece) {
                Ok(piece) if piece.is_empty() => {}
                Ok(piece) => return Poll::Ready(Some(Ok(Frame::data(piece)))),
                Err(refusal) => return Poll::Ready(Some(Err(refusal))),
            }
        }
    }

    /// What is sent for a piece of the spool, or after its last one.
    fn changed_piece(&mut self, piece: Option<Bytes>) -> Result<Bytes, Refusal> {
        let ended = piece.is_none();
        let piece = piece.unwrap_or_default();
        match &mut self.change {
            None => Ok(piece),
            // It went well when the length was measured.
            Some(change) => change.apply(&piece, ended).map_err(|error| match error {
                Unchangeable::Refused(refusal) => refusal,
                Unchangeable::Splice(_) => {
                    Refusal::new(Code::Internal, "the request could not be put together")
                }
            }),
        }
    }
}

impl Change {
    fn new(codings: &Codings, splice: PiecewiseSplice) -> Self {
        Self {
            recoder: (!codings.is_identity()).then(|| Recoder::new(codings)),
            splice,
        }
    }

    /// How long all of it becomes.
    async fn measure(&mut self, spool: &Arc<Spool>) -> Result<u64, Unchangeable> {
        let mut next = Some(SpoolReader::new(Arc::clone(spool)));
        let mut length = 0;
        while let Some(reader) = next {
            let read = reader.read().await.map_err(unreadable)?;
            let (piece, rest) =
                read.map_or((Bytes::new(), None), |(piece, rest)| (piece, Some(rest)));
            length += self.apply(&piece, rest.is_none())?.len() as u64;
            next = rest;
            tokio::task::yield_now().await;
        }
        Ok(length)
    }

    /// What becomes of the next piece; with `ended`, of the end.
    fn apply(&mut self, piece: &Bytes, ended: bool) -> Result<Bytes, Unchangeable> {
        let mut out = Vec::new();
        let Some(recoder) = &mut self.recoder else {
            for piece in piece.chunks(PIECE) {
                self.splice.push(piece, &mut out)?;
            }
            return Ok(out.into());
        };
        if ended {
            recoder.finish()
        } else {
            recoder.push(piece)
        }
        while recoder.has_more() {
            let opened = recoder.pull()?;
            let mut spliced = Vec::new();
            self.splice.push(&opened, &mut spliced)?;
            out.extend(recoder.close(&spliced, ended && recoder.has_ended())?);
        }
        Ok(out.into())
    }
}

fn unreadable(error: io::Error) -> Refusal {
    tracing::error!(%error, "a request body could not be read back from the data directory");
    Refusal::new(
        Code::Internal,
        "the body could not be read back from the data directory; send it again",
    )
}

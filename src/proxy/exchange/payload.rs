//! The message body as the pipeline has it: held whole, kept aside, or with its beginning read.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::request::Parts;

use crate::coding::{Codings, Encoder};
use crate::config::{ScanPlace, Treatment};
use crate::error::{Code, Refusal};
use crate::proxy::exchange::body::{Begun, Held, InboundBody};
use crate::proxy::exchange::leak_guard::{self, Guard};
use crate::proxy::exchange::recode::{self, Recoder};
use crate::proxy::exchange::request_context::{Refused, RequestContext};
use crate::proxy::exchange::signed;
use crate::proxy::exchange::spool::{Reservation, Spool, SpoolSpace, SpoolWriter};
use crate::proxy::exchange::{authorisation, spooled_body};
use crate::scrub::Needles;
use crate::substitution::body::{self, BodyKind, BodyProblem, BodySearch};
use crate::substitution::edit::Edit;
use crate::substitution::sniff::{self, is_binary};

/// How many times `body.buffer` a compressed body may open to and still be decided on whole. Text
/// compresses about so far; beyond it the body streams.
const OPENED: usize = 8;

/// The message body: decided on whole, or passed on as it comes.
pub enum Payload {
    Held(Held, Option<Box<Coded>>),
    Spooled(Box<Spooled>),
    Streamed(Box<Streamed>),
}

/// A body that was read to its end and is larger than what is held.
pub struct Spooled {
    pub spool: Arc<Spool>,
    pub codings: Codings,
    /// Its placeholders, with spans in the opened bytes.
    pub edits: Vec<Edit>,
    pub trailers: Option<Box<HeaderMap>>,
}

/// A body of which the beginning was read.
pub struct Streamed {
    pub kind: BodyKind,
    pub codings: Codings,
    pub prefix: Bytes,
    pub rest: InboundBody,
    /// Why nothing in it may be changed, if that is so. Then it is sent with its length and bytes, and a
    /// placeholder in it is refused.
    pub unchanged: Option<Refusal>,
}

impl Streamed {
    /// Whether this body may yet turn out to hold a placeholder that is replaced.
    pub fn is_searched(&self) -> bool {
        self.kind != BodyKind::Opaque && self.unchanged.is_none()
    }
}

/// What a held body was in its coding: sent again if nothing inside is changed.
pub struct Coded {
    pub original: Bytes,
    pub encoder: Encoder,
}

/// How much of a body is read before it is decided on.
#[derive(Clone, Copy)]
pub struct BodyLimits<'a> {
    /// Most bytes in memory.
    pub buffer: usize,
    /// Most bytes on the disk, of all bodies together.
    pub spool: u64,
    /// Where they are.
    pub space: &'a Arc<SpoolSpace>,
}

/// What decides how a body is taken in.
pub struct Taking<'a> {
    pub context: &'a RequestContext,
    pub head: &'a Parts,
    pub limits: BodyLimits<'a>,
    /// Values that must not be sent in the clear, unless the destination allows that.
    pub guard: Option<&'a Arc<Needles>>,
    /// Why nothing in the body may be changed, if that is so. Asked of large bodies only.
    pub unchanged: &'a (dyn Fn() -> Option<Refusal> + Sync),
}

impl Taking<'_> {
    /// Takes a body in that is to be searched: holds it, keeps it aside, or reads its beginning.
    pub async fn take(
        &self,
        mut kind: BodyKind,
        mut body: InboundBody,
    ) -> Result<Payload, Refused> {
        let mut begun = Begun::default();
        let mut is_whole = false;
        if kind != BodyKind::Opaque && is_untyped(self.head) {
            is_whole = body.read_to(&mut begun, sniff::SNIFFED).await?;
            if is_binary(&begun.data) {
                kind = BodyKind::Opaque;
            }
        }
        if kind == BodyKind::Opaque {
            let rest = if is_whole {
                InboundBody::ended(begun.trailers)
            } else {
                body
            };
            let prefix = begun.data.freeze();
            return Ok(streamed(kind, Codings::default(), prefix, rest, None));
        }
        let codings = self.codings()?;
        if kind == BodyKind::Envelopes {
            // Read one by one as they come: the other side may answer one before the next.
            if !codings.is_identity() {
                return Err(recode::unsupported().into());
            }
            return Ok(streamed(kind, codings, Bytes::new(), body, None));
        }
        if let Some(length) = body.declared_length() {
            let length = length + begun.data.len() as u64;
            if length > self.limits.buffer as u64 {
                return self.take_large(kind, codings, begun, body, length).await;
            }
        }
        let buffer = self.limits.buffer;
        if !is_whole && !body.read_to(&mut begun, buffer.saturating_add(1)).await? {
            return Ok(streamed(kind, codings, begun.data.freeze(), body, None));
        }
        open(kind, codings, begun.into_held(), buffer)
    }

    fn codings(&self) -> Result<Codings, Refusal> {
        let lines = self.head.headers.get_all(header::CONTENT_ENCODING);
        if signed::is_aws_chunked(&self.head.headers) {
            Ok(Codings::default())
        } else {
            Codings::of_content(lines.iter().map(HeaderValue::as_bytes))
                .map_err(|_| recode::unsupported())
        }
    }

    /// Takes a body in whose length the client gave, and which is too large to hold. The upstream may
    /// need that length (RFC 9112 section 6.3 lets it refuse a body without one), so it is changed only
    /// where something was replaced.
    async fn take_large(
        &self,
        kind: BodyKind,
        codings: Codings,
        begun: Begun,
        body: InboundBody,
        length: u64,
    ) -> Result<Payload, Refused> {
        let prefix = begun.data.freeze();
        if let Some(unchanged) = (self.unchanged)() {
            return Ok(streamed(kind, codings, prefix, body, Some(unchanged)));
        }
        match self.limits.space.reserve(length, self.limits.spool) {
            Some(room) => self.spool(kind, codings, prefix, body, room).await,
            None => Ok(streamed(kind, codings, prefix, body, None)),
        }
    }

    /// Reads a body to its end and searches it on the way.
    async fn spool(
        &self,
        kind: BodyKind,
        codings: Codings,
        prefix: Bytes,
        mut body: InboundBody,
        room: Reservation,
    ) -> Result<Payload, Refused> {
        let mut writer = SpoolWriter::new(room, self.limits.buffer);
        let mut reading = Reading {
            context: self.context,
            guard: self.guard.map(|needles| Guard::new(Arc::clone(needles))),
            recoder: (!codings.is_identity()).then(|| Recoder::new(&codings)),
            search: BodySearch::new(&kind).with(self.context.stand_ins.clone()),
            edits: Vec::new(),
        };
        let mut begun = Begun {
            data: prefix.into(),
            trailers: None,
        };
        loop {
            let is_whole = body.read_to(&mut begun, 1).await?;
            let piece = begun.data.split().freeze();
            for piece in piece.chunks(spooled_body::PIECE) {
                reading.push(piece)?;
                writer.push(piece).await.map_err(no_room)?;
            }
            if is_whole {
                break;
            }
        }
        reading.finish()?;
        Ok(Payload::Spooled(Box::new(Spooled {
            spool: Arc::new(writer.finish().await.map_err(no_room)?),
            codings,
            edits: reading.edits,
            trailers: begun.trailers,
        })))
    }
}

/// The search of a body that is kept aside.
struct Reading<'a> {
    context: &'a RequestContext,
    guard: Option<Guard>,
    /// Opens what is searched, under a content coding.
    recoder: Option<Recoder>,
    search: BodySearch,
    edits: Vec<Edit>,
}

impl Reading<'_> {
    fn push(&mut self, piece: &[u8]) -> Result<(), Refused> {
        let Some(mut recoder) = self.recoder.take() else {
            return self.look(piece);
        };
        recoder.push(piece);
        self.open_on(&mut recoder)?;
        self.recoder = Some(recoder);
        Ok(())
    }

    fn finish(&mut self) -> Result<(), Refused> {
        if let Some(mut recoder) = self.recoder.take() {
            recoder.finish();
            self.open_on(&mut recoder)?;
        }
        self.search.finish(&mut self.edits).map_err(unreadable)?;
        Ok(())
    }

    fn open_on(&mut self, recoder: &mut Recoder) -> Result<(), Refused> {
        while recoder.has_more() {
            let opened = recoder.pull()?;
            self.look(&opened)?;
        }
        Ok(())
    }

    fn look(&mut self, piece: &[u8]) -> Result<(), Refused> {
        if let Some(name) = self.guard.as_mut().and_then(|guard| guard.look(piece)) {
            return Err(leak_guard::refuse(self.context, &name, "body"));
        }
        self.search
            .push(piece, &mut self.edits)
            .map_err(unreadable)?;
        // Each is kept until all are known.
        if self.edits.len() > authorisation::MOST_PLACES {
            Err(authorisation::too_much(self.context, self.edits.len()))
        } else {
            Ok(())
        }
    }
}

fn streamed(
    kind: BodyKind,
    codings: Codings,
    prefix: Bytes,
    rest: InboundBody,
    unchanged: Option<Refusal>,
) -> Payload {
    Payload::Streamed(Box::new(Streamed {
        kind,
        codings,
        prefix,
        rest,
        unchanged,
    }))
}

/// Opens a body that is held, if it does not open too far.
fn open(kind: BodyKind, codings: Codings, held: Held, buffer: usize) -> Result<Payload, Refused> {
    if codings.is_identity() {
        return Ok(Payload::Held(held, None));
    }
    match recode::open(&codings, &held.data, buffer.saturating_mul(OPENED))? {
        Some(opened) => {
            let original = held.data;
            let held = Held {
                data: opened.data,
                trailers: held.trailers,
            };
            let encoder = opened.encoder;
            let coded = Coded { original, encoder };
            Ok(Payload::Held(held, Some(Box::new(coded))))
        }
        None => {
            let rest = InboundBody::ended(held.trailers);
            Ok(streamed(kind, codings, held.data, rest, None))
        }
    }
}

/// How the body is to be read; opaque if it is not to be searched.
pub fn body_kind(head: &Parts, body: &InboundBody, treatment: &Treatment) -> BodyKind {
    if body.is_empty() || !treatment.scan.contains(&ScanPlace::Body) {
        return BodyKind::Opaque;
    }
    if is_said_twice(&head.headers) {
        return BodyKind::Ambiguous;
    }
    body::classify(content_type(head))
}

/// Whether there are two types of which recipients may take either.
fn is_said_twice(headers: &HeaderMap) -> bool {
    if headers.len() == headers.keys_len() {
        // No field has a second line.
        return false;
    }
    let mut lines = headers.get_all(header::CONTENT_TYPE).iter();
    let first = lines.next();
    lines.any(|line| Some(line) != first)
}

/// Whether the client did not say what the body is.
fn is_untyped(head: &Parts) -> bool {
    content_type(head).is_none_or(|text| text.trim_ascii().is_empty())
}

fn content_type(head: &Parts) -> Option<&[u8]> {
    let line = head.headers.get(header::CONTENT_TYPE);
    line.map(HeaderValue::as_bytes)
}

/// The refusal of a body whose text cannot be read.
pub fn unreadable(problem: BodyProblem) -> Refusal {
    Refusal::new(Code::BodyEncodingUnsupported, problem.to_string())
}

fn no_room(error: io::Error) -> Refusal {
    tracing::error!(%error, "a request body could not be written to the data directory");
    Refusal::new(
        Code::Overloaded,
        "the body is kept in the data directory until it was searched, and cannot be written there; \
         free disk space, or set body.spool = 0 to search it while it streams",
    )
}

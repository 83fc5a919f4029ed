//! The message body as the pipeline has it: held whole, or with its beginning read.

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::request::Parts;

use crate::coding::{Codings, Encoder};
use crate::config::{ScanPlace, Treatment};
use crate::proxy::exchange::body::{Held, Holding, InboundBody};
use crate::proxy::exchange::recode;
use crate::proxy::exchange::request_context::Refused;
use crate::proxy::exchange::signed;
use crate::substitution::body::{self, BodyKind};

/// How many times `body.buffer` a compressed body may open to and still be decided on whole. Text
/// compresses about so far; beyond it the body streams.
const OPENED: usize = 8;

/// The message body: decided on whole, or passed on as it comes.
pub enum Payload {
    Held(Held, Option<Box<Coded>>),
    Streamed(Box<Streamed>),
}

/// A body of which the beginning was read.
pub struct Streamed {
    pub kind: BodyKind,
    pub codings: Codings,
    pub prefix: Bytes,
    pub rest: InboundBody,
}

impl Streamed {
    /// Whether this body may yet turn out to hold a placeholder.
    pub fn is_searched(&self) -> bool {
        self.kind != BodyKind::Opaque
    }
}

/// What a held body was in its coding: sent again if nothing inside is changed.
pub struct Coded {
    pub original: Bytes,
    pub encoder: Encoder,
}

/// Holds a body that is to be searched, if it is small enough.
pub async fn take_body(
    kind: &BodyKind,
    head: &Parts,
    body: InboundBody,
    buffer: usize,
) -> Result<Payload, Refused> {
    let streamed = |codings, prefix, rest| {
        Payload::Streamed(Box::new(Streamed {
            kind: kind.clone(),
            codings,
            prefix,
            rest,
        }))
    };
    if *kind == BodyKind::Opaque {
        return Ok(streamed(Codings::default(), Bytes::new(), body));
    }
    let lines = head.headers.get_all(header::CONTENT_ENCODING);
    let codings = match signed::is_aws_chunked(&head.headers) {
        true => Codings::default(),
        false => Codings::parse(lines.iter().map(HeaderValue::as_bytes))
            .map_err(|_| recode::unsupported())?,
    };
    let held = match body.hold(buffer).await? {
        Holding::Whole(held) if codings.is_identity() => return Ok(Payload::Held(held, None)),
        Holding::Whole(held) => held,
        Holding::Part(prefix, rest) => return Ok(streamed(codings, prefix, rest)),
    };
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
        None => Ok(streamed(
            codings,
            held.data,
            InboundBody::ended(held.trailers),
        )),
    }
}

/// How the body is to be read; opaque if it is not to be searched.
pub fn body_kind(head: &Parts, body: &InboundBody, treatment: &Treatment) -> BodyKind {
    if body.is_empty() || !treatment.scan.contains(&ScanPlace::Body) {
        return BodyKind::Opaque;
    }
    let content_type = head.headers.get(header::CONTENT_TYPE);
    body::classify(content_type.map(HeaderValue::as_bytes))
}

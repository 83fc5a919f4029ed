//! Takes values out of an answer: its reason phrase, headers, body and trailers.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::response::Parts;
use hyper::ext::ReasonPhrase;

use crate::coding::{Codings, DecodeLimits, Decoder, Encoder, Pulled, acceptable};
use crate::error::{Code, Refusal};
use crate::proxy::exchange::present::Present;
use crate::proxy::exchange::request_context::RequestContext;
use crate::proxy::exchange::signed;
use crate::proxy::exchange::used::Used;
use crate::proxy::response::answer_kind::{AnswerKind, hides_messages};
use crate::proxy::response::field_names::scrub_names;
use crate::proxy::response::findings::Findings;
use crate::proxy::response::message_framing::MessageFraming;
use crate::proxy::response::stages::{Clean, Stages, Unscannable};
use crate::scrub::{Needles, Replacement, Waiting, scrub_bytes, scrub_bytes_with};

/// How much of an opened body is searched and passed on at once, in bytes.
const PIECE: usize = 64 * 1024;
/// Where a finding was made, for the ledger.
const PLACE: &str = "body";

/// Scrubs the head of an answer. `needles` hold what the request has sent.
pub fn scrub_head(head: &mut Parts, needles: &Needles, findings: &mut Findings) {
    let mut hits = Vec::new();
    if let Some(reason) = head.extensions.remove::<ReasonPhrase>() {
        let clean = match scrub_bytes(needles, reason.as_bytes(), &mut hits) {
            None => Some(reason),
            Some(clean) => ReasonPhrase::try_from(clean).ok(),
        };
        if let Some(clean) = clean {
            head.extensions.insert(clean);
        }
        findings.add(needles, "status", &hits);
    }
    if scrub_names(&mut head.headers, needles, findings) {
        forget_case(head);
    }
    scrub_fields(&mut head.headers, needles, findings);
}

/// Drops hyper's record of how the upstream wrote its names, which has no public type. Of what else
/// a head carries along, only the reason phrase is used from here on.
fn forget_case(head: &mut Parts) {
    let reason = head.extensions.remove::<ReasonPhrase>();
    head.extensions.clear();
    if let Some(reason) = reason {
        head.extensions.insert(reason);
    }
}

/// Fields that hold URIs, in which a raw `<` is not allowed (RFC 3986 section 2): clients of HTTP/2
/// have stopped reading at one.
static URIS: [HeaderName; 4] = [
    header::LOCATION,
    header::CONTENT_LOCATION,
    header::LINK,
    header::REFRESH,
];

/// Scrubs the values of headers or trailers in place.
fn scrub_fields(fields: &mut HeaderMap, needles: &Needles, findings: &mut Findings) {
    let mut hits = Vec::new();
    for (name, value) in fields.iter_mut() {
        hits.clear();
        let replacement = if URIS.contains(name) {
            Replacement::Percent
        } else {
            Replacement::Placeholder
        };
        let scrubbed = scrub_bytes_with(needles, replacement, value.as_bytes(), &mut hits);
        let Some(scrubbed) = scrubbed else {
            continue;
        };
        findings.add(needles, &format!("header:{name}"), &hits);
        // A value without illegal bytes has none after a placeholder was put into it.
        *value = HeaderValue::from_bytes(&scrubbed)
            .unwrap_or_else(|_| HeaderValue::from_static("<<scrubbed>>"));
    }
}

/// What an answer's head says of how its body is coded.
#[derive(Clone, Copy)]
pub struct Coded<'a> {
    /// The fields that the head has.
    pub present: Present,
    /// Those under `chunked`.
    pub transfer_codings: &'a Codings,
}

impl Coded<'_> {
    fn content(self, headers: &HeaderMap) -> Result<Codings, Unscannable> {
        if !self.present.has(Present::CONTENT_ENCODING) {
            return Ok(Codings::default());
        }
        let lines = headers.get_all(header::CONTENT_ENCODING).iter();
        Codings::of_content(lines.map(HeaderValue::as_bytes)).map_err(|_| Unscannable)
    }
}

/// Scrubs the body of one answer as it streams, under its codings.
pub struct BodyScrubber {
    keeps_length: bool,
    decoder: Option<Decoder>,
    messages: Option<MessageFraming>,
    stages: Stages,
    encoder: Option<Encoder>,
    /// Unchanged bytes that follow what was given out last.
    passed: Bytes,
    /// Whether opened bytes wait to be pulled.
    more: bool,
    /// Whether all that there is was pushed.
    ended: bool,
    /// Whether a message, an event or a line has just ended.
    ends_message: bool,
}

impl BodyScrubber {
    /// Prepares the head of an answer for its body being scrubbed, and the scrubber. What the head
    /// says of the body's length is left to the sender, see [`BodyScrubber::keeps_length`].
    ///
    /// The body is passed on without its coding, unless the client refuses that, and always without
    /// its transfer codings, which end at this hop. `needles` hold the first `known` values of
    /// `used`.
    pub fn new(
        head: &mut Parts,
        coded: Coded<'_>,
        needles: &Arc<Needles>,
        used: &Arc<Used>,
        known: usize,
        accept_encoding: &[HeaderValue],
    ) -> Result<Self, Unscannable> {
        let Coded {
            present,
            transfer_codings,
        } = coded;
        let codings = coded.content(&head.headers)?;
        let kind = AnswerKind::of(head, present);
        // A part of a coded body cannot be opened, and its length is pinned.
        if kind.is_part && !codings.is_identity() || hides_messages(&head.headers, present) {
            return Err(Unscannable);
        }
        let plain = Codings::default();
        let accepts =
            |codings| acceptable(accept_encoding.iter().map(HeaderValue::as_bytes), codings);
        let recode = !codings.is_identity() && !accepts(&plain) && accepts(&codings);
        if !codings.is_identity() && !recode {
            head.headers.remove(header::CONTENT_ENCODING);
        }
        Ok(Self {
            encoder: recode.then(|| Encoder::new(&codings)),
            ..Self::plain(
                head,
                kind,
                &codings.then(transfer_codings),
                needles,
                used,
                known,
            )
        })
    }

    /// A scrubber that takes the body as it comes, whatever its coding is said to be: for answers
    /// that cannot be opened, to requests that used nothing. Who sends a value in the clear under
    /// the name of some coding gets no further.
    pub fn unopened(
        head: &mut Parts,
        coded: Coded<'_>,
        needles: &Arc<Needles>,
        used: &Arc<Used>,
    ) -> Self {
        let kind = AnswerKind::of(head, coded.present);
        Self::plain(head, kind, coded.transfer_codings, needles, used, 0)
    }

    fn plain(
        head: &mut Parts,
        kind: AnswerKind,
        codings: &Codings,
        needles: &Arc<Needles>,
        used: &Arc<Used>,
        known: usize,
    ) -> Self {
        signed::remove_digests(&mut head.headers);
        let AnswerKind {
            is_part,
            prefix,
            replacement,
        } = kind;
        let is_coded = !codings.is_identity();
        let keeps_length = replacement == Replacement::SameLength && prefix.is_none() && !is_coded;
        Self {
            keeps_length: keeps_length || is_part,
            decoder: is_coded.then(|| Decoder::new(codings, DecodeLimits::default())),
            messages: prefix.map(|prefix| MessageFraming::new(prefix, &head.headers)),
            stages: Stages::new(Arc::clone(needles), used, known, replacement),
            encoder: None,
            passed: Bytes::new(),
            more: false,
            ended: false,
            ends_message: false,
        }
    }

    /// Whether the body keeps the length that it had.
    pub fn keeps_length(&self) -> bool {
        self.keeps_length
    }

    /// Whether the body has to be opened, which can fail.
    pub fn opens(&self) -> bool {
        self.decoder.is_some()
    }

    /// Whether [`BodyScrubber::next`] has something to give without more input.
    pub fn has_more(&self) -> bool {
        self.more || !self.passed.is_empty()
    }

    /// Takes bytes as they arrived; none follow the `last`. [`BodyScrubber::next`] is to be
    /// called for the rest of them.
    pub fn push(
        &mut self,
        input: Bytes,
        last: bool,
        findings: &mut Findings,
    ) -> Result<Bytes, Unscannable> {
        self.ended = last;
        let Some(decoder) = &mut self.decoder else {
            return self.scrub(input, last, findings);
        };
        decoder.push(&input);
        if last {
            decoder.finish();
        }
        self.next(findings)
    }

    /// The next piece of what was pushed.
    pub fn next(&mut self, findings: &mut Findings) -> Result<Bytes, Unscannable> {
        let passed = std::mem::take(&mut self.passed);
        let Some(decoder) = self.decoder.as_mut().filter(|_| passed.is_empty()) else {
            return Ok(passed);
        };
        let mut opened = Vec::new();
        let pulled = decoder.pull(&mut opened, PIECE).map_err(|_| Unscannable)?;
        self.more = pulled == Pulled::More;
        self.scrub(opened.into(), self.ended && !self.more, findings)
    }

    /// Scrubs trailers, and drops digests that no longer hold.
    pub fn trailers(&self, mut trailers: HeaderMap, findings: &mut Findings) -> HeaderMap {
        signed::remove_digests(&mut trailers);
        for needles in self.stages.needles() {
            // No case is on record for the names of trailers: they are delivered in lower case.
            scrub_names(&mut trailers, needles, findings);
            scrub_fields(&mut trailers, needles, findings);
        }
        trailers
    }

    /// What waits for the bytes that follow it.
    pub fn waiting(&self) -> Waiting {
        self.stages.waiting()
    }

    /// Whether what came last ends a message, an event or a line.
    pub fn ends_message(&self) -> bool {
        self.ends_message
    }

    /// What waits for the bytes that follow it, see [`Scrubber::release`](crate::scrub::Scrubber).
    pub fn release(&mut self, findings: &mut Findings) -> Result<Bytes, Unscannable> {
        let written = self.stages.release(PLACE, findings);
        let Some(encoder) = &mut self.encoder else {
            return Ok(written.into());
        };
        let mut coded = Vec::new();
        encoder
            .push(&written, &mut coded)
            .and_then(|()| encoder.flush(&mut coded))
            .map_err(|_| Unscannable)?;
        Ok(coded.into())
    }

    /// The messages of a piece, opened.
    fn open_messages(&mut self, input: Bytes, last: bool) -> Result<Bytes, Unscannable> {
        let Some(messages) = &mut self.messages else {
            if let Some(&end) = input.last() {
                self.ends_message = end == b'\n';
            }
            return Ok(input);
        };
        // Without a secret in the request a message holds what it would hold without Egret.
        let opened = messages.open(input, self.stages.is_nothing_used())?;
        self.ends_message = messages.is_between();
        if last {
            messages.finish()?;
        }
        Ok(opened)
    }

    fn scrub(
        &mut self,
        input: Bytes,
        last: bool,
        findings: &mut Findings,
    ) -> Result<Bytes, Unscannable> {
        let input = self.open_messages(input, last)?;
        let Clean { written, passed } = self.stages.scrub(&input, last, PLACE, findings)?;
        let passed = input.slice(passed);
        let Some(encoder) = &mut self.encoder else {
            if written.is_empty() {
                return Ok(passed);
            }
            self.passed = passed;
            return Ok(written.into());
        };
        let mut coded = Vec::new();
        for clean in [&written[..], &passed] {
            encoder.push(clean, &mut coded).map_err(|_| Unscannable)?;
        }
        if last {
            self.encoder
                .take()
                .map_or(Ok(()), |encoder| encoder.finish(&mut coded))
        } else {
            encoder.flush(&mut coded)
        }
        .map_err(|_| Unscannable)?;
        Ok(coded.into())
    }
}

/// The refusal for an answer to a request without a secret that is not in the coding it is said to be in.
pub fn mislabelled(context: &RequestContext) -> Refusal {
    Refusal::new(
        Code::ResponseUnscannable,
        "the answer is not in the coding that its Content-Encoding or Transfer-Encoding says, so it \
         could be neither opened nor searched; the destination has to name the right one",
    )
    .destination(context.destination.to_string())
}

/// The refusal for an answer that cannot be searched; `headers` are its, where they are at hand.
pub fn unscannable(context: &RequestContext, headers: Option<&HeaderMap>) -> Refusal {
    let coding = headers.map(coding_of).unwrap_or_default();
    let named = if coding.is_empty() {
        "Content-Encoding, grpc-encoding, Connect-Content-Encoding".to_owned()
    } else {
        format!("Content-Encoding: {coding}")
    };
    Refusal::new(
        Code::ResponseUnscannable,
        format!(
            "a secret was used, and the answer came in a coding ({named}) that cannot be opened or is \
             not what it says, so it could hold the secret; ask for gzip, br, zstd or identity"
        ),
    )
    .destination(context.destination.to_string())
}

/// The content coding of an answer, for people.
pub fn coding_of(headers: &HeaderMap) -> String {
    let lines = headers.get_all(header::CONTENT_ENCODING);
    Codings::describe(lines.iter().map(HeaderValue::as_bytes))
}

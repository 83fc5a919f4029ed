//! Takes values out of an answer: its reason phrase, headers, body and trailers.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::response::Parts;
use hyper::ext::ReasonPhrase;

use crate::coding::{Codings, DecodeLimits, Decoder, Encoder, Pulled, acceptable};
use crate::error::{Code, Refusal};
use crate::proxy::exchange::request_context::RequestContext;
use crate::proxy::exchange::signed;
use crate::proxy::exchange::used::Used;

use crate::proxy::response::field_names::scrub_names;
use crate::proxy::response::findings::Findings;
use crate::scrub::{Needles, Replacement, Scrubber, scrub_bytes};

/// How much of an opened body is searched and passed on at once, in bytes.
const PIECE: usize = 64 * 1024;
/// Most times that an answer learns of new values while it streams.
const STAGES: usize = 16;

/// Scrubs the head of an answer. `needles` hold what the request has sent.
pub fn scrub_head(head: &mut Parts, needles: &Needles, findings: &mut Findings) {
    let mut hits = Vec::new();
    if let Some(reason) = head.extensions.remove::<ReasonPhrase>() {
        let found = scrub_bytes(needles, reason.as_bytes(), &mut hits);
        if found.is_none() {
            head.extensions.insert(reason);
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

/// Scrubs the values of headers or trailers in place.
fn scrub_fields(fields: &mut HeaderMap, needles: &Needles, findings: &mut Findings) {
    let mut hits = Vec::new();
    for (name, value) in fields.iter_mut() {
        hits.clear();
        let Some(scrubbed) = scrub_bytes(needles, value.as_bytes(), &mut hits) else {
            continue;
        };
        findings.add(needles, &format!("header:{name}"), &hits);
        // A value without illegal bytes has none after a placeholder was put into it.
        *value = HeaderValue::from_bytes(&scrubbed)
            .unwrap_or_else(|_| HeaderValue::from_static("<<scrubbed>>"));
    }
}

/// Whether the body is made of messages that say their length in front: a placeholder of another
/// length would make everything after it unreadable.
fn is_grpc(headers: &HeaderMap) -> bool {
    let media_type = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    media_type.is_some_and(|text| {
        text.get(..16)
            .is_some_and(|start| start.eq_ignore_ascii_case(b"application/grpc"))
    })
}

/// Scrubs one text after another while more values may come to be sent.
pub struct Stages {
    /// One after the other: the values known when the text began, then those that were sent since,
    /// because a request's body, or the other side of a conversation, was still on the way.
    stages: Vec<Stage>,
    replacement: Replacement,
    used: Arc<Used>,
    /// How many of the used values a stage looks for.
    known: usize,
}

/// A scrubber with what it looks for.
struct Stage(Scrubber);

impl Stage {
    fn new(needles: Arc<Needles>, replacement: Replacement) -> Self {
        Self(Scrubber::new(needles, replacement))
    }

    fn needles(&self) -> &Arc<Needles> {
        self.0.needles()
    }

    fn pass(&mut self, input: &[u8], last: bool, place: &str, findings: &mut Findings) -> Clean {
        let (mut written, mut hits) = (Vec::new(), Vec::new());
        let passed = self.0.pass(input, last, &mut written, &mut hits);
        findings.add(self.needles(), place, &hits);
        Clean { written, passed }
    }
}

/// What became of a piece of text.
pub struct Clean {
    /// What comes first: what was held back before, or all of a piece that held something.
    pub written: Vec<u8>,
    /// The rest of the piece, which is unchanged.
    pub passed: Range<usize>,
}

impl Clean {
    /// The whole of it as one text.
    pub fn join(mut self, input: &[u8]) -> Vec<u8> {
        self.written.extend_from_slice(&input[self.passed]);
        self.written
    }
}

impl Stages {
    /// At the start of a text. `needles` hold the first `known` values of `used`.
    pub fn new(
        needles: Arc<Needles>,
        used: &Arc<Used>,
        known: usize,
        replacement: Replacement,
    ) -> Self {
        Self {
            stages: vec![Stage::new(needles, replacement)],
            replacement,
            used: Arc::clone(used),
            known,
        }
    }

    /// Whether no value was sent that the first stage does not look for.
    pub fn are_fresh(&self) -> bool {
        self.stages.len() == 1 && self.used.count() == self.known
    }

    /// The next piece of a text; after its `last` the next one begins. Hits were found at `place`.
    pub fn scrub(
        &mut self,
        input: &[u8],
        last: bool,
        place: &str,
        findings: &mut Findings,
    ) -> Result<Clean, Unscannable> {
        self.follow_used()?;
        let Some((first, later)) = self.stages.split_first_mut() else {
            return Err(Unscannable);
        };
        let mut clean = first.pass(input, last, place, findings);
        for stage in later {
            let text = clean.join(input);
            let written = stage.pass(&text, last, place, findings).join(&text);
            clean = Clean {
                written,
                passed: 0..0,
            };
        }
        Ok(clean)
    }

    /// Looks for what was sent since the last look. An upstream cannot echo a value before it was
    /// sent, so what has passed already needs no second look.
    fn follow_used(&mut self) -> Result<(), Unscannable> {
        let count = self.used.count();
        if count == self.known {
            return Ok(());
        }
        let late = self.used.values()[self.known..].to_vec();
        self.known += late.len();
        let first = self.stages[0].needles();
        let needles = first.with_used(&late);
        if Arc::ptr_eq(&needles, first) {
            return Ok(());
        }
        if self.stages.len() >= STAGES {
            return Err(Unscannable);
        }
        self.stages.push(Stage::new(needles, self.replacement));
        Ok(())
    }
}

/// Scrubs the body of one answer as it streams, under its codings.
pub struct BodyScrubber {
    /// The body is a part of something.
    partial: bool,
    decoder: Option<Decoder>,
    stages: Stages,
    encoder: Option<Encoder>,
    /// Unchanged bytes that follow what was given out last.
    passed: Bytes,
    /// Whether opened bytes wait to be pulled.
    more: bool,
    /// Whether all that there is was pushed.
    ended: bool,
}

/// A part of something has its place and length in the whole, and so has a message of gRPC.
fn replacement(head: &Parts, partial: bool) -> Replacement {
    match partial || is_grpc(&head.headers) {
        true => Replacement::SameLength,
        false => Replacement::Placeholder,
    }
}

/// The answer's coding cannot be opened, or is not what it says.
#[derive(Debug)]
pub struct Unscannable;

impl BodyScrubber {
    /// Prepares the head of an answer for its body being scrubbed, and the scrubber. What the head
    /// says of the body's length is left to the sender, see [`BodyScrubber::keeps_length`].
    ///
    /// The body is passed on without its coding, unless the client refuses that. `needles` hold the
    /// first `known` values of `used`.
    pub fn new(
        head: &mut Parts,
        needles: &Arc<Needles>,
        used: &Arc<Used>,
        known: usize,
        accept_encoding: &[HeaderValue],
    ) -> Result<Self, Unscannable> {
        let partial = head.status == http::StatusCode::PARTIAL_CONTENT;
        let lines = head.headers.get_all(header::CONTENT_ENCODING);
        let codings =
            Codings::parse(lines.iter().map(HeaderValue::as_bytes)).map_err(|_| Unscannable)?;
        // A part of a coded body cannot be opened, and its length is pinned.
        if partial && !codings.is_identity() {
            return Err(Unscannable);
        }
        signed::remove_digests(&mut head.headers);
        let plain = Codings::default();
        let accepts =
            |codings| acceptable(accept_encoding.iter().map(HeaderValue::as_bytes), codings);
        let recode = !codings.is_identity() && !accepts(&plain) && accepts(&codings);
        if !codings.is_identity() && !recode {
            head.headers.remove(header::CONTENT_ENCODING);
        }
        Ok(Self {
            decoder: (!codings.is_identity())
                .then(|| Decoder::new(&codings, DecodeLimits::default())),
            encoder: recode.then(|| Encoder::new(&codings)),
            ..Self::plain(head, partial, needles, used, known)
        })
    }

    /// A scrubber that takes the body as it comes, whatever its coding is said to be: for answers
    /// that cannot be opened, to requests that used nothing. Who sends a value in the clear under
    /// the name of some coding gets no further.
    pub fn unopened(head: &mut Parts, needles: &Arc<Needles>, used: &Arc<Used>) -> Self {
        let partial = head.status == http::StatusCode::PARTIAL_CONTENT;
        signed::remove_digests(&mut head.headers);
        Self::plain(head, partial, needles, used, 0)
    }

    fn plain(
        head: &Parts,
        partial: bool,
        needles: &Arc<Needles>,
        used: &Arc<Used>,
        known: usize,
    ) -> Self {
        let replacement = replacement(head, partial);
        Self {
            partial,
            decoder: None,
            stages: Stages::new(Arc::clone(needles), used, known, replacement),
            encoder: None,
            passed: Bytes::new(),
            more: false,
            ended: false,
        }
    }

    /// Whether the body keeps the length that it had.
    pub fn keeps_length(&self) -> bool {
        self.partial
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
        for stage in &self.stages.stages {
            // No case is on record for the names of trailers: they are delivered in lower case.
            scrub_names(&mut trailers, stage.needles(), findings);
            scrub_fields(&mut trailers, stage.needles(), findings);
        }
        trailers
    }

    fn scrub(
        &mut self,
        input: Bytes,
        last: bool,
        findings: &mut Findings,
    ) -> Result<Bytes, Unscannable> {
        let Clean { written, passed } = self.stages.scrub(&input, last, "body", findings)?;
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
        match last {
            true => self
                .encoder
                .take()
                .map_or(Ok(()), |encoder| encoder.finish(&mut coded)),
            false => encoder.flush(&mut coded),
        }
        .map_err(|_| Unscannable)?;
        Ok(coded.into())
    }
}

/// The refusal for an answer that cannot be searched.
pub fn unscannable(context: &RequestContext) -> Refusal {
    Refusal::new(
        Code::ResponseUnscannable,
        "a secret was used, and the answer came in a Content-Encoding that cannot be opened or is \
         not what it says, so it could hold the secret; ask for gzip, br, zstd or identity",
    )
    .destination(context.destination.to_string())
}

//! The places of one request where placeholders occur: the glue between HTTP's types and the pure
//! [`crate::substitution`].

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::uri::PathAndQuery;

use crate::config::{ScanPlace, Treatment};
use crate::error::{Code, Refusal};
use crate::policy::location::{HeaderRole, LONGEST_TARGET, Location, header_role};
use crate::proxy::exchange::authorisation::Obtained;
use crate::proxy::exchange::body::Held;
use crate::proxy::exchange::hop_by_hop;
use crate::proxy::exchange::present::Present;
use crate::proxy::exchange::request_context::{Refused, RequestContext};
use crate::proxy::exchange::uses::Permitted;
use crate::scrub::MIN_SEARCHED;
use crate::secret::SecretBytes;
use crate::substitution::basic::Basic;
use crate::substitution::edit::{Edit, SpliceError};
use crate::substitution::encoding::Encoding;
use crate::substitution::find;
use crate::substitution::placeholder::may_contain;
use crate::substitution::slug::Reference;
use crate::substitution::splice::{spelling, splice, splice_within};
use crate::substitution::stand_in::StandInSearch;

/// One part of a request and what is to be changed in it.
pub struct Occurrence {
    part: Part,
    /// The placeholders, in order.
    pub edits: Vec<Edit>,
    /// Left as it is unless the credential's grant names this very header.
    pub only_if_named: bool,
}

/// Header places are positions in the map's iteration order.
enum Part {
    Path,
    Query,
    Header(usize),
    Basic(usize, Box<Basic>),
    Body,
    Trailer(usize),
}

/// A placeholder occurs where none may: the refusal, and what was named there.
pub struct Misplaced {
    /// What the client is told.
    pub refusal: Refusal,
    /// What was there.
    pub reference: Reference,
    /// Where.
    pub location: Location,
}

impl Misplaced {
    /// The refusal with its `denied` line.
    pub fn refuse(self, context: &RequestContext) -> Refused {
        context.refuse(self.refusal, &self.reference, None, &[&self.location])
    }
}

impl Occurrence {
    fn new(part: Part, edits: Vec<Edit>) -> Self {
        Self {
            part,
            edits,
            only_if_named: false,
        }
    }

    /// Whether this is the body.
    pub fn is_body(&self) -> bool {
        matches!(self.part, Part::Body)
    }

    /// Whether a change here changes what a digest of the body covers.
    pub fn is_in_body(&self) -> bool {
        matches!(self.part, Part::Body | Part::Trailer(_))
    }

    /// Whether this is in the path or the query.
    pub fn is_in_target(&self) -> bool {
        matches!(self.part, Part::Path | Part::Query)
    }

    /// Whether this is in a line of the field called `name`.
    pub fn is_in(&self, headers: &HeaderMap, name: &HeaderName) -> bool {
        let (Part::Header(index) | Part::Basic(index, _)) = self.part else {
            return false;
        };
        headers
            .iter()
            .nth(index)
            .is_some_and(|(known, _)| known == name)
    }

    /// Whether this is the path.
    pub fn is_path(&self) -> bool {
        matches!(self.part, Part::Path)
    }
}

/// Finds the placeholders of a request's head. `raw` is all of it as it came, if that is known.
pub fn in_head(
    head: &Parts,
    raw: Option<&[u8]>,
    present: Present,
    treatment: &Treatment,
    stand_ins: Option<&StandInSearch>,
) -> Result<Vec<Occurrence>, Misplaced> {
    let mut occurrences = Vec::new();
    // What is searched for in the percent-encoded form is the raw form as well; base64 shows neither.
    let shows_none = raw.is_some_and(|raw| !may_hold(Encoding::Percent, raw, stand_ins));
    let may_be_basic = || {
        let mut credentials = head.headers.get_all(header::AUTHORIZATION).iter();
        credentials.any(|value| Basic::is_named(value.as_bytes()))
    };
    if shows_none && !(present.has(Present::AUTHORIZATION) && may_be_basic()) {
        return Ok(occurrences);
    }
    let scans = |part| treatment.scan.contains(&part);
    if scans(ScanPlace::Path) && may_hold(Encoding::Percent, head.uri.path().as_bytes(), stand_ins)
    {
        push(
            &mut occurrences,
            Part::Path,
            find::in_path(head.uri.path(), stand_ins),
        );
    }
    let query = head.uri.query().unwrap_or_default();
    if scans(ScanPlace::Query) && may_hold(Encoding::Percent, query.as_bytes(), stand_ins) {
        push(
            &mut occurrences,
            Part::Query,
            find::in_query(query, stand_ins),
        );
    }
    if scans(ScanPlace::Header) {
        in_headers(&head.headers, Part::Header, stand_ins, &mut occurrences)?;
    }
    Ok(occurrences)
}

/// Adds what was found in a body that was read to its end, and what is in its trailers.
pub fn in_body(
    edits: Vec<Edit>,
    trailers: Option<&HeaderMap>,
    treatment: &Treatment,
    stand_ins: Option<&StandInSearch>,
    occurrences: &mut Vec<Occurrence>,
) -> Result<(), Misplaced> {
    push(occurrences, Part::Body, edits);
    match trailers {
        Some(trailers) if treatment.scan.contains(&ScanPlace::Header) => {
            in_headers(trailers, Part::Trailer, stand_ins, occurrences)
        }
        _ => Ok(()),
    }
}

/// Finds the placeholders of the trailers of a body that was streamed. None that only count when
/// named: such headers are no trailers.
pub fn in_trailers(
    trailers: &HeaderMap,
    stand_ins: Option<&StandInSearch>,
) -> Result<Vec<Occurrence>, Misplaced> {
    let mut occurrences = Vec::new();
    in_headers(trailers, Part::Trailer, stand_ins, &mut occurrences)?;
    occurrences.retain(|occurrence| !occurrence.only_if_named);
    Ok(occurrences)
}

fn in_headers(
    headers: &HeaderMap,
    part: fn(usize) -> Part,
    stand_ins: Option<&StandInSearch>,
    occurrences: &mut Vec<Occurrence>,
) -> Result<(), Misplaced> {
    // Asked for once something was found: most requests hold nothing.
    let mut nominated = None;
    for (index, (name, value)) in headers.iter().enumerate() {
        let Some(occurrence) = in_header(name, value, part(index), stand_ins) else {
            continue;
        };
        let role = match header_role(name.as_str()) {
            HeaderRole::ProxyOwn => continue,
            _ if nominated
                .get_or_insert_with(|| hop_by_hop::nominated(headers))
                .contains(name.as_str()) =>
            {
                HeaderRole::HopByHop
            }
            role => role,
        };
        match role {
            HeaderRole::Forbidden => refuse_named(&occurrence, name, Code::CredentialNotAllowed)?,
            HeaderRole::HopByHop => refuse_named(&occurrence, name, Code::RequestMalformed)?,
            HeaderRole::LiteralUnlessNamed => occurrences.push(Occurrence {
                only_if_named: true,
                ..occurrence
            }),
            _ => occurrences.push(occurrence),
        }
    }
    Ok(())
}

/// Whether a text may hold a placeholder or a stand-in. `false` is certain, and cheap.
fn may_hold(encoding: Encoding, text: &[u8], stand_ins: Option<&StandInSearch>) -> bool {
    may_contain(encoding, text) || stand_ins.is_some_and(|search| search.may_be_in(text))
}

fn in_header(
    name: &HeaderName,
    value: &HeaderValue,
    part: Part,
    stand_ins: Option<&StandInSearch>,
) -> Option<Occurrence> {
    if *name == header::AUTHORIZATION
        && let Part::Header(index) = part
        && let Some(basic) = Basic::parse(value.as_bytes())
    {
        let edits = basic.edits(stand_ins);
        let part = Part::Basic(index, Box::new(basic));
        return (!edits.is_empty()).then(|| Occurrence::new(part, edits));
    }
    if !may_hold(Encoding::Header, value.as_bytes(), stand_ins) {
        return None;
    }
    let edits = find::in_header(name.as_str(), value.as_bytes(), stand_ins);
    (!edits.is_empty()).then(|| Occurrence::new(part, edits))
}

/// An escape may occur anywhere: it is not a use.
fn refuse_named(occurrence: &Occurrence, name: &HeaderName, code: Code) -> Result<(), Misplaced> {
    let Some(edit) = occurrence.edits.iter().find(|edit| !edit.escape) else {
        return Ok(());
    };
    let detail = format!(
        "a placeholder cannot stand in {name}: that header describes or routes the message; move it"
    );
    Err(Misplaced {
        refusal: Refusal::new(code, detail)
            .slug(edit.reference.slug.as_str())
            .location(edit.location.to_string()),
        reference: edit.reference.clone(),
        location: edit.location.clone(),
    })
}

fn push(occurrences: &mut Vec<Occurrence>, part: Part, edits: Vec<Edit>) {
    if !edits.is_empty() {
        occurrences.push(Occurrence::new(part, edits));
    }
}

/// The path as the ledger and the log show it: placeholders in place, whatever their encoding was.
pub fn shown_path(head: &Parts, occurrences: &[Occurrence]) -> String {
    let path = head.uri.path();
    let mut shown = String::with_capacity(path.len());
    let mut cursor = 0;
    for edit in occurrences
        .iter()
        .filter(|s| s.is_path())
        .flat_map(|s| &s.edits)
    {
        shown.push_str(&path[cursor..edit.span.start]);
        shown.push_str(&edit.reference.placeholder());
        cursor = edit.span.end;
    }
    shown.push_str(&path[cursor..]);
    shown
}

/// Writes the values into the request. This is where plaintext enters the message.
pub fn substitute<'v>(
    head: &mut Parts,
    held: &mut Held,
    occurrences: &[Occurrence],
    value: &dyn Fn(&Reference) -> Option<&'v SecretBytes>,
) -> Result<(), SpliceError> {
    let (mut path, mut query) = (None, None);
    let mut head_growth = Growth::of_a_head();
    let mut body_growth = Growth::of_a_body();
    for occurrence in occurrences {
        let mut put = |source: &[u8]| head_growth.splice(source, &occurrence.edits, value);
        match &occurrence.part {
            Part::Path => path = Some(put(head.uri.path().as_bytes())?),
            Part::Query => query = Some(put(head.uri.query().unwrap_or_default().as_bytes())?),
            Part::Header(index) => {
                let old = nth(&head.headers, *index)?;
                let new = put(old.as_bytes())?;
                set_nth(&mut head.headers, *index, new)?;
            }
            Part::Basic(index, basic) => {
                let new = basic.render(&put(basic.decoded())?);
                set_nth(&mut head.headers, *index, new)?;
            }
            Part::Body => {
                let new = body_growth.splice(&held.data, &occurrence.edits, value)?;
                held.data = Bytes::from(new);
            }
            // Below, all at once.
            Part::Trailer(_) => {}
        }
    }
    held.trailers = match held.trailers.take() {
        Some(trailers) => Some(Box::new(substitute_trailers(
            *trailers,
            occurrences,
            value,
        )?)),
        None => None,
    };
    if path.is_some() || query.is_some() {
        set_target(head, path, query)?;
    }
    Ok(())
}

/// What is sent inside of base64 where that is not the values themselves: values in the encoding of a
/// form, and whole Basic credentials around a value that is too short to be searched in base64 alone.
pub fn spellings(occurrences: &[Occurrence], decision: &Obtained) -> Vec<(Reference, SecretBytes)> {
    let edits = occurrences.iter().flat_map(|occurrence| &occurrence.edits);
    let encoded = edits.filter(|edit| edit.encoding == Encoding::BasicForm && !edit.escape);
    let spelled = |edit: &Edit| {
        let spelling = spelling(edit.encoding, decision.value(&edit.reference)?)?;
        Some((edit.reference.clone(), spelling))
    };
    let pairs = occurrences.iter().filter_map(|it| short_pair(it, decision));
    encoded.filter_map(spelled).chain(pairs).collect()
}

fn short_pair(occurrence: &Occurrence, decision: &Obtained) -> Option<(Reference, SecretBytes)> {
    let Part::Basic(_, basic) = &occurrence.part else {
        return None;
    };
    let value = |reference: &Reference| decision.value(reference);
    let is_short = |edit: &&Edit| {
        let value = value(&edit.reference).filter(|_| !edit.escape);
        value.is_some_and(|value| value.len() < MIN_SEARCHED)
    };
    let short = occurrence.edits.iter().find(is_short)?;
    let pair = splice(basic.decoded(), &occurrence.edits, value).ok()?;
    Some((short.reference.clone(), SecretBytes::new(pair)))
}

/// How much larger one request may get. A few placeholders take a few bytes, and a value has up to
/// 64 KiB: without a bound on the sum, a head of 50 kB would become a gigabyte.
struct Growth {
    left: usize,
    past: SpliceError,
}

impl Growth {
    /// Upstreams take heads of 8 KiB to 64 KiB; there is no use for more than this.
    const HEAD: usize = 256 * 1024;
    /// For a body that is held, whatever its length.
    const BODY: usize = 16 << 20;

    fn of_a_head() -> Self {
        Self {
            left: Self::HEAD,
            past: SpliceError::HeadTooLarge,
        }
    }

    fn of_a_body() -> Self {
        Self {
            left: Self::BODY,
            past: SpliceError::TooLarge,
        }
    }

    fn splice<'v>(
        &mut self,
        source: &[u8],
        edits: &[Edit],
        value: &dyn Fn(&Reference) -> Option<&'v SecretBytes>,
    ) -> Result<Vec<u8>, SpliceError> {
        let most = source.len().saturating_add(self.left);
        let new = splice_within(most, source, edits, value).map_err(|error| match error {
            SpliceError::TooLarge => self.past.clone(),
            error => error,
        })?;
        self.left -= new.len().saturating_sub(source.len());
        Ok(new)
    }
}

/// Writes the values into a message that is no request of its own.
pub fn substitute_message(
    text: &[u8],
    edits: &[Edit],
    values: &Permitted,
) -> Result<Vec<u8>, SpliceError> {
    splice(text, edits, |wanted| {
        let found = values.iter().find(|(reference, _)| reference == wanted);
        found.map(|(_, value)| value.as_ref())
    })
}

/// Writes the values into trailers that came at the end of a streamed body.
pub fn substitute_trailers<'v>(
    mut trailers: HeaderMap,
    occurrences: &[Occurrence],
    value: &dyn Fn(&Reference) -> Option<&'v SecretBytes>,
) -> Result<HeaderMap, SpliceError> {
    let mut growth = Growth::of_a_head();
    for occurrence in occurrences {
        if let Part::Trailer(index) = occurrence.part {
            let old = nth(&trailers, index)?.as_bytes();
            let new = growth.splice(old, &occurrence.edits, value)?;
            set_nth(&mut trailers, index, new)?;
        }
    }
    Ok(trailers)
}

fn nth(headers: &HeaderMap, index: usize) -> Result<&HeaderValue, SpliceError> {
    let entry = headers.iter().nth(index);
    entry.map(|(_, value)| value).ok_or(SpliceError::Misplaced)
}

fn set_nth(headers: &mut HeaderMap, index: usize, bytes: Vec<u8>) -> Result<(), SpliceError> {
    let mut value =
        HeaderValue::from_maybe_shared(Bytes::from(bytes)).map_err(|_| SpliceError::Misplaced)?;
    // HPACK never indexes it, and `Debug` does not show it.
    value.set_sensitive(true);
    let entry = headers.iter_mut().nth(index);
    *entry.map(|(_, slot)| slot).ok_or(SpliceError::Misplaced)? = value;
    Ok(())
}

fn set_target(
    head: &mut Parts,
    path: Option<Vec<u8>>,
    query: Option<Vec<u8>>,
) -> Result<(), SpliceError> {
    let mut target = path.unwrap_or_else(|| head.uri.path().as_bytes().to_vec());
    let old_query = head.uri.query();
    if query.is_some() || old_query.is_some() {
        target.push(b'?');
        match &query {
            Some(query) => target.extend_from_slice(query),
            None => target.extend_from_slice(old_query.unwrap_or_default().as_bytes()),
        }
    }
    if target.len() > LONGEST_TARGET {
        return Err(SpliceError::TargetTooLong);
    }
    let target =
        PathAndQuery::from_maybe_shared(Bytes::from(target)).map_err(|_| SpliceError::Misplaced)?;
    head.uri = target.into();
    Ok(())
}

//! Transfer codings of answers other than `chunked` (RFC 9112 section 7).
//!
//! They belong to this hop, so what is passed on has to be without them. A body passed on as it came,
//! with the field that names its coding removed, could not be read by the client, and a value in it
//! would not be found.

use http::header::{CONTENT_LENGTH, HeaderMap, HeaderValue, TRANSFER_ENCODING};

use crate::coding::Codings;
use crate::error::{Code, Refusal};
use crate::proxy::exchange::present::Present;
use crate::proxy::exchange::request_context::RequestContext;

/// A transfer coding that cannot be undone.
#[derive(Debug)]
pub struct UnknownTransferCoding;

/// The transfer codings of an answer under `chunked`, or under the end of the connection.
pub fn transfer_codings(
    headers: &HeaderMap,
    present: Present,
) -> Result<Codings, UnknownTransferCoding> {
    if !present.has(Present::TRANSFER_ENCODING) {
        return Ok(Codings::default());
    }
    let mut lines = headers.get_all(TRANSFER_ENCODING).iter();
    let (first, second) = (lines.next(), lines.next());
    // Nearly every answer has none, or this one.
    if second.is_none() && first.is_none_or(|line| line.as_bytes() == b"chunked") {
        return Ok(Codings::default());
    }
    let lines = headers.get_all(TRANSFER_ENCODING).iter();
    let members = lines
        .map(HeaderValue::as_bytes)
        .flat_map(|line| line.split(|byte| *byte == b','));
    let mut members: Vec<&[u8]> = members
        .map(<[u8]>::trim_ascii)
        .filter(|member| !member.is_empty())
        .collect();
    if members
        .last()
        .is_some_and(|last| last.eq_ignore_ascii_case(b"chunked"))
    {
        members.pop();
    }
    Codings::parse(members).map_err(|_| UnknownTransferCoding)
}

/// The length of the body of an answer that is in no coding though it has a `Transfer-Encoding`
/// (`identity`, of RFC 2616). None if nothing says it, or the answer is like others.
///
/// RFC 9112 knows no coding of that name, and a field of it is not what section 6.3 has override a length.
/// Servers that send it keep the connection open, so to read on to its end would be to wait for ever. They
/// may disagree about where the answer ends, so no other is read from that connection.
pub fn length_beside_none(headers: &HeaderMap, present: Present) -> Option<u64> {
    if !present.has(Present::TRANSFER_ENCODING) {
        return None;
    }
    let lines = headers.get_all(TRANSFER_ENCODING).iter();
    let mut members = lines
        .map(HeaderValue::as_bytes)
        .flat_map(|line| line.split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii);
    if !members.all(|member| member.is_empty() || member.eq_ignore_ascii_case(b"identity")) {
        return None;
    }
    // It was settled that there is one at most.
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// The refusal of such an answer.
pub fn refuse(context: &RequestContext) -> Refusal {
    Refusal::new(
        Code::ResponseUnscannable,
        "the answer came in a Transfer-Encoding that cannot be undone (other than gzip, deflate, br, \
         zstd and chunked at the end), so it can be neither searched nor passed on",
    )
    .destination(context.destination.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codings(lines: &[&'static str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(TRANSFER_ENCODING, HeaderValue::from_static(line));
        }
        transfer_codings(&headers, Present::of(&headers))
            .ok()
            .map(|codings| codings.to_string())
    }

    #[test]
    fn a_length_holds_beside_a_coding_that_is_none() {
        for (lines, expected) in [
            (&["identity"][..], Some(5)),
            (&["Identity", ""], Some(5)),
            (&["identity, identity"], Some(5)),
            (&[], None),
            (&["chunked"], None),
            (&["identity, chunked"], None),
            (&["identity", "chunked"], None),
            (&["gzip, identity"], None),
            (&["none"], None),
        ] {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(TRANSFER_ENCODING, HeaderValue::from_static(line));
            }
            let alone = length_beside_none(&headers, Present::of(&headers));
            assert_eq!(alone, None, "{lines:?}");
            headers.insert(CONTENT_LENGTH, HeaderValue::from_static("5"));
            let beside = length_beside_none(&headers, Present::of(&headers));
            assert_eq!(beside, expected, "{lines:?}");
        }
    }

    #[test]
    fn codings_under_chunked_are_listed_and_others_refused() {
        for (lines, expected) in [
            (&[][..], Some("identity")),
            (&["chunked"], Some("identity")),
            (&["Chunked"], Some("identity")),
            (&["gzip, chunked"], Some("gzip")),
            (&["x-gzip", "chunked"], Some("gzip")),
            (&["gzip"], Some("gzip")),
            (&["deflate,gzip , CHUNKED"], Some("deflate, gzip")),
            (&["compress, chunked"], None),
            (&["chunked, gzip"], None),
            (&["chunked, chunked"], None),
            (&["gzip;q=1, chunked"], None),
        ] {
            assert_eq!(codings(lines).as_deref(), expected, "{lines:?}");
        }
    }
}

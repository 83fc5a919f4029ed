//! Takes values out of the names of an answer's fields, in its head and in its trailers.
//!
//! What a name is compared with is everything that the principal can use, whether or not this
//! request has sent it, and every value of any length that this request has sent. It is compared in
//! every case in which it could be delivered: over HTTP/1.1 the case of the upstream is kept, over
//! HTTP/2 and in trailers names are in lower case.
//!
//! * A field whose name holds a value, in any form and in any case, is removed. There is no
//!   placeholder to put in its place: `<` and `>` are no characters of a name (RFC 9110 section
//!   5.1). Removed is also a field whose name is longer than [`LONGEST`], without being compared.
//! * A field with a registered name stays. Its name says nothing that an upstream would have to
//!   know a value for, and its value is needed: without its `Content-Encoding` a body would be
//!   searched as it is, in its coding, and the value in it would not be found. Only the case of the
//!   upstream could then repeat the value, so the names of such a head are delivered in lower case.

use http::header::{self, HeaderMap, HeaderName};

use crate::proxy::response::findings::Findings;
use crate::scrub::Needles;

/// The longest name that is compared, in bytes. Comparing takes the square of the length for a
/// value that repeats itself, and no name that is in use comes near this.
const LONGEST: usize = 256;

/// Names that are registered, and common in answers, and those by which gRPC and the Connect
/// protocol frame their messages.
static REGISTERED: [HeaderName; 46] = [
    header::ACCEPT_RANGES,
    header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
    header::ACCESS_CONTROL_ALLOW_HEADERS,
    header::ACCESS_CONTROL_ALLOW_METHODS,
    header::ACCESS_CONTROL_ALLOW_ORIGIN,
    header::ACCESS_CONTROL_EXPOSE_HEADERS,
    header::ACCESS_CONTROL_MAX_AGE,
    header::AGE,
    header::ALLOW,
    header::ALT_SVC,
    header::CACHE_CONTROL,
    header::CONNECTION,
    header::CONTENT_DISPOSITION,
    header::CONTENT_ENCODING,
    header::CONTENT_LANGUAGE,
    header::CONTENT_LENGTH,
    header::CONTENT_LOCATION,
    header::CONTENT_RANGE,
    header::CONTENT_SECURITY_POLICY,
    header::CONTENT_TYPE,
    header::DATE,
    header::ETAG,
    header::EXPIRES,
    header::LAST_MODIFIED,
    header::LINK,
    header::LOCATION,
    header::PRAGMA,
    header::RETRY_AFTER,
    header::SEC_WEBSOCKET_ACCEPT,
    header::SEC_WEBSOCKET_PROTOCOL,
    header::SEC_WEBSOCKET_VERSION,
    header::SERVER,
    header::SET_COOKIE,
    header::STRICT_TRANSPORT_SECURITY,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::VARY,
    header::VIA,
    header::WWW_AUTHENTICATE,
    header::X_CONTENT_TYPE_OPTIONS,
    header::X_FRAME_OPTIONS,
    HeaderName::from_static("connect-content-encoding"),
    HeaderName::from_static("grpc-encoding"),
    HeaderName::from_static("grpc-message"),
    HeaderName::from_static("grpc-status"),
];

/// Removes the fields whose names hold a value. Returns whether the case in which the upstream
/// wrote the names that are left could repeat one.
pub fn scrub_names(fields: &mut HeaderMap, needles: &Needles, findings: &mut Findings) -> bool {
    let (registered, removed): (Vec<HeaderName>, Vec<HeaderName>) = fields
        .keys()
        .filter(|name| holds_value(name, needles, findings))
        .cloned()
        .partition(|name| REGISTERED.contains(name));
    if !removed.is_empty() {
        // Removing from a `HeaderMap` changes the order of what stays.
        let kept = fields.iter().filter(|(name, _)| !removed.contains(name));
        *fields = kept
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
    }
    !registered.is_empty()
}

fn holds_value(name: &HeaderName, needles: &Needles, findings: &mut Findings) -> bool {
    let text = name.as_str().as_bytes();
    if text.len() > LONGEST {
        return true;
    }
    let Some(hit) = needles.find_in_name(text) else {
        return false;
    };
    if !REGISTERED.contains(name) {
        // Not which name: it would put the value into the ledger.
        findings.add(needles, "header name", &[hit]);
    }
    true
}

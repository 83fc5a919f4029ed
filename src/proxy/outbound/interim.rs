//! Interim answers (RFC 9110 section 15.2), as they come from the upstream.

use std::sync::Arc;

use http::{HeaderMap, Request, StatusCode};

use crate::proxy::exchange::out_body::{OutBody, Transfer};
use crate::proxy::exchange::used::Used;
use crate::proxy::runtime::signal::HeadSignal;
use crate::scrub::Needles;

/// Changes the fields of an answer for the client.
pub type Change = Arc<dyn Fn(&mut HeaderMap) + Send + Sync>;

/// What is done with interim answers to one request, and what it takes. A function with its data, and no
/// closure, because every request has one and hardly any uses it.
#[derive(Clone)]
pub struct OnInterim {
    /// Takes the status and the fields.
    pub relay: fn(&Self, StatusCode, &HeaderMap),
    /// What the caller's principal can use.
    pub needles: Arc<Needles>,
    /// What the request has sent.
    pub used: Arc<Used>,
    /// What its client cannot take as it is.
    pub change: Option<Change>,
    /// The client's connection.
    pub signal: HeadSignal,
}

/// Has interim answers told: a 100 (Continue) to the body of the request, which waits for it, the others
/// to `on_interim`.
pub fn note(request: &mut Request<OutBody>, on_interim: Option<OnInterim>) {
    let upload = request.body().transfer();
    let upload = upload.filter(|upload| upload.expectation().is_some());
    if upload.is_none() && on_interim.is_none() {
        return;
    }
    hyper::ext::on_informational(request, move |interim| {
        take(
            interim.status(),
            interim.headers(),
            upload.as_deref(),
            on_interim.as_ref(),
        );
    });
}

/// Takes note of an interim answer.
pub fn take(
    status: StatusCode,
    fields: &HeaderMap,
    upload: Option<&Transfer>,
    on_interim: Option<&OnInterim>,
) {
    if status == StatusCode::CONTINUE {
        if let Some(expectation) = upload.and_then(Transfer::expectation) {
            expectation.meet();
        }
    } else if let Some(on_interim) = on_interim {
        (on_interim.relay)(on_interim, status, fields);
    }
}

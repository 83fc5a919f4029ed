//! `/api/v1`: everything that a command can do, for programs.
//!
//! ```text
//!   request ─► Caller (who asks) ─► Sight (what there is for that user) ─► 404
//!                                     │ scope, freshness, If-Match ─► 403, 412
//!                                     ▼
//!                                  Registrar (rights, in the transaction of the change) ─► 403
//!                                     ▼
//!                                  Recorder (in force, and on record) ─► answer
//! ```
//!
//! What a caller does not know of is not there: a name that is nothing and a name that is somebody
//! else's take the same way to the same answer. Values go in and never come out, and no answer holds
//! a word of what was sent: see [`fields`].

mod answer;
mod approvals;
mod asked;
mod attachments;
mod bundles;
mod change;
mod clients;
mod condition;
mod credentials;
mod declared;
mod document;
mod egress_check;
mod fields;
mod handover;
mod import;
mod inputs;
mod issued;
mod key_requests;
mod ledger;
mod ledger_check;
mod numbered;
mod people;
mod probe;
mod proofs;
mod request;
mod rules;
mod sandboxes;
mod shares;
mod stream;
mod system;
mod tokens;
mod unasked;
mod uses;
mod versions;

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::IntoResponse as _;
use axum::routing::get;
use bytes::Bytes;
use http::header;
use utoipa_axum::router::OpenApiRouter;

pub use self::request::MAX_BODY;
use self::unasked::Unasked;
use super::context::AdminContext;

/// Under which path the API is.
const BASE: &str = "/api/v1";

/// The API, and the document that describes it.
fn described() -> (Router<AdminContext>, String) {
    let endpoints = OpenApiRouter::new()
        .merge(system::router())
        .merge(credentials::router())
        .merge(versions::router())
        .merge(probe::router())
        .merge(handover::router())
        .merge(shares::router())
        .merge(attachments::router())
        .merge(bundles::router())
        .merge(people::router())
        .merge(clients::router())
        .merge(tokens::router())
        .merge(issued::router())
        .merge(approvals::router())
        .merge(key_requests::router())
        .merge(rules::router())
        .merge(egress_check::router())
        .merge(sandboxes::router())
        .merge(ledger::router())
        .merge(uses::router())
        .merge(ledger_check::router())
        .merge(proofs::router())
        .merge(stream::router())
        .merge(import::router())
        .merge(declared::router());
    let (router, document) = OpenApiRouter::with_openapi(document::empty())
        .nest(BASE, endpoints)
        .split_for_parts();
    let unasked = Unasked::of(&document);
    let router = router.route_layer(from_fn(move |request: Request, next: Next| {
        Arc::clone(&unasked).refuse(request, next)
    }));
    (router, document::complete(&document))
}

/// The endpoints.
pub fn router() -> Router<AdminContext> {
    let (router, document) = described();
    let document = Bytes::from(document);
    let serve = get(async move || {
        let json = [(header::CONTENT_TYPE, "application/json")];
        (json, document.clone()).into_response()
    });
    router.route(&format!("{BASE}/openapi.json"), serve)
}

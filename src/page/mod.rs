//! The pages: what people see of Egret in a browser.
//!
//! Pages are written by the server and work without a script; small modules make them better where
//! there is one. They read through [`Reader`](crate::vault::Reader), which says what a user may know
//! of, and change through [`Registrar`](crate::vault::Registrar), which checks rights in the
//! transaction of the change. Nothing here can open a value.
//!
//! # Threats and answers
//!
//! | Threat | Answer |
//! | --- | --- |
//! | A value comes back | A value is read from a form into [`SecretBytes`](crate::secret::SecretBytes) and sealed. No template has a field for one, and a form that is shown again leaves it empty. |
//! | Saving a value tells who else has it | Only whether the same person stored it already, after it is saved and on record. |
//! | A client puts markup, control or direction characters into the name of an action or a path | Templates escape, and [`text::shown`] writes such characters as their code points. |
//! | A script runs that is not ours | There is none in a page: `Content-Security-Policy` allows the files of [`assets`] only. |
//! | Another site sends a form | [`guard`](crate::admin::guard) refuses what changes anything and comes from elsewhere. |
//! | An old form overwrites a newer change | Forms carry the revision that they show, which is compared in the transaction. |
//! | A cell of a CSV file is a formula | [`csv_text`](crate::ledger::export::csv_text) makes it text. |

mod approvals;
mod assets;
mod clients;
mod condition;
mod credentials;
mod explain;
mod failure;
mod fields;
mod layout;
mod ledger;
mod looks;
mod multipart;
mod overview;
mod paging;
mod people;
mod people_parts;
mod person;
mod requests;
mod rules;
mod sentence;
mod text;
mod tokens;
mod visit;
mod when;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};

use self::failure::Failure;
use crate::admin::{AdminContext, AdminProblem, Trouble};

pub use looks::PageLooks;

/// The pages.
pub fn router(context: &AdminContext) -> Router<AdminContext> {
    Router::new()
        .route("/", get(overview::show))
        .route("/assets/{version}/{name}", get(assets::serve))
        .route("/settings", get(credentials::lead))
        .merge(credentials::router())
        .route("/approvals", get(approvals::show))
        .route("/approvals/{id}/answer", post(approvals::answer))
        .route("/approvals/{id}/remove", post(approvals::remove))
        .route("/requests", get(requests::show))
        .route("/requests/{number}", get(requests::ask))
        .route("/requests/{number}/save", post(requests::save))
        .route("/requests/{number}/decline", post(requests::decline))
        .route("/settings/explain", get(explain::show))
        .route("/settings/clients", get(clients::show).post(clients::add))
        .route(
            "/settings/clients/{name}/remove",
            get(clients::ask_remove).post(clients::remove),
        )
        .route("/settings/rules", get(rules::show).post(rules::add))
        .route("/settings/rules/{number}/remove", post(rules::remove))
        .route("/settings/people", get(people::show))
        .route("/settings/people/users", post(people::add_user))
        .route("/settings/people/users/{name}", post(people::change_user))
        .route("/settings/people/groups", post(people::add_group))
        .route("/settings/people/groups/{name}", post(people::change_group))
        .route("/settings/people/bundles", post(people::add_bundle))
        .route(
            "/settings/people/bundles/{owner}/{name}",
            post(people::change_bundle),
        )
        .route("/settings/tokens", get(tokens::show).post(tokens::add))
        .route(
            "/settings/tokens/{id}/revoke",
            get(tokens::ask_revoke).post(tokens::revoke),
        )
        .route("/ledger", get(ledger::show))
        .route("/ledger/check", post(ledger::begin_check))
        .route("/ledger/proof/{seq}", get(ledger::proof))
        .route("/ledger/checkpoint", get(ledger::checkpoint))
        .fallback(failure::unknown)
        .layer(middleware::from_fn_with_state(context.clone(), settle))
}

/// Answers a change when it is in force and on record, so that the page that follows shows it.
async fn settle(State(context): State<AdminContext>, request: Request, next: Next) -> Response {
    let is_read = request.method().is_safe();
    let answer = next.run(request).await;
    if is_read || context.services().recorder.follow().await.is_ok() {
        return answer;
    }
    let problem = AdminProblem::because(
        Trouble::LedgerUnavailable,
        "The change may be made and is not on record yet. It is recorded as soon as the ledger can be \
         written.",
    );
    Failure::Problem(problem).into_response()
}

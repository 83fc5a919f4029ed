//! Settings → Credentials.

mod change;
mod chart;
mod details;
mod export;
mod facts;
mod filter;
mod impact;
mod import;
mod limits;
pub(super) mod limits_form;
mod list;
pub(super) mod new;
pub(super) mod remarks;
mod sample;
mod sharing;
mod start;
mod trial;
mod usage;

use axum::Router;
use axum::response::Redirect;
use axum::routing::{get, post};

use self::change::Change;
use crate::admin::AdminContext;

pub(super) use facts::{Badge, badges, path, with_a_state};

/// `GET /settings`
pub(super) async fn lead() -> Redirect {
    Redirect::to("/settings/credentials")
}

pub(super) fn router() -> Router<AdminContext> {
    let one = Router::new()
        .route("/", get(details::show))
        .route("/start", get(start::show))
        .route("/test", post(trial::send_one))
        .route("/usage.csv", get(export::csv))
        .route("/rotate", get(change::ask_rotate).post(change::rotate))
        .route("/limits", get(limits::ask).post(limits::change))
        .route("/share", get(sharing::ask).post(sharing::share))
        .route("/unshare", get(sharing::ask_unshare).post(sharing::unshare))
        .route("/revoke", Change::Revoke.handler().get(change::ask_revoke))
        .route("/restore", Change::Restore.handler())
        .route("/delete", get(change::ask_delete).post(change::delete))
        .route("/promote", Change::Promote.handler())
        .route("/rollback", Change::RollBack.handler())
        .route(
            "/destroy",
            Change::Destroy.handler().get(change::ask_destroy),
        );
    Router::new()
        .route("/settings/credentials", get(list::show))
        .route("/settings/credentials/new", get(new::ask).post(new::save))
        .route(
            "/settings/credentials/import",
            get(import::ask).post(import::read),
        )
        .route(
            "/settings/credentials/import/{name}",
            get(import::show).post(import::save),
        )
        .route(
            "/settings/credentials/import/{name}/discard",
            post(import::discard),
        )
        .nest("/settings/credentials/{owner}/{slug}", one)
}

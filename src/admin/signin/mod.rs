//! Signing in, out and again.
//!
//! Every form is HTML that works without a script, and is answered by a redirect (303) or by the form
//! with what was wrong. What was typed as a password is never in an answer.

mod forms;
mod openid;
mod session;

use axum::Router;
use axum::routing::{get, post};

use super::context::AdminContext;
use super::names::Names;
use crate::identity::Bearer;

pub use self::openid::identity_id;

/// Where a one-time link leads.
pub fn link_url(names: &Names, token: &Bearer) -> String {
    format!("{}/signin/link/{}", names.url(), token.expose())
}

pub(super) fn router() -> Router<AdminContext> {
    Router::new()
        .route("/signin", get(forms::show_sign_in).post(forms::sign_in))
        .route("/signin/link/{token}", get(forms::show_claim))
        .route("/signin/link", post(forms::claim))
        .route("/signin/openid", get(openid::start))
        .route("/signin/openid/callback", get(openid::callback))
        .route("/signout", post(forms::sign_out))
        .route("/reauthenticate", get(forms::show_prove).post(forms::prove))
        .route(
            "/account/password",
            get(forms::show_password).post(forms::change_password),
        )
}

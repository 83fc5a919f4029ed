//! What goes wrong, as a page.

use askama::Template;
use axum::extract::Request;
use axum::response::{Html, IntoResponse, Redirect, Response};
use http::{StatusCode, header};

use super::assets;
use super::text;
use crate::admin::{AdminProblem, Trouble};
use crate::ledger::usage::UsageError;
use crate::vault::registrar::RegistrarError;
use crate::vault::{StoreError, StoreUnavailable};

/// Why a page is not shown.
#[derive(Debug)]
pub(super) enum Failure {
    /// Another page says more.
    See(String),
    /// What is wrong, and what to do.
    Problem(AdminProblem),
}

#[derive(Template)]
#[template(path = "failure.html")]
struct FailurePage<'a> {
    style: String,
    title: &'a str,
    detail: &'a str,
    fields: Vec<String>,
}

impl Failure {
    /// Nothing is there, or nothing that this person may know of: the two are not told apart.
    pub(super) fn not_found() -> Self {
        Self::Problem(AdminProblem::because(
            Trouble::NotFound,
            "There is nothing here, or nothing that you may see.",
        ))
    }

    /// The form to sign in, and then `next`.
    pub(super) fn sign_in(next: &str) -> Self {
        Self::See(format!("/signin?next={}", text::encoded(next)))
    }

    /// The form to prove again who one is, and then `next`.
    pub(super) fn prove(next: &str) -> Self {
        Self::See(format!("/reauthenticate?next={}", text::encoded(next)))
    }
}

impl From<AdminProblem> for Failure {
    fn from(problem: AdminProblem) -> Self {
        Self::Problem(problem)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Problem(error.into())
    }
}

impl From<StoreUnavailable> for Failure {
    fn from(error: StoreUnavailable) -> Self {
        Self::Problem(error.into())
    }
}

impl From<RegistrarError> for Failure {
    fn from(error: RegistrarError) -> Self {
        match error {
            RegistrarError::Store(error) => error.into(),
            other => Self::Problem(AdminProblem::because(Trouble::Invalid, other.to_string())),
        }
    }
}

impl From<UsageError> for Failure {
    /// The reason stays in the log: it can hold a path of this machine.
    fn from(error: UsageError) -> Self {
        tracing::warn!(%error, "a page cannot read the usage index");
        Self::Problem(AdminProblem::because(
            Trouble::LedgerUnavailable,
            "The usage index cannot be read. The reason is in Egret's log, for its operator.",
        ))
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let problem = match self {
            Self::See(place) => return Redirect::to(&place).into_response(),
            Self::Problem(problem) => problem,
        };
        let page = FailurePage {
            style: assets::style(),
            title: problem.trouble.title(),
            detail: &problem.detail,
            fields: problem
                .fields
                .iter()
                .map(|field| format!("{}: {}", field.field, field.detail))
                .collect(),
        };
        html(problem.trouble.status(), &page)
    }
}

/// An address that is nothing. A browser gets a page; programs ask for what is not HTML.
pub(super) async fn unknown(request: Request) -> Response {
    let accepts = request.headers().get(header::ACCEPT);
    let accepts = accepts.and_then(|field| field.to_str().ok());
    let is_browser = accepts.is_some_and(|text| text.contains("text/html"));
    if is_browser && !request.uri().path().starts_with("/api/") {
        return Failure::not_found().into_response();
    }
    AdminProblem::new(Trouble::NotFound).into_response()
}

/// A page as an answer. A template that cannot be written is a mistake of ours and no panic.
pub(super) fn html(status: StatusCode, page: &impl Template) -> Response {
    match page.render() {
        Ok(text) => (status, Html(text)).into_response(),
        Err(error) => {
            tracing::error!(%error, "a page cannot be written");
            AdminProblem::new(Trouble::Internal).into_response()
        }
    }
}

//! The caller, the server's health, the catalogue of services, and why a slug means what it means.

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::header;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::answer::Answer;
use super::asked::Asked;
use super::request::{Names, Search, named, parameter};
use crate::admin::caller::Caller;
use crate::admin::caller::How;
use crate::admin::context::AdminContext;
use crate::admin::metrics;
use crate::admin::problem::{AdminProblem, Trouble};
use crate::services;
use crate::substitution::slug::Slug;
use crate::vault::Principal;
use crate::vault::access::Scope;
use crate::views;

pub(super) fn router() -> OpenApiRouter<AdminContext> {
    OpenApiRouter::new()
        .routes(routes!(get_me))
        .routes(routes!(get_health))
        .routes(routes!(get_metrics))
        .routes(routes!(list_services))
        .routes(routes!(explain_slug))
}

/// Show who asks
#[utoipa::path(get, path = "/me", tag = "caller", responses((status = OK, body = views::Me)))]
async fn get_me(caller: Caller) -> Answer {
    let (through, ends) = match &caller.how {
        How::Session { session, .. } => ("session", Some(session.ends)),
        How::Token(_) => ("token", None),
    };
    Answer::ok(&views::Me {
        user: caller.user.to_string(),
        display_name: caller.display_name.clone(),
        role: caller.role.as_str().into(),
        scope: caller.scope.as_str().into(),
        through: through.into(),
        fresh: caller.fresh(),
        ends: ends.map(views::rfc3339),
    })
}

/// Show whether the server can serve
#[utoipa::path(get, path = "/health", tag = "caller",
    responses((status = OK, body = views::Readiness)))]
async fn get_health(_: Caller, State(context): State<AdminContext>) -> Answer {
    Answer::ok(&context.state().readiness().await)
}

/// Show metrics with the names of credentials and destinations
///
/// In the text format of Prometheus. For administrators and auditors, with a token of scope `audit`.
#[utoipa::path(get, path = "/metrics", tag = "usage",
    responses((status = OK, body = String, content_type = "text/plain")))]
async fn get_metrics(asked: Asked) -> Result<Response, AdminProblem> {
    asked.caller.demand(Scope::Audit)?;
    if !asked.sight.sees_all() {
        return Err(AdminProblem::because(
            Trouble::Forbidden,
            "Metrics with names are for administrators and auditors; /metrics has none.",
        ));
    }
    let text = metrics::render_named(asked.context.state(), &asked.sight);
    let media_type = [(header::CONTENT_TYPE, metrics::CONTENT_TYPE)];
    Ok((media_type, text).into_response())
}

/// List well-known services
///
/// Where their keys are sent and how, where to make one, and which is enough.
#[utoipa::path(get, path = "/services", tag = "caller",
    responses((status = OK, body = Vec<views::Service>)))]
async fn list_services(_: Caller) -> Answer {
    let services: Vec<_> = services::all().iter().map(views::Service::new).collect();
    Answer::ok(&services)
}

/// Which slug.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
struct SlugPath {
    /// As requests name it.
    #[param(pattern = "^[a-z][a-z0-9_-]{0,63}$")]
    slug: String,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ExplainSearch {
    /// For which user; for the caller if it is missing.
    user: Option<String>,
}

/// Say which credential a slug names for a user, and why not another
#[utoipa::path(get, path = "/explain/{slug}", tag = "credentials",
    params(SlugPath, ExplainSearch), responses((status = OK, body = views::Explanation)))]
async fn explain_slug(
    asked: Asked,
    Names(path): Names<SlugPath>,
    Search(search): Search<ExplainSearch>,
) -> Result<Answer, AdminProblem> {
    let slug: Slug = named(&path.slug)?;
    let user = parameter::<Principal>("user", search.user.as_deref())?;
    let user = user.unwrap_or_else(|| asked.caller.user.clone());
    let explained = asked.sight.explain(&user, &slug);
    let explained = explained.ok_or_else(|| AdminProblem::new(Trouble::NotFound))?;
    let floor = asked.sight.floor_violation(&explained.found);
    Ok(Answer::ok(&views::Explanation::new(&explained, floor)))
}

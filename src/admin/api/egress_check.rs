//! What becomes of a request, by the rules about where clients may go.

use http::Uri;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::answer::Answer;
use super::asked::Asked;
use super::request::{Search, parameter};
use crate::admin::context::AdminContext;
use crate::admin::problem::{AdminProblem, Trouble};
use crate::admin::rules;
use crate::policy::destination::{Destination, Scheme};
use crate::policy::{egress, grant};
use crate::vault::access::Scope;
use crate::vault::cache::EgressRoute;
use crate::vault::{CallerName, Principal};
use crate::views;

pub(super) fn router() -> OpenApiRouter<AdminContext> {
    OpenApiRouter::new().routes(routes!(check_destination))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct CheckSearch {
    /// The address of the request: `https://api.example.com/path`.
    url: String,
    /// The client that sends it.
    client: String,
    /// The client's user, where the store does not know the client.
    user: Option<String>,
    /// The method; `GET` if it is missing.
    method: Option<String>,
    /// The action; none if it is missing.
    action: Option<String>,
}

/// Say what becomes of a request, and which rule decides
///
/// Nothing is sent. Of the clients that act for the caller; administrators and auditors ask about all.
#[utoipa::path(get, path = "/destinations/check", tag = "rules", params(CheckSearch),
    responses((status = OK, body = views::EgressCheck), (status = CONFLICT)))]
async fn check_destination(
    asked: Asked,
    Search(search): Search<CheckSearch>,
) -> Result<Answer, AdminProblem> {
    asked.caller.demand(Scope::Audit)?;
    let client = parameter::<CallerName>("client", Some(&search.client))?;
    let client = client.ok_or_else(|| AdminProblem::field("client", "name a client"))?;
    let user = parameter::<Principal>("user", search.user.as_deref())?;
    let registered = client.registered();
    let known = registered.and_then(|name| asked.sight.client(&name));
    let principal = known.map(|client| client.principal.clone()).or(user);
    // A client that is not there has rules, too, which are for those who see everything.
    let principal = principal
        .filter(|_| asked.sight.sees_all() || known.is_some())
        .ok_or_else(|| AdminProblem::new(Trouble::NotFound))?;
    let (destination, path) = address(&search.url)?;
    let method = search.method.as_deref().unwrap_or("GET");
    let method = grant::parse_method(method)
        .map_err(|error| AdminProblem::field("method", error.to_string()))?;
    let route = EgressRoute {
        principal: &principal,
        client: client.as_str(),
        destination: &destination,
        asked: egress::Asked {
            method: &method,
            path: &path,
            action: search.action.as_deref().unwrap_or_default(),
        },
    };
    let settings = asked.context.settings();
    let operator = &settings.config.egress.rules;
    let decision = asked.sight.egress_decision(&route, operator);
    let decision = decision.map_err(|_| rules::unverified())?;
    Ok(Answer::ok(&views::EgressCheck::new(&decision)))
}

/// Where a URL leads, and its path.
fn address(url: &str) -> Result<(Destination, String), AdminProblem> {
    let wrong = |detail: &str| AdminProblem::field("url", detail.to_owned());
    let whole = "write the whole address: https://api.example.com/path";
    let url: Uri = url.parse().map_err(|_| wrong(whole))?;
    let scheme = url.scheme_str().and_then(Scheme::named);
    let scheme = scheme.ok_or_else(|| wrong(whole))?;
    let authority = url.authority().map_or("", |authority| authority.as_str());
    let destination = Destination::from_authority(scheme, authority);
    let destination = destination.map_err(|error| wrong(&error.to_string()))?;
    Ok((destination, url.path().to_owned()))
}

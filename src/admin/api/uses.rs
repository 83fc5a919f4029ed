//! Uses and refusals of a credential, one by one.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::answer::{Answer, PageSize, page_size};
use super::asked::Asked;
use super::credentials::CredentialPath;
use super::ledger::moment;
use super::request::{Names, Search};
use crate::admin::context::AdminContext;
use crate::admin::problem::{AdminProblem, Trouble};
use crate::ledger::usage::{UsageFilter, UsageLine};
use crate::vault::access::Scope;

pub(super) fn router() -> OpenApiRouter<AdminContext> {
    OpenApiRouter::new().routes(routes!(list_uses))
}

/// Which uses are wanted, and where the page is.
#[derive(Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct UseSearch {
    /// Only those of this action.
    action: Option<String>,
    /// Only those of this client.
    client: Option<String>,
    /// Only those of this user.
    user: Option<String>,
    /// Only those to this destination: `https://api.example.com:443`.
    destination: Option<String>,
    /// Only those that ended so: a status, an error code, or `open`.
    outcome: Option<String>,
    /// Only uses of this version.
    version: Option<u32>,
    /// Refusals alone, or uses alone.
    refused: Option<bool>,
    /// Only those from this time on.
    #[param(format = DateTime)]
    since: Option<String>,
    /// Only those before this time.
    #[param(format = DateTime)]
    until: Option<String>,
    /// Only those before this line of the ledger.
    #[param(minimum = 1)]
    before: Option<u64>,
    /// How many a page has, at most 500.
    #[param(value_type = Option<usize>, minimum = 1, maximum = 500)]
    limit: Option<PageSize>,
}

impl UseSearch {
    /// The filter. Someone with whom the credential is shared sees uses of their own.
    fn filter(self, asked: &Asked, sees_all: bool) -> Result<UsageFilter, AdminProblem> {
        let since = moment("since", self.since.as_deref())?;
        let until = moment("until", self.until.as_deref())?;
        let own = (!sees_all).then(|| asked.caller.user.to_string());
        if self.user.is_some() && own.is_some() && self.user != own {
            return Err(AdminProblem::because(
                Trouble::Forbidden,
                "What others use a credential for is its owner's business.",
            ));
        }
        Ok(UsageFilter {
            action: self.action,
            client: self.client,
            principal: own.or(self.user),
            destination: self.destination,
            outcome: self.outcome,
            version: self.version,
            refused: self.refused,
            since,
            until,
        })
    }
}

/// A part of the uses.
#[derive(Serialize, ToSchema)]
struct UsePage {
    /// The uses and refusals, latest first.
    items: Vec<UsageLine>,
    /// Where the next page begins, for `before`; `null` at the end.
    next: Option<u64>,
}

/// List uses and refusals of a credential
///
/// The last 10,000 are kept. Its owner, administrators and auditors see all, and others with whom it is
/// shared see their own.
#[utoipa::path(get, path = "/credentials/{owner}/{slug}/uses", tag = "usage",
    params(CredentialPath, UseSearch), responses((status = OK, body = UsePage)))]
async fn list_uses(
    asked: Asked,
    Names(path): Names<CredentialPath>,
    Search(search): Search<UseSearch>,
) -> Result<Answer, AdminProblem> {
    let (owner, slug) = path.parse()?;
    let sees_all = owner == asked.caller.user || asked.sight.sees_all();
    let is_there = asked.sight.credential(&owner, &slug).is_some();
    if !is_there && !sees_all {
        return Err(AdminProblem::new(Trouble::NotFound));
    }
    asked.caller.demand(Scope::Audit)?;
    let services = asked.context.services();
    let credential = (owner.as_str(), slug.as_str());
    // A deleted credential is still in the ledger; one that never existed is not there.
    if !is_there && !services.usage(credential.0, credential.1).await?.is_known {
        return Err(AdminProblem::new(Trouble::NotFound));
    }
    let (before, limit) = (search.before, page_size(search.limit));
    let filter = search.filter(&asked, sees_all)?;
    let mut items = services
        .uses(credential, &filter, before, limit + 1)
        .await?;
    let has_more = items.len() > limit;
    items.truncate(limit);
    let next = items.last().map(|line| line.line.seq).filter(|_| has_more);
    Ok(Answer::ok(&UsePage { items, next }))
}

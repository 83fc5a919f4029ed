//! Shares of credentials and bundles: for use only.

use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::answer::Answer;
use super::asked::Asked;
use super::change::{Change, Place};
use super::credentials::Known;
use super::inputs::{Action, Method, Time};
use super::request::{Json, message, named};
use crate::admin::context::AdminContext;
use crate::admin::problem::AdminProblem;
use crate::policy::grant::{HostPattern, PathPrefix};
use crate::policy::location::LocationRule;
use crate::policy::share_limits::ShareLimits;
use crate::vault::people::Grantee;
use crate::vault::sharing::Offer;
use crate::views;

pub(super) fn router() -> OpenApiRouter<AdminContext> {
    OpenApiRouter::new().routes(routes!(share_credential, unshare_credential))
}

message! {
    /// How far and how long something is shared. What is missing adds no limit to the credential's own.
    ShareInput {
        /// Only for these hosts.
        hosts: Vec<HostPattern> as Option<Vec<String>>,
        /// Only at these places.
        locations: Vec<LocationRule> as Option<Vec<String>>,
        /// Only with these methods.
        methods: Vec<Method> as Option<Vec<String>>,
        /// Only for paths with these prefixes.
        paths: Vec<PathPrefix> as Option<Vec<String>>,
        /// Only for these actions.
        actions: Vec<Action> as Option<Vec<String>>,
        /// When it ends.
        until: Option<Time> as Option<String>,
    }
}

impl ShareInput {
    /// The offer to somebody.
    pub(super) fn into_offer(self, with: Grantee) -> Offer {
        Offer {
            with,
            limits: ShareLimits {
                hosts: self.hosts,
                locations: self.locations,
                methods: self.methods.into_iter().map(|method| method.0).collect(),
                paths: self.paths,
                actions: self.actions.into_iter().map(|action| action.0).collect(),
            },
            until: self.until.map(|time| time.0),
        }
    }
}

/// Which share of a credential.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
struct SharePath {
    /// Who owns the credential.
    #[param(pattern = "^[a-z0-9][a-z0-9._@-]{0,63}$")]
    owner: String,
    /// Its slug.
    #[param(pattern = "^[a-z][a-z0-9_-]{0,63}$")]
    slug: String,
    /// With whom: a user, `group:NAME` or `everyone`.
    #[param(pattern = "^(group:)?[a-z0-9][a-z0-9._@-]{0,63}$")]
    with: String,
}

impl Place for SharePath {
    type Thing = Known;

    fn find(&self, asked: &Asked) -> Result<Known, AdminProblem> {
        Known::find(asked, &self.owner, &self.slug)
    }
}

/// Share a credential, or change the limits of a share
///
/// Others may then use it within these limits, and never read or change it.
#[utoipa::path(put, path = "/credentials/{owner}/{slug}/shares/{with}", tag = "credentials",
    params(SharePath), request_body = ShareInput,
    responses((status = OK, body = views::CredentialDetails)))]
async fn share_credential(
    change: Change<SharePath>,
    Json(input): Json<ShareInput>,
) -> Result<Answer, AdminProblem> {
    let with = named(&change.place.with)?;
    change.demand_fresh()?;
    let (actor, offer) = (change.actor(), input.into_offer(with));
    change
        .registrar
        .share(&actor, &change.thing.owner, &change.thing.slug, &offer)
        .await?;
    change.done().await
}

/// Take a share back
///
/// It ends with the next request. The owner may, and an administrator.
#[utoipa::path(delete, path = "/credentials/{owner}/{slug}/shares/{with}", tag = "credentials",
    params(SharePath), responses((status = OK, body = views::CredentialDetails)))]
async fn unshare_credential(change: Change<SharePath>) -> Result<Answer, AdminProblem> {
    let with: Grantee = named(&change.place.with)?;
    change
        .registrar
        .unshare(
            &change.actor(),
            &change.thing.owner,
            &change.thing.slug,
            &with,
        )
        .await?;
    change.done().await
}

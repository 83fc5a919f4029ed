//! A credential for another owner.

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::answer::Answer;
use super::change::Change;
use super::credentials::CredentialPath;
use super::request::{Json, message};
use crate::admin::context::AdminContext;
use crate::admin::problem::{AdminProblem, Trouble};
use crate::vault::handover::HandoverError;
use crate::vault::rights::Forbidden;
use crate::vault::{Principal, StoreError};

pub(super) fn router() -> OpenApiRouter<AdminContext> {
    OpenApiRouter::new().routes(routes!(hand_over_credential))
}

message! {
    /// Who is to own a credential.
    HandoverInput {
        /// The user. The credential has to be shared with the user, and to be what its slug means there.
        to: Principal as String,
    }
}

/// Give a credential to another owner, for good
///
/// The caller's own credential. Its shares end, and versions that wait or were replaced are not put in force
/// again. It has to be shared with its new owner before: nobody is given a value that takes the place of another one.
#[utoipa::path(post, path = "/credentials/{owner}/{slug}/handover", tag = "credentials",
    params(CredentialPath), request_body = HandoverInput, responses((status = NO_CONTENT)))]
async fn hand_over_credential(
    change: Change<CredentialPath>,
    Json(input): Json<HandoverInput>,
) -> Result<Answer, AdminProblem> {
    change.demand_fresh()?;
    let (owner, slug) = (&change.thing.owner, &change.thing.slug);
    let (asked, credential) = (&change.asked, &change.thing.credential);
    if *owner != asked.caller.user {
        return Err(StoreError::Forbidden(Forbidden::NotOwner).into());
    }
    // One answer for whoever it cannot be: what a slug means for somebody else is that user's business.
    if !asked.sight.is_used_by(credential, &input.to) {
        let detail = "share it with this user first; its slug has to mean this credential there";
        return Err(AdminProblem::field("to", detail));
    }
    let handovers = &asked.context.services().handovers;
    let handed = handovers
        .hand_over(&change.actor(), change.seen.clone(), owner, slug, &input.to)
        .await;
    handed.map_err(refused)?;
    change.gone().await
}

fn refused(error: HandoverError) -> AdminProblem {
    match error {
        HandoverError::Store(error) => error.into(),
        error @ HandoverError::Open { .. } => {
            tracing::error!(%error, "a credential cannot be handed over");
            AdminProblem::because(
                Trouble::StoreUnavailable,
                "The value cannot be opened. The reason is in Egret's log, for its operator.",
            )
        }
    }
}

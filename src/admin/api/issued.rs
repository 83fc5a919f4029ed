//! JWTs of issuers, which no store holds: they can be revoked all the same.

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::answer::Answer;
use super::asked::Asked;
use super::request::{Json, message};
use crate::admin::context::AdminContext;
use crate::admin::problem::AdminProblem;
use crate::admin::rules;
use crate::vault::CallerName;
use crate::vault::token_id::{Revoked, TokenId};
use crate::views;

pub(super) fn router() -> OpenApiRouter<AdminContext> {
    OpenApiRouter::new().routes(routes!(revoke_issued_tokens))
}

message! {
    /// Which tokens of a client of an issuer are to stop working.
    RevokedIssuedInput {
        /// The client, as the ledger names it: `jwt:system:serviceaccount:build:ci`.
        client: CallerName as String,
        /// The one of this `jti`; all that were issued until now if it is missing.
        id: Option<TokenId> as Option<String>,
    }
}

/// Revoke tokens of a client of an issuer
///
/// For administrators. They are refused from the next request on. The issuer can give the client another
/// one.
#[utoipa::path(post, path = "/issued-tokens/revoke", tag = "tokens",
    request_body = RevokedIssuedInput, responses((status = OK, body = views::RevokedIssued)))]
async fn revoke_issued_tokens(
    asked: Asked,
    Json(input): Json<RevokedIssuedInput>,
) -> Result<Answer, AdminProblem> {
    rules::demand_all(&asked.sight)?;
    let registrar = asked.change()?;
    if input.client.registered().is_some() {
        let detail = "a client of an issuer is named jwt: and its claim; this one is registered";
        return Err(AdminProblem::field("client", detail));
    }
    let view = views::RevokedIssued {
        client: input.client.to_string(),
        id: input.id.as_ref().map(ToString::to_string),
    };
    let which = input.id.map_or(Revoked::All, Revoked::One);
    registrar
        .revoke_issued(&asked.actor(), &input.client, &which)
        .await?;
    asked.after_change().await?;
    Ok(Answer::ok(&view))
}

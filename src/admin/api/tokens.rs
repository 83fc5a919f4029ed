//! Tokens: personal ones for programs that use this API, and action tokens for the proxy.

use axum::extract::{FromRequestParts, State};
use http::header;
use http::request::Parts;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::answer::Answer;
use super::asked::{Asked, settle};
use super::inputs::Time;
use super::request::{Json, Names, Search, message, named, parameter};
use crate::admin::caller::{Caller, How};
use crate::admin::context::AdminContext;
use crate::admin::problem::{AdminProblem, Trouble};
use crate::clock;
use crate::identity::{
    ActionRequest, InvalidRequest, MintError, Minted, PersonalToken, ProvenClient,
};
use crate::substitution::slug::Slug;
use crate::vault::Principal;
use crate::vault::access::Scope;
use crate::vault::people::BundleId;
use crate::vault::registrar::tokens::NewToken;
use crate::views;

pub(super) fn router() -> OpenApiRouter<AdminContext> {
    OpenApiRouter::new()
        .routes(routes!(list_api_tokens, create_api_token))
        .routes(routes!(delete_api_token))
        .routes(routes!(mint_token))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct TokenSearch {
    /// Of which user, for those who see everything; of the caller if it is missing.
    user: Option<String>,
}

/// List personal API tokens
///
/// Without the tokens themselves.
#[utoipa::path(get, path = "/api-tokens", tag = "tokens", params(TokenSearch),
    responses((status = OK, body = Vec<views::ApiToken>)))]
async fn list_api_tokens(
    asked: Asked,
    Search(search): Search<TokenSearch>,
) -> Result<Answer, AdminProblem> {
    let user = parameter::<Principal>("user", search.user.as_deref())?;
    let user = user.unwrap_or_else(|| asked.caller.user.clone());
    if user != asked.caller.user && !asked.sight.sees_all() {
        return Err(AdminProblem::new(Trouble::NotFound));
    }
    let tokens = asked.context.registrar().list_tokens(Some(&user)).await?;
    let views: Vec<_> = tokens.iter().map(views::ApiToken::new).collect();
    Ok(Answer::ok(&views))
}

message! {
    /// A personal API token that is to be made.
    ApiTokenInput {
        /// What it is for.
        name: String as String,
        /// `read`, `audit` or `manage`.
        scope: Scope as String,
        /// When it stops working, within 366 days.
        expires: Time as String,
    }
}

/// Make a personal API token
///
/// The answer has the token, which is not shown again. No token makes another one: sign in for this.
#[utoipa::path(post, path = "/api-tokens", tag = "tokens", request_body = ApiTokenInput,
    responses((status = CREATED, body = views::NewApiToken)))]
async fn create_api_token(
    caller: Caller,
    State(context): State<AdminContext>,
    Json(input): Json<ApiTokenInput>,
) -> Result<Answer, AdminProblem> {
    caller.demand_person()?;
    let made = PersonalToken::generate().map_err(|_| AdminProblem::new(Trouble::Internal))?;
    let PersonalToken { id, token } = made;
    let hash = token.hash();
    let new = NewToken {
        id: &id,
        hash: &hash,
        user: &caller.user,
        name: &input.name,
        scope: input.scope,
        expires: input.expires.0,
    };
    context.registrar().add_token(&caller.actor(), &new).await?;
    settle(&context).await?;
    let view = views::NewApiToken {
        id: id.as_str(),
        token: token.expose(),
        expires: views::rfc3339(input.expires.0),
    };
    Ok(Answer::ok(&view).newly_made().closing())
}

/// Which token.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
struct TokenPath {
    /// Its public name.
    #[param(pattern = "^[0-9a-f]{16}$")]
    id: String,
}

/// Remove a personal API token
///
/// It does not work from the next request on. Its user may, and an administrator.
#[utoipa::path(delete, path = "/api-tokens/{id}", tag = "tokens", params(TokenPath),
    responses((status = NO_CONTENT)))]
async fn delete_api_token(
    asked: Asked,
    Names(path): Names<TokenPath>,
) -> Result<Answer, AdminProblem> {
    let id = named(&path.id)?;
    // A token may always remove itself, whatever its scope: whoever holds one can end its use.
    let registrar = match &asked.caller.how {
        How::Token(own) if *own == id => asked.context.registrar(),
        _ => asked.change()?,
    };
    registrar.remove_token(&asked.actor(), &id).await?;
    settle(&asked.context).await?;
    Ok(Answer::gone())
}

message! {
    /// A token for one action, which its holder cannot change.
    ActionTokenInput {
        /// The action it is for.
        action: String as String,
        /// Which execution of the action it is for.
        run: Option<String> as Option<String>,
        /// The only credentials that it may use; any if it is missing.
        slugs: Option<Vec<Slug>> as Option<Vec<String>>,
        /// Owner and name of the only bundle that it may use.
        bundle: Option<BundleId> as Option<String>,
        /// How long it works, in seconds; 900 if it is missing.
        ttl: Option<u64> as Option<u64>,
    }
}

/// How long an action token works, if the request does not say, in seconds.
const USUAL_TTL: u64 = 15 * 60;
/// How long an action token works at most, in seconds.
const LONGEST_TTL: u64 = 366 * 24 * 3600;

/// A client, by the token in `Authorization`.
pub(super) struct PresentedClient(pub(super) ProvenClient);

impl FromRequestParts<AdminContext> for PresentedClient {
    type Rejection = AdminProblem;

    async fn from_request_parts(
        parts: &mut Parts,
        context: &AdminContext,
    ) -> Result<Self, AdminProblem> {
        let presented = parts.headers.get(header::AUTHORIZATION);
        let token = presented.and_then(|field| bearer(field.as_bytes()));
        let client = match token {
            Some(token) => context.services().minter.client(token).await?,
            None => None,
        };
        client.map(Self).ok_or_else(|| {
            AdminProblem::because(
                Trouble::Unauthenticated,
                "Send a client token, as in Authorization: Bearer egc_…",
            )
        })
    }
}

fn bearer(field: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = field.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then_some(token)
}

/// When an action token stops working: as asked for, and not after its client.
pub(super) fn end(
    context: &AdminContext,
    client: &ProvenClient,
    ttl: Option<u64>,
) -> Result<i64, AdminProblem> {
    let settings = context.settings();
    let longest = settings.config.proxy.max_token_lifetime;
    let longest = longest.map_or(LONGEST_TTL, |longest| longest.as_secs().min(LONGEST_TTL));
    let ttl = ttl.unwrap_or(USUAL_TTL.min(longest));
    if ttl == 0 || ttl > longest {
        let detail = format!("a token works for 1 to {longest} seconds");
        return Err(AdminProblem::field("ttl", detail));
    }
    let end = clock::unix_seconds().saturating_add_unsigned(ttl);
    let of_client = client.client().expires;
    Ok(of_client.map_or(end, |at| at.min(end)))
}

/// Mint an action token
///
/// A runtime asks with its client token as the bearer. The ledger calls the action of such a token
/// `signed`.
#[utoipa::path(post, path = "/tokens", tag = "tokens", request_body = ActionTokenInput,
    security(("client_token" = [])),
    responses((status = CREATED, body = views::NewToken)))]
async fn mint_token(
    PresentedClient(client): PresentedClient,
    State(context): State<AdminContext>,
    Json(input): Json<ActionTokenInput>,
) -> Result<Answer, AdminProblem> {
    let expires = end(&context, &client, input.ttl)?;
    let request = ActionRequest {
        action: &input.action,
        run: input.run.as_deref(),
        slugs: input.slugs.as_deref(),
        bundle: input.bundle.as_ref(),
        expires,
    };
    let minted = minted(&client, request)?;
    let view = views::NewToken {
        id: minted.id.as_str(),
        expires: views::rfc3339(expires),
        token: &minted.token,
    };
    Ok(Answer::ok(&view).newly_made().closing())
}

/// A token as it was asked for.
pub(super) fn minted(
    client: &ProvenClient,
    request: ActionRequest<'_>,
) -> Result<Minted, AdminProblem> {
    client.mint(request).map_err(|error| match error {
        MintError::Invalid(InvalidRequest::Bundle) => {
            AdminProblem::field("bundle", error.to_string())
        }
        MintError::Invalid(InvalidRequest::Label) => {
            AdminProblem::field("action", error.to_string())
        }
        MintError::NoRandomness => AdminProblem::new(Trouble::Internal),
    })
}

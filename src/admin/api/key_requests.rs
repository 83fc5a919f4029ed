//! Credentials that are not there: clients ask for them and learn what became of it, owners save or
//! decline.

use axum::extract::{FromRequestParts, State};
use http::request::Parts;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::answer::{Answer, Page, PageSize, page_size};
use super::asked::{Asked, settle};
use super::credentials::{Known, NewCredentialInput, refused};
use super::request::{Json, Names, Search, message, named};
use super::tokens::PresentedClient;
use crate::admin::context::AdminContext;
use crate::admin::problem::{AdminProblem, Trouble};
use crate::clock;
use crate::policy::grant::HostPattern;
use crate::policy::location::LocationRule;
use crate::substitution::slug::Slug;
use crate::vault::key_request::{KEPT, KeyRequest, readable_reason};
use crate::vault::{Actor, Sight};
use crate::views;

pub(super) fn router() -> OpenApiRouter<AdminContext> {
    OpenApiRouter::new()
        .routes(routes!(list_key_requests, ask_for_key))
        .routes(routes!(get_key_request))
        .routes(routes!(save_requested_key))
        .routes(routes!(decline_key_request))
}

/// Which request.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
struct RequestPath {
    /// Its number.
    #[param(pattern = "^[1-9][0-9]{0,17}$")]
    request: String,
}

impl RequestPath {
    fn number(&self) -> Result<i64, AdminProblem> {
        named(&self.request)
    }

    /// The request, if the caller may know of it.
    fn find(&self, sight: &Sight) -> Result<(i64, KeyRequest), AdminProblem> {
        let number = self.number()?;
        let request = sight.key_request(number).cloned();
        let request = request.ok_or_else(|| AdminProblem::new(Trouble::NotFound))?;
        Ok((number, request))
    }

    /// The same, if it still waits.
    fn open(&self, sight: &Sight) -> Result<(i64, KeyRequest), AdminProblem> {
        let (number, request) = self.find(sight)?;
        if request.is_open(sight.now()) {
            return Ok((number, request));
        }
        Err(AdminProblem::because(
            Trouble::Conflict,
            "It was answered already.",
        ))
    }
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct RequestSearch {
    /// Only those in this state: open, declined or saved.
    #[param(pattern = "^(open|declined|saved)$")]
    state: Option<String>,
    /// Where the page begins: `next` of the page before.
    after: Option<String>,
    /// How many items a page has, at most 500.
    #[param(value_type = Option<usize>, minimum = 1, maximum = 500)]
    limit: Option<PageSize>,
}

/// List credentials that are asked for
///
/// Those that the caller would own. Administrators and auditors see all.
#[utoipa::path(get, path = "/requests", tag = "requests", params(RequestSearch),
    responses((status = OK, body = Page<views::KeyRequest>)))]
async fn list_key_requests(
    asked: Asked,
    Search(search): Search<RequestSearch>,
) -> Result<Answer, AdminProblem> {
    let state = search.state.as_deref();
    if state.is_some_and(|state| !["open", "declined", "saved"].contains(&state)) {
        let detail = "it is open, declined or saved";
        return Err(AdminProblem::field("state", detail));
    }
    let all = asked.sight.key_requests();
    let wanted = all.filter(|(_, request)| state.is_none_or(|state| request.state() == state));
    let page = Page::of(
        wanted,
        // As wide as the widest, so that the order of texts is that of numbers.
        |(number, _)| format!("{number:019}"),
        search.after.as_deref(),
        page_size(search.limit),
        |(number, request)| views::KeyRequest::new(number, request),
    );
    Ok(Answer::ok(&page))
}

/// A person or their program, or the client that asked.
enum Asker {
    Person(Box<Asked>),
    Client(PresentedClient, AdminContext),
}

impl FromRequestParts<AdminContext> for Asker {
    type Rejection = AdminProblem;

    async fn from_request_parts(
        parts: &mut Parts,
        context: &AdminContext,
    ) -> Result<Self, AdminProblem> {
        match PresentedClient::from_request_parts(parts, context).await {
            Ok(client) => Ok(Self::Client(client, context.clone())),
            Err(problem) if problem.trouble == Trouble::Unauthenticated => {
                Asked::from_request_parts(parts, context)
                    .await
                    .map(|asked| Self::Person(Box::new(asked)))
            }
            Err(problem) => Err(problem),
        }
    }
}

/// Show a credential that is asked for
///
/// The client that asked sees what became of its request with its own token.
#[utoipa::path(get, path = "/requests/{request}", tag = "requests", params(RequestPath),
    security(("api_token" = []), ("session" = []), ("client_token" = [])),
    responses((status = OK, body = views::KeyRequest)))]
async fn get_key_request(
    asker: Asker,
    Names(path): Names<RequestPath>,
) -> Result<Answer, AdminProblem> {
    let (number, request) = match asker {
        Asker::Person(asked) => path.find(&asked.sight)?,
        Asker::Client(PresentedClient(client), context) => {
            let client = client.client();
            let sight = context.services().reader.look(&client.principal).await?;
            let (number, request) = path.find(&sight)?;
            let is_its_own =
                request.client == client.name.as_str() && request.owner == client.principal;
            if !is_its_own {
                return Err(AdminProblem::new(Trouble::NotFound));
            }
            (number, request)
        }
    };
    Ok(Answer::ok(&views::KeyRequest::new(number, &request)))
}

message! {
    /// A credential that a client needs and that is not there. The value is its owner's to save.
    KeyRequestInput {
        /// The slug that requests will name.
        slug: Slug as String,
        /// Where it is needed.
        host: HostPattern as String,
        /// In which place of a request.
        place: Option<LocationRule> as Option<String>,
        /// What for. The first 300 characters are kept.
        reason: Option<String> as Option<String>,
    }
}

/// Ask for a credential
///
/// A client asks, with its client token as the bearer, and the user for whom it acts answers. Whoever
/// asks for the same again gets the same request. A client has at most five open.
#[utoipa::path(post, path = "/requests", tag = "requests", request_body = KeyRequestInput,
    security(("client_token" = [])),
    responses((status = CREATED, body = views::KeyRequest)))]
async fn ask_for_key(
    PresentedClient(client): PresentedClient,
    State(context): State<AdminContext>,
    Json(input): Json<KeyRequestInput>,
) -> Result<Answer, AdminProblem> {
    let client = client.client();
    let now = clock::unix_seconds();
    let request = KeyRequest {
        owner: client.principal.clone(),
        client: client.name.to_string(),
        slug: input.slug,
        host: input.host,
        place: input.place,
        reason: readable_reason(&input.reason.unwrap_or_default()),
        asked: now,
        until: now.saturating_add(KEPT),
        is_declined: false,
        is_saved: false,
    };
    let actor = Actor::client(client.name.as_str());
    let number = context.registrar().ask_key(&actor, &request).await?;
    settle(&context).await?;
    let sight = context.services().reader.look(&client.principal).await?;
    let request = sight.key_request(number).unwrap_or(&request);
    Ok(Answer::ok(&views::KeyRequest::new(number, request)).newly_made())
}

/// Save a credential that is asked for
///
/// Its owner does. Hosts, place and description are those of the request where they are missing. The
/// request is answered in the same transaction.
#[utoipa::path(post, path = "/requests/{request}/save", tag = "requests", params(RequestPath),
    request_body = NewCredentialInput,
    responses((status = CREATED, body = views::CredentialDetails)))]
async fn save_requested_key(
    asked: Asked,
    Names(path): Names<RequestPath>,
    Json(mut input): Json<NewCredentialInput>,
) -> Result<Answer, AdminProblem> {
    let (number, request) = path.open(&asked.sight)?;
    let registrar = asked.change()?;
    if input.hosts.is_empty() && input.service.is_none() {
        input.hosts.push(request.host.clone());
    }
    if input.locations.is_empty() {
        input.locations.extend(request.place.clone());
    }
    let reason = input.description.take().unwrap_or(request.reason);
    input.description = Some(reason);
    let (new, value) = input.into_new(request.owner.clone(), request.slug.clone())?;
    let actor = asked.actor();
    let together = registrar.together(&actor, None).await?;
    together.add(&actor, new, value).await.map_err(refused)?;
    together.answer_key(&actor, number).await?;
    together.finish(&actor).await?;
    let sight = asked.after_change().await?;
    let known = Known::of(&sight, request.owner, request.slug)?;
    let answer = known.details(&sight, &asked.context).await?;
    Ok(answer.newly_made().closing())
}

/// Decline to save a credential that is asked for
///
/// Its owner does. The client learns it, and its refusals say it.
#[utoipa::path(post, path = "/requests/{request}/decline", tag = "requests", params(RequestPath),
    responses((status = OK, body = views::KeyRequest)))]
async fn decline_key_request(
    asked: Asked,
    Names(path): Names<RequestPath>,
) -> Result<Answer, AdminProblem> {
    let (number, _) = path.open(&asked.sight)?;
    let registrar = asked.change()?;
    registrar.decline_key(&asked.actor(), number).await?;
    let sight = asked.after_change().await?;
    let (number, request) = path.find(&sight)?;
    Ok(Answer::ok(&views::KeyRequest::new(number, &request)))
}

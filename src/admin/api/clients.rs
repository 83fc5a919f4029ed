//! Clients: programs that act for a user. A token is shown once, when it is made.

use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::answer::{Answer, Page, PageSize, page_size};
use super::asked::Asked;
use super::change::{Change, Place, Thing};
use super::condition::IfNew;
use super::inputs::Time;
use super::request::{Json, Names, Search, message, named, new_name, parameter};
use crate::admin::context::AdminContext;
use crate::admin::problem::{AdminProblem, Trouble};
use crate::identity::ClientToken;
use crate::vault::client_proof::{ClientProof, PublicKey};
use crate::vault::people::BundleId;
use crate::vault::store::ObjectName;
use crate::vault::token_id::{Revoked, TokenId};
use crate::vault::{ClientName, Principal, Sight};
use crate::views;

pub(super) fn router() -> OpenApiRouter<AdminContext> {
    OpenApiRouter::new()
        .routes(routes!(list_clients))
        .routes(routes!(get_client, create_client, delete_client))
        .routes(routes!(bind_client))
        .routes(routes!(revoke_client_tokens))
}

/// Which client.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
struct ClientPath {
    /// Its name.
    #[param(pattern = "^[a-z0-9][a-z0-9._@-]{0,63}$")]
    client: String,
}

impl Place for ClientPath {
    type Thing = ClientName;

    fn find(&self, asked: &Asked) -> Result<ClientName, AdminProblem> {
        let name = named(&self.client)?;
        match asked.sight.client(&name) {
            Some(_) => Ok(name),
            None => Err(AdminProblem::new(Trouble::NotFound)),
        }
    }
}

impl Thing for ClientName {
    fn object(&self) -> ObjectName {
        ObjectName::client(self)
    }

    async fn show(&self, sight: &Sight, _: &AdminContext) -> Result<Answer, AdminProblem> {
        show(sight, self)
    }
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ClientSearch {
    /// Only those that act for this user.
    principal: Option<String>,
    /// Where the page begins: `next` of the page before.
    after: Option<String>,
    /// How many items a page has, at most 500.
    #[param(value_type = Option<usize>, minimum = 1, maximum = 500)]
    limit: Option<PageSize>,
}

/// List clients
///
/// Those that act for the caller. Administrators and auditors see all.
#[utoipa::path(get, path = "/clients", tag = "clients", params(ClientSearch),
    responses((status = OK, body = Page<views::Client>)))]
async fn list_clients(
    asked: Asked,
    Search(search): Search<ClientSearch>,
) -> Result<Answer, AdminProblem> {
    let principal = parameter::<Principal>("principal", search.principal.as_deref())?;
    let clients = asked.sight.clients();
    let wanted = clients.filter(|client| {
        let is_his = |principal: &Principal| client.principal == *principal;
        principal.as_ref().is_none_or(is_his)
    });
    let page = Page::of(
        wanted,
        |client| client.name.to_string(),
        search.after.as_deref(),
        page_size(search.limit),
        views::Client::new,
    );
    Ok(Answer::ok(&page))
}

fn show(sight: &Sight, name: &ClientName) -> Result<Answer, AdminProblem> {
    let client = sight.client(name);
    let client = client.ok_or_else(|| AdminProblem::new(Trouble::NotFound))?;
    let revision = sight.revision(&ObjectName::client(name));
    Ok(Answer::ok(&views::Client::new(client)).at(revision))
}

/// Show a client
#[utoipa::path(get, path = "/clients/{client}", tag = "clients", params(ClientPath),
    responses((status = OK, body = views::Client)))]
async fn get_client(asked: Asked, Names(path): Names<ClientPath>) -> Result<Answer, AdminProblem> {
    show(&asked.sight, &named(&path.client)?)
}

message! {
    /// A client that is to be added.
    ClientInput {
        /// For whom it acts; for the caller if it is missing.
        principal: Option<Principal> as Option<String>,
        /// When its token stops working; never if it is missing.
        expires: Option<Time> as Option<String>,
        /// Owner and name of the only bundle that it may use, as in `alice/work`.
        bundle: Option<BundleId> as Option<String>,
        /// An Ed25519 public key, in PEM or base64url: the client signs its tokens itself, and none is
        /// made.
        public_key: Option<PublicKey> as Option<String>,
    }
}

/// How a new client proves who it is.
enum Own {
    Token(ClientToken),
    Key(PublicKey),
}

impl Own {
    fn new(key: Option<PublicKey>) -> Result<Self, AdminProblem> {
        match key {
            Some(key) => Ok(Self::Key(key)),
            None => ClientToken::generate()
                .map(Self::Token)
                .map_err(|_| AdminProblem::new(Trouble::Internal)),
        }
    }

    fn proof(&self) -> ClientProof {
        match self {
            Self::Token(token) => ClientProof::Token(token.hash()),
            Self::Key(key) => ClientProof::Key(*key),
        }
    }

    fn token(&self) -> Option<&str> {
        match self {
            Self::Token(token) => Some(token.expose()),
            Self::Key(_) => None,
        }
    }
}

/// Add a client
///
/// The answer has its token, which is not shown again.
#[utoipa::path(put, path = "/clients/{client}", tag = "clients", params(ClientPath),
    request_body = ClientInput, responses((status = CREATED, body = views::NewClient)))]
async fn create_client(
    asked: Asked,
    Names(path): Names<ClientPath>,
    _: IfNew,
    Json(input): Json<ClientInput>,
) -> Result<Answer, AdminProblem> {
    let name: ClientName = new_name("client", &path.client)?;
    let registrar = asked.change()?;
    asked.caller.demand_fresh()?;
    let principal = input.principal.unwrap_or_else(|| asked.caller.user.clone());
    let expires = input.expires.map(|time| time.0);
    if input.public_key.is_none() {
        check_lifetime(&asked, expires)?;
    }
    let bundle = input.bundle.as_ref();
    if bundle.is_some_and(|id| asked.sight.bundle(id).is_none()) {
        return Err(AdminProblem::field("bundle", "there is no such bundle"));
    }
    let own = Own::new(input.public_key)?;
    let actor = asked.actor();
    registrar
        .add_client(&actor, &name, &principal, own.proof(), expires)
        .await?;
    if let Some(id) = bundle {
        // Until it is bound nobody has the token.
        registrar.bind_client(&actor, &name, Some(id)).await?;
    }
    let sight = asked.after_change().await?;
    let view = views::NewClient {
        name: name.to_string(),
        principal: principal.to_string(),
        token: own.token().map(str::to_owned),
    };
    let answer = Answer::ok(&view).at(sight.revision(&ObjectName::client(&name)));
    Ok(answer.newly_made().closing())
}

/// Refuses a token that would work for longer than the configuration allows.
fn check_lifetime(asked: &Asked, expires: Option<i64>) -> Result<(), AdminProblem> {
    let now = asked.sight.now();
    if expires.is_some_and(|at| at <= now) {
        return Err(AdminProblem::field("expires", "that time is in the past"));
    }
    let Some(longest) = asked.context.settings().config.proxy.max_token_lifetime else {
        return Ok(());
    };
    let last = now.saturating_add_unsigned(longest.as_secs());
    if expires.is_none_or(|at| at > last) {
        return Err(AdminProblem::field(
            "expires",
            format!(
                "the server allows tokens until {} at most",
                views::rfc3339(last)
            ),
        ));
    }
    Ok(())
}

/// Remove a client
///
/// Its token, and every action token minted for it, stop working at once.
#[utoipa::path(delete, path = "/clients/{client}", tag = "clients", params(ClientPath),
    responses((status = NO_CONTENT)))]
async fn delete_client(change: Change<ClientPath>) -> Result<Answer, AdminProblem> {
    change
        .registrar
        .remove_client(&change.actor(), &change.thing)
        .await?;
    change.gone().await
}

message! {
    /// What a client may use.
    BindingInput {
        /// Owner and name of the only bundle that it may use; `null` for everything of its user.
        bundle: Option<BundleId> as Option<String>,
    }
}

/// Limit a client to a bundle
#[utoipa::path(put, path = "/clients/{client}/bundle", tag = "clients", params(ClientPath),
    request_body = BindingInput, responses((status = OK, body = views::Client)))]
async fn bind_client(
    change: Change<ClientPath>,
    Json(input): Json<BindingInput>,
) -> Result<Answer, AdminProblem> {
    change.demand_fresh()?;
    let bundle = input.bundle.as_ref();
    if bundle.is_some_and(|id| change.asked.sight.bundle(id).is_none()) {
        return Err(AdminProblem::field("bundle", "there is no such bundle"));
    }
    change
        .registrar
        .bind_client(&change.actor(), &change.thing, bundle)
        .await?;
    change.done().await
}

message! {
    /// Which action tokens of a client are to stop working.
    RevokedInput {
        /// The one of this id; all that were minted until now if it is missing.
        id: Option<TokenId> as Option<String>,
    }
}

/// Revoke action tokens of a client
///
/// They are refused from the next request on. The client and its own token go on working.
#[utoipa::path(post, path = "/clients/{client}/revoke-tokens", tag = "clients",
    params(ClientPath), request_body = RevokedInput,
    responses((status = OK, body = views::Client)))]
async fn revoke_client_tokens(
    change: Change<ClientPath>,
    Json(input): Json<RevokedInput>,
) -> Result<Answer, AdminProblem> {
    let which = input.id.map_or(Revoked::All, Revoked::One);
    change
        .registrar
        .revoke_tokens(&change.actor(), &change.thing, &which)
        .await?;
    change.done().await
}

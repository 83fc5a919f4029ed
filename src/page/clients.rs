//! Clients: the programs that send requests for a user.

use askama::Template;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect, Response};

use super::failure::Failure;
use super::fields::Wrong;
use super::layout::{self, Layout, Section};
use super::paging::{Links, PAGE};
use super::person::Person;
use super::text;
use super::visit::{Sent, Visit};
use super::when::{self, When};
use crate::admin::part::Part;
use crate::admin::{AdminContext, AdminProblem, Trouble};
use crate::clock;
use crate::identity::ClientToken;
use crate::ledger::usage::UsageIndex;
use crate::vault::client_proof::ClientProof;
use crate::vault::{Client, ClientName, StoreError};

#[derive(Template)]
#[template(path = "clients.html")]
struct ClientsPage {
    layout: Layout,
    may_add: bool,
    rows: Vec<Row>,
    links: Links,
    name: String,
    expires: String,
    wrong: Wrong,
}

struct Row {
    name: String,
    href: String,
    principal: String,
    bundle: String,
    added: String,
    expires: String,
    last_seen: String,
    last_action: String,
    uses: u64,
    refused: u64,
    may_remove: bool,
}

/// A token, shown this once.
#[derive(Template)]
#[template(path = "token.html")]
struct TokenPage<'a> {
    layout: Layout,
    name: String,
    token: &'a str,
    proxy: String,
}

#[derive(Template)]
#[template(path = "remove-client.html")]
struct RemovePage {
    layout: Layout,
    name: String,
    href: String,
    principal: String,
    last_seen: String,
    last_action: String,
}

/// How long a page waits for the usage index to catch up.
const INDEX_WAIT: std::time::Duration = std::time::Duration::from_millis(150);

/// `GET /settings/clients`
pub(super) async fn show(
    State(context): State<AdminContext>,
    visit: Visit,
) -> Result<Response, Failure> {
    let page = clients_page(&context, &visit, Wrong::default()).await?;
    Ok(layout::page(&page))
}

async fn clients_page(
    context: &AdminContext,
    visit: &Visit,
    wrong: Wrong,
) -> Result<ClientsPage, Failure> {
    let Visit { person, fields, .. } = visit;
    let dir = context.settings().config.ledger_dir();
    let mut index = UsageIndex::open_within(&dir, INDEX_WAIT).await?;
    let after = fields.given("after");
    let after = after.as_deref();
    let named = visit.sight.clients().map(|one| (one.name.as_str(), one));
    let part = Part::of(named, after.as_ref(), PAGE);
    let mut rows = Vec::new();
    for (_, client) in &part.items {
        rows.push(row(&mut index, person, client).await?);
    }
    index.leave();
    let link = |after: &str| format!("/settings/clients?{}", text::query(&[("after", after)]));
    let nouns = ["client", "clients"];
    let links = Links::of(&part, after.is_some(), nouns, ToString::to_string, link);
    Ok(ClientsPage {
        layout: visit.layout("Clients", Section::Clients),
        may_add: !person.only_reads(),
        rows,
        links,
        name: fields.text("name").to_owned(),
        expires: fields.given("expires").unwrap_or_else(|| "90d".to_owned()),
        wrong,
    })
}

async fn row(index: &mut UsageIndex, person: &Person, client: &Client) -> Result<Row, Failure> {
    let (principal, name) = (client.principal.as_str(), client.name.as_str());
    let used = index.client(principal, name).await?;
    let may_remove =
        !person.only_reads() && (person.administers() || client.principal == *person.name());
    Ok(Row {
        name: name.to_owned(),
        href: format!("/settings/clients/{}", text::encoded(name)),
        principal: principal.to_owned(),
        bundle: client
            .bundle
            .as_ref()
            .map_or_else(String::new, |id| id.to_string()),
        added: When::at(client.created).html(),
        expires: client
            .expires
            .map_or_else(|| "never".to_owned(), |at| When::at(at).html()),
        last_seen: used
            .as_ref()
            .map_or_else(String::new, |used| When::of(used.last_seen).html()),
        last_action: used
            .as_ref()
            .map_or_else(String::new, |used| text::shown(&used.last_action)),
        uses: used.as_ref().map_or(0, |used| used.uses),
        refused: used.as_ref().map_or(0, |used| used.refused),
        may_remove,
    })
}

/// `POST /settings/clients`
pub(super) async fn add(
    State(context): State<AdminContext>,
    sent: Sent,
) -> Result<Response, Failure> {
    sent.demand_fresh("/settings/clients")?;
    let Sent { person, fields } = &sent;
    let mut wrong = Wrong::default();
    let name = ClientName::parse(fields.trimmed("name"));
    let name = name
        .map_err(|error| wrong.add("name", error.to_string()))
        .ok();
    let expires = when::future(fields.text("expires"));
    let expires = expires.map_err(|error| wrong.add("expires", error)).ok();
    let settings = context.settings();
    if let Some(expires) = expires
        && let Some(max) = settings.config.proxy.max_token_lifetime
    {
        let longest = i64::try_from(max.as_secs()).unwrap_or(i64::MAX);
        let latest = clock::unix_seconds().saturating_add(longest);
        if expires.is_none_or(|at| at > latest) {
            wrong.add(
                "expires",
                "It would work for longer than proxy.max_token_lifetime allows.",
            );
        }
    }
    if let (Some(name), Some(expires), true) = (name, expires, wrong.is_empty()) {
        let token = ClientToken::generate();
        let token = token.map_err(|_| AdminProblem::new(Trouble::Internal))?;
        let (actor, user) = (person.actor(), person.name());
        let proof = ClientProof::Token(token.hash());
        let registrar = context.registrar();
        let added = registrar.add_client(&actor, &name, user, proof, expires);
        match added.await {
            Ok(client) => {
                let page = TokenPage {
                    layout: Layout::new("New client", Section::Clients, person),
                    name: client.name.to_string(),
                    token: token.expose(),
                    proxy: settings.config.proxy.listen.to_string(),
                };
                return Ok(layout::page(&page));
            }
            Err(error @ StoreError::ClientExists(_)) => wrong.add("name", error.to_string()),
            Err(error) => return Err(error.into()),
        }
    }
    let visit = sent.again(&context).await?;
    Ok(layout::refused(
        &clients_page(&context, &visit, wrong).await?,
    ))
}

async fn asked(context: &AdminContext, person: &Person, name: &str) -> Result<Row, Failure> {
    let sight = person.look(context).await?;
    let name = ClientName::parse(name).map_err(|_| Failure::not_found())?;
    let client = sight.client(&name).ok_or_else(Failure::not_found)?;
    let dir = context.settings().config.ledger_dir();
    let mut index = UsageIndex::open_within(&dir, INDEX_WAIT).await?;
    let row = row(&mut index, person, client).await;
    index.leave();
    row
}

/// `GET /settings/clients/{name}/remove`
pub(super) async fn ask_remove(
    State(context): State<AdminContext>,
    person: Person,
    Path(name): Path<String>,
) -> Result<Response, Failure> {
    let row = asked(&context, &person, &name).await?;
    let page = RemovePage {
        layout: Layout::new(format!("Remove {name}"), Section::Clients, &person),
        name: row.name,
        href: row.href,
        principal: row.principal,
        last_seen: row.last_seen,
        last_action: row.last_action,
    };
    Ok(layout::page(&page))
}

/// `POST /settings/clients/{name}/remove`
pub(super) async fn remove(
    State(context): State<AdminContext>,
    person: Person,
    Path(name): Path<String>,
) -> Result<Response, Failure> {
    asked(&context, &person, &name).await?;
    let name = ClientName::parse(&name).map_err(|_| Failure::not_found())?;
    let registrar = context.registrar();
    registrar.remove_client(&person.actor(), &name).await?;
    Ok(Redirect::to("/settings/clients?done=client-removed").into_response())
}

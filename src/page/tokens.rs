//! Personal API tokens: programs that act for a user on the admin side.

use std::cmp::Reverse;

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
use crate::identity::PersonalToken;
use crate::vault::StoreError;
use crate::vault::access::{ApiToken, ApiTokenId, Scope};
use crate::vault::registrar::tokens::NewToken;

#[derive(Template)]
#[template(path = "tokens.html")]
struct TokensPage {
    layout: Layout,
    rows: Vec<Row>,
    links: Links,
    name: String,
    scope: String,
    expires: String,
    wrong: Wrong,
}

struct Row {
    path: String,
    name: String,
    id: String,
    user: String,
    is_own: bool,
    scope: &'static str,
    created: String,
    expires: String,
    is_over: bool,
    last_used: String,
}

/// A token, shown this once.
#[derive(Template)]
#[template(path = "new-token.html")]
struct NewTokenPage<'a> {
    layout: Layout,
    name: String,
    token: &'a str,
    example: String,
}

/// The question before a token is revoked.
#[derive(Template)]
#[template(path = "revoke-token.html")]
struct RevokePage {
    layout: Layout,
    row: Row,
}

/// `GET /settings/tokens`
pub(super) async fn show(
    State(context): State<AdminContext>,
    visit: Visit,
) -> Result<Response, Failure> {
    let page = tokens_page(&context, &visit, Wrong::default()).await?;
    Ok(layout::page(&page))
}

async fn tokens_page(
    context: &AdminContext,
    visit: &Visit,
    wrong: Wrong,
) -> Result<TokensPage, Failure> {
    let Visit { person, fields, .. } = visit;
    let only = (!visit.sight.sees_all()).then(|| person.name());
    let tokens = context.registrar().list_tokens(only).await?;
    let after = parse_place(fields.text("after"));
    let part = Part::of(
        tokens.iter().map(|one| (place(one), one)),
        after.as_ref(),
        PAGE,
    );
    let links = Links::of(
        &part,
        after.is_some(),
        ["token", "tokens"],
        |(Reverse(created), id)| format!("{created}/{id}"),
        |after| format!("/settings/tokens?{}", text::query(&[("after", after)])),
    );
    let scope = fields
        .given("scope")
        .unwrap_or_else(|| Scope::Read.to_string());
    Ok(TokensPage {
        layout: visit.layout("API tokens", Section::Tokens),
        rows: part.items.iter().map(|(_, one)| row(one, person)).collect(),
        links,
        name: fields.text("name").to_owned(),
        scope,
        expires: fields.given("expires").unwrap_or_else(|| "30d".to_owned()),
        wrong,
    })
}

/// Where a token is in the list: the latest is the first.
type Place<'a> = (Reverse<i64>, &'a str);

fn place(token: &ApiToken) -> Place<'_> {
    (Reverse(token.record.created), token.id.as_str())
}

fn parse_place(text: &str) -> Option<Place<'_>> {
    let (created, id) = text.split_once('/')?;
    Some((Reverse(created.parse().ok()?), id))
}

fn row(token: &ApiToken, person: &Person) -> Row {
    let record = &token.record;
    Row {
        path: format!("/settings/tokens/{}", token.id),
        name: text::shown(&record.name),
        id: token.id.to_string(),
        user: record.user.to_string(),
        is_own: record.user == *person.name(),
        scope: record.scope.as_str(),
        created: When::at(record.created).html(),
        expires: When::at(record.expires).html(),
        is_over: record.expires <= clock::unix_seconds(),
        last_used: token
            .used
            .map_or_else(String::new, |at| When::at(at).html()),
    }
}

/// `POST /settings/tokens`
pub(super) async fn add(
    State(context): State<AdminContext>,
    sent: Sent,
) -> Result<Response, Failure> {
    sent.demand_fresh("/settings/tokens")?;
    let Sent { person, fields } = &sent;
    let mut wrong = Wrong::default();
    let expires = when::future(fields.text("expires"));
    let expires = expires.map_err(|error| wrong.add("expires", error)).ok();
    if expires == Some(None) {
        wrong.add("expires", "A token ends within 366 days: say when.");
    }
    let scope: Option<Scope> = wrong.read_one("scope", fields.text("scope"));
    if let (Some(Some(expires)), Some(scope)) = (expires, scope) {
        let made = PersonalToken::generate().map_err(|_| AdminProblem::new(Trouble::Internal))?;
        let hash = made.token.hash();
        let new = NewToken {
            id: &made.id,
            hash: &hash,
            user: person.name(),
            name: fields.trimmed("name"),
            scope,
            expires,
        };
        match context.registrar().add_token(&person.actor(), &new).await {
            Ok(()) => return Ok(shown(&context, person, &new, made.token.expose())),
            Err(error @ StoreError::Invalid(_)) => wrong.add("name", error.to_string()),
            Err(error) => return Err(error.into()),
        }
    }
    let visit = sent.again(&context).await?;
    Ok(layout::refused(
        &tokens_page(&context, &visit, wrong).await?,
    ))
}

fn shown(context: &AdminContext, person: &Person, new: &NewToken<'_>, token: &str) -> Response {
    let settings = context.settings();
    let page = NewTokenPage {
        layout: Layout::new("New API token", Section::Tokens, person),
        name: text::shown(new.name),
        token,
        example: format!(
            "curl -H \"Authorization: Bearer $TOKEN\" {}/api/v1/me",
            settings.names.url()
        ),
    };
    layout::page(&page)
}

/// `GET /settings/tokens/{id}/revoke`
pub(super) async fn ask_revoke(
    State(context): State<AdminContext>,
    visit: Visit,
    Path(id): Path<String>,
) -> Result<Response, Failure> {
    let id = ApiTokenId::parse(&id).map_err(|_| Failure::not_found())?;
    let only = (!visit.sight.sees_all()).then(|| visit.person.name());
    let tokens = context.registrar().list_tokens(only).await?;
    let token = tokens.iter().find(|token| token.id == id);
    let token = token.ok_or_else(Failure::not_found)?;
    let page = RevokePage {
        layout: visit.layout("Revoke an API token", Section::Tokens),
        row: row(token, &visit.person),
    };
    Ok(layout::page(&page))
}

/// `POST /settings/tokens/{id}/revoke`
pub(super) async fn revoke(
    State(context): State<AdminContext>,
    person: Person,
    Path(id): Path<String>,
) -> Result<Response, Failure> {
    let id = ApiTokenId::parse(&id).map_err(|_| Failure::not_found())?;
    let registrar = context.registrar();
    registrar.remove_token(&person.actor(), &id).await?;
    Ok(Redirect::to("/settings/tokens?done=token-revoked").into_response())
}

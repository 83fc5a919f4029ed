//! Signing in at the identity provider.

use aws_lc_rs::digest;
use axum::Extension;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Redirect, Response};
use http::{HeaderMap, header};
use serde::Deserialize;

use super::forms::show_sign_in_problem;
use super::session::{NewCookie, own_path};
use crate::admin::caller::Cookie;
use crate::admin::context::{AdminContext, AdminSettings};
use crate::admin::cookie;
use crate::admin::guard::Asker;
use crate::admin::openid::{Answer, Person, Provider};
use crate::admin::problem::{AdminProblem, Trouble};
use crate::clock;
use crate::vault::access::account::Identity;
use crate::vault::registrar::accounts::Proof;
use crate::vault::{Actor, Principal, StoreError};

/// How changes by a sign-in at the provider are named in the ledger.
const INTERFACE: &str = "openid";

#[derive(Default, Deserialize)]
pub(super) struct Start {
    #[serde(default)]
    next: String,
    #[serde(default)]
    prove: bool,
}

/// `GET /signin/openid`: leads to the provider. It changes nothing here but what waits.
pub(super) async fn start(
    State(context): State<AdminContext>,
    Extension(asker): Extension<Asker>,
    query: Result<Query<Start>, QueryRejection>,
) -> Response {
    let start = query.map(|Query(start)| start).unwrap_or_default();
    let next = own_path(&start.next);
    match lead_away(&context, asker, next, start.prove).await {
        Ok(response) => response,
        Err(problem) => show_sign_in_problem(&context, next, &problem),
    }
}

async fn lead_away(
    context: &AdminContext,
    asker: Asker,
    next: &str,
    is_proof: bool,
) -> Result<Response, AdminProblem> {
    context.attempts().count(asker.address, None)?;
    let settings = context.settings();
    let started = provider(&settings)?.start(next, is_proof).await?;
    let mut response = Redirect::to(&started.url).into_response();
    if let Some(field) = cookie::set_openid(&settings.names, &started.browser) {
        response.headers_mut().append(header::SET_COOKIE, field);
    }
    Ok(response)
}

/// `GET /signin/openid/callback`: the browser comes back.
pub(super) async fn callback(
    State(context): State<AdminContext>,
    Cookie(before): Cookie,
    headers: HeaderMap,
    query: Result<Query<Answer>, QueryRejection>,
) -> Response {
    let answer = query.map(|Query(answer)| answer).unwrap_or_default();
    let settings = context.settings();
    let mut response = match come_back(&settings, &headers, &answer).await {
        Ok(response) => {
            if let Some(before) = before {
                // A session that cannot be ended now ends by itself.
                let _ = settings.registrar.end_session(&before).await;
            }
            response
        }
        Err(problem) => show_sign_in_problem(&context, "/", &problem),
    };
    if let Some(field) = cookie::remove_openid(&settings.names) {
        response.headers_mut().append(header::SET_COOKIE, field);
    }
    response
}

async fn come_back(
    settings: &AdminSettings,
    headers: &HeaderMap,
    answer: &Answer,
) -> Result<Response, AdminProblem> {
    let browser = cookie::value(headers, &settings.names.openid_cookie()).unwrap_or_default();
    let person = provider(settings)?.finish(answer, browser).await?;
    let user = user_of(settings, &person).await?;
    if let Some(groups) = &person.groups {
        let max_age = provider(settings)?.config().groups_max_age.as_secs();
        let until = clock::unix_seconds().saturating_add_unsigned(max_age);
        let server = Actor::server(INTERFACE);
        settings
            .registrar
            .map_groups(&server, &user, groups, until)
            .await?;
    }
    let cookie = NewCookie::generate()?;
    let proof = Proof::OpenId {
        proved: person.proved,
    };
    let session = cookie.beginning(settings);
    let actor = Actor::user(INTERFACE, &user);
    let begun = settings
        .registrar
        .begin_session(&actor, &user, proof, session);
    match begun.await {
        Ok(()) => Ok(cookie.lead_to(settings, own_path(&person.next))),
        Err(StoreError::Forbidden(_)) => Err(AdminProblem::because(
            Trouble::SignInFailed,
            "This user is disabled.",
        )),
        Err(error) => Err(error.into()),
    }
}

fn provider(settings: &AdminSettings) -> Result<&Provider, AdminProblem> {
    let provider = settings.provider.as_ref();
    provider.ok_or_else(|| AdminProblem::new(Trouble::NotFound))
}

/// Who a person is here. Somebody who signs in for the first time becomes a user whose name nobody has:
/// a name that somebody has is never taken over.
async fn user_of(settings: &AdminSettings, person: &Person) -> Result<Principal, AdminProblem> {
    let registrar = &settings.registrar;
    let id = identity_id(&person.issuer, &person.subject);
    if let Some(known) = registrar.identity(&id).await? {
        return Ok(known.user);
    }
    let config = provider(settings)?.config();
    if !config.create_users {
        return Err(AdminProblem::because(
            Trouble::SignInFailed,
            "Nobody here is linked to you yet. The operator does that with `egret user link`.",
        ));
    }
    let name = person.name.as_deref().unwrap_or_default();
    let user = Principal::parse(&name.to_ascii_lowercase()).map_err(|error| {
        AdminProblem::because(
            Trouble::SignInFailed,
            format!(
                "The claim `{}` names no possible user: {error}. The operator can link you to a user \
                 with `egret user link`.",
                config.user_claim
            ),
        )
    })?;
    let identity = Identity {
        issuer: person.issuer.clone(),
        subject: person.subject.clone(),
        user: user.clone(),
        created: clock::unix_seconds(),
    };
    let server = Actor::server(INTERFACE);
    match registrar.put_identity(&server, &id, &identity, true).await {
        Ok(()) => Ok(user),
        Err(StoreError::UserExists(user)) => Err(AdminProblem::because(
            Trouble::SignInFailed,
            format!(
                "There is a user {user} already. If that is you, the operator links you with `egret \
                 user link {user}`."
            ),
        )),
        Err(error) => Err(error.into()),
    }
}

/// Under what an identity is stored. Neither part can hold the byte between them.
pub fn identity_id(issuer: &str, subject: &str) -> String {
    let text = [issuer.as_bytes(), b"\0", subject.as_bytes()].concat();
    let hash = digest::digest(&digest::SHA256, &text);
    hash.as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

//! The handlers of the forms.

use std::net::IpAddr;

use axum::Extension;
use axum::extract::rejection::{FormRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::response::{Html, IntoResponse, Redirect, Response};
use http::header;
use serde::Deserialize;

use super::session::{NewCookie, own_path};
use crate::admin::caller::{Caller, Cookie, How};
use crate::admin::context::AdminContext;
use crate::admin::cookie;
use crate::admin::guard::Asker;
use crate::admin::looks::{Form, FormKind};
use crate::admin::passwords;
use crate::admin::problem::{AdminProblem, Trouble};
use crate::clock;
use crate::identity::{Purpose, hash_of};
use crate::vault::access::{LinkId, Method};
use crate::vault::registrar::accounts::{Claim, Proof};
use crate::vault::{Actor, Principal, StoreError};

/// How changes by these forms are named in the ledger.
const INTERFACE: &str = "page";

/// What a form sent, or that it could not be read. The reason of the library quotes what was typed.
type Sent<T> = Result<axum::Form<T>, FormRejection>;

fn read<T>(sent: Sent<T>) -> Result<T, AdminProblem> {
    let malformed = || AdminProblem::because(Trouble::Malformed, "The form cannot be read.");
    sent.map(|axum::Form(form)| form).map_err(|_| malformed())
}

#[derive(Default, Deserialize)]
pub(super) struct Onward {
    #[serde(default)]
    next: String,
}

#[derive(Deserialize)]
pub(super) struct SignIn {
    user: String,
    password: String,
    #[serde(default)]
    next: String,
}

#[derive(Deserialize)]
pub(super) struct ClaimFields {
    token: String,
    user: String,
    #[serde(default)]
    display_name: String,
    password: String,
    again: String,
}

#[derive(Default, Deserialize)]
pub(super) struct SignOut {
    #[serde(default)]
    everywhere: bool,
}

#[derive(Deserialize)]
pub(super) struct Prove {
    password: String,
    #[serde(default)]
    next: String,
}

#[derive(Deserialize)]
pub(super) struct Change {
    current: String,
    password: String,
    again: String,
}

/// `GET /signin`
pub(super) async fn show_sign_in(
    State(context): State<AdminContext>,
    caller: Option<Caller>,
    query: Result<Query<Onward>, QueryRejection>,
) -> Response {
    let onward = query.map(|Query(onward)| onward).unwrap_or_default();
    let next = own_path(&onward.next);
    match caller {
        Some(_) => Redirect::to(next).into_response(),
        None => {
            let form = sign_in_form(&context, "");
            show(&context, form, next, None)
        }
    }
}

/// `POST /signin`
pub(super) async fn sign_in(
    State(context): State<AdminContext>,
    Extension(asker): Extension<Asker>,
    Cookie(before): Cookie,
    sent: Sent<SignIn>,
) -> Result<Response, AdminProblem> {
    let sent = read(sent)?;
    let next = own_path(&sent.next);
    let user = sent.user.trim().to_ascii_lowercase();
    let cookie = NewCookie::generate()?;
    let signed_in = begin(&context, asker.address, &user, sent.password, &cookie).await;
    match signed_in {
        Ok(()) => {
            let settings = context.settings();
            // The browser forgets it, and so does the server.
            if let Some(before) = before {
                settings.registrar.end_session(&before).await?;
            }
            Ok(cookie.lead_to(&settings, next))
        }
        Err(problem) => {
            let form = sign_in_form(&context, &user);
            Ok(show(&context, form, next, Some(&problem)))
        }
    }
}

fn sign_in_form<'a>(context: &AdminContext, user: &'a str) -> FormKind<'a> {
    let openid = context.settings().provider.is_some();
    FormKind::SignIn { user, openid }
}

/// The form of signing in, with what is wrong: whatever it is, a local account can sign in.
pub(super) fn show_sign_in_problem(
    context: &AdminContext,
    next: &str,
    problem: &AdminProblem,
) -> Response {
    show(context, sign_in_form(context, ""), next, Some(problem))
}

/// Begins a session with a password. Whatever is wrong about name or password is answered alike.
async fn begin(
    context: &AdminContext,
    address: IpAddr,
    user: &str,
    password: String,
    cookie: &NewCookie,
) -> Result<(), AdminProblem> {
    context.attempts().count(address, Some(user))?;
    let settings = context.settings();
    let registrar = &settings.registrar;
    let name = Principal::parse(user).ok();
    let found = match &name {
        Some(name) => registrar.account(name).await?,
        None => None,
    };
    let hash = found
        .filter(|(user, _)| !user.disabled)
        .and_then(|(_, account)| account?.password);
    let is_right = context.passwords().matches(password, hash.as_deref());
    if let (true, Some(name), Some(hash)) = (is_right.await?, name, hash) {
        let actor = Actor::user(INTERFACE, &name);
        let proof = Proof::Password(&hash);
        let session = cookie.beginning(&settings);
        match registrar.begin_session(&actor, &name, proof, session).await {
            // The password, or the user, was changed since it was compared.
            Err(StoreError::Forbidden(_) | StoreError::UserNotFound(_)) => {}
            other => return Ok(other?),
        }
    }
    // The name is not logged: people type their password into the wrong field.
    tracing::warn!(%address, "a sign-in with a password failed");
    Err(AdminProblem::because(
        Trouble::SignInFailed,
        "The name or the password is wrong.",
    ))
}

/// `GET /signin/link/{token}`: looks at the link, and does not use it up. Programs that look at links
/// in messages would otherwise do that.
pub(super) async fn show_claim(
    State(context): State<AdminContext>,
    Extension(asker): Extension<Asker>,
    Path(token): Path<String>,
) -> Result<Response, AdminProblem> {
    context.attempts().count(asker.address, None)?;
    let Some(id) = link_of(&context, &token).await? else {
        return Ok(over(&context));
    };
    let form = FormKind::Claim {
        token: &token,
        fixed: id.user(),
        user: "",
        display_name: "",
    };
    Ok(show(&context, form, "/", None))
}

/// `POST /signin/link`
pub(super) async fn claim(
    State(context): State<AdminContext>,
    Extension(asker): Extension<Asker>,
    sent: Sent<ClaimFields>,
) -> Result<Response, AdminProblem> {
    let sent = read(sent)?;
    context.attempts().count(asker.address, None)?;
    let Some(id) = link_of(&context, &sent.token).await? else {
        return Ok(over(&context));
    };
    match use_up(&context, &id, &sent).await {
        Ok(response) => Ok(response),
        Err(problem) if problem.trouble == Trouble::LinkOver => Ok(over(&context)),
        Err(problem) => {
            let form = FormKind::Claim {
                token: &sent.token,
                fixed: id.user(),
                user: &sent.user,
                display_name: &sent.display_name,
            };
            Ok(show(&context, form, "/", Some(&problem)))
        }
    }
}

async fn use_up(
    context: &AdminContext,
    id: &LinkId,
    sent: &ClaimFields,
) -> Result<Response, AdminProblem> {
    let user = match id.user() {
        Some(user) => user.clone(),
        None => Principal::parse(sent.user.trim())
            .map_err(|error| AdminProblem::field("user", error.to_string()))?,
    };
    let password = chosen(&sent.password, &sent.again, &user)?;
    let hash = hash_of(&sent.token, Purpose::Link);
    let hash = hash.ok_or_else(|| AdminProblem::new(Trouble::LinkOver))?;
    let password = context.passwords().hash(password).await?;
    let settings = context.settings();
    let cookie = NewCookie::generate()?;
    let claim = Claim {
        link: id,
        hash: &hash,
        user: &user,
        display_name: sent.display_name.trim(),
        password: &password,
        session: cookie.beginning(&settings),
    };
    let actor = Actor::user(INTERFACE, &user);
    settings.registrar.claim(&actor, &claim).await?;
    Ok(cookie.lead_to(&settings, "/"))
}

async fn link_of(context: &AdminContext, token: &str) -> Result<Option<LinkId>, AdminProblem> {
    let Some(hash) = hash_of(token, Purpose::Link) else {
        return Ok(None);
    };
    let now = clock::unix_seconds();
    Ok(context.registrar().link(&hash, now).await?)
}

fn over(context: &AdminContext) -> Response {
    let problem = AdminProblem::from(StoreError::LinkOver);
    show(context, FormKind::LinkOver, "/", Some(&problem))
}

/// `POST /signout`. Without a session it succeeds as well.
pub(super) async fn sign_out(
    State(context): State<AdminContext>,
    caller: Option<Caller>,
    Cookie(presented): Cookie,
    sent: Sent<SignOut>,
) -> Result<Response, AdminProblem> {
    let sent = read(sent).unwrap_or_default();
    let settings = context.settings();
    if let Some(hash) = presented {
        settings.registrar.end_session(&hash).await?;
    }
    if let Some(caller) = caller.filter(|_| sent.everywhere) {
        let actor = caller.actor();
        settings
            .registrar
            .end_sessions(&actor, &caller.user)
            .await?;
    }
    let mut response = Redirect::to("/signin").into_response();
    if let Some(field) = cookie::remove(&settings.names) {
        response.headers_mut().append(header::SET_COOKIE, field);
    }
    Ok(response)
}

/// `GET /reauthenticate`
pub(super) async fn show_prove(
    State(context): State<AdminContext>,
    caller: Option<Caller>,
    query: Result<Query<Onward>, QueryRejection>,
) -> Response {
    let onward = query.map(|Query(onward)| onward).unwrap_or_default();
    let next = own_path(&onward.next);
    match caller {
        Some(caller) if is_by_openid(&caller) => {
            let next: String = form_urlencoded::byte_serialize(next.as_bytes()).collect();
            Redirect::to(&format!("/signin/openid?prove=true&next={next}")).into_response()
        }
        Some(caller) => {
            let form = FormKind::Prove { user: &caller.user };
            show(&context, form, next, None)
        }
        None => Redirect::to("/signin").into_response(),
    }
}

fn is_by_openid(caller: &Caller) -> bool {
    matches!(&caller.how, How::Session { session, .. } if session.method == Method::OpenId)
}

/// `POST /reauthenticate`
pub(super) async fn prove(
    State(context): State<AdminContext>,
    Extension(asker): Extension<Asker>,
    caller: Caller,
    sent: Sent<Prove>,
) -> Result<Response, AdminProblem> {
    let sent = read(sent)?;
    let next = own_path(&sent.next);
    let How::Session { hash, mut session } = caller.how.clone() else {
        return Err(AdminProblem::new(Trouble::Forbidden));
    };
    match compare(&context, asker.address, &caller.user, sent.password).await {
        Ok(_) => {
            session.proved = clock::unix_seconds();
            context.registrar().keep_session(&hash, &session).await?;
            Ok(Redirect::to(next).into_response())
        }
        Err(problem) => {
            let form = FormKind::Prove { user: &caller.user };
            Ok(show(&context, form, next, Some(&problem)))
        }
    }
}

/// `GET /account/password`
pub(super) async fn show_password(
    State(context): State<AdminContext>,
    caller: Option<Caller>,
) -> Response {
    match caller {
        Some(caller) => {
            let form = FormKind::Password { user: &caller.user };
            show(&context, form, "/", None)
        }
        None => Redirect::to("/signin").into_response(),
    }
}

/// `POST /account/password`. Every other session ends.
pub(super) async fn change_password(
    State(context): State<AdminContext>,
    Extension(asker): Extension<Asker>,
    caller: Caller,
    sent: Sent<Change>,
) -> Result<Response, AdminProblem> {
    let sent = read(sent)?;
    if !matches!(caller.how, How::Session { .. }) {
        return Err(AdminProblem::new(Trouble::Forbidden));
    }
    match exchange(&context, asker.address, &caller, sent).await {
        Ok(response) => Ok(response),
        Err(problem) => {
            let form = FormKind::Password { user: &caller.user };
            Ok(show(&context, form, "/", Some(&problem)))
        }
    }
}

async fn exchange(
    context: &AdminContext,
    address: IpAddr,
    caller: &Caller,
    sent: Change,
) -> Result<Response, AdminProblem> {
    let password = chosen(&sent.password, &sent.again, &caller.user)?;
    let old = compare(context, address, &caller.user, sent.current).await?;
    let new = context.passwords().hash(password).await?;
    let settings = context.settings();
    let cookie = NewCookie::generate()?;
    let session = cookie.beginning(&settings);
    settings
        .registrar
        .change_password(&caller.actor(), &caller.user, &old, &new, session)
        .await?;
    Ok(cookie.lead_to(&settings, "/"))
}

/// The hash of the user's password, if this is the password.
async fn compare(
    context: &AdminContext,
    address: IpAddr,
    user: &Principal,
    password: String,
) -> Result<String, AdminProblem> {
    context.attempts().count(address, Some(user.as_str()))?;
    let found = context.registrar().account(user).await?;
    let hash = found.and_then(|(_, account)| account?.password);
    let is_right = context.passwords().matches(password, hash.as_deref());
    match hash {
        Some(hash) if is_right.await? => Ok(hash),
        _ => Err(AdminProblem::because(
            Trouble::SignInFailed,
            "The password is wrong.",
        )),
    }
}

fn chosen(password: &str, again: &str, user: &Principal) -> Result<String, AdminProblem> {
    passwords::check(password, user.as_str())?;
    if password != again {
        return Err(AdminProblem::field("again", "the two are not the same"));
    }
    Ok(password.to_owned())
}

/// A form as it is shown, with the status of its problem.
fn show(
    context: &AdminContext,
    kind: FormKind<'_>,
    next: &str,
    problem: Option<&AdminProblem>,
) -> Response {
    let form = Form {
        kind,
        problem,
        next,
    };
    let mut response = Html(context.looks().form(&form)).into_response();
    if let Some(problem) = problem {
        *response.status_mut() = problem.trouble.status();
        if let Some(seconds) = problem.retry_after {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, seconds.into());
        }
    }
    response
}

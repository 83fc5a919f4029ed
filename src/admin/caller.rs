//! Who asks.

use std::convert::Infallible;

use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use http::request::Parts;
use http::{HeaderMap, header};

use super::context::{AdminContext, AdminSettings};
use super::cookie;
use super::guard::Asker;
use super::problem::{AdminProblem, Trouble};
use crate::clock;
use crate::identity::{Purpose, hash_of, personal};
use crate::vault::access::session::SEEN_INTERVAL;
use crate::vault::access::{ApiTokenId, Scope, SecretHash, Session};
use crate::vault::people::Role;
use crate::vault::{Actor, Principal};

/// Who asks, as an extractor of axum. A request without somebody who is known is answered with 401.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The user.
    pub user: Principal,
    /// The name for people.
    pub display_name: String,
    /// What the user may do.
    pub role: Role,
    /// What of it this request may do.
    pub scope: Scope,
    /// How that is known.
    pub how: How,
}

/// How it is known who asks.
#[derive(Clone, Debug)]
pub enum How {
    /// By the cookie of a browser that was signed in.
    Session {
        /// The hash of the cookie.
        hash: SecretHash,
        /// The session.
        session: Session,
    },
    /// By a personal API token.
    Token(ApiTokenId),
}

impl Caller {
    /// For the ledger, and for the rights that are checked in the transaction of a change.
    pub fn actor(&self) -> Actor {
        let interface = match self.how {
            How::Session { .. } => "page",
            How::Token(_) => "api",
        };
        Actor::user(interface, &self.user)
    }

    /// Whether the caller proved to be the user within the last five minutes. A token that may change
    /// things was made by somebody who had.
    pub fn fresh(&self) -> bool {
        match &self.how {
            How::Session { session, .. } => session.is_fresh(clock::unix_seconds()),
            How::Token(_) => self.scope == Scope::Manage,
        }
    }

    /// Whether the session or the token with which this began still works. It is not used by that: a
    /// stream keeps no session alive.
    pub async fn is_still_known(&self, context: &AdminContext) -> bool {
        let settings = context.settings();
        let now = clock::unix_seconds();
        match &self.how {
            How::Session { hash, .. } => {
                let found = settings.registrar.session(hash).await;
                found.ok().flatten().is_some_and(|found| {
                    !found.user.disabled
                        && found.session.began >= found.account.sessions_after
                        && found.session.is_usable(now, settings.sessions)
                })
            }
            How::Token(id) => {
                let found = settings.registrar.token(id).await;
                found
                    .ok()
                    .flatten()
                    .is_some_and(|(token, user)| !user.disabled && token.record.is_usable(now))
            }
        }
    }

    /// Demands what [`Caller::fresh`] says: for what changes who may do what.
    pub fn demand_fresh(&self) -> Result<(), AdminProblem> {
        if self.fresh() {
            return Ok(());
        }
        Err(AdminProblem::because(
            Trouble::NotFresh,
            "Sign in again: this needs proof, not older than five minutes, that it is you.",
        ))
    }

    /// Demands a session that is fresh. No token makes another token, which would outlive it.
    pub fn demand_person(&self) -> Result<(), AdminProblem> {
        match self.how {
            How::Session { .. } => self.demand_fresh(),
            How::Token(_) => Err(AdminProblem::because(
                Trouble::Forbidden,
                "This cannot be done with a token. Sign in on the page.",
            )),
        }
    }

    /// Demands that the request may do this.
    pub fn demand(&self, scope: Scope) -> Result<(), AdminProblem> {
        if self.scope >= scope {
            return Ok(());
        }
        Err(AdminProblem::because(
            Trouble::ScopeInsufficient,
            format!("This needs a token with the scope `{scope}`."),
        ))
    }
}

impl FromRequestParts<AdminContext> for Caller {
    type Rejection = AdminProblem;

    async fn from_request_parts(
        parts: &mut Parts,
        context: &AdminContext,
    ) -> Result<Self, AdminProblem> {
        let known = known(parts, context).await?;
        known.ok_or_else(|| AdminProblem::new(Trouble::Unauthenticated))
    }
}

impl OptionalFromRequestParts<AdminContext> for Caller {
    type Rejection = AdminProblem;

    async fn from_request_parts(
        parts: &mut Parts,
        context: &AdminContext,
    ) -> Result<Option<Self>, AdminProblem> {
        known(parts, context).await
    }
}

/// What a request presents beside a caller: the hash of its cookie, whether or not it is known.
pub(super) struct Cookie(pub(super) Option<SecretHash>);

impl FromRequestParts<AdminContext> for Cookie {
    type Rejection = Infallible;

    async fn from_request_parts(
        parts: &mut Parts,
        context: &AdminContext,
    ) -> Result<Self, Infallible> {
        let settings = context.settings();
        Ok(Self(session_cookie(&parts.headers, &settings)))
    }
}

async fn known(parts: &Parts, context: &AdminContext) -> Result<Option<Caller>, AdminProblem> {
    let settings = context.settings();
    let mut fields = parts.headers.get_all(header::AUTHORIZATION).iter();
    if let Some(field) = fields.next() {
        if fields.next().is_some() {
            // Another program on the way may have looked at the other one.
            let detail = "The request has more than one Authorization field.";
            return Err(AdminProblem::because(Trouble::Malformed, detail));
        }
        let token = field.to_str().ok().and_then(bearer);
        return match token {
            Some(token) => by_token(&settings, token).await,
            None => Ok(None),
        };
    }
    let is_page = parts
        .extensions
        .get::<Asker>()
        .is_some_and(|asker| asker.is_page);
    match session_cookie(&parts.headers, &settings).filter(|_| is_page) {
        Some(hash) => by_session(&settings, hash).await,
        None => Ok(None),
    }
}

fn bearer(field: &str) -> Option<&str> {
    let (scheme, token) = field.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| token.trim_start())
}

/// The hash of the cookie of this listener.
fn session_cookie(headers: &HeaderMap, settings: &AdminSettings) -> Option<SecretHash> {
    let name = settings.names.cookie();
    let value = cookie::value(headers, &name)?;
    hash_of(value, Purpose::Session)
}

async fn by_session(
    settings: &AdminSettings,
    hash: SecretHash,
) -> Result<Option<Caller>, AdminProblem> {
    let Some(found) = settings.registrar.session(&hash).await? else {
        return Ok(None);
    };
    let now = clock::unix_seconds();
    let mut session = found.session;
    let is_over = found.user.disabled
        || session.began < found.account.sessions_after
        || !session.is_usable(now, settings.sessions);
    if is_over {
        settings.registrar.end_session(&hash).await?;
        return Ok(None);
    }
    if now >= session.seen.saturating_add(SEEN_INTERVAL) {
        session.seen = now;
        settings.registrar.keep_session(&hash, &session).await?;
    }
    Ok(Some(Caller {
        user: session.user.clone(),
        display_name: found.user.display_name,
        role: found.user.role,
        scope: Scope::Manage,
        how: How::Session { hash, session },
    }))
}

async fn by_token(settings: &AdminSettings, text: &str) -> Result<Option<Caller>, AdminProblem> {
    let Some((id, hash)) = personal(text) else {
        return Ok(None);
    };
    let Ok(id) = ApiTokenId::parse(id) else {
        return Ok(None);
    };
    let Some((token, user)) = settings.registrar.token(&id).await? else {
        return Ok(None);
    };
    let now = clock::unix_seconds();
    if user.disabled || !token.record.matches(&hash, now) {
        return Ok(None);
    }
    if token
        .used
        .is_none_or(|used| now >= used.saturating_add(SEEN_INTERVAL))
    {
        settings.registrar.note_token_use(&id, now).await?;
    }
    Ok(Some(Caller {
        user: token.record.user,
        display_name: user.display_name,
        role: user.role,
        scope: token.record.scope,
        how: How::Token(id),
    }))
}

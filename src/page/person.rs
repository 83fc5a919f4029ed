//! The person at the browser.

use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use http::request::Parts;
use http::{Method, header};

use super::failure::Failure;
use crate::admin::caller::How;
use crate::admin::{AdminContext, Caller};
use crate::vault::people::Role;
use crate::vault::{Actor, Principal, Sight};

/// Someone who is signed in with a browser. Anybody else is led to the form for it, and from there to
/// the page that was asked for.
#[derive(Clone, Debug)]
pub(super) struct Person {
    pub(super) caller: Caller,
}

impl Person {
    /// The user.
    pub(super) fn name(&self) -> &Principal {
        &self.caller.user
    }

    /// For changes.
    pub(super) fn actor(&self) -> Actor {
        self.caller.actor()
    }

    /// Whether the user may change users and groups.
    pub(super) fn administers(&self) -> bool {
        self.caller.role == Role::Administrator
    }

    /// Whether the user changes nothing.
    pub(super) fn only_reads(&self) -> bool {
        self.caller.role == Role::Auditor
    }

    /// Demands proof, not older than a few minutes, that it is the user, for what changes who may use
    /// what. It leads back to `next`.
    pub(super) fn demand_fresh(&self, next: &str) -> Result<(), Failure> {
        if self.caller.fresh() {
            return Ok(());
        }
        Err(Failure::prove(next))
    }

    /// What the user may know of.
    pub(super) async fn look(&self, context: &AdminContext) -> Result<Sight, Failure> {
        Ok(context.services().reader.look(self.name()).await?)
    }
}

/// A caller with a session. A token is for programs, which have the API.
fn of_session(caller: Caller) -> Option<Person> {
    matches!(caller.how, How::Session { .. }).then_some(Person { caller })
}

/// The path and query of the page that had the form. A form cannot be sent again by itself.
pub(super) fn form_of(parts: &Parts) -> Option<String> {
    let page = parts.headers.get(header::REFERER)?.to_str().ok()?;
    let (_, rest) = page.split_once("://")?;
    rest.find('/').map(|at| shown_at(&rest[at..]))
}

/// Where a form is shown. One that is shown again with what is wrong has the address that it was sent to,
/// and not every one of these can be opened.
fn shown_at(page: &str) -> String {
    let path = page.split('?').next().unwrap_or_default();
    if path.starts_with("/settings/people/") {
        return "/settings/people".to_owned();
    }
    let of_request = || path.strip_prefix("/requests/")?.strip_suffix("/save");
    if let Some(number) = of_request() {
        return format!("/requests/{number}");
    }
    // `/settings/credentials/{owner}/{slug}/test`: a slug can be `test`, too.
    match path.strip_suffix("/test") {
        Some(credential) if credential.matches('/').count() == 4 => format!("{credential}/start"),
        _ => page.to_owned(),
    }
}

impl FromRequestParts<AdminContext> for Person {
    type Rejection = Failure;

    async fn from_request_parts(
        parts: &mut Parts,
        context: &AdminContext,
    ) -> Result<Self, Failure> {
        let known =
            <Self as OptionalFromRequestParts<AdminContext>>::from_request_parts(parts, context);
        if let Some(person) = known.await? {
            return Ok(person);
        }
        let next = if parts.method == Method::GET {
            let path = parts.uri.path_and_query();
            path.map_or("/", |path| path.as_str())
        } else {
            &form_of(parts).unwrap_or_else(|| "/".to_owned())
        };
        Err(Failure::sign_in(next))
    }
}

impl OptionalFromRequestParts<AdminContext> for Person {
    type Rejection = Failure;

    async fn from_request_parts(
        parts: &mut Parts,
        context: &AdminContext,
    ) -> Result<Option<Self>, Failure> {
        let caller =
            <Caller as OptionalFromRequestParts<AdminContext>>::from_request_parts(parts, context);
        Ok(caller.await?.and_then(of_session))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_leads_back_to_its_page() {
        let of = |referer: &str| {
            let request = http::Request::post("/settings/people/users").header("referer", referer);
            let (parts, ()) = request.body(()).unwrap().into_parts();
            form_of(&parts)
        };
        let page = of("http://egret.localhost:7071/settings/people?done=user-added");
        assert_eq!(page.as_deref(), Some("/settings/people?done=user-added"));
        for (sent_to, shown) in [
            ("/settings/people/bundles/alice/work", "/settings/people"),
            ("/requests/7/save", "/requests/7"),
            (
                "/settings/credentials/alice/gh/test",
                "/settings/credentials/alice/gh/start",
            ),
            (
                "/settings/credentials/alice/test",
                "/settings/credentials/alice/test",
            ),
            ("/settings/rules?hosts=a", "/settings/rules?hosts=a"),
        ] {
            let page = of(&format!("http://egret.localhost:7071{sent_to}"));
            assert_eq!(page.as_deref(), Some(shown));
        }
        assert_eq!(of("http://egret.localhost:7071"), None);
        assert_eq!(of("about:blank"), None);
    }
}

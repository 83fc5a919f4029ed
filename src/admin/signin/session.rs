//! The session that a success begins.

use axum::response::{IntoResponse, Redirect, Response};
use http::header;

use crate::admin::context::AdminSettings;
use crate::admin::cookie;
use crate::admin::problem::{AdminProblem, Trouble};
use crate::identity::{Bearer, Purpose};
use crate::vault::access::SecretHash;
use crate::vault::registrar::accounts::Beginning;

/// The cookie of a session that is to begin.
pub(super) struct NewCookie {
    token: Bearer,
    hash: SecretHash,
}

impl NewCookie {
    pub(super) fn generate() -> Result<Self, AdminProblem> {
        let token = Bearer::generate(Purpose::Session);
        let token = token.map_err(|_| AdminProblem::new(Trouble::Internal))?;
        let hash = token.hash();
        Ok(Self { token, hash })
    }

    /// The session of this cookie.
    pub(super) fn beginning(&self, settings: &AdminSettings) -> Beginning<'_> {
        Beginning {
            hash: &self.hash,
            limits: settings.sessions,
        }
    }

    /// The answer that sets the cookie and leads on.
    pub(super) fn lead_to(&self, settings: &AdminSettings, next: &str) -> Response {
        let seconds = settings.sessions.lifetime.as_secs();
        let mut response = Redirect::to(next).into_response();
        if let Some(field) = cookie::set(&settings.names, self.token.expose(), seconds) {
            response.headers_mut().append(header::SET_COOKIE, field);
        }
        response
    }
}

/// The path to lead on to. Only one of this listener, or the form would lead to any site.
pub(super) fn own_path(next: &str) -> &str {
    let is_own = next.starts_with('/')
        && !next.starts_with("//")
        && next
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    if is_own { next } else { "/" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_success_leads_to_a_path_of_this_listener() {
        for own in ["/", "/credentials?owner=alice#x"] {
            assert_eq!(own_path(own), own);
        }
        for other in [
            "",
            "https://evil.example",
            "//evil.example",
            "/\\evil.example",
            "/a\nb",
            "javascript:1",
        ] {
            assert_eq!(own_path(other), "/", "{other}");
        }
    }
}

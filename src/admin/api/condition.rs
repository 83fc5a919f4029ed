//! `ETag`, `If-Match` and `If-None-Match` (RFC 9110 section 13): a change is made to what its maker
//! saw, or not at all.

use axum::extract::FromRequestParts;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::admin::context::AdminContext;
use crate::admin::problem::{AdminProblem, Trouble};
use crate::vault::store::{Condition, ObjectName};

/// The entity tag of an object with this revision.
pub fn etag(revision: i64) -> HeaderValue {
    // Digits and quotes are a value of a field.
    HeaderValue::from_str(&format!("\"r{revision}\"")).unwrap_or(HeaderValue::from_static("\"\""))
}

/// What the maker of a change saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IfMatch {
    /// Whatever is there.
    Any,
    /// One of these revisions.
    Revisions(Vec<i64>),
}

impl IfMatch {
    fn parse(text: &str) -> Self {
        if text.trim() == "*" {
            return Self::Any;
        }
        // A weak tag never matches (section 13.1.1), nor does one that is not ours.
        let revision = |tag: &str| {
            let tag = tag.trim().strip_prefix("\"r")?.strip_suffix('"')?;
            tag.parse().ok()
        };
        Self::Revisions(text.split(',').filter_map(revision).collect())
    }

    /// What has to hold when the change is made, of an object that has this revision now.
    ///
    /// # Errors
    /// When it does not hold now.
    pub fn condition(
        &self,
        object: ObjectName,
        revision: i64,
    ) -> Result<Option<Condition>, AdminProblem> {
        match self {
            Self::Any => Ok(None),
            Self::Revisions(seen) if seen.contains(&revision) => {
                Ok(Some(Condition { object, revision }))
            }
            Self::Revisions(_) => Err(changed()),
        }
    }
}

/// It is not as the maker of the change saw it.
pub fn changed() -> AdminProblem {
    AdminProblem::because(
        Trouble::PreconditionFailed,
        "It is not as you saw it. Look at it again, then change it with its ETag in If-Match.",
    )
}

impl FromRequestParts<AdminContext> for IfMatch {
    type Rejection = AdminProblem;

    async fn from_request_parts(parts: &mut Parts, _: &AdminContext) -> Result<Self, AdminProblem> {
        match field(&parts.headers, header::IF_MATCH) {
            Some(text) => Ok(Self::parse(&text)),
            None => Err(AdminProblem::because(
                Trouble::PreconditionRequired,
                "Send the ETag of what you saw in If-Match, or If-Match: * for whatever is there.",
            )),
        }
    }
}

/// `If-Match` of a change to the whole store, which may do without.
pub struct IfStore(Option<IfMatch>);

impl IfStore {
    /// Whether the store, which has this revision now, is as the maker of the change saw it.
    ///
    /// # Errors
    /// When it is not.
    pub fn check(&self, revision: i64) -> Result<(), AdminProblem> {
        match &self.0 {
            Some(IfMatch::Revisions(seen)) if !seen.contains(&revision) => Err(changed()),
            _ => Ok(()),
        }
    }
}

impl FromRequestParts<AdminContext> for IfStore {
    type Rejection = AdminProblem;

    async fn from_request_parts(parts: &mut Parts, _: &AdminContext) -> Result<Self, AdminProblem> {
        let text = field(&parts.headers, header::IF_MATCH);
        Ok(Self(text.as_deref().map(IfMatch::parse)))
    }
}

/// `If-None-Match: *`: the request makes something that is not there yet.
pub struct IfNew;

impl FromRequestParts<AdminContext> for IfNew {
    type Rejection = AdminProblem;

    async fn from_request_parts(parts: &mut Parts, _: &AdminContext) -> Result<Self, AdminProblem> {
        match field(&parts.headers, header::IF_NONE_MATCH).as_deref() {
            Some("*") => Ok(Self),
            _ => Err(AdminProblem::because(
                Trouble::PreconditionRequired,
                "This makes something new. Send If-None-Match: *.",
            )),
        }
    }
}

/// The lines of a list field as one.
fn field(headers: &HeaderMap, name: HeaderName) -> Option<String> {
    let lines = headers.get_all(name).iter();
    let lines: Vec<&str> = lines.filter_map(|value| value.to_str().ok()).collect();
    (!lines.is_empty()).then(|| lines.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vault::Principal;

    #[test]
    fn a_change_of_the_whole_store_may_say_what_it_was_made_for() {
        let check = |text: Option<&str>| IfStore(text.map(IfMatch::parse)).check(7);
        for text in [None, Some("*"), Some("\"r7\""), Some("\"r6\", \"r7\"")] {
            assert_eq!(check(text), Ok(()), "{text:?}");
        }
        for text in ["", "\"r6\"", "W/\"r7\"", "r7"] {
            let problem = check(Some(text)).unwrap_err();
            assert_eq!(problem.trouble, Trouble::PreconditionFailed, "{text}");
        }
    }

    #[test]
    fn a_strong_tag_of_ours_matches_its_revision() {
        let alice = ObjectName::user(&Principal::parse("alice").unwrap());
        let holds = |text: &str| {
            let condition = IfMatch::parse(text).condition(alice.clone(), 7);
            condition.map(|condition| condition.is_some())
        };
        assert_eq!(etag(7), "\"r7\"");
        for text in ["\"r7\"", "\"x\", \"r7\"", " \"r6\" ,\"r7\" "] {
            assert_eq!(holds(text), Ok(true), "{text}");
        }
        assert_eq!(holds("*"), Ok(false));
        for text in ["", "\"r6\"", "W/\"r7\"", "r7", "\"7\"", "\"r7\"x"] {
            let problem = holds(text).unwrap_err();
            assert_eq!(problem.trouble, Trouble::PreconditionFailed, "{text}");
        }
    }
}

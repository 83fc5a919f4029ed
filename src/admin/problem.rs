//! Errors of the admin side, as problem documents (RFC 9457).
//!
//! A handler returns an [`AdminProblem`]. It is written in one place, at the end of
//! [`guard::check`](super::guard::check), which knows the id of the request.

use std::any::Any;
use std::borrow::Cow;
use std::fmt;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;

use crate::vault::{StoreError, StoreUnavailable};

/// The media type of a problem document.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// Declares [`Trouble`] and its tables from one list.
macro_rules! troubles {
    ($( $variant:ident, $status:literal, $name:literal, $title:literal; )*) => {
        /// What is wrong with a request to the admin side.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Trouble { $(
            #[doc = $title]
            $variant,
        )* }

        impl Trouble {
            /// All of them, in the order of the reference.
            pub const ALL: &'static [Trouble] = &[$(Trouble::$variant),*];

            /// The code in the document.
            pub fn as_str(self) -> &'static str {
                match self { $(Trouble::$variant => $name),* }
            }

            /// The HTTP status code.
            pub fn status(self) -> StatusCode {
                let number = match self { $(Trouble::$variant => $status),* };
                StatusCode::from_u16(number).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
            }

            /// A short summary that does not change from one occurrence to the next.
            pub fn title(self) -> &'static str {
                match self { $(Trouble::$variant => $title),* }
            }
        }
    };
}

troubles! {
    Malformed, 400, "malformed", "The request cannot be read";
    Unauthenticated, 401, "unauthenticated", "Nobody is signed in";
    SignInFailed, 401, "sign_in_failed", "The sign-in failed";
    Forbidden, 403, "forbidden", "The caller may not do this";
    ScopeInsufficient, 403, "scope_insufficient", "The token may not do this";
    NotFresh, 403, "reauthentication_required", "The caller has to sign in again for this";
    ForeignOrigin, 403, "foreign_origin", "The request comes from another site";
    PlainHttp, 403, "plain_http", "The connection is not protected";
    ThroughProxy, 403, "through_proxy", "The request came through the proxy";
    NotFound, 404, "not_found", "There is no such thing";
    MethodNotAllowed, 405, "method_not_allowed", "The method is not possible here";
    Conflict, 409, "conflict", "It conflicts with what is there";
    LinkOver, 410, "link_over", "The link does not work any more";
    PreconditionFailed, 412, "precondition_failed", "It was changed in the meantime";
    TooLarge, 413, "body_too_large", "The body is too large";
    UnsupportedType, 415, "unsupported_media_type", "The media type is not understood";
    UnknownName, 421, "unknown_name", "The listener has another name";
    Invalid, 422, "invalid", "Something in the request is not usable";
    PreconditionRequired, 428, "precondition_required", "The request has to say what it changes";
    TooMany, 429, "too_many_requests", "There were too many requests";
    Internal, 500, "internal", "The server failed";
    ProviderUnavailable, 502, "provider_unavailable", "The identity provider does not answer";
    StoreUnavailable, 503, "store_unavailable", "The store cannot be read or written";
    LedgerUnavailable, 503, "ledger_unavailable", "The ledger cannot be read or written";
    Overloaded, 503, "overloaded", "The server is at its limit";
    TimedOut, 504, "timed_out", "The answer took too long";
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is wrong with one field of a request. Never repeats what was in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FieldProblem {
    /// The field, as the request names it.
    pub field: Cow<'static, str>,
    /// What is wrong, and what would be right.
    pub detail: Cow<'static, str>,
}

/// An error of the admin side. Holds nothing that was derived from a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminProblem {
    /// What is wrong.
    pub trouble: Trouble,
    /// What to do about it.
    pub detail: Cow<'static, str>,
    /// The fields concerned.
    pub fields: Vec<FieldProblem>,
    /// When to try again, in seconds.
    pub retry_after: Option<u64>,
}

/// The members of RFC 9457 and ours.
#[derive(Serialize)]
struct Document<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    code: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    detail: &'a str,
    request_id: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [FieldProblem],
}

impl AdminProblem {
    /// A problem without a detail.
    pub fn new(trouble: Trouble) -> Self {
        Self::because(trouble, "")
    }

    /// A problem, and what to do about it.
    pub fn because(trouble: Trouble, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            trouble,
            detail: detail.into(),
            fields: Vec::new(),
            retry_after: None,
        }
    }

    /// A field that is not usable.
    pub fn field(
        field: impl Into<Cow<'static, str>>,
        detail: impl Into<Cow<'static, str>>,
    ) -> Self {
        let fields = vec![FieldProblem {
            field: field.into(),
            detail: detail.into(),
        }];
        Self {
            fields,
            ..Self::new(Trouble::Invalid)
        }
    }

    /// What it says to people, in one text.
    pub fn words(&self) -> String {
        match self.detail.as_ref() {
            "" => self.trouble.title().to_owned(),
            detail => detail.to_owned(),
        }
    }

    /// The same, to be tried again after some seconds.
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// The document as JSON.
    pub fn document(&self, request_id: &str) -> String {
        let code = self.trouble.as_str();
        let document = Document {
            r#type: format!("urn:egret:error:{code}"),
            title: self.trouble.title(),
            status: self.trouble.status().as_u16(),
            code,
            detail: &self.detail,
            request_id,
            errors: &self.fields,
        };
        // Serialising a struct of texts cannot fail.
        serde_json::to_string(&document).unwrap_or_default()
    }
}

impl IntoResponse for AdminProblem {
    /// An answer without a body. [`write`] gives it one.
    fn into_response(self) -> Response {
        let mut response = self.trouble.status().into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// Writes the document of an answer that is a problem.
pub(super) fn write(response: &mut Response, request_id: &str) {
    let Some(problem) = response.extensions_mut().remove::<AdminProblem>() else {
        return;
    };
    *response.body_mut() = Body::from(problem.document(request_id));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
    if let Some(seconds) = problem.retry_after {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    if problem.trouble == Trouble::Unauthenticated {
        let scheme = HeaderValue::from_static("Bearer realm=\"egret\"");
        headers.insert(header::WWW_AUTHENTICATE, scheme);
    }
}

/// The answer of a handler that panicked. What it said is in the log, which the panic hook wrote.
pub(super) fn of_panic(_: Box<dyn Any + Send>) -> Response {
    AdminProblem::new(Trouble::Internal).into_response()
}

impl From<StoreUnavailable> for AdminProblem {
    /// The reason stays in the log: it can hold a path of this machine.
    fn from(error: StoreUnavailable) -> Self {
        tracing::error!(%error, "the admin side cannot use the store");
        Self::because(
            Trouble::StoreUnavailable,
            "The reason is in Egret's log, for its operator.",
        )
    }
}

impl From<StoreError> for AdminProblem {
    fn from(error: StoreError) -> Self {
        let trouble = match error {
            StoreError::Unavailable(unavailable) => return unavailable.into(),
            StoreError::Seal(_)
            | StoreError::Older { .. }
            | StoreError::Replaced
            | StoreError::OtherKey { .. } => {
                tracing::error!(%error, "the admin side cannot use the store");
                return Self::new(Trouble::StoreUnavailable);
            }
            // Users and groups are known to all users: they are what one shares with.
            StoreError::UserNotFound(_) => {
                return Self::because(Trouble::NotFound, "There is no user of that name.");
            }
            StoreError::GroupNotFound(_) => {
                return Self::because(Trouble::NotFound, "There is no group of that name.");
            }
            StoreError::NotFound { .. }
            | StoreError::BundleNotFound(_)
            | StoreError::ClientNotFound(_)
            | StoreError::TokenNotFound(_)
            | StoreError::ApprovalNotFound(_)
            | StoreError::KeyRequestNotFound(_)
            | StoreError::AttachmentNotFound(_)
            | StoreError::StandInNotFound
            | StoreError::EgressNotFound(_) => return Self::new(Trouble::NotFound),
            StoreError::Forbidden(_) => Trouble::Forbidden,
            StoreError::LinkOver => Trouble::LinkOver,
            StoreError::Changed => Trouble::PreconditionFailed,
            // Its own words repeat the limit.
            StoreError::Wider(wider) => {
                let detail = format!("a {} is beyond the credential's own limits", wider.what);
                return Self::because(Trouble::Invalid, detail);
            }
            StoreError::Exists { .. }
            | StoreError::KindChanged(_)
            | StoreError::UserExists(_)
            | StoreError::GroupExists(_)
            | StoreError::GroupInUse { .. }
            | StoreError::BundleExists(_)
            | StoreError::ClientExists(_)
            | StoreError::HasAccount(_)
            | StoreError::LastAdministrator(_) => Trouble::Conflict,
            _ => Trouble::Invalid,
        };
        Self::because(trouble, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Programs rely on the codes: the golden file changes only together with the reference.
    #[test]
    fn codes_are_frozen() {
        let line = |trouble: &Trouble| format!("{} {trouble}\n", trouble.status().as_u16());
        let table: String = Trouble::ALL.iter().map(line).collect();
        assert_eq!(table, include_str!("../../tests/golden/admin-codes.txt"));
    }

    #[test]
    fn a_problem_is_a_document_with_its_fields() {
        let problem = AdminProblem::field("name", "it is taken");
        let json: serde_json::Value = serde_json::from_str(&problem.document("r1")).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "type": "urn:egret:error:invalid",
                "title": "Something in the request is not usable",
                "status": 422,
                "code": "invalid",
                "request_id": "r1",
                "errors": [{"field": "name", "detail": "it is taken"}],
            })
        );
    }
}

//! One request with the value that waits for its promotion.

use serde_json::Value;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::answer::Answer;
use super::asked::{Asked, settle};
use super::credentials::{CredentialPath, Known};
use super::fields::{Input, Wrong};
use super::request::{Json, Names, message};
use crate::admin::context::AdminContext;
use crate::admin::problem::{AdminProblem, Trouble};
use crate::admin::trial::{Trial, try_it};
use crate::environment::request::{InvalidRequest, Request};
use crate::policy::grant;
use crate::vault::rights::Forbidden;
use crate::vault::{Kind, StoreError};
use crate::views;

/// What the ledger calls the request.
const ACTION: &str = "credential-probe";

pub(super) fn router() -> OpenApiRouter<AdminContext> {
    OpenApiRouter::new().routes(routes!(probe_version))
}

/// The method of a request with an answer of its own: no tunnel, and no echo of what was sent.
pub(super) struct ProbeMethod(http::Method);

impl Input for ProbeMethod {
    fn read(value: Option<Value>) -> Result<Self, Wrong> {
        let wrong = || Wrong::new("it is a method such as GET, and not CONNECT or TRACE");
        let text = grant::parse_method(&String::read(value)?).map_err(Wrong::new)?;
        if ["*", "CONNECT", "TRACE"].contains(&text.as_str()) {
            return Err(wrong());
        }
        text.parse().map(Self).map_err(|_| wrong())
    }
}

message! {
    /// A request that uses the value that waits.
    ProbeInput {
        /// The method.
        method: ProbeMethod as String,
        /// Where to: `https://HOST/PATH`. Placeholders may be in it.
        url: String as String,
        /// Header fields, `NAME: VALUE` each; `Authorization: Bearer <<SLUG>>` if it is missing and the URL
        /// has no placeholder.
        headers: Vec<String> as Option<Vec<String>>,
    }
}

impl ProbeInput {
    fn into_request(self, kind: Kind, slug: &str) -> Result<Request, AdminProblem> {
        let mut headers = self.headers;
        if headers.is_empty() && !self.url.contains("<<") {
            if kind != Kind::Secret {
                let detail = "say where the value goes, such as `Authorization: Basic \
                              <<SLUG.username>>:<<SLUG.password>>`";
                return Err(AdminProblem::field("headers", detail));
            }
            headers.push(format!("Authorization: Bearer <<{slug}>>"));
        }
        let request = Request::new(&self.method.0, &self.url, headers);
        request.map_err(|error| {
            let field = match error {
                InvalidRequest::Url | InvalidRequest::Target => "url",
                InvalidRequest::Field | InvalidRequest::Body => "headers",
            };
            AdminProblem::field(field, error.to_string())
        })
    }
}

/// Send one request with the value that waits
///
/// Through the proxy: limits, scrubbing and the record are those of every request. Others go on using the
/// value in force. The answer has the status of what came back, and nothing else of it.
#[utoipa::path(post, path = "/credentials/{owner}/{slug}/versions/probe", tag = "credentials",
    params(CredentialPath), request_body = ProbeInput,
    responses((status = OK, body = views::Probe)))]
async fn probe_version(
    asked: Asked,
    Names(path): Names<CredentialPath>,
    Json(input): Json<ProbeInput>,
) -> Result<Answer, AdminProblem> {
    let (owner, slug) = path.parse()?;
    let known = Known::of(&asked.sight, owner, slug)?;
    asked.change()?;
    if known.owner != asked.caller.user {
        return Err(StoreError::Forbidden(Forbidden::NotOwner).into());
    }
    let version = known.credential.staged_version();
    let version = version.ok_or_else(|| {
        AdminProblem::because(Trouble::Invalid, "No version waits for its promotion.")
    })?;
    let trial = Trial {
        request: input.into_request(known.credential.kind, known.slug.as_str())?,
        action: ACTION.to_owned(),
        staged: true,
    };
    let answer = try_it(&asked.context, &asked.actor(), &asked.caller.user, trial).await?;
    settle(&asked.context).await?;
    let answer = answer.map_err(|error| {
        AdminProblem::because(Trouble::TimedOut, format!("There was no answer: {error}."))
    })?;
    Ok(Answer::ok(&views::Probe {
        version,
        status: answer.status,
        code: answer.code,
    }))
}

//! What brings a credential into requests that do not name it: header fields that are set by themselves,
//! and texts that mean it.

use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::answer::Answer;
use super::asked::Asked;
use super::change::{Change, Place};
use super::credentials::{CredentialPath, Known};
use super::inputs::{Action, Method};
use super::numbered::NumberedPath;
use super::request::{Json, message};
use crate::admin::context::AdminContext;
use crate::admin::problem::{AdminProblem, Trouble};
use crate::policy::attachment::Attachment;
use crate::policy::grant::{HostPattern, PathPrefix};
use crate::services::stand_in::{self, RANDOM};
use crate::vault::CallerName;
use crate::views;

pub(super) fn router() -> OpenApiRouter<AdminContext> {
    OpenApiRouter::new()
        .routes(routes!(attach_credential))
        .routes(routes!(detach_credential))
        .routes(routes!(add_stand_in))
        .routes(routes!(revoke_stand_in))
}

message! {
    /// A header field that is set in the owner's requests. What is missing does not narrow it.
    AttachmentInput {
        /// The field, with the placeholder of the credential: `Authorization: Bearer <<github-pat>>`.
        header: String as String,
        /// Hosts whose requests get it; at least one.
        hosts: Vec<HostPattern> as Vec<String>,
        /// Only requests with these methods.
        methods: Vec<Method> as Option<Vec<String>>,
        /// Only paths with these prefixes.
        paths: Vec<PathPrefix> as Option<Vec<String>>,
        /// Only requests of these clients.
        clients: Vec<CallerName> as Option<Vec<String>>,
        /// Only requests for these actions.
        actions: Vec<Action> as Option<Vec<String>>,
        /// Replace the field where the client sends one.
        replace: bool as Option<bool>,
    }
}

impl AttachmentInput {
    fn into_rule(self) -> Result<Attachment, AdminProblem> {
        let rule = Attachment::of_line(&self.header);
        let rule = rule.ok_or_else(|| {
            let form = "write NAME: VALUE, as in Authorization: Bearer <<github-pat>>";
            AdminProblem::field("header", form)
        })?;
        Ok(Attachment {
            hosts: self.hosts,
            methods: self.methods.into_iter().map(|method| method.0).collect(),
            paths: self.paths,
            clients: self.clients.iter().map(ToString::to_string).collect(),
            actions: self.actions.into_iter().map(|action| action.0).collect(),
            replace: self.replace,
            ..rule
        })
    }
}

/// Set a header field with a credential in requests that do not have it
///
/// In the owner's requests, under the limits of the credential. The answer lists it among the
/// `attachments`, with its number.
#[utoipa::path(post, path = "/credentials/{owner}/{slug}/attachments", tag = "credentials",
    params(CredentialPath), request_body = AttachmentInput,
    responses((status = OK, body = views::CredentialDetails)))]
async fn attach_credential(
    change: Change<CredentialPath>,
    Json(input): Json<AttachmentInput>,
) -> Result<Answer, AdminProblem> {
    change.demand_fresh()?;
    let rule = input.into_rule()?;
    let (actor, known) = (change.actor(), &change.thing);
    let attached = change
        .registrar
        .attach(&actor, &known.owner, &known.slug, rule);
    attached.await?;
    change.done().await
}

/// Stop setting a header field with a credential
#[utoipa::path(delete, path = "/credentials/{owner}/{slug}/attachments/{number}", tag = "credentials",
    params(NumberedPath), responses((status = OK, body = views::CredentialDetails)))]
async fn detach_credential(change: Change<NumberedPath>) -> Result<Answer, AdminProblem> {
    let number = change.place.number()?;
    let (actor, known) = (change.actor(), &change.thing);
    let detached = change
        .registrar
        .detach(&actor, &known.owner, &known.slug, Some(number));
    detached.await?;
    change.done().await
}

message! {
    /// A text that looks like a key and means the credential.
    StandInInput {
        /// How such keys begin (`ghp_`, `sk-ant-`, `AKIA`, `xoxb-`), or `jwt` or `uuid`; as the keys of
        /// the service that the credential's hosts belong to if it is missing.
        like: Option<String> as Option<String>,
    }
}

/// Make a text that looks like the key and means the credential
///
/// For programs that refuse a placeholder. It is no secret: it means the credential in the requests of its
/// owner alone. The answer lists it last among the `stand_ins`.
#[utoipa::path(post, path = "/credentials/{owner}/{slug}/stand-ins", tag = "credentials",
    params(CredentialPath), request_body = StandInInput,
    responses((status = OK, body = views::CredentialDetails)))]
async fn add_stand_in(
    change: Change<CredentialPath>,
    Json(input): Json<StandInInput>,
) -> Result<Answer, AdminProblem> {
    change.demand_fresh()?;
    let kind = match &input.like {
        Some(prefix) => stand_in::like(prefix).ok_or_else(|| {
            let known =
                "no keys are known that begin so; try ghp_, sk-ant-, AKIA, xoxb-, jwt or uuid";
            AdminProblem::field("like", known)
        })?,
        None => stand_in::of_hosts(&change.thing.credential.grant.hosts),
    };
    let mut random = [0; RANDOM];
    aws_lc_rs::rand::fill(&mut random).map_err(|_| AdminProblem::new(Trouble::Internal))?;
    let (actor, known) = (change.actor(), &change.thing);
    let added =
        change
            .registrar
            .add_stand_in(&actor, &known.owner, &known.slug, kind.make(&random));
    added.await?;
    change.done().await
}

/// Which text.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
struct StandInPath {
    /// Who owns the credential.
    #[param(pattern = "^[a-z0-9][a-z0-9._@-]{0,63}$")]
    owner: String,
    /// Its slug.
    #[param(pattern = "^[a-z][a-z0-9_-]{0,63}$")]
    slug: String,
    /// The text.
    #[param(pattern = "^[A-Za-z0-9._-]{1,250}$")]
    text: String,
}

impl Place for StandInPath {
    type Thing = Known;

    fn find(&self, asked: &Asked) -> Result<Known, AdminProblem> {
        Known::find(asked, &self.owner, &self.slug)
    }
}

/// Take a text back that means a credential
///
/// Requests that hold it are refused from then on.
#[utoipa::path(delete, path = "/credentials/{owner}/{slug}/stand-ins/{text}", tag = "credentials",
    params(StandInPath), responses((status = OK, body = views::CredentialDetails)))]
async fn revoke_stand_in(change: Change<StandInPath>) -> Result<Answer, AdminProblem> {
    let (actor, known) = (change.actor(), &change.thing);
    let text = &change.place.text;
    let revoked = change
        .registrar
        .revoke_stand_in(&actor, &known.owner, &known.slug, text);
    revoked.await?;
    change.done().await
}

//! The versions of a credential's value: replaced, staged, promoted, rolled back, destroyed.

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::answer::Answer;
use super::change::Change;
use super::credentials::{CredentialPath, refused};
use super::inputs::SecretInput;
use super::numbered::NumberedPath;
use super::request::{Json, message};
use crate::admin::context::AdminContext;
use crate::admin::problem::{AdminProblem, FieldProblem, Trouble};
use crate::admin::remarks;
use crate::vault::rotation::Retention;
use crate::views;

pub(super) fn router() -> OpenApiRouter<AdminContext> {
    OpenApiRouter::new()
        .routes(routes!(add_version))
        .routes(routes!(promote_version))
        .routes(routes!(roll_back_version))
        .routes(routes!(destroy_version))
}

message! {
    /// A value that replaces the one in force, or waits for its promotion.
    VersionInput {
        /// The value, in the shape of the credential's kind. It is never shown again.
        value: SecretInput as serde_json::Value,
        /// Save it without using it, until it is promoted.
        stage: bool as Option<bool>,
        /// How long the replaced value is kept and searched for in answers, in seconds; a day if it is
        /// missing.
        keep: Option<u64> as Option<u64>,
        /// Keep the replaced value for a rollback as well.
        rollback: bool as Option<bool>,
        /// The old value is known to someone it was not meant for: erase every replaced value at once.
        leaked: bool as Option<bool>,
    }
}

message! {
    /// What becomes of the value that is replaced.
    RetentionInput {
        /// How long it is kept and searched for in answers, in seconds; a day if it is missing.
        keep: Option<u64> as Option<u64>,
        /// Keep it for a rollback as well.
        rollback: bool as Option<bool>,
    }
}

impl RetentionInput {
    fn retention(&self) -> Retention {
        let keep = self
            .keep
            .map(|keep| i64::try_from(keep).unwrap_or(i64::MAX));
        Retention {
            keep: keep.unwrap_or(Retention::default().keep),
            rollback: self.rollback,
            ..Retention::default()
        }
    }
}

/// What becomes of a new value; without a retention it waits.
fn retention(input: &VersionInput) -> Result<Option<Retention>, AdminProblem> {
    let keeps = input.keep.is_some() || input.rollback;
    let wrong = |field: &'static str, detail: &'static str| AdminProblem {
        fields: vec![FieldProblem {
            field: field.into(),
            detail: detail.into(),
        }],
        ..AdminProblem::new(Trouble::Invalid)
    };
    if input.stage && (keeps || input.leaked) {
        return Err(wrong(
            "stage",
            "what is replaced is decided at the promotion",
        ));
    }
    if input.leaked && keeps {
        return Err(wrong("leaked", "a value that leaked is not kept"));
    }
    if input.stage {
        return Ok(None);
    }
    if input.leaked {
        return Ok(Some(Retention::leaked()));
    }
    let keep = RetentionInput {
        keep: input.keep,
        rollback: input.rollback,
    };
    Ok(Some(keep.retention()))
}

/// Save another value
///
/// It is in force from the next request on, or waits for its promotion with `stage`. The answer says what
/// may be a mistake.
#[utoipa::path(post, path = "/credentials/{owner}/{slug}/versions", tag = "credentials",
    params(CredentialPath), request_body = VersionInput,
    responses((status = OK, body = views::CredentialDetails)))]
async fn add_version(
    change: Change<CredentialPath>,
    Json(input): Json<VersionInput>,
) -> Result<Answer, AdminProblem> {
    let retention = retention(&input)?;
    let credential = &change.thing.credential;
    let value = input.value.of_kind(credential.kind)?;
    let found = remarks::about(credential.kind, &value, None, &credential.grant.hosts);
    let said = found.iter().map(ToString::to_string).collect();
    let actor = change.actor();
    let (owner, slug) = (&change.thing.owner, &change.thing.slug);
    let saved = match retention {
        Some(retention) => {
            change
                .registrar
                .rotate(&actor, owner, slug, value, retention)
                .await
        }
        None => change.registrar.stage(&actor, owner, slug, value).await,
    };
    saved.map_err(refused)?;
    Ok(change.done_with(said).await?.closing())
}

/// Put the value that waits in force
#[utoipa::path(post, path = "/credentials/{owner}/{slug}/versions/promote", tag = "credentials",
    params(CredentialPath), request_body = RetentionInput,
    responses((status = OK, body = views::CredentialDetails)))]
async fn promote_version(
    change: Change<CredentialPath>,
    Json(input): Json<RetentionInput>,
) -> Result<Answer, AdminProblem> {
    let (actor, retention) = (change.actor(), input.retention());
    change
        .registrar
        .promote(&actor, &change.thing.owner, &change.thing.slug, &retention)
        .await?;
    change.done().await
}

/// Put the value that was replaced last in force again
#[utoipa::path(post, path = "/credentials/{owner}/{slug}/versions/rollback", tag = "credentials",
    params(CredentialPath), responses((status = OK, body = views::CredentialDetails)))]
async fn roll_back_version(change: Change<CredentialPath>) -> Result<Answer, AdminProblem> {
    change
        .registrar
        .roll_back(&change.actor(), &change.thing.owner, &change.thing.slug)
        .await?;
    change.done().await
}

/// Erase the value of a version that is not in force
#[utoipa::path(delete, path = "/credentials/{owner}/{slug}/versions/{number}", tag = "credentials",
    params(NumberedPath), responses((status = OK, body = views::CredentialDetails)))]
async fn destroy_version(change: Change<NumberedPath>) -> Result<Answer, AdminProblem> {
    let number = change.place.number()?;
    change
        .registrar
        .destroy(
            &change.actor(),
            &change.thing.owner,
            &change.thing.slug,
            number,
        )
        .await?;
    change.done().await
}

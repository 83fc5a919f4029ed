//! As code: users, groups, limits, shares, bundles, clients and rules as a file says them.
//!
//! A file holds no values, and yet nothing of one that cannot be read is repeated: somebody may have
//! written a value into it.

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::answer::Answer;
use super::asked::Asked;
use super::condition::IfStore;
use super::fields::unknown;
use super::request::{Json, message};
use super::rules::would_refuse;
use crate::admin::context::AdminContext;
use crate::admin::problem::{AdminProblem, Trouble};
use crate::admin::rules::newly_refused;
use crate::desired::{self, ApplyError, Desired, InvalidFile, PlanError, Planned};
use crate::vault::registrar::RegistrarError;
use crate::views;

pub(super) fn router() -> OpenApiRouter<AdminContext> {
    OpenApiRouter::new()
        .routes(routes!(export_declared))
        .routes(routes!(plan_declared))
        .routes(routes!(apply_declared))
}

/// Everything is in a file, so it is for those who see everything.
fn demand_all(asked: &Asked) -> Result<(), AdminProblem> {
    if asked.sight.sees_all() {
        return Ok(());
    }
    Err(AdminProblem::because(
        Trouble::Forbidden,
        "A file is about everyone: administrators and auditors see one, administrators apply one.",
    ))
}

/// Show users, groups, limits, shares, bundles, clients and rules as a file says them
///
/// Without values and tokens. For administrators and auditors, with a token of scope `audit`.
#[utoipa::path(get, path = "/export", tag = "as code",
    responses((status = OK, body = serde_json::Map<String, serde_json::Value>)))]
async fn export_declared(asked: Asked) -> Result<Answer, AdminProblem> {
    demand_all(&asked)?;
    let (present, revision) = desired::present(&asked.context.registrar()).await?;
    Ok(Answer::ok(&present).at(Some(revision)))
}

message! {
    /// A file that is compared with what is there.
    PlanInput {
        /// The text of the file, TOML or JSON, as `GET /export` shows it. What it does not name is left as
        /// it is.
        file: String as String,
    }
}

message! {
    /// A file that is carried out.
    ApplyInput {
        /// The text of the file, TOML or JSON, as `GET /export` shows it. What it does not name is left as
        /// it is.
        file: String as String,
        /// The `revision` of the plan: nothing is changed if anything else was since.
        revision: Option<u64> as Option<u64>,
        /// Apply it although its rules refuse what clients did in the last seven days.
        sure: bool as Option<bool>,
    }
}

fn read(file: &str) -> Result<Desired, AdminProblem> {
    Desired::read(file).map_err(|error| refused(&error))
}

/// Where a file is wrong, and nothing of what is there.
fn refused(error: &InvalidFile) -> AdminProblem {
    let place = error
        .line
        .map_or_else(String::new, |line| format!("line {line}: "));
    // The names of members are ours, and the one that is wrong is repeated only where it is nearly one of them.
    let detail = match error.unknown_member() {
        Some((name, known)) => format!("{place}{}", unknown("member", name, &known).detail),
        None => format!(
            "{place}this is not a file as `GET /export` shows it; `egret plan` on the machine where the file \
             is says what is wrong"
        ),
    };
    AdminProblem::field("file", detail)
}

impl From<PlanError> for AdminProblem {
    fn from(error: PlanError) -> Self {
        match error {
            PlanError::Invalid(error) => refused(&error),
            PlanError::Unavailable(error) => error.into(),
        }
    }
}

/// Say what a file would change
///
/// For administrators and auditors, with a token of scope `audit`. Nothing is changed.
#[utoipa::path(post, path = "/plan", tag = "as code", request_body = PlanInput,
    responses((status = OK, body = views::Plan)))]
async fn plan_declared(asked: Asked, Json(input): Json<PlanInput>) -> Result<Answer, AdminProblem> {
    demand_all(&asked)?;
    let planned = Planned::of(&asked.context.registrar(), &read(&input.file)?).await?;
    let view = planned.view(false);
    Ok(Answer::ok(&view).at(Some(view.revision)))
}

/// Change what a file says differently
///
/// For administrators. All changes are made, each with the caller's rights, or none. Rules that would refuse
/// what clients did in the last seven days are not saved unless `sure`.
#[utoipa::path(post, path = "/apply", tag = "as code", request_body = ApplyInput,
    params(("If-Match" = Option<String>, Header,
        description = "The `ETag` of the plan: nothing is changed if anything else was since.")),
    responses((status = OK, body = views::Plan)))]
async fn apply_declared(
    asked: Asked,
    seen: IfStore,
    Json(input): Json<ApplyInput>,
) -> Result<Answer, AdminProblem> {
    demand_all(&asked)?;
    let registrar = asked.change()?;
    asked.caller.demand_fresh()?;
    let planned = Planned::of(&registrar, &read(&input.file)?).await?;
    seen.check(planned.revision())?;
    let change = planned.egress(asked.sight.now());
    if !input.sure && !change.is_empty() {
        let refused = newly_refused(&asked.context, &asked.sight, &change).await?;
        if !refused.is_empty() {
            return Err(would_refuse(&refused));
        }
    }
    let seen = input
        .revision
        .map(|seen| i64::try_from(seen).unwrap_or(i64::MAX));
    let made = planned.make(&registrar, &asked.actor(), seen).await;
    made.map_err(not_made)?;
    asked.after_change().await?;
    Ok(Answer::ok(&planned.view(true)))
}

fn not_made(error: ApplyError) -> AdminProblem {
    match error {
        ApplyError::Store(error) => error.into(),
        ApplyError::Step {
            step,
            source: RegistrarError::Store(source),
        } => {
            let problem = AdminProblem::from(source);
            let detail = format!("Nothing is changed: {step}. {}", problem.detail);
            AdminProblem {
                detail: detail.trim_end().to_owned().into(),
                ..problem
            }
        }
        ApplyError::Step { step, source } => AdminProblem::because(
            Trouble::Invalid,
            format!("Nothing is changed: {step}. {source}"),
        ),
    }
}

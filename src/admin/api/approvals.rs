//! Uses that owners are asked about, and their answers. The token of a client opens nothing here:
//! whoever asks does not answer.

use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::answer::{Answer, Page, PageSize, page_size};
use super::asked::Asked;
use super::request::{Json, Names, Search, message};
use crate::admin::context::AdminContext;
use crate::admin::problem::{AdminProblem, Trouble};
use crate::vault::Sight;
use crate::vault::approval::Verdict;
use crate::views;

pub(super) fn router() -> OpenApiRouter<AdminContext> {
    OpenApiRouter::new()
        .routes(routes!(list_approvals))
        .routes(routes!(get_approval, remove_approval))
        .routes(routes!(answer_approval))
}

/// Which question.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
struct ApprovalPath {
    /// Its id, as the list has it.
    #[param(pattern = "^req-[a-z0-9_-]{1,200}$")]
    approval: String,
}

impl ApprovalPath {
    /// That the caller may know of it.
    fn check(&self, asked: &Asked) -> Result<(), AdminProblem> {
        let known = asked.sight.approval(&self.approval);
        known
            .map(drop)
            .ok_or_else(|| AdminProblem::new(Trouble::NotFound))
    }
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ApprovalSearch {
    /// Only those that wait for an answer, or only those that have one.
    waiting: Option<bool>,
    /// Where the page begins: `next` of the page before.
    after: Option<String>,
    /// How many items a page has, at most 500.
    #[param(value_type = Option<usize>, minimum = 1, maximum = 500)]
    limit: Option<PageSize>,
}

/// List questions about uses, and their answers
///
/// Those about credentials of the caller. Administrators and auditors see all.
#[utoipa::path(get, path = "/approvals", tag = "approvals", params(ApprovalSearch),
    responses((status = OK, body = Page<views::Approval>)))]
async fn list_approvals(
    asked: Asked,
    Search(search): Search<ApprovalSearch>,
) -> Result<Answer, AdminProblem> {
    let all = asked.sight.approvals().into_iter();
    let wanted = all.filter(|(_, approval)| {
        let waits = approval.answer.is_none();
        search.waiting.is_none_or(|wanted| wanted == waits)
    });
    let page = Page::of(
        wanted,
        |(id, _)| (*id).to_owned(),
        search.after.as_deref(),
        page_size(search.limit),
        |(id, approval)| views::Approval::new(id, approval),
    );
    Ok(Answer::ok(&page))
}

fn show(sight: &Sight, id: &str) -> Result<Answer, AdminProblem> {
    let approval = sight.approval(id);
    let approval = approval.ok_or_else(|| AdminProblem::new(Trouble::NotFound))?;
    Ok(Answer::ok(&views::Approval::new(id, approval)))
}

/// Show a question with its answer
#[utoipa::path(get, path = "/approvals/{approval}", tag = "approvals", params(ApprovalPath),
    responses((status = OK, body = views::Approval)))]
async fn get_approval(
    asked: Asked,
    Names(path): Names<ApprovalPath>,
) -> Result<Answer, AdminProblem> {
    show(&asked.sight, &path.approval)
}

message! {
    /// What the owner says.
    ApprovalInput {
        /// `once` for exactly this request, `always` for this client, action and destination from now
        /// on, or `no`.
        answer: Verdict as String,
    }
}

/// Answer a question
///
/// Its owner does. A question is answered once; who says `always` needs a fresh proof of being the
/// owner.
#[utoipa::path(post, path = "/approvals/{approval}/answer", tag = "approvals", params(ApprovalPath),
    request_body = ApprovalInput, responses((status = OK, body = views::Approval)))]
async fn answer_approval(
    asked: Asked,
    Names(path): Names<ApprovalPath>,
    Json(input): Json<ApprovalInput>,
) -> Result<Answer, AdminProblem> {
    path.check(&asked)?;
    let registrar = asked.change()?;
    if input.answer == Verdict::Always {
        asked.caller.demand_fresh()?;
    }
    registrar
        .answer_approval(&asked.actor(), &path.approval, input.answer)
        .await?;
    show(&asked.after_change().await?, &path.approval)
}

/// Take a yes back, or a question away
///
/// From the next request on.
#[utoipa::path(delete, path = "/approvals/{approval}", tag = "approvals", params(ApprovalPath),
    responses((status = NO_CONTENT)))]
async fn remove_approval(
    asked: Asked,
    Names(path): Names<ApprovalPath>,
) -> Result<Answer, AdminProblem> {
    path.check(&asked)?;
    let registrar = asked.change()?;
    registrar
        .remove_approval(&asked.actor(), &path.approval)
        .await?;
    asked.after_change().await?;
    Ok(Answer::gone())
}

//! Approvals: uses that owners are asked about.

use askama::Template;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect, Response};

use super::credentials;
use super::failure::Failure;
use super::fields::Fields;
use super::layout::{self, Layout, Section};
use super::person::Person;
use super::text;
use super::visit::Visit;
use super::when::When;
use crate::admin::{AdminContext, AdminProblem};
use crate::vault::Sight;
use crate::vault::approval::{Approval, Verdict};

/// Answers that the page shows below the questions.
const ANSWERED: usize = 50;

#[derive(Template)]
#[template(path = "approvals.html")]
struct ApprovalsPage {
    layout: Layout,
    waiting: Vec<Question>,
    answered: Vec<Question>,
    more_answered: usize,
}

/// A question, ready to be shown. All but the slug comes from a client.
pub(super) struct Question {
    pub(super) path: String,
    pub(super) slug: String,
    pub(super) credential: String,
    pub(super) owner: String,
    pub(super) client: String,
    pub(super) principal: String,
    pub(super) action: String,
    run: String,
    pub(super) request: String,
    host: String,
    places: String,
    body: String,
    pub(super) asked: String,
    until: String,
    /// Whether it is the viewer's to answer.
    may_answer: bool,
    answer: &'static str,
    answered_by: String,
    answered: String,
    is_lasting: bool,
}

impl Question {
    fn new(id: &str, approval: &Approval, person: &Person) -> Self {
        let question = &approval.question;
        let answer = approval.answer.as_ref();
        let host = text::host(&question.destination);
        Self {
            path: format!("/approvals/{}", text::encoded(id)),
            slug: approval.slug.to_string(),
            credential: credentials::path(&approval.owner, &approval.slug),
            owner: approval.owner.to_string(),
            client: text::shown(&question.client),
            principal: question.principal.to_string(),
            action: text::shown_or_dash(Some(&question.action)),
            run: text::shown(question.run.as_deref().unwrap_or_default()),
            request: format!(
                "{} {host}{}",
                text::shown(&question.method),
                text::shown(&question.path)
            ),
            host,
            places: text::shown(&question.places.join(", ")),
            body: text::shown(question.body.as_deref().unwrap_or("none")),
            asked: When::at(approval.asked).html(),
            until: When::at(approval.until).html(),
            may_answer: approval.owner == *person.name() && !person.only_reads(),
            answer: match approval.verdict() {
                None => "",
                Some(Verdict::Once) => "yes, once",
                Some(Verdict::Always) => "yes, always",
                Some(Verdict::No) => "no",
            },
            answered_by: answer.map_or_else(String::new, |answer| text::shown(&answer.by)),
            answered: answer.map_or_else(String::new, |answer| When::at(answer.at).html()),
            is_lasting: approval.verdict() == Some(Verdict::Always),
        }
    }
}

/// The questions that wait for an answer, the latest first.
pub(super) fn waiting(sight: &Sight, person: &Person) -> Vec<Question> {
    let all = sight.approvals().into_iter();
    all.filter(|(_, approval)| approval.answer.is_none())
        .map(|(id, approval)| Question::new(id, approval, person))
        .collect()
}

/// `GET /approvals`
pub(super) async fn show(visit: Visit) -> Response {
    let Visit { person, sight, .. } = &visit;
    let all = sight.approvals().into_iter();
    let answered = all.filter(|(_, approval)| approval.answer.is_some());
    let mut answered: Vec<_> = answered
        .map(|(id, approval)| Question::new(id, approval, person))
        .collect();
    let more_answered = answered.len().saturating_sub(ANSWERED);
    answered.truncate(ANSWERED);
    let page = ApprovalsPage {
        layout: visit.layout("Approvals", Section::Approvals),
        waiting: waiting(sight, person),
        answered,
        more_answered,
    };
    layout::page(&page)
}

/// That the person knows of the question.
async fn check(context: &AdminContext, person: &Person, id: &str) -> Result<(), Failure> {
    let sight = person.look(context).await?;
    sight.approval(id).map(drop).ok_or_else(Failure::not_found)
}

fn done(word: &str) -> Response {
    Redirect::to(&format!("/approvals?done={word}")).into_response()
}

/// `POST /approvals/{id}/answer` with `answer`: `once`, `always` or `no`.
pub(super) async fn answer(
    State(context): State<AdminContext>,
    person: Person,
    Path(id): Path<String>,
    fields: Fields,
) -> Result<Response, Failure> {
    check(&context, &person, &id).await?;
    let verdict = fields.text("answer").parse::<Verdict>();
    let verdict = verdict.map_err(|error| AdminProblem::field("answer", error.to_string()))?;
    if verdict == Verdict::Always {
        person.demand_fresh("/approvals")?;
    }
    let (registrar, actor) = (context.registrar(), person.actor());
    registrar.answer_approval(&actor, &id, verdict).await?;
    Ok(done(match verdict {
        Verdict::Once => "approved-once",
        Verdict::Always => "approved-always",
        Verdict::No => "approval-denied",
    }))
}

/// `POST /approvals/{id}/remove`
pub(super) async fn remove(
    State(context): State<AdminContext>,
    person: Person,
    Path(id): Path<String>,
) -> Result<Response, Failure> {
    check(&context, &person, &id).await?;
    let registrar = context.registrar();
    registrar.remove_approval(&person.actor(), &id).await?;
    Ok(done("approval-removed"))
}

//! Requests: credentials that clients need and that are not there.

use askama::Template;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect, Response};

use super::credentials::limits_form::{LimitsForm, read_grant};
use super::credentials::{self, new, remarks};
use super::failure::Failure;
use super::fields::{Fields, Wrong};
use super::layout::{self, Layout, Section};
use super::person::Person;
use super::text;
use super::visit::{Query, Sent, Visit};
use super::when::{self, When};
use crate::admin::{AdminContext, AdminProblem, Trouble};
use crate::policy::use_limits::UseLimits;
use crate::vault::key_request::KeyRequest;
use crate::vault::{Kind, NewCredential, Sight};

#[derive(Template)]
#[template(path = "requests.html")]
struct RequestsPage {
    layout: Layout,
    open: Vec<Request>,
    answered: Vec<Request>,
    /// How a client asks.
    example: &'static str,
}

impl RequestPage<'_> {
    /// With what was typed.
    fn fill_in(&mut self, fields: &Fields) {
        fields.text("kind").clone_into(&mut self.kind);
        fields.text("description").clone_into(&mut self.description);
        self.limits = LimitsForm::typed(fields);
    }
}

const EXAMPLE: &str =
    "egret request github-pat --host api.github.com --reason 'to read the issues'";

#[derive(Template)]
#[template(path = "request.html")]
struct RequestPage<'a> {
    layout: Layout,
    request: Request,
    kind: String,
    description: String,
    limits: LimitsForm,
    /// Whether the address filled the form in.
    is_filled_in: bool,
    wrong: &'a Wrong,
}

/// A credential that is asked for, ready to be shown. The reason is a client's.
pub(super) struct Request {
    pub(super) path: String,
    pub(super) slug: String,
    pub(super) owner: String,
    pub(super) host: String,
    place: String,
    pub(super) client: String,
    pub(super) reason: String,
    pub(super) asked: String,
    until: String,
    pub(super) may_answer: bool,
    state: &'static str,
}

impl Request {
    fn new(number: i64, request: &KeyRequest, person: &Person) -> Self {
        let place = request.place.as_ref();
        Self {
            path: format!("/requests/{number}"),
            slug: request.slug.to_string(),
            owner: request.owner.to_string(),
            host: request.host.to_string(),
            place: place.map_or_else(|| "header".to_owned(), ToString::to_string),
            client: text::shown(&request.client),
            reason: text::shown_reason(&request.reason),
            asked: When::at(request.asked).html(),
            until: When::at(request.until).html(),
            may_answer: request.owner == *person.name() && !person.only_reads(),
            state: request.state(),
        }
    }
}

/// The requests that wait for an answer, the latest first.
pub(super) fn open(sight: &Sight, person: &Person) -> Vec<Request> {
    let open = sight.key_requests();
    let open = open.filter(|(_, request)| request.is_open(sight.now()));
    let mut open: Vec<_> = open
        .map(|(number, request)| Request::new(number, request, person))
        .collect();
    open.reverse();
    open
}

/// `GET /requests`
pub(super) async fn show(visit: Visit) -> Response {
    let Visit { person, sight, .. } = &visit;
    let answered = sight.key_requests();
    let answered = answered.filter(|(_, request)| !request.is_open(sight.now()));
    let mut answered: Vec<_> = answered
        .map(|(number, request)| Request::new(number, request, person))
        .collect();
    answered.reverse();
    let page = RequestsPage {
        layout: visit.layout("Requests", Section::Requests),
        open: open(sight, person),
        answered,
        example: EXAMPLE,
    };
    layout::page(&page)
}

/// A request that waits for this person.
async fn asked(
    context: &AdminContext,
    person: &Person,
    number: &str,
) -> Result<(i64, KeyRequest), Failure> {
    let sight = person.look(context).await?;
    let number: i64 = number.parse().map_err(|_| Failure::not_found())?;
    let request = sight.key_request(number).cloned();
    let request = request.ok_or_else(Failure::not_found)?;
    let problem = |trouble, detail: &'static str| AdminProblem::because(trouble, detail);
    if !request.is_open(sight.now()) {
        return Err(problem(Trouble::Conflict, "It was answered already.").into());
    }
    if request.owner != *person.name() || person.only_reads() {
        let detail = "Only who would own the credential answers.";
        return Err(problem(Trouble::Forbidden, detail).into());
    }
    Ok((number, request))
}

/// `GET /requests/{number}`
pub(super) async fn ask(
    State(context): State<AdminContext>,
    person: Person,
    Path(number): Path<String>,
    Query(fields): Query,
) -> Result<Response, Failure> {
    let (number, request) = asked(&context, &person, &number).await?;
    let wrong = Wrong::default();
    let mut page = request_page(&person, number, &request, &wrong);
    if !fields.trimmed("hosts").is_empty() {
        page.fill_in(&fields);
        page.is_filled_in = true;
        return Ok(layout::page(&page));
    }
    page.description = page.request.reason.clone();
    page.limits = LimitsForm {
        hosts: request.host.to_string(),
        locations: request
            .place
            .as_ref()
            .map_or_else(String::new, ToString::to_string),
        ..LimitsForm::default()
    };
    Ok(layout::page(&page))
}

fn request_page<'a>(
    person: &Person,
    number: i64,
    request: &KeyRequest,
    wrong: &'a Wrong,
) -> RequestPage<'a> {
    let title = format!("Request for {}", request.slug);
    RequestPage {
        layout: Layout::new(title, Section::Requests, person),
        request: Request::new(number, request, person),
        kind: String::new(),
        description: String::new(),
        limits: LimitsForm::default(),
        is_filled_in: false,
        wrong,
    }
}

/// `POST /requests/{number}/save`
pub(super) async fn save(
    State(context): State<AdminContext>,
    Path(number): Path<String>,
    sent: Sent,
) -> Result<Response, Failure> {
    let Sent { person, mut fields } = sent;
    let (number, request) = asked(&context, &person, &number).await?;
    let value = new::value(&mut fields);
    let mut wrong = Wrong::default();
    let new = read(&fields, &request, &mut wrong);
    if value.is_empty() {
        wrong.add("value", new::NO_VALUE);
    }
    if let Some(new) = new.filter(|_| wrong.is_empty()) {
        let sight = person.look(&context).await?;
        let mut remarks = remarks::of(&sight, new.kind, &value, None, &new.grant.hosts);
        remarks.extend(remarks::about_hosts(&context, &new.grant.hosts));
        let (actor, registrar) = (person.actor(), context.registrar());
        let together = registrar.together(&actor, None).await?;
        match together.add(&actor, new, value).await {
            Ok(_) => {
                together.answer_key(&actor, number).await?;
                together.finish(&actor).await?;
                let path = credentials::path(&request.owner, &request.slug);
                let query = text::query(&[("saved", "yes"), ("remarks", &remarks.join(","))]);
                return Ok(Redirect::to(&format!("{path}/start?{query}")).into_response());
            }
            Err(error) => {
                let (field, message) = new::concerns(error)?;
                wrong.add(field, message);
            }
        }
    }
    let mut page = request_page(&person, number, &request, &wrong);
    page.fill_in(&fields);
    Ok(layout::refused(&page))
}

fn read(fields: &Fields, request: &KeyRequest, wrong: &mut Wrong) -> Option<NewCredential> {
    let kind = wrong
        .read_one("kind", fields.text("kind"))
        .unwrap_or(Kind::Secret);
    let grant = read_grant(fields, UseLimits::default(), wrong);
    let every = when::interval(fields.text("rotate_every"));
    let every = every.map_err(|error| wrong.add("rotate_every", error)).ok();
    Some(NewCredential {
        owner: request.owner.clone(),
        slug: request.slug.clone(),
        kind,
        description: fields.trimmed("description").to_owned(),
        grant,
        rotate_every: every?,
    })
}

/// `POST /requests/{number}/decline`
pub(super) async fn decline(
    State(context): State<AdminContext>,
    person: Person,
    Path(number): Path<String>,
) -> Result<Response, Failure> {
    let (number, _) = asked(&context, &person, &number).await?;
    let registrar = context.registrar();
    registrar.decline_key(&person.actor(), number).await?;
    Ok(Redirect::to("/requests?done=declined").into_response())
}

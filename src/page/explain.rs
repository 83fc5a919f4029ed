//! Which one wins and why: what a slug names for a user.

use askama::Template;
use axum::response::Response;

use super::layout::{self, Layout, Section};
use super::visit::Visit;
use crate::substitution::slug::Slug;
use crate::vault::Principal;
use crate::vault::cache::explain::Standing;

#[derive(Template)]
#[template(path = "explain.html")]
struct ExplainPage {
    layout: Layout,
    slug: String,
    user: String,
    /// Users that may be asked about.
    users: Vec<String>,
    answer: Option<Answer>,
    wrong: &'static str,
}

struct Answer {
    candidates: Vec<Row>,
    conclusion: String,
    disabled: bool,
}

struct Row {
    owner: String,
    through: String,
    standing: String,
    is_used: bool,
}

/// `GET /settings/explain?slug=github-pat&user=bob`
pub(super) async fn show(visit: Visit) -> Response {
    let Visit {
        person,
        sight,
        fields,
    } = &visit;
    let own = person.name().to_string();
    let user = fields.given("user").unwrap_or_else(|| own.clone());
    let slug = fields.given("slug").unwrap_or_default();
    let mut wrong = "";
    let mut answer = None;
    if !slug.is_empty() {
        let names = Slug::parse(&slug).ok().zip(Principal::parse(&user).ok());
        match names.and_then(|(slug, user)| sight.explain(&user, &slug)) {
            Some(explained) => {
                let violation = sight.floor_violation(&explained.found);
                let used = |row: &Row| row.is_used;
                let candidates: Vec<_> = explained
                    .candidates
                    .iter()
                    .map(|one| Row {
                        owner: one.owner.to_string(),
                        through: one.through.clone(),
                        standing: one.standing.to_string(),
                        is_used: one.standing == Standing::Used,
                    })
                    .collect();
                let conclusion = match (&violation, explained.code()) {
                    (Some(violation), _) => format!("Not used: {violation}."),
                    (None, Some(code)) => format!("A request gets {code} instead of a value."),
                    (None, None) => match candidates.iter().find(|row| used(row)) {
                        Some(row) => format!("Requests use the one of {}.", row.owner),
                        None => "Requests use it.".to_owned(),
                    },
                };
                answer = Some(Answer {
                    candidates,
                    conclusion,
                    disabled: explained.disabled,
                });
            }
            None => wrong = "That is no slug, or no user that you may ask about.",
        }
    }
    let users = match sight.sees_all() {
        true => sight.users().keys().map(ToString::to_string).collect(),
        false => vec![own],
    };
    let page = ExplainPage {
        layout: visit.layout("Which one wins", Section::Credentials),
        slug,
        user,
        users,
        answer,
        wrong,
    };
    layout::page(&page)
}

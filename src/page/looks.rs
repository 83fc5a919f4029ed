//! What the forms of signing in look like.

use askama::Template;

use super::assets;
use super::text;
use crate::admin::looks::{Form, FormKind, Looks, MIN_PASSWORD};

/// Forms that look like the pages.
pub struct PageLooks;

#[derive(Template)]
#[template(path = "signin.html")]
struct SignInPage<'a> {
    style: String,
    icon: String,
    title: &'static str,
    form: &'a FormKind<'a>,
    problem: String,
    fields: Vec<(String, String)>,
    next: &'a str,
    least: usize,
}

impl SignInPage<'_> {
    /// What is wrong with a field; empty if nothing is.
    fn wrong(&self, field: &str) -> &str {
        let found = self.fields.iter().find(|(known, _)| known == field);
        found.map_or("", |(_, detail)| detail)
    }
}

impl Looks for PageLooks {
    fn form(&self, form: &Form<'_>) -> String {
        let title = match form.kind {
            FormKind::SignIn { .. } => "Sign in",
            FormKind::Claim { .. } => "Set your password",
            FormKind::LinkOver => "This link does not work any more",
            FormKind::Prove { .. } => "Confirm that it is you",
            FormKind::Password { .. } => "Change your password",
        };
        let problem = form.problem.map(|problem| match &*problem.detail {
            "" => problem.trouble.title().to_owned(),
            detail => detail.to_owned(),
        });
        let fields = form.problem.map(|problem| problem.fields.iter());
        let fields = fields.into_iter().flatten();
        let page = SignInPage {
            style: assets::style(),
            icon: assets::icon(),
            title,
            form: &form.kind,
            problem: text::explanation(&problem.unwrap_or_default()),
            fields: fields
                .map(|field| (field.field.to_string(), field.detail.to_string()))
                .collect(),
            next: form.next,
            least: MIN_PASSWORD,
        };
        // The template has nothing that can fail.
        page.render().unwrap_or_default()
    }
}

//! What to do with a credential that was just saved.

use askama::Template;
use axum::extract::Path;
use axum::response::Response;

use super::facts::Asked;
use super::remarks;
use super::sample::{self, Example, Sample, placeholders};
use crate::page::failure::Failure;
use crate::page::fields::{Fields, Wrong};
use crate::page::layout::{self, Layout, Section};
use crate::page::person::Person;
use crate::page::visit::Visit;
use crate::vault::rights::Right;

#[derive(Template)]
#[template(path = "start.html")]
pub(super) struct StartPage {
    layout: Layout,
    path: String,
    slug: String,
    is_new: bool,
    placeholders: Vec<String>,
    remarks: Vec<String>,
    examples: Vec<Example>,
    may_test: bool,
    pub(super) test: TestForm,
    /// Whether the address filled the request in.
    is_filled_in: bool,
    media_types: [&'static str; 3],
    /// The version that waits, if there is one.
    staged: Option<u32>,
    /// What came of a test.
    pub(super) said: Option<Said>,
    pub(super) wrong: Wrong,
}

/// What came of a test.
pub(super) struct Said {
    pub(super) text: String,
    pub(super) class: &'static str,
}

/// The request that *Test it* sends.
pub(super) struct TestForm {
    pub(super) method: String,
    pub(super) url: String,
    pub(super) action: String,
    pub(super) header: String,
    pub(super) media_type: String,
    pub(super) body: String,
    /// Whether it uses the version that waits.
    pub(super) staged: bool,
}

/// The methods that are offered.
pub(super) const METHODS: [&str; 6] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];

impl TestForm {
    /// With a request that the limits allow. A method that is not offered cannot be chosen.
    fn of(sample: Sample) -> Self {
        Self {
            method: sample.method,
            url: sample.url,
            action: sample.action,
            header: sample.header,
            media_type: sample.media_type.to_owned(),
            body: sample.body,
            staged: false,
        }
    }

    /// With what was typed.
    pub(super) fn typed(fields: &Fields) -> Self {
        let text = |name: &str| fields.trimmed(name).to_owned();
        Self {
            method: text("method"),
            url: text("url"),
            action: text("action"),
            header: text("header"),
            media_type: text("media_type"),
            // A browser sends line ends as CR LF.
            body: fields.text("body").replace("\r\n", "\n"),
            staged: fields.text("version") == "staged",
        }
    }
}

/// `GET …/start`
pub(super) async fn show(
    visit: Visit,
    Path((owner, slug)): Path<(String, String)>,
) -> Result<Response, Failure> {
    let Visit {
        person,
        sight,
        fields,
    } = visit;
    let asked = Asked::seen(sight, &owner, &slug)?;
    let mut page = page(&person, &asked);
    page.is_new = fields.is_ticked("saved");
    page.remarks = remarks::meaning(fields.text("remarks"), &asked.credential.slug);
    page.test.staged = fields.text("version") == "staged";
    if !fields.trimmed("url").is_empty() {
        page.test = TestForm::typed(&fields);
        page.is_filled_in = true;
    }
    Ok(layout::page(&page))
}

/// The page, with the request that the limits allow.
pub(super) fn page(person: &Person, asked: &Asked) -> StartPage {
    let credential = &asked.credential;
    let slug = credential.slug.to_string();
    StartPage {
        layout: Layout::new(format!("Use {slug}"), Section::Credentials, person),
        path: asked.path(),
        slug,
        is_new: false,
        placeholders: placeholders(credential),
        remarks: Vec::new(),
        examples: sample::examples(credential, person.name()),
        may_test: asked.may(Right::Own),
        test: TestForm::of(Sample::of(credential)),
        is_filled_in: false,
        media_types: sample::MEDIA_TYPES,
        staged: credential.staged_version(),
        said: None,
        wrong: Wrong::default(),
    }
}

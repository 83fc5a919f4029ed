//! Rotate, revoke, restore, delete; promote, roll back and erase versions.

use askama::Template;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{MethodRouter, post};

use super::facts::Asked;
use super::impact::Impact;
use super::new;
use super::remarks;
use crate::admin::AdminContext;
use crate::page::failure::Failure;
use crate::page::fields::{Fields, Wrong};
use crate::page::layout::{self, Layout, Section};
use crate::page::person::Person;
use crate::page::visit::Visit;
use crate::vault::registrar::RegistrarError;
use crate::vault::rights::Right;
use crate::vault::rotation::Retention;

/// Seconds for which a replaced version can be returned to.
const ROLLBACK: i64 = 7 * 86_400;

type Place = Path<(String, String)>;

#[derive(Template)]
#[template(path = "rotate.html")]
struct RotatePage<'a> {
    layout: Layout,
    path: String,
    slug: String,
    kind: &'static str,
    version: u32,
    revision: i64,
    impact: Impact,
    after: String,
    /// Whether it was changed while the form was filled in.
    is_stale: bool,
    wrong: &'a Wrong,
}

/// A question before something is taken away.
#[derive(Template)]
#[template(path = "confirm.html")]
struct ConfirmPage<'a> {
    layout: Layout,
    path: String,
    slug: String,
    action: &'static str,
    heading: String,
    explanation: &'static str,
    button: &'static str,
    revision: i64,
    /// What it will break, if it can break anything.
    impact: Option<Impact>,
    /// What has to be typed, if anything.
    typed: &'a str,
    wrong: &'a Wrong,
    hidden: Vec<(&'static str, String)>,
}

async fn asked(
    context: &AdminContext,
    person: &Person,
    place: &Place,
    right: Right,
) -> Result<Asked, Failure> {
    let Path((owner, slug)) = place;
    let asked = Asked::of(context, person, owner, slug).await?;
    asked.demand(right)?;
    Ok(asked)
}

/// Back to the page of the credential, with a word about what was done.
pub(super) fn done(asked: &Asked, word: &str) -> Response {
    Redirect::to(&format!("{}?done={word}", asked.path())).into_response()
}

/// `GET …/rotate`
pub(super) async fn ask_rotate(
    State(context): State<AdminContext>,
    person: Person,
    place: Place,
) -> Result<Response, Failure> {
    let asked = asked(&context, &person, &place, Right::Own).await?;
    let wrong = Wrong::default();
    Ok(layout::page(
        &rotate_page(&context, &person, &asked, "", &wrong).await?,
    ))
}

async fn rotate_page<'a>(
    context: &AdminContext,
    person: &Person,
    asked: &Asked,
    after: &str,
    wrong: &'a Wrong,
) -> Result<RotatePage<'a>, Failure> {
    let credential = &asked.credential;
    let slug = credential.slug.to_string();
    Ok(RotatePage {
        layout: Layout::new(format!("Rotate {slug}"), Section::Credentials, person),
        path: asked.path(),
        slug,
        kind: credential.kind.as_str(),
        version: credential.version,
        revision: credential.revision,
        impact: Impact::of_end(context, &asked.sight, credential, None).await?,
        after: after.to_owned(),
        is_stale: false,
        wrong,
    })
}

/// `POST …/rotate`
pub(super) async fn rotate(
    State(context): State<AdminContext>,
    person: Person,
    place: Place,
    mut fields: Fields,
) -> Result<Response, Failure> {
    let asked = asked(&context, &person, &place, Right::Own).await?;
    let credential = &asked.credential;
    let value = new::value(&mut fields);
    let mut wrong = Wrong::default();
    if asked.is_stale(&fields) {
        let after = fields.text("after");
        let mut page = rotate_page(&context, &person, &asked, after, &wrong).await?;
        page.is_stale = true;
        return Ok(layout::refused(&page));
    }
    let registrar = asked.registrar(&context, fields.text("revision"));
    let (actor, owner, slug) = (person.actor(), &credential.owner, &credential.slug);
    let remarks = remarks::of(
        &asked.sight,
        credential.kind,
        &value,
        None,
        &credential.grant.hosts,
    );
    let saved = match fields.text("after") {
        "stage" => {
            let staged = registrar.stage(&actor, owner, slug, value).await;
            staged.map(|_| "staged")
        }
        after => {
            let retention = retention(after);
            let rotated = registrar
                .rotate(&actor, owner, slug, value, retention)
                .await;
            rotated.map(|_| "rotated")
        }
    };
    match saved {
        Ok(word) if remarks.is_empty() => Ok(done(&asked, word)),
        Ok(_) => {
            let query =
                crate::page::text::query(&[("saved", "yes"), ("remarks", &remarks.join(","))]);
            let place = format!("{}/start?{query}", asked.path());
            Ok(Redirect::to(&place).into_response())
        }
        Err(RegistrarError::Input(error)) => {
            wrong.add("value", error.to_string());
            let after = fields.text("after");
            let page = rotate_page(&context, &person, &asked, after, &wrong).await?;
            Ok(layout::refused(&page))
        }
        Err(error) => Err(error.into()),
    }
}

/// What becomes of the value that is replaced.
fn retention(after: &str) -> Retention {
    match after {
        "leaked" => Retention::leaked(),
        "rollback" => Retention {
            keep: ROLLBACK,
            rollback: true,
            leaked: false,
        },
        _ => Retention::default(),
    }
}

/// `GET …/revoke`
pub(super) async fn ask_revoke(
    State(context): State<AdminContext>,
    person: Person,
    place: Place,
) -> Result<Response, Failure> {
    let asked = asked(&context, &person, &place, Right::TakeAway).await?;
    let slug = &asked.credential.slug;
    let wrong = Wrong::default();
    let page = ConfirmPage {
        layout: Layout::new(format!("Revoke {slug}"), Section::Credentials, &person),
        path: asked.path(),
        slug: slug.to_string(),
        action: "revoke",
        heading: format!("Revoke {slug}?"),
        explanation: "From the next request on nothing may use it, inside connections that are open \
                      too. Its value is kept, and the owner can restore it.",
        button: "Revoke",
        revision: asked.credential.revision,
        impact: Some(Impact::of_end(&context, &asked.sight, &asked.credential, None).await?),
        typed: "",
        wrong: &wrong,
        hidden: Vec::new(),
    };
    Ok(layout::page(&page))
}

/// `GET …/destroy?version=2`
pub(super) async fn ask_destroy(
    visit: Visit,
    Path((owner, slug)): Place,
) -> Result<Response, Failure> {
    let title = format!("Erase a version of {slug}");
    let layout = visit.layout(title, Section::Credentials);
    let asked = Asked::seen(visit.sight, &owner, &slug)?;
    asked.demand(Right::Own)?;
    let credential = &asked.credential;
    let number: u32 = visit.fields.text("version").parse().unwrap_or(0);
    let mut versions = credential.versions.iter();
    let known = versions.any(|version| version.number == number);
    if !known || number == credential.version {
        return Err(Failure::not_found());
    }
    let wrong = Wrong::default();
    let page = ConfirmPage {
        layout,
        path: asked.path(),
        slug,
        action: "destroy",
        heading: format!("Erase version {number}?"),
        explanation: "Its value is erased at once, and nothing brings it back. Answers are no longer \
                      searched for it. Requests go on with the version in force.",
        button: "Erase for good",
        revision: credential.revision,
        impact: None,
        typed: "",
        wrong: &wrong,
        hidden: vec![("version", number.to_string())],
    };
    Ok(layout::page(&page))
}

/// `GET …/delete`
pub(super) async fn ask_delete(
    State(context): State<AdminContext>,
    person: Person,
    place: Place,
) -> Result<Response, Failure> {
    let asked = asked(&context, &person, &place, Right::TakeAway).await?;
    let wrong = Wrong::default();
    let page = delete_page(&context, &person, &asked, &wrong).await?;
    Ok(layout::page(&page))
}

async fn delete_page<'a>(
    context: &AdminContext,
    person: &Person,
    asked: &'a Asked,
    wrong: &'a Wrong,
) -> Result<ConfirmPage<'a>, Failure> {
    let slug = &asked.credential.slug;
    Ok(ConfirmPage {
        layout: Layout::new(format!("Delete {slug}"), Section::Credentials, person),
        path: asked.path(),
        slug: slug.to_string(),
        action: "delete",
        heading: format!("Delete {slug}?"),
        explanation: "Its values and shares are erased, and nothing brings them back. Its lines in the \
                      ledger stay. To stop its use for a while, revoke it.",
        button: "Delete for good",
        revision: asked.credential.revision,
        impact: Some(Impact::of_end(context, &asked.sight, &asked.credential, None).await?),
        typed: slug.as_str(),
        wrong,
        hidden: Vec::new(),
    })
}

/// `POST …/delete`
pub(super) async fn delete(
    State(context): State<AdminContext>,
    person: Person,
    place: Place,
    fields: Fields,
) -> Result<Response, Failure> {
    let asked = asked(&context, &person, &place, Right::TakeAway).await?;
    let credential = &asked.credential;
    if fields.trimmed("typed") != credential.slug.as_str() {
        let mut wrong = Wrong::default();
        wrong.add("typed", "Type the slug as it stands above.");
        let page = delete_page(&context, &person, &asked, &wrong).await?;
        return Ok(layout::refused(&page));
    }
    let registrar = asked.registrar(&context, fields.text("revision"));
    let (owner, slug) = (&credential.owner, &credential.slug);
    registrar.delete(&person.actor(), owner, slug).await?;
    Ok(Redirect::to("/settings/credentials?done=deleted").into_response())
}

/// A change that needs nothing but the word.
#[derive(Clone, Copy, Debug)]
pub(super) enum Change {
    Revoke,
    Restore,
    Promote,
    RollBack,
    Destroy,
}

impl Change {
    fn right(self) -> Right {
        match self {
            Self::Revoke => Right::TakeAway,
            Self::Restore | Self::Promote | Self::RollBack | Self::Destroy => Right::Own,
        }
    }

    /// What the page says afterwards.
    fn word(self) -> &'static str {
        match self {
            Self::Revoke => "revoked",
            Self::Restore => "restored",
            Self::Promote => "promoted",
            Self::RollBack => "rolled-back",
            Self::Destroy => "destroyed",
        }
    }

    /// The handler of its form, which carries the revision that it shows.
    pub(super) fn handler(self) -> MethodRouter<AdminContext> {
        post(
            async move |State(context): State<AdminContext>,
                        person: Person,
                        place: Place,
                        fields: Fields| {
                self.make(&context, &person, &place, &fields).await
            },
        )
    }

    async fn make(
        self,
        context: &AdminContext,
        person: &Person,
        place: &Place,
        fields: &Fields,
    ) -> Result<Response, Failure> {
        let asked = asked(context, person, place, self.right()).await?;
        if matches!(self, Self::Restore) {
            person.demand_fresh(&asked.path())?;
        }
        let registrar = asked.registrar(context, fields.text("revision"));
        let (owner, slug) = (&asked.credential.owner, &asked.credential.slug);
        let actor = person.actor();
        match self {
            Self::Revoke => drop(registrar.revoke(&actor, owner, slug).await?),
            Self::Restore => drop(registrar.restore(&actor, owner, slug).await?),
            Self::Promote => {
                let keep = retention("rollback");
                registrar.promote(&actor, owner, slug, &keep).await?;
            }
            Self::RollBack => drop(registrar.roll_back(&actor, owner, slug).await?),
            Self::Destroy => {
                // No version has the number 0.
                let number = fields.text("version").parse().unwrap_or(0);
                registrar.destroy(&actor, owner, slug, number).await?;
            }
        }
        Ok(done(&asked, self.word()))
    }
}

//! Where a credential may be used.

use askama::Template;
use axum::extract::{Path, State};
use axum::response::Response;

use super::change::done;
use super::facts::Asked;
use super::impact::Impact;
use super::limits_form::{LimitsForm, read_grant};
use crate::admin::AdminContext;
use crate::page::failure::Failure;
use crate::page::fields::{Fields, Wrong};
use crate::page::layout::{self, Layout, Section};
use crate::page::person::Person;
use crate::page::visit::{Sent, Visit};
use crate::policy::grant::Grant;
use crate::vault::rights::Right;

#[derive(Template)]
#[template(path = "limits.html")]
struct LimitsPage<'a> {
    layout: Layout,
    path: String,
    slug: String,
    revision: i64,
    limits: LimitsForm,
    /// Whether the address filled the form in.
    is_filled_in: bool,
    /// Whether it was changed while the form was filled in.
    is_stale: bool,
    impact: Impact,
    wrong: &'a Wrong,
}

type Place = Path<(String, String)>;

/// `GET …/limits`
pub(super) async fn ask(visit: Visit, Path((owner, slug)): Place) -> Result<Response, Failure> {
    let Visit {
        person,
        sight,
        fields,
    } = visit;
    let asked = Asked::seen(sight, &owner, &slug)?;
    asked.demand(Right::Own)?;
    let wrong = Wrong::default();
    let is_filled_in = !fields.trimmed("hosts").is_empty();
    let limits = if is_filled_in {
        LimitsForm::typed(&fields)
    } else {
        LimitsForm::of(&asked.credential)
    };
    let mut page = limits_page(&person, &asked, limits, Impact::default(), &wrong);
    page.is_filled_in = is_filled_in;
    Ok(layout::page(&page))
}

fn limits_page<'a>(
    person: &Person,
    asked: &Asked,
    limits: LimitsForm,
    impact: Impact,
    wrong: &'a Wrong,
) -> LimitsPage<'a> {
    let slug = asked.credential.slug.to_string();
    LimitsPage {
        layout: Layout::new(format!("Limits of {slug}"), Section::Credentials, person),
        path: asked.path(),
        slug,
        revision: asked.credential.revision,
        limits,
        is_filled_in: false,
        is_stale: false,
        impact,
        wrong,
    }
}

/// `POST …/limits`. Whoever may send a value to another host could read it there, so wider limits need
/// proof that it is the owner; narrower ones are tried on the last 30 days first.
pub(super) async fn change(
    State(context): State<AdminContext>,
    Path((owner, slug)): Place,
    sent: Sent,
) -> Result<Response, Failure> {
    let Sent { person, fields } = &sent;
    let asked = Asked::of(&context, person, &owner, &slug).await?;
    asked.demand(Right::Own)?;
    let credential = &asked.credential;
    let mut wrong = Wrong::default();
    if asked.is_stale(fields) {
        let typed = LimitsForm::typed(fields);
        let mut page = limits_page(person, &asked, typed, Impact::default(), &wrong);
        page.is_stale = true;
        return Ok(layout::refused(&page));
    }
    let grant = read_grant(fields, credential.grant.uses, &mut wrong);
    let every = crate::page::when::interval(fields.text("rotate_every"));
    let every = every.map_err(|error| wrong.add("rotate_every", error));
    let mut impact = Impact::default();
    if wrong.is_empty() {
        if grant.is_wider_than(&credential.grant) {
            sent.demand_fresh(&format!("{}/limits", asked.path()))?;
        }
        if !fields.is_ticked("sure") {
            impact = Impact::of_limits(&context, credential, &grant).await?;
        }
    }
    if !wrong.is_empty() || !impact.is_none() {
        let page = limits_page(person, &asked, LimitsForm::typed(fields), impact, &wrong);
        return Ok(layout::refused(&page));
    }
    let changed = apply(
        &context,
        person,
        &asked,
        fields,
        grant,
        every.unwrap_or_default(),
    );
    let word = if changed.await? {
        "limits"
    } else {
        "unchanged"
    };
    Ok(done(&asked, word))
}

/// Both changes are made on what the form showed: the second sees the first one's revision.
async fn apply(
    context: &AdminContext,
    person: &Person,
    asked: &Asked,
    fields: &Fields,
    grant: Grant,
    every: Option<i64>,
) -> Result<bool, Failure> {
    let credential = &asked.credential;
    let (actor, owner, slug) = (person.actor(), &credential.owner, &credential.slug);
    let registrar = asked.registrar(context, fields.text("revision"));
    let mut changed = false;
    if credential.grant != grant {
        changed = registrar.allow(&actor, owner, slug, grant).await?;
    }
    if credential.rotate_every != every {
        let registrar = match changed {
            true => context.registrar(),
            false => registrar,
        };
        changed |= registrar.rotate_every(&actor, owner, slug, every).await?;
    }
    Ok(changed)
}

//! Sharing a credential, and ending a share.

use askama::Template;
use axum::extract::{Path, State};
use axum::response::Response;

use super::change::done;
use super::facts::{self, Asked};
use super::impact::{Impact, is_among};
use crate::admin::AdminContext;
use crate::page::failure::Failure;
use crate::page::fields::{Fields, Wrong};
use crate::page::layout::{self, Layout, Section};
use crate::page::people::grantees;
use crate::page::person::Person;
use crate::page::visit::{Sent, Visit};
use crate::page::when::{self, When};
use crate::policy::grant;
use crate::policy::share_limits::ShareLimits;
use crate::vault::cache::explain::Standing;
use crate::vault::people::{Grantee, Share};
use crate::vault::rights::Right;
use crate::vault::sharing::Offer;
use crate::vault::{Principal, StoreError};

/// Users that are named whom a second share under one slug would leave without either.
const NAMED: usize = 20;

#[derive(Template)]
#[template(path = "share.html")]
struct SharePage<'a> {
    layout: Layout,
    path: String,
    slug: String,
    revision: i64,
    /// With whom it can be shared.
    names: Vec<String>,
    form: Form,
    /// Whether it was changed while the form was filled in.
    is_stale: bool,
    /// What the holders did that the limits would refuse.
    impact: Impact,
    /// Who uses another one of this slug, which the share would end.
    doubled: Vec<String>,
    wrong: &'a Wrong,
}

struct Form {
    with: String,
    hosts: String,
    locations: String,
    methods: String,
    paths: String,
    actions: String,
    until: String,
}

impl Form {
    /// With what was typed.
    fn typed(fields: &Fields) -> Self {
        let text = |name: &str| fields.text(name).to_owned();
        Self {
            with: text("with"),
            hosts: text("hosts"),
            locations: text("locations"),
            methods: text("methods"),
            paths: text("paths"),
            actions: text("actions"),
            until: text("until"),
        }
    }

    /// With a share as it is.
    fn of(share: &Share) -> Self {
        let limits = &share.limits;
        Self {
            with: share.with.to_string(),
            hosts: facts::texts(&limits.hosts),
            locations: facts::texts(&limits.locations),
            methods: limits.methods.join(", "),
            paths: facts::texts(&limits.paths),
            actions: limits.actions.join("\n"),
            until: share
                .until
                .map_or_else(String::new, |at| When::at(at).iso()),
        }
    }
}

/// The share with somebody, if there is one.
fn present<'a>(asked: &'a Asked, with: &str) -> Option<&'a Share> {
    let mut shares = asked.credential.shares.iter();
    let found = shares.find(|share| share.ended.is_none() && share.with.to_string() == with);
    found.map(|share| &**share)
}

#[derive(Template)]
#[template(path = "unshare.html")]
struct UnsharePage {
    layout: Layout,
    path: String,
    slug: String,
    with: String,
    revision: i64,
    impact: Impact,
}

type Place = Path<(String, String)>;

/// `GET …/share`
pub(super) async fn ask(visit: Visit, Path((owner, slug)): Place) -> Result<Response, Failure> {
    let asked = Asked::seen(visit.sight, &owner, &slug)?;
    asked.demand(Right::Own)?;
    // Asked for now, so that nothing is typed in vain.
    let form = visit.fields.back_to(&format!("{}/share", asked.path()));
    visit.person.demand_fresh(&form)?;
    let typed = &visit.fields;
    // A link to a share that is there names no more than the other side.
    let shown = present(&asked, typed.trimmed("with")).filter(|_| !typed.has("until"));
    let form = shown.map_or_else(|| Form::typed(typed), Form::of);
    let wrong = Wrong::default();
    let page = share_page(&visit.person, &asked, form, Impact::default(), &wrong);
    Ok(layout::page(&page))
}

fn share_page<'a>(
    person: &Person,
    asked: &Asked,
    form: Form,
    impact: Impact,
    wrong: &'a Wrong,
) -> SharePage<'a> {
    let slug = asked.credential.slug.to_string();
    let owner = &asked.credential.owner;
    let names = grantees(&asked.sight, owner);
    SharePage {
        layout: Layout::new(format!("Share {slug}"), Section::Credentials, person),
        path: asked.path(),
        slug,
        revision: asked.credential.revision,
        names,
        form,
        is_stale: false,
        impact,
        doubled: Vec::new(),
        wrong,
    }
}

/// `POST …/share`
pub(super) async fn share(
    State(context): State<AdminContext>,
    Path((owner, slug)): Place,
    sent: Sent,
) -> Result<Response, Failure> {
    let asked = Asked::of(&context, &sent.person, &owner, &slug).await?;
    asked.demand(Right::Own)?;
    sent.demand_fresh(&format!("{}/share", asked.path()))?;
    let Sent { person, fields } = &sent;
    let credential = &asked.credential;
    let mut wrong = Wrong::default();
    if asked.is_stale(fields) {
        let typed = Form::typed(fields);
        let mut page = share_page(person, &asked, typed, Impact::default(), &wrong);
        page.is_stale = true;
        return Ok(layout::refused(&page));
    }
    let offer = read(fields, &mut wrong);
    let doubled = match &offer {
        Some(offer) if !fields.is_ticked("sure") => doubled(&asked, &offer.with),
        _ => Vec::new(),
    };
    if !doubled.is_empty() {
        let typed = Form::typed(fields);
        let mut page = share_page(person, &asked, typed, Impact::default(), &wrong);
        page.doubled = doubled;
        return Ok(layout::refused(&page));
    }
    if let Some(offer) = &offer
        && !fields.is_ticked("sure")
        && present(&asked, &offer.with.to_string()).is_some()
    {
        let (with, limits) = (&offer.with, &offer.limits);
        let impact = Impact::of_share(&context, &asked.sight, credential, with, limits).await?;
        if !impact.is_none() {
            let page = share_page(person, &asked, Form::typed(fields), impact, &wrong);
            return Ok(layout::refused(&page));
        }
    }
    if let Some(offer) = offer {
        let registrar = asked.registrar(&context, fields.text("revision"));
        let (owner, slug) = (&credential.owner, &credential.slug);
        let shared = registrar.share(&person.actor(), owner, slug, &offer).await;
        match shared {
            Ok(true) => return Ok(done(&asked, "shared")),
            Ok(false) => return Ok(done(&asked, "unchanged")),
            Err(error) => {
                let field = match error {
                    StoreError::UserNotFound(_)
                    | StoreError::GroupNotFound(_)
                    | StoreError::OwnCredential(_)
                    | StoreError::Floor(_) => "with",
                    StoreError::Wider(_) => "hosts",
                    StoreError::Invalid(_) => "until",
                    other => return Err(other.into()),
                };
                wrong.add(field, error.to_string());
            }
        }
    }
    let form = Form::typed(fields);
    let page = share_page(person, &asked, form, Impact::default(), &wrong);
    Ok(layout::refused(&page))
}

/// Whose requests a share would end: with two that are shared under one slug, neither is used. Only those who
/// see everything may know what others share.
fn doubled(asked: &Asked, with: &Grantee) -> Vec<String> {
    let (sight, credential) = (&asked.sight, &asked.credential);
    if present(asked, &with.to_string()).is_some() {
        return Vec::new();
    }
    let users = sight.users().keys();
    let users = users.filter(|user| **user != credential.owner && is_among(sight, with, user));
    let other = |user: &Principal| {
        let candidates = sight.explain(user, &credential.slug)?.candidates;
        let other = candidates.iter().find(|one| {
            one.standing == Standing::Used && one.owner != *user && one.owner != credential.owner
        })?;
        Some(format!(
            "{user} uses the {} of {}",
            credential.slug, other.owner
        ))
    };
    users.filter_map(other).take(NAMED).collect()
}

fn read(fields: &Fields, wrong: &mut Wrong) -> Option<Offer> {
    let with = fields.trimmed("with").parse::<Grantee>();
    let with = with
        .map_err(|error| wrong.add("with", error.to_string()))
        .ok();
    let until = when::future(fields.text("until"));
    let until = until.map_err(|error| wrong.add("until", error)).ok();
    let limits = ShareLimits {
        hosts: wrong.read("hosts", fields.items("hosts")),
        locations: wrong.read("locations", fields.items("locations")),
        methods: wrong.read_with("methods", fields.items("methods"), grant::parse_method),
        paths: wrong.read_with("paths", fields.items("paths"), grant::parse_path),
        actions: wrong.read_with("actions", fields.lines("actions"), grant::parse_action),
    };
    let offer = Offer {
        with: with?,
        limits,
        until: until?,
    };
    wrong.is_empty().then_some(offer)
}

/// `GET …/unshare?with=bob`
pub(super) async fn ask_unshare(
    State(context): State<AdminContext>,
    visit: Visit,
    Path((owner, slug)): Place,
) -> Result<Response, Failure> {
    let title = format!("End the share of {slug}");
    let layout = visit.layout(title, Section::Credentials);
    let asked = Asked::seen(visit.sight, &owner, &slug)?;
    asked.demand(Right::TakeAway)?;
    let with = visit.fields.text("with").parse::<Grantee>();
    let with = with.map_err(|_| Failure::not_found())?;
    let credential = &asked.credential;
    let page = UnsharePage {
        layout,
        path: asked.path(),
        slug,
        revision: credential.revision,
        impact: Impact::of_end(&context, &asked.sight, credential, Some(&with)).await?,
        with: with.to_string(),
    };
    Ok(layout::page(&page))
}

/// `POST …/unshare`
pub(super) async fn unshare(
    State(context): State<AdminContext>,
    person: Person,
    Path((owner, slug)): Place,
    fields: Fields,
) -> Result<Response, Failure> {
    let asked = Asked::of(&context, &person, &owner, &slug).await?;
    asked.demand(Right::TakeAway)?;
    let with = fields.text("with").parse::<Grantee>();
    let with = with.map_err(|_| Failure::not_found())?;
    let credential = &asked.credential;
    let registrar = asked.registrar(&context, fields.text("revision"));
    let (owner, slug) = (&credential.owner, &credential.slug);
    registrar
        .unshare(&person.actor(), owner, slug, &with)
        .await?;
    Ok(done(&asked, "unshared"))
}

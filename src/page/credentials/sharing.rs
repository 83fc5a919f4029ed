//! Sharing a credential, and ending a share.

use askama::Template;
use axum::extract::{Path, RawQuery, State};
use axum::response::Response;

use super::change::done;
use super::facts::Asked;
use super::impact::Impact;
use crate::admin::AdminContext;
use crate::page::failure::Failure;
use crate::page::fields::{Fields, Wrong};
use crate::page::layout::{self, Layout, Section};
use crate::page::people::grantees;
use crate::page::person::Person;
use crate::page::when;
use crate::policy::grant;
use crate::policy::share_limits::ShareLimits;
use crate::vault::StoreError;
use crate::vault::people::Grantee;
use crate::vault::rights::Right;
use crate::vault::sharing::Offer;

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
    wrong: &'a Wrong,
}

#[derive(Default)]
struct Form {
    with: String,
    hosts: String,
    methods: String,
    paths: String,
    actions: String,
    until: String,
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
pub(super) async fn ask(
    State(context): State<AdminContext>,
    person: Person,
    Path((owner, slug)): Place,
) -> Result<Response, Failure> {
    let asked = Asked::of(&context, &person, &owner, &slug).await?;
    asked.demand(Right::Own)?;
    // Asked for now, so that nothing is typed in vain.
    person.demand_fresh(&format!("{}/share", asked.path()))?;
    let wrong = Wrong::default();
    Ok(layout::page(&share_page(
        &person,
        &asked,
        Form::default(),
        &wrong,
    )))
}

fn share_page<'a>(person: &Person, asked: &Asked, form: Form, wrong: &'a Wrong) -> SharePage<'a> {
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
        wrong,
    }
}

/// `POST …/share`
pub(super) async fn share(
    State(context): State<AdminContext>,
    person: Person,
    Path((owner, slug)): Place,
    fields: Fields,
) -> Result<Response, Failure> {
    let asked = Asked::of(&context, &person, &owner, &slug).await?;
    asked.demand(Right::Own)?;
    person.demand_fresh(&format!("{}/share", asked.path()))?;
    let credential = &asked.credential;
    let mut wrong = Wrong::default();
    if let Some(offer) = read(&fields, &mut wrong) {
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
    let text = |name: &str| fields.text(name).to_owned();
    let form = Form {
        with: text("with"),
        hosts: text("hosts"),
        methods: text("methods"),
        paths: text("paths"),
        actions: text("actions"),
        until: text("until"),
    };
    Ok(layout::refused(&share_page(&person, &asked, form, &wrong)))
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
        locations: Vec::new(),
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
    person: Person,
    Path((owner, slug)): Place,
    RawQuery(query): RawQuery,
) -> Result<Response, Failure> {
    let fields = Fields::parse(query.unwrap_or_default().as_bytes());
    let asked = Asked::of(&context, &person, &owner, &slug).await?;
    asked.demand(Right::TakeAway)?;
    let with = fields.text("with").parse::<Grantee>();
    let with = with.map_err(|_| Failure::not_found())?;
    let credential = &asked.credential;
    let page = UnsharePage {
        layout: Layout::new(
            format!("End the share of {slug}"),
            Section::Credentials,
            &person,
        ),
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

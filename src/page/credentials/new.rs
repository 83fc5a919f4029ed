//! Add credential.

use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};

use super::facts;
use super::limits_form::{LimitsForm, read_grant};
use super::remarks;
use crate::admin::AdminContext;
use crate::page::failure::Failure;
use crate::page::fields::{Fields, Wrong};
use crate::page::layout::{self, Layout, Section};
use crate::page::person::Person;
use crate::page::text;
use crate::page::visit::{Query, Sent};
use crate::page::when;
use crate::policy::use_limits::UseLimits;
use crate::secret::SecretBytes;
use crate::services::{self, Service, ServiceKind};
use crate::substitution::slug::Slug;
use crate::vault::registrar::RegistrarError;
use crate::vault::{Kind, NewCredential, StoreError};

/// What is said where there is no value.
pub(in crate::page) const NO_VALUE: &str =
    "Paste the value. It was not kept if the form is shown again.";

#[derive(Template)]
#[template(path = "new.html")]
struct NewPage<'a> {
    layout: Layout,
    services: &'static [Service],
    service: Option<&'static Service>,
    /// Whether a link named the hosts, which somebody else may have made.
    is_filled_in: bool,
    form: Form,
    limits: LimitsForm,
    wrong: &'a Wrong,
}

/// What the form is filled with. It has no field for a value.
#[derive(Default)]
struct Form {
    service: String,
    slug: String,
    kind: String,
    description: String,
    limits: LimitsForm,
}

impl Form {
    fn of(fields: &Fields) -> Self {
        let text = |name: &str| fields.text(name).to_owned();
        let form = Self {
            service: text("service"),
            slug: text("slug"),
            kind: text("kind"),
            description: text("description"),
            limits: LimitsForm::typed(fields),
        };
        match services::find(&form.service) {
            Some(service) => form.with(service),
            None => form,
        }
    }

    /// With what the service proposes where nothing was typed.
    fn with(mut self, service: &Service) -> Self {
        let put = |field: &mut String, text: String| {
            if field.trim().is_empty() {
                *field = text;
            }
        };
        let hosts: Vec<_> = service.hosts.iter().map(ToString::to_string).collect();
        put(&mut self.slug, service.id.clone());
        put(&mut self.limits.hosts, hosts.join("\n"));
        put(&mut self.limits.locations, service.location().to_string());
        let kind = match service.kind {
            ServiceKind::Secret => "secret",
            ServiceKind::Login => "login",
        };
        put(&mut self.kind, kind.to_owned());
        self
    }
}

/// `GET /settings/credentials/new`. The address can fill the form in.
pub(super) async fn ask(person: Person, Query(fields): Query) -> Response {
    let wrong = Wrong::default();
    let mut page = new_page(&person, &fields, &wrong);
    page.is_filled_in = !fields.trimmed("hosts").is_empty();
    layout::page(&page)
}

fn new_page<'a>(person: &Person, fields: &Fields, wrong: &'a Wrong) -> NewPage<'a> {
    let mut form = Form::of(fields);
    NewPage {
        layout: Layout::new("Add credential", Section::Credentials, person),
        services: services::all(),
        service: services::find(fields.text("service")),
        is_filled_in: false,
        limits: std::mem::take(&mut form.limits),
        form,
        wrong,
    }
}

/// `POST /settings/credentials/new`
pub(super) async fn save(
    State(context): State<AdminContext>,
    sent: Sent,
) -> Result<Response, Failure> {
    let Sent { person, mut fields } = sent;
    let value = value(&mut fields);
    let mut wrong = Wrong::default();
    let new = read(&fields, &person, &mut wrong);
    if value.is_empty() {
        wrong.add("value", NO_VALUE);
    }
    let Some(new) = new.filter(|_| wrong.is_empty()) else {
        return Ok(layout::refused(&new_page(&person, &fields, &wrong)));
    };
    let service = services::find(fields.text("service"));
    let sight = person.look(&context).await?;
    let mut remarks = remarks::of(&sight, new.kind, &value, service, &new.grant.hosts);
    remarks.extend(remarks::about_hosts(&context, &new.grant.hosts));
    let path = facts::path(&new.owner, &new.slug);
    let saved = context.registrar().add(&person.actor(), new, value).await;
    match saved {
        Ok(_) => {
            let query = text::query(&[("saved", "yes"), ("remarks", &remarks.join(","))]);
            Ok(Redirect::to(&format!("{path}/start?{query}")).into_response())
        }
        Err(error) => {
            let (field, message) = concerns(error)?;
            wrong.add(field, message);
            Ok(layout::refused(&new_page(&person, &fields, &wrong)))
        }
    }
}

/// The field that an error is about, if it is about one.
pub(in crate::page) fn concerns(error: RegistrarError) -> Result<(&'static str, String), Failure> {
    let field = match &error {
        RegistrarError::Input(_) => "value",
        RegistrarError::NoHost => return Ok(("hosts", "Name at least one host.".to_owned())),
        RegistrarError::Description => "description",
        RegistrarError::Store(StoreError::Exists { .. }) => "slug",
        RegistrarError::Store(StoreError::Invalid(_)) => "rotate_every",
        RegistrarError::Store(StoreError::Floor(_)) => "hosts",
        RegistrarError::Store(_) => return Err(error.into()),
    };
    Ok((field, error.to_string()))
}

/// The value. A login has two fields for it, so that nobody has to write JSON.
pub(in crate::page) fn value(fields: &mut Fields) -> SecretBytes {
    if fields.text("kind") != Kind::Login.as_str() {
        return fields.take_value("value");
    }
    let (user, password) = (fields.take_value("username"), fields.take_value("password"));
    if user.is_empty() || password.is_empty() {
        return SecretBytes::new(Vec::new());
    }
    let text = |secret: &SecretBytes| String::from_utf8_lossy(secret.expose()).into_owned();
    let object = serde_json::json!({"username": text(&user), "password": text(&password)});
    SecretBytes::new(object.to_string().into_bytes())
}

fn read(fields: &Fields, person: &Person, wrong: &mut Wrong) -> Option<NewCredential> {
    let slug = Slug::parse(fields.trimmed("slug"));
    let slug = slug
        .map_err(|error| wrong.add("slug", error.to_string()))
        .ok();
    let kind = match fields.text("kind") {
        "" => Ok(Kind::Secret),
        text => text.parse::<Kind>(),
    };
    let kind = kind
        .map_err(|_| wrong.add("kind", "Choose one of the three."))
        .ok();
    let grant = read_grant(fields, UseLimits::default(), wrong);
    let every = when::interval(fields.text("rotate_every"));
    let every = every.map_err(|error| wrong.add("rotate_every", error)).ok();
    Some(NewCredential {
        owner: person.name().clone(),
        slug: slug?,
        kind: kind?,
        description: fields.trimmed("description").to_owned(),
        grant,
        rotate_every: every?,
    })
}

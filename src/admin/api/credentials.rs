//! Credentials: what there is, saved, narrowed, revoked and deleted. Values go in and never come out.

use std::sync::Arc;

use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::answer::{Answer, Page, PageSize, page_size};
use super::asked::Asked;
use super::change::{Change, Place, Thing};
use super::condition::IfNew;
use super::inputs::{Action, Method, SecretInput, Time};
use super::request::{Json, Names, Search, message, named, new_name, parameter};
use crate::admin::context::AdminContext;
use crate::admin::problem::{AdminProblem, FieldProblem, Trouble};
use crate::admin::remarks;
use crate::policy::grant::{Grant, HostPattern, PathPrefix};
use crate::policy::location::LocationRule;
use crate::policy::use_limits::{Asking, Budget, Copies, UseLimits, UsesChange};
use crate::secret::SecretBytes;
use crate::services::{self, ServiceKind, remark};
use crate::substitution::slug::Slug;
use crate::vault::registrar::RegistrarError;
use crate::vault::store::ObjectName;
use crate::vault::{
    Credential, Kind, ListOrder, ListPart, ListPlace, NewCredential, Principal, Sight,
};
use crate::views;

pub(super) fn router() -> OpenApiRouter<AdminContext> {
    OpenApiRouter::new()
        .routes(routes!(list_credentials))
        .routes(routes!(
            get_credential,
            create_credential,
            delete_credential
        ))
        .routes(routes!(set_limits))
        .routes(routes!(set_rotation))
        .routes(routes!(revoke_credential))
        .routes(routes!(restore_credential))
}

/// Which credential.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct CredentialPath {
    /// Who owns it.
    #[param(pattern = "^[a-z0-9][a-z0-9._@-]{0,63}$")]
    owner: String,
    /// Its slug.
    #[param(pattern = "^[a-z][a-z0-9_-]{0,63}$")]
    slug: String,
}

impl CredentialPath {
    pub(super) fn parse(&self) -> Result<(Principal, Slug), AdminProblem> {
        Ok((named(&self.owner)?, named(&self.slug)?))
    }
}

/// A credential that the caller knows of.
pub(super) struct Known {
    pub(super) owner: Principal,
    pub(super) slug: Slug,
    pub(super) credential: Arc<Credential>,
}

impl Known {
    pub(super) fn find(asked: &Asked, owner: &str, slug: &str) -> Result<Self, AdminProblem> {
        Self::of(&asked.sight, named(owner)?, named(slug)?)
    }

    /// The credential of this name, if the viewer knows of it.
    pub(super) fn of(sight: &Sight, owner: Principal, slug: Slug) -> Result<Self, AdminProblem> {
        let credential = sight.credential(&owner, &slug);
        let credential = credential.ok_or_else(|| AdminProblem::new(Trouble::NotFound))?;
        Ok(Self {
            owner,
            slug,
            credential,
        })
    }

    /// What the viewer sees of it.
    pub(super) async fn details(
        &self,
        sight: &Sight,
        context: &AdminContext,
    ) -> Result<Answer, AdminProblem> {
        details(sight, context, &self.credential).await
    }
}

impl Thing for Known {
    fn object(&self) -> ObjectName {
        ObjectName::credential(&self.owner, &self.slug)
    }

    fn revision(&self, _: &Sight) -> Option<i64> {
        Some(self.credential.revision)
    }

    async fn show(&self, sight: &Sight, context: &AdminContext) -> Result<Answer, AdminProblem> {
        let credential = sight.credential(&self.owner, &self.slug);
        let credential = credential.ok_or_else(|| AdminProblem::new(Trouble::NotFound))?;
        details(sight, context, &credential).await
    }
}

impl Place for CredentialPath {
    type Thing = Known;

    fn find(&self, asked: &Asked) -> Result<Known, AdminProblem> {
        Known::find(asked, &self.owner, &self.slug)
    }
}

/// A credential as the viewer sees it: with whom it is shared is the owner's business.
pub(super) async fn details(
    sight: &Sight,
    context: &AdminContext,
    credential: &Credential,
) -> Result<Answer, AdminProblem> {
    details_with(sight, context, credential, Vec::new()).await
}

async fn details_with(
    sight: &Sight,
    context: &AdminContext,
    credential: &Credential,
    remarks: Vec<String>,
) -> Result<Answer, AdminProblem> {
    let last_uses = context.services().last_uses(std::iter::once(credential));
    let last_used = last_uses.await?.of(credential);
    let sees_shares = credential.owner == *sight.viewer() || sight.sees_all();
    let mut view = views::CredentialDetails::for_viewer(credential, last_used, |with| {
        sees_shares || sight.is_reached_by(with)
    });
    let rejected = context.state().health.rejected_since(credential);
    view.credential = view.credential.rejected(rejected);
    view.remarks = remarks;
    Ok(Answer::ok(&view).at(Some(credential.revision)))
}

impl Change<CredentialPath> {
    /// As [`Change::done`], with what may be a mistake about what was sent.
    pub(super) async fn done_with(&self, remarks: Vec<String>) -> Result<Answer, AdminProblem> {
        let sight = self.asked.after_change().await?;
        let Known { owner, slug, .. } = &self.thing;
        let known = Known::of(&sight, owner.clone(), slug.clone())?;
        details_with(&sight, &self.asked.context, &known.credential, remarks).await
    }
}

/// The hosts where no placeholder works, as the tunnels there are not opened.
fn about_hosts(context: &AdminContext, hosts: &[HostPattern]) -> Vec<String> {
    let settings = context.settings();
    let passed = remark::passed_through(hosts, &settings.config.tls.passthrough);
    passed.map(remark::unopened).collect()
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct CredentialSearch {
    /// Only those of this owner.
    owner: Option<String>,
    /// Only those whose slug or description has this text.
    text: Option<String>,
    /// Only those in this state: active or revoked.
    #[param(pattern = "^(active|revoked)$")]
    state: Option<String>,
    /// Only those whose value is due to be replaced.
    due: Option<bool>,
    /// Only those whose value upstreams refuse.
    rejected: Option<bool>,
    /// Where the page begins: `next` of the page before.
    after: Option<String>,
    /// How many items a page has, at most 500.
    #[param(value_type = Option<usize>, minimum = 1, maximum = 500)]
    limit: Option<PageSize>,
}

/// List credentials
///
/// Those that the caller owns, and those that are shared with the caller. Administrators and auditors
/// see all.
#[utoipa::path(get, path = "/credentials", tag = "credentials", params(CredentialSearch),
    responses((status = OK, body = Page<views::Credential>)))]
async fn list_credentials(
    asked: Asked,
    Search(search): Search<CredentialSearch>,
) -> Result<Answer, AdminProblem> {
    let owner = parameter::<Principal>("owner", search.owner.as_deref())?;
    let state = search.state.as_deref();
    if state.is_some_and(|state| !["active", "revoked"].contains(&state)) {
        return Err(AdminProblem::field("state", "it is active or revoked"));
    }
    let (now, health) = (asked.sight.now(), &asked.context.state().health);
    let is_wanted = |credential: &Arc<Credential>| {
        let is_due = credential.rotation_due().is_some_and(|at| at <= now);
        state.is_none_or(|state| credential.state.as_str() == state)
            && search.due.is_none_or(|due| due == is_due)
            && search
                .text
                .as_deref()
                .is_none_or(|text| has_text(credential, text))
            && search
                .rejected
                .is_none_or(|wanted| wanted == health.rejected_since(credential).is_some())
    };
    let after = search.after.as_deref().map(place_in_list).transpose()?;
    let size = page_size(search.limit);
    let part = ListPart {
        order: ListOrder::Owner,
        owner: owner.as_ref(),
        after: after.as_ref(),
        // One more than is shown tells that there is more.
        most: size + 1,
    };
    let page = Page::of_first(asked.sight.first(part, is_wanted), size, |last| {
        format!("{}/{}", last.owner, last.slug)
    });
    let services = asked.context.services();
    let last_uses = services.last_uses(page.items.iter().map(|one| &**one));
    let last_uses = last_uses.await?;
    Ok(Answer::ok(&page.map(|credential| {
        let view = views::Credential::new(&credential, last_uses.of(&credential));
        view.rejected(health.rejected_since(&credential))
    })))
}

/// Where a page begins.
fn place_in_list(after: &str) -> Result<ListPlace, AdminProblem> {
    let names = after.split_once('/');
    let names = names.and_then(|(owner, slug)| {
        let owner = Principal::parse(owner).ok()?;
        Some((owner, Slug::parse(slug).ok()?))
    });
    names.ok_or_else(|| AdminProblem::field("after", "it is not `next` of a page of this list"))
}

fn has_text(credential: &Credential, text: &str) -> bool {
    let text = text.to_lowercase();
    credential.slug.as_str().contains(&text)
        || credential.description.to_lowercase().contains(&text)
}

/// Show a credential
///
/// Never its value, nor anything derived from one.
#[utoipa::path(get, path = "/credentials/{owner}/{slug}", tag = "credentials", params(CredentialPath),
    responses((status = OK, body = views::CredentialDetails)))]
async fn get_credential(
    asked: Asked,
    Names(path): Names<CredentialPath>,
) -> Result<Answer, AdminProblem> {
    let known = path.find(&asked)?;
    details(&asked.sight, &asked.context, &known.credential).await
}

message! {
    /// A credential that is to be saved.
    NewCredentialInput {
        /// The value: text for a `secret`; an object for a `login` (`username` and `password`) and for
        /// `fields`. At most 64 KiB. It is never shown again.
        value: SecretInput as serde_json::Value,
        /// `secret`, `login` or `fields`; `secret` if it is missing.
        kind: Option<Kind> as Option<String>,
        /// A remark for people.
        description: Option<String> as Option<String>,
        /// A service of the catalogue, which proposes hosts, place and kind.
        service: Option<String> as Option<String>,
        /// Hosts that may receive it: `api.example.com`, `*.example.com`, `http://` for plain HTTP.
        hosts: Vec<HostPattern> as Option<Vec<String>>,
        /// Where in a request it may be placed: `header`, `header:authorization`, `query:key`, `path`,
        /// `body`; any header if it is missing.
        locations: Vec<LocationRule> as Option<Vec<String>>,
        /// Methods it may be used with; any if it is missing.
        methods: Vec<Method> as Option<Vec<String>>,
        /// Prefixes of the paths it may be used for; any if it is missing.
        paths: Vec<PathPrefix> as Option<Vec<String>>,
        /// Actions that may use it; any if it is missing.
        actions: Vec<Action> as Option<Vec<String>>,
        /// When it stops working.
        expires: Option<Time> as Option<String>,
        /// How old the value may become, in seconds, before it is due to be replaced.
        rotate_every: Option<u64> as Option<u64>,
        /// How often one request may carry the value: a number, or `any`; 1 if it is missing.
        copies: Option<Copies> as Option<String>,
        /// How many requests may use it in a time: `5/s`, `60/m`, `100/h`, `1000/d` or `unlimited`; `unlimited` if it is missing.
        max_uses: Option<Budget> as Option<String>,
        /// When its owner is asked: `first-use`, `always` or `never`; `never` if it is missing.
        approve: Option<Asking> as Option<String>,
    }
}

message! {
    /// Where a credential may be used. A list or a time that is missing is no limit.
    LimitsInput {
        /// Hosts that may receive it; at least one.
        hosts: Vec<HostPattern> as Vec<String>,
        /// Where in a request it may be placed; any header if it is missing.
        locations: Vec<LocationRule> as Option<Vec<String>>,
        /// Methods it may be used with.
        methods: Vec<Method> as Option<Vec<String>>,
        /// Prefixes of the paths it may be used for.
        paths: Vec<PathPrefix> as Option<Vec<String>>,
        /// Actions that may use it.
        actions: Vec<Action> as Option<Vec<String>>,
        /// When it stops working.
        expires: Option<Time> as Option<String>,
        /// How often one request may carry the value: a number, or `any`; as it was if it is missing.
        copies: Option<Copies> as Option<String>,
        /// How many requests may use it in a time: `5/s`, `60/m`, `100/h`, `1000/d` or `unlimited`; as it was if it is missing.
        max_uses: Option<Budget> as Option<String>,
        /// When its owner is asked: `first-use`, `always` or `never`; as it was if it is missing.
        approve: Option<Asking> as Option<String>,
    }
}

message! {
    /// How old a value may become.
    RotationInput {
        /// In seconds; `null` for any age.
        rotate_every: Option<u64> as Option<u64>,
    }
}

impl LimitsInput {
    /// The grant of a credential that may be used this often.
    fn into_grant(self, uses: UseLimits) -> Grant {
        let change = UsesChange {
            copies: self.copies,
            budget: self.max_uses,
            approve: self.approve,
        };
        Grant {
            hosts: self.hosts,
            locations: self.locations,
            methods: self.methods.into_iter().map(|method| method.0).collect(),
            paths: self.paths,
            actions: self.actions.into_iter().map(|action| action.0).collect(),
            expires: self.expires.map(|time| time.0),
            uses: change.apply(uses),
        }
    }
}

fn seconds(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

impl NewCredentialInput {
    /// What is to be saved for `owner` under `slug`, and its value.
    pub(super) fn into_new(
        self,
        owner: Principal,
        slug: Slug,
    ) -> Result<(NewCredential, SecretBytes), AdminProblem> {
        let mut limits = LimitsInput {
            hosts: self.hosts,
            locations: self.locations,
            methods: self.methods,
            paths: self.paths,
            actions: self.actions,
            expires: self.expires,
            copies: self.copies,
            max_uses: self.max_uses,
            approve: self.approve,
        };
        let mut kind = self.kind;
        if let Some(name) = &self.service {
            let service = services::find(name).ok_or_else(|| {
                AdminProblem::field(
                    "service",
                    "it is not in the catalogue: GET /api/v1/services",
                )
            })?;
            limits.hosts = service.hosts(&limits.hosts).map_err(|_| {
                AdminProblem::field(
                    "hosts",
                    "the service gives each customer a host of its own: say which one is yours",
                )
            })?;
            if limits.locations.is_empty() {
                limits.locations.push(service.location());
            }
            kind = kind.or(Some(match service.kind {
                ServiceKind::Secret => Kind::Secret,
                ServiceKind::Login => Kind::Login,
            }));
        }
        let kind = kind.unwrap_or(Kind::Secret);
        let new = NewCredential {
            owner,
            slug,
            kind,
            description: self.description.unwrap_or_default(),
            grant: limits.into_grant(Grant::for_hosts(Vec::new()).uses),
            rotate_every: self.rotate_every.map(seconds),
        };
        Ok((new, self.value.of_kind(kind)?))
    }
}

/// Save a credential
///
/// Send `If-None-Match: *`: a slug that is there already is never overwritten. The answer says what may
/// be a mistake.
#[utoipa::path(put, path = "/credentials/{owner}/{slug}", tag = "credentials", params(CredentialPath),
    request_body = NewCredentialInput,
    responses((status = CREATED, body = views::CredentialDetails)))]
async fn create_credential(
    asked: Asked,
    Names(path): Names<CredentialPath>,
    _: IfNew,
    Json(input): Json<NewCredentialInput>,
) -> Result<Answer, AdminProblem> {
    let owner: Principal = named(&path.owner)?;
    let slug: Slug = new_name("slug", &path.slug)?;
    let registrar = asked.change()?;
    // Somebody else's slugs are nobody's business, taken or not.
    if owner != asked.caller.user && !asked.sight.sees_all() {
        path.find(&asked)?;
    }
    let service = input.service.as_deref().and_then(services::find);
    let (new, value) = input.into_new(owner.clone(), slug.clone())?;
    let found = remarks::about(new.kind, &value, service, &new.grant.hosts);
    let mut said: Vec<_> = found.iter().map(ToString::to_string).collect();
    said.extend(about_hosts(&asked.context, &new.grant.hosts));
    let added = registrar.add(&asked.actor(), new, value).await;
    added.map_err(refused)?;
    let sight = asked.after_change().await?;
    let credential = sight.credential(&owner, &slug);
    let credential = credential.ok_or_else(|| AdminProblem::new(Trouble::NotFound))?;
    let view = views::CredentialDetails {
        remarks: said,
        ..views::CredentialDetails::new(&credential, None)
    };
    let answer = Answer::ok(&view).at(Some(credential.revision));
    Ok(answer.newly_made().closing())
}

/// Why the registrar did not save or change a credential, beside the member concerned.
pub(super) fn refused(error: RegistrarError) -> AdminProblem {
    let field = match &error {
        RegistrarError::Store(_) => {
            let RegistrarError::Store(error) = error else {
                return AdminProblem::new(Trouble::Internal);
            };
            return error.into();
        }
        RegistrarError::Input(_) => "value",
        RegistrarError::NoHost => "hosts",
        RegistrarError::Description => "description",
    };
    let detail = match &error {
        RegistrarError::NoHost => "name at least one host that may receive it".to_owned(),
        _ => error.to_string(),
    };
    AdminProblem {
        fields: vec![FieldProblem {
            field: field.into(),
            detail: detail.into(),
        }],
        ..AdminProblem::new(Trouble::Invalid)
    }
}

/// Delete a credential
///
/// With its values and shares. Its owner may, and an administrator.
#[utoipa::path(delete, path = "/credentials/{owner}/{slug}", tag = "credentials",
    params(CredentialPath), responses((status = NO_CONTENT)))]
async fn delete_credential(change: Change<CredentialPath>) -> Result<Answer, AdminProblem> {
    let actor = change.actor();
    change
        .registrar
        .delete(&actor, &change.thing.owner, &change.thing.slug)
        .await?;
    change.gone().await
}

/// Say where a credential may be used
///
/// Replaces these limits; how often it may be used stays where it is missing. Who widens them needs a fresh proof of being the owner.
#[utoipa::path(put, path = "/credentials/{owner}/{slug}/limits", tag = "credentials",
    params(CredentialPath), request_body = LimitsInput,
    responses((status = OK, body = views::CredentialDetails)))]
async fn set_limits(
    change: Change<CredentialPath>,
    Json(input): Json<LimitsInput>,
) -> Result<Answer, AdminProblem> {
    let grant = input.into_grant(change.thing.credential.grant.uses);
    if grant.is_wider_than(&change.thing.credential.grant) {
        change.demand_fresh()?;
    }
    let before = &change.thing.credential.grant.hosts;
    let new = grant.hosts.iter().filter(|host| !before.contains(host));
    let new: Vec<_> = new.cloned().collect();
    let remarks = about_hosts(&change.asked.context, &new);
    let actor = change.actor();
    let changed = change
        .registrar
        .allow(&actor, &change.thing.owner, &change.thing.slug, grant);
    changed.await.map_err(refused)?;
    change.done_with(remarks).await
}

/// Say when a value is due to be replaced
#[utoipa::path(put, path = "/credentials/{owner}/{slug}/rotation", tag = "credentials",
    params(CredentialPath), request_body = RotationInput,
    responses((status = OK, body = views::CredentialDetails)))]
async fn set_rotation(
    change: Change<CredentialPath>,
    Json(input): Json<RotationInput>,
) -> Result<Answer, AdminProblem> {
    let every = input.rotate_every.map(seconds);
    let actor = change.actor();
    change
        .registrar
        .rotate_every(&actor, &change.thing.owner, &change.thing.slug, every)
        .await?;
    change.done().await
}

/// Revoke a credential
///
/// It cannot be used from the next request on. Its owner may, and an administrator.
#[utoipa::path(post, path = "/credentials/{owner}/{slug}/revoke", tag = "credentials",
    params(CredentialPath), responses((status = OK, body = views::CredentialDetails)))]
async fn revoke_credential(change: Change<CredentialPath>) -> Result<Answer, AdminProblem> {
    change
        .registrar
        .revoke(&change.actor(), &change.thing.owner, &change.thing.slug)
        .await?;
    change.done().await
}

/// Make a revoked credential active again
#[utoipa::path(post, path = "/credentials/{owner}/{slug}/restore", tag = "credentials",
    params(CredentialPath), responses((status = OK, body = views::CredentialDetails)))]
async fn restore_credential(change: Change<CredentialPath>) -> Result<Answer, AdminProblem> {
    change.demand_fresh()?;
    change
        .registrar
        .restore(&change.actor(), &change.thing.owner, &change.thing.slug)
        .await?;
    change.done().await
}

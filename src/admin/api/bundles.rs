//! Bundles: credentials of one owner under one name.

use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::answer::{Answer, Page, PageSize, page_size};
use super::asked::Asked;
use super::change::{Change, Place, Thing};
use super::condition::IfNew;
use super::request::{Json, Names, Search, message, named, new_name};
use super::shares::ShareInput;
use crate::admin::context::AdminContext;
use crate::admin::problem::{AdminProblem, Trouble};
use crate::substitution::slug::Slug;
use crate::vault::Sight;
use crate::vault::people::{Bundle, BundleId, Grantee};
use crate::vault::store::ObjectName;
use crate::views;

pub(super) fn router() -> OpenApiRouter<AdminContext> {
    OpenApiRouter::new()
        .routes(routes!(list_bundles))
        .routes(routes!(get_bundle, create_bundle, delete_bundle))
        .routes(routes!(put_bundle_entry, remove_bundle_entry))
        .routes(routes!(share_bundle, unshare_bundle))
}

/// Which bundle.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
struct BundlePath {
    /// Who owns it.
    #[param(pattern = "^[a-z0-9][a-z0-9._@-]{0,63}$")]
    owner: String,
    /// Its name.
    #[param(pattern = "^[a-z0-9][a-z0-9._@-]{0,63}$")]
    name: String,
}

impl BundlePath {
    fn parse(&self) -> Result<BundleId, AdminProblem> {
        Ok(BundleId {
            owner: named(&self.owner)?,
            name: named(&self.name)?,
        })
    }
}

/// The bundle of this owner and name, if the caller knows of it.
fn find(asked: &Asked, owner: &str, name: &str) -> Result<BundleId, AdminProblem> {
    let id = BundleId {
        owner: named(owner)?,
        name: named(name)?,
    };
    match asked.sight.bundle(&id) {
        Some(_) => Ok(id),
        None => Err(AdminProblem::new(Trouble::NotFound)),
    }
}

impl Place for BundlePath {
    type Thing = BundleId;

    fn find(&self, asked: &Asked) -> Result<BundleId, AdminProblem> {
        find(asked, &self.owner, &self.name)
    }
}

impl Thing for BundleId {
    fn object(&self) -> ObjectName {
        ObjectName::bundle(self)
    }

    async fn show(&self, sight: &Sight, _: &AdminContext) -> Result<Answer, AdminProblem> {
        show(sight, self)
    }
}

/// A bundle as the viewer sees it: with whom it is shared is the owner's business.
fn view(sight: &Sight, id: &BundleId, bundle: &Bundle) -> views::Bundle {
    let sees_shares = id.owner == *sight.viewer() || sight.sees_all();
    views::Bundle::for_viewer(id, bundle, |with| sees_shares || sight.is_reached_by(with))
}

fn show(sight: &Sight, id: &BundleId) -> Result<Answer, AdminProblem> {
    let bundle = sight.bundle(id);
    let bundle = bundle.ok_or_else(|| AdminProblem::new(Trouble::NotFound))?;
    Ok(Answer::ok(&view(sight, id, bundle)).at(sight.revision(&ObjectName::bundle(id))))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct BundleSearch {
    /// Where the page begins: `next` of the page before.
    after: Option<String>,
    /// How many items a page has, at most 500.
    #[param(value_type = Option<usize>, minimum = 1, maximum = 500)]
    limit: Option<PageSize>,
}

/// List bundles
#[utoipa::path(get, path = "/bundles", tag = "bundles", params(BundleSearch),
    responses((status = OK, body = Page<views::Bundle>)))]
async fn list_bundles(
    asked: Asked,
    Search(search): Search<BundleSearch>,
) -> Result<Answer, AdminProblem> {
    let sight = &asked.sight;
    let page = Page::of(
        sight.bundles(),
        |(id, _)| id.to_string(),
        search.after.as_deref(),
        page_size(search.limit),
        |(id, bundle)| view(sight, id, bundle),
    );
    Ok(Answer::ok(&page))
}

/// Show a bundle
#[utoipa::path(get, path = "/bundles/{owner}/{name}", tag = "bundles", params(BundlePath),
    responses((status = OK, body = views::Bundle)))]
async fn get_bundle(asked: Asked, Names(path): Names<BundlePath>) -> Result<Answer, AdminProblem> {
    show(&asked.sight, &path.parse()?)
}

/// Add an empty bundle
#[utoipa::path(put, path = "/bundles/{owner}/{name}", tag = "bundles", params(BundlePath),
    responses((status = CREATED, body = views::Bundle)))]
async fn create_bundle(
    asked: Asked,
    Names(path): Names<BundlePath>,
    _: IfNew,
) -> Result<Answer, AdminProblem> {
    let id = BundleId {
        owner: named(&path.owner)?,
        name: new_name("name", &path.name)?,
    };
    let registrar = asked.change()?;
    if id.owner != asked.caller.user && asked.sight.bundle(&id).is_none() && !asked.sight.sees_all()
    {
        return Err(AdminProblem::new(Trouble::NotFound));
    }
    registrar.add_bundle(&asked.actor(), &id).await?;
    Ok(show(&asked.after_change().await?, &id)?.newly_made())
}

/// Remove a bundle with its shares
///
/// The credentials stay. Clients that are bound to it can use nothing.
#[utoipa::path(delete, path = "/bundles/{owner}/{name}", tag = "bundles", params(BundlePath),
    responses((status = NO_CONTENT)))]
async fn delete_bundle(change: Change<BundlePath>) -> Result<Answer, AdminProblem> {
    change
        .registrar
        .remove_bundle(&change.actor(), &change.thing)
        .await?;
    change.gone().await
}

/// Which entry of a bundle.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
struct EntryPath {
    /// Who owns the bundle.
    #[param(pattern = "^[a-z0-9][a-z0-9._@-]{0,63}$")]
    owner: String,
    /// Its name.
    #[param(pattern = "^[a-z0-9][a-z0-9._@-]{0,63}$")]
    name: String,
    /// By which slug requests name the credential.
    #[param(pattern = "^[a-z][a-z0-9_-]{0,63}$")]
    alias: String,
}

impl Place for EntryPath {
    type Thing = BundleId;

    fn find(&self, asked: &Asked) -> Result<BundleId, AdminProblem> {
        find(asked, &self.owner, &self.name)
    }
}

message! {
    /// An entry of a bundle.
    EntryInput {
        /// The slug of the owner's credential.
        slug: Slug as String,
    }
}

/// Put a credential into a bundle
#[utoipa::path(put, path = "/bundles/{owner}/{name}/entries/{alias}", tag = "bundles",
    params(EntryPath), request_body = EntryInput, responses((status = OK, body = views::Bundle)))]
async fn put_bundle_entry(
    change: Change<EntryPath>,
    Json(input): Json<EntryInput>,
) -> Result<Answer, AdminProblem> {
    let alias = named(&change.place.alias)?;
    change.demand_fresh()?;
    change
        .registrar
        .put_into_bundle(&change.actor(), &change.thing, &alias, &input.slug)
        .await?;
    change.done().await
}

/// Take a credential out of a bundle
#[utoipa::path(delete, path = "/bundles/{owner}/{name}/entries/{alias}", tag = "bundles",
    params(EntryPath), responses((status = OK, body = views::Bundle)))]
async fn remove_bundle_entry(change: Change<EntryPath>) -> Result<Answer, AdminProblem> {
    let alias = named(&change.place.alias)?;
    change
        .registrar
        .take_out_of_bundle(&change.actor(), &change.thing, &alias)
        .await?;
    change.done().await
}

/// Which share of a bundle.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
struct BundleSharePath {
    /// Who owns the bundle.
    #[param(pattern = "^[a-z0-9][a-z0-9._@-]{0,63}$")]
    owner: String,
    /// Its name.
    #[param(pattern = "^[a-z0-9][a-z0-9._@-]{0,63}$")]
    name: String,
    /// With whom: a user, `group:NAME` or `everyone`.
    #[param(pattern = "^(group:)?[a-z0-9][a-z0-9._@-]{0,63}$")]
    with: String,
}

impl Place for BundleSharePath {
    type Thing = BundleId;

    fn find(&self, asked: &Asked) -> Result<BundleId, AdminProblem> {
        find(asked, &self.owner, &self.name)
    }
}

/// Share a bundle, or change the limits of a share
#[utoipa::path(put, path = "/bundles/{owner}/{name}/shares/{with}", tag = "bundles",
    params(BundleSharePath), request_body = ShareInput,
    responses((status = OK, body = views::Bundle)))]
async fn share_bundle(
    change: Change<BundleSharePath>,
    Json(input): Json<ShareInput>,
) -> Result<Answer, AdminProblem> {
    let with = named(&change.place.with)?;
    change.demand_fresh()?;
    change
        .registrar
        .share_bundle(&change.actor(), &change.thing, &input.into_offer(with))
        .await?;
    change.done().await
}

/// Take the share of a bundle back
#[utoipa::path(delete, path = "/bundles/{owner}/{name}/shares/{with}", tag = "bundles",
    params(BundleSharePath), responses((status = OK, body = views::Bundle)))]
async fn unshare_bundle(change: Change<BundleSharePath>) -> Result<Answer, AdminProblem> {
    let with: Grantee = named(&change.place.with)?;
    change
        .registrar
        .unshare_bundle(&change.actor(), &change.thing, &with)
        .await?;
    change.done().await
}

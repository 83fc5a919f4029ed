//! Users and groups. All users know their names: they are what one shares with. Administrators change
//! them.

use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::answer::{Answer, Page, PageSize, page_size};
use super::asked::{Asked, settle};
use super::change::{Change, Place, Thing};
use super::condition::IfNew;
use super::request::{Json, Names, Search, message, named, new_name};
use crate::admin::context::AdminContext;
use crate::admin::problem::{AdminProblem, Trouble};
use crate::admin::signin;
use crate::identity::{Bearer, Purpose};
use crate::vault::access::LinkId;
use crate::vault::people::Role;
use crate::vault::registrar::people::{NewUser, UserChange};
use crate::vault::store::ObjectName;
use crate::vault::{GroupName, Principal, Sight};
use crate::views;

pub(super) fn router() -> OpenApiRouter<AdminContext> {
    OpenApiRouter::new()
        .routes(routes!(list_users))
        .routes(routes!(get_user, create_user, change_user))
        .routes(routes!(disable_user))
        .routes(routes!(enable_user))
        .routes(routes!(invite_user))
        .routes(routes!(list_groups))
        .routes(routes!(get_group, create_group, delete_group))
        .routes(routes!(add_member, remove_member))
}

/// Which user.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
struct UserPath {
    /// The user's name.
    #[param(pattern = "^[a-z0-9][a-z0-9._@-]{0,63}$")]
    user: String,
}

/// Which group.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
struct GroupPath {
    /// The group's name.
    #[param(pattern = "^[a-z0-9][a-z0-9._@-]{0,63}$")]
    group: String,
}

impl Place for UserPath {
    type Thing = Principal;

    fn find(&self, _: &Asked) -> Result<Principal, AdminProblem> {
        named(&self.user)
    }
}

impl Thing for Principal {
    fn object(&self) -> ObjectName {
        ObjectName::user(self)
    }

    async fn show(&self, sight: &Sight, _: &AdminContext) -> Result<Answer, AdminProblem> {
        show_user(sight, self)
    }
}

impl Thing for GroupName {
    fn object(&self) -> ObjectName {
        ObjectName::group(self)
    }

    async fn show(&self, sight: &Sight, _: &AdminContext) -> Result<Answer, AdminProblem> {
        show_group(sight, self)
    }
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct PeopleSearch {
    /// Where the page begins: `next` of the page before.
    after: Option<String>,
    /// How many items a page has, at most 500.
    #[param(value_type = Option<usize>, minimum = 1, maximum = 500)]
    limit: Option<PageSize>,
}

/// List users
#[utoipa::path(get, path = "/users", tag = "people", params(PeopleSearch),
    responses((status = OK, body = Page<views::User>)))]
async fn list_users(
    asked: Asked,
    Search(search): Search<PeopleSearch>,
) -> Result<Answer, AdminProblem> {
    let page = Page::of(
        asked.sight.users().iter(),
        |(name, _)| name.to_string(),
        search.after.as_deref(),
        page_size(search.limit),
        |(name, user)| views::User::new(name, user),
    );
    Ok(Answer::ok(&page))
}

fn show_user(sight: &Sight, name: &Principal) -> Result<Answer, AdminProblem> {
    let user = sight.user(name);
    let user = user.ok_or_else(|| AdminProblem::new(Trouble::NotFound))?;
    let revision = sight.revision(&ObjectName::user(name));
    Ok(Answer::ok(&views::User::new(name, user)).at(revision))
}

/// Show a user
#[utoipa::path(get, path = "/users/{user}", tag = "people", params(UserPath),
    responses((status = OK, body = views::User)))]
async fn get_user(asked: Asked, Names(path): Names<UserPath>) -> Result<Answer, AdminProblem> {
    show_user(&asked.sight, &named(&path.user)?)
}

message! {
    /// A user who is to be added.
    NewUserInput {
        /// The name for people.
        display_name: Option<String> as Option<String>,
        /// `administrator`, `member` or `auditor`; `member` if it is missing.
        role: Option<Role> as Option<String>,
    }
}

message! {
    /// What is to be different about a user. What is missing stays.
    UserInput {
        /// The name for people.
        display_name: Option<String> as Option<String>,
        /// `administrator`, `member` or `auditor`.
        role: Option<Role> as Option<String>,
    }
}

/// Add a user
#[utoipa::path(put, path = "/users/{user}", tag = "people", params(UserPath),
    request_body = NewUserInput, responses((status = CREATED, body = views::User)))]
async fn create_user(
    asked: Asked,
    Names(path): Names<UserPath>,
    _: IfNew,
    Json(input): Json<NewUserInput>,
) -> Result<Answer, AdminProblem> {
    let registrar = asked.change()?;
    asked.caller.demand_fresh()?;
    let new = NewUser {
        name: new_name("user", &path.user)?,
        display_name: input.display_name.unwrap_or_default(),
        role: input.role.unwrap_or(Role::Member),
    };
    registrar.add_user(&asked.actor(), &new).await?;
    Ok(show_user(&asked.after_change().await?, &new.name)?.newly_made())
}

/// Change a user
#[utoipa::path(patch, path = "/users/{user}", tag = "people", params(UserPath),
    request_body = UserInput, responses((status = OK, body = views::User)))]
async fn change_user(
    change: Change<UserPath>,
    Json(input): Json<UserInput>,
) -> Result<Answer, AdminProblem> {
    change.demand_fresh()?;
    let wanted = UserChange {
        display_name: input.display_name,
        role: input.role,
    };
    change
        .registrar
        .change_user(&change.actor(), &change.thing, &wanted)
        .await?;
    change.done().await
}

/// Disable a user
///
/// Sessions, tokens and clients of the user stop working, and what the user shares is not offered.
#[utoipa::path(post, path = "/users/{user}/disable", tag = "people", params(UserPath),
    responses((status = OK, body = views::User)))]
async fn disable_user(change: Change<UserPath>) -> Result<Answer, AdminProblem> {
    set_disabled(&change, true).await
}

/// Enable a user again
#[utoipa::path(post, path = "/users/{user}/enable", tag = "people", params(UserPath),
    responses((status = OK, body = views::User)))]
async fn enable_user(change: Change<UserPath>) -> Result<Answer, AdminProblem> {
    change.demand_fresh()?;
    set_disabled(&change, false).await
}

async fn set_disabled(change: &Change<UserPath>, disabled: bool) -> Result<Answer, AdminProblem> {
    let (registrar, actor) = (&change.registrar, change.actor());
    registrar
        .set_disabled(&actor, &change.thing, disabled)
        .await?;
    change.done().await
}

/// Make a one-time link with which a user sets a password
///
/// For administrators. It works once, within an hour, and replaces one that was made before. Only for a
/// user who has no way to sign in and owns no credential: an administrator does not become somebody else.
#[utoipa::path(post, path = "/users/{user}/link", tag = "people", params(UserPath),
    responses((status = CREATED, body = views::OneTimeLink)))]
async fn invite_user(asked: Asked, Names(path): Names<UserPath>) -> Result<Answer, AdminProblem> {
    let registrar = asked.change()?;
    asked.caller.demand_fresh()?;
    let token =
        Bearer::generate(Purpose::Link).map_err(|_| AdminProblem::new(Trouble::Internal))?;
    let id = LinkId::User(named(&path.user)?);
    registrar
        .make_link(&asked.actor(), &id, &token.hash())
        .await?;
    settle(&asked.context).await?;
    let url = signin::link_url(&asked.context.settings().names, &token);
    Ok(Answer::ok(&views::OneTimeLink { url })
        .newly_made()
        .closing())
}

/// List groups
#[utoipa::path(get, path = "/groups", tag = "people", params(PeopleSearch),
    responses((status = OK, body = Page<views::Group>)))]
async fn list_groups(
    asked: Asked,
    Search(search): Search<PeopleSearch>,
) -> Result<Answer, AdminProblem> {
    let page = Page::of(
        asked.sight.groups().iter(),
        |(name, _)| name.to_string(),
        search.after.as_deref(),
        page_size(search.limit),
        |(name, group)| views::Group::new(name, group),
    );
    Ok(Answer::ok(&page))
}

fn show_group(sight: &Sight, name: &GroupName) -> Result<Answer, AdminProblem> {
    let group = sight.groups().get(name);
    let group = group.ok_or_else(|| AdminProblem::new(Trouble::NotFound))?;
    let revision = sight.revision(&ObjectName::group(name));
    Ok(Answer::ok(&views::Group::new(name, group)).at(revision))
}

/// Show a group
#[utoipa::path(get, path = "/groups/{group}", tag = "people", params(GroupPath),
    responses((status = OK, body = views::Group)))]
async fn get_group(asked: Asked, Names(path): Names<GroupPath>) -> Result<Answer, AdminProblem> {
    show_group(&asked.sight, &named(&path.group)?)
}

message! {
    /// A group that is to be added.
    GroupInput {
        /// A remark for people.
        description: Option<String> as Option<String>,
    }
}

/// Add a group
#[utoipa::path(put, path = "/groups/{group}", tag = "people", params(GroupPath),
    request_body = GroupInput, responses((status = CREATED, body = views::Group)))]
async fn create_group(
    asked: Asked,
    Names(path): Names<GroupPath>,
    _: IfNew,
    Json(input): Json<GroupInput>,
) -> Result<Answer, AdminProblem> {
    let registrar = asked.change()?;
    let name = new_name("group", &path.group)?;
    let description = input.description.unwrap_or_default();
    registrar
        .add_group(&asked.actor(), &name, &description)
        .await?;
    Ok(show_group(&asked.after_change().await?, &name)?.newly_made())
}

impl Place for GroupPath {
    type Thing = GroupName;

    fn find(&self, _: &Asked) -> Result<GroupName, AdminProblem> {
        named(&self.group)
    }
}

/// Remove a group
///
/// Refused while a share or an egress rule names it; the answer says which. A share that ended counts
/// for a day, because its value is still searched for.
#[utoipa::path(delete, path = "/groups/{group}", tag = "people", params(GroupPath),
    responses((status = NO_CONTENT)))]
async fn delete_group(change: Change<GroupPath>) -> Result<Answer, AdminProblem> {
    let name = &change.thing;
    change.registrar.remove_group(&change.actor(), name).await?;
    change.gone().await
}

/// Which member of which group.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
struct MemberPath {
    /// The group's name.
    #[param(pattern = "^[a-z0-9][a-z0-9._@-]{0,63}$")]
    group: String,
    /// The user's name.
    #[param(pattern = "^[a-z0-9][a-z0-9._@-]{0,63}$")]
    user: String,
}

impl Place for MemberPath {
    type Thing = GroupName;

    fn find(&self, _: &Asked) -> Result<GroupName, AdminProblem> {
        named(&self.group)
    }
}

/// Put a user into a group
///
/// The user may then use what is shared with the group.
#[utoipa::path(put, path = "/groups/{group}/members/{user}", tag = "people", params(MemberPath),
    responses((status = OK, body = views::Group)))]
async fn add_member(change: Change<MemberPath>) -> Result<Answer, AdminProblem> {
    let user = named(&change.place.user)?;
    change.demand_fresh()?;
    change
        .registrar
        .join_group(&change.actor(), &change.thing, &user)
        .await?;
    change.done().await
}

/// Take a user out of a group
#[utoipa::path(delete, path = "/groups/{group}/members/{user}", tag = "people",
    params(MemberPath), responses((status = OK, body = views::Group)))]
async fn remove_member(change: Change<MemberPath>) -> Result<Answer, AdminProblem> {
    let user = named(&change.place.user)?;
    change
        .registrar
        .leave_group(&change.actor(), &change.thing, &user)
        .await?;
    change.done().await
}

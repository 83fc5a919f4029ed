//! People, groups and bundles.

use askama::Template;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect, Response};

use super::failure::Failure;
use super::fields::{self, Fields};
use super::layout::{self, Layout, Section};
use super::people_parts::{BUNDLES, GROUPS, Listed, Places, USERS};
use super::person::Person;
use super::text;
use super::visit::{Sent, Visit};
use super::when::{self, When};
use crate::admin::{AdminContext, AdminProblem, Trouble, signin};
use crate::identity::{Bearer, Purpose};
use crate::substitution::slug::Slug;
use crate::vault::access::LinkId;
use crate::vault::people::{BundleId, Grantee, Role};
use crate::vault::registrar::people::{NewUser, UserChange};
use crate::vault::sharing::Offer;
use crate::vault::{GroupName, Principal, Sight};

/// The page that has all of these forms.
const PATH: &str = "/settings/people";
/// Most names of users, and of groups, that a field proposes.
const MOST_PROPOSED: usize = 500;

#[derive(Template)]
#[template(path = "people.html")]
struct PeoplePage {
    layout: Layout,
    administers: bool,
    only_reads: bool,
    users: Listed<UserRow>,
    groups: Listed<GroupRow>,
    bundles: Listed<BundleRow>,
    /// What the forms send back, so that their answer shows the same parts.
    places: Vec<(&'static str, String)>,
    /// With whom a bundle can be shared.
    grantees: Vec<String>,
    form: Form,
    /// Whether the address filled a form in.
    is_filled_in: bool,
    /// Why nothing was changed.
    wrong: Vec<String>,
}

/// What was typed into one of the forms.
struct Form {
    /// Which one: the path that it goes to.
    of: String,
    name: String,
    display_name: String,
    role: String,
    description: String,
    user: String,
    slug: String,
    alias: String,
    with: String,
    until: String,
}

impl Form {
    fn typed(fields: &Fields) -> Self {
        let text = |name: &str| fields.text(name).to_owned();
        Self {
            of: text("form"),
            name: text("name"),
            display_name: text("display_name"),
            role: text("role"),
            description: text("description"),
            user: text("user"),
            slug: text("slug"),
            alias: text("alias"),
            with: text("with"),
            until: text("until"),
        }
    }
}

#[derive(Template)]
#[template(path = "invited.html")]
struct InvitedPage {
    layout: Layout,
    name: String,
    /// Shown this once.
    link: String,
}

struct UserRow {
    name: String,
    path: String,
    display_name: String,
    role: &'static str,
    disabled: bool,
    is_self: bool,
    since: String,
}

struct GroupRow {
    name: String,
    path: String,
    description: String,
    members: Listed<String>,
}

struct BundleRow {
    id: String,
    path: String,
    entries: Vec<(String, String)>,
    with: Vec<String>,
    is_own: bool,
}

/// `GET /settings/people`
pub(super) async fn show(visit: Visit) -> Response {
    let mut page = people_page(&visit, Vec::new());
    page.is_filled_in = !page.form.of.is_empty();
    layout::page(&page)
}

fn people_page(visit: &Visit, wrong: Vec<String>) -> PeoplePage {
    let Visit {
        person,
        sight,
        fields,
    } = visit;
    let places = Places::of(fields);
    PeoplePage {
        layout: visit.layout("People", Section::People),
        administers: person.administers(),
        only_reads: person.only_reads(),
        users: users(sight, person, &places),
        groups: groups(sight, &places),
        bundles: bundles(sight, person, &places),
        places: places.given(),
        grantees: grantees(sight, person.name()),
        form: Form::typed(fields),
        is_filled_in: false,
        wrong,
    }
}

/// The answer to a form. Where it could not be done, the page is shown again with what was typed.
async fn answer(
    context: &AdminContext,
    sent: Sent,
    outcome: Result<Response, Failure>,
) -> Result<Response, Failure> {
    let problem = match outcome {
        Err(Failure::Problem(problem)) => problem,
        other => return other,
    };
    let is_of_form = matches!(
        problem.trouble,
        Trouble::Invalid | Trouble::Conflict | Trouble::NotFound
    );
    if !is_of_form {
        return Err(problem.into());
    }
    let of_fields = problem.fields.iter();
    let of_fields = of_fields.map(|one| format!("{}: {}", fields::label(&one.field), one.detail));
    let mut wrong: Vec<_> = of_fields.collect();
    if wrong.is_empty() {
        wrong.push(match problem.trouble {
            Trouble::NotFound => {
                "There is no such user, group or credential, or none that you may see.".to_owned()
            }
            _ => problem.words(),
        });
    }
    let visit = sent.again(context).await?;
    Ok(layout::refused(&people_page(&visit, wrong)))
}

fn users(sight: &Sight, person: &Person, places: &Places) -> Listed<UserRow> {
    let users = sight.users().iter();
    let users = users.map(|(name, user)| (name.to_string(), (name, user)));
    places.list(USERS, users, |(name, user)| UserRow {
        name: name.to_string(),
        path: format!("/settings/people/users/{}", text::encoded(name.as_str())),
        display_name: text::shown(&user.display_name),
        role: user.role.as_str(),
        disabled: user.disabled,
        is_self: name == person.name(),
        since: When::at(user.created).html(),
    })
}

fn groups(sight: &Sight, places: &Places) -> Listed<GroupRow> {
    let groups = sight.groups().iter();
    let groups = groups.map(|(name, group)| (name.to_string(), (name, group)));
    places.list(GROUPS, groups, |(name, group)| GroupRow {
        name: name.to_string(),
        path: format!("/settings/people/groups/{}", text::encoded(name.as_str())),
        description: text::shown(&group.description),
        members: places.members(name, group.present()),
    })
}

fn bundles(sight: &Sight, person: &Person, places: &Places) -> Listed<BundleRow> {
    let of = |entry: (&Slug, &Slug)| (entry.0.to_string(), entry.1.to_string());
    let bundles = sight.bundles();
    let bundles = bundles.map(|(id, bundle)| (id.to_string(), (id, bundle)));
    places.list(BUNDLES, bundles, |(id, bundle)| {
        let (owner, name) = (
            text::encoded(id.owner.as_str()),
            text::encoded(id.name.as_str()),
        );
        let shares = bundle.shares.iter().filter(|share| share.ended.is_none());
        let with: Vec<_> = shares.map(|share| share.with.to_string()).collect();
        BundleRow {
            id: id.to_string(),
            path: format!("/settings/people/bundles/{owner}/{name}"),
            entries: bundle.entries.iter().map(of).collect(),
            with,
            is_own: id.owner == *person.name(),
        }
    })
}

/// With whom something of `owner` can be shared: what a field proposes, and no list of all.
pub(super) fn grantees(sight: &Sight, owner: &Principal) -> Vec<String> {
    let users = sight.users().keys().filter(|user| *user != owner);
    let users = users.take(MOST_PROPOSED).map(ToString::to_string);
    let groups = sight.groups().keys().take(MOST_PROPOSED);
    let mut names: Vec<_> = users.collect();
    names.extend(groups.map(|group| format!("group:{group}")));
    names.push("everyone".to_owned());
    names
}

/// Leads back to the parts of the lists that the form was on.
fn done(fields: &Fields, word: &str) -> Response {
    let query = Places::of(fields).query(("done", word));
    Redirect::to(&format!("{PATH}?{query}")).into_response()
}

fn wrong(field: &'static str, error: impl std::fmt::Display) -> Failure {
    Failure::Problem(AdminProblem::field(field, error.to_string()))
}

/// `POST /settings/people/users`
pub(super) async fn add_user(
    State(context): State<AdminContext>,
    sent: Sent,
) -> Result<Response, Failure> {
    let outcome = save_user(&context, &sent).await;
    answer(&context, sent, outcome).await
}

async fn save_user(context: &AdminContext, sent: &Sent) -> Result<Response, Failure> {
    sent.demand_fresh(PATH)?;
    let Sent { person, fields } = sent;
    let new = NewUser {
        name: Principal::parse(fields.trimmed("name")).map_err(|error| wrong("name", error))?,
        display_name: fields.trimmed("display_name").to_owned(),
        role: fields
            .text("role")
            .parse()
            .map_err(|error| wrong("role", error))?,
    };
    context.registrar().add_user(&person.actor(), &new).await?;
    Ok(done(fields, "user-added"))
}

/// `POST /settings/people/users/{name}` with `do`: `disable`, `enable`, `invite` or `role`.
pub(super) async fn change_user(
    State(context): State<AdminContext>,
    Path(name): Path<String>,
    sent: Sent,
) -> Result<Response, Failure> {
    let outcome = set_user(&context, &sent, &name).await;
    answer(&context, sent, outcome).await
}

async fn set_user(context: &AdminContext, sent: &Sent, name: &str) -> Result<Response, Failure> {
    let Sent { person, fields } = sent;
    let name = Principal::parse(name).map_err(|_| Failure::not_found())?;
    let (registrar, actor) = (context.registrar(), person.actor());
    match fields.text("do") {
        "disable" => {
            registrar.set_disabled(&actor, &name, true).await?;
        }
        "enable" => {
            sent.demand_fresh(PATH)?;
            registrar.set_disabled(&actor, &name, false).await?;
        }
        "invite" => {
            sent.demand_fresh(PATH)?;
            return invite(context, person, name).await;
        }
        _ => {
            sent.demand_fresh(PATH)?;
            let role: Role = fields
                .text("role")
                .parse()
                .map_err(|error| wrong("role", error))?;
            let change = UserChange {
                role: Some(role),
                ..UserChange::default()
            };
            registrar.change_user(&actor, &name, &change).await?;
        }
    }
    Ok(done(fields, "user-changed"))
}

/// Makes a one-time link with which a user who has no way to sign in sets a password, and shows it once.
async fn invite(
    context: &AdminContext,
    person: &Person,
    name: Principal,
) -> Result<Response, Failure> {
    let token =
        Bearer::generate(Purpose::Link).map_err(|_| AdminProblem::new(Trouble::Internal))?;
    let id = LinkId::User(name.clone());
    let registrar = context.registrar();
    registrar
        .make_link(&person.actor(), &id, &token.hash())
        .await?;
    let page = InvitedPage {
        layout: Layout::new(format!("Invite {name}"), Section::People, person),
        link: signin::link_url(&context.settings().names, &token),
        name: name.to_string(),
    };
    Ok(layout::page(&page))
}

/// `POST /settings/people/groups`
pub(super) async fn add_group(
    State(context): State<AdminContext>,
    sent: Sent,
) -> Result<Response, Failure> {
    let outcome = save_group(&context, &sent).await;
    answer(&context, sent, outcome).await
}

async fn save_group(context: &AdminContext, sent: &Sent) -> Result<Response, Failure> {
    let Sent { person, fields } = sent;
    let name = GroupName::parse(fields.trimmed("name")).map_err(|error| wrong("name", error))?;
    let description = fields.trimmed("description");
    let registrar = context.registrar();
    registrar
        .add_group(&person.actor(), &name, description)
        .await?;
    Ok(done(fields, "group-changed"))
}

/// `POST /settings/people/groups/{name}` with `do`: `join`, `leave` or `remove`.
pub(super) async fn change_group(
    State(context): State<AdminContext>,
    Path(name): Path<String>,
    sent: Sent,
) -> Result<Response, Failure> {
    let outcome = set_group(&context, &sent, &name).await;
    answer(&context, sent, outcome).await
}

async fn set_group(context: &AdminContext, sent: &Sent, name: &str) -> Result<Response, Failure> {
    let Sent { person, fields } = sent;
    let name = GroupName::parse(name).map_err(|_| Failure::not_found())?;
    let (registrar, actor) = (context.registrar(), person.actor());
    if fields.text("do") == "remove" {
        registrar.remove_group(&actor, &name).await?;
        return Ok(done(fields, "group-removed"));
    }
    let user = Principal::parse(fields.trimmed("user")).map_err(|error| wrong("user", error))?;
    if fields.text("do") == "leave" {
        registrar.leave_group(&actor, &name, &user).await?;
    } else {
        // What is shared with the group becomes the user's to use.
        sent.demand_fresh(PATH)?;
        registrar.join_group(&actor, &name, &user).await?;
    }
    Ok(done(fields, "group-changed"))
}

/// `POST /settings/people/bundles`
pub(super) async fn add_bundle(
    State(context): State<AdminContext>,
    sent: Sent,
) -> Result<Response, Failure> {
    let outcome = save_bundle(&context, &sent).await;
    answer(&context, sent, outcome).await
}

async fn save_bundle(context: &AdminContext, sent: &Sent) -> Result<Response, Failure> {
    let Sent { person, fields } = sent;
    let text = format!("{}/{}", person.name(), fields.trimmed("name"));
    let id: BundleId = text.parse().map_err(|error| wrong("name", error))?;
    context.registrar().add_bundle(&person.actor(), &id).await?;
    Ok(done(fields, "bundle-changed"))
}

/// `POST /settings/people/bundles/{owner}/{name}` with `do`: `put`, `take`, `share`, `unshare` or
/// `remove`.
pub(super) async fn change_bundle(
    State(context): State<AdminContext>,
    Path((owner, name)): Path<(String, String)>,
    sent: Sent,
) -> Result<Response, Failure> {
    let outcome = set_bundle(&context, &sent, &owner, &name).await;
    answer(&context, sent, outcome).await
}

async fn set_bundle(
    context: &AdminContext,
    sent: &Sent,
    owner: &str,
    name: &str,
) -> Result<Response, Failure> {
    let Sent { person, fields } = sent;
    let id: Result<BundleId, _> = format!("{owner}/{name}").parse();
    let id = id.map_err(|_| Failure::not_found())?;
    let (registrar, actor) = (context.registrar(), person.actor());
    if fields.text("do") == "remove" {
        registrar.remove_bundle(&actor, &id).await?;
        return Ok(done(fields, "bundle-changed"));
    }
    if let "share" | "unshare" = fields.text("do") {
        let with: Grantee = fields
            .trimmed("with")
            .parse()
            .map_err(|error| wrong("with", error))?;
        if fields.text("do") == "unshare" {
            registrar.unshare_bundle(&actor, &id, &with).await?;
            return Ok(done(fields, "bundle-changed"));
        }
        // What is in it becomes theirs to use, and what is put into it later.
        sent.demand_fresh(PATH)?;
        let until = when::future(fields.text("until")).map_err(|error| wrong("until", error))?;
        let offer = Offer {
            until,
            ..Offer::to(with)
        };
        registrar.share_bundle(&actor, &id, &offer).await?;
        return Ok(done(fields, "bundle-changed"));
    }
    let slug =
        |name: &'static str| Slug::parse(fields.trimmed(name)).map_err(|error| wrong(name, error));
    if fields.text("do") == "take" {
        registrar
            .take_out_of_bundle(&actor, &id, &slug("alias")?)
            .await?;
    } else {
        let of = slug("slug")?;
        let alias = match fields.trimmed("alias") {
            "" => of.clone(),
            _ => slug("alias")?,
        };
        registrar.put_into_bundle(&actor, &id, &alias, &of).await?;
    }
    Ok(done(fields, "bundle-changed"))
}

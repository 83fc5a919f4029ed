//! `GET /settings/credentials`: all credentials that a person may know of.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use askama::Template;
use axum::extract::State;
use axum::response::Response;

use super::facts::{self, Badge};
use crate::admin::AdminContext;
use crate::admin::part::Part;
use crate::ledger::usage::{LastActions, LastUses, UsageIndex};
use crate::page::failure::Failure;
use crate::page::fields::Fields;
use crate::page::layout::{self, Layout, Section};
use crate::page::paging::{Links, PAGE};
use crate::page::person::Person;
use crate::page::text;
use crate::page::visit::Visit;
use crate::page::when::When;
use crate::proxy::exchange::health::CredentialHealth;
use crate::substitution::slug::Slug;
use crate::vault::{Credential, ListOrder, ListPart, Principal, Sight};

/// Hosts that are named in a row.
const HOSTS: usize = 2;
/// How long a page waits for the usage index to catch up.
pub(super) const INDEX_WAIT: Duration = Duration::from_millis(150);

#[derive(Template)]
#[template(path = "credentials.html")]
struct ListPage {
    layout: Layout,
    may_add: bool,
    user: String,
    query: String,
    state: String,
    whose: String,
    sort: &'static str,
    rows: Vec<Row>,
    /// With the number of those that the filter fits.
    links: Links,
    is_empty: bool,
    is_filtered: bool,
}

struct Row {
    href: String,
    slug: String,
    description: String,
    kind: &'static str,
    owner: String,
    is_own: bool,
    hosts: String,
    more_hosts: usize,
    places: String,
    version: u32,
    age: String,
    last_used: String,
    last_action: String,
    badges: Vec<Badge>,
}

/// What is looked for, and in which order.
struct Wanted<'a> {
    query: String,
    state: &'a str,
    whose: &'a str,
    viewer: &'a Principal,
    health: &'a CredentialHealth,
    now: i64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sort {
    Name,
    LastUsed,
    Age,
}

impl Sort {
    fn parse(text: &str) -> Self {
        match text {
            "used" => Self::LastUsed,
            "age" => Self::Age,
            _ => Self::Name,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::LastUsed => "used",
            Self::Age => "age",
        }
    }

    /// What comes first has the smallest number. By name, what is urgent comes before.
    fn number(self, credential: &Credential, uses: &LastUses, wanted: &Wanted<'_>) -> i64 {
        match self {
            Self::Name => {
                let badges = facts::badges(credential, wanted.health, wanted.now);
                match badges.first() {
                    Some(Badge::Rejected) => -2,
                    Some(Badge::Expiring) => -1,
                    _ => 0,
                }
            }
            Self::Age => credential.rotated,
            Self::LastUsed => {
                let id = (credential.owner.to_string(), credential.slug.to_string());
                uses.get(&id).map_or(0, |time| -time.unix_micros())
            }
        }
    }
}

impl Wanted<'_> {
    /// Whether nothing limits what is looked for.
    fn is_anything(&self) -> bool {
        [self.query.as_str(), self.state, self.whose] == [""; 3]
    }

    fn fits(&self, credential: &Credential) -> bool {
        let is_own = credential.owner == *self.viewer;
        let whose = match self.whose {
            "mine" => is_own,
            "others" => !is_own,
            _ => true,
        };
        let badges = facts::badges(credential, self.health, self.now);
        let state = self.state.is_empty() || badges.iter().any(|badge| badge.name() == self.state);
        whose && state && self.is_named(credential)
    }

    fn is_named(&self, credential: &Credential) -> bool {
        let has = |text: &str| text.to_lowercase().contains(&self.query);
        self.query.is_empty()
            || has(credential.slug.as_str())
            || has(&credential.description)
            || has(credential.owner.as_str())
            || credential
                .grant
                .hosts
                .iter()
                .any(|host| has(&host.to_string()))
    }
}

/// Where a page ends: the order's number, slug and owner of its last credential.
type Place = (i64, Slug, Principal);

fn place(sort: Sort, uses: &LastUses, credential: &Credential, wanted: &Wanted<'_>) -> Place {
    (
        sort.number(credential, uses, wanted),
        credential.slug.clone(),
        credential.owner.clone(),
    )
}

fn parse_place(text: &str) -> Option<Place> {
    let mut parts = text.splitn(3, '/');
    let number = parts.next()?.parse().ok()?;
    let slug = Slug::parse(parts.next()?).ok()?;
    Some((number, slug, Principal::parse(parts.next()?).ok()?))
}

/// The part after a place of all of them, by name. Only what is urgent, and what is shown, is looked at.
fn first(
    sight: &Sight,
    wanted: &Wanted<'_>,
    after: Option<&Place>,
) -> Part<Place, Arc<Credential>> {
    let number = |one: &Credential| Sort::Name.number(one, &LastUses::new(), wanted);
    let mut urgent: BTreeMap<Place, Arc<Credential>> = BTreeMap::new();
    for one in facts::with_a_state(sight, wanted.health) {
        let place = place(Sort::Name, &LastUses::new(), &one, wanted);
        if place.0 < 0 {
            urgent.insert(place, one);
        }
    }
    let from = after.map_or(Bound::Unbounded, Bound::Excluded);
    let mut items: Vec<_> = urgent
        .range::<Place, _>((from, Bound::Unbounded))
        .map(|(place, one)| (place.clone(), Arc::clone(one)))
        .collect();
    let behind = after.filter(|(number, ..)| *number >= 0);
    let behind = behind.map(|(_, slug, owner)| (owner.clone(), slug.clone()));
    let rest = sight.first(
        ListPart {
            order: ListOrder::Slug,
            owner: None,
            after: behind.as_ref(),
            // One more than is shown tells that there is more.
            most: PAGE + 1,
        },
        |one| number(one) >= 0,
    );
    let placed = |one: Arc<Credential>| (place(Sort::Name, &LastUses::new(), &one, wanted), one);
    items.extend(rest.into_iter().map(placed));
    let has_more = items.len() > PAGE;
    items.truncate(PAGE);
    Part {
        count: sight.count(),
        items,
        has_more,
    }
}

pub(super) async fn show(
    State(context): State<AdminContext>,
    visit: Visit,
) -> Result<Response, Failure> {
    let Visit {
        person,
        sight,
        fields,
    } = &visit;
    let sort = Sort::parse(fields.text("sort"));
    let wanted = Wanted {
        query: fields.trimmed("q").to_lowercase(),
        state: fields.text("state"),
        whose: fields.text("whose"),
        viewer: person.name(),
        health: &context.state().health,
        now: sight.now(),
    };
    let dir = context.settings().config.ledger_dir();
    let mut index = UsageIndex::open_within(&dir, INDEX_WAIT).await?;
    let uses = match sort {
        Sort::LastUsed => index.last_uses().await?,
        Sort::Name | Sort::Age => LastUses::new(),
    };
    let after = parse_place(fields.text("after"));
    let found = match sort == Sort::Name && wanted.is_anything() {
        true => first(sight, &wanted, after.as_ref()),
        false => {
            let all = sight.credentials().into_iter();
            let fitting = all.filter(|one| wanted.fits(one));
            let placed = fitting.map(|one| (place(sort, &uses, &one, &wanted), one));
            Part::of(placed, after.as_ref(), PAGE)
        }
    };
    let shown = found.items.iter().map(|(_, one)| one);
    let ids = shown
        .clone()
        .map(|one| (one.owner.to_string(), one.slug.to_string()));
    let last = index.last_actions(&ids.collect::<Vec<_>>()).await?;
    index.leave();
    let rows = shown.map(|one| row(one, person, &last, &wanted));
    let filters = ["q", "state", "whose"];
    let page = ListPage {
        layout: visit.layout("Credentials", Section::Credentials),
        may_add: !person.only_reads(),
        user: person.name().to_string(),
        query: fields.trimmed("q").to_owned(),
        state: fields.text("state").to_owned(),
        whose: fields.text("whose").to_owned(),
        sort: sort.name(),
        links: Links::of(
            &found,
            after.is_some(),
            ["credential", "credentials"],
            |(number, slug, owner)| format!("{number}/{slug}/{owner}"),
            |after| link(fields, after),
        ),
        rows: rows.collect(),
        is_empty: sight.count() == 0,
        is_filtered: filters.iter().any(|name| !fields.text(name).is_empty()),
    };
    Ok(layout::page(&page))
}

fn link(fields: &Fields, after: &str) -> String {
    let query = text::query(&[
        ("q", fields.trimmed("q")),
        ("state", fields.text("state")),
        ("whose", fields.text("whose")),
        ("sort", fields.text("sort")),
        ("after", after),
    ]);
    format!("/settings/credentials?{query}")
}

fn row(
    credential: &Arc<Credential>,
    person: &Person,
    last: &LastActions,
    wanted: &Wanted<'_>,
) -> Row {
    let hosts = &credential.grant.hosts;
    let id = (credential.owner.to_string(), credential.slug.to_string());
    let used = last.get(&id);
    Row {
        href: facts::path(&credential.owner, &credential.slug),
        slug: credential.slug.to_string(),
        description: text::shown(&credential.description),
        kind: credential.kind.as_str(),
        owner: credential.owner.to_string(),
        is_own: credential.owner == *person.name(),
        hosts: facts::texts(&hosts[..hosts.len().min(HOSTS)]),
        more_hosts: hosts.len().saturating_sub(HOSTS),
        places: facts::texts(&credential.grant.locations),
        version: credential.version,
        age: When::at(credential.rotated).html(),
        last_used: used.map_or_else(String::new, |(time, _)| When::of(*time).html()),
        last_action: used.map_or_else(String::new, |(_, action)| text::shown(action)),
        badges: facts::badges(credential, wanted.health, wanted.now),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_in_the_list_is_read_back() {
        let (slug, owner) = (Slug::parse("a-slug"), Principal::parse("alice"));
        let place = (-7, slug.unwrap(), owner.unwrap());
        let text = format!("{}/{}/{}", place.0, place.1, place.2);
        assert_eq!(parse_place(&text), Some(place));
        assert_eq!(parse_place("x/y"), None);
    }
}

//! Which parts of the lists of people are shown. Users, groups, the members of a group, and bundles are on
//! one page, and each list has its own part.

use super::fields::Fields;
use super::paging::{Links, PAGE};
use super::text;
use crate::admin::part::Part;
use crate::vault::{GroupName, Principal};

/// The list of users.
pub(super) const USERS: List = List {
    field: "users_after",
    nouns: ["user", "users"],
};
/// The list of groups.
pub(super) const GROUPS: List = List {
    field: "groups_after",
    nouns: ["group", "groups"],
};
/// The list of bundles.
pub(super) const BUNDLES: List = List {
    field: "bundles_after",
    nouns: ["bundle", "bundles"],
};
/// The list of a group's members; its place is `group/member`.
const MEMBERS: List = List {
    field: "members_after",
    nouns: ["member", "members"],
};

/// One of the lists.
#[derive(Clone, Copy)]
pub(super) struct List {
    /// The field of the address that says after which name its part begins.
    field: &'static str,
    nouns: [&'static str; 2],
}

impl List {
    /// Where the list is on the page.
    fn anchor(self) -> &'static str {
        match self.field {
            field if field == USERS.field => "users-title",
            field if field == BUNDLES.field => "bundles-title",
            _ => "groups-title",
        }
    }
}

/// A part of a list, and its links.
pub(super) struct Listed<T> {
    pub(super) rows: Vec<T>,
    pub(super) links: Links,
}

/// After which name the part of each list begins; an empty one is the first part.
pub(super) struct Places([(&'static str, String); 4]);

impl Places {
    /// As the address, or a form of the page, has it.
    pub(super) fn of(fields: &Fields) -> Self {
        let lists = [USERS, GROUPS, MEMBERS, BUNDLES];
        Self(lists.map(|list| (list.field, fields.trimmed(list.field).to_owned())))
    }

    /// The places that are not the first.
    pub(super) fn given(&self) -> Vec<(&'static str, String)> {
        let given = self.0.iter().filter(|(_, place)| !place.is_empty());
        given.cloned().collect()
    }

    fn get(&self, list: List) -> &str {
        let found = self.0.iter().find(|(field, _)| *field == list.field);
        found.map_or("", |(_, place)| place)
    }

    /// The query string of these places, beside another field.
    pub(super) fn query(&self, (name, value): (&str, &str)) -> String {
        let others = self.0.iter().filter(|(field, _)| *field != name);
        let others = others.map(|(field, place)| (*field, place.as_str()));
        let all: Vec<_> = [(name, value)].into_iter().chain(others).collect();
        text::query(&all)
    }

    fn link(&self, list: List, place: &str) -> String {
        let query = self.query((list.field, place));
        format!("/settings/people?{query}#{}", list.anchor())
    }

    /// The part of a list that is to be shown, by the names of its items.
    pub(super) fn list<T, R>(
        &self,
        list: List,
        all: impl Iterator<Item = (String, T)>,
        row: impl Fn(T) -> R,
    ) -> Listed<R> {
        let place = self.get(list);
        let after = (!place.is_empty()).then(|| place.to_owned());
        self.part(list, after, all, str::to_owned, row)
    }

    /// The part of a group's members that is to be shown: the first one, but of the group of which the
    /// address says another.
    pub(super) fn members<'a>(
        &self,
        group: &GroupName,
        all: impl Iterator<Item = &'a Principal>,
    ) -> Listed<String> {
        let place = self.get(MEMBERS).split_once('/');
        let place = place.filter(|(name, _)| *name == group.as_str());
        let after = place.map(|(_, member)| member.to_owned());
        let all = all.map(|name| (name.to_string(), name));
        let place = |member: &str| format!("{group}/{member}");
        self.part(MEMBERS, after, all, place, ToString::to_string)
    }

    /// `place` is what the address says of a part that begins after a name.
    fn part<T, R>(
        &self,
        list: List,
        after: Option<String>,
        all: impl Iterator<Item = (String, T)>,
        place: impl Fn(&str) -> String,
        row: impl Fn(T) -> R,
    ) -> Listed<R> {
        let part = Part::of(all, after.as_ref(), PAGE);
        let links = Links::of(
            &part,
            after.is_some(),
            list.nouns,
            |name| place(name),
            |place| self.link(list, place),
        );
        let rows = part.items.into_iter().map(|(_, item)| row(item));
        Listed {
            rows: rows.collect(),
            links,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_list_keeps_its_own_place() {
        let fields = Fields::parse(b"users_after=bob&members_after=ops%2Fcarol&name=x");
        let places = Places::of(&fields);
        assert_eq!(places.given().len(), 2);
        assert_eq!(
            places.link(GROUPS, "ops"),
            "/settings/people?groups_after=ops&users_after=bob&members_after=ops%2Fcarol#groups-title"
        );
        assert_eq!(
            places.query((USERS.field, "")),
            "members_after=ops%2Fcarol",
            "back at the first part"
        );
        let names = ["anna", "bob", "carol"].map(|name| Principal::parse(name).unwrap());
        let of = |group: &str| {
            let group = GroupName::parse(group).unwrap();
            places.members(&group, names.iter())
        };
        assert!(of("ops").rows.is_empty() && of("ops").links.is_paged());
        assert_eq!(of("other").rows.len(), 3);
    }
}

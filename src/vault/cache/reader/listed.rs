//! Lists of credentials, of which no more is read than is shown.

use std::sync::Arc;

use super::Sight;
use crate::vault::cache::listing::ListPart;
use crate::vault::model::Credential;

impl Sight {
    /// How many credentials the viewer sees.
    pub fn count(&self) -> usize {
        let Some(user) = self.active_user().map(|_| &self.viewer) else {
            return 0;
        };
        if self.sees_all() {
            return self.vault.listing.read().count(None);
        }
        self.vault.listing.read().count(Some(user)) + self.offered().len()
    }

    /// The credentials of a part that the viewer sees and that fit, in their order. No more are looked at than
    /// it takes to find them, but for what others share with the viewer.
    pub fn first(
        &self,
        part: ListPart<'_>,
        mut fits: impl FnMut(&Arc<Credential>) -> bool,
    ) -> Vec<Arc<Credential>> {
        if self.sees_all() {
            return self.vault.listing.read().first(part, &mut fits);
        }
        if self.active_user().is_none() {
            return Vec::new();
        }
        let mut found = Vec::new();
        if part.owner.is_none_or(|owner| *owner == self.viewer) {
            let own = ListPart {
                owner: Some(&self.viewer),
                ..part
            };
            found = self.vault.listing.read().first(own, &mut fits);
        }
        found.extend(self.offered().into_iter().filter(fits));
        part.cut(found)
    }

    /// Those that the viewer sees and that have an end, a time of rotation or a staged version, by slug and
    /// owner. About all others the time says nothing.
    pub fn dated(&self) -> Vec<Arc<Credential>> {
        if self.active_user().is_none() {
            return Vec::new();
        }
        let sees_all = self.sees_all();
        let orders = self.vault.listing.read();
        let seen = orders.dated().filter(|one| sees_all || self.sees(one));
        seen.cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::substitution::slug::Slug;
    use crate::vault::Principal;
    use crate::vault::cache::listing::ListOrder;
    use crate::vault::fixture::*;
    use crate::vault::people::Role;
    use crate::vault::registrar::people::NewUser;
    use crate::vault::{Reader, Registrar};

    const EACH: usize = 12;
    const PART: usize = 5;

    type Place = (Principal, Slug);

    fn compare(order: ListOrder, one: &Place, other: &Place) -> std::cmp::Ordering {
        match order {
            ListOrder::Owner => one.cmp(other),
            ListOrder::Slug => (&one.1, &one.0).cmp(&(&other.1, &other.0)),
        }
    }

    /// Owners whose names have another order than the same with what follows them in a text.
    const OWNERS: [&str; 4] = ["a", "a-b", "a.b", "b"];

    async fn populated(fixture: &Fixture) -> Registrar {
        let command = fixture.registrar().await;
        command.add_users(&OWNERS).await;
        let root = NewUser {
            name: principal("root"),
            display_name: String::new(),
            role: Role::Administrator,
        };
        command.add_user(&actor(), &root).await.unwrap();
        for owner in OWNERS {
            for number in 0..EACH {
                let name = format!("key-{}", number * 7 % EACH);
                command.add_secret(owner, &name, "v").await;
            }
        }
        let (b, key) = (principal("b"), slug("key-3"));
        let shared = command.share(&actor(), &b, &key, &with("a")).await;
        shared.unwrap();
        command
    }

    fn name(credential: &Arc<Credential>) -> Place {
        (credential.owner.clone(), credential.slug.clone())
    }

    /// All parts, one after the other.
    fn walk(sight: &Sight, order: ListOrder, owner: Option<&Principal>) -> Vec<Place> {
        let mut seen: Vec<Place> = Vec::new();
        loop {
            let mut looked_at = 0;
            let part = ListPart {
                order,
                owner,
                after: seen.last(),
                most: PART,
            };
            let found = sight.first(part, |_| {
                looked_at += 1;
                true
            });
            // One is shared with somebody.
            assert!(looked_at <= PART + 1, "{looked_at} of {part:?}");
            if found.is_empty() {
                return seen;
            }
            seen.extend(found.iter().map(name));
        }
    }

    #[tokio::test]
    async fn parts_follow_each_other_and_no_more_is_looked_at_than_is_shown() {
        let fixture = Fixture::new();
        let command = populated(&fixture).await;
        let reader = Reader::new(Arc::new(fixture.vault().await));
        let counts = [("root", 4 * EACH), ("a", EACH + 1), ("b", EACH), ("x", 0)];
        for (who, count) in counts {
            let sight = reader.look(&principal(who)).await.unwrap();
            assert_eq!(sight.count(), count, "{who}");
            for order in [ListOrder::Owner, ListOrder::Slug] {
                let mut all: Vec<Place> = sight.credentials().iter().map(name).collect();
                assert_eq!(all.len(), count);
                all.sort_by(|one, other| compare(order, one, other));
                assert_eq!(walk(&sight, order, None), all, "{who}, {order:?}");
                for owner in OWNERS.map(principal) {
                    let of = all.iter().filter(|one| one.0 == owner).cloned();
                    let of: Vec<Place> = of.collect();
                    assert_eq!(walk(&sight, order, Some(&owner)), of, "{who}, {owner}");
                }
            }
        }
        let (a, key) = (principal("a"), slug("key-0"));
        command.delete(&actor(), &a, &key).await.unwrap();
        let sight = reader.look(&principal("root")).await.unwrap();
        assert_eq!(sight.count(), 4 * EACH - 1);
        let left = walk(&sight, ListOrder::Owner, Some(&principal("a")));
        assert_eq!(left.len(), EACH - 1);
    }

    #[tokio::test]
    async fn what_the_time_changes_is_listed_by_itself() {
        let fixture = Fixture::new();
        let command = populated(&fixture).await;
        let reader = Reader::new(Arc::new(fixture.vault().await));
        let dated = async |who: &str| {
            let sight = reader.look(&principal(who)).await.unwrap();
            sight.dated().iter().map(name).collect::<Vec<_>>()
        };
        assert_eq!(dated("root").await, []);
        for (owner, name) in [("b", "key-3"), ("b", "key-2"), ("a", "key-5")] {
            let (owner, slug) = (principal(owner), slug(name));
            let set = command.rotate_every(&actor(), &owner, &slug, Some(1)).await;
            set.unwrap();
        }
        let place = |owner: &str, name: &str| (principal(owner), slug(name));
        let all = [
            place("b", "key-2"),
            place("b", "key-3"),
            place("a", "key-5"),
        ];
        assert_eq!(dated("root").await, all);
        assert_eq!(dated("a").await, all[1..]);
        assert_eq!(dated("b").await, all[..2]);
        let (owner, slug) = &all[0];
        let unset = command.rotate_every(&actor(), owner, slug, None).await;
        unset.unwrap();
        assert_eq!(dated("b").await, all[1..2]);
    }
}

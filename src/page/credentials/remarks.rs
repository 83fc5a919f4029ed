//! What may be a mistake about a new value. It goes into an address by its name, which holds nothing
//! of the value.

use crate::admin::{AdminContext, remarks};
use crate::policy::grant::HostPattern;
use crate::secret::SecretBytes;
use crate::services::Service;
use crate::services::remark::{self, Remark};
use crate::substitution::slug::Slug;
use crate::vault::{Kind, Sight};

/// How the name begins of the remark that the value is stored already, under the slug that follows.
const SAME: &str = "same:";

/// How the name begins of the remark that tunnels to the host that follows are not opened.
const UNOPENED: &str = "unopened:";

/// The names of remarks about hosts.
pub(in crate::page) fn about_hosts(
    context: &AdminContext,
    hosts: &[HostPattern],
) -> impl Iterator<Item = String> {
    let settings = context.settings();
    let found = remark::passed_through(hosts, &settings.config.tls.passthrough);
    let names: Vec<_> = found.map(|host| format!("{UNOPENED}{host}")).collect();
    names.into_iter()
}

/// The names of what may be a mistake.
pub(in crate::page) fn of(
    sight: &Sight,
    kind: Kind,
    value: &SecretBytes,
    service: Option<&'static Service>,
    hosts: &[HostPattern],
) -> Vec<String> {
    let remarks = remarks::about(kind, value, service, hosts).into_iter();
    let same = (kind == Kind::Secret).then(|| sight.stored_as(value));
    let same = same.flatten().map(|slug| format!("{SAME}{slug}"));
    remarks.map(Remark::name).chain(same).collect()
}

/// What the names in an address mean of the credential `slug`, as sentences; unknown ones mean nothing.
pub(super) fn meaning(names: &str, slug: &Slug) -> Vec<String> {
    let about_host = |name: &str| {
        let host: HostPattern = name.strip_prefix(UNOPENED)?.parse().ok()?;
        Some(remark::unopened(&host))
    };
    let of = |name: &str| match name.strip_prefix(SAME) {
        Some(other) => Slug::parse(other).ok().map(|other| same(&other, slug)),
        None => {
            about_host(name).or_else(|| name.parse().ok().map(|remark: Remark| remark.to_string()))
        }
    };
    let remarks = names.split(',').filter_map(of);
    remarks.map(|clause| sentence(&clause)).collect()
}

fn same(other: &Slug, slug: &Slug) -> String {
    if other == slug {
        return "the value is the one that was in force before".to_owned();
    }
    format!(
        "the value is also stored under {other}: whoever revokes one of the two leaves the other"
    )
}

fn sentence(clause: &str) -> String {
    let (first, rest) = clause.split_at(1);
    format!("{}{rest}.", first.to_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_as_sentences() {
        let slug = Slug::parse("gh").unwrap();
        let meaning = meaning(
            "space,<script>,same:other,same:gh,same:<b>,unopened:a.example,unopened:<b>",
            &slug,
        );
        assert_eq!(meaning.len(), 4, "{meaning:?}");
        assert!(meaning[3].starts_with("Tunnels to a.example are not opened"));
        assert!(meaning[0].starts_with("The value begins") && meaning[0].ends_with('.'));
        assert!(meaning[1].starts_with("The value is also stored under other:"));
        assert_eq!(meaning[2], "The value is the one that was in force before.");
    }
}

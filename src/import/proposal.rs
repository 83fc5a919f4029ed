//! What a row would be saved as.

use std::collections::HashSet;

use super::row::Row;
use crate::policy::grant::HostPattern;
use crate::policy::location::LocationRule;
use crate::services::{self, Service};
use crate::substitution::slug::Slug;

/// What a row would be saved as.
#[derive(Debug)]
pub struct Proposal {
    /// The row.
    pub row: Row,
    /// The slug, unique among the rows of the file.
    pub slug: Slug,
    /// The service that it is for, if that is known.
    pub service: Option<&'static Service>,
    /// Where it may be used. Empty: hosts have to be given.
    pub hosts: Vec<HostPattern>,
    /// Where it may be placed.
    pub locations: Vec<LocationRule>,
}

/// What the rows would be saved as, by slugs that are not `taken`.
pub fn propose(rows: Vec<Row>, mut taken: HashSet<String>) -> Vec<Proposal> {
    rows.into_iter()
        .map(|row| {
            let slug = unique(slug(&row.name), &mut taken);
            let service = service(&row);
            let mut hosts = row.hosts.clone();
            if let (true, Some(service)) = (hosts.is_empty(), service) {
                hosts = service.hosts(&[]).unwrap_or_default();
            }
            let mut locations = row.locations.clone();
            if let (true, Some(service)) = (locations.is_empty(), service) {
                locations.push(service.location());
            }
            Proposal {
                row,
                slug,
                service,
                hosts,
                locations,
            }
        })
        .collect()
}

/// By the hosts that the file names, else by the key's own prefix, else by the name of the entry.
/// A host that is no service's says that the entry is for something else.
fn service(row: &Row) -> Option<&'static Service> {
    if !row.hosts.is_empty() {
        let covers = |service: &&Service| {
            row.hosts
                .iter()
                .all(|host| service.hosts.iter().any(|own| own.covers(host)))
        };
        return services::all().iter().find(covers);
    }
    services::of_key(row.value.expose()).or_else(|| named(&slug(&row.name)))
}

/// The service that a name begins with, as `openai-api-key` does; the longest decides.
fn named(name: &str) -> Option<&'static Service> {
    let begins = |service: &&Service| {
        let rest = name.strip_prefix(service.id.as_str());
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    };
    services::all()
        .iter()
        .filter(begins)
        .max_by_key(|service| service.id.len())
}

/// A slug that says the same as `name`.
fn slug(name: &str) -> String {
    let mut slug = String::new();
    for char in name.chars() {
        match char.to_ascii_lowercase() {
            char @ ('a'..='z' | '0'..='9') => slug.push(char),
            _ if slug.is_empty() || slug.ends_with('-') => {}
            _ => slug.push('-'),
        }
    }
    let slug = slug.trim_end_matches('-');
    let begins_well = slug.starts_with(|char: char| char.is_ascii_lowercase());
    let whole = if begins_well {
        slug.to_owned()
    } else {
        format!("key-{slug}")
    };
    let cut = whole.chars().take(56).collect::<String>();
    cut.trim_end_matches('-').to_owned()
}

fn unique(wanted: String, taken: &mut HashSet<String>) -> Slug {
    let mut name = wanted.clone();
    let mut number = 1_u32;
    while !taken.insert(name.clone()) {
        number += 1;
        name = format!("{wanted}-{number}");
    }
    name.parse()
        .expect("letters, digits and hyphens, after a letter")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::format::Format;
    use super::*;

    fn proposals(text: &str) -> Vec<Proposal> {
        propose(
            Format::Dotenv.read(text).expect("a file that can be read"),
            HashSet::new(),
        )
    }

    #[test]
    fn a_service_is_known_by_key_or_name() {
        let key = format!("ghp_{}", "a".repeat(36));
        let text = format!(
            "DEPLOY_KEY={key}\nOPENAI_API_KEY=something\nAZURE_OPENAI_API_KEY=x\nPORT=3000\n"
        );
        let rows = proposals(&text);
        let told: Vec<_> = rows
            .iter()
            .map(|row| {
                (
                    row.slug.as_str(),
                    row.service.map(|service| service.id.as_str()),
                    row.hosts.len(),
                )
            })
            .collect();
        assert_eq!(
            told,
            [
                ("deploy-key", Some("github"), 4),
                ("openai-api-key", Some("openai"), 1),
                // Its host has a blank.
                ("azure-openai-api-key", Some("azure-openai"), 0),
                ("port", None, 0),
            ]
        );
    }

    #[test]
    fn names_that_become_the_same_slug_get_numbers() {
        let rows = proposals("A.B=1\nA_B=2\na-b=3\n");
        let slugs: Vec<_> = rows.iter().map(|row| row.slug.as_str()).collect();
        assert_eq!(slugs, ["a-b", "a-b-2", "a-b-3"]);
    }

    proptest! {
        #[test]
        fn every_name_gives_a_slug(name in "\\PC{0,120}") {
            let mut taken = HashSet::new();
            let slugs = [(); 12].map(|()| unique(slug(&name), &mut taken));
            prop_assert_eq!(slugs.iter().collect::<HashSet<_>>().len(), 12);
        }
    }
}

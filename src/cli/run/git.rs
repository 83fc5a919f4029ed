//! Git remotes that speak SSH, where Egret has nothing to put a value into: git is told to use HTTPS for
//! hosts for which there is a credential, and to show its placeholder there.
//!
//! The setting is in the variable that `git -c` sets. `GIT_CONFIG_COUNT` would be three variables, of which
//! a filter can take one (`…_KEY_0`), and git fails without it.

use std::collections::BTreeMap;
use std::ffi::OsString;

use crate::cli::usable::Usable;
use crate::environment::variables::Changes;
use crate::policy::location::LocationRule;
use crate::vault::Kind;

/// Settings of `git -c`, each in single quotes.
const VARIABLE: &str = "GIT_CONFIG_PARAMETERS";
/// A user name beside a token, which GitHub, GitLab and others do not look at.
const USER: &str = "x-access-token";
/// Most hosts: the variable goes to every program.
const MOST: usize = 32;

/// Adds the setting, if there is a host for it.
pub(super) fn add(changes: &mut Changes, usable: &[Usable]) {
    let Some(own) = settings(usable) else {
        return;
    };
    let mut all = std::env::var_os(VARIABLE).unwrap_or_default();
    if !all.is_empty() {
        all.push(" ");
    }
    all.push(own);
    changes.set.push((VARIABLE.to_owned(), all));
}

fn settings(usable: &[Usable]) -> Option<OsString> {
    let mut hosts: BTreeMap<String, Option<String>> = BTreeMap::new();
    for one in usable {
        let Some(pair) = pair(one) else { continue };
        for host in &one.hosts {
            let host = host.to_string();
            // A wildcard, another port, or a scheme.
            if host.contains(['*', ':']) {
                continue;
            }
            hosts
                .entry(host)
                // Of several, none is meant.
                .and_modify(|pair| *pair = None)
                .or_insert_with(|| Some(pair.clone()));
        }
    }
    let settings: Vec<String> = hosts
        .into_iter()
        .filter_map(|(host, pair)| Some((host, pair?)))
        .take(MOST)
        .flat_map(|(host, pair)| {
            let base = format!("url.https://{pair}@{host}/.insteadOf");
            [
                format!("'{base}=git@{host}:'"),
                format!("'{base}=ssh://git@{host}/'"),
            ]
        })
        .collect();
    (!settings.is_empty()).then(|| settings.join(" ").into())
}

/// User name and password for a URL; none if the credential is not for `Authorization`.
fn pair(one: &Usable) -> Option<String> {
    let is_place = |rule: &LocationRule| match rule {
        LocationRule::Header(name) => name
            .as_ref()
            .is_none_or(|name| name.as_str() == "authorization"),
        _ => false,
    };
    if !one.locations.iter().any(is_place) {
        return None;
    }
    let encoded = |reference: &dyn std::fmt::Display| format!("%3C%3C{reference}%3E%3E");
    let field = one.reference.field.as_ref().map(|field| field.as_str());
    match (one.kind, field) {
        (Kind::Secret, _) => Some(format!("{USER}:{}", encoded(&one.reference))),
        (Kind::Login, Some("password")) => {
            let user = format!("{}.username", one.reference.slug);
            Some(format!("{}:{}", encoded(&user), encoded(&one.reference)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::secret::SecretBytes;
    use crate::substitution::slug::{Field, Reference, Slug};

    fn usable(slug: &str, kind: Kind, hosts: &[&str], place: &str) -> Usable {
        let field = (kind != Kind::Secret).then(|| Field::parse("password").unwrap());
        Usable {
            reference: Reference {
                slug: Slug::parse(slug).unwrap(),
                field,
            },
            kind,
            value: Arc::new(SecretBytes::new(b"value".to_vec())),
            hosts: hosts.iter().map(|host| host.parse().unwrap()).collect(),
            locations: vec![place.parse().unwrap()],
        }
    }

    #[test]
    fn a_host_with_one_credential_is_reached_by_https() {
        let pat = usable(
            "pat",
            Kind::Secret,
            &["github.com", "*.a.example", "b.example:8443"],
            "header",
        );
        let expected = "'url.https://x-access-token:%3C%3Cpat%3E%3E@github.com/.insteadOf=git@github.com:' \
             'url.https://x-access-token:%3C%3Cpat%3E%3E@github.com/.insteadOf=ssh://git@github.com/'";
        assert_eq!(settings(&[pat]), Some(expected.into()));
        let login = usable("forge", Kind::Login, &["c.example"], "header:authorization");
        let text = settings(&[login]).unwrap().into_string().unwrap();
        assert!(
            text.contains("//%3C%3Cforge.username%3E%3E:%3C%3Cforge.password%3E%3E@c.example/"),
            "{text}"
        );
    }

    #[test]
    fn of_several_credentials_none_is_taken_and_other_places_are_not_for_git() {
        let one = || usable("one", Kind::Secret, &["github.com"], "header");
        let two = usable("two", Kind::Secret, &["github.com"], "header");
        assert_eq!(settings(&[one(), two]), None);
        let query = usable("three", Kind::Secret, &["github.com"], "query:key");
        assert_eq!(settings(&[query]), None);
        let key = usable("four", Kind::Secret, &["github.com"], "header:x-api-key");
        assert!(settings(&[one(), key]).is_some());
    }
}

//! Reads `[issuer]`, or a table `[[issuer]]` for each of several.

use std::collections::BTreeSet;
use std::path::Path;

use super::entry::Entry;
use super::issuer::{BundleSource, Issuer, KeysPlace, PrincipalSource};
use super::key::{ISSUER, ISSUER_KEYS};
use super::raw::Value;
use super::resolve::{Resolver, parse_principal, unless};
use super::safe_url::is_safe_url;
use super::units::FromValue;
use crate::vault::Principal;
use crate::vault::people::BundleId;

/// Most issuers. A token is compared with each.
const MOST_ISSUERS: usize = 16;

/// Longest label.
const LONGEST_LABEL: usize = 32;

/// An issuer as it was typed.
#[derive(Default)]
struct Typed {
    name: Option<String>,
    audience: Option<String>,
    keys: Option<String>,
    principal: Option<Principal>,
    principal_claim: Option<String>,
    client_claim: Option<String>,
    action_claim: Option<String>,
    bundle: Option<BundleId>,
    bundle_claim: Option<String>,
    label: Option<String>,
}

/// Which field is wrong, and why.
type Wrong = (&'static str, &'static str);

impl Typed {
    fn is_empty(&self) -> bool {
        let texts = [
            &self.name,
            &self.audience,
            &self.keys,
            &self.principal_claim,
            &self.action_claim,
            &self.bundle_claim,
            &self.label,
        ];
        let is_limited = self.principal.is_some() || self.bundle.is_some();
        !is_limited && texts.iter().all(|text| text.is_none())
    }

    fn complete(self, data_dir: &Path) -> Result<Issuer, Wrong> {
        const PARTS: &str = "name, audience, keys, and one of principal and principal_claim belong \
                             together; set all four or none";
        let principal = match (self.principal, self.principal_claim) {
            (Some(_), Some(_)) => {
                let message =
                    "principal names whose credentials are used already; set one of the two";
                return Err(("principal_claim", message));
            }
            (Some(principal), None) => Some(PrincipalSource::Fixed(principal)),
            (None, Some(claim)) => Some(PrincipalSource::Claim(claim)),
            (None, None) => None,
        };
        let bundle = match (self.bundle, self.bundle_claim) {
            (Some(_), Some(_)) => {
                let message = "bundle names what is used already; set one of the two";
                return Err(("bundle_claim", message));
            }
            (Some(bundle), None) => Some(BundleSource::Fixed(bundle)),
            (None, Some(claim)) => Some(BundleSource::Claim(claim)),
            (None, None) => None,
        };
        let (Some(name), Some(audience), Some(keys), Some(principal)) =
            (self.name, self.audience, self.keys, principal)
        else {
            return Err(("name", PARTS));
        };
        Ok(Issuer {
            name,
            audience,
            keys: keys_place(keys, data_dir)?,
            principal,
            client_claim: self.client_claim.unwrap_or_else(|| "sub".to_owned()),
            action_claim: self.action_claim,
            bundle,
            label: self.label,
        })
    }
}

fn keys_place(place: String, data_dir: &Path) -> Result<KeysPlace, Wrong> {
    if !place.contains("://") {
        return Ok(KeysPlace::File(data_dir.join(place)));
    }
    if !is_safe_url(&place) {
        let message = "expected a file, or an https URL; http on loopback only";
        return Err(("keys", message));
    }
    Ok(KeysPlace::Url(place))
}

fn text(value: &Value) -> Result<Option<String>, String> {
    unless("none", value)
}

fn principal(value: &Value) -> Result<Option<Principal>, String> {
    text(value)?.map_or(Ok(None), |_| parse_principal(value).map(Some))
}

fn bundle(value: &Value) -> Result<Option<BundleId>, String> {
    let Some(text) = text(value)? else {
        return Ok(None);
    };
    let bundle = text.parse().map(Some);
    bundle.map_err(|_| format!("{text:?}: expected OWNER/BUNDLE, such as \"alice/work\""))
}

/// A label has no colon, so that no claim of one issuer reads as a label and a claim of another.
fn label(value: &Value) -> Result<Option<String>, String> {
    let Some(text) = text(value)? else {
        return Ok(None);
    };
    let known = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let fits = (1..=LONGEST_LABEL).contains(&text.len()) && text.bytes().all(known);
    fits.then_some(Some(text)).ok_or_else(|| {
        format!("expected 1 to {LONGEST_LABEL} characters of a-z, 0-9 and '-', such as \"github\"")
    })
}

impl Resolver<'_> {
    /// Every issuer: that of `[issuer]` first.
    pub(super) fn issuers(&mut self) -> Vec<Issuer> {
        let mut issuers: Vec<Issuer> = self.single_issuer().into_iter().collect();
        let (data_dir, settings) = (self.data_dir, self.settings);
        let read = |entry: Entry<'_>| listed(entry, data_dir);
        let tables = &settings[ISSUER];
        issuers.extend(Entry::all(ISSUER, ISSUER_KEYS, tables, self.problems, read));
        if let Some(message) = confused(&issuers) {
            self.complain(ISSUER, &message);
        }
        issuers
    }

    /// The issuer of `[issuer]`, whose keys the environment can set, too.
    fn single_issuer(&mut self) -> Option<Issuer> {
        let typed = Typed {
            name: self.parse("issuer.name", text),
            audience: self.parse("issuer.audience", text),
            keys: self.parse("issuer.keys", text),
            principal: self.parse("issuer.principal", principal),
            principal_claim: self.parse("issuer.principal_claim", text),
            client_claim: Some(self.read("issuer.client_claim")),
            action_claim: self.parse("issuer.action_claim", text),
            bundle: self.parse("issuer.bundle", bundle),
            bundle_claim: self.parse("issuer.bundle_claim", text),
            label: self.parse("issuer.label", label),
        };
        if typed.is_empty() {
            return None;
        }
        let issuer = typed.complete(self.data_dir);
        issuer
            .map_err(|(field, message)| {
                let names = [
                    ("name", "issuer.name"),
                    ("keys", "issuer.keys"),
                    ("principal_claim", "issuer.principal_claim"),
                    ("bundle_claim", "issuer.bundle_claim"),
                ];
                let key = names.iter().find(|(known, _)| *known == field);
                self.complain(key.map_or("issuer.name", |(_, key)| *key), message);
            })
            .ok()
    }
}

/// The issuer of one `[[issuer]]` table.
fn listed(mut entry: Entry<'_>, data_dir: &Path) -> Option<Issuer> {
    let typed = Typed {
        name: entry.field("name", text).flatten(),
        audience: entry.field("audience", text).flatten(),
        keys: entry.field("keys", text).flatten(),
        principal: entry.field("principal", principal).flatten(),
        principal_claim: entry.field("principal_claim", text).flatten(),
        client_claim: entry.field("client_claim", String::from_value),
        action_claim: entry.field("action_claim", text).flatten(),
        bundle: entry.field("bundle", bundle).flatten(),
        bundle_claim: entry.field("bundle_claim", text).flatten(),
        label: entry.field("label", label).flatten(),
    };
    let issuer = typed.complete(data_dir);
    issuer
        .map_err(|(field, message)| entry.complain(field, entry.table.line, message.to_owned()))
        .ok()
}

/// What makes it unclear whose a JWT or a client is.
fn confused(issuers: &[Issuer]) -> Option<String> {
    if issuers.len() > MOST_ISSUERS {
        return Some(format!("there are at most {MOST_ISSUERS} issuers"));
    }
    let mut names = BTreeSet::new();
    for issuer in issuers {
        if !names.insert((&issuer.name, &issuer.audience)) {
            return Some(format!(
                "there are two issuers {:?} with the audience {:?}: which rules would hold?",
                issuer.name, issuer.audience
            ));
        }
    }
    // Two clusters have service accounts of the same name.
    let labels: BTreeSet<_> = issuers.iter().map(|issuer| &issuer.label).collect();
    let is_clear = labels.len() == issuers.len() && !labels.contains(&None);
    (issuers.len() > 1 && !is_clear).then(|| {
        "several issuers need a label each, such as label = \"github\": clients of two issuers may \
         have the same name"
            .to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::super::sources::Sources;
    use super::*;

    fn load(text: &str) -> Result<Vec<Issuer>, String> {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("egret.toml"), text).unwrap();
        let sources = Sources {
            data_dir: Some(directory.path().to_owned()),
            ..Sources::default()
        };
        let loaded = sources.load();
        loaded
            .map(|loaded| loaded.config.issuers)
            .map_err(|problems| problems.to_string())
    }

    const CLUSTER: &str = "[[issuer]]\nname = \"https://cluster.example\"\naudience = \"egret\"\n\
         keys = \"cluster.json\"\nprincipal_claim = \"/kubernetes.io/namespace\"\nlabel = \"cluster\"\n";
    const CI: &str = "[[issuer]]\nname = \"https://ci.example\"\naudience = \"egret\"\n\
         keys = \"https://ci.example/jwks\"\nprincipal = \"build\"\nlabel = \"ci\"\n\
         bundle_claim = \"environment\"\n";

    #[test]
    fn several_issuers_have_tables_of_their_own() {
        let issuers = load(&[CLUSTER, CI].concat()).unwrap();
        let [cluster, ci] = &issuers[..] else {
            panic!("{issuers:?}");
        };
        assert_eq!((&*cluster.client_claim, &cluster.bundle), ("sub", &None));
        assert!(matches!(&cluster.keys, KeysPlace::File(path) if path.is_absolute()));
        let claim = BundleSource::Claim("environment".to_owned());
        assert_eq!(
            (&ci.bundle, ci.label.as_deref()),
            (&Some(claim), Some("ci"))
        );
        // One alone needs no label.
        let alone = load(&CI.replace("label = \"ci\"\n", "bundle = \"none\"\n")).unwrap();
        assert_eq!(alone.len(), 1);
    }

    #[test]
    fn what_leaves_open_whose_a_token_is_is_refused() {
        for (text, message) in [
            (
                [CLUSTER, &CI.replace("label = \"ci\"\n", "")].concat(),
                "need a label each",
            ),
            (
                [CLUSTER, &CI.replace("\"ci\"", "\"cluster\"")].concat(),
                "need a label each",
            ),
            (
                [CI, &CI.replace("\"ci\"", "\"again\"")].concat(),
                "two issuers",
            ),
            (CI.replace("\"ci\"", "\"a:b\""), "issuer[0].label"),
            (
                CI.replace("https://ci.example/jwks", "http://ci.example/jwks"),
                "issuer[0].keys",
            ),
            (
                CI.replace("principal =", "principle ="),
                "did you mean `principal`",
            ),
            (CI.replace("principal = \"build\"\n", ""), "belong together"),
            (
                [CI, "bundle = \"build/work\"\n"].concat(),
                "set one of the two",
            ),
            (
                CI.replace("bundle_claim = \"environment\"", "bundle = \"work\""),
                "OWNER/BUNDLE",
            ),
            ("issuer = 1\n".to_owned(), "two brackets"),
            (CI.repeat(17), "at most 16"),
        ] {
            let problems = load(&text).expect_err(message);
            assert!(problems.contains(message), "{message}: {problems}");
        }
    }
}

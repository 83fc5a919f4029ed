//! What the program is made of: the policy of `deny.toml`, enforced without cargo-deny.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde::Deserialize;

/// `deny.toml`. A key that is not known here fails to parse, so that no rule is set and not
/// enforced.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Policy {
    #[serde(rename = "graph")]
    _graph: toml::Table,
    /// Only cargo-deny checks these: they come from a database that is fetched.
    #[serde(rename = "advisories")]
    _advisories: toml::Table,
    licenses: Licences,
    bans: Bans,
    sources: Sources,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Licences {
    allow: BTreeSet<String>,
    unused_allowed_license: Deny,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Bans {
    multiple_versions: Deny,
    multiple_versions_include_dev: bool,
    wildcards: Deny,
    deny: Vec<Exception>,
    skip: Vec<Exception>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Sources {
    unknown_registry: Deny,
    unknown_git: Deny,
    allow_registry: Vec<String>,
}

/// A crate that is treated in its own way; `name`, or `name@version`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Exception {
    #[serde(rename = "crate")]
    package: String,
    reason: String,
}

/// The only level that this policy knows.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Deny {
    Deny,
}

/// Crates of which there may be one version only, whatever the policy says.
const SINGLE: &[&str] = &[
    "rustls",
    "tokio-rustls",
    "aws-lc-rs",
    "hyper",
    "http",
    "tokio",
    "rustls-webpki",
];

fn table(file: &str) -> String {
    let path = format!("{}/{file}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{error}: {path}"))
}

fn policy() -> Policy {
    toml::from_str(&table("deny.toml")).unwrap_or_else(|error| panic!("deny.toml: {error}"))
}

/// A package of `Cargo.lock`, which also lists optional crates that no feature asks for, and those
/// of other platforms.
#[derive(Deserialize)]
struct Locked {
    name: String,
    version: String,
    #[serde(default)]
    source: String,
}

fn locked() -> Vec<Locked> {
    #[derive(Deserialize)]
    struct Lock {
        package: Vec<Locked>,
    }
    let lock: Lock = toml::from_str(&table("Cargo.lock")).expect("Cargo.lock");
    lock.package
}

/// A crate that is really built on this platform, for the program, its build or its tests.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Built {
    name: String,
    version: String,
    licence: String,
}

fn built() -> BTreeSet<Built> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["tree", "--locked", "--offline", "--prefix", "none"])
        .args(["--edges", "normal,build,dev", "--format", "{p}|{l}"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo tree");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let crates: BTreeSet<Built> = text.lines().filter_map(built_of).collect();
    assert!(crates.len() > 100, "{crates:?}");
    crates
}

/// Reads `name vVERSION (proc-macro)|LICENCE (*)`.
fn built_of(line: &str) -> Option<Built> {
    let (package, licence) = line.trim_end_matches(" (*)").split_once('|')?;
    let (name, rest) = package.split_once(" v")?;
    Some(Built {
        name: name.to_owned(),
        version: rest.split(' ').next()?.to_owned(),
        licence: licence.trim_end_matches(" (*)").to_owned(),
    })
}

#[test]
fn no_banned_crate_is_built() {
    let banned = policy().bans.deny;
    for Built { name, .. } in built() {
        if let Some(ban) = banned.iter().find(|ban| ban.package == name) {
            panic!("{name} is built: {}", ban.reason);
        }
    }
}

#[test]
fn every_crate_that_is_built_twice_has_a_reason() {
    let Bans {
        multiple_versions: Deny::Deny,
        multiple_versions_include_dev: true,
        skip,
        ..
    } = policy().bans
    else {
        panic!("development dependencies are exempt");
    };
    let mut versions: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for Built { name, version, .. } in built() {
        versions.entry(name).or_default().insert(version);
    }
    for (name, versions) in versions {
        let is_skipped = |version: &&String| {
            let package = format!("{name}@{version}");
            skip.iter().any(|skip| skip.package == package)
        };
        let rest: Vec<&String> = versions.iter().filter(|v| !is_skipped(v)).collect();
        assert!(rest.len() < 2, "{name} is built in versions {rest:?}");
    }
}

#[test]
fn no_reason_is_kept_for_a_crate_that_is_there_once() {
    let locked = locked();
    for skip in policy().bans.skip {
        let (name, version) = skip.package.split_once('@').expect("name@version");
        let versions: Vec<&str> = locked
            .iter()
            .filter(|package| package.name == name)
            .map(|package| package.version.as_str())
            .collect();
        assert!(
            versions.len() > 1 && versions.contains(&version),
            "{} ({}) is skipped, and there is {versions:?}",
            skip.package,
            skip.reason
        );
    }
}

#[test]
fn crates_whose_types_meet_are_there_once() {
    for name in SINGLE {
        let versions: Vec<String> = locked()
            .into_iter()
            .filter(|package| package.name == *name)
            .map(|package| package.version)
            .collect();
        assert_eq!(versions.len(), 1, "{name}: {versions:?}");
    }
}

#[test]
fn no_dependency_takes_any_version() {
    let Deny::Deny = policy().bans.wildcards;
    let manifest: toml::Table = toml::from_str(&table("Cargo.toml")).expect("Cargo.toml");
    for section in ["dependencies", "dev-dependencies"] {
        for (name, wanted) in manifest[section].as_table().expect("a table") {
            let version = wanted.as_str().or_else(|| wanted.get("version")?.as_str());
            let is_named = version.is_some_and(|version| !version.contains('*'));
            assert!(is_named, "{name} is wanted as {wanted}");
        }
    }
}

#[test]
fn everything_comes_from_a_known_registry() {
    let Sources {
        unknown_registry: Deny::Deny,
        unknown_git: Deny::Deny,
        allow_registry,
    } = policy().sources;
    for Locked { name, source, .. } in locked() {
        let is_own = name == "egret" && source.is_empty();
        let registry = source.strip_prefix("registry+");
        let is_known = registry.is_some_and(|url| allow_registry.iter().any(|known| known == url));
        assert!(is_own || is_known, "{name} comes from {source:?}");
    }
}

#[test]
fn licences_are_ones_that_may_be_shipped() {
    let allow = policy().licenses.allow;
    let bad: Vec<Built> = built()
        .into_iter()
        .filter(|built| !Expression(&allow).is_met(&built.licence))
        .collect();
    assert!(bad.is_empty(), "{bad:#?}");
}

#[test]
fn no_licence_is_allowed_that_no_crate_has() {
    let Licences {
        allow,
        unused_allowed_license: Deny::Deny,
    } = policy().licenses;
    let built = built();
    for licence in allow {
        let is_used = |built: &Built| {
            let words = built.licence.replace(['(', ')'], " ").replace('/', " OR ");
            let mut parts = words.split(" OR ").flat_map(|part| part.split(" AND "));
            parts.any(|part| part.trim() == licence)
        };
        assert!(built.iter().any(is_used), "{licence}");
    }
}

/// Licence expressions (SPDX), checked against the licences that are allowed.
struct Expression<'a>(&'a BTreeSet<String>);

impl Expression<'_> {
    /// Whether an expression can be satisfied: `OR` needs one side, `AND` both.
    fn is_met(&self, expression: &str) -> bool {
        let expression = expression.replace('/', " OR ");
        let mut rest = expression.trim();
        let value = self.any_of(&mut rest);
        value && rest.trim().is_empty()
    }

    fn any_of(&self, rest: &mut &str) -> bool {
        let mut value = self.all_of(rest);
        while let Some(r) = rest.trim_start().strip_prefix("OR ") {
            *rest = r;
            value |= self.all_of(rest);
        }
        value
    }

    fn all_of(&self, rest: &mut &str) -> bool {
        let mut value = self.one(rest);
        while let Some(r) = rest.trim_start().strip_prefix("AND ") {
            *rest = r;
            value &= self.one(rest);
        }
        value
    }

    fn one(&self, rest: &mut &str) -> bool {
        let text = rest.trim_start();
        if let Some(inner) = text.strip_prefix('(') {
            *rest = inner;
            let value = self.any_of(rest);
            *rest = rest.trim_start().strip_prefix(')').unwrap_or("unbalanced");
            return value;
        }
        let end = [" OR ", " AND ", ")"]
            .iter()
            .filter_map(|end| text.find(end))
            .min()
            .unwrap_or(text.len());
        *rest = &text[end..];
        self.0.contains(text[..end].trim())
    }
}

#[test]
fn licence_expressions_are_read_rightly() {
    let allow = ["Apache-2.0", "ISC", "MIT", "Unicode-3.0"].map(str::to_owned);
    let allow = BTreeSet::from(allow);
    let allowed = |expression: &str| Expression(&allow).is_met(expression);
    for good in [
        "MIT",
        "MIT/Apache-2.0",
        "GPL-3.0 OR MIT",
        "(MIT OR GPL-2.0) AND Unicode-3.0",
        "ISC AND (Apache-2.0 OR ISC)",
    ] {
        assert!(allowed(good), "{good}");
    }
    for bad in [
        "",
        "GPL-3.0",
        "MIT AND GPL-3.0",
        "(GPL-2.0 OR AGPL-3.0) AND MIT",
        "MIT)",
    ] {
        assert!(!allowed(bad), "{bad}");
    }
}

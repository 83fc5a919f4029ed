//! What the program is made of: one TLS and crypto stack, licences that may be shipped.

use std::collections::BTreeSet;
use std::process::Command;

/// Crates that may not be in the tree, and why.
const FORBIDDEN: &[(&str, &str)] = &[
    ("ring", "a second crypto library"),
    ("openssl", "a second TLS library"),
    ("openssl-sys", "a second TLS library"),
    ("native-tls", "a second TLS library"),
    ("boring", "a second TLS library"),
    ("rustls-pemfile", "unmaintained; rustls-pki-types reads PEM"),
    ("atty", "unmaintained"),
    ("dotenv", "unmaintained"),
];

/// Crates of which there may be one version only.
const SINGLE: &[&str] = &[
    "rustls",
    "tokio-rustls",
    "aws-lc-rs",
    "hyper",
    "http",
    "tokio",
    "rustls-webpki",
];

/// Licences under which a dependency may be used.
const LICENCES: &[&str] = &[
    "MIT",
    "MIT-0",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "Zlib",
    "0BSD",
    "CC0-1.0",
    "Unicode-3.0",
    "Unlicense",
    "BSL-1.0",
    "OpenSSL",
    "MPL-2.0",
    "CDLA-Permissive-2.0",
    "NCSA",
];

fn locked() -> Vec<(String, String, String)> {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.lock");
    let text = std::fs::read_to_string(file).expect("Cargo.lock is part of the repository");
    let lock: toml::Table = toml::from_str(&text).expect("Cargo.lock");
    let text = |package: &toml::Value, key: &str| {
        package
            .get(key)
            .and_then(|v| v.as_str())
            .unwrap_or_default()
            .to_owned()
    };
    let packages = lock["package"].as_array().expect("packages");
    packages
        .iter()
        .map(|p| (text(p, "name"), text(p, "version"), text(p, "source")))
        .collect()
}

/// Name and licence of every crate that is really built on this platform, tests included.
///
/// Cargo.lock says more than that: it also lists optional crates which no feature asks for.
fn built() -> BTreeSet<(String, String)> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args([
            "tree",
            "--locked",
            "--offline",
            "--prefix",
            "none",
            "--edges",
            "normal,build,dev",
        ])
        .args(["--format", "{p}|{l}"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo tree");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let crates = text.lines().filter_map(|line| {
        let (package, licence) = line.trim_end_matches(" (*)").split_once('|')?;
        let name = package.split(' ').next()?;
        Some((name.to_owned(), licence.trim_end_matches(" (*)").to_owned()))
    });
    let crates: BTreeSet<_> = crates.collect();
    assert!(crates.len() > 100, "{crates:?}");
    crates
}

#[test]
fn there_is_one_tls_and_crypto_stack() {
    for (name, _) in built() {
        if let Some((_, why)) = FORBIDDEN.iter().find(|(forbidden, _)| *forbidden == name) {
            panic!("{name} is in the tree: {why}");
        }
    }
}

#[test]
fn what_must_agree_with_itself_is_there_once() {
    for name in SINGLE {
        let versions: Vec<String> = locked()
            .into_iter()
            .filter(|(n, _, _)| n == name)
            .map(|(_, v, _)| v)
            .collect();
        assert_eq!(versions.len(), 1, "{name}: {versions:?}");
    }
}

#[test]
fn everything_comes_from_the_registry() {
    for (name, _, source) in locked() {
        let own = name == "egret" && source.is_empty();
        assert!(
            own || source.starts_with("registry+https://github.com/rust-lang/crates.io-index"),
            "{name} from {source:?}"
        );
    }
}

#[test]
fn licences_are_ones_that_may_be_shipped() {
    let bad: Vec<_> = built()
        .into_iter()
        .filter(|(_, licence)| !allowed(licence))
        .collect();
    assert!(bad.is_empty(), "{bad:#?}");
}

/// Whether a licence expression can be satisfied from [`LICENCES`]: `OR` needs one side, `AND` both.
fn allowed(expression: &str) -> bool {
    let expression = expression.replace('/', " OR ");
    let mut rest = expression.trim();
    let value = any_of(&mut rest);
    value && rest.trim().is_empty()
}

fn any_of(rest: &mut &str) -> bool {
    let mut value = all_of(rest);
    while let Some(r) = rest.trim_start().strip_prefix("OR ") {
        *rest = r;
        value |= all_of(rest);
    }
    value
}

fn all_of(rest: &mut &str) -> bool {
    let mut value = one(rest);
    while let Some(r) = rest.trim_start().strip_prefix("AND ") {
        *rest = r;
        value &= one(rest);
    }
    value
}

fn one(rest: &mut &str) -> bool {
    let text = rest.trim_start();
    if let Some(inner) = text.strip_prefix('(') {
        *rest = inner;
        let value = any_of(rest);
        *rest = rest.trim_start().strip_prefix(')').unwrap_or("unbalanced");
        return value;
    }
    let end = [" OR ", " AND ", ")"]
        .iter()
        .filter_map(|end| text.find(end))
        .min()
        .unwrap_or(text.len());
    *rest = &text[end..];
    LICENCES.contains(&text[..end].trim())
}

#[test]
fn licence_expressions_are_read_rightly() {
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

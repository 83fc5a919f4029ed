//! Links between pages lead somewhere, every page can be reached, and files that are named exist.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use super::files;
use super::markdown::{Page, page, pages};

/// Where a relative link of `page` leads, from the top of the repository; `None` when it leaves it.
fn resolve(page: &Page, target: &str) -> Option<PathBuf> {
    let mut path = page.path.parent().unwrap_or(Path::new("")).to_owned();
    if target.is_empty() {
        return Some(page.path.clone());
    }
    for part in Path::new(target).components() {
        match part {
            Component::Normal(name) => path.push(name),
            Component::CurDir => {}
            Component::ParentDir if path.pop() => {}
            _ => return None,
        }
    }
    Some(path)
}

fn is_external(target: &str) -> bool {
    ["https://", "http://", "mailto:"]
        .iter()
        .any(|scheme| target.starts_with(scheme))
}

/// What is wrong with a link, if anything.
fn flaw(page: &Page, target: &str, pages: &[Page]) -> Option<&'static str> {
    let (file, anchor) = match target.split_once('#') {
        Some((file, anchor)) => (file, Some(anchor)),
        None => (target, None),
    };
    let Some(path) = resolve(page, file) else {
        return Some("leaves the repository");
    };
    if !files::root().join(&path).exists() {
        return Some("leads nowhere");
    }
    let anchor = anchor?;
    match pages.iter().find(|page| page.path == path) {
        Some(target) if target.anchors.iter().any(|known| known == anchor) => None,
        Some(_) => Some("names a heading that is not there"),
        None => Some("names a heading of something that is no page"),
    }
}

#[test]
fn links_between_pages_lead_somewhere() {
    let pages = pages();
    let mut dead = Vec::new();
    let mut checked = 0;
    for page in &pages {
        for link in page.links.iter().filter(|link| !is_external(&link.text)) {
            checked += 1;
            if let Some(flaw) = flaw(page, &link.text, &pages) {
                dead.push(format!(
                    "{}:{}: {} {flaw}",
                    page.path.display(),
                    link.line,
                    link.text
                ));
            }
        }
    }
    assert!(dead.is_empty(), "{}", dead.join("\n"));
    assert!(checked > 10, "the links were not found");
}

#[test]
fn a_dead_link_is_found() {
    let pages = pages();
    let readme = page("README.md");
    for (target, expected) in [
        ("docs/security.md", None),
        ("docs/absent.md", Some("leads nowhere")),
        ("../elsewhere.md", Some("leaves the repository")),
        ("/etc/passwd", Some("leaves the repository")),
        (
            "docs/security.md#no-such-heading",
            Some("names a heading that is not there"),
        ),
        ("#egret", None),
        (
            "Cargo.toml#L1",
            Some("names a heading of something that is no page"),
        ),
    ] {
        assert_eq!(flaw(&readme, target, &pages), expected, "{target}");
    }
}

#[test]
fn every_page_can_be_reached_from_the_readme() {
    let pages = pages();
    let mut reached = BTreeSet::new();
    let mut open = vec![PathBuf::from("README.md")];
    while let Some(path) = open.pop() {
        let Some(page) = pages.iter().find(|page| page.path == path) else {
            continue;
        };
        if !reached.insert(path) {
            continue;
        }
        let links = page.links.iter().filter(|link| !is_external(&link.text));
        open.extend(links.filter_map(|link| resolve(page, link.text.split('#').next()?)));
    }
    let missed = pages.iter().filter(|page| !reached.contains(&page.path));
    let missed: Vec<_> = missed.map(|page| &page.path).collect();
    assert!(missed.is_empty(), "no way leads to {missed:?}");
}

/// Directories of the repository that pages name files of.
const NAMED: &[&str] = &[
    "src/", "tests/", "benches/", "fuzz/", "config/", "certs/", "docs/", ".ci/",
];

#[test]
fn files_that_pages_name_exist() {
    let mut absent = Vec::new();
    for page in pages() {
        for code in &page.code {
            // `.ci/fuzz 300` names a file too.
            let name = code.text.split(' ').next().unwrap_or_default();
            let is_path = NAMED.iter().any(|directory| name.starts_with(directory))
                && name
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"/._-".contains(&b));
            if is_path && !files::root().join(name).exists() {
                absent.push(format!("{}:{}: {name}", page.path.display(), code.line));
            }
        }
    }
    assert!(absent.is_empty(), "not there: {}", absent.join("\n"));
}

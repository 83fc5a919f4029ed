//! The fuzz targets compile some of the program's modules on their own, and name each, or have one of their
//! own in its place. What one of these imports has to be there too: this test says so without building them.

use std::collections::BTreeSet;

use super::{modules, root};

/// The modules of the fuzz crate that the program has too: `scrub`, `proxy::inbound::linger`.
fn named() -> BTreeSet<String> {
    let read = |name: &str| {
        let file = root().join("fuzz/src").join(name);
        std::fs::read_to_string(file).expect("a file of the fuzz crate")
    };
    let rooms = read("lib.rs");
    let rooms = rooms
        .lines()
        .filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'));
    // Of the proxy it has what `proxy.rs` names.
    let rooms = rooms.filter(|room| *room != "proxy");
    let mut named: BTreeSet<String> = rooms.map(str::to_owned).collect();
    for wing in read("proxy.rs")
        .split("#[path = \"../../src/proxy/")
        .skip(1)
    {
        let (directory, inside) = wing.split_once('"').expect("a path in quotes");
        let inside = inside.split("pub mod ").skip(2);
        let modules = inside.filter_map(|part| part.split(';').next());
        named.extend(modules.map(|module| format!("proxy::{directory}::{module}")));
    }
    named
}

#[test]
fn what_the_fuzz_targets_compile_imports_nothing_that_they_leave_out() {
    let named = named();
    assert!(named.contains("scrub"), "{named:?}");
    assert!(named.contains("proxy::inbound::head_guard"), "{named:?}");
    let is_named = |module: &str| {
        let inside = |name: &String| {
            let rest = module.strip_prefix(name.as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
        };
        named.iter().any(inside)
    };
    let mut left_out = Vec::new();
    for (module, imports) in modules() {
        let imports = imports.iter().filter(|import| !is_named(import));
        for import in imports.filter(|_| is_named(&module)) {
            left_out.push(format!("{module} imports {import}"));
        }
    }
    assert!(left_out.is_empty(), "{}", left_out.join("\n"));
}

//! The program's source as the rules read it: files without comments and tests, and the paths that
//! they name.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// A source file without comments and tests.
pub struct Source {
    /// Relative to the repository, with `/`.
    pub path: String,
    pub code: String,
}

impl Source {
    /// `substitution` of `src/substitution/plan.rs`, `app` of `src/app.rs`.
    pub fn room(&self) -> &str {
        let inside = self.path.strip_prefix("src/").expect("below src");
        inside
            .split('/')
            .next()
            .unwrap_or_default()
            .trim_end_matches(".rs")
    }

    /// The name of the file's module: `proxy::exchange::pipeline`; empty for the crate itself.
    pub fn module_name(&self) -> String {
        self.module().join("::")
    }

    /// The modules, among `all`, that the file imports from or names. A path leads to the longest
    /// part of it that is a module; a name without `crate`, `super` or `self` may be a child's.
    pub fn imported_modules(&self, all: &BTreeSet<String>) -> BTreeSet<String> {
        let own = self.module_name();
        let in_crate = |path: String| match path.strip_prefix("crate::") {
            Some(inside) => Some(inside.to_owned()),
            None => {
                let child = format!("{own}::{path}");
                let first = path.split("::").next().unwrap_or_default();
                all.contains(&format!("{own}::{first}")).then_some(child)
            }
        };
        let to_module = |path: String| {
            let ends = path.match_indices("::").map(|(at, _)| at);
            let ends: Vec<usize> = ends.chain([path.len()]).collect();
            let mut parts = ends.into_iter().rev().map(|end| &path[..end]);
            parts.find(|part| all.contains(*part)).map(str::to_owned)
        };
        let paths = self.paths().into_iter();
        let modules = paths.filter_map(in_crate).filter_map(to_module);
        modules.filter(|module| *module != own).collect()
    }

    /// The module path of the file: `["proxy", "exchange"]`.
    fn module(&self) -> Vec<&str> {
        let inside = self.path.strip_prefix("src/").expect("below src");
        let mut parts: Vec<&str> = inside.trim_end_matches(".rs").split('/').collect();
        if matches!(parts.last(), Some(&"mod" | &"lib" | &"main")) {
            parts.pop();
        }
        parts
    }

    /// Every path the file names, in `use` lines and in the code, from the crate's root:
    /// `crate::policy::grant::Grant`, `std::fs`, `tokio::time`.
    pub fn paths(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        for (at, _) in self.code.match_indices("use ") {
            let begins = self.code[..at]
                .chars()
                .next_back()
                .is_none_or(|c| c.is_whitespace());
            if let Some(tree) = self.code[at + 4..].split(';').next().filter(|_| begins) {
                expand("", tree, &mut found);
            }
        }
        // `pub(in path)` names the module that may see an item, and imports nothing from it.
        let visible = self.code.replace("(in crate::", "(in ");
        let is_path = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
        for word in visible
            .split(|c: char| !is_path(c))
            // One that ends so is the beginning of a `use` tree, whose branches are read above.
            .filter(|w| w.contains("::") && !w.ends_with("::"))
        {
            found.insert(word.trim_end_matches(':').to_owned());
        }
        found.iter().map(|path| self.absolute(path)).collect()
    }

    /// Resolves `super::` and `self::` at the head of a path.
    fn absolute(&self, path: &str) -> String {
        let mut module: Vec<&str> = self.module();
        let mut rest = path;
        let mut relative = false;
        loop {
            if let Some(r) = rest.strip_prefix("super::") {
                module.pop();
                (rest, relative) = (r, true);
            } else if let Some(r) = rest.strip_prefix("self::") {
                (rest, relative) = (r, true);
            } else {
                break;
            }
        }
        if !relative {
            return path.to_owned();
        }
        let base = module
            .iter()
            .fold("crate".to_owned(), |base, part| format!("{base}::{part}"));
        format!("{base}::{rest}")
    }

    /// The rooms that the file imports.
    pub fn imported_rooms(&self) -> BTreeSet<String> {
        let own = self.room();
        let rooms = self
            .paths()
            .into_iter()
            .filter_map(|path| Some(path.strip_prefix("crate::")?.split("::").next()?.to_owned()));
        rooms.filter(|room| room != own).collect()
    }
}

/// Writes out the branches of a `use` tree: `a::{b, c::{d, e as f}}`.
fn expand(prefix: &str, tree: &str, found: &mut BTreeSet<String>) {
    let tree = tree.trim();
    let Some(open) = tree.find('{') else {
        let path = tree.split(" as ").next().unwrap_or_default().trim();
        if !path.is_empty() {
            found.insert(
                format!("{prefix}{path}")
                    .trim_end_matches("::self")
                    .to_owned(),
            );
        }
        return;
    };
    let prefix = format!("{prefix}{}", &tree[..open]);
    let inner = tree[open + 1..]
        .rsplit_once('}')
        .map_or("", |(inner, _)| inner);
    let (mut depth, mut from) = (0, 0);
    for (at, c) in inner.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                expand(&prefix, &inner[from..at], found);
                from = at + 1;
            }
            _ => {}
        }
    }
    expand(&prefix, &inner[from..], found);
}

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub fn rust_files(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).expect("the source").flatten() {
        let path = entry.path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// Every file of the program, without comments and tests.
pub fn sources() -> Vec<Source> {
    let mut files = Vec::new();
    rust_files(&root().join("src"), &mut files);
    files.sort();
    let texts: Vec<(PathBuf, String)> = files
        .into_iter()
        .map(|file| {
            (
                file.clone(),
                std::fs::read_to_string(&file).expect("a source file"),
            )
        })
        .collect();
    let only_tests = test_files(&texts);
    let sources: Vec<Source> = texts
        .iter()
        .filter(|(file, _)| !only_tests.iter().any(|tests| file.starts_with(tests)))
        .map(|(file, text)| Source {
            path: relative(file),
            code: without_tests(&without_comments(text)),
        })
        .collect();
    assert!(sources.len() > 20, "the source was not found");
    sources
}

pub fn relative(file: &Path) -> String {
    let inside = file.strip_prefix(root()).expect("inside the repository");
    inside.to_string_lossy().replace('\\', "/")
}

/// The file and the directory of each module that is declared as `#[cfg(test)] mod name;`.
fn test_files(texts: &[(PathBuf, String)]) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for (file, text) in texts {
        let directory = match file.file_stem().and_then(|s| s.to_str()) {
            Some("mod" | "lib" | "main") => file.parent().expect("a directory").to_path_buf(),
            _ => file.with_extension(""),
        };
        let mut lines = text.lines().map(str::trim);
        while let Some(line) = lines.next() {
            if line != "#[cfg(test)]" {
                continue;
            }
            let name = lines
                .next()
                .and_then(|l| l.strip_suffix(';'))
                .and_then(|l| l.split("mod ").nth(1));
            if let Some(name) = name {
                found.insert(directory.join(format!("{name}.rs")));
                found.insert(directory.join(name));
            }
        }
    }
    found
}

fn without_comments(text: &str) -> String {
    let lines = text.lines().map(|line| {
        let is_comment = line.trim_start().starts_with("//");
        if is_comment {
            ""
        } else {
            line.split(" // ").next().unwrap_or_default()
        }
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Cuts off `#[cfg(test)] mod tests { … }`, which stands at the end of a file.
fn without_tests(text: &str) -> String {
    let end = text.match_indices("#[cfg(test)]").find(|(at, _)| {
        let rest = text[at + "#[cfg(test)]".len()..].trim_start();
        let line = rest.lines().next().unwrap_or_default();
        let is_module =
            line.starts_with("mod ") || (line.starts_with("pub") && line.contains(" mod "));
        is_module && line.ends_with('{')
    });
    end.map_or(text, |(at, _)| &text[..at]).to_owned()
}

#[test]
fn the_reader_of_use_trees_understands_them() {
    let source = Source {
        path: "src/proxy/pool.rs".to_owned(),
        code: "use crate::{error::Code, policy::{self, grant::{Grant as G}}};\nuse super::super::vault::Vault;\nfn f() { std::fs::read(crate::tls::x) }".to_owned(),
    };
    let paths = source.paths();
    for path in [
        "crate::error::Code",
        "crate::policy",
        "crate::policy::grant::Grant",
        "crate::vault::Vault",
        "std::fs::read",
        "crate::tls::x",
    ] {
        assert!(paths.contains(path), "{path} in {paths:?}");
    }
    let rooms: Vec<String> = source.imported_rooms().into_iter().collect();
    assert_eq!(rooms, ["error", "policy", "tls", "vault"]);
}

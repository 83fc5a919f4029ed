//! Real clients, unmodified, under `egret run`.
//!
//! curl and git come from the system. Python packages and a current Node come from the directory
//! that `.ci/test` fills (`clients/` in the target directory, or `EGRET_TEST_CLIENTS`).

use std::path::{Path, PathBuf};

mod curl;
mod git;
mod grpc;
mod httpbin;
mod node;
mod python;
mod sdk;
mod table;
mod websocket;

/// A file of the directory that holds the clients.
///
/// # Panics
/// When it is not there: a client that is missing must not look like a client that passed.
fn installed(path: &str) -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../clients");
    let directory = std::env::var_os("EGRET_TEST_CLIENTS").map_or(target, PathBuf::from);
    let file = directory.join(path);
    assert!(
        file.exists(),
        "{} is not there; .ci/test installs it",
        file.display()
    );
    file
}

/// The text of a path.
fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

//! Real clients, unmodified, under `egret run`.
//!
//! curl, wget, git, Go and Java come from the system. Python packages and a current Node come from
//! the directory that `.ci/test` fills. A test whose client is missing is reported as skipped.

use std::path::{Path, PathBuf};

mod as_they_are;
mod assistants;
mod chromium;
mod curl;
pub(crate) mod git;
mod golang;
mod grpc;
mod httpbin;
mod java;
mod node;
mod python;
mod sdk;
mod served;
mod server;
mod table;
mod websocket;

/// A client that `.ci/test` has installed.
///
/// # Panics
/// When it is not there: a test declares first what it [`needs`](crate::needs).
pub(crate) fn installed(path: &str) -> PathBuf {
    let file = crate::needs::client_file(path);
    assert!(file.exists(), "{} is not there", file.display());
    file
}

/// A client or server of this directory.
fn program(name: &str) -> String {
    let programs = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/integration/clients/programs"
    );
    format!("{programs}/{name}")
}

/// The text of a path.
fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

//! The files of `deploy/`: each is checked by the program that will read it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

mod compose;
mod container_env;
mod dashboards;
mod debian;
mod host;
mod image;
mod kubernetes;

/// A file of `deploy/`.
fn deploy(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("deploy")
        .join(path)
}

/// A file of the directory with the validators.
fn validator(name: &str) -> PathBuf {
    crate::needs::client_file("deploy/bin").join(name)
}

/// Runs a program to its end.
fn output(command: &mut Command) -> Output {
    let output = command.stdin(Stdio::null()).output();
    output.unwrap_or_else(|error| panic!("{error}: {command:?}"))
}

/// The standard output of a program that has to succeed.
fn succeeds(command: &mut Command) -> String {
    let output = output(command);
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

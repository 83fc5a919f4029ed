//! Programs that read their proxy from no variable, and take it as an option: a script of their name, in a
//! directory that stands first in `PATH`, calls them with the option.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::Path;

use super::clients;
use super::inherited::Inherited;
use super::variables::Changes;
use crate::files;

/// The directory in Egret's.
const DIRECTORY: &str = "wrappers";
/// What they do, by the name in `certs/clients.toml`.
const SCRIPTS: &[(&str, &str)] = &[("svn.sh", include_str!("../../certs/wrappers/svn.sh"))];

/// Puts a script in `directory` for each of these programs that is on the `PATH`, and their directory before
/// the others. Where none is there, nothing changes.
///
/// # Errors
/// When a script cannot be written.
pub fn add(changes: &mut Changes, directory: &Path, inherited: &Inherited) -> io::Result<()> {
    let Some(path) = inherited.get("PATH") else {
        return Ok(());
    };
    let own = directory.join(DIRECTORY);
    let others: Vec<_> = env::split_paths(path).filter(|it| *it != own).collect();
    let is_there = |name: &str| others.iter().any(|it| it.join(name).is_file());
    let mut wrappers = clients::clients().wrapper.iter();
    if !wrappers.any(|wrapper| is_there(&wrapper.program)) {
        return Ok(());
    }
    // A directory name with a colon cannot be in it.
    let Some(path) = before(&own, &others) else {
        return Ok(());
    };
    make(&own)?;
    for wrapper in &clients::clients().wrapper {
        let file = own.join(&wrapper.program);
        if is_there(&wrapper.program) {
            write(&file, script(&wrapper.script))?;
        } else {
            // It would say that it is there.
            remove(&file)?;
        }
    }
    changes.set.push(("PATH".to_owned(), path));
    Ok(())
}

fn before(own: &Path, others: &[std::path::PathBuf]) -> Option<OsString> {
    let all = std::iter::once(own).chain(others.iter().map(|it| it.as_path()));
    env::join_paths(all.map(Path::as_os_str).map(OsStr::to_owned)).ok()
}

fn script(name: &str) -> &'static str {
    let mut scripts = SCRIPTS.iter();
    scripts
        .find(|(known, _)| *known == name)
        .map_or("", |(_, text)| text)
}

/// A directory that nobody else can put a program into.
fn make(directory: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => fs::set_permissions(directory, fs::Permissions::from_mode(0o700)),
    }
}

fn write(file: &Path, text: &str) -> io::Result<()> {
    let is_same = fs::read(file).is_ok_and(|present| present == text.as_bytes());
    let mode = fs::metadata(file).map(|it| it.permissions().mode() & 0o777);
    if is_same && mode.is_ok_and(|mode| mode == files::EXECUTABLE) {
        return Ok(());
    }
    files::replace(file, text.as_bytes(), files::EXECUTABLE)
}

fn remove(file: &Path) -> io::Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(directory: &Path, path: &str) -> Option<String> {
        let mut changes = Changes {
            set: Vec::new(),
            remove: Vec::new(),
        };
        let inherited = Inherited::from([("PATH".to_owned(), path.into())]);
        add(&mut changes, directory, &inherited).expect("written");
        let set = changes.set.pop()?;
        Some(set.1.into_string().expect("text"))
    }

    #[test]
    fn only_what_is_there_is_wrapped() {
        let directory = tempfile::tempdir().expect("a directory");
        let programs = directory.path().join("bin");
        fs::create_dir(&programs).expect("a directory");
        let there = programs.display().to_string();
        assert_eq!(changed(directory.path(), &there), None);
        fs::write(programs.join("svn"), "").expect("written");
        let own = directory.path().join(DIRECTORY);
        let expected = format!("{}:{there}", own.display());
        assert_eq!(changed(directory.path(), &there), Some(expected.clone()));
        let mode = fs::metadata(own.join("svn")).expect("there").permissions();
        assert_eq!(mode.mode() & 0o777, 0o700);
        assert!(!own.join("svnmucc").exists());
        // A run in a run.
        assert_eq!(changed(directory.path(), &expected), Some(expected));
        // What is gone is not pretended to be there.
        fs::rename(programs.join("svn"), programs.join("svnmucc")).expect("renamed");
        assert!(changed(directory.path(), &there).is_some());
        assert!(own.join("svnmucc").exists() && !own.join("svn").exists());
    }

    #[test]
    fn each_wrapper_of_the_file_has_a_script() {
        for wrapper in &clients::clients().wrapper {
            assert!(script(&wrapper.script).starts_with("#!/bin/sh\n"));
        }
    }
}

//! The project file, `.egret.toml`: which variables of the program hold placeholders, and the action.
//!
//! Whoever can write into a project could write this file, so it can say nothing that opens more than
//! the command line does: no principal, no host, no address, no value. A placeholder in a variable is
//! only text. Another user's file, and one that others can write, is refused.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde::Deserialize;

use super::placeholders::PlaceholderVariable;
use crate::files;
use crate::policy::grant;

/// The file's name.
const NAME: &str = ".egret.toml";
/// Longest file that is read.
const LONGEST: u64 = 64 * 1024;

/// What a project file says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Project {
    pub(super) action: Option<String>,
    pub(super) env: Vec<PlaceholderVariable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    action: Option<String>,
    #[serde(default)]
    env: BTreeMap<String, String>,
}

impl Project {
    /// What is used of it, for people.
    pub(super) fn summary(&self) -> String {
        let action = self.action.iter().map(|action| format!("action {action}"));
        let variables = self.env.iter().map(PlaceholderVariable::shown);
        let all: Vec<String> = action.chain(variables).collect();
        if all.is_empty() {
            "it says nothing".to_owned()
        } else {
            all.join(", ")
        }
    }

    /// Reads the file's text. No error repeats it.
    fn parse(text: &str) -> anyhow::Result<Self> {
        // The parser's own message quotes the line, which could hold a value.
        let written: Written = toml::from_str(text).map_err(|_| {
            anyhow::anyhow!(
                "it is not TOML with nothing but `action = \"NAME\"` and a table [env] of \
                 NAME = \"SLUG\""
            )
        })?;
        let action = written.action.as_deref().map(grant::parse_action);
        let action = action
            .transpose()
            .map_err(|_| anyhow::anyhow!("`action` is not 1 to 128 printable ASCII characters"))?;
        let env = written.env.iter();
        let env = env.map(|(name, slug)| PlaceholderVariable::new(name, slug));
        Ok(Self {
            action,
            env: env.collect::<Result<_, _>>().context("[env]")?,
        })
    }
}

/// The project file of `directory`: its own, or the nearest one above.
///
/// # Errors
/// When there is one that cannot be read, cannot be trusted, or says something else.
pub(super) fn find(directory: &Path) -> anyhow::Result<Option<(PathBuf, Project)>> {
    for directory in directory.ancestors() {
        let path = directory.join(NAME);
        if fs::symlink_metadata(&path).is_err() {
            continue;
        }
        let shown = path.display().to_string();
        let project = read(&path)
            .and_then(|text| Project::parse(&text))
            .with_context(|| format!("the project file {shown} cannot be used"))?;
        return Ok(Some((path, project)));
    }
    Ok(None)
}

fn read(path: &Path) -> anyhow::Result<String> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        bail!("it is not a file");
    }
    if !files::is_trusted(metadata.uid()) {
        bail!("it belongs to another user");
    }
    if files::others_can_write(metadata.mode()) {
        bail!("other users can write it (chmod go-w)");
    }
    let mut text = String::new();
    if file.take(LONGEST).read_to_string(&mut text)? as u64 == LONGEST {
        bail!("it is longer than {LONGEST} bytes");
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_nearest_file_above_counts() {
        let root = tempfile::tempdir().unwrap();
        let inner = root.path().join("a/b");
        fs::create_dir_all(&inner).unwrap();
        let file = root.path().join(NAME);
        fs::write(
            &file,
            "action = \"tests\"\n[env]\nGITHUB_TOKEN = \"github-pat\"\n",
        )
        .unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        let (path, project) = find(&inner).unwrap().unwrap();
        assert_eq!(path, file);
        assert_eq!(project.action.as_deref(), Some("tests"));
        assert_eq!(
            project.summary(),
            "action tests, GITHUB_TOKEN=<<github-pat>>"
        );
        fs::write(root.path().join("a").join(NAME), "").unwrap();
        let (_, nearer) = find(&inner).unwrap().unwrap();
        assert_eq!(nearer, Project::default());
    }

    #[test]
    fn a_file_that_others_can_write_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join(NAME);
        fs::write(&file, "").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
        let error = format!("{:#}", find(root.path()).unwrap_err());
        assert!(error.contains("chmod go-w"), "{error}");
    }

    #[test]
    fn a_file_can_say_nothing_else_and_is_not_repeated() {
        for text in [
            "principal = \"root\"",
            "[env]\nA = \"s3cr3t value\"",
            "[env]\nA = { command = \"x\" }",
            "[proxy]\nlisten = \"0.0.0.0:1\"",
            "action = \"\"",
            "s3cr3t value",
        ] {
            let error = format!("{:#}", Project::parse(text).unwrap_err());
            assert!(!error.contains("s3cr3t"), "{error}");
        }
    }
}

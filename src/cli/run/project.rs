//! The project file, `.egret.toml`: which variables of the program hold placeholders, and the action.
//!
//! Whoever can write into a project could write this file, so it can say nothing that opens more than
//! the command line does: no principal, no host, no address, no value. A placeholder in a variable is
//! only text, but text is also the name of a file: with `LD_LIBRARY_PATH` or `BASH_ENV` it would have programs
//! run what lies under that name in the project. So only variables that are named like a key can hold one.
//! Another user's file, and one that others can write, is refused.

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

/// A variable with one of these between its underscores holds a key,
const KEYS: [&str; 14] = [
    "TOKEN",
    "KEY",
    "APIKEY",
    "SECRET",
    "PASSWORD",
    "PASSWD",
    "PASSPHRASE",
    "PASS",
    "PAT",
    "JWT",
    "BEARER",
    "AUTH",
    "DSN",
    "USERNAME",
];
/// or with one of these at its end (`PGPASSWORD`),
const ENDINGS: [&str; 4] = ["TOKEN", "SECRET", "PASSWORD", "APIKEY"];
/// unless with one of these it says where a key is, or how to ask for it.
const PLACES: [&str; 13] = [
    "ASKPASS",
    "CMD",
    "COMMAND",
    "DIR",
    "DIRECTORY",
    "EXEC",
    "FILE",
    "HELPER",
    "HOME",
    "PATH",
    "PROGRAM",
    "SOCK",
    "SOCKET",
];

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
        if !written.env.keys().all(|name| is_named_like_a_key(name)) {
            bail!(
                "[env] can hold variables that are named like a key, such as GITHUB_TOKEN, API_KEY or \
                 PGPASSWORD; set others by `egret run --env`"
            );
        }
        let env = written.env.iter();
        let env = env.map(|(name, slug)| PlaceholderVariable::new(name, slug));
        Ok(Self {
            action,
            env: env.collect::<Result<_, _>>().context("[env]")?,
        })
    }
}

fn is_named_like_a_key(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    let has = |words: &[&str]| name.split('_').any(|word| words.contains(&word));
    let ends = ENDINGS.iter().any(|ending| name.ends_with(ending));
    (has(&KEYS) || ends) && !has(&PLACES)
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

    /// What a loader, a shell or an interpreter takes for the name of a file would be run from the project.
    #[test]
    fn only_variables_that_are_named_like_a_key_hold_a_placeholder() {
        let parse = |name: &str| Project::parse(&format!("[env]\n{name} = \"pat\"\n"));
        for name in [
            "GITHUB_TOKEN",
            "OPENAI_API_KEY",
            "AWS_ACCESS_KEY_ID",
            "PGPASSWORD",
            "npm_config__auth",
            "GH_PAT",
            "SENTRY_DSN",
            "TOKEN",
        ] {
            assert_eq!(parse(name).unwrap().env.len(), 1, "{name}");
        }
        for name in [
            "PATH",
            "LD_PRELOAD",
            "LD_LIBRARY_PATH",
            "BASH_ENV",
            "ENV",
            "PYTHONPATH",
            "PYTHONSTARTUP",
            "NODE_PATH",
            "NODE_OPTIONS",
            "PERL5LIB",
            "RUBYLIB",
            "CLASSPATH",
            "HOME",
            "SHELL",
            "PAGER",
            "EDITOR",
            "LESSKEY",
            "GIT_ASKPASS",
            "SSH_ASKPASS",
            "GIT_SSH",
            "GIT_EXEC_PATH",
            "SSH_AUTH_SOCK",
            "RESTIC_PASSWORD_COMMAND",
            "PGPASSFILE",
            "AWS_WEB_IDENTITY_TOKEN_FILE",
            "BASH_FUNC_x",
            "IFS",
            "A",
        ] {
            let error = format!("{:#}", parse(name).unwrap_err());
            assert!(error.contains("named like a key"), "{name}: {error}");
        }
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

//! Where a configuration comes from, and loading it (again, on reload).

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use super::key::KEYS;
use super::model::Config;
use super::problem::{Origin, Problem, Problems};
use super::raw::{self, Flag, Settings};
use super::resolve::Resolver;

/// The name of the file that is read from the data directory when none is named.
const FILE_NAME: &str = "egret.toml";

/// Everything a configuration is made from, except the file's content: that is read again
/// at every [`Sources::load`].
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// `--data-dir`
    pub data_dir: Option<PathBuf>,
    /// `--config`
    pub file: Option<PathBuf>,
    /// Flags that set a key.
    pub flags: Vec<Flag>,
    /// The environment.
    pub environment: BTreeMap<String, OsString>,
}

/// A valid configuration and where each value came from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// The file that was read, if any.
    pub file: Option<PathBuf>,
    /// Every key with its value and origin, the data directory first.
    pub settings: Vec<Shown>,
}

/// A setting as `egret config show` prints it.
#[derive(Clone, Debug)]
pub struct Shown {
    /// The key, `proxy.listen`.
    pub key: &'static str,
    /// The value as TOML.
    pub toml: String,
    /// The value as JSON.
    pub json: serde_json::Value,
    /// Where it was typed.
    pub origin: Origin,
}

impl Sources {
    /// The flags given, with the environment of this process.
    pub fn from_process(
        data_dir: Option<PathBuf>,
        file: Option<PathBuf>,
        flags: Vec<Flag>,
    ) -> Self {
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
            .collect();
        Self {
            data_dir,
            file,
            flags,
            environment,
        }
    }

    /// Reads and checks everything.
    ///
    /// # Errors
    /// All the problems there are.
    pub fn load(&self) -> Result<Loaded, Problems> {
        let mut problems = Vec::new();
        let Some((data_dir, data_dir_origin)) = self.data_dir() else {
            return Err(Problems::one(
                "no place for data: neither HOME nor XDG_DATA_HOME is set, so name a directory \
                 with --data-dir or EGRET_DATA_DIR",
            ));
        };
        let (file, text) = self.read_file(&data_dir, &mut problems);

        let mut settings = raw::defaults();
        if let (Some(path), Some(text)) = (&file, &text) {
            settings.extend(raw::from_file(path, text, &mut problems));
        }
        let variables = self.variables(&mut problems);
        settings.extend(raw::from_environment(&variables, &mut problems));
        settings.extend(raw::from_flags(&self.flags, &mut problems));

        let config = Resolver {
            data_dir: &data_dir,
            settings: &settings,
            problems: &mut problems,
        }
        .config();
        Problems::none_or(problems)?;
        Ok(Loaded {
            config,
            file,
            settings: shown(&data_dir, data_dir_origin, &settings),
        })
    }

    /// A variable that is set and not empty.
    fn variable(&self, name: &str) -> Option<PathBuf> {
        self.environment
            .get(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    }

    fn data_dir(&self) -> Option<(PathBuf, Origin)> {
        let variable = |name: &str| {
            let path = self.variable(name)?;
            Some((path, Origin::Environment(name.to_owned())))
        };
        let flag = || {
            let path = self.data_dir.clone()?;
            Some((path, Origin::Flag("--data-dir".to_owned())))
        };
        let default = || {
            // Relative paths are ignored, as the XDG Base Directory specification asks.
            let base = self
                .variable("XDG_DATA_HOME")
                .filter(|path| path.is_absolute());
            let home = || Some(self.variable("HOME")?.join(".local/share"));
            Some((base.or_else(home)?.join("egret"), Origin::Default))
        };
        let (path, origin) = flag()
            .or_else(|| variable("EGRET_DATA_DIR"))
            .or_else(default)?;
        Some((std::path::absolute(path).ok()?, origin))
    }

    /// The file that was named has to exist; the one in the data directory need not.
    fn read_file(
        &self,
        data_dir: &Path,
        problems: &mut Vec<Problem>,
    ) -> (Option<PathBuf>, Option<String>) {
        let named = self.file.clone().or_else(|| self.variable("EGRET_CONFIG"));
        let path = named.clone().unwrap_or_else(|| data_dir.join(FILE_NAME));
        match std::fs::read_to_string(&path) {
            Ok(text) => (Some(path), Some(text)),
            Err(error) if named.is_none() && error.kind() == io::ErrorKind::NotFound => {
                (None, None)
            }
            Err(error) => {
                problems.push(Problem {
                    origin: None,
                    key: None,
                    message: format!("cannot read {}: {error}", path.display()),
                });
                (Some(path), None)
            }
        }
    }

    /// The environment as text; only settings of ours that are no text are worth a complaint.
    fn variables(&self, problems: &mut Vec<Problem>) -> BTreeMap<String, String> {
        let mut variables = BTreeMap::new();
        for (name, value) in &self.environment {
            match value.to_str() {
                Some(text) => {
                    variables.insert(name.clone(), text.to_owned());
                }
                None if KEYS.iter().any(|key| key.variable() == *name) => {
                    problems.push(Problem {
                        origin: Some(Origin::Environment(name.clone())),
                        key: None,
                        message: "is not valid UTF-8".to_owned(),
                    });
                }
                None => {}
            }
        }
        variables
    }
}

/// Every setting with its origin, the data directory first.
fn shown(data_dir: &Path, origin: Origin, settings: &Settings) -> Vec<Shown> {
    let text = data_dir.display().to_string();
    let first = Shown {
        key: "data_dir",
        toml: toml::Value::String(text.clone()).to_string(),
        json: text.into(),
        origin,
    };
    let rest = KEYS.iter().map(|key| {
        let setting = &settings[key.name];
        Shown {
            key: key.name,
            toml: setting.node.value.to_toml(),
            json: setting.node.value.to_json(),
            origin: setting.origin.clone(),
        }
    });
    std::iter::once(first).chain(rest).collect()
}

#[cfg(test)]
mod tests;

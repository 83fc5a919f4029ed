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

/// Everything a configuration is made from, except the file's content: that is read anew at
/// every [`Sources::load`].
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
            // The XDG specification has relative paths ignored.
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
mod tests {
    use std::time::Duration;

    use super::super::key::{Effect, restart_needed};
    use super::*;
    use crate::config::{Exposed, Range, ScanPlace, Unresolved};
    use crate::files;
    use crate::policy::destination::{Destination, Scheme};
    use crate::vault::{KeySource, StoreUrl};

    const EXAMPLE: &str = include_str!("../../config/egret.example.toml");

    fn sources(directory: &Path, environment: &[(&str, &str)]) -> Sources {
        Sources {
            data_dir: Some(directory.to_owned()),
            environment: environment
                .iter()
                .map(|(name, value)| ((*name).to_owned(), OsString::from(value)))
                .collect(),
            ..Sources::default()
        }
    }

    fn write(directory: &Path, text: &str) {
        std::fs::write(directory.join(FILE_NAME), text).expect("a writable directory");
    }

    fn messages(problems: &Problems) -> Vec<String> {
        problems.iter().map(Problem::to_string).collect()
    }

    #[test]
    fn nothing_configured_gives_the_defaults_of_the_contract() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let loaded = sources(directory.path(), &[])
            .load()
            .expect("defaults are valid");
        let config = loaded.config;
        assert_eq!(config.proxy.listen.to_string(), "127.0.0.1:7070");
        assert_eq!(config.admin.listen.to_string(), "127.0.0.1:7071");
        assert!(config.proxy.require_auth);
        assert_eq!(config.body.buffer, 1 << 20);
        assert_eq!(config.upstream.connect_timeout, Duration::from_secs(10));
        assert_eq!(loaded.file, None);
    }

    #[test]
    fn files_have_the_names_of_the_data_directory_by_default() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let loaded = sources(directory.path(), &[]).load();
        let config = loaded.expect("defaults are valid").config;
        let path = |name: &str| directory.path().join(name);
        assert_eq!(config.tls.ca_cert, path(files::CA_CERT));
        assert_eq!(config.tls.ca_key, path(files::CA_KEY));
        let store = StoreUrl::parse(&format!("sqlite:{}", files::DATABASE), directory.path());
        assert_eq!(Ok(config.store.url), store);
        assert_eq!(
            config.keys.master,
            KeySource::File(files::MASTER_KEY.into())
        );
    }

    #[test]
    fn flags_win_over_environment_over_file_over_defaults() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        write(
            directory.path(),
            "[proxy]\nlisten = \"127.0.0.1:1\"\nmax_headers = 7\n[admin]\nlisten = \"127.0.0.1:2\"\n",
        );
        let mut sources = sources(
            directory.path(),
            &[
                ("EGRET_PROXY_LISTEN", "127.0.0.1:3"),
                ("EGRET_ADMIN_LISTEN", "127.0.0.1:4"),
            ],
        );
        sources.flags = vec![Flag {
            key: "proxy.listen",
            name: "--listen",
            text: "127.0.0.1:5".to_owned(),
        }];
        let loaded = sources.load().expect("valid");
        assert_eq!(loaded.config.proxy.listen.port(), 5);
        assert_eq!(loaded.config.admin.listen.port(), 4);
        assert_eq!(loaded.config.proxy.max_headers, 7);
        let origin = |key: &str| {
            let shown = loaded.settings.iter().find(|shown| shown.key == key);
            shown.map(|shown| shown.origin.to_string())
        };
        let file = directory.path().join(FILE_NAME);
        assert_eq!(origin("proxy.listen"), Some("--listen".to_owned()));
        assert_eq!(
            origin("admin.listen"),
            Some("$EGRET_ADMIN_LISTEN".to_owned())
        );
        assert_eq!(
            origin("proxy.max_headers"),
            Some(format!("{}:3", file.display()))
        );
        assert_eq!(origin("body.buffer"), Some("default".to_owned()));
    }

    #[test]
    fn limits_on_the_ledger_can_be_set_and_left_out() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let ledger = |variables: &[(&str, &str)]| {
            let loaded = sources(directory.path(), variables).load();
            loaded.map(|loaded| loaded.config.ledger)
        };
        let default = ledger(&[]).expect("defaults are valid");
        assert_eq!((default.keep_for, default.keep_size), (None, None));
        assert_eq!(default.max_size, 64 << 20);
        let set = ledger(&[
            ("EGRET_LEDGER_KEEP_FOR", "400d"),
            ("EGRET_LEDGER_KEEP_SIZE", "20GiB"),
            ("EGRET_LEDGER_MAX_SIZE", "4096"),
        ])
        .expect("valid");
        assert_eq!(set.keep_for, Some(Duration::from_secs(400 * 86_400)));
        assert_eq!(set.keep_size, Some(20 << 30));
        assert_eq!(set.max_size, 4096);
        for (name, value, expected) in [
            ("EGRET_LEDGER_KEEP_FOR", "ever", "or \"forever\""),
            ("EGRET_LEDGER_KEEP_SIZE", "lots", "or \"unlimited\""),
            ("EGRET_LEDGER_MAX_SIZE", "1KiB", "at least 4096 bytes"),
        ] {
            let problems = ledger(&[(name, value)]).expect_err("a problem");
            assert!(problems.to_string().contains(expected), "{problems}");
        }
    }

    #[test]
    fn every_problem_of_every_layer_is_reported_at_once() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        write(
            directory.path(),
            "[proxy]\nlisen = \"x\"\nrequire_auth = \"no\"\n[store]\nurl = \"postgres://u:hunter2@h/d\"\n\
             [upstream]\nca_files = [\"absent.pem\"]\n",
        );
        let sources = sources(
            directory.path(),
            &[("EGRET_BODY_BUFFER", "lots"), ("EGRET_PROXY_LISTNE", "y")],
        );
        let problems = sources.load().expect_err("six problems");
        let messages = messages(&problems);
        for expected in [
            "proxy.lisen: unknown key, did you mean `proxy.listen`?",
            "EGRET_PROXY_LISTNE: unknown setting, did you mean `EGRET_PROXY_LISTEN`?",
            "proxy.require_auth: expected true or false, found \"no\"",
            "$EGRET_BODY_BUFFER: body.buffer: expected a size",
            "upstream.ca_files: cannot read",
            "store.url: expected \"sqlite:FILE\"",
        ] {
            let found = messages.iter().filter(|message| message.contains(expected));
            assert_eq!(found.count(), 1, "{expected} in {messages:#?}");
        }
        assert_eq!(messages.len(), 6, "{messages:#?}");
        assert!(!problems.to_string().contains("hunter2"));
    }

    #[test]
    fn a_change_that_needs_a_restart_is_named_and_no_other() {
        const AUTHORITY: &[(&str, &str)] = &[
            ("EGRET_TLS_CA_CERT", "ca.pem"),
            ("EGRET_TLS_CA_KEY", "ca.key"),
        ];
        let directory = tempfile::tempdir().expect("a temporary directory");
        std::fs::write(directory.path().join("own.pem"), "").expect("a writable directory");
        // Another valid value for each key. Where two keys depend on each other both are set.
        type Change<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)]);
        let changed: &[Change] = &[
            ("proxy.listen", "127.0.0.1:1", &[]),
            ("proxy.require_auth", "false", &[]),
            ("proxy.principal", "alice", &[]),
            ("proxy.alpn", "h2", &[]),
            ("proxy.connect_ports", "25", &[]),
            ("proxy.max_connections", "7", &[]),
            ("proxy.max_header_bytes", "2KiB", &[]),
            ("proxy.max_headers", "7", &[]),
            ("proxy.handshake_timeout", "7s", &[]),
            ("proxy.header_timeout", "7s", &[]),
            ("proxy.idle_timeout", "7s", &[]),
            ("proxy.drain_timeout", "7s", &[]),
            ("admin.listen", "127.0.0.1:2", &[]),
            ("tls.ca_cert", "x.pem", AUTHORITY),
            ("tls.ca_key", "x.key", AUTHORITY),
            ("tls.passthrough", "a.example", &[]),
            ("upstream.ca_files", "own.pem", &[]),
            ("upstream.allow_private", "10.0.0.0/8", &[]),
            ("upstream.connect_timeout", "7s", &[]),
            ("upstream.idle_timeout", "7s", &[]),
            ("upstream.resolve", "a.example:443=127.0.0.1:1", &[]),
            ("body.buffer", "7", &[]),
            ("store.url", "sqlite:x.db", &[]),
            ("ledger.durability", "interval", &[]),
            (
                "ledger.interval",
                "7s",
                &[("EGRET_LEDGER_DURABILITY", "interval")],
            ),
            ("ledger.deadline", "7s", &[]),
            ("ledger.heartbeat", "7s", &[]),
            ("ledger.max_size", "1MiB", &[]),
            ("ledger.keep_for", "7d", &[]),
            ("ledger.keep_size", "1GiB", &[]),
            ("keys.master", "env:KEY", &[]),
            ("log.format", "json", &[]),
            ("log.level", "debug", &[]),
            (
                "destination",
                "[{ hosts = [\"a.example\"], range = \"allow\" }]",
                &[],
            ),
        ];
        let names: Vec<_> = changed.iter().map(|(name, ..)| *name).collect();
        assert_eq!(names, KEYS.iter().map(|key| key.name).collect::<Vec<_>>());
        let load = |variables: &[(&str, &str)]| {
            let loaded = sources(directory.path(), variables).load();
            loaded.expect("a valid configuration").config
        };
        for ((name, value, more), key) in changed.iter().zip(KEYS) {
            let variable = key.variable();
            let before = load(more);
            let after = load(&[more, &[(variable.as_str(), *value)][..]].concat());
            let expected = match key.effect {
                Effect::Start(_) => vec![*name],
                Effect::Reload => Vec::new(),
            };
            assert_eq!(restart_needed(&before, &after), expected, "{name}");
            assert_eq!(restart_needed(&after, &after), [""; 0], "{name}");
        }
    }

    #[test]
    fn requests_without_a_token_are_accepted_only_from_loopback() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let with = |listen: &str| {
            sources(
                directory.path(),
                &[
                    ("EGRET_PROXY_REQUIRE_AUTH", "false"),
                    ("EGRET_PROXY_LISTEN", listen),
                ],
            )
            .load()
        };
        assert!(with("127.0.0.1:7070").is_ok());
        assert!(with("[::1]:7070").is_ok());
        for listen in ["0.0.0.0:7070", "[::]:7070", "192.0.2.1:7070"] {
            let problems = with(listen).expect_err(listen);
            assert!(problems.to_string().contains("loopback"), "{problems}");
        }
    }

    #[test]
    fn two_listeners_cannot_share_a_port() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let with =
            |listen: &str| sources(directory.path(), &[("EGRET_ADMIN_LISTEN", listen)]).load();
        assert!(with("127.0.0.1:7070").is_err());
        assert!(with("0.0.0.0:7070").is_err());
        assert!(with("127.0.0.2:7070").is_ok());
    }

    #[test]
    fn a_certificate_needs_its_key() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let certificate = ("EGRET_TLS_CA_CERT", "other.pem");
        assert!(sources(directory.path(), &[certificate]).load().is_err());
        let both = [certificate, ("EGRET_TLS_CA_KEY", "other.key")];
        assert!(sources(directory.path(), &both).load().is_ok());
    }

    #[test]
    fn overrides_of_one_name_become_several_addresses() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let text = "a.example:443=127.0.0.1:1,A.example.:443=[::1]:2,a.example:80=127.0.0.1:3";
        let loaded = sources(directory.path(), &[("EGRET_UPSTREAM_RESOLVE", text)])
            .load()
            .expect("valid");
        let resolve = loaded.config.upstream.resolve;
        assert_eq!(resolve.len(), 2);
        assert_eq!(resolve[0].host.to_string(), "a.example");
        assert_eq!(resolve[0].addresses.len(), 2);
        assert_eq!(resolve[1].port, 80);
        for text in [
            "a.example=127.0.0.1:1",
            "a.example:443=127.0.0.1",
            "a.example:443",
        ] {
            let loaded = sources(directory.path(), &[("EGRET_UPSTREAM_RESOLVE", text)]).load();
            assert!(loaded.is_err(), "{text}");
        }
    }

    #[test]
    fn a_level_is_a_level_or_a_filter() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let with = |level: &str| sources(directory.path(), &[("EGRET_LOG_LEVEL", level)]).load();
        assert!(with("debug").is_ok());
        assert!(with("info,egret::proxy=trace").is_ok());
        assert!(with("loud").is_err());
        assert!(with("egret=loud").is_err());
    }

    #[test]
    fn a_named_file_has_to_exist() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut sources = sources(directory.path(), &[]);
        sources.file = Some(directory.path().join("absent.toml"));
        assert!(sources.load().is_err());
        sources.file = None;
        assert!(sources.load().is_ok());
    }

    #[test]
    fn the_data_directory_follows_flag_environment_xdg_and_home() {
        let with = |variables: &[(&str, &str)]| {
            let mut sources = sources(Path::new("/unused"), variables);
            sources.data_dir = None;
            sources.data_dir().map(|(path, _)| path)
        };
        let home = ("HOME", "/h");
        assert_eq!(with(&[]), None);
        assert_eq!(with(&[home]), Some("/h/.local/share/egret".into()));
        assert_eq!(
            with(&[home, ("XDG_DATA_HOME", "/x")]),
            Some("/x/egret".into())
        );
        assert_eq!(
            with(&[home, ("XDG_DATA_HOME", "relative")]),
            Some("/h/.local/share/egret".into())
        );
        assert_eq!(with(&[home, ("EGRET_DATA_DIR", "/e")]), Some("/e".into()));
    }

    /// The example with its settings in force, which are comments in the file.
    fn uncommented() -> String {
        let is_setting = |text: &str| {
            let key = text.split_once(" = ").map(|(key, _)| key);
            let is_key = |key: &str| key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
            text == "[[destination]]" || key.is_some_and(is_key)
        };
        let lines = EXAMPLE.lines().map(|line| {
            let setting = line.strip_prefix("# ").filter(|text| is_setting(text));
            setting.unwrap_or(line)
        });
        lines.map(|line| format!("{line}\n")).collect()
    }

    #[test]
    fn the_example_names_every_key_with_its_default() {
        let defaults = raw::defaults();
        let mut problems = Vec::new();
        let path = Path::new("egret.example.toml");
        let settings = raw::from_file(path, &uncommented(), &mut problems);
        assert_eq!(problems, []);
        for key in KEYS.iter().filter(|key| key.name != "destination") {
            let setting = settings.get(key.name);
            let shown = setting.map(|setting| setting.node.value.to_toml());
            let default = defaults[key.name].node.value.to_toml();
            assert_eq!(shown, Some(default), "{}", key.name);
        }
    }

    #[test]
    fn the_example_shows_every_key_of_a_destination_with_its_default() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        write(directory.path(), &uncommented());
        let loaded = sources(directory.path(), &[]).load().expect("valid");
        let [rule, ..] = &loaded.config.destinations[..] else {
            panic!("no rule");
        };
        let destination = Destination::from_authority(Scheme::Https, "files.example.com");
        let destination = destination.expect("a destination of the rule");
        assert!(rule.hosts.iter().all(|host| host.matches(&destination)));
        assert_eq!(rule.scan.as_deref(), Some(ScanPlace::ALL));
        assert_eq!(rule.unresolved, Some(Unresolved::default()));
        assert_eq!(rule.range, Some(Range::default()));
        assert_eq!(rule.exposed, Some(Exposed::default()));
    }

    #[test]
    fn the_example_as_it_is_changes_nothing() {
        let mut problems = Vec::new();
        let settings = raw::from_file(Path::new("egret.example.toml"), EXAMPLE, &mut problems);
        assert_eq!(problems, []);
        assert!(settings.is_empty(), "{settings:?}");
    }
}

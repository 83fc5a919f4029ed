//! The second stage: every key read into its type, then what they have to agree on.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use tracing_subscriber::filter::{LevelFilter, Targets};

use super::destination;
use super::key::DESTINATION;
use super::model::{
    Admin, Alpn, Body, Config, Durability, Keys, Ledger, Log, LogFormat, Proxy, Resolve, Store,
    Tls, Upstream,
};
use super::problem::{Origin, Problem};
use super::raw::{self, Settings, Value};
use super::treatment::DestinationRule;
use super::units::{FromValue, Size, choice};
use crate::policy::destination::{Destination, Scheme};
use crate::policy::grant::HostPattern;
use crate::vault::{KeySource, Principal, StoreUrl};

/// The smallest file that is worth rotating, in bytes.
const LEAST_LEDGER_FILE: usize = 4096;

/// The settings in force while they are read.
pub(super) struct Resolver<'a> {
    pub(super) data_dir: &'a Path,
    pub(super) settings: &'a Settings,
    pub(super) problems: &'a mut Vec<Problem>,
}

impl Resolver<'_> {
    /// The whole configuration. Worth nothing where a problem was reported.
    pub(super) fn config(&mut self) -> Config {
        let config = Config {
            data_dir: self.data_dir.to_owned(),
            proxy: self.proxy(),
            admin: Admin {
                listen: self.read("admin.listen"),
            },
            tls: self.tls(),
            upstream: self.upstream(),
            body: self.body(),
            store: self.store(),
            ledger: self.ledger(),
            keys: Keys {
                master: self.parse("keys.master", parse_key_source),
            },
            log: self.log(),
            destinations: self.destinations(),
        };
        self.check_listeners(&config);
        self.check_authority();
        config
    }

    fn proxy(&mut self) -> Proxy {
        Proxy {
            listen: self.read("proxy.listen"),
            require_auth: self.read("proxy.require_auth"),
            principal: self.parse("proxy.principal", parse_principal),
            alpn: self.alpn(),
            connect_ports: self.list("proxy.connect_ports", u16::from_value),
            max_connections: self.at_least("proxy.max_connections", 1),
            max_header_bytes: self.size("proxy.max_header_bytes", 1024),
            max_headers: self.at_least("proxy.max_headers", 1),
            handshake_timeout: self.read("proxy.handshake_timeout"),
            header_timeout: self.read("proxy.header_timeout"),
            idle_timeout: self.read("proxy.idle_timeout"),
            drain_timeout: self.read("proxy.drain_timeout"),
        }
    }

    fn alpn(&mut self) -> Vec<Alpn> {
        const NAME: &str = "proxy.alpn";
        let names = [("http/1.1", Alpn::Http11), ("h2", Alpn::H2)];
        let mut protocols = self.list(NAME, |value| choice(value, &names));
        if protocols.is_empty() {
            self.complain(NAME, "name at least one of \"http/1.1\" and \"h2\"");
        }
        protocols.dedup();
        protocols
    }

    fn tls(&mut self) -> Tls {
        Tls {
            ca_cert: self.path("tls.ca_cert"),
            ca_key: self.path("tls.ca_key"),
            passthrough: self.list("tls.passthrough", |value| {
                let text = String::from_value(value)?;
                let pattern: Result<HostPattern, _> = text.parse();
                pattern.map_err(|error| format!("{text:?}: {error}"))
            }),
        }
    }

    fn upstream(&mut self) -> Upstream {
        let ca_files = self.list("upstream.ca_files", PathBuf::from_value);
        let ca_files: Vec<_> = ca_files
            .into_iter()
            .map(|path| self.data_dir.join(path))
            .collect();
        for path in &ca_files {
            if let Err(error) = std::fs::File::open(path) {
                let message = format!("cannot read {}: {error}", path.display());
                self.complain("upstream.ca_files", &message);
            }
        }
        Upstream {
            ca_files,
            allow_private: self.list("upstream.allow_private", FromValue::from_value),
            connect_timeout: self.read("upstream.connect_timeout"),
            idle_timeout: self.read("upstream.idle_timeout"),
            resolve: merge(self.list("upstream.resolve", parse_resolve)),
        }
    }

    fn body(&mut self) -> Body {
        let buffer = self.size("body.buffer", 1);
        Body { buffer }
    }

    fn store(&mut self) -> Store {
        let data_dir = self.data_dir;
        let url = self.parse("store.url", |value| {
            let url = String::from_value(value)?;
            StoreUrl::parse(&url, data_dir).map_err(|error| error.to_string())
        });
        Store { url }
    }

    fn ledger(&mut self) -> Ledger {
        let interval = self.read("ledger.interval");
        let choices = [
            ("commit", Durability::Commit),
            ("interval", Durability::Interval(interval)),
        ];
        Ledger {
            durability: self.parse("ledger.durability", |value| choice(value, &choices)),
            deadline: self.read("ledger.deadline"),
            heartbeat: self.read("ledger.heartbeat"),
            max_size: self.size("ledger.max_size", LEAST_LEDGER_FILE) as u64,
            keep_for: self.parse("ledger.keep_for", |value| unless("forever", value)),
            keep_size: self
                .parse("ledger.keep_size", |value| unless("unlimited", value))
                .map(|Size(size)| size as u64),
        }
    }

    fn log(&mut self) -> Log {
        let formats = [("text", LogFormat::Text), ("json", LogFormat::Json)];
        Log {
            format: self.parse("log.format", |value| choice(value, &formats)),
            level: self.parse("log.level", parse_level),
        }
    }

    fn destinations(&mut self) -> Vec<DestinationRule> {
        let mut rules = destination::rules(&self.settings[DESTINATION], self.problems);
        rules.extend(destination::presets(self.problems));
        rules
    }

    fn check_listeners(&mut self, config: &Config) {
        let (proxy, admin) = (config.proxy.listen, config.admin.listen);
        if !config.proxy.require_auth && !proxy.ip().is_loopback() {
            let message = format!(
                "false is accepted only on a loopback address, and proxy.listen is {proxy}: \
                 anyone who reaches it could use the credentials of {:?}",
                config.proxy.principal.as_str()
            );
            self.complain("proxy.require_auth", &message);
        }
        if clash(proxy, admin) {
            self.complain("admin.listen", &format!("proxy.listen is {proxy} too"));
        }
    }

    /// A certificate of one CA with the key of another is found out only by the first client.
    fn check_authority(&mut self) {
        let typed = |name| self.settings[name].origin != Origin::Default;
        for (set, unset) in [("tls.ca_cert", "tls.ca_key"), ("tls.ca_key", "tls.ca_cert")] {
            if typed(set) && !typed(unset) {
                self.complain(
                    set,
                    &format!("set {unset} as well: the two belong together"),
                );
                return;
            }
        }
    }

    fn complain(&mut self, name: &'static str, message: &str) {
        self.problems.push(Problem {
            origin: Some(self.settings[name].origin.clone()),
            key: Some(name.to_owned()),
            message: message.to_owned(),
        });
    }

    /// Reads a value. What cannot be read is reported and replaced by the embedded default, so
    /// that the rest is looked at too.
    fn parse<T>(&mut self, name: &'static str, read: impl Fn(&Value) -> Result<T, String>) -> T {
        read(&self.settings[name].node.value).unwrap_or_else(|message| {
            self.complain(name, &message);
            read(&raw::default_of(name)).expect("embedded defaults are valid, as a test shows")
        })
    }

    fn read<T: FromValue>(&mut self, name: &'static str) -> T {
        self.parse(name, T::from_value)
    }

    /// Reads a list; each faulty item is reported and left out.
    fn list<T>(
        &mut self,
        name: &'static str,
        read: impl Fn(&Value) -> Result<T, String>,
    ) -> Vec<T> {
        let settings = self.settings;
        let Value::List(items) = &settings[name].node.value else {
            let found = settings[name].node.value.describe();
            self.complain(name, &format!("expected a list, found {found}"));
            return Vec::new();
        };
        let mut values = Vec::with_capacity(items.len());
        for item in items {
            match read(&item.value) {
                Ok(value) => values.push(value),
                Err(message) => self.complain(name, &message),
            }
        }
        values
    }

    fn at_least(&mut self, name: &'static str, least: usize) -> usize {
        let value: usize = self.read(name);
        if value < least {
            self.complain(name, &format!("must be at least {least}"));
        }
        value
    }

    fn size(&mut self, name: &'static str, least: usize) -> usize {
        let Size(value) = self.read(name);
        if value < least {
            self.complain(name, &format!("must be at least {least} bytes"));
        }
        value
    }

    fn path(&mut self, name: &'static str) -> PathBuf {
        let path: PathBuf = self.read(name);
        self.data_dir.join(path)
    }
}

/// The value, or `None` for the word that says that there is no limit.
fn unless<T: FromValue>(word: &str, value: &Value) -> Result<Option<T>, String> {
    match String::from_value(value) {
        Ok(text) if text == word => Ok(None),
        _ => T::from_value(value)
            .map(Some)
            .map_err(|message| format!("{message}, or {word:?}")),
    }
}

/// Whether two listeners would want the same port.
fn clash(left: SocketAddr, right: SocketAddr) -> bool {
    let everywhere = left.ip().is_unspecified() || right.ip().is_unspecified();
    left.port() != 0 && left.port() == right.port() && (left.ip() == right.ip() || everywhere)
}

fn parse_principal(value: &Value) -> Result<Principal, String> {
    let text = String::from_value(value)?;
    Principal::parse(&text).map_err(|error| error.to_string())
}

fn parse_key_source(value: &Value) -> Result<KeySource, String> {
    let text = String::from_value(value)?;
    text.parse().map_err(|error| format!("{error}"))
}

fn parse_level(value: &Value) -> Result<String, String> {
    let text = String::from_value(value)?;
    // The library takes a word that is no level for the name of a module.
    let plain = |part: &str| part.contains('=') || part.trim().parse::<LevelFilter>().is_ok();
    match text.parse::<Targets>() {
        Ok(_) if text.split(',').all(plain) => Ok(text),
        _ => Err(format!(
            "{text:?} is no level: expected \"error\", \"warn\", \"info\", \"debug\", \"trace\" \
             or a filter such as \"info,egret::proxy=debug\""
        )),
    }
}

fn parse_resolve(value: &Value) -> Result<Resolve, String> {
    let text = String::from_value(value)?;
    let entry = || {
        let (name, address) = text.split_once('=')?;
        // The port is part of the name here: without one, 443 of https would be a guess.
        name.rsplit_once(':')?.1.parse::<u16>().ok()?;
        let name = Destination::from_authority(Scheme::Https, name).ok()?;
        Some(Resolve {
            host: name.host,
            port: name.port,
            addresses: vec![address.parse().ok()?],
        })
    };
    entry().ok_or_else(|| {
        format!(
            "{text:?}: expected HOST:PORT=IP:PORT, such as \"api.example.com:443=127.0.0.1:8443\""
        )
    })
}

/// Entries for the same name become one with several addresses.
fn merge(entries: Vec<Resolve>) -> Vec<Resolve> {
    let mut merged: Vec<Resolve> = Vec::with_capacity(entries.len());
    for entry in entries {
        let same = |known: &&mut Resolve| known.host == entry.host && known.port == entry.port;
        match merged.iter_mut().find(same) {
            Some(known) => known.addresses.extend(entry.addresses),
            None => merged.push(entry),
        }
    }
    merged
}

//! The second stage: every key is read into its type; then keys that depend on each other are compared.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::Uri;
use tracing_subscriber::filter::{LevelFilter, Targets};

use super::destination;
use super::key::DESTINATION;
use super::model::{
    Alpn, Approvals, BaseUrl, Body, Config, Durability, Egress, Ledger, Log, LogFormat, Proxy,
    Requests, Resolve, Store, Tls, Transparent, Upstream,
};
use super::problem::{Origin, Problem};
use super::raw::{self, Settings, Value};
use super::treatment::DestinationRule;
use super::units::{FromValue, LocalAddress, Size, choice};
use crate::policy::destination::{Destination, Scheme};
use crate::policy::egress::{OperatorEgress, Stance};
use crate::policy::floor::{Floor, OwnerHost, RequiredLimit};
use crate::policy::grant::{self, HostPattern};
use crate::policy::use_limits::{InvalidRate, Rate};
use crate::vault::{KeySource, KeySources, Principal, StoreUrl};

/// The smallest file that is worth rotating, in bytes.
const LEAST_LEDGER_FILE: usize = 4096;

/// The smallest limit on the head of an answer: what the HTTP library reads at once, in bytes.
const LEAST_ANSWER_HEAD: usize = 8192;

/// The settings in force while they are read.
pub(super) struct Resolver<'a> {
    pub(super) data_dir: &'a Path,
    pub(super) settings: &'a Settings,
    pub(super) problems: &'a mut Vec<Problem>,
}

impl Resolver<'_> {
    /// The whole configuration. Not to be used when a problem was reported.
    pub(super) fn config(&mut self) -> Config {
        let proxy = self.proxy();
        let upstream = self.upstream(&proxy.principal);
        let config = Config {
            data_dir: self.data_dir.to_owned(),
            proxy,
            admin: self.admin(),
            transparent: self.transparent(),
            base_url: self.base_url(),
            tls: self.tls(),
            upstream,
            body: self.body(),
            store: self.store(),
            policy: self.policy(),
            egress: self.egress(),
            alerts: self.alerts(),
            requests: Requests {
                on_refusal: self.read("requests.on_refusal"),
            },
            approvals: Approvals {
                wait: self.read("approvals.wait"),
                keep: self.read("approvals.keep"),
            },
            issuers: self.issuers(),
            openid: self.openid(),
            ledger: self.ledger(),
            traces: self.parse("traces.url", parse_webhook),
            keys: KeySources {
                master: self.parse("keys.master", parse_key_source),
                next: self.parse("keys.next", parse_next_key_source),
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
            tls: self.listener_tls(),
            require_auth: self.read("proxy.require_auth"),
            principal: self.parse("proxy.principal", parse_principal),
            max_token_lifetime: self.parse("proxy.max_token_lifetime", |value| {
                unless("unlimited", value)
            }),
            audience: self.parse("proxy.audience", parse_audience),
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
            passthrough: self.list("tls.passthrough", parse_host),
        }
    }

    fn upstream(&mut self, principal: &Principal) -> Upstream {
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
            first_byte_timeout: self.read("upstream.first_byte_timeout"),
            idle_timeout: self.read("upstream.idle_timeout"),
            stream_timeout: self.read("upstream.stream_timeout"),
            websocket_timeout: self.read("upstream.websocket_timeout"),
            max_header_bytes: self.size("upstream.max_header_bytes", LEAST_ANSWER_HEAD),
            resolve: merge(self.list("upstream.resolve", parse_resolve)),
            proxy: self.parent_proxy(principal),
        }
    }

    fn body(&mut self) -> Body {
        let buffer = self.size("body.buffer", 1);
        let spool = self.size("body.spool", 0) as u64;
        Body { buffer, spool }
    }

    fn store(&mut self) -> Store {
        let data_dir = self.data_dir;
        let url = self.parse("store.url", |value| {
            let url = String::from_value(value)?;
            StoreUrl::parse(&url, data_dir).map_err(|error| error.to_string())
        });
        Store { url }
    }

    fn transparent(&mut self) -> Transparent {
        let transparent = Transparent {
            listen: self.list("transparent.listen", SocketAddr::from_value),
            principal: self.principal("transparent.principal"),
            action: self.action("transparent.action"),
        };
        if !transparent.listen.is_empty() && transparent.principal.is_none() {
            let message = "say whose credentials the requests may use: programs that know of no \
                           proxy show it no token";
            self.complain("transparent.principal", message);
        }
        self.only_loopback("transparent", &transparent.listen);
        transparent
    }

    fn base_url(&mut self) -> BaseUrl {
        let (mut listen, mut sockets) = (Vec::new(), Vec::new());
        for address in self.list("base_url.listen", LocalAddress::from_value) {
            match address {
                LocalAddress::Tcp(address) => listen.push(address),
                LocalAddress::Unix(path) => sockets.push(path),
            }
        }
        let base_url = BaseUrl {
            listen,
            sockets,
            tls_listen: self.list("base_url.tls_listen", SocketAddr::from_value),
            principal: self.principal("base_url.principal"),
            action: self.action("base_url.action"),
        };
        self.only_loopback("base_url", &base_url.listen);
        base_url
    }

    /// A user, or `none`.
    pub(super) fn principal(&mut self, key: &'static str) -> Option<Principal> {
        self.parse(key, |value| match unless::<String>("none", value)? {
            Some(_) => parse_principal(value).map(Some),
            None => Ok(None),
        })
    }

    fn action(&mut self, key: &'static str) -> String {
        self.parse(key, |value| {
            let text = String::from_value(value)?;
            grant::parse_action(&text).map_err(|error| error.to_string())
        })
    }

    /// Complains of an address that others can reach: they could use the credentials of the listener.
    fn only_loopback(&mut self, section: &str, listen: &[SocketAddr]) {
        if let Some(address) = listen.iter().find(|address| !address.ip().is_loopback()) {
            let message = format!(
                "{address} is no loopback address: anyone who reaches it could use the credentials \
                 of {section}.principal"
            );
            let key = match section {
                "base_url" => "base_url.listen",
                _ => "transparent.listen",
            };
            self.complain(key, &message);
        }
    }

    fn policy(&mut self) -> Floor {
        let limits = [
            ("methods", RequiredLimit::Methods),
            ("paths", RequiredLimit::Paths),
            ("actions", RequiredLimit::Actions),
            ("expires", RequiredLimit::Expires),
        ];
        let longest: Option<Duration> =
            self.parse("policy.max_lifetime", |value| unless("unlimited", value));
        Floor {
            require: self.list("policy.require", |value| choice(value, &limits)),
            max_lifetime: longest.map(|time| i64::try_from(time.as_secs()).unwrap_or(i64::MAX)),
            share_with_everyone: self.read("policy.share_with_everyone"),
            wildcard_hosts: self.read("policy.wildcard_hosts"),
            owner_hosts: self.list("policy.owner_hosts", parse_owner_host),
        }
    }

    fn egress(&mut self) -> Egress {
        let stances = [Stance::Allow, Stance::Observe, Stance::Deny];
        let stances = stances.map(|stance| (stance.as_str(), stance));
        let rules = OperatorEgress {
            default: self.parse("egress.default", |value| choice(value, &stances)),
            allow: self.list("egress.allow", parse_host),
            deny: self.list("egress.deny", parse_host),
        };
        let closes = |open: &&HostPattern| rules.deny.iter().any(|host| host.includes(open));
        if let Some(open) = rules.allow.iter().find(closes) {
            let message = format!("{open} is in egress.deny too, which stands above it");
            self.complain("egress.allow", &message);
        }
        Egress {
            rules,
            deny_addresses: self.list("egress.deny_addresses", FromValue::from_value),
            own_keys: self.parse("egress.own_keys", destination::own_keys),
            client_rate: self.parse("egress.client_rate", parse_rate),
            client_requests: self.client_requests(),
        }
    }

    fn client_requests(&mut self) -> Option<usize> {
        const NAME: &str = "egress.client_requests";
        let most: Option<usize> = self.parse(NAME, |value| unless("unlimited", value));
        if most == Some(0) {
            self.complain(NAME, "must be at least 1");
        }
        most
    }

    fn ledger(&mut self) -> Ledger {
        let interval = self.read("ledger.interval");
        let choices = [
            ("commit", Durability::Commit),
            ("interval", Durability::Interval(interval)),
        ];
        let max_size = self.size("ledger.max_size", LEAST_LEDGER_FILE) as u64;
        Ledger {
            durability: self.parse("ledger.durability", |value| choice(value, &choices)),
            deadline: self.read("ledger.deadline"),
            heartbeat: self.read("ledger.heartbeat"),
            max_size,
            keep_for: self.parse("ledger.keep_for", |value| unless("forever", value)),
            keep_size: self
                .parse("ledger.keep_size", |value| unless("unlimited", value))
                .map(|Size(size)| size as u64),
            ship: self.ship(),
            s3: self.s3(max_size),
            witnesses: self.witnesses(),
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
        self.check_plain(proxy);
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

    pub(super) fn complain(&mut self, name: &'static str, message: &str) {
        self.problems.push(Problem {
            origin: Some(self.settings[name].origin.clone()),
            key: Some(name.to_owned()),
            message: message.to_owned(),
        });
    }

    /// Reads a value. One that cannot be read is reported and replaced by the embedded default, so
    /// that the others are checked too.
    pub(super) fn parse<T>(
        &mut self,
        name: &'static str,
        read: impl Fn(&Value) -> Result<T, String>,
    ) -> T {
        read(&self.settings[name].node.value).unwrap_or_else(|message| {
            self.complain(name, &message);
            read(&raw::default_of(name)).expect("embedded defaults are valid, as a test shows")
        })
    }

    pub(super) fn read<T: FromValue>(&mut self, name: &'static str) -> T {
        self.parse(name, T::from_value)
    }

    /// Reads a list; each faulty item is reported and left out.
    pub(super) fn list<T>(
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
pub(super) fn unless<T: FromValue>(word: &str, value: &Value) -> Result<Option<T>, String> {
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

pub(super) fn parse_principal(value: &Value) -> Result<Principal, String> {
    let text = String::from_value(value)?;
    Principal::parse(&text).map_err(|error| error.to_string())
}

fn parse_audience(value: &Value) -> Result<String, String> {
    let text = String::from_value(value)?;
    if text.is_empty() {
        return Err("expected a name, such as \"egret\"".to_owned());
    }
    Ok(text)
}

pub(super) fn parse_webhook(value: &Value) -> Result<Option<Uri>, String> {
    let Some(text) = unless::<String>("none", value)? else {
        return Ok(None);
    };
    let url: Option<Uri> = text.parse().ok();
    let is_complete = |url: &Uri| {
        let is_http = matches!(url.scheme_str(), Some("https" | "http"));
        is_http && url.host().is_some_and(|host| !host.is_empty())
    };
    // Not repeated: such addresses often have a token in them.
    let url = url.filter(is_complete);
    url.map(Some).ok_or_else(|| {
        "expected an address such as \"https://alerts.example.com/egret\"".to_owned()
    })
}

fn parse_rate(value: &Value) -> Result<Option<Rate>, String> {
    let Some(text) = unless::<String>("unlimited", value)? else {
        return Ok(None);
    };
    let rate = text.parse().map(Some);
    rate.map_err(|error: InvalidRate| format!("{text:?}: {error}, or \"unlimited\""))
}

fn parse_host(value: &Value) -> Result<HostPattern, String> {
    let text = String::from_value(value)?;
    text.parse().map_err(|error| format!("{text:?}: {error}"))
}

fn parse_owner_host(value: &Value) -> Result<OwnerHost, String> {
    let text = String::from_value(value)?;
    let expected =
        || format!("{text:?}: expected \"OWNER HOST\", such as \"alice api.example.com\"");
    let (owner, host) = text.split_once(' ').ok_or_else(expected)?;
    if owner != "*" {
        Principal::parse(owner).map_err(|error| format!("{owner:?}: {error}"))?;
    }
    let host = host.trim();
    Ok(OwnerHost {
        owner: owner.to_owned(),
        host: host.parse().map_err(|error| format!("{host:?}: {error}"))?,
    })
}

fn parse_key_source(value: &Value) -> Result<KeySource, String> {
    let text = String::from_value(value)?;
    text.parse().map_err(|error| format!("{error}"))
}

fn parse_next_key_source(value: &Value) -> Result<Option<KeySource>, String> {
    match String::from_value(value)?.as_str() {
        "none" => Ok(None),
        _ => parse_key_source(value).map(Some),
    }
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

//! The table of configuration keys: name, default, and when a change takes effect.
//!
//! Everything else is derived from it: what a file may contain, which environment variables are
//! read, what `egret config show` prints, the hint for a misspelt name, and which changes a reload
//! cannot put in force.

use std::time::Duration;

use http::Uri;

use super::model::{Config, Durability};
use super::s3::S3Target;
use super::ship::ShipTarget;

/// What an environment variable or a flag, which can only carry text, is read as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A string, number or boolean.
    Scalar,
    /// A list: commas separate the items, or the whole is a TOML array.
    List,
    /// The `[[destination]]` or `[[issuer]]` tables, as a TOML array of inline tables.
    Tables,
}

/// When a changed value takes effect.
#[derive(Clone, Copy)]
pub(super) enum Effect {
    /// With the next request after a reload.
    Reload,
    /// At the next start of the server. The function tells whether two configurations differ in it.
    Start(fn(&Config, &Config) -> bool),
}

/// A key of the configuration.
pub(super) struct Key {
    /// Dotted name as in the file, `proxy.listen`.
    pub(super) name: &'static str,
    /// The embedded default, as a TOML value.
    pub(super) default: &'static str,
    /// How text is read.
    pub(super) kind: Kind,
    /// When a change takes effect.
    pub(super) effect: Effect,
}

impl Key {
    /// The same key, of which a change takes effect at the next start.
    const fn at_start(self, differs: fn(&Config, &Config) -> bool) -> Self {
        Self {
            effect: Effect::Start(differs),
            ..self
        }
    }

    /// The environment variable that sets this key: `proxy.listen` is `EGRET_PROXY_LISTEN`.
    pub(super) fn variable(&self) -> String {
        format!("EGRET_{}", self.name.replace('.', "_").to_ascii_uppercase())
    }

    /// The table the key is in, `proxy`. `destination` is a table of its own.
    pub(super) fn section(&self) -> &'static str {
        self.name.split('.').next().unwrap_or(self.name)
    }
}

const fn key(name: &'static str, default: &'static str, kind: Kind) -> Key {
    Key {
        name,
        default,
        kind,
        effect: Effect::Reload,
    }
}

const fn scalar(name: &'static str, default: &'static str) -> Key {
    key(name, default, Kind::Scalar)
}

const fn list(name: &'static str, default: &'static str) -> Key {
    key(name, default, Kind::List)
}

/// Every key, in the order of the documentation.
pub(super) const KEYS: &[Key] = &[
    scalar("proxy.listen", "\"127.0.0.1:7070\"")
        .at_start(|old, new| old.proxy.listen != new.proxy.listen),
    scalar("proxy.allow_plain", "false"),
    list("proxy.tls_listen", "[]")
        .at_start(|old, new| old.proxy.tls.listen != new.proxy.tls.listen),
    list("proxy.tls_names", "[]"),
    scalar("proxy.tls_cert", "\"none\""),
    scalar("proxy.tls_key", "\"none\""),
    scalar("proxy.tls_client_ca", "\"none\""),
    scalar("proxy.require_auth", "true"),
    scalar("proxy.principal", "\"default\""),
    scalar("proxy.max_token_lifetime", "\"unlimited\""),
    scalar("proxy.audience", "\"egret\""),
    list("proxy.alpn", "[\"http/1.1\", \"h2\"]")
        .at_start(|old, new| old.proxy.alpn != new.proxy.alpn),
    list("proxy.connect_ports", "[]"),
    scalar("proxy.max_connections", "10000")
        .at_start(|old, new| old.proxy.max_connections != new.proxy.max_connections),
    scalar("proxy.max_header_bytes", "\"64KiB\""),
    scalar("proxy.max_headers", "100"),
    scalar("proxy.handshake_timeout", "\"10s\""),
    scalar("proxy.header_timeout", "\"10s\""),
    scalar("proxy.idle_timeout", "\"300s\""),
    scalar("proxy.drain_timeout", "\"30s\""),
    scalar("admin.listen", "\"127.0.0.1:7071\"")
        .at_start(|old, new| old.admin.listen != new.admin.listen),
    scalar("admin.url", "\"auto\""),
    list("admin.names", "[]"),
    list("admin.trusted_proxies", "[]"),
    scalar("admin.session_lifetime", "\"12h\""),
    scalar("admin.session_idle", "\"1h\""),
    list("transparent.listen", "[]")
        .at_start(|old, new| old.transparent.listen != new.transparent.listen),
    scalar("transparent.principal", "\"none\"")
        .at_start(|old, new| old.transparent.principal != new.transparent.principal),
    scalar("transparent.action", "\"transparent\"")
        .at_start(|old, new| old.transparent.action != new.transparent.action),
    list("base_url.listen", "[]").at_start(|old, new| {
        let all = |config: &Config| {
            (
                config.base_url.listen.clone(),
                config.base_url.sockets.clone(),
            )
        };
        all(old) != all(new)
    }),
    list("base_url.tls_listen", "[]")
        .at_start(|old, new| old.base_url.tls_listen != new.base_url.tls_listen),
    scalar("base_url.principal", "\"none\"")
        .at_start(|old, new| old.base_url.principal != new.base_url.principal),
    scalar("base_url.action", "\"base-url\"")
        .at_start(|old, new| old.base_url.action != new.base_url.action),
    scalar("tls.ca_cert", "\"ca.pem\"").at_start(|old, new| old.tls.ca_cert != new.tls.ca_cert),
    scalar("tls.ca_key", "\"ca.key\"").at_start(|old, new| old.tls.ca_key != new.tls.ca_key),
    list("tls.passthrough", "[]"),
    list("upstream.ca_files", "[]"),
    list("upstream.allow_private", "[]"),
    scalar("upstream.connect_timeout", "\"10s\""),
    scalar("upstream.first_byte_timeout", "\"600s\""),
    scalar("upstream.idle_timeout", "\"300s\""),
    scalar("upstream.stream_timeout", "\"1h\""),
    scalar("upstream.websocket_timeout", "\"1h\""),
    scalar("upstream.max_header_bytes", "\"256KiB\""),
    list("upstream.resolve", "[]"),
    scalar("upstream.proxy", "\"none\""),
    scalar("upstream.proxy_credential", "\"none\""),
    list("upstream.no_proxy", "[]"),
    scalar("body.buffer", "\"1MiB\""),
    scalar("body.spool", "\"64MiB\""),
    scalar("store.url", "\"sqlite:egret.db\"").at_start(|old, new| old.store.url != new.store.url),
    scalar("issuer.name", "\"none\""),
    scalar("issuer.audience", "\"none\""),
    scalar("issuer.keys", "\"none\""),
    scalar("issuer.principal", "\"none\""),
    scalar("issuer.principal_claim", "\"none\""),
    scalar("issuer.client_claim", "\"sub\""),
    scalar("issuer.action_claim", "\"none\""),
    scalar("issuer.bundle", "\"none\""),
    scalar("issuer.bundle_claim", "\"none\""),
    scalar("issuer.label", "\"none\""),
    scalar("openid.issuer", "\"none\""),
    scalar("openid.client_id", "\"none\""),
    scalar("openid.client_secret_file", "\"none\""),
    list("openid.scopes", "[\"profile\"]"),
    scalar("openid.user_claim", "\"preferred_username\""),
    scalar("openid.create_users", "true"),
    scalar("openid.groups_claim", "\"none\""),
    list("openid.groups", "[]"),
    scalar("openid.groups_max_age", "\"24h\""),
    list("policy.require", "[]"),
    scalar("policy.max_lifetime", "\"unlimited\""),
    scalar("policy.share_with_everyone", "true"),
    scalar("policy.wildcard_hosts", "true"),
    list("policy.owner_hosts", "[]"),
    scalar("egress.default", "\"allow\""),
    list("egress.allow", "[]"),
    list("egress.deny", "[]"),
    list("egress.deny_addresses", "[]"),
    scalar("egress.own_keys", "\"off\""),
    scalar("egress.client_rate", "\"unlimited\""),
    scalar("egress.client_requests", "\"unlimited\""),
    scalar("approvals.wait", "\"60s\""),
    scalar("approvals.keep", "\"1h\""),
    scalar("requests.on_refusal", "false"),
    scalar("alerts.url", "\"none\"").at_start(|old, new| old.alerts.url != new.alerts.url),
    scalar("alerts.secret", "\"none\"").at_start(|old, new| old.alerts.secret != new.alerts.secret),
    list(
        "alerts.events",
        "[\"approval.asked\", \"request.asked\", \"rejected\", \"store.unverified\"]",
    )
    .at_start(|old, new| old.alerts.events != new.alerts.events),
    scalar("ledger.durability", "\"commit\"")
        .at_start(|old, new| interval(old).is_some() != interval(new).is_some()),
    scalar("ledger.interval", "\"1s\"").at_start(
        |old, new| matches!((interval(old), interval(new)), (Some(old), Some(new)) if old != new),
    ),
    scalar("ledger.deadline", "\"5s\"")
        .at_start(|old, new| old.ledger.deadline != new.ledger.deadline),
    scalar("ledger.heartbeat", "\"10m\"")
        .at_start(|old, new| old.ledger.heartbeat != new.ledger.heartbeat),
    scalar("ledger.max_size", "\"64MiB\"")
        .at_start(|old, new| old.ledger.max_size != new.ledger.max_size),
    scalar("ledger.keep_for", "\"forever\"")
        .at_start(|old, new| old.ledger.keep_for != new.ledger.keep_for),
    scalar("ledger.keep_size", "\"unlimited\"")
        .at_start(|old, new| old.ledger.keep_size != new.ledger.keep_size),
    scalar("ledger.ship_url", "\"none\"").at_start(|old, new| ship_url(old) != ship_url(new)),
    scalar("ledger.ship_form", "\"jsonl\"")
        .at_start(|old, new| ships_otherwise(old, new, |old, new| old.form != new.form)),
    scalar("ledger.ship_token", "\"none\"")
        .at_start(|old, new| ships_otherwise(old, new, |old, new| old.token != new.token)),
    scalar("ledger.s3_url", "\"none\"").at_start(|old, new| s3_place(old) != s3_place(new)),
    scalar("ledger.s3_style", "\"path\"")
        .at_start(|old, new| stores_otherwise(old, new, |old, new| old.style != new.style)),
    scalar("ledger.s3_region", "\"us-east-1\"")
        .at_start(|old, new| stores_otherwise(old, new, |old, new| old.region != new.region)),
    scalar("ledger.s3_login", "\"none\"")
        .at_start(|old, new| stores_otherwise(old, new, |old, new| old.login != new.login)),
    list("ledger.witnesses", "[]")
        .at_start(|old, new| old.ledger.witnesses != new.ledger.witnesses),
    scalar("traces.url", "\"none\"").at_start(|old, new| old.traces != new.traces),
    scalar("keys.master", "\"file:master.key\"")
        .at_start(|old, new| old.keys.master != new.keys.master),
    scalar("keys.next", "\"none\"").at_start(|old, new| old.keys.next != new.keys.next),
    scalar("log.format", "\"text\"").at_start(|old, new| old.log.format != new.log.format),
    scalar("log.level", "\"info\"").at_start(|old, new| old.log.level != new.log.level),
    key(ISSUER, "[]", Kind::Tables),
    key(DESTINATION, "[]", Kind::Tables),
];

/// How long a line may wait for the disk, where lines wait.
fn interval(config: &Config) -> Option<Duration> {
    match config.ledger.durability {
        Durability::Commit => None,
        Durability::Interval(interval) => Some(interval),
    }
}

/// Where the ledger is sent to.
fn ship_url(config: &Config) -> Option<&Uri> {
    config.ledger.ship.as_ref().map(|ship| &ship.url)
}

/// Whether it is sent in both, and differs in this.
fn ships_otherwise(
    old: &Config,
    new: &Config,
    differs: fn(&ShipTarget, &ShipTarget) -> bool,
) -> bool {
    let both = old.ledger.ship.as_ref().zip(new.ledger.ship.as_ref());
    both.is_some_and(|(old, new)| differs(old, new))
}

/// The bucket that the ledger is stored in.
fn s3_place(config: &Config) -> Option<(&Uri, &str, &str)> {
    let target = config.ledger.s3.as_ref()?;
    Some((&target.endpoint, &target.bucket, &target.prefix))
}

/// Whether it is stored in both, and differs in this.
fn stores_otherwise(old: &Config, new: &Config, differs: fn(&S3Target, &S3Target) -> bool) -> bool {
    let both = old.ledger.s3.as_ref().zip(new.ledger.s3.as_ref());
    both.is_some_and(|(old, new)| differs(old, new))
}

/// The keys in which `new` differs from `running` and which take effect only at the next start.
pub fn restart_needed(running: &Config, new: &Config) -> Vec<&'static str> {
    KEYS.iter()
        .filter(|key| matches!(key.effect, Effect::Start(differs) if differs(running, new)))
        .map(|key| key.name)
        .collect()
}

/// The key of the destination rules, which is not `section.name`.
pub(super) const DESTINATION: &str = "destination";

/// The key of several issuers, whose name is that of the section of a single one.
pub(super) const ISSUER: &str = "issuer";

/// The keys of one `[[issuer]]` table, and of `[issuer]`.
pub(super) const ISSUER_KEYS: &[&str] = &[
    "name",
    "audience",
    "keys",
    "principal",
    "principal_claim",
    "client_claim",
    "action_claim",
    "bundle",
    "bundle_claim",
    "label",
];

/// The keys of one `[[destination]]` table.
pub(super) const DESTINATION_KEYS: &[&str] = &[
    "hosts",
    "scan",
    "unresolved",
    "range",
    "exposed",
    "require",
    "require_except",
    "own_keys",
    "approval_fields",
];

/// Variables that carry the prefix but set no key: they name the file, the directory and a token.
const OTHER_VARIABLES: &[&str] = &["EGRET_DATA_DIR", "EGRET_CONFIG", "EGRET_TOKEN"];

/// The key of that name.
pub(super) fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

/// The known name nearest to `typed`, if one is near enough to be what was meant.
pub fn nearest<'a>(typed: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|name| (strsim::jaro_winkler(typed, name), name))
        .filter(|(score, _)| *score > 0.8)
        .max_by(|left, right| left.0.total_cmp(&right.0))
        .map(|(_, name)| name)
}

/// Whether `variable` looks like a setting of Egret's but is none.
///
/// Only names below a section count (`EGRET_PROXY_LISTNE`). An orchestrator invents others from
/// service names (`EGRET_PROXY_PORT_7070_TCP`, `EGRET_ADMIN_SERVICE_HOST`), which must not keep the
/// program from starting.
pub(super) fn is_misspelt_variable(variable: &str) -> bool {
    let Some(rest) = variable.strip_prefix("EGRET_") else {
        return false;
    };
    let below_section = KEYS.iter().find_map(|key| {
        let section = key.section().to_ascii_uppercase();
        rest.strip_prefix(section.as_str())?.strip_prefix('_')
    });
    let Some(name) = below_section else {
        return false;
    };
    let of_orchestrator =
        name == "PORT" || name.starts_with("PORT_") || name.starts_with("SERVICE_");
    let known =
        OTHER_VARIABLES.contains(&variable) || KEYS.iter().any(|key| key.variable() == variable);
    !known && !of_orchestrator
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_is_named_after_its_key() {
        let key = find("proxy.require_auth").expect("the key exists");
        assert_eq!(key.variable(), "EGRET_PROXY_REQUIRE_AUTH");
        assert_eq!(key.section(), "proxy");
    }

    #[test]
    fn no_two_keys_share_a_variable() {
        let mut variables: Vec<String> = KEYS.iter().map(Key::variable).collect();
        variables.sort();
        variables.dedup();
        assert_eq!(variables.len(), KEYS.len());
    }

    #[test]
    fn a_misspelt_variable_is_told_from_an_orchestrators() {
        assert!(is_misspelt_variable("EGRET_PROXY_LISTNE"));
        assert!(is_misspelt_variable("EGRET_LEDGER_DURABLE"));
        assert!(!is_misspelt_variable("EGRET_PROXY_LISTEN"));
        assert!(!is_misspelt_variable("EGRET_PROXY_PORT_7070_TCP_ADDR"));
        assert!(!is_misspelt_variable("EGRET_PROXY_SERVICE_HOST"));
        assert!(!is_misspelt_variable("EGRET_TOKEN"));
        assert!(!is_misspelt_variable("EGRET_ANYTHING"));
        assert!(!is_misspelt_variable("PATH"));
    }

    #[test]
    fn the_nearest_name_is_offered_only_when_it_is_near() {
        let names = || KEYS.iter().map(|key| key.name);
        assert_eq!(nearest("proxy.lisen", names()), Some("proxy.listen"));
        assert_eq!(nearest("tls.pasthrough", names()), Some("tls.passthrough"));
        assert_eq!(nearest("zzz", names()), None);
    }
}

use std::time::Duration;

use super::super::key::{Effect, restart_needed};
use super::*;
use crate::config::{Exposed, Range, ScanPlace, Unresolved};
use crate::files;
use crate::policy::destination::{Destination, Scheme};
use crate::vault::{KeySource, StoreUrl};

const EXAMPLE: &str = include_str!("../../../config/egret.example.toml");

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
fn nothing_configured_gives_the_defaults_of_the_reference() {
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
    // What a bucket takes at once.
    let stored = |size| {
        ledger(&[
            ("EGRET_LEDGER_S3_URL", "https://s3.example/bucket"),
            ("EGRET_LEDGER_S3_LOGIN", "s3.login"),
            ("EGRET_LEDGER_MAX_SIZE", size),
        ])
    };
    stored("4GiB").expect("valid");
    let problems = stored("5GiB").expect_err("too large").to_string();
    assert!(problems.contains("at most 4GiB"), "{problems}");
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
    const BOTH: &[(&str, &str)] = &[
        ("EGRET_PROXY_TLS_CERT", "own.pem"),
        ("EGRET_PROXY_TLS_KEY", "own.key"),
    ];
    const ISSUER: &[(&str, &str)] = &[
        ("EGRET_ISSUER_NAME", "https://issuer.example"),
        ("EGRET_ISSUER_AUDIENCE", "egret"),
        ("EGRET_ISSUER_KEYS", "keys.json"),
        ("EGRET_ISSUER_PRINCIPAL", "alice"),
    ];
    const OPENID: &[(&str, &str)] = &[
        ("EGRET_OPENID_ISSUER", "https://login.example"),
        ("EGRET_OPENID_CLIENT_ID", "egret"),
    ];
    const PARENT: &[(&str, &str)] = &[("EGRET_UPSTREAM_PROXY", "http://p.example:3128")];
    const SHIP: &[(&str, &str)] = &[("EGRET_LEDGER_SHIP_URL", "https://logs.example")];
    const S3: &[(&str, &str)] = &[
        ("EGRET_LEDGER_S3_URL", "https://s3.example/bucket"),
        ("EGRET_LEDGER_S3_LOGIN", "s3.login"),
    ];
    const CLAIM: &[(&str, &str)] = &[
        ("EGRET_ISSUER_NAME", "https://issuer.example"),
        ("EGRET_ISSUER_AUDIENCE", "egret"),
        ("EGRET_ISSUER_KEYS", "keys.json"),
        ("EGRET_ISSUER_PRINCIPAL_CLAIM", "user"),
    ];
    let directory = tempfile::tempdir().expect("a temporary directory");
    std::fs::write(directory.path().join("own.pem"), "").expect("a writable directory");
    // Another valid value for each key. Where two keys depend on each other both are set.
    type Change<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)]);
    let changed: &[Change] = &[
        ("proxy.listen", "127.0.0.1:1", &[]),
        ("proxy.allow_plain", "true", &[]),
        ("proxy.tls_listen", "127.0.0.1:5", &[]),
        ("proxy.tls_names", "egret.example.com", &[]),
        ("proxy.tls_cert", "x.pem", BOTH),
        ("proxy.tls_key", "x.key", BOTH),
        ("proxy.tls_client_ca", "ca.pem", &[]),
        ("proxy.require_auth", "false", &[]),
        ("proxy.principal", "alice", &[]),
        ("proxy.max_token_lifetime", "7d", &[]),
        ("proxy.audience", "egret.example", &[]),
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
        ("admin.url", "https://egret.example.com", &[]),
        ("admin.names", "egret.internal", &[]),
        ("admin.trusted_proxies", "10.0.0.0/8", &[]),
        ("admin.session_lifetime", "7h", &[]),
        ("admin.session_idle", "7m", &[]),
        (
            "transparent.listen",
            "127.0.0.1:3",
            &[("EGRET_TRANSPARENT_PRINCIPAL", "default")],
        ),
        ("transparent.principal", "bob", &[]),
        ("transparent.action", "held", &[]),
        ("base_url.listen", "127.0.0.1:4", &[]),
        ("base_url.tls_listen", "127.0.0.1:6", &[]),
        ("base_url.principal", "bob", &[]),
        ("base_url.action", "held", &[]),
        ("tls.ca_cert", "x.pem", AUTHORITY),
        ("tls.ca_key", "x.key", AUTHORITY),
        ("tls.passthrough", "a.example", &[]),
        ("upstream.ca_files", "own.pem", &[]),
        ("upstream.allow_private", "10.0.0.0/8", &[]),
        ("upstream.connect_timeout", "7s", &[]),
        ("upstream.first_byte_timeout", "7s", &[]),
        ("upstream.idle_timeout", "7s", &[]),
        ("upstream.stream_timeout", "7s", &[]),
        ("upstream.websocket_timeout", "7s", &[]),
        ("upstream.max_header_bytes", "9000", &[]),
        ("upstream.resolve", "a.example:443=127.0.0.1:1", &[]),
        ("upstream.proxy", "http://p.example:3128", &[]),
        ("upstream.proxy_credential", "corp", PARENT),
        ("upstream.no_proxy", "10.0.0.0/8", PARENT),
        ("body.buffer", "7", &[]),
        ("body.spool", "7", &[]),
        ("store.url", "sqlite:x.db", &[]),
        ("issuer.name", "https://other.example", ISSUER),
        ("issuer.audience", "other", ISSUER),
        ("issuer.keys", "other.json", ISSUER),
        ("issuer.principal", "bob", ISSUER),
        ("issuer.principal_claim", "email", CLAIM),
        ("issuer.client_claim", "azp", ISSUER),
        ("issuer.action_claim", "job", ISSUER),
        ("issuer.bundle", "alice/work", ISSUER),
        ("issuer.bundle_claim", "environment", ISSUER),
        ("issuer.label", "ci", ISSUER),
        ("openid.issuer", "https://other.example", OPENID),
        ("openid.client_id", "other", OPENID),
        ("openid.client_secret_file", "openid.secret", OPENID),
        ("openid.scopes", "email", OPENID),
        ("openid.user_claim", "email", OPENID),
        ("openid.create_users", "false", OPENID),
        ("openid.groups_claim", "groups", OPENID),
        ("openid.groups", "theirs=ours", OPENID),
        ("openid.groups_max_age", "7h", OPENID),
        ("policy.require", "methods", &[]),
        ("policy.max_lifetime", "7d", &[]),
        ("policy.share_with_everyone", "false", &[]),
        ("policy.wildcard_hosts", "false", &[]),
        ("policy.owner_hosts", "alice a.example", &[]),
        ("egress.default", "deny", &[]),
        ("egress.allow", "a.example", &[]),
        ("egress.deny", "a.example", &[]),
        ("egress.deny_addresses", "203.0.113.0/24", &[]),
        ("egress.own_keys", "observe", &[]),
        ("egress.client_rate", "100/m", &[]),
        ("egress.client_requests", "7", &[]),
        ("approvals.wait", "7s", &[]),
        ("approvals.keep", "7m", &[]),
        ("requests.on_refusal", "true", &[]),
        ("alerts.url", "https://alerts.example/x", &[]),
        ("alerts.secret", "secret", &[]),
        ("alerts.events", "rejected", &[]),
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
        ("ledger.ship_url", "https://logs.example/x", &[]),
        ("ledger.ship_form", "ocsf", SHIP),
        ("ledger.ship_token", "ship.token", SHIP),
        (
            "ledger.s3_url",
            "https://s3.example/other",
            &[("EGRET_LEDGER_S3_LOGIN", "s3.login")],
        ),
        ("ledger.s3_style", "virtual-host", S3),
        ("ledger.s3_region", "eu-central-1", S3),
        ("ledger.s3_login", "other.login", S3),
        (
            "ledger.witnesses",
            "w.example+00df7ba9+BAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA https://w.example",
            &[],
        ),
        ("traces.url", "http://collector.example:4318", &[]),
        ("keys.master", "env:KEY", &[]),
        ("keys.next", "env:NEXT", &[]),
        ("log.format", "json", &[]),
        ("log.level", "debug", &[]),
        (
            "issuer",
            "[{ name = \"https://ci.example\", audience = \"egret\", keys = \"k.json\", principal = \"ci\" }]",
            &[],
        ),
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
fn an_issuer_is_whole_or_not_there() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let whole = [
        ("EGRET_ISSUER_NAME", "https://issuer.example"),
        ("EGRET_ISSUER_AUDIENCE", "egret"),
        ("EGRET_ISSUER_KEYS", "keys.json"),
        ("EGRET_ISSUER_PRINCIPAL", "alice"),
    ];
    let load = |variables: &[(&str, &str)]| sources(directory.path(), variables).load();
    assert_eq!(load(&[]).expect("valid").config.issuers, []);
    let issuers = load(&whole).expect("valid").config.issuers;
    let issuer = &issuers[0];
    let file = directory.path().join("keys.json");
    assert_eq!(issuer.keys, crate::config::KeysPlace::File(file));
    assert_eq!(issuer.client_claim, "sub");
    for left_out in 0..whole.len() {
        let mut part = whole.to_vec();
        part.remove(left_out);
        let problems = load(&part).expect_err("a part").to_string();
        assert!(problems.contains("belong together"), "{problems}");
    }
    let both = [&whole[..], &[("EGRET_ISSUER_PRINCIPAL_CLAIM", "user")]].concat();
    let problems = load(&both).expect_err("both").to_string();
    assert!(problems.contains("set one of the two"), "{problems}");
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
    let with = |listen: &str| sources(directory.path(), &[("EGRET_ADMIN_LISTEN", listen)]).load();
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
        let is_part = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        let is_key = |key: &str| key.bytes().all(is_part);
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
    for key in KEYS.iter().filter(|key| key.name.contains('.')) {
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

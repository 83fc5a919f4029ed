//! The house rules of the architecture page, read off the source: who may import whom, what the
//! pure rooms may not know, and what exists only once.

mod fuzzed;
mod source;

use std::collections::{BTreeMap, BTreeSet};

use source::{Source, relative, root, rust_files, sources};

/// The rooms in the order in which they build on each other, with the rooms each may import. A room
/// imports only rooms that stand before it, so there is no cycle.
const ROOMS: &[(&str, &[&str])] = &[
    ("clock", &[]),
    ("descriptors", &[]),
    ("files", &[]),
    ("measure", &[]),
    ("memory", &[]),
    ("secret", &["memory"]),
    ("error", &[]),
    ("policy", &[]),
    ("substitution", &["policy", "secret"]),
    ("scrub", &["secret", "substitution"]),
    // `scrub` for what would be found where it is no secret.
    ("services", &["policy", "scrub", "substitution"]),
    ("coding", &[]),
    ("websocket", &[]),
    // `secret` for the key that signs checkpoints.
    (
        "ledger",
        &[
            "clock",
            "error",
            // For whether the disk is full.
            "files",
            "measure",
            "policy",
            "secret",
            "substitution",
        ],
    ),
    (
        "vault",
        &[
            "clock",
            "error",
            "files",
            "memory",
            "policy",
            "secret",
            "substitution",
        ],
    ),
    (
        "import",
        &["policy", "secret", "services", "substitution", "vault"],
    ),
    ("backup", &["clock", "files", "ledger", "secret", "vault"]),
    // What commands changed, moved into the ledger.
    ("changes", &["error", "ledger", "vault"]),
    ("identity", &["clock", "error", "substitution", "vault"]),
    ("tls", &["files", "policy"]),
    // `ledger` for the names of its events.
    (
        "config",
        &["files", "ledger", "policy", "substitution", "vault"],
    ),
    // `tls` for a request of Egret's own.
    ("environment", &["config", "files", "policy", "tls"]),
    (
        "views",
        &["config", "ledger", "policy", "services", "vault"],
    ),
    ("desired", &["policy", "substitution", "vault", "views"]),
    // `scrub` for the filter of the log.
    ("observe", &["config", "memory", "scrub"]),
    (
        "proxy",
        &[
            "changes",
            "clock",
            "coding",
            "config",
            "error",
            // For the unnamed file of a spooled body.
            "files",
            "identity",
            "ledger",
            "measure",
            "observe",
            "policy",
            "scrub",
            "secret",
            // For what keys look like.
            "services",
            "substitution",
            "tls",
            "vault",
            "websocket",
        ],
    ),
    // Requests of Egret's own, which go the way of the proxy's.
    ("fetch", &["policy", "proxy", "tls"]),
    (
        "admin",
        &[
            "changes",
            "clock",
            "config",
            "desired",
            "error",
            "environment",
            "fetch",
            "identity",
            "import",
            "ledger",
            "measure",
            "policy",
            "proxy",
            "secret",
            "services",
            "substitution",
            "tls",
            "vault",
            "views",
        ],
    ),
    (
        "page",
        &[
            "admin",
            "clock",
            "environment",
            "error",
            "identity",
            "import",
            "ledger",
            "policy",
            // For which credentials upstreams refuse.
            "proxy",
            "secret",
            "services",
            "substitution",
            "vault",
        ],
    ),
    (
        "app",
        &[
            "admin",
            "changes",
            "clock",
            "config",
            "descriptors",
            "environment",
            "fetch",
            "files",
            "identity",
            "ledger",
            "memory",
            "observe",
            "page",
            "policy",
            "proxy",
            "secret",
            "tls",
            "vault",
        ],
    ),
    (
        "cli",
        &[
            // For the address of a one-time link.
            "admin",
            "app",
            "backup",
            "changes",
            "clock",
            "config",
            "descriptors",
            "desired",
            "environment",
            "error",
            "fetch",
            "files",
            "identity",
            "import",
            "ledger",
            "memory",
            "observe",
            "policy",
            "proxy",
            "scrub",
            "secret",
            "services",
            "substitution",
            "tls",
            "vault",
            "views",
        ],
    ),
];

/// Parts that know bytes and nothing of the world they come from.
const PURE: &[&str] = &[
    "src/substitution/",
    "src/scrub/",
    "src/policy/",
    "src/services/",
    "src/import/",
    "src/websocket/",
    "src/ledger/format/",
    "src/ledger/verify/checker.rs",
    "src/ledger/verify/flaw.rs",
    "src/ledger/export.rs",
    "src/ledger/usage/hours.rs",
    "src/ledger/usage/tally.rs",
];

/// What a pure part may not say.
const IMPURE: &[&str] = &[
    "tokio",
    "hyper",
    "hyper_util",
    "http",
    "http_body",
    "sqlx",
    "rustls",
    "rustix",
    "tracing",
    "std::fs",
    "std::net::TcpStream",
    "std::net::TcpListener",
    "std::net::UdpSocket",
    "std::net::ToSocketAddrs",
    "std::os",
    "std::env",
    "std::process",
    "std::thread",
    "std::time::SystemTime",
    "std::time::Instant",
    "time::OffsetDateTime::now_utc",
];

/// Words that stand in the named places only, and why.
const ONLY_IN: &[(&str, &[&str], &str)] = &[
    (
        "application/problem+json",
        &[
            "src/proxy/response/forms.rs",
            "src/proxy/response/problem.rs",
            "src/admin/problem.rs",
        ],
        "each listener has one error responder",
    ),
    (
        "\"keep-alive\"",
        &["src/policy/location.rs"],
        "there is one list of hop-by-hop headers",
    ),
    (
        "header_role(",
        &[
            "src/policy/location.rs",
            "src/proxy/exchange/leak_guard.rs",
            "src/proxy/exchange/hop_by_hop.rs",
            "src/proxy/exchange/occurrences.rs",
        ],
        "a header's role is asked where requests are searched and where headers are stripped",
    ),
    (
        "splice(",
        &["src/substitution/", "src/proxy/exchange/occurrences.rs"],
        "there is one splice, called in one place",
    ),
    (
        "may_contain(",
        &["src/substitution/", "src/proxy/exchange/occurrences.rs"],
        "there is one search for placeholders",
    ),
    (
        "find::in_",
        &["src/substitution/", "src/proxy/exchange/occurrences.rs"],
        "there is one search for placeholders",
    ),
    (
        "sqlx",
        &["src/vault/store/sqlite/", "src/ledger/usage/"],
        "a second store must be able to stand beside this one",
    ),
    (
        "sqlite::",
        &[
            "src/vault/store/sqlite/",
            "src/vault/store/backend.rs",
            "src/vault/store/url.rs",
            "src/ledger/usage/",
        ],
        "which database it is, is known to the store alone",
    ),
    (
        "send_request(",
        &[
            "src/proxy/outbound/upstream.rs",
            "src/proxy/outbound/h1_pool.rs",
            // To the operator's own webhook and collectors, with what the ledger says, which holds no value.
            "src/app/endpoint.rs",
            // The admin side holds nothing that opens a value, and a command sends one that is just being
            // saved to the API.
            "src/fetch.rs",
        ],
        "there is one way out",
    ),
];

#[test]
fn every_file_stands_in_a_known_room() {
    for source in sources() {
        let known = ROOMS.iter().any(|(room, _)| *room == source.room());
        let entrance = ["src/lib.rs", "src/main.rs"].contains(&source.path.as_str());
        assert!(
            known || entrance,
            "{}: give its room a line in this test",
            source.path
        );
    }
}

#[test]
fn rooms_build_on_each_other_without_cycles() {
    for (at, (room, imports)) in ROOMS.iter().enumerate() {
        for import in *imports {
            let before = ROOMS[..at].iter().any(|(earlier, _)| earlier == import);
            assert!(
                before,
                "{room} may import {import}, which does not stand before it"
            );
        }
    }
}

#[test]
fn rooms_import_only_what_they_may() {
    let mut broken = Vec::new();
    for source in sources() {
        let Some((_, allowed)) = ROOMS.iter().find(|(room, _)| *room == source.room()) else {
            continue;
        };
        for import in source.imported_rooms() {
            if !allowed.contains(&import.as_str()) {
                broken.push(format!("{} imports {import}", source.path));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// The wings of the proxy in the order in which they build on each other: each imports only from
/// those before it. `context` is a file between them: what every request needs.
const WINGS: &[&str] = &[
    "runtime",
    "exchange",
    "outbound",
    "response",
    "context",
    "websocket",
    "inbound",
];

#[test]
fn the_wings_of_the_proxy_build_on_each_other() {
    let wing = |module: &str| {
        let inside = module.strip_prefix("proxy::")?;
        let name = inside.split("::").next()?;
        WINGS.iter().position(|wing| *wing == name)
    };
    let graph = modules();
    let mut broken = Vec::new();
    for (module, imports) in &graph {
        if !module.starts_with("proxy::") {
            continue;
        }
        let own = wing(module).unwrap_or_else(|| panic!("{module} is in no wing"));
        for import in imports {
            if wing(import).is_some_and(|other| other > own) {
                broken.push(format!("{module} imports {import}, which is above it"));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// Prints the modules, each below all that it imports (`cargo test no_circle -- --nocapture`).
#[test]
fn there_is_no_circle_among_modules() {
    let mut graph = modules();
    let circles_found = circles(&graph);
    assert!(
        circles_found.is_empty(),
        "a circle of modules: {circles_found:#?}"
    );
    let mut printed = BTreeSet::new();
    while !graph.is_empty() {
        let is_free = |(_, imports): &(&String, &BTreeSet<String>)| {
            imports.iter().all(|import| printed.contains(import))
        };
        let free: Vec<String> = graph
            .iter()
            .filter(is_free)
            .map(|(m, _)| m.clone())
            .collect();
        assert!(
            !free.is_empty(),
            "a circle of modules: {:#?}",
            circles(&graph)
        );
        for module in free {
            let imports = graph.remove(&module).unwrap_or_default();
            let imports: Vec<&str> = imports.iter().map(String::as_str).collect();
            println!("{module} -> {}", imports.join(" "));
            printed.insert(module);
        }
    }
    assert!(printed.len() > 200, "the modules were not found");
}

/// The modules that can be reached from themselves, with those of them that they import.
fn circles(graph: &BTreeMap<String, BTreeSet<String>>) -> BTreeMap<&str, Vec<&str>> {
    let reached_from = |start: &String| {
        let mut reached = BTreeSet::new();
        let mut next: Vec<&String> = graph[start].iter().collect();
        while let Some(module) = next.pop() {
            if reached.insert(module) {
                next.extend(graph.get(module).into_iter().flatten());
            }
        }
        reached
    };
    let all = graph.iter().filter_map(|(module, imports)| {
        let reached = reached_from(module);
        let inside =
            |import: &&String| graph.contains_key(*import) && reached_from(import).contains(module);
        let inside = imports.iter().filter(inside).map(String::as_str);
        reached
            .contains(module)
            .then(|| (module.as_str(), inside.collect()))
    });
    all.collect()
}

/// Every module of the program with those it imports.
fn modules() -> BTreeMap<String, BTreeSet<String>> {
    let sources = sources();
    let named = sources.iter().map(Source::module_name);
    let all: BTreeSet<String> = named.filter(|name| !name.is_empty()).collect();
    let inside = sources.iter().filter(|s| !s.module_name().is_empty());
    inside
        .map(|source| (source.module_name(), source.imported_modules(&all)))
        .collect()
}

#[test]
fn the_pure_parts_know_no_world() {
    let mut broken = Vec::new();
    for source in sources() {
        if !PURE.iter().any(|pure| source.path.starts_with(pure)) {
            continue;
        }
        for path in source.paths() {
            let impure = IMPURE
                .iter()
                .find(|word| path == **word || path.starts_with(&format!("{word}::")));
            if let Some(word) = impure {
                broken.push(format!("{} names {word}", source.path));
            }
        }
        for call in [
            "SystemTime::now",
            "Instant::now",
            "now_utc",
            "File::open",
            "async fn",
        ] {
            if source.code.contains(call) {
                broken.push(format!("{} says {call}", source.path));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn the_store_moves_sealed_bytes_and_cannot_open_them() {
    for source in sources()
        .iter()
        .filter(|s| s.path.starts_with("src/vault/store/"))
    {
        for path in source.paths() {
            let forbidden = [
                "crate::secret",
                "crate::vault::keyring",
                "crate::vault::cache",
                "aws_lc_rs",
            ];
            assert!(
                !forbidden.iter().any(|f| path.starts_with(f)),
                "{} names {path}",
                source.path
            );
            if let Some(item) = path.strip_prefix("crate::vault::seal::") {
                let is_data = ["Sealed", "SealError", "KeyId"]
                    .iter()
                    .any(|data| item.starts_with(data));
                assert!(is_data, "{} names {path}", source.path);
            }
        }
    }
}

/// What the admin side and the pages may name of the rooms that reach values and keys: types whose methods cannot
/// open, find or write. Anything else of those rooms could.
const ADMINS: &[(&str, &[&str])] = &[
    (
        "crate::vault",
        &[
            "approval",
            "cache::EgressRoute",
            "egress",
            "key_request",
            "access",
            "Actor",
            "cache::explain::Standing",
            // Its proof is a hash or a public key.
            "Client",
            "client_proof",
            "CallerName",
            "ClientName",
            "Credential",
            "GroupName",
            // It seals values again for another owner, and gives none out.
            "handover::HandoverError",
            "handover::Handovers",
            "Kind",
            "ListOrder",
            "ListPart",
            "ListPlace",
            "model",
            "name",
            "NewCredential",
            "people",
            "Principal",
            "readable",
            "Reader",
            "record",
            "Registrar",
            "registrar",
            "rights",
            "rotation",
            "sharing",
            "Sight",
            "State",
            "store::Condition",
            "store::ObjectName",
            "StoreError",
            "StoreProbe",
            "StoreUnavailable",
            "token_id",
        ],
    ),
    // `Identity` would hold a vault. A `Minter` signs for a client that shows its own token alone.
    (
        "crate::identity",
        &[
            "ActionRequest",
            "Bearer",
            "ClientToken",
            "InvalidRequest",
            "KeySet",
            "MintError",
            "Minted",
            "Minter",
            "personal",
            "PersonalToken",
            "ProvenClient",
            "Purpose",
            "hash_of",
            "Unverified",
        ],
    ),
    (
        "crate::proxy",
        &[
            // It knows names, and what was answered.
            "exchange::health::CredentialHealth",
            // It connects, with a login that it does not show.
            // What reads the heads of requests before the library does.
            "inbound::agreement",
            "inbound::head_guard",
            "outbound::way",
            "runtime::counters",
            "runtime::limits",
            "runtime::measures",
            "runtime::origin",
            "runtime::signal",
        ],
    ),
    (
        "crate::ledger",
        &[
            "CURRENT",
            "background_check",
            "export::csv_text",
            "format",
            "LedgerProbe",
            "own_keys",
            "proof",
            "reader",
            "Record",
            "RecordRef",
            "Snapshot",
            "stats",
            "Timestamp",
            "usage",
            "verify::Ask",
            "went",
            "window",
        ],
    ),
];

#[test]
fn the_admin_side_holds_nothing_that_can_open_a_value() {
    let sources = sources();
    let is_admins = |path: &str| path.starts_with("src/admin/") || path.starts_with("src/page/");
    let admin = sources.iter().filter(|s| is_admins(&s.path));
    let mut named = 0;
    for source in admin {
        for path in source.paths() {
            let room = ADMINS.iter().find_map(|(room, may)| {
                let inside = path.strip_prefix(room)?;
                (inside.is_empty() || inside.starts_with("::")).then_some((inside, may))
            });
            let Some((inside, may)) = room else { continue };
            let item = inside.trim_start_matches("::");
            let allowed = may
                .iter()
                .any(|item_of| item == *item_of || item.starts_with(&format!("{item_of}::")));
            assert!(allowed, "{} names {path}", source.path);
            named += 1;
        }
    }
    assert!(named >= 3, "the admin side's state was not found");
}

/// What the checker of the ledger may know of it: the definitions of the format, and what reads.
const CHECKERS_LEDGER: &[&str] = &["cosigned", "format", "history", "layout", "lines", "verify"];

#[test]
fn the_checker_of_the_ledger_shares_nothing_with_its_writer() {
    let is_checkers = |path: &str| {
        let mut own = ["verify/", "proof", "history", "lines", "cosigned"].iter();
        own.any(|own| path.starts_with(&format!("src/ledger/{own}")))
    };
    let sources = sources();
    let checkers: Vec<&Source> = sources.iter().filter(|s| is_checkers(&s.path)).collect();
    assert!(checkers.len() >= 8, "the checker was not found");
    for source in checkers {
        for path in source.paths() {
            let Some(inside) = path.strip_prefix("crate::ledger::") else {
                continue;
            };
            let part = inside.split("::").next().unwrap_or_default();
            let may = CHECKERS_LEDGER.contains(&part);
            assert!(may, "{} names {path}", source.path);
        }
    }
    // Nor do the definitions know the writer.
    let is_definition =
        |s: &&Source| s.path.starts_with("src/ledger/format/") || s.path == "src/ledger/layout.rs";
    let definitions: Vec<&Source> = sources.iter().filter(is_definition).collect();
    assert!(definitions.len() >= 6, "the definitions were not found");
    for source in definitions {
        for path in source.paths() {
            let inside = path.strip_prefix("crate::ledger::");
            let may = inside.is_none_or(|inside| inside.starts_with("format::"));
            assert!(may, "{} names {path}", source.path);
        }
    }
}

#[test]
fn a_value_is_opened_in_one_place_and_exposed_in_few() {
    let opened_in = |s: &&Source| {
        [".open_value(", ".open_all("]
            .iter()
            .any(|word| s.code.contains(word))
    };
    let openers: Vec<String> = sources()
        .iter()
        .filter(opened_in)
        .map(|s| s.path.clone())
        .collect();
    // The commands, to compare values with what is in files and in the environment.
    let allowed = [
        "src/proxy/",
        "src/cli/run",
        "src/cli/usable.rs",
        "src/vault/",
    ];
    let stray: Vec<&String> = openers
        .iter()
        .filter(|o| !allowed.iter().any(|a| o.starts_with(a)))
        .collect();
    assert!(stray.is_empty(), "{stray:?} open values");
    let proxy: Vec<&String> = openers
        .iter()
        .filter(|o| o.starts_with("src/proxy/"))
        .collect();
    // To put them into a request, to look for them in the answer, and to log in at a parent proxy.
    assert_eq!(
        proxy,
        [
            "src/proxy/exchange/needle_cache.rs",
            "src/proxy/exchange/uses.rs",
            "src/proxy/outbound/parent/login.rs",
        ]
    );
    for source in sources() {
        // What looks for values in an answer has to know them, and so has a login; nothing else on the
        // way does.
        let knowing = [
            "src/proxy/response/scrubbing.rs",
            "src/proxy/outbound/parent/login.rs",
        ];
        let may = !source.path.starts_with("src/proxy/") || knowing.contains(&&*source.path);
        assert!(
            may || !source.code.contains(".expose()"),
            "{} exposes a value",
            source.path
        );
    }
}

#[test]
fn what_the_compiler_cannot_check_stands_in_one_file() {
    for source in sources() {
        let home = source.path == "src/memory/pages.rs";
        let unchecked =
            source.code.contains("unsafe {") || source.code.contains("allow(unsafe_code)");
        assert_eq!(unchecked, home, "unsafe code in {}", source.path);
    }
}

#[test]
fn there_is_one_of_each() {
    let sources = sources();
    for (word, places, why) in ONLY_IN {
        let at_home = sources
            .iter()
            .any(|s| places.iter().any(|p| s.path.starts_with(p)) && s.code.contains(word));
        assert!(
            at_home,
            "{word} stands nowhere any more: this rule guards nothing"
        );
        for source in &sources {
            let allowed = places.iter().any(|place| source.path.starts_with(place));
            assert!(
                allowed || !source.code.contains(word),
                "{} says {word}, but {why}",
                source.path
            );
        }
    }
}

#[test]
fn files_stay_of_a_size_that_can_be_read() {
    let mut files = Vec::new();
    rust_files(&root().join("src"), &mut files);
    let mut long = Vec::new();
    for file in files {
        let lines = std::fs::read_to_string(&file)
            .expect("a source file")
            .lines()
            .count();
        if lines > 700 {
            long.push(format!("{} has {lines} lines", relative(&file)));
        }
    }
    assert!(long.is_empty(), "{}", long.join("\n"));
}

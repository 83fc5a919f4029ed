//! `--server`: commands about a server elsewhere, over its API.

use std::path::Path;

use serde_json::{Value, json};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::client::Api;
use crate::client::{Wanted, basic};
use crate::leak::{assert_absent, forms};
use crate::pki::{Flaw, Pki};
use crate::within;
use crate::world::{EGRET, HOST, Output, World, finish, one_upstream};

/// A machine with nothing of Egret on it but the binary, and a user's token.
pub(super) struct Laptop {
    home: tempfile::TempDir,
    server: String,
    token: String,
}

impl Laptop {
    fn new(server: &str, token: &str) -> Self {
        Self {
            home: tempfile::tempdir().expect("a directory"),
            server: server.to_owned(),
            token: token.to_owned(),
        }
    }

    pub(super) async fn of(world: &World, user: &str, scope: &str) -> Self {
        let token = Api::of(world, user, scope).await.token.expect("a token");
        Self::new(&format!("http://{}", world.admin), &token)
    }

    fn command(&self, args: &[&str]) -> tokio::process::Command {
        self.program(EGRET, args)
    }

    /// A script of a shell.
    pub(super) fn shell(&self, script: &str) -> tokio::process::Command {
        self.program("sh", &["-c", script])
    }

    fn program(&self, program: &str, args: &[&str]) -> tokio::process::Command {
        let mut command = tokio::process::Command::new(program);
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.home.path())
            .env("EGRET_SERVER", &self.server)
            .env("EGRET_API_TOKEN", &self.token)
            .args(args)
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .kill_on_drop(true);
        command
    }

    pub(super) async fn run_with(&self, args: &[&str], stdin: &[u8]) -> Output {
        finish(self.command(args), stdin).await
    }

    pub(super) async fn run(&self, args: &[&str]) -> Output {
        self.run_with(args, b"").await
    }

    /// Whether a command has made a data directory here.
    pub(super) fn has_a_store(&self) -> bool {
        fn files(directory: &Path) -> usize {
            let entries = std::fs::read_dir(directory).expect("a directory").flatten();
            entries
                .map(|entry| match entry.path().is_dir() {
                    true => files(&entry.path()),
                    false => 1,
                })
                .sum()
        }
        files(self.home.path()) > 0
    }
}

/// A server with alice, who is a member, and an administrator.
pub(super) async fn served() -> (World, crate::upstream::Stub) {
    let (world, stub) = one_upstream().await;
    world.run(&["user", "add", "alice"]).await.ok();
    world.run(&["user", "add", "bob"]).await.ok();
    let administrator = ["user", "add", "root", "--role", "administrator"];
    world.run(&administrator).await.ok();
    (world, stub)
}

const VALUE: &str = "the-v4lue/of-alice+elsewhere";

#[tokio::test]
async fn a_credential_is_saved_used_and_looked_at_from_elsewhere() {
    let (world, stub) = served().await;
    let alice = Laptop::of(&world, "alice", "manage").await;
    let add = [
        "credential",
        "add",
        "key",
        "--host",
        HOST,
        "--method",
        "GET",
        "--json",
    ];
    let saved = alice.run_with(&add, format!("{VALUE}\n").as_bytes()).await;
    let view = json!({"owner": "alice", "slug": "key", "version": 1});
    assert_eq!(saved.json(), view);
    let again = alice.run_with(&add, b"another\n").await;
    assert_eq!(again.status.code(), Some(1), "{again:#?}");
    assert!(again.stderr.contains("conflicts"), "{}", again.stderr);

    let made = alice
        .run(&["client", "add", "laptop", "--json"])
        .await
        .json();
    assert_eq!(made["principal"], "alice");
    let token = made["token"].as_str().expect("a token").to_owned();
    let wanted = Wanted::new(&world).authorized(basic("report", &token));
    let mut tunnel = world.tunnel_for(&wanted).await;
    let answer = tunnel.get("/x", &["X-Api-Key: <<key>>"]).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(stub.take_one().header("x-api-key").as_deref(), Some(VALUE));

    // What is shown there is what the host shows, and it is never the value.
    let shown = alice.run(&["credential", "show", "key", "--json"]).await;
    let here = ["credential", "show", "key", "--owner", "alice", "--json"];
    let (mut there, mut here) = (shown.json(), world.run(&here).await.json());
    for view in [&mut there, &mut here] {
        view.as_object_mut().expect("a view").remove("last_used");
    }
    assert_eq!(there, here);
    let listed = alice.run(&["credential", "list"]).await.ok();
    assert!(
        listed.contains("key") && listed.contains("alice"),
        "{listed}"
    );
    let explained = alice.run(&["credential", "explain", "key"]).await.ok();
    assert!(
        explained.contains("key of alice (own): used"),
        "{explained}"
    );

    let rotated = ["credential", "rotate", "key", "--rollback", "--json"];
    let rotated = alice.run_with(&rotated, b"the second one\n").await.json();
    assert_eq!(rotated["version"], 2);
    let back = alice.run(&["credential", "rollback", "key"]).await.ok();
    assert!(back.contains("version 1"), "{back}");
    let staged = ["credential", "rotate", "key", "--stage"];
    let staged = alice.run_with(&staged, b"the third one\n").await.ok();
    assert!(
        staged.contains("version 3 is saved and not used"),
        "{staged}"
    );
    let promoted = alice.run(&["credential", "promote", "key"]).await.ok();
    assert!(promoted.contains("version 3"), "{promoted}");

    let allow = [
        "credential",
        "allow",
        "key",
        "--method",
        "GET,POST",
        "--max-uses",
        "9/h",
    ];
    let allowed = alice.run(&allow).await.ok();
    assert!(
        allowed.contains("GET, POST") && allowed.contains("(was: GET)") && allowed.contains("9/h"),
        "{allowed}"
    );
    let nothing = alice.run(&allow).await.ok();
    assert!(nothing.contains("nothing was changed"), "{nothing}");
    let due = [
        "credential",
        "allow",
        "key",
        "--rotate-every",
        "90d",
        "--json",
    ];
    assert_eq!(alice.run(&due).await.json()["changed"], true);

    for (args, changed) in [
        (&["credential", "revoke", "key", "--json"][..], true),
        (&["credential", "revoke", "key", "--json"], false),
        (&["credential", "restore", "key", "--json"], true),
        (
            &["credential", "share", "key", "--with", "bob", "--json"],
            true,
        ),
        (
            &["credential", "share", "key", "--with", "bob", "--json"],
            false,
        ),
        (
            &["credential", "unshare", "key", "--with", "bob", "--json"],
            true,
        ),
        (&["credential", "delete", "key", "--json"], true),
    ] {
        let answer = alice.run(args).await.json();
        assert_eq!(
            answer,
            json!({"changed": changed, "slug": "key"}),
            "{args:?}"
        );
    }
    let gone = alice.run(&["credential", "show", "key"]).await;
    assert_eq!(gone.status.code(), Some(1));
    assert!(gone.stderr.contains("no such thing"), "{}", gone.stderr);
    let usage = alice.run(&["credential", "usage", "key"]).await.ok();
    assert!(usage.contains("used once"), "{usage}");

    assert!(!alice.has_a_store(), "a command worked here");
    let forms = forms(VALUE.as_bytes());
    assert_absent("the log", &world.log_bytes(), &forms);
    assert_absent("the ledger", &world.ledger_bytes(), &forms);
    let line = world
        .ledger_line("the deletion", |line| line["event"] == "credential.deleted")
        .await;
    assert_eq!(line["action"], "api:alice");
}

#[tokio::test]
async fn what_brings_a_credential_into_requests_by_itself_is_made_from_elsewhere() {
    let (world, _stub) = served().await;
    let alice = Laptop::of(&world, "alice", "manage").await;
    let add = ["credential", "add", "pat", "--service", "github"];
    alice.run_with(&add, b"ghp_0123456789\n").await.ok();
    let attach = [
        "credential",
        "attach",
        "pat",
        "--host",
        "api.github.com",
        "--header",
        "Authorization: Bearer <<pat>>",
        "--json",
    ];
    let first = alice.run(&attach).await.json();
    assert_eq!(first, json!({"changed": true, "slug": "pat", "number": 1}));
    let again = alice.run(&attach).await.json();
    assert_eq!(again, json!({"changed": false, "slug": "pat", "number": 1}));
    let shown = alice.run(&["credential", "show", "pat"]).await.ok();
    assert!(
        shown.contains("1. authorization: Bearer <<pat>>"),
        "{shown}"
    );
    let none = [
        "credential",
        "attach",
        "pat",
        "--host",
        "api.github.com",
        "--header",
        "X: y",
    ];
    let none = alice.run(&none).await;
    assert!(none.stderr.contains("placeholder"), "{}", none.stderr);
    let detach = ["credential", "detach", "pat", "--all", "--json"];
    assert_eq!(alice.run(&detach).await.json()["changed"], true);
    assert_eq!(alice.run(&detach).await.json()["changed"], false);

    let made = alice.run(&["credential", "stand-in", "pat"]).await.ok();
    let text = made.trim();
    assert!(text.contains("EGRET"), "{text}");
    let same = alice.run(&["credential", "stand-in", "pat"]).await.ok();
    assert_eq!(same.trim(), text, "asked again, it is the same");
    let other = alice
        .run(&["credential", "stand-in", "pat", "--new"])
        .await
        .ok();
    assert_ne!(other.trim(), text);
    let revoke = ["credential", "stand-in", "pat", "--revoke", text, "--json"];
    assert_eq!(alice.run(&revoke).await.json()["changed"], true);
    let strange = [
        "credential",
        "stand-in",
        "pat",
        "--revoke",
        "../../users/root",
    ];
    assert_eq!(alice.run(&strange).await.status.code(), Some(1));
}

#[tokio::test]
async fn an_administrator_manages_people_rules_and_files_from_elsewhere() {
    let (world, _stub) = served().await;
    let root = Laptop::of(&world, "root", "manage").await;
    let alice = Laptop::of(&world, "alice", "manage").await;
    let changed = |name: &str| json!({"changed": true, "name": name});
    for (args, name) in [
        (
            &["user", "add", "carol", "--role", "auditor", "--json"][..],
            "carol",
        ),
        (
            &[
                "user",
                "change",
                "carol",
                "--display-name",
                "Carol",
                "--json",
            ],
            "carol",
        ),
        (&["user", "disable", "carol", "--json"], "carol"),
        (&["user", "enable", "carol", "--json"], "carol"),
        (
            &["group", "add", "ops", "--description", "On call", "--json"],
            "ops",
        ),
        (&["group", "join", "ops", "bob", "--json"], "ops"),
        (&["group", "leave", "ops", "bob", "--json"], "ops"),
    ] {
        assert_eq!(root.run(args).await.json(), changed(name), "{args:?}");
    }
    let again = ["group", "leave", "ops", "bob", "--json"];
    assert_eq!(root.run(&again).await.json()["changed"], false);
    let add = ["credential", "add", "key", "--host", HOST];
    alice.run_with(&add, b"v\n").await.ok();
    for (args, name) in [
        (&["bundle", "add", "work", "--json"][..], "work"),
        (
            &["bundle", "put", "work", "key", "--as", "k", "--json"],
            "work",
        ),
        (
            &["bundle", "share", "work", "--with", "group:ops", "--json"],
            "work",
        ),
        (
            &["bundle", "unshare", "work", "--with", "group:ops", "--json"],
            "work",
        ),
        (&["bundle", "take", "work", "k", "--json"], "work"),
    ] {
        assert_eq!(alice.run(args).await.json(), changed(name), "{args:?}");
    }
    alice.run(&["client", "add", "ci"]).await.ok();
    assert_eq!(
        alice
            .run(&["bundle", "bind", "ci", "work", "--json"])
            .await
            .json(),
        changed("ci")
    );
    let revoke = ["token", "revoke", "--all", "--client", "ci", "--json"];
    assert_eq!(alice.run(&revoke).await.json(), changed("ci"));
    // Lists are those of the host, for somebody who sees everything.
    for list in [
        &["user", "list", "--json"][..],
        &["group", "list", "--json"],
        &["bundle", "list", "--json"],
        &["credential", "list", "--all", "--json"],
    ] {
        let here = world.run(list).await.json();
        assert_eq!(root.run(list).await.json(), here, "{list:?}");
    }
    let clients = root.run(&["client", "list", "--json"]).await.json();
    assert_eq!(clients[0]["name"], "ci");
    let tokens = alice.run(&["api-token", "list", "--json"]).await.json();
    assert_eq!(tokens[0]["scope"], "manage");

    let rule = root
        .run(&["egress", "deny", "--client", "ci", "--json"])
        .await
        .json();
    let number = rule["number"].to_string();
    let check = [
        "egress",
        "check",
        "https://a.test/x",
        "--client",
        "ci",
        "--json",
    ];
    let decided = json!({"decision": "deny", "by": format!("rule {number}")});
    assert_eq!(root.run(&check).await.json(), decided);
    assert_eq!(
        alice.run(&check).await.json(),
        decided,
        "of a client of hers"
    );
    let listed = root.run(&["egress", "list", "--json"]).await.json();
    assert_eq!(
        listed,
        world.run(&["egress", "list", "--json"]).await.json()
    );
    root.run(&["egress", "remove", &number]).await.ok();
    assert_eq!(root.run(&check).await.json()["decision"], "allow");

    let file = "[users.dora]\n[[rules.'client:ci']]\nrule = 'deny'\n[[rules.'client:ci']]\n\
                rule = 'allow'\nhosts = ['a.test']\n";
    let plan = root
        .run_with(&["plan", "-", "--json"], file.as_bytes())
        .await
        .json();
    assert_eq!(plan["steps"].as_array().map(Vec::len), Some(3), "{plan}");
    root.run_with(&["apply", "-"], file.as_bytes()).await.ok();
    assert_eq!(root.run(&check).await.json()["decision"], "allow");
    let exported = root.run(&["export"]).await.ok();
    assert_eq!(exported, world.run(&["export"]).await.ok());
    let again = root
        .run_with(&["plan", "-"], exported.as_bytes())
        .await
        .ok();
    assert!(again.contains("Everything is as the file says"), "{again}");
    let refused = alice.run_with(&["apply", "-"], file.as_bytes()).await;
    assert!(
        refused.stderr.contains("may not do this"),
        "{}",
        refused.stderr
    );
    assert!(!root.has_a_store() && !alice.has_a_store());
}

#[tokio::test]
async fn the_usage_record_is_read_and_proven_from_elsewhere() {
    let (world, _stub) = served().await;
    let root = Laptop::of(&world, "root", "audit").await;
    let alice = Laptop::of(&world, "alice", "audit").await;
    let save = [
        "credential",
        "add",
        "key",
        "--owner",
        "alice",
        "--host",
        HOST,
    ];
    world.run_with(&save, b"v\n").await.ok();
    world
        .ledger_line("the credential", |line| {
            line["event"] == "credential.created" && line["slug"] == "key"
        })
        .await;
    let tail = ["ledger", "tail", "--json"];
    let lines = |text: &str| -> Vec<Value> {
        let lines = text.lines();
        lines
            .map(|line| serde_json::from_str(line).expect("a line"))
            .collect()
    };
    let all = lines(&root.run(&tail).await.ok());
    let here = lines(&world.run(&tail).await.ok());
    assert_eq!(all[..], here[..all.len()], "the lines of the host");
    assert!(all.len() >= 4, "{all:#?}");
    let last = ["ledger", "tail", "--json", "-n", "2"];
    let last = lines(&root.run(&last).await.ok());
    assert_eq!(last.len(), 2);
    assert!(last[0]["seq"].as_u64() < last[1]["seq"].as_u64());
    let created = [
        "ledger",
        "tail",
        "--json",
        "--event",
        "credential",
        "--slug",
        "key",
    ];
    let created = lines(&alice.run(&created).await.ok());
    assert_eq!(created.len(), 1, "{created:#?}");
    let seq = created[0]["seq"].to_string();

    let key = root.run(&["ledger", "checkpoint", "--key"]).await.ok();
    assert_eq!(
        key,
        world.run(&["ledger", "checkpoint", "--key"]).await.ok()
    );
    // A checkpoint comes within seconds.
    let proof = async {
        loop {
            let proof = alice.run(&["ledger", "prove", &seq]).await;
            if proof.status.success() {
                return proof.stdout;
            }
            assert!(
                proof.stderr.contains("No checkpoint covers"),
                "{}",
                proof.stderr
            );
            tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        }
    };
    let proof = within("a proof", proof).await;
    let path = alice.home.path().join("line.proof");
    std::fs::write(&path, proof).expect("write");
    let path = path.to_str().expect("a path");
    let check = ["ledger", "verify-proof", path, "--public-key", key.trim()];
    let proven = alice.run(&check).await.ok();
    assert!(proven.contains("credential.created"), "{proven}");
    // What is no business of alice's is not there.
    let other = all
        .iter()
        .find(|line| line["principal"] == "bob")
        .expect("a line about bob");
    let other = alice
        .run(&["ledger", "prove", &other["seq"].to_string()])
        .await;
    assert!(other.stderr.contains("no such thing"), "{}", other.stderr);
    let mut follow = alice.command(&["ledger", "tail", "-f", "--json", "-n", "0"]);
    let mut followed = follow.spawn().expect("start");
    let stdout = followed.stdout.take().expect("its output");
    let mut reader = tokio::io::BufReader::new(stdout);
    // The one line that alice sees comes although others come before it.
    world.run(&["user", "add", "erin"]).await.ok();
    let read = async {
        use tokio::io::AsyncBufReadExt as _;
        let mut line = String::new();
        let mut number = 0;
        loop {
            let slug = format!("followed-{number}");
            number += 1;
            let save = [
                "credential",
                "add",
                &slug,
                "--owner",
                "alice",
                "--host",
                HOST,
            ];
            world.run_with(&save, b"v\n").await.ok();
            let next = reader.read_line(&mut line);
            let next = tokio::time::timeout(std::time::Duration::from_secs(2), next).await;
            if next.is_ok_and(|read| read.is_ok_and(|count| count > 0)) {
                return line;
            }
        }
    };
    let line = within("a line that is followed", read).await;
    let line: Value = serde_json::from_str(&line).expect("a line");
    assert_eq!(line["event"], "credential.created", "{line}");
    followed.kill().await.expect("end it");
}

#[tokio::test]
async fn a_server_is_named_whole_and_the_token_is_in_no_argument() {
    let (world, _stub) = served().await;
    let alice = Laptop::of(&world, "alice", "manage").await;
    let failed = |output: &Output, code: i32, part: &str| {
        assert_eq!(output.status.code(), Some(code), "{output:#?}");
        assert!(output.stderr.contains(part), "{part}: {}", output.stderr);
        assert!(!output.stderr.contains(&alice.token), "{}", output.stderr);
    };
    let list = ["credential", "list"];
    for (server, code, part) in [
        ("egret.internal", 2, "write the server's URL"),
        (
            "https://u:hunter2@egret.internal",
            2,
            "write the server's URL",
        ),
        ("https://egret.internal/x", 2, "write the server's URL"),
        ("http://192.0.2.1:7071", 1, "no URL that can be fetched"),
        ("http://127.0.0.1:1", 1, "cannot be reached"),
    ] {
        let output = alice.run(&["credential", "list", "--server", server]).await;
        failed(&output, code, part);
        assert!(!output.stderr.contains("hunter2"));
    }
    let mut none = alice.command(&list);
    none.env_remove("EGRET_API_TOKEN");
    failed(&finish(none, b"").await, 2, "EGRET_API_TOKEN");
    for (token, code, part) in [
        (
            "egp_0123456789abcdef.unknown",
            1,
            "The API token is unknown",
        ),
        ("ghp_somethingelse", 2, "begin with egp_"),
        ("egp_a\nb", 2, "begin with egp_"),
    ] {
        let mut wrong = alice.command(&list);
        wrong.env("EGRET_API_TOKEN", token);
        let output = finish(wrong, b"").await;
        failed(&output, code, part);
        assert!(!output.stderr.contains("somethingelse"));
    }
    let file = alice.home.path().join("token");
    std::fs::write(&file, format!("{}\n", alice.token)).expect("write");
    let file = file.to_str().expect("a path");
    for (name, args) in [
        ("EGRET_API_TOKEN_FILE", &["user", "list"][..]),
        ("UNUSED", &["user", "list", "--token-file", file]),
    ] {
        let mut command = alice.command(args);
        command.env_remove("EGRET_API_TOKEN").env(name, file);
        finish(command, b"").await.ok();
    }
    std::fs::remove_file(file).expect("remove");
    assert!(!alice.has_a_store());
}

/// With it a program could change what it may do.
#[tokio::test]
async fn a_program_that_is_run_gets_no_api_token() {
    let (world, _stub) = served().await;
    let token = Api::of(&world, "alice", "manage")
        .await
        .token
        .expect("a token");
    let shell = "echo \"${EGRET_API_TOKEN-none} ${COPY-none}\"";
    let mut command = world.command(&["run", "--", "sh", "-c", shell]);
    command
        .env("EGRET_API_TOKEN", &token)
        .env("COPY", format!("x{token}"));
    let output = finish(command, b"").await;
    assert!(output.stderr.contains("COPY") && !output.stderr.contains(&token));
    assert_eq!(output.ok(), "none none\n");
}

/// TLS in front of the admin listener, as a reverse proxy is.
async fn behind_tls(world: &World, pki: &Pki) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let acceptor = TlsAcceptor::from(pki.server_config(&["localhost"], Flaw::None));
    let admin = world.admin;
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let mut server = TcpStream::connect(admin).await?;
                let mut client = acceptor.accept(client).await?;
                copy_bidirectional(&mut client, &mut server).await
            });
        }
    });
    port
}

#[tokio::test]
async fn a_server_proves_who_it_is_before_it_gets_the_token() {
    let (world, _stub) = served().await;
    let token = Api::of(&world, "alice", "manage")
        .await
        .token
        .expect("a token");
    let pki = Pki::new();
    let port = behind_tls(&world, &pki).await;
    let alice = Laptop::new(&format!("https://localhost:{port}"), &token);
    let unknown = alice.run(&["user", "list"]).await;
    assert!(
        unknown.stderr.contains("cannot be reached"),
        "{}",
        unknown.stderr
    );
    let ca = world.scratch().join("reverse-proxy.pem");
    std::fs::write(&ca, &pki.root_pem).expect("write");
    let ca = ca.to_str().expect("a path");
    let known = alice.run(&["user", "list", "--server-ca", ca]).await.ok();
    assert!(known.contains("alice"), "{known}");
    let mut by_variable = alice.command(&["user", "list"]);
    by_variable.env("EGRET_SERVER_CA", ca);
    finish(by_variable, b"").await.ok();
    // Its certificate is for another name.
    let other = format!("https://127.0.0.1:{port}");
    let other = alice
        .run(&["user", "list", "--server", &other, "--server-ca", ca])
        .await;
    assert!(
        other.stderr.contains("cannot be reached"),
        "{}",
        other.stderr
    );
}

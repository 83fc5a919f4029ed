//! `--server` where values move: an import, a probe, another owner, and somebody's way in.

use serde_json::json;

use super::client::{Api, When, expect, expect_problem};
use super::elsewhere::{Laptop, served};
use crate::client::{Wanted, basic};
use crate::leak::{assert_absent, forms};
use crate::world::HOST;

const SAVED: &str = "imp0rted/value+of-alice";
const SKIPPED: &str = "never/leaves+this-m4chine";

#[tokio::test]
async fn a_file_is_imported_and_no_value_is_sent_that_is_not_saved() {
    let (world, stub) = served().await;
    let alice = Laptop::of(&world, "alice", "manage").await;
    let there = ["credential", "add", "taken", "--host", HOST];
    alice.run_with(&there, b"as it was\n").await.ok();
    let text = format!("KEY={SAVED}\nOTHER={SKIPPED}\nTAKEN=x\nLEFT=y\n");
    let host = format!("key={HOST}");
    let import = |more: &[&str]| {
        let args = ["credential", "import", "-", "--format", "env", "--json"];
        let hosts = ["--host", &host, "--skip", "left"];
        let args: Vec<String> = [&args[..], &hosts, more]
            .concat()
            .into_iter()
            .map(str::to_owned)
            .collect();
        let (alice, text) = (&alice, text.clone());
        async move {
            let args: Vec<&str> = args.iter().map(String::as_str).collect();
            let rows = alice.run_with(&args, text.as_bytes()).await.json();
            let rows = rows.as_array().expect("rows").clone();
            let fate = |row: &serde_json::Value| format!("{}: {}", row["slug"], row["fate"]);
            rows.iter()
                .map(fate)
                .collect::<Vec<_>>()
                .join(", ")
                .replace('"', "")
        }
    };
    assert_eq!(
        import(&[]).await,
        "key: would be saved, other: needs --host, taken: is there already, left: skipped"
    );
    let list = ["credential", "list", "--json"];
    let count = |list: serde_json::Value| list.as_array().map(Vec::len);
    assert_eq!(
        count(alice.run(&list).await.json()),
        Some(1),
        "nothing is saved yet"
    );
    let saved = import(&["--save"]).await;
    assert!(
        saved.starts_with("key: saved, other: needs --host"),
        "{saved}"
    );
    assert_eq!(count(alice.run(&list).await.json()), Some(2));
    assert!(
        import(&["--save"])
            .await
            .starts_with("key: is there already")
    );
    let replaced = import(&["--replace", "taken"]).await;
    assert!(replaced.contains("taken: would be replaced"), "{replaced}");
    let replaced = import(&["--replace", "taken", "--save"]).await;
    assert!(replaced.contains("taken: replaced"), "{replaced}");
    let taken = alice
        .run(&["credential", "show", "taken", "--json"])
        .await
        .json();
    assert_eq!(
        (&taken["version"], &taken["hosts"]),
        (&json!(2), &json!([HOST]))
    );

    let made = ["client", "add", "laptop", "--json"];
    let token = alice.run(&made).await.json()["token"].clone();
    let token = token.as_str().expect("a token");
    let wanted = Wanted::new(&world).authorized(basic("report", token));
    let mut tunnel = world.tunnel_for(&wanted).await;
    assert_eq!(tunnel.get("/x", &["X-Api-Key: <<key>>"]).await.status, 200);
    assert_eq!(stub.take_one().header("x-api-key").as_deref(), Some(SAVED));

    let others = [
        "credential",
        "import",
        "-",
        "--owner",
        "bob",
        "--save",
        "--host",
        "a=a.test",
    ];
    let refused = alice.run_with(&others, b"A=b\n").await;
    assert_eq!(refused.status.code(), Some(1), "{refused:#?}");
    assert!(!alice.has_a_store(), "a command worked here");
    for value in [SAVED, SKIPPED] {
        let forms = forms(value.as_bytes());
        assert_absent("the log", &world.log_bytes(), &forms);
        assert_absent("the ledger", &world.ledger_bytes(), &forms);
    }
}

#[tokio::test]
async fn a_staged_value_is_tried_by_the_server_for_its_owner() {
    let (world, stub) = served().await;
    let alice = Laptop::of(&world, "alice", "manage").await;
    let add = ["credential", "add", "key", "--host", HOST];
    alice.run_with(&add, b"the first\n").await.ok();
    let url = format!("https://{HOST}/user");
    let probe = ["credential", "probe", "key", "GET", &url, "--json"];
    let none = alice.run(&probe).await;
    assert!(none.stderr.contains("No version waits"), "{}", none.stderr);

    let staged = ["credential", "rotate", "key", "--stage"];
    alice.run_with(&staged, b"the second\n").await.ok();
    let tried = alice.run(&probe).await.json();
    assert_eq!(tried, json!({"version": 2, "status": 200, "code": null}));
    let seen = stub.take_one();
    assert_eq!(
        seen.header("authorization").as_deref(),
        Some("Bearer the second")
    );
    let line = world
        .ledger_line("the use", |line| {
            line["event"] == "use" && line["action"] == "credential-probe"
        })
        .await;
    assert_eq!(
        (&line["slug"], &line["version"]),
        (&json!("key"), &json!(2))
    );
    assert_eq!(line["principal"], "alice");
    let clients = alice.run(&["client", "list", "--json"]).await.json();
    assert_eq!(clients, json!([]), "its client is gone");

    let elsewhere = [
        "credential",
        "probe",
        "key",
        "GET",
        "https://b.test/",
        "--json",
    ];
    let refused = alice.run(&elsewhere).await.json();
    assert_eq!(refused["version"], 2);
    assert!(refused["code"].is_string(), "{refused}");
    let told = ["credential", "probe", "key", "GET", "ftp://hunter2/"];
    let told = alice.run(&told).await;
    assert!(told.stderr.contains("url: "), "{}", told.stderr);
    assert!(!told.stderr.contains("hunter2"), "{}", told.stderr);
    let connect = ["credential", "probe", "key", "CONNECT", &url];
    let connect = alice.run(&connect).await;
    assert!(connect.stderr.contains("not CONNECT"), "{}", connect.stderr);

    // Whoever may use it may not try it.
    let share = ["credential", "share", "key", "--with", "bob"];
    alice.run(&share).await.ok();
    let bob = Laptop::of(&world, "bob", "manage").await;
    let bobs = [
        "credential",
        "probe",
        "key",
        "GET",
        &url,
        "--owner",
        "alice",
    ];
    let refused = bob.run(&bobs).await;
    assert!(
        refused.stderr.contains("only the owner"),
        "{}",
        refused.stderr
    );
    assert!(!alice.has_a_store(), "a command worked here");
}

#[tokio::test]
async fn a_credential_goes_to_a_user_who_has_it_shared_already() {
    let (world, stub) = served().await;
    let alice = Laptop::of(&world, "alice", "manage").await;
    let bob = Laptop::of(&world, "bob", "manage").await;
    let add = ["credential", "add", "key", "--host", HOST];
    alice.run_with(&add, b"of alice\n").await.ok();
    let give = ["credential", "handover", "key", "--to", "bob", "--json"];
    let refused = async |why: &str| {
        let refused = alice.run(&give).await;
        assert_eq!(refused.status.code(), Some(1), "{why}: {refused:#?}");
        assert!(
            refused.stderr.contains("share it with this user first"),
            "{why}: {}",
            refused.stderr
        );
    };
    refused("it is not shared").await;
    let share = ["credential", "share", "key", "--with", "bob"];
    alice.run(&share).await.ok();
    // What bob's own slug means is not replaced.
    bob.run_with(&add, b"of bob\n").await.ok();
    refused("bob has one").await;
    bob.run(&["credential", "delete", "key"]).await.ok();
    for (who, slug) in [
        ("nobody", "key"),
        ("alice", "key"),
        ("Bob", "key"),
        ("bob", "absent"),
    ] {
        let wrong = ["credential", "handover", slug, "--to", who];
        let wrong = alice.run(&wrong).await;
        assert!(!wrong.status.success(), "{who}: {wrong:#?}");
    }
    // Nobody takes it, an administrator neither.
    let root = Laptop::of(&world, "root", "manage").await;
    let take = ["credential", "handover", "key", "--owner", "alice", "--to"];
    for (thief, to) in [(&bob, "bob"), (&root, "root")] {
        let taken = thief.run(&[&take[..], &[to]].concat()).await;
        assert!(taken.stderr.contains("only the owner"), "{}", taken.stderr);
    }

    let given = alice.run(&give).await.json();
    assert_eq!(given, json!({"changed": true, "slug": "key"}));
    let gone = alice.run(&["credential", "show", "key"]).await;
    assert!(gone.stderr.contains("no such thing"), "{}", gone.stderr);
    let token = bob.run(&["client", "add", "ci", "--json"]).await.json()["token"].clone();
    let token = token.as_str().expect("a token");
    let wanted = Wanted::new(&world).authorized(basic("report", token));
    let mut tunnel = world.tunnel_for(&wanted).await;
    assert_eq!(tunnel.get("/x", &["X-Api-Key: <<key>>"]).await.status, 200);
    assert_eq!(
        stub.take_one().header("x-api-key").as_deref(),
        Some("of alice")
    );
    let line = world
        .ledger_line("the handover", |line| {
            line["event"] == "credential.handed_over"
        })
        .await;
    assert_eq!(
        (&line["action"], &line["principal"]),
        (&json!("api:alice"), &json!("bob"))
    );
    assert!(!alice.has_a_store(), "a command worked here");
}

#[tokio::test]
async fn a_handover_is_of_what_was_seen() {
    let (world, _stub) = served().await;
    let alice = Api::of(&world, "alice", "manage").await;
    let path = "/credentials/alice/key";
    let new = json!({ "value": "v", "hosts": [HOST] });
    let made = alice.put(path, When::New, new).await;
    let seen = made.header("etag").expect("a tag");
    let shared = alice.put("/credentials/alice/key/shares/bob", When::Any, json!({}));
    expect(&shared.await, 200);
    let to_bob = json!({ "to": "bob" });
    let handover = "/credentials/alice/key/handover";
    let answer = alice.post(handover, When::Always, to_bob.clone()).await;
    expect_problem(&answer, "precondition_required");
    let answer = alice.post(handover, When::As(&seen), to_bob.clone()).await;
    expect_problem(&answer, "precondition_failed");
    let reader = Api::of(&world, "alice", "audit").await;
    let answer = reader.post(handover, When::Any, to_bob.clone()).await;
    expect_problem(&answer, "scope_insufficient");
    expect(&alice.get(path).await, 200);
    expect(&alice.post(handover, When::Any, to_bob).await, 204);
    expect_problem(&alice.get(path).await, "not_found");
}

#[tokio::test]
async fn an_administrator_invites_who_has_no_way_in() {
    let (world, _stub) = served().await;
    let root = Laptop::of(&world, "root", "manage").await;
    root.run(&["user", "add", "carol"]).await.ok();
    let invite = ["user", "invite", "carol", "--json"];
    let link = root.run(&invite).await.json();
    let url = link["url"].as_str().expect("a link");
    let path = url.split_once("/signin/link/").expect("a link").1;
    assert!(path.len() > 20, "{url}");
    let again = root.run(&invite).await.json();
    assert_ne!(again["url"], link["url"], "another one");

    let alice = Laptop::of(&world, "alice", "manage").await;
    let refused = alice.run(&["user", "invite", "carol"]).await;
    assert!(
        refused.stderr.contains("only an administrator"),
        "{}",
        refused.stderr
    );
    // Whoever owns something would be somebody else's then.
    let add = ["credential", "add", "key", "--host", HOST];
    alice.run_with(&add, b"v\n").await.ok();
    let taken = root.run(&["user", "invite", "alice"]).await;
    assert_eq!(taken.status.code(), Some(1), "{taken:#?}");
    assert!(taken.stderr.contains("conflicts"), "{}", taken.stderr);
    let absent = root.run(&["user", "invite", "mallory"]).await;
    assert!(absent.stderr.contains("no such thing"), "{}", absent.stderr);
    let line = world
        .ledger_line("the invitation", |line| {
            line["event"] == "user.invited" && line["action"] == "api:root"
        })
        .await;
    assert_eq!(line["principal"], "carol");
    let forms = forms(path.as_bytes());
    assert_absent("the log", &world.log_bytes(), &forms);
    assert_absent("the ledger", &world.ledger_bytes(), &forms);
}

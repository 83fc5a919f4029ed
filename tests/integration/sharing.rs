//! Credentials that are shared, and what ends a share: each holds from the next request on, inside an
//! open tunnel too, and is on record.

use serde_json::{Value, json};

use crate::api::client::When;
use crate::client::{Tunnel, Wanted, assert_refused, basic};
use crate::upstream::Stub;
use crate::world::{HOST, SLUG, VALUE, World, finish, one_upstream, one_upstream_with};

const HEADER: &str = "X-Api-Key: <<pat>>";

/// A tunnel of bob's client.
async fn tunnel_of_bob(world: &World) -> Tunnel {
    let token = world.client("bobs", "bob").await;
    let wanted = Wanted::new(world).authorized(basic("report", &token));
    world.tunnel_for(&wanted).await
}

/// What the upstream got in the last request.
fn key(stub: &Stub) -> Option<String> {
    stub.take().pop()?.header("x-api-key")
}

async fn egret(world: &World, arguments: &[&str]) -> String {
    world.run(arguments).await.ok()
}

/// The administrative line of an event.
async fn line(world: &World, event: &'static str) -> Value {
    world
        .ledger_line(event, |line| line["event"] == event)
        .await
}

#[tokio::test]
async fn a_share_its_narrowing_and_its_end_hold_in_an_open_tunnel() {
    let (world, stub) = one_upstream().await;
    let mut tunnel = tunnel_of_bob(&world).await;
    assert_refused(&tunnel.get("/x", &[HEADER]).await, "credential_not_found");

    egret(&world, &["credential", "share", SLUG, "--with", "bob"]).await;
    assert_eq!(tunnel.get("/x", &[HEADER]).await.status, 200);
    assert_eq!(key(&stub).as_deref(), Some(VALUE));
    let used = line(&world, "use").await;
    assert_eq!(
        (&used["owner"], &used["principal"]),
        (&"default".into(), &"bob".into())
    );

    // The share itself.
    let narrower = [
        "credential",
        "share",
        SLUG,
        "--with",
        "bob",
        "--path",
        "/v1",
    ];
    egret(&world, &narrower).await;
    assert_refused(&tunnel.get("/x", &[HEADER]).await, "credential_not_allowed");
    assert_eq!(tunnel.get("/v1/x", &[HEADER]).await.status, 200);

    // The owner's own limits narrow every share.
    egret(&world, &["credential", "allow", SLUG, "--method", "PUT"]).await;
    assert_refused(
        &tunnel.get("/v1/x", &[HEADER]).await,
        "credential_not_allowed",
    );
    egret(&world, &["credential", "allow", SLUG, "--method", "*"]).await;
    assert_eq!(tunnel.get("/v1/x", &[HEADER]).await.status, 200);

    egret(&world, &["credential", "unshare", SLUG, "--with", "bob"]).await;
    assert_refused(
        &tunnel.get("/v1/x", &[HEADER]).await,
        "credential_not_found",
    );
    let ended = line(&world, "credential.unshared").await;
    assert_eq!(ended["principal"], "bob");
    let details = ended["locations"].as_array().expect("an array");
    assert!(details[0].as_str().expect("a text").starts_with("since 2"));
    assert!(details.contains(&"with bob".into()), "{details:?}");
}

#[tokio::test]
async fn a_share_ends_by_itself_and_is_never_wider_than_the_owners_limits() {
    let (world, _stub) = one_upstream().await;
    let mut tunnel = tunnel_of_bob(&world).await;
    let share = ["credential", "share", SLUG, "--with", "bob"];
    egret(&world, &["credential", "allow", SLUG, "--method", "GET"]).await;
    for (wider, what) in [
        (["--host", "evil.example.test"], "host"),
        (["--method", "PUT"], "method"),
        (["--path", "/repos/*"], "wildcards"),
        (["--action", "lab-*"], "no meaning"),
        (["--until", "2020-01-01"], "in the past"),
    ] {
        let refused = world.run(&[&share[..], &wider].concat()).await;
        assert!(!refused.status.success());
        assert!(refused.stderr.contains(what), "{}", refused.stderr);
    }
    let unknown = world
        .run(&["credential", "share", SLUG, "--with", "bbo"])
        .await;
    assert!(
        unknown.stderr.contains("no user `bbo`"),
        "{}",
        unknown.stderr
    );
    assert_refused(&tunnel.get("/x", &[HEADER]).await, "credential_not_found");

    egret(&world, &[&share[..], &["--until", "2s"]].concat()).await;
    assert_eq!(tunnel.get("/x", &[HEADER]).await.status, 200);
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(20);
    while tunnel.get("/x", &[HEADER]).await.status == 200 {
        assert!(
            tokio::time::Instant::now() < deadline,
            "the share does not end"
        );
    }
    assert_refused(&tunnel.get("/x", &[HEADER]).await, "credential_not_found");
}

#[tokio::test]
async fn leaving_a_group_and_disabling_a_user_hold_in_an_open_tunnel() {
    let (world, stub) = one_upstream().await;
    let mut tunnel = tunnel_of_bob(&world).await;
    egret(&world, &["group", "add", "ops"]).await;
    egret(
        &world,
        &["credential", "share", SLUG, "--with", "group:ops"],
    )
    .await;
    assert_refused(&tunnel.get("/x", &[HEADER]).await, "credential_not_found");
    egret(&world, &["group", "join", "ops", "bob"]).await;
    assert_eq!(tunnel.get("/x", &[HEADER]).await.status, 200);
    egret(&world, &["group", "leave", "ops", "bob"]).await;
    assert_refused(&tunnel.get("/x", &[HEADER]).await, "credential_not_found");
    assert_eq!(line(&world, "group.left").await["principal"], "bob");

    egret(&world, &["credential", "share", SLUG, "--with", "everyone"]).await;
    assert_eq!(tunnel.get("/x", &[HEADER]).await.status, 200);
    stub.take();

    // What a disabled user shares is not offered, and the user's own client does not work.
    egret(&world, &["user", "disable", "default"]).await;
    assert_refused(&tunnel.get("/x", &[HEADER]).await, "credential_not_found");
    egret(&world, &["user", "enable", "default"]).await;
    assert_eq!(tunnel.get("/x", &[HEADER]).await.status, 200);
    egret(&world, &["user", "disable", "bob"]).await;
    assert_refused(&tunnel.get("/x", &[HEADER]).await, "proxy_auth_required");
    assert_eq!(stub.take().len(), 1);
    assert_eq!(
        line(&world, "user.disabled").await["action"]
            .as_str()
            .map(|a| &a[..4]),
        Some("cli:")
    );
}

#[tokio::test]
async fn a_staged_value_is_promoted_and_rolled_back_under_one_slug() {
    let (world, stub) = one_upstream().await;
    let mut tunnel = world.tunnel().await;
    let rotate = ["credential", "rotate", SLUG, "--stage"];
    world.run_with(&rotate, b"the-staged-value").await.ok();
    assert_eq!(tunnel.get("/x", &[HEADER]).await.status, 200);
    assert_eq!(key(&stub).as_deref(), Some(VALUE));
    let url = format!("https://{HOST}/probed");
    let header = ["-H", HEADER, "--json"];
    let probe = ["credential", "probe", SLUG, "GET", &url];
    let probed = world.run(&[&probe[..], &header].concat()).await.json();
    assert_eq!(
        (&probed["version"], &probed["status"]),
        (&2.into(), &200.into())
    );
    assert_eq!(key(&stub).as_deref(), Some("the-staged-value"));
    assert_eq!(tunnel.get("/x", &[HEADER]).await.status, 200);
    assert_eq!(
        key(&stub).as_deref(),
        Some(VALUE),
        "others go on with the value in force"
    );
    egret(&world, &["credential", "promote", SLUG, "--rollback"]).await;
    let nothing = world.run(&probe).await;
    assert!(
        nothing.stderr.contains("no version is staged"),
        "{}",
        nothing.stderr
    );
    assert_eq!(tunnel.get("/x", &[HEADER]).await.status, 200);
    assert_eq!(key(&stub).as_deref(), Some("the-staged-value"));
    egret(&world, &["credential", "rollback", SLUG]).await;
    assert_eq!(tunnel.get("/x", &[HEADER]).await.status, 200);
    assert_eq!(key(&stub).as_deref(), Some(VALUE));
    let versions: Vec<Value> = world
        .ledger()
        .into_iter()
        .filter(|line| line["event"] == "use")
        .map(|line| line["version"].clone())
        .collect();
    assert_eq!(versions, [1, 2, 1, 2, 1]);
    let leaked = ["credential", "rotate", SLUG, "--leaked"];
    let leaked = world.run_with(&leaked, b"the-value-after-the-leak").await;
    let said = leaked.ok();
    assert!(said.contains("replaced is erased"), "{said}");
    let again = world.run(&["credential", "rollback", SLUG]).await;
    assert!(
        again.stderr.contains("no earlier version"),
        "{}",
        again.stderr
    );
}

/// The value was sent before it was taken back, and an upstream may still echo it.
#[tokio::test]
async fn a_revoked_and_an_unshared_value_are_still_taken_out_of_answers() {
    let share = &["credential", "share", SLUG, "--with", "bob"][..];
    let bundle = &["bundle", "share", "work", "--with", "bob"][..];
    for (share, end) in [
        (share, &["credential", "revoke", SLUG][..]),
        (share, &["credential", "unshare", SLUG, "--with", "bob"]),
        (share, &["credential", "handover", SLUG, "--to", "carol"]),
        (bundle, &["bundle", "unshare", "work", "--with", "bob"]),
        (bundle, &["bundle", "take", "work", SLUG]),
        (bundle, &["bundle", "remove", "work"]),
        (bundle, &["credential", "handover", SLUG, "--to", "carol"]),
    ] {
        let (world, stub) = one_upstream().await;
        let mut tunnel = tunnel_of_bob(&world).await;
        egret(&world, &["user", "add", "carol"]).await;
        egret(&world, &["bundle", "add", "work"]).await;
        egret(&world, &["bundle", "put", "work", SLUG]).await;
        egret(&world, share).await;
        assert_eq!(tunnel.get("/x", &[HEADER]).await.status, 200);
        egret(&world, end).await;
        stub.answer(crate::upstream::ok(VALUE));
        let answer = tunnel.get("/echo", &[]).await;
        assert!(!answer.text().contains(VALUE), "{end:?}: {}", answer.text());
    }
}

#[tokio::test]
async fn a_store_that_was_put_back_is_refused_and_can_be_accepted() {
    let (mut world, _stub) = one_upstream().await;
    assert!(world.stop().await.success());
    let database = world.data.join("egret.db");
    let older = std::fs::read(&database).expect("the database");
    egret(&world, &["credential", "revoke", SLUG]).await;
    std::fs::write(&database, &older).expect("written");
    let served = world.run(&["serve", "--listen", "127.0.0.1:0"]).await;
    assert!(
        served.stderr.contains("older than the ledger"),
        "{}",
        served.stderr
    );
    let listed = world.run(&["credential", "list"]).await;
    assert!(
        listed.stderr.contains("older than the ledger"),
        "{}",
        listed.stderr
    );
    egret(&world, &["store", "accept"]).await;
    assert!(
        egret(&world, &["store", "check"])
            .await
            .contains("what Egret wrote")
    );
    line(&world, "store.unverified").await;
    line(&world, "store.accepted").await;
}

#[tokio::test]
async fn what_belonged_to_default_is_claimed_and_keeps_working_for_its_clients() {
    let (world, stub) = one_upstream().await;
    let mut tunnel = world.tunnel().await;
    egret(&world, &["user", "add", "alice"]).await;
    egret(&world, &["user", "claim", "alice", "--from", "default"]).await;
    assert_eq!(tunnel.get("/x", &[HEADER]).await.status, 200);
    assert_eq!(key(&stub).as_deref(), Some(VALUE));
    let used = line(&world, "use").await;
    assert_eq!(
        (&used["owner"], &used["principal"]),
        (&"alice".into(), &"alice".into())
    );
    let moved = line(&world, "credential.handed_over").await;
    assert_eq!(
        (&moved["owner"], &moved["principal"]),
        (&"default".into(), &"alice".into())
    );
}

#[tokio::test]
async fn it_is_explained_which_credential_a_slug_names_and_why_not_another() {
    let (world, _stub) = one_upstream().await;
    egret(&world, &["user", "add", "bob"]).await;
    let limits = ["--host", HOST, "--owner", "alice"];
    world.save(SLUG, "the-value-of-alice", &limits).await;
    for owner in ["default", "alice"] {
        let share = [
            "credential",
            "share",
            SLUG,
            "--owner",
            owner,
            "--with",
            "bob",
        ];
        egret(&world, &share).await;
    }
    let explain = ["credential", "explain", SLUG, "--as", "bob", "--json"];
    let ambiguous = world.run(&explain).await.json();
    assert_eq!(ambiguous["code"], "credential_ambiguous");
    assert_eq!(ambiguous["candidates"].as_array().map(Vec::len), Some(2));
    egret(&world, &["credential", "revoke", SLUG, "--owner", "alice"]).await;
    let one = world.run(&explain).await.json();
    assert_eq!(one["code"], Value::Null);
    let standing = |owner: &str| {
        let candidates = one["candidates"].as_array().expect("an array");
        let of = candidates
            .iter()
            .find(|candidate| candidate["owner"] == owner);
        of.expect("a candidate")["standing"].clone()
    };
    assert_eq!(
        (standing("default"), standing("alice")),
        ("used".into(), "revoked".into())
    );
}

#[tokio::test]
async fn what_may_be_a_mistake_is_said_and_the_value_is_not() {
    let pinned = toml::Value::Array(vec!["pinned.example.test".into()]);
    let builder = World::builder().set("tls.passthrough", pinned);
    let (world, _stub) = one_upstream_with(builder).await;
    let add = ["credential", "add", "odd", "--host", "pinned.example.test"];
    let added = world.run_with(&add, b" white-space-before").await;
    assert!(added.stderr.contains("white space"), "{}", added.stderr);
    assert!(added.stderr.contains("tls.passthrough"), "{}", added.stderr);
    assert!(!added.stderr.contains("before"), "{}", added.stderr);
    world.save("even", "an-even-value", &["--host", HOST]).await;
    let widen = [
        "credential",
        "allow",
        "even",
        "--add",
        "--host",
        "pinned.example.test",
    ];
    let widened = world.run(&widen).await;
    assert!(
        widened.stderr.contains("tls.passthrough"),
        "{}",
        widened.stderr
    );
    let rotate = ["credential", "rotate", "odd"];
    let rotated = world.run_with(&rotate, b"Password").await;
    assert!(rotated.stderr.contains("common word"), "{}", rotated.stderr);
}

#[tokio::test]
async fn a_client_that_is_bound_to_a_bundle_uses_what_is_in_it_and_nothing_else() {
    let (world, stub) = one_upstream().await;
    for (slug, value) in [
        ("pat-work", "the-work-value"),
        ("pat-home", "the-home-value"),
    ] {
        world.save(slug, value, &["--host", HOST]).await;
    }
    for (bundle, slug) in [("work", "pat-work"), ("home", "pat-home")] {
        egret(&world, &["bundle", "add", bundle]).await;
        egret(&world, &["bundle", "put", bundle, slug, "--as", SLUG]).await;
    }
    let mut tunnel = world.tunnel().await;
    assert_eq!(tunnel.get("/x", &[HEADER]).await.status, 200);
    assert_eq!(key(&stub).as_deref(), Some(VALUE));
    for (bundle, value) in [("work", "the-work-value"), ("home", "the-home-value")] {
        egret(&world, &["bundle", "bind", "tester", bundle]).await;
        assert_eq!(tunnel.get("/x", &[HEADER]).await.status, 200);
        assert_eq!(key(&stub).as_deref(), Some(value));
        let by_itself = tunnel.get("/x", &["X-Api-Key: <<pat-work>>"]).await;
        assert_refused(&by_itself, "credential_not_found");
    }
    let slugs: Vec<Value> = world
        .ledger()
        .into_iter()
        .filter(|line| line["event"] == "use")
        .map(|line| line["slug"].clone())
        .collect();
    assert_eq!(slugs, [SLUG, "pat-work", "pat-home"]);
    egret(&world, &["bundle", "remove", "home"]).await;
    assert_refused(&tunnel.get("/x", &[HEADER]).await, "credential_not_found");
    egret(&world, &["bundle", "bind", "tester"]).await;
    assert_eq!(tunnel.get("/x", &[HEADER]).await.status, 200);
    assert_eq!(key(&stub).as_deref(), Some(VALUE));
}

#[tokio::test]
async fn a_bundle_is_shared_and_taken_back_as_one() {
    let (world, stub) = one_upstream().await;
    let mut tunnel = tunnel_of_bob(&world).await;
    egret(&world, &["bundle", "add", "work"]).await;
    egret(&world, &["bundle", "share", "work", "--with", "bob"]).await;
    assert_refused(&tunnel.get("/x", &[HEADER]).await, "credential_not_found");
    // What is put into it later is shared too.
    egret(&world, &["bundle", "put", "work", SLUG]).await;
    assert_eq!(tunnel.get("/x", &[HEADER]).await.status, 200);
    assert_eq!(key(&stub).as_deref(), Some(VALUE));
    egret(&world, &["bundle", "unshare", "work", "--with", "bob"]).await;
    assert_refused(&tunnel.get("/x", &[HEADER]).await, "credential_not_found");
    assert_eq!(line(&world, "bundle.unshared").await["principal"], "bob");
}

#[tokio::test]
async fn the_operators_floor_holds_for_what_was_saved_before_and_is_explained() {
    let (mut world, stub) = one_upstream().await;
    let mut tunnel = world.tunnel().await;
    let mut of_bob = tunnel_of_bob(&world).await;
    egret(&world, &["credential", "share", SLUG, "--with", "everyone"]).await;
    assert_eq!(tunnel.get("/x", &[HEADER]).await.status, 200);
    assert_eq!(of_bob.get("/x", &[HEADER]).await.status, 200);
    stub.take();

    world.configure("policy.share_with_everyone", false);
    world.reload().await;
    assert_eq!(tunnel.get("/x", &[HEADER]).await.status, 200);
    assert_refused(&of_bob.get("/x", &[HEADER]).await, "credential_not_allowed");
    let again = world
        .run(&["credential", "share", SLUG, "--with", "everyone"])
        .await;
    assert!(
        again.stderr.contains("policy.share_with_everyone"),
        "{}",
        again.stderr
    );

    // An expiry past what the operator lets a value be used is said when it is saved, whoever saves it.
    world.configure("policy.max_lifetime", "90d");
    world.reload().await;
    let late = world
        .run(&["credential", "allow", SLUG, "--expires", "91d"])
        .await;
    assert!(
        late.stderr.contains("policy.max_lifetime"),
        "{}",
        late.stderr
    );
    let add = [
        "credential",
        "add",
        "late",
        "--host",
        HOST,
        "--expires",
        "91d",
    ];
    let late = world.run_with(&add, b"a-value-that-expires-late").await;
    assert!(
        late.stderr.contains("policy.max_lifetime"),
        "{}",
        late.stderr
    );
    let api = crate::api::client::Api::of(&world, "default", "manage").await;
    let input = json!({ "value": "a-value-that-expires-late", "hosts": [HOST], "expires": "2099-01-01T00:00:00Z" });
    let late = api.put("/credentials/default/late", When::New, input).await;
    assert!(
        late.status == 422 && late.text().contains("policy.max_lifetime"),
        "{}",
        late.text()
    );
    egret(&world, &["credential", "allow", SLUG, "--expires", "89d"]).await;
    // What has an expiry of before can be changed in other ways.
    world.configure("policy.max_lifetime", "1d");
    world.reload().await;
    egret(&world, &["credential", "allow", SLUG, "--action", "*"]).await;

    let hosts = toml::Value::Array(vec!["default elsewhere.example.test".into()]);
    world.configure("policy.owner_hosts", hosts);
    let require = toml::Value::Array(vec!["methods".into()]);
    world.configure("policy.require", require);
    world.reload().await;
    let refused = tunnel.get("/x", &[HEADER]).await;
    assert!(refused.text().contains("--method"), "{}", refused.text());
    assert_refused(&refused, "credential_not_allowed");
    let explained = egret(&world, &["credential", "explain", SLUG]).await;
    assert!(explained.contains("--method"), "{explained}");
    let narrowed = world
        .run(&["credential", "allow", SLUG, "--method", "GET"])
        .await;
    assert!(
        narrowed.stderr.contains("policy.owner_hosts"),
        "{}",
        narrowed.stderr
    );
    assert_eq!(stub.take().len(), 1);
    let shown = egret(&world, &["config", "show"]).await;
    assert!(shown.contains("policy.owner_hosts"), "{shown}");
}

/// Every request of the rotation's time gets one of the two values, and the ledger says which.
#[tokio::test]
async fn a_rotation_under_load_fails_no_request_and_records_the_right_version() {
    let (world, stub) = one_upstream().await;
    let mut tunnel = world.tunnel().await;
    let ledger_of_uses = |world: &World| -> Vec<Value> {
        let lines = world.ledger().into_iter();
        lines.filter(|line| line["event"] == "use").collect()
    };
    let command = world.command(&["credential", "rotate", SLUG]);
    let rotation = tokio::spawn(async move {
        finish(command, b"the-value-after-the-rotation").await.ok();
    });
    let mut got = Vec::new();
    let mut after = 0;
    while after < 20 {
        after += usize::from(rotation.is_finished());
        assert_eq!(tunnel.get("/x", &[HEADER]).await.status, 200);
        got.push(key(&stub).expect("a key"));
    }
    rotation.await.expect("it is rotated");
    assert_eq!(
        got.last().map(String::as_str),
        Some("the-value-after-the-rotation")
    );
    let versions: Vec<Value> = ledger_of_uses(&world)
        .iter()
        .map(|line| line["version"].clone())
        .collect();
    let expected: Vec<Value> = got
        .iter()
        .map(|value| if value == VALUE { 1.into() } else { 2.into() })
        .collect();
    assert_eq!(versions, expected);
}

#[tokio::test]
async fn a_group_is_removed_once_no_share_and_no_rule_names_it() {
    let (world, _stub) = one_upstream().await;
    egret(&world, &["user", "add", "bob"]).await;
    egret(&world, &["group", "add", "ops"]).await;
    egret(&world, &["group", "join", "ops", "bob"]).await;
    let with = ["--with", "group:ops"];
    egret(
        &world,
        &[&["credential", "share", SLUG][..], &with].concat(),
    )
    .await;
    egret(&world, &["bundle", "add", "work"]).await;
    egret(&world, &[&["bundle", "share", "work"][..], &with].concat()).await;
    let rule = ["egress", "observe", HOST, "--group", "ops", "--json"];
    let number = world.run(&rule).await.json()["number"].to_string();
    let refused = async |named: &[&str]| {
        let output = world.run(&["group", "remove", "ops"]).await;
        assert_eq!(output.status.code(), Some(1), "{output:#?}");
        for name in named {
            assert!(output.stderr.contains(name), "{name}: {}", output.stderr);
        }
    };
    let rule = format!("egress rule {number}");
    let (credential, bundle) = ("credential default/pat", "bundle default/work");
    refused(&[credential, bundle, &rule]).await;
    egret(&world, &["egress", "remove", &number]).await;
    egret(&world, &["bundle", "remove", "work"]).await;
    egret(
        &world,
        &[&["credential", "unshare", SLUG][..], &with].concat(),
    )
    .await;
    // What bob receives is still searched for the value.
    refused(&[credential, "counts for a day"]).await;
    let listed = world.run(&["group", "list", "--json"]).await.json();
    assert_eq!(listed[0]["name"], "ops", "the group stays: {listed}");

    egret(&world, &["group", "add", "unused"]).await;
    egret(&world, &["group", "join", "unused", "bob"]).await;
    let removed = egret(&world, &["group", "remove", "unused"]).await;
    assert_eq!(removed, "unused is no longer a group.\n");
    let line = line(&world, "group.removed").await;
    assert_eq!(line["locations"][2], "group:unused", "{line}");
    let again = world.run(&["group", "rm", "unused"]).await;
    assert!(again.stderr.contains("no group `unused`"), "{again:#?}");
}

/// Nobody asks for what was edited, and no command is run: the server finds it by itself.
#[tokio::test]
async fn a_row_that_is_edited_under_a_server_is_said_and_not_used() {
    use sqlx::{ConnectOptions, Connection};
    let (world, stub) = one_upstream().await;
    let mut tunnel = world.tunnel().await;
    assert_eq!(tunnel.get("/x", &[HEADER]).await.status, 200);
    stub.take();
    let path = world.data.join("egret.db");
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
    let mut store = options.connect().await.expect("the store opens");
    let edit = "UPDATE objects SET document = replace(document, 'active', 'active ') WHERE kind = 'credential'";
    let edited = sqlx::raw_sql(edit).execute(&mut store).await;
    edited.expect("the row is edited");
    let said = world
        .ledger_line("the edited row", |line| line["event"] == "store.unverified")
        .await;
    assert_eq!(
        (&said["owner"], &said["slug"]),
        (&"default".into(), &SLUG.into())
    );
    let metrics = world.admin_page("/metrics").await.expect("metrics").text();
    assert!(metrics.contains("egret_store_unverified 1"), "{metrics}");
    assert!(
        world
            .log()
            .contains("changed in the database by something that is not Egret")
    );
    assert_refused(&tunnel.get("/x", &[HEADER]).await, "store_unavailable");
    assert!(stub.take().is_empty());
    // A row that is removed is not missed either: then nothing is used.
    let removed = sqlx::raw_sql("DELETE FROM objects WHERE kind = 'client'");
    removed
        .execute(&mut store)
        .await
        .expect("the row is removed");
    store.close().await.expect("the store is closed");
    world
        .ledger_line("the removed row", |line| {
            line["event"] == "store.unverified" && line["slug"].is_null()
        })
        .await;
    assert_refused(&tunnel.get("/x", &[]).await, "store_unavailable");
}

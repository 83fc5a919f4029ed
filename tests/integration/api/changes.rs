//! What changes need, and what they leave: entity tags, pages, lines in the ledger, and values that
//! are in force at once.

use serde_json::{Value, json};

use super::client::{Api, When, expect, expect_problem};
use crate::client::{Wanted, basic};
use crate::world::{HOST, World, one_upstream};

const KEY: &str = "/credentials/alice/key";

async fn alice(world: &World) -> Api<'_> {
    world.run(&["user", "add", "alice"]).await.ok();
    Api::of(world, "alice", "manage").await
}

#[tokio::test]
async fn a_change_is_made_to_what_was_seen_or_not_at_all() {
    let world = World::builder().start().await;
    let alice = alice(&world).await;
    let new = json!({ "value": "v-1", "hosts": ["api.example.test"] });
    expect_problem(
        &alice.put(KEY, When::Always, new.clone()).await,
        "precondition_required",
    );
    let created = alice.put(KEY, When::New, new.clone()).await;
    expect(&created, 201);
    let seen = created.header("etag").expect("a tag");
    // A slug that is there is not overwritten.
    let again = alice.put(KEY, When::New, new).await;
    assert!([409, 412].contains(&again.status), "{}", again.text());
    assert_eq!(alice.get(KEY).await.json()["version"], 1);

    let limits = json!({ "hosts": ["api.example.test"], "methods": ["get"] });
    let path = format!("{KEY}/limits");
    expect_problem(
        &alice.put(&path, When::Always, limits.clone()).await,
        "precondition_required",
    );
    let changed = alice.put(&path, When::As(&seen), limits.clone()).await;
    expect(&changed, 200);
    assert_eq!(changed.json()["methods"], json!(["GET"]));
    assert_eq!(changed.header("etag"), alice.get(KEY).await.header("etag"));

    // Whoever saw it as it was before changes nothing.
    for path in ["/limits", "/rotation", "/revoke", "/versions", ""] {
        let (method, body) = match path {
            "/limits" => ("PUT", Some(limits.clone())),
            "/rotation" => ("PUT", Some(json!({ "rotate_every": 5 }))),
            "/versions" => ("POST", Some(json!({ "value": "v-2" }))),
            "/revoke" => ("POST", None),
            _ => ("DELETE", None),
        };
        let path = format!("{KEY}{path}");
        let answer = alice.send(method, &path, When::As(&seen), body).await;
        expect_problem(&answer, "precondition_failed");
    }
    let now = alice.get(KEY).await;
    assert_eq!(now.json()["state"], "active");
    let tag = now.header("etag").expect("a tag");
    expect(&alice.delete(KEY, When::As(&tag)).await, 204);
    expect_problem(&alice.get(KEY).await, "not_found");
}

#[tokio::test]
async fn a_change_is_on_record_and_in_force_when_it_is_answered() {
    let (world, stub) = one_upstream().await;
    let alice = alice(&world).await;
    let new = json!({ "value": "value-one", "hosts": [HOST], "description": "for reports" });
    expect(&alice.put(KEY, When::New, new).await, 201);
    let client = alice.put("/clients/laptop", When::New, json!({})).await;
    expect(&client, 201);
    let token = client.json()["token"].as_str().expect("a token").to_owned();
    let wanted = Wanted::new(&world).authorized(basic("report", &token));
    let mut tunnel = world.tunnel_for(&wanted).await;
    let header = "X-Api-Key: <<key>>";
    assert_eq!(tunnel.get("/x", &[header]).await.status, 200);
    let sent = stub.take().pop().expect("a request");
    assert_eq!(sent.header("x-api-key").as_deref(), Some("value-one"));

    let replaced = json!({ "value": "value-two", "rollback": true });
    let versions = format!("{KEY}/versions");
    expect(&alice.post(&versions, When::Any, replaced).await, 200);
    assert_eq!(tunnel.get("/x", &[header]).await.status, 200);
    let sent = stub.take().pop().expect("a request");
    assert_eq!(sent.header("x-api-key").as_deref(), Some("value-two"));
    let back = alice
        .post(&format!("{versions}/rollback"), When::Any, json!({}))
        .await;
    assert_eq!(back.json()["version"], 1);

    expect(
        &alice
            .post(&format!("{KEY}/revoke"), When::Any, json!({}))
            .await,
        200,
    );
    assert_eq!(tunnel.get("/x", &[header]).await.status, 424);

    // The lines were there before the answers.
    let events: Vec<String> = world
        .ledger()
        .iter()
        .filter(|line| line["action"] == "api:alice")
        .map(|line| line["event"].as_str().unwrap_or_default().to_owned())
        .collect();
    assert_eq!(
        events,
        [
            "credential.created",
            "client.added",
            "credential.rotated",
            "credential.rolled_back",
            "credential.revoked",
        ]
    );
    let usage = alice.get(&format!("{KEY}/usage")).await.json();
    assert_eq!(usage["uses"], 2, "{usage}");
    assert_eq!(alice.get(KEY).await.json()["last_used"], usage["last_used"]);
    uses_are_listed(&alice).await;
}

/// Two uses, of two versions, and a refusal.
async fn uses_are_listed(alice: &Api<'_>) {
    let page = async |query: &str| alice.get(&format!("{KEY}/uses?{query}")).await.json();
    let versions = |page: &Value| {
        let items = page["items"].as_array().expect("items");
        let versions = items.iter().map(|one| one["version"].as_u64());
        versions.collect::<Vec<_>>()
    };
    let all = page("").await;
    assert_eq!(versions(&all), [None, Some(2), Some(1)], "{all}");
    assert_eq!(all["items"][0]["refused"], true);
    assert_eq!(all["next"], Value::Null);
    let first = page("limit=1&refused=false").await;
    assert_eq!(versions(&first), [Some(2)], "{first}");
    let next = &first["next"];
    let second = page(&format!("limit=1&refused=false&before={next}")).await;
    assert_eq!(versions(&second), [Some(1)], "{second}");
    assert_eq!(second["next"], Value::Null);
    let time = all["items"][1]["time"].as_str().expect("a time");
    for (query, expected) in [
        (format!("since={time}"), &[None, Some(2)][..]),
        (format!("until={time}"), &[Some(1)]),
        ("version=2&outcome=200".to_owned(), &[Some(2)]),
        ("outcome=credential_not_found".to_owned(), &[None]),
        ("action=other".to_owned(), &[]),
    ] {
        assert_eq!(versions(&page(&query).await), expected, "{query}");
    }
    expect(&alice.get(&format!("{KEY}/uses?since=noon")).await, 422);
}

#[tokio::test]
async fn lists_have_pages_and_filters() {
    let world = World::builder().start().await;
    let alice = alice(&world).await;
    for number in 0..5 {
        let new = json!({ "value": "v", "hosts": ["api.example.test"], "description": format!("n{number}") });
        let path = format!("/credentials/alice/key-{number}");
        expect(&alice.put(&path, When::New, new).await, 201);
    }
    let mut slugs = Vec::new();
    let mut path = "/credentials?limit=2".to_owned();
    loop {
        let page = alice.get(&path).await.json();
        let items = page["items"].as_array().expect("items");
        slugs.extend(items.iter().map(|one| one["slug"].to_string()));
        match page["next"].as_str() {
            Some(next) => path = format!("/credentials?limit=2&after={next}"),
            None => break,
        }
    }
    assert_eq!(slugs.len(), 5);
    assert!(slugs.is_sorted());
    let found = alice
        .get("/credentials?text=N3&state=active&owner=alice")
        .await
        .json();
    assert_eq!(found["items"].as_array().expect("items").len(), 1);

    let newest = alice
        .get("/ledger?limit=2&event=credential.created")
        .await
        .json();
    let first = &newest["items"][0];
    assert_eq!(first["slug"], "key-4");
    let before = newest["next"].as_u64().expect("more");
    let older = format!("/ledger?limit=2&event=credential.created&before={before}");
    assert_eq!(alice.get(&older).await.json()["items"][0]["slug"], "key-2");
    let oldest = alice
        .get("/ledger?after=0&limit=1&event=credential")
        .await
        .json();
    assert_eq!(oldest["items"][0]["slug"], "key-0");
    let since = first["time"].as_str().expect("a time");
    let late = alice
        .get(&format!("/ledger?since={since}&event=credential"))
        .await
        .json();
    assert_eq!(late["items"].as_array().expect("items").len(), 1);
}

#[tokio::test]
async fn a_runtime_mints_action_tokens_with_its_client_token() {
    let (world, stub) = one_upstream().await;
    let runtime = Api {
        world: &world,
        token: Some(world.token.clone()),
    };
    let asked = json!({ "action": "weekly-report", "run": "r-1", "ttl": 60 });
    let minted = runtime.post("/tokens", When::Always, asked.clone()).await;
    expect(&minted, 201);
    let token = minted.json()["token"].as_str().expect("a token").to_owned();
    let wanted = Wanted::new(&world).authorized(basic("other", &token));
    let mut tunnel = world.tunnel_for(&wanted).await;
    assert_eq!(tunnel.get("/x", &["X-Api-Key: <<pat>>"]).await.status, 200);
    assert!(stub.take().pop().is_some());
    let used = world
        .ledger_line("the use", |line| line["event"] == "use")
        .await;
    assert_eq!(used["action"], "weekly-report");

    // With nothing else, and for nothing else.
    let action = Api {
        world: &world,
        token: Some(token),
    };
    let answer = action.post("/tokens", When::Always, asked.clone()).await;
    expect_problem(&answer, "unauthenticated");
    expect_problem(&runtime.get("/credentials").await, "unauthenticated");
    let long = json!({ "action": "x", "ttl": 99_999_999_999_u64 });
    expect_problem(
        &runtime.post("/tokens", When::Always, long).await,
        "invalid",
    );
}

#[tokio::test]
async fn a_file_is_shown_before_it_is_saved() {
    let world = World::builder().start().await;
    let alice = alice(&world).await;
    let key = format!("ghp_{}", "a".repeat(36));
    let file = format!("DEPLOY_KEY={key}\nPORT=3000\nDEBUG=1\n");
    let mut asked = json!({ "content": file, "skip": ["debug"] });
    let fates = |answer: crate::wire::Response, status: u16| -> Vec<String> {
        expect(&answer, status);
        let entries = answer.json();
        let entries = entries.as_array().expect("entries");
        entries
            .iter()
            .map(|one| one["fate"].as_str().unwrap_or_default().to_owned())
            .collect()
    };
    let seen = fates(
        alice.post("/import", When::Always, asked.clone()).await,
        200,
    );
    assert_eq!(seen, ["ready", "needs_hosts", "skipped"]);
    assert_eq!(alice.get("/credentials").await.json()["items"], json!([]));
    asked["save"] = true.into();
    asked["hosts"] = json!({ "port": ["internal.example.test"] });
    let saved = fates(
        alice.post("/import", When::Always, asked.clone()).await,
        201,
    );
    assert_eq!(saved, ["saved", "saved", "skipped"]);
    let again = fates(alice.post("/import", When::Always, asked).await, 201);
    assert_eq!(again, ["exists", "exists", "skipped"]);
    let shown = alice.get("/credentials/alice/deploy-key").await.json();
    assert_eq!(shown["hosts"][0], "api.github.com");
}

/// A file is about everything, so what it was made for is everything, too.
#[tokio::test]
async fn a_file_is_applied_to_what_was_planned_or_not_at_all() {
    let world = World::builder().start().await;
    let add = ["user", "add", "olga", "--role", "administrator"];
    world.run(&add).await.ok();
    let olga = Api::of(&world, "olga", "manage").await;
    let file = json!({ "file": "[users.dave]\nrole = 'member'\n" });
    let plan = olga.post("/plan", When::Always, file.clone()).await;
    expect(&plan, 200);
    let planned = plan.header("etag").expect("a tag");
    expect(&olga.put("/users/erin", When::New, json!({})).await, 201);

    let late = olga.post("/apply", When::As(&planned), file.clone()).await;
    expect_problem(&late, "precondition_failed");
    expect_problem(&olga.get("/users/dave").await, "not_found");
    let seen = olga.get("/export").await.header("etag").expect("a tag");
    assert_ne!(seen, planned);
    expect(&olga.post("/apply", When::As(&seen), file).await, 200);
    expect(&olga.get("/users/dave").await, 200);

    for (file, said) in [
        (
            "[users.dave]\nrol = 'member'\n",
            "line 2: a member is misspelt: it is called `role`",
        ),
        (
            "[users.dave]\nhunter2hunter2 = 1\n",
            "line 2: there is an unknown member; those known are display_name, role, disabled",
        ),
        ("[users.hunter2 ]]", "this is not a file as"),
    ] {
        let refused = olga
            .post("/plan", When::Always, json!({ "file": file }))
            .await;
        expect_problem(&refused, "invalid");
        let problem = refused.json();
        let detail = problem["errors"][0]["detail"].as_str().expect("a detail");
        assert!(detail.contains(said), "{problem}");
        assert!(!detail.contains("hunter2"), "{problem}");
    }
}

/// Users are known to all users: to say that there is none of a name gives nothing away.
#[tokio::test]
async fn with_whom_nothing_can_be_shared_is_said() {
    let world = World::builder().start().await;
    let alice = alice(&world).await;
    let new = json!({ "value": "v", "hosts": ["api.example.test"] });
    expect(&alice.put(KEY, When::New, new).await, 201);
    for (with, said) in [("nobody", "no user"), ("group:none", "no group")] {
        let path = format!("{KEY}/shares/{with}");
        let answer = alice.put(&path, When::Any, json!({})).await;
        expect_problem(&answer, "not_found");
        assert!(answer.text().contains(said), "{}", answer.text());
    }
}

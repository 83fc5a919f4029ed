//! Changes of a credential as requests see them: what takes effect with the next request, and which
//! refusals must be indistinguishable.

use std::time::Duration;

use crate::client::{Wanted, assert_refused, basic};
use crate::upstream::Stub;
use crate::wire::Response;
use crate::world::{HOST, SLUG, VALUE, World, one_upstream};

const HEADER: &str = "X-Api-Key: <<pat>>";

/// The bytes of a refusal without what differs from request to request.
fn fingerprint(answer: &Response) -> String {
    let id = answer.json()["request_id"]
        .as_str()
        .expect("an id")
        .to_owned();
    assert!(!id.is_empty());
    let mut text = format!("{} {}\n", answer.version, answer.status);
    for (name, value) in &answer.headers {
        if !name.eq_ignore_ascii_case("date") {
            text.push_str(&format!("{name}: {}\n", String::from_utf8_lossy(value)));
        }
    }
    text.push_str(&answer.text());
    text.replace(&id, "ID")
}

fn rfc3339(unix: i64) -> String {
    let time = time::OffsetDateTime::from_unix_timestamp(unix).expect("a time");
    time.format(&time::format_description::well_known::Rfc3339)
        .expect("RFC 3339")
}

#[tokio::test]
async fn unknown_revoked_deleted_expired_and_someone_elses_look_the_same() {
    let builder = World::builder();
    let stub = Stub::tls(builder.pki(), &[HOST]).await;
    let world = builder
        .route(&format!("{HOST}:443"), stub.addr)
        .start()
        .await;
    let mut tunnel = world.tunnel().await;
    let mut seen: Vec<(&str, String)> = Vec::new();
    let mut note = |why: &'static str, answer: Response| {
        assert_eq!(answer.status, 424, "{why}");
        assert_refused(&answer, "credential_not_found");
        seen.push((why, fingerprint(&answer)));
    };

    note("unknown", tunnel.get("/x", &[HEADER]).await);
    world
        .save(SLUG, VALUE, &["--host", HOST, "--owner", "bob"])
        .await;
    note("someone else's", tunnel.get("/x", &[HEADER]).await);
    world.save(SLUG, VALUE, &["--host", HOST]).await;
    world.run(&["credential", "revoke", SLUG]).await.ok();
    note("revoked", tunnel.get("/x", &[HEADER]).await);
    world.run(&["credential", "delete", SLUG]).await.ok();
    note("deleted", tunnel.get("/x", &[HEADER]).await);
    let soon = rfc3339(time::OffsetDateTime::now_utc().unix_timestamp() + 2);
    world
        .save(SLUG, VALUE, &["--host", HOST, "--expires", &soon])
        .await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    note("expired", tunnel.get("/x", &[HEADER]).await);
    world.run(&["credential", "delete", SLUG]).await.ok();
    world
        .save(
            SLUG,
            VALUE,
            &["--host", "elsewhere.example.test", "--owner", "bob-2"],
        )
        .await;
    note(
        "someone else's for another host",
        tunnel.get("/x", &[HEADER]).await,
    );

    let (_, first) = &seen[0];
    for (why, fingerprint) in &seen {
        assert_eq!(fingerprint, first, "{why} differs from unknown");
    }
    assert_eq!(
        stub.connections().len(),
        0,
        "something reached the upstream's socket"
    );
    let denied = world
        .ledger()
        .into_iter()
        .filter(|l| l["event"] == "denied")
        .count();
    assert_eq!(denied, seen.len());
}

#[tokio::test]
async fn rotation_holds_from_the_next_request_in_an_open_tunnel() {
    let (world, stub) = one_upstream().await;
    let mut tunnel = world.tunnel().await;
    let mut value = VALUE.to_owned();
    for version in 1..=4 {
        tunnel.get("/x", &[HEADER]).await;
        assert_eq!(
            stub.take_one().header("x-api-key").as_deref(),
            Some(value.as_str())
        );
        let line = world
            .ledger()
            .into_iter()
            .rfind(|l| l["event"] == "use")
            .expect("a use line");
        assert_eq!(line["version"], version);
        value = format!("value-of-version-{}", version + 1);
        world
            .run_with(
                &["credential", "rotate", SLUG],
                format!("{value}\n").as_bytes(),
            )
            .await
            .ok();
    }
    // The tunnel stays open. The upstream connection, whose buffers may hold the replaced value, is
    // closed.
    let closed = || (stub.open() == 0).then_some(());
    crate::eventually("the connection with the old value to be closed", closed).await;
}

#[tokio::test]
async fn revoking_and_restoring_hold_from_the_next_request() {
    let (world, stub) = one_upstream().await;
    let mut tunnel = world.tunnel().await;
    for _ in 0..3 {
        assert_eq!(tunnel.get("/x", &[HEADER]).await.status, 200);
        world.run(&["credential", "revoke", SLUG]).await.ok();
        assert_refused(&tunnel.get("/x", &[HEADER]).await, "credential_not_found");
        world.run(&["credential", "restore", SLUG]).await.ok();
    }
    assert_eq!(stub.take().len(), 3);
}

#[tokio::test]
async fn a_changed_limit_holds_from_the_next_request() {
    let (world, stub) = one_upstream().await;
    let mut tunnel = world.tunnel().await;
    assert_eq!(tunnel.get("/x?k=<<pat>>", &[]).await.status, 200);
    world
        .run(&["credential", "allow", SLUG, "--in", "header"])
        .await
        .ok();
    let answer = tunnel.get("/x?k=<<pat>>", &[]).await;
    assert_eq!(answer.status, 403);
    assert_refused(&answer, "credential_not_allowed");
    assert_eq!(answer.json()["slug"], SLUG);
    assert_eq!(answer.json()["location"], "query:k");
    world
        .run(&["credential", "allow", SLUG, "--in", "query:k"])
        .await
        .ok();
    assert_eq!(tunnel.get("/x?k=<<pat>>", &[]).await.status, 200);
    assert_refused(
        &tunnel.get("/x?other=<<pat>>", &[]).await,
        "credential_not_allowed",
    );
    assert_eq!(stub.take().len(), 2);
}

#[tokio::test]
async fn methods_and_paths_and_actions_limit_the_use() {
    let (world, stub) = one_upstream().await;
    world
        .run(&[
            "credential",
            "allow",
            SLUG,
            "--method",
            "GET",
            "--path",
            "/v1",
            "--action",
            "act-1",
        ])
        .await
        .ok();
    let mut tunnel = world.tunnel().await;
    for target in ["/v1", "/v1/x", "/v1/a/../b", "/v1?y"] {
        assert_eq!(tunnel.get(target, &[HEADER]).await.status, 200, "{target}");
        assert_eq!(
            stub.take_one().target,
            target,
            "the path is compared and sent as it is"
        );
    }
    for target in ["/v10", "/", "/v2/v1", "/v1/../v2"] {
        assert_refused(
            &tunnel.get(target, &[HEADER]).await,
            "credential_not_allowed",
        );
    }
    for target in ["/v1/%2e%2e/v2", "/v1\\..\\v2", "/v1%2fx"] {
        assert_refused(&tunnel.get(target, &[HEADER]).await, "request_ambiguous");
    }
    let post = crate::client::request("POST", "/v1", &[HEADER], "");
    assert_refused(&tunnel.roundtrip(post).await, "credential_not_allowed");
    let other = Wanted::new(&world).authorized(basic("act-2", &world.token));
    let answer = world.tunnel_for(&other).await.get("/v1", &[HEADER]).await;
    assert_refused(&answer, "credential_not_allowed");
    assert_eq!(stub.take().len(), 0);
}

#[tokio::test]
async fn two_principals_use_their_own_values_of_one_slug() {
    let (world, stub) = one_upstream().await;
    world
        .save(SLUG, "bobs-own-value", &["--host", HOST, "--owner", "bob"])
        .await;
    let bob = world.client("bobs-laptop", "bob").await;
    let as_bob = Wanted::new(&world).authorized(basic("act-1", &bob));
    world.tunnel_for(&as_bob).await.get("/x", &[HEADER]).await;
    assert_eq!(
        stub.take_one().header("x-api-key").as_deref(),
        Some("bobs-own-value")
    );
    world.tunnel().await.get("/x", &[HEADER]).await;
    assert_eq!(stub.take_one().header("x-api-key").as_deref(), Some(VALUE));
}

#[tokio::test]
async fn fields_of_a_login_are_used_one_by_one() {
    let (world, stub) = one_upstream().await;
    let login = r#"{"username":"ada@example.test","password":"correct horse"}"#;
    world
        .save(
            "crm",
            login,
            &[
                "--kind", "login", "--host", HOST, "--in", "header", "--in", "body",
            ],
        )
        .await;
    let mut tunnel = world.tunnel().await;
    let body = r#"{"u":"<<crm.username>>","p":"<<crm.password>>"}"#;
    assert_eq!(
        tunnel.post("/login", "application/json", body).await.status,
        200
    );
    let arrived: serde_json::Value = serde_json::from_slice(&stub.take_one().body).expect("JSON");
    assert_eq!(
        arrived,
        serde_json::json!({"u": "ada@example.test", "p": "correct horse"})
    );
    for header in ["X: <<crm>>", "X: <<crm.token>>"] {
        let answer = tunnel.get("/x", &[header]).await;
        assert_eq!(answer.status, 422);
        assert_refused(&answer, "credential_field_unknown");
    }
    assert_refused(
        &tunnel.get("/x", &["X: <<pat.username>>"]).await,
        "credential_field_unknown",
    );
    assert_eq!(stub.take().len(), 0);
}

#[tokio::test]
async fn a_value_is_write_only() {
    let (world, _stub) = one_upstream().await;
    world.tunnel().await.get("/x", &[HEADER]).await;
    let forms = crate::leak::forms(VALUE.as_bytes());
    for args in [
        &["credential", "list"][..],
        &["credential", "list", "--json"],
        &["credential", "show", SLUG],
        &["credential", "show", SLUG, "--json"],
        &["ledger", "tail"],
        &["ledger", "tail", "--json"],
        &["config", "show"],
    ] {
        let output = world.run(args).await;
        let text = format!("{}{}", output.stdout, output.stderr);
        assert!(output.status.success(), "{args:?}: {text}");
        crate::leak::assert_absent(&args.join(" "), text.as_bytes(), &forms);
    }
}

#[tokio::test]
async fn the_list_says_what_the_reference_promises() {
    let (world, _stub) = one_upstream().await;
    let list = world.run(&["credential", "list", "--json"]).await.json();
    let entry = &list.as_array().expect("an array")[0];
    let mut keys: Vec<&str> = entry
        .as_object()
        .expect("an object")
        .keys()
        .map(String::as_str)
        .collect();
    keys.sort_unstable();
    let mut promised = [
        "slug",
        "owner",
        "kind",
        "description",
        "hosts",
        "locations",
        "methods",
        "paths",
        "actions",
        "version",
        "state",
        "created",
        "rotated",
        "expires",
        "last_used",
        "rejected_since",
        "rotation_due",
        "copies",
        "max_uses",
        "approve",
    ];
    promised.sort_unstable();
    assert_eq!(keys, promised);
    assert_eq!(entry["slug"], SLUG);
    assert_eq!(entry["owner"], "default");
    assert_eq!(entry["hosts"], serde_json::json!([HOST]));
}

#[tokio::test]
async fn an_empty_value_and_a_value_as_argument_are_refused() {
    let (world, _stub) = one_upstream().await;
    for stdin in [&b""[..], b"\n"] {
        let output = world
            .run_with(&["credential", "add", "empty", "--host", HOST], stdin)
            .await;
        assert_eq!(output.status.code(), Some(1), "{output:?}");
    }
    let output = world
        .run(&["credential", "add", "arg", "the-value", "--host", HOST])
        .await;
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let no_host = world
        .run_with(&["credential", "add", "nohost"], b"value\n")
        .await;
    assert_eq!(no_host.status.code(), Some(2), "{no_host:?}");
    let list = world.run(&["credential", "list", "--json"]).await.json();
    assert_eq!(list.as_array().expect("an array").len(), 1);
}

#[tokio::test]
async fn an_empty_list_says_whether_others_have_credentials() {
    let (world, _stub) = crate::world::one_upstream_with(World::builder()).await;
    let said = async |owner: &str| {
        let listed = world.run(&["credential", "list", "--owner", owner]).await;
        assert!(listed.status.success() && listed.stdout.is_empty());
        listed.stderr
    };
    assert!(said("alice").await.contains("list --all"));
    world.run(&["credential", "delete", SLUG]).await.ok();
    assert!(said("alice").await.contains("credential add SLUG"));
}

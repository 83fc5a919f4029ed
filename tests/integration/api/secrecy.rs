//! Values go in and never come out: not in answers, errors, the log, the ledger, the store or memory.

use serde_json::{Value, json};

use super::client::{Api, When, expect};
use crate::leak::{assert_absent, forms, in_tree};
use crate::wire::Response;
use crate::world::World;

/// Distinct enough to be found, and an argument that no field takes.
const CANARY: &str = "Zq7!canary \"v4lue\"/+9f3c=\u{e9}";

async fn alice(world: &World) -> Api<'_> {
    world.run(&["user", "add", "alice"]).await.ok();
    Api::of(world, "alice", "manage").await
}

/// Every byte of an answer.
fn bytes(answer: &Response) -> Vec<u8> {
    let mut bytes = format!("{answer:?}").into_bytes();
    bytes.extend_from_slice(answer.text().as_bytes());
    bytes
}

#[tokio::test]
async fn a_value_is_in_no_answer_log_ledger_or_file() {
    let world = World::builder().start().await;
    let alice = alice(&world).await;
    let key = "/credentials/alice/key";
    let versions = "/credentials/alice/key/versions";
    let value = json!({ "value": CANARY, "hosts": ["api.example.test"] });
    let login = json!({ "kind": "login", "hosts": ["api.example.test"],
        "value": { "username": "u", "password": CANARY } });
    let file = format!("KEY='{CANARY}'\n");
    let mut answers = vec![
        alice.put(key, When::New, value.clone()).await,
        alice.put("/credentials/alice/crm", When::New, login).await,
        alice
            .post(
                versions,
                When::Any,
                json!({ "value": CANARY, "stage": true }),
            )
            .await,
        alice
            .post(
                "/credentials/alice/key/versions/promote",
                When::Any,
                json!({}),
            )
            .await,
        alice
            .post(
                "/import",
                When::Always,
                json!({ "content": file, "save": true,
                "hosts": { "key-2": ["api.example.test"] } }),
            )
            .await,
        alice.put(key, When::New, value).await,
    ];
    expect(&answers[0], 201);
    expect(&answers[2], 200);
    for path in [
        "/credentials",
        key,
        "/credentials/alice/crm",
        "/credentials/alice/key/usage",
        "/credentials/alice/key/uses",
        "/ledger",
        "/explain/key",
        "/me",
    ] {
        answers.push(alice.get(path).await);
    }
    let forms = forms(CANARY.as_bytes());
    for answer in &answers {
        assert_absent("an answer", &bytes(answer), &forms);
    }
    assert_absent("the log", &world.log_bytes(), &forms);
    assert_absent("the ledger", &world.ledger_bytes(), &forms);
    assert!(in_tree(&world.data, &forms).is_empty());
}

/// Places where a value is sent by mistake, or around which a request is broken.
fn mistakes() -> Vec<(&'static str, &'static str, String)> {
    let key = "/credentials/alice/new";
    let canary = json!(CANARY);
    let mut all: Vec<(&str, &str, String)> = [
        "value",
        "kind",
        "description",
        "service",
        "hosts",
        "locations",
        "methods",
        "paths",
        "actions",
        "expires",
        "rotate_every",
    ]
    .into_iter()
    .flat_map(|member| {
        let nested = [
            canary.clone(),
            json!([CANARY]),
            json!({ CANARY: CANARY }),
            json!([[CANARY]]),
        ];
        nested.map(|wrong| {
            let mut body = json!({ "value": 1, "hosts": ["api.example.test"] });
            body[member] = wrong;
            ("PUT", key, body.to_string())
        })
    })
    .collect();
    for broken in [
        format!("{{\"value\": {CANARY}}}"),
        format!("{{\"value\": {canary}"),
        format!("{{\"value\": {canary}}} {canary}"),
        format!("{{{canary}: 1}}"),
        format!("{{\"value\": {canary}, \"value\": {canary}}}"),
        format!("[{canary}]"),
        canary.to_string(),
        CANARY.to_owned(),
    ] {
        all.push(("PUT", key, broken.clone()));
        all.push(("POST", "/import", broken.clone()));
        all.push(("POST", "/credentials/alice/key/versions", broken));
    }
    for content in [
        CANARY.to_owned(),
        format!("A={CANARY}\n{CANARY}"),
        format!("{{\"a\": {CANARY}"),
    ] {
        all.push((
            "POST",
            "/import",
            json!({ "content": content, "format": "env" }).to_string(),
        ));
        all.push(("POST", "/import", json!({ "content": content }).to_string()));
        all.push((
            "POST",
            "/import",
            json!({ "content": "A=b", "format": content }).to_string(),
        ));
        all.push((
            "POST",
            "/import",
            json!({ "content": "A=b", "hosts": { content: [] } }).to_string(),
        ));
    }
    let limits = |members: Value| ("PUT", "/credentials/alice/key/limits", members.to_string());
    all.push(limits(json!({ "hosts": [CANARY] })));
    all.push(limits(
        json!({ "hosts": ["a.test"], "locations": [format!("header:{CANARY}")] }),
    ));
    all.push((
        "PUT",
        "/credentials/alice/key/shares/alice",
        json!({ "actions": [CANARY] }).to_string(),
    ));
    all.push(("PUT", "/users/carol", json!({ "role": CANARY }).to_string()));
    all.push(("POST", "/tokens", json!({ "action": CANARY }).to_string()));
    all
}

#[tokio::test]
async fn no_error_repeats_a_word_of_what_was_sent() {
    let world = World::builder().start().await;
    let alice = alice(&world).await;
    let value = json!({ "value": "v", "hosts": ["api.example.test"] });
    expect(
        &alice.put("/credentials/alice/key", When::New, value).await,
        201,
    );
    let mut forms = forms(CANARY.as_bytes());
    forms.extend(crate::leak::forms(b"v4lue"));
    for (method, path, body) in mistakes() {
        let when = match path {
            "/credentials/alice/new" | "/users/carol" => When::New,
            _ => When::Any,
        };
        let answer = alice.send_text(method, path, when, Some(&body)).await;
        // Any text may be a value. A description is shown again, beside what is wrong with another.
        let is_text = body.contains("\"description\":\"") || body.contains("\"value\":\"Zq7");
        if is_text && path == "/credentials/alice/new" {
            continue;
        }
        assert!((400..500).contains(&answer.status), "{body}: {answer:#?}");
        assert_absent(&format!("the answer to {path}"), &bytes(&answer), &forms);
    }
    assert_absent("the log", &world.log_bytes(), &forms);
    assert_absent("the ledger", &world.ledger_bytes(), &forms);
}

#[tokio::test]
async fn a_value_has_at_most_64_kib_and_a_broken_off_request_changes_nothing() {
    let world = World::builder().start().await;
    let alice = alice(&world).await;
    let path = "/credentials/alice/key";
    for length in [64 * 1024 + 1, 600 * 1024] {
        let value = json!({ "value": "x".repeat(length), "hosts": ["api.example.test"] });
        expect(&alice.put(path, When::New, value).await, 413);
    }
    let value = json!({ "value": "x".repeat(64 * 1024), "hosts": ["api.example.test"] });
    let body = value.to_string();
    let request = alice.request("PUT", path, When::New, Some(&body));
    for cut in [
        request.len() - 1,
        request.len() - 1000,
        request.len() - body.len(),
    ] {
        let mut wire = alice.connect().await;
        wire.send(&request[..cut]).await.expect("send a part");
        drop(wire);
    }
    expect(&alice.get(path).await, 404);
    expect(&alice.put(path, When::New, value).await, 201);
}

//! The document that describes the API.

use serde_json::json;

use super::client::{Api, When, expect, expect_problem};
use crate::world::World;

#[tokio::test]
async fn the_document_is_as_it_was_agreed() {
    let world = World::builder().start().await;
    // Anyone may read what the API is like.
    let answer = Api::nobody(&world).get("/openapi.json").await;
    expect(&answer, 200);
    let document = answer.json();
    assert_eq!(document["openapi"], "3.1.0");
    crate::golden::check("openapi.json", &answer.text());
}

#[tokio::test]
async fn what_is_not_there_or_not_possible_is_said_in_the_same_form() {
    let world = World::builder().start().await;
    world.run(&["user", "add", "alice"]).await.ok();
    let alice = Api::of(&world, "alice", "manage").await;
    expect_problem(&alice.get("/nothing").await, "not_found");
    let answer = alice.send("POST", "/me", When::Always, None).await;
    expect_problem(&answer, "method_not_allowed");
    expect_problem(&Api::nobody(&world).get("/me").await, "unauthenticated");
    for path in [
        "/credentials/alice/%FF",
        "/credentials/Alice/x",
        "/users/%00",
    ] {
        expect_problem(&alice.get(path).await, "not_found");
    }
}

/// What is to be made has a name in its path. One that cannot be a name is said, and not repeated.
#[tokio::test]
async fn a_name_that_nothing_can_have_is_said_where_it_is_made() {
    let world = World::builder().start().await;
    let add = ["user", "add", "olga", "--role", "administrator"];
    world.run(&add).await.ok();
    let olga = Api::of(&world, "olga", "manage").await;
    let hosts = json!({ "value": "v", "hosts": ["api.example.test"] });
    for (path, body, field) in [
        ("/credentials/olga/Hunter2", hosts, "slug"),
        ("/groups/Hunter2", json!({}), "group"),
        ("/users/Hunter2", json!({}), "user"),
        ("/clients/Hunter2", json!({}), "client"),
        ("/bundles/olga/Hunter2", json!({}), "name"),
    ] {
        let answer = olga.put(path, When::New, body).await;
        expect_problem(&answer, "invalid");
        assert_eq!(answer.json()["errors"][0]["field"], field, "{path}");
        assert!(!answer.text().contains("Hunter2"), "{}", answer.text());
        expect_problem(&olga.get(path).await, "not_found");
    }
}

/// Each parameter that is wrong is named, and none is repeated: a value may be in it.
#[tokio::test]
async fn a_parameter_that_is_wrong_is_named() {
    let world = World::builder().start().await;
    world.run(&["user", "add", "alice"]).await.ok();
    let alice = Api::of(&world, "alice", "manage").await;
    for (query, field, part) in [
        ("/credentials?ownr=alice", "owner", "it is called `owner`"),
        ("/credentials?hunter2hunter2=1", "", "unknown parameter"),
        ("/credentials?limit=hunter2", "limit", "out of range"),
        ("/credentials?limit=0", "limit", "out of range"),
        ("/credentials?due=true&limit=501", "limit", "out of range"),
        ("/credentials?due=hunter2&limit=5", "due", "not of its form"),
        ("/credentials?limit=5&limit=6", "limit", "twice"),
        ("/credentials?owner=Hunter2%20x", "owner", ""),
        (
            "/ledger?before=18446744073709551616",
            "before",
            "out of range",
        ),
        ("/ledger?since=hunter2", "since", "2027-01-31"),
        ("/ledger?order=hunter2", "", "unknown parameter"),
        ("/credentials?after=hunter2", "after", "`next`"),
        ("/me?hunter2=1", "", "no parameters here"),
        ("/users/alice?since=hunter2", "", "no parameters here"),
        (
            "/credentials/alice/x/usage?since=hunter2",
            "",
            "no parameters",
        ),
    ] {
        let answer = alice.get(query).await;
        expect_problem(&answer, "invalid");
        let problem = answer.json();
        let wrong = &problem["errors"][0];
        assert_eq!(wrong["field"], field, "{query}: {problem}");
        let detail = wrong["detail"].as_str().expect("a detail");
        assert!(detail.contains(part), "{query}: {problem}");
        assert!(
            !answer.text().to_lowercase().contains("hunter2"),
            "{problem}"
        );
    }
    let twice = format!(
        "GET /api/v1/me HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nAuthorization: Bearer {}\r\n\
         Authorization: Bearer x\r\n\r\n",
        world.admin,
        alice.token.as_deref().expect("a token")
    );
    let mut wire = alice.connect().await;
    wire.send(twice).await.expect("send a request");
    let answer = crate::within("an answer", wire.response(false)).await;
    expect_problem(&answer.expect("an answer"), "malformed");
}

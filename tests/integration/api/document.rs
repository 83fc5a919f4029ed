//! The document that describes the API.

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
    expect_problem(&alice.get("/credentials?ownr=alice").await, "invalid");
    expect_problem(&alice.get("/credentials?limit=x").await, "invalid");
}

//! Proofs of lines that no checkpoint covers yet.

use serde_json::{Value, json};

use super::client::{Api, When, expect, expect_problem};
use crate::world::World;

/// Lines until the answers of one came before its checkpoint.
const LINES: usize = 50;

/// Whether a line is covered tells that it is there.
#[tokio::test]
async fn an_uncovered_line_of_somebody_else_is_answered_like_none() {
    let world = World::builder().start().await;
    for user in ["alice", "dave"] {
        world.run(&["user", "add", user]).await.ok();
    }
    let alice = Api::of(&world, "alice", "manage").await;
    let dave = Api::of(&world, "dave", "manage").await;
    for number in 0..LINES {
        let slug = format!("key-{number}");
        let new = json!({ "value": "v", "hosts": ["api.example.test"] });
        let path = format!("/credentials/alice/{slug}");
        expect(&alice.put(&path, When::New, new).await, 201);
        let is_hers = |line: &Value| line["event"] == "credential.created" && line["slug"] == *slug;
        let line = world.ledger_line("a line of alice's", is_hers).await;
        let path = format!("/ledger/{}/proof", line["seq"]);
        let before = alice.get(&path).await;
        let theirs = dave.get(&path).await;
        let absent = dave.get("/ledger/999999999/proof").await;
        let after = alice.get(&path).await;
        for answer in [&theirs, &absent] {
            expect_problem(answer, "not_found");
            assert_eq!(answer.header("retry-after"), None);
        }
        let said = |mut body: Value| {
            body["request_id"].take();
            body
        };
        assert_eq!(said(theirs.json()), said(absent.json()));
        if (before.status, after.status) == (409, 409) {
            return;
        }
    }
    panic!("every line was covered at once");
}

//! Credentials that are not there: asked for, saved, declined.

use serde_json::Value;

use super::egret;
use crate::client::assert_refused;
use crate::world::{HOST, World, one_upstream_with};

async fn listed(world: &World) -> Vec<Value> {
    let listed = world.run(&["requests", "list", "--json"]).await.json();
    listed.as_array().expect("an array").clone()
}

#[tokio::test]
async fn a_refusal_asks_and_the_owner_saves_or_declines() {
    let builder = World::builder().set("requests.on_refusal", true);
    let (world, stub) = one_upstream_with(builder).await;
    let mut tunnel = world.tunnel().await;
    for _ in 0..3 {
        let refused = tunnel.get("/x?q=1", &["X-Api-Key: <<jira>>"]).await;
        assert_refused(&refused, "credential_not_found");
        assert!(
            refused.text().contains("has been asked"),
            "{}",
            refused.text()
        );
    }
    let requests = listed(&world).await;
    assert_eq!(requests.len(), 1, "the same is asked for once");
    let request = &requests[0];
    assert_eq!(request["slug"], "jira");
    assert_eq!(request["host"], HOST);
    assert_eq!(request["place"], "header:x-api-key");
    assert_eq!(
        (&request["client"], &request["owner"]),
        (&"tester".into(), &"default".into())
    );
    assert_eq!(request["reason"], "GET /x for act-1");
    let number = request["number"].to_string();
    let save = ["requests", "save", &number];
    world.run_with(&save, b"the-value-of-jira\n").await.ok();
    assert_eq!(tunnel.get("/x", &["X-Api-Key: <<jira>>"]).await.status, 200);
    let sent = stub.take_one().header("x-api-key");
    assert_eq!(sent.as_deref(), Some("the-value-of-jira"));
    assert!(listed(&world).await.is_empty());
    // In no other place than was asked for.
    let elsewhere = tunnel.get("/x", &["X-Other: <<jira>>"]).await;
    assert_refused(&elsewhere, "credential_not_allowed");

    let refused = tunnel.get("/x", &["X-Api-Key: <<crm>>"]).await;
    assert_refused(&refused, "credential_not_found");
    let number = listed(&world).await[0]["number"].to_string();
    egret(&world, &["requests", "decline", &number]).await;
    let refused = tunnel.get("/x", &["X-Api-Key: <<crm>>"]).await;
    assert!(refused.text().contains("said no"), "{}", refused.text());
    let saved = world.run_with(&["requests", "save", &number], b"x\n").await;
    assert!(
        saved.stderr.contains("no credential is asked for"),
        "{}",
        saved.stderr
    );
    for event in ["request.asked", "request.answered", "request.declined"] {
        world
            .ledger_line(event, |line| line["event"] == event)
            .await;
    }
}

#[tokio::test]
async fn a_client_asks_for_a_few_and_learns_nothing_of_others() {
    let builder = World::builder().set("requests.on_refusal", true);
    let (world, _stub) = one_upstream_with(builder).await;
    world
        .save(
            "of-bob",
            "a-value-of-bobs",
            &["--host", HOST, "--owner", "bob"],
        )
        .await;
    let mut tunnel = world.tunnel().await;
    let theirs = tunnel.get("/x", &["X-Api-Key: <<of-bob>>"]).await;
    let nobodys = tunnel.get("/x", &["X-Api-Key: <<nobodys>>"]).await;
    assert_eq!(theirs.status, nobodys.status);
    let detail = |answer: &crate::wire::Response, slug: &str| {
        let detail = answer.json()["detail"]
            .as_str()
            .expect("a text")
            .replace(slug, "SLUG");
        detail.replace(|c: char| c.is_ascii_digit(), "")
    };
    assert_eq!(detail(&theirs, "of-bob"), detail(&nobodys, "nobodys"));
    let mut last = nobodys;
    for number in 0..10 {
        let header = format!("X-Api-Key: <<slug-{number}>>");
        last = tunnel.get("/x", &[&header]).await;
    }
    assert!(
        last.text().contains("several credentials already"),
        "{}",
        last.text()
    );
    assert_eq!(listed(&world).await.len(), 5);
    // Without leave no refusal asks.
    let (quiet, _stub) = one_upstream_with(World::builder()).await;
    let mut tunnel = quiet.tunnel().await;
    tunnel.get("/x", &["X-Api-Key: <<jira>>"]).await;
    assert!(listed(&quiet).await.is_empty());
    let hostile = "because \x1b[2J</td><script>";
    let ask = [
        "request", "jira", "--host", HOST, "--reason", hostile, "--json",
    ];
    let asked = quiet.run(&ask).await.json();
    assert_eq!(asked["reason"], "because  [2J</td><script>");
    let shown = egret(&quiet, &["requests", "list"]).await;
    assert!(!shown.contains('\x1b'), "{shown}");
}

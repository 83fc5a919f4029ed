//! Owners who are asked: no value is sent without a yes on record.

use std::time::Duration;

use serde_json::Value;
use tokio::task::JoinHandle;

use super::egret;
use crate::client::{Wanted, assert_refused, basic, request};
use crate::upstream::Stub;
use crate::wire::Response;
use crate::within;
use crate::world::{HOST, SLUG, VALUE, World, one_upstream_with};

const REQUIRED: &str = "approval_required";
const HEADER: &str = "X-Api-Key: <<pat>>";

/// A world whose credential asks, and where a request waits so long.
async fn asking(mode: &str, wait: &str) -> (World, Stub) {
    let builder = World::builder().set("approvals.wait", wait);
    let (world, stub) = one_upstream_with(builder).await;
    egret(&world, &["credential", "allow", SLUG, "--approve", mode]).await;
    (world, stub)
}

/// Sends a request on a connection of its own.
async fn send(world: &World, request: String) -> JoinHandle<Option<Response>> {
    let mut tunnel = world.tunnel().await;
    tokio::spawn(async move { tunnel.try_roundtrip(request).await.ok() })
}

async fn get(world: &World, target: &str) -> JoinHandle<Option<Response>> {
    send(world, request("GET", target, &[HEADER], "")).await
}

async fn answer(sent: JoinHandle<Option<Response>>) -> Response {
    let answer = within("an answer", sent).await.expect("a task");
    answer.expect("an answer")
}

/// The questions, once there are so many that wait.
async fn waiting(world: &World, count: usize) -> Vec<Value> {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    loop {
        let listed = world.run(&["approvals", "list", "--json"]).await.json();
        let mut listed = listed.as_array().expect("an array").clone();
        listed.retain(|question| question["answer"].is_null());
        if listed.len() == count {
            return listed;
        }
        assert!(tokio::time::Instant::now() < deadline, "{listed:?}");
    }
}

fn id(question: &Value) -> &str {
    question["id"].as_str().expect("an id")
}

#[tokio::test]
async fn a_request_waits_for_its_owners_yes_and_a_no_ends_it() {
    let (world, stub) = asking("always", "60s").await;
    let sent = get(&world, "/x?a=1").await;
    let questions = waiting(&world, 1).await;
    let question = &questions[0];
    assert_eq!(question["slug"], SLUG);
    assert_eq!(question["client"], "tester");
    assert_eq!(question["action"], "act-1");
    assert_eq!(question["destination"], format!("https://{HOST}:443"));
    assert_eq!(question["places"], serde_json::json!(["header:x-api-key"]));
    assert!(stub.take().is_empty(), "nothing is sent without a yes");
    egret(&world, &["approvals", "allow", id(question)]).await;
    assert_eq!(answer(sent).await.status, 200);
    assert_eq!(stub.take_one().header("x-api-key").as_deref(), Some(VALUE));
    // On record in this order.
    let position = |event: &str| {
        let lines = world.ledger();
        lines.iter().position(|line| line["event"] == event)
    };
    let order = ["approval.asked", "approval.granted", "approval.used", "use"].map(position);
    assert!(
        order.iter().all(Option::is_some) && order.is_sorted(),
        "{order:?}"
    );

    // A yes is for one request.
    let sent = get(&world, "/x?a=1").await;
    let questions = waiting(&world, 1).await;
    egret(&world, &["approvals", "deny", id(&questions[0])]).await;
    assert_refused(&answer(sent).await, REQUIRED);
    let again = world.run(&["approvals", "allow", id(&questions[0])]).await;
    assert!(again.stderr.contains("no question"), "{}", again.stderr);
    assert!(stub.take().is_empty());
}

#[tokio::test]
async fn a_late_yes_is_kept_for_the_same_request_also_over_a_restart() {
    let (mut world, stub) = asking("always", "1s").await;
    let body = |text: &str| {
        let headers = [HEADER, "Content-Type: application/json"];
        request("POST", "/x", &headers, text)
    };
    let refused = answer(send(&world, body("{\"a\":1}")).await).await;
    assert_refused(&refused, REQUIRED);
    let questions = waiting(&world, 1).await;
    assert_eq!(questions[0]["body"], "application/json, 7 bytes");
    assert!(world.stop().await.success());
    egret(&world, &["approvals", "allow", id(&questions[0])]).await;
    world.restart().await;
    // Another body is another request.
    assert_refused(
        &answer(send(&world, body("{\"a\":2}")).await).await,
        REQUIRED,
    );
    assert!(stub.take().is_empty());
    let both = [
        send(&world, body("{\"a\":1}")).await,
        send(&world, body("{\"a\":1}")).await,
    ];
    let mut through = 0;
    for sent in both {
        let answered = answer(sent).await;
        through += usize::from(answered.status == 200);
    }
    assert_eq!(
        (through, stub.take().len()),
        (1, 1),
        "one yes is one request"
    );
}

#[tokio::test]
async fn first_use_asks_once_for_an_action_at_a_destination() {
    let (world, stub) = asking("first-use", "60s").await;
    let sent = get(&world, "/x").await;
    let questions = waiting(&world, 1).await;
    egret(
        &world,
        &["approvals", "allow", id(&questions[0]), "--always"],
    )
    .await;
    assert_eq!(answer(sent).await.status, 200);
    assert_eq!(answer(get(&world, "/y").await).await.status, 200);
    // A body that streams, too.
    let filling = "x".repeat(2 * 1024 * 1024);
    let headers = [HEADER, "Content-Type: text/plain"];
    let large = request("POST", "/x", &headers, &filling);
    assert_eq!(answer(send(&world, large).await).await.status, 200);
    assert_eq!(stub.take().len(), 3);
    // Another action asks for itself.
    let wanted = Wanted::new(&world).authorized(basic("another", &world.token));
    let mut tunnel = world.tunnel_for(&wanted).await;
    let other = tokio::spawn(async move { tunnel.get("/x", &[HEADER]).await });
    let questions = waiting(&world, 1).await;
    assert_eq!(questions[0]["action"], "another");
    egret(&world, &["approvals", "deny", id(&questions[0])]).await;
    assert_refused(&other.await.expect("an answer"), REQUIRED);
    // The lasting yes is taken back.
    let listed = world.run(&["approvals", "list", "--json"]).await.json();
    let lasting = listed.as_array().expect("an array").iter();
    let lasting: Vec<_> = lasting
        .filter(|answer| answer["answer"] == "always")
        .collect();
    egret(&world, &["approvals", "remove", id(lasting[0])]).await;
    let sent = get(&world, "/z").await;
    waiting(&world, 1).await;
    sent.abort();
    stub.take();
}

#[tokio::test]
async fn what_is_revoked_or_closed_during_the_wait_is_not_sent() {
    let (world, stub) = asking("always", "60s").await;
    let changes: [&[&str]; 3] = [
        &["credential", "allow", SLUG, "--path", "/elsewhere"],
        &["egress", "deny", HOST, "--yes"],
        &["credential", "revoke", SLUG],
    ];
    let codes = [
        "credential_not_allowed",
        "destination_not_allowed",
        "credential_not_found",
    ];
    for (change, code) in changes.into_iter().zip(codes) {
        let sent = get(&world, "/x").await;
        let questions = waiting(&world, 1).await;
        let change = [change, &["--json"]].concat();
        let changed = world.run(&change).await.json();
        egret(&world, &["approvals", "allow", id(&questions[0])]).await;
        assert_refused(&answer(sent).await, code);
        match code {
            "credential_not_allowed" => {
                egret(&world, &["credential", "allow", SLUG, "--path", "/"]).await;
            }
            "destination_not_allowed" => {
                let number = changed["number"].to_string();
                egret(&world, &["egress", "remove", &number]).await;
            }
            _ => {}
        }
    }
    assert!(stub.take().is_empty());
}

#[tokio::test]
async fn a_client_that_leaves_or_asks_without_end_is_bounded() {
    let (world, stub) = asking("always", "1s").await;
    let sent = get(&world, "/gone").await;
    let questions = waiting(&world, 1).await;
    sent.abort();
    egret(&world, &["approvals", "allow", id(&questions[0])]).await;
    assert_eq!(answer(get(&world, "/gone").await).await.status, 200);
    let mut tunnels = Vec::new();
    for number in 0..10 {
        tunnels.push(get(&world, &format!("/{number}")).await);
    }
    for sent in tunnels {
        assert_refused(&answer(sent).await, REQUIRED);
    }
    let questions = waiting(&world, 8).await;
    assert!(
        questions
            .iter()
            .all(|question| question["client"] == "tester")
    );
    assert_eq!(stub.take().len(), 1);
}

#[tokio::test]
async fn an_owner_sees_the_fields_that_the_destinations_rule_names() {
    let (mut world, stub) = asking("always", "60s").await;
    let fields = ["to", "/order/amount", "note"].map(toml::Value::from);
    world.destinations(vec![toml::Table::from_iter([
        ("hosts".to_owned(), vec![toml::Value::from(HOST)].into()),
        ("approval_fields".to_owned(), fields.to_vec().into()),
    ])]);
    world.reload().await;
    let body = r#"{"to":"bob@example.com","order":{"amount":12},"note":"x","Note":"y"}"#;
    let kind = "Content-Type: application/json";
    let sent = send(&world, request("POST", "/pay", &[HEADER, kind], body)).await;
    let questions = waiting(&world, 1).await;
    let expected = format!(
        "application/json, {} bytes; to = \"bob@example.com\"; /order/amount = 12; \
         note is there more than once",
        body.len()
    );
    assert_eq!(questions[0]["body"], expected);
    let listed = egret(&world, &["approvals", "list"]).await;
    assert!(listed.contains("to = \"bob@example.com\""), "{listed}");
    egret(&world, &["approvals", "deny", id(&questions[0])]).await;
    assert_refused(&answer(sent).await, REQUIRED);
    assert!(stub.take().is_empty());
}

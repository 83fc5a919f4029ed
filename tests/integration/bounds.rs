//! What one request can make Egret write and hold.

use std::fs;

use crate::client::{assert_refused, request};
use crate::coded::chunked;
use crate::world::{HOST, SLUG, VALUE, World, one_upstream};

/// Most memory that the server may have held at once, in KiB. The largest input here is a megabyte.
const MOST_MEMORY: u64 = 256 * 1024;
/// Most bytes of a ledger line.
const LONGEST_LINE: usize = 32 * 1024;

/// The most memory that the server has held at once since its start, in KiB.
fn peak_memory(world: &World) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", world.pid())).expect("a status");
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let number = line.and_then(|line| line.split_whitespace().nth(1));
    number.expect("VmHWM").parse().expect("a number")
}

async fn assert_well(world: &World) {
    assert!(
        peak_memory(world) < MOST_MEMORY,
        "{} KiB",
        peak_memory(world)
    );
    let ledger = world.ledger_bytes();
    let longest = ledger.split(|byte| *byte == b'\n').map(<[u8]>::len).max();
    assert!(longest.unwrap_or_default() < LONGEST_LINE, "{longest:?}");
    let header = format!("Authorization: Bearer <<{SLUG}>>");
    let answer = world.tunnel().await.get("/after", &[&header]).await;
    assert_eq!(answer.status, 200, "the next request is served");
    let verified = world.run(&["ledger", "verify"]).await;
    assert!(verified.status.success(), "the ledger can be read");
}

fn denials(world: &World) -> usize {
    let denied = |line: &serde_json::Value| line["event"] == "denied";
    world.ledger().into_iter().filter(denied).count()
}

fn unknown(count: usize) -> String {
    (0..count).map(|n| format!("<<slug-{n}>> ")).collect()
}

fn post(path: &str, body: &str) -> String {
    request("POST", path, &["Content-Type: text/plain"], body)
}

#[tokio::test]
async fn any_number_of_unknown_slugs_is_one_refusal_and_one_line() {
    let (world, _stub) = one_upstream().await;
    let path = format!("/{}", "p".repeat(60_000));
    for count in [300, 20_000] {
        let before = denials(&world);
        let mut tunnel = world.tunnel().await;
        let answer = tunnel.roundtrip(post(&path, &unknown(count))).await;
        assert_refused(&answer, "body_too_large");
        assert_eq!(denials(&world), before + 1, "{count}");
    }
    let said = |line: &serde_json::Value| line["locations"] == serde_json::json!(["20000 places"]);
    world.ledger_line("a line that says how many", said).await;
    // Fewer are named each.
    let mut tunnel = world.tunnel().await;
    let answer = tunnel.roundtrip(post(&path, &unknown(200))).await;
    assert_refused(&answer, "credential_not_found");
    assert_well(&world).await;
}

#[tokio::test]
async fn any_number_of_ignored_slugs_fits_a_header() {
    let (mut world, _stub) = one_upstream().await;
    let rule = toml::toml! {
        hosts = ["api.example.test"]
        unresolved = "ignore"
    };
    world.destinations(vec![rule]);
    world.reload().await;
    let mut tunnel = world.tunnel().await;
    let answer = tunnel.roundtrip(post("/", &unknown(200))).await;
    assert_eq!(answer.status, 200);
    assert!(answer.header("egret-ignored").unwrap().len() < 8 * 1024);
    let answer = tunnel.roundtrip(post("/", &unknown(40_000))).await;
    assert_refused(&answer, "body_too_large");
    assert_well(&world).await;
}

#[tokio::test]
async fn a_streaming_body_has_one_line_for_each_slug() {
    let (world, stub) = one_upstream().await;
    world
        .run(&[
            "credential",
            "allow",
            SLUG,
            "--in",
            "body",
            "--in",
            "header",
        ])
        .await
        .status
        .success()
        .then_some(())
        .unwrap();
    let body = format!("<<{SLUG}>> ").repeat(5_000) + &"x".repeat(1 << 20);
    let head = request(
        "POST",
        "/",
        &["Content-Type: text/plain", "Transfer-Encoding: chunked"],
        "",
    );
    let raw = [head.into_bytes(), chunked(body.as_bytes(), 60_000)].concat();
    let answer = world.tunnel().await.roundtrip(raw).await;
    assert_eq!(answer.status, 200);
    let seen = stub.take_one();
    assert_eq!(
        seen.body,
        body.replace(&format!("<<{SLUG}>>"), VALUE).into_bytes()
    );
    let used = |line: &&serde_json::Value| line["event"] == "use";
    let ledger = world.ledger();
    assert_eq!(ledger.iter().filter(used).count(), 1);
    assert_well(&world).await;
}

#[tokio::test]
async fn what_values_add_to_a_request_is_bounded_in_all() {
    let (world, stub) = one_upstream().await;
    let limits = [
        "--host", HOST, "--in", "header", "--in", "query", "--in", "body",
    ];
    world.save("long", "v".repeat(65_000), &limits).await;
    let line = format!("X-Many: {}", "<<long>>".repeat(80));
    let lines = vec![line.as_str(); 70];
    let query = format!("/?q={}", "<<long>>".repeat(4));
    for (raw, code) in [
        (request("GET", "/", &lines, ""), "headers_too_large"),
        (request("GET", &query, &[], ""), "target_too_long"),
        (post("/", &"<<long>>".repeat(2_000)), "body_too_large"),
    ] {
        let answer = world.tunnel().await.roundtrip(&raw).await;
        assert_refused(&answer, code);
    }
    assert_eq!(stub.take().len(), 0);
    let used = |line: &serde_json::Value| line["event"] == "use";
    assert!(!world.ledger().iter().any(used), "nothing was used");
    // What fits goes through.
    let once = request(
        "POST",
        "/",
        &["X-One: <<long>>", "Content-Type: text/plain"],
        "<<long>>",
    );
    assert_eq!(world.tunnel().await.roundtrip(once).await.status, 200);
    assert_well(&world).await;
}

#[tokio::test]
async fn a_line_names_so_many_places_and_says_how_many_more_there_are() {
    let (world, _stub) = one_upstream().await;
    let query: String = (0..2_000)
        .map(|n| format!("{n}{}=<<nope>>&", "n".repeat(3)))
        .collect();
    let answer = world.tunnel().await.get(&format!("/?{query}"), &[]).await;
    assert_refused(&answer, "credential_not_found");
    let limits = ["--host", HOST, "--in", "query"];
    world.save("everywhere", "0123456789abcdef", &limits).await;
    let query: String = (0..1_500).map(|n| format!("{n}=<<everywhere>>&")).collect();
    let answer = world.tunnel().await.get(&format!("/?{query}"), &[]).await;
    assert_eq!(answer.status, 200);
    let named = |line: &serde_json::Value| {
        line["event"] == "use"
            && line["locations"]
                .as_array()
                .is_some_and(|l| l.last().unwrap() == "and 1436 more")
    };
    world.ledger_line("a line that names some", named).await;
    let long = format!("/?{}=<<everywhere>>", "k".repeat(5_000));
    assert_eq!(world.tunnel().await.get(&long, &[]).await.status, 200);
    assert_well(&world).await;
}

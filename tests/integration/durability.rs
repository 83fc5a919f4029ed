//! The ledger as evidence: lines are on disk before the value leaves, they are chained, and no
//! value leaves while they cannot be written.

use std::sync::{Arc, Mutex};

use aws_lc_rs::digest::{SHA256, digest};
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::Value;

use crate::client::{assert_refused, request};
use crate::eventually;
use crate::upstream::{Step, ok};
use crate::world::{HOST, SLUG, VALUE, World, one_upstream, one_upstream_with, parse_ledger};

const HEADER: &str = "X-Api-Key: <<pat>>";

/// Lower-case hex SHA-256 of a line without its newline.
pub fn line_hash(line: &[u8]) -> String {
    digest(&SHA256, line)
        .as_ref()
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect()
}

/// Checks a ledger's chain, without using the writer's code.
pub fn verify_chain(lines: &[&[u8]]) -> Result<(), String> {
    verify_chain_from(lines, Some("0".repeat(64)))
}

/// [`verify_chain`] of lines before which others were dropped.
pub fn verify_chain_from(lines: &[&[u8]], before: Option<String>) -> Result<(), String> {
    let mut prev = before;
    let mut seq = None;
    for (at, line) in lines.iter().enumerate() {
        let record: Value = serde_json::from_slice(line).map_err(|e| format!("line {at}: {e}"))?;
        if prev.is_some_and(|prev| record["prev"] != prev.as_str()) {
            return Err(format!("line {at} does not follow the line before it"));
        }
        let number = record["seq"]
            .as_u64()
            .ok_or_else(|| format!("line {at} has no number"))?;
        if seq.is_some_and(|before| number != before + 1) {
            return Err(format!("line {at} has number {number}"));
        }
        seq = Some(number);
        prev = Some(line_hash(line));
    }
    Ok(())
}

#[tokio::test]
async fn the_use_is_on_disk_before_the_value_reaches_the_upstream() {
    let (world, stub) = one_upstream().await;
    let path = world.ledger_path();
    let found: Arc<Mutex<Vec<bool>>> = Arc::default();
    let notes = found.clone();
    stub.serve(move |request| {
        // Runs when the request has arrived and before it is answered.
        let lines = parse_ledger(&std::fs::read(&path).unwrap_or_default());
        let path_used = request.path().to_owned();
        let used =
            |l: &Value| l["event"] == "use" && l["slug"] == SLUG && l["path"] == path_used.as_str();
        notes.lock().unwrap().push(lines.iter().any(used));
        async { vec![Step::Send(ok("ok"))] }
    });
    let mut tunnel = world.tunnel().await;
    for i in 0..20 {
        tunnel.get(&format!("/{i}"), &[HEADER]).await;
    }
    assert_eq!(*found.lock().unwrap(), vec![true; 20]);
}

#[tokio::test]
async fn every_request_with_a_placeholder_has_a_use_and_a_result() {
    let (world, stub) = one_upstream().await;
    world
        .save("second", "another-value-2", &["--host", HOST])
        .await;
    stub.answer("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
    let mut tunnel = world.tunnel().await;
    let answer = tunnel
        .get(
            "/x?q=1",
            &["X-A: <<pat>>", "X-B: <<second>>", "Egret-Run: run-1"],
        )
        .await;
    assert_eq!(answer.status, 404);
    let id = answer.header("egret-request").expect("Egret-Request");
    let result = world
        .ledger_line("a result", |l| l["event"] == "result")
        .await;
    let uses: Vec<Value> = world
        .ledger()
        .into_iter()
        .filter(|l| l["event"] == "use")
        .collect();
    let mut slugs: Vec<&str> = uses
        .iter()
        .map(|l| l["slug"].as_str().expect("a slug"))
        .collect();
    slugs.sort_unstable();
    assert_eq!(slugs, ["pat", "second"]);
    for line in uses.iter().chain([&result]) {
        assert_eq!(line["request"], id.as_str());
        assert_eq!(line["run"], "run-1");
        assert_eq!(line["method"], "GET");
        assert_eq!(line["destination"], "https://api.example.test:443");
        assert_eq!(line["path"], "/x", "no query string");
    }
    assert_eq!(result["outcome"], "forwarded");
    assert_eq!(result["status"], 404);
    assert!(result["duration_ms"].is_number());
    assert_eq!(result["bytes"], 0, "a 404 without a body");
    assert!(uses.iter().all(|line| line["bytes"].is_null()));
}

#[tokio::test]
async fn the_result_tells_how_many_bytes_went_to_the_client() {
    let (world, stub) = one_upstream().await;
    let mut tunnel = world.tunnel().await;
    // Plain; scrubbed, which changes the length; of unknown length.
    let echo = format!("<{VALUE}>");
    let long = "x".repeat(200_000);
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    for (path, answer) in [
        ("/plain", ok("ok")),
        ("/echo", ok(&echo)),
        ("/long", ok(&long)),
        ("/chunked", chunked.as_bytes().to_vec()),
    ] {
        stub.answer(answer);
        let answer = tunnel.get(path, &[HEADER]).await;
        let result = world
            .ledger_line("its result", |l| {
                l["event"] == "result" && l["path"] == path
            })
            .await;
        assert_eq!(result["bytes"], answer.body.len(), "{path}");
    }
}

#[tokio::test]
async fn a_request_without_a_placeholder_leaves_no_line() {
    let (mut world, _stub) = one_upstream().await;
    let answer = world.tunnel().await.get("/x", &["X-A: << pat >>"]).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("egret-request"), None);
    world.stop().await;
    let lines = world.ledger();
    assert!(lines.iter().all(|l| l["request"].is_null()), "{lines:?}");
}

#[tokio::test]
async fn the_record_has_the_keys_of_the_reference_in_their_order_and_is_chained() {
    let (mut world, _stub) = one_upstream().await;
    let mut tunnel = world.tunnel().await;
    tunnel.get("/x", &[HEADER]).await;
    tunnel.get("/x", &["X-A: <<nope>>"]).await;
    world
        .run_with(&["credential", "rotate", SLUG], b"next\n")
        .await
        .ok();
    world.run(&["credential", "revoke", SLUG]).await.ok();
    drop(tunnel);
    world.stop().await;
    let bytes = world.ledger_bytes();
    let lines: Vec<&[u8]> = bytes
        .split(|b| *b == b'\n')
        .filter(|l| !l.is_empty())
        .collect();
    verify_chain(&lines).expect("the chain");
    let promised = [
        "seq",
        "time",
        "event",
        "request",
        "slug",
        "field",
        "version",
        "owner",
        "principal",
        "client",
        "action",
        "action_source",
        "run",
        "method",
        "destination",
        "path",
        "locations",
        "outcome",
        "code",
        "status",
        "duration_ms",
        "prev",
        "bytes",
    ];
    for line in &lines {
        let text = std::str::from_utf8(line).expect("UTF-8");
        let places: Vec<Option<usize>> = promised
            .iter()
            .map(|key| text.find(&format!("\"{key}\":")))
            .collect();
        assert!(places.iter().all(Option::is_some), "{text}");
        assert!(places.is_sorted(), "{text}");
    }
    let events: Vec<String> = parse_ledger(&bytes)
        .iter()
        .map(|l| l["event"].as_str().expect("an event").to_owned())
        .collect();
    for event in [
        "credential.created",
        "client.added",
        "use",
        "result",
        "denied",
        "credential.rotated",
        "credential.revoked",
    ] {
        assert!(
            events.iter().any(|e| e == event),
            "no {event} among {events:?}"
        );
    }
    let first = |event: &str| events.iter().position(|e| e == event);
    assert!(
        first("credential.created") < first("use"),
        "created before it was used: {events:?}"
    );
    let time = parse_ledger(&bytes)[0]["time"]
        .as_str()
        .expect("a time")
        .to_owned();
    assert_eq!(time.len(), "2026-01-02T03:04:05.678901Z".len(), "{time}");
    assert!(time.ends_with('Z'));
}

#[tokio::test]
async fn a_denied_request_says_why_on_record() {
    let (world, _stub) = one_upstream().await;
    world
        .run(&["credential", "allow", SLUG, "--in", "header:authorization"])
        .await
        .ok();
    let answer = world.tunnel().await.get("/x", &[HEADER]).await;
    assert_refused(&answer, "credential_not_allowed");
    let line = world
        .ledger_line("a denied line", |l| l["event"] == "denied")
        .await;
    assert_eq!(line["slug"], SLUG);
    assert_eq!(line["code"], "credential_not_allowed");
    assert_eq!(line["outcome"], "denied");
    assert_eq!(line["request"], answer.json()["request_id"]);
}

/// Keeps every file of the server from growing beyond `size`.
fn limit_file_size(world: &World, size: Option<u64>) {
    let pid = Pid::from_raw(world.pid()).expect("a pid");
    let limit = Rlimit {
        current: size,
        maximum: None,
    };
    prlimit(Some(pid), Resource::Fsize, limit).expect("limit the server's files");
}

/// A limit on file sizes acts as a full disk: the write fails, and the process must keep running.
#[tokio::test]
async fn without_a_ledger_nothing_goes_out_and_service_resumes_by_itself() {
    let builder = World::builder().after("trap '' XFSZ");
    let (world, stub) = one_upstream_with(builder).await;
    let mut tunnel = world.tunnel().await;
    assert_eq!(tunnel.get("/before", &[HEADER]).await.status, 200);
    world
        .ledger_line("the result", |l| l["event"] == "result")
        .await;
    stub.take();

    limit_file_size(&world, Some(world.ledger_bytes().len() as u64 + 100));
    for _ in 0..2 {
        let answer = tunnel.get("/during", &[HEADER]).await;
        assert_eq!(answer.status, 503, "{answer:?}");
        assert_refused(&answer, "ledger_unavailable");
        let body = request("POST", "/during", &["Content-Type: text/plain"], "<<pat>>");
        assert_refused(&tunnel.roundtrip(body).await, "ledger_unavailable");
    }
    assert_eq!(stub.take().len(), 0);
    assert_eq!(
        tunnel.get("/no-placeholder", &[]).await.status,
        200,
        "nothing to record"
    );
    stub.take();

    limit_file_size(&world, None);
    let mut answer = tunnel.get("/after", &[HEADER]).await;
    for _ in 0..40 {
        if answer.status == 200 {
            break;
        }
        assert_refused(&answer, "ledger_unavailable");
        tokio::time::sleep(std::time::Duration::from_millis(250)).await;
        answer = tunnel.get("/after", &[HEADER]).await;
    }
    assert_eq!(answer.status, 200, "{}", world.log());
    let bytes = world.ledger_bytes();
    let lines: Vec<&[u8]> = bytes
        .split(|b| *b == b'\n')
        .filter(|l| !l.is_empty())
        .collect();
    verify_chain(&lines).expect("no incomplete line remains");
}

#[tokio::test]
async fn a_torn_last_line_is_set_aside_and_the_chain_goes_on() {
    let (mut world, _stub) = one_upstream().await;
    world.tunnel().await.get("/1", &[HEADER]).await;
    assert!(world.stop().await.success());
    let mut bytes = world.ledger_bytes();
    bytes.extend_from_slice(b"{\"seq\":99,\"time\":\"2026-01-0");
    std::fs::write(world.ledger_path(), &bytes).expect("tear the ledger");
    world.restart().await;
    assert_eq!(world.tunnel().await.get("/2", &[HEADER]).await.status, 200);
    let bytes = world.ledger_bytes();
    let lines: Vec<&[u8]> = bytes
        .split(|b| *b == b'\n')
        .filter(|l| !l.is_empty())
        .collect();
    verify_chain(&lines).expect("the chain continues");
    let kept = std::fs::read_dir(world.data.join("ledger"))
        .expect("the ledger")
        .flatten();
    let torn = kept.filter(|e| e.file_name().to_string_lossy().starts_with("torn-"));
    assert_eq!(torn.count(), 1, "the torn line is kept");
}

#[tokio::test]
async fn a_kill_loses_no_use() {
    let (mut world, stub) = one_upstream().await;
    let mut tunnel = world.tunnel().await;
    for i in 0..10 {
        tunnel.get(&format!("/{i}"), &[HEADER]).await;
    }
    world.signal(rustix::process::Signal::KILL);
    world.ended().await;
    let uses = world
        .ledger()
        .into_iter()
        .filter(|l| l["event"] == "use")
        .count();
    assert_eq!(uses, stub.take().len());
    world.restart().await;
    assert_eq!(
        world.tunnel().await.get("/after", &[HEADER]).await.status,
        200
    );
}

#[tokio::test]
async fn tail_filters_and_follows() {
    let (world, _stub) = one_upstream().await;
    let mut tunnel = world.tunnel().await;
    tunnel.get("/x", &[HEADER]).await;
    tunnel.get("/x", &["X-A: <<nope>>"]).await;
    for (filter, expected) in [
        (&["--slug", SLUG, "--event", "use"][..], 1),
        (&["--event", "denied"], 1),
        (&["--action", "act-1", "--event", "use"], 1),
        (&["--action", "another"], 0),
    ] {
        let args = [&["ledger", "tail", "--json"], filter].concat();
        let text = world.run(&args).await.ok();
        let lines: Vec<Value> = text
            .lines()
            .map(|l| serde_json::from_str(l).expect("JSON"))
            .collect();
        assert_eq!(lines.len(), expected, "{args:?}: {text}");
    }
    follows(&world, &mut tunnel).await;
}

async fn follows(world: &World, tunnel: &mut crate::client::Tunnel) {
    use tokio::io::AsyncBufReadExt as _;
    let mut command = world.command(&["ledger", "tail", "-f", "--json", "--event", "use"]);
    let mut child = command.spawn().expect("tail -f");
    let mut lines = tokio::io::BufReader::new(child.stdout.take().expect("stdout")).lines();
    crate::within("the line that was there", lines.next_line())
        .await
        .expect("a line");
    tunnel.get("/followed", &[HEADER]).await;
    let line = crate::within("the new line", lines.next_line())
        .await
        .expect("read")
        .expect("a line");
    let line: Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!(line["path"], "/followed");
    child.kill().await.expect("end tail -f");
    eventually("tail to be gone", || child.try_wait().ok().flatten()).await;
}

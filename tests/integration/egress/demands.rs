//! `require` and keys of clients' own; copies and rates.

use super::egret;
use crate::client::{Wanted, assert_refused, basic, request};
use crate::upstream::{Step, Stub, ok};
use crate::wire::Response;
use crate::world::{HOST, World, one_upstream, one_upstream_with};
use crate::{eventually, within};

const REQUIRED: &str = "credential_required";
const KEY: &str = "Authorization: Bearer ghp_AttackersOwnKeyAttackersOwnKeyAttack";

async fn requiring(rule: &str) -> (World, Stub) {
    let (mut world, stub) = one_upstream().await;
    let table = format!("hosts = [\"{HOST}\"]\n{rule}");
    world.destinations(vec![toml::from_str(&table).expect("a rule")]);
    world.reload().await;
    (world, stub)
}

#[tokio::test]
async fn where_a_value_is_required_nothing_else_gets_through() {
    let (world, stub) = requiring("require = true\nrequire_except = [\"GET /meta\"]").await;
    // A CONNECT by itself is not refused.
    let mut tunnel = world.tunnel().await;
    let used = tunnel.get("/x", &["X-Api-Key: <<pat>>"]).await;
    assert_eq!(used.status, 200, "{}", used.text());
    let json = tunnel
        .post("/x", "application/json", r#"{"a":"<<pat>>"}"#)
        .await;
    assert_eq!(json.status, 200, "{}", json.text());
    assert_eq!(tunnel.get("/meta", &[]).await.status, 200);
    assert_eq!(stub.take().len(), 3);
    let refused: &[(&str, &str, &[&str])] = &[
        ("GET", "/x", &[]),
        ("GET", "/x", &[KEY]),
        ("GET", "/x", &["X-Api-Key:"]),
        ("GET", "/x", &["X-Api-Key: <<!pat>>"]),
        ("GET", "/x?api_key=attackers-own", &[]),
        ("POST", "/meta", &[]),
        ("GET", "/x/%2e%2e/meta", &[]),
        // Beside a value that is put in.
        ("GET", "/x", &[KEY, "X-Other: <<pat>>"]),
        ("GET", "/x?api_key=attackers-own", &["X-Other: <<pat>>"]),
    ];
    for (method, target, headers) in refused {
        let answer = tunnel.roundtrip(request(method, target, headers, "")).await;
        assert_refused(&answer, REQUIRED);
        assert!(!answer.text().contains("ttackers"), "{}", answer.text());
    }
    for body in [r#"{"api_key":"attackers-own"}"#, r#"{"a":"<<!pat>>"}"#] {
        let answer = tunnel.post("/x", "application/json", body).await;
        assert_refused(&answer, REQUIRED);
    }
    assert!(stub.take().is_empty());
    let line = world
        .ledger_line("denied", |line| line["code"] == REQUIRED)
        .await;
    assert_eq!(line["event"], "denied");
    let (ledger, log) = (world.ledger_bytes(), world.log());
    assert!(!String::from_utf8_lossy(&ledger).contains("ttackers"));
    assert!(!log.contains("ghp_Attackers"), "a key is in the log");
}

#[tokio::test]
async fn keys_of_clients_own_are_counted_by_their_place_and_can_be_refused() {
    let builder = World::builder().set("egress.own_keys", "observe");
    let (world, stub) = one_upstream_with(builder).await;
    let mut tunnel = world.tunnel().await;
    for _ in 0..3 {
        assert_eq!(tunnel.get("/x", &[KEY]).await.status, 200);
    }
    let shape = "X-Odd: ghp_AttackersOwnKeyAttackersOwnKeyAttack";
    assert_eq!(tunnel.get("/x?token=own", &[shape]).await.status, 200);
    // What Egret puts in is none of them.
    let own = ["Authorization: Bearer <<pat>>"];
    assert_eq!(tunnel.get("/x", &own).await.status, 200);
    assert_eq!(stub.take().len(), 5);
    let keys = eventually("the lines about keys", || {
        let mut lines = world.ledger();
        lines.retain(|line| line["event"] == "own_key");
        (lines.len() == 4).then_some(lines)
    })
    .await;
    assert!(
        keys.iter()
            .all(|line| line["client"] == "tester" && line["path"].is_null())
    );
    let listed = world.run(&["egress", "keys", "--json"]).await.json();
    let listed: Vec<_> = listed.as_array().expect("an array").iter().collect();
    let places: Vec<_> = listed
        .iter()
        .map(|key| key["place"].as_str().expect("a place"))
        .collect();
    assert_eq!(
        places,
        ["header:authorization", "header:x-odd", "query:token"]
    );
    assert_eq!(listed[0]["at_least"], 2);
    let command = listed[0]["command"].as_str().expect("a command");
    assert!(
        command.contains(&format!("--host {HOST} --in header:authorization")),
        "{command}"
    );
    assert!(!String::from_utf8_lossy(&world.ledger_bytes()).contains("Attackers"));

    let (world, stub) = requiring("own_keys = \"refuse\"").await;
    let mut tunnel = world.tunnel().await;
    assert_refused(&tunnel.get("/x", &[KEY]).await, REQUIRED);
    assert_eq!(tunnel.get("/x", &[]).await.status, 200);
    assert_eq!(tunnel.get("/x", &own).await.status, 200);
    assert_eq!(stub.take().len(), 2);
}

#[tokio::test]
async fn a_new_credential_goes_into_a_request_once() {
    let (world, stub) = one_upstream().await;
    let add = [
        "credential",
        "add",
        "once",
        "--host",
        HOST,
        "--in",
        "header",
        "--in",
        "query",
        "--in",
        "body",
    ];
    let said = world.run_with(&add, b"a-value-for-one-place").await.ok();
    let copies = said.lines().find(|line| line.contains("copies"));
    assert!(copies.is_some_and(|line| line.ends_with(" 1")), "{said}");
    let listed = world
        .run(&["credential", "show", "once", "--json"])
        .await
        .json();
    assert_eq!(listed["copies"], "1");
    let mut tunnel = world.tunnel().await;
    assert_eq!(tunnel.get("/x", &["X-Api-Key: <<once>>"]).await.status, 200);
    let twice: &[(&str, &[&str], &str)] = &[
        ("/x", &["X-Api-Key: <<once>>", "X-Trace: <<once>>"], ""),
        ("/x", &["X-Api-Key: <<once>> <<once>>"], ""),
        ("/x?trace=<<once>>", &["X-Api-Key: <<once>>"], ""),
        (
            "/x",
            &["X-Api-Key: <<once>>", "Content-Type: text/plain"],
            "<<once>>",
        ),
    ];
    stub.take();
    for (target, headers, body) in twice {
        let answer = tunnel
            .roundtrip(request("POST", target, headers, body))
            .await;
        assert_refused(&answer, "credential_not_allowed");
        assert!(answer.text().contains("--copies"), "{}", answer.text());
    }
    assert!(stub.take().is_empty());
    // A body that streams is counted with the head before it.
    let head = format!(
        "POST /x HTTP/1.1\r\nHost: {HOST}\r\nX-Api-Key: <<once>>\r\nContent-Type: text/plain\r\n\
         Transfer-Encoding: chunked\r\n\r\n"
    );
    let filling = "x".repeat(2 * 1024 * 1024);
    let body = format!("{:x}\r\n{filling}<<once>>\r\n0\r\n\r\n", filling.len() + 8);
    if let Ok(answer) = tunnel.try_roundtrip(head + &body).await {
        assert_refused(&answer, "credential_not_allowed");
    }
    assert!(!String::from_utf8_lossy(&stub.bytes()).contains("xa-value-for-one-place"));
    egret(&world, &["credential", "allow", "once", "--copies", "2"]).await;
    let mut tunnel = world.tunnel().await;
    let answer = tunnel
        .get("/x", &["X-Api-Key: <<once>>", "X-Trace: <<once>>"])
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

fn assert_limited(answer: &Response) {
    assert_refused(answer, "rate_limited");
    assert_eq!(answer.status, 429);
    let seconds: u64 = answer
        .header("retry-after")
        .expect("Retry-After")
        .parse()
        .expect("seconds");
    assert!(seconds > 0);
}

#[tokio::test]
async fn past_its_budget_a_credential_waits_or_is_refused() {
    let (world, stub) = one_upstream().await;
    egret(&world, &["credential", "allow", "pat", "--max-uses", "2/h"]).await;
    let mut tunnel = world.tunnel().await;
    for _ in 0..2 {
        assert_eq!(tunnel.get("/x", &["X-Api-Key: <<pat>>"]).await.status, 200);
    }
    assert_limited(&tunnel.get("/x", &["X-Api-Key: <<pat>>"]).await);
    let line = world
        .ledger_line("denied", |line| line["code"] == "rate_limited")
        .await;
    assert_eq!(line["slug"], "pat");
    assert_eq!(tunnel.get("/x", &[]).await.status, 200);
    egret(
        &world,
        &["credential", "allow", "pat", "--max-uses", "unlimited"],
    )
    .await;
    assert_eq!(tunnel.get("/x", &["X-Api-Key: <<pat>>"]).await.status, 200);
    stub.take();
}

#[tokio::test]
async fn a_client_has_a_rate_and_a_number_of_requests_at_once() {
    let builder = World::builder().set("egress.client_rate", "3/h");
    let (world, _stub) = one_upstream_with(builder).await;
    let mut tunnel = world.tunnel().await;
    for _ in 0..3 {
        assert_eq!(tunnel.get("/x", &[]).await.status, 200);
    }
    assert_limited(&tunnel.get("/x", &[]).await);
    let token = world.client("another", "default").await;
    let wanted = Wanted::new(&world).authorized(basic("act-1", &token));
    let mut other = world.tunnel_for(&wanted).await;
    assert_eq!(other.get("/x", &[]).await.status, 200, "a rate of its own");

    let builder = World::builder().set("egress.client_requests", 1);
    let (world, stub) = one_upstream_with(builder).await;
    let (release, released) = tokio::sync::watch::channel(false);
    stub.serve(move |_| {
        let mut released = released.clone();
        async move {
            let _ = released.wait_for(|released| *released).await;
            vec![Step::Send(ok("late"))]
        }
    });
    let mut first = world.tunnel().await;
    let waiting = tokio::spawn(async move { first.get("/slow", &[]).await });
    within("the first request", stub.until_requests(1)).await;
    let mut second = world.tunnel().await;
    assert_limited(&second.get("/x", &[]).await);
    release.send(true).expect("somebody waits");
    assert_eq!(waiting.await.expect("an answer").status, 200);
    assert_eq!(second.get("/x", &[]).await.status, 200);
}

#[tokio::test]
async fn a_run_of_refusals_is_on_record_until_a_success() {
    let (world, stub) = one_upstream().await;
    let mut tunnel = world.tunnel().await;
    let rejected = async |expected: &str| {
        let page = world.admin_page("/metrics").await.expect("metrics").text();
        let line = format!("egret_credentials_rejected {expected}\n");
        assert!(page.contains(&line), "{page}");
    };
    let refusal = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n";
    for number in 1..=4 {
        stub.answer(refusal.to_vec());
        assert_eq!(tunnel.get("/x", &["X-Api-Key: <<pat>>"]).await.status, 401);
        rejected(if number < 3 { "0" } else { "1" }).await;
    }
    stub.answer(refusal.to_vec());
    assert_eq!(tunnel.get("/x", &[]).await.status, 401);
    let line = world
        .ledger_line("rejected", |line| line["event"] == "rejected")
        .await;
    assert_eq!(
        (&line["slug"], &line["version"]),
        (&"pat".into(), &1.into())
    );
    let state = async || world.run(&["credential", "list"]).await.ok();
    assert!(state().await.contains("rejected"), "{}", state().await);
    let usage = ["credential", "usage", "pat"];
    let said = world.run(&usage).await.ok();
    assert!(said.contains("Upstreams refuse it since"), "{said}");
    stub.answer(ok("fine"));
    assert_eq!(tunnel.get("/x", &["X-Api-Key: <<pat>>"]).await.status, 200);
    world
        .ledger_line("accepted", |line| line["event"] == "accepted")
        .await;
    rejected("0").await;
    assert!(!state().await.contains("rejected"), "{}", state().await);

    // A rotation ends it: what is in force now was not refused.
    stub.answer(refusal.to_vec());
    for _ in 1..=3 {
        assert_eq!(tunnel.get("/x", &["X-Api-Key: <<pat>>"]).await.status, 401);
    }
    rejected("1").await;
    let rotated = world.run_with(&["credential", "rotate", "pat"], b"another-value");
    rotated.await.ok();
    let page = async || world.admin_page("/metrics").await.expect("metrics").text();
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(20);
    while !page().await.contains("egret_credentials_rejected 0\n") {
        assert!(tokio::time::Instant::now() < deadline, "{}", page().await);
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let log = world.log();
    assert!(
        log.contains("pat@1") && log.contains("had put no value"),
        "{log}"
    );
}

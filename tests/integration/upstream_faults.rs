//! An upstream that closes, stalls or sends malformed bytes in every phase: the client gets the
//! right error in bounded time, and a truncated answer never looks complete.

use std::time::Duration;

use crate::client::{Tunnel, assert_refused, request};
use crate::upstream::{Door, Step, Stub, ok};
use crate::wire::{Response, WireError};
use crate::world::{HOST, SLUG, VALUE, World, one_upstream_with};
use crate::{eventually, within, within_secs};

const HEADER: &str = "X-Api-Key: <<pat>>";

/// Limits short enough to wait for.
async fn impatient() -> (World, Stub) {
    let builder = World::builder()
        .set("upstream.connect_timeout", "1s")
        .set("upstream.first_byte_timeout", "2s")
        .set("upstream.idle_timeout", "2s");
    one_upstream_with(builder).await
}

async fn refused_with(answer: &Response, codes: &[&str]) {
    let code = answer.egret_error().unwrap_or_default();
    assert!(
        codes.contains(&code.as_str()),
        "{answer:?}\n{}",
        answer.text()
    );
    assert_refused(answer, &code);
}

/// Sends a GET with a value and expects the proxy's own answer within a few seconds.
async fn fails_with(tunnel: &mut Tunnel, codes: &[&str]) {
    let answer = within_secs(10, "a bounded answer", tunnel.get("/x", &[HEADER])).await;
    refused_with(&answer, codes).await;
}

#[tokio::test]
async fn nobody_listens() {
    let builder = World::builder();
    let gone = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("bind");
    let addr = gone.local_addr().expect("an address");
    drop(gone);
    let world = builder.route(&format!("{HOST}:443"), addr).start().await;
    world.save(SLUG, VALUE, &["--host", HOST]).await;
    let mut tunnel = world.tunnel().await;
    let answer = tunnel.get("/x", &[HEADER]).await;
    assert_eq!(answer.status, 502);
    assert_refused(&answer, "upstream_unreachable");
    let unknown = crate::client::Wanted::new(&world).host("no-such-name.invalid");
    let mut tunnel = world.tunnel_for(&unknown).await;
    let raw = crate::client::request_to("no-such-name.invalid", "GET", "/x", &[], "");
    assert_refused(&tunnel.roundtrip(raw).await, "upstream_unreachable");
}

#[tokio::test]
async fn it_closes_instead_of_shaking_hands() {
    let (world, stub) = impatient().await;
    stub.door(Door::Slam);
    fails_with(
        &mut world.tunnel().await,
        &["upstream_tls_failed", "upstream_unreachable"],
    )
    .await;
}

#[tokio::test]
async fn it_never_shakes_hands() {
    let (world, stub) = impatient().await;
    stub.door(Door::Mute);
    fails_with(&mut world.tunnel().await, &["upstream_timeout"]).await;
}

#[tokio::test]
async fn it_closes_after_the_handshake() {
    let (world, stub) = impatient().await;
    stub.door(Door::CloseAfterHandshake);
    fails_with(
        &mut world.tunnel().await,
        &["upstream_protocol_error", "upstream_unreachable"],
    )
    .await;
}

#[tokio::test]
async fn it_closes_without_an_answer() {
    let (world, stub) = impatient().await;
    for step in [Step::Close, Step::Reset] {
        stub.steps(vec![step]);
        let mut tunnel = world.tunnel().await;
        let answer = tunnel.roundtrip(request("POST", "/x", &[HEADER], "")).await;
        refused_with(
            &answer,
            &["upstream_protocol_error", "upstream_unreachable"],
        )
        .await;
        assert_eq!(stub.take().len(), 1, "a POST is never sent twice");
    }
}

#[tokio::test]
async fn it_never_answers() {
    let (world, stub) = impatient().await;
    stub.steps(vec![Step::Hang]);
    let mut tunnel = world.tunnel().await;
    let answer = within_secs(10, "a bounded answer", tunnel.get("/x", &[HEADER])).await;
    assert_eq!(answer.status, 504);
    assert_refused(&answer, "upstream_timeout");
    eventually("the upstream connection to be given up", || {
        (stub.open() == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn it_stops_inside_the_head() {
    let (world, stub) = impatient().await;
    let part = Step::Send(b"HTTP/1.1 200 OK\r\nContent-Le".to_vec());
    stub.steps(vec![part.clone(), Step::Close]);
    fails_with(&mut world.tunnel().await, &["upstream_protocol_error"]).await;
    stub.steps(vec![part, Step::Hang]);
    fails_with(&mut world.tunnel().await, &["upstream_timeout"]).await;
}

#[tokio::test]
async fn it_answers_nonsense() {
    let (world, stub) = impatient().await;
    let mut tunnel = world.tunnel().await;
    for nonsense in [
        "SSH-2.0-OpenSSH\r\n\r\n".to_owned(),
        "HTTP/1.1 2x0 OK\r\n\r\n".to_owned(),
        format!("HTTP/1.1 200 OK\r\nBad Header {VALUE}\r\n\r\n"),
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab".to_owned(),
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n".to_owned(),
        format!("HTTP/1.1 200 OK\r\n{}\r\n", "X-A: 1\r\n".repeat(20_000)),
        format!("HTTP/1.1 200 OK\r\nX-Long: {}\r\n\r\n", "a".repeat(4 << 20)),
    ] {
        stub.steps(vec![Step::Send(nonsense.into_bytes()), Step::Close]);
        let answer = tunnel.get("/x", &[HEADER]).await;
        assert_eq!(answer.status, 502, "{answer:?}");
        assert_refused(&answer, "upstream_protocol_error");
        crate::leak::assert_absent(
            "the answer",
            answer.text().as_bytes(),
            &crate::leak::forms(VALUE.as_bytes()),
        );
    }
    crate::leak::assert_absent(
        "the log",
        &world.log_bytes(),
        &crate::leak::forms(VALUE.as_bytes()),
    );
}

/// Sends a request and asserts that its answer is visibly truncated; returns the body so far. Where
/// none of it has been relayed yet, the proxy may answer with an error of its own.
async fn cut_off(tunnel: &mut Tunnel) -> Vec<u8> {
    tunnel
        .wire
        .send(request("GET", "/x", &[HEADER], ""))
        .await
        .expect("send");
    let answer = tunnel.wire.response(false);
    match within_secs(10, "the end of a cut off answer", answer).await {
        Err(WireError::Truncated { body, .. }) => body,
        Ok(own) if own.egret_error().is_some() => {
            assert!([502, 504].contains(&own.status), "{own:?}");
            Vec::new()
        }
        other => panic!("a cut off answer came out as {other:?}"),
    }
}

#[tokio::test]
async fn an_answer_that_is_cut_off_never_ends_cleanly() {
    let (world, stub) = impatient().await;
    let length = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf".to_vec();
    let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n".to_vec();
    for bytes in [length, chunked] {
        for end in [Step::Close, Step::Reset, Step::Hang] {
            stub.steps(vec![
                Step::Send(bytes.clone()),
                Step::Pause(Duration::from_millis(100)),
                end,
            ]);
            let got = cut_off(&mut world.tunnel().await).await;
            assert!(
                got.is_empty() || got == b"half",
                "{:?}",
                String::from_utf8_lossy(&got)
            );
        }
    }
    eventually("the upstream connections to be given up", || {
        (stub.open() == 0).then_some(())
    })
    .await;
    let failed = |l: &serde_json::Value| l["event"] == "result" && l["outcome"] == "failed";
    world.ledger_line("a failed result", failed).await;
}

#[tokio::test]
async fn an_answer_that_ends_with_the_connection_is_whole() {
    let (world, stub) = impatient().await;
    stub.steps(vec![
        Step::Send(b"HTTP/1.0 200 OK\r\n\r\nall of it".to_vec()),
        Step::Close,
    ]);
    let mut tunnel = world.tunnel().await;
    assert_eq!(tunnel.get("/x", &[HEADER]).await.text(), "all of it");
}

#[tokio::test]
async fn a_slow_answer_is_not_cut_short_while_it_moves() {
    let (world, stub) = impatient().await;
    let mut steps = vec![Step::Send(
        b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n".to_vec(),
    )];
    for _ in 0..6 {
        steps.extend([
            Step::Pause(Duration::from_millis(700)),
            Step::Send(b"x".to_vec()),
        ]);
    }
    stub.steps(steps);
    assert_eq!(
        world.tunnel().await.get("/x", &[HEADER]).await.text(),
        "xxxxxx"
    );
}

#[tokio::test]
async fn it_answers_before_it_has_read_the_request() {
    let (world, stub) = impatient().await;
    let early =
        b"HTTP/1.1 413 Too Much\r\nContent-Length: 4\r\nConnection: close\r\n\r\nnope".to_vec();
    stub.at_head(Some(vec![
        Step::Send(early),
        Step::Pause(Duration::from_millis(300)),
        Step::Close,
    ]));
    let mut tunnel = world.tunnel().await;
    let body = "x".repeat(4 << 20);
    let raw = request(
        "POST",
        "/x",
        &[HEADER, "Content-Type: application/octet-stream"],
        &body,
    );
    let answer = within_secs(10, "the early answer", tunnel.roundtrip(raw)).await;
    assert!(
        answer.status == 413 || answer.egret_error().is_some(),
        "{answer:?}"
    );
}

#[tokio::test]
async fn a_pooled_connection_that_died_in_the_meantime_is_replaced() {
    let (world, stub) = impatient().await;
    stub.steps(vec![
        Step::Send(ok("ok")),
        Step::Pause(Duration::from_millis(50)),
        Step::Close,
    ]);
    let mut tunnel = world.tunnel().await;
    for _ in 0..3 {
        assert_eq!(tunnel.get("/x", &[HEADER]).await.status, 200);
        tokio::time::sleep(Duration::from_millis(300)).await;
        let raw = request("POST", "/x", &[HEADER, "Content-Type: text/plain"], "body");
        assert_eq!(tunnel.roundtrip(raw).await.status, 200);
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    assert_eq!(stub.take().len(), 6);
}

#[tokio::test]
async fn bytes_behind_an_answer_are_never_the_next_answer() {
    let (world, stub) = impatient().await;
    let mut two = ok("mine");
    two.extend_from_slice(&ok("smuggled"));
    stub.answer(two);
    let mut tunnel = world.tunnel().await;
    assert_eq!(tunnel.get("/1", &[HEADER]).await.text(), "mine");
    stub.answer(ok("second"));
    assert_eq!(tunnel.get("/2", &[HEADER]).await.text(), "second");
}

#[tokio::test]
async fn a_client_that_goes_away_ends_the_upstream_request() {
    let (world, stub) = impatient().await;
    let forever: Vec<Step> = (0..1000)
        .flat_map(|_| {
            [
                Step::Send(b"4\r\nmore\r\n".to_vec()),
                Step::Pause(Duration::from_millis(50)),
            ]
        })
        .collect();
    let mut steps = vec![Step::Send(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec(),
    )];
    steps.extend(forever);
    stub.steps(steps);
    let mut tunnel = world.tunnel().await;
    tunnel
        .wire
        .send(request("GET", "/x", &[HEADER], ""))
        .await
        .expect("send");
    within("the request", stub.until_requests(1)).await;
    drop(tunnel);
    eventually("the upstream connection to end", || {
        (stub.open() == 0).then_some(())
    })
    .await;
    let gone = |l: &serde_json::Value| l["event"] == "result" && l["outcome"] == "client_gone";
    world.ledger_line("a result line", gone).await;
}

//! Messages at the limits of RFC 9112: what is refused, what passes, and which side waits for the
//! other.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::client::{assert_refused, basic, request};
use crate::coded::noise;
use crate::load::resident_kib;
use crate::upstream::Step;
use crate::world::{HOST, SLUG, VALUE, World, one_upstream, one_upstream_with};
use crate::{eventually, within};

/// A request head with these lines after the request line, followed by `body`.
fn raw(first: &str, lines: &[&str], behind: &str) -> String {
    let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
    format!("{first}\r\n{lines}\r\n{behind}")
}

#[tokio::test]
async fn what_two_parsers_could_read_differently_is_refused() {
    let (world, stub) = one_upstream().await;
    let host = format!("Host: {HOST}");
    let post = |lines: &[&str], body: &str| {
        raw(
            "POST /x HTTP/1.1",
            &[&[host.as_str()], lines].concat(),
            body,
        )
    };
    let get = |lines: &[&str]| raw("GET /x HTTP/1.1", &[&[host.as_str()], lines].concat(), "");
    let chunked = "Transfer-Encoding: chunked";
    for (what, bytes) in [
        (
            "a length and chunks",
            post(&["Content-Length: 5", chunked], "0\r\n\r\n"),
        ),
        (
            "chunks and a length",
            post(&[chunked, "Content-Length: 5"], "0\r\n\r\n"),
        ),
        (
            "two lengths",
            post(&["Content-Length: 5", "Content-Length: 6"], "hello!"),
        ),
        (
            "one length twice",
            post(&["Content-Length: 5", "Content-Length: 5"], "hello"),
        ),
        (
            "a list of lengths",
            post(&["Content-Length: 5, 5"], "hello"),
        ),
        ("a signed length", post(&["Content-Length: +5"], "hello")),
        ("a negative length", post(&["Content-Length: -5"], "hello")),
        (
            "a hexadecimal length",
            post(&["Content-Length: 0x5"], "hello"),
        ),
        (
            "a length beyond 64 bits",
            post(&["Content-Length: 99999999999999999999"], "hello"),
        ),
        (
            "an unknown transfer coding",
            post(&["Transfer-Encoding: gzip, chunked"], "0\r\n\r\n"),
        ),
        ("chunked twice", post(&[chunked, chunked], "0\r\n\r\n")),
        (
            "chunked with a parameter",
            post(&["Transfer-Encoding: chunked;q=1"], "0\r\n\r\n"),
        ),
        (
            "chunks in HTTP/1.0",
            raw("POST /x HTTP/1.0", &[&host, chunked], "0\r\n\r\n"),
        ),
        ("a folded line", get(&["X-A: b", " folded"])),
        (
            "a folded first line",
            raw("GET /x HTTP/1.1", &[" X-A: b", &host], ""),
        ),
        ("a space before the colon", get(&["X-A : b"])),
        ("a header without a colon", get(&["nonsense"])),
        ("a header without a name", get(&[": b"])),
        ("a NUL in a value", get(&["X-A: b\0c"])),
        ("a lone carriage return", get(&["X-A: b\rX-B: c"])),
        ("a bare line feed", format!("GET /x HTTP/1.1\n{host}\n\n")),
        ("a bare line feed between headers", get(&["X-A: b\nX-B: c"])),
        ("two hosts", get(&[&host])),
        ("no host", raw("GET /x HTTP/1.1", &[], "")),
        (
            "two spaces in the request line",
            raw("GET  /x HTTP/1.1", &[&host], ""),
        ),
        (
            "a tab in the request line",
            raw("GET\t/x HTTP/1.1", &[&host], ""),
        ),
        ("HTTP/0.9", "GET /x\r\n\r\n".to_owned()),
        ("HTTP/1.2", raw("GET /x HTTP/1.2", &[&host], "")),
        ("a fragment", raw("GET /x#y HTTP/1.1", &[&host], "")),
    ] {
        let mut tunnel = world.tunnel().await;
        // The bytes after it must not be taken for a request.
        let bytes = bytes + &request("GET", "/smuggled", &[], "");
        let answer = tunnel.roundtrip(bytes).await;
        assert_eq!(answer.status, 400, "{what}: {answer:?}");
        assert_refused(&answer, "request_malformed");
        within("the connection to end", tunnel.wire.until_closed()).await;
        assert_eq!(stub.take().len(), 0, "{what} reached the upstream");
    }
    assert_eq!(stub.bytes().len(), 0, "not a byte of any of them was sent");
}

/// RFC 9112 section 3.2.2: the host of an absolute target counts. It has to be the tunnel's.
#[tokio::test]
async fn an_absolute_target_in_a_tunnel_is_that_of_the_tunnel_or_refused() {
    let (world, stub) = one_upstream().await;
    let ask = |host: &str| {
        let first = format!("GET https://{host}/x?k=<<pat>> HTTP/1.1");
        raw(&first, &[&format!("Host: {HOST}")], "")
    };
    let answer = world.tunnel().await.roundtrip(ask(HOST)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(stub.take_one().target.starts_with("/x?k=s3cr3t"));
    let other = ask("evil.example.test");
    let answer = world.tunnel().await.roundtrip(other).await;
    assert_refused(&answer, "destination_mismatch");
    assert_eq!(stub.take().len(), 0);
}

#[tokio::test]
async fn unusual_requests_that_are_clear_pass() {
    let (world, stub) = one_upstream().await;
    let mut tunnel = world.tunnel().await;
    let host = format!("Host: {HOST}");
    let json = "Content-Type: application/json";
    let body = r#"{"k":"<<pat>>"}"#;
    let expected = serde_json::json!({ "k": VALUE });
    for method in ["GET", "DELETE", "OPTIONS", "PATCH", "X-OWN"] {
        let answer = tunnel.roundtrip(request(method, "/x", &[json], body)).await;
        assert_eq!(answer.status, 200, "{method}: {}", answer.text());
        let seen = stub.take_one();
        assert_eq!(seen.method, method);
        let sent: serde_json::Value = serde_json::from_slice(&seen.body).expect("JSON");
        assert_eq!(sent, expected, "a body on {method}");
    }
    // Chunk extensions are hop-by-hop (RFC 9112 section 7.1.1) and are not forwarded.
    let chunks = "7;a=b;c=\"d\"\r\n{\"k\":\"<\r\n8 ; last\r\n<pat>>\"}\r\n0;end\r\n\r\n";
    let lines = [host.as_str(), json, "Transfer-Encoding: CHUNKED"];
    let answer = tunnel
        .roundtrip(raw("POST /x HTTP/1.1", &lines, chunks))
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let sent: serde_json::Value = serde_json::from_slice(&stub.take_one().body).expect("JSON");
    assert_eq!(sent, expected);
    // RFC 9112 section 2.2.
    let answer = tunnel
        .roundtrip(format!("\r\n\r\n{}", request("GET", "/e", &[], "")))
        .await;
    assert_eq!(answer.status, 200);
    assert_eq!(stub.take_one().target, "/e");
    assert_eq!(stub.connections().len(), 1);
}

/// hyper omits the body of a GET when it does not know the length.
#[tokio::test]
async fn a_body_that_streams_arrives_whatever_the_method() {
    let (world, stub) = one_upstream_with(
        World::builder()
            .set("body.buffer", "1B")
            .set("body.spool", "0B"),
    )
    .await;
    let mut tunnel = world.tunnel().await;
    for method in ["GET", "DELETE", "OPTIONS", "POST"] {
        for (media_type, value) in [("text/plain", VALUE), ("image/png", "<<pat>>")] {
            let media_type = format!("Content-Type: {media_type}");
            let host = format!("Host: {HOST}");
            let lines = [&host, &media_type, "Transfer-Encoding: chunked"];
            let chunks = "9\r\nkey=<<pat\r\n2\r\n>>\r\n0\r\n\r\n";
            let ask = raw(&format!("{method} /x HTTP/1.1"), &lines, chunks);
            let answer = tunnel.roundtrip(ask).await;
            assert_eq!(answer.status, 200, "{method}: {}", answer.text());
            let sent = String::from_utf8_lossy(&stub.take_one().body).into_owned();
            assert_eq!(sent, format!("key={value}"), "{method} {media_type}");
        }
    }
}

#[tokio::test]
async fn headers_keep_their_order_and_what_concerns_one_hop_stays_on_it() {
    let (world, stub) = one_upstream().await;
    let lines = [
        "X-Zebra: 1",
        "accept: */*",
        "X-Key: <<pat>>",
        "X-Alpha: 2",
        "Connection: close, X-Hop",
        "X-Hop: 3",
        "Keep-Alive: timeout=5",
        "TE: gzip",
        "Proxy-Connection: keep-alive",
        "Upgrade: own/1",
        "X-Zebra: 4",
    ];
    world.tunnel().await.get("/x", &lines).await;
    let seen = stub.take_one();
    let own = seen
        .headers
        .iter()
        .map(|(name, _)| name.to_ascii_lowercase());
    let own: Vec<_> = own
        .filter(|n| n.starts_with("x-") || n == "accept")
        .collect();
    let (first, rest): (Vec<_>, Vec<_>) = own.iter().partition(|n| *n == "x-zebra");
    assert_eq!(first.len(), 2);
    assert_eq!(rest, ["accept", "x-key", "x-alpha"], "{:?}", seen.headers);
    for name in ["x-hop", "keep-alive", "proxy-connection", "upgrade", "te"] {
        assert_eq!(seen.header(name), None, "{name}");
    }
    assert_eq!(seen.header("x-key").as_deref(), Some(VALUE));
}

/// The most that may be in flight between the two ends: the sockets' buffers and a margin.
const UNDER_WAY: u64 = 32 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_that_does_not_read_stops_the_client() {
    let (world, stub) = one_upstream_with(World::builder().set("body.buffer", "64KiB")).await;
    let gate = std::sync::Arc::new(tokio::sync::Notify::new());
    stub.at_head(Some(vec![Step::Hold(gate.clone()), Step::Close]));
    let before = resident_kib(world.pid());
    let mut tunnel = world.tunnel().await;
    let length = "Content-Length: 1073741824";
    let head = request("POST", "/x", &["Content-Type: text/plain", length], "");
    tunnel.wire.send(head).await.expect("send");
    let piece = noise(1 << 16);
    let mut sent = 0;
    while let Ok(Ok(())) =
        tokio::time::timeout(Duration::from_secs(2), tunnel.wire.send(&piece)).await
    {
        sent += piece.len() as u64;
        assert!(sent < UNDER_WAY, "{sent} bytes went nowhere");
    }
    let rise = resident_kib(world.pid()).saturating_sub(before);
    assert!(
        rise < 12 << 10,
        "{rise} KiB are held for an upstream that does not read"
    );
    gate.notify_one();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_does_not_read_stops_the_upstream() {
    let (world, stub) = one_upstream().await;
    let sent = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n".to_vec();
    let piece = noise(1 << 16).into_bytes();
    stub.steps(vec![
        Step::Send(head),
        Step::Counted(piece, 1 << 14, sent.clone()),
    ]);
    let mut tunnel = world.tunnel().await;
    let before = resident_kib(world.pid());
    let ask = request("GET", "/x", &["X-Api-Key: <<pat>>"], "");
    tunnel.wire.send(ask).await.expect("send");
    let mut some = [0; 1000];
    within("the answer to begin", tunnel.wire.io.read(&mut some))
        .await
        .expect("read");
    let count = || sent.load(std::sync::atomic::Ordering::SeqCst);
    let mut last = (0, tokio::time::Instant::now());
    eventually("the upstream to be stopped", || {
        if count() != last.0 {
            last = (count(), tokio::time::Instant::now());
        }
        (last.1.elapsed() > Duration::from_secs(2)).then_some(())
    })
    .await;
    assert!(count() < UNDER_WAY, "{} bytes went nowhere", count());
    let rise = resident_kib(world.pid()).saturating_sub(before);
    assert!(
        rise < 12 << 10,
        "{rise} KiB are held for a client that does not read"
    );
}

/// `printf … | nc` closes its sending side as soon as the request is sent.
#[tokio::test]
async fn a_client_that_has_said_everything_still_gets_its_answer() {
    let (world, stub) = World::plain_upstream().await;
    stub.steps(vec![
        Step::Pause(Duration::from_millis(300)),
        Step::Send(crate::upstream::ok("late")),
    ]);
    world
        .save(SLUG, VALUE, &["--host", &format!("http://{HOST}")])
        .await;
    let mut wire = world.dial().await;
    let authorization = basic("act-1", &world.token);
    let lines = [
        format!("Host: {HOST}"),
        format!("Proxy-Authorization: {authorization}"),
        "X-Api-Key: <<pat>>".to_owned(),
    ];
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let ask = raw(&format!("GET http://{HOST}/x HTTP/1.1"), &lines, "");
    wire.send(ask).await.expect("send");
    wire.io.shutdown().await.expect("shut down");
    let answer = within("an answer", wire.response(false))
        .await
        .expect("an answer");
    assert_eq!((answer.status, answer.text().as_str()), (200, "late"));
}

/// Some servers compare the name `X-API-Key` case-sensitively, and so do some clients.
#[tokio::test]
async fn header_names_keep_their_case_both_ways() {
    let (world, stub) = one_upstream().await;
    stub.answer(b"HTTP/1.1 200 OK\r\nX-RateLimit-Left: 1\r\nContent-Length: 2\r\n\r\nok".to_vec());
    let mut tunnel = world.tunnel().await;
    let answer = tunnel
        .get("/x", &["X-aPI-kEY: <<pat>>", "ACCEPT: */*"])
        .await;
    let seen = stub.take_one();
    let sent: Vec<&str> = seen.headers.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(sent, ["Host", "X-aPI-kEY", "ACCEPT", "via"]);
    let names = answer.headers.iter().map(|(name, _)| name.as_str());
    assert!(
        names.into_iter().any(|name| name == "X-RateLimit-Left"),
        "{answer:?}"
    );
}

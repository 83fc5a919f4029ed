//! Heads that are long, odd or broken, and questions that a head asks.

use std::time::Duration;

use tokio::io::AsyncWriteExt as _;

use crate::client::{assert_refused, basic, request};
use crate::http2::client::{Client, Request};
use crate::upstream::{Step, Stub, ok};
use crate::wire::{Response, values};
use crate::world::{HOST, SLUG, VALUE, World, one_upstream, one_upstream_with};
use crate::{within, within_secs};

fn with_cookies(count: usize) -> Vec<u8> {
    let cookies: String = (0..count)
        .map(|n| format!("Set-Cookie: cookie-{n}=value-of-{n}; Path=/\r\n"))
        .collect();
    format!("HTTP/1.1 200 OK\r\n{cookies}Content-Length: 2\r\n\r\nok").into_bytes()
}

#[tokio::test]
async fn answers_with_many_fields_are_bounded_by_their_bytes() {
    let (world, stub) = one_upstream().await;
    let mut tunnel = world.tunnel().await;
    for count in [99, 101, 500, 1_000] {
        stub.answer(with_cookies(count));
        for headers in [&["X-Key: <<pat>>"][..], &[]] {
            let answer = tunnel.get("/x", headers).await;
            assert_eq!(answer.status, 200, "{count}: {}", answer.text());
            assert_eq!(values(&answer.headers, "set-cookie").len(), count);
        }
        let answer = tunnel.post("/x", "text/plain", "body").await;
        assert_eq!(values(&answer.headers, "set-cookie").len(), count);
    }
    let long = format!("HTTP/1.1 200 OK\r\nX-Long: {}\r\n\r\n", "a".repeat(1 << 20));
    for broken in [long.into_bytes(), with_cookies(20_000)] {
        stub.steps(vec![Step::Send(broken), Step::Close]);
        let answer = tunnel.get("/x", &[]).await;
        assert_refused(&answer, "upstream_protocol_error");
        assert!(
            answer.text().contains("upstream.max_header_bytes"),
            "{}",
            answer.text()
        );
    }
    let (world, stub) = World::plain_upstream().await;
    stub.answer(with_cookies(1_000));
    let who = format!("Proxy-Authorization: {}", basic("act-1", &world.token));
    let raw = request("GET", "/x", &[&who], "");
    let mut wire = world.dial().await;
    wire.send(raw.replace("GET /x", &format!("GET http://{HOST}/x")))
        .await
        .expect("send");
    let answer = within("an answer", wire.response(false))
        .await
        .expect("an answer");
    assert_eq!(values(&answer.headers, "set-cookie").len(), 1_000);
    let small = World::builder().set("upstream.max_header_bytes", "16KiB");
    let (world, stub) = one_upstream_with(small).await;
    stub.answer(with_cookies(1_000));
    let answer = world.tunnel().await.get("/x", &[]).await;
    assert_refused(&answer, "upstream_protocol_error");
    assert!(answer.text().contains("16384 bytes"), "{}", answer.text());
}

/// A destination's first answer with so many fields is read without another request, whatever the
/// method, however the head is cut, and with a body in any framing.
#[tokio::test]
async fn the_first_answer_with_many_fields_is_read_without_asking_twice() {
    for (method, lines, body) in [
        ("POST", &["Content-Type: text/plain"][..], "is <<pat>>"),
        (
            "POST",
            &["Transfer-Encoding: chunked"],
            "3\r\nabc\r\n0\r\n\r\n",
        ),
        ("GET", &["X-Key: <<pat>>"], ""),
        ("HEAD", &[], ""),
    ] {
        let (world, stub) = one_upstream().await;
        let head = with_cookies(101);
        let head = String::from_utf8(head)
            .expect("text")
            .replace("Content-Length: 2\r\n\r\nok", "");
        let (first, rest) = head.split_at(head.len() - 10);
        let framing =
            "Content-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nit is \r\n";
        let rest = match method {
            "HEAD" => format!("{rest}Content-Length: 6\r\n\r\n"),
            _ => format!("{rest}{framing}{:x}\r\n{VALUE}\r\n0\r\n\r\n", VALUE.len()),
        };
        let pause = Step::Pause(Duration::from_millis(50));
        let sends = [first, &rest].map(|text| Step::Send(text.as_bytes().to_vec()));
        let [first, rest] = sends;
        stub.steps(vec![first, pause, rest]);
        let mut tunnel = world.tunnel().await;
        let raw = match body.strip_prefix("3\r\n") {
            Some(_) => request(method, "/x", lines, "") + body,
            None => request(method, "/x", lines, body),
        };
        let answer = tunnel.roundtrip(raw.as_str()).await;
        assert_eq!(answer.status, 200, "{method} {lines:?}: {}", answer.text());
        assert_eq!(values(&answer.headers, "set-cookie").len(), 101, "{method}");
        if method != "HEAD" {
            assert_eq!(answer.text(), "it is <<pat>>", "{method} {lines:?}");
        }
        assert_eq!(stub.take().len(), 1, "{method}: it was sent once");
        stub.answer(with_cookies(200));
        let answer = tunnel.roundtrip(raw.as_str()).await;
        assert_eq!(values(&answer.headers, "set-cookie").len(), 200, "{method}");
    }
}

/// A value that a fold cuts reaches the client in no part.
#[tokio::test]
async fn a_value_cut_by_a_fold_is_found() {
    for is_tls in [true, false] {
        let (world, stub) = if is_tls {
            one_upstream().await
        } else {
            World::plain_upstream().await
        };
        if !is_tls {
            let host = format!("http://{HOST}");
            world
                .save(SLUG, VALUE, &["--host", &host, "--in", "header"])
                .await;
        }
        let (one, two) = VALUE.split_at(9);
        let (two, three) = two.split_at(4);
        let interim = "HTTP/1.1 103 Early Hints\r\nLink: </a>;\r\n rel=preload\r\n\r\n";
        for (before, odd, expected) in [
            ("", format!("{one}\r\n {two}{three}"), "<<pat>>"),
            (
                "",
                format!("it is {one}\r\n\t  {two}\r\n {three}\r\n too"),
                "it is <<pat>> too",
            ),
            (
                "",
                format!("a\r\n b\r\n c\r\n d\r\n e\r\n {one}\r\n {two}{three}"),
                "a b c d e <<pat>>",
            ),
            (interim, format!("{one}\r\n {two}{three}"), "<<pat>>"),
        ] {
            stub.answer(format!(
                "{before}HTTP/1.1 200 OK\r\nA: b\r\nX-Odd: {odd}\r\nContent-Length: 2\r\n\r\nok"
            ));
            for method in ["GET", "DELETE"] {
                let answer = ask_by(&world, is_tls, method, "").await;
                assert_eq!(answer.status, 200, "{odd:?}: {}", answer.text());
                assert_eq!(answer.header("x-odd").as_deref(), Some(expected), "{odd:?}");
                assert_eq!(answer.header("a").as_deref(), Some("b"));
                assert_eq!(answer.text(), "ok");
            }
        }
        // An interim answer to a request with a body, of which the rest would be lost.
        stub.answer(format!(
            "{interim}HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
        ));
        let answer = ask_by(&world, is_tls, "POST", "body").await;
        assert_refused(&answer, "upstream_protocol_error");
        assert!(answer.text().contains("interim"), "{}", answer.text());
    }
}

/// A request with the value in a header, inside TLS or in absolute form.
async fn ask_by(world: &World, is_tls: bool, method: &str, body: &str) -> Response {
    let key = "X-Key: <<pat>>";
    if is_tls {
        let raw = request(method, "/x", &[key], body);
        return world.tunnel().await.roundtrip(raw).await;
    }
    let who = format!("Proxy-Authorization: {}", basic("act-1", &world.token));
    let raw = request(method, "/x", &[key, &who], body);
    let mut wire = world.dial().await;
    let raw = raw.replacen(" /x", &format!(" http://{HOST}/x"), 1);
    wire.send(raw).await.expect("send");
    let answer = within("an answer", wire.response(false)).await;
    answer.expect("an answer")
}

/// RFC 9112 knows no coding `identity`: a length beside it is the length, and no other answer is read
/// from that connection.
#[tokio::test]
async fn a_length_beside_the_coding_identity_is_the_length() {
    let (world, stub) = one_upstream().await;
    let mut tunnel = world.tunnel().await;
    let smuggled = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
    for field in [
        "identity",
        "Identity",
        "identity\r\nTransfer-Encoding: identity",
        "",
    ] {
        for lines in [&["X-Key: <<pat>>"][..], &[]] {
            let answer = format!(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: {field}\r\nContent-Length: 2\r\n\r\nok{smuggled}"
            );
            stub.steps(vec![Step::Send(answer.into_bytes()), Step::Hang]);
            let before = stub.connections().len();
            for _ in 0..2 {
                let answer = within("an answer", tunnel.get("/x", lines)).await;
                assert_eq!((answer.status, &*answer.text()), (200, "ok"), "{field}");
                assert_eq!(answer.header("transfer-encoding"), None);
            }
            assert!(
                stub.connections().len() > before,
                "{field}: it was used again"
            );
        }
    }
    // One that ends before its length is not complete.
    let cut = "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\nContent-Length: 9\r\n\r\nok";
    stub.steps(vec![Step::Send(cut.into()), Step::Close]);
    let broken = tunnel.try_roundtrip(request("GET", "/x", &[], "")).await;
    assert!(broken.is_err(), "{broken:?}");
}

#[tokio::test]
async fn odd_lines_of_an_answer_are_repaired_and_broken_ones_named() {
    let (world, stub) = one_upstream().await;
    world
        .save("two", "first-half second-half", &["--host", HOST])
        .await;
    let mut tunnel = world.tunnel().await;
    for odd in [
        "X-Odd : bar",
        "X-Odd\t: bar",
        "X-Odd  \t : bar",
        "X-Odd:\r\n bar",
        "X-Odd: \r\n\t bar",
    ] {
        stub.answer(format!(
            "HTTP/1.1 200 OK\r\n{odd}\r\nContent-Length: 2\r\n\r\nok"
        ));
        for headers in [&["X-Key: <<pat>>"][..], &[]] {
            let answer = tunnel.get("/x", headers).await;
            assert_eq!(answer.status, 200, "{odd:?}: {}", answer.text());
            assert_eq!(answer.header("x-odd").as_deref(), Some("bar"), "{odd:?}");
        }
    }
    stub.answer(
        "HTTP/1.1 200 OK\r\nX-Odd: it is first-half\r\n\t second-half.\r\nContent-Length: 2\r\n\r\nok",
    );
    let answer = tunnel.get("/x", &["X-Key: <<two>>"]).await;
    assert_eq!(answer.header("x-odd").as_deref(), Some("it is <<two>>."));
    for (broken, named) in [
        (
            format!("HTTP/1.1 200 OK\r\nNo Name {VALUE}\r\n\r\n"),
            "field line",
        ),
        (
            format!("HTTP/1.1 200 OK\r\nX-{VALUE}\r\n\r\n"),
            "field line",
        ),
        (format!("HTTP/1.1 2x0 {VALUE}\r\n\r\n"), "status line"),
        (format!("HTTP/7.1 200 {VALUE}\r\n\r\n"), "status line"),
        (
            format!("HTTP/1.1 200 OK\r\nContent-Length: {VALUE}\r\n\r\n"),
            "Content-Length",
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab".into(),
            "Content-Length",
        ),
    ] {
        stub.steps(vec![Step::Send(broken.clone().into_bytes()), Step::Close]);
        let answer = tunnel.get("/x", &["X-Key: <<pat>>"]).await;
        assert_refused(&answer, "upstream_protocol_error");
        assert!(
            answer.text().contains(named),
            "{broken:?}: {}",
            answer.text()
        );
        let forms = crate::leak::forms(VALUE.as_bytes());
        crate::leak::assert_absent("the answer", answer.text().as_bytes(), &forms);
    }
}

#[tokio::test]
async fn a_target_that_is_too_long_is_told_so() {
    let builder = World::builder().set("proxy.max_header_bytes", "256KiB");
    let (world, stub) = one_upstream_with(builder).await;
    world
        .save(
            "long",
            "v".repeat(4_000),
            &["--host", HOST, "--in", "query"],
        )
        .await;
    let mut tunnel = world.tunnel().await;
    let places = "&k=<<long>>".repeat(20);
    let answer = tunnel.get(&format!("/x?{places}"), &[]).await;
    assert_eq!(answer.status, 414);
    assert_refused(&answer, "target_too_long");
    let mut tunnel = world.tunnel().await;
    let answer = tunnel.get(&format!("/{}", "a".repeat(65_534)), &[]).await;
    assert_eq!(answer.status, 414);
    assert_refused(&answer, "target_too_long");
    let mut tunnel = world.tunnel().await;
    let longest = format!("/{}", "a".repeat(65_533));
    assert_eq!(tunnel.get(&longest, &[]).await.status, 200);
    assert_eq!(stub.take().len(), 1);
    let ledger = world.ledger();
    assert!(!ledger.iter().any(|line| line["event"] == "use"));
    let denied: Vec<_> = ledger
        .iter()
        .filter(|line| line["event"] == "denied")
        .collect();
    assert_eq!(denied.len(), 1);
    assert_eq!(denied[0]["code"], "target_too_long");
}

/// What belongs to the connection of HTTP/1.1 has no place in HTTP/2 (RFC 9113 section 8.2.2).
#[tokio::test]
async fn trailers_of_a_connection_do_not_reset_an_answer_over_http2() {
    let (world, stub) = one_upstream().await;
    let mut client = Client::open(&world).await;
    for trailer in [
        "Connection: close",
        "Keep-Alive: timeout=5",
        "Transfer-Encoding: x",
        "Upgrade: y",
    ] {
        stub.answer(format!(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n2\r\nok\r\n0\r\n\
             {trailer}\r\nx-sum: 1\r\n\r\n"
        ));
        let message = client.exchange(&Request::new("GET", "/x")).await;
        assert!(message.ended, "{trailer}: {message:?}");
        assert_eq!(message.body, b"ok");
        assert_eq!(
            message.trailers.len(),
            1,
            "{trailer}: {:?}",
            message.trailers
        );
    }
}

const IMAGE: &str = "Content-Type: image/png";
const EXPECT: &str = "Expect: 100-continue";

/// Sends a head that asks for leave, and the body once that is given. The answer, and whether it was.
async fn ask(world: &World, headers: &[&str]) -> (Response, bool) {
    let mut wire = world.tunnel().await.wire;
    let head = request(
        "PUT",
        "/x",
        &[headers, &[EXPECT, "Content-Length: 5"]].concat(),
        "",
    );
    wire.send(head).await.expect("send");
    let interim = async {
        let mut interim = [0; 25];
        let mut at = 0;
        while at < interim.len() {
            at += tokio::io::AsyncReadExt::read(&mut wire.io, &mut interim[at..])
                .await
                .expect("read");
            if !b"HTTP/1.1 100 Continue\r\n\r\n".starts_with(&interim[..at]) {
                break;
            }
        }
        interim[..at].to_vec()
    };
    let begun = within("the beginning of an answer", interim).await;
    let is_asked = begun == b"HTTP/1.1 100 Continue\r\n\r\n";
    if is_asked {
        wire.io.write_all(b"12345").await.expect("send");
        wire.io.flush().await.expect("flush");
        let answer = within("an answer", wire.response(false)).await;
        return (answer.expect("an answer"), true);
    }
    let rest = within("the rest", wire.until_closed()).await;
    let whole = [begun, rest].concat();
    let mut wire = crate::wire::Wire::new(&whole[..]);
    (wire.response(false).await.expect("an answer"), false)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_that_answers_the_head_spares_the_upload() {
    let (world, stub) = one_upstream().await;
    for status in ["307 Elsewhere", "401 Who", "413 Too Much"] {
        let early = format!("HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\nno");
        stub.at_head(Some(vec![Step::Send(early.into_bytes()), Step::Hang]));
        for headers in [&[IMAGE, "X-Key: <<pat>>"][..], &[IMAGE]] {
            let (answer, is_asked) = ask(&world, headers).await;
            assert!(!is_asked, "{status}");
            assert_eq!(answer.status.to_string(), status[..3]);
            assert_eq!(answer.text(), "no");
            assert_eq!(
                stub.take_one().header("expect").as_deref(),
                Some("100-continue")
            );
        }
    }
    let sent = String::from_utf8_lossy(&stub.bytes()).into_owned();
    assert!(!sent.contains("12345"), "the body was not asked for");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_that_wants_the_upload_gets_it() {
    let (world, stub) = one_upstream().await;
    for headers in [&[IMAGE][..], &["Content-Type: text/plain"], &[]] {
        // The stub asks for the body where it is asked to.
        let (answer, is_asked) = ask(&world, headers).await;
        assert!(is_asked && answer.status == 200, "{headers:?}");
        let seen = stub.take_one();
        assert_eq!(seen.body, b"12345", "{headers:?}");
        // What Egret holds it has asked for itself.
        assert_eq!(
            seen.header("expect").is_some(),
            headers == [IMAGE],
            "{headers:?}"
        );
    }
    // The connection is as good as before.
    let (answer, _) = ask(&world, &[IMAGE]).await;
    assert_eq!(answer.status, 200);
    assert_eq!(stub.connections().len(), 1);
}

/// An upstream that knows nothing of the question.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_that_says_nothing_gets_the_upload_after_a_while() {
    let (world, stub) = one_upstream().await;
    stub.at_head(Some(vec![
        Step::Pause(Duration::from_secs(4)),
        Step::Send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok".to_vec()),
        Step::Close,
    ]));
    let (answer, is_asked) = within_secs(10, "an answer", ask(&world, &[IMAGE])).await;
    assert!(is_asked && answer.status == 200);
}

#[tokio::test]
async fn an_upstream_of_http2_is_asked_too() {
    let builder = World::builder();
    let stub = Stub::tls_alpn(builder.pki(), &[HOST], &["h2"]).await;
    let world = builder
        .route(&format!("{HOST}:443"), stub.addr)
        .start()
        .await;
    let (answer, is_asked) = within_secs(10, "an answer", ask(&world, &[IMAGE])).await;
    assert!(is_asked && answer.status == 200);
    let seen = stub.take_one();
    assert_eq!(seen.body, b"12345");
    assert_eq!(seen.header("expect").as_deref(), Some("100-continue"));
}

/// A request that is given up ends in a reset, on each transport.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_that_is_given_up_has_no_orderly_end() {
    let (world, stub) = World::plain_upstream().await;
    world
        .save(
            SLUG,
            VALUE,
            &["--host", &format!("http://{HOST}"), "--in", "header"],
        )
        .await;
    let who = format!("Proxy-Authorization: {}", basic("act-1", &world.token));
    let head = request(
        "POST",
        "/x",
        &[&who, IMAGE, "Transfer-Encoding: chunked", "X-Key: <<pat>>"],
        "",
    );
    let head = head.replace("POST /x", &format!("POST http://{HOST}/x"));
    for _ in 0..10 {
        let mut wire = world.dial().await;
        wire.send(format!("{head}5\r\nhello\r\n"))
            .await
            .expect("send");
        crate::eventually("the upload to begin", || {
            let begun = stub.connections().pop()?.bytes.ends_with(b"5\r\nhello\r\n");
            begun.then_some(())
        })
        .await;
        drop(wire);
        let broken = crate::eventually("the upload to end", || {
            let last = stub.connections().pop()?;
            last.over.then_some(last.broken)
        })
        .await;
        let broken = broken.expect("an error");
        assert!(broken.contains("reset"), "{broken}");
    }
    stub.answer(ok("ok"));
}

//! Fields that must not pass, or must not be taken away: trailers and `Connection`.

use crate::client::{assert_refused, request};
use crate::coded::chunked;
use crate::wire::values;
use crate::world::{HOST, SLUG, VALUE, one_upstream};

/// What is no trailer (RFC 9110 section 6.5.1), with a field that is one in front and at the end.
const FOREIGN: &[(&str, &str)] = &[
    ("X-First", "1"),
    ("Host", "evil.test"),
    ("Proxy-Authorization", "Basic eDp5"),
    ("Proxy-Authenticate", "Basic realm=\"x\""),
    ("Egret-Action", "somebody-else"),
    ("Egret-Error", "forged"),
    ("Egret-Request", "req-forged"),
    ("Content-Type", "text/html"),
    ("Content-Length", "4"),
    ("Content-Encoding", "gzip"),
    ("Transfer-Encoding", "gzip"),
    ("Set-Cookie", "a=b"),
    ("Authorization", "Bearer x"),
    ("Proxy-Status", "egret; error=forged"),
    ("X-Last", "2"),
];

fn section() -> String {
    let lines = FOREIGN
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"));
    lines.collect::<String>() + "\r\n"
}

/// The end of a chunked body with [`FOREIGN`] as its trailer section.
fn with_trailers(body: &[u8]) -> Vec<u8> {
    let mut raw = chunked(body, 100);
    raw.truncate(raw.len() - 2);
    raw.extend_from_slice(section().as_bytes());
    raw
}

fn assert_only_trailers(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes).to_lowercase();
    let end = text.rfind("\r\n0\r\n").expect("the last chunk");
    let trailers = &text[end..];
    assert_eq!(trailers, "\r\n0\r\nx-first: 1\r\nx-last: 2\r\n\r\n");
}

/// RFC 9110 sections 7.6.2 and 7.6.3.
#[tokio::test]
async fn each_hop_is_named_and_counted() {
    let (world, stub) = one_upstream().await;
    let mut tunnel = world.tunnel().await;
    let answer = tunnel.get("/x", &["Via: 1.0 before"]).await;
    let seen = stub.take_one();
    assert_eq!(
        values(&seen.headers, "via"),
        [&b"1.0 before"[..], b"1.1 egret"]
    );
    assert_eq!(values(&answer.headers, "via"), [b"1.1 egret"]);
    for method in ["TRACE", "OPTIONS"] {
        let ask = |hops: &str| {
            let hops = format!("Max-Forwards: {hops}");
            crate::client::request(method, "/x", &[&hops, "X-Key: <<pat>>"], "")
        };
        assert_eq!(tunnel.roundtrip(ask("2")).await.status, 200);
        assert_eq!(stub.take_one().header("max-forwards").as_deref(), Some("1"));
        let answer = tunnel.roundtrip(ask("0")).await;
        assert_eq!(answer.status, 200);
        assert!(!answer.text().contains("pat"), "{}", answer.text());
        assert_eq!(stub.take().len(), 0);
    }
}

#[tokio::test]
async fn what_is_no_trailer_does_not_reach_the_upstream() {
    let (world, stub) = one_upstream().await;
    for (media_type, body) in [
        ("text/plain", "held <<pat>>".to_owned()),
        ("text/plain", "x".repeat(2 << 20)),
        ("image/png", "x".repeat(5000)),
    ] {
        let media_type = format!("Content-Type: {media_type}");
        let lines = [
            &media_type,
            "Transfer-Encoding: chunked",
            "Trailer: X-First, X-Last",
        ];
        world
            .run(&["credential", "allow", SLUG, "--in", "body"])
            .await;
        let mut raw = request("POST", "/", &lines, "").into_bytes();
        raw.extend(with_trailers(body.as_bytes()));
        let mark = stub.mark();
        let answer = world.tunnel().await.roundtrip(raw).await;
        assert_eq!(answer.status, 200, "{media_type}");
        assert_only_trailers(&stub.bytes_since(&mark));
    }
}

#[tokio::test]
async fn what_is_no_trailer_does_not_reach_the_client() {
    let (world, stub) = one_upstream().await;
    let head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\
                 Trailer: X-First, X-Last\r\n\r\n";
    // With a value that is searched for, and without one.
    for header in [
        format!("Authorization: Bearer <<{SLUG}>>"),
        "Accept: */*".to_owned(),
    ] {
        let answer = [&head[..], &with_trailers(b"body")].concat();
        stub.answer(answer);
        let mut tunnel = world.tunnel().await;
        let answer = tunnel.get("/", &[&header, "TE: trailers"]).await;
        assert_eq!(answer.status, 200, "{header}");
        for (name, _) in FOREIGN {
            let is_trailer = name.starts_with("X-");
            let own = ["Egret-Request", "Content-Type", "Transfer-Encoding"].contains(name);
            let value = answer.header(name);
            assert!(
                is_trailer || own || value.is_none(),
                "{header}: {name} came as {value:?}"
            );
            assert_ne!(value.as_deref(), Some("req-forged"));
        }
    }
}

#[tokio::test]
async fn connection_does_not_take_away_what_the_upstream_needs() {
    let (world, stub) = one_upstream().await;
    for named in [
        "host",
        "Host, content-type",
        "AUTHORIZATION",
        "close, authorization, host",
        "if-match, Range, host",
    ] {
        let lines = [
            &format!("Connection: {named}"),
            &format!("Authorization: Bearer <<{SLUG}>>"),
            "Content-Type: application/json",
            "If-Match: \"a\"",
        ];
        let mut tunnel = world.tunnel().await;
        let answer = tunnel.roundtrip(request("POST", "/", &lines, "{}")).await;
        assert_eq!(answer.status, 200, "{named}");
        let seen = stub.take_one();
        assert_eq!(seen.header("if-match").as_deref(), Some("\"a\""), "{named}");
        assert_eq!(seen.header("host").as_deref(), Some(HOST), "{named}");
        let expected = format!("Bearer {VALUE}");
        assert_eq!(seen.header("authorization"), Some(expected), "{named}");
        let media_type = seen.header("content-type");
        assert_eq!(media_type.as_deref(), Some("application/json"), "{named}");
    }
    // A field that is the hop's alone still goes, and takes no placeholder.
    let lines = ["Connection: X-Hop", &format!("X-Hop: <<{SLUG}>>")];
    let answer = world.tunnel().await.get("/", &lines).await;
    assert_refused(&answer, "request_malformed");
}

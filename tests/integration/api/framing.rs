//! Where one request ends and the next one begins: behind a reverse proxy the next one is somebody
//! else's.

use super::client::{Api, When, expect, expect_problem};
use crate::wire::Response;
use crate::within;
use crate::world::World;

/// A request that a server might take for one of its own, if it misread where the one before ends.
const SMUGGLED: &str = "GET /api/v1/health HTTP/1.1\r\nHost: egret.localhost\r\n\r\n";

/// What is wrong, the first bytes, and a word of the answer.
fn heads(host: &str) -> Vec<(&'static str, String, &'static str)> {
    let post = |fields: &str, body: &str| {
        format!("POST /api/v1/import HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n{body}")
    };
    let get = |fields: &str| format!("GET /api/v1/me HTTP/1.1\r\n{fields}\r\n");
    let chunked = format!("0\r\n\r\n{SMUGGLED}");
    vec![
        (
            "a length beside a coding",
            post(
                "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
                &chunked,
            ),
            "both Content-Length and Transfer-Encoding",
        ),
        (
            "a coding beside a length",
            post(
                "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
                &chunked,
            ),
            "both Content-Length and Transfer-Encoding",
        ),
        (
            "two lengths",
            post("Content-Length: 2\r\nContent-Length: 0\r\n", SMUGGLED),
            "more than one Content-Length",
        ),
        (
            "the same length twice",
            post("Content-Length: 2\r\nContent-Length: 2\r\n", "{}"),
            "more than one Content-Length",
        ),
        (
            "a list of lengths",
            post("Content-Length: 2, 2\r\n", "{}"),
            "Content-Length is not one number",
        ),
        (
            "a length with a sign",
            post("Content-Length: +2\r\n", "{}"),
            "Content-Length is not one number",
        ),
        (
            "an unknown coding",
            post("Transfer-Encoding: xchunked\r\n", &chunked),
            "single `chunked`",
        ),
        (
            "two codings",
            post("Transfer-Encoding: gzip, chunked\r\n", &chunked),
            "single `chunked`",
        ),
        (
            "a coding in HTTP/1.0",
            format!(
                "POST /api/v1/import HTTP/1.0\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\n{chunked}"
            ),
            "HTTP/1.0 has no Transfer-Encoding",
        ),
        (
            "a folded line",
            get(&format!("Host: {host}\r\nX-A: b\r\n Content-Length: 9\r\n")),
            "folded lines",
        ),
        (
            "a space before the colon",
            get(&format!("Host: {host}\r\nContent-Length : 9\r\n")),
            "space before the colon",
        ),
        (
            "a bare LF in the head",
            get(&format!("Host: {host}\r\nX-A: b\nContent-Length: 9\r\n")),
            "CR LF",
        ),
        (
            "bare LFs throughout",
            format!("GET /api/v1/me HTTP/1.1\nHost: {host}\n\n"),
            "CR LF",
        ),
        (
            "two Host lines",
            get(&format!("Host: {host}\r\nHost: {host}\r\n")),
            "more than one Host",
        ),
        ("no Host", get("Accept: */*\r\n"), "needs a Host"),
        (
            "a NUL in a field",
            get(&format!("Host: {host}\r\nX-A: a\0b\r\n")),
            "control character",
        ),
        (
            "another version",
            format!("GET /api/v1/me HTTP/2.0\r\nHost: {host}\r\n\r\n"),
            "HTTP/1.1",
        ),
        (
            "a head that is too long",
            get(&format!("Host: {host}\r\nX-A: {}\r\n", "a".repeat(40_000))),
            "at most 32 KiB",
        ),
    ]
}

#[tokio::test]
async fn a_head_that_two_parsers_could_read_differently_ends_the_connection() {
    let world = World::builder().start().await;
    let nobody = Api::nobody(&world);
    for (what, bytes, said) in heads(&world.admin.to_string()) {
        let mut wire = nobody.connect().await;
        wire.send(bytes).await.expect("send a request");
        let answer = within(what, wire.response(false)).await;
        let answer = answer.unwrap_or_else(|error| panic!("{what}: {error:?}"));
        expect_problem(&answer, "malformed");
        assert!(answer.json()["request_id"].is_string(), "{what}");
        assert_eq!(answer.status, 400, "{what}");
        assert!(answer.text().contains(said), "{what}: {}", answer.text());
        assert_is_complete(&answer, what);
        let connection = answer.header("connection");
        assert_eq!(connection.as_deref(), Some("close"), "{what}");
        // Whatever followed was taken for no request.
        let rest = within(what, wire.until_closed()).await;
        assert_eq!(String::from_utf8_lossy(&rest), "", "{what}");
    }
    let probe = world.admin_get("/healthz").await;
    assert_eq!(probe, Some(200), "the listener goes on");
}

/// Whatever carries the answer, it says which one it was, and has what every answer has.
fn assert_is_complete(answer: &Response, what: &str) {
    let id = answer.header("egret-request");
    assert!(id.is_some(), "{what}: {answer:#?}");
    if answer.header("content-type").as_deref() == Some("application/problem+json") {
        assert_eq!(
            answer.json()["request_id"].as_str(),
            id.as_deref(),
            "{what}"
        );
    }
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("cache-control", "no-store"),
    ] {
        assert_eq!(
            answer.header(name).as_deref(),
            Some(value),
            "{what}: {name}"
        );
    }
    let policy = answer.header("content-security-policy").unwrap_or_default();
    assert!(policy.contains("default-src 'none'"), "{what}: {policy}");
}

/// Heads in which only the place for one byte or one word is wrong, as one parser sees it and another
/// does not: none of them is answered by the library, which says nothing but a status.
#[tokio::test]
async fn whatever_is_wrong_with_a_head_the_answer_is_complete() {
    let world = World::builder().start().await;
    let nobody = Api::nobody(&world);
    let host = world.admin.to_string();
    let line =
        |line: &str| format!("{line}\r\nHost: {host}\r\nConnection: close\r\n\r\n").into_bytes();
    let mut heads: Vec<(String, Vec<u8>)> = [
        "GET me HTTP/1.1",
        "GET * HTTP/1.1",
        "GET ? HTTP/1.1",
        "GET :// HTTP/1.1",
        "GET http:// HTTP/1.1",
        "GET http:/// HTTP/1.1",
        "GET http://[::1 HTTP/1.1",
        "GET http://[::1]x/ HTTP/1.1",
        "GET http://a:b:c/ HTTP/1.1",
        "GET http://a@b@c/ HTTP/1.1",
        "GET http://a:99999/ HTTP/1.1",
        "GET http://%zz/ HTTP/1.1",
        "GET ht!tp://a/ HTTP/1.1",
        "GET /%zz HTTP/1.1",
        "GET /a\\b HTTP/1.1",
        "GET /{a}|^ HTTP/1.1",
        "GET //// HTTP/1.1",
        "CONNECT / HTTP/1.1",
        "CONNECT a HTTP/1.1",
        "CONNECT a:b HTTP/1.1",
        "OPTIONS * HTTP/1.1",
        "PRI * HTTP/2.0",
        "get /api/v1/me HTTP/1.1",
        "G(T /api/v1/me HTTP/1.1",
        "GET /api/v1/me HTTP/1.2",
        "GET /api/v1/me",
        "GET",
    ]
    .map(|text| (text.to_owned(), line(text)))
    .into();
    for byte in 0..=u8::MAX {
        for before in [
            "GET /",
            "GET /api/v1/me HTTP/1.1\r\nX",
            "GET /api/v1/me HTTP/1.1\r\nX: a",
        ] {
            let rest = if before == "GET /" {
                " HTTP/1.1"
            } else if before.ends_with('X') {
                ": b"
            } else {
                "b"
            };
            let head = [before.as_bytes(), &[byte], &line(rest)].concat();
            heads.push((format!("{before:?} and {byte:#04x}"), head));
        }
    }
    for (what, head) in heads {
        let mut wire = nobody.connect().await;
        wire.send(head).await.expect("send a request");
        let answer = within(&what, wire.response(false)).await;
        let answer = answer.unwrap_or_else(|error| panic!("{what}: {error:?}"));
        assert!((300..500).contains(&answer.status), "{what}: {answer:#?}");
        assert_is_complete(&answer, &what);
    }
}

#[tokio::test]
async fn the_name_in_the_target_and_the_one_in_host_are_the_same() {
    let world = World::builder().start().await;
    let nobody = Api::nobody(&world);
    let host = world.admin.to_string();
    for (target, status) in [
        (format!("http://{host}/api/v1/openapi.json"), 200),
        ("http://evil.example/api/v1/openapi.json".to_owned(), 400),
        (format!("http://x@{host}/api/v1/openapi.json"), 400),
    ] {
        let mut wire = nobody.connect().await;
        let head = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        wire.send(head).await.expect("send a request");
        let answer = within("an answer", wire.response(false)).await;
        expect(&answer.expect("an answer"), status);
    }
}

#[tokio::test]
async fn a_body_whose_chunks_are_wrong_is_no_body() {
    let world = World::builder().start().await;
    world.run(&["user", "add", "alice"]).await.ok();
    let alice = Api::of(&world, "alice", "manage").await;
    let token = alice.token.as_deref().expect("a token");
    let head = format!(
        "POST /api/v1/import HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n",
        world.admin
    );
    let send = async |body: &str| {
        let mut wire = alice.connect().await;
        let request = format!("{head}{body}");
        wire.send(request).await.expect("send a request");
        let answer = within("an answer", wire.response(false)).await;
        (answer.expect("an answer"), wire)
    };
    let (good, _) = send("e\r\n{\"content\":\"A=\r\n3\r\nb\"}\r\n0\r\n\r\n").await;
    expect(&good, 200);
    for body in [
        "2;a\n{}\r\n0\r\n\r\n",
        "2\r\n{}X\r\n0\r\n\r\n",
        "-2\r\n{}\r\n0\r\n\r\n",
    ] {
        let (answer, mut wire) = send(&format!("{body}{SMUGGLED}")).await;
        expect_problem(&answer, "malformed");
        let rest = within("the end", wire.until_closed()).await;
        assert_eq!(String::from_utf8_lossy(&rest), "", "{body:?}");
    }
}

#[tokio::test]
async fn requests_follow_each_other_on_a_connection() {
    let world = World::builder().start().await;
    world.run(&["user", "add", "alice"]).await.ok();
    let alice = Api::of(&world, "alice", "manage").await;
    let one = |method: &str| {
        let request = alice.request(method, "/me", When::Always, None);
        request.replace("Connection: close\r\n", "")
    };
    let mut wire = alice.connect().await;
    // The second one comes before the first is answered, and has to wait.
    let both = format!("{}{}", one("GET"), one("GET"));
    wire.send(both).await.expect("send requests");
    for more in [None, None, Some(one("GET"))] {
        if let Some(more) = more {
            wire.send(more).await.expect("send a request");
        }
        let answer = within("an answer", wire.response(false)).await;
        expect(&answer.expect("an answer"), 200);
    }
    // No tunnel begins here.
    wire.send(one("CONNECT")).await.expect("send a request");
    let answer = within("an answer", wire.response(false)).await;
    let status = answer.expect("an answer").status;
    assert!((400..500).contains(&status), "{status}");
}

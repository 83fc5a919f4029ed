//! Each status comes as the upstream gave it: body, length and fields, whether or not a value was used
//! and found again.

use crate::client::request;
use crate::upstream::Stub;
use crate::wire::{Framing, Response};
use crate::within;
use crate::world::{VALUE, World, one_upstream};

const USE: &str = "X-Api-Key: <<pat>>";

/// Those that clients act on, with the fields that they need for it.
const STATUSES: [(&str, &[&str]); 12] = [
    ("200 OK", &["ETag: \"e\""]),
    ("201 Created", &["Location: /made"]),
    ("401 Unauthorized", &["WWW-Authenticate: Basic realm=\"a\""]),
    ("403 Forbidden", &["X-Reason: no"]),
    ("404 Not Found", &["Content-Language: en"]),
    ("407 Proxy Authentication Required", &["X-Reason: theirs"]),
    ("412 Precondition Failed", &["ETag: \"e\""]),
    ("416 Range Not Satisfiable", &["Content-Range: bytes */999"]),
    ("429 Too Many Requests", &["Retry-After: 7"]),
    ("500 Internal Server Error", &["X-Reason: broken"]),
    ("502 Bad Gateway", &["Via: 1.1 theirs"]),
    ("503 Service Unavailable", &["Retry-After: 7"]),
];

fn head(status: &str, fields: &[&str], length: Option<usize>) -> String {
    let mut head = format!("HTTP/1.1 {status}\r\nContent-Type: text/plain\r\n");
    for field in fields {
        head.push_str(&format!("{field}\r\n"));
    }
    if let Some(length) = length {
        head.push_str(&format!("Content-Length: {length}\r\n"));
    }
    head + "\r\n"
}

/// The answers to a request that uses the value and one that does not.
async fn both(world: &World, stub: &Stub, answer: String) -> [Response; 2] {
    stub.answer(answer);
    let mut tunnel = world.tunnel().await;
    let plain = tunnel.get("/x", &[]).await;
    let used = tunnel.get("/x", &[USE]).await;
    [plain, used]
}

fn assert_fields(answer: &Response, status: &str, fields: &[&str]) {
    assert!(status.starts_with(&answer.status.to_string()), "{status}");
    assert_eq!(answer.header("egret-error"), None, "{status}");
    for field in fields {
        let (name, value) = field.split_once(": ").expect("a field");
        let got = answer.header(&name.to_lowercase());
        let got = got.expect("the field");
        assert!(
            got == value || name == "Via" && got.starts_with(value),
            "{status}: {got}"
        );
    }
}

#[tokio::test]
async fn each_status_keeps_its_body_its_length_and_its_fields() {
    let (world, stub) = one_upstream().await;
    for (status, fields) in STATUSES {
        for (body, expected) in [
            (format!("a {VALUE} b"), "a <<pat>> b"),
            ("nothing of ours".to_owned(), "nothing of ours"),
            (String::new(), ""),
        ] {
            let answer = head(status, fields, Some(body.len())) + &body;
            for got in both(&world, &stub, answer).await {
                assert_fields(&got, status, fields);
                assert_eq!(got.text(), expected, "{status}");
                let length = Framing::Length(expected.len() as u64);
                assert_eq!(got.framing, length, "{status}");
            }
        }
    }
}

#[tokio::test]
async fn a_status_without_a_body_keeps_its_fields() {
    let (world, stub) = one_upstream().await;
    let echo = format!("X-Echo: {VALUE}");
    for status in ["204 No Content", "304 Not Modified"] {
        let fields = ["ETag: \"e\"", "Cache-Control: no-store", &echo];
        for got in both(&world, &stub, head(status, &fields, None)).await {
            assert_fields(&got, status, &fields[..2]);
            assert_eq!(got.header("x-echo").as_deref(), Some("<<pat>>"));
            assert!(got.body.is_empty());
        }
    }
}

#[tokio::test]
async fn trailers_are_announced_only_to_a_client_that_gets_them() {
    let (world, stub) = one_upstream().await;
    stub.answer(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n2\r\nok\r\n0\r\n\
         X-Sum: 1\r\n\r\n",
    );
    let mut tunnel = world.tunnel().await;
    for (lines, announced) in [
        (&[][..], None),
        (&[USE], None),
        (&["TE: gzip"], None),
        (&["TE: trailers"], Some("X-Sum")),
        (&["TE: trailers", USE], Some("X-Sum")),
    ] {
        let from = tunnel.wire.received.len();
        let answer = tunnel.get("/x", lines).await;
        assert_eq!(answer.text(), "ok");
        assert_eq!(answer.header("trailer").as_deref(), announced, "{lines:?}");
        let came = String::from_utf8_lossy(&tunnel.wire.received[from..]).to_lowercase();
        assert_eq!(came.contains("x-sum: 1"), announced.is_some(), "{lines:?}");
    }
}

/// restic's server says a type in its answer to GET only.
#[tokio::test]
async fn an_answer_to_head_without_a_type_has_the_one_that_was_asked_for() {
    let (world, stub) = one_upstream().await;
    const RESTIC: &str = "Accept: application/vnd.x.restic.rest.v2";
    for (fields, accept, length) in [
        ("", RESTIC, Some("155")),
        ("", "Accept: */*", None),
        ("Content-Type: text/html\r\n", RESTIC, None),
    ] {
        for lines in [&[USE, accept][..], &[accept]] {
            let answer = format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: 155\r\n\r\n");
            stub.answer(answer);
            let mut tunnel = world.tunnel().await;
            let head = request("HEAD", "/x", lines, "");
            tunnel.wire.send(head).await.expect("send");
            let got = within("an answer", tunnel.wire.response(true)).await;
            let got = got.expect("an answer").header("content-length");
            assert_eq!(got.as_deref(), length, "{fields} {accept}");
        }
    }
}

/// Registries, object stores and model hubs are asked for the length first, by HEAD.
#[tokio::test]
async fn a_stored_object_has_the_same_length_in_get_and_head() {
    let (world, stub) = one_upstream().await;
    for field in ["Accept-Ranges: bytes", "Docker-Content-Digest: sha256:00"] {
        for filler in [10, 200_000] {
            let body = format!("{{\"k\":\"{VALUE}\",\"f\":\"{}\"}}", "f".repeat(filler));
            let masked = body.replace(VALUE, &"*".repeat(VALUE.len()));
            let head = head("200 OK", &[field], Some(body.len()));
            let head = head.replace("text/plain", "application/json");
            for fields in [&[USE][..], &[]] {
                stub.answer(format!("{head}{body}"));
                let mut tunnel = world.tunnel().await;
                let got = tunnel.get("/x", fields).await;
                let length = body.len().to_string();
                assert!(got.text() == masked, "{field}, {filler}");
                assert_eq!(got.header("content-length"), Some(length.clone()));
                stub.answer(head.clone());
                tunnel
                    .wire
                    .send(request("HEAD", "/x", fields, ""))
                    .await
                    .expect("send");
                let asked = within("an answer", tunnel.wire.response(true)).await;
                let asked = asked.expect("an answer");
                assert_eq!(asked.header("content-length"), Some(length), "{field}");
            }
        }
    }
}

//! What comes back: the upstream's answer unchanged, except for hop-by-hop fields.

use crate::client::{Tunnel, Wanted, request, request_to};
use crate::upstream::{Step, Stub};
use crate::world::{World, one_upstream, one_upstream_with};

/// The names that are in use for it: object stores have their own.
const RANGES: [&str; 6] = [
    "Range",
    "If-Range",
    "x-ms-range",
    "X-Amz-Range",
    "x-goog-range",
    "request-range",
];

/// Whether a request for a part reaches the upstream as one. If not, the client is told.
async fn passes(tunnel: &mut Tunnel, stub: &Stub, name: &str, line: Option<&str>) -> bool {
    let range = format!("{name}: bytes=0-3");
    let lines: Vec<&str> = [range.as_str()].into_iter().chain(line).collect();
    let answer = tunnel.get("/x", &lines).await;
    let passed = stub.take_one().header(&name.to_lowercase()).is_some();
    let expected = (!passed).then_some("range");
    assert_eq!(
        answer.header("egret-ignored").as_deref(),
        expected,
        "{name}"
    );
    passed
}

/// A value that an earlier request stored there would come back in pieces.
#[tokio::test]
async fn a_part_is_asked_for_only_where_no_value_may_be() {
    let other = "cdn.example.test";
    let builder = World::builder();
    let elsewhere = Stub::tls(builder.pki(), &[other]).await;
    let route = format!("{other}:443");
    let (mut world, stub) = one_upstream_with(builder.route(&route, elsewhere.addr)).await;
    let mut tunnel = world.tunnel().await;
    let mut to_other = world.tunnel_for(&Wanted::new(&world).host(other)).await;
    for name in RANGES {
        assert!(!passes(&mut tunnel, &stub, name, None).await, "{name}");
        let used = Some("X-A: <<pat>>");
        assert!(!passes(&mut tunnel, &stub, name, used).await, "{name}");
        let range = format!("{name}: bytes=0-3");
        let request = request_to(other, "GET", "/x", &[&range], "");
        let answer = to_other.roundtrip(request).await;
        assert_eq!(answer.header("egret-ignored"), None);
        let seen = elsewhere.take_one();
        assert!(seen.header(&name.to_lowercase()).is_some(), "{name}");
    }
    world.allow_ranges().await;
    for name in RANGES {
        assert!(passes(&mut tunnel, &stub, name, None).await, "{name}");
    }
}

#[tokio::test]
async fn the_answer_reaches_the_client_as_it_was_but_for_hop_by_hop_headers() {
    let (world, stub) = one_upstream().await;
    stub.steps(vec![Step::Send(
        b"HTTP/1.1 418 Short And Stout\r\nX-One: 1\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nKeep-Alive: timeout=5\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\nContent-Length: 3\r\n\r\ntea".to_vec(),
    )]);
    let mut tunnel = world.tunnel().await;
    let answer = tunnel.get("/x", &[]).await;
    assert_eq!((answer.status, answer.text().as_str()), (418, "tea"));
    assert_eq!(answer.header("x-one").as_deref(), Some("1"));
    assert_eq!(crate::wire::values(&answer.headers, "set-cookie").len(), 2);
    for hop in ["keep-alive", "x-hop", "egret-error"] {
        assert_eq!(answer.header(hop), None);
    }
}

#[tokio::test]
async fn answers_without_a_body_are_understood() {
    let (world, stub) = one_upstream().await;
    let mut tunnel = world.tunnel().await;
    for (status, method) in [
        ("204 No Content", "GET"),
        ("304 Not Modified", "GET"),
        ("200 OK", "HEAD"),
    ] {
        stub.answer(format!(
            "HTTP/1.1 {status}\r\nETag: \"1\"\r\n{}\r\n",
            if method == "HEAD" {
                "Content-Length: 99\r\n"
            } else {
                ""
            }
        ));
        let answer = tunnel
            .roundtrip(request(method, "/x", &["X-A: <<pat>>"], ""))
            .await;
        assert!(status.starts_with(&answer.status.to_string()));
        stub.take_one();
    }
    stub.answer(
        [
            &b"HTTP/1.1 103 Early Hints\r\nLink: </s>\r\n\r\n"[..],
            &crate::upstream::ok("late"),
        ]
        .concat(),
    );
    assert_eq!(tunnel.get("/x", &[]).await.text(), "late");
    assert_eq!(stub.connections().len(), 1);
}

#[tokio::test]
async fn an_upstreams_own_egret_error_is_not_passed_off_as_ours() {
    let (world, stub) = one_upstream().await;
    stub.answer("HTTP/1.1 403 Forbidden\r\nEgret-Error: credential_not_allowed\r\nEgret-Request: forged\r\nContent-Length: 0\r\n\r\n");
    let answer = world.tunnel().await.get("/x", &["X-A: <<pat>>"]).await;
    assert_eq!((answer.status, answer.egret_error()), (403, None));
    assert_ne!(answer.header("egret-request").as_deref(), Some("forged"));
}

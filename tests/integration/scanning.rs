//! Placeholders in requests, beyond the acceptance cases.

use crate::client::{Wanted, assert_refused, basic, request};
use crate::upstream::Stub;
use crate::world::{HOST, SLUG, VALUE, World, one_upstream};

const EVERYWHERE: &[&str] = &[
    "--host", HOST, "--in", "header", "--in", "query", "--in", "path", "--in", "body",
];

#[tokio::test]
async fn an_escaped_placeholder_leaves_as_the_literal() {
    let (world, stub) = one_upstream().await;
    let mut tunnel = world.tunnel().await;
    let answer = tunnel
        .get(
            "/d?q=%3C%3C!pat%3E%3E",
            &["X-A: <<!pat>> and <<!no-such.thing>>"],
        )
        .await;
    assert_eq!(answer.status, 200);
    let seen = stub.take_one();
    assert_eq!(
        seen.header("x-a").as_deref(),
        Some("<<pat>> and <<no-such.thing>>")
    );
    assert!(
        ["q=%3C%3Cpat%3E%3E", "q=<<pat>>"].contains(&seen.query()),
        "{}",
        seen.query()
    );
    assert!(!world.ledger().iter().any(|l| l["event"] == "use"));
}

#[tokio::test]
async fn a_value_put_in_is_never_scanned_again() {
    let (world, stub) = one_upstream().await;
    world
        .save("outer", "<<pat>> <<!pat>> <<outer>>", EVERYWHERE)
        .await;
    let mut tunnel = world.tunnel().await;
    tunnel.get("/x", &["X-A: <<outer>>"]).await;
    assert_eq!(
        stub.take_one().header("x-a").as_deref(),
        Some("<<pat>> <<!pat>> <<outer>>"),
    );
    tunnel.post("/x", "text/plain", "<<outer>>|<<outer>>").await;
    assert_eq!(
        stub.take_one().body,
        b"<<pat>> <<!pat>> <<outer>>|<<pat>> <<!pat>> <<outer>>",
    );
}

#[tokio::test]
async fn one_placeholder_that_cannot_be_used_stops_the_whole_request() {
    let (world, stub) = one_upstream().await;
    let mut tunnel = world.tunnel().await;
    let mixed = request(
        "POST",
        "/x?a=<<pat>>",
        &["X-A: <<pat>>", "Content-Type: text/plain"],
        "<<nope>>",
    );
    let answer = tunnel.roundtrip(mixed).await;
    assert_refused(&answer, "credential_not_found");
    assert_eq!(answer.json()["slug"], "nope");
    assert_eq!(stub.connections().len(), 0);
    assert!(
        !world.ledger().iter().any(|l| l["event"] == "use"),
        "nothing was used"
    );
    assert_eq!(
        tunnel.get("/after", &[]).await.status,
        200,
        "the tunnel stays usable"
    );
}

#[tokio::test]
async fn every_location_takes_the_value_in_its_own_encoding() {
    let (world, stub) = one_upstream().await;
    let mut tunnel = world.tunnel().await;
    let raw = request(
        "POST",
        "/bot<<pat>>/send?k=<<pat>>&b=1",
        &[
            "X-A: a <<pat>> b",
            "Content-Type: application/x-www-form-urlencoded",
        ],
        "k=<<pat>>&b=1",
    );
    let answer = tunnel.roundtrip(raw).await;
    assert_eq!(answer.status, 200);
    let seen = stub.take_one();
    let encoded = "s3cr3t%2BCanary%2F9f8e7d6c%26x%3D%221%22";
    assert_eq!(
        seen.target,
        format!("/bot{encoded}/send?k={encoded}&b=1").replace('"', "%22")
    );
    assert_eq!(seen.header("x-a"), Some(format!("a {VALUE} b")));
    let form: Vec<(String, String)> = form_urlencoded::parse(&seen.body).into_owned().collect();
    assert_eq!(form, [("k".into(), VALUE.into()), ("b".into(), "1".into())]);
    let uses: Vec<_> = world
        .ledger()
        .into_iter()
        .filter(|l| l["event"] == "use")
        .collect();
    assert_eq!(uses.len(), 1, "a use line per slug");
    let mut locations: Vec<String> =
        serde_json::from_value(uses[0]["locations"].clone()).expect("texts");
    locations.sort();
    assert_eq!(locations, ["body:k", "header:x-a", "path", "query:k"]);
    assert_eq!(uses[0]["path"], "/bot<<pat>>/send");
    assert_eq!(
        uses[0]["request"],
        answer.header("egret-request").expect("Egret-Request")
    );
}

#[tokio::test]
async fn bodies_that_are_not_text_travel_untouched() {
    let (world, stub) = one_upstream().await;
    let mut tunnel = world.tunnel().await;
    for media_type in [
        "application/octet-stream",
        "image/png",
        "application/x-protobuf",
        "application/grpc",
    ] {
        tunnel
            .post("/x", media_type, "\u{1}<<pat>>\u{2}<<nope>>")
            .await;
        let seen = stub.take_one();
        assert_eq!(seen.body, b"\x01<<pat>>\x02<<nope>>", "{media_type}");
        assert_eq!(values(&seen, "content-length"), ["17"], "{media_type}");
    }
    let chunked = request(
        "POST",
        "/x",
        &["Content-Type: image/png", "Transfer-Encoding: chunked"],
        "",
    );
    tunnel
        .roundtrip(chunked + "7\r\n<<pat>>\r\n0\r\n\r\n")
        .await;
    let seen = stub.take_one();
    assert_eq!(
        (
            seen.body.as_slice(),
            seen.header("transfer-encoding").as_deref()
        ),
        (&b"<<pat>>"[..], Some("chunked"))
    );
    assert!(!world.ledger().iter().any(|l| l["event"] == "use"));
}

fn values(request: &crate::wire::Request, name: &str) -> Vec<String> {
    let all = crate::wire::values(&request.headers, name);
    all.iter()
        .map(|v| String::from_utf8_lossy(v).into_owned())
        .collect()
}

#[tokio::test]
async fn a_large_binary_upload_streams_through_unchanged() {
    let (world, stub) = one_upstream().await;
    let mut tunnel = world.tunnel().await;
    let body: Vec<u8> = (0..8u32 << 20)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    let head = format!(
        "PUT /blob HTTP/1.1\r\nHost: {HOST}\r\nX-Api-Key: <<pat>>\r\nContent-Type: application/octet-stream\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let answer = tunnel.roundtrip([head.as_bytes(), &body].concat()).await;
    assert_eq!(answer.status, 200);
    let seen = stub.take_one();
    assert_eq!(seen.header("x-api-key").as_deref(), Some(VALUE));
    assert!(seen.body == body, "the upload arrived changed");
}

#[tokio::test]
async fn a_cookie_needs_to_be_named() {
    let (world, stub) = one_upstream().await;
    let mut tunnel = world.tunnel().await;
    let cookie = "Cookie: a=b; sid=<<pat>>";
    assert_refused(&tunnel.get("/x", &[cookie]).await, "credential_not_allowed");
    world
        .run(&["credential", "allow", SLUG, "--in", "header:cookie"])
        .await
        .ok();
    assert_eq!(tunnel.get("/x", &[cookie]).await.status, 200);
    assert_eq!(
        stub.take_one().header("cookie"),
        Some(format!("a=b; sid={VALUE}"))
    );
}

#[tokio::test]
async fn headers_that_repeat_urls_travel_literally_unless_named() {
    let (world, stub) = one_upstream().await;
    let mut tunnel = world.tunnel().await;
    let literal = [
        "Referer: https://x/<<pat>>",
        "Origin: https://<<pat>>",
        "User-Agent: c/<<pat>>",
        "Via: 1.1 <<pat>>",
        "X-Forwarded-For: <<pat>>",
        "Forwarded: for=<<pat>>",
    ];
    assert_eq!(tunnel.get("/x", &literal).await.status, 200);
    let seen = stub.take_one();
    assert_eq!(seen.header("referer").as_deref(), Some("https://x/<<pat>>"));
    assert_eq!(seen.header("user-agent").as_deref(), Some("c/<<pat>>"));
    crate::leak::assert_absent(
        "the request",
        &stub.bytes(),
        &crate::leak::forms(VALUE.as_bytes()),
    );
    world
        .run(&["credential", "allow", SLUG, "--in", "header:user-agent"])
        .await
        .ok();
    assert_eq!(
        tunnel.get("/x", &["User-Agent: c/<<pat>>"]).await.status,
        200
    );
    assert_eq!(
        stub.take_one().header("user-agent"),
        Some(format!("c/{VALUE}"))
    );
}

#[tokio::test]
async fn header_names_methods_and_framing_headers_are_no_place_for_a_value() {
    let (world, stub) = one_upstream().await;
    for headers in [
        &["Content-Type: text/<<pat>>"][..],
        &["Content-Language: <<pat>>"],
        &["TE: <<pat>>"],
        &["Connection: <<pat>>"],
        &["Upgrade: <<pat>>"],
    ] {
        let answer = world.tunnel().await.get("/x", headers).await;
        let code = answer.egret_error().unwrap_or_default();
        assert!(
            ["credential_not_allowed", "request_malformed"].contains(&code.as_str()),
            "{headers:?}: {answer:?}"
        );
    }
    for raw in [
        request("GET", "/x", &["<<pat>>: 1"], ""),
        request("<<pat>>", "/x", &[], ""),
    ] {
        let answer = world.tunnel().await.roundtrip(raw).await;
        assert!((400..500).contains(&answer.status), "{answer:?}");
    }
    assert_eq!(stub.connections().len(), 0);
}

#[tokio::test]
async fn a_destination_may_send_unresolvable_placeholders_literally() {
    let builder = World::builder();
    let stub = Stub::tls(builder.pki(), &[HOST]).await;
    let rule = toml::toml! {
        hosts = ["api.example.test"]
        unresolved = "ignore"
    };
    let mut world = builder
        .route(&format!("{HOST}:443"), stub.addr)
        .start()
        .await;
    world.save(SLUG, VALUE, EVERYWHERE).await;
    world.destinations(vec![rule]);
    world.reload().await;
    let mut tunnel = world.tunnel().await;
    let answer = tunnel.get("/x", &["X-A: <<nope>>", "X-B: <<pat>>"]).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("egret-ignored").as_deref(), Some("nope"));
    let seen = stub.take_one();
    assert_eq!(seen.header("x-a").as_deref(), Some("<<nope>>"));
    assert_eq!(seen.header("x-b").as_deref(), Some(VALUE));
    world
        .ledger_line("an ignored line", |l| {
            l["event"] == "ignored" && l["slug"] == "nope"
        })
        .await;
}

#[tokio::test]
async fn a_destination_may_narrow_what_is_scanned() {
    let builder = World::builder();
    let stub = Stub::tls(builder.pki(), &[HOST]).await;
    let rule = toml::toml! {
        hosts = ["api.example.test"]
        scan = ["header"]
    };
    let mut world = builder
        .route(&format!("{HOST}:443"), stub.addr)
        .start()
        .await;
    world.save(SLUG, VALUE, EVERYWHERE).await;
    world.destinations(vec![rule]);
    world.reload().await;
    let mut tunnel = world.tunnel().await;
    let raw = request(
        "POST",
        "/chat",
        &["X-A: <<pat>>", "Content-Type: application/json"],
        r#"{"said":"<<pat>> <<nope>>"}"#,
    );
    assert_eq!(tunnel.roundtrip(raw).await.status, 200);
    let seen = stub.take_one();
    assert_eq!(seen.header("x-a").as_deref(), Some(VALUE));
    assert_eq!(seen.body, br#"{"said":"<<pat>> <<nope>>"}"#);
}

/// A body larger than `body.buffer` is substituted as a stream; it is never passed unsearched.
#[tokio::test]
async fn no_body_is_too_large_to_be_looked_at() {
    let (world, stub) = one_upstream().await;
    let filler = "x".repeat(3 << 20);
    let answer = world
        .tunnel()
        .await
        .post("/x", "text/plain", &format!("{filler}<<pat>>"))
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(stub.take_one().body, format!("{filler}{VALUE}").as_bytes());
}

/// A coded body is decoded; it is never passed unsearched.
#[tokio::test]
async fn a_coded_body_is_not_passed_as_it_is() {
    let (world, stub) = one_upstream().await;
    // `{"k":"<<pat>>"}` in one stored block.
    let text = br#"{"k":"<<pat>>"}"#;
    let gzip = [
        &b"\x1f\x8b\x08\0\0\0\0\0\0\xff\x01\x0f\0\xf0\xff"[..],
        text,
        b"\xa9\x10\xde\x31\x0f\0\0\0",
    ]
    .concat();
    let head = format!(
        "POST /x HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n",
        gzip.len()
    );
    let answer = world
        .tunnel()
        .await
        .roundtrip([head.as_bytes(), &gzip].concat())
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_ne!(stub.take_one().body, gzip, "passed unscanned");
}

#[tokio::test]
async fn what_a_client_has_signed_is_not_changed() {
    let (world, stub) = one_upstream().await;
    let sigv4 = "Authorization: AWS4-HMAC-SHA256 Credential=AKID/20260101/us-east-1/s3/aws4_request, SignedHeaders=host;x-amz-date, Signature=00ff";
    for signed in [
        sigv4,
        "Content-MD5: 1B2M2Y8AsgTpgAmY7PhCfg==",
        "Content-Digest: sha-256=:AAAA:",
        "Digest: SHA-256=AAAA",
    ] {
        let raw = request(
            "POST",
            "/x",
            &[signed, "Content-Type: application/json"],
            r#"{"k":"<<pat>>"}"#,
        );
        let answer = world.tunnel().await.roundtrip(raw).await;
        assert_eq!(answer.status, 422, "{signed}: {answer:?}");
        assert_refused(&answer, "request_signed");
        let untouched = request(
            "POST",
            "/x",
            &[signed, "Content-Type: application/json"],
            r#"{"k":1}"#,
        );
        assert_eq!(
            world.tunnel().await.roundtrip(untouched).await.status,
            200,
            "{signed}"
        );
    }
    assert_eq!(stub.take().len(), 4);
}

#[tokio::test]
async fn absolute_form_becomes_origin_form_with_the_targets_host() {
    let (world, stub) = World::plain_upstream().await;
    world
        .save(
            SLUG,
            VALUE,
            &["--host", &format!("http://{HOST}"), "--in", "query"],
        )
        .await;
    let mut wire = world.dial().await;
    let authorization = basic("act-1", &world.token);
    let raw = format!(
        "GET http://{HOST}/a?k=<<pat>> HTTP/1.1\r\nHost: {HOST}\r\nProxy-Authorization: {authorization}\r\nProxy-Connection: keep-alive\r\n\r\n"
    );
    for _ in 0..2 {
        wire.send(&raw).await.expect("send");
        let answer = crate::within("an answer", wire.response(false))
            .await
            .expect("an answer");
        assert_eq!(answer.status, 200, "{answer:?}");
        let seen = stub.take_one();
        assert!(seen.target.starts_with("/a?k=s3cr3t"), "{}", seen.target);
        assert_eq!(
            (seen.version.as_str(), seen.header("host").as_deref()),
            ("HTTP/1.1", Some(HOST))
        );
        assert_eq!(seen.header("proxy-authorization"), None);
    }
    assert_eq!(
        stub.connections().len(),
        1,
        "the upstream connection is kept"
    );
}

#[tokio::test]
async fn plain_http_gets_no_value_that_was_saved_for_https() {
    let (world, stub) = World::plain_upstream().await;
    world.save(SLUG, VALUE, EVERYWHERE).await;
    let wanted = Wanted::new(&world);
    let authorization = wanted.authorization.expect("a token");
    let mut wire = world.dial().await;
    let raw = format!(
        "GET http://{HOST}/x HTTP/1.1\r\nHost: {HOST}\r\nProxy-Authorization: {authorization}\r\nX-A: <<pat>>\r\n\r\n"
    );
    wire.send(raw).await.expect("send");
    let answer = crate::within("an answer", wire.response(false))
        .await
        .expect("an answer");
    assert_refused(&answer, "credential_not_allowed");
    assert_eq!(stub.connections().len(), 0);
}

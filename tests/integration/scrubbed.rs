//! Answers that echo values: in any form, under any coding, in any segmentation, in any part of the
//! answer.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use serde_json::Value;

use crate::client::{Tunnel, assert_refused, basic, request};
use crate::coded::{CODINGS, chunked, close, open};
use crate::eventually;
use crate::leak::{assert_absent, forms};
use crate::upstream::{Stub, ok};
use crate::wire::{Framing, Response, WireError};
use crate::world::{HOST, SLUG, VALUE, World, one_upstream};

/// The header that makes a request use the value.
const USE: &str = "X-Api-Key: <<pat>>";

/// [`VALUE`] in every form that is searched for, each with its name.
fn written() -> Vec<(String, Vec<u8>)> {
    let entities = VALUE
        .replace('&', "&#38;")
        .replace('"', "&#x22;")
        .replace('+', "&#x2B;");
    let script = VALUE
        .replace('&', "\\u0026")
        .replace('"', "\\u0022")
        .replace('/', "\\/");
    let mut written = forms(VALUE.as_bytes());
    written.retain(|(name, _)| !["list of numbers", "debug", "ascii escape"].contains(&&**name));
    written.push(("entities".into(), entities.into()));
    written.push(("script".into(), script.into()));
    written.push((
        "mixed case percent".into(),
        "s3cr3t%2bCanary%2F9f8e7d6c%26x%3d%221%22".into(),
    ));
    for before in 0..3 {
        for after in 0..3 {
            let text = format!("{}{VALUE}{}", &"abc"[..before], &"xyz"[..after]);
            let name = format!("base64 {before}+{after}");
            written.push((name, STANDARD.encode(&text).into()));
            let name = format!("base64url {before}+{after}");
            written.push((name, URL_SAFE_NO_PAD.encode(&text).into()));
        }
    }
    written
}

/// Every form on a line of its own.
fn echo() -> Vec<u8> {
    let mut text = Vec::new();
    for (name, form) in written() {
        text.extend(format!("[{name}] <").into_bytes());
        text.extend(form);
        text.extend(b"> end\n");
    }
    text
}

/// Asserts that every line lost the value and nothing else.
fn assert_clean(what: &str, text: &[u8]) {
    assert_absent(what, text, &forms(VALUE.as_bytes()));
    let text = std::str::from_utf8(text).unwrap_or_else(|e| panic!("{what}: {e}"));
    let lines: Vec<&str> = text.lines().collect();
    let written = written();
    assert_eq!(lines.len(), written.len(), "{what}: {text}");
    for (line, (name, _)) in lines.iter().zip(written) {
        let start = format!("[{name}] <");
        assert!(
            line.starts_with(&start) && line.ends_with("> end"),
            "{what}: {line}"
        );
        let inside = &line[start.len()..line.len() - "> end".len()];
        // Base64 of more than the value is that of the rest, with the placeholder in it.
        let decoded = || {
            let text = inside.replace('-', "+").replace('_', "/");
            String::from_utf8(STANDARD_NO_PAD.decode(text.trim_end_matches('=')).ok()?).ok()
        };
        let text = match inside.contains("<<pat>>") {
            true => inside.to_owned(),
            false => decoded().unwrap_or_default(),
        };
        assert_eq!(text.matches("<<pat>>").count(), 1, "{what}: {line}");
        assert!(text.len() <= "<<pat>>".len() + 8, "{what}: {line}");
    }
}

fn answer(headers: &[&str], body: &[u8]) -> Vec<u8> {
    let mut text = "HTTP/1.1 200 OK\r\n".to_owned();
    for header in headers {
        text.push_str(header);
        text.push_str("\r\n");
    }
    [text.as_bytes(), b"\r\n", body].concat()
}

fn sized(headers: &[&str], body: &[u8]) -> Vec<u8> {
    let length = format!("Content-Length: {}", body.len());
    answer(&[headers, &[&length]].concat(), body)
}

fn scrubbed(world: &World) -> Vec<Value> {
    let is_it = |line: &Value| line["event"] == "scrubbed";
    world.ledger().into_iter().filter(is_it).collect()
}

async fn echoed(tunnel: &mut Tunnel, stub: &Stub, bytes: Vec<u8>) -> Response {
    stub.answer(bytes);
    let answer = tunnel.get("/x", &[USE]).await;
    stub.take_one();
    answer
}

#[tokio::test]
async fn no_form_of_a_value_comes_back_under_any_coding_in_any_pieces() {
    let (world, stub) = one_upstream().await;
    let mut tunnel = world.tunnel().await;
    for coding in ["identity", "gzip", "deflate", "br", "zstd"] {
        let body = close(coding, &echo());
        let line = format!("Content-Encoding: {coding}");
        let mut lines = vec!["Content-Type: text/plain", "X-Kept: 1"];
        if coding != "identity" {
            lines.push(&line);
        }
        let in_chunks = [lines.as_slice(), &["Transfer-Encoding: chunked"]].concat();
        for (how, wire) in [
            ("of known length", sized(&lines, &body)),
            (
                "in one chunk",
                answer(&in_chunks, &chunked(&body, body.len())),
            ),
            ("byte by byte", answer(&in_chunks, &chunked(&body, 1))),
        ] {
            let what = format!("the {coding} answer {how}");
            let got = echoed(&mut tunnel, &stub, wire).await;
            assert_eq!(got.status, 200, "{what}: {}", got.text());
            assert_eq!(got.header("x-kept").as_deref(), Some("1"));
            assert_eq!(got.header("content-encoding"), None, "{what}");
            assert_clean(&what, &got.body);
        }
    }
    assert_eq!(stub.connections().len(), 1, "the connection is kept");
    let wire = &tunnel.wire.received;
    assert_absent("everything that came", wire, &forms(VALUE.as_bytes()));
    let line = world
        .ledger_line("a scrubbed line", |line| line["event"] == "scrubbed")
        .await;
    assert_eq!(line["slug"], SLUG);
    let places: BTreeSet<String> =
        serde_json::from_value(line["locations"].clone()).expect("texts");
    for form in ["raw", "percent", "json", "xml", "base64", "hex"] {
        assert!(
            places.contains(&format!("body ({form})")),
            "{form}: {places:?}"
        );
    }
}

#[tokio::test]
async fn a_client_that_insists_on_a_coding_gets_a_clean_body_in_it() {
    let (world, stub) = one_upstream().await;
    let mut tunnel = world.tunnel().await;
    for coding in CODINGS {
        let line = format!("Content-Encoding: {coding}");
        stub.answer(sized(&[&line], &close(coding, &echo())));
        let accept = format!("Accept-Encoding: {coding}, identity;q=0");
        let got = tunnel.get("/x", &[USE, &accept]).await;
        assert_eq!(got.header("content-encoding").as_deref(), Some(coding));
        assert_clean(coding, &open(coding, &got.body));
    }
}

#[tokio::test]
async fn headers_reason_and_trailers_are_scrubbed() {
    let (world, stub) = one_upstream().await;
    let token = "Canary-Token-0123456789";
    let limits = ["--host", HOST, "--in", "header"];
    world.save("tok", token, &limits).await;
    let percent = "s3cr3t%2BCanary%2F9f8e7d6c%26x%3D%221%22";
    let json = VALUE.replace('"', "\\\"");
    let head = format!(
        "HTTP/1.1 200 Hello {VALUE}\r\nLocation: https://x.test/cb?k={percent}\r\n\
         Set-Cookie: a=1\r\nSet-Cookie: sid={VALUE}; Path=/\r\nLink: <https://x.test/{percent}>; rel=\"next\"\r\n\
         WWW-Authenticate: {}\r\nX-Debug: {{\"k\":\"{json}\"}}\r\nX-{token}: 1\r\n{token}: 2\r\n\
         X-Fine: yes\r\nTrailer: X-Echo\r\nTransfer-Encoding: chunked\r\n\r\n",
        basic("u", VALUE),
    );
    let body = format!("4\r\nbody\r\n0\r\nX-Echo: tail {VALUE}\r\nX-Sum: 1\r\n\r\n");
    stub.answer(head + &body);
    let mut tunnel = world.tunnel().await;
    let got = tunnel
        .get("/x", &[USE, "X-B: <<tok>>", "TE: trailers"])
        .await;
    assert_eq!((got.status, got.text().as_str()), (200, "body"));
    let header = |name: &str| got.header(name).unwrap_or_default();
    assert_eq!(header("location"), "https://x.test/cb?k=%3C%3Cpat%3E%3E");
    assert_eq!(
        header("link"),
        "<https://x.test/%3C%3Cpat%3E%3E>; rel=\"next\""
    );
    assert_eq!(header("x-debug"), "{\"k\":\"<<pat>>\"}");
    let pair = format!("Basic {}", STANDARD.encode("u:<<pat>>"));
    assert_eq!(header("www-authenticate"), pair);
    let cookies = crate::wire::values(&got.headers, "set-cookie");
    assert_eq!(cookies, [&b"a=1"[..], b"sid=<<pat>>; Path=/"]);
    assert_eq!(header("x-fine"), "yes");
    let everything = String::from_utf8_lossy(&tunnel.wire.received).to_lowercase();
    assert!(
        everything.contains("x-echo: tail <<pat>>\r\n"),
        "{everything}"
    );
    assert!(!everything.contains(&token.to_lowercase()), "{everything}");
    assert_absent(
        "the answer",
        &tunnel.wire.received,
        &forms(VALUE.as_bytes()),
    );
    assert!(
        everything.contains("\r\n\r\nhttp/1.1 200 hello <<pat>>\r\n")
            || everything.starts_with("http/1.1 200 hello <<pat>>\r\n"),
        "{everything}"
    );
    let line = world
        .ledger_line("a scrubbed line", |line| line["event"] == "scrubbed")
        .await;
    let places: BTreeSet<String> =
        serde_json::from_value(line["locations"].clone()).expect("texts");
    for place in [
        "status (raw)",
        "header:location (percent)",
        "header:set-cookie (raw)",
        "header:www-authenticate (base64)",
        "header:x-debug (json)",
        "header:x-echo (raw)",
    ] {
        assert!(places.contains(place), "{place}: {places:?}");
    }
    assert!(!places.contains("body (raw)"), "{places:?}");
}

#[tokio::test]
async fn a_part_of_something_keeps_its_length() {
    let (mut world, stub) = one_upstream().await;
    world.allow_ranges().await;
    let body = format!("before {VALUE} after");
    let range = format!("Content-Range: bytes 0-{}/999", body.len() - 1);
    let partial = String::from_utf8(sized(&[&range], body.as_bytes()))
        .expect("text")
        .replacen("200 OK", "206 Partial Content", 1);
    stub.answer(partial);
    let mut tunnel = world.tunnel().await;
    // Once without a used value, when the range is forwarded, and once with one.
    for headers in [&["Range: bytes=0-40"][..], &[USE]] {
        let got = tunnel.get("/x", headers).await;
        assert_eq!(got.status, 206);
        assert_eq!(got.framing, Framing::Length(body.len() as u64));
        assert_eq!(
            got.text(),
            format!("before {} after", "*".repeat(VALUE.len()))
        );
        assert!(got.header("content-range").is_some());
    }
    let result = world
        .ledger_line("a result", |line| line["event"] == "result")
        .await;
    assert_eq!(result["outcome"], "forwarded", "{result}");
    eventually("both scrubbed lines", || {
        (scrubbed(&world).len() == 2).then_some(())
    })
    .await;
    assert_eq!(stub.connections().len(), 1, "the connection is kept");
}

#[tokio::test]
async fn a_live_value_that_the_request_did_not_use_is_scrubbed_too() {
    let (world, stub) = one_upstream().await;
    let limits = ["--host", "elsewhere.example.test", "--in", "header"];
    let login = r#"{"username":"user.name@example.test","password":"pass-word-0123"}"#;
    world.save("other", "another-value-0123", &limits).await;
    world
        .save("crm", login, &[&["--kind", "login"], &limits[..]].concat())
        .await;
    let foreign = [&["--owner", "bob"], &limits[..]].concat();
    world
        .save("theirs", "value-of-somebody-else", &foreign)
        .await;
    world.save("brief", "tiny-7x", &limits).await;
    let body = format!("another-value-0123|pass-word-0123|{VALUE}|value-of-somebody-else|tiny-7x");
    stub.answer(sized(&["X-Echo: another-value-0123"], body.as_bytes()));
    let mut tunnel = world.tunnel().await;
    for headers in [&[][..], &[USE]] {
        let got = tunnel.get("/x", headers).await;
        assert_eq!(got.header("x-echo").as_deref(), Some("<<other>>"));
        // Another principal's value is not searched for, and neither is a short one that the
        // request did not use: it would match by chance.
        assert_eq!(
            got.text(),
            "<<other>>|<<crm.password>>|<<pat>>|value-of-somebody-else|tiny-7x"
        );
        assert_eq!(got.framing, Framing::Length(got.body.len() as u64));
    }
    let password = world
        .ledger_line("a scrubbed line of a field", |line| {
            line["event"] == "scrubbed" && line["field"] == "password"
        })
        .await;
    assert_eq!(password["slug"], "crm");
    assert_eq!(password["locations"], serde_json::json!(["body (raw)"]));
    world
        .ledger_line("a scrubbed line of two places", |line| {
            line["slug"] == "other"
                && line["locations"] == serde_json::json!(["body (raw)", "header:x-echo (raw)"])
        })
        .await;
}

#[tokio::test]
async fn an_answer_that_cannot_be_opened_is_kept_back_when_a_value_was_used() {
    let (world, stub) = one_upstream().await;
    stub.answer(sized(&["Content-Encoding: dcb"], b"\x01opaque\x02"));
    let mut tunnel = world.tunnel().await;
    let got = tunnel.get("/x", &[]).await;
    assert_eq!(
        (got.status, got.body.as_slice()),
        (200, &b"\x01opaque\x02"[..])
    );
    assert_eq!(got.header("content-encoding").as_deref(), Some("dcb"));
    let refused = tunnel.get("/x", &[USE]).await;
    assert_refused(&refused, "response_unscannable");
    assert_eq!(refused.status, 502);
    let id = refused.header("egret-request").expect("Egret-Request");
    let result = world
        .ledger_line("a result", |l| {
            l["event"] == "result" && l["request"] == id.as_str()
        })
        .await;
    assert_eq!(result["code"], "response_unscannable", "{result}");
    // There is nothing to decode: a coding without a body is accepted.
    stub.answer("HTTP/1.1 304 Not Modified\r\nContent-Encoding: dcb\r\n\r\n");
    assert_eq!(tunnel.get("/x", &[USE]).await.status, 304);
}

#[tokio::test]
async fn a_coded_answer_that_is_cut_off_never_ends_cleanly() {
    let (world, stub) = one_upstream().await;
    for coding in CODINGS {
        let line = format!("Content-Encoding: {coding}");
        let short = close(coding, b"a short text");
        stub.answer(sized(&[&line], &short[..short.len() - 4]));
        let refused = world.tunnel().await.get("/x", &[USE]).await;
        assert_refused(&refused, "response_unscannable");
        let long = close(coding, crate::coded::noise(200_000).as_bytes());
        let lines = [line.as_str(), "Transfer-Encoding: chunked"];
        stub.answer(answer(&lines, &chunked(&long[..long.len() - 4], 9999)));
        let raw = request("GET", "/x", &[USE], "");
        match world.tunnel().await.try_roundtrip(raw).await {
            // The head may be lost with the bytes that were not yet written.
            Err(WireError::Truncated { .. } | WireError::Closed) => {}
            Ok(answer) => assert_refused(&answer, "response_unscannable"),
            Err(other) => panic!("{coding}: {other}"),
        }
    }
}

#[tokio::test]
async fn digests_of_a_body_that_may_have_changed_are_dropped() {
    let (world, stub) = one_upstream().await;
    let digests = [
        "Content-Digest: sha-256=:AAAA:",
        "Repr-Digest: sha-256=:AAAA:",
        "Digest: SHA-256=AAAA",
        "Content-MD5: AAAA",
        "ETag: \"kept\"",
    ];
    let mut tunnel = world.tunnel().await;
    let got = echoed(&mut tunnel, &stub, sized(&digests, VALUE.as_bytes())).await;
    assert_eq!(got.text(), "<<pat>>");
    for digest in &digests[..4] {
        let name = digest.split(':').next().expect("a name");
        assert_eq!(got.header(name), None);
    }
    assert_eq!(got.header("etag").as_deref(), Some("\"kept\""));
}

#[tokio::test]
async fn the_upstream_is_offered_only_codings_that_can_be_opened() {
    let (world, stub) = one_upstream().await;
    let mut tunnel = world.tunnel().await;
    for (asked, offered) in [
        ("gzip, dcb, br;q=0.5, dcz", "gzip, br;q=0.5"),
        ("dcb", "identity"),
        ("gzip, deflate, br, zstd", "gzip, deflate, br, zstd"),
    ] {
        for used in [&[][..], &[USE]] {
            let accept = format!("Accept-Encoding: {asked}");
            tunnel.get("/x", &[&[accept.as_str()], used].concat()).await;
            let seen = stub.take_one();
            assert_eq!(seen.header("accept-encoding").as_deref(), Some(offered));
        }
    }
    tunnel.get("/x", &[USE]).await;
    assert_eq!(stub.take_one().header("accept-encoding"), None);
}

#[tokio::test]
async fn an_answer_without_an_echo_leaves_nothing_in_the_record() {
    let (world, stub) = one_upstream().await;
    let text = crate::coded::noise(300_000);
    let mut tunnel = world.tunnel().await;
    let got = echoed(&mut tunnel, &stub, sized(&[], text.as_bytes())).await;
    assert!(got.body == text.as_bytes(), "the answer was changed");
    let head = request("HEAD", "/x", &[USE], "");
    stub.answer("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n");
    let got = tunnel.roundtrip(head).await;
    // The same answer to GET might get another length.
    assert_eq!(got.header("content-length"), None);
    let head = request("HEAD", "/x", &[USE], "");
    stub.answer("HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: 99\r\n\r\n");
    let got = tunnel.roundtrip(head).await;
    assert_eq!(got.header("content-length").as_deref(), Some("99"));
    stub.answer(format!(
        "HTTP/1.1 204 No Content\r\nX-Echo: {VALUE}\r\n\r\n"
    ));
    let got = tunnel.get("/x", &[USE]).await;
    assert_eq!(got.header("x-echo").as_deref(), Some("<<pat>>"));
    assert_eq!(stub.connections().len(), 1, "the connection is kept");
    let line = world
        .ledger_line("a scrubbed line", |line| line["event"] == "scrubbed")
        .await;
    assert_eq!(
        line["locations"],
        serde_json::json!(["header:x-echo (raw)"])
    );
    assert_eq!(scrubbed(&world).len(), 1);
}

#[tokio::test]
async fn a_placeholder_is_written_as_its_place_allows() {
    let (world, stub) = one_upstream().await;
    let limits = ["--host", HOST, "--in", "header"];
    world.save("num", "48151623420815", &limits).await;
    let login = r#"{"username":"harry.user","password":"pass-word-0123"}"#;
    let kind = [&["--kind", "login"], &limits[..]].concat();
    world.save("crm", login, &kind).await;
    world.save("word", "password", &limits).await;
    let mut tunnel = world.tunnel().await;
    let pair = |password: &str| STANDARD.encode(format!("harry.user:{password}"));
    for (media_type, body, clean) in [
        (
            "application/xml",
            "<k>48151623420815</k>".to_owned(),
            "<k>&lt;&lt;num&gt;&gt;</k>".to_owned(),
        ),
        (
            "text/html; charset=utf-8",
            "<p>48151623420815".to_owned(),
            "<p>&lt;&lt;num&gt;&gt;".to_owned(),
        ),
        (
            "application/json",
            r#"{"n":48151623420815,"s":"48151623420815"}"#.to_owned(),
            r#"{"n":"<<num>>","s":"<<num>>"}"#.to_owned(),
        ),
        (
            "text/csv",
            "48151623420815,1".to_owned(),
            "<<num>>,1".to_owned(),
        ),
        // User names and common words are no secrets.
        (
            "text/plain",
            "harry.user: your password is pass-word-0123".to_owned(),
            "harry.user: your password is <<crm.password>>".to_owned(),
        ),
        (
            "application/json",
            format!(r#"{{"auth":"{}"}}"#, pair("pass-word-0123")),
            format!(r#"{{"auth":"{}"}}"#, pair("<<crm.password>>")),
        ),
    ] {
        let line = format!("Content-Type: {media_type}");
        stub.answer(sized(&[&line], body.as_bytes()));
        let got = tunnel.get("/x", &[]).await;
        assert_eq!(got.text(), clean, "{media_type}");
        assert_eq!(got.framing, Framing::Length(clean.len() as u64));
    }
    // Parts and messages say lengths of their own, which stay right.
    let part = "HTTP/1.1 200 OK\r\nContent-Length: 14\r\n\r\n48151623420815";
    let parts = format!("--B\r\nContent-Type: application/http\r\n\r\n{part}\r\n--B--\r\n");
    for (media_type, body) in [
        ("multipart/mixed; boundary=B", &*parts),
        ("multipart/related; boundary=\"B\"; start=\"<a>\"", &*parts),
        ("application/http", part),
    ] {
        let line = format!("Content-Type: {media_type}");
        stub.answer(sized(&[&line], body.as_bytes()));
        let got = tunnel.get("/x", &[]).await;
        let clean = body.replace("48151623420815", "**************");
        assert_eq!(got.text(), clean, "{media_type}");
    }
    // In UTF-16 the placeholder is, too, whatever the type says.
    for (media_type, text, clean) in [
        (
            "application/json",
            r#"{"s":"48151623420815"}"#,
            r#"{"s":"<<num>>"}"#,
        ),
        (
            "text/xml",
            "<?xml version=\"1.0\" encoding=\"UTF-16\"?><k>48151623420815</k>",
            "<?xml version=\"1.0\" encoding=\"UTF-16\"?><k>&lt;&lt;num&gt;&gt;</k>",
        ),
        (
            "text/plain",
            "a 48151623420815 48151623420815",
            "a <<num>> <<num>>",
        ),
    ] {
        for to_bytes in [u16::to_le_bytes, u16::to_be_bytes] {
            let wide = |text: &str| -> Vec<u8> {
                let units = std::iter::once(0xfeff).chain(text.encode_utf16());
                units.flat_map(to_bytes).collect()
            };
            let line = format!("Content-Type: {media_type}");
            stub.answer(sized(&[&line], &wide(text)));
            let got = tunnel.get("/x", &[]).await;
            assert_eq!(got.body, wide(clean), "{media_type}");
        }
    }
    // The masked pair can be sent again, and is the pair.
    let masked = format!("Authorization: Basic {}", pair("<<crm.password>>"));
    stub.answer(sized(&[], b"ok"));
    stub.take();
    let got = tunnel.get("/x", &[&masked]).await;
    assert_eq!((got.status, got.text().as_str()), (200, "ok"));
    let seen = stub.take_one();
    assert_eq!(
        seen.header("authorization"),
        Some(format!("Basic {}", pair("pass-word-0123")))
    );
    // And a request with a common word or a user name is not refused.
    assert_eq!(
        tunnel.get("/password?user=harry.user", &[]).await.status,
        200
    );
}

#[tokio::test]
async fn an_upstream_does_not_speak_in_the_name_of_the_proxy() {
    let (world, stub) = one_upstream().await;
    let mut tunnel = world.tunnel().await;
    for (line, expected) in [
        ("Proxy-Status: egret; error=destination_unavailable", None),
        ("Proxy-Status: cdn.example.test; hit, Egret;error=x", None),
        (
            "Proxy-Status: cdn.example.test; hit, \"egret\"; error=x",
            None,
        ),
        (
            "Proxy-Status: cdn.example.test; error=http_request_denied",
            Some("cdn.example.test; error=http_request_denied"),
        ),
    ] {
        stub.answer(sized(&[line, "Egret-Error: internal"], b"x"));
        let got = tunnel.get("/x", &[USE]).await;
        assert_eq!(got.header("proxy-status").as_deref(), expected);
        assert_eq!(got.header("egret-error"), None);
    }
}

#[tokio::test]
async fn a_part_of_a_coded_answer_is_kept_back_when_a_value_was_used() {
    let (mut world, stub) = one_upstream().await;
    world.allow_ranges().await;
    let coded = close("gzip", b"something");
    let lines = ["Content-Range: bytes 0-9/999", "Content-Encoding: gzip"];
    let partial = sized(&lines, &coded[..10]);
    stub.answer(
        [
            b"HTTP/1.1 206 Partial",
            &partial[b"HTTP/1.1 200 OK".len()..],
        ]
        .concat(),
    );
    let mut tunnel = world.tunnel().await;
    let got = tunnel.get("/x", &["Range: bytes=0-9"]).await;
    assert_eq!((got.status, &got.body[..]), (206, &coded[..10]));
    let refused = tunnel.get("/x", &[USE]).await;
    assert_refused(&refused, "response_unscannable");
}

#[tokio::test]
async fn trailers_come_behind_any_coded_body_even_an_empty_one() {
    let (world, stub) = one_upstream().await;
    let mut tunnel = world.tunnel().await;
    for coding in ["identity", "gzip"] {
        for text in ["", "some text"] {
            let line = format!("Content-Encoding: {coding}");
            let mut lines = vec!["Transfer-Encoding: chunked", "Trailer: X-Sum"];
            if coding != "identity" {
                lines.push(&line);
            }
            let mut wire = answer(&lines, &chunked(&close(coding, text.as_bytes()), 5));
            wire.truncate(wire.len() - 2);
            wire.extend_from_slice(b"X-Sum: at the end\r\n\r\n");
            stub.answer(wire);
            let from = tunnel.wire.received.len();
            let got = tunnel.get("/x", &[USE, "TE: trailers"]).await;
            assert_eq!(got.text(), text);
            let came = String::from_utf8_lossy(&tunnel.wire.received[from..]).to_lowercase();
            assert!(
                came.ends_with("\r\nx-sum: at the end\r\n\r\n"),
                "{coding} {text:?}: {came}"
            );
        }
    }
}

/// Inside of base64 nothing is searched for but base64, so what was written there has needles of its
/// own: form-encoded values in every later answer, and the whole pair around a short one.
#[tokio::test]
async fn basic_credentials_do_not_come_back_however_they_were_encoded() {
    let (world, stub) = one_upstream().await;
    world.save("pin", "k3X", &["--host", HOST]).await;
    let mut tunnel = world.tunnel().await;
    let encoded = STANDARD.encode("client:%3C%3Cpat%3E%3E");
    let header = format!("Authorization: Basic {encoded}");
    tunnel.get("/token", &[&header]).await;
    let sent = stub.take_one().header("authorization").unwrap_or_default();
    let sent = sent.strip_prefix("Basic ").expect("the scheme").to_owned();
    assert_ne!(sent, encoded);
    stub.answer(ok(&format!("{{\"auth\":\"{sent}\"}}")));
    let later = tunnel.get("/later", &[]).await;
    let expected = STANDARD.encode("client:<<pat>>");
    assert_eq!(later.text(), format!("{{\"auth\":\"{expected}\"}}"));

    let pair = STANDARD.encode("somebody:k3X");
    stub.answer(ok(&format!("Authorization: Basic {pair}")));
    let header = format!(
        "Authorization: Basic {}",
        STANDARD.encode("somebody:<<pin>>")
    );
    let answer = tunnel.get("/x", &[&header]).await;
    let expected = STANDARD.encode("<<pin>>");
    assert_eq!(answer.text(), format!("Authorization: Basic {expected}"));
}

/// A pull secret as the API of Kubernetes gives it: base64 of JSON, in which `auth` is base64 of a pair.
#[tokio::test]
async fn base64_within_base64_is_masked_at_its_depth() {
    let (world, stub) = one_upstream().await;
    let mut tunnel = world.tunnel().await;
    let secret = |value: &str| {
        let auths = ["bob", "alice", "a"].map(|user| {
            let auth = STANDARD.encode(format!("{user}:{value}"));
            format!("\"{user}.example.test\":{{\"auth\":\"{auth}\"}}")
        });
        let config = format!("{{\"auths\":{{{}}}}}", auths.join(","));
        let config = STANDARD.encode(config);
        format!("{{\"kind\":\"Secret\",\"data\":{{\".dockerconfigjson\":\"{config}\"}}}}")
    };
    let (held, masked) = (secret(VALUE), secret("<<pat>>"));
    let gzip = close("gzip", held.as_bytes());
    for size in [7, 64, 4_096] {
        for (line, body) in [
            ("X-A: b", held.as_bytes()),
            ("Content-Encoding: gzip", &gzip),
        ] {
            let lines = [
                "Content-Type: application/json",
                "Transfer-Encoding: chunked",
                line,
            ];
            stub.answer(answer(&lines, &chunked(body, size)));
            for used in [&[USE][..], &[]] {
                let got = tunnel.get("/x", used).await;
                assert_eq!(got.text(), masked, "{line} in pieces of {size}");
            }
        }
    }
    let line = format!("X-Secret: {held}");
    stub.answer(sized(&[&line], b"x"));
    let got = tunnel.get("/x", &[USE]).await;
    assert_eq!(got.header("x-secret").as_deref(), Some(&*masked));
    // What holds the value itself goes nowhere.
    stub.take();
    let refused = tunnel.post("/x", "application/json", &held).await;
    assert_refused(&refused, "secret_exposed");
    assert!(stub.take().is_empty());
}

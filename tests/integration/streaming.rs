//! Bodies that are searched while they stream, and bodies under a content coding.

use std::sync::Arc;

use crate::client::{Tunnel, assert_refused, request};
use crate::coded::{CODINGS, chunked, chunks, close, noise, open};
use crate::eventually;
use crate::upstream::Stub;
use crate::wire::{Framing, Request};
use crate::world::{HOST, SLUG, VALUE, World};

const EVERYWHERE: &[&str] = &["--host", HOST, "--in", "header", "--in", "body"];

/// A world that holds no body larger than `buffer`.
async fn world_with(buffer: &str) -> (World, Stub) {
    let builder = World::builder()
        .set("body.buffer", buffer)
        .set("body.spool", "0B");
    let stub = Stub::tls(builder.pki(), &[HOST]).await;
    let world = builder
        .route(&format!("{HOST}:443"), stub.addr)
        .start()
        .await;
    world.save(SLUG, VALUE, EVERYWHERE).await;
    (world, stub)
}

/// A chunked POST without its body.
fn head(media_type: &str, more: &[&str]) -> Vec<u8> {
    let media_type = format!("Content-Type: {media_type}");
    let mut lines = vec![media_type.as_str(), "Transfer-Encoding: chunked"];
    lines.extend(more);
    request("POST", "/x", &lines, "").into_bytes()
}

fn sized(media_type: &str, more: &[&str], body: &[u8]) -> Vec<u8> {
    let media_type = format!("Content-Type: {media_type}");
    let length = format!("Content-Length: {}", body.len());
    let mut lines = vec![media_type.as_str(), length.as_str()];
    lines.extend(more);
    [request("POST", "/x", &lines, "").as_bytes(), body].concat()
}

async fn accepted(tunnel: &mut Tunnel, stub: &Stub, raw: impl AsRef<[u8]>) -> Arc<Request> {
    let answer = tunnel.roundtrip(raw).await;
    assert_eq!(answer.status, 200, "{answer:?} {}", answer.text());
    stub.take_one()
}

fn events(world: &World, event: &str) -> Vec<serde_json::Value> {
    let is_it = |line: &serde_json::Value| line["event"] == event;
    world.ledger().into_iter().filter(is_it).collect()
}

/// What the client writes, its content type, and how the value must be encoded in it.
fn placeholders() -> [(&'static str, &'static str, String); 8] {
    let json = serde_json::to_string(VALUE).expect("JSON");
    let json = json[1..json.len() - 1].to_owned();
    let percent = "s3cr3t%2BCanary%2F9f8e7d6c%26x%3D%221%22".to_owned();
    let xml = VALUE.replace('&', "&amp;").replace('"', "&quot;");
    [
        ("text/plain", "<<pat>>", VALUE.to_owned()),
        ("application/json", "<<pat>>", json.clone()),
        (
            "application/json",
            r"\u003c\u003Cpat\u003E\u003e",
            json.clone(),
        ),
        ("application/x-ndjson", r"\u003c<pat>\u003e", json),
        (
            "application/x-www-form-urlencoded",
            "%3C%3cpat%3e%3E",
            percent,
        ),
        ("application/xml", "&lt;&#60;pat&#x3e;&gt;", xml.clone()),
        ("image/svg+xml", "<<pat>>", xml),
        (
            "multipart/form-data; boundary=B",
            "<<pat>>",
            VALUE.to_owned(),
        ),
    ]
}

/// The text before and after the placeholder, for its type.
fn around(media_type: &str) -> (&'static str, &'static str) {
    match media_type {
        "application/json" | "application/x-ndjson" => ("{\"k\":\"", "\"}\n"),
        "application/x-www-form-urlencoded" => ("a=1&k=", "&z=2"),
        "application/xml" | "image/svg+xml" => ("<k>", "</k>"),
        "multipart/form-data; boundary=B" => (
            "--B\r\nContent-Disposition: form-data; name=\"k\"\r\n\r\n",
            "\r\n--B--\r\n",
        ),
        _ => ("before ", " behind"),
    }
}

#[tokio::test]
async fn a_placeholder_is_found_wherever_the_body_is_cut() {
    let (world, stub) = world_with("1B").await;
    let mut tunnel = world.tunnel().await;
    let mut requests = 0;
    for (media_type, placeholder, value) in placeholders() {
        let (before, after) = around(media_type);
        let text = format!("{before}{placeholder}{after}");
        let expected = format!("{before}{value}{after}");
        let from = before.len();
        let cuts = (from..=from + placeholder.len()).map(Some).chain([None]);
        for cut in cuts {
            let body = match cut {
                Some(at) => [
                    chunks(&text.as_bytes()[..at], at),
                    chunked(&text.as_bytes()[at..], 999),
                ]
                .concat(),
                None => chunked(text.as_bytes(), 1),
            };
            let raw = [head(media_type, &[]), body].concat();
            let seen = accepted(&mut tunnel, &stub, raw).await;
            assert_eq!(
                String::from_utf8_lossy(&seen.body),
                expected,
                "{media_type} {placeholder} cut at {cut:?}"
            );
            assert_eq!(seen.framing, Framing::Chunked, "it streamed");
            requests += 1;
        }
    }
    assert_eq!(stub.connections().len(), 1, "one connection for all");
    let uses = events(&world, "use");
    assert_eq!(uses.len(), requests, "a use line for each request");
}

#[tokio::test]
async fn several_slugs_and_escapes_stream_and_each_is_recorded_once() {
    let (world, stub) = world_with("1KiB").await;
    for (slug, value) in [("second", "second-<<pat>>-value"), ("tiny", "t1")] {
        world.save(slug, value, EVERYWHERE).await;
    }
    let filler = noise(2 << 20);
    let text =
        format!("<<pat>>|{filler}|<<second>><<tiny>>|<<!pat>>|<<EOF|{filler}|<<pat>>|<<<tiny>>>");
    let mut tunnel = world.tunnel().await;
    let seen = accepted(
        &mut tunnel,
        &stub,
        sized("text/plain", &[], text.as_bytes()),
    )
    .await;
    let expected =
        format!("{VALUE}|{filler}|second-<<pat>>-valuet1|<<pat>>|<<EOF|{filler}|{VALUE}|<t1>");
    assert!(seen.body == expected.as_bytes(), "the upload arrived wrong");
    let result = world
        .ledger_line("a result", |line| line["event"] == "result")
        .await;
    assert_eq!(result["outcome"], "forwarded", "{result}");
    let mut slugs: Vec<_> = events(&world, "use")
        .iter()
        .map(|line| line["slug"].as_str().expect("a slug").to_owned())
        .collect();
    slugs.sort();
    assert_eq!(slugs, ["pat", "second", "tiny"]);
}

#[tokio::test]
async fn a_slug_refused_in_mid_stream_aborts_the_upload_and_answers_the_client() {
    let (world, stub) = world_with("1KiB").await;
    world
        .save(
            "elsewhere",
            "a-value-for-elsewhere",
            &["--host", "other.example.test", "--in", "body"],
        )
        .await;
    for (slug, code, status) in [
        ("nope", "credential_not_found", 424),
        ("elsewhere", "credential_not_allowed", 403),
    ] {
        for coding in ["identity", "gzip"] {
            stub.take();
            let mark = stub.mark();
            let text = format!("<<pat>>{}<<{slug}>>{}", noise(300_000), noise(300_000));
            let coding_line = format!("Content-Encoding: {coding}");
            let lines: &[&str] = if coding == "identity" {
                &[]
            } else {
                &[&coding_line]
            };
            let raw = sized("text/plain", lines, &close(coding, text.as_bytes()));
            let answer = world.tunnel().await.roundtrip(raw).await;
            assert_refused(&answer, code);
            assert_eq!(
                (answer.status, &answer.json()["slug"]),
                (status, &slug.into())
            );
            assert_eq!(answer.json()["location"], "body");
            eventually("the upload to be given up", || {
                (stub.open() == 0).then_some(())
            })
            .await;
            assert_eq!(
                stub.take().len(),
                0,
                "{slug} {coding}: the upload came to an end"
            );
            let sent = stub.bytes_since(&mark);
            assert!(
                !sent.ends_with(b"0\r\n\r\n"),
                "{slug} {coding}: a clean end"
            );
            assert!(stub.connections().iter().all(|c| c.broken.is_some()));
            let id = answer.json()["request_id"].clone();
            let denied = world
                .ledger_line("a denied line", |l| {
                    l["event"] == "denied" && l["request"] == id
                })
                .await;
            assert_eq!(
                (&denied["slug"], &denied["code"]),
                (&slug.into(), &code.into())
            );
            world
                .ledger_line("the use before it", |l| {
                    l["event"] == "use" && l["request"] == id
                })
                .await;
            let result = world
                .ledger_line("its result", |l| {
                    l["event"] == "result" && l["request"] == id
                })
                .await;
            assert_ne!(result["outcome"], "forwarded", "{result}");
            assert_eq!(
                answer.header("egret-request").as_deref(),
                id.as_str(),
                "every answer to a request with a placeholder has its id"
            );
        }
    }
}

#[tokio::test]
async fn an_unknown_slug_streams_literally_where_that_is_allowed() {
    let (mut world, stub) = world_with("1KiB").await;
    let rule = toml::toml! {
        hosts = ["api.example.test"]
        unresolved = "ignore"
    };
    world.destinations(vec![rule]);
    world.reload().await;
    let mut tunnel = world.tunnel().await;
    let filler = noise(5000);
    let text = format!(r#"{{"f":"{filler}","a":"<<nope>>","b":"<<pat>>","c":"<<nope.x>>"}}"#);
    let raw = sized("application/json", &[], text.as_bytes());
    let answer = tunnel.roundtrip(raw).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let seen: serde_json::Value = serde_json::from_slice(&stub.take_one().body).expect("JSON");
    assert_eq!(seen["a"], "<<nope>>");
    assert_eq!(seen["b"], VALUE);
    assert_eq!(seen["c"], "<<nope.x>>");
    world
        .ledger_line("an ignored line", |l| {
            l["event"] == "ignored" && l["slug"] == "nope" && l["field"] == "x"
        })
        .await;
    assert_eq!(events(&world, "ignored").len(), 2);
    assert_eq!(
        answer.header("egret-ignored").as_deref(),
        Some("nope, nope.x"),
        "{answer:?}"
    );
}

#[tokio::test]
async fn coded_bodies_leave_in_their_coding_with_the_value_inside() {
    let (world, stub) = world_with("1KiB").await;
    let mut tunnel = world.tunnel().await;
    for coding in CODINGS {
        let line = format!("Content-Encoding: {coding}");
        for (filler, framing) in [(noise(300), None), (noise(200_000), Some(Framing::Chunked))] {
            let text = serde_json::json!({ "a": "<<pat>>", "f": filler, "z": "<<pat>>" });
            let body = close(coding, text.to_string().as_bytes());
            for raw in [
                sized("application/json", &[&line], &body),
                [head("application/json", &[&line]), chunked(&body, 333)].concat(),
            ] {
                let seen = accepted(&mut tunnel, &stub, raw).await;
                assert_eq!(seen.header("content-encoding").as_deref(), Some(coding));
                let held = Framing::Length(seen.body.len() as u64);
                assert_eq!(seen.framing, framing.clone().unwrap_or(held), "{coding}");
                let inside = open(coding, &seen.body);
                let inside: serde_json::Value = serde_json::from_slice(&inside).expect("JSON");
                let expected = serde_json::json!({ "a": VALUE, "f": filler, "z": VALUE });
                assert_eq!(inside, expected, "{coding}");
            }
        }
        // Without a placeholder a held body leaves unchanged.
        let body = close(coding, br#"{"k":"nothing here"}"#);
        let seen = accepted(
            &mut tunnel,
            &stub,
            sized("application/json", &[&line], &body),
        )
        .await;
        assert_eq!(seen.body, body, "{coding}");
    }
    let stacked = close("br", &close("gzip", b"<<pat>>"));
    let raw = sized("text/plain", &["Content-Encoding: gzip, br"], &stacked);
    let seen = accepted(&mut tunnel, &stub, raw).await;
    assert_eq!(open("gzip", &open("br", &seen.body)), VALUE.as_bytes());
}

#[tokio::test]
async fn a_lie_about_the_coding_is_refused() {
    let (world, stub) = world_with("1KiB").await;
    for text in ["<<pat>> in plain".to_owned(), noise(50_000)] {
        for coding in CODINGS {
            let line = format!("Content-Encoding: {coding}");
            let cut_off = close(coding, text.as_bytes());
            for body in [text.as_bytes(), &cut_off[..cut_off.len() - 3]] {
                let raw = sized("text/plain", &[&line], body);
                let answer = world.tunnel().await.roundtrip(raw).await;
                assert_refused(&answer, "body_encoding_unsupported");
                assert_eq!(answer.status, 415);
            }
        }
        let raw = sized(
            "text/plain",
            &["Content-Encoding: compress"],
            text.as_bytes(),
        );
        let answer = world.tunnel().await.roundtrip(raw).await;
        assert_refused(&answer, "body_encoding_unsupported");
    }
    assert_eq!(stub.take().len(), 0, "none came to an end");
}

#[tokio::test]
async fn a_body_that_opens_to_an_absurd_size_is_refused() {
    let (world, stub) = world_with("64KiB").await;
    for (coding, size) in [("gzip", 16 << 20), ("br", 64 << 20), ("zstd", 64 << 20)] {
        let line = format!("Content-Encoding: {coding}");
        let bomb = close(coding, &vec![b' '; size]);
        println!("{coding}: {size} bytes in {}", bomb.len());
        let answer = world
            .tunnel()
            .await
            .roundtrip(sized("application/json", &[&line], &bomb))
            .await;
        assert_refused(&answer, "body_too_large");
        assert_eq!(answer.status, 413, "{coding}");
    }
    assert_eq!(stub.take().len(), 0, "none came to an end");
    assert!(
        crate::load::resident_kib(world.pid()) < 200 << 10,
        "a bomb was held in memory"
    );
}

#[tokio::test]
async fn a_trailer_takes_a_value_behind_every_kind_of_body() {
    let (world, stub) = world_with("1KiB").await;
    let mut tunnel = world.tunnel().await;
    for (media_type, text) in [
        ("text/plain", "short <<pat>>".to_owned()),
        ("text/plain", noise(5000)),
        ("application/octet-stream", "short <<pat>>".to_owned()),
        ("application/octet-stream", noise(5000)),
    ] {
        let mark = stub.mark();
        let mut raw = head(media_type, &["Trailer: X-Sum", "TE: trailers"]);
        raw.extend(chunked(text.as_bytes(), 100));
        raw.truncate(raw.len() - 2);
        raw.extend_from_slice(b"X-Sum: of <<pat>>\r\n\r\n");
        accepted(&mut tunnel, &stub, raw).await;
        let sent = String::from_utf8_lossy(&stub.bytes_since(&mark)).to_lowercase();
        let trailer = format!("\r\nx-sum: of {VALUE}\r\n\r\n").to_lowercase();
        assert!(
            sent.ends_with(&trailer),
            "{media_type}, {} bytes: {:?}",
            text.len(),
            &sent[sent.len().saturating_sub(80)..]
        );
    }
    let mut refused = head("text/plain", &["Trailer: X-Sum"]);
    refused.extend(chunked(noise(5000).as_bytes(), 100));
    refused.truncate(refused.len() - 2);
    refused.extend_from_slice(b"X-Sum: <<nope>>\r\n\r\n");
    let answer = tunnel.roundtrip(refused).await;
    assert_refused(&answer, "credential_not_found");
    assert_eq!(answer.json()["location"], "header:x-sum");
    assert_eq!(stub.take().len(), 0, "it came to an end");
}

#[tokio::test]
async fn a_streamed_body_that_a_digest_covers_is_not_changed() {
    let (world, stub) = world_with("1KiB").await;
    let filler = noise(5000);
    for digest in [
        "Content-MD5: 1B2M2Y8AsgTpgAmY7PhCfg==",
        "Content-Digest: sha-256=:AAAA:",
    ] {
        let changed = sized(
            "text/plain",
            &[digest],
            format!("{filler}<<pat>>").as_bytes(),
        );
        let answer = world.tunnel().await.roundtrip(changed).await;
        assert_refused(&answer, "request_signed");
        assert_eq!(stub.take().len(), 0);
        let mut tunnel = world.tunnel().await;
        let raw = sized("text/plain", &[digest], filler.as_bytes());
        let seen = accepted(&mut tunnel, &stub, raw).await;
        assert!(seen.body == filler.as_bytes());
    }
}

#[tokio::test]
async fn a_range_is_withheld_from_a_request_whose_streamed_body_uses_a_value() {
    let (world, stub) = world_with("1KiB").await;
    let mut tunnel = world.tunnel().await;
    let text = format!("{}<<pat>>", noise(5000));
    let range = ["Range: bytes=0-3", "If-Range: \"e\""];
    let seen = accepted(
        &mut tunnel,
        &stub,
        sized("text/plain", &range, text.as_bytes()),
    )
    .await;
    assert!(seen.body.ends_with(VALUE.as_bytes()));
    assert_eq!(
        (seen.header("range"), seen.header("if-range")),
        (None, None)
    );
}

//! Upstreams whose `Content-Encoding` does not match the body.

use crate::client::{assert_refused, request};
use crate::coded::{CODINGS, chunked, close};
use crate::upstream::ok;
use crate::wire::{Response, WireError};
use crate::world::{VALUE, World, one_upstream};

const USE: &str = "X-Api-Key: <<pat>>";

fn coded(status: &str, headers: &[&str], body: &[u8]) -> Vec<u8> {
    let mut head = format!("HTTP/1.1 {status}\r\n");
    for header in headers {
        head.push_str(&format!("{header}\r\n"));
    }
    head.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
    [head.as_bytes(), body].concat()
}

/// Returns the answer, and asserts that no byte that the client received holds the value.
async fn fetch(world: &World, headers: &[&str]) -> Result<Response, WireError> {
    let mut tunnel = world.tunnel().await;
    let answer = tunnel
        .try_roundtrip(request("GET", "/x", headers, ""))
        .await;
    let came = String::from_utf8_lossy(&tunnel.wire.received).into_owned();
    assert!(!came.contains(VALUE), "{came}");
    answer
}

/// Asserts that the answer is the proxy's own error or a body that visibly breaks off, never a
/// clean end.
fn assert_not_clean(what: &str, answer: Result<Response, WireError>) {
    match answer {
        Err(WireError::Truncated { .. } | WireError::Closed) => {}
        Ok(answer) => assert_eq!(
            answer.egret_error().as_deref(),
            Some("response_unscannable"),
            "{what}"
        ),
        Err(other) => panic!("{what}: {other}"),
    }
}

#[tokio::test]
async fn a_body_that_is_not_in_its_coding_is_kept_back() {
    let (world, stub) = one_upstream().await;
    for coding in CODINGS {
        let line = format!("Content-Encoding: {coding}");
        for (what, body) in [
            ("not coded at all", VALUE.as_bytes().to_vec()),
            (
                "after its end",
                [close(coding, b"text"), VALUE.into()].concat(),
            ),
            (
                "of another coding",
                close(another(coding), VALUE.as_bytes()),
            ),
        ] {
            stub.answer(coded("200 OK", &[&line], &body));
            for headers in [&[USE][..], &[]] {
                let answer = fetch(&world, headers).await;
                assert_not_clean(&format!("{coding}, {what}"), answer);
            }
        }
    }
}

fn another(coding: &str) -> &'static str {
    match coding {
        "gzip" => "zstd",
        _ => "gzip",
    }
}

#[tokio::test]
async fn codings_on_top_of_each_other_are_opened_and_one_too_many_is_not() {
    let (world, stub) = one_upstream().await;
    for inner in CODINGS {
        for outer in CODINGS {
            let body = close(outer, &close(inner, VALUE.as_bytes()));
            let line = format!("Content-Encoding: {inner}, {outer}");
            stub.answer(coded("200 OK", &[&line], &body));
            let answer = fetch(&world, &[USE]).await.expect("an answer");
            assert_eq!(answer.text(), "<<pat>>", "{inner}, {outer}");
            // The header names fewer codings than were applied: the result is a coded body, relayed
            // as plain bytes.
            let line = format!("Content-Encoding: {outer}");
            stub.answer(coded("200 OK", &[&line], &body));
            let answer = fetch(&world, &[USE]).await.expect("an answer");
            assert_eq!(answer.header("content-encoding"), None);
        }
    }
    let many = vec!["gzip"; 64].join(", ");
    let line = format!("Content-Encoding: {many}");
    stub.answer(coded("200 OK", &[&line], b"whatever"));
    assert_not_clean("64 codings", fetch(&world, &[USE]).await);
}

#[tokio::test]
async fn a_bomb_does_not_go_off() {
    let (world, stub) = one_upstream().await;
    let blanks = vec![b' '; 64 << 20];
    for coding in ["gzip", "zstd", "br"] {
        let bomb = close(coding, &blanks);
        assert!(bomb.len() < blanks.len() / 500, "{coding} makes no bomb");
        let line = format!("Content-Encoding: {coding}");
        stub.answer(coded("200 OK", &[&line], &bomb));
        assert_not_clean(coding, fetch(&world, &[USE]).await);
        let lines = format!("HTTP/1.1 200 OK\r\n{line}\r\nTransfer-Encoding: chunked\r\n\r\n");
        stub.answer([lines.into_bytes(), chunked(&bomb, 700)].concat());
        assert_not_clean(coding, fetch(&world, &[USE]).await);
    }
    stub.answer(ok("still there"));
    let answer = fetch(&world, &[USE]).await.expect("an answer");
    assert_eq!(answer.text(), "still there");
}

/// A client that refuses every coding, identity included, gets an identity body: one that it cannot
/// decode would be worse.
#[tokio::test]
async fn a_client_that_takes_nothing_gets_the_body_plain() {
    let (world, stub) = one_upstream().await;
    for accepted in ["identity;q=0", "*;q=0", "gzip;q=0, identity;q=0"] {
        let line = format!("Accept-Encoding: {accepted}");
        stub.answer(coded(
            "200 OK",
            &["Content-Encoding: br"],
            &close("br", VALUE.as_bytes()),
        ));
        let answer = fetch(&world, &[USE, &line]).await.expect("an answer");
        assert_eq!(answer.text(), "<<pat>>", "{accepted}");
        assert_eq!(answer.header("content-encoding"), None, "{accepted}");
    }
}

#[tokio::test]
async fn a_value_in_the_clear_under_the_name_of_an_unknown_coding_is_scrubbed() {
    let (world, stub) = one_upstream().await;
    let body = format!("\u{1}{VALUE}\u{2}");
    stub.answer(coded("200 OK", &["Content-Encoding: dcb"], body.as_bytes()));
    let answer = fetch(&world, &[]).await.expect("an answer");
    assert_eq!(answer.text(), "\u{1}<<pat>>\u{2}");
    assert_eq!(answer.header("content-encoding").as_deref(), Some("dcb"));
    assert_refused(
        &fetch(&world, &[USE]).await.expect("an answer"),
        "response_unscannable",
    );
}

#[tokio::test]
async fn a_label_that_names_no_coding_is_none() {
    let (world, stub) = one_upstream().await;
    for label in ["none", "UTF-8", "binary", "", "text, identity"] {
        let line = format!("Content-Encoding: {label}");
        stub.answer(coded("200 OK", &[&line], VALUE.as_bytes()));
        for headers in [&[USE][..], &[]] {
            let answer = fetch(&world, headers).await.expect("an answer");
            assert_eq!((answer.status, answer.text()), (200, "<<pat>>".into()));
        }
    }
}

/// The name of a coding is repeated only if it is one: an upstream can write a value there.
#[tokio::test]
async fn the_error_says_which_coding_it_was_and_the_log_why_it_passed() {
    let (world, stub) = one_upstream().await;
    for (label, named) in [
        ("sdch, gzip", "(Content-Encoding: sdch, gzip)"),
        ("compress", "(Content-Encoding: compress)"),
        ("made-up", "(Content-Encoding: one that is not known)"),
    ] {
        let line = format!("Content-Encoding: {label}");
        stub.answer(coded("200 OK", &[&line], b"\x01opaque"));
        let refused = fetch(&world, &[USE]).await.expect("an answer");
        assert_refused(&refused, "response_unscannable");
        assert!(refused.text().contains(named), "{}", refused.text());
        let passed = fetch(&world, &[]).await.expect("an answer");
        assert_eq!(passed.body, b"\x01opaque");
    }
    crate::eventually("three lines in the log", || {
        let lines = world.log().matches("its request used no secret").count();
        (lines == 3).then_some(())
    })
    .await;
    assert!(!world.log().contains("made-up"));
    for coding in CODINGS {
        let line = format!("Content-Encoding: {coding}");
        stub.answer(coded("200 OK", &[&line], b"not in that coding"));
        let used = fetch(&world, &[USE]).await.expect("an answer");
        assert!(
            used.text().contains("a secret was used"),
            "{coding}: {}",
            used.text()
        );
        let unused = fetch(&world, &[]).await.expect("an answer");
        assert_refused(&unused, "response_unscannable");
        assert!(
            unused.text().contains("is not in the coding"),
            "{coding}: {}",
            unused.text()
        );
    }
}

#[tokio::test]
async fn a_part_of_a_coded_body_passes_only_to_who_asked_for_a_part() {
    let (mut world, stub) = one_upstream().await;
    world.allow_ranges().await;
    let lines = ["Content-Range: bytes 0-9/99", "Content-Encoding: gzip"];
    let part = close("gzip", b"an innocent text");
    stub.answer(coded("206 Partial Content", &lines, &part));
    let asked = fetch(&world, &["Range: bytes=0-9"])
        .await
        .expect("an answer");
    assert_eq!((asked.status, asked.body), (206, part));
    let unasked = fetch(&world, &[]).await.expect("an answer");
    assert_refused(&unasked, "response_unscannable");
}

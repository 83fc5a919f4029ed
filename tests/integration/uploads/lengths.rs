//! A length that the client gave stays, or becomes the right new one.

use super::way::Way;
use crate::client::assert_refused;
use crate::coded::{CODINGS, close, noise, open};
use crate::wire::Framing;
use crate::world::{HOST, SLUG, VALUE};

const SMALL: &[(&str, &str)] = &[("body.buffer", "1KiB")];
const EVERYWHERE: &[&str] = &["header", "body"];

/// Bodies of the kinds that clients send, each of more than `body.buffer`.
fn bodies() -> Vec<(&'static str, Vec<u8>)> {
    let filler = noise(150_000);
    let multipart = format!(
        "--B\r\nContent-Disposition: form-data; name=\"f\"; filename=\"a\"\r\n\r\n{filler}\r\n--B--\r\n"
    );
    vec![
        ("Content-Type: text/plain", filler.clone().into_bytes()),
        (
            "Content-Type: application/json",
            format!("{{\"f\":\"{filler}\",\"n\":[1,2]}}").into_bytes(),
        ),
        (
            "Content-Type: application/xml",
            format!("<a><![CDATA[{filler}]]></a>").into_bytes(),
        ),
        (
            "Content-Type: application/x-www-form-urlencoded",
            format!("a={filler}&b=2").into_bytes(),
        ),
        (
            "Content-Type: multipart/form-data; boundary=B",
            multipart.into_bytes(),
        ),
        ("X-No: type", filler.into_bytes()),
    ]
}

/// How binary bodies begin.
const STARTS: [&[u8]; 4] = [b"PK\x03\x04", b"\x1f\x8b\x08", b"\x89PNG\r\n", b"name\0"];

#[tokio::test]
async fn a_body_in_which_nothing_is_replaced_keeps_length_and_bytes() {
    for way in Way::ALL {
        let (world, stub) = way.world(SMALL, EVERYWHERE).await;
        for (line, body) in bodies() {
            let seen = way.accepted(&world, &stub, &[line], &body).await;
            way.assert_length(&seen);
            assert!(seen.body == body, "{way:?} {line}");
        }
        for coding in CODINGS {
            let coded = close(coding, noise(90_000).as_bytes());
            let line = format!("Content-Encoding: {coding}");
            let lines = ["Content-Type: text/plain", &line];
            let seen = way.accepted(&world, &stub, &lines, &coded).await;
            way.assert_length(&seen);
            assert!(seen.body == coded, "{way:?} {coding}");
        }
    }
}

#[tokio::test]
async fn a_body_in_which_something_is_replaced_has_its_new_length() {
    for way in Way::ALL {
        let (world, stub) = way.world(SMALL, EVERYWHERE).await;
        let text = format!("<<{SLUG}>>{}<<!pat>>{0}<<{SLUG}>>", noise(90_000));
        let expected = text
            .replace("<<pat>>", VALUE)
            .replace("<<!pat>>", "<<pat>>");
        let typed = "Content-Type: text/plain";
        let seen = way.accepted(&world, &stub, &[typed], text.as_bytes()).await;
        way.assert_length(&seen);
        assert!(seen.body == expected.as_bytes(), "{way:?}");
        for coding in CODINGS {
            let coded = close(coding, text.as_bytes());
            let line = format!("Content-Encoding: {coding}");
            let seen = way.accepted(&world, &stub, &[typed, &line], &coded).await;
            way.assert_length(&seen);
            assert!(open(coding, &seen.body) == expected.as_bytes(), "{coding}");
        }
        let json = format!(r#"{{"f":"{}","k":"<<pat>>"}}"#, noise(90_000));
        let typed = "Content-Type: application/json";
        let seen = way.accepted(&world, &stub, &[typed], json.as_bytes()).await;
        way.assert_length(&seen);
        let seen: serde_json::Value = serde_json::from_slice(&seen.body).expect("JSON");
        assert_eq!(seen["k"], VALUE);
        let mut uses = world.ledger().into_iter().filter(|l| l["event"] == "use");
        let last = uses.next_back().expect("a use");
        assert_eq!(last["locations"], serde_json::json!(["body:/k"]));
    }
}

/// All or nothing: as with a small body, nothing is sent if one placeholder is refused.
#[tokio::test]
async fn a_refusal_at_the_end_of_a_large_body_sends_and_uses_nothing() {
    for way in Way::ALL {
        let (world, stub) = way.world(SMALL, EVERYWHERE).await;
        way.save(&world, "rude", b"not \xff text", EVERYWHERE).await;
        let filler = noise(90_000);
        for (line, text, code) in [
            (
                "text/plain",
                format!("<<pat>>{filler}<<nope>>"),
                "credential_not_found",
            ),
            (
                "application/json",
                format!("[\"<<pat>>{filler}<<rude>>\"]"),
                "credential_unencodable",
            ),
            (
                "text/plain",
                format!("<<pat>>{filler}{VALUE}"),
                "secret_exposed",
            ),
        ] {
            let line = format!("Content-Type: {line}");
            let answer = way.post(&world, &[&line], text.as_bytes()).await;
            assert_refused(&answer, code);
        }
        assert_eq!(stub.connections().len(), 0, "{way:?}");
        assert!(!world.ledger().iter().any(|line| line["event"] == "use"));
    }
}

#[tokio::test]
async fn an_untyped_body_is_left_alone_when_it_is_binary() {
    for way in Way::ALL {
        let (world, stub) = way.world(SMALL, EVERYWHERE).await;
        for start in STARTS {
            for rest in [noise(150_000), String::new()] {
                let body = [start, rest.as_bytes(), b"<<pat>> <<nope>>"].concat();
                let seen = way.accepted(&world, &stub, &[], &body).await;
                way.assert_length(&seen);
                assert!(seen.body == body, "{way:?} {start:?}");
            }
        }
        let seen = way.accepted(&world, &stub, &[], b"text <<pat>>").await;
        way.assert_length(&seen);
        assert_eq!(seen.body, format!("text {VALUE}").as_bytes());
    }
}

/// `spool = 0` shows that these bodies need none.
const UNSPOOLED: &[(&str, &str)] = &[("body.buffer", "1KiB"), ("body.spool", "0B")];

#[tokio::test]
async fn a_body_that_no_credential_could_enter_is_sent_as_it_came() {
    for way in Way::ALL {
        let (world, stub) = way.world(UNSPOOLED, &["header"]).await;
        for (line, body) in bodies() {
            let lines = [line, "Authorization: Bearer <<pat>>"];
            let seen = way.accepted(&world, &stub, &lines, &body).await;
            way.assert_length(&seen);
            assert!(seen.body == body, "{way:?} {line}");
            assert_eq!(
                seen.header("authorization"),
                Some(format!("Bearer {VALUE}"))
            );
        }
        let filler = noise(90_000);
        for (end, code) in [
            ("<<pat>>".to_owned(), "credential_not_allowed"),
            ("<<!pat>>".to_owned(), "credential_not_allowed"),
            ("<<nope>>".to_owned(), "credential_not_found"),
            (VALUE.to_owned(), "secret_exposed"),
        ] {
            stub.take();
            let text = format!("{filler}{end}");
            let answer = way
                .post(&world, &["Content-Type: text/plain"], text.as_bytes())
                .await;
            assert_refused(&answer, code);
            assert_eq!(stub.take().len(), 0, "{way:?} {end}: it came to an end");
        }
    }
}

#[tokio::test]
async fn a_signed_body_keeps_its_framing_and_a_placeholder_in_it_is_refused() {
    let signatures = [
        "Authorization: AWS4-HMAC-SHA256 Credential=AKIA/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=00",
        "Content-Digest: sha-256=:AAAA:",
        "Content-Encoding: aws-chunked",
    ];
    for way in Way::ALL {
        let (world, stub) = way.world(UNSPOOLED, EVERYWHERE).await;
        for signature in signatures {
            let filler = noise(90_000);
            let typed = "Content-Type: text/plain";
            let seen = way
                .accepted(&world, &stub, &[typed, signature], filler.as_bytes())
                .await;
            way.assert_length(&seen);
            assert!(seen.body == filler.as_bytes(), "{way:?} {signature}");
            for end in ["<<pat>>", "<<!pat>>"] {
                let text = format!("{filler}{end}");
                let answer = way.post(&world, &[typed, signature], text.as_bytes()).await;
                assert_refused(&answer, "request_signed");
                assert_eq!(stub.take().len(), 0, "{way:?} {signature}");
            }
        }
    }
}

#[tokio::test]
async fn past_the_spool_a_body_is_chunked_and_the_log_says_so_once() {
    let way = Way::Http1;
    let settings = &[("body.buffer", "1KiB"), ("body.spool", "64KiB")];
    let (world, stub) = way.world(settings, EVERYWHERE).await;
    for _ in 0..2 {
        let text = format!("{}<<pat>>", noise(90_000));
        let lines = ["Content-Type: text/plain"];
        let seen = way.accepted(&world, &stub, &lines, text.as_bytes()).await;
        assert_eq!(seen.framing, Framing::Chunked);
        assert!(seen.body.ends_with(VALUE.as_bytes()));
    }
    let small = noise(60_000);
    let lines = ["Content-Type: text/plain"];
    let seen = way.accepted(&world, &stub, &lines, small.as_bytes()).await;
    way.assert_length(&seen);
    assert_eq!(world.log().matches("body.spool").count(), 1);
}

/// What a client is in the middle of sending is nowhere on the disk in the clear, and has no name.
#[tokio::test]
async fn a_spooled_body_is_not_readable_on_the_disk() {
    let way = Way::Http1;
    let (world, _stub) = way.world(SMALL, EVERYWHERE).await;
    let mut tunnel = world.tunnel().await;
    let head = format!(
        "POST /x HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: text/plain\r\nContent-Length: 400000\r\n\r\n"
    );
    let words = "a-sentence-that-nobody-else-writes ".repeat(8_000);
    tunnel
        .wire
        .send([head.as_bytes(), words.as_bytes()].concat())
        .await
        .expect("send");
    let descriptors = format!("/proc/{}/fd", world.pid());
    let spool = crate::eventually("a file without a name", || {
        let open = std::fs::read_dir(&descriptors).expect("descriptors");
        let mut links = open.flatten().map(|entry| entry.path());
        links.find(|path| {
            let target = std::fs::read_link(path).unwrap_or_default();
            let is_deleted = target.to_string_lossy().ends_with("(deleted)");
            is_deleted && std::fs::metadata(path).is_ok_and(|file| file.len() > 200_000)
        })
    })
    .await;
    let bytes = std::fs::read(spool).expect("the spooled body");
    let word = b"sentence-that-nobody";
    assert!(memchr::memmem::find(&bytes, word).is_none());
}

//! Refusals in the form that the request's own protocol reads, with the same words and code in each.

use serde_json::Value;

use super::way::Way;
use crate::wire::Response;

const PLACES: &[&str] = &["header", "body"];
const BEARER: &str = "Authorization: Bearer <<nope>>";

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}

/// The words that the client shows, in each form.
type Read = fn(&Response) -> String;

fn forms() -> Vec<(&'static [&'static str], u16, &'static str, Read)> {
    let xml: Read = |answer| {
        let text = answer.text();
        let (_, rest) = text.split_once("<Message>").expect("a message");
        let (message, _) = rest.split_once("</Message>").expect("its end");
        quick_xml::escape::unescape(message)
            .expect("XML")
            .into_owned()
    };
    vec![
        (&[], 424, "application/problem+json", |answer| {
            text(&json(&answer.text())["error"]["message"])
        }),
        (
            &["User-Agent: OpenAI/Python 2.1", "Accept: application/json"],
            424,
            "application/problem+json",
            |answer| text(&json(&answer.text())["error"]["message"]),
        ),
        (
            &["User-Agent: npm/11.0 node/v24"],
            424,
            "application/problem+json",
            |answer| text(&json(&answer.text())["error"]),
        ),
        (
            &["Content-Type: application/grpc"],
            200,
            "application/grpc",
            |answer| {
                assert_eq!(answer.header("grpc-status").as_deref(), Some("9"));
                assert!(answer.body.is_empty());
                answer.header("grpc-message").expect("a message")
            },
        ),
        (
            &["Content-Type: application/grpc-web+proto"],
            200,
            "application/grpc-web",
            |answer| answer.header("grpc-message").expect("a message"),
        ),
        (
            &[
                "Content-Type: application/proto",
                "Connect-Protocol-Version: 1",
            ],
            424,
            "application/json",
            |answer| {
                let error = json(&answer.text());
                assert_eq!(error["code"], "failed_precondition");
                text(&error["message"])
            },
        ),
        (
            &["Content-Type: application/connect+proto"],
            200,
            "application/connect+proto",
            |answer| {
                assert_eq!(answer.body[0], 2, "the envelope that ends a stream");
                let error = json(std::str::from_utf8(&answer.body[5..]).expect("UTF-8"));
                text(&error["error"]["message"])
            },
        ),
        (
            &["X-Amz-Date: 20260101T000000Z"],
            424,
            "application/xml",
            xml,
        ),
        (
            &[
                "User-Agent: Boto3/1.44",
                "Content-Type: application/x-www-form-urlencoded",
            ],
            424,
            "text/xml",
            xml,
        ),
        (&["x-ms-version: 2026-01-01"], 424, "application/xml", xml),
        (
            &[
                "X-Amz-Target: DynamoDB_20120810.GetItem",
                "Content-Type: application/x-amz-json-1.0",
            ],
            424,
            "application/x-amz-json-1.1",
            |answer| {
                let error = json(&answer.text());
                assert_eq!(error["__type"], "credential_not_found");
                text(&error["message"])
            },
        ),
        (
            &["User-Agent: kubectl/v1.33.0 (linux/amd64)"],
            424,
            "application/json",
            |answer| text(&json(&answer.text())["message"]),
        ),
        (
            &["Accept: application/vnd.oci.image.manifest.v1+json, */*"],
            424,
            "application/json",
            |answer| text(&json(&answer.text())["errors"][0]["message"]),
        ),
        (
            &["Accept: application/graphql-response+json"],
            424,
            "application/graphql-response+json",
            |answer| text(&json(&answer.text())["errors"][0]["message"]),
        ),
        (
            &["Accept: application/vnd.git-lfs+json"],
            424,
            "application/vnd.git-lfs+json",
            |answer| text(&json(&answer.text())["message"]),
        ),
        (
            &["User-Agent: git/2.50.1", "Accept: */*"],
            424,
            "text/plain; charset=utf-8",
            Response::text,
        ),
    ]
}

#[tokio::test]
async fn a_refusal_comes_in_the_form_that_its_client_reads() {
    for way in Way::ALL {
        let (world, _stub) = way.world(&[], PLACES).await;
        for (lines, status, media_type, read) in forms() {
            let lines = [lines, &[BEARER]].concat();
            let answer = way.post(&world, &lines, b"").await;
            assert_eq!(answer.status, status, "{way:?} {lines:?} {answer:?}");
            assert_eq!(answer.header("content-type").as_deref(), Some(media_type));
            assert_eq!(
                answer.egret_error().as_deref(),
                Some("credential_not_found")
            );
            assert!(answer.header("proxy-status").is_some());
            assert!(answer.header("egret-request").is_some());
            let words = read(&answer);
            for part in [
                "No usable credential of that slug (<<nope>> in header:authorization): default has",
                "write <<!nope>>",
                "unresolved = \"ignore\"",
                "api.example.test",
            ] {
                assert!(words.contains(part), "{way:?} {lines:?} {part}: {words}");
            }
        }
    }
}

/// Many programs show the reason phrase and nothing else.
#[tokio::test]
async fn the_reason_phrase_says_what_happened() {
    let (world, _stub) = Way::Http1.world(&[], PLACES).await;
    let mut tunnel = world.tunnel().await;
    let answer = tunnel.get("/x", &[BEARER]).await;
    assert_eq!(answer.status, 424);
    let received = String::from_utf8_lossy(&tunnel.wire.received).into_owned();
    let line = "HTTP/1.1 424 No usable credential of that slug (credential_not_found)\r\n";
    assert!(received.contains(line), "{received}");
}

/// `npm publish` of a README about here-documents.
#[tokio::test]
async fn what_is_shell_or_meant_literally_passes() {
    for way in Way::ALL {
        let (world, stub) = way.world(&[], PLACES).await;
        let line = "Content-Type: application/json";
        let body = br#"{"readme":"cat <<eof>>file\n<<!token>> <<!pat>>\neof\n"}"#;
        let answer = way.post(&world, &[line], body).await;
        assert_eq!(answer.status, 200, "{way:?} {}", answer.text());
        assert_eq!(answer.header("egret-ignored").as_deref(), Some("eof"));
        let expected: &[u8] = br#"{"readme":"cat <<eof>>file\n<<token>> <<pat>>\neof\n"}"#;
        assert_eq!(stub.take_one().body, expected);
        way.save(&world, "eof", "a-value-of-that-slug", PLACES)
            .await;
        let seen = way
            .accepted(&world, &stub, &[line], br#"{"a":"<<eof>>"}"#)
            .await;
        assert_eq!(seen.body, br#"{"a":"a-value-of-that-slug"}"#);
        let answer = way.post(&world, &[line], br#"{"a":"<<word>>"}"#).await;
        assert_eq!(answer.status, 424);
    }
}

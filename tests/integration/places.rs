//! Bodies of every type, held and streamed, and credentials that are allowed in one header field
//! only.

use crate::client::{assert_refused, request};
use crate::world::{HOST, VALUE, World, one_upstream_with};

/// [`VALUE`] in the encoding of each place.
fn written(form: &str) -> String {
    match form {
        "json" => VALUE.replace('"', "\\\""),
        "xml" => VALUE.replace('&', "&amp;").replace('"', "&quot;"),
        "form" => "s3cr3t%2BCanary%2F9f8e7d6c%26x%3D%221%22".to_owned(),
        _ => VALUE.to_owned(),
    }
}

/// A content type, a body with `@` for the placeholder, and the encoding of the value.
const BODIES: &[(&str, &str, &str)] = &[
    (
        "application/x-ndjson",
        "{\"a\":\"@\"}\n{\"b\":\"@\"}\n",
        "json",
    ),
    ("application/json", "\u{feff}{\"a\":\"@\"}", "json"),
    (
        "application/vnd.api+json; charset=utf-8",
        "{\"a\":[{\"b\":\"x@y\"}]}",
        "json",
    ),
    (
        "application/json",
        "{\"query\":\"query { a(k: \\\"$k\\\") }\",\"variables\":{\"k\":\"@\"}}",
        "json",
    ),
    (
        "application/x-amz-json-1.1",
        "{\"AuthParameters\":{\"PASSWORD\":\"@\"}}",
        "json",
    ),
    ("application/x-pem-file", "key: @\n", "raw"),
    ("application/graphql", "query { a(k: \"@\") { b } }", "raw"),
    ("application/javascript", "const k = '@';", "raw"),
    ("text/csv", "a,b\n1,@\n", "raw"),
    ("application/soap+xml", "<a k=\"@\"><b>@</b></a>", "xml"),
    ("application/x-www-form-urlencoded", "a=1&k=@&b=2", "form"),
];

/// Multipart with nested parts; the image is not searched.
const NESTED: &str = "--B\r\nContent-Disposition: form-data; name=\"k\"\r\n\r\n@\r\n\
    --B\r\nContent-Type: multipart/mixed; boundary=I\r\n\r\n\
    --I\r\nContent-Type: text/plain\r\n\r\nin @ side\r\n\
    --I\r\nContent-Type: image/png\r\n\r\n\u{1}<<pat>>\u{2}\r\n--I--\r\n\
    --B\r\nContent-Disposition: form-data; name=\"f\"; filename=\"z.txt\"\r\n\r\nz\r\n--B--\r\n";

async fn worlds() -> [(World, crate::upstream::Stub); 2] {
    [
        one_upstream_with(World::builder()).await,
        one_upstream_with(
            World::builder()
                .set("body.buffer", "1B")
                .set("body.spool", "0B"),
        )
        .await,
    ]
}

#[tokio::test]
async fn bodies_of_every_type_take_the_value_held_and_streamed() {
    let nested = ("multipart/form-data; boundary=B", NESTED, "raw");
    for (world, stub) in worlds().await {
        let mut tunnel = world.tunnel().await;
        for (content_type, body, form) in BODIES.iter().chain([&nested]) {
            let sent = body.replace('@', "<<pat>>");
            let answer = tunnel.post("/x", content_type, &sent).await;
            assert_eq!(answer.status, 200, "{content_type}: {}", answer.text());
            assert_eq!(
                String::from_utf8_lossy(&stub.take_one().body),
                body.replace('@', &written(form)),
                "{content_type}"
            );
        }
    }
}

#[tokio::test]
async fn a_credential_for_one_field_is_used_in_that_field_only() {
    let json = "application/json";
    let form = "application/x-www-form-urlencoded";
    for (world, stub) in worlds().await {
        for (slug, place) in [
            ("pointed", "body:/auth/token"),
            ("posted", "body:client_secret"),
            ("asked", "query:api_key"),
            ("headed", "header:x-key"),
        ] {
            let limits = ["--host", HOST, "--in", place];
            world.save(slug, VALUE, &limits).await;
        }
        let with_body = |media_type: &str, body: &str| {
            request(
                "POST",
                "/x",
                &[&format!("Content-Type: {media_type}")],
                body,
            )
        };
        let get = |target: &str, header: &str| request("GET", target, &[header], "");
        for (ask, allowed) in [
            (with_body(json, r#"{"auth":{"token":"<<pointed>>"}}"#), true),
            (
                with_body(json, r#"{"auth":{"other":"<<pointed>>"}}"#),
                false,
            ),
            (with_body(json, r#"{"token":"<<pointed>>"}"#), false),
            (with_body(form, "auth=1&token=<<pointed>>"), false),
            (with_body(form, "a=1&client_secret=<<posted>>"), true),
            (with_body(form, "a=1&client_secre=<<posted>>"), false),
            (with_body(json, r#"{"client_secret":"<<posted>>"}"#), false),
            (get("/x?api_key=<<asked>>", "A: b"), true),
            (get("/x?api_key=1&k=<<asked>>", "A: b"), false),
            (get("/x/<<asked>>", "A: b"), false),
            (get("/x", "X-Key: <<headed>>"), true),
            (get("/x", "X-Other: <<headed>>"), false),
        ] {
            let answer = world.tunnel().await.roundtrip(&ask).await;
            if allowed {
                assert_eq!(answer.status, 200, "{ask}: {}", answer.text());
                assert_eq!(stub.take().len(), 1);
            } else {
                assert_refused(&answer, "credential_not_allowed");
                assert_eq!(stub.take().len(), 0, "{ask}");
            }
        }
    }
}

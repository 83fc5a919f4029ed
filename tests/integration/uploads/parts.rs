//! Lengths and heads inside of bodies.

use super::way::Way;
use crate::client::assert_refused;
use crate::coded::noise;
use crate::world::{VALUE, World};

const PLACES: &[&str] = &["header", "body"];
const TYPE: &str = "Content-Type: multipart/form-data; boundary=B";

/// Held, spooled.
const WHOLE: [&[(&str, &str)]; 2] = [&[], &[("body.buffer", "1B")]];
const STREAMED: &[(&str, &str)] = &[("body.buffer", "1B"), ("body.spool", "0B")];

/// As OkHttp writes a part.
fn part(name: &str, text: &str) -> String {
    let length = text.len();
    format!(
        "--B\r\nContent-Disposition: form-data; name=\"{name}\"\r\nContent-Length: {length}\r\n\r\n{text}\r\n"
    )
}

/// The length that each part says, and the one that it has.
fn lengths(body: &str) -> Vec<(usize, usize)> {
    let body = body.strip_suffix("\r\n--B--\r\n").expect("the end");
    let parts = body.strip_prefix("--B\r\n").expect("the beginning");
    let parts = parts.split("\r\n--B\r\n");
    let of = |part: &str| {
        let (head, text) = part.split_once("\r\n\r\n").expect("a head");
        let (_, rest) = head.split_once("Content-Length: ").expect("a length");
        let digits = rest.lines().next().expect("its digits");
        (digits.parse().expect("a number"), text.len())
    };
    parts.map(of).collect()
}

#[tokio::test]
async fn the_length_of_a_part_is_corrected() {
    for way in Way::ALL {
        for settings in WHOLE {
            let (world, stub) = way.world(settings, PLACES).await;
            let filler = noise(70_000);
            for texts in [
                ["<<pat>>", "plain", "{\"t\":\"<<pat>>\"}"],
                ["<<!pat>>", &filler, "a <<pat>> b <<pat>>"],
                ["x", "y", "<<pat>>"],
            ] {
                let parts: String = texts.iter().map(|text| part("f", text)).collect();
                let body = format!("{parts}--B--\r\n");
                let seen = way.accepted(&world, &stub, &[TYPE], body.as_bytes()).await;
                way.assert_length(&seen);
                let arrived = String::from_utf8(seen.body.clone()).expect("UTF-8");
                assert!(arrived.contains(VALUE) || arrived.contains("s3cr3t"));
                for (said, is) in lengths(&arrived) {
                    assert_eq!(said, is, "{way:?} {arrived}");
                }
            }
        }
    }
}

async fn refused(way: Way, world: &World, lines: &[&str], body: &str) {
    let answer = way.post(world, lines, body.as_bytes()).await;
    assert_refused(&answer, "credential_unencodable");
}

#[tokio::test]
async fn a_length_that_cannot_be_corrected_refuses_the_value() {
    let inner = "--C\r\nContent-Length: 7\r\n\r\n<<pat>>\r\n--C--\r\n";
    let nested = format!(
        "--B\r\nContent-Type: multipart/mixed; boundary=C\r\nContent-Length: {}\r\n\r\n{inner}\r\n--B--\r\n",
        inner.len()
    );
    let said = [
        "Content-Length: 99",
        // Recipients read these in different ways.
        "Content-Length: 7\r\nContent-Length: 7",
        "Content-Length: +7",
        "Content-Length:\r\n 7",
        "content-length : 7",
        "Content-Length: 99999999999999999999999",
        "Content-MD5: 1B2M2Y8AsgTpgAmY7PhCfg==",
        "Content-Length: 7\r\nContent-Digest: sha-256=:AA==:",
        "Digest: sha-256=AA==",
    ];
    for way in Way::ALL {
        let (world, stub) = way.world(&[], PLACES).await;
        refused(way, &world, &[TYPE], &nested).await;
        for said in said {
            let body = format!("--B\r\n{said}\r\n\r\n<<pat>>\r\n--B--\r\n");
            refused(way, &world, &[TYPE], &body).await;
        }
        for media_type in ["application/http", "message/http; version=1.1"] {
            let line = format!("Content-Type: {media_type}");
            for said in ["Content-Length: 7", "Repr-Digest: sha-256=:AA==:"] {
                let message = format!("POST /y HTTP/1.1\r\n{said}\r\n\r\n<<pat>>");
                refused(way, &world, &[&line], &message).await;
            }
        }
        assert_eq!(stub.connections().len(), 0, "{way:?}");
        // What was sent before its end is known cannot be corrected.
        let (world, stub) = way.world(STREAMED, PLACES).await;
        let streamed = format!(
            "{}{}--B--\r\n",
            part("f", "<<pat>>"),
            part("g", &noise(9000))
        );
        refused(way, &world, &[TYPE], &streamed).await;
        assert_eq!(stub.take().len(), 0, "it came to an end");
    }
}

/// A batch request: each part is a request with a head and a body of its own.
#[tokio::test]
async fn a_message_in_a_part_is_read_as_what_it_is() {
    let body = "--B\r\nContent-Type: application/http\r\n\r\nPOST /y HTTP/1.1\r\nAuthorization: Bearer \
                <<pat>>\r\nContent-Type: application/json\r\n\r\n{\"t\":\"<<pat>>\"}\r\n--B--\r\n";
    for way in Way::ALL {
        for settings in [WHOLE[0], WHOLE[1], STREAMED] {
            let (world, stub) = way.world(settings, PLACES).await;
            let line = "Content-Type: multipart/mixed; boundary=B";
            let seen = way.accepted(&world, &stub, &[line], body.as_bytes()).await;
            let quoted = VALUE.replace('"', "\\\"");
            let expected = body
                .replacen("<<pat>>", VALUE, 1)
                .replace("<<pat>>", &quoted);
            assert_eq!(String::from_utf8_lossy(&seen.body), expected, "{way:?}");
            way.save(&world, "lines", "a\r\nX-Injected: 1", PLACES)
                .await;
            refused(way, &world, &[line], &body.replacen("pat", "lines", 1)).await;
            stub.take();
        }
    }
}

/// Its target, and its body by its own type.
#[tokio::test]
async fn each_place_of_a_message_in_a_body_takes_the_value_as_that_place_does() {
    let percent: String = VALUE
        .bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            byte => format!("%{byte:02X}"),
        })
        .collect();
    let json = VALUE.replace('"', "\\\"");
    let nested = json.replace('\\', "\\\\").replace("\\\\\"", "\\\\\\\"");
    let xml = VALUE.replace('&', "&amp;").replace('"', "&quot;");
    let cases = [
        (
            "GET /y?k=<<pat>>&l=%3C%3Cpat%3E%3E HTTP/1.1\r\n\r\n",
            &percent,
        ),
        ("\r\nGET /y/<<pat>> HTTP/1.1\r\nX: y\r\n\r\n", &percent),
        (
            "POST /y HTTP/1.1\r\nContent-Type: application/x-www-form-urlencoded\r\n\r\na=%3c%3cpat%3e%3e&b=<<pat>>",
            &percent,
        ),
        (
            "PUT /y HTTP/1.1\r\ncontent-type: application/json\r\nX: {\r\n\r\n{\"t\":\"\\u003c<pat>>\"}",
            &json,
        ),
        (
            "PUT /y HTTP/1.1\r\nX-A: }{\r\nX-Payload: {\"t\":\"<<pat>>\"}\r\n\r\n",
            &json,
        ),
        (
            "PUT /y HTTP/1.1\r\nContent-Type: application/json\r\n\r\n{\"b\":\"{\\\"t\\\":\\\"<<pat>>\\\"}\"}",
            &nested,
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\n\r\n<a>&lt;&lt;pat&gt;&gt;</a>",
            &xml,
        ),
    ];
    let spellings = [
        "%3C%3Cpat%3E%3E",
        "%3c%3cpat%3e%3e",
        "\\u003c<pat>>",
        "&lt;&lt;pat&gt;&gt;",
        "<<pat>>",
    ];
    for way in Way::ALL {
        for settings in [WHOLE[0], WHOLE[1], STREAMED] {
            let (world, stub) = way.world(settings, PLACES).await;
            for (message, value) in &cases {
                let mut expected = (*message).to_owned();
                for spelling in spellings {
                    expected = expected.replace(spelling, value);
                }
                let line = "Content-Type: application/http; msgtype=request";
                let seen = way
                    .accepted(&world, &stub, &[line], message.as_bytes())
                    .await;
                assert_eq!(String::from_utf8_lossy(&seen.body), expected, "{way:?}");
                let wrap = |text: &str| {
                    format!("--B\r\nContent-Type: application/http\r\n\r\n{text}\r\n--B--\r\n")
                };
                let line = "Content-Type: multipart/mixed; boundary=B";
                let body = wrap(message);
                let seen = way.accepted(&world, &stub, &[line], body.as_bytes()).await;
                let arrived = String::from_utf8_lossy(&seen.body).into_owned();
                assert_eq!(arrived, wrap(&expected), "{way:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_placeholder_in_the_head_of_a_part_is_put_in_or_refused() {
    let body = "--B\r\nContent-Disposition: form-data; name=\"f\"; filename=\"<<easy>>\"\r\nX-Key: \
                <<easy>>\r\n\r\ntext\r\n--B--\r\n";
    for way in Way::ALL {
        for settings in [WHOLE[0], WHOLE[1], STREAMED] {
            let (world, stub) = way.world(settings, PLACES).await;
            way.save(&world, "easy", "ghp_0123456789", PLACES).await;
            let seen = way.accepted(&world, &stub, &[TYPE], body.as_bytes()).await;
            let expected = body.replace("<<easy>>", "ghp_0123456789");
            assert_eq!(String::from_utf8_lossy(&seen.body), expected, "{way:?}");
            refused(way, &world, &[TYPE], &body.replace("easy", "pat")).await;
            let unknown = body.replace("easy", "nope");
            let answer = way.post(&world, &[TYPE], unknown.as_bytes()).await;
            assert_refused(&answer, "credential_not_found");
        }
    }
}

#[tokio::test]
async fn two_boundaries_are_refused() {
    for way in Way::ALL {
        for settings in [WHOLE[0], WHOLE[1], STREAMED] {
            let (world, stub) = way.world(settings, PLACES).await;
            for media_type in [
                "multipart/form-data; boundary=B; boundary=C",
                "multipart/mixed; boundary=B; Boundary=\"B\"",
                "multipart/related; type=\"a/b\"; boundary=C; x=y; boundary=B",
                "multipart/form-data; boundary*=UTF-8''B; boundary=C",
                "application/json, multipart/form-data; boundary=B",
                "application/json\r\nContent-Type: multipart/form-data; boundary=B",
            ] {
                if way == Way::Http2 && media_type.contains('\n') {
                    // No line of HTTP/2 holds another.
                    continue;
                }
                let line = format!("Content-Type: {media_type}");
                let body = format!("{}--B--\r\n", part("f", "text"));
                let answer = way.post(&world, &[&line], body.as_bytes()).await;
                assert_refused(&answer, "body_encoding_unsupported");
            }
            assert_eq!(stub.take().len(), 0, "{way:?}");
        }
    }
}

/// A message in an envelope of gRPC or Connect.
fn envelope(flags: u8, text: &str) -> Vec<u8> {
    let length = u32::try_from(text.len()).expect("a short message");
    [&[flags], &length.to_be_bytes()[..], text.as_bytes()].concat()
}

/// The messages of a body, each with its flags.
fn messages(mut body: &[u8]) -> Vec<(u8, String)> {
    let mut messages = Vec::new();
    while let [flags, a, b, c, d, rest @ ..] = body {
        let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
        let text = String::from_utf8_lossy(&rest[..length]).into_owned();
        messages.push((*flags, text));
        body = &rest[length..];
    }
    assert!(body.is_empty(), "it ends inside of an envelope");
    messages
}

#[tokio::test]
async fn an_envelope_has_the_length_of_its_message() {
    let long = format!(r#"{{"f":"{}","t":"<<pat>>"}}"#, noise(100_000));
    let texts = [
        r#"{"t":"<<pat>>"}"#,
        r#"{"n":1}"#,
        "",
        r#"{"a":"<<!pat>> <<pat>>"}"#,
        &long,
    ];
    let compressed = (1, "<<pat>> in what is not read");
    for way in Way::ALL {
        for media_type in ["connect+json", "grpc+json", "grpc-web+json"] {
            let (world, stub) = way.world(&[], PLACES).await;
            let line = format!("Content-Type: application/{media_type}");
            let mut body: Vec<u8> = texts.iter().flat_map(|text| envelope(0, text)).collect();
            body.extend(envelope(compressed.0, compressed.1));
            let seen = way.accepted(&world, &stub, &[&line], &body).await;
            let quoted = VALUE.replace('"', "\\\"");
            let put = |text: &&str| {
                let text = text.replace("<<pat>>", &quoted);
                (0, text.replace("<<!pat>>", "<<pat>>"))
            };
            let mut expected: Vec<(u8, String)> = texts.iter().map(put).collect();
            expected.push((compressed.0, compressed.1.to_owned()));
            assert!(messages(&seen.body) == expected, "{way:?} {media_type}");
            let uses = world
                .ledger()
                .into_iter()
                .filter(|line| line["event"] == "use");
            assert_eq!(uses.count(), 1, "one line for the slug");
            for (text, code) in [
                (r#"{"t":"<<nope>>"}"#.to_owned(), "credential_not_found"),
                (format!(r#"{{"t":"{quoted}"}}"#), "secret_exposed"),
                (r#"{"t":"\<<pat>>"}"#.to_owned(), "credential_unencodable"),
            ] {
                let body = [envelope(0, "{}"), envelope(0, &text)].concat();
                let answer = way.post(&world, &[&line], &body).await;
                assert_eq!(
                    answer.egret_error().as_deref(),
                    Some(code),
                    "{way:?} {text}"
                );
                assert_eq!(answer.status, 200, "in the form of the protocol");
                assert_eq!(stub.take().len(), 0, "{way:?}: it came to an end");
            }
        }
    }
}

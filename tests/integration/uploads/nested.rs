//! JSON inside of strings, fields and elements: a value is written at the depth where it stands.

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_STANDARD_NO_PAD};
use serde_json::Value;

use super::way::Way;
use crate::client::assert_refused;
use crate::upstream::{Step, ok};
use crate::world::{SLUG, World};

/// What ends a string at each depth, and what JSON cannot say without an escape.
const HARD: &str = "a\"b\\c\nd\u{1}é/<&>'";
const PLACES: &[&str] = &["header", "query", "body"];

/// Whether bodies are held, spooled, or streamed.
const SIZES: [&[(&str, &str)]; 3] = [
    &[],
    &[("body.buffer", "1B")],
    &[("body.buffer", "1B"), ("body.spool", "0B")],
];

/// A media type, a body, and how its receiver gets at the inner text.
type Case = (&'static str, String, fn(&str) -> String);

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn text(value: &Value) -> String {
    value.as_str().expect("a string").to_owned()
}

fn inner(value: &Value) -> String {
    text(&json(&text(value))["t"])
}

fn form_field(body: &str) -> String {
    let mut pairs = form_urlencoded::parse(body.as_bytes());
    let (_, value) = pairs.find(|(name, _)| name == "payload").expect("a field");
    text(&json(&value)["t"])
}

fn between<'t>(body: &'t str, before: &str, after: &str) -> &'t str {
    let (_, rest) = body.split_once(before).expect("what comes before");
    rest.rsplit_once(after).expect("what comes after").0
}

/// As a program escapes a text for JSON, without quotation marks.
fn quoted(text: &str) -> String {
    let quoted = serde_json::to_string(text).expect("JSON");
    quoted[1..quoted.len() - 1].to_owned()
}

fn percent(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

fn xml_text(body: &str) -> String {
    let text = between(body, "<m>", "</m>");
    let text = text.strip_prefix("<![CDATA[").map_or_else(
        || quick_xml::escape::unescape(text).expect("XML").into_owned(),
        |text| text.trim_end_matches("]]>").to_owned(),
    );
    self::text(&json(&text)["t"])
}

fn cases() -> Vec<Case> {
    let plain = r#"{"t":"<<hard>>"}"#;
    let escaped = r#"{"t":"\u003c\u003chard\u003e\u003e"}"#;
    let mut cases: Vec<Case> = Vec::new();
    for document in [plain, escaped] {
        let string = quoted(document);
        cases.extend([
            (
                "application/json",
                format!(r#"{{"n":[1],"body":"{string}"}}"#),
                (|body| inner(&json(body)["body"])) as fn(&str) -> String,
            ),
            (
                "application/vnd.api+json",
                format!(r#"["x \"{{","{string}"]"#),
                |body| inner(&json(body)[1]),
            ),
            (
                "application/x-ndjson",
                format!("{{\"a\":1}}\n{{\"body\":\"{string}\"}}\n"),
                |body| inner(&json(body.lines().last().expect("a line"))["body"]),
            ),
            (
                "application/x-www-form-urlencoded",
                format!("a=1&payload={}&z=2", percent(document)),
                form_field,
            ),
            (
                "application/xml",
                format!("<r><m>{}</m></r>", quick_xml::escape::escape(document)),
                xml_text,
            ),
            (
                "application/soap+xml",
                format!("<r><m><![CDATA[{document}]]></m></r>"),
                xml_text,
            ),
            (
                "text/plain;charset=UTF-8",
                format!(r#"42["message",{document}]"#),
                |body| text(&json(body.strip_prefix("42").expect("a number"))[1]["t"]),
            ),
            (
                "text/plain",
                format!("data: {document}\n\n"),
                |body| text(&json(body.trim().strip_prefix("data: ").expect("a field"))["t"]),
            ),
            (
                "multipart/form-data; boundary=B",
                format!(
                    "--B\r\nContent-Disposition: form-data; name=\"payload\"\r\n\r\n{document}\r\n--B--\r\n"
                ),
                |body| text(&json(between(body, "\r\n\r\n", "\r\n--B--"))["t"]),
            ),
            (
                "multipart/mixed; boundary=B",
                format!(
                    "--B\r\nContent-Type: application/json\r\n\r\n{{\"body\":\"{string}\"}}\r\n--B--\r\n"
                ),
                |body| inner(&json(between(body, "\r\n\r\n", "\r\n--B--"))["body"]),
            ),
        ]);
    }
    cases
}

async fn save(way: Way, world: &World) {
    way.save(world, "hard", HARD, PLACES).await;
}

#[tokio::test]
async fn a_value_is_written_at_the_depth_where_it_stands() {
    for (way, settings) in Way::ALL
        .into_iter()
        .zip(SIZES)
        .chain([(Way::Http1, SIZES[2])])
    {
        let (world, stub) = way.world(settings, PLACES).await;
        save(way, &world).await;
        for (media_type, body, read) in cases() {
            let line = format!("Content-Type: {media_type}");
            let seen = way.accepted(&world, &stub, &[&line], body.as_bytes()).await;
            let arrived = String::from_utf8(seen.body.clone()).expect("UTF-8");
            assert_eq!(read(&arrived), HARD, "{way:?} {media_type} {body}");
        }
    }
}

#[tokio::test]
async fn json_in_a_query_and_in_a_header_is_written_at_its_depth() {
    let easy = HARD.replace(['\n', '\u{1}'], "");
    for way in Way::ALL {
        let (world, stub) = way.world(&[], PLACES).await;
        let places = ["header", "query", "path"];
        way.save(&world, "hard", &easy, &places).await;
        for document in [
            r#"{"t":"<<hard>>"}"#,
            r#"{"t":"\u003c\u003chard\u003e\u003e"}"#,
        ] {
            let path = format!("/x/{}", percent(document));
            let target = format!("{path}?payload={}", percent(document));
            let line = format!("Dropbox-API-Arg: {document}");
            let answer = way.post_to(&world, &target, &[&line], b"").await;
            assert_eq!(answer.status, 200, "{}", answer.text());
            let seen = stub.take_one();
            assert_eq!(form_field(seen.query()), easy, "{way:?} {document}");
            let in_path = seen.path().replace("/x/", "payload=");
            assert_eq!(form_field(&in_path), easy, "{way:?} {document}");
            let header = seen.header("dropbox-api-arg").expect("the header");
            assert_eq!(json(&header)["t"], easy.as_str(), "{way:?} {document}");
        }
    }
}

/// Where the depth is not known, or too deep to be found in an answer: refused rather than broken.
#[tokio::test]
async fn what_cannot_be_written_at_its_depth_is_refused() {
    let document = r#"{"t":"<<hard>>"}"#;
    let thrice = quoted(&format!(r#"{{"u":"{}"}}"#, quoted(document)));
    let bodies = [
        ("application/json", r#"{"a":"\<<hard>>"}"#.to_owned()),
        (
            "application/json",
            format!(r#"{{"a":"{}"}}"#, quoted(r#"{"t":"\<<hard>>"}"#)),
        ),
        ("application/json", r#"{"a":"\"<<hard>>\""}"#.to_owned()),
        (
            "application/json",
            r#"{"query":"mutation { login(token: \"<<hard>>\") { id } }"}"#.to_owned(),
        ),
        (
            "application/x-ndjson",
            r#"{"run":"curl -H \"A: b\" -H \"C: <<hard>>\""}"#.to_owned(),
        ),
        ("application/json", format!(r#"{{"a":"{thrice}"}}"#)),
        ("application/x-ndjson", "[\"\\<<hard>>\"]\n".to_owned()),
        (
            "application/x-www-form-urlencoded",
            format!("a={}", percent(&format!(r#"["{}"]"#, quoted(document)))),
        ),
    ];
    for way in Way::ALL {
        for settings in SIZES {
            let (world, stub) = way.world(settings, PLACES).await;
            save(way, &world).await;
            for (media_type, body) in &bodies {
                let line = format!("Content-Type: {media_type}");
                let answer = way.post(&world, &[&line], body.as_bytes()).await;
                assert_refused(&answer, "credential_unencodable");
                assert_eq!(stub.take().len(), 0, "{way:?} {body}: it came to an end");
                if settings.len() < 2 {
                    assert!(!world.ledger().iter().any(|line| line["event"] == "use"));
                }
            }
        }
    }
}

/// What needs no escape at any depth is written at any depth.
#[tokio::test]
async fn an_ordinary_value_is_written_at_any_depth() {
    let way = Way::Http1;
    let (world, stub) = way.world(&[], PLACES).await;
    way.save(&world, "easy", "ghp_0123456789", PLACES).await;
    let mut document = r#"{"t":"<<easy>>"}"#.to_owned();
    for depth in 0..6 {
        let line = "Content-Type: application/json";
        let seen = way
            .accepted(&world, &stub, &[line], document.as_bytes())
            .await;
        let expected = document.replace("<<easy>>", "ghp_0123456789");
        assert_eq!(String::from_utf8_lossy(&seen.body), expected, "{depth}");
        document = format!(r#"{{"t":"{}"}}"#, quoted(&document));
    }
}

/// RFC 6749 section 2.3.1: OAuth clients encode id and secret as a form does before they write Basic.
#[tokio::test]
async fn basic_credentials_that_are_form_encoded_get_a_form_encoded_value() {
    for way in Way::ALL {
        let (world, stub) = way.world(&[], PLACES).await;
        let secret = "s3c:r3t+/&=%\"x é";
        way.save(&world, "tok", secret, PLACES).await;
        for pair in [
            "id:%3C%3Ctok%3E%3E",
            "%3c%3ctok%3e%3e:",
            "my%20id:%3C%3ctok%3e%3E",
        ] {
            let line = format!("Authorization: Basic {}", BASE64_STANDARD.encode(pair));
            let seen = way.accepted(&world, &stub, &[&line], b"").await;
            let header = seen.header("authorization").expect("the header");
            let sent = BASE64_STANDARD.decode(header.trim_start_matches("Basic "));
            let sent = String::from_utf8(sent.expect("base64")).expect("UTF-8");
            let parts: Vec<String> = sent.split(':').map(plain).collect();
            let expected: Vec<String> = pair.split(':').map(plain).collect();
            let expected: Vec<String> = expected
                .iter()
                .map(|part| part.replace("<<tok>>", secret))
                .collect();
            assert_eq!(parts, expected, "{way:?} {pair} {sent}");
        }
        let nope = BASE64_STANDARD.encode("id:%3C%3Cnope%3E%3E");
        let line = format!("Authorization: Basic {nope}");
        assert_refused(
            &way.post(&world, &[&line], b"").await,
            "credential_not_found",
        );
        let escape = BASE64_STANDARD.encode(format!("id:%3C%3C%21{SLUG}%3E%3E"));
        let line = format!("Authorization: Basic {escape}");
        let seen = way.accepted(&world, &stub, &[&line], b"").await;
        let literal = BASE64_STANDARD.encode("id:%3C%3Cpat%3E%3E");
        assert_eq!(
            seen.header("authorization"),
            Some(format!("Basic {literal}"))
        );
    }
}

fn plain(part: &str) -> String {
    let pair = format!("={part}");
    let mut pairs = form_urlencoded::parse(pair.as_bytes());
    pairs.next().expect("a pair").1.into_owned()
}

/// What an upstream sends back of them is found as well.
#[tokio::test]
async fn form_encoded_basic_credentials_do_not_come_back() {
    let way = Way::Http1;
    let (world, stub) = way.world(&[], PLACES).await;
    stub.serve(|request| async move {
        let header = request.header("authorization").unwrap_or_default();
        vec![Step::Send(ok(&header))]
    });
    for (slug, secret) in [("tok", "s3c:r3t+/&=%\"x"), ("easy", "ghp_0123456789abcdef")] {
        way.save(&world, slug, secret, PLACES).await;
        for before in ["id:", "ido:", "idol:"] {
            let pair = BASE64_STANDARD.encode(format!("{before}%3C%3C{slug}%3E%3E"));
            let line = format!("Authorization: Basic {pair}");
            let answer = way.post(&world, &[&line], b"").await;
            let text = answer.text();
            for at in 0..4 {
                let rest = &text.as_bytes()[("Basic ".len() + at).min(text.len())..];
                let decoded = BASE64_STANDARD_NO_PAD.decode(rest.trim_ascii_end());
                let decoded = String::from_utf8_lossy(&decoded.unwrap_or_default()).into_owned();
                assert!(!plain(&decoded).contains(secret), "{before} {slug}: {text}");
            }
            assert!(!text.ends_with(&percent(secret)), "{text}");
            let whole = BASE64_STANDARD.encode(format!("{before}{}", percent(secret)));
            assert!(!text.contains(&whole), "{before} {slug}: {text}");
        }
    }
}

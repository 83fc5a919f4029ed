//! Answers that hold a value in the name of a field.

use crate::client::request;
use crate::coded::{chunked, close};
use crate::http2::client::{self as http2, Client};
use crate::http2::frames;
use crate::http2::upstream::Reply;
use crate::upstream::{Step, Stub};
use crate::websocket::socket::{Socket, Upstream, handshake, switching};
use crate::wire::{Headers, Response};
use crate::world::{HOST, SLUG, VALUE, World};

/// A value that no request here sends, of few enough letters that it is no base64 of anything.
const HELD: &str = "mVQMZbpEQ";
/// A value that is searched for only once it was sent.
const SHORT: &str = "PiN7";

/// Names that hold [`HELD`].
const NAMES: &[&str] = &[
    "mVQMZbpEQ",
    "MVQMZBPEQ",
    "mvqmzbpeq",
    "X-mVQMZbpEQ",
    "X-Mvqmzbpeq-Id",
    "mVQMZbpE%51",
    "%6d%56%51%4D%5A%62%70%45%51",
    "%256dVQMZbpEQ",
    "bVZRTVpicEVR",
    "X-BVZRTVPICEVR",
    "6d56514d5a62704551",
    "6D56514D5A62704551",
];

/// Names that look like it.
const OTHERS: &[&str] = &[
    "X-CamelCased-AndLongEnough-ForBase64",
    "x-request-ID",
    "mVQMZbpE",
    "X-mVQM-ZbpEQ",
    "X-PiN7",
];

async fn world() -> (World, Stub) {
    world_speaking("http/1.1").await
}

async fn world_speaking(protocol: &str) -> (World, Stub) {
    let builder = World::builder();
    let stub = Stub::tls_alpn(builder.pki(), &[HOST], &[protocol]).await;
    let world = builder
        .route(&format!("{HOST}:443"), stub.addr)
        .start()
        .await;
    world.save(SLUG, VALUE, &["--host", HOST]).await;
    world.save("held", HELD, &["--host", HOST]).await;
    world.save("pin", SHORT, &["--host", HOST]).await;
    (world, stub)
}

fn mixed() -> Vec<&'static str> {
    // Alternately, so that a field whose neighbour is removed keeps its place.
    let others = OTHERS.iter().cycle();
    let pairs = NAMES.iter().zip(others);
    let mut mixed: Vec<&str> = pairs.flat_map(|(name, other)| [*name, *other]).collect();
    mixed.push("X-Last");
    mixed
}

/// What is left of [`mixed`].
fn left() -> Vec<&'static str> {
    mixed()
        .into_iter()
        .filter(|name| !NAMES.contains(name))
        .collect()
}

/// The names of the fields of which a test knows, as they came.
fn names(fields: &Headers) -> Vec<&str> {
    let own = [
        "content-length",
        "transfer-encoding",
        "trailer",
        "date",
        "content-type",
        "via",
    ];
    let own = |name: &str| own.iter().any(|own| own.eq_ignore_ascii_case(name));
    let names = fields.iter().map(|(name, _)| name.as_str());
    let names = names.filter(|name| !own(name) && !name.starts_with(':'));
    names
        .filter(|name| !name.to_ascii_lowercase().starts_with("egret-"))
        .collect()
}

/// The same, one field of each name after the other: that is how a map of fields delivers them.
fn grouped<'a>(names: &[&'a str]) -> Vec<&'a str> {
    let mut grouped: Vec<&str> = Vec::new();
    for name in names {
        if !grouped.contains(name) {
            grouped.extend(names.iter().filter(|other| *other == name));
        }
    }
    grouped
}

fn lines(names: &[&str]) -> String {
    names.iter().map(|name| format!("{name}: 1\r\n")).collect()
}

/// Fields of HTTP/2.
fn fields(names: &[&str]) -> Headers {
    let field = |name: &&str| (name.to_ascii_lowercase(), b"1".to_vec());
    names.iter().map(field).collect()
}

fn lower(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| name.to_ascii_lowercase()).collect()
}

/// Waits for the line that says that a name held the value, and looks that it does not say which.
async fn assert_recorded(world: &World, slug: &str, place: &str) {
    let is_it = |line: &serde_json::Value| {
        let places = line["locations"].as_array().into_iter().flatten();
        line["event"] == "scrubbed" && line["slug"] == slug && places.clone().any(|p| p == place)
    };
    let line = world.ledger_line("a scrubbed line", is_it).await;
    let line = line.to_string().to_ascii_lowercase();
    assert!(!line.contains(&HELD.to_ascii_lowercase()), "{line}");
}

#[tokio::test]
async fn a_field_is_removed_whose_name_is_a_value_that_was_not_sent() {
    let (world, stub) = world().await;
    let mut tunnel = world.tunnel().await;
    let head = format!("HTTP/1.1 200 OK\r\n{}", lines(&mixed()));
    for framed in [
        format!("{head}Content-Length: 2\r\n\r\nok"),
        format!("{head}Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
    ] {
        stub.answer(framed);
        for used in [&[][..], &["X-Api-Key: <<pat>>"]] {
            let answer = tunnel.get("/x", used).await;
            assert_eq!((answer.status, &*answer.text()), (200, "ok"));
            assert_eq!(names(&answer.headers), grouped(&left()), "{used:?}");
        }
    }
    for form in ["raw", "percent", "base64", "hex"] {
        assert_recorded(&world, "held", &format!("header name ({form})")).await;
    }
    // In an answer without a body too.
    stub.answer(format!(
        "HTTP/1.1 304 Not Modified\r\n{}\r\n",
        lines(&mixed())
    ));
    let answer = tunnel.get("/x", &[]).await;
    assert_eq!(names(&answer.headers), grouped(&left()));
}

#[tokio::test]
async fn a_trailer_is_removed_whose_name_is_a_value() {
    let (world, stub) = world().await;
    let mut tunnel = world.tunnel().await;
    let all = mixed();
    let announced = lower(&all).join(", ");
    let mut body = chunked(b"ok", 2);
    body.truncate(body.len() - 2);
    stub.answer(format!(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: {announced}\r\n\r\n{}{}\r\n",
        String::from_utf8_lossy(&body),
        lines(&all)
    ));
    for used in [
        &["TE: trailers"][..],
        &["TE: trailers", "X-Api-Key: <<pat>>"],
    ] {
        tunnel.wire.received.clear();
        let answer = tunnel.get("/x", used).await;
        assert_eq!(answer.text(), "ok");
        let came = String::from_utf8_lossy(&tunnel.wire.received).to_ascii_lowercase();
        let (_, trailers) = came.split_once("\r\n0\r\n").expect("the last chunk");
        let names: Vec<_> = trailers
            .lines()
            .filter_map(|line| line.split(':').next())
            .collect();
        let names: Vec<_> = names.into_iter().filter(|name| !name.is_empty()).collect();
        let expected = lower(&left());
        assert_eq!(
            names,
            grouped(&expected.iter().map(String::as_str).collect::<Vec<_>>())
        );
    }
    assert_recorded(&world, "held", "header name (raw)").await;
}

#[tokio::test]
async fn a_field_or_trailer_of_http2_is_removed_whose_name_is_a_value() {
    let (world, stub) = world_speaking("h2").await;
    let mut client = Client::open(&world).await;
    let section = |status: &str, names: &[&str]| {
        let status = (":status".to_owned(), status.as_bytes().to_vec());
        [vec![status], fields(names)].concat()
    };
    stub.serve_http2(move |stream, _| async move {
        let frames = [
            frames::section(stream, false, &section("103", &mixed())),
            frames::section(stream, false, &section("200", &mixed())),
            frames::data(stream, false, b"ok", 2),
            frames::section(stream, true, &fields(&mixed())),
        ];
        vec![Reply::Bytes(frames.concat())]
    });
    let expected = lower(&left());
    let expected = grouped(&expected.iter().map(String::as_str).collect::<Vec<_>>());
    for used in [None, Some("<<pat>>")] {
        let mut request = http2::Request::new("GET", "/x").field("te", "trailers");
        if let Some(used) = used {
            request = request.field("x-api-key", used);
        }
        let message = client.exchange(&request).await;
        assert!(message.ended, "{message:?}");
        assert_eq!(message.field(":status").as_deref(), Some("200"));
        assert_eq!(names(&message.headers), expected, "{used:?}");
        assert_eq!(names(&message.trailers), expected, "{used:?}");
    }
    assert_recorded(&world, "held", "header name (raw)").await;
}

#[tokio::test]
async fn an_interim_answer_brings_no_name_to_the_client() {
    let (world, stub) = world().await;
    let mut tunnel = world.tunnel().await;
    for status in ["102 Processing", "103 Early Hints"] {
        let interim = format!("HTTP/1.1 {status}\r\n{}\r\n", lines(&mixed()));
        stub.answer(interim.repeat(2) + "HTTP/1.1 204 No Content\r\nX-Kept: 1\r\n\r\n");
        tunnel.wire.received.clear();
        let answer = tunnel.get("/x", &[]).await;
        assert_eq!(
            (answer.status, names(&answer.headers)),
            (204, vec!["X-Kept"])
        );
        let came = String::from_utf8_lossy(&tunnel.wire.received).to_ascii_lowercase();
        assert!(!came.contains(&HELD.to_ascii_lowercase()), "{came}");
    }
}

#[tokio::test]
async fn the_answer_to_a_websocket_handshake_has_no_name_that_is_a_value() {
    let builder = World::builder();
    let upstream = Upstream::tls(builder.pki(), HOST).await;
    let world = builder
        .route(&format!("{HOST}:443"), upstream.addr)
        .start()
        .await;
    world.save("held", HELD, &["--host", HOST]).await;
    let tunnel = world.tunnel().await;
    let mut client = Socket::client(tunnel.wire.into_io());
    client
        .wire
        .send(handshake("/x", &[]))
        .await
        .expect("send a handshake");
    let (mut server, _) = upstream.asked().await;
    server
        .wire
        .send(switching(&lines(&mixed())))
        .await
        .expect("send the answer");
    let answer = crate::within("the answer", client.wire.response(false)).await;
    let answer = answer.expect("an answer to a handshake");
    assert_eq!(answer.status, 101);
    let own = |name: &&str| {
        !["upgrade", "connection", "sec-websocket-accept"].contains(&&*name.to_ascii_lowercase())
    };
    let came: Vec<&str> = names(&answer.headers).into_iter().filter(own).collect();
    assert_eq!(came, grouped(&left()));
    assert_recorded(&world, "held", "header name (raw)").await;
}

/// A short value is no needle until it was sent, and then it is one in names too.
#[tokio::test]
async fn a_short_value_that_was_sent_does_not_come_back_as_a_name() {
    let (world, stub) = world().await;
    let mut tunnel = world.tunnel().await;
    let all = ["PiN7", "X-pIn7", "%50iN7", "X-Kept"];
    stub.answer(format!(
        "HTTP/1.1 200 OK\r\n{}Content-Length: 2\r\n\r\nok",
        lines(&all)
    ));
    let answer = tunnel.get("/x", &[]).await;
    assert_eq!(names(&answer.headers), all);
    let answer = tunnel.get("/x", &["X-Pin: <<pin>>"]).await;
    assert_eq!(names(&answer.headers), ["X-Kept"]);
    assert_recorded(&world, "pin", "header name (raw)").await;
    // A body that streams sends it after the head was decided on, and before the answer ends.
    let body = format!("{}<<late>>", "x".repeat(2 << 20));
    let asked = request("POST", "/x", &["Content-Type: text/plain"], &body);
    world
        .save("late", SHORT, &["--host", HOST, "--in", "body"])
        .await;
    let answer = tunnel.roundtrip(asked).await;
    assert_eq!(
        (answer.status, names(&answer.headers)),
        (200, vec!["X-Kept"])
    );
}

/// A value may be part of a name that everybody knows. The proxy needs that field, and the case is
/// all that could repeat the value.
#[tokio::test]
async fn a_registered_name_stays_and_loses_its_case() {
    let (world, stub) = world().await;
    world.save("dull", "tEnt-EnCoDiNg", &["--host", HOST]).await;
    let mut tunnel = world.tunnel().await;
    let text = "heard tEnt-EnCoDiNg and mVQMZbpEQ";
    let body = close("gzip", text.as_bytes());
    let head = format!(
        "HTTP/1.1 200 OK\r\nContEnt-EnCoDiNg: gzip\r\nX-Kept: 1\r\nX-tEnt-EnCoDiNg: 1\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    stub.answer([head.as_bytes(), &body].concat());
    let check = |answer: &Response, received: &[u8]| {
        assert_eq!(
            (answer.status, &*answer.text()),
            (200, "heard <<dull>> and <<held>>")
        );
        assert_eq!(names(&answer.headers), ["x-kept"]);
        assert_eq!(memchr::memmem::find(received, b"EnCoDiNg"), None);
    };
    for used in ["X-Api-Key: none", "X-Api-Key: <<dull>>"] {
        tunnel.wire.received.clear();
        let answer = tunnel.get("/x", &[used]).await;
        check(&answer, &tunnel.wire.received);
    }
    // To a client that insists on the coding the field goes out, in lower case.
    tunnel.wire.received.clear();
    let answer = tunnel
        .get("/x", &["Accept-Encoding: gzip, identity;q=0"])
        .await;
    assert_eq!(names(&answer.headers), ["content-encoding", "x-kept"]);
    assert_eq!(
        crate::coded::open("gzip", &answer.body),
        b"heard <<dull>> and <<held>>"
    );
    assert_eq!(
        memchr::memmem::find(&tunnel.wire.received, b"EnCoDiNg"),
        None
    );
}

/// A name that is longer than any in use is not compared, which takes the square of its length.
#[tokio::test]
async fn a_name_of_hundreds_of_letters_is_removed() {
    let (world, stub) = world().await;
    world
        .save("run", format!("{}b", "a".repeat(4_000)), &["--host", HOST])
        .await;
    let mut tunnel = world.tunnel().await;
    // Of letters that no form of the value has: a run that the value nearly is may be taken for it.
    let (long, most) = ("a".repeat(60_000), "z".repeat(256));
    stub.steps(vec![Step::Send(
        format!("HTTP/1.1 200 OK\r\n{long}: 1\r\n{most}: 1\r\nContent-Length: 2\r\n\r\nok").into(),
    )]);
    let answer = tunnel.get("/x", &[]).await;
    assert_eq!((answer.status, names(&answer.headers)), (200, vec![&*most]));
}

//! A stored value that a client sends in the clear: refused wherever it occurs, and never quoted.

use serde_json::Value;

use crate::client::{Tunnel, Wanted, assert_refused, basic, request};
use crate::coded::{CODINGS, chunked, close, noise};
use crate::leak::{assert_absent, forms};
use crate::upstream::Stub;
use crate::world::{HOST, SLUG, VALUE, World, one_upstream};
use crate::{eventually, wire};

const EVERYWHERE: &[&str] = &[
    "--host", HOST, "--in", "header", "--in", "query", "--in", "path", "--in", "body",
];

/// [`VALUE`] as a query or a path carries it.
const PERCENT: &str = "s3cr3t%2BCanary%2F9f8e7d6c%26x%3D%221%22";

/// A world in which a body of more than 1 KiB streams.
async fn streaming_world() -> (World, Stub) {
    let builder = World::builder()
        .set("body.buffer", "1KiB")
        .set("body.spool", "0B");
    let stub = Stub::tls(builder.pki(), &[HOST]).await;
    let world = builder
        .route(&format!("{HOST}:443"), stub.addr)
        .start()
        .await;
    world.save(SLUG, VALUE, EVERYWHERE).await;
    (world, stub)
}

fn post(headers: &[&str], body: &[u8]) -> Vec<u8> {
    let mut lines = headers.to_vec();
    let length = format!("Content-Length: {}", body.len());
    lines.push(&length);
    [request("POST", "/x", &lines, "").as_bytes(), body].concat()
}

fn denials(world: &World) -> Vec<Value> {
    let denied = |line: &Value| line["event"] == "denied";
    world.ledger().into_iter().filter(denied).collect()
}

/// Asserts that the request is refused as a whole, that the answer names the location, and that the
/// ledger records it.
async fn assert_exposed(world: &World, tunnel: &mut Tunnel, raw: &[u8], place: &str) {
    let before = denials(world).len();
    let answer = tunnel.roundtrip(raw).await;
    assert_refused(&answer, "secret_exposed");
    assert_eq!(answer.status, 403, "{place}");
    let problem = answer.json();
    assert_eq!(problem["slug"], SLUG, "{place}");
    assert_eq!(problem["location"], place);
    assert!(
        problem["detail"].as_str().unwrap().contains("<<pat>>"),
        "{problem}"
    );
    let denied = eventually("a denied line", || denials(world).get(before).cloned()).await;
    assert_eq!(denied["slug"], SLUG, "{place}");
    assert_eq!(denied["code"], "secret_exposed", "{place}");
    assert_eq!(denied["locations"], serde_json::json!([place]));
    assert_eq!(denied["request"], problem["request_id"]);
}

#[tokio::test]
async fn a_value_in_the_clear_stops_the_request_wherever_it_stands() {
    let (world, stub) = one_upstream().await;
    let mut tunnel = world.tunnel().await;
    let json_type = "Content-Type: application/json";
    let json = serde_json::json!({ "k": VALUE }).to_string();
    assert!(!json.contains(VALUE), "JSON escapes the quotation marks");
    let form = format!("a=1&k={PERCENT}");
    let basic = format!("Authorization: {}", basic("user", VALUE));
    let header = format!("X-Key: token {VALUE}");
    let cookie = format!("Cookie: sid={VALUE}");
    let agent = format!("User-Agent: c/{VALUE}");
    let mut cases = vec![
        ("header:x-key", request("GET", "/x", &[&header], "")),
        ("header:authorization", request("GET", "/x", &[&basic], "")),
        ("header:cookie", request("GET", "/x", &[&cookie], "")),
        ("header:user-agent", request("GET", "/x", &[&agent], "")),
        (
            "query",
            request("GET", &format!("/x?a=1&k={PERCENT}"), &[], ""),
        ),
        ("path", request("GET", &format!("/bot{PERCENT}/x"), &[], "")),
        ("body", request("POST", "/x", &[json_type], &json)),
        ("body", request("POST", "/x", &[], VALUE)),
        (
            "body",
            request(
                "POST",
                "/x",
                &["Content-Type: application/x-www-form-urlencoded"],
                &form,
            ),
        ),
    ]
    .into_iter()
    .map(|(place, raw)| (place, raw.into_bytes()))
    .collect::<Vec<_>>();
    for coding in CODINGS {
        let coding_line = format!("Content-Encoding: {coding}");
        let body = close(coding, json.as_bytes());
        cases.push(("body", post(&[json_type, &coding_line], &body)));
    }
    for (place, raw) in &cases {
        assert_exposed(&world, &mut tunnel, raw, place).await;
    }
    assert_eq!(stub.connections().len(), 0, "nothing went upstream");
    // The same with a placeholder in the request: no use is recorded.
    let both = request("GET", "/x", &["X-A: <<pat>>", &header], "");
    assert_exposed(&world, &mut tunnel, both.as_bytes(), "header:x-key").await;
    assert!(!world.ledger().iter().any(|line| line["event"] == "use"));
    assert_eq!(
        tunnel.get("/after", &[]).await.status,
        200,
        "the tunnel stays usable"
    );
    let forms = forms(VALUE.as_bytes());
    assert_absent("the log", &world.log_bytes(), &forms);
    assert_absent("the ledger", &world.ledger_bytes(), &forms);
    assert_absent("the answers", &tunnel.wire.received, &forms);
    assert_absent("the upstream's bytes", &stub.bytes(), &forms);
}

#[tokio::test]
async fn a_value_in_a_trailer_is_in_the_clear_as_well() {
    let (world, stub) = streaming_world().await;
    for body in [b"small".to_vec(), noise(4000).into_bytes()] {
        for media_type in ["text/plain", "image/png"] {
            let head = request(
                "POST",
                "/x",
                &[
                    &format!("Content-Type: {media_type}"),
                    "Transfer-Encoding: chunked",
                    "Trailer: X-Sum",
                ],
                "",
            );
            let mut raw = head.into_bytes();
            raw.extend(chunked(&body, 500));
            raw.truncate(raw.len() - 2);
            raw.extend(format!("X-Sum: {VALUE}\r\n\r\n").into_bytes());
            let answer = world.tunnel().await.try_roundtrip(raw).await;
            assert_absent(
                "the upstream's bytes",
                &stub.bytes(),
                &forms(VALUE.as_bytes()),
            );
            let answer = answer.unwrap_or_else(|e| panic!("{media_type}: {e}"));
            assert_refused(&answer, "secret_exposed");
        }
    }
}

#[tokio::test]
async fn a_value_in_the_clear_in_a_streamed_body_never_gets_a_clean_end() {
    let (world, stub) = streaming_world().await;
    let json = serde_json::json!({ "a": noise(3000), "k": VALUE, "z": noise(3000) }).to_string();
    let text = format!("{}{VALUE}{}", noise(3000), noise(3000));
    let form = format!("a={}&k={PERCENT}", noise(3000).replace(' ', "+"));
    let mut uploads = vec![
        ("application/json", "identity", json.clone()),
        ("text/plain", "identity", text),
        ("application/x-www-form-urlencoded", "identity", form),
    ];
    uploads.extend(CODINGS.map(|coding| ("application/json", coding, json.clone())));
    for (n, (media_type, coding, text)) in uploads.into_iter().enumerate() {
        let media_type = format!("Content-Type: {media_type}");
        let coding_line = format!("Content-Encoding: {coding}");
        let mut lines = vec![media_type.as_str()];
        if coding != "identity" {
            lines.push(&coding_line);
        }
        let body = close(coding, text.as_bytes());
        assert!(body.len() > 1024, "{coding}: {} bytes", body.len());
        let raw = match n % 2 {
            0 => post(&lines, &body),
            _ => {
                lines.push("Transfer-Encoding: chunked");
                [
                    request("POST", "/x", &lines, "").into_bytes(),
                    chunked(&body, 7),
                ]
                .concat()
            }
        };
        let mut tunnel = world.tunnel().await;
        assert_exposed(&world, &mut tunnel, &raw, "body").await;
        eventually("the upload to be given up", || {
            stub.connections().iter().all(|c| c.over).then_some(())
        })
        .await;
        assert_eq!(stub.take().len(), 0, "{lines:?} came to an end");
    }
    let seen = stub.connections();
    for upload in seen.iter().filter(|c| !c.bytes.is_empty()) {
        assert!(upload.broken.is_some(), "{upload:?}");
    }
    assert_absent(
        "the upstream's bytes",
        &stub.bytes(),
        &forms(VALUE.as_bytes()),
    );
    assert_absent("the log", &world.log_bytes(), &forms(VALUE.as_bytes()));
}

#[tokio::test]
async fn short_values_and_user_names_are_nothing_to_guard() {
    let (world, stub) = one_upstream().await;
    world.save("short", "tiny-7x", EVERYWHERE).await;
    let login = r#"{"username":"user.name@example.test","password":"pass-word-0123"}"#;
    world
        .save("crm", login, &[&["--kind", "login"], EVERYWHERE].concat())
        .await;
    let mut tunnel = world.tunnel().await;
    for honest in ["tiny-7x", "user.name@example.test"] {
        let header = format!("X-A: {honest}");
        let raw = request(
            "POST",
            &format!("/p/{honest}?q={honest}"),
            &[&header, "Content-Type: text/plain"],
            honest,
        );
        let answer = tunnel.roundtrip(raw).await;
        assert_eq!(answer.status, 200, "{honest}: {}", answer.text());
        let seen = stub.take_one();
        assert_eq!(seen.target, format!("/p/{honest}?q={honest}"));
        assert_eq!(seen.header("x-a").as_deref(), Some(honest));
        assert_eq!(seen.body, honest.as_bytes());
    }
    let authorization = format!(
        "Authorization: {}",
        basic("user.name@example.test", "pass-word-0123")
    );
    let answer = tunnel.get("/x", &[&authorization]).await;
    assert_refused(&answer, "secret_exposed");
    let denied = denials(&world);
    assert_eq!(denied.len(), 1, "{denied:?}");
    assert_eq!(denied[0]["slug"], "crm");
    assert_eq!(denied[0]["field"], "password");
    // With a user name before it in the same text, the password is still found.
    let both = request(
        "POST",
        "/x",
        &["Content-Type: application/json"],
        r#"{"user":"user.name@example.test","password":"pass-word-0123"}"#,
    );
    assert_refused(&tunnel.roundtrip(both).await, "secret_exposed");
    assert!(stub.take().is_empty());
}

#[tokio::test]
async fn another_principals_values_are_not_looked_for() {
    let (world, stub) = one_upstream().await;
    let foreign = "somebody-elses-value";
    world
        .save(
            "theirs",
            foreign,
            &[&["--owner", "bob"], EVERYWHERE].concat(),
        )
        .await;
    // A refusal would confirm to a caller who guesses values that the guess is one of bob's.
    let answer = world
        .tunnel()
        .await
        .get("/x", &[&format!("X-A: {foreign}")])
        .await;
    assert_eq!(answer.status, 200);
    assert_eq!(
        wire::values(&stub.take_one().headers, "x-a"),
        [foreign.as_bytes()]
    );
}

#[tokio::test]
async fn a_destination_may_be_sent_values_in_the_clear() {
    let (mut world, stub) = streaming_world().await;
    let rule = toml::toml! {
        hosts = ["api.example.test"]
        exposed = "allow"
    };
    world.destinations(vec![rule]);
    world.reload().await;
    let mut tunnel = world.tunnel().await;
    let header = format!("X-Key: {VALUE}");
    let text = format!("{}{VALUE}", noise(3000));
    let raw = request(
        "POST",
        &format!("/bot{PERCENT}/send?k={PERCENT}"),
        &[&header, "X-A: <<pat>>", "Content-Type: text/plain"],
        &text,
    );
    let answer = tunnel.roundtrip(raw).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let seen = stub.take_one();
    assert_eq!(seen.target, format!("/bot{PERCENT}/send?k={PERCENT}"));
    assert_eq!(seen.header("x-key").as_deref(), Some(VALUE));
    assert!(seen.body == text.as_bytes(), "the body was changed");
    let used = world
        .ledger_line("a use line", |line| line["event"] == "use")
        .await;
    assert_eq!(used["path"], "/bot<<pat>>/send");
    eventually("the path in the log", || {
        world.log().contains("/bot<<pat>>/send").then_some(())
    })
    .await;
    let forms = forms(VALUE.as_bytes());
    assert_absent("the log", &world.log_bytes(), &forms);
    assert_absent("the ledger", &world.ledger_bytes(), &forms);
}

/// A value that is also a token, as names and methods are (RFC 9110 section 5.6.2).
const TOKEN: &str = "Canary-Tok3n_91f4c7";

async fn assert_kept_from_everyone(world: &World, stub: &Stub) {
    let ledger = world.ledger_bytes();
    assert_absent("the ledger", &ledger, &forms(TOKEN.as_bytes()));
    assert_absent("the log", &world.log_bytes(), &forms(TOKEN.as_bytes()));
    assert_absent("the upstream", &stub.bytes(), &forms(TOKEN.as_bytes()));
}

#[tokio::test]
async fn a_value_in_a_name_or_the_method_is_in_the_clear_as_well() {
    let (world, stub) = one_upstream().await;
    world.save("token", TOKEN, &["--host", HOST]).await;
    for (raw, place) in [
        (
            request("GET", "/", &[&format!("X-{TOKEN}: 1")], ""),
            "header",
        ),
        (request("GET", "/", &[&format!("{TOKEN}: 1")], ""), "header"),
        (request(TOKEN, "/", &[], ""), "method"),
    ] {
        let answer = world.tunnel().await.roundtrip(&raw).await;
        assert_refused(&answer, "secret_exposed");
        assert_eq!(answer.json()["location"], place, "{raw}");
        assert_eq!(answer.json()["slug"], "token");
    }
    let denied = |line: &Value| line["locations"] == serde_json::json!(["method"]);
    world.ledger_line("a denial of the method", denied).await;
    assert_kept_from_everyone(&world, &stub).await;
}

#[tokio::test]
async fn a_value_as_action_or_run_is_not_written_down() {
    let (world, stub) = one_upstream().await;
    world.save("token", TOKEN, &["--host", HOST]).await;
    let token = world.client("assistant", "default").await;
    let wanted = Wanted::new(&world).authorized(basic(TOKEN, &token));
    let mut tunnel = wanted.open(&world).await.expect("a tunnel");
    let answer = tunnel.get("/", &[]).await;
    assert_refused(&answer, "secret_exposed");
    assert_eq!(answer.json()["location"], "action");
    for name in ["Egret-Action", "Egret-Run"] {
        let mut tunnel = world.tunnel().await;
        let answer = tunnel.get("/", &[&format!("{name}: {TOKEN}")]).await;
        assert_refused(&answer, "secret_exposed");
    }
    let denied = |line: &Value| line["locations"] == serde_json::json!(["run"]);
    world.ledger_line("a denial of the run", denied).await;
    assert_kept_from_everyone(&world, &stub).await;
}

/// The guard's answer says whether a value is right, so there are only so many answers.
#[tokio::test]
async fn a_client_that_guesses_gets_no_more_answers() {
    let (world, stub) = one_upstream().await;
    stub.answer(crate::upstream::ok("fine"));
    let mut tunnel = world.tunnel().await;
    for _ in 0..64 {
        let answer = tunnel.get("/x", &[&format!("X-Guess: {VALUE}")]).await;
        assert_refused(&answer, "secret_exposed");
    }
    for header in [format!("X-Guess: {VALUE}"), "X-Innocent: 1".to_owned()] {
        let answer = tunnel.get("/x", &[&header]).await;
        assert_refused(&answer, "exposure_limit");
        assert_eq!(answer.status, 429);
        assert!(!answer.text().contains(SLUG), "{}", answer.text());
    }
    let alarms = |world: &World| {
        let lines = denials(world).into_iter();
        let alarms = lines.filter(|line| line["code"] == "exposure_limit");
        alarms.collect::<Vec<_>>()
    };
    let alarm = eventually("a line", || alarms(&world).first().cloned()).await;
    assert_eq!(alarm["client"], "tester");
    assert_eq!(alarms(&world).len(), 1);
    assert!(world.log().contains("may be guessing"), "{}", world.log());
    // Others are served.
    let other = world.client("other", "default").await;
    let mut wanted = Wanted::new(&world);
    wanted.authorization = Some(basic("work", &other));
    let mut tunnel = world.tunnel_for(&wanted).await;
    assert_eq!(tunnel.get("/x", &[]).await.status, 200);
}

//! Texts that look like a key and mean a placeholder.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::client::{Wanted, assert_refused, basic, request};
use crate::coded::chunked;
use crate::needs::{Need, needs};
use crate::upstream::{Step, Stub, ok};
use crate::websocket::socket::{Upstream, agree, handshake, tunnelled};
use crate::world::{HOST, SLUG, VALUE, World, finish, one_upstream, one_upstream_with};

async fn stand_in(world: &World, more: &[&str]) -> String {
    let out = world
        .run(&[&["credential", "stand-in", SLUG], more].concat())
        .await
        .ok();
    out.trim_end().to_owned()
}

/// An upstream that sends back what it got.
fn echo(stub: &Stub) {
    stub.serve(|request| async move {
        let authorization = request.header("authorization").unwrap_or_default();
        let body = String::from_utf8_lossy(&request.body).into_owned();
        vec![Step::Send(ok(&format!(
            "{authorization}|{}|{body}",
            request.target
        )))]
    });
}

#[tokio::test]
async fn it_is_the_value_in_every_place_and_comes_back_as_it_was_sent() {
    let (world, stub) = one_upstream().await;
    let text = stand_in(&world, &["--like", "ghp_"]).await;
    assert!(text.starts_with("ghp_") && text.len() == 40, "{text}");
    assert_eq!(
        stand_in(&world, &["--like", "ghp_"]).await,
        text,
        "asked again"
    );
    echo(&stub);
    let mut tunnel = world.tunnel().await;
    let bearer = format!("Authorization: Bearer {text}");
    let basic_field = format!(
        "Authorization: Basic {}",
        STANDARD.encode(format!("me:{text}"))
    );
    for (line, sent) in [
        (bearer, format!("Bearer {VALUE}")),
        (
            basic_field,
            format!("Basic {}", STANDARD.encode(format!("me:{VALUE}"))),
        ),
    ] {
        let answer = tunnel.get("/x", &[&line]).await;
        assert_eq!(stub.take_one().header("authorization"), Some(sent));
        let said = line
            .strip_prefix("Authorization: ")
            .expect("a field")
            .to_owned();
        assert_eq!(answer.text(), format!("{said}|/x|"));
    }
    let answer = tunnel.get(&format!("/a/{text}?k={text}&z=1"), &[]).await;
    let seen = stub.take_one();
    let value: Vec<_> = form_urlencoded::parse(seen.query().as_bytes())
        .into_owned()
        .collect();
    assert_eq!(value[0], ("k".to_owned(), VALUE.to_owned()));
    assert!(!seen.path().contains("ghp_"), "{}", seen.target);
    assert_eq!(answer.text(), format!("|/a/{text}?k={text}&z=1|"));
    for (kind, before, after) in [
        ("application/json", "{\"k\":\"", "\"}"),
        ("application/x-www-form-urlencoded", "a=1&k=", "&b=2"),
        ("text/plain", "key ", "."),
        ("application/xml", "<k>", "</k>"),
    ] {
        let body = format!("{before}{text}{after}");
        let answer = tunnel.post("/x", kind, &body).await;
        let seen = stub.take_one();
        let sent = String::from_utf8_lossy(&seen.body).into_owned();
        assert!(
            sent.starts_with(before) && !sent.contains("ghp_"),
            "{kind} {sent}"
        );
        assert_eq!(answer.text(), format!("|/x|{body}"), "{kind}");
    }
    let line = world
        .ledger()
        .into_iter()
        .rfind(|line| line["event"] == "use");
    assert_eq!(line.expect("a use line")["slug"], SLUG);
}

#[tokio::test]
async fn a_json_body_has_the_value_as_a_json_string_at_its_pointer() {
    let (world, stub) = one_upstream().await;
    let text = stand_in(&world, &[]).await;
    let limits = ["credential", "allow", SLUG, "--in", "body:/auth/key"];
    world.run(&limits).await.ok();
    let mut tunnel = world.tunnel().await;
    let body = json!({"auth": {"key": text}, "n": 1}).to_string();
    assert_eq!(
        tunnel.post("/x", "application/json", &body).await.status,
        200
    );
    let seen: serde_json::Value = serde_json::from_slice(&stub.take_one().body).expect("JSON");
    assert_eq!(seen["auth"]["key"], VALUE);
    let elsewhere = json!({"other": text}).to_string();
    let answer = tunnel.post("/x", "application/json", &elsewhere).await;
    assert_refused(&answer, "credential_not_allowed");
}

#[tokio::test]
async fn it_is_found_wherever_a_streamed_body_is_cut() {
    let builder = World::builder()
        .set("body.buffer", "1B")
        .set("body.spool", "0B");
    let (world, stub) = one_upstream_with(builder).await;
    let text = stand_in(&world, &["--like", "sk-ant-"]).await;
    assert_eq!(text.len(), 108);
    let mut tunnel = world.tunnel().await;
    let head = ["Content-Type: text/plain", "Transfer-Encoding: chunked"];
    let body = format!("before sk-ant {text} behind s");
    let expected = body.replace(&text, VALUE);
    for size in [1, 3, 7, 20, 50, 107, 999] {
        let raw = [
            request("POST", "/x", &head, "").as_bytes(),
            &chunked(body.as_bytes(), size),
        ]
        .concat();
        assert_eq!(tunnel.roundtrip(raw).await.status, 200, "{size}");
        assert_eq!(
            String::from_utf8_lossy(&stub.take_one().body),
            expected,
            "{size}"
        );
    }
}

#[tokio::test]
async fn large_bodies_are_kept_aside_or_stream() {
    let builder = World::builder()
        .set("body.buffer", "1KiB")
        .set("body.spool", "64KiB");
    let (world, stub) = one_upstream_with(builder).await;
    let text = stand_in(&world, &["--like", "uuid"]).await;
    let mut tunnel = world.tunnel().await;
    for length in [1000, 2000, 100_000] {
        let body = format!("{}{text}{}", "x".repeat(length), "y".repeat(length));
        let answer = tunnel.post("/x", "text/plain", &body).await;
        assert_eq!(answer.status, 200, "{length}");
        let expected = body.replace(&text, VALUE);
        assert!(stub.take_one().body == expected.as_bytes(), "{length}");
    }
}

#[tokio::test]
async fn to_others_it_is_unknown_and_so_it_is_once_it_was_taken_back() {
    let (world, stub) = one_upstream().await;
    let text = stand_in(&world, &["--like", "ghp_"]).await;
    // Bob has a credential of that slug, which must not be meant.
    let bobs = ["--host", HOST, "--owner", "bob"];
    world.save(SLUG, "bobs-own-Value-0123456789", &bobs).await;
    let bob = world.client("bobs", "bob").await;
    let wanted = Wanted::new(&world).authorized(basic("act-1", &bob));
    let mut tunnel = world.tunnel_for(&wanted).await;
    let line = format!("Authorization: Bearer {text}");
    let answer = tunnel.get("/x", &[&line]).await;
    assert_refused(&answer, "credential_not_found");
    assert!(
        !answer.text().contains(&format!("\"{SLUG}\"")),
        "{}",
        answer.text()
    );

    let mut tunnel = world.tunnel().await;
    assert_eq!(tunnel.get("/x", &[&line]).await.status, 200);
    stub.take_one();
    stand_in(&world, &["--revoke", &text]).await;
    assert_refused(&tunnel.get("/x", &[&line]).await, "credential_not_found");
    let second = stand_in(&world, &["--like", "ghp_"]).await;
    assert_ne!(second, text);
    let line = format!("Authorization: Bearer {second}");
    assert_eq!(tunnel.get("/x", &[&line]).await.status, 200);
    world.run(&["credential", "revoke", SLUG]).await.ok();
    assert_refused(&tunnel.get("/x", &[&line]).await, "credential_not_found");
    assert_eq!(stub.take().len(), 1);
}

#[tokio::test]
async fn a_placeholder_still_comes_back_as_a_placeholder() {
    let (world, stub) = one_upstream().await;
    stand_in(&world, &[]).await;
    echo(&stub);
    let mut tunnel = world.tunnel().await;
    let answer = tunnel.get("/x", &["Authorization: Bearer <<pat>>"]).await;
    assert_eq!(answer.text(), "Bearer <<pat>>|/x|");
}

#[tokio::test]
async fn messages_of_a_websocket_hold_it_too() {
    let builder = World::builder();
    let upstream = Upstream::tls(builder.pki(), HOST).await;
    let world = builder
        .route(&format!("{HOST}:443"), upstream.addr)
        .start()
        .await;
    world
        .save(SLUG, VALUE, &["--host", HOST, "--in", "body"])
        .await;
    let text = stand_in(&world, &["--like", "xoxb-"]).await;
    let mut client = tunnelled(&world).await;
    let (mut server, ..) = agree(&mut client, &upstream, &handshake("/chat", &[])).await;
    client.text(&format!("say {text}")).await;
    assert_eq!(server.next_text().await, format!("say {VALUE}"));
    server.text(&format!("heard {VALUE}")).await;
    assert_eq!(client.next_text().await, format!("heard {text}"));
}

/// The library refuses a key that does not begin as its keys do.
#[tokio::test]
async fn a_library_that_checks_shapes_takes_it() {
    needs!(Need::Python);
    let (world, stub) = one_upstream().await;
    let text = stand_in(&world, &["--like", "sk-ant-"]).await;
    stub.serve(|request| async move {
        let bearer = request.header("authorization").unwrap_or_default();
        let key = bearer.trim_start_matches("Bearer ").to_owned();
        let answer = json!({
            "id": "msg_1", "type": "message", "role": "assistant", "model": "m",
            "content": [{"type": "text", "text": format!("key {key}")}],
            "stop_reason": "end_turn", "stop_sequence": null,
            "usage": {"input_tokens": 1, "output_tokens": 1},
        });
        let body = answer.to_string();
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        vec![Step::Send([head.as_bytes(), body.as_bytes()].concat())]
    });
    let script = format!(
        "import anthropic, os\nkey = os.environ['ANTHROPIC_API_KEY']\nassert key.startswith('sk-ant-')\n\
         client = anthropic.Anthropic(base_url='https://{HOST}', max_retries=0)\n\
         m = client.messages.create(model='m', max_tokens=8, messages=[{{'role': 'user', 'content': 'hi'}}])\n\
         print(m.content[0].text)\n"
    );
    let python = crate::needs::client_file("venv/bin/python");
    let python = python.to_str().expect("a path");
    let mut command = world.command(&["run", "--action", "sdk", "--", python, "-c", &script]);
    command.env("ANTHROPIC_API_KEY", &text);
    let said = finish(command, b"").await.ok();
    assert_eq!(said.trim_end(), format!("key {text}"));
    let sent = stub.take_one().header("authorization");
    assert_eq!(sent, Some(format!("Bearer {VALUE}")));
}

#[tokio::test]
async fn what_it_cannot_be_like_is_said() {
    let (world, _stub) = one_upstream().await;
    let refused = world
        .run(&["credential", "stand-in", SLUG, "--like", "nothing"])
        .await;
    assert!(
        !refused.status.success() && refused.stderr.contains("ghp_"),
        "{refused:?}"
    );
    let refused = world
        .run(&["credential", "stand-in", SLUG, "--revoke", "ghp_x"])
        .await;
    assert!(!refused.status.success(), "{refused:?}");
}

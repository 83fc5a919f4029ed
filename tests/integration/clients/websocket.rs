//! Unmodified WebSocket clients: Python's websockets, and Node's built-in one.

use crate::needs::{Need, needs};
use crate::websocket::socket::{BINARY, TEXT};
use crate::websocket::world;
use crate::within_secs;
use crate::world::{SLUG, VALUE};

const PYTHON: &str = r#"
import asyncio, json, sys
from websockets.asyncio.client import connect
async def main():
    headers = {"Authorization": "Bearer <<pat>>"}
    async with connect("wss://api.example.test/chat?k=<<pat>>", additional_headers=headers) as ws:
        async def say(message, heard):
            await ws.send(message)
            answer = await ws.recv()
            if answer != heard:
                sys.exit(f"not so: {answer!r}")
        await say("AUTH <<pat>>", "AUTH <<pat>>")
        await say(json.dumps({"k": "<<pat>>"}), json.dumps({"k": "<<pat>>"}))
        await say(["in ", "<<p", "at>", "> pieces"], "in <<pat>> pieces")
        await say(b"\0<<pat>>\xff", b"\0<<pat>>\xff")
        await (await ws.ping())
        await ws.close(4000, "done")
        if (ws.close_code, ws.close_reason) != (4000, "done"):
            sys.exit(f"not so: {ws.close_code} {ws.close_reason}")
asyncio.run(main())
"#;

const NODE: &str = r#"
const ws = new WebSocket("wss://api.example.test/chat?k=<<pat>>");
ws.binaryType = "arraybuffer";
const fail = (what) => { console.error("not so: " + what); process.exit(1); };
ws.onerror = (event) => fail(event.message);
const binary = new TextEncoder().encode("\0<<pat>>");
const sent = ["AUTH <<pat>>", JSON.stringify({ k: "<<pat>>" }), "in <<pat>> pieces", binary];
let at = 0;
ws.onopen = () => ws.send(sent[0]);
ws.onmessage = (event) => {
  const heard = typeof event.data === "string" ? event.data : new TextDecoder().decode(event.data);
  const expected = typeof sent[at] === "string" ? sent[at] : new TextDecoder().decode(sent[at]);
  if (heard !== expected) fail(heard);
  at += 1;
  if (at < sent.length) ws.send(sent[at]); else ws.close(4000, "done");
};
ws.onclose = (event) => {
  if (event.code !== 4000 || event.reason !== "done" || at !== 4) fail(event.code + " " + event.reason);
  process.exit(0);
};
"#;

/// Runs a client that sends four fixed messages. Returns the handshake request that arrived.
async fn says(program: &str, flag: &str, script: &str) -> crate::wire::Request {
    let (world, upstream) = world().await;
    let args = ["run", "--action", "chat", "--", program, flag, script];
    let run = world.run(&args);
    let serve = async {
        let (mut server, request) = upstream.accept().await;
        (request, server.echo().await)
    };
    let both = async { tokio::join!(run, serve) };
    let (output, (request, messages)) = within_secs(60, "a client", both).await;
    assert!(output.status.success(), "{output:#?}\n{}", world.log());
    let query: Vec<_> = form_urlencoded::parse(request.query().as_bytes())
        .into_owned()
        .collect();
    assert_eq!(query, [("k".to_owned(), VALUE.to_owned())]);
    let opcodes: Vec<u8> = messages.iter().map(|(opcode, _)| *opcode).collect();
    assert_eq!(opcodes, [TEXT, TEXT, TEXT, BINARY]);
    assert_eq!(messages[0].1, format!("AUTH {VALUE}").as_bytes());
    let json: serde_json::Value = serde_json::from_slice(&messages[1].1).expect("JSON");
    assert_eq!(json, serde_json::json!({"k": VALUE}));
    assert_eq!(messages[2].1, format!("in {VALUE} pieces").as_bytes());
    assert!(
        messages[3]
            .1
            .starts_with(format!("\0<<{SLUG}>>").as_bytes())
    );
    let uses = world.ledger().into_iter();
    let uses = uses.filter(|line| line["event"] == "use" && line["action"] == "chat");
    assert_eq!(uses.count(), 4, "the handshake and three messages");
    request
}

#[tokio::test]
async fn python_websockets() {
    needs!(Need::Python);
    let python = super::installed("venv/bin/python");
    let request = says(super::text(&python), "-c", PYTHON).await;
    assert_eq!(
        request.header("authorization"),
        Some(format!("Bearer {VALUE}"))
    );
    assert_eq!(request.header("sec-websocket-extensions"), None);
}

#[tokio::test]
async fn node_built_in() {
    needs!(Need::Node);
    let node = super::installed("npm/node");
    says(super::text(&node), "-e", NODE).await;
}

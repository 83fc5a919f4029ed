//! The ledger as server-sent events.

use serde_json::json;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

use super::client::{Api, When, expect, expect_problem};
use crate::within;
use crate::world::World;

/// A stream that is open.
struct Events {
    socket: TcpStream,
    text: String,
}

impl Events {
    async fn open(api: &Api<'_>, query: &str) -> Self {
        let mut wire = api.connect().await;
        let path = format!("/ledger/stream{query}");
        let request = api.request("GET", &path, When::Always, None);
        wire.send(request).await.expect("send a request");
        let mut events = Self {
            socket: wire.into_io(),
            text: String::new(),
        };
        events.until(": the ledger").await;
        events
    }

    /// Reads until the text is there.
    async fn until(&mut self, wanted: &str) {
        let read = async {
            while !self.text.contains(wanted) {
                let mut chunk = [0; 4096];
                let length = self.socket.read(&mut chunk).await.expect("read a stream");
                assert!(length > 0, "the stream ended: {}", self.text);
                self.text
                    .push_str(&String::from_utf8_lossy(&chunk[..length]));
            }
        };
        within("an event", read).await;
    }

    /// Reads until the server ends the stream.
    async fn until_end(&mut self) {
        let read = async {
            let mut chunk = [0; 4096];
            while self
                .socket
                .read(&mut chunk)
                .await
                .is_ok_and(|length| length > 0)
            {}
        };
        within("the end of a stream", read).await;
    }
}

#[tokio::test]
async fn a_stream_shows_new_lines_to_whom_they_concern_and_ends_with_its_token() {
    let world = World::builder().start().await;
    for user in ["alice", "bob"] {
        world.run(&["user", "add", user]).await.ok();
    }
    let alice = Api::of(&world, "alice", "manage").await;
    let bob = Api::of(&world, "bob", "audit").await;
    let new = |name: &str| format!("/credentials/alice/{name}");
    let value = json!({ "value": "v", "hosts": ["api.example.test"] });
    expect(
        &alice.put(&new("before"), When::New, value.clone()).await,
        201,
    );
    let mut own = Events::open(&alice, "?event=credential").await;
    let mut other = Events::open(&bob, "").await;
    assert!(own.text.to_lowercase().contains("x-accel-buffering: no"));
    assert!(own.text.contains("text/event-stream"));

    expect(
        &alice.put(&new("after"), When::New, value.clone()).await,
        201,
    );
    own.until("\"slug\":\"after\"").await;
    assert!(!own.text.contains("\"slug\":\"before\""));
    let shared = alice
        .put("/credentials/alice/after/shares/bob", When::Any, json!({}))
        .await;
    expect(&shared, 200);
    other.until("credential.shared").await;
    assert!(!other.text.contains("credential.created"), "{}", other.text);

    let tokens = bob.get("/api-tokens").await.json();
    let id = tokens[0]["id"].as_str().expect("an id");
    world.run(&["api-token", "remove", id]).await.ok();
    other.until_end().await;
}

#[tokio::test]
async fn a_user_has_four_streams_at_most() {
    let world = World::builder().start().await;
    world.run(&["user", "add", "alice"]).await.ok();
    let alice = Api::of(&world, "alice", "audit").await;
    let mut open = Vec::new();
    for _ in 0..4 {
        open.push(Events::open(&alice, "").await);
    }
    expect_problem(&alice.get("/ledger/stream").await, "too_many_requests");
    let reads = Api::of(&world, "alice", "read").await;
    expect_problem(&reads.get("/ledger/stream").await, "scope_insufficient");
}

//! gRPC with its real client and server: metadata, streaming both ways, trailers.

use tokio::process::Command;

use super::server::{Front, Server};
use super::{installed, program, text};
use crate::needs::{Need, needs};
use crate::world::{HOST, SLUG, World};

/// A value that gRPC's metadata can carry, long enough to be scrubbed.
const VALUE: &str = "grpc-s3cr3t-9f8e7d6c";

#[tokio::test]
async fn unary_and_streaming_calls_with_a_placeholder_in_their_metadata() {
    needs!(Need::Python);
    let script = program("grpc_server.py");
    let server = Server::start(Command::new(installed("venv/bin/python")).arg(script)).await;
    let builder = World::builder();
    let front = Front::of(&server, builder.pki(), HOST, &["h2"]).await;
    let world = builder
        .route(&format!("{HOST}:443"), front.addr)
        .start()
        .await;
    world.save(SLUG, VALUE, &["--host", HOST]).await;
    let (python, client) = (installed("venv/bin/python"), program("grpc_client.py"));
    let args = [
        "run",
        "--action",
        "grpc",
        "--",
        text(&python),
        &client,
        VALUE,
    ];
    let output = world.run(&args).await;
    assert!(output.status.success(), "{output:#?}\n{}", world.log());
    let uses = world.ledger().into_iter().filter(|l| l["event"] == "use");
    let uses: Vec<_> = uses.map(|l| l["path"].clone()).collect();
    assert_eq!(uses, ["/echo.Echo/Unary", "/echo.Echo/Stream"]);
    // The call with an unknown slug does not reach the server, not even with its placeholder.
    let seen = front.sent();
    assert!(memchr::memmem::find(&seen, b"hello").is_some());
    assert!(memchr::memmem::find(&seen, b"no-such-key").is_none());
}

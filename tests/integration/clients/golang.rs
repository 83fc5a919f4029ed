//! Clients of Go libraries: gRPC and Connect with compressed messages, the API of Kubernetes in
//! protobuf, OAuth.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::process::Command;

use super::server::{Front, Server};
use super::{installed, text};
use crate::needs::{Need, needs};
use crate::upstream::{Step, ok};
use crate::wire::Request;
use crate::world::{Builder, HOST, SLUG, World, one_upstream};

/// A value that metadata can carry, long enough to be searched for.
const VALUE: &str = "go-s3cr3t-9f8e7d6c";

/// Has a client speak to the server of its kind, whose TLS offers these protocols.
async fn converse(role: &str, protocols: &[&str], builder: Builder) -> World {
    let programs = installed("go/programs");
    let server = format!("{role}-server");
    let server = Server::start(Command::new(&programs).args([&server, VALUE])).await;
    let front = Front::of(&server, builder.pki(), HOST, protocols).await;
    let world = builder
        .route(&format!("{HOST}:443"), front.addr)
        .start()
        .await;
    world.save(SLUG, VALUE, &["--host", HOST]).await;
    let args = ["run", "--action", role, "--", text(&programs), role, VALUE];
    let output = world.run(&args).await;
    assert!(output.status.success(), "{output:#?}\n{}", world.log());
    assert!(memchr::memmem::find(&front.sent(), b"no-such-key").is_none());
    world
}

/// A world in which clients that can speak HTTP/2 do.
fn http2_first() -> Builder {
    let alpn = ["h2", "http/1.1"].map(toml::Value::from);
    World::builder().set("proxy.alpn", alpn.to_vec())
}

#[tokio::test]
async fn grpc_go_with_and_without_compression() {
    needs!(Need::GoPrograms);
    let world = converse("grpc", &["h2"], World::builder()).await;
    let ledger = world.ledger();
    let uses = ledger.iter().filter(|line| line["event"] == "use");
    // Four calls and a stream, plain and with gzip.
    assert_eq!(uses.count(), 10);
}

#[tokio::test]
async fn connect_go_in_its_three_protocols() {
    needs!(Need::GoPrograms);
    converse("connect", &["h2", "http/1.1"], World::builder()).await;
}

#[tokio::test]
async fn client_go_lists_watches_and_executes() {
    needs!(Need::GoPrograms);
    converse("kubernetes", &["http/1.1"], World::builder()).await;
}

#[tokio::test]
async fn client_go_lists_watches_and_executes_over_http2() {
    needs!(Need::GoPrograms);
    converse("kubernetes", &["h2", "http/1.1"], http2_first()).await;
}

/// The client and its secret as a form writes them (RFC 6749 section 2.3.1).
fn identified(request: &Request, value: &str) -> bool {
    let form = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let (id, secret) = (form("a client/1"), form(value));
    let basic = STANDARD.encode(format!("{id}:{secret}"));
    let body = format!("client_id={id}&client_secret={secret}&");
    request.header("authorization") == Some(format!("Basic {basic}"))
        || request.body.starts_with(body.as_bytes())
}

async fn authorize(request: Arc<Request>) -> Vec<Step> {
    let answer = match request.path() {
        "/token" if identified(&request, crate::world::VALUE) => {
            let token = r#"{"access_token":"of-an-hour","token_type":"bearer"}"#;
            let answer = String::from_utf8(ok(token)).expect("text");
            answer
                .replace("text/plain", "application/json")
                .into_bytes()
        }
        "/resource" if request.header("authorization").as_deref() == Some("Bearer of-an-hour") => {
            ok("resource")
        }
        _ => b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n".to_vec(),
    };
    vec![Step::Send(answer)]
}

#[tokio::test]
async fn the_oauth_client_of_go_identifies_itself_in_each_way() {
    needs!(Need::GoPrograms);
    let (world, stub) = one_upstream().await;
    stub.serve(authorize);
    let programs = installed("go/programs");
    let args = ["run", "--action", "oauth", "--", text(&programs), "oauth"];
    let output = world.run(&args).await;
    assert!(output.status.success(), "{output:#?}\n{}", world.log());
    let seen = stub.take();
    assert_eq!(seen.len(), 6);
    let ways = seen.iter().filter(|r| r.path() == "/token");
    let ways: Vec<bool> = ways.map(|r| r.header("authorization").is_some()).collect();
    assert_eq!(ways, [true, false, true]);
}

//! A client that stops at any point is disconnected in bounded time and delays no other client.

use std::time::Duration;

use rustls::pki_types::ServerName;

use crate::client::{Wanted, request, trusting};
use crate::upstream::{Step, Stub};
use crate::wire::Wire;
use crate::world::{HOST, World, one_upstream_with};
use crate::{eventually, within, within_secs};

/// Limits short enough to wait for. A stalled client has to be gone within [`PATIENCE`] seconds.
async fn impatient() -> (World, Stub) {
    let builder = World::builder()
        .set("proxy.header_timeout", "1s")
        .set("proxy.handshake_timeout", "1s")
        .set("proxy.idle_timeout", "2s");
    one_upstream_with(builder).await
}

/// Several times the limits above, for slow machines, and far below the default limits.
const PATIENCE: u64 = 8;

async fn let_go<S: tokio::io::AsyncRead + Unpin>(phase: &str, wire: &mut Wire<S>) {
    let what = format!("the proxy to let go of a client that stalls in {phase}");
    within_secs(PATIENCE, &what, wire.until_closed()).await;
}

/// The proxy still works, and has sent the upstream nothing meanwhile.
async fn unimpressed(world: &World, stub: &Stub) {
    assert_eq!(stub.take().len(), 0);
    assert_eq!(
        world
            .tunnel()
            .await
            .get("/alive", &["X-A: <<pat>>"])
            .await
            .status,
        200
    );
    stub.take();
}

#[tokio::test]
async fn before_the_first_byte() {
    let (world, stub) = impatient().await;
    let mut wire = world.dial().await;
    let_go("silence", &mut wire).await;
    unimpressed(&world, &stub).await;
}

#[tokio::test]
async fn in_the_head_of_the_connect() {
    let (world, stub) = impatient().await;
    let head = Wanted::new(&world).head();
    for cut in [3, head.len() / 2, head.len() - 2] {
        let mut wire = world.dial().await;
        wire.send(&head[..cut]).await.expect("send");
        let_go("the head of a CONNECT", &mut wire).await;
    }
    unimpressed(&world, &stub).await;
}

/// A byte every so often must not count as progress.
#[tokio::test]
async fn dripping_the_head_of_the_connect() {
    let (world, stub) = impatient().await;
    let head = Wanted::new(&world).head();
    let mut wire = world.dial().await;
    let drip = async {
        for byte in head.as_bytes() {
            if wire.send([*byte]).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
        panic!("the proxy listened to the end");
    };
    within_secs(PATIENCE, "the proxy to lose patience", drip).await;
    unimpressed(&world, &stub).await;
}

#[tokio::test]
async fn before_the_hello() {
    let (world, stub) = impatient().await;
    let socket = Wanted::new(&world).connect(&world).await.expect("a tunnel");
    let_go("a silent tunnel", &mut Wire::new(socket)).await;
    unimpressed(&world, &stub).await;
}

#[tokio::test]
async fn in_the_hello() {
    let (world, stub) = impatient().await;
    let tls = trusting(&world.ca_pem().await);
    let name = ServerName::try_from(HOST).expect("a name");
    let mut hello = Vec::new();
    let mut session = rustls::ClientConnection::new(tls, name).expect("a session");
    session.write_tls(&mut hello).expect("a ClientHello");
    for cut in [1, 4, hello.len() / 2] {
        let socket = Wanted::new(&world).connect(&world).await.expect("a tunnel");
        let mut wire = Wire::new(socket);
        wire.send(&hello[..cut]).await.expect("send");
        let_go("a ClientHello", &mut wire).await;
    }
    // The complete ClientHello, and then nothing: the handshake stalls.
    let socket = Wanted::new(&world).connect(&world).await.expect("a tunnel");
    let mut wire = Wire::new(socket);
    wire.send(&hello).await.expect("send");
    let_go("a handshake", &mut wire).await;
    unimpressed(&world, &stub).await;
}

#[tokio::test]
async fn between_requests() {
    let (world, stub) = impatient().await;
    let mut fresh = world.tunnel().await;
    let_go("a fresh tunnel", &mut fresh.wire).await;
    let mut used = world.tunnel().await;
    used.get("/x", &[]).await;
    let_go("an idle tunnel", &mut used.wire).await;
    stub.take();
    unimpressed(&world, &stub).await;
}

#[tokio::test]
async fn in_the_head_of_a_request() {
    let (world, stub) = impatient().await;
    let raw = request("GET", "/x", &["X-A: <<pat>>"], "");
    for cut in [2, 20, raw.len() - 2] {
        let mut tunnel = world.tunnel().await;
        tunnel.wire.send(&raw[..cut]).await.expect("send");
        let_go("the head of a request", &mut tunnel.wire).await;
    }
    unimpressed(&world, &stub).await;
}

#[tokio::test]
async fn in_a_body_that_is_held() {
    let (world, stub) = impatient().await;
    for framing in [
        "Content-Length: 100\r\n\r\n<<pat>>",
        "Transfer-Encoding: chunked\r\n\r\n10\r\n<<pat>>",
    ] {
        let raw =
            format!("POST /x HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: text/plain\r\n{framing}");
        let mut tunnel = world.tunnel().await;
        tunnel.wire.send(raw).await.expect("send");
        let_go("a held body", &mut tunnel.wire).await;
    }
    assert_eq!(
        stub.connections().len(),
        0,
        "nothing of a held request goes out"
    );
    unimpressed(&world, &stub).await;
}

#[tokio::test]
async fn in_a_body_that_streams() {
    let (world, stub) = impatient().await;
    let raw = format!(
        "POST /x HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: image/png\r\nX-A: <<pat>>\r\nContent-Length: 100\r\n\r\nhalf"
    );
    let mut tunnel = world.tunnel().await;
    tunnel.wire.send(raw).await.expect("send");
    let_go("a streamed body", &mut tunnel.wire).await;
    eventually("the upstream to be told", || {
        (stub.open() == 0).then_some(())
    })
    .await;
    assert!(
        stub.connections().iter().all(|c| c.broken.is_some()),
        "a cut off upload ended cleanly"
    );
    unimpressed(&world, &stub).await;
}

/// The client requests a large answer and reads nothing: the proxy must not buffer all of it, and
/// must disconnect the client.
#[tokio::test]
async fn reading_the_answer() {
    let (world, stub) = impatient().await;
    const SIZE: usize = 256 << 20;
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n");
    let mut steps = vec![Step::Send(head.into_bytes())];
    steps.extend(vec![Step::Send(vec![b'x'; 1 << 20]); SIZE >> 20]);
    stub.steps(steps);
    let before = crate::load::resident_kib(world.pid());
    let mut tunnel = world.tunnel().await;
    tunnel
        .wire
        .send(request("GET", "/big", &[], ""))
        .await
        .expect("send");
    within("the request", stub.until_requests(1)).await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let grown = crate::load::resident_kib(world.pid()).saturating_sub(before);
    assert!(
        grown < 64 << 10,
        "{grown} KiB held for a client that does not read"
    );
    eventually("the upstream to be released", || {
        (stub.open() == 0).then_some(())
    })
    .await;
    stub.answer(crate::upstream::ok("ok"));
    stub.take();
    unimpressed(&world, &stub).await;
}

#[tokio::test]
async fn a_client_that_disappears_in_any_phase_leaves_nothing_behind() {
    let (world, stub) = impatient().await;
    assert_eq!(
        world
            .tunnel()
            .await
            .get("/warm-up", &["X-A: <<pat>>"])
            .await
            .status,
        200
    );
    let raw = Wanted::new(&world).head();
    for cut in [0, 10, raw.len()] {
        let mut wire = world.dial().await;
        wire.send(&raw[..cut]).await.expect("send");
        drop(wire);
    }
    drop(world.tunnel().await);
    let mut asking = world.tunnel().await;
    asking
        .wire
        .send(request("GET", "/x", &[], ""))
        .await
        .expect("send");
    drop(asking);
    let socket = world.dial().await.into_io();
    socket.set_zero_linger().expect("linger");
    drop(socket);
    eventually("every connection of a client to be gone", || {
        (crate::load::sockets_on(world.proxy.port()) == 0).then_some(())
    })
    .await;
    stub.take();
    unimpressed(&world, &stub).await;
}

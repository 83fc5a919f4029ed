//! A revoke, an un-share or a rule that comes between the decision about a request and its first byte on
//! the wire: no value leaves afterwards. A rule does not cut what it does not concern.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc};

use super::{REFUSED, egret};
use crate::client::{Tunnel, Wanted, assert_refused, basic, request};
use crate::upstream::{Step, Stub, ok};
use crate::within;
use crate::world::{HOST, SLUG, VALUE, World};

const HEADER: &str = "X-Api-Key: <<pat>>";
const GONE: &str = "credential_not_found";

/// A way to an upstream on which a connection waits until it is let through.
struct Gate {
    addr: SocketAddr,
    waiting: mpsc::UnboundedReceiver<()>,
    open: Arc<Notify>,
}

impl Gate {
    async fn before(upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let addr = listener.local_addr().expect("an address");
        let (waits, waiting) = mpsc::unbounded_channel();
        let open = Arc::new(Notify::new());
        let opened = Arc::clone(&open);
        tokio::spawn(async move {
            while let Ok((mut outside, _)) = listener.accept().await {
                let opened = Arc::clone(&opened);
                let _ = waits.send(());
                tokio::spawn(async move {
                    opened.notified().await;
                    let mut inside = TcpStream::connect(upstream).await?;
                    copy_bidirectional(&mut outside, &mut inside).await
                });
            }
        });
        Self {
            addr,
            waiting,
            open,
        }
    }
}

/// What comes in between, how the request is refused then, and what takes it back.
struct Change {
    comes: &'static [&'static str],
    code: &'static str,
    goes: &'static [&'static str],
}

const CHANGES: [Change; 3] = [
    Change {
        comes: &["credential", "revoke", SLUG],
        code: GONE,
        goes: &["credential", "restore", SLUG],
    },
    Change {
        comes: &["credential", "unshare", SLUG, "--with", "bob"],
        code: GONE,
        goes: &["credential", "share", SLUG, "--with", "bob"],
    },
    Change {
        comes: &["egress", "deny", HOST, "--user", "bob", "--yes"],
        code: REFUSED,
        goes: &["egress", "remove"],
    },
];

impl Change {
    async fn come(&self, world: &World) -> Option<String> {
        let added = world.run(&[self.comes, &["--json"]].concat()).await.json();
        added["number"]
            .is_i64()
            .then(|| added["number"].to_string())
    }

    async fn go(&self, world: &World, number: Option<String>) {
        let number: Vec<&str> = number.as_deref().into_iter().collect();
        egret(world, &[self.goes, &number].concat()).await;
    }
}

/// A tunnel of a client of bob's, who may use the credential by a share.
async fn tunnel(world: &World, token: &str) -> Tunnel {
    let wanted = Wanted::new(world).authorized(basic("report", token));
    world.tunnel_for(&wanted).await
}

async fn scene(stub: &Stub, builder: crate::world::Builder, to: SocketAddr) -> (World, String) {
    let world = builder.route(&format!("{HOST}:443"), to).start().await;
    world.save(SLUG, VALUE, &["--host", HOST]).await;
    let token = world.client("bobs", "bob").await;
    egret(&world, &["credential", "share", SLUG, "--with", "bob"]).await;
    stub.take();
    (world, token)
}

#[tokio::test]
async fn what_ends_while_the_destination_is_dialled_is_not_sent() {
    let builder = World::builder();
    let stub = Stub::tls(builder.pki(), &[HOST]).await;
    let mut gate = Gate::before(stub.addr).await;
    let (world, token) = scene(&stub, builder, gate.addr).await;
    for change in CHANGES {
        let mut tunnel = tunnel(&world, &token).await;
        let asked = tokio::spawn(async move { tunnel.get("/x", &[HEADER]).await });
        within("the dial", gate.waiting.recv()).await.expect("one");
        let number = change.come(&world).await;
        gate.open.notify_one();
        let answer = within("an answer", asked).await.expect("an answer");
        assert_refused(&answer, change.code);
        assert_eq!(stub.take().len(), 0, "{:?}", change.comes);
        let failed = world
            .ledger_line("how it ended", |line| {
                line["event"] == "result" && line["code"] == change.code
            })
            .await;
        assert_eq!(failed["outcome"], "failed");
        change.go(&world, number).await;
    }
    // Without a change in between a slow connection is only slow.
    let mut tunnel = tunnel(&world, &token).await;
    let asked = tokio::spawn(async move { tunnel.get("/x", &[HEADER]).await });
    within("the dial", gate.waiting.recv()).await.expect("one");
    egret(&world, &["user", "add", "someone-else"]).await;
    gate.open.notify_one();
    let answer = within("an answer", asked).await.expect("an answer");
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(stub.take_one().header("x-api-key").as_deref(), Some(VALUE));
}

#[tokio::test]
async fn what_ends_while_the_body_comes_is_not_sent() {
    let builder = World::builder();
    let stub = Stub::tls(builder.pki(), &[HOST]).await;
    let addr = stub.addr;
    let (world, token) = scene(&stub, builder, addr).await;
    let whole = request(
        "POST",
        "/x",
        &[HEADER, "Content-Type: text/plain"],
        "0123456789",
    );
    let (first, rest) = whole.split_at(whole.len() - 5);
    for change in CHANGES {
        let mut tunnel = tunnel(&world, &token).await;
        tunnel.wire.send(first).await.expect("sent");
        let number = change.come(&world).await;
        tunnel.wire.send(rest).await.expect("sent");
        let answer = within("an answer", tunnel.wire.response(false)).await;
        assert_refused(&answer.expect("an answer"), change.code);
        assert_eq!(stub.take().len(), 0, "{:?}", change.comes);
        change.go(&world, number).await;
    }
    let mut tunnel = tunnel(&world, &token).await;
    assert_eq!(tunnel.roundtrip(&whole).await.status, 200);
}

#[tokio::test]
async fn a_rule_does_not_cut_a_stream_that_it_does_not_concern() {
    let builder = World::builder();
    let stub = Stub::tls(builder.pki(), &[HOST]).await;
    let addr = stub.addr;
    let (world, token) = scene(&stub, builder, addr).await;
    let rest = Arc::new(Notify::new());
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 10\r\n\r\n01234";
    stub.steps(vec![
        Step::Send(head.as_bytes().to_vec()),
        Step::Hold(Arc::clone(&rest)),
        Step::Send(b"56789".to_vec()),
    ]);
    let mut tunnel = tunnel(&world, &token).await;
    tunnel
        .wire
        .send(request("GET", "/x", &[HEADER], ""))
        .await
        .expect("sent");
    within("the request", stub.until_requests(1)).await;
    for rule in [
        &["egress", "deny", "other.example.test"][..],
        &["egress", "deny", HOST, "--client", "another"],
        &["egress", "deny", HOST, "--method", "DELETE"],
    ] {
        egret(&world, rule).await;
    }
    rest.notify_one();
    let answer = within("an answer", tunnel.wire.response(false)).await;
    let answer = answer.expect("an answer");
    assert_eq!((answer.status, answer.text()), (200, "0123456789".into()));
    stub.answer(ok("again"));
    assert_eq!(tunnel.get("/y", &[]).await.status, 200);
}

//! Clients whose next request comes at the moment in which another program takes over: none may fail.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::time::sleep;

use crate::client::{Tunnel, Wanted, request, request_to, trusting_store};
use crate::eventually;
use crate::http2::client::{Client, Request};
use crate::upgrade::{
    COPIED, Followed, LastServer, followed, has_ended, serving, without_one_result,
};
use crate::upstream::{Step, Stub, ok};
use crate::wire::{Framing, Response, values};
use crate::within;
use crate::world::{Output, World};

const HEADER: &str = "X-Api-Key: <<pat>>";

/// Has the running program followed by another.
fn upgrading(world: &Arc<World>) -> tokio::task::JoinHandle<Output> {
    let world = Arc::clone(world);
    tokio::spawn(async move { world.run(&["upgrade"]).await })
}

async fn upgraded(upgrade: tokio::task::JoinHandle<Output>) {
    within("the upgrade", upgrade).await.expect("run").ok();
}

/// Whether the connection ends with this answer.
fn is_last(answer: &Response) -> bool {
    answer.header("connection").as_deref() == Some("close")
}

/// Waits until the running program closes connections on which nothing is asked.
async fn until_it_leaves(idle: &mut Tunnel) {
    within("an idle connection to end", idle.wire.until_closed()).await;
}

/// Asks without a pause on one connection, from before the hand-over until an answer says that the
/// connection ends. Each request on it has to be answered: none of them is idle.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_in_use_ends_with_an_answer_that_says_so() {
    const CLIENTS: usize = 48;
    let Followed { world, .. } = &followed(World::builder()).await;
    let answered = Arc::new(AtomicUsize::new(0));
    let mut clients = Vec::new();
    for number in 0..CLIENTS {
        let mut tunnel = world.tunnel().await;
        let answered = Arc::clone(&answered);
        clients.push(tokio::spawn(async move {
            let ask = request("GET", "/v1", &[HEADER], "");
            for count in 0.. {
                let answer = tunnel.try_roundtrip(&ask).await;
                let answer = answer.unwrap_or_else(|error| {
                    panic!("client {number} after {count} answers: {error}")
                });
                assert_eq!(answer.status, 200);
                answered.fetch_add(1, Ordering::Relaxed);
                if is_last(&answer) {
                    return;
                }
                // Some come while the program hears of its successor, and some right after it.
                sleep(Duration::from_millis(number as u64 % 7)).await;
            }
        }));
    }
    eventually("each client to be at it", || {
        (answered.load(Ordering::Relaxed) > 2 * CLIENTS).then_some(())
    })
    .await;
    let upgrade = upgrading(world);
    for client in clients {
        within("a client to hear of the end", client)
            .await
            .expect("a client");
    }
    upgraded(upgrade).await;
}

/// The heads of these answers were written before there was anything to say. Whoever has read the rest
/// sends the next request on the same connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_after_an_answer_that_began_before_the_hand_over_is_answered() {
    const CLIENTS: usize = 16;
    let Followed { world, stub, .. } = &followed(World::builder()).await;
    let gate = Arc::new(Notify::new());
    let mut tunnels = Vec::new();
    for _ in 0..CLIENTS {
        let head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n\
            D\r\ndata: first\n\n\r\n";
        stub.steps(vec![
            Step::Send(head.to_vec()),
            Step::Hold(Arc::clone(&gate)),
            Step::Send(b"C\r\ndata: last\n\n\r\n0\r\n\r\n".to_vec()),
        ]);
        let mut tunnel = world.tunnel().await;
        let ask = request("GET", "/slow", &[HEADER], "");
        tunnel.wire.send(ask).await.expect("send");
        let (_, headers) = within("the head", tunnel.wire.head())
            .await
            .expect("a head");
        assert_eq!(values(&headers, "connection"), Vec::<&[u8]>::new());
        tunnels.push(tunnel);
    }
    let mut idle = world.tunnel().await;
    stub.answer(ok("next"));
    assert_eq!(idle.get("/v1", &[HEADER]).await.text(), "next");
    let upgrade = upgrading(world);
    until_it_leaves(&mut idle).await;
    gate.notify_waiters();
    for mut tunnel in tunnels {
        let rest = within("the rest", tunnel.wire.body(&Framing::Chunked)).await;
        let rest = rest.expect("a whole answer");
        assert_eq!(rest, b"data: first\n\ndata: last\n\n");
        let next = tunnel.get("/v1", &[HEADER]).await;
        assert_eq!((next.status, is_last(&next)), (200, true));
    }
    upgraded(upgrade).await;
}

/// A client that reads GOAWAY before its first request does not send it, and gives up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_http2_connection_is_told_to_go_after_its_first_request() {
    let Followed { world, .. } = &followed(World::builder()).await;
    let mut new = Client::open(world).await;
    let mut used = Client::open(world).await;
    let ask = Request::new("GET", "/v1").field("x-api-key", "<<pat>>");
    assert_eq!(used.response(&ask).await.status, 200);
    let upgrade = upgrading(world);
    within("GOAWAY", async {
        while used.peer.goaway.is_none() {
            if used.peer.advance().await.is_err() {
                break;
            }
        }
    })
    .await;
    assert_eq!(used.peer.goaway, Some(0));
    let quiet = async { while new.peer.advance().await.is_ok() {} };
    let is_open = tokio::time::timeout(Duration::from_millis(300), quiet).await;
    assert!(is_open.is_err() && new.peer.goaway.is_none());
    assert_eq!(new.response(&ask).await.status, 200);
    upgraded(upgrade).await;
}

/// A request that crosses the end of its connection is not answered with a reset, from which a client
/// cannot tell that it was not looked at.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_crosses_the_end_of_its_connection_gets_no_reset() {
    let Followed { world, .. } = &followed(World::builder()).await;
    let mut idle = world.tunnel().await;
    assert_eq!(idle.get("/v1", &[HEADER]).await.status, 200);
    let before = serving(world);
    let upgrade = upgrading(world);
    until_it_leaves(&mut idle).await;
    let ask = request("GET", "/v1", &[HEADER], "");
    for _ in 0..3 {
        // After a reset the next write fails.
        idle.wire.send(&ask).await.expect("no reset");
        sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(idle.wire.until_closed().await, b"");
    drop(idle);
    upgraded(upgrade).await;
    assert_ne!(serving(world), before);
}

/// The longest that a client may wait while another program starts to serve: for a debug build on a busy
/// machine. One that waits for the end of another connection waits for longer than this.
const SOON: Duration = Duration::from_secs(8);

/// A request whose answer comes as far as `begun`, and with `last` once it is told to go on.
pub async fn asked_slowly(world: &World, stub: &Stub, begun: &str) -> (Tunnel, Arc<Notify>) {
    let gate = Arc::new(Notify::new());
    let length = begun.len() + "last".len();
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{begun}");
    stub.steps(vec![
        Step::Send(head.into_bytes()),
        Step::Hold(Arc::clone(&gate)),
        Step::Send(b"last".to_vec()),
    ]);
    let mut slow = world.tunnel().await;
    let ask = request("GET", "/slow", &[HEADER], "");
    slow.wire.send(ask).await.expect("send");
    within("the request", stub.until_requests(1)).await;
    (slow, gate)
}

/// A client that has connected and says nothing, and a request that takes its time, hold up nobody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_waits_for_a_silent_connection_or_a_slow_answer() {
    let builder = World::builder().set("proxy.drain_timeout", "60s");
    let Followed { world, stub, .. } = &followed(builder).await;
    let before = serving(world).expect("a server");
    let silent = world.dial().await;
    let (mut slow, gate) = asked_slowly(world, stub, "first").await;
    stub.answer(ok("next"));
    let begun = Instant::now();
    let upgrade = upgrading(world);
    let stop = Arc::new(AtomicBool::new(false));
    let clients = tokio::spawn({
        let (world, stop) = (Arc::clone(world), Arc::clone(&stop));
        async move {
            let mut longest = Duration::ZERO;
            while !stop.load(Ordering::Relaxed) {
                let begun = Instant::now();
                let answer = world.tunnel().await.get("/v1", &[HEADER]).await;
                assert_eq!(answer.status, 200);
                longest = longest.max(begun.elapsed());
            }
            longest
        }
    });
    upgraded(upgrade).await;
    let upgrade_took = begun.elapsed();
    stop.store(true, Ordering::Relaxed);
    let longest = clients.await.expect("clients");
    assert!(upgrade_took < SOON, "{upgrade_took:?}");
    assert!(longest < SOON, "{longest:?}");
    assert!(!has_ended(before));
    // The old program has its result put on record by the new one.
    let results = |world: &World| {
        let lines = world.ledger().into_iter();
        lines.filter(|line| line["event"] == "result").count()
    };
    let so_far = results(world);
    gate.notify_one();
    let answer = within("the answer", slow.wire.response(false)).await;
    assert_eq!(answer.expect("whole").text(), "firstlast");
    eventually("its result", || (results(world) > so_far).then_some(())).await;
    drop((slow, silent));
    eventually("the old program to end", || has_ended(before).then_some(())).await;
    let lines = world.ledger();
    assert_eq!(without_one_result(&lines), Vec::<String>::new());
    assert!(lines.iter().all(|line| line["event"] != "recovered"));
    world.run(&["ledger", "verify"]).await.ok();
}

/// A tunnel that is not looked into goes on in the old program until it ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blind_tunnel_goes_on_beside_the_other_program() {
    const PINNED: &str = "a.pinned.example";
    let builder = World::builder()
        .set("proxy.drain_timeout", "60s")
        .after(COPIED);
    let stub = Stub::tls(builder.pki(), &[PINNED]).await;
    let passthrough = toml::Value::Array(vec![PINNED.into()]);
    let builder = builder
        .route(&format!("{PINNED}:443"), stub.addr)
        .set("tls.passthrough", passthrough);
    let world = Arc::new(builder.start().await);
    let _last = LastServer(Arc::clone(&world));
    let before = serving(&world).expect("a server");
    let mut wanted = Wanted::new(&world).host(PINNED);
    wanted.tls = Some(trusting_store(world.pki.roots()));
    let mut tunnel = world.tunnel_for(&wanted).await;
    let raw = request_to(PINNED, "GET", "/", &[], "");
    assert_eq!(tunnel.roundtrip(raw.clone()).await.status, 200);
    world.run(&["upgrade"]).await.ok();
    let mut next = world.tunnel_for(&wanted).await;
    for _ in 0..3 {
        assert_eq!(next.roundtrip(raw.clone()).await.status, 200);
        assert_eq!(tunnel.roundtrip(raw.clone()).await.status, 200);
        sleep(Duration::from_millis(300)).await;
    }
    assert!(!has_ended(before));
    drop(tunnel);
    eventually("the old program to end", || has_ended(before).then_some(())).await;
    assert_eq!(next.roundtrip(raw).await.status, 200);
}

/// The second upgrade comes while the first program still has a request: its result goes through both.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_result_passes_two_programs_that_follow_each_other() {
    let builder = World::builder().set("proxy.drain_timeout", "60s");
    let Followed { world, stub, .. } = &followed(builder).await;
    let (mut slow, gate) = asked_slowly(world, stub, "").await;
    let mut before = Vec::new();
    for _ in 0..2 {
        before.extend(serving(world));
        upgraded(upgrading(world)).await;
    }
    gate.notify_one();
    let answer = within("the answer", slow.wire.response(false)).await;
    assert_eq!(answer.expect("whole").text(), "last");
    eventually("both old programs to end", || {
        before
            .iter()
            .all(|process| has_ended(*process))
            .then_some(())
    })
    .await;
    let lines = world.ledger();
    assert_eq!(without_one_result(&lines), Vec::<String>::new());
    assert!(lines.iter().all(|line| line["event"] != "recovered"));
    world.run(&["ledger", "verify"]).await.ok();
}

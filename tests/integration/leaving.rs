//! Clients that leave while they are owed an answer, and clients that only look so.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::time::{Instant, sleep};

use crate::client::{Tunnel, Wanted, basic, request};
use crate::upstream::{Step, Stub, ok};
use crate::wire::Wire;
use crate::within;
use crate::world::{HOST, SLUG, VALUE, World, one_upstream};

/// How soon it is noticed that a client has left, with some room for a busy machine.
const SOON: Duration = Duration::from_millis(1_500);

/// Sends what the client sends, leaves once the upstream has the first request, and returns when the
/// upstream's connection is closed.
async fn leave<S: AsyncRead + AsyncWrite + Unpin>(
    stub: &Stub,
    mut wire: Wire<S>,
    bytes: &str,
    what: &str,
) {
    stub.steps(vec![Step::Hang]);
    wire.send(bytes).await.expect("send");
    within("the request upstream", stub.until_requests(1)).await;
    stub.take();
    // What the client has sent has arrived, and so has what it is to read.
    sleep(Duration::from_millis(100)).await;
    assert_eq!(stub.open(), 1, "{what}");
    drop(wire);
    let left = Instant::now();
    while stub.open() > 0 {
        assert!(
            left.elapsed() < SOON,
            "{what}: the upstream still has its request"
        );
        sleep(Duration::from_millis(10)).await;
    }
}

async fn result(world: &World, count: usize) {
    within("the results", async {
        loop {
            let lines = world.ledger();
            let results: Vec<_> = lines
                .iter()
                .filter(|line| line["event"] == "result")
                .collect();
            if results.len() >= count {
                assert!(
                    results.iter().all(|line| line["outcome"] == "client_gone"),
                    "{results:#?}"
                );
                let uses = lines.iter().filter(|line| line["event"] == "use").count();
                assert_eq!(uses, results.len());
                return;
            }
            sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_before_its_answer_is_noticed_inside_tls() {
    let (world, stub) = one_upstream().await;
    let one = request("GET", "/x", &["X-Key: <<pat>>"], "");
    let two = one.clone() + &request("GET", "/y", &["X-Key: <<pat>>"], "");
    let cut = one.clone() + "GET /y HTT";
    let mut results = 0;
    for (bytes, what) in [(&one, "one"), (&two, "two"), (&cut, "one and a part")] {
        leave(&stub, world.tunnel().await.wire, bytes, what).await;
        results += 1;
        result(&world, results).await;
    }
    // One that says goodbye first.
    let Tunnel { mut wire } = world.tunnel().await;
    stub.steps(vec![Step::Hang]);
    wire.send(&one).await.expect("send");
    within("the request upstream", stub.until_requests(1)).await;
    wire.io.shutdown().await.expect("a close_notify");
    drop(wire);
    result(&world, results + 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_before_its_answer_is_noticed_on_plain_connections() {
    let (world, stub) = World::plain_upstream().await;
    world
        .save(SLUG, VALUE, &["--host", &format!("http://{HOST}")])
        .await;
    let line = format!("Proxy-Authorization: {}", basic("act-1", &world.token));
    let one = request("GET", "/x", &[&line, "X-Key: <<pat>>"], "")
        .replace("GET /x", &format!("GET http://{HOST}/x"));
    let two = one.repeat(2);
    leave(&stub, world.dial().await, &one, "one").await;
    leave(&stub, world.dial().await, &two, "two").await;
    let mut wanted = Wanted::new(&world);
    wanted.authority = format!("{HOST}:80");
    let socket = wanted.connect(&world).await.expect("a tunnel");
    let inside = request("GET", "/x", &["X-Key: <<pat>>"], "");
    leave(&stub, Wire::new(socket), &inside.repeat(2), "in a tunnel").await;
    result(&world, 3).await;
}

/// It has ended its side and reads: its answer may take longer than it takes to notice that a client
/// has gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_only_ended_its_side_gets_a_late_answer() {
    let (world, stub) = World::plain_upstream().await;
    let line = format!("Proxy-Authorization: {}", basic("act-1", &world.token));
    let ask = request("GET", "/x", &[&line], "").replace("GET /x", &format!("GET http://{HOST}/x"));
    for count in [1, 2] {
        stub.steps(vec![
            Step::Pause(Duration::from_secs(2)),
            Step::Send(ok("late")),
        ]);
        let mut wire = world.dial().await;
        wire.send(ask.repeat(count)).await.expect("send");
        wire.io.shutdown().await.expect("the end of its side");
        for _ in 0..count {
            let answer = within("an answer", wire.response(false))
                .await
                .expect("an answer");
            assert_eq!((answer.status, answer.text().as_str()), (200, "late"));
        }
    }
}

/// A client that leaves in its upload is written down as what it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_in_its_upload_is_gone() {
    let (world, stub) = one_upstream().await;
    let image = ["Content-Type: image/png", "X-Key: <<pat>>"];
    let sized = [&image[..], &["Content-Length: 100"]].concat();
    let chunked = [&image[..], &["Transfer-Encoding: chunked"]].concat();
    for (count, (lines, part)) in [(sized, "half"), (chunked, "5\r\nhello\r\n5\r\nhe")]
        .into_iter()
        .enumerate()
    {
        let Tunnel { mut wire } = world.tunnel().await;
        let ask = request("POST", "/x", &lines, "") + part;
        let before = stub.bytes().len();
        wire.send(ask).await.expect("send");
        crate::eventually("the head upstream", || {
            (stub.bytes().len() > before).then_some(())
        })
        .await;
        drop(wire);
        result(&world, count + 1).await;
    }
}

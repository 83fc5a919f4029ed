//! A conversation while the proxy ends, or hands over to another program.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::socket::{CLOSE, FIN, Socket, TEXT, Upstream};
use super::{conversation, lines, result, save, world_with};
use crate::eventually;
use crate::upgrade::{COPIED, LastServer, has_ended, serving};
use crate::world::{HOST, SLUG, VALUE, World};

/// A credential arrives.
async fn used(client: &mut Socket, server: &mut Socket) {
    client.text(&format!("<<{SLUG}>>")).await;
    assert_eq!(server.next_text().await, VALUE);
}

/// Waits until the metrics say that the proxy drains.
async fn draining(world: &World) {
    for _ in 0..1200 {
        let page = world.admin_page("/metrics").await;
        if page.is_some_and(|page| page.text().contains("\negret_draining 1")) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the proxy does not drain");
}

/// Both sides go on, with placeholders and scrubbing, and end as they like.
#[tokio::test]
async fn a_conversation_goes_on_while_the_proxy_drains() {
    // Longer than the test waits for anything: who ends it earlier is not the deadline.
    let builder = World::builder().set("proxy.drain_timeout", "120s");
    let (mut world, upstream) = world_with(builder).await;
    let (mut client, mut server) = conversation(&world, &upstream).await;
    world.signal(Signal::TERM);
    draining(&world).await;
    used(&mut client, &mut server).await;
    server.send(0x80 | TEXT, format!("back: {VALUE}")).await;
    let back = client.next_text().await;
    assert!(
        back.starts_with("back: ") && !back.contains(VALUE),
        "{back}"
    );
    client.close(1000, "done").await;
    assert_eq!(server.closed().await, (1000, "done".to_owned()));
    server.close(1000, "done").await;
    assert_eq!(client.closed().await, (1000, "done".to_owned()));
    drop((client, server));
    assert!(world.ended().await.success());
    assert_eq!(result(&world).await["outcome"], "forwarded");
}

#[tokio::test]
async fn a_shutdown_says_goodbye_to_both_sides() {
    let builder = World::builder().set("proxy.drain_timeout", "2s");
    let (mut world, upstream) = world_with(builder).await;
    let (mut client, mut server) = conversation(&world, &upstream).await;
    used(&mut client, &mut server).await;
    server.send(TEXT, "half a word").await;
    assert_eq!(client.expect().await.payload, b"half a word");
    world.signal(Signal::TERM);
    assert_eq!(client.closed().await, (1001, "shutting_down".to_owned()));
    assert_eq!(server.closed().await, (1001, String::new()));
    drop((client, server));
    assert!(world.ended().await.success());
    assert_eq!(result(&world).await["code"], "shutting_down");
}

/// A world whose server has handed over while a conversation goes on in it.
struct HandedOver {
    world: Arc<World>,
    upstream: Upstream,
    /// The process before.
    before: i32,
    _last: LastServer,
}

impl HandedOver {
    async fn start() -> (Self, Socket, Socket) {
        let builder = World::builder()
            .set("proxy.drain_timeout", "120s")
            .after(COPIED);
        let upstream = Upstream::tls(builder.pki(), HOST).await;
        let builder = builder.route(&format!("{HOST}:443"), upstream.addr);
        let world = Arc::new(builder.start().await);
        let _last = LastServer(Arc::clone(&world));
        save(&world, SLUG, VALUE).await;
        let before = serving(&world).expect("a server");
        let (mut client, mut server) = conversation(&world, &upstream).await;
        used(&mut client, &mut server).await;
        world.run(&["upgrade"]).await.ok();
        assert_ne!(serving(&world), Some(before));
        let handed = Self {
            world,
            upstream,
            before,
            _last,
        };
        (handed, client, server)
    }

    fn kill(process: i32) {
        let pid = Pid::from_raw(process).expect("a pid");
        kill_process(pid, Signal::KILL).expect("killed");
    }
}

/// While another program takes over a conversation goes on, and nobody waits for its end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_conversation_goes_on_beside_the_other_program() {
    let (handed, mut client, mut server) = HandedOver::start().await;
    let HandedOver {
        world, upstream, ..
    } = &handed;
    // Here the value is used by the old program, and there by the new one.
    used(&mut client, &mut server).await;
    let (mut next, mut next_server) = conversation(world, upstream).await;
    used(&mut next, &mut next_server).await;
    used(&mut client, &mut server).await;
    let uses = lines(world, "use").len();
    assert_eq!((uses, lines(world, "result").len()), (4, 0));
    client.close(1000, "done").await;
    assert_eq!(server.closed().await, (1000, "done".to_owned()));
    server.close(1000, "done").await;
    assert_eq!(client.closed().await, (1000, "done".to_owned()));
    drop((client, server));
    assert_eq!(result(world).await["outcome"], "forwarded");
    eventually("the old program to end", || {
        has_ended(handed.before).then_some(())
    })
    .await;
    used(&mut next, &mut next_server).await;
    assert_eq!(lines(world, "result").len(), 1);
    assert_eq!(lines(world, "recovered").len(), 0);
    world.run(&["ledger", "verify"]).await.ok();
}

/// What the old program has not told the result of is named as after a crash.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_the_old_program_is_killed_its_conversations_are_named() {
    let (handed, mut client, mut server) = HandedOver::start().await;
    let world = &handed.world;
    used(&mut client, &mut server).await;
    assert_eq!(lines(world, "recovered").len(), 0);
    HandedOver::kill(handed.before);
    let is_recovered = |line: &Value| line["event"] == "recovered";
    let named = world.ledger_line("its use to be named", is_recovered).await;
    assert_eq!(named["request"], lines(world, "use")[0]["request"]);
    assert_eq!(named["outcome"], "unknown");
    let (mut next, mut next_server) = conversation(world, &handed.upstream).await;
    used(&mut next, &mut next_server).await;
    world.run(&["ledger", "verify"]).await.ok();
}

/// No value leaves without a line, and what was left open is found by the next start.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_the_new_program_is_killed_the_old_one_uses_nothing_more() {
    let (handed, mut client, mut server) = HandedOver::start().await;
    let world = &handed.world;
    let new = serving(world).expect("a server");
    HandedOver::kill(new);
    eventually("the new program to end", || has_ended(new).then_some(())).await;
    client.text(&format!("<<{SLUG}>>")).await;
    let refused = (1011, "ledger_unavailable".to_owned());
    assert_eq!(client.closed().await, refused);
    while let Some(frame) = server.next().await {
        let payload = String::from_utf8_lossy(&frame.payload);
        assert!(!payload.contains(VALUE), "{payload}");
        if frame.first == FIN | CLOSE {
            break;
        }
    }
    HandedOver::kill(handed.before);
    eventually("the old program to end", || {
        has_ended(handed.before).then_some(())
    })
    .await;
    let mut again = world.command(&["serve"]);
    again.stdout(Stdio::null()).stderr(Stdio::null());
    let mut again = again.kill_on_drop(true).spawn().expect("started");
    let is_recovered = |line: &Value| line["event"] == "recovered";
    world.ledger_line("the use to be named", is_recovered).await;
    again.kill().await.expect("killed");
    world.run(&["ledger", "verify"]).await.ok();
}

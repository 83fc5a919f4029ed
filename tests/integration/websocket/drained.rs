//! A conversation while the proxy ends, or hands over to another program.

use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;

use super::socket::{Socket, TEXT, Upstream};
use super::{conversation, lines, result, save, world_with};
use crate::upgrade::{COPIED, LastServer, serving};
use crate::within;
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

/// While another program takes over a conversation goes on, until a connection waits for that one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_conversation_makes_nobody_wait_for_an_upgrade() {
    let builder = World::builder()
        .set("proxy.drain_timeout", "120s")
        .after(COPIED);
    let upstream = Upstream::tls(builder.pki(), HOST).await;
    let builder = builder.route(&format!("{HOST}:443"), upstream.addr);
    let world = Arc::new(builder.start().await);
    let _last = LastServer(Arc::clone(&world));
    save(&world, SLUG, VALUE).await;
    let before = serving(&world);
    let (mut client, mut server) = conversation(&world, &upstream).await;
    let upgrading = tokio::spawn({
        let world = Arc::clone(&world);
        async move { world.run(&["upgrade"]).await }
    });
    draining(&world).await;
    used(&mut client, &mut server).await;
    assert_eq!(serving(&world), before, "the ledger is still open here");
    // The next client has to wait, but not for as long as the conversation may last.
    let waiting = world.dial().await;
    assert_eq!(client.closed().await, (1001, "shutting_down".to_owned()));
    assert_eq!(server.closed().await, (1001, String::new()));
    drop((client, server, waiting));
    within("the other program to serve", upgrading)
        .await
        .expect("upgraded")
        .ok();
    assert_ne!(serving(&world), before);
    let (mut client, mut server) = conversation(&world, &upstream).await;
    used(&mut client, &mut server).await;
    assert_eq!(lines(&world, "recovered").len(), 0);
}

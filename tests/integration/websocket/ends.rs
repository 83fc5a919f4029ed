//! The end of a conversation, and what each side and the ledger learn of it.

use std::time::Duration;

use super::socket::{
    BINARY, CLOSE, CONTINUATION, FIN, PING, Socket, TEXT, agree, frame, handshake, head,
};
use super::{conversation, result, world, world_with};
use crate::client::{Wanted, basic};
use crate::world::{HOST, SLUG, VALUE, World};

#[tokio::test]
async fn close_codes_are_kept_both_ways() {
    let (world, upstream) = world().await;
    let (mut client, mut server) = conversation(&world, &upstream).await;
    client.text(&format!("<<{SLUG}>>")).await;
    assert_eq!(server.next_text().await, VALUE);
    client.close(3456, "done").await;
    assert_eq!(server.closed().await, (3456, "done".to_owned()));
    server.close(3456, "well done").await;
    assert_eq!(client.closed().await, (3456, "well done".to_owned()));
    assert_eq!((client.next().await, server.next().await), (None, None));
    let result = result(&world).await;
    assert_eq!(
        (&result["outcome"], &result["status"]),
        (&"forwarded".into(), &101.into())
    );

    let (mut client, mut server) = conversation(&world, &upstream).await;
    server.send(FIN | CLOSE, "").await;
    assert_eq!(client.closed().await, (0, String::new()));
    // Messages in flight still arrive.
    client.text("last words").await;
    assert_eq!(server.next_text().await, "last words");
    client.send(FIN | CLOSE, "").await;
    assert_eq!(server.closed().await, (0, String::new()));
    assert_eq!((client.next().await, server.next().await), (None, None));
}

#[tokio::test]
async fn a_client_that_breaks_the_protocol_is_told_so() {
    let (world, upstream) = world().await;
    let unmasked = frame(FIN | TEXT, b"x", false);
    for (bytes, code) in [
        (unmasked, 1002),
        (frame(FIN | 0x40 | TEXT, b"x", true), 1002),
        (frame(FIN | 3, b"x", true), 1002),
        (frame(FIN | 0xb, b"x", true), 1002),
        (frame(PING, b"x", true), 1002),
        (frame(FIN | CONTINUATION, b"x", true), 1002),
        (
            [frame(TEXT, b"x", true), frame(FIN | TEXT, b"y", true)].concat(),
            1002,
        ),
        (frame(FIN | PING, &[0; 126], true), 1002),
        (frame(FIN | CLOSE, b"x", true), 1002),
        (frame(FIN | CLOSE, &1005u16.to_be_bytes(), true), 1002),
        (
            [head(FIN | BINARY, u64::MAX, true), vec![0; 4]].concat(),
            1002,
        ),
        (frame(FIN | TEXT, b"\xff", true), 1007),
        (frame(FIN | TEXT, b"\xc3", true), 1007),
    ] {
        let (mut client, mut server) = conversation(&world, &upstream).await;
        client.wire.send(&bytes).await.unwrap();
        assert_eq!(client.closed().await.0, code, "{bytes:x?}");
        assert_eq!(server.closed().await, (1001, String::new()), "{bytes:x?}");
        assert_eq!((client.next().await, server.next().await), (None, None));
    }
}

#[tokio::test]
async fn an_upstream_that_breaks_the_protocol_is_told_so() {
    let (world, upstream) = world().await;
    for (bytes, code) in [
        (frame(FIN | TEXT, b"x", true), 1002),
        (frame(FIN | 0x40 | TEXT, b"x", false), 1002),
        (frame(FIN | TEXT, b"\xff", false), 1007),
    ] {
        let (mut client, mut server) = conversation(&world, &upstream).await;
        server.wire.send(&bytes).await.unwrap();
        assert_eq!(
            client.closed().await,
            (1014, "upstream_protocol_error".to_owned())
        );
        assert_eq!(server.closed().await.0, code);
    }
}

/// Uses the credential, so that a `result` line has to be written.
async fn used(client: &mut Socket, server: &mut Socket) {
    client.text(&format!("<<{SLUG}>>")).await;
    assert_eq!(server.next_text().await, VALUE);
}

#[tokio::test]
async fn a_side_that_goes_without_a_word_takes_the_other_with_it() {
    let (world, upstream) = world().await;
    let (mut client, mut server) = conversation(&world, &upstream).await;
    used(&mut client, &mut server).await;
    drop(client);
    assert_eq!(
        server.next().await,
        None,
        "no close frame that neither side sent"
    );
    let gone = result(&world).await;
    assert_eq!(
        (&gone["outcome"], &gone["status"]),
        (&"client_gone".into(), &101.into())
    );

    let (mut client, mut server) = conversation(&world, &upstream).await;
    used(&mut client, &mut server).await;
    drop(server);
    assert_eq!(client.next().await, None);
    let failed =
        |line: &serde_json::Value| line["event"] == "result" && line["outcome"] == "failed";
    let line = world.ledger_line("a result", failed).await;
    assert_eq!(line["code"], "upstream_protocol_error");
}

#[tokio::test]
async fn silence_ends_a_conversation_and_signs_of_life_do_not() {
    let builder = World::builder().set("upstream.websocket_timeout", "2s");
    let (world, upstream) = world_with(builder).await;
    let (mut client, mut server) = conversation(&world, &upstream).await;
    used(&mut client, &mut server).await;
    // Longer than the limit in total, with traffic from one side or the other.
    for n in 0..4 {
        tokio::time::sleep(std::time::Duration::from_millis(800)).await;
        let (from, to) = match n % 2 {
            0 => (&mut client, &mut server),
            _ => (&mut server, &mut client),
        };
        from.send(FIN | PING, "alive").await;
        assert_eq!(to.expect().await.payload, b"alive");
    }
    assert_eq!(client.closed().await, (1001, "idle".to_owned()));
    assert_eq!(server.closed().await, (1001, "idle".to_owned()));
    let result = result(&world).await;
    assert_eq!(
        (&result["outcome"], &result["code"]),
        (&"failed".into(), &"upstream_timeout".into())
    );
}

/// A client that does not read slows the upstream down, and does not fill the proxy's memory.
#[tokio::test]
async fn a_slow_reader_slows_its_writer_down() {
    let (world, upstream) = world().await;
    let (mut client, mut server) = conversation(&world, &upstream).await;
    let message = frame(FIN | BINARY, &vec![7; 1 << 20], false);
    let mut sent = 0usize;
    let stuck = async {
        loop {
            server.wire.send(&message).await.unwrap();
            sent += 1;
            assert!(sent < 200, "the upstream was never held up");
        }
    };
    // The upstream's writes stall once nothing could be sent for a while.
    let _ = tokio::time::timeout(std::time::Duration::from_secs(5), stuck).await;
    for _ in 0..sent {
        let (opcode, payload) = client.message().await;
        client.wire.received.clear();
        assert_eq!((opcode, payload.len()), (BINARY, 1 << 20));
    }
}

/// Whoever takes a client away has to be sure that nothing goes on for it.
#[tokio::test]
async fn a_conversation_ends_with_the_permission_for_it() {
    for (taken, code) in [
        (&["client", "remove", "tester"][..], "proxy_auth_required"),
        (&["user", "disable", "default"], "proxy_auth_required"),
        (&["egress", "deny", HOST], "destination_not_allowed"),
    ] {
        let (world, upstream) = world().await;
        let (mut client, mut server) = conversation(&world, &upstream).await;
        let (mut other, mut its_server) = conversation(&world, &upstream).await;
        for (from, to) in [(&mut client, &mut server), (&mut its_server, &mut other)] {
            from.send(FIN | BINARY, "before").await;
            assert_eq!(to.message().await, (BINARY, b"before".to_vec()));
        }
        world.run(taken).await.ok();
        client.send(FIN | BINARY, "after").await;
        its_server.text("after").await;
        for client in [&mut client, &mut other] {
            assert_eq!(client.closed().await, (1008, code.to_owned()), "{taken:?}");
        }
        for server in [&mut server, &mut its_server] {
            assert_eq!(server.closed().await.0, 1001, "{taken:?}");
        }
    }
}

/// Nobody took anything away: tokens that live for minutes are common, and conversations last longer.
#[tokio::test]
async fn a_token_whose_time_is_over_ends_no_conversation_and_opens_nothing() {
    let (world, upstream) = world().await;
    let minted = world
        .run(&[
            "token", "mint", "--client", "tester", "--action", "brief", "--ttl", "3s", "--json",
        ])
        .await
        .json();
    let token = minted["token"].as_str().expect("a token");
    let mut wanted = Wanted::new(&world);
    wanted.authorization = Some(basic("brief", token));
    let mut client = Socket::client(world.tunnel_for(&wanted).await.wire.into_io());
    let (mut server, ..) = agree(&mut client, &upstream, &handshake("/chat", &[])).await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    // So that it is looked at once more.
    world
        .save("another", "another-value-1", &["--host", HOST])
        .await;
    client.text("still here").await;
    assert_eq!(server.next_text().await, "still here");
    server.text("me too").await;
    assert_eq!(client.next_text().await, "me too");
    client.text(&format!("<<{SLUG}>>")).await;
    assert_eq!(
        client.closed().await,
        (1008, "proxy_auth_required".to_owned())
    );
}

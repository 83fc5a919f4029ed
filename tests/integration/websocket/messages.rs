//! Messages in both directions.

use super::socket::{BINARY, CLOSE, CONTINUATION, FIN, PING, PONG, Socket, TEXT, base64, head};
use super::{conversation, lines, save, world, world_with};
use crate::eventually;
use crate::load::resident_kib;
use crate::world::{SLUG, VALUE, World};

/// A message that the client sends, and what arrives upstream.
async fn arrives(client: &mut Socket, server: &mut Socket, text: &str) -> String {
    client.text(text).await;
    server.next_text().await
}

#[tokio::test]
async fn placeholders_in_text_are_replaced_in_every_form() {
    let (world, upstream) = world().await;
    let (mut client, mut server) = conversation(&world, &upstream).await;
    let escaped = serde_json::to_string(VALUE).unwrap();
    let inside = &escaped[1..escaped.len() - 1];
    for (sent, received) in [
        ("nothing to see".to_owned(), "nothing to see".to_owned()),
        (format!("AUTH <<{SLUG}>>"), format!("AUTH {VALUE}")),
        (
            format!("AUTH \\u003c\\u003c{SLUG}\\u003e>"),
            format!("AUTH {VALUE}"),
        ),
        (
            format!("{{\"k\":\"<<{SLUG}>>\"}}"),
            format!("{{\"k\":{escaped}}}"),
        ),
        (
            format!("[\"a\\u003C\\u003c{SLUG}\\u003e\\u003E\"]"),
            format!("[\"a{inside}\"]"),
        ),
        (
            format!("42[\"say\",\"<<{SLUG}>>\"]"),
            format!("42[\"say\",{escaped}]"),
        ),
        (
            format!("{{\"k\":\"<<{SLUG}>>\"}}\u{1e}"),
            format!("{{\"k\":{escaped}}}\u{1e}"),
        ),
        (
            format!("{{\"k\": <<{SLUG}>>}}"),
            format!("{{\"k\": {VALUE}}}"),
        ),
        (format!("<<!{SLUG}>> <<EOF"), format!("<<{SLUG}>> <<EOF")),
    ] {
        assert_eq!(
            arrives(&mut client, &mut server, &sent).await,
            received,
            "{sent}"
        );
    }
    let uses = lines(&world, "use");
    assert_eq!(uses.len(), 7, "one for each message that used it");
    assert_eq!(uses[0]["locations"], serde_json::json!(["body"]));
    assert_eq!(uses[2]["locations"], serde_json::json!(["body:/k"]));
    assert!(
        uses.iter()
            .all(|line| line["request"] == uses[0]["request"])
    );
}

/// Fragments, with control frames between them. Frames to the upstream get new masks.
#[tokio::test]
async fn a_fragmented_message_is_one_message() {
    let (world, upstream) = world().await;
    let (mut client, mut server) = conversation(&world, &upstream).await;
    let message = format!("é <<{SLUG}>> é");
    let pieces: Vec<&[u8]> = message.as_bytes().chunks(1).collect();
    client.send(TEXT, pieces[0]).await;
    for (n, piece) in pieces[1..pieces.len() - 1].iter().enumerate() {
        client.send(FIN | PING, format!("ping {n}")).await;
        client.send(CONTINUATION, piece).await;
    }
    client
        .send(FIN | CONTINUATION, pieces[pieces.len() - 1])
        .await;
    let mut masks = Vec::new();
    for n in 0..pieces.len() - 2 {
        let ping = server.expect().await;
        assert_eq!(
            (ping.first, ping.payload),
            (FIN | PING, format!("ping {n}").into_bytes())
        );
        masks.push(ping.mask.expect("a mask"));
    }
    assert_eq!(server.next_text().await, format!("é {VALUE} é"));
    masks.sort_unstable();
    masks.dedup();
    assert!(
        masks.len() > 3,
        "every frame has a masking key of its own: {masks:?}"
    );
    server.send(FIN | PONG, "pong").await;
    let pong = client.expect().await;
    assert_eq!(
        (pong.first, pong.mask, pong.payload),
        (FIN | PONG, None, b"pong".to_vec())
    );
}

#[tokio::test]
async fn binary_messages_go_out_as_they_are() {
    let (world, upstream) = world().await;
    let (mut client, mut server) = conversation(&world, &upstream).await;
    let bytes: Vec<u8> = format!("\0\u{1}<<{SLUG}>>")
        .into_bytes()
        .into_iter()
        .chain(0..=255)
        .collect();
    client.send(BINARY, &bytes[..100]).await;
    // Frames are forwarded before the message is complete.
    let first = server.expect().await;
    assert_eq!((first.first, &first.payload[..]), (BINARY, &bytes[..100]));
    client.send(FIN | CONTINUATION, &bytes[100..]).await;
    let rest = server.expect().await;
    assert_eq!(
        (rest.first, &rest.payload[..]),
        (FIN | CONTINUATION, &bytes[100..])
    );
    client.send(FIN | BINARY, "").await;
    assert_eq!(server.message().await, (BINARY, Vec::new()));
    assert!(lines(&world, "use").is_empty());
}

/// Whoever has a value could send it in any kind of frame.
#[tokio::test]
async fn stored_values_are_guarded_in_every_kind_of_frame() {
    let (world, upstream) = world().await;
    let (begin, rest) = VALUE.split_at(9);
    let close = [&1000_u16.to_be_bytes()[..], VALUE.as_bytes()].concat();
    let cases: [&[(u8, Vec<u8>)]; 6] = [
        &[(FIN | BINARY, format!("\0{VALUE}\u{1}").into())],
        &[(FIN | BINARY, base64(VALUE).into())],
        &[
            (BINARY, begin.into()),
            (FIN | PING, b"between".to_vec()),
            (FIN | CONTINUATION, rest.into()),
        ],
        &[(FIN | PING, VALUE.into())],
        &[(FIN | PONG, format!("a{VALUE}").into())],
        &[(FIN | CLOSE, close)],
    ];
    for frames in cases {
        let (mut client, mut server) = conversation(&world, &upstream).await;
        for (first, payload) in frames {
            client.send(*first, payload).await;
        }
        assert_eq!(
            client.closed().await,
            (1008, "secret_exposed".to_owned()),
            "{frames:?}"
        );
        let mut arrived = Vec::new();
        let code = loop {
            let frame = server.next().await.expect("a close frame");
            if frame.first == FIN | CLOSE {
                break frame.payload;
            }
            arrived.extend(frame.payload);
        };
        assert_eq!(code, 1001_u16.to_be_bytes(), "{frames:?}");
        let arrived = String::from_utf8_lossy(&arrived).replace("between", "");
        assert!(begin.starts_with(&arrived), "{frames:?}: {arrived}");
    }
    assert_eq!(lines(&world, "denied").len(), cases.len());
    // What only begins like one is none.
    let (mut client, mut server) = conversation(&world, &upstream).await;
    client.send(FIN | BINARY, begin).await;
    assert_eq!(server.message().await, (BINARY, begin.into()));
}

/// No part of a refused message arrives, and no use of its other placeholders is recorded.
#[tokio::test]
async fn a_refused_message_ends_the_conversation() {
    let (world, upstream) = world().await;
    let (mut client, mut server) = conversation(&world, &upstream).await;
    client.send(TEXT, format!("with <<{SLUG}>> and ")).await;
    client.send(FIN | CONTINUATION, "<<nope>>").await;
    assert_eq!(
        client.closed().await,
        (1008, "credential_not_found".to_owned())
    );
    assert_eq!(server.closed().await, (1001, String::new()));
    assert_eq!(server.next().await, None);
    assert!(lines(&world, "use").is_empty());
    let denied = lines(&world, "denied");
    assert_eq!(denied.len(), 1);
    assert_eq!(
        (&denied[0]["slug"], &denied[0]["code"]),
        (&"nope".into(), &"credential_not_found".into())
    );
}

#[tokio::test]
async fn a_place_or_a_value_that_does_not_fit_refuses_the_message() {
    let (world, upstream) = world().await;
    let host = crate::world::HOST;
    world
        .save("header-only", "value-for-headers", &["--host", host])
        .await;
    world
        .save(
            "bytes",
            b"not text \xff\xfe",
            &["--host", host, "--in", "body"],
        )
        .await;
    for (text, code) in [
        ("<<header-only>>", "credential_not_allowed"),
        ("<<bytes>>", "credential_unencodable"),
        ("<<pat.field>>", "credential_field_unknown"),
        (VALUE, "secret_exposed"),
    ] {
        let (mut client, mut server) = conversation(&world, &upstream).await;
        client.text(text).await;
        assert_eq!(client.closed().await, (1008, code.to_owned()), "{text}");
        assert_eq!(server.closed().await.0, 1001);
    }
    assert_eq!(lines(&world, "denied").len(), 4);
}

/// Revocation takes effect in an open conversation from the next message on.
#[tokio::test]
async fn every_message_is_decided_at_its_moment() {
    let (world, upstream) = world().await;
    let (mut client, mut server) = conversation(&world, &upstream).await;
    let (mut other, mut its_server) = conversation(&world, &upstream).await;
    assert_eq!(
        arrives(&mut client, &mut server, &format!("<<{SLUG}>>")).await,
        VALUE
    );
    world
        .run_with(&["credential", "rotate", SLUG], b"another-value-of-it\n")
        .await
        .ok();
    assert_eq!(
        arrives(&mut client, &mut server, &format!("<<{SLUG}>>")).await,
        "another-value-of-it"
    );
    world.run(&["credential", "revoke", SLUG]).await.ok();
    assert_eq!(
        arrives(&mut client, &mut server, "still here").await,
        "still here"
    );
    client.text(&format!("<<{SLUG}>>")).await;
    assert_eq!(
        client.closed().await,
        (1008, "credential_not_found".to_owned())
    );
    assert_eq!(server.closed().await.0, 1001);
    assert_eq!(
        arrives(&mut other, &mut its_server, "no secret").await,
        "no secret"
    );
}

/// A message larger than `body.buffer` streams; the result does not depend on where it is split.
#[tokio::test]
async fn a_large_message_is_searched_as_it_streams() {
    let (world, upstream) = world_with(World::builder().set("body.buffer", "1KiB")).await;
    let (mut client, mut server) = conversation(&world, &upstream).await;
    let filling = "é".repeat(40_000);
    let escaped = serde_json::to_string(VALUE).unwrap();
    for (before, after, value) in [
        ("{\"a\":\"", "\"}", &escaped[1..escaped.len() - 1]),
        ("text ", "", VALUE),
    ] {
        let sent = format!("{before}{filling}\\u003c<{SLUG}>>{filling}<<{SLUG}>>{after}");
        for (n, piece) in sent.as_bytes().chunks(997).enumerate() {
            client
                .send(if n == 0 { TEXT } else { CONTINUATION }, piece)
                .await;
        }
        client.send(FIN | CONTINUATION, "").await;
        let received = server.next_text().await;
        assert!(
            received == format!("{before}{filling}{value}{filling}{value}{after}"),
            "{before}"
        );
    }
    assert_eq!(lines(&world, "use").len(), 2);
}

#[tokio::test]
async fn a_refusal_inside_a_large_message_leaves_it_without_an_end() {
    let (world, upstream) = world_with(World::builder().set("body.buffer", "1KiB")).await;
    for (end, code) in [
        ("<<nope>>", "credential_not_found"),
        (VALUE, "secret_exposed"),
    ] {
        let (mut client, mut server) = conversation(&world, &upstream).await;
        client
            .text(&format!("{}{end} and more", "x".repeat(10_000)))
            .await;
        assert_eq!(client.closed().await, (1008, code.to_owned()));
        let mut received = 0;
        loop {
            let frame = server.expect().await;
            if frame.first & 0x0f == super::socket::CLOSE {
                break;
            }
            assert_eq!(frame.first & FIN, 0, "the message is not to end");
            received += frame.payload.len();
        }
        assert!(received <= 10_000, "{received}");
    }
}

#[tokio::test]
async fn values_are_taken_out_of_what_comes_back() {
    let (world, upstream) = world().await;
    let (mut client, mut server) = conversation(&world, &upstream).await;
    let stored = format!("<<{SLUG}>>");
    for echo in [
        VALUE.to_owned(),
        serde_json::to_string(VALUE).unwrap(),
        base64(VALUE),
    ] {
        server.text(&format!("heard {echo}")).await;
        let heard = client.next_text().await;
        assert!(
            heard == format!("heard {}", stored)
                || heard == format!("heard \"{stored}\"")
                || heard == format!("heard {}", base64(&stored)),
            "{heard}"
        );
        server
            .send(FIN | BINARY, [b"\0\xff", echo.as_bytes()].concat())
            .await;
        let (opcode, heard) = client.message().await;
        assert_eq!(opcode, BINARY);
        // It may say lengths in front of what it holds.
        assert_eq!(heard.len(), 2 + echo.len());
        crate::leak::assert_absent("heard", &heard, &crate::leak::forms(VALUE.as_bytes()));
    }
    // Byte by byte, with pings that hold the value too.
    let (last, others) = VALUE.as_bytes().split_last().unwrap();
    for (n, byte) in others.iter().enumerate() {
        server
            .send(if n == 0 { TEXT } else { CONTINUATION }, [*byte])
            .await;
        server.send(FIN | PING, format!("{n} {VALUE}")).await;
        let ping = client.expect().await;
        assert_eq!(
            (ping.first, ping.payload),
            (FIN | PING, format!("{n} {stored}").into_bytes())
        );
    }
    server.send(FIN | CONTINUATION, [*last, b'!']).await;
    assert_eq!(client.next_text().await, format!("{stored}!"));
    server.close(4321, &format!("because of {VALUE}")).await;
    assert_eq!(
        client.closed().await,
        (4321, format!("because of {stored}"))
    );
    let scrubbed = eventually("scrubbed lines", || {
        Some(lines(&world, "scrubbed")).filter(|lines| lines.len() >= 3)
    });
    let scrubbed = scrubbed.await;
    assert_eq!(
        scrubbed.len(),
        3,
        "one for each form that it was found in: {scrubbed:#?}"
    );
    assert!(scrubbed.iter().all(|line| line["slug"] == SLUG));
}

/// Bytes in which no value can begin are forwarded at once.
/// A terminal is read in pieces, and each is a message.
#[tokio::test]
async fn a_value_is_followed_from_one_message_into_the_next() {
    let (world, upstream) = world().await;
    for kind in [TEXT, BINARY] {
        for size in [1, 3, 4, 7, VALUE.len() - 1] {
            let (mut client, mut server) = conversation(&world, &upstream).await;
            let pieces: Vec<_> = VALUE.as_bytes().chunks(size).collect();
            for piece in &pieces {
                server.send(FIN | kind, piece).await;
            }
            server.send(FIN | kind, "!").await;
            let mut arrived = Vec::new();
            for piece in &pieces {
                let (opcode, text) = client.message().await;
                assert_eq!(opcode, kind);
                if kind == BINARY {
                    assert_eq!(text.len(), piece.len(), "{size}");
                }
                arrived.extend(text);
            }
            assert_eq!(client.message().await, (kind, b"!".to_vec()), "{size}");
            let arrived = String::from_utf8_lossy(&arrived);
            for part in VALUE.as_bytes().windows(4) {
                let part = String::from_utf8_lossy(part);
                assert!(!arrived.contains(&*part), "{kind} {size}: {arrived}");
            }
        }
    }
}

/// What only begins like a value is delivered as it is when something else follows, and not for ever kept
/// when nothing does.
#[tokio::test]
async fn a_message_that_ends_like_the_beginning_of_a_value_waits_for_the_next() {
    let (world, upstream) = world().await;
    let begin = &VALUE[..8];
    let (mut client, mut server) = conversation(&world, &upstream).await;
    server.text(&format!("it is {begin}")).await;
    server.text("or so").await;
    assert_eq!(client.next_text().await, format!("it is {begin}"));
    assert_eq!(client.next_text().await, "or so");
    for (first, payload) in [(FIN | BINARY, &b"else"[..]), (FIN | TEXT, b"")] {
        server.text(begin).await;
        server.send(first, payload).await;
        assert_eq!(client.next_text().await, begin);
        assert_eq!(client.message().await, (first & 0xf, payload.to_vec()));
    }
    server.text(begin).await;
    server.send(FIN | PING, "between").await;
    let start = std::time::Instant::now();
    let ping = client.expect().await;
    assert_eq!(
        (ping.first, ping.payload),
        (FIN | PING, b"between".to_vec())
    );
    assert_eq!(client.next_text().await, "*".repeat(begin.len()));
    assert!(start.elapsed() < std::time::Duration::from_secs(3));
    server.text(begin).await;
    server.close(1000, "").await;
    assert_eq!(client.next_text().await, begin);
    assert_eq!(client.closed().await.0, 1000);
}

#[tokio::test]
async fn a_message_that_is_under_way_is_not_held_back() {
    let (world, upstream) = world().await;
    let (mut client, mut server) = conversation(&world, &upstream).await;
    server.send(TEXT, "one ").await;
    assert_eq!(client.expect().await.payload, b"one ");
    server
        .send(CONTINUATION, format!("two {}", &VALUE[..9]))
        .await;
    assert_eq!(client.expect().await.payload, b"two ");
    server.send(FIN | CONTINUATION, "!").await;
    assert_eq!(
        client.expect().await.payload,
        format!("{}!", &VALUE[..9]).as_bytes()
    );
    // Scrubbed values of a conversation that does not end are recorded too, in one line.
    for _ in 0..20 {
        server.send(BINARY, VALUE).await;
        server.send(FIN | CONTINUATION, "!").await;
        assert_eq!(
            client.message().await.1,
            format!("{}!", "*".repeat(VALUE.len())).into_bytes()
        );
    }
    server.send(BINARY, base64(VALUE)).await;
    let found = |line: &serde_json::Value| {
        line["event"] == "scrubbed" && line["locations"][0] == "message (base64)"
    };
    world.ledger_line("the second finding", found).await;
    assert_eq!(lines(&world, "scrubbed").len(), 2);
}

/// Short values are searched for once they were used, and new ones as soon as they are stored.
#[tokio::test]
async fn a_value_that_is_used_later_is_scrubbed_from_then_on() {
    let (world, upstream) = world().await;
    save(&world, "pin", "4711").await;
    let (mut client, mut server) = conversation(&world, &upstream).await;
    server.send(TEXT, "4711 ").await;
    assert_eq!(client.expect().await.payload, b"4711 ");
    assert_eq!(arrives(&mut client, &mut server, "<<pin>>").await, "4711");
    // Also inside a message that had begun before.
    server.send(CONTINUATION, "4711 ").await;
    assert_eq!(client.expect().await.payload, b"<<pin>> ");
    server.send(FIN | CONTINUATION, "4711").await;
    assert_eq!(client.expect().await.payload, b"<<pin>>");
    save(&world, "late", "stored-while-it-was-open").await;
    assert_eq!(
        arrives(&mut client, &mut server, "a message").await,
        "a message"
    );
    server.text("stored-while-it-was-open").await;
    assert_eq!(client.next_text().await, "<<late>>");
}

/// Frames of any length in both directions at once, in constant memory.
#[tokio::test]
async fn a_frame_of_64_mib_passes_in_constant_memory() {
    const LENGTH: usize = 64 << 20;
    let (world, upstream) = world().await;
    let (mut client, mut server) = conversation(&world, &upstream).await;
    let before = resident_kib(world.pid());
    let piece = vec![b'a'; 1 << 20];
    let send = async |socket: &mut Socket, first: Vec<u8>| {
        socket.wire.send(first).await.unwrap();
        for _ in 0..LENGTH / piece.len() {
            socket.wire.send(&piece).await.unwrap();
        }
    };
    let receive = async |socket: &mut Socket| {
        let mut length = 0;
        loop {
            let frame = socket.expect().await;
            length += frame.payload.len();
            socket.wire.received.clear();
            if frame.first & FIN != 0 {
                return length;
            }
        }
    };
    // A mask of zeros, so that the payload need not be transformed.
    let masked = [head(FIN | BINARY, LENGTH as u64, true), vec![0; 4]].concat();
    let outward = async { tokio::join!(send(&mut client, masked), receive(&mut server)).1 };
    assert_eq!(crate::within_secs(120, "the upload", outward).await, LENGTH);
    let plain = head(FIN | TEXT, LENGTH as u64, false);
    let homeward = async { tokio::join!(send(&mut server, plain), receive(&mut client)).1 };
    assert_eq!(
        crate::within_secs(120, "the download", homeward).await,
        LENGTH
    );
    let grown = resident_kib(world.pid()).saturating_sub(before);
    assert!(grown < 8 << 10, "resident memory rose by {grown} KiB");
}

//! WebSocket conversations that fail, and handshakes that fail.

use super::canary::Canary;
use super::conversation::{Conversation, Heard};
use super::search::Search;
use super::{Hunt, admin};
use crate::client::{Wanted, basic};
use crate::websocket::socket::{
    BINARY, CLOSE, CONTINUATION, FIN, PING, TEXT, Upstream, frame, handshake, head,
};
use crate::within;

/// Who breaks a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Client,
    Upstream,
}

/// Frames that hold a value and end a conversation, and the close code that the client receives;
/// none if the connection only breaks off.
fn broken(canary: &Canary) -> Vec<(&'static str, By, Vec<u8>, Option<u16>)> {
    let value = canary.value.as_slice();
    let long = [value, &b".".repeat(126)].concat();
    let short = &value[..value.len().min(100)];
    let unknown = format!("<<{}>> and <<nope>>", canary.slug).into_bytes();
    let bad_text = [value, b"\xff"].concat();
    let bad_close = [&1005u16.to_be_bytes(), &value[..value.len().min(8)]].concat();
    let named = [b"<<", value, b">>"].concat();
    let (start, tail) = value.split_at(value.len() / 2);
    let mut all = vec![
        (
            "an unknown slug",
            By::Client,
            frame(FIN | TEXT, &unknown, true),
            1008,
        ),
        (
            "a value in the clear",
            By::Client,
            frame(FIN | TEXT, value, true),
            1008,
        ),
        (
            "a value as a name",
            By::Client,
            frame(FIN | TEXT, &named, true),
            1008,
        ),
        (
            "a value in two pieces",
            By::Client,
            [
                frame(TEXT, start, true),
                frame(FIN | CONTINUATION, tail, true),
            ]
            .concat(),
            1008,
        ),
    ];
    for (by, masked, told) in [(By::Client, true, None), (By::Upstream, false, Some(1014))] {
        let one = |first: u8, payload: &[u8]| frame(first, payload, masked);
        let as_told = |code: u16| told.unwrap_or(code);
        all.extend([
            ("a large ping", by, one(FIN | PING, &long), as_told(1002)),
            ("a large close", by, one(FIN | CLOSE, &long), as_told(1002)),
            ("a ping in pieces", by, one(PING, short), as_told(1002)),
            (
                "a reserved bit",
                by,
                one(FIN | 0x40 | TEXT, value),
                as_told(1002),
            ),
            ("a reserved opcode", by, one(FIN | 3, value), as_told(1002)),
            (
                "nothing to continue",
                by,
                one(FIN | CONTINUATION, value),
                as_told(1002),
            ),
            ("no UTF-8", by, one(FIN | TEXT, &bad_text), as_told(1007)),
            (
                "a code that is none",
                by,
                one(FIN | CLOSE, &bad_close),
                as_told(1002),
            ),
            (
                "the wrong mask",
                by,
                frame(FIN | TEXT, value, !masked),
                as_told(1002),
            ),
        ]);
    }
    let mut all: Vec<_> = all
        .into_iter()
        .map(|(what, by, bytes, code)| (what, by, bytes, Some(code)))
        .collect();
    let cut_off = [
        head(FIN | BINARY, value.len() as u64 + 9, false),
        value.to_vec(),
    ]
    .concat();
    all.push(("a message that breaks off", By::Upstream, cut_off, None));
    let reason = String::from_utf8_lossy(value);
    let reason = &reason[..reason.floor_char_boundary(123)];
    let goodbye = [&1000u16.to_be_bytes(), reason.as_bytes()].concat();
    let goodbye = frame(FIN | CLOSE, &goodbye, true);
    all.push(("a farewell", By::Client, goodbye, None));
    all
}

/// Whatever ends a conversation, nothing quotes a value: not the close frame, no answer, no log
/// line, no ledger line.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_failed_conversation_quotes_a_value() {
    let (mut hunt, wanted) = Hunt::talk("no_failed_conversation_quotes_a_value").await;
    let search = Search::whole(&hunt.all());
    for n in 0..hunt.canaries.len() {
        // The guard tells one client only so often in a minute.
        let token = hunt.world.client(&format!("talker-{n}"), "default").await;
        let wanted = wanted.clone().authorized(basic("act-1", &token));
        for (what, by, bytes, code) in broken(&hunt.canaries[n]) {
            let what = format!("{}: {what} by {by:?}", hunt.canaries[n].slug);
            let mut conversation = hunt.converse(&wanted).await;
            let canary = &hunt.canaries[n];
            conversation.use_one(&mut hunt.chance, canary).await;
            let Conversation {
                mut client,
                mut server,
            } = conversation;
            let from = match by {
                By::Client => &mut client,
                By::Upstream => &mut server,
            };
            let sent = within("sending", from.wire.send(&bytes)).await;
            sent.expect("the proxy takes what comes");
            if code.is_none() {
                drop(server);
            }
            let heard = Heard::of(&mut client, b"no end").await;
            assert_eq!(heard.closed, code, "{what}");
            heard.search(&mut client, &search, &what);
        }
        careless_handshakes(&hunt, &wanted, n, &search).await;
        admin::search(&hunt.world, &search).await;
    }
    let codes = |line: &serde_json::Value| line["code"].as_str().map(str::to_owned);
    let codes: Vec<_> = hunt.world.ledger().iter().filter_map(codes).collect();
    for code in ["secret_exposed", "credential_not_found"] {
        assert!(codes.iter().any(|c| c == code), "{code} in the ledger");
    }
    hunt.search_outside(&search);
    hunt.world.stop().await;
    hunt.search_outside(&search);
}

/// Handshakes that hold the value in the clear, or that the value makes invalid.
async fn careless_handshakes(hunt: &Hunt<Upstream>, wanted: &Wanted, n: usize, search: &Search) {
    let value = &hunt.canaries[n].value;
    let raw = String::from_utf8_lossy(value);
    let percent = crate::leak::percent(value, true, |b| b.is_ascii_alphanumeric());
    let percent = String::from_utf8_lossy(&percent);
    for (asked, code) in [
        (handshake(&format!("/x?k={percent}"), &[]), "secret_exposed"),
        (
            handshake("/x", &[&format!("X-Key: {raw}")]),
            "secret_exposed",
        ),
        (
            handshake("/x", &[&format!("Sec-WebSocket-Protocol: {raw}")]),
            "secret_exposed",
        ),
        (handshake(&format!("/x?k=<<nope>>&l={percent}"), &[]), ""),
    ] {
        let begun = hunt
            .begin_with(wanted, &asked, |_| panic!("it reached the upstream"))
            .await;
        let Err((Some(answer), received)) = begun else {
            panic!("no answer");
        };
        let error = answer.egret_error().expect("a refusal");
        assert!(code.is_empty() || error == code, "{error}, not {code}");
        assert_eq!(search.find(&received), None, "{error}");
    }
}

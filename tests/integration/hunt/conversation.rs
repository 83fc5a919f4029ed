//! The hunt over WebSocket: values are used in handshakes and messages, and come back in messages,
//! control frames and the head of the answer.

use std::collections::BTreeMap;

use super::canary::{Canary, Chance};
use super::messages::{self, Echo, Place};
use super::search::Search;
use super::{Hunt, admin, cases, echoed_forms};
use crate::client::{Wanted, basic, trusting};
use crate::websocket::socket::{
    BINARY, CLOSE, CONTINUATION, FIN, PING, Socket, TEXT, Upstream, frame, handshake, head,
};
use crate::wire::Response;
use crate::within;
use crate::world::{HOST, World};

impl Hunt<Upstream> {
    /// A world whose upstream speaks WebSocket, and a way to it.
    async fn talk(name: &str) -> (Self, Wanted) {
        let chance = Chance::from_environment(name);
        let builder = World::builder().set("body.buffer", "16KiB");
        let upstream = Upstream::tls(builder.pki(), HOST).await;
        let addr = upstream.addr;
        let hunt = Self::plant(chance, builder, upstream, addr).await;
        let mut wanted = Wanted::new(&hunt.world);
        wanted.tls = Some(trusting(&hunt.world.ca_pem().await));
        (hunt, wanted)
    }

    /// Both ends of a conversation about nothing yet.
    async fn converse(&self, wanted: &Wanted) -> Conversation {
        let begun = self
            .begin_with(wanted, &handshake("/x", &[]), |_| {
                crate::websocket::socket::switching("")
            })
            .await;
        begun.unwrap_or_else(|(answer, _)| panic!("no conversation: {answer:?}"))
    }

    /// Sends a handshake, which the upstream answers with `agree`. The answer, if it is not a yes,
    /// and every byte that came with it.
    async fn begin_with(
        &self,
        wanted: &Wanted,
        asked: &str,
        agree: impl FnOnce(&str) -> String,
    ) -> Result<Conversation, (Option<Response>, Vec<u8>)> {
        let tunnel = self.world.tunnel_for(wanted).await;
        let mut client = Socket::client(tunnel.wire.into_io());
        client.wire.send(asked).await.expect("send a handshake");
        let refused = tokio::select! {
            (mut server, request) = self.stub.asked() => {
                let yes = agree(&request.target);
                server.wire.send(yes).await.expect("send the answer");
                let answer = within("the answer to a handshake", client.wire.response(false)).await;
                match answer {
                    Ok(answer) if answer.status == 101 => return Ok(Conversation { client, server }),
                    answer => answer.ok(),
                }
            }
            // Refused on its way.
            answer = client.wire.response(false) => answer.ok(),
        };
        Err((refused, client.wire.received))
    }
}

/// Both ends of one.
struct Conversation {
    client: Socket,
    server: Socket,
}

/// What a client makes of what it gets.
#[derive(Default)]
struct Heard {
    /// The messages, each put together, and the payloads of the control frames.
    said: Vec<u8>,
    /// The message that is under way.
    open: Vec<u8>,
    /// The code of the close frame.
    closed: Option<u16>,
    /// How many messages there were.
    messages: usize,
}

impl Heard {
    /// Listens up to a ping that says `end`, or to the end.
    async fn of(client: &mut Socket, end: &[u8]) -> Self {
        let mut heard = Self::default();
        while let Some(frame) = client.next().await {
            if (frame.first, &*frame.payload) == (FIN | PING, end) {
                return heard;
            }
            match frame.first & 0x0f {
                TEXT | BINARY | CONTINUATION => {
                    heard.open.extend(frame.payload);
                    if frame.first & FIN != 0 {
                        let message = std::mem::take(&mut heard.open);
                        heard.keep(&message);
                        heard.messages += 1;
                    }
                }
                CLOSE => {
                    let code = frame.payload.first_chunk();
                    heard.closed = Some(code.map_or(0, |code| u16::from_be_bytes(*code)));
                    heard.keep(&frame.payload);
                    break;
                }
                _ => heard.keep(&frame.payload),
            }
        }
        let rest = std::mem::take(&mut heard.open);
        heard.keep(&rest);
        heard
    }

    fn keep(&mut self, payload: &[u8]) {
        self.said.extend_from_slice(payload);
        self.said.push(b'\n');
    }

    /// Searches what was made of it, and the bytes as they came.
    fn search(&self, client: &mut Socket, search: &Search, what: &str) {
        assert_eq!(search.find(&self.said), None, "{what}");
        let received = std::mem::take(&mut client.wire.received);
        assert_eq!(search.find(&received), None, "{what}");
    }
}

/// A handshake that uses a canary somewhere, or only could.
fn asking(chance: &mut Chance, canary: &Canary) -> String {
    let p = format!("<<{}>>", canary.slug);
    match chance.below(5) {
        0 => handshake(&format!("/x?k={p}"), &[]),
        1 => handshake("/x", &[&format!("Authorization: {}", basic("u", &p))]),
        2 => handshake(&format!("/p/{p}"), &[]),
        3 => handshake("/x", &[&format!("X-Api-Key: {p}")]),
        _ => handshake("/x", &[]),
    }
}

impl Conversation {
    /// The client uses a canary in a message, and the upstream gets it.
    async fn use_one(&mut self, chance: &mut Chance, canary: &Canary) {
        let p = format!("<<{}>>", canary.slug);
        let is_json = chance.once_in(2);
        let message = match is_json {
            true => format!("{{\"k\":\"{p}\"}}"),
            false => format!("AUTH {p}"),
        };
        let (first, rest) = message.split_at(chance.below(message.len()));
        let sending = async {
            self.client.send(TEXT, first).await;
            if chance.once_in(2) {
                self.client.send(FIN | PING, "between").await;
            }
            self.client.send(FIN | CONTINUATION, rest).await;
        };
        // The ping goes ahead of the message that waits to be decided on.
        let reading = async {
            loop {
                let frame = self.server.expect().await;
                if frame.first & 0x0f != PING {
                    break frame;
                }
            }
        };
        let ((), frame) = tokio::join!(sending, reading);
        assert_eq!(frame.first, FIN | TEXT, "a message that is held is whole");
        let value = match is_json {
            true => {
                let json: serde_json::Value = serde_json::from_slice(&frame.payload).expect("JSON");
                json["k"].as_str().expect("a string").as_bytes().to_vec()
            }
            false => frame.payload["AUTH ".len()..].to_vec(),
        };
        assert!(value == canary.value, "{} did not arrive", canary.slug);
    }

    /// The upstream says it, in pieces of its own, and the client listens.
    async fn hear(&mut self, chance: &mut Chance, echo: &Echo) -> Heard {
        let end = format!("end {:x}", chance.next());
        let mut wire = echo.frames.clone();
        if echo.place != Place::Close {
            wire.extend(frame(FIN | PING, end.as_bytes(), false));
        }
        let size = wire.len().div_ceil(1 + chance.below(6));
        let saying = async {
            for piece in wire.chunks(size) {
                let sent = within("sending", self.server.wire.send(piece)).await;
                sent.expect("the proxy takes what the upstream says");
            }
        };
        tokio::join!(saying, Heard::of(&mut self.client, end.as_bytes())).1
    }
}

/// A value is echoed in every form, in messages of any pieces, in control frames and in the head of
/// the answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_conversation_brings_a_value_back() {
    let (mut hunt, wanted) = Hunt::talk("no_conversation_brings_a_value_back").await;
    let search = Search::whole(&hunt.all());
    let mut played = BTreeMap::new();
    let mut open = None;
    let mut named = 0;
    for case in 0..cases() {
        let n = hunt.chance.below(hunt.canaries.len());
        let forms = echoed_forms(&hunt.canaries[n].value);
        let (name, form) = hunt.chance.pick(&forms).clone();
        let slug = hunt.canaries[n].slug.clone();
        if case % 200 == 100 {
            admin::search(&hunt.world, &search).await;
        }
        if open.is_none() || hunt.chance.once_in(12) {
            open = begin(&mut hunt, &wanted, n, &form, &search).await;
        }
        let Some(mut conversation) = open.take() else {
            *played.entry("no conversation".to_owned()).or_insert(0usize) += 1;
            continue;
        };
        if hunt.chance.once_in(3) {
            let used = &hunt.canaries[n];
            conversation.use_one(&mut hunt.chance, used).await;
        }
        let echo = messages::echo(&mut hunt.chance, &form);
        let Echo { place, pieces, .. } = &echo;
        let what = format!("case {case}: {slug} as {name} in {place:?} of {pieces} pieces");
        let heard = conversation.hear(&mut hunt.chance, &echo).await;
        let has_message = matches!(place, Place::Text | Place::Json | Place::Binary);
        assert_eq!(heard.messages, usize::from(has_message), "{what}");
        assert_eq!(heard.closed.is_some(), *place == Place::Close, "{what}");
        let placeholder = format!("<<{slug}>>");
        let is_named = memchr::memmem::find(&heard.said, placeholder.as_bytes()).is_some();
        named += usize::from(is_named);
        heard.search(&mut conversation.client, &search, &what);
        *played.entry(format!("{place:?}")).or_insert(0) += 1;
        if heard.closed.is_none() {
            open = Some(conversation);
        }
    }
    println!("{played:?}, {named} with a placeholder");
    assert!(played.len() > 5, "{played:?}");
    assert!(
        named * 10 > cases() * 7,
        "{named} of {} echoes came through to be scrubbed",
        cases()
    );
    drop(open);
    admin::search(&hunt.world, &search).await;
    hunt.search_outside(&search);
}

/// A new conversation, if the upstream's answer begins one.
async fn begin(
    hunt: &mut Hunt<Upstream>,
    wanted: &Wanted,
    n: usize,
    form: &[u8],
    search: &Search,
) -> Option<Conversation> {
    let asked = asking(&mut hunt.chance, &hunt.canaries[n]);
    let form = std::str::from_utf8(form).expect("every form of text is text");
    let agreement = messages::agreement(&mut hunt.chance, form);
    match hunt.begin_with(wanted, &asked, |_| agreement).await {
        Ok(mut conversation) => {
            let received = std::mem::take(&mut conversation.client.wire.received);
            assert_eq!(search.find(&received), None, "in the answer to a handshake");
            Some(conversation)
        }
        Err((answer, received)) => {
            assert_eq!(
                search.find(&received),
                None,
                "in the refusal of a handshake"
            );
            assert!(answer.is_some(), "a client is told why");
            None
        }
    }
}

/// Who breaks a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Client,
    Upstream,
}

/// Frames with a value in them that end a conversation, and the code that the client is told; none
/// if the conversation only breaks off.
fn broken(canary: &Canary) -> Vec<(&'static str, By, Vec<u8>, Option<u16>)> {
    let value = canary.value.as_slice();
    let long = [value, &b".".repeat(126)].concat();
    let short = &value[..value.len().min(100)];
    let unknown = format!("<<{}>> and <<nope>>", canary.slug).into_bytes();
    let bad_text = [value, b"\xff"].concat();
    let bad_close = [&1005u16.to_be_bytes(), &value[..value.len().min(8)]].concat();
    let named = [b"<<", value, b">>"].concat();
    let (head_, tail) = value.split_at(value.len() / 2);
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
                frame(TEXT, head_, true),
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
    let goodbye = [&1000u16.to_be_bytes(), &value[..value.len().min(8)]].concat();
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

/// Handshakes that hold the value in the clear, or are no handshakes for its sake.
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

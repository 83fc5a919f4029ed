//! The hunt over WebSocket: values are used in handshakes and messages, and come back in messages,
//! control frames and the head of the answer.

use std::collections::BTreeMap;

use super::canary::{Canary, Chance};
use super::messages::{self, Echo, Place};
use super::search::Search;
use super::{Hunt, admin, cases, echoed_forms, image};
use crate::client::{Wanted, basic, trusting};
use crate::websocket::socket::{
    BINARY, CLOSE, CONTINUATION, FIN, PING, Socket, TEXT, Upstream, frame, handshake, switching,
};
use crate::wire::Response;
use crate::within;
use crate::world::{HOST, World};

impl Hunt<Upstream> {
    /// A world whose upstream speaks WebSocket, and a way to it.
    pub async fn talk(name: &str) -> (Self, Wanted) {
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
    pub async fn converse(&self, wanted: &Wanted) -> Conversation {
        let begun = self
            .begin_with(wanted, &handshake("/x", &[]), |_| switching(""))
            .await;
        begun.unwrap_or_else(|(answer, _)| panic!("no conversation: {answer:?}"))
    }

    /// Sends a handshake, which the upstream answers with `agree`. The answer, if it is not a yes,
    /// and every byte that came with it.
    pub async fn begin_with(
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
pub struct Conversation {
    pub client: Socket,
    pub server: Socket,
}

/// What a client makes of what it gets.
#[derive(Default)]
pub struct Heard {
    /// The messages, each put together, and the payloads of the control frames.
    said: Vec<u8>,
    /// The message that is under way.
    open: Vec<u8>,
    /// The code of the close frame.
    pub closed: Option<u16>,
    /// How many messages there were.
    messages: usize,
}

impl Heard {
    /// Listens up to a ping that says `end`, or to the end.
    pub async fn of(client: &mut Socket, end: &[u8]) -> Self {
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
    pub fn search(&self, client: &mut Socket, search: &Search, what: &str) {
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
    pub async fn use_one(&mut self, chance: &mut Chance, canary: &Canary) {
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
        // A control frame may have no room for it.
        let placeholder = format!("<<{slug}>>");
        let is_named = is_marked(&heard.said, &placeholder, *place);
        assert!(is_named || !has_message, "{what}: not put in its place");
        heard.search(&mut conversation.client, &search, &what);
        *played.entry(format!("{place:?}")).or_insert(0) += 1;
        if heard.closed.is_none() {
            open = Some(conversation);
        }
    }
    println!("{played:?}");
    let silent = played.get("no conversation").copied().unwrap_or_default();
    assert!(silent * 4 < cases(), "few conversations began: {played:?}");
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

/// After the credentials were deleted, a core image holds none of what conversations were about.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_of_a_conversation_stays_in_memory() {
    let (mut hunt, wanted) = Hunt::talk("nothing_of_a_conversation_stays_in_memory").await;
    let mut conversation = hunt.converse(&wanted).await;
    for _ in 0..cases() / 4 {
        let n = hunt.chance.below(hunt.canaries.len());
        let canary = &hunt.canaries[n];
        conversation.use_one(&mut hunt.chance, canary).await;
        let forms = echoed_forms(&canary.value);
        let form = &hunt.chance.pick(&forms).1;
        let echo = messages::echo(&mut hunt.chance, form);
        if conversation
            .hear(&mut hunt.chance, &echo)
            .await
            .closed
            .is_some()
        {
            conversation = hunt.converse(&wanted).await;
        }
    }
    // What is under way may be held: half a message of each side.
    let canary = &hunt.canaries[0].value;
    let half = &canary[..canary.len() / 2];
    conversation.server.send(BINARY, half).await;
    conversation.client.send(TEXT, half).await;
    drop(conversation);
    image::nothing_stays(&mut hunt).await;
}

/// Whether something stands in place of a value: the placeholder, itself or in base64. What is not
/// text keeps its length, because a program may count it: there it is asterisks.
fn is_marked(said: &[u8], placeholder: &str, place: Place) -> bool {
    let holds = |mark: &[u8]| memchr::memmem::find(said, mark).is_some();
    if place == Place::Binary {
        return holds(b"****") || holds(b"KioqKio");
    }
    holds(placeholder.as_bytes())
        || base64_of(placeholder)
            .iter()
            .any(|form| holds(form.as_bytes()))
}

/// What all base64 texts with `text` in them have in common, for each place in a group of three.
fn base64_of(text: &str) -> [String; 3] {
    use base64::Engine as _;
    [0, 1, 2].map(|shift| {
        let bytes = [&b"\0\0"[..shift], text.as_bytes()].concat();
        let whole = base64::engine::general_purpose::STANDARD_NO_PAD.encode(&bytes);
        // The characters at the edges hold bits of the neighbours too.
        let first = [0, 2, 3][shift];
        let last = bytes.len() * 8 / 6;
        whole[first..last].to_owned()
    })
}

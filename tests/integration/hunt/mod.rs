//! The leak hunt: random values are planted, used and echoed in every way. Everything that is
//! visible from outside is searched for them, and after their deletion the server's memory as well.
//!
//! Each run draws a new seed and prints it. `EGRET_TEST_SEED` repeats a run, and `EGRET_TEST_CASES`
//! makes it longer. Every run also repeats the cases that failed once.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::client::Wanted;
use crate::http2::upstream::Reply;
use crate::leak::{forms, in_tree};
use crate::upstream::{Door, Step, Stub, ok};
use crate::world::{Builder, HOST, World};

mod admin;
mod answers;
mod api;
mod broken;
mod canary;
mod client;
mod conversation;
mod image;
mod messages;
mod names;
mod search;

use answers::Echo;
use canary::{Canary, Chance};
use client::{Client, Mode, Sent, careless, using};
use search::Search;

/// Echoes played over each protocol, unless `EGRET_TEST_CASES` says otherwise.
const CASES: usize = 1_200;

const EVERYWHERE: &[&str] = &[
    "--host",
    HOST,
    "--in",
    "header",
    "--in",
    "query",
    "--in",
    "path",
    "--in",
    "body",
    "--copies",
    "any",
    "--in",
    "header:cookie",
];

/// A world with canaries, and all that its commands printed.
struct Hunt<U = Stub> {
    world: World,
    /// The upstream.
    stub: U,
    canaries: Vec<Canary>,
    /// Values that were replaced.
    replaced: Vec<Canary>,
    chance: Chance,
    printed: Vec<u8>,
}

impl Hunt {
    async fn begin(name: &str) -> Self {
        Self::drawn_from(Chance::from_environment(name)).await
    }

    /// A hunt whose upstream speaks both protocols.
    async fn drawn_from(chance: Chance) -> Self {
        let builder = World::builder()
            .set("upstream.connect_timeout", "2s")
            .set("upstream.first_byte_timeout", "2s")
            .set("upstream.idle_timeout", "2s")
            .set("body.buffer", "16KiB");
        let stub = Stub::tls_alpn(builder.pki(), &[HOST], &["h2", "http/1.1"]).await;
        let addr = stub.addr;
        Self::plant(chance, builder, stub, addr).await
    }
}

impl<U> Hunt<U> {
    /// Starts a world whose upstream is `stub` at `addr`, and saves the canaries for it.
    async fn plant(mut chance: Chance, builder: Builder, stub: U, addr: SocketAddr) -> Self {
        let authority = format!("{HOST}:443");
        let builder = builder.route(&authority, addr).traceable();
        let world = builder.start().await;
        let mut hunt = Self {
            canaries: canary::plant(&mut chance, "canary"),
            replaced: Vec::new(),
            world,
            stub,
            chance,
            printed: Vec::new(),
        };
        for n in 0..hunt.canaries.len() {
            let Canary { slug, value } = &hunt.canaries[n];
            let args = [&["credential", "add", slug], EVERYWHERE].concat();
            let value = [value, b"\n".as_slice()].concat();
            let args: Vec<String> = args.iter().map(|a| (*a).to_owned()).collect();
            hunt.run(&args, &value).await;
        }
        hunt
    }

    /// Runs a command and keeps what it prints.
    async fn run(&mut self, args: &[impl AsRef<str>], stdin: &[u8]) {
        let args: Vec<&str> = args.iter().map(AsRef::as_ref).collect();
        let output = self.world.run_with(&args, stdin).await;
        self.printed.extend(output.stdout.into_bytes());
        self.printed.extend(output.stderr.into_bytes());
    }

    fn all(&self) -> Vec<&Canary> {
        self.canaries.iter().chain(&self.replaced).collect()
    }

    /// Searches everything that a user, an operator or a thief of the disk can see.
    fn search_outside(&self, search: &Search) {
        let log = self.world.log_bytes();
        assert!(log.len() > 1_000, "the log at trace level is there");
        for (place, text) in [
            ("the log", &log),
            ("the ledger", &self.world.ledger_bytes()),
            ("the output of commands", &self.printed),
        ] {
            assert_eq!(search.find(text), None, "in {place}");
        }
        let queries = memchr::memmem::find(&log, b"?k=");
        assert_eq!(queries, None, "a query in the log");
        for canary in self.all() {
            let found = in_tree(&self.world.data, &forms(&canary.value));
            assert_eq!(found, Vec::<String>::new());
        }
    }
}

/// How many cases to play.
fn cases() -> usize {
    match std::env::var("EGRET_TEST_CASES") {
        Ok(cases) => cases.parse().expect("EGRET_TEST_CASES is a number"),
        Err(_) => CASES,
    }
}

/// A value is echoed in every form, at every place, in every coding and in any pieces.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_echo_brings_a_value_back() {
    let mut hunt = Hunt::begin("no_echo_brings_a_value_back").await;
    let search = Search::whole(&hunt.all());
    let mut played = BTreeMap::new();
    for mode in Mode::ALL {
        let mut client = Client::new(*mode, Wanted::new(&hunt.world));
        for number in 0..cases() {
            if number % 200 == 100 {
                admin::search(&hunt.world, &search).await;
            }
            let case = Case::draw(&mut hunt);
            let what = format!("{mode:?} case {number}");
            let kind = case.play(&hunt, &mut client, &search, &what).await;
            *played.entry(kind).or_insert(0usize) += 1;
        }
    }
    println!("{played:?}");
    // A hunt in which everything fails would find nothing either.
    assert!(played["passed"] > cases(), "{played:?}");
    let scrubbed = hunt.world.ledger();
    let scrubbed = scrubbed.iter().filter(|line| line["event"] == "scrubbed");
    assert!(scrubbed.count() * 2 > cases(), "few answers were scrubbed");
    admin::search(&hunt.world, &search).await;
    hunt.search_outside(&search);
}

/// Every case that once brought a value back, with the cases just before it, whatever the seed of
/// this run is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_echo_that_once_brought_a_value_back_does_so_again() {
    for once in ONCE_FAILED {
        let mut hunt = Hunt::drawn_from(Chance::of(once.seed)).await;
        let search = Search::whole(&hunt.all());
        for _ in 0..once.drawn_before() {
            Case::draw(&mut hunt);
        }
        let mut client = Client::new(once.mode, Wanted::new(&hunt.world));
        for number in once.first()..=once.case {
            let case = Case::draw(&mut hunt);
            let what = format!("{once:?}, case {number}");
            case.play(&hunt, &mut client, &search, &what).await;
        }
        hunt.search_outside(&search);
    }
}

/// A case of [`no_echo_brings_a_value_back`] that failed, as its message named it. Whoever finds
/// one adds it to [`ONCE_FAILED`]; what is drawn for a case must then stay as it is.
#[derive(Debug)]
struct OnceFailed {
    seed: u64,
    mode: Mode,
    case: usize,
}

const ONCE_FAILED: &[OnceFailed] = &[
    // A stored value that the request did not send, as the name of a field in its own case.
    OnceFailed {
        seed: 1_795_933_321_021_769_770,
        mode: Mode::Http1,
        case: 384,
    },
];

/// How many of the cases before one that failed are played with it: connections are kept.
const BEFORE: usize = 40;

impl OnceFailed {
    /// The first case that is played again.
    fn first(&self) -> usize {
        self.case.saturating_sub(BEFORE)
    }

    /// How many cases are drawn before that and not played.
    fn drawn_before(&self) -> usize {
        let earlier = Mode::ALL.iter().take_while(|mode| **mode != self.mode);
        earlier.count() * CASES + self.first()
    }
}

/// One request of the hunt and the answer to it.
struct Case {
    slug: String,
    /// The name of the form that is echoed.
    form: String,
    echo: Echo,
    sent: Sent,
}

impl Case {
    fn draw(hunt: &mut Hunt) -> Self {
        let canary = &hunt.canaries[hunt.chance.below(hunt.canaries.len())];
        let forms = echoed_forms(&canary.value);
        let (name, form) = hunt.chance.pick(&forms).clone();
        let echo = answers::echo(&mut hunt.chance, &form);
        Self {
            slug: canary.slug.clone(),
            form: name,
            echo,
            sent: using(&mut hunt.chance, canary),
        }
    }

    /// Asserts that the value does not come back. Returns what became of the answer.
    async fn play(self, hunt: &Hunt, client: &mut Client, search: &Search, what: &str) -> String {
        let Self {
            slug,
            form,
            echo,
            sent,
        } = self;
        let what = format!(
            "{what}: {slug} as {form} in {:?}, {}",
            echo.place, echo.coding
        );
        if echo.is_plain {
            assert!(is_sent(search, &echo.steps), "{what}: not sent");
        }
        answer(&hunt.stub, echo);
        let (received, answer) = client.exchange(&hunt.world, &sent).await;
        if let Some((at, found)) = search.find(&received) {
            let around = &received[at.saturating_sub(600)..(at + 200).min(received.len())];
            let around = String::from_utf8_lossy(around);
            panic!("{what}: {found} came back at byte {at} of\n{around}");
        }
        match answer {
            Some(answer) => answer.egret_error().unwrap_or_else(|| "passed".to_owned()),
            None => "broken off".to_owned(),
        }
    }
}

/// Has the stub answer every request like that, over either protocol.
fn answer(stub: &Stub, echo: Echo) {
    let Echo { steps, frames, .. } = echo;
    stub.steps(steps);
    stub.serve_http2(move |stream, _| {
        let frames = frames(stream);
        async move { vec![Reply::Bytes(frames)] }
    });
}

/// Forms that the upstream writes: those that are searched for in an answer.
fn echoed_forms(value: &[u8]) -> Vec<crate::leak::Form> {
    let mut forms = forms(value);
    // The reference does not promise to find a debugger's notation or a list of decimal numbers.
    forms.retain(|(name, _)| !["list of numbers", "debug", "ascii escape"].contains(&&**name));
    forms
}

/// Whether the upstream sends the value in one piece, or its chunks split it.
fn is_sent(search: &Search, steps: &[Step]) -> bool {
    let mut wire = Vec::new();
    for step in steps {
        if let Step::Send(bytes) = step {
            wire.extend_from_slice(bytes);
        }
    }
    search.find(&wire).is_some() || memchr::memmem::find(&wire, b"chunked\r\n").is_some()
}

/// Whatever goes wrong, on the way to the upstream, on the way back, in a client's request or in a
/// command: no log line, error, file or answer quotes a value.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_failure_quotes_a_value() {
    let mut hunt = Hunt::begin("no_failure_quotes_a_value").await;
    let search = Search::whole(&hunt.all());
    hunt.stub.answer(ok("ok"));
    for n in 0..hunt.canaries.len() {
        fail_upstream(&mut hunt, n, &search).await;
        be_careless(&hunt, n, &search).await;
        administer(&mut hunt, n).await;
        admin::search(&hunt.world, &search).await;
    }
    assert!(!hunt.replaced.is_empty());
    let search = Search::whole(&hunt.all());
    admin::search(&hunt.world, &search).await;
    hunt.search_outside(&search);
    hunt.world.stop().await;
    hunt.search_outside(&search);
}

/// The request is sent, and then something happens.
async fn fail_upstream(hunt: &mut Hunt, n: usize, search: &Search) {
    let slow = n == 0;
    for door in [Door::Slam, Door::CloseAfterHandshake, Door::Mute] {
        if door == Door::Mute && !slow {
            continue;
        }
        hunt.stub.door(door);
        let sent = using(&mut hunt.chance, &hunt.canaries[n]);
        // A new upstream connection: `door` has no effect on a pooled one.
        hunt.stub.steps(vec![Step::Close]);
        let mut client = Client::new(Mode::Http1, Wanted::new(&hunt.world));
        let (received, _) = client.exchange(&hunt.world, &sent).await;
        assert_eq!(search.find(&received), None, "{door:?}");
    }
    hunt.stub.door(Door::Open);
    let value = hunt.canaries[n].value.clone();
    let half = [b"HTTP/1.1 200 OK\r\nX-Echo: ".as_slice(), &value].concat();
    for steps in [
        vec![Step::Close],
        vec![Step::Reset],
        vec![Step::Send(half.clone()), Step::Close],
        vec![Step::Send(half.clone()), Step::Reset],
        vec![Step::Send(half), Step::Hang],
    ] {
        if matches!(steps.last(), Some(Step::Hang)) && !slow {
            continue;
        }
        hunt.stub.steps(steps);
        let sent = using(&mut hunt.chance, &hunt.canaries[n]);
        let mut client = Client::new(Mode::Http1, Wanted::new(&hunt.world));
        let (received, _) = client.exchange(&hunt.world, &sent).await;
        assert_eq!(search.find(&received), None);
    }
    hunt.stub.answer(ok("ok"));
}

/// The client sends the value in the clear, because it has it from elsewhere. That client knows the
/// value; the readers of the log, the ledger and the answer do not.
async fn be_careless(hunt: &Hunt, n: usize, search: &Search) {
    let canary = &hunt.canaries[n];
    // The guard tells one client only so often in a minute.
    let name = format!("careless-{n}");
    let token = hunt.world.client(&name, "default").await;
    for (what, bytes) in careless(canary, &token) {
        let mut wire = hunt.world.dial().await;
        let _ = wire.send(&bytes).await;
        let answer = crate::within(what, wire.response(false)).await;
        assert_eq!(search.find(&wire.received), None, "{what}: {answer:?}");
    }
    let mut wire = hunt.world.dial().await;
    let other = hunt
        .world
        .client(&format!("other-{n}"), "somebody-else")
        .await;
    let theirs = careless(canary, &other);
    let _ = wire.send(&theirs[0].1).await;
    let _ = crate::within("an answer", wire.response(false)).await;
    assert_eq!(search.find(&wire.received), None, "to somebody else");

    let Ok(mut admin) = tokio::net::TcpStream::connect(hunt.world.admin)
        .await
        .map(crate::wire::Wire::new)
    else {
        panic!("the admin listener is gone");
    };
    let value = String::from_utf8_lossy(&canary.value);
    let _ = admin
        .send(format!(
            "GET /{value} HTTP/1.1\r\nHost: {value}\r\nX: {value}\r\n\r\n"
        ))
        .await;
    let _ = crate::within("an answer", admin.response(false)).await;
    assert_eq!(search.find(&admin.received), None, "the admin listener");
}

/// Commands that succeed and that fail, with a value as their input.
async fn administer(hunt: &mut Hunt, n: usize) {
    let Canary { slug, value } = &hunt.canaries[n];
    let (slug, value) = (slug.clone(), value.clone());
    let line = [value.as_slice(), b"\n"].concat();
    let json = [b"{\"username\": ".as_slice(), &value, b"\n"].concat();
    for (args, stdin) in [
        (&["credential", "add", &slug, "--host", HOST][..], &line),
        (&["credential", "add", "Not A Slug", "--host", HOST], &line),
        (&["credential", "add", "new", "--host", "http://"], &line),
        (
            &[
                "credential",
                "add",
                "login",
                "--kind",
                "login",
                "--host",
                HOST,
            ],
            &json,
        ),
        (&["credential", "rotate", "no-such"], &line),
        (&["credential", "share", &slug, "--with", "bob"], &line),
        (&["credential", "unshare", &slug, "--with", "bob"], &line),
        (&["credential", "revoke", &slug], &line),
        (&["credential", "restore", &slug], &line),
        (&["credential", "show", &slug, "--json"], &line),
        (&["credential", "list"], &line),
        (&["credential", "usage", &slug], &line),
        (&["ledger", "tail", "--json"], &line),
        (&["config", "show"], &line),
        (&["client", "list", "--json"], &line),
    ] {
        hunt.run(args, stdin).await;
    }
    if n.is_multiple_of(3) {
        let next = canary::plant(&mut hunt.chance, &slug).swap_remove(n);
        let stdin = [next.value.as_slice(), b"\n"].concat();
        hunt.run(&["credential", "rotate", &slug], &stdin).await;
        let old = std::mem::replace(&mut hunt.canaries[n].value, next.value);
        hunt.replaced.push(Canary { slug, value: old });
    }
}

/// After the credentials were deleted, a core image of the server holds none of their values: not
/// in free memory, not in the buffers of a connection, not in the needles for searching.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_value_is_nowhere_in_memory() {
    let mut hunt = Hunt::begin("a_deleted_value_is_nowhere_in_memory").await;
    let whole = Search::whole(&hunt.all());
    for mode in Mode::ALL {
        let mut client = Client::new(*mode, Wanted::new(&hunt.world));
        for _ in 0..cases() / 4 {
            let canary = &hunt.canaries[hunt.chance.below(hunt.canaries.len())];
            let forms = echoed_forms(&canary.value);
            let form = hunt.chance.pick(&forms).1.clone();
            answer(&hunt.stub, answers::echo(&mut hunt.chance, &form));
            let sent = using(&mut hunt.chance, canary);
            client.exchange(&hunt.world, &sent).await;
        }
    }
    for n in 0..hunt.canaries.len() {
        be_careless(&hunt, n, &whole).await;
    }
    if !image::nothing_stays(&mut hunt).await {
        return;
    }
    // It still serves.
    hunt.stub.answer(ok("ok"));
    let mut client = Client::new(Mode::Http1, Wanted::new(&hunt.world));
    let plain = using(&mut hunt.chance, &hunt.canaries[0]);
    let (_, answer) = client.exchange(&hunt.world, &plain).await;
    let code = answer.map(|answer| answer.egret_error());
    assert!(
        matches!(
            code.as_ref().map(Option::as_deref),
            Some(None | Some("credential_not_found"))
        ),
        "{code:?}"
    );
}

/// A replaced value is still looked for: an upstream may have cached it.
#[tokio::test]
async fn a_value_that_was_replaced_does_not_come_back_either() {
    let (world, stub) = crate::world::one_upstream().await;
    let old = crate::world::VALUE;
    let new = "the-next-value-of-it";
    let rotate = ["credential", "rotate", crate::world::SLUG];
    world
        .run_with(&rotate, format!("{new}\n").as_bytes())
        .await
        .ok();
    stub.answer(ok(&format!("{old} and {new}")));
    let mut tunnel = world.tunnel().await;
    let answer = tunnel.get("/x", &["X-Api-Key: <<pat>>"]).await;
    assert_eq!(answer.text(), "<<pat>> and <<pat>>");
    assert_eq!(stub.take_one().header("x-api-key").as_deref(), Some(new));
    let carried = tunnel.get("/x", &[&format!("X-Api-Key: {old}")]).await;
    assert_eq!(carried.egret_error().as_deref(), Some("secret_exposed"));
    // Each is looked for as long as it is kept, also when there is another one since.
    world
        .run_with(&rotate, b"the-third-value-of-it\n")
        .await
        .ok();
    let answer = tunnel.get("/x", &["X-Api-Key: <<pat>>"]).await;
    assert_eq!(answer.text(), "<<pat>> and <<pat>>");
    // What leaked is out of the store at once, with all that it replaced.
    let leaked = ["credential", "rotate", crate::world::SLUG, "--leaked"];
    world
        .run_with(&leaked, b"the-fourth-value-of-it\n")
        .await
        .ok();
    let answer = tunnel.get("/x", &["X-Api-Key: <<pat>>"]).await;
    assert_eq!(answer.text(), format!("{old} and {new}"));
}

/// An interim answer is not relayed, whatever it holds.
#[tokio::test]
async fn an_interim_answer_does_not_bring_a_value_to_the_client() {
    let (world, stub) = crate::world::one_upstream().await;
    let mut tunnel = world.tunnel().await;
    for status in ["102 Processing", "103 Early Hints", "199 Odd"] {
        let value = crate::world::VALUE;
        let interim = format!("HTTP/1.1 {status}\r\nLink: <{value}>\r\n\r\n");
        stub.answer([interim.repeat(3).into_bytes(), ok("final")].concat());
        tunnel.wire.received.clear();
        let answer = tunnel.get("/x", &["X-Api-Key: <<pat>>"]).await;
        assert_eq!((answer.status, &*answer.text()), (200, "final"));
        let came = String::from_utf8_lossy(&tunnel.wire.received).into_owned();
        assert!(!came.contains("HTTP/1.1 1"), "{came}");
        assert!(!came.contains("s3cr3t"), "{came}");
    }
}

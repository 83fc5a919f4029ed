//! The client table: what each client does with a placeholder in each place. Where it sends it, the
//! upstream receives the value.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::process::Command;

use super::{installed, text};
use crate::needs::{Need, needs};
use crate::upstream::{Step, Stub, ok};
use crate::wire::Request;
use crate::within_secs;
use crate::world::{Output, VALUE, World, one_upstream_with};

/// [`VALUE`] percent-encoded for a URL.
const ENCODED: &str = "s3cr3t%2BCanary%2F9f8e7d6c%26x%3D%221%22";

/// What a client does with a placeholder in one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cell {
    /// The value arrives.
    Value,
    /// The client will not send such a request.
    Refused,
    /// The client leaves the credentials out, even after the upstream's challenge.
    Dropped,
    /// The client has no such feature.
    Absent,
}

use Cell::{Absent, Dropped, Refused, Value};

const PLACES: [&str; 8] = [
    "header", "typed", "query", "path", "form", "json", "basic", "userinfo",
];

/// A client: how it is run, and its row of the table in the order of [`PLACES`]: header, query
/// typed into the URL, query by API, path, form, JSON, Basic credentials, credentials in the URL.
struct Client {
    program: Program,
    row: [Cell; 8],
}

enum Program {
    Python(&'static str),
    Node(&'static str),
    Shell(&'static str, &'static [&'static str]),
    Go,
    Java(&'static str),
}

impl Program {
    fn need(&self) -> Need {
        match self {
            Self::Python(_) => Need::Python,
            Self::Node(_) => Need::Node,
            Self::Shell(script, _) => Need::Program(script.trim_end_matches(".sh")),
            Self::Go => Need::Program("go"),
            Self::Java(_) => Need::Jdk,
        }
    }
}

const ALL: [Cell; 8] = [Value; 8];

macro_rules! clients {
    ($($test:ident = $program:expr, $row:expr;)*) => { $(
        #[tokio::test]
        async fn $test() {
            plays(Client { program: $program, row: $row }).await;
        }
    )* };
}

clients! {
    curl = Program::Shell("curl.sh", &["--http1.1"]), ALL;
    curl_that_offers_h2 = Program::Shell("curl.sh", &["--http2"]), ALL;
    wget = Program::Shell("wget.sh", &[]),
        [Value, Value, Absent, Value, Value, Absent, Value, Value];
    python_requests = Program::Python("requests"), ALL;
    python_httpx = Program::Python("httpx"), ALL;
    python_httpx_h2 = Program::Python("httpx_h2"), ALL;
    python_aiohttp = Program::Python("aiohttp"), ALL;
    python_urllib3 = Program::Python("urllib3"),
        [Value, Value, Value, Value, Value, Value, Value, Dropped];
    python_urllib = Program::Python("urllib"),
        [Value, Value, Value, Value, Value, Value, Value, Refused];
    node_fetch = Program::Node("fetch"),
        [Value, Value, Value, Value, Value, Value, Value, Refused];
    node_undici = Program::Node("undici"),
        [Value, Value, Value, Value, Value, Value, Value, Refused];
    node_axios = Program::Node("axios"), ALL;
    node_got = Program::Node("got"), ALL;
    go = Program::Go,
        [Value, Value, Value, Value, Value, Value, Value, Refused];
    java = Program::Java("h1"),
        [Value, Refused, Value, Refused, Value, Value, Value, Refused];
    java_that_offers_h2 = Program::Java("h2"),
        [Value, Refused, Value, Refused, Value, Value, Value, Refused];
}

/// Challenges requests without a password: wget and browsers send one only after a 401.
async fn challenge(request: std::sync::Arc<Request>) -> Vec<Step> {
    let asks = ["/basic", "/userinfo"].contains(&request.path());
    vec![Step::Send(
        match asks && request.header("authorization").is_none() {
            true => b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"r\"\r\nContent-Length: 0\r\n\r\n".to_vec(),
            false => ok("ok"),
        },
    )]
}

async fn plays(client: Client) {
    needs!(client.program.need());
    // A client that offers both versions gets HTTP/1.1 unless the configuration differs: the raw
    // `<` that curl and Go put into a URL is not allowed in HTTP/2.
    let builder = match client.program {
        Program::Python("httpx_h2") => {
            let alpn = ["h2", "http/1.1"].map(toml::Value::from);
            World::builder().set("proxy.alpn", alpn.to_vec())
        }
        _ => World::builder(),
    };
    let (world, stub) = one_upstream_with(builder).await;
    stub.serve(challenge);
    let output = run(&world, &client.program).await;
    assert!(output.status.success(), "{output:#?}\n{}", world.log());
    assert_eq!(said(&output), expected(&client.row), "{output:#?}");
    let seen = arrived(&stub);
    for (place, cell) in PLACES.iter().zip(client.row) {
        let here: Vec<_> = seen
            .iter()
            .filter(|r| r.path().split('/').nth(1) == Some(place))
            .collect();
        match cell {
            Value => {
                assert_eq!(here.len(), 1, "requests for {place}");
                assert_arrived(place, here[0]);
            }
            Refused | Dropped | Absent => assert!(here.is_empty(), "{place}: {here:?}"),
        }
    }
    let values = client.row.iter().filter(|cell| **cell == Value).count();
    assert_eq!(seen.len(), values, "the refused request never arrived");
    let ledger = world.ledger();
    let uses = ledger.iter().filter(|line| line["event"] == "use");
    assert_eq!(uses.count(), values);
    let denied = ledger.iter().filter(|line| line["event"] == "denied");
    assert_eq!(denied.count(), 1);
}

/// What arrived, without the requests that were answered with a challenge.
fn arrived(stub: &Stub) -> Vec<std::sync::Arc<Request>> {
    let challenged = |request: &Request| {
        ["/basic", "/userinfo"].contains(&request.path())
            && request.header("authorization").is_none()
    };
    let mut seen = stub.take();
    seen.retain(|request| !challenged(request));
    seen
}

fn assert_arrived(place: &str, request: &Request) {
    let header = |name: &str| request.header(name);
    let pairs = |bytes: &[u8]| -> Vec<(String, String)> {
        let mut pairs: Vec<_> = form_urlencoded::parse(bytes).into_owned().collect();
        pairs.sort();
        pairs
    };
    let both = [
        ("b".to_owned(), "1".to_owned()),
        ("k".to_owned(), VALUE.to_owned()),
    ];
    match place {
        "header" => assert_eq!(header("x-api-key").as_deref(), Some(VALUE)),
        "typed" => assert_eq!(request.target, format!("/typed?k={ENCODED}&b=1")),
        "query" => {
            assert!(request.query().contains(ENCODED), "{}", request.target);
            assert_eq!(pairs(request.query().as_bytes()), both);
        }
        "path" => assert_eq!(request.target, format!("/path/{ENCODED}/x")),
        "form" => assert_eq!(pairs(&request.body), both),
        "json" => {
            let json: serde_json::Value = serde_json::from_slice(&request.body).expect("JSON");
            assert_eq!(json, serde_json::json!({"k": VALUE, "n": 1}));
        }
        "basic" | "userinfo" => {
            let basic = STANDARD.encode(format!("user:{VALUE}"));
            assert_eq!(header("authorization"), Some(format!("Basic {basic}")));
        }
        other => panic!("what should have arrived for {other}?"),
    }
}

/// The lines that the program has to print.
fn expected(row: &[Cell; 8]) -> Vec<String> {
    let cells = PLACES.iter().zip(row);
    let lines = cells.filter_map(|(place, cell)| {
        let status = match cell {
            Value => "200",
            Refused => "refused",
            Dropped => "401",
            Absent => return None,
        };
        Some(format!("{place} {status}"))
    });
    lines.chain(["unknown 424".to_owned()]).collect()
}

fn said(output: &Output) -> Vec<String> {
    output.stdout.lines().map(str::to_owned).collect()
}

/// Builds a program of one file. The compiler comes from the system, and no module is needed.
async fn go_program(source: &str) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("go");
    let program = directory.join("places");
    let mut build = Command::new("go");
    build
        .args(["build", "-o", text(&program), source])
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", &directory)
        .env("GOCACHE", directory.join("cache"))
        .env("GOPROXY", "off")
        .env("GO111MODULE", "off")
        .env("CGO_ENABLED", "0")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let built = within_secs(240, "the Go compiler", build.output()).await;
    let built = built.expect("the Go compiler");
    assert!(built.status.success(), "{built:?}");
    program
}

async fn run(world: &World, program: &Program) -> Output {
    let source = |name: &str| {
        let programs = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/integration/clients/programs"
        );
        format!("{programs}/{name}")
    };
    let mut args: Vec<String> = ["run", "--action", "table", "--"].map(str::to_owned).into();
    match program {
        Program::Python(client) => {
            let python = installed("venv/bin/python");
            args.extend([text(&python).into(), source("places.py"), (*client).into()]);
        }
        Program::Node(client) => {
            let (node, modules) = (installed("npm/node"), installed("npm/node_modules"));
            args.extend([text(&node).into(), source("places.mjs"), (*client).into()]);
            args.push(text(&modules).into());
        }
        Program::Shell(script, options) => {
            args.extend(["sh".into(), source(script)]);
            args.extend(options.iter().map(|option| (*option).to_owned()));
        }
        Program::Go => {
            args.push(text(&go_program(&source("places.go")).await).into());
        }
        Program::Java(version) => {
            args.extend(["java".into(), source("Places.java"), (*version).into()]);
        }
    }
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    world.run(&args).await
}

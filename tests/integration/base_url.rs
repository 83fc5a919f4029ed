//! The listener where the path names the destination.

use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::process::Command;

use crate::client::{assert_refused, request_to};
use crate::needs::{Need, needs};
use crate::upstream::{Step, Stub};
use crate::websocket::socket::{KEY, Socket, Upstream, switching};
use crate::wire::{Response, Wire, values};
use crate::within;
use crate::world::{Builder, HOST, SLUG, VALUE, World, finish, one_upstream_with};

/// A world with such a listener, for `principal` if it is for one.
pub fn listening(builder: Builder, principal: Option<&str>, action: &str) -> Builder {
    let builder = builder.set("base_url.listen", vec!["127.0.0.1:0".to_owned()]);
    match principal {
        Some(principal) => builder
            .set("base_url.principal", principal)
            .set("base_url.action", action),
        None => builder,
    }
}

/// Where it listens.
pub fn base_url(world: &World) -> SocketAddr {
    let text = std::fs::read(world.data.join("server.json")).expect("a running server");
    let file: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
    file["base_url"][0]
        .as_str()
        .expect("it listens")
        .parse()
        .expect("an address")
}

async fn world() -> (World, Stub) {
    one_upstream_with(listening(World::builder(), Some("default"), "sheet")).await
}

fn get(world: &World, target: &str, headers: &[&str]) -> String {
    request_to(&base_url(world).to_string(), "GET", target, headers, "")
}

/// A WebSocket handshake.
fn chat(own: &str) -> String {
    let fields = [
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        &format!("Sec-WebSocket-Key: {KEY}"),
    ];
    request_to(own, "GET", &format!("/-/https/{HOST}/chat"), &fields, "")
}

async fn ask(world: &World, request: String) -> Response {
    let socket = TcpStream::connect(base_url(world)).await;
    ask_on(socket.expect("it listens"), request).await
}

/// Sends a request on a new connection.
pub(crate) async fn ask_on<S>(socket: S, request: String) -> Response
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut wire = Wire::new(socket);
    wire.send(request).await.expect("sent");
    within("an answer", wire.response(false))
        .await
        .expect("an answer")
}

#[tokio::test]
async fn the_path_names_the_destination() {
    let (world, stub) = world().await;
    let target = format!("/-/https/{HOST}/v1/x?k=<<pat>>");
    let answer = ask(&world, get(&world, &target, &["X-Api-Key: <<pat>>"])).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let seen = stub.take_one();
    assert_eq!(seen.path(), "/v1/x");
    assert_eq!(seen.header("host").as_deref(), Some(HOST));
    assert_eq!(seen.header("x-api-key").as_deref(), Some(VALUE));
    let line = world
        .ledger_line("the use", |line| line["event"] == "use")
        .await;
    assert_eq!(line["action"], "sheet");
    assert_eq!(line["client"], "base-url");
    assert_eq!(line["path"], "/v1/x");
    assert_eq!(line["destination"], format!("https://{HOST}:443"));
    // The limits of the credential are those of the destination.
    let elsewhere = get(
        &world,
        "/-/https/other.example.test/",
        &["X-Api-Key: <<pat>>"],
    );
    assert_refused(&ask(&world, elsewhere).await, "credential_not_allowed");
    for target in ["/", "/v1", "/-/ftp/x/", "/-/https/", "/-/https/a@b/x"] {
        let answer = ask(&world, get(&world, target, &[])).await;
        assert_refused(&answer, "request_malformed");
    }
    assert_eq!(stub.take().len(), 0);
}

#[tokio::test]
async fn without_a_principal_each_request_shows_a_token() {
    let (world, stub) = one_upstream_with(listening(World::builder(), None, "")).await;
    let target = format!("/-/https/{HOST}/x");
    assert_refused(
        &ask(&world, get(&world, &target, &[])).await,
        "proxy_auth_required",
    );
    let wrong = get(&world, &target, &["Egret-Token: egc_wrong"]);
    assert_refused(&ask(&world, wrong).await, "proxy_auth_required");
    let token = format!("Egret-Token: {}", world.token);
    let shown = get(
        &world,
        &target,
        &[&token, "Egret-Action: sync", "X-Api-Key: <<pat>>"],
    );
    assert_eq!(ask(&world, shown).await.status, 200);
    let seen = stub.take_one();
    assert_eq!(
        seen.header("egret-token"),
        None,
        "the token goes no further"
    );
    assert_eq!(seen.header("x-api-key").as_deref(), Some(VALUE));
    let line = world
        .ledger_line("the use", |line| line["event"] == "use")
        .await;
    assert_eq!(
        (&line["action"], &line["client"]),
        (&"sync".into(), &"tester".into())
    );
}

#[tokio::test]
async fn web_pages_and_foreign_names_are_refused() {
    let (world, stub) = world().await;
    let own = base_url(&world);
    let target = format!("/-/https/{HOST}/x");
    for header in [
        "Sec-Fetch-Site: cross-site",
        "Sec-Fetch-Site: same-site",
        "Sec-Fetch-Site: same-origin",
        "Origin: https://evil.example",
        "Origin: null",
    ] {
        let answer = ask(
            &world,
            get(&world, &target, &[header, "X-Api-Key: <<pat>>"]),
        )
        .await;
        assert_refused(&answer, "cross_site");
    }
    // A name that an attacker has resolve to loopback.
    let host = format!("evil.example:{}", own.port());
    let rebound = request_to(&host, "GET", &target, &["X-Api-Key: <<pat>>"], "");
    assert_refused(&ask(&world, rebound).await, "cross_site");
    assert_eq!(stub.take().len(), 0);
    let origin = format!("Origin: http://{own}");
    assert_eq!(
        ask(&world, get(&world, &target, &[&origin])).await.status,
        200
    );
    let expected = format!("https://{HOST}");
    assert_eq!(stub.take_one().header("origin"), Some(expected));
}

#[tokio::test]
async fn urls_and_cookies_of_an_answer_lead_back() {
    let (world, stub) = world().await;
    let own = base_url(&world);
    let head = format!(
        "HTTP/1.1 302 Found\r\nLocation: https://{HOST}/next?x=1\r\n\
         Link: <https://{HOST}/?page=2>; rel=\"next\", </last>; rel=\"last\"\r\n\
         Set-Cookie: sid=1; Domain={HOST}; Path=/; Secure; HttpOnly\r\n\
         Set-Cookie: lang=en\r\nContent-Length: 0\r\n\r\n"
    );
    stub.answer(head);
    let answer = ask(&world, get(&world, &format!("/-/https/{HOST}/x"), &[])).await;
    let here = format!("http://{own}/-/https/{HOST}");
    assert_eq!(answer.header("location"), Some(format!("{here}/next?x=1")));
    assert_eq!(
        answer.header("link"),
        Some(format!(
            "<{here}/?page=2>; rel=\"next\", <{here}/last>; rel=\"last\""
        ))
    );
    let cookies = values(&answer.headers, "set-cookie");
    let cookies: Vec<_> = cookies.into_iter().map(String::from_utf8_lossy).collect();
    let path = format!("/-/https/{HOST}/");
    assert_eq!(
        cookies,
        [
            format!("sid=1; HttpOnly; Path={path}"),
            format!("lang=en; Path={path}")
        ]
    );
}

/// What an upstream sends so that a cookie reaches other destinations, or a client goes on without Egret.
#[tokio::test]
async fn odd_urls_and_cookies_of_an_answer_lead_back_too() {
    let (world, stub) = world().await;
    let own = base_url(&world);
    let here = format!("http://{own}/-/https/{HOST}");
    let path = format!("/-/https/{HOST}");
    for (field, name, expected) in [
        (
            "Location: /caf\u{e9}",
            "location",
            format!("{here}/caf\u{e9}"),
        ),
        ("Location: ../../x", "location", format!("{here}/x")),
        (
            "Location: https:/other.example/x",
            "location",
            format!("http://{own}/-/https/other.example/x"),
        ),
        (
            "Location: https://u:p@other.example/",
            "location",
            format!("http://u:p@{own}/-/https/other.example/"),
        ),
        (
            "Set-Cookie: a=\u{e9}; Path=/",
            "set-cookie",
            format!("a=\u{e9}; Path={path}/"),
        ),
        (
            "Set-Cookie: a=b; Path=/x; Path=",
            "set-cookie",
            format!("a=b; Path={path}/"),
        ),
        (
            "Set-Cookie: a=b; Path=/x; Path=y",
            "set-cookie",
            format!("a=b; Path={path}/"),
        ),
        ("Set-Cookie2: a=b", "set-cookie2", String::new()),
        ("Alt-Svc: h3=\":443\"", "alt-svc", String::new()),
        (
            "Strict-Transport-Security: max-age=9",
            "strict-transport-security",
            String::new(),
        ),
        ("Clear-Site-Data: \"*\"", "clear-site-data", String::new()),
    ] {
        stub.answer(format!(
            "HTTP/1.1 200 OK\r\n{field}\r\nContent-Length: 0\r\n\r\n"
        ));
        let answer = ask(&world, get(&world, &format!("/-/https/{HOST}/v1"), &[])).await;
        let found = values(&answer.headers, name);
        let found: Vec<_> = found.into_iter().map(String::from_utf8_lossy).collect();
        let expected: Vec<_> = Some(expected)
            .into_iter()
            .filter(|text| !text.is_empty())
            .collect();
        assert_eq!(found, expected, "{field}");
    }
}

/// An interim answer and the answer to a WebSocket handshake have heads of their own.
#[tokio::test]
async fn heads_before_the_answer_lead_back_too() {
    let builder = listening(World::builder(), Some("default"), "chat");
    let upstream = Upstream::tls(builder.pki(), HOST).await;
    let stub = Stub::tls(builder.pki(), &["other.example.test"]).await;
    let world = builder
        .route(&format!("{HOST}:443"), upstream.addr)
        .route("other.example.test:443", stub.addr)
        .start()
        .await;
    let own = base_url(&world).to_string();
    let hint = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nSet-Cookie: a=b\r\n\r\n";
    stub.steps(vec![Step::Send(hint.into()), Step::Hang]);
    let target = "/-/https/other.example.test";
    let socket = TcpStream::connect(&own).await.expect("it listens");
    let mut wire = Wire::new(socket);
    wire.send(request_to(&own, "GET", target, &[], ""))
        .await
        .expect("sent");
    let (start, fields) = within("a hint", wire.head()).await.expect("a head");
    assert_eq!(start, "HTTP/1.1 103 Early Hints");
    let link = format!("<http://{own}{target}/a.css>; rel=preload");
    assert_eq!(values(&fields, "link"), [link.as_bytes()]);
    let cookie = format!("a=b; Path={target}/");
    assert_eq!(values(&fields, "set-cookie"), [cookie.as_bytes()]);

    let socket = TcpStream::connect(&own).await.expect("it listens");
    let mut client = Socket::client(socket);
    let asked = chat(&own);
    client.wire.send(asked).await.expect("sent");
    let (mut server, _) = upstream.asked().await;
    let yes = switching("Set-Cookie: a=b; Path=/\r\n");
    server.wire.send(yes).await.expect("answered");
    let answer = within("an answer", client.wire.response(false)).await;
    let answer = answer.expect("an answer");
    assert_eq!(answer.status, 101);
    let path = format!("a=b; Path=/-/https/{HOST}/");
    assert_eq!(answer.header("set-cookie"), Some(path));
}

#[tokio::test]
async fn curl_follows_redirects_and_speaks_both_versions() {
    needs!(Need::Program("curl"));
    let (world, stub) = world().await;
    stub.serve(|request| async move {
        let answer = if request.path() == "/old" {
            "HTTP/1.1 307 Temporary Redirect\r\nLocation: /new\r\nContent-Length: 0\r\n\r\n"
                .to_owned()
        } else {
            let body = format!("got {} bytes", request.body.len());
            format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            )
        };
        vec![Step::Send(answer.into_bytes())]
    });
    let body = world.scratch().join("body");
    std::fs::write(&body, vec![b'x'; 3 << 20]).expect("written");
    let data = format!("@{}", body.display());
    let upload = ["-H", "Content-Type: text/plain", "--data-binary", &data];
    // curl 7.88 follows no redirect over HTTP/2 with prior knowledge.
    for (version, more, path, length) in [
        ("--http1.1", &upload[..], "old", 3 << 20),
        ("--http2-prior-knowledge", &[], "new", 0),
    ] {
        let mut command = Command::new("curl");
        command
            .args(["-sS", "-L", "--max-time", "60", version])
            .args(["-H", "Authorization: Bearer <<pat>>"])
            .args(more)
            .arg(format!("http://{}/-/https/{HOST}/{path}", base_url(&world)))
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped());
        let said = finish(command, b"").await.ok();
        assert_eq!(said, format!("got {length} bytes"), "{version}");
        let seen = stub.take();
        assert_eq!(seen.len(), if path == "old" { 2 } else { 1 }, "{version}");
        for request in seen {
            let sent = request.header("authorization");
            assert_eq!(sent, Some(format!("Bearer {VALUE}")), "{version}");
        }
    }
}

#[tokio::test]
async fn a_websocket_begins_there_too() {
    let builder = listening(World::builder(), Some("default"), "chat");
    let upstream = Upstream::tls(builder.pki(), HOST).await;
    let world = builder
        .route(&format!("{HOST}:443"), upstream.addr)
        .start()
        .await;
    world
        .save(
            SLUG,
            VALUE,
            &["--host", HOST, "--in", "body", "--in", "header"],
        )
        .await;
    let socket = TcpStream::connect(base_url(&world))
        .await
        .expect("it listens");
    let mut client = Socket::client(socket);
    let own = base_url(&world).to_string();
    let asked = chat(&own);
    let (mut server, request, _) =
        crate::websocket::socket::agree(&mut client, &upstream, &asked).await;
    assert_eq!(request.target, "/chat");
    client.text(&format!("say <<{SLUG}>>")).await;
    assert_eq!(server.next_text().await, format!("say {VALUE}"));
    server.text(&format!("heard {VALUE}")).await;
    assert_eq!(client.next_text().await, format!("heard <<{SLUG}>>"));
}

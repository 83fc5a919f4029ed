//! `upstream.proxy`: every connection goes through the company's proxy, or is not made.

mod squid;
mod stand_in;

use std::net::SocketAddr;

use tokio_rustls::TlsAcceptor;

use self::stand_in::{Parent, Speaks};
use crate::browser::Browser;
use crate::client::{Wanted, assert_refused, request_to};
use crate::http2;
use crate::leak;
use crate::pki::{Flaw, Pki};
use crate::upstream::Stub;
use crate::websocket::socket;
use crate::wire::Response;
use crate::within;
use crate::world::{Builder, HOST, SLUG, VALUE, World};

/// The slug of the login at the proxy.
const CORP: &str = "corp";
/// The login.
const LOGIN: &str = "me:pa55word-of-the-company";

/// A world behind `parent`.
fn behind(scheme: &str, parent: SocketAddr) -> Builder {
    World::builder().set("upstream.proxy", format!("{scheme}://{parent}"))
}

/// Saves the login for a proxy at this address.
async fn login(world: &World, login: &str, proxy: SocketAddr) {
    let place = format!("http://{proxy}");
    world.save(CORP, login, &["--host", &place]).await;
}

async fn get(world: &World, host: &str) -> Response {
    let wanted = Wanted::new(world).host(host);
    let mut tunnel = wanted.open(world).await.expect("a tunnel");
    let request = request_to(host, "GET", "/x", &[], "");
    tunnel.roundtrip(request).await
}

#[tokio::test]
async fn every_kind_of_proxy_is_given_the_name_and_none_sees_the_request() {
    let builder = World::builder();
    let stub = Stub::tls(builder.pki(), &[HOST]).await;
    let acceptor = TlsAcceptor::from(builder.pki().server_config(&["proxy.test"], Flaw::None));
    let target = format!("{HOST}:443");
    for (scheme, speaks) in [
        ("http", Speaks::Http),
        ("https", Speaks::Https(acceptor)),
        ("socks5h", Speaks::Socks),
    ] {
        for asks in [None, Some(LOGIN)] {
            let parent = Parent::start(speaks.clone(), asks, &[(&target, stub.addr)]).await;
            let port = parent.addr.port();
            let place = format!("proxy.test:{port}");
            let mut world = World::builder_of(builder.pki())
                .route(&place, parent.addr)
                .set("upstream.proxy", format!("{scheme}://{place}"));
            if asks.is_some() {
                world = world.set("upstream.proxy_credential", CORP);
            }
            let world = world.start().await;
            world.save(SLUG, VALUE, &["--host", HOST]).await;
            let plain = if scheme == "https" { "" } else { "http://" };
            let host = format!("{plain}{place}");
            world.save(CORP, LOGIN, &["--host", &host]).await;
            let mut tunnel = world.tunnel().await;
            for _ in 0..2 {
                let answer = tunnel.get("/x", &["X-Api-Key: <<pat>>"]).await;
                assert_eq!(answer.status, 200, "{scheme} {asks:?}: {}", answer.text());
                let request = stub.take_one();
                assert_eq!(request.header("x-api-key").as_deref(), Some(VALUE));
            }
            assert_eq!(parent.take(), [target.as_str()], "{scheme} {asks:?}");
            let uses = world.ledger().into_iter();
            let uses: Vec<_> = uses
                .filter(|line| line["event"] == "use" && line["slug"] == CORP)
                .collect();
            assert_eq!(uses.len(), usize::from(asks.is_some()), "{uses:?}");
            for used in uses {
                assert_eq!(used["client"], "egret");
                assert_eq!(used["action"], "upstream.proxy");
                assert_eq!(used["owner"], "default");
            }
            let forms = leak::forms(LOGIN.as_bytes());
            leak::assert_absent("the log", &world.log_bytes(), &forms);
            leak::assert_absent("the ledger", &world.ledger_bytes(), &forms);
        }
    }
}

#[tokio::test]
async fn websocket_http2_plain_http_and_passthrough_go_through_it_too() {
    let builder = World::builder();
    let chat = socket::Upstream::tls(builder.pki(), HOST).await;
    let h2 = Stub::tls_alpn(builder.pki(), &["h2.example.test"], &["h2"]).await;
    let plain = Stub::plain().await;
    let names = [
        (&*format!("{HOST}:443"), chat.addr),
        ("h2.example.test:443", h2.addr),
        ("plain.example.test:80", plain.addr),
        ("blind.example.test:443", plain.addr),
    ];
    let parent = Parent::start(Speaks::Http, None, &names).await;
    let world = World::builder_of(builder.pki())
        .set("upstream.proxy", format!("http://{}", parent.addr))
        .set("tls.passthrough", vec!["blind.example.test".to_owned()])
        .start()
        .await;
    let mut client = socket::tunnelled(&world).await;
    let (mut server, ..) =
        socket::agree(&mut client, &chat, &socket::handshake("/chat", &[])).await;
    client.text("hello").await;
    assert_eq!(server.next_text().await, "hello");
    assert_eq!(parent.take(), [format!("{HOST}:443")]);

    let wanted = Wanted::new(&world).host("h2.example.test");
    let opened = http2::client::Client::try_open(&world, wanted).await;
    let mut client = opened.expect("a tunnel");
    let request = http2::client::Request::new("GET", "/x").pseudo(":authority", "h2.example.test");
    assert_eq!(client.response(&request).await.status, 200);
    assert_eq!(parent.take(), ["h2.example.test:443"]);

    let mut wire = world.dial().await;
    let host = "plain.example.test";
    let login = crate::client::basic("tests", &world.token);
    let request = format!(
        "GET http://{host}/x HTTP/1.1\r\nHost: {host}\r\nProxy-Authorization: {login}\r\n\r\n"
    );
    wire.send(request).await.expect("sent");
    let answer = within("an answer", wire.response(false)).await;
    assert_eq!(answer.expect("an answer").status, 200);
    assert_eq!(parent.take(), ["plain.example.test:80"]);

    let wanted = Wanted::new(&world).host("blind.example.test");
    let socket = wanted.connect(&world).await.expect("a tunnel");
    let mut wire = crate::wire::Wire::new(socket);
    wire.send("GET /blind HTTP/1.1\r\nHost: blind\r\n\r\n")
        .await
        .expect("sent");
    let answer = within("an answer", wire.response(false)).await;
    assert_eq!(answer.expect("an answer").status, 200);
    assert_eq!(parent.take(), ["blind.example.test:443"]);
}

#[tokio::test]
async fn a_proxy_that_does_not_connect_is_not_gone_round() {
    let builder = World::builder();
    let stub = Stub::tls(builder.pki(), &[HOST]).await;
    let target = format!("{HOST}:443");
    let stranger = Pki::new().server_config(&["localhost"], Flaw::None);
    let stranger = TlsAcceptor::from(stranger);
    for (scheme, speaks, code, says) in [
        (
            "http",
            Speaks::Only("HTTP/1.1 407 Login\r\n\r\n"),
            "upstream_proxy_failed",
            "asks for a login",
        ),
        (
            "http",
            Speaks::Only("HTTP/1.1 403 No\r\n\r\n"),
            "upstream_proxy_failed",
            "403",
        ),
        (
            "http",
            Speaks::Only("HTTP/1.1 503 No\r\n\r\n"),
            "upstream_unreachable",
            "503",
        ),
        (
            "http",
            Speaks::Only("SSH-2.0-x\r\n\r\n"),
            "upstream_proxy_failed",
            "does not speak HTTP",
        ),
        (
            "http",
            Speaks::Only(""),
            "upstream_proxy_failed",
            "cannot be used",
        ),
        (
            "http",
            Speaks::Silence,
            "upstream_proxy_failed",
            "connect_timeout",
        ),
        (
            "https",
            Speaks::Https(stranger),
            "upstream_proxy_failed",
            "TLS",
        ),
        ("socks5h", Speaks::Http, "upstream_proxy_failed", ""),
        (
            "socks5h",
            Speaks::Silence,
            "upstream_proxy_failed",
            "connect_timeout",
        ),
    ] {
        let parent = Parent::start(speaks, None, &[]).await;
        let world = World::builder_of(builder.pki())
            .route(&target, stub.addr)
            .set("upstream.proxy", format!("{scheme}://{}", parent.addr))
            .set("upstream.connect_timeout", "2s")
            .start()
            .await;
        let answer = get(&world, HOST).await;
        assert_refused(&answer, code);
        let text = answer.text();
        assert!(text.contains(says), "{says} in {text}");
    }
    // One that has gone.
    let gone = Parent::start(Speaks::Silence, None, &[]).await.addr;
    let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let nobody = closed.local_addr().expect("an address");
    drop(closed);
    assert_ne!(gone, nobody);
    let world = behind("http", nobody)
        .route(&target, stub.addr)
        .start()
        .await;
    assert_refused(&get(&world, HOST).await, "upstream_proxy_failed");
    assert_eq!(stub.take().len(), 0);
    assert!(stub.connections().is_empty(), "somebody went round");
}

#[tokio::test]
async fn exceptions_go_directly_and_addresses_are_still_checked() {
    let builder = World::builder();
    let stub = Stub::tls(builder.pki(), &[HOST, "intern.corp.test"]).await;
    let parent = Parent::start(Speaks::Http, None, &[(&format!("{HOST}:443"), stub.addr)]).await;
    let mut world = World::builder_of(builder.pki())
        .route("intern.corp.test:443", stub.addr)
        .set("upstream.proxy", format!("http://{}", parent.addr))
        .set("upstream.no_proxy", vec!["*.corp.test".to_owned()])
        .start()
        .await;
    assert_eq!(get(&world, "intern.corp.test").await.status, 200);
    assert_eq!(parent.take(), [] as [&str; 0]);
    assert_eq!(get(&world, HOST).await.status, 200);
    assert_eq!(parent.take(), [format!("{HOST}:443")]);
    for forbidden in ["10.0.0.1", "169.254.169.254", "localhost", "a.localhost"] {
        let answer = get(&world, forbidden).await;
        assert_refused(&answer, "destination_forbidden");
    }
    assert_eq!(parent.take(), [] as [&str; 0]);
    // What the proxy does not find is said to be out of reach.
    assert_refused(&get(&world, "nowhere.test").await, "upstream_unreachable");
    // Without the proxy, after a reload, nothing goes through it.
    world.configure("upstream.proxy", "none");
    world.configure("upstream.no_proxy", Vec::<String>::new());
    world.reload().await;
    parent.take();
    get(&world, HOST).await;
    assert_eq!(parent.take(), [] as [&str; 0]);
}

#[tokio::test]
async fn a_login_is_sent_only_where_its_owner_allows_it() {
    let parent = Parent::start(Speaks::Http, Some(LOGIN), &[]).await;
    let world = behind("http", parent.addr)
        .set("upstream.proxy_credential", CORP)
        .start()
        .await;
    world.save(CORP, LOGIN, &["--host", "other.test"]).await;
    let answer = get(&world, HOST).await;
    assert_refused(&answer, "upstream_proxy_failed");
    assert!(
        answer.text().contains("not allowed for the proxy"),
        "{}",
        answer.text()
    );
    assert_eq!(parent.take(), [] as [&str; 0]);
    let used = world.ledger().into_iter();
    assert_eq!(used.filter(|line| line["event"] == "use").count(), 0);
}

#[tokio::test]
async fn alerts_go_through_it() {
    let hook = Stub::plain().await;
    let names = [("alerts.corp.test:80", hook.addr)];
    let parent = Parent::start(Speaks::Socks, None, &names).await;
    let world = behind("socks5h", parent.addr)
        .set("alerts.url", "http://alerts.corp.test/egret")
        .set("alerts.events", vec!["credential.created".to_owned()])
        .start()
        .await;
    world.save(SLUG, VALUE, &["--host", HOST]).await;
    within("an alert", hook.until_requests(1)).await;
    assert_eq!(parent.take(), ["alerts.corp.test:80"]);
}

#[tokio::test]
async fn a_malformed_setting_ends_the_start_and_repeats_no_password() {
    let world = World::builder().start().await;
    for (text, says) in [
        (
            "proxy = \"http://me:pa55word@proxy.test:3128\"",
            "proxy_credential",
        ),
        ("proxy = \"proxy.test\"", "expected"),
        ("proxy = \"socks5://proxy.test:1080\"", "socks5h"),
        ("proxy = \"http://proxy.test\"", "port"),
        ("proxy_credential = \"corp\"", "set upstream.proxy"),
        (
            "no_proxy = [\"http://x\"]\nproxy = \"http://p.test:1\"",
            "expected a name",
        ),
    ] {
        world.configure_text(&format!("[upstream]\n{text}\n"));
        let checked = world.run(&["config", "check"]).await;
        assert!(!checked.status.success(), "{text}");
        let output = checked.stdout + &checked.stderr;
        assert!(output.contains(says), "{text}: {output}");
        assert!(!output.contains("pa55word"), "{output}");
    }
}

/// What Egret fetches itself: the keys of an issuer, and what an identity provider says of itself.
#[tokio::test]
async fn keys_and_the_identity_provider_are_reached_through_it_too() {
    let (keys, provider) = ("keys.example.test", "login.example.test");
    let builder = World::builder();
    let stub = Stub::tls(builder.pki(), &[keys, provider]).await;
    stub.answer(crate::upstream::ok("{\"keys\":[]}"));
    let [keys, provider] = [keys, provider].map(|name| format!("{name}:443"));
    let names = [(&*keys, stub.addr), (&*provider, stub.addr)];
    let parent = Parent::start(Speaks::Http, None, &names).await;
    let world = World::builder_of(builder.pki())
        .set("upstream.proxy", format!("http://{}", parent.addr))
        .set("issuer.name", "https://issuer.example.test")
        .set("issuer.audience", "egret")
        .set("issuer.keys", format!("https://{keys}/jwks"))
        .set("issuer.principal", "build")
        .set("openid.issuer", format!("https://{provider}"))
        .set("openid.client_id", "egret")
        .start()
        .await;
    let mut asked = Vec::new();
    crate::eventually("the keys to be fetched", || {
        asked.extend(parent.take());
        asked.contains(&keys).then_some(())
    })
    .await;
    within("the keys", stub.until_requests(1)).await;
    assert_eq!(stub.take()[0].path(), "/jwks");

    // It answers nothing that is right, but it was asked.
    let mut browser = Browser::default();
    let answer = browser.get(&world, "/signin/openid").await;
    assert_ne!(answer.status, 303, "{}", answer.text());
    let requests = stub.take();
    let is_discovery = |path: &str| path.ends_with("/.well-known/openid-configuration");
    assert!(requests.iter().any(|request| is_discovery(request.path())));
    assert!(parent.take().contains(&provider));
}

//! Where a request may go: names that must agree, addresses and ports that are refused.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::DigitallySignedStruct;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};

use crate::client::{Wanted, assert_refused, basic, request, request_to};
use crate::upstream::Stub;
use crate::wire::Response;
use crate::within;
use crate::world::{HOST, SLUG, VALUE, World, one_upstream};

const HEADER: &str = "X-Api-Key: <<pat>>";

/// Accepts any certificate, to see what the proxy answers after the handshake.
#[derive(Debug)]
struct Anything;

impl ServerCertVerifier for Anything {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        rustls::crypto::aws_lc_rs::default_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}

fn trusting_anything() -> Arc<rustls::ClientConfig> {
    let mut config = rustls::ClientConfig::builder()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anything))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Arc::new(config)
}

/// A world with a second upstream, `evil.example.test`, that records.
async fn with_evil() -> (World, Stub, Stub) {
    let builder = World::builder();
    let good = Stub::tls(builder.pki(), &[HOST]).await;
    let evil = Stub::tls(builder.pki(), &["evil.example.test"]).await;
    let world = builder
        .route(&format!("{HOST}:443"), good.addr)
        .route("evil.example.test:443", evil.addr)
        .start()
        .await;
    world.save(SLUG, VALUE, &["--host", HOST]).await;
    (world, good, evil)
}

#[tokio::test]
async fn connect_server_name_and_host_must_agree() {
    let (world, good, evil) = with_evil().await;
    let evil_host = "evil.example.test";
    // (CONNECT, server name, Host)
    for (authority, server_name, host) in [
        (HOST, HOST, evil_host),
        (HOST, evil_host, HOST),
        (HOST, evil_host, evil_host),
        (evil_host, HOST, HOST),
        (evil_host, evil_host, HOST),
    ] {
        let mut wanted = Wanted::new(&world).host(authority);
        wanted.server_name = server_name.to_owned();
        wanted.tls = Some(trusting_anything());
        let mut tunnel = world.tunnel_for(&wanted).await;
        let answer = tunnel
            .roundtrip(request_to(host, "GET", "/x", &[HEADER], ""))
            .await;
        assert_eq!(
            answer.status, 421,
            "CONNECT {authority}, SNI {server_name}, Host {host}"
        );
        assert_refused(&answer, "destination_mismatch");
    }
    assert_eq!(good.connections().len() + evil.connections().len(), 0);
}

#[tokio::test]
async fn host_may_be_written_in_all_the_ways_that_mean_the_same() {
    let (world, good, _evil) = with_evil().await;
    let mut tunnel = world.tunnel().await;
    for host in [
        HOST,
        "api.example.test:443",
        "API.Example.TEST",
        "api.example.test.",
        "api.example.test.:443",
    ] {
        let answer = tunnel
            .roundtrip(request_to(host, "GET", "/x", &[HEADER], ""))
            .await;
        assert_eq!(answer.status, 200, "{host}: {}", answer.text());
        assert_eq!(good.take_one().header("x-api-key").as_deref(), Some(VALUE));
    }
    for host in [
        "api.example.test:80",
        "api.example.test:8443",
        "api.example.test:0443x",
        "api.example.test@evil.example.test",
        "",
        "api.example.test/x",
        "xapi.example.test",
    ] {
        let answer = world
            .tunnel()
            .await
            .roundtrip(request_to(host, "GET", "/x", &[HEADER], ""))
            .await;
        assert!([400, 421].contains(&answer.status), "{host}: {answer:?}");
    }
    let twice = format!("GET /x HTTP/1.1\r\nHost: {HOST}\r\nHost: {HOST}\r\n{HEADER}\r\n\r\n");
    let answer = world.tunnel().await.roundtrip(twice).await;
    assert!([400, 421].contains(&answer.status), "{answer:?}");
    assert_eq!(good.take().len(), 0);
}

#[tokio::test]
async fn an_absolute_target_inside_a_tunnel_must_name_the_tunnels_host() {
    let (world, good, evil) = with_evil().await;
    let mut tunnel = world.tunnel().await;
    let same = request("GET", "https://api.example.test/abs", &[HEADER], "");
    let answer = tunnel.roundtrip(same).await;
    if answer.status == 200 {
        assert_eq!(good.take_one().target, "/abs");
    } else {
        assert_refused(&answer, "destination_mismatch");
    }
    for target in ["https://evil.example.test/x", "http://api.example.test/x"] {
        let answer = world
            .tunnel()
            .await
            .roundtrip(request("GET", target, &[HEADER], ""))
            .await;
        assert!([400, 421].contains(&answer.status), "{target}: {answer:?}");
    }
    assert_eq!(good.take().len() + evil.connections().len(), 0);
}

#[tokio::test]
async fn a_credential_goes_to_its_hosts_only() {
    let (world, good, evil) = with_evil().await;
    let mut tunnel = world
        .tunnel_for(&Wanted::new(&world).host("evil.example.test"))
        .await;
    let answer = tunnel
        .roundtrip(request_to("evil.example.test", "GET", "/x", &[HEADER], ""))
        .await;
    assert_eq!(answer.status, 403);
    assert_refused(&answer, "credential_not_allowed");
    assert_eq!(
        answer.json()["destination"],
        "https://evil.example.test:443"
    );
    assert_eq!(good.connections().len() + evil.connections().len(), 0);
}

/// The answer to a request without any placeholder to `authority`, whichever stage of the proxy
/// refuses it.
async fn reach(world: &World, authority: &str) -> Response {
    let mut wanted = Wanted::new(world);
    wanted.authority = authority.to_owned();
    let host = authority.rsplit_once(':').expect("a port").0;
    wanted.server_name = host.trim_matches(['[', ']']).to_owned();
    wanted.tls = Some(trusting_anything());
    match wanted.open(world).await {
        Err(refusal) => refusal,
        Ok(mut tunnel) => {
            tunnel
                .roundtrip(request_to(authority, "GET", "/", &[], ""))
                .await
        }
    }
}

#[tokio::test]
async fn addresses_inside_are_forbidden_however_they_are_written() {
    let builder = World::builder();
    let inside = Stub::tls(builder.pki(), &["127.0.0.1"]).await;
    let mut builder = builder
        .set("upstream.allow_private", toml::Value::Array(Vec::new()))
        .set("upstream.connect_timeout", "2s");
    let port = inside.addr.port();
    let named: &[(&str, &str)] = &[
        ("loopback.example.test", "127.0.0.1"),
        ("private.example.test", "10.1.2.3"),
        ("mapped.example.test", "[::ffff:127.0.0.1]"),
        ("nat64.example.test", "[64:ff9b::7f00:1]"),
        ("unique-local.example.test", "[fd00::1]"),
    ];
    for (name, address) in named {
        let address: SocketAddr = format!("{address}:{port}").parse().expect("an address");
        builder = builder.route(&format!("{name}:443"), address);
    }
    let world = builder.start().await;
    let literal = [
        "127.0.0.1",
        "127.8.8.8",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "[::1]",
        "[::]",
        "[fe80::1]",
        "[fd00:ec2::254]",
        "[ff02::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:169.254.169.254]",
        "[64:ff9b::7f00:1]",
    ];
    let named = named.iter().map(|(name, _)| *name);
    for host in literal.into_iter().chain(named) {
        let answer = reach(&world, &format!("{host}:443")).await;
        assert_eq!(answer.status, 403, "{host}: {}", answer.text());
        assert_refused(&answer, "destination_forbidden");
    }
    assert_eq!(inside.connections().len(), 0);
}

#[tokio::test]
async fn odd_spellings_of_loopback_lead_nowhere() {
    let builder = World::builder();
    let inside = Stub::tls(builder.pki(), &["127.0.0.1"]).await;
    let world = builder
        .set("upstream.allow_private", toml::Value::Array(Vec::new()))
        .set("upstream.connect_timeout", "2s")
        .start()
        .await;
    for host in [
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "127.1",
        "localhost",
        "127.0.0.1.",
    ] {
        let mut wanted = Wanted::new(&world);
        wanted.authority = format!("{host}:{}", inside.addr.port());
        wanted.server_name = "x.example.test".to_owned();
        wanted.tls = Some(trusting_anything());
        if let Ok(mut tunnel) = wanted.open(&world).await {
            let answer = tunnel
                .roundtrip(request_to(&wanted.authority, "GET", "/", &[], ""))
                .await;
            assert!(answer.egret_error().is_some(), "{host}: {answer:?}");
        }
    }
    assert_eq!(inside.connections().len(), 0);
}

#[tokio::test]
async fn a_connect_to_a_low_port_needs_permission() {
    let (mut world, _good, _evil) = with_evil().await;
    for port in [22, 25, 1023] {
        let answer = reach(&world, &format!("{HOST}:{port}")).await;
        assert_refused(&answer, "destination_forbidden");
    }
    world.configure("proxy.connect_ports", toml::Value::Array(vec![25.into()]));
    world.reload().await;
    let answer = reach(&world, &format!("{HOST}:25")).await;
    assert_ne!(
        answer.egret_error().as_deref(),
        Some("destination_forbidden"),
        "{answer:?}"
    );
    assert_refused(
        &reach(&world, &format!("{HOST}:22")).await,
        "destination_forbidden",
    );
}

#[tokio::test]
async fn an_absolute_target_with_a_low_port_needs_permission() {
    let (mut world, _good, _evil) = with_evil().await;
    let who = basic("act-1", &world.token);
    let ask = async |world: &World, port: u16| {
        let mut wire = world.dial().await;
        let raw = format!(
            "GET http://{HOST}:{port}/ HTTP/1.1\r\nHost: {HOST}\r\nProxy-Authorization: {who}\r\n\r\n"
        );
        wire.send(raw).await.expect("send");
        let answer = within("an answer", wire.response(false)).await;
        answer.expect("an answer")
    };
    for port in [22, 25, 1023] {
        assert_refused(&ask(&world, port).await, "destination_forbidden");
    }
    world.configure("proxy.connect_ports", toml::Value::Array(vec![25.into()]));
    world.reload().await;
    let code = ask(&world, 25).await.egret_error();
    assert_ne!(code.as_deref(), Some("destination_forbidden"));
    assert_refused(&ask(&world, 22).await, "destination_forbidden");
}

/// Whatever the machine is called.
#[tokio::test]
async fn a_request_to_the_proxy_by_another_name_is_a_loop() {
    let any = ["0.0.0.0/0", "::/0"].map(toml::Value::from);
    for listen in ["127.0.0.1:0", "0.0.0.0:0"] {
        let builder = World::builder()
            .set("upstream.allow_private", toml::Value::Array(any.to_vec()))
            .set("proxy.listen", listen)
            .set("proxy.allow_plain", true);
        let mut world = builder.start().await;
        let port = world.proxy.port();
        world.proxy.set_ip([127, 0, 0, 1].into());
        for name in [
            "0.0.0.0",
            "[::]",
            "[::ffff:0.0.0.0]",
            "127.0.0.1",
            "[::ffff:127.0.0.1]",
        ] {
            let answer = reach(&world, &format!("{name}:{port}")).await;
            assert_refused(&answer, "loop_detected");
        }
    }
}

#[tokio::test]
async fn a_request_to_the_proxy_itself_is_a_loop() {
    let (world, _stub) = one_upstream().await;
    let authorization = basic("act-1", &world.token);
    let mut wire = world.dial().await;
    let raw = format!(
        "GET http://{0}/ HTTP/1.1\r\nHost: {0}\r\nProxy-Authorization: {authorization}\r\n\r\n",
        world.proxy
    );
    wire.send(raw).await.expect("send");
    let answer = within("an answer", wire.response(false))
        .await
        .expect("an answer");
    assert_eq!(answer.status, 508, "{answer:?}");
    assert_refused(&answer, "loop_detected");
    let answer = reach(&world, &world.proxy.to_string()).await;
    assert_refused(&answer, "loop_detected");
}

#[tokio::test]
async fn targets_that_are_no_destination_are_malformed() {
    let (world, stub) = one_upstream().await;
    let authorization = basic("act-1", &world.token);
    for line in [
        "GET /origin-form",
        "GET ftp://api.example.test/x",
        "GET http:///x",
        "GET http://user:pass@api.example.test/x",
        "CONNECT api.example.test",
        "CONNECT api.example.test:0",
        "CONNECT api.example.test:99999",
        "CONNECT https://api.example.test:443",
        "CONNECT user@api.example.test:443",
        "CONNECT <<pat>>.example.test:443",
        "CONNECT %3C%3Cpat%3E%3E.example.test:443",
        "OPTIONS *",
    ] {
        let mut wire = world.dial().await;
        let raw = format!(
            "{line} HTTP/1.1\r\nHost: api.example.test\r\nProxy-Authorization: {authorization}\r\n\r\n"
        );
        wire.send(raw).await.expect("send");
        let answer = within("an answer", wire.connect_response())
            .await
            .expect("an answer");
        assert!((400..500).contains(&answer.status), "{line}: {answer:?}");
    }
    assert_eq!(stub.connections().len(), 0);
}

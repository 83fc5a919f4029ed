//! CONNECT and what happens inside the tunnel: protocol detection, interception, reuse, resumption,
//! passthrough.

use std::io::{Read, Write};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;
use rustls::pki_types::ServerName;

use crate::client::{Wanted, assert_refused, basic, request, request_to, trusting, trusting_store};
use crate::upstream::{Step, Stub, ok};
use crate::world::{HOST, SLUG, VALUE, World, one_upstream};
use crate::{eventually, within};

const HEADER: &str = "X-Api-Key: <<pat>>";

/// Python's http.client sends `CONNECT host:443 HTTP/1.0` and no Host.
#[tokio::test]
async fn a_connect_in_http_1_0_without_host_is_a_connect() {
    let (world, stub) = one_upstream().await;
    let mut wire = world.dial().await;
    let authorization = basic("act-1", &world.token);
    let head =
        format!("CONNECT {HOST}:443 HTTP/1.0\r\nProxy-Authorization: {authorization}\r\n\r\n");
    wire.send(head).await.expect("send");
    let answer = within("a tunnel", wire.connect_response())
        .await
        .expect("an answer");
    assert_eq!(answer.status, 200);
    assert_eq!(answer.framing, crate::wire::Framing::None);
    for name in ["content-length", "transfer-encoding"] {
        assert_eq!(answer.header(name), None, "RFC 9110 9.3.6");
    }
    let connector = tokio_rustls::TlsConnector::from(trusting(&world.ca_pem().await));
    let name = ServerName::try_from(HOST).expect("a name");
    let stream = within("TLS", connector.connect(name, wire.into_io()))
        .await
        .expect("TLS");
    let mut wire = crate::wire::Wire::new(stream);
    wire.send(request("GET", "/x", &[HEADER], ""))
        .await
        .expect("send");
    assert_eq!(
        within("an answer", wire.response(false))
            .await
            .expect("an answer")
            .status,
        200
    );
    assert_eq!(stub.take_one().header("x-api-key").as_deref(), Some(VALUE));
}

/// A client that does not wait for the proxy sends CONNECT and ClientHello in one segment.
#[tokio::test]
async fn bytes_that_arrive_with_the_connect_are_not_lost() {
    let (world, stub) = one_upstream().await;
    let tls = trusting(&world.ca_pem().await);
    let head = Wanted::new(&world).head();
    let proxy = world.proxy;
    let speak = tokio::task::spawn_blocking(move || pipelined(proxy, &head, tls));
    let answer = within("the pipelined handshake", speak)
        .await
        .expect("the client");
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer:?}");
    assert_eq!(stub.take_one().header("x-api-key").as_deref(), Some(VALUE));
}

/// Sends the CONNECT head and the first TLS flight in one write; the first bytes of the answer.
fn pipelined(proxy: std::net::SocketAddr, head: &str, tls: Arc<rustls::ClientConfig>) -> String {
    let mut socket = std::net::TcpStream::connect(proxy).expect("connect");
    socket
        .set_read_timeout(Some(Duration::from_secs(20)))
        .expect("timeout");
    let name = ServerName::try_from(HOST).expect("a name");
    let mut session = rustls::ClientConnection::new(tls, name).expect("a session");
    let mut first = head.as_bytes().to_vec();
    session.write_tls(&mut first).expect("a ClientHello");
    socket.write_all(&first).expect("send");
    let mut established = Vec::new();
    while !established.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        socket
            .read_exact(&mut byte)
            .expect("the answer to the CONNECT");
        established.push(byte[0]);
    }
    assert!(
        established.starts_with(b"HTTP/1.1 200"),
        "{:?}",
        String::from_utf8_lossy(&established)
    );
    let mut stream = rustls::Stream::new(&mut session, &mut socket);
    stream
        .write_all(request("GET", "/x", &[HEADER], "").as_bytes())
        .expect("a request");
    let mut answer = [0; 15];
    stream.read_exact(&mut answer).expect("an answer");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn a_request_in_the_same_write_as_a_plain_connect_is_not_lost() {
    let (world, stub) = World::plain_upstream().await;
    let wanted = Wanted {
        authority: format!("{HOST}:80"),
        ..Wanted::new(&world)
    };
    let mut wire = world.dial().await;
    wire.send(wanted.head() + &request("GET", "/together", &[], ""))
        .await
        .expect("send");
    let answer = within("a tunnel", wire.connect_response())
        .await
        .expect("an answer");
    assert_eq!(answer.status, 200);
    assert_eq!(
        within("an answer", wire.response(false))
            .await
            .expect("an answer")
            .status,
        200
    );
    assert_eq!(stub.take_one().target, "/together");
}

#[tokio::test]
async fn a_raw_placeholder_in_the_request_line_is_understood_on_every_request() {
    let (world, stub) = one_upstream().await;
    let mut tunnel = world.tunnel().await;
    for round in 0..3 {
        let target = format!("/bot<<pat>>/x?round={round}&k=<<pat>>&z=%2f%41+<b>");
        let answer = tunnel
            .roundtrip(request(
                "POST",
                &target,
                &["Content-Type: text/plain"],
                "a <<pat>> b",
            ))
            .await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let seen = stub.take_one();
        let encoded = "s3cr3t%2BCanary%2F9f8e7d6c%26x%3D%221%22".replace('"', "%22");
        assert!(
            seen.target.starts_with(&format!(
                "/bot{encoded}/x?round={round}&k={encoded}&z=%2f%41+"
            )),
            "{}",
            seen.target
        );
        assert_eq!(seen.body, format!("a {VALUE} b").as_bytes());
    }
    let body = "GET /<<pat>> HTTP/1.1\r\nHost: x\r\n\r\n";
    tunnel
        .roundtrip(request("POST", "/x", &["Content-Type: image/png"], body))
        .await;
    assert_eq!(
        stub.take_one().body,
        body.as_bytes(),
        "a body is not a request line"
    );
}

#[tokio::test]
async fn requests_in_a_tunnel_share_connections_on_both_sides() {
    let (world, stub) = one_upstream().await;
    let mut tunnel = world.tunnel().await;
    for i in 0..50 {
        let answer = match i % 3 {
            0 => tunnel.get(&format!("/{i}"), &[HEADER]).await,
            1 => {
                tunnel
                    .post(&format!("/{i}"), "application/json", r#"{"k":"<<pat>>"}"#)
                    .await
            }
            _ => tunnel.get(&format!("/{i}"), &[]).await,
        };
        assert_eq!(answer.status, 200);
    }
    let targets: Vec<String> = stub.take().iter().map(|r| r.target.clone()).collect();
    assert_eq!(
        targets,
        (0..50).map(|i| format!("/{i}")).collect::<Vec<_>>()
    );
    assert_eq!(stub.connections().len(), 1);
    world.tunnel().await.get("/another-tunnel", &[HEADER]).await;
    assert_eq!(
        stub.connections().len(),
        1,
        "the pool is the proxy's, not the tunnel's"
    );
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let (world, stub) = one_upstream().await;
    stub.serve(|r| async move {
        let pause = if r.target == "/0" { 200 } else { 0 };
        vec![
            Step::Pause(Duration::from_millis(pause)),
            Step::Send(ok(&r.target)),
        ]
    });
    let mut tunnel = world.tunnel().await;
    let all: String = (0..5)
        .map(|i| request("GET", &format!("/{i}"), &[HEADER], ""))
        .collect();
    tunnel.wire.send(all).await.expect("send");
    for i in 0..5 {
        let answer = within("an answer", tunnel.wire.response(false))
            .await
            .expect("an answer");
        assert_eq!(answer.text(), format!("/{i}"));
    }
}

#[tokio::test]
async fn tls_sessions_are_resumed_on_both_sides() {
    let (world, stub) = one_upstream().await;
    stub.steps(vec![
        Step::Send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok".to_vec()),
        Step::Close,
    ]);
    let mut wanted = Wanted::new(&world);
    wanted.tls = Some(trusting(&world.ca_pem().await));
    for round in 0..3 {
        let mut tunnel = world.tunnel_for(&wanted).await;
        assert_eq!(tunnel.get("/x", &[HEADER]).await.status, 200);
        assert_eq!(
            tunnel.resumed(),
            round > 0,
            "towards the client, round {round}"
        );
    }
    let resumed: Vec<bool> = stub.connections().iter().map(|c| c.resumed).collect();
    assert_eq!(resumed, [false, true, true], "towards the upstream");
}

#[tokio::test]
async fn a_leaf_is_minted_once_however_many_ask_at_once() {
    let (world, _stub) = one_upstream().await;
    let mut wanted = Wanted::new(&world);
    let mut leaves = std::collections::HashSet::new();
    let world = Arc::new(world);
    let pem = world.ca_pem().await;
    let tunnels: Vec<_> = (0..20)
        .map(|_| {
            wanted.tls = Some(trusting(&pem));
            let (world, wanted) = (world.clone(), wanted.clone());
            tokio::spawn(
                async move { world.tunnel_for(&wanted).await.peer_certificates()[0].to_vec() },
            )
        })
        .collect();
    for tunnel in tunnels {
        leaves.insert(tunnel.await.expect("a tunnel"));
    }
    assert_eq!(leaves.len(), 1);
}

#[tokio::test]
async fn a_leaf_is_what_strict_clients_ask_for() {
    let (world, _stub) = one_upstream().await;
    let leaf = world.tunnel().await.peer_certificates()[0].to_vec();
    for (what, der) in [
        ("an authority key identifier", &b"\x06\x03\x55\x1d\x23"[..]),
        ("a subject key identifier", b"\x06\x03\x55\x1d\x0e"),
        ("a subject alternative name", b"\x06\x03\x55\x1d\x11"),
        ("a P-256 key", b"\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07"),
        ("the host", HOST.as_bytes()),
    ] {
        assert!(
            memchr::memmem::find(&leaf, der).is_some(),
            "the leaf lacks {what}"
        );
    }
}

/// A client that offers both versions gets HTTP/1.1, which Egret reads most strictly.
#[tokio::test]
async fn a_client_that_offers_both_versions_gets_http_1_1() {
    let (world, stub) = one_upstream().await;
    let mut tls = rustls::ClientConfig::clone(&trusting(&world.ca_pem().await));
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let mut wanted = Wanted::new(&world);
    wanted.tls = Some(Arc::new(tls));
    let mut tunnel = world.tunnel_for(&wanted).await;
    assert_eq!(
        tunnel.wire.io.get_ref().1.alpn_protocol(),
        Some(&b"http/1.1"[..])
    );
    assert_eq!(tunnel.get("/x", &[HEADER]).await.status, 200);
    assert_eq!(stub.take().len(), 1);
}

#[tokio::test]
async fn a_leaf_for_an_address_names_the_address() {
    let builder = World::builder();
    let stub = Stub::tls(builder.pki(), &["127.0.0.1"]).await;
    let world = builder.start().await;
    let port = stub.addr.port();
    world
        .save(SLUG, VALUE, &["--host", &format!("127.0.0.1:{port}")])
        .await;
    let wanted = Wanted {
        authority: format!("127.0.0.1:{port}"),
        server_name: "127.0.0.1".to_owned(),
        ..Wanted::new(&world)
    };
    let mut tunnel = world.tunnel_for(&wanted).await;
    let raw = request_to(&wanted.authority, "GET", "/x", &[HEADER], "");
    let answer = tunnel.roundtrip(raw).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(stub.take_one().header("x-api-key").as_deref(), Some(VALUE));
}

#[tokio::test]
async fn plain_http_in_a_tunnel_is_http() {
    let (world, stub) = World::plain_upstream().await;
    world
        .save(SLUG, VALUE, &["--host", &format!("http://{HOST}")])
        .await;
    let wanted = Wanted {
        authority: format!("{HOST}:80"),
        ..Wanted::new(&world)
    };
    let socket = wanted.connect(&world).await.expect("a tunnel");
    let mut wire = crate::wire::Wire::new(socket);
    for _ in 0..2 {
        wire.send(request("GET", "/x", &[HEADER], ""))
            .await
            .expect("send");
        let answer = within("an answer", wire.response(false))
            .await
            .expect("an answer");
        assert_eq!(answer.status, 200);
        assert_eq!(stub.take_one().header("x-api-key").as_deref(), Some(VALUE));
    }
}

#[tokio::test]
async fn anything_else_in_a_tunnel_is_refused_quickly() {
    let (world, stub) = one_upstream().await;
    for bytes in [
        &b"SSH-2.0-OpenSSH_9.6\r\n"[..],
        b"\x00\x00\x00\x2a\x01",
        b"\x16\x03\x01\x00\x05hello",
    ] {
        let socket = Wanted::new(&world).connect(&world).await.expect("a tunnel");
        let mut wire = crate::wire::Wire::new(socket);
        wire.send(bytes).await.expect("send");
        within("the tunnel to be closed", wire.until_closed()).await;
    }
    assert_eq!(stub.connections().len(), 0);
}

#[tokio::test]
async fn a_passthrough_host_is_tunnelled_blind() {
    let builder = World::builder();
    let stub = Stub::tls(builder.pki(), &["a.pinned.example"]).await;
    let mut world = builder
        .route("a.pinned.example:443", stub.addr)
        .set(
            "tls.passthrough",
            toml::Value::Array(vec!["*.pinned.example".into()]),
        )
        .start()
        .await;
    world
        .save(SLUG, VALUE, &["--host", "a.pinned.example"])
        .await;
    let mut wanted = Wanted::new(&world).host("a.pinned.example");
    wanted.tls = Some(trusting_store(world.pki.roots()));
    let mut tunnel = world.tunnel_for(&wanted).await;
    let raw = request_to("a.pinned.example", "GET", "/<<pat>>", &[HEADER], "");
    assert_eq!(tunnel.roundtrip(raw.clone()).await.status, 200);
    assert_eq!(stub.bytes(), raw.as_bytes(), "byte for byte");
    // Nobody knows whether what happens inside is finished, so it may go on while the proxy drains.
    world.signal(Signal::TERM);
    eventually("the proxy to accept nothing more", || {
        std::net::TcpStream::connect(world.proxy)
            .is_err()
            .then_some(())
    })
    .await;
    assert_eq!(tunnel.roundtrip(raw).await.status, 200);
    drop(tunnel);
    eventually("the upstream connection to end with the tunnel", || {
        (stub.open() == 0).then_some(())
    })
    .await;
    assert!(world.ended().await.success());
}

/// A name is looked up before anything is sent, and whoever answers for its domain reads it.
#[tokio::test]
async fn a_blind_tunnel_is_not_opened_to_a_name_that_holds_a_value() {
    const LABEL: &str = "k3y-for-tests-0123456789";
    let pinned = toml::Value::Array(vec!["*.pinned.example".into()]);
    let world = World::builder()
        .set("tls.passthrough", pinned)
        .set("proxy.require_auth", false)
        .start()
        .await;
    world
        .save("label", LABEL, &["--host", "a.pinned.example"])
        .await;
    let host = format!("{LABEL}.pinned.example");
    let refused = Wanted::new(&world).host(&host).connect(&world).await;
    let refused = refused.expect_err("a refusal");
    assert_refused(&refused, "secret_exposed");
    assert!(!refused.text().contains(LABEL), "{}", refused.text());

    let mut socket = crate::wire::Wire::new(world.dial().await.into_io());
    let length = u8::try_from(host.len()).expect("short");
    let asked = [&b"\x05\x01\x00\x05\x01\x00\x03"[..], &[length]].concat();
    let asked = [&asked[..], host.as_bytes(), b"\x01\xbb"].concat();
    socket.send(asked).await.expect("sent");
    let answer = within("the end", socket.until_closed()).await;
    assert_eq!(&answer[..4], [5, 0, 5, 2]);
    let denied: Vec<_> = world
        .ledger()
        .into_iter()
        .filter(|line| line["event"] == "denied")
        .collect();
    assert_eq!(denied.len(), 2, "{denied:?}");
    for line in denied {
        assert_eq!(line["code"], "secret_exposed");
        assert_eq!(line["destination"], serde_json::Value::Null);
    }
}

#[tokio::test]
async fn placeholders_in_the_head_of_a_connect_are_not_looked_at() {
    let (world, stub) = one_upstream().await;
    let wanted = Wanted::new(&world);
    let head = wanted.head().replacen(
        "\r\n\r\n",
        "\r\nUser-Agent: <<pat>>\r\nX-A: <<nope>>\r\n\r\n",
        1,
    );
    let mut wire = world.dial().await;
    wire.send(head).await.expect("send");
    let answer = within("a tunnel", wire.connect_response())
        .await
        .expect("an answer");
    assert_eq!(answer.status, 200);
    assert!(
        !world
            .ledger()
            .iter()
            .any(|l| l["event"] == "use" || l["event"] == "denied")
    );
    assert_eq!(stub.connections().len(), 0);
}

#[tokio::test]
async fn a_refused_request_leaves_the_tunnel_usable() {
    let (world, stub) = one_upstream().await;
    let mut tunnel = world.tunnel().await;
    for _ in 0..3 {
        assert_refused(
            &tunnel.get("/x", &["X-A: <<nope>>"]).await,
            "credential_not_found",
        );
        let held = request("POST", "/x", &["Content-Type: text/plain"], "<<nope>>");
        assert_refused(&tunnel.roundtrip(held).await, "credential_not_found");
        assert_eq!(tunnel.get("/x", &[HEADER]).await.status, 200);
    }
    assert_eq!(stub.take().len(), 3);
}

#[tokio::test]
async fn a_client_that_asks_to_close_gets_a_closed_connection() {
    let (world, _stub) = one_upstream().await;
    let mut tunnel = world.tunnel().await;
    assert_eq!(tunnel.get("/x", &["Connection: close"]).await.status, 200);
    within("the connection to be closed", tunnel.wire.until_closed()).await;
}

#[tokio::test]
async fn oversized_heads_are_refused_with_431() {
    let (world, stub) = one_upstream().await;
    let long = format!("X-Long: {}", "a".repeat(200_000));
    let many: Vec<String> = (0..2000).map(|i| format!("X-{i}: 1")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    for headers in [&[long.as_str()][..], &many] {
        let answer = world.tunnel().await.get("/x", headers).await;
        assert_eq!(answer.status, 431, "{answer:?}");
    }
    let uri = request("GET", &format!("/{}", "a".repeat(200_000)), &[], "");
    let answer = world.tunnel().await.roundtrip(uri).await;
    assert!([400, 414, 431].contains(&answer.status), "{answer:?}");
    assert_eq!(stub.connections().len(), 0);
}

#[tokio::test]
async fn expect_100_continue_is_answered_before_the_body_comes() {
    let (world, stub) = one_upstream().await;
    let mut tunnel = world.tunnel().await;
    for media_type in ["application/json", "application/octet-stream"] {
        let head = format!(
            "POST /x HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: {media_type}\r\nExpect: 100-continue\r\nContent-Length: 13\r\n\r\n"
        );
        tunnel.wire.send(head).await.expect("send");
        let mut go = vec![0; b"HTTP/1.1 100 Continue\r\n\r\n".len()];
        let read = tokio::io::AsyncReadExt::read_exact(&mut tunnel.wire.io, &mut go);
        within("100 Continue", read).await.expect("100 Continue");
        assert_eq!(go, b"HTTP/1.1 100 Continue\r\n\r\n");
        let answer = tunnel.roundtrip("{\"k\":\"pat\"}  ").await;
        assert_eq!(answer.status, 200);
        assert_eq!(stub.take_one().body.len(), 13);
    }
}

//! Clients that speak TLS to the proxy itself.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;

use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio_rustls::TlsConnector;

use crate::client::{trusting, trusting_store};
use crate::needs::{Need, needs};
use crate::pki::Pki;
use crate::upstream::Stub;
use crate::world::{Builder, EGRET, HOST, Output, SLUG, VALUE, World, finish, one_upstream_with};
use crate::{eventually, within};

const NAME: &str = "egret.example.test";

fn listening(builder: Builder) -> Builder {
    builder
        .set("proxy.tls_listen", vec!["127.0.0.1:0".to_owned()])
        .set("proxy.tls_names", vec![NAME.to_owned()])
}

/// Where it listens with TLS.
fn address(world: &World) -> SocketAddr {
    let text = std::fs::read(world.data.join("server.json")).expect("a running server");
    let file: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
    let address = file["proxy_tls"][0].as_str().expect("it listens");
    address.parse().expect("an address")
}

/// Curl with a placeholder, through the proxy by one of its names; with further arguments.
async fn curl(world: &World, name: &str, proxy_ca: &Path, more: &[&str]) -> Output {
    let port = address(world).port();
    let ca = world.run(&["ca", "path"]).await.ok();
    let mut command = Command::new("curl");
    command
        .args(["-sS", "--max-time", "60", "--cacert", ca.trim_end()])
        .arg("--proxy-cacert")
        .arg(proxy_ca)
        .args([
            "--proxy",
            &format!("https://act-1:{}@{name}:{port}", world.token),
        ])
        .args(["-H", &format!("X-Api-Key: <<{SLUG}>>")])
        .args(more)
        .arg(format!("https://{HOST}/v1"))
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    finish(command, b"").await
}

fn assert_arrived(stub: &Stub) {
    let seen = stub.take_one();
    assert_eq!(seen.header("x-api-key").as_deref(), Some(VALUE));
    assert_eq!(seen.header("proxy-authorization"), None);
}

#[tokio::test]
async fn curl_reaches_a_host_through_a_proxy_with_tls() {
    needs!(Need::Program("curl"));
    let (world, stub) = one_upstream_with(listening(World::builder())).await;
    let ca = world.run(&["ca", "path"]).await.ok();
    let ca = Path::new(ca.trim_end());
    for name in ["127.0.0.1", "localhost"] {
        curl(&world, name, ca, &[]).await.ok();
        assert_arrived(&stub);
    }
    // The plain listener is there as before, for those on this machine.
    let mut tunnel = world.tunnel().await;
    assert_eq!(tunnel.get("/v1", &[]).await.status, 200);
}

/// The names in the certificate that a client is shown that asks for `name`.
async fn shown(world: &World, tls: TlsConnector, name: &'static str) -> Option<Vec<u8>> {
    let socket = TcpStream::connect(address(world))
        .await
        .expect("it listens");
    let name = ServerName::try_from(name).expect("a name");
    let stream = within("a handshake", tls.connect(name, socket))
        .await
        .ok()?;
    let certificates = stream.get_ref().1.peer_certificates()?;
    Some(certificates[0].to_vec())
}

#[tokio::test]
async fn it_has_certificates_for_its_own_names_only() {
    let (world, _stub) = one_upstream_with(listening(World::builder())).await;
    let tls = TlsConnector::from(trusting(&world.ca_pem().await));
    for name in [NAME, "localhost", "127.0.0.1"] {
        assert!(shown(&world, tls.clone(), name).await.is_some(), "{name}");
    }
    // Whoever is led here in the place of another host would otherwise believe to be there.
    assert_eq!(shown(&world, tls, "api.example.test").await, None);
}

#[tokio::test]
async fn a_given_certificate_is_shown_and_a_reload_takes_the_next() {
    let builder = listening(World::builder());
    let (first, next) = (Pki::new(), Pki::new());
    let files = tempfile::tempdir().expect("a directory");
    let (cert, key) = (files.path().join("own.pem"), files.path().join("own.key"));
    first.write_leaf(&[NAME], &cert, &key);
    let builder = builder
        .set("proxy.tls_cert", cert.display().to_string())
        .set("proxy.tls_key", key.display().to_string());
    let (world, _stub) = one_upstream_with(builder).await;
    let under = |pki: &Pki| TlsConnector::from(trusting_store(pki.roots()));
    let before = shown(&world, under(&first), NAME).await;
    assert!(before.is_some());
    assert_eq!(shown(&world, under(&next), NAME).await, None);

    next.write_leaf(&[NAME], &cert, &key);
    world.reload().await;
    assert!(shown(&world, under(&next), NAME).await.is_some());
    assert_eq!(shown(&world, under(&first), NAME).await, None);

    // A key that is not the certificate's changes nothing.
    first.write_leaf(&[NAME], &cert, &files.path().join("other.key"));
    world.reload().await;
    assert!(world.log().contains("is not the key of the certificate"));
    assert!(shown(&world, under(&next), NAME).await.is_some());
}

#[tokio::test]
async fn where_clients_need_a_certificate_a_token_alone_gets_nowhere() {
    needs!(Need::Program("curl"));
    let (clients, others) = (Pki::new(), Pki::new());
    let files = tempfile::tempdir().expect("a directory");
    let path = |name: &str| files.path().join(name);
    std::fs::write(path("clients.pem"), &clients.root_pem).expect("write");
    clients.write_leaf(&["laptop"], &path("own.pem"), &path("own.key"));
    others.write_leaf(&["laptop"], &path("other.pem"), &path("other.key"));
    let builder = listening(World::builder()).set(
        "proxy.tls_client_ca",
        path("clients.pem").display().to_string(),
    );
    let (world, stub) = one_upstream_with(builder).await;
    let ca = world.run(&["ca", "path"]).await.ok();
    let ca = Path::new(ca.trim_end());
    let with = |name: &str| {
        let file = |end: &str| path(&format!("{name}.{end}")).display().to_string();
        [
            "--proxy-cert".to_owned(),
            file("pem"),
            "--proxy-key".to_owned(),
            file("key"),
        ]
    };
    let other = with("other");
    for more in [&[][..], &other.each_ref().map(String::as_str)[..]] {
        let refused = curl(&world, "127.0.0.1", ca, more).await;
        assert!(!refused.status.success(), "{refused:#?}");
    }
    assert_eq!(stub.take().len(), 0);
    let own = with("own");
    curl(&world, "127.0.0.1", ca, &own.each_ref().map(String::as_str))
        .await
        .ok();
    assert_arrived(&stub);
}

#[tokio::test]
async fn a_plain_listener_that_others_reach_has_to_be_allowed() {
    let home = tempfile::tempdir().expect("a directory");
    let file = home.path().join("egret.toml");
    let check = async |text: &str| {
        std::fs::write(&file, text).expect("written");
        let mut command = Command::new(EGRET);
        command
            .args(["config", "check", "--config"])
            .arg(&file)
            .env_clear()
            .env("HOME", home.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        finish(command, b"").await
    };
    for address in ["0.0.0.0:7070", "192.0.2.1:7070", "[::]:7070"] {
        let plain = format!("[proxy]\nlisten = \"{address}\"\n");
        let refused = check(&plain).await;
        assert_eq!(refused.status.code(), Some(1), "{refused:#?}");
        let said = format!("{}{}", refused.stdout, refused.stderr);
        assert!(said.contains("proxy.allow_plain"), "{said}");
        check(&format!("{plain}allow_plain = true\n")).await.ok();
        check(&format!("[proxy]\ntls_listen = [\"{address}\"]\n"))
            .await
            .ok();
    }
    let half = check("[proxy]\ntls_cert = \"own.pem\"\n").await;
    assert_eq!(half.status.code(), Some(1), "{half:#?}");
}

/// `egret run --server` as on another machine: with a home of its own.
async fn run_there(world: &World, home: &Path, fingerprint: &str, token: &str) -> Output {
    let mut command = Command::new(EGRET);
    command
        .args(["run", "--server", &format!("https://{}", address(world))])
        .args(["--ca-sha256", fingerprint, "--action", "far", "--"])
        .args(["curl", "-sS", "--max-time", "60"])
        .args(["-H", &format!("X-Api-Key: <<{SLUG}>>")])
        .arg(format!("https://{HOST}/v1"))
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", home)
        .env("EGRET_TOKEN", token)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    finish(command, b"").await
}

#[tokio::test]
async fn a_program_uses_the_proxy_of_another_machine_whose_authority_it_was_told() {
    needs!(Need::Program("curl"));
    let (world, stub) = one_upstream_with(listening(World::builder())).await;
    let status = world.run(&["ca", "status", "--json"]).await.json();
    let fingerprint = status["authorities"][0]["fingerprint"]
        .as_str()
        .expect("a fingerprint");
    let announced = eventually("the fingerprint to be printed", || {
        world.log().contains(fingerprint).then_some(())
    });
    announced.await;
    let home = tempfile::tempdir().expect("a directory");
    run_there(&world, home.path(), fingerprint, &world.token)
        .await
        .ok();
    assert_arrived(&stub);
    let line = world
        .ledger_line("the use", |line| line["event"] == "use")
        .await;
    assert_eq!(
        (&line["action"], &line["client"]),
        (&"far".into(), &"tester".into())
    );

    let other = "0".repeat(64);
    let refused = run_there(&world, home.path(), &other, &world.token).await;
    assert!(!refused.status.success());
    assert!(refused.stderr.contains("--ca-sha256"), "{refused:#?}");
    let refused = run_there(&world, home.path(), fingerprint, "egc_wrong").await;
    assert!(!refused.status.success());
    assert!(
        refused.stderr.contains("does not accept the token"),
        "{refused:#?}"
    );
    assert!(!refused.stderr.contains("egc_wrong"), "{refused:#?}");
    assert_eq!(stub.take().len(), 0);
}

#[tokio::test]
async fn a_base_url_is_served_over_tls_to_who_shows_a_token() {
    let builder =
        listening(World::builder()).set("base_url.tls_listen", vec!["127.0.0.1:0".to_owned()]);
    let (world, stub) = one_upstream_with(builder).await;
    let file = std::fs::read(world.data.join("server.json")).expect("a running server");
    let file: serde_json::Value = serde_json::from_slice(&file).expect("JSON");
    let address = file["base_url_tls"][0].as_str().expect("it listens");
    let address: SocketAddr = address.parse().expect("an address");
    let tls = TlsConnector::from(trusting(&world.ca_pem().await));
    let ask = async |host: &str, fields: &[&str]| {
        let socket = TcpStream::connect(address).await.expect("it listens");
        let name = ServerName::try_from(NAME).expect("a name");
        let stream = within("a handshake", tls.connect(name, socket)).await;
        let mut wire = crate::wire::Wire::new(stream.expect("TLS"));
        let host = format!("{host}:{}", address.port());
        let target = format!("/-/https/{HOST}/v1?k=<<{SLUG}>>");
        let request = crate::client::request_to(&host, "GET", &target, fields, "");
        wire.send(request).await.expect("sent");
        within("an answer", wire.response(false))
            .await
            .expect("an answer")
    };
    let token = format!("Egret-Token: {}", world.token);
    crate::client::assert_refused(&ask(NAME, &[]).await, "proxy_auth_required");
    crate::client::assert_refused(&ask("evil.example", &[&token]).await, "cross_site");
    assert_eq!(stub.take().len(), 0);
    for host in [NAME, "localhost", "127.0.0.1"] {
        assert_eq!(ask(host, &[&token]).await.status, 200);
        assert_eq!(stub.take_one().path(), "/v1");
    }
}

//! SOCKS5 on the proxy's own port.

use std::process::Stdio;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::Command;

use crate::needs::{Need, needs};
use crate::within;
use crate::world::{HOST, Output, SLUG, VALUE, World, finish, one_upstream, one_upstream_with};

async fn curl(world: &World, login: &str, more: &[&str]) -> Output {
    let ca = world.data.join("ca.pem");
    let proxy = format!("socks5h://{login}{}", world.proxy);
    let mut command = Command::new("curl");
    command
        .args([
            "-sS",
            "--proxy",
            &proxy,
            "--cacert",
            ca.to_str().expect("text"),
        ])
        .args(["-H", &format!("X-Api-Key: <<{SLUG}>>")])
        .args(more)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    finish(command, b"").await
}

#[tokio::test]
async fn a_program_that_knows_only_socks_gets_its_values() {
    needs!(Need::Program("curl"));
    let (world, stub) = one_upstream().await;
    let login = format!("weekly%3Areport:{}@", world.token);
    let url = format!("https://{HOST}/socks");
    for version in ["--http1.1", "--http2"] {
        assert_eq!(curl(&world, &login, &[version, &url]).await.ok(), "ok");
        assert_eq!(stub.take_one().header("x-api-key").as_deref(), Some(VALUE));
    }
    let used = world
        .ledger_line("the use", |line| line["event"] == "use")
        .await;
    assert_eq!(used["action"], "weekly:report");
    // A path that its owner did not allow is refused as in any other tunnel.
    let other = curl(
        &world,
        &login,
        &[
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}",
            "-k",
            "https://other.example.test/",
        ],
    )
    .await;
    assert_eq!(other.ok(), "403");
    assert_eq!(stub.take().len(), 0);
}

#[tokio::test]
async fn without_a_token_nothing_is_opened() {
    needs!(Need::Program("curl"));
    let (world, stub) = one_upstream().await;
    let url = format!("https://{HOST}/socks");
    for login in ["", "me:egc_wrong@", "me:password@"] {
        let refused = curl(&world, login, &[&url]).await;
        assert!(!refused.status.success(), "{login}: {refused:#?}");
    }
    assert_eq!(stub.take().len(), 0);
}

#[tokio::test]
async fn a_run_needs_no_login() {
    needs!(Need::Program("curl"));
    let (world, stub) = one_upstream().await;
    let script = format!(
        "exec curl -sS --proxy \"socks5h://${{HTTPS_PROXY#http://}}\" -H 'X-Api-Key: <<{SLUG}>>' https://{HOST}/run"
    );
    assert_eq!(
        world.run(&["run", "--", "sh", "-c", &script]).await.ok(),
        "ok"
    );
    assert_eq!(stub.take_one().header("x-api-key").as_deref(), Some(VALUE));
}

#[tokio::test]
async fn what_is_not_understood_is_refused_in_the_protocols_words() {
    let (world, _stub) = one_upstream_with(World::builder().set("proxy.require_auth", false)).await;
    let ask = async |request: &[u8]| {
        let mut stream = TcpStream::connect(world.proxy).await.expect("connected");
        stream.write_all(b"\x05\x01\x00").await.expect("sent");
        let mut method = [0; 2];
        within("a method", stream.read_exact(&mut method))
            .await
            .expect("read");
        assert_eq!(method, [5, 0]);
        stream.write_all(request).await.expect("sent");
        let mut answer = Vec::new();
        within("the end", stream.read_to_end(&mut answer))
            .await
            .expect("read");
        answer[1]
    };
    // BIND; an address of an unknown kind; a name that is none; a port of another protocol.
    assert_eq!(ask(b"\x05\x02\x00\x01\x7f\0\0\x01\0\x50").await, 7);
    assert_eq!(ask(b"\x05\x01\x00\x09").await, 8);
    assert_eq!(ask(b"\x05\x01\x00\x03\x03a/b\x01\xbb").await, 8);
    assert_eq!(ask(b"\x05\x01\x00\x03\x01a\x00\x19").await, 2);
    // What the greeting did not begin.
    let mut stream = TcpStream::connect(world.proxy).await.expect("connected");
    let mixed = b"\x05\x01\x00\x04\x01\x00\x03";
    stream.write_all(mixed).await.expect("sent");
    let mut answer = Vec::new();
    within("the end", stream.read_to_end(&mut answer))
        .await
        .expect("read");
    assert_eq!(answer, [5, 0]);
    // Only GSSAPI.
    let mut stream = TcpStream::connect(world.proxy).await.expect("connected");
    stream.write_all(b"\x05\x01\x01").await.expect("sent");
    let mut answer = Vec::new();
    within("the end", stream.read_to_end(&mut answer))
        .await
        .expect("read");
    assert_eq!(answer, [5, 0xFF]);
}

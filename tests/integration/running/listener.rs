//! The listener of one `egret run` vouches for the program, for no other user, and for no longer.

use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::client::assert_refused;
use crate::needs::{Need, needs, skipped};
use crate::wire::Wire;
use crate::world::{HOST, VALUE, World, finish, one_upstream};
use crate::{eventually, within};

/// An `egret run` of a shell that says where its proxy is and waits for a line.
struct Run {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    port: u16,
}

impl Run {
    async fn start(world: &World) -> Self {
        let script = "echo \"$HTTPS_PROXY\"; echo $$; read line";
        let mut command = world.command(&["run", "--action", "held", "--", "sh", "-c", script]);
        command.stdin(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().expect("egret run");
        let stdout = child.stdout.take().expect("a pipe");
        let mut lines = BufReader::new(stdout).lines();
        let proxy = next(&mut lines).await;
        let port = proxy.strip_prefix("http://127.0.0.1:");
        let port = port.and_then(|port| port.parse().ok());
        Self {
            child,
            lines,
            port: port.unwrap_or_else(|| panic!("an address without a password: {proxy}")),
        }
    }

    async fn dial(&self) -> std::io::Result<Wire<tokio::net::TcpStream>> {
        let stream = tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await?;
        Ok(Wire::new(stream))
    }

    async fn end(mut self) {
        let mut stdin = self.child.stdin.take().expect("a pipe");
        stdin.write_all(b"\n").await.expect("a line");
        let status = within("the run to end", self.child.wait()).await;
        assert!(status.expect("a status").success());
    }
}

async fn next(lines: &mut Lines<BufReader<ChildStdout>>) -> String {
    let line = within("a line of the program", lines.next_line()).await;
    line.expect("readable").expect("a line")
}

fn connect() -> String {
    format!("CONNECT {HOST}:443 HTTP/1.1\r\nHost: {HOST}:443\r\n")
}

#[tokio::test]
async fn whoever_the_listener_belongs_to_needs_no_token_and_a_wrong_one_is_refused() {
    let (world, _stub) = one_upstream().await;
    let run = Run::start(&world).await;
    let answer = async |more: &str| {
        let mut wire = run.dial().await.expect("the listener");
        wire.send(format!("{}{more}\r\n", connect()))
            .await
            .expect("sent");
        within("an answer", wire.connect_response())
            .await
            .expect("an answer")
    };
    assert_eq!(answer("").await.status, 200);
    // A client that shows a token means that one.
    let wrong = answer("Proxy-Authorization: Bearer egc_wrong\r\n").await;
    assert_refused(&wrong, "proxy_auth_required");
    run.end().await;
}

#[tokio::test]
async fn the_listener_ends_with_a_run_that_is_killed() {
    let (world, _stub) = one_upstream().await;
    let mut run = Run::start(&world).await;
    let program = next(&mut run.lines).await.parse().expect("a process id");
    run.child.start_kill().expect("killed");
    within("the end", run.child.wait()).await.expect("a status");
    assert!(run.dial().await.is_err(), "the listener outlived its run");
    let program = Pid::from_raw(program).expect("a process id");
    // It reads from a pipe that has no other end now, so it may be gone.
    let _ = kill_process(program, Signal::KILL);
}

#[tokio::test]
async fn another_user_is_not_let_in() {
    needs!(Need::Program("setpriv"), Need::Program("curl"));
    if !rustix::process::geteuid().is_root() {
        return skipped("root, to become another user");
    }
    let (world, stub) = one_upstream().await;
    let run = Run::start(&world).await;
    let ca = world.scratch().join("for-others.pem");
    std::fs::write(&ca, world.ca_pem().await).expect("written");
    let proxy = format!("http://127.0.0.1:{}", run.port);
    let url = format!("https://{HOST}/x");
    let curl = [
        "curl",
        "-sS",
        "-k",
        "-x",
        &proxy,
        "-H",
        "X-Api-Key: <<pat>>",
        &url,
    ];
    let ask = async |user: &[&str]| {
        let mut command = Command::new("setpriv");
        command
            .args(user)
            .args(curl)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        finish(command, b"").await
    };
    let other = ask(&["--reuid", "65534", "--regid", "65534", "--clear-groups"]).await;
    assert!(!other.status.success(), "{other:#?}");
    assert_eq!(stub.take().len(), 0);
    assert_eq!(ask(&[]).await.ok(), "ok");
    assert_eq!(stub.take_one().header("x-api-key").as_deref(), Some(VALUE));
    run.end().await;
}

#[tokio::test]
async fn a_header_that_is_not_understood_closes_the_connection() {
    let (world, _stub) = one_upstream().await;
    let signature = b"\r\n\r\n\0\r\nQUIT\n";
    let connect = connect();
    for rest in [
        // A command with addresses, which Egret has no use for.
        &b"\x21\x11\x00\x0c\x7f\0\0\x01\x7f\0\0\x01\0\x01\0\x02"[..],
        // Credentials that are longer than the header.
        b"\x20\x00\x00\x03\xe0\xff\xff",
        // A header that is longer than any.
        b"\x20\x00\xff\xff",
    ] {
        let mut wire = world.dial().await;
        wire.send([signature, rest, connect.as_bytes()].concat())
            .await
            .expect("sent");
        within("the end", wire.until_closed()).await;
    }
    // A token that nobody has is refused in words.
    let mut wire = world.dial().await;
    let header = [
        &signature[..],
        b"\x20\x00\x00\x13\xe0\x00\x10Bearer egc_wrong",
        connect.as_bytes(),
        b"\r\n",
    ];
    wire.send(header.concat()).await.expect("sent");
    let answer = within("an answer", wire.connect_response())
        .await
        .expect("an answer");
    assert_refused(&answer, "proxy_auth_required");
    // Empty lines before a request are passed over, as before.
    let mut wire = world.dial().await;
    wire.send(format!("\r\n\r\n{connect}\r\n"))
        .await
        .expect("sent");
    let answer = within("an answer", wire.connect_response())
        .await
        .expect("an answer");
    assert_refused(&answer, "proxy_auth_required");
    eventually("the log", || {
        world.log().contains("PROXY protocol").then_some(())
    })
    .await;
}

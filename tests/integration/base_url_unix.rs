//! Base URLs over a Unix socket: who reaches it, where it may be, and when it goes.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::net::UnixStream;
use tokio::process::Command;

use crate::base_url::ask_on;
use crate::client::{assert_refused, request_to};
use crate::clients::installed;
use crate::doctor::set_mode;
use crate::eventually;
use crate::needs::{Need, needs};
use crate::upstream::{Step, Stub, ok};
use crate::wire::Response;
use crate::world::{Builder, HOST, VALUE, World, finish, one_upstream_with};

/// A world that listens at a socket in a directory of its own, for `default`.
fn listening(builder: Builder, directory: &Path) -> Builder {
    let socket = format!("unix:{}", socket(directory).display());
    builder
        .set("base_url.listen", vec![socket])
        .set("base_url.principal", "default")
        .set("base_url.action", "sheet")
}

fn socket(directory: &Path) -> PathBuf {
    directory.join("base.sock")
}

fn directory() -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    set_mode(directory.path(), 0o755);
    directory
}

async fn world(directory: &Path) -> (World, Stub) {
    one_upstream_with(listening(World::builder(), directory)).await
}

async fn ask(path: &Path, request: String) -> Response {
    let socket = UnixStream::connect(path).await;
    ask_on(socket.expect("it listens"), request).await
}

#[tokio::test]
async fn the_path_names_the_destination_there_too() {
    let directory = directory();
    let (world, stub) = world(directory.path()).await;
    let path = socket(directory.path());
    let target = format!("/-/https/{HOST}/v1/x");
    let get = |host: &str, headers: &[&str]| request_to(host, "GET", &target, headers, "");
    stub.answer(format!(
        "HTTP/1.1 302 Found\r\nLocation: https://{HOST}/next\r\nContent-Length: 0\r\n\r\n"
    ));
    let answer = ask(&path, get("localhost", &["X-Api-Key: <<pat>>"])).await;
    assert_eq!(answer.status, 302, "{}", answer.text());
    let back = format!("http://localhost/-/https/{HOST}/next");
    assert_eq!(answer.header("location"), Some(back));
    let seen = stub.take_one();
    assert_eq!(seen.header("x-api-key").as_deref(), Some(VALUE));
    let line = world
        .ledger_line("the use", |line| line["event"] == "use")
        .await;
    assert_eq!(
        (&line["action"], &line["client"]),
        (&"sheet".into(), &"base-url".into())
    );
    for refused in [
        get("evil.example", &[]),
        get("localhost:81", &[]),
        get("localhost", &["Sec-Fetch-Site: cross-site"]),
        get("localhost", &["Origin: https://evil.example"]),
    ] {
        assert_refused(&ask(&path, refused).await, "cross_site");
    }
    assert_eq!(stub.take().len(), 0);
}

#[tokio::test]
async fn the_socket_is_closed_to_others_and_goes_with_the_server() {
    let directory = directory();
    let (mut world, _stub) = world(directory.path()).await;
    let path = socket(directory.path());
    let metadata = std::fs::metadata(&path).expect("it is there");
    assert_eq!(metadata.mode() & 0o777, 0o600);
    let target = format!("/-/https/{HOST}/x");
    let get = request_to("localhost", "GET", &target, &[], "");
    // Another one takes over, and the socket stays where it is until that one ends.
    world.run(&["upgrade"]).await.ok();
    world.ended().await;
    assert_eq!(ask(&path, get.clone()).await.status, 200);
    let after = std::fs::metadata(&path).expect("it is there");
    assert_eq!(after.ino(), metadata.ino());
    end_successor(&world);
    let announced = world.data.join("server.json");
    let is_over = || (!path.exists() && !announced.exists()).then_some(());
    eventually("the socket is gone", is_over).await;
    world.restart().await;
    assert_eq!(ask(&path, get.clone()).await.status, 200);
    // What a server leaves that was killed is no obstacle.
    world.signal(rustix::process::Signal::KILL);
    world.ended().await;
    assert!(path.exists());
    world.restart().await;
    assert_eq!(ask(&path, get).await.status, 200);
    world.stop().await;
    assert!(!path.exists(), "it stayed behind");
}

/// Ends the server that has taken over, which no `World` knows.
fn end_successor(world: &World) {
    let text = std::fs::read(world.data.join("server.json")).expect("a running server");
    let file: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
    let pid = file["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok());
    let pid = pid.and_then(rustix::process::Pid::from_raw).expect("a pid");
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("ended");
}

/// As another user, who reaches the socket because its owner has opened it.
#[tokio::test]
async fn a_connection_of_another_user_is_closed() {
    needs!(Need::Program("setpriv"), Need::Program("python3"));
    if !rustix::process::geteuid().is_root() {
        crate::needs::skipped("to be root");
        return;
    }
    let directory = directory();
    let (_world, stub) = world(directory.path()).await;
    let path = socket(directory.path());
    let program = "import socket, sys\n\
        s = socket.socket(socket.AF_UNIX)\n\
        s.connect(sys.argv[1])\n\
        try:\n    \
            s.sendall(sys.argv[2].encode())\n    \
            print(len(s.recv(4096)))\n\
        except OSError:\n    print(0)";
    let target = format!("/-/https/{HOST}/x");
    let get = request_to("localhost", "GET", &target, &["X-Api-Key: <<pat>>"], "");
    let ask_as_nobody = async || {
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
            .args(["python3", "-c", program, &path.display().to_string(), &get])
            .env("PATH", "/usr/bin:/bin")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        finish(command, b"").await
    };
    let closed = ask_as_nobody().await;
    assert!(closed.stderr.contains("Permission denied"), "{closed:?}");
    set_mode(&path, 0o666);
    assert_eq!(ask_as_nobody().await.ok(), "0\n");
    assert_eq!(stub.take().len(), 0);
}

#[tokio::test]
async fn a_socket_where_others_could_put_theirs_is_refused() {
    let directory = directory();
    let (mut world, _stub) = world(directory.path()).await;
    world.stop().await;
    let start = async |wanted: &str| {
        let mut command = world.command(&["serve"]);
        command.env("EGRET_BASE_URL_LISTEN", wanted);
        finish(command, b"").await
    };
    let path = socket(directory.path()).display().to_string();
    for mode in [0o777, 0o775, 0o1777] {
        set_mode(directory.path(), mode);
        let refused = start(&format!("unix:{path}")).await;
        assert!(!refused.status.success(), "{refused:?}");
        let says = format!("{}{}", refused.stdout, refused.stderr);
        assert!(
            says.contains("chmod go-w") && says.contains("base_url.listen"),
            "{says}"
        );
    }
    set_mode(directory.path(), 0o755);
    for wanted in ["unix:base.sock", "unix:", "unix:/"] {
        let refused = start(wanted).await;
        let says = format!("{}{}", refused.stdout, refused.stderr);
        assert!(
            !refused.status.success() && says.contains("whole path"),
            "{says}"
        );
    }
    let long = format!("unix:{}/{}", directory.path().display(), "x".repeat(120));
    let refused = start(&long).await;
    assert!(refused.stderr.contains("too long"), "{refused:?}");
}

/// A server that says what it was sent.
async fn echoing(directory: &Path) -> (World, Stub) {
    let (world, stub) = world(directory).await;
    stub.serve(|request| async move {
        let sent = request.header("authorization").unwrap_or_default();
        vec![Step::Send(ok(&format!(
            "{} bytes, {sent}",
            request.body.len()
        )))]
    });
    (world, stub)
}

/// Runs a client without any variable that leads to the proxy.
async fn client(program: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    finish(command, b"").await.ok()
}

#[tokio::test]
async fn curl_speaks_both_versions_over_it() {
    needs!(Need::Program("curl"));
    let directory = directory();
    let (_world, stub) = echoing(directory.path()).await;
    let body = directory.path().join("body");
    std::fs::write(&body, vec![b'x'; 3 << 20]).expect("written");
    let (path, body) = (
        socket(directory.path()).display().to_string(),
        format!("@{}", body.display()),
    );
    let url = format!("http://localhost/-/https/{HOST}/x");
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        let said = client(
            Path::new("curl"),
            &[
                "-sS",
                "--max-time",
                "60",
                version,
                "--unix-socket",
                &path,
                "--data-binary",
                &body,
                "-H",
                "Authorization: Bearer <<pat>>",
                "-H",
                "Content-Type: text/plain",
                &url,
            ],
        )
        .await;
        assert_eq!(
            said,
            format!("{} bytes, Bearer <<pat>>", 3 << 20),
            "{version}"
        );
        let sent = stub.take_one().header("authorization");
        assert_eq!(sent, Some(format!("Bearer {VALUE}")), "{version}");
    }
}

#[tokio::test]
async fn httpx_and_node_reach_it() {
    needs!(Need::Python, Need::Node);
    let directory = directory();
    let (_world, stub) = echoing(directory.path()).await;
    let path = socket(directory.path()).display().to_string();
    let target = format!("/-/https/{HOST}/x");
    let python = "import sys, httpx\n\
        c = httpx.Client(transport=httpx.HTTPTransport(uds=sys.argv[1]), base_url='http://localhost')\n\
        print(c.post(sys.argv[2], content='abc', headers={'Authorization': 'Bearer <<pat>>'}).text)";
    let node = "const q = require('http').request({socketPath: process.argv[1], path: process.argv[2], \
        method: 'POST', headers: {authorization: 'Bearer <<pat>>'}}, \
        a => a.on('data', d => process.stdout.write(d)).on('end', () => console.log()));\
        q.end('abc')";
    for (program, flag, script) in [("venv/bin/python", "-c", python), ("npm/node", "-e", node)] {
        let said = client(&installed(program), &[flag, script, &path, &target]).await;
        assert_eq!(said, "3 bytes, Bearer <<pat>>\n", "{program}");
        let sent = stub.take_one().header("authorization");
        assert_eq!(sent, Some(format!("Bearer {VALUE}")), "{program}");
    }
}

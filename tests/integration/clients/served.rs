//! Programs against servers of their own kind: twine and pip with a package index, git-lfs with its
//! store, requests and curl with a server that speaks NTLM.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt as _, BufReader, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio_rustls::TlsAcceptor;

use super::{installed, program, text};
use crate::needs::{Need, needs};
use crate::pki::{Flaw, Pki};
use crate::within;
use crate::world::{HOST, Output, SLUG, VALUE, World, finish};

/// A server that prints its port, behind TLS as `api.example.test`. It is killed with the value.
struct Server {
    _process: Child,
    directory: tempfile::TempDir,
    world: World,
}

impl Server {
    async fn start(script: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let mut process = Command::new(installed("venv/bin/python"))
            .args([program(script).as_str(), VALUE])
            .current_dir(directory.path())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("start the server");
        let mut lines = BufReader::new(process.stdout.take().expect("stdout")).lines();
        let port = within("the server's port", lines.next_line()).await;
        let port = port
            .expect("read")
            .expect("a line")
            .parse()
            .expect("a port");
        let builder = World::builder();
        let addr = behind_tls(SocketAddr::from(([127, 0, 0, 1], port)), builder.pki()).await;
        let world = builder.route(&format!("{HOST}:443"), addr).start().await;
        world.save(SLUG, VALUE, &["--host", HOST]).await;
        Self {
            _process: process,
            directory,
            world,
        }
    }

    /// Runs a program in the server's directory.
    async fn run(&self, args: &[&str]) -> Output {
        self.run_in(self.directory.path(), args).await
    }

    async fn run_in(&self, directory: &Path, args: &[&str]) -> Output {
        let mut command = self.world.command(&["run", "--action", "served", "--"]);
        command
            .env("HOME", self.directory.path())
            .env("PATH", path_with_go_programs())
            .env("GIT_TERMINAL_PROMPT", "0")
            .current_dir(directory)
            .args(args);
        finish(command, b"").await
    }
}

/// git finds its subcommands on the path.
fn path_with_go_programs() -> std::ffi::OsString {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let own = std::iter::once(installed("go"));
    std::env::join_paths(own.chain(std::env::split_paths(&path))).expect("a path")
}

async fn behind_tls(server: SocketAddr, pki: &Pki) -> SocketAddr {
    let acceptor = TlsAcceptor::from(pki.server_config(&[HOST], Flaw::None));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let addr = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let mut outside = acceptor.accept(socket).await?;
                let mut inside = TcpStream::connect(server).await?;
                copy_bidirectional(&mut outside, &mut inside).await
            });
        }
    });
    addr
}

#[tokio::test]
async fn twine_uploads_to_a_package_index_and_pip_fetches_from_it() {
    needs!(Need::Python);
    let server = Server::start("index.py").await;
    let twine = installed("venv/bin/python");
    let upload = [text(&twine), "-m", "twine", "upload", "--non-interactive"];
    let url = format!("https://{HOST}/");
    let index = ["--disable-progress-bar", "--repository-url", &url];
    let package = "dist/demo_pkg-1.0-py3-none-any.whl";
    let whom = ["-u", "bob", "-p", "<<pat>>", package];
    let output = server.run(&[&upload[..], &index, &whom].concat()).await;
    assert!(
        output.status.success(),
        "{output:#?}\n{}",
        server.world.log()
    );
    let uploaded = server
        .directory
        .path()
        .join("packages/demo_pkg-1.0-py3-none-any.whl");
    let made = server.directory.path().join(package);
    let read = |path: &Path| std::fs::read(path).expect("the package");
    assert!(
        read(&uploaded) == read(&made),
        "the package arrived changed"
    );
    let simple = format!("https://bob:<<pat>>@{HOST}/simple/");
    let fetch = [
        "-m",
        "pip",
        "download",
        "--no-deps",
        "-d",
        "fetched",
        "-i",
        &simple,
        "demo-pkg",
    ];
    let output = server.run(&[&[text(&twine)][..], &fetch].concat()).await;
    assert!(
        output.status.success(),
        "{output:#?}\n{}",
        server.world.log()
    );
    let refused = ["-u", "bob", "-p", "<<nosuch>>", package];
    let output = server.run(&[&upload[..], &index, &refused].concat()).await;
    assert!(!output.status.success());
    assert!(
        output.stdout.contains("credential_not_found"),
        "{output:#?}"
    );
}

/// The batch answer repeats the credentials for each object, as Gitea's does: what Egret put in their
/// place goes out again as the value.
#[tokio::test]
async fn git_lfs_sends_again_what_the_servers_answer_told_it_to() {
    needs!(Need::Python, Need::GitLfs);
    let server = Server::start("lfs.py").await;
    let home = server.directory.path();
    let helper = "!f() { test \"$1\" = get && echo username=bob && echo 'password=<<pat>>'; }; f";
    let work = home.join("work");
    let git = async |directory: &Path, args: &[&str]| {
        let output = server.run_in(directory, &[&["git"], args].concat()).await;
        assert!(
            output.status.success(),
            "{args:?}: {output:#?}\n{}",
            server.world.log()
        );
    };
    for (key, value) in [
        ("user.name", "T"),
        ("user.email", "t@example.test"),
        ("credential.helper", helper),
        ("lfs.url", &format!("https://{HOST}/lfs")),
    ] {
        git(home, &["config", "--global", key, value]).await;
    }
    git(home, &["init", "-q", "--bare", "bare"]).await;
    git(home, &["init", "-q", "-b", "main", "work"]).await;
    git(&work, &["lfs", "install", "--local"]).await;
    git(&work, &["lfs", "track", "*.bin"]).await;
    let large: Vec<u8> = (0..2_500_000_u32)
        .flat_map(|n| (n.wrapping_mul(2_654_435_761)).to_le_bytes())
        .take(2_500_000)
        .collect();
    std::fs::write(work.join("large.bin"), &large).expect("a file");
    std::fs::write(work.join("small.bin"), b"small").expect("a file");
    git(&work, &["add", "-A"]).await;
    git(&work, &["commit", "-qm", "first"]).await;
    git(&work, &["push", "-q", "../bare", "main"]).await;
    git(home, &["clone", "-q", "-b", "main", "bare", "clone"]).await;
    git(&home.join("clone"), &["lfs", "install", "--local"]).await;
    git(&home.join("clone"), &["lfs", "pull"]).await;
    let fetched = std::fs::read(home.join("clone/large.bin")).expect("the file");
    assert!(fetched == large, "the file arrived changed");
}

/// NTLM authenticates a connection, and takes two requests on it to do so.
#[tokio::test]
async fn ntlm_of_requests_and_curl_stays_on_its_connection() {
    needs!(Need::Python, Need::Program("curl"));
    let server = Server::start("ntlm.py").await;
    let python = installed("venv/bin/python");
    let script = format!(
        r#"
import requests, requests_ntlm
session = requests.Session()
session.auth = requests_ntlm.HttpNtlmAuth("LAB\\bob", "password")
for _ in range(3):
    answer = session.post("https://{HOST}/", data=b"z" * 1000)
    assert (answer.status_code, answer.text) == (200, "1000 bytes"), answer.text
assert requests.get("https://{HOST}/").status_code == 401
"#
    );
    let output = server.run(&[text(&python), "-c", &script]).await;
    assert!(
        output.status.success(),
        "{output:#?}\n{}",
        server.world.log()
    );
    let url = format!("https://{HOST}/");
    let status = "%{http_code} ";
    let asked = [
        "curl",
        "-sS",
        "-o",
        "/dev/null",
        "-w",
        status,
        "--ntlm",
        "-u",
        "LAB\\bob:password",
    ];
    let output = server
        .run(&[&asked[..], &[&url, "-o", "/dev/null", &url]].concat())
        .await;
    assert_eq!(output.stdout, "200 200 ", "{output:#?}");
}

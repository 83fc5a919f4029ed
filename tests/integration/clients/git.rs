//! git over smart HTTP, with a placeholder in place of the password.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::needs::{Need, needs};
use crate::upstream::{Step, Stub};
use crate::wire::Request;
use crate::world::{Output, SLUG, VALUE, World, finish};

pub(crate) const GIT_HOST: &str = "git.example.test";

pub(crate) fn git(directory: &Path, args: &[&str]) -> Command {
    let mut command = Command::new("git");
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", directory)
        .current_dir(directory)
        .args([
            "-c",
            "user.name=T",
            "-c",
            "user.email=t@example.test",
            "-c",
            "init.defaultBranch=main",
        ])
        .args(args)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// A bare repository with one commit.
pub(crate) async fn repository(root: &Path) {
    std::fs::create_dir_all(root).expect("a directory");
    finish(git(root, &["init", "--bare", "repo.git"]), b"")
        .await
        .ok();
    finish(git(root, &["init", "seed"]), b"").await.ok();
    let seed = root.join("seed");
    std::fs::write(seed.join("file.txt"), "first\n").expect("write");
    finish(git(&seed, &["add", "."]), b"").await.ok();
    finish(git(&seed, &["commit", "-m", "first"]), b"")
        .await
        .ok();
    finish(
        git(&seed, &["push", "../repo.git", "HEAD:refs/heads/main"]),
        b"",
    )
    .await
    .ok();
    finish(
        git(
            &root.join("repo.git"),
            &["symbolic-ref", "HEAD", "refs/heads/main"],
        ),
        b"",
    )
    .await
    .ok();
}

/// Runs `git http-backend` as a CGI program for a TLS upstream that requires the real password.
pub(crate) async fn backend(root: PathBuf, request: Arc<Request>) -> Vec<Step> {
    let wanted = [
        format!("user:{VALUE}"),
        format!("{VALUE}:x-oauth-basic"),
        format!("{VALUE}:"),
    ];
    let credentials = request.header("authorization").and_then(|value| {
        let text = value.strip_prefix("Basic ")?.to_owned();
        String::from_utf8(STANDARD.decode(text).ok()?).ok()
    });
    if !credentials.is_some_and(|c| wanted.contains(&c)) {
        let challenge = "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"git\"\r\nContent-Length: 0\r\n\r\n";
        return vec![Step::Send(challenge.as_bytes().to_vec())];
    }
    let mut command = Command::new("git");
    command
        .arg("http-backend")
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("GIT_PROJECT_ROOT", &root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("REMOTE_USER", "user")
        .env("REQUEST_METHOD", &request.method)
        .env("PATH_INFO", request.path())
        .env("QUERY_STRING", request.query())
        .env(
            "CONTENT_TYPE",
            request.header("content-type").unwrap_or_default(),
        )
        .env("CONTENT_LENGTH", request.body.len().to_string())
        .env(
            "HTTP_CONTENT_ENCODING",
            request.header("content-encoding").unwrap_or_default(),
        )
        .env(
            "GIT_PROTOCOL",
            request.header("git-protocol").unwrap_or_default(),
        )
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit());
    let mut child = command.spawn().expect("git http-backend");
    let mut stdin = child.stdin.take().expect("stdin");
    let feed = tokio::spawn(async move {
        let _ = stdin.write_all(&request.body).await;
    });
    let output = child.wait_with_output().await.expect("git http-backend");
    let _ = feed.await;
    vec![Step::Send(from_cgi(&output.stdout))]
}

/// Turns the output of a CGI program into an HTTP answer.
fn from_cgi(output: &[u8]) -> Vec<u8> {
    let end = memchr::memmem::find(output, b"\r\n\r\n").expect("CGI headers");
    let head = String::from_utf8_lossy(&output[..end]).into_owned();
    let body = &output[end + 4..];
    let (mut status, mut fields) = ("200 OK".to_owned(), String::new());
    for line in head.split("\r\n") {
        match line.strip_prefix("Status: ") {
            Some(s) => status = s.to_owned(),
            None => fields.push_str(&format!("{line}\r\n")),
        }
    }
    let head = format!(
        "HTTP/1.1 {status}\r\n{fields}Content-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

async fn git_world() -> (World, Stub, tempfile::TempDir) {
    let directory = tempfile::tempdir().expect("a directory");
    let root = directory.path().join("root");
    repository(&root).await;
    let builder = World::builder();
    let stub = Stub::tls(builder.pki(), &[GIT_HOST]).await;
    stub.serve(move |request| backend(root.clone(), request));
    let world = builder
        .route(&format!("{GIT_HOST}:443"), stub.addr)
        .start()
        .await;
    world.save(SLUG, VALUE, &["--host", GIT_HOST]).await;
    (world, stub, directory)
}

/// Runs git under `egret run` in a directory.
async fn under_run(world: &World, directory: &Path, args: &[&str]) -> Output {
    let mut command = world.command(&["run", "--action", "git", "--"]);
    command
        .env("HOME", directory)
        .env("GIT_TERMINAL_PROMPT", "0")
        .current_dir(directory)
        .args([
            "git",
            "-c",
            "user.name=T",
            "-c",
            "user.email=t@example.test",
        ])
        .args(args);
    finish(command, b"").await
}

/// Bytes that do not compress, so that a push is as large as the file.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..length).map(|_| next()).collect()
}

#[tokio::test]
async fn clone_and_push_with_a_placeholder_as_password() {
    needs!(Need::GitHttpBackend);
    let (world, stub, directory) = git_world().await;
    let home = directory.path();
    let url = format!("https://user:<<pat>>@{GIT_HOST}/repo.git");
    under_run(&world, home, &["clone", &url, "clone"])
        .await
        .ok();
    let clone = home.join("clone");
    assert_eq!(
        std::fs::read_to_string(clone.join("file.txt")).expect("the file"),
        "first\n"
    );

    // A push larger than `http.postBuffer` is sent chunked: one that is held, and one larger than
    // `body.buffer`.
    for (name, length) in [
        ("small.bin", 1000),
        ("middle.bin", 300 << 10),
        ("large.bin", 3 << 20),
    ] {
        std::fs::write(clone.join(name), noise(length)).expect("write");
        finish(git(&clone, &["add", "."]), b"").await.ok();
        finish(git(&clone, &["commit", "-m", name]), b"").await.ok();
        under_run(
            &world,
            &clone,
            &["-c", "http.postBuffer=65536", "push", "origin", "HEAD:main"],
        )
        .await
        .ok();
        let bare = directory.path().join("root/repo.git");
        let local = finish(git(&clone, &["rev-parse", "HEAD"]), b"").await.ok();
        let remote = finish(git(&bare, &["rev-parse", "main"]), b"").await.ok();
        assert_eq!(local, remote, "{name} arrived");
    }
    let chunked = stub
        .take()
        .iter()
        .filter(|r| r.framing == crate::wire::Framing::Chunked)
        .count();
    assert!(chunked > 0, "git never sent a chunked body");
    let line = world
        .ledger()
        .into_iter()
        .find(|l| l["event"] == "use")
        .expect("a use line");
    assert_eq!(
        line["locations"],
        serde_json::json!(["header:authorization"])
    );
    let config = std::fs::read(clone.join(".git/config")).expect("the clone's configuration");
    crate::leak::assert_absent("the clone", &config, &crate::leak::forms(VALUE.as_bytes()));
}

#[tokio::test]
async fn fetch_with_a_placeholder_as_user_name_or_header() {
    needs!(Need::GitHttpBackend);
    let (world, _stub, directory) = git_world().await;
    let home = directory.path();
    let url = format!("https://<<pat>>:x-oauth-basic@{GIT_HOST}/repo.git");
    let refs = under_run(&world, home, &["ls-remote", &url]).await.ok();
    assert!(refs.contains("refs/heads/main"), "{refs}");
    let header = format!(
        "http.extraHeader=Authorization: Basic {}",
        STANDARD.encode("user:<<pat>>")
    );
    let url = format!("https://{GIT_HOST}/repo.git");
    let refs = under_run(&world, home, &["-c", &header, "ls-remote", &url])
        .await
        .ok();
    assert!(refs.contains("refs/heads/main"), "{refs}");
}

#[tokio::test]
async fn a_wrong_slug_fails_the_clone_and_sends_nothing_but_the_question() {
    needs!(Need::GitHttpBackend);
    let (world, stub, directory) = git_world().await;
    let url = format!("https://user:<<nope>>@{GIT_HOST}/repo.git");
    let output = under_run(&world, directory.path(), &["clone", &url, "clone"]).await;
    assert!(!output.status.success());
    assert!(
        stub.take()
            .iter()
            .all(|r| r.header("authorization").is_none())
    );
}

/// git sends nothing before it was asked for a password; with what is attached it never is.
#[tokio::test]
async fn what_is_attached_spares_git_the_password() {
    needs!(Need::GitHttpBackend);
    let (world, stub, directory) = git_world().await;
    let header = "Authorization: Basic user:<<pat>>";
    let args = ["credential", "attach", SLUG, "--host", GIT_HOST];
    let limits = ["--path", "/repo.git", "--action", "git", "--header", header];
    world.run(&[&args[..], &limits].concat()).await.ok();
    let url = format!("https://{GIT_HOST}/repo.git");
    under_run(&world, directory.path(), &["clone", &url, "clone"])
        .await
        .ok();
    assert!(
        stub.take()
            .iter()
            .all(|r| r.header("authorization").is_some())
    );
    let clone = directory.path().join("clone");
    std::fs::write(clone.join("more.bin"), noise(2 << 20)).expect("write");
    finish(git(&clone, &["add", "."]), b"").await.ok();
    finish(git(&clone, &["commit", "-m", "more"]), b"")
        .await
        .ok();
    let push = ["-c", "http.postBuffer=65536", "push", "origin", "HEAD:main"];
    under_run(&world, &clone, &push).await.ok();
    let line = world
        .ledger_line("a use", |line| line["event"] == "use")
        .await;
    assert_eq!(line["outcome"], "attached");
}

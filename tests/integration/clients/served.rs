//! Programs against servers of their own kind: twine and pip with a package index, git-lfs with its
//! store, Maven and restic with their repositories, requests and curl with a server that speaks NTLM.

use std::path::Path;

use tokio::process::Command;

use super::server::{Front, Server};
use super::{installed, program, text};
use crate::needs::{Need, needs};
use crate::world::{HOST, Output, SLUG, VALUE, World, finish};

/// A server behind TLS as `api.example.test`, with a directory of its own.
struct Served {
    _server: Server,
    directory: tempfile::TempDir,
    world: World,
}

impl Served {
    async fn script(script: &str) -> Self {
        let mut command = Command::new(installed("venv/bin/python"));
        command.args([program(script).as_str(), VALUE]);
        Self::start(command).await
    }

    async fn start(mut command: Command) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let server = Server::start(command.current_dir(directory.path())).await;
        let builder = World::builder();
        let front = Front::of(&server, builder.pki(), HOST, &[]).await;
        let world = builder
            .route(&format!("{HOST}:443"), front.addr)
            .start()
            .await;
        world.save(SLUG, VALUE, &["--host", HOST]).await;
        Self {
            _server: server,
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

#[tokio::test]
async fn twine_uploads_to_a_package_index_and_pip_fetches_from_it() {
    needs!(Need::Python);
    let server = Served::script("index.py").await;
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
    let server = Served::script("lfs.py").await;
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
    let server = Served::script("ntlm.py").await;
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

/// Maven's jars have no Content-Type, and a repository wants their length.
#[tokio::test]
async fn maven_deploys_to_a_repository() {
    needs!(Need::Python, Need::MavenDeploy);
    let server = Served::script("maven.py").await;
    let home = server.directory.path();
    let jar = [b"PK\x03\x04 cat <<EOF \0".to_vec(), vec![0xA5; 3_000_000]].concat();
    std::fs::write(home.join("demo.jar"), &jar).expect("a file");
    let settings = "<settings><servers><server><id>private</id><username>bob</username>\
                    <password>&lt;&lt;pat&gt;&gt;</password></server></servers></settings>";
    std::fs::write(home.join("settings.xml"), settings).expect("a file");
    let (cache, url) = (installed("maven"), format!("https://{HOST}/releases"));
    let plugin = std::fs::read_to_string(installed("maven.plugin")).expect("the plugin's name");
    let output = server
        .run(&[
            "mvn",
            "-q",
            "-B",
            "-llr",
            "-s",
            "settings.xml",
            &format!("-Dmaven.repo.local={}", text(&cache)),
            &format!("{plugin}:deploy-file"),
            "-DrepositoryId=private",
            &format!("-Durl={url}"),
            "-Dfile=demo.jar",
            "-DgroupId=test.example",
            "-DartifactId=demo",
            "-Dversion=1.0",
            "-Dpackaging=jar",
        ])
        .await;
    let log = server.world.log();
    assert!(output.status.success(), "{output:#?}\n{log}");
    let stored = home.join("releases/test/example/demo/1.0/demo-1.0.jar");
    assert!(std::fs::read(stored).expect("the jar") == jar);
    let metadata = home.join("releases/test/example/demo/maven-metadata.xml");
    let metadata = std::fs::read_to_string(metadata).expect("the metadata");
    assert!(metadata.contains("<release>1.0</release>"), "{metadata}");
}

/// restic asks for lengths by HEAD, and reads parts of its packs. It shows the status of a refusal.
#[tokio::test]
async fn restic_backs_up_checks_and_restores() {
    needs!(Need::Program("restic"), Need::Program("rclone"));
    let serve = "exec rclone serve restic --addr 127.0.0.1:0 --user bob --pass \"$1\" stored 2>&1";
    let mut command = Command::new("sh");
    command.args(["-c", serve, "sh", VALUE]);
    let mut server = Served::start(command).await;
    server.world.allow_ranges().await;
    let home = server.directory.path();
    let files: Vec<u8> = (0..1_500_000_u32)
        .flat_map(|n| (n.wrapping_mul(2_654_435_761)).to_le_bytes())
        .collect();
    std::fs::create_dir(home.join("files")).expect("a directory");
    std::fs::write(home.join("files/large.bin"), &files).expect("a file");
    std::fs::write(home.join("files/note.txt"), "cat <<EOF").expect("a file");
    let restic = async |whom: &str, args: &[&str]| {
        let repository = format!("rest:https://{whom}@{HOST}/backups/");
        let begin = ["restic", "--password-command", "echo p", "-r", &repository];
        server.run(&[&begin[..], args].concat()).await
    };
    let bob = "bob:%3C%3Cpat%3E%3E";
    for args in [
        &["init"][..],
        &["backup", "files"],
        &["check", "--read-data"],
        &["restore", "latest", "--target", "restored"],
        &["forget", "latest", "--prune"],
    ] {
        let output = restic(bob, args).await;
        let log = server.world.log();
        assert!(output.status.success(), "{args:?}: {output:#?}\n{log}");
    }
    let restored = std::fs::read(home.join("restored/files/large.bin"));
    assert!(restored.expect("the file") == files);
    let refused = restic("bob:%3C%3Cnosuch%3E%3E", &["snapshots"]).await;
    assert!(!refused.status.success());
    assert!(refused.stderr.contains("424"), "{refused:#?}");
}

//! Real programs behind a list that `egress suggest` made: pip, which gets its files from another host
//! than its index, and git.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use tokio::process::Command;

use super::egret;
use crate::clients::git::{GIT_HOST, backend, git, repository};
use crate::clients::installed;
use crate::needs::{Need, needs};
use crate::upstream::{Step, Stub};
use crate::wire::Request;
use crate::world::{Output, SLUG, VALUE, World, finish};

const INDEX: &str = "index.example.test";
const FILES: &str = "files.example.test";
const PACKAGE: &str = "demo_pkg-1.0-py3-none-any.whl";

/// Makes a package.
const MAKE: &str = r#"
import sys, zipfile
info = "demo_pkg-1.0.dist-info"
with zipfile.ZipFile(sys.argv[1], "w") as package:
    package.writestr("demo_pkg.py", "")
    package.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: demo-pkg\nVersion: 1.0\n")
    package.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
    package.writestr(f"{info}/RECORD", "")
"#;

fn ok(kind: &str, body: &[u8]) -> Vec<Step> {
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    vec![Step::Send([head.as_bytes(), body].concat())]
}

/// The page of an index (PEP 503), whose files are elsewhere.
async fn index(_: Arc<Request>) -> Vec<Step> {
    let page = format!("<!DOCTYPE html><a href=\"https://{FILES}/{PACKAGE}\">{PACKAGE}</a>");
    ok("text/html", page.as_bytes())
}

/// A repository, an index and its files, which nobody may reach yet.
struct Scene {
    world: World,
    home: tempfile::TempDir,
    python: PathBuf,
    _stubs: [Stub; 3],
}

impl Scene {
    async fn new() -> Self {
        let home = tempfile::tempdir().expect("a directory");
        let root = home.path().join("root");
        repository(&root).await;
        let package = home.path().join(PACKAGE);
        let python = installed("venv/bin/python");
        let mut make = Command::new(&python);
        make.args(["-c", MAKE])
            .arg(&package)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        finish(make, b"").await.ok();
        let package = std::fs::read(package).expect("the package");
        let builder = World::builder().set("egress.default", "deny");
        let stubs = [
            Stub::tls(builder.pki(), &[GIT_HOST]).await,
            Stub::tls(builder.pki(), &[INDEX]).await,
            Stub::tls(builder.pki(), &[FILES]).await,
        ];
        stubs[0].serve(move |request| backend(root.clone(), request));
        stubs[1].serve(index);
        stubs[2].serve(move |_| {
            let answer = ok("application/octet-stream", &package);
            async move { answer }
        });
        let mut builder = builder;
        for (host, stub) in [GIT_HOST, INDEX, FILES].iter().zip(&stubs) {
            builder = builder.route(&format!("{host}:443"), stub.addr);
        }
        let world = builder.start().await;
        world.save(SLUG, VALUE, &["--host", GIT_HOST]).await;
        Self {
            world,
            home,
            python,
            _stubs: stubs,
        }
    }

    /// Runs a program as the client `tester`.
    async fn run(&self, mut command: Command) -> Output {
        let proxy = format!("http://act-1:{}@{}", self.world.token, self.world.proxy);
        let ca = self.world.data.join("ca.pem");
        command
            .env("HTTPS_PROXY", &proxy)
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_SSL_CAINFO", &ca)
            .env("PIP_CERT", &ca)
            // Where a machine sets this, it wins over pip's own.
            .env("REQUESTS_CA_BUNDLE", &ca)
            .env_remove("PIP_FIND_LINKS")
            .env("PIP_CONFIG_FILE", "/dev/null")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        finish(command, b"").await
    }

    async fn clone(&self, into: &str) -> Output {
        let url = format!("https://user:<<pat>>@{GIT_HOST}/repo.git");
        self.run(git(self.home.path(), &["clone", &url, into]))
            .await
    }

    async fn download(&self, into: &Path) -> Output {
        let mut command = Command::new(&self.python);
        let options = ["--no-cache-dir", "--no-deps", "--retries", "0"];
        let index = format!("https://{INDEX}/simple/");
        command
            .env("HOME", self.home.path())
            .args(["-m", "pip", "--disable-pip-version-check", "download"])
            .args(options)
            .args(["-i", &index, "-d"])
            .arg(into)
            .arg("demo-pkg");
        self.run(command).await
    }
}

#[tokio::test]
async fn pip_and_git_work_through_the_list_that_suggest_makes_and_go_nowhere_else() {
    needs!(Need::Python, Need::GitHttpBackend);
    let scene = Scene::new().await;
    let (world, home) = (&scene.world, scene.home.path());
    // Denied: neither gets anywhere, and what each wanted is on record.
    for output in [
        scene.clone("denied").await,
        scene.download(&home.join("denied-pip")).await,
    ] {
        assert!(!output.status.success(), "{output:#?}");
    }
    for host in [GIT_HOST, INDEX] {
        let destination = format!("https://{host}:443");
        let is_denial = |line: &serde_json::Value| {
            line["code"] == "destination_not_allowed" && line["destination"] == *destination
        };
        world.ledger_line("a denial", is_denial).await;
    }
    let suggest = ["egress", "suggest", "--client", "tester"];
    let refused = egret(world, &[&suggest[..], &["--refused"]].concat()).await;
    assert!(
        refused.contains(GIT_HOST) && refused.contains(INDEX) && !refused.contains(FILES),
        "{refused}"
    );

    // Observed: both work, and where they went is on record.
    let observe = ["egress", "observe", "--client", "tester", "--json"];
    let number = world.run(&observe).await.json()["number"].to_string();
    scene.clone("observed").await.ok();
    scene.download(&home.join("observed-pip")).await.ok();
    for host in [GIT_HOST, INDEX, FILES] {
        let destination = format!("https://{host}:443");
        let is_seen = |line: &serde_json::Value| {
            line["event"] == "destination" && line["destination"] == *destination
        };
        world.ledger_line("a destination", is_seen).await;
    }
    let suggested = egret(world, &suggest).await;
    assert_eq!(
        suggested,
        format!("egret egress allow {FILES} \\\n  {GIT_HOST} \\\n  {INDEX} --client tester\n")
    );
    egret(world, &["egress", "remove", &number]).await;
    assert!(!scene.clone("again-denied").await.status.success());

    // The list as it was printed: both work, and nothing else does.
    let printed = suggested.replace('\\', " ");
    let words: Vec<&str> = printed.split_whitespace().skip(1).collect();
    egret(world, &words).await;
    scene.clone("allowed").await.ok();
    scene.download(&home.join("allowed-pip")).await.ok();
    assert!(home.join("allowed/file.txt").exists());
    assert!(home.join("allowed-pip").join(PACKAGE).exists());
    let elsewhere = "https://elsewhere.example.test/repo.git";
    let output = scene.run(git(home, &["clone", elsewhere, "no"])).await;
    assert!(!output.status.success(), "{output:#?}");
    let is_denial = |line: &serde_json::Value| {
        line["code"] == "destination_not_allowed"
            && line["destination"] == "https://elsewhere.example.test:443"
    };
    world.ledger_line("a denial", is_denial).await;
}

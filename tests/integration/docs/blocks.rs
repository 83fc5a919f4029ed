//! Code blocks of the pages do what they show.
//!
//! The `sh` blocks of a page run in order, each in a shell of its own, on one data directory with a
//! running server. `egret` is the built binary, and the hosts below lead to an upstream on loopback,
//! so that the commands are those that a reader types. A block that cannot be run says `sh no-run`,
//! and an HTML comment before it says why. `toml` blocks are configurations, `json` blocks are JSON.

use std::os::unix::fs::symlink;
use std::path::Path;

use super::markdown::{Block, Page, pages};
use crate::needs::{Need, needs};
use crate::upstream::Stub;
use crate::world::{EGRET, World, finish};

/// The hosts that pages send requests to.
const HOSTS: &[&str] = &[
    "api.github.com",
    "api.telegram.org",
    "crm.example.com",
    "maps.example.com",
];

/// Variables that a reader is expected to have.
const VARIABLES: &[(&str, &str)] = &[("GITHUB_PAT", "ghp_Zk3vMade1UpForTheDocumentation")];

/// Languages of blocks that are only shown.
const SHOWN: &[&str] = &["text", "http", "rust", "yaml"];

/// A world in which the commands of a page can be run.
struct Stage {
    world: World,
    _stub: Stub,
}

impl Stage {
    async fn set() -> Self {
        let mut builder = World::builder();
        let stub = Stub::tls(builder.pki(), HOSTS).await;
        for host in HOSTS {
            builder = builder.route(&format!("{host}:443"), stub.addr);
        }
        let mut world = builder.start().await;
        // A server writes a checkpoint when it stops: what the ledger holds by now can be proved.
        assert!(world.stop().await.success());
        world.restart().await;
        let bin = world.scratch().join("bin");
        std::fs::create_dir_all(&bin).expect("a directory");
        symlink(EGRET, bin.join("egret")).expect("a link to the binary");
        std::fs::create_dir_all(world.scratch().join("work")).expect("a directory");
        Self { world, _stub: stub }
    }

    /// Runs a block; what it wrote when it failed.
    async fn run(&self, text: &str) -> Result<(), String> {
        let text = text
            .replace("127.0.0.1:7070", &self.world.proxy.to_string())
            .replace("127.0.0.1:7071", &self.world.admin.to_string());
        let scratch = self.world.scratch();
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = tokio::process::Command::new("sh");
        command
            .args(["-eu", "-c", &text])
            .env_clear()
            .envs(VARIABLES.iter().copied())
            .env("PATH", format!("{}:{path}", scratch.join("bin").display()))
            .env("HOME", scratch)
            .env("LANG", "C.UTF-8")
            .env("EGRET_CONFIG", scratch.join("egret.toml"))
            .env("EGRET_DATA_DIR", &self.world.data)
            .current_dir(scratch.join("work"))
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .kill_on_drop(true);
        let output = finish(command, b"").await;
        if output.status.success() {
            Ok(())
        } else {
            Err(format!("{text}{}{}", output.stdout, output.stderr))
        }
    }
}

fn is_run(block: &Block) -> bool {
    block.language() == "sh" && !block.says("no-run")
}

fn at(page: &Page, block: &Block) -> String {
    format!("{}:{}", page.path.display(), block.line)
}

#[tokio::test]
async fn commands_of_the_pages_succeed() {
    needs!(Need::Program("curl"));
    let mut ran = 0;
    let mut failed = Vec::new();
    for page in pages() {
        let blocks: Vec<_> = page.blocks.iter().filter(|block| is_run(block)).collect();
        if blocks.is_empty() {
            continue;
        }
        let stage = Stage::set().await;
        for block in blocks {
            ran += 1;
            if let Err(report) = stage.run(&block.text).await {
                failed.push(format!("{}:\n{report}", at(&page, block)));
            }
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    assert!(ran > 5, "only {ran} blocks were run");
}

#[tokio::test]
async fn a_command_that_fails_is_reported() {
    let stage = Stage::set().await;
    assert_eq!(stage.run("egret version\n").await, Ok(()));
    let report = stage.run("egret no-such-command\ntrue\n").await;
    assert!(report.expect_err("a failure").contains("no-such-command"));
}

#[tokio::test]
async fn configurations_of_the_pages_are_valid() {
    let mut checked = 0;
    let mut failed = Vec::new();
    for page in pages() {
        let is_configuration =
            |block: &&Block| block.language() == "toml" && !block.says("no-check");
        for block in page.blocks.iter().filter(is_configuration) {
            checked += 1;
            if let Err(report) = check_configuration(&block.text).await {
                failed.push(format!("{}:\n{report}", at(&page, block)));
            }
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    assert!(checked > 1, "only {checked} configurations were found");
}

#[tokio::test]
async fn a_faulty_configuration_is_reported() {
    let report = check_configuration("[proxy]\nlissten = 1\n").await;
    assert!(report.expect_err("a failure").contains("did you mean"));
}

/// What `egret config check` says about a configuration, if it is refused.
async fn check_configuration(text: &str) -> Result<(), String> {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("shown.toml");
    std::fs::write(&file, text).expect("write a configuration");
    write_authorities(directory.path(), text);
    let mut command = tokio::process::Command::new(EGRET);
    command
        .args(["config", "check", "--config"])
        .arg(&file)
        .arg("--data-dir")
        .arg(directory.path())
        .env_clear()
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    let output = finish(command, b"").await;
    if output.status.success() {
        Ok(())
    } else {
        Err(output.stderr)
    }
}

/// Files of `upstream.ca_files` have to exist.
fn write_authorities(directory: &Path, text: &str) {
    let shown: toml::Table = toml::from_str(text).expect("TOML");
    let files = shown
        .get("upstream")
        .and_then(|table| table.get("ca_files"));
    for name in files.and_then(toml::Value::as_array).into_iter().flatten() {
        let name = name.as_str().expect("a name");
        std::fs::write(directory.join(name), "").expect("write a file");
    }
}

#[test]
fn json_of_the_pages_is_json() {
    let mut checked = 0;
    for page in pages() {
        for block in page
            .blocks
            .iter()
            .filter(|block| block.language() == "json")
        {
            checked += 1;
            let values = serde_json::Deserializer::from_str(&block.text);
            for value in values.into_iter::<serde_json::Value>() {
                value.unwrap_or_else(|error| panic!("{}: {error}", at(&page, block)));
            }
        }
    }
    assert!(checked > 0, "no JSON was found");
}

#[test]
fn every_block_is_checked_or_says_why_not() {
    let mut silent = Vec::new();
    for page in pages() {
        for block in &page.blocks {
            let left_out = block.says("no-run") || block.says("no-check");
            let is_known = match block.language() {
                "sh" | "toml" => !left_out || block.comment.is_some(),
                "json" => true,
                language => SHOWN.contains(&language),
            };
            if !is_known {
                silent.push(format!("{}: {:?}", at(&page, block), block.info));
            }
        }
    }
    assert!(
        silent.is_empty(),
        "no language, or no reason before the block: {}",
        silent.join("\n")
    );
}

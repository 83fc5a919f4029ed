//! Which commands work on a server elsewhere, and which are about their own machine and say so.

use super::elsewhere::Laptop;
use crate::docs::tables::helps;
use crate::world::{EGRET, World, finish};

/// A command that is about its own machine.
pub struct Here {
    pub command: &'static str,
    /// What it needs beside its name.
    args: &'static [&'static str],
    /// Why, for the table of the page.
    pub why: &'static str,
}

const fn here(command: &'static str, args: &'static [&'static str], why: &'static str) -> Here {
    Here { command, args, why }
}

const SERVER: &str = "no: it is or starts a server of this machine";
const MACHINE: &str = "no: it is about this machine";
const HOST: &str = "no: it is for the operator of the host";
const FILES: &str = "no: it is about the files of the host";

pub const HERE: &[Here] = &[
    here("serve", &[], SERVER),
    here(
        "run",
        &["true"],
        "no: its own `--server` names a proxy elsewhere",
    ),
    here("demo", &[], SERVER),
    here(
        "env",
        &[],
        "no: it is about this machine; `POST /sandboxes` answers with the same",
    ),
    here(
        "explain",
        &["GET", "https://a.example/"],
        "no: it reads the store; `egress check` and `credential explain` ask elsewhere",
    ),
    here("mcp", &[], MACHINE),
    here("nftables", &["--user", "egret"], MACHINE),
    here(
        "adopt",
        &[],
        "no: it changes files of this machine; `credential import` saves elsewhere",
    ),
    here("admin link", &[], HOST),
    here("user reset", &["alice"], HOST),
    here("user link", &["alice", "--subject", "1"], HOST),
    here("user claim", &["alice"], HOST),
    here(
        "api-token add",
        &["x"],
        "no: no token makes another one; on the page or the host",
    ),
    here(
        "request",
        &["x", "--host", "a.example"],
        "no: a client asks, with its own token: `POST /requests`",
    ),
    here("store check", &[], FILES),
    here("store accept", &[], FILES),
    here("backup", &["x"], FILES),
    here("restore", &["x"], FILES),
    here("keys rotate", &[], FILES),
    here("keys status", &[], FILES),
    here(
        "token mint",
        &["--client", "ci", "--action", "x"],
        "no: a client mints its own: `POST /tokens`",
    ),
    here(
        "top",
        &["--once"],
        "no: it reads the ledger's files; `ledger tail -f` follows elsewhere",
    ),
    here("ca show", &[], FILES),
    here("ca path", &[], FILES),
    here("ca export", &["x"], FILES),
    here("ca install", &["--print"], MACHINE),
    here("ca rotate", &[], FILES),
    here("ca status", &[], FILES),
    here("config check", &[], FILES),
    here("config show", &[], FILES),
    here("reload", &[], HOST),
    here("upgrade", &[], HOST),
    here(
        "health",
        &[],
        "no: `GET /health` and `/readyz` are there to be asked",
    ),
    here("doctor", &[], MACHINE),
    here("completions", &["bash"], MACHINE),
    here("man", &["x"], MACHINE),
    here("version", &[], MACHINE),
];

const REFUSED: &str = "on this machine only";

#[tokio::test]
async fn a_command_about_its_own_machine_says_so() {
    let world = World::builder().start().await;
    let administrator = ["user", "add", "root", "--role", "administrator"];
    world.run(&administrator).await.ok();
    let root = Laptop::of(&world, "root", "manage").await;
    let server = format!("http://{}", world.admin);
    // Of `egret run` it is another option.
    for here in HERE.iter().filter(|here| here.command != "run") {
        let words: Vec<&str> = here.command.split(' ').collect();
        let args = [&words[..], &["--server", &server], here.args].concat();
        let answer = root.run(&args).await;
        assert_eq!(answer.status.code(), Some(2), "{args:?}: {answer:#?}");
        assert!(answer.stderr.contains(REFUSED), "{args:?}: {answer:#?}");
    }
    assert!(!root.has_a_store(), "a command worked here");
}

/// The first example of each help text, at a server elsewhere: it may fail, but not as one that is
/// about its own machine.
#[tokio::test]
async fn every_other_command_asks_the_server() {
    let world = World::builder().start().await;
    let administrator = ["user", "add", "root", "--role", "administrator"];
    world.run(&administrator).await.ok();
    let root = Laptop::of(&world, "root", "manage").await;
    let home = tempfile::tempdir().expect("a directory");
    let all = helps(home.path()).await;
    for here in HERE {
        let is_there = all.iter().any(|(path, _)| path.join(" ") == here.command);
        assert!(is_there, "there is no {}", here.command);
    }
    let directory = std::path::Path::new(EGRET).parent().expect("a directory");
    for (path, help) in all {
        let name = path.join(" ");
        if HERE.iter().any(|here| here.command == name) {
            continue;
        }
        assert!(help.contains("--server <URL>"), "{name}: {help}");
        // A long one goes on in the next line.
        let lines: Vec<&str> = help.split("\\\n").map(str::trim_start).collect();
        let help = lines.join(" ");
        let example = help
            .lines()
            .filter_map(|line| line.trim_start().strip_prefix("egret "))
            .find(|line| line.starts_with(&name))
            .unwrap_or_else(|| panic!("{name} has no example"));
        let example = example.split([';', '|', '#']).next().unwrap_or_default();
        // What it is for stands beside it.
        let example = example.split("  ").next().unwrap_or_default();
        let script = format!(
            "cd {}\nPATH={}:$PATH\ntimeout 5 egret {example}",
            home.path().display(),
            directory.display()
        );
        let command = root.shell(&script);
        let answer = crate::within_secs(20, &name, finish(command, b"")).await;
        let said = &answer.stderr;
        assert!(!said.contains(REFUSED), "{name}: {said}");
        // Neither is it misunderstood.
        assert!(!said.contains("unexpected argument"), "{example}: {said}");
    }
    assert!(!root.has_a_store(), "a command worked here");
}

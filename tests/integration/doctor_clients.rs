//! `egret doctor` about programs that are seldom all on one machine: what each does with its request is
//! played by a script of its name, and those that `.ci/test` installs are tried themselves.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::doctor::{set_mode, which};
use crate::needs::{Need, needs};
use crate::world::{World, finish};

/// A client, its program, and a script that does what the program does.
const STAND_INS: &[(&str, &str, &str)] = &[
    (
        "gh",
        "gh",
        r#"curl -sSf -H "Authorization: token $GH_ENTERPRISE_TOKEN" "https://$4/api/v3/$2""#,
    ),
    (
        "glab",
        "glab",
        r#"curl -sS -H "PRIVATE-TOKEN: $GITLAB_TOKEN" "https://$4/api/v4/$2""#,
    ),
    (
        "gcloud",
        "gcloud",
        r#"url=$CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDRESOURCEMANAGER
curl -sSf -H "Authorization: Bearer $(cat "$CLOUDSDK_AUTH_ACCESS_TOKEN_FILE")" "${url}v1/projects?pageSize=500""#,
    ),
    (
        "az",
        "az",
        r#"for it; do case $it in --url=*) url=${it#--url=} ;; Authorization=*) key=${it#*=} ;; esac; done
curl -sSf -H "Authorization: $key" "$url""#,
    ),
    // What asks for a password is answered, as Java's clients do.
    (
        "Maven",
        "mvn",
        r#"of() { sed "s/.*<$1>\([^<]*\)<.*/\1/" "$4" | sed 's/&lt;/</g; s/&gt;/>/g'; }
curl -sSf --anyauth -u "key:$(of password "$@")" "$(of url "$@")/egret/doctor/doctor-maven-plugin.pom""#,
    ),
    (
        "Gradle",
        "gradle",
        r#"of() { sed -n "s/.*$1 '\(.*\)'/\1/p" doctor.gradle; }
curl -sSf --anyauth -u "key:$(of password)" "$(of url)/egret/doctor/nothing/1/nothing-1.pom""#,
    ),
    (
        "helm",
        "helm",
        r#"curl -sSf -u "key:${6#--password=}" "$4/index.yaml""#,
    ),
    (
        "docker",
        "docker",
        r#"auth=$(sed 's/.*"auth":"\([^"]*\)".*/\1/' "$DOCKER_CONFIG/config.json")
host=${3%%/*} rest=${3#*/}
curl -sS "https://$host/v2/"
curl -sSf -H "Authorization: Basic $auth" "https://$host/v2/${rest%:*}/manifests/${rest#*:}""#,
    ),
    (
        "uv",
        "uv",
        r#"for it; do case $it in https:*) url=$it ;; esac; done
curl -sSf "${url}egret-doctor/""#,
    ),
    (
        "pnpm",
        "pnpm",
        r#"for it; do case $it in --registry=*) url=${it#*=} ;; *_authToken=*) key=${it##*=} ;; esac; done
curl -sSf -H "authorization: Bearer $key" "${url}egret-doctor""#,
    ),
    (
        "Claude Code",
        "claude",
        r#"curl -sS -H "x-api-key: $ANTHROPIC_API_KEY" -d '{}' "$ANTHROPIC_BASE_URL/v1/messages""#,
    ),
    (
        "Codex",
        "codex",
        r#"url=$(printf '%s\n' "$@" | sed -n 's/.*base_url="\([^"]*\)".*/\1/p')
curl -sS -H "Authorization: Bearer $CODEX_API_KEY" -d '{}' "$url/responses""#,
    ),
    (
        "Gemini CLI",
        "gemini",
        r#"grep gemini-api-key "$HOME/.gemini/settings.json" &&
curl -sS -H "x-goog-api-key: $GEMINI_API_KEY" -d '{}' "$GOOGLE_GEMINI_BASE_URL/v1beta/models/x:y?alt=sse""#,
    ),
];

/// `egret doctor` about these clients, with `directory` before the path.
async fn ask(world: &World, directory: &Path, clients: &[&str]) -> (Vec<Value>, Option<i32>) {
    let mut path = vec![directory.to_owned()];
    path.extend(std::env::split_paths(
        &std::env::var_os("PATH").unwrap_or_default(),
    ));
    let mut command = world.command(&["doctor", "--json"]);
    for client in clients {
        command.args(["--client", client]);
    }
    command.env("PATH", std::env::join_paths(path).expect("a path"));
    let output = finish(command, b"").await;
    let tried = serde_json::from_str(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    (tried, output.status.code())
}

fn scripts(world: &World, before: &str) -> PathBuf {
    let directory = world.scratch().join("programs");
    std::fs::create_dir_all(&directory).expect("a directory");
    for (_, program, script) in STAND_INS {
        write_script(&directory.join(program), &format!("{before}\n{script}"));
    }
    directory
}

fn write_script(file: &Path, text: &str) {
    std::fs::write(file, format!("#!/bin/sh\n{text}\n")).expect("written");
    set_mode(file, 0o755);
}

#[tokio::test]
async fn each_client_is_judged_by_what_arrives_from_it() {
    needs!(Need::Program("curl"));
    let world = World::builder().start().await;
    let names: Vec<&str> = STAND_INS.iter().map(|(name, ..)| *name).collect();
    let direct = "unset HTTPS_PROXY https_proxy ALL_PROXY all_proxy";
    let untrusting = "unset CURL_CA_BUNDLE SSL_CERT_FILE";
    // Each answers when it is asked for its version, as the real one does.
    let version = "case \"$*\" in *version*) exit 0 ;; esac";
    for (before, expected, status) in [
        ("", "works", 0),
        (direct, "goes_round_the_proxy", 1),
        (untrusting, "does_not_trust_the_ca", 1),
    ] {
        let directory = scripts(&world, &format!("{version}\n{before}"));
        let (tried, code) = ask(&world, &directory, &names).await;
        assert_eq!(tried.len(), names.len());
        for tried in &tried {
            assert_eq!(tried["outcome"], expected, "{tried}");
        }
        assert_eq!(code, Some(status), "{tried:?}");
    }
}

/// An assistant that asks its model at the end, as the real ones do, and what its server gets of the variables.
async fn server_of(world: &World, kept: &str) -> Value {
    let directory = world.scratch().join("assistant");
    std::fs::create_dir_all(&directory).expect("a directory");
    let python = which("python3");
    let script = format!(
        r#"case "$*" in *version*) exit 0 ;; esac
env {kept} {python} -c '
import json, subprocess, sys
server = json.load(open("servers.json"))["mcpServers"]["doctor"]
subprocess.run([server["command"], *server["args"]])'
curl -sS -H "x-api-key: $ANTHROPIC_API_KEY" -d '{{}}' "$ANTHROPIC_BASE_URL/v1/messages""#
    );
    write_script(&directory.join("claude"), &script);
    let (tried, _) = ask(world, &directory, &["MCP server of Claude Code"]).await;
    tried[0].clone()
}

#[tokio::test]
async fn what_an_assistant_asks_itself_says_nothing_about_its_mcp_server() {
    needs!(Need::Program("curl"), Need::Program("python3"));
    let world = World::builder().start().await;
    assert_eq!(server_of(&world, "").await["outcome"], "works");
    // As Codex and Gemini CLI pass their variables on.
    for (kept, expected) in [
        (
            "-u HTTPS_PROXY -u https_proxy -u ALL_PROXY -u all_proxy",
            "goes_round_the_proxy",
        ),
        ("-u SSL_CERT_FILE", "does_not_trust_the_ca"),
    ] {
        let tried = server_of(&world, kept).await;
        assert_eq!(tried["outcome"], expected, "{tried}");
        let remedy = tried["remedy"].as_str().unwrap_or_default();
        assert!(remedy.contains("egret env --format"), "{tried}");
    }
}

#[tokio::test]
async fn a_client_that_tries_again_is_ended_when_its_request_has_arrived() {
    needs!(Need::Program("curl"));
    let world = World::builder().start().await;
    let directory = world.scratch().join("patient");
    std::fs::create_dir_all(&directory).expect("a directory");
    let (.., script) = STAND_INS[0];
    write_script(&directory.join("gh"), &format!("{script}\nexec sleep 600"));
    let begun = std::time::Instant::now();
    let (tried, code) = ask(&world, &directory, &["gh"]).await;
    assert_eq!(
        (&tried[0]["outcome"], code),
        (&Value::from("works"), Some(0))
    );
    // It would have been given 60 seconds.
    assert!(begun.elapsed().as_secs() < 40, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_client_that_speaks_no_http_is_named_and_not_started() {
    let world = World::builder().start().await;
    let directory = world.scratch().join("databases");
    std::fs::create_dir_all(&directory).expect("a directory");
    let started = world.scratch().join("started");
    write_script(
        &directory.join("psql"),
        &format!("/bin/touch {}", started.display()),
    );
    let (tried, code) = ask(&world, &directory, &["psql"]).await;
    assert_eq!(tried[0]["outcome"], "speaks_no_http", "{tried:?}");
    let remedy = tried[0]["remedy"].as_str().unwrap_or_default();
    assert!(remedy.contains("--allow-tcp"), "{tried:?}");
    assert_eq!(
        code,
        Some(2),
        "it was asked for, and nothing shows that it works"
    );
    // Among all others it is no fault.
    let mut command = world.command(&["doctor", "--clients", "--json"]);
    command.env("PATH", &directory);
    let output = finish(command, b"").await;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(output.stdout.contains("speaks_no_http"), "{output:?}");
    assert!(!started.exists(), "it was started");
}

/// A directory with the programs that `.ci/test` installs outside of the path.
fn installed(world: &World) -> PathBuf {
    let directory = world.scratch().join("installed");
    std::fs::create_dir_all(&directory).expect("a directory");
    let file = crate::needs::client_file;
    let node = file("npm/node").display().to_string();
    let gemini = file("assistants/node_modules/@google/gemini-cli/bundle/gemini.js");
    let pnpm = file("packagers/node_modules/.bin/pnpm");
    for (name, command) in [
        ("claude", file("assistants/claude").display().to_string()),
        ("codex", file("assistants/codex").display().to_string()),
        ("gemini", format!("{node} {}", gemini.display())),
        ("pnpm", pnpm.display().to_string()),
        ("uv", file("uv/bin/uv").display().to_string()),
    ] {
        write_script(&directory.join(name), &format!("exec {command} \"$@\""));
    }
    directory
}

async fn real(need: Need, expected: &[(&str, &str)]) {
    needs!(need, Need::Program("curl"));
    let world = World::builder().start().await;
    let names: Vec<&str> = expected.iter().map(|(name, _)| *name).collect();
    let (tried, _) = ask(&world, &installed(&world), &names).await;
    assert_eq!(tried.len(), expected.len());
    for (tried, (_, expected)) in tried.iter().zip(expected) {
        assert_eq!(tried["outcome"], *expected, "{tried}");
    }
}

#[tokio::test]
async fn uv_works() {
    real(Need::Packager("uv/bin/uv"), &[("uv", "works")]).await;
}

#[tokio::test]
async fn pnpm_works() {
    real(
        Need::Packager("packagers/node_modules/.bin/pnpm"),
        &[("pnpm", "works")],
    )
    .await;
}

#[tokio::test]
async fn maven_works() {
    real(Need::Program("mvn"), &[("Maven", "works")]).await;
}

#[tokio::test]
async fn gh_works() {
    real(Need::Program("gh"), &[("gh", "works")]).await;
}

#[tokio::test]
async fn claude_code_and_its_mcp_servers_work() {
    let expected = [
        ("Claude Code", "works"),
        ("MCP server of Claude Code", "works"),
    ];
    real(Need::Assistant("claude"), &expected).await;
}

/// It passes no variable on that is not on its list, of which proxies are not.
#[tokio::test]
async fn codex_works_and_its_mcp_servers_have_to_be_wrapped() {
    let expected = [
        ("Codex", "works"),
        ("MCP server of Codex", "goes_round_the_proxy"),
    ];
    real(Need::Assistant("codex"), &expected).await;
}

/// It passes no variable on whose name has CERT in it.
#[tokio::test]
async fn gemini_cli_works_and_its_mcp_servers_have_to_be_wrapped() {
    let expected = [
        ("Gemini CLI", "works"),
        ("MCP server of Gemini CLI", "does_not_trust_the_ca"),
    ];
    let gemini = "node_modules/@google/gemini-cli/bundle/gemini.js";
    real(Need::Assistant(gemini), &expected).await;
}

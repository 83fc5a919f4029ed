//! `egret doctor`: each verdict, forced.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Stdio;

use serde_json::Value;
use tokio::process::Command;

use crate::needs::{Need, needs};
use crate::world::{EGRET, World, finish, one_upstream};

async fn findings(world: &World) -> (Value, Option<i32>) {
    let output = world.run(&["doctor", "--json"]).await;
    let code = output.status.code();
    let findings: Value = serde_json::from_str(&output.stdout).expect("JSON");
    (findings, code)
}

fn of<'a>(findings: &'a Value, check: &str) -> &'a Value {
    let all = findings.as_array().expect("a list");
    let found = all.iter().find(|finding| finding["check"] == check);
    found.unwrap_or_else(|| panic!("no {check}: {findings}"))
}

pub(crate) fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("a mode");
}

#[tokio::test]
async fn a_running_server_is_well() {
    let (world, _stub) = one_upstream().await;
    let (found, code) = findings(&world).await;
    assert_eq!(code, Some(0), "{found}");
    for check in [
        "directory",
        "master key",
        "store",
        "authority",
        "ledger",
        "ports",
    ] {
        assert_eq!(of(&found, check)["verdict"], "ok", "{found}");
    }
    let proxy = world.proxy.to_string();
    assert!(
        of(&found, "ports")["detail"]
            .as_str()
            .is_some_and(|text| text.contains(&proxy))
    );
    let text = world.run(&["doctor"]).await.ok();
    assert!(text.contains("ok       directory"), "{text}");
}

#[tokio::test]
async fn what_is_wrong_is_named_with_what_corrects_it() {
    let (mut world, _stub) = one_upstream().await;
    world.stop().await;
    let remedy = |finding: &Value| finding["remedy"].as_str().unwrap_or_default().to_owned();

    set_mode(&world.data, 0o755);
    let (found, code) = findings(&world).await;
    let directory = of(&found, "directory");
    assert_eq!(
        (&directory["verdict"], code),
        (&Value::from("warning"), Some(0))
    );
    assert!(remedy(directory).contains("chmod 0700"), "{directory}");
    set_mode(&world.data, 0o777);
    assert_eq!(
        of(&findings(&world).await.0, "directory")["verdict"],
        "fault"
    );
    set_mode(&world.data, 0o700);

    let key = world.data.join("master.key");
    set_mode(&key, 0o644);
    let (found, code) = findings(&world).await;
    assert_eq!(
        (&of(&found, "master key")["verdict"], code),
        (&Value::from("fault"), Some(1))
    );
    set_mode(&key, 0o600);
    let kept = std::fs::read(&key).expect("the key");
    std::fs::remove_file(&key).expect("removed");
    let (found, code) = findings(&world).await;
    assert_eq!(code, Some(1));
    assert_eq!(of(&found, "master key")["verdict"], "fault", "{found}");
    assert_eq!(of(&found, "store")["verdict"], "fault", "{found}");
    assert!(!key.exists(), "the doctor made a key");
    std::fs::write(&key, kept).expect("put back");

    std::fs::write(world.data.join("ca.pem"), "not a certificate").expect("written");
    assert_eq!(
        of(&findings(&world).await.0, "authority")["verdict"],
        "fault"
    );
}

#[tokio::test]
async fn a_taken_port_is_found_and_a_fresh_machine_stays_fresh() {
    let home = tempfile::tempdir().expect("a directory");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let mut command = Command::new(EGRET);
    command
        .args(["doctor", "--json"])
        .env_clear()
        .env("HOME", home.path())
        .env("EGRET_PROXY_LISTEN", &address)
        .env("EGRET_ADMIN_LISTEN", "127.0.0.1:0")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let output = finish(command, b"").await;
    assert_eq!(output.status.code(), Some(0), "{output:#?}");
    let found: Value = serde_json::from_str(&output.stdout).expect("JSON");
    let ports = of(&found, "ports");
    assert_eq!(ports["verdict"], "warning", "{ports}");
    assert!(
        ports["detail"]
            .as_str()
            .is_some_and(|text| text.contains(&address)),
        "{ports}"
    );
    assert_eq!(of(&found, "directory")["verdict"], "warning");
    let made = std::fs::read_dir(home.path()).expect("readable").count();
    assert_eq!(made, 0, "something was made");
}

/// `egret doctor` about curl, where `script` is what is found under that name.
async fn about_curl(world: &World, script: Option<&str>) -> (Value, Option<i32>) {
    about_curl_with(world, script, &[]).await
}

async fn about_curl_with(
    world: &World,
    script: Option<&str>,
    options: &[&str],
) -> (Value, Option<i32>) {
    let directory = world.scratch().join("clients");
    std::fs::create_dir_all(&directory).expect("a directory");
    let mut path = std::ffi::OsString::new();
    if let Some(script) = script {
        let file = directory.join("curl");
        std::fs::write(&file, format!("#!/bin/sh\n{script}\n")).expect("written");
        set_mode(&file, 0o755);
        path.push(&directory);
        path.push(":");
    }
    path.push(std::env::var_os("PATH").unwrap_or_default());
    let mut command = world.command(&["doctor", "--client", "curl", "--timeout", "20", "--json"]);
    command.args(options).env("PATH", path);
    let output = finish(command, b"").await;
    let tried: Value =
        serde_json::from_str(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    (tried[0].clone(), output.status.code())
}

#[tokio::test]
async fn a_client_works_only_if_the_value_arrived() {
    needs!(Need::Program("curl"));
    let world = World::builder().start().await;
    let real = which("curl");
    let (tried, code) = about_curl(&world, None).await;
    assert_eq!(
        (&tried["outcome"], code),
        (&Value::from("works"), Some(0)),
        "{tried}"
    );
    let direct = format!("unset HTTPS_PROXY https_proxy ALL_PROXY all_proxy; exec {real} \"$@\"");
    let untrusting = format!("unset CURL_CA_BUNDLE SSL_CERT_FILE; exec {real} \"$@\"");
    let altering = format!(
        "exec {real} -sS -o /dev/null -H 'Authorization: Bearer &lt;&lt;doctor-canary&gt;&gt;' \
         https://doctor.egret.test/curl"
    );
    for (script, expected, status) in [
        (direct.as_str(), "goes_round_the_proxy", 1),
        (&untrusting, "does_not_trust_the_ca", 1),
        (&altering, "alters_the_placeholder", 1),
        ("exit 127", "unknown", 2),
        // A launcher that finds nothing to launch.
        ("exit 1", "unknown", 2),
        ("exec sleep 600", "unknown", 2),
    ] {
        let (tried, code) = about_curl(&world, Some(script)).await;
        assert_eq!(
            (tried["outcome"].as_str(), code),
            (Some(expected), Some(status)),
            "{script} {tried}"
        );
        assert!(tried["remedy"].is_string(), "{tried}");
    }
}

#[tokio::test]
async fn a_client_that_goes_round_the_proxy_is_a_failure_without_being_named() {
    needs!(Need::Program("curl"));
    let world = World::builder().start().await;
    let directory = world.scratch().join("only");
    std::fs::create_dir_all(&directory).expect("a directory");
    let file = directory.join("curl");
    let real = which("curl");
    for (before, status, outcome) in [
        ("", 0, "works"),
        (
            "unset HTTPS_PROXY https_proxy ALL_PROXY all_proxy; ",
            1,
            "goes_round_the_proxy",
        ),
    ] {
        let script = format!("#!/bin/sh\n{before}exec {real} \"$@\"\n");
        std::fs::write(&file, script).expect("written");
        set_mode(&file, 0o755);
        let mut command = world.command(&["doctor", "--clients", "--json"]);
        command.env("PATH", &directory);
        let output = finish(command, b"").await;
        let tried: Value = serde_json::from_str(&output.stdout).expect("JSON");
        assert_eq!(tried[0]["outcome"], outcome, "{output:?}");
        assert_eq!(output.status.code(), Some(status), "{output:?}");
        assert_eq!(tried.as_array().map(Vec::len), Some(1), "{tried}");
    }
}

#[tokio::test]
async fn with_what_mcp_hosts_pass_on_a_client_goes_round() {
    needs!(Need::Program("curl"));
    let world = World::builder().start().await;
    let real = which("curl");
    // What it has, without what a shell sets itself.
    let had = world.scratch().join("had");
    let script = format!(
        "env | cut -d= -f1 | grep -v -e PWD -e SHLVL -e '^_$' | sort >{}; exec {real} \"$@\"",
        had.display()
    );
    let (tried, code) = about_curl_with(&world, Some(&script), &["--filtered"]).await;
    assert_eq!(tried["outcome"], "goes_round_the_proxy", "{tried}");
    assert_eq!(code, Some(1));
    let remedy = tried["remedy"].as_str().unwrap_or_default();
    assert!(remedy.contains("egret run"), "{tried}");
    let had = std::fs::read_to_string(had).expect("written");
    let passed = ["HOME", "LOGNAME", "PATH", "SHELL", "TERM", "USER"];
    assert!(had.lines().all(|name| passed.contains(&name)), "{had}");
    assert!(had.contains("PATH"), "{had}");
}

#[tokio::test]
async fn what_a_client_asks_of_other_hosts_is_refused() {
    needs!(Need::Program("curl"));
    let world = World::builder().start().await;
    let real = which("curl");
    let answer = world.scratch().join("answer");
    let script = format!(
        "case $1 in --version) ;; *) {real} -s -o /dev/null -w '%{{http_connect}}' \
         https://elsewhere.example/curl >{} ;; esac; \
         exec {real} \"$@\"",
        answer.display()
    );
    let (tried, _) = about_curl(&world, Some(&script)).await;
    assert_eq!(tried["outcome"], "works", "{tried}");
    let answer = std::fs::read_to_string(answer).expect("an answer");
    // Otherwise the tunnel is there, and what is asked in it finds no host.
    assert_eq!(answer, "403");
}

#[tokio::test]
async fn a_client_that_is_not_known_is_refused() {
    let world = World::builder().start().await;
    let refused = world.run(&["doctor", "--client", "nothing"]).await;
    assert!(
        !refused.status.success() && refused.stderr.contains("curl"),
        "{refused:?}"
    );
}

pub(crate) fn which(name: &str) -> String {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut files = std::env::split_paths(&path).map(|directory| directory.join(name));
    let file = files.find(|file| file.is_file()).expect("it is there");
    file.display().to_string()
}

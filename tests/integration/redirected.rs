//! The transparent listener, with the rules that `egret nftables` prints, in a namespace of its own.

use std::process::Stdio;

use tokio::process::Command;

use crate::needs::{Need, may_make_namespace, needs, skipped};
use crate::world::{EGRET, HOST, SLUG, VALUE, finish};

/// The server, its upstream and the client all run in one namespace, in which nothing but Egret's
/// user may leave loopback.
#[tokio::test]
async fn redirected_connections_get_their_values_and_the_rest_is_refused() {
    needs!(
        Need::Program("nft"),
        Need::Program("ip"),
        Need::Program("curl"),
        Need::Program("python3")
    );
    if !std::path::Path::new("/usr/bin/python3").exists() {
        return skipped("a Python that every user can run");
    }
    if !may_make_namespace() || !rustix::process::geteuid().is_root() {
        return skipped("root, for users of its own in a namespace");
    }
    let home = tempfile::tempdir().expect("a directory");
    let script = include_str!("redirected.sh");
    let mut command = Command::new("unshare");
    command
        .args(["--net", "--mount", "sh", "-c", script, "sh", EGRET])
        .current_dir(home.path())
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", home.path())
        .env("HOST", HOST)
        .env("SLUG", SLUG)
        .env("VALUE", VALUE)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let output = finish(command, b"").await;
    assert!(output.status.success(), "{output:#?}");
    let expected =
        format!("arrived: {VALUE}\nudp refused\nother port refused\nitself refused\nstopped\n");
    assert_eq!(output.stdout, expected, "{}", output.stderr);
}

#[tokio::test]
async fn only_loopback_and_only_for_somebody() {
    let home = tempfile::tempdir().expect("a directory");
    for (text, expected) in [
        (
            "[transparent]\nlisten = [\"127.0.0.1:7072\"]\n",
            "transparent.principal",
        ),
        (
            "[transparent]\nlisten = [\"0.0.0.0:7072\"]\nprincipal = \"default\"\n",
            "no loopback address",
        ),
    ] {
        let file = home.path().join("egret.toml");
        std::fs::write(&file, text).expect("written");
        let mut command = Command::new(EGRET);
        command
            .args(["config", "check", "--config"])
            .arg(&file)
            .env("HOME", home.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let output = finish(command, b"").await;
        assert!(!output.status.success(), "{output:#?}");
        let said = format!("{}{}", output.stdout, output.stderr);
        assert!(said.contains(expected), "{said}");
    }
}

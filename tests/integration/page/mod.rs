//! The pages, driven by a real browser.

use std::process::Stdio;
use std::time::Duration;

use serde_json::json;
use tokio::process::Command;

use crate::leak;
use crate::needs::{Need, client_file, needs};
use crate::upstream::{Step, Stub};
use crate::world::{HOST, VALUE, World};

/// Another value, for what is rotated.
const SECOND: &str = "n3w+Canary/77aa55ee&y=\"2\"";
/// Longest time for a walk through all pages, on a machine with much to do.
const WALK: Duration = Duration::from_secs(300);

/// Where screenshots are left for people to look at.
fn shots() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("pages")
}

/// The one-time link that the first start prints.
fn link(world: &World) -> String {
    let log = world.log();
    let begin = log.find("http://egret.localhost").expect("a link");
    let link = log[begin..].split_whitespace().next().expect("a link");
    link.trim_end_matches(['.', ',', '"', '\\']).to_owned()
}

/// Runs a program of this folder in the Node that drives the browser.
async fn drive(world: &World, program: &str) {
    let folder =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/integration/page/programs");
    let ca = world.scratch().join("ca.pem");
    let pem = world.run(&["ca", "show"]).await.ok();
    std::fs::write(&ca, pem).expect("write the certificate");
    let mut node = Command::new(client_file("npm/node"));
    node.arg(folder.join(program))
        .env("PACKAGES", client_file("npm"))
        .env("CHROMIUM", "/usr/bin/chromium")
        .env("LINK", link(world))
        .env("PROXY", format!("http://{}", world.proxy))
        .env("CA", &ca)
        .env("HOST", HOST)
        .env("VALUES", json!([VALUE, SECOND]).to_string())
        .env("SHOTS", shots())
        .env("HOME", world.scratch())
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = tokio::time::timeout(WALK, node.output()).await;
    let output = output.expect("the walk ends").expect("start node");
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

#[tokio::test]
async fn a_first_time_user_adds_uses_rotates_and_revokes_a_credential() {
    needs!(Need::Browser, Need::Program("curl"));
    let builder = World::builder();
    let stub = Stub::tls(builder.pki(), &[HOST]).await;
    let world = builder
        .route(&format!("{HOST}:443"), stub.addr)
        .start()
        .await;
    drive(&world, "walk.mjs").await;
    let seen: Vec<_> = stub.take();
    let bearer = |path: &str| {
        let request = seen.iter().find(|request| request.path() == path);
        request.expect(path).header("authorization")
    };
    let expected = |value: &str| Some(format!("Bearer {value}"));
    assert_eq!(bearer("/customers"), expected(VALUE));
    assert_eq!(bearer("/second"), expected(SECOND));
    assert_eq!(bearer("/no-script"), expected(SECOND));
    assert!(
        seen.iter()
            .all(|request| !["/narrowed", "/revoked"].contains(&request.path()))
    );
    for value in [VALUE, SECOND] {
        let forms = leak::forms(value.as_bytes());
        leak::assert_absent("the log", &world.log_bytes(), &forms);
        assert_eq!(leak::in_tree(&world.data, &forms), [] as [String; 0]);
    }
}

#[tokio::test]
async fn an_owner_answers_what_waits() {
    needs!(Need::Browser, Need::Program("curl"));
    let builder = World::builder();
    let stub = Stub::tls(builder.pki(), &[HOST]).await;
    let world = builder
        .set("approvals.wait", "240s")
        .set("requests.on_refusal", true)
        .route(&format!("{HOST}:443"), stub.addr)
        .start()
        .await;
    drive(&world, "questions.mjs").await;
    let seen = stub.take();
    let key = |path: &str| {
        let request = seen.iter().find(|request| request.path() == path);
        request.and_then(|request| request.header("x-api-key"))
    };
    for path in ["/once", "/always", "/again"] {
        assert_eq!(key(path).as_deref(), Some(VALUE), "{path}");
    }
    assert_eq!(key("/jira").as_deref(), Some(SECOND));
    for path in ["/no", "/declined"] {
        assert_eq!(key(path), None, "{path}");
    }
    for value in [VALUE, SECOND] {
        let forms = leak::forms(value.as_bytes());
        leak::assert_absent("the log", &world.log_bytes(), &forms);
        assert_eq!(leak::in_tree(&world.data, &forms), [] as [String; 0]);
    }
}

#[tokio::test]
async fn an_administrator_keeps_rules_and_sees_what_is_rejected() {
    needs!(Need::Browser, Need::Program("curl"));
    let builder = World::builder();
    let stub = Stub::tls(builder.pki(), &[HOST]).await;
    stub.serve(|request| {
        let status = match request.path() {
            "/a" | "/b" | "/c" => "401 Unauthorized",
            _ => "200 OK",
        };
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
        std::future::ready(vec![Step::Send(answer.into_bytes())])
    });
    let world = builder
        .set("egress.own_keys", "observe")
        .route(&format!("{HOST}:443"), stub.addr)
        .start()
        .await;
    drive(&world, "rules.mjs").await;
    let seen = stub.take();
    let reached = |path: &str| seen.iter().any(|request| request.path() == path);
    assert!(reached("/observed") && reached("/allowed"));
    assert!(!reached("/denied"));
}

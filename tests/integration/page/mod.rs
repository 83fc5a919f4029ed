//! The pages, driven by a real browser.

mod many;

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::process::Command;

use crate::leak;
use crate::needs::{Need, client_file, needs};
use crate::upstream::{Step, Stub};
use crate::wire::Request;
use crate::world::{Builder, HOST, VALUE, World};

/// Another value, for what is rotated.
const SECOND: &str = "n3w+Canary/77aa55ee&y=\"2\"";
/// Longest time for a walk through all pages, on a machine with much to do.
const WALK: Duration = Duration::from_secs(600);

/// Where screenshots are left for people to look at.
fn shots() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("pages")
}

/// Where the pictures of the documentation are, when they are to be made.
fn pictures() -> Option<(&'static str, std::path::PathBuf)> {
    std::env::var_os("EGRET_UPDATE_DOCS")?;
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/pictures");
    Some(("PICTURES", folder))
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
    // The programs run commands with this world's configuration.
    let command = world.command(&[]);
    let command = command.as_std();
    let settings = command.get_envs();
    let settings = settings.filter_map(|(name, value)| Some((name, value?)));
    let mut node = Command::new(client_file("npm/node"));
    node.arg(folder.join(program))
        .envs(settings)
        .env("PROGRAM", command.get_program())
        .env("PACKAGES", client_file("npm"))
        .env("CHROMIUM", "/usr/bin/chromium")
        .env("FIREFOX", "/usr/bin/firefox-esr")
        .env("LINK", link(world))
        .env("PROXY", format!("http://{}", world.proxy))
        .env("CA", &ca)
        .env("HOST", HOST)
        .env("VALUES", json!([VALUE, SECOND]).to_string())
        .env("SHOTS", shots())
        .env("HOME", world.scratch())
        .envs(pictures())
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

/// A world whose host answers on both schemes, driven by a program; the values are nowhere afterwards. The
/// paths that were asked for, each with what it carried.
async fn driven(program: &str, builder: Builder) -> Vec<Arc<Request>> {
    let stub = Stub::tls(builder.pki(), &[HOST]).await;
    let plain = Stub::plain().await;
    let world = builder
        .route(&format!("{HOST}:443"), stub.addr)
        .route(&format!("{HOST}:80"), plain.addr)
        .start()
        .await;
    drive(&world, program).await;
    for value in [VALUE, SECOND] {
        let forms = leak::forms(value.as_bytes());
        leak::assert_absent("the log", &world.log_bytes(), &forms);
        assert_eq!(leak::in_tree(&world.data, &forms), [] as [String; 0]);
    }
    [stub.take(), plain.take()].concat()
}

#[tokio::test]
async fn nothing_breaks_and_nothing_that_was_typed_is_lost() {
    needs!(Need::Browser, Need::Program("curl"));
    let seen = driven("edges.mjs", World::builder()).await;
    let of = |path: &str| {
        let request = seen.iter().find(|request| request.path() == path);
        request.unwrap_or_else(|| panic!("{path} was not asked for"))
    };
    let form = format!(
        "token={}",
        form_urlencoded::byte_serialize(VALUE.as_bytes()).collect::<String>()
    );
    assert_eq!(String::from_utf8_lossy(&of("/form").body), form);
    assert_eq!(of("/plain").header("x-api-key").as_deref(), Some(VALUE));
}

#[tokio::test]
async fn a_file_is_imported_while_the_page_says_how_far_it_is() {
    needs!(Need::Browser, Need::Program("curl"));
    let seen = driven("import.mjs", World::builder()).await;
    let key = |path: &str| {
        let request = seen.iter().find(|request| request.path() == path);
        request.and_then(|request| request.header("x-api-key"))
    };
    assert_eq!(key("/first").as_deref(), Some(VALUE));
    assert_eq!(key("/second").as_deref(), Some(SECOND));
    assert_eq!(key("/kept").as_deref(), Some(SECOND));
}

#[tokio::test]
async fn long_lists_have_pages_with_and_without_a_script() {
    needs!(Need::Browser);
    let world = World::builder().start().await;
    drive(&world, "paging.mjs").await;
}

#[tokio::test]
async fn everything_can_be_done_with_the_keyboard_alone() {
    needs!(Need::Browser, Need::Program("curl"));
    let builder = World::builder()
        .set("approvals.wait", "240s")
        .set("requests.on_refusal", true);
    let seen = driven("keyboard.mjs", builder).await;
    let carried = |path: &str, name: &str| {
        let request = seen.iter().find(|request| request.path() == path);
        request.and_then(|request| request.header(name))
    };
    // The version that waited was tested before it was in force.
    let bearer = |value: &str| Some(format!("Bearer {value}"));
    assert_eq!(carried("/staged", "authorization"), bearer(SECOND));
    assert_eq!(carried("/asked", "x-api-key").as_deref(), Some(VALUE));
}

#[tokio::test]
async fn firefox_goes_the_main_way() {
    needs!(Need::Browser, Need::Firefox, Need::Program("curl"));
    let seen = driven("firefox.mjs", World::builder()).await;
    let bearer = |path: &str| {
        let request = seen.iter().find(|request| request.path() == path);
        request.and_then(|request| request.header("authorization"))
    };
    assert_eq!(bearer("/customers"), Some(format!("Bearer {VALUE}")));
    assert_eq!(bearer("/second"), Some(format!("Bearer {SECOND}")));
    assert_eq!(bearer("/revoked"), None);
}

#[tokio::test]
async fn a_first_use_is_on_record_after_seven_steps_at_most() {
    needs!(Need::Browser, Need::Program("curl"));
    const GITHUB: &str = "api.github.com";
    let builder = World::builder();
    let stub = Stub::tls(builder.pki(), &[GITHUB]).await;
    let world = builder
        .route(&format!("{GITHUB}:443"), stub.addr)
        .start()
        .await;
    drive(&world, "first_steps.mjs").await;
    let first = stub.take().remove(0);
    let bearer = first.header("authorization");
    assert_eq!(bearer, Some(format!("Bearer {VALUE}")));
}

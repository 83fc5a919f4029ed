//! The master key is rotated while the server works, and whatever is killed meanwhile.

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use rustix::process::Signal;
use serde_json::Value;
use tokio::task::JoinSet;

use crate::within_secs;
use crate::world::{HOST, VALUE, World, finish, one_upstream, one_upstream_with};

const HEADER: &str = "X-Api-Key: <<pat>>";

async fn status(world: &World) -> Value {
    world.run(&["keys", "status", "--json"]).await.json()
}

/// Everything is under one key, which is the only one.
async fn assert_settled(world: &World) -> String {
    let status = status(world).await;
    let key = status["store"].clone();
    assert_eq!(status["signing_key"], key, "{status}");
    assert_eq!(status["ledger_head"], key, "{status}");
    assert_eq!(
        status["loaded"],
        Value::Array(vec![key.clone()]),
        "{status}"
    );
    assert_eq!(status["rotating"], false);
    assert!(!world.data.join("master.key.next").exists());
    world.run(&["store", "check"]).await.ok();
    world.run(&["ledger", "verify"]).await.ok();
    key.as_str().expect("a name").to_owned()
}

/// Many credentials, so that there is a middle.
async fn fill(world: &World, count: usize) {
    let mut text = "name,url,username,password\n".to_owned();
    for number in 0..count {
        text += &format!("filling-{number},https://{HOST}/,bob,value-{number}-to-fill-the-store\n");
    }
    let file = world.scratch().join("filling.csv");
    std::fs::write(&file, text).expect("write");
    let file = file.display().to_string();
    let args = ["credential", "import", &file, "--format", "csv", "--save"];
    world.run(&args).await.ok();
    let listed = world.run(&["credential", "list", "--json"]).await.json();
    assert!(listed.as_array().expect("a list").len() >= count);
}

async fn assert_served(world: &World) {
    let answer = world.tunnel().await.get("/served", &[HEADER]).await;
    assert_eq!(answer.status, 200, "{}", world.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_master_key_is_rotated_while_requests_go_on() {
    let (mut world, stub) = one_upstream().await;
    let old_backup = world.scratch().join("backup").display().to_string();
    world.run(&["backup", &old_backup]).await.ok();
    let before = assert_settled(&world).await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut load = JoinSet::new();
    for _ in 0..3 {
        let (mut tunnel, stop) = (world.tunnel().await, Arc::clone(&stop));
        load.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                assert_eq!(tunnel.get("/during", &[HEADER]).await.status, 200);
            }
        });
    }
    let said = world.run(&["keys", "rotate"]).await.ok();
    assert!(said.contains("Sealed again under master key"), "{said}");
    // Changes go on too.
    world
        .save("later", "a later value", &["--host", HOST])
        .await;
    stop.store(true, Ordering::Relaxed);
    load.join_all().await;
    let requests = stub.take();
    assert!(
        requests
            .iter()
            .all(|it| it.header("x-api-key").as_deref() == Some(VALUE))
    );
    let rotated = |line: &Value| line["event"] == "store.rekeyed";
    world.ledger_line("the rotation", rotated).await;

    let after = assert_settled(&world).await;
    assert_ne!(after, before);
    let former = world.data.join(format!("master.key.former-{before}"));
    assert!(former.exists());
    // The former key is of no use any more, but for the backup from before.
    let key = std::fs::read(&former).expect("the former key");
    std::fs::remove_file(&former).expect("remove");
    world.stop().await;
    world.restart().await;
    assert_served(&world).await;
    for (name, key, is_its_own) in [
        (
            "new",
            std::fs::read(world.data.join("master.key")).expect("the key"),
            false,
        ),
        ("old", key, true),
    ] {
        let home = world.scratch().join(name);
        std::fs::create_dir(&home).expect("a directory");
        write_private(&home.join("master.key"), &key);
        let mut command = world.command(&["restore", &old_backup]);
        command.env("EGRET_DATA_DIR", &home);
        let restored = finish(command, b"").await;
        assert_eq!(restored.status.success(), is_its_own, "{restored:?}");
        let foreign = restored.stderr.contains("belongs to another master key");
        assert_eq!(foreign, !is_its_own, "{restored:?}");
    }
}

fn write_private(path: &Path, content: &[u8]) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::write(path, content).expect("write");
    let private = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(path, private).expect("chmod");
}

/// The command is killed at many moments, and the server at some: nothing is lost, no request fails
/// while a server is there, and repeating the command completes it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_that_is_killed_anywhere_is_completed_later() {
    let rounds = if std::env::var_os("EGRET_TEST_LONG").is_some() {
        20
    } else {
        4
    };
    let (mut world, _stub) = one_upstream().await;
    fill(&world, 200).await;
    let start = Instant::now();
    world.run(&["keys", "rotate"]).await.ok();
    let whole = start.elapsed();
    let mut settled = assert_settled(&world).await;
    for round in 0..rounds {
        let mut command = world.command(&["keys", "rotate"]);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut rotating = command.spawn().expect("start a rotation");
        tokio::time::sleep(whole * (2 * round + 1) / (2 * rounds)).await;
        // SIGKILL.
        rotating.start_kill().ok();
        within_secs(10, "the command to end", rotating.wait())
            .await
            .expect("wait");
        assert_served(&world).await;
        if round % 2 == 1 {
            world.signal(Signal::KILL);
            world.ended().await;
            world.restart().await;
            assert_served(&world).await;
        }
        if world.data.join("master.key.next").exists() {
            let refused = world.run(&["backup", &format!("backup-{round}")]).await;
            assert!(refused.stderr.contains("is being rotated"), "{refused:?}");
        }
        world.run(&["keys", "rotate"]).await.ok();
        let now = assert_settled(&world).await;
        assert_ne!(now, settled);
        settled = now;
    }
    for entry in std::fs::read_dir(&world.data).expect("list") {
        let path = entry.expect("an entry").path();
        if path.display().to_string().contains("master.key.former-") {
            std::fs::remove_file(path).expect("remove");
        }
    }
    world.stop().await;
    // Without a server too.
    world.run(&["keys", "rotate"]).await.ok();
    assert_settled(&world).await;
    world.restart().await;
    assert_served(&world).await;
}

/// A key that Egret cannot write: both places are configured while it is rotated.
#[tokio::test]
async fn a_key_from_elsewhere_is_rotated_by_configuration() {
    let keys = tempfile::tempdir().expect("a directory");
    let place = |name: &str| format!("command:cat {}", keys.path().join(name).display());
    for (name, key) in [("one", "11".repeat(32)), ("two", "22".repeat(32))] {
        write_private(&keys.path().join(name), key.as_bytes());
    }
    let builder = World::builder().set("keys.master", place("one"));
    let (mut world, _stub) = one_upstream_with(builder).await;
    let refused = world.run(&["keys", "rotate"]).await;
    assert!(refused.stderr.contains("set keys.next"), "{refused:?}");
    world.configure("keys.next", place("two"));
    world.stop().await;
    world.restart().await;
    let said = world.run(&["keys", "rotate"]).await.ok();
    assert!(said.contains("(keys.master), remove keys.next"), "{said}");
    assert_served(&world).await;
    world.configure("keys.master", place("two"));
    world.configure("keys.next", "none");
    std::fs::remove_file(keys.path().join("one")).expect("remove");
    world.stop().await;
    world.restart().await;
    assert_served(&world).await;
    assert_settled(&world).await;
}

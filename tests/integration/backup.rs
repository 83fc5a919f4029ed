//! Backups made while the server works, and put back elsewhere.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;

use crate::eventually;
use crate::upstream::Stub;
use crate::world::{HOST, Output, SLUG, VALUE, World, finish, one_upstream, one_upstream_with};

const HEADER: &str = "X-Api-Key: <<pat>>";

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// A new data directory with the master key of the world.
fn new_home(world: &World, name: &str) -> PathBuf {
    let home = world.scratch().join(name);
    std::fs::create_dir(&home).expect("a directory");
    let key = home.join("master.key");
    std::fs::copy(world.data.join("master.key"), key).expect("copy the key");
    home
}

async fn run_in(world: &World, home: &Path, args: &[&str]) -> Output {
    let mut command = world.command(args);
    command.env("EGRET_DATA_DIR", home);
    finish(command, b"").await
}

async fn backup(world: &World, name: &str) -> PathBuf {
    let target = world.scratch().join(name);
    world.run(&["backup", &text(&target)]).await.ok();
    target
}

fn files_below(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).expect("list") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files_below(&path));
        }
        found.push(path);
    }
    found.sort();
    found
}

fn contains(bytes: &[u8], needle: &[u8]) -> bool {
    bytes.windows(needle.len()).any(|window| window == needle)
}

/// Requests and changes go on while a backup is made; it is restored elsewhere, verified, and serves.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_under_load_is_restored_elsewhere_and_serves() {
    let builder = World::builder().set("ledger.max_size", "64KiB");
    let (mut world, stub) = one_upstream_with(builder).await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut load = tokio::task::JoinSet::new();
    for _ in 0..3 {
        let (mut tunnel, stop) = (world.tunnel().await, Arc::clone(&stop));
        load.spawn(async move {
            let mut served = 0;
            while !stop.load(Ordering::Relaxed) {
                assert_eq!(tunnel.get("/load", &[HEADER]).await.status, 200);
                served += 1;
            }
            served
        });
    }
    let mut backups = Vec::new();
    for round in 0..3 {
        world
            .save(
                &format!("other-{round}"),
                "another value",
                &["--host", HOST],
            )
            .await;
        backups.push(backup(&world, &format!("backup-{round}")).await);
    }
    stop.store(true, Ordering::Relaxed);
    let served: Vec<u32> = load.join_all().await;
    assert!(served.iter().all(|count| *count > 0), "{served:?}");
    stub.take();
    world.stop().await;

    for (round, backup) in backups.iter().enumerate() {
        let home = new_home(&world, &format!("home-{round}"));
        let restored = run_in(&world, &home, &["restore", &text(backup), "--json"])
            .await
            .json();
        assert_eq!(restored["unverified"], serde_json::json!([]));
        assert_eq!(restored["must_be_accepted"], false);
        run_in(&world, &home, &["store", "check"]).await.ok();
        run_in(&world, &home, &["ledger", "verify"]).await.ok();
        let listed = run_in(&world, &home, &["credential", "list", "--json"])
            .await
            .json();
        assert_eq!(listed.as_array().expect("a list").len(), round + 2);
        let lines = run_in(&world, &home, &["ledger", "tail", "--json"])
            .await
            .ok();
        assert!(!lines.contains("ledger.damaged"));
    }
    world.data = world.scratch().join("home-2");
    world.restart().await;
    let restored = |line: &Value| line["event"] == "store.restored";
    world.ledger_line("the restore", restored).await;
    let answer = world.tunnel().await.get("/again", &[HEADER]).await;
    assert_eq!(answer.status, 200);
    let requests = stub.take();
    assert_eq!(requests[0].header("x-api-key").as_deref(), Some(VALUE));
}

/// Whoever has the backup and not the master key has nothing.
#[tokio::test]
async fn a_backup_is_private_and_holds_no_secret_in_the_clear() {
    let (world, _stub) = one_upstream().await;
    let backup = backup(&world, "backup").await;
    let key = std::fs::read(world.data.join("master.key")).expect("the key");
    let authority = std::fs::read(world.data.join("ca.key")).expect("the key of the CA");
    let spelt: Vec<&[u8]> = authority.split(|byte| *byte == b'\n').collect();
    let mode = |path: &Path| {
        std::fs::metadata(path)
            .expect("metadata")
            .permissions()
            .mode()
    };
    assert_eq!(mode(&backup) & 0o777, 0o700);
    for path in files_below(&backup) {
        let wanted = if path.is_dir() { 0o700 } else { 0o600 };
        assert_eq!(mode(&path) & 0o777, wanted, "{path:?}");
        if path.is_file() {
            let bytes = std::fs::read(&path).expect("read");
            for secret in [VALUE.as_bytes(), key.trim_ascii(), spelt[1]] {
                assert!(!contains(&bytes, secret), "{path:?}");
            }
        }
    }
    for name in [
        "manifest.json",
        "egret.db",
        "ledger/public.key",
        "ca.pem",
        "ca.key.sealed",
    ] {
        assert!(backup.join(name).is_file(), "{name}");
    }
    world
        .ledger_line("the backup", |line| line["event"] == "store.backed_up")
        .await;
    // Nothing is replaced, and nothing is left beside it.
    let again = world.run(&["backup", &text(&backup)]).await;
    assert!(
        !again.status.success() && again.stderr.contains("is not empty"),
        "{again:?}"
    );
    let inside = world
        .run(&["backup", &text(&world.data.join("backup"))])
        .await;
    assert!(
        inside.stderr.contains("is in the data directory"),
        "{inside:?}"
    );
    let names = std::fs::read_dir(world.scratch()).expect("list");
    let names = names.map(|it| {
        it.expect("an entry")
            .file_name()
            .into_string()
            .expect("a name")
    });
    assert!(!names.into_iter().any(|name| name.contains(".new-")));
}

async fn assert_refused(world: &World, home: &Path, backup: &Path, why: &str) {
    let before = files_below(home);
    let refused = run_in(world, home, &["restore", &text(backup)]).await;
    assert!(!refused.status.success(), "{refused:?}");
    assert!(refused.stderr.contains(why), "{why}: {refused:?}");
    assert_eq!(files_below(home), before, "nothing is left");
}

#[tokio::test]
async fn what_does_not_verify_is_not_restored_and_nothing_is_left() {
    let (mut world, _stub) = one_upstream().await;
    let backup = backup(&world, "backup").await;
    world.stop().await;

    let home = world.scratch().join("no-key");
    std::fs::create_dir(&home).expect("a directory");
    assert_refused(&world, &home, &backup, "there is no master key at").await;
    let foreign = [7; 32];
    std::fs::write(home.join("master.key"), foreign).expect("write");
    let private = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(home.join("master.key"), private).expect("chmod");
    assert_refused(&world, &home, &backup, "belongs to another master key").await;

    let home = new_home(&world, "home");
    std::fs::write(home.join("notes"), "").expect("write");
    assert_refused(&world, &home, &backup, "it has notes").await;
    std::fs::remove_file(home.join("notes")).expect("remove");
    for name in [
        "egret.db",
        "ledger/current.jsonl",
        "ca.key.sealed",
        "manifest.json",
    ] {
        let path = backup.join(name);
        let bytes = std::fs::read(&path).expect("read");
        let mut changed = bytes.clone();
        *changed
            .iter_mut()
            .rfind(|byte| byte.is_ascii_digit())
            .expect("a digit") ^= 1;
        std::fs::write(&path, changed).expect("write");
        assert_refused(&world, &home, &backup, "damaged or was changed").await;
        std::fs::write(&path, bytes).expect("write");
    }
    std::fs::write(backup.join("ledger/00000000000000000001.jsonl"), "").expect("write");
    assert_refused(&world, &home, &backup, "was added").await;
    std::fs::remove_file(backup.join("ledger/00000000000000000001.jsonl")).expect("remove");
    std::fs::rename(backup.join("ledger.head"), backup.join("../head")).expect("rename");
    assert_refused(&world, &home, &backup, "ledger.head is missing").await;
    std::fs::rename(backup.join("../head"), backup.join("ledger.head")).expect("rename");
    run_in(&world, &home, &["restore", &text(&backup)])
        .await
        .ok();
}

/// What was revoked after the backup is named, and works again only once that is accepted.
#[tokio::test]
async fn what_was_lost_is_said_and_has_to_be_accepted() {
    let (mut world, stub) = one_upstream().await;
    let backup = backup(&world, "backup").await;
    let answer = world.tunnel().await.get("/lost", &[HEADER]).await;
    assert_eq!(answer.status, 200);
    world.run(&["credential", "revoke", SLUG]).await.ok();
    world
        .ledger_line("the revocation", |line| {
            line["event"] == "credential.revoked"
        })
        .await;
    stub.take();
    world.stop().await;

    let home = new_home(&world, "home");
    let other = world.scratch().join("other");
    std::fs::create_dir(&other).expect("a directory");
    std::fs::write(other.join("current.jsonl"), "").expect("write");
    let args = ["restore", &text(&backup), "--ledger", &text(&other)];
    let refused = run_in(&world, &home, &args).await;
    assert!(
        refused
            .stderr
            .contains("is not the ledger that was backed up"),
        "{refused:?}"
    );

    let args = ["restore", &text(&backup), "--ledger", &text(&world.data)];
    let said = run_in(&world, &home, &args).await.ok();
    assert!(said.contains("1 change, and the record of 1 use"), "{said}");
    assert!(said.contains("credential.revoked pat"), "{said}");
    assert!(said.contains(&format!("GET https://{HOST}/lost")), "{said}");
    assert!(said.contains("egret store accept"), "{said}");

    let refused = run_in(&world, &home, &["credential", "list"]).await;
    assert!(refused.stderr.contains("egret store accept"), "{refused:?}");
    run_in(&world, &home, &["store", "accept"]).await.ok();
    world.data = home;
    world.restart().await;
    let answer = world.tunnel().await.get("/accepted", &[HEADER]).await;
    assert_eq!(answer.status, 200);
    let accepted = |line: &Value| line["event"] == "store.accepted";
    world.ledger_line("the acceptance", accepted).await;
}

/// A restore that was killed between two renames is started again.
#[tokio::test]
async fn an_interrupted_restore_is_not_used_and_is_repeated() {
    let (mut world, _stub) = one_upstream().await;
    let backup = backup(&world, "backup").await;
    world.stop().await;
    let home = new_home(&world, "home");
    let unfinished = home.join("restore.unfinished");
    std::fs::create_dir(&unfinished).expect("a directory");
    std::fs::copy(backup.join("egret.db"), home.join("egret.db")).expect("copy");
    std::fs::copy(backup.join("ledger.head"), unfinished.join("ledger.head")).expect("copy");
    let refused = run_in(&world, &home, &["store", "check"]).await;
    assert!(
        refused.stderr.contains("run `egret restore` again"),
        "{refused:?}"
    );
    run_in(&world, &home, &["restore", &text(&backup)])
        .await
        .ok();
    assert!(!unfinished.exists());
    run_in(&world, &home, &["store", "check"]).await.ok();
    world.data = home;
    world.restart().await;
    eventually("the server", || world.log().contains("egret").then_some(())).await;
}

/// Without a server the same holds.
#[tokio::test]
async fn a_backup_of_a_stopped_server_is_whole() {
    let (mut world, stub): (World, Stub) = one_upstream().await;
    world.stop().await;
    let backup = backup(&world, "backup").await;
    let home = new_home(&world, "home");
    run_in(&world, &home, &["restore", &text(&backup)])
        .await
        .ok();
    run_in(&world, &home, &["ledger", "verify"]).await.ok();
    let lines = run_in(&world, &home, &["ledger", "tail", "--json"])
        .await
        .ok();
    assert!(
        lines.contains("store.backed_up") && !lines.contains("ledger.damaged"),
        "{lines}"
    );
    drop(stub);
}

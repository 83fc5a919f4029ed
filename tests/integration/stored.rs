//! Rotated files of the ledger and its checkpoints in a bucket.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;

use crate::durability_space::may_mount;
use crate::needs::{Need, client_file, needs};
use crate::world::{Builder, World, finish, one_upstream_with};
use crate::{eventually, within_secs};

const HEADER: &str = "X-Api-Key: <<pat>>";
const ID: &str = "AKIDEXAMPLE";
const SECRET: &str = "a/secret+of/the+test";
const PROGRAM: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/integration/clients/programs/s3.py"
);

/// A store that checks signatures and checksums.
struct Store {
    process: Child,
    root: tempfile::TempDir,
    port: String,
}

impl Store {
    async fn start() -> Self {
        let root = tempfile::tempdir().expect("a directory");
        let process = python()
            .args(["serve", root.path().to_str().expect("UTF-8")])
            .stdout(Stdio::null())
            .spawn()
            .expect("start the store");
        let path = root.path().join("port");
        let port = eventually("the store to listen", || {
            std::fs::read_to_string(&path).ok()
        });
        let port = port.await;
        Self {
            process,
            root,
            port,
        }
    }

    fn set(&self, what: &str, is_so: bool) {
        let path = self.root.path().join(what);
        if is_so {
            std::fs::write(path, "").expect("written");
        } else {
            let _ = std::fs::remove_file(path);
        }
    }

    /// The objects of Egret's, by name.
    fn objects(&self) -> BTreeMap<String, Vec<u8>> {
        let mut found = BTreeMap::new();
        walk(&self.root.path().join("objects/bucket"), "", &mut found);
        found
    }

    /// The names that were put, each with the checksum of what was.
    fn log(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.root.path().join("log")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn python() -> Command {
    let mut command = Command::new(client_file("venv/bin/python"));
    command.arg(PROGRAM);
    command
}

fn walk(dir: &Path, prefix: &str, found: &mut BTreeMap<String, Vec<u8>>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = format!("{prefix}{}", entry.file_name().to_str().expect("UTF-8"));
        if entry.path().is_dir() {
            walk(&entry.path(), &format!("{name}/"), found);
        } else if !name.ends_with(".part") {
            found.insert(name, std::fs::read(entry.path()).expect("an object"));
        }
    }
}

async fn use_it(world: &World, times: usize) {
    let mut tunnel = world.tunnel().await;
    for _ in 0..times {
        assert_eq!(tunnel.get("/v1", &[HEADER]).await.status, 200);
    }
}

async fn metric(world: &World, name: &str) -> u64 {
    let page = world.admin_page("/metrics").await.expect("metrics").text();
    let line = page
        .lines()
        .find_map(|line| line.strip_prefix(&format!("{name} ")));
    let value: Option<f64> = line.and_then(|value| value.parse().ok());
    value.expect("the metric") as u64
}

/// The compressed files of the ledger.
fn rotated(world: &World) -> BTreeMap<String, Vec<u8>> {
    let dir = world.ledger_path();
    let dir = dir.parent().expect("the directory of the ledger");
    let mut found = BTreeMap::new();
    walk(dir, "", &mut found);
    found.retain(|name, _| name.ends_with(".jsonl.zst"));
    found
}

/// Waits until the store has every rotated file, and returns the ledger's directory there.
async fn until_stored(world: &World, store: &Store) -> String {
    within_secs(60, "the bucket to have the rotated files", async {
        loop {
            // In this order: what is rotated in between is waited for in the next round.
            let (waiting, files) = (plain_files(world), rotated(world));
            let objects = store.objects();
            let prefix = objects
                .keys()
                .find_map(|name| name.strip_suffix("public.key"));
            if let Some(prefix) = prefix
                && waiting == 0
                && !files.is_empty()
                && files
                    .iter()
                    .all(|(name, text)| objects.get(&format!("{prefix}{name}")) == Some(text))
            {
                return prefix.to_owned();
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await
}

/// Rotated files that are not compressed yet.
fn plain_files(world: &World) -> usize {
    let dir = world.ledger_path();
    let dir = dir.parent().expect("the directory of the ledger");
    let mut found = BTreeMap::new();
    walk(dir, "", &mut found);
    let is_plain = |name: &&String| name.starts_with('0') && name.ends_with(".jsonl");
    found.keys().filter(is_plain).count()
}

async fn stored_world(store: &Store) -> (World, crate::upstream::Stub, PathBuf) {
    stored_at("127.0.0.1", store, World::builder()).await
}

/// With the store named so.
async fn stored_at(
    host: &str,
    store: &Store,
    builder: Builder,
) -> (World, crate::upstream::Stub, PathBuf) {
    let builder = builder
        .set(
            "ledger.s3_url",
            format!("http://{host}:{}/bucket/egret/a", store.port),
        )
        .set("ledger.s3_region", "eu-central-1")
        .set(
            "ledger.s3_login",
            store.root.path().join("login").display().to_string(),
        )
        .set("ledger.max_size", "4KiB");
    let login = store.root.path().join("login");
    std::fs::write(&login, format!("{ID}:{SECRET}\n")).expect("written");
    let (world, stub) = one_upstream_with(builder).await;
    (world, stub, login)
}

#[tokio::test]
async fn a_bucket_has_each_rotated_file_and_the_checkpoints_whatever_is_killed() {
    needs!(Need::Python);
    let store = Store::start().await;
    // The vendor's client says that the stand-in is one.
    let checked = python().args(["check", &store.port]).output();
    let checked = checked.expect("run the check");
    assert_eq!(checked.stdout, b"ok\n", "{checked:?}");
    let before = store.log().len();

    let (mut world, _stub, login) = stored_world(&store).await;
    use_it(&world, 20).await;
    let prefix = until_stored(&world, &store).await;
    assert!(prefix.starts_with("egret/a/egret.ledger/"), "{prefix}");

    // While it is down requests go on, and files are rotated.
    store.set("down", true);
    use_it(&world, 20).await;
    within_secs(30, "a failure to be counted", async {
        while metric(&world, "egret_ledger_s3_failures_total").await == 0
            || metric(&world, "egret_ledger_s3_waiting_files").await == 0
        {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    let log = world.log();
    assert!(log.contains("the store answered 503"), "{log}");
    world.signal(Signal::KILL);
    world.ended().await;

    // It takes an object, and Egret is killed before it knows that.
    store.set("hold", true);
    store.set("down", false);
    let taken = store.log().len();
    world.restart().await;
    eventually("an object to be taken", || {
        (store.log().len() > taken).then_some(())
    })
    .await;
    world.signal(Signal::KILL);
    world.ended().await;
    store.set("hold", false);
    world.restart().await;
    use_it(&world, 3).await;
    until_stored(&world, &store).await;
    assert_eq!(metric(&world, "egret_ledger_s3_waiting_files").await, 0);

    // What was put twice was the same, and only what was under way at a kill was.
    let log = store.log();
    let (mut names, mut puts) = (BTreeMap::new(), 0);
    for line in &log[before..] {
        let (name, checksum) = line.rsplit_once(' ').expect("name and checksum");
        puts += 1;
        if name.ends_with(".zst") {
            let known = names.insert(name, checksum);
            assert!(known.is_none_or(|known| known == checksum), "{line}");
        }
    }
    assert!(puts <= store.objects().len() + 3, "{log:#?}");

    // The copy vouches for the ledger.
    vouches(&world, &store, &prefix).await;
    assert!(!world.log().contains(SECRET));
    assert!(!world.log().contains("X-Amz"));

    // A login that is not accepted is said, and a new one is used without a restart.
    std::fs::write(&login, "AKIDEXAMPLE:wrong").expect("written");
    use_it(&world, 20).await;
    eventually("a refusal", || {
        world.log().contains("the store answered 403").then_some(())
    })
    .await;
    std::fs::write(&login, format!("{ID}:{SECRET}")).expect("written");
    until_stored(&world, &store).await;
}

/// Names the bucket as a host of this machine, for the server alone.
const NAMED: &str = r#"exec unshare -rm sh -c '
    echo "127.0.0.1 localhost bucket.localhost" >"$HOME/hosts" || exit 1
    mount --bind "$HOME/hosts" /etc/hosts || exit 1
    exec "$@"' sh "$@""#;

/// The bucket in front of the host name, as AWS wants it of new buckets. The signature covers that name.
#[tokio::test]
async fn a_bucket_may_be_named_in_the_host() {
    needs!(
        Need::Python,
        Need::Program("unshare"),
        Need::Program("mount")
    );
    if !may_mount().await {
        return;
    }
    let store = Store::start().await;
    store.set("virtual-host", true);
    let builder = World::builder()
        .set("ledger.s3_style", "virtual-host")
        .after(NAMED);
    let (world, _stub, _) = stored_at("localhost", &store, builder).await;
    use_it(&world, 20).await;
    let prefix = until_stored(&world, &store).await;
    assert!(prefix.starts_with("egret/a/egret.ledger/"), "{prefix}");
    vouches(&world, &store, &prefix).await;
}

/// Checks the ledger with the key and the last checkpoint of the bucket, and that the bucket has all
/// that the ledger has.
async fn vouches(world: &World, store: &Store, prefix: &str) {
    let objects = store.objects();
    let folder = format!("{prefix}checkpoints/");
    let notes: Vec<u8> = objects
        .iter()
        .filter(|(name, _)| name.starts_with(&folder))
        .flat_map(|(_, text)| text.clone())
        .collect();
    let dir = world.ledger_path();
    let kept = std::fs::read(dir.with_file_name("checkpoints")).expect("checkpoints");
    assert!(!notes.is_empty());
    assert!(kept.starts_with(&notes), "in order, none left out or twice");
    let notes = String::from_utf8(notes).expect("UTF-8");
    let begin = notes.rfind("egret.ledger/").map(|at| {
        // The name stands in the text and in the signature of a note.
        notes[..at].rfind("egret.ledger/").unwrap_or(at)
    });
    let (key, note) = (world.scratch().join("key"), world.scratch().join("note"));
    std::fs::write(&note, &notes[begin.expect("a note")..]).expect("written");
    std::fs::write(&key, &objects[&format!("{prefix}public.key")]).expect("written");
    let (key, note) = (key.display().to_string(), note.display().to_string());
    let verified = world
        .run(&[
            "ledger",
            "verify",
            "--public-key",
            &key,
            "--checkpoint",
            &note,
        ])
        .await
        .ok();
    assert!(verified.contains("agrees with 1 checkpoint"), "{verified}");
}

#[tokio::test]
async fn a_start_without_a_login_says_so() {
    let (mut world, _stub) = one_upstream_with(World::builder()).await;
    let path = world.scratch().join("login");
    world.configure("ledger.s3_url", "https://s3.example/bucket");
    for (login, content, expected) in [
        ("none", None, "needed with ledger.s3_url"),
        ("login", None, "ledger.s3_login: cannot read"),
        ("login", Some("only-an-id"), "holds no login"),
    ] {
        let place = world.scratch().join(login).display().to_string();
        let login = if login == "none" { login } else { &place };
        world.configure("ledger.s3_login", login);
        if let Some(content) = content {
            std::fs::write(&path, content).expect("written");
        }
        let mut command = world.command(&["serve"]);
        command.env("EGRET_DATA_DIR", world.scratch().join("other"));
        let output = finish(command, b"").await;
        assert!(!output.status.success(), "{output:?}");
        assert!(output.stderr.contains(expected), "{output:?}");
        assert!(!output.stderr.contains("only-an-id"), "{output:?}");
    }
}

//! The ledger's checkpoints before a witness.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::needs::{Need, client_file, needs};
use crate::world::{World, one_upstream_with};
use crate::{eventually, within_secs};

const HEADER: &str = "X-Api-Key: <<pat>>";
const NAME: &str = "witness.example/w1";

/// A witness, which does not know a ledger before it is told of it.
struct Witness {
    kind: Kind,
    root: tempfile::TempDir,
    /// The processes: it, and what keeps its key.
    processes: Vec<Child>,
    key: String,
    url: String,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    StandIn,
    /// A real one: `litewitness`.
    Lite,
}

impl Witness {
    async fn start(kind: Kind) -> Self {
        let root = tempfile::tempdir().expect("a directory");
        match kind {
            Kind::StandIn => Self::stand_in(root).await,
            Kind::Lite => Self::lite(root).await,
        }
    }

    async fn stand_in(root: tempfile::TempDir) -> Self {
        let program = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/integration/clients/programs/witness.py"
        );
        let process = Command::new(client_file("venv/bin/python"))
            .arg(program)
            .args([path_text(root.path()), NAME.to_owned()])
            .stdout(Stdio::null())
            .spawn();
        let read = |name: &str| std::fs::read_to_string(root.path().join(name)).ok();
        let port = eventually("the witness to listen", || read("port")).await;
        Self {
            kind: Kind::StandIn,
            key: read("key").expect("its key"),
            url: format!("http://127.0.0.1:{port}/prefix"),
            processes: vec![process.expect("start the witness")],
            root,
        }
    }

    async fn lite(root: tempfile::TempDir) -> Self {
        let path = |name: &str| path_text(&root.path().join(name));
        let made = Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-f", &path("id")])
            .status();
        assert!(made.expect("run ssh-keygen").success());
        let agent = Command::new("ssh-agent")
            .args(["-D", "-a", &path("agent")])
            .stdout(Stdio::null())
            .spawn()
            .expect("start ssh-agent");
        eventually("the agent", || {
            root.path().join("agent").exists().then_some(())
        })
        .await;
        let added = Command::new("ssh-add")
            .args(["-q", &path("id")])
            .env("SSH_AUTH_SOCK", path("agent"))
            .status();
        assert!(added.expect("run ssh-add").success());
        let shown = Command::new("ssh-keygen")
            .args(["-l", "-f", &path("id")])
            .output();
        let shown = String::from_utf8(shown.expect("run ssh-keygen").stdout).expect("UTF-8");
        let fingerprint = shown.split(' ').nth(1).expect("a fingerprint").to_owned();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        // Freed again for the witness, which tells no port of its own.
        drop(listener);
        let log = std::fs::File::create(root.path().join("out")).expect("a log");
        let process = Command::new(client_file("go/litewitness"))
            .args(["-db", &path("db"), "-name", NAME, "-key", &fingerprint])
            .args([
                "-ssh-agent",
                &path("agent"),
                "-listen",
                &address.to_string(),
            ])
            .stderr(log)
            .stdout(Stdio::null())
            .spawn()
            .expect("start litewitness");
        let key = eventually("the key of the witness", || {
            let text = std::fs::read_to_string(root.path().join("out")).ok()?;
            let (_, rest) = text.split_once("vkey=")?;
            Some(rest.split_whitespace().next()?.trim_matches('"').to_owned())
        })
        .await;
        Self {
            kind: Kind::Lite,
            key,
            url: format!("http://{address}"),
            processes: vec![process, agent],
            root,
        }
    }

    /// Tells it the key of a ledger.
    fn learn(&self, world: &World) {
        let dir = world.ledger_path();
        let key = std::fs::read_to_string(dir.with_file_name("public.key")).expect("a key");
        let key = key.trim();
        if self.kind == Kind::StandIn {
            std::fs::write(self.root.path().join("log"), key).expect("written");
            return;
        }
        let db = path_text(&self.root.path().join("db"));
        let origin = key.split('+').next().expect("a name");
        for args in [
            vec!["add-log", "-db", &db, "-origin", origin],
            vec!["add-key", "-db", &db, "-origin", origin, "-key", key],
        ] {
            let told = Command::new(client_file("go/witnessctl"))
                .args(args)
                .output();
            let told = told.expect("run witnessctl");
            assert!(told.status.success(), "{told:?}");
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

    fn configured(&self) -> toml::Value {
        toml::Value::Array(vec![format!("{} {}", self.key, self.url).into()])
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        for process in &mut self.processes {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

fn path_text(path: &Path) -> String {
    path.to_str().expect("UTF-8").to_owned()
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

/// Waits until the witness has signed at least so many lines, and returns how many.
async fn until_witnessed(world: &World, least: u64) -> u64 {
    within_secs(60, "a cosignature", async {
        loop {
            let size = metric(world, "egret_ledger_witnessed_size_lines").await;
            if size >= least {
                return size;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await
}

async fn until_logged(world: &World, what: &str) {
    within_secs(60, what, async {
        while !world.log().contains(what) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
}

fn cosigned(world: &World) -> PathBuf {
    world.ledger_path().with_file_name("cosigned")
}

/// What `ledger verify` says that the witness has signed.
async fn said(world: &World) -> Option<u64> {
    let verified: Value = world.run(&["ledger", "verify", "--json"]).await.json();
    assert_eq!(verified["witnessed"][0]["witness"], NAME);
    verified["witnessed"][0]["size"].as_u64()
}

async fn witnesses_a_ledger(kind: Kind) {
    let witness = Witness::start(kind).await;
    let builder = World::builder().set("ledger.witnesses", witness.configured());
    let (mut world, _stub) = one_upstream_with(builder).await;
    use_it(&world, 3).await;

    // It has to be told of the ledger; until then nothing is cosigned, and requests go on.
    until_logged(&world, "it does not know this ledger").await;
    assert!(metric(&world, "egret_ledger_witness_failures_total").await > 0);
    assert_eq!(said(&world).await, None);
    witness.learn(&world);
    let first = until_witnessed(&world, 1).await;
    assert_eq!(said(&world).await, Some(first));

    // The next checkpoint comes with a proof that the ledger has only grown, also after a kill.
    use_it(&world, 7).await;
    world.signal(Signal::KILL);
    world.ended().await;
    world.restart().await;
    let second = until_witnessed(&world, first + 14).await;
    let text = world
        .run(&["ledger", "verify", "--witness", &witness.key])
        .await;
    let text = text.ok();
    assert!(
        text.contains(&format!("{NAME} has cosigned {second} lines at 20")),
        "{text}"
    );

    // A backup has what it has signed.
    let backup = world.scratch().join("backup");
    let target = backup.display().to_string();
    world.run(&["backup", &target]).await.ok();
    let kept = std::fs::read(backup.join("ledger/cosigned")).expect("in the backup");
    assert_eq!(kept, std::fs::read(cosigned(&world)).expect("cosigned"));

    // What it has signed is not known here any more: it says so itself.
    world.stop().await;
    std::fs::remove_file(cosigned(&world)).expect("removed");
    world.restart().await;
    use_it(&world, 1).await;
    let third = until_witnessed(&world, second).await;
    assert_eq!(said(&world).await, Some(third));

    // An older state of everything is put back. Only the witness can tell.
    world.stop().await;
    let aside = world.scratch().join("aside");
    copy(&world.data, &aside);
    world.restart().await;
    use_it(&world, 9).await;
    world.stop().await;
    world.restart().await;
    let fourth = until_witnessed(&world, third + 18).await;
    world.stop().await;
    let newer = std::fs::read(cosigned(&world)).expect("cosigned");
    std::fs::remove_dir_all(&world.data).expect("removed");
    copy(&aside, &world.data);
    world.restart().await;
    until_logged(
        &world,
        "the witness has signed more lines than the ledger has",
    )
    .await;
    use_it(&world, 1).await;
    assert!(metric(&world, "egret_ledger_witnessed_size_lines").await < fourth);
    std::fs::write(cosigned(&world), newer).expect("written");
    let verified = world.run(&["ledger", "verify"]).await;
    assert!(!verified.status.success(), "{verified:?}");
}

fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").args([from, to]).status();
    assert!(status.expect("run cp").success());
}

#[tokio::test]
async fn a_witness_signs_that_the_ledger_only_grows() {
    needs!(Need::Python);
    witnesses_a_ledger(Kind::StandIn).await;
}

#[tokio::test]
async fn litewitness_signs_that_the_ledger_only_grows() {
    needs!(Need::Litewitness, Need::Program("ssh-agent"));
    witnesses_a_ledger(Kind::Lite).await;
}

#[tokio::test]
async fn a_witness_may_fail_in_every_way() {
    needs!(Need::Python);
    let witness = Witness::start(Kind::StandIn).await;
    let builder = World::builder().set("ledger.witnesses", witness.configured());
    let (world, _stub) = one_upstream_with(builder).await;
    witness.set("forge", true);
    witness.learn(&world);
    use_it(&world, 2).await;
    until_logged(&world, "its cosignature does not fit").await;
    assert!(!cosigned(&world).exists());
    assert_eq!(metric(&world, "egret_ledger_witnessed_size_lines").await, 0);
    let other = "other.example+d7429fc6+BAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    let refused = world.run(&["ledger", "verify", "--witness", other]).await;
    assert!(!refused.status.success());
    let refused = world
        .run(&["ledger", "verify", "--witness", &witness.key])
        .await;
    assert!(
        refused.stderr.contains("has cosigned nothing of it"),
        "{refused:?}"
    );
    // It has signed, so it remembers; what it signs next fits.
    witness.set("forge", false);
    witness.set("down", true);
    tokio::time::sleep(Duration::from_secs(2)).await;
    witness.set("down", false);
    witness.set("lose", true);
    use_it(&world, 2).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    witness.set("lose", false);
    until_witnessed(&world, 1).await;

    // Somebody puts a cosignature of another checkpoint there.
    let text = std::fs::read_to_string(cosigned(&world)).expect("cosigned");
    let (head, rest) = text.split_once("\ntime 2").expect("a note");
    std::fs::write(cosigned(&world), format!("{head}\ntime 3{rest}")).expect("written");
    let refused = world.run(&["ledger", "verify"]).await;
    assert!(refused.stderr.contains("cosigned"), "{refused:?}");
    assert!(!refused.status.success());
}

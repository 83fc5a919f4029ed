//! A full disk under the store: what takes something away still works.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::{Child, Command};

use crate::durability_space::may_mount;
use crate::needs::{Need, needs};
use crate::within;
use crate::world::{Output, SLUG, VALUE, World, finish, one_upstream};

/// Puts the data directory on a file system of 8 MiB of its own, which only the namespace of the server has.
const SMALL_DISK: &str = r#"
    cp -a "$EGRET_DATA_DIR" "$HOME/saved" || exit 1
    mount -t tmpfs -o size=8m,mode=700 small "$EGRET_DATA_DIR" || exit 1
    cp -a "$HOME/saved/." "$EGRET_DATA_DIR" || exit 1
    exec "$@"
"#;

/// A server whose data directory is on a small file system.
struct Small {
    world: World,
    server: Child,
}

impl Small {
    async fn start(mut world: World) -> Self {
        world.stop().await;
        let serve = world.command(&["serve"]);
        let wrapped = ["unshare", "-rm", "sh", "-c", SMALL_DISK, "sh"];
        let server = wrap(&wrapped, &serve)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("started");
        let mut small = Self { world, server };
        within("the server", async {
            loop {
                let shown = small.shell("cat \"$EGRET_DATA_DIR/server.json\"").await;
                let file: Option<serde_json::Value> = serde_json::from_str(&shown.stdout).ok();
                let admin = file.and_then(|file| file["admin"].as_str()?.parse().ok());
                if let Some(admin) = admin {
                    let admin: SocketAddr = admin;
                    small.world.admin = admin;
                    return;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        })
        .await;
        small
    }

    /// A command in the server's namespaces.
    fn inside(&self, command: &Command) -> Command {
        let pid = self.server.id().expect("running").to_string();
        let enter = ["nsenter", "-t", &pid, "-U", "-m", "--preserve-credentials"];
        wrap(&enter, command)
    }

    async fn run(&self, args: &[&str], stdin: &[u8]) -> Output {
        finish(self.inside(&self.world.command(args)), stdin).await
    }

    async fn shell(&self, script: &str) -> Output {
        let mut command = self.world.command(&[]);
        command = wrap(&["sh", "-c", script], &command);
        finish(self.inside(&command), b"").await
    }

    async fn until_ready(&self, status: u16) {
        within("readiness to change", async {
            while self.world.admin_get("/readyz").await != Some(status) {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        })
        .await;
    }

    async fn add(&self, slug: &str) -> Output {
        let args = ["credential", "add", slug, "--host", "a.example"];
        self.run(&args, VALUE.as_bytes()).await
    }
}

/// The command as the end of another one.
fn wrap(before: &[&str], command: &Command) -> Command {
    let command = command.as_std();
    let mut wrapped = Command::new(before[0]);
    wrapped
        .args(&before[1..])
        .arg(command.get_program())
        .args(command.get_args())
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            wrapped.env(name, value);
        }
    }
    wrapped
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_full_disk_values_are_revoked_and_deleted_and_readiness_says_so() {
    needs!(
        Need::Program("unshare"),
        Need::Program("mount"),
        Need::Program("nsenter")
    );
    if !may_mount().await {
        return;
    }
    let (world, _stub) = one_upstream().await;
    let small = Small::start(world).await;
    for number in 0..6 {
        small.add(&format!("key-{number}")).await.ok();
    }
    small.until_ready(200).await;
    eventually_there(&small, "egret.db-reserve").await;

    // As somebody else's file does it, to the last byte.
    small
        .shell("cat /dev/zero >\"$EGRET_DATA_DIR/filler\"")
        .await;
    let mut refused = None;
    for number in 0..300 {
        let added = small.add(&format!("more-{number}")).await;
        if !added.status.success() {
            refused = Some(added);
            break;
        }
    }
    let refused = refused.expect("the disk is full");
    assert!(!refused.stderr.contains(VALUE), "{refused:?}");
    small.until_ready(503).await;

    small.run(&["credential", "revoke", SLUG], b"").await.ok();
    for number in 0..6 {
        let slug = format!("key-{number}");
        let args = ["credential", "delete", &slug];
        small.run(&args, b"").await.ok();
    }
    small.run(&["client", "remove", "tester"], b"").await.ok();
    let listed = small.run(&["credential", "list", "--json"], b"").await;
    assert!(!listed.stdout.contains("key-"), "{listed:?}");

    small.shell("rm \"$EGRET_DATA_DIR/filler\"").await.ok();
    small.until_ready(200).await;
    small.add("after").await.ok();
    small.run(&["ledger", "verify"], b"").await.ok();
}

async fn eventually_there(small: &Small, name: &str) {
    within("a file", async {
        let script = format!("test -e \"$EGRET_DATA_DIR/{name}\"");
        while !small.shell(&script).await.status.success() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
}

//! A full disk under the store: what takes something away still works.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::{Child, Command};

use crate::durability_space::may_mount;
use crate::needs::{Need, needs};
use crate::within;
use crate::world::{Output, SLUG, VALUE, World, finish, one_upstream, one_upstream_with};

/// Puts the data directory on a file system of 8 MiB of its own, which only the namespace of the server has.
const SMALL_DISK: &str = r#"
    cp -a "$EGRET_DATA_DIR" "$HOME/saved" || exit 1
    mount -t tmpfs -o size=8m,mode=700 small "$EGRET_DATA_DIR" || exit 1
    cp -a "$HOME/saved/." "$EGRET_DATA_DIR" || exit 1
    exec "$@"
"#;

/// What there is before the disk is full, for [`TAKING_AWAY`].
const BEFORE: &[&[&str]] = &[
    &["user", "add", "alice", "--role", "administrator"],
    &["user", "add", "carol", "--role", "administrator"],
    &["user", "add", "bob"],
    &["group", "add", "team"],
    &["group", "join", "team", "alice"],
    &["group", "join", "team", "bob"],
    &["group", "add", "nobody"],
    &["credential", "share", "shared", "--with", "group:team"],
    &[
        "credential",
        "attach",
        "shared",
        "--host",
        "a.example",
        "--header",
        "x: <<shared>>",
    ],
    &["credential", "rotate", "old"],
    &["bundle", "add", "narrow"],
    &["bundle", "add", "set"],
    &["bundle", "put", "set", "shared"],
    &["bundle", "share", "set", "--with", "group:team"],
    &["client", "add", "other"],
    &["egress", "allow", "b.example"],
];

/// Every command that takes something away. `RULE`, `TOKEN`, `STANDIN`, `ASKED` and `ANSWERED` stand for names
/// that Egret has given.
const TAKING_AWAY: &[&[&str]] = &[
    &["credential", "revoke", SLUG],
    &["credential", "allow", "shared", "--host", "c.example"],
    &["credential", "unshare", "shared", "--with", "group:team"],
    &["credential", "detach", "shared", "--all"],
    &["credential", "stand-in", "shared", "--revoke", "STANDIN"],
    &["credential", "destroy", "old", "--version", "1"],
    &["credential", "delete", "old"],
    &["bundle", "bind", "other", "narrow"],
    &["bundle", "unshare", "set", "--with", "group:team"],
    &["bundle", "take", "set", "shared"],
    &["bundle", "remove", "set"],
    &["group", "leave", "team", "bob"],
    &["group", "remove", "nobody"],
    &["user", "reset", "bob"],
    &["user", "disable", "bob"],
    &["user", "change", "alice", "--role", "auditor"],
    &["egress", "deny", "d.example", "--yes"],
    &["egress", "remove", "RULE"],
    &["approvals", "deny", "ASKED"],
    &["approvals", "remove", "ANSWERED"],
    &["api-token", "remove", "TOKEN"],
    &["token", "revoke", "--client", "other", "--all"],
    &["token", "revoke", "--client", "jwt:issuer:x", "--all"],
    &["client", "remove", "other"],
];

/// The last words of commands that take something away.
const WORDS: &[&str] = &[
    "revoke", "unshare", "detach", "destroy", "delete", "take", "remove", "leave", "reset",
    "disable", "deny",
];

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

    /// Adds credentials until there is no room for another one, on a disk that somebody else's file has filled to
    /// the last byte.
    async fn fill(&self) {
        self.shell("cat /dev/zero >\"$EGRET_DATA_DIR/filler\"")
            .await;
        for number in 0..300 {
            let added = self.add(&format!("more-{number}")).await;
            if !added.status.success() {
                assert!(!added.stderr.contains(VALUE), "{added:?}");
                return;
            }
        }
        panic!("the disk is never full");
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

    small.fill().await;
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

/// Everything in [`BEFORE`], and what Egret gives names to: those names.
async fn much(world: &World) -> Vec<(&'static str, String)> {
    for slug in ["shared", "old"] {
        world.save(slug, VALUE, &["--host", "a.example"]).await;
    }
    for args in BEFORE {
        world.run_with(args, VALUE.as_bytes()).await.ok();
    }
    let args = ["credential", "stand-in", "shared", "--like", "ghp_"];
    let stand_in = world.run(&args).await.ok().trim_end().to_owned();
    let args = ["api-token", "add", "ci", "--user", "alice", "--json"];
    let token = world.run(&args).await.json();
    let rules = world.run(&["egress", "list", "--json"]).await.json();
    world
        .run(&["credential", "allow", SLUG, "--approve", "always"])
        .await
        .ok();
    for target in ["/one", "/two"] {
        let mut tunnel = world.tunnel().await;
        assert_ne!(
            tunnel.get(target, &["X-Api-Key: <<pat>>"]).await.status,
            200
        );
    }
    let listed = world.run(&["approvals", "list", "--json"]).await.json();
    let id = |at: usize| listed[at]["id"].as_str().expect("an id").to_owned();
    let (asked, answered) = (id(0), id(1));
    let args = ["approvals", "allow", &answered, "--always"];
    world.run(&args).await.ok();
    vec![
        ("RULE", rules[0]["number"].to_string()),
        ("TOKEN", token["id"].as_str().expect("an id").to_owned()),
        ("STANDIN", stand_in),
        ("ASKED", asked),
        ("ANSWERED", answered),
    ]
}

/// A stranger who has got hold of something must lose it, whatever the disk is like.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_full_disk_everything_can_be_taken_away() {
    needs!(
        Need::Program("unshare"),
        Need::Program("mount"),
        Need::Program("nsenter")
    );
    if !may_mount().await {
        return;
    }
    let builder = World::builder().set("approvals.wait", "1s");
    let (world, _stub) = one_upstream_with(builder).await;
    let names = much(&world).await;
    let small = Small::start(world).await;
    small.until_ready(200).await;
    eventually_there(&small, "egret.db-reserve").await;
    eventually_there(&small, "ledger/usage.db").await;
    let index = "stat -c %i \"$EGRET_DATA_DIR/ledger/usage.db\"";
    let before = small.shell(index).await.ok();
    small.fill().await;
    small.until_ready(503).await;
    // What adds something has left it there.
    let size = "stat -c %s \"$EGRET_DATA_DIR/egret.db-reserve\"";
    assert_eq!(small.shell(size).await.ok(), "524288\n");
    for args in TAKING_AWAY {
        let named = |word: &&str| names.iter().find(|(name, _)| name == word);
        let args: Vec<&str> = args
            .iter()
            .map(|word| named(word).map_or(*word, |(_, given)| given))
            .collect();
        let done = small.run(&args, b"").await;
        assert!(done.status.success(), "{args:?}: {}", done.stderr);
    }
    // A full disk is no damage: the index would be made again for as long as it is full.
    assert_eq!(small.shell(index).await.ok(), before);
    small.shell("rm \"$EGRET_DATA_DIR/filler\"").await.ok();
    small.until_ready(200).await;
    small.run(&["store", "check"], b"").await.ok();
    small.run(&["ledger", "verify"], b"").await.ok();
}

#[test]
fn every_command_that_takes_something_away_is_tried() {
    let reference = include_str!("../../docs/reference.md");
    let rows = reference
        .lines()
        .filter_map(|line| line.strip_prefix("| `egret "));
    let mut found = 0;
    for row in rows {
        let words: Vec<&str> = row
            .split(' ')
            .take_while(|word| word.starts_with(|first: char| first.is_ascii_lowercase()))
            .collect();
        let [.., last] = words[..] else { continue };
        if !WORDS.contains(&last) || words.len() < 2 {
            continue;
        }
        found += 1;
        let is_tried = TAKING_AWAY.iter().any(|args| args.starts_with(&words));
        assert!(is_tried, "egret {}", words.join(" "));
    }
    assert!(found >= WORDS.len(), "{found}");
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

//! A store that does not answer, or is not the one that was opened.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::client::{Tunnel, assert_refused, request};
use crate::durability_faults::Fault;
use crate::needs::{Need, needs};
use crate::upstream::Stub;
use crate::world::{SLUG, VALUE, World, one_upstream, one_upstream_with};
use crate::{eventually, within, within_secs};

const HEADER: &str = "X-Api-Key: <<pat>>";

async fn until_refused(tunnel: &mut Tunnel, stub: &Stub) {
    for _ in 0..100 {
        let answer = tunnel.get("/x", &[HEADER]).await;
        if answer.status != 200 {
            assert_refused(&answer, "store_unavailable");
            stub.take();
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the store is gone, and values still leave");
}

#[tokio::test]
async fn a_store_that_is_removed_or_replaced_ends_service_at_once() {
    for fault in ["removed", "all removed", "replaced", "emptied anew"] {
        let (world, stub) = one_upstream().await;
        let mut tunnel = world.tunnel().await;
        assert_eq!(tunnel.get("/before", &[HEADER]).await.status, 200);
        let file = world.data.join("egret.db");
        match fault {
            "removed" => std::fs::remove_file(&file).expect("remove"),
            "all removed" => {
                for name in ["egret.db", "egret.db-wal", "egret.db-shm"] {
                    std::fs::remove_file(world.data.join(name)).expect("remove");
                }
            }
            "replaced" => {
                let copy = world.scratch().join("copy");
                std::fs::copy(&file, &copy).expect("copy");
                std::fs::rename(&copy, &file).expect("rename");
            }
            _ => {
                std::fs::remove_file(&file).expect("remove");
                std::fs::write(&file, "").expect("write");
            }
        }
        until_refused(&mut tunnel, &stub).await;
        let answer = tunnel.get("/after", &[HEADER]).await;
        assert_refused(&answer, "store_unavailable");
        assert_eq!(stub.take().len(), 0, "{fault}");
        assert_eq!(world.admin_get("/readyz").await, Some(503), "{fault}");
        assert_eq!(world.admin_get("/healthz").await, Some(200), "{fault}");
        let log = world.log();
        assert!(log.contains("egret.db"), "{fault}: {log}");
    }
}

/// Reading, writing and syncing the store hang, as on a network file system that is gone.
#[tokio::test]
async fn requests_do_not_wait_long_for_a_store_that_hangs() {
    needs!(Need::Program("strace"), Need::Tracing);
    let (world, stub) = one_upstream_with(World::builder().traceable()).await;
    let mut tunnels = Vec::new();
    for _ in 0..6 {
        tunnels.push(world.tunnel().await);
    }
    let files = ["egret.db", "egret.db-wal"];
    let calls = "pread64,pwrite64,fdatasync";
    let Some(fault) = Fault::on_files(&world, &files, calls, "delay_enter=90s").await else {
        return;
    };
    // Another process changes the store, which the server therefore has to read.
    world.client("another", "default").await;
    let start = Instant::now();
    let mut waiting = tokio::task::JoinSet::new();
    for mut tunnel in tunnels {
        waiting.spawn(async move {
            let answer = tunnel.get("/during", &[HEADER]).await;
            (tunnel, answer)
        });
    }
    let readiness = within_secs(10, "readiness", world.admin_get("/readyz")).await;
    assert_eq!(readiness, Some(503));
    let answered = within_secs(20, "every answer", waiting.join_all()).await;
    assert!(
        start.elapsed() < Duration::from_secs(20),
        "{:?}",
        start.elapsed()
    );
    for (_, answer) in &answered {
        assert_refused(answer, "store_unavailable");
    }
    assert_eq!(stub.take().len(), 0);
    fault.end().await;
    let (mut tunnel, _) = answered.into_iter().next().expect("a tunnel");
    for _ in 0..100 {
        if tunnel.get("/after", &[HEADER]).await.status == 200 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("service did not resume:\n{}", world.log());
}

/// A command that cannot change the store says so, and soon.
#[tokio::test]
async fn a_revocation_that_cannot_be_made_fails_loudly() {
    needs!(Need::Program("strace"), Need::Tracing);
    let (world, _stub) = one_upstream().await;
    let mut command = tokio::process::Command::new("strace");
    let egret = world.command(&["credential", "revoke", SLUG]);
    let egret = egret.as_std();
    command
        .envs(
            egret
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        )
        .args(["-f", "-qq", "-o", "/dev/null", "-P"])
        .arg(world.data.join("egret.db-wal"))
        .args(["-e", "trace=pwrite64,fdatasync"])
        .args([
            "-e",
            "inject=pwrite64,fdatasync:delay_enter=120s",
            crate::world::EGRET,
        ])
        .args(egret.get_args())
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .kill_on_drop(true);
    let mut child = command.spawn().expect("strace");
    // The process itself ends only with strace, which keeps the thread that it delays.
    let mut lines = BufReader::new(child.stderr.take().expect("stderr")).lines();
    let said = within_secs(60, "the error", lines.next_line()).await;
    let said = said.expect("read").expect("a line");
    assert!(said.starts_with("error: "), "{said}");
    assert!(said.contains("did not answer"), "{said}");
    assert!(!said.contains(VALUE));
}

#[tokio::test]
async fn sigterm_ends_the_server_although_the_disk_hangs() {
    needs!(Need::Program("strace"), Need::Tracing);
    let builder = World::builder()
        .traceable()
        .set("proxy.drain_timeout", "1s")
        .set("ledger.deadline", "1s");
    let (mut world, _stub) = one_upstream_with(builder).await;
    let mut tunnel = world.tunnel().await;
    assert_eq!(tunnel.get("/before", &[HEADER]).await.status, 200);
    let files = [
        "egret.db",
        "egret.db-wal",
        "ledger/current.jsonl",
        "ledger/checkpoints",
    ];
    // Not `write`: strace would stop the thread that writes the log, too.
    let calls = "pwrite64,fdatasync";
    let Some(fault) = Fault::on_files(&world, &files, calls, "delay_enter=300s").await else {
        return;
    };
    let answer = tunnel
        .roundtrip(request("GET", "/during", &[HEADER], ""))
        .await;
    assert_refused(&answer, "ledger_unavailable");
    eventually_async("readiness to be withdrawn", async || {
        (world.admin_get("/readyz").await == Some(503)).then_some(())
    })
    .await;
    let start = Instant::now();
    world.signal(Signal::TERM);
    // strace keeps the thread that it delays, and with it the process, until it is killed itself.
    eventually("the end", || {
        world.log().contains("may not be on disk").then_some(())
    })
    .await;
    assert!(
        start.elapsed() < Duration::from_secs(20),
        "{:?}",
        start.elapsed()
    );
    drop(fault);
    let status = world.ended().await;
    assert_eq!(status.code(), Some(1), "{}", world.log());
}

async fn eventually_async(what: &str, mut ask: impl AsyncFnMut() -> Option<()>) {
    let asked = async {
        while ask().await.is_none() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    within(what, asked).await;
}

/// Both directions, as after a first start with a wrong clock.
#[tokio::test]
async fn an_authority_that_is_not_valid_now_is_named_at_the_start() {
    for (years, word) in [
        ((2000, 2001), "has expired"),
        ((2090, 2099), "is not valid yet"),
    ] {
        let directory = tempfile::tempdir().expect("a directory");
        let (cert, key) = (
            directory.path().join("c.pem"),
            directory.path().join("k.pem"),
        );
        crate::pki::write_authority(&cert, &key, years);
        let text = |path: &std::path::Path| path.to_str().expect("text").to_owned();
        let world = World::builder()
            .set("tls.ca_cert", text(&cert))
            .set("tls.ca_key", text(&key))
            .start()
            .await;
        eventually("the complaint", || world.log().contains(word).then_some(())).await;
        assert!(world.log().contains("tls.ca_key"), "{}", world.log());
    }
}

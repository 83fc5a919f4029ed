//! A disk that fails: strace makes single system calls on one file of the running server fail, and
//! later succeed again.

use std::path::Path;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};

use crate::client::{Tunnel, assert_refused, request};
use crate::needs::{Need, needs, skipped};
use crate::upstream::Stub;
use crate::world::{SLUG, VALUE, World, one_upstream_with};
use crate::{eventually, ledger_files, within};

const HEADER: &str = "X-Api-Key: <<pat>>";

/// An strace that is attached to the server.
pub struct Fault {
    strace: Child,
    /// Kept open: a closed pipe would end strace while it is attached to the server.
    said: Lines<BufReader<ChildStderr>>,
}

impl Fault {
    /// Has these calls fail on this file of the ledger. `None`, reported as skipped, where the
    /// machine does not let one process trace another.
    async fn on(world: &World, file: &str, calls: &str, fault: &str) -> Option<Self> {
        Self::on_files(world, &[&format!("ledger/{file}")], calls, fault).await
    }

    /// Has these calls fail on these files of the data directory.
    pub async fn on_files(world: &World, files: &[&str], calls: &str, fault: &str) -> Option<Self> {
        let data = world.data.canonicalize().expect("the data directory");
        let paths = files.iter().flat_map(|file| ["-P".into(), data.join(file)]);
        let mut strace = Command::new("strace")
            .args(["-f", "-o", "/dev/null", "-p", &world.pid().to_string()])
            .args(paths)
            .arg("-e")
            .arg(format!("trace={calls}"))
            .arg("-e")
            .arg(format!("inject={calls}:{fault}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("strace");
        let mut said = BufReader::new(strace.stderr.take().expect("stderr")).lines();
        let line = within("strace to begin", said.next_line()).await;
        let line = line.expect("read").unwrap_or_default();
        if line.contains("not permitted") {
            skipped(&format!("permission to trace a process: {line}"));
            return None;
        }
        assert!(line.contains("attached"), "{line}");
        Some(Self { strace, said })
    }

    /// Detaches strace, so that all calls succeed again.
    pub async fn end(mut self) {
        let pid = i32::try_from(self.strace.id().expect("running")).expect("a pid");
        kill_process(Pid::from_raw(pid).expect("a pid"), Signal::INT).expect("end strace");
        within("strace to end", self.strace.wait())
            .await
            .expect("wait");
        drop(self.said);
    }
}

/// The number of lines that say that this path used the credential.
fn uses(records: &[Value], path: &str) -> usize {
    let is_use = |l: &&Value| l["event"] == "use" && l["slug"] == SLUG && l["path"] == path;
    records.iter().filter(is_use).count()
}

/// Everything that reached the upstream with the value is on record.
fn assert_recorded(dir: &Path, stub: &Stub) {
    let (records, _) = ledger_files::check(dir);
    for request in stub.take() {
        let path = request.path().to_owned();
        assert_eq!(uses(&records, &path), 1, "{path}");
    }
}

async fn until_served(tunnel: &mut Tunnel, path: &str, world: &World) {
    for attempt in 0..120 {
        let answer = tunnel.get(&format!("{path}-{attempt}"), &[HEADER]).await;
        if answer.status == 200 {
            return;
        }
        assert_refused(&answer, "ledger_unavailable");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("service did not resume:\n{}", world.log());
}

/// Nothing leaves while the fault lasts, the error is right, and service resumes by itself.
async fn fails_closed_under(calls: &str, fault: &str) {
    let (mut world, stub) = one_upstream_with(World::builder().traceable()).await;
    let mut tunnel = world.tunnel().await;
    assert_eq!(tunnel.get("/before", &[HEADER]).await.status, 200);
    let is_result = |l: &Value| l["event"] == "result";
    world.ledger_line("the result", is_result).await;
    assert_eq!(stub.take().len(), 1);
    let Some(strace) = Fault::on(&world, "current.jsonl", calls, fault).await else {
        return;
    };
    for number in 0..3 {
        let answer = tunnel.get(&format!("/during-{number}"), &[HEADER]).await;
        assert_refused(&answer, "ledger_unavailable");
        let body = request("POST", "/during", &["Content-Type: text/plain"], "<<pat>>");
        assert_refused(&tunnel.roundtrip(body).await, "ledger_unavailable");
    }
    assert_eq!(world.admin_get("/readyz").await, Some(503));
    assert_eq!(stub.take().len(), 0);
    assert_eq!(tunnel.get("/no-placeholder", &[]).await.status, 200);
    stub.take();
    strace.end().await;
    until_served(&mut tunnel, "/after", &world).await;
    assert_eq!(world.admin_get("/readyz").await, Some(200));
    drop(tunnel);
    assert!(world.stop().await.success());
    assert_recorded(&world.data.join("ledger"), &stub);
    assert!(!world.log().contains(VALUE));
}

#[tokio::test]
async fn no_value_leaves_while_the_disk_does_not_take_the_line_for_good() {
    needs!(Need::Program("strace"), Need::Tracing);
    fails_closed_under("fdatasync", "error=EIO").await;
}

#[tokio::test]
async fn no_value_leaves_while_the_disk_is_full() {
    needs!(Need::Program("strace"), Need::Tracing);
    fails_closed_under("write", "error=ENOSPC").await;
}

#[tokio::test]
async fn no_value_leaves_while_the_disk_takes_less_than_it_says() {
    needs!(Need::Program("strace"), Need::Tracing);
    fails_closed_under("write", "retval=1").await;
}

#[tokio::test]
async fn an_interrupted_call_is_made_again() {
    needs!(Need::Program("strace"), Need::Tracing);
    let (mut world, stub) = one_upstream_with(World::builder().traceable()).await;
    let mut tunnel = world.tunnel().await;
    let calls = "write,fdatasync";
    let Some(strace) = Fault::on(&world, "current.jsonl", calls, "error=EINTR:when=1+2").await
    else {
        return;
    };
    for number in 0..10 {
        let answer = tunnel.get(&format!("/{number}"), &[HEADER]).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    strace.end().await;
    drop(tunnel);
    assert!(world.stop().await.success());
    assert_eq!(stub.connections().len().min(1), 1);
    assert_recorded(&world.data.join("ledger"), &stub);
}

#[tokio::test]
async fn a_rotation_without_space_stops_nobody_and_is_made_up_for() {
    needs!(Need::Program("strace"), Need::Tracing);
    let builder = World::builder().traceable().set("ledger.max_size", "4KiB");
    let (mut world, stub) = one_upstream_with(builder).await;
    let mut tunnel = world.tunnel().await;
    let Some(strace) = Fault::on(&world, "next.jsonl", "openat", "error=ENOSPC").await else {
        return;
    };
    for number in 0..30 {
        let answer = tunnel.get(&format!("/{number}"), &[HEADER]).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    eventually("the log to say so", || {
        world.log().contains("could not be rotated").then_some(())
    })
    .await;
    let directory = world.data.join("ledger");
    assert_eq!(ledger_files::files(&directory).len(), 1);
    strace.end().await;
    // No request is needed to trigger it.
    eventually("the rotation", || {
        (ledger_files::files(&directory).len() > 1).then_some(())
    })
    .await;
    assert_eq!(tunnel.get("/after", &[HEADER]).await.status, 200);
    drop(tunnel);
    assert!(world.stop().await.success());
    assert_recorded(&directory, &stub);
}

#[tokio::test]
async fn checkpoints_that_cannot_be_written_stop_nobody_and_are_made_up_for() {
    needs!(Need::Program("strace"), Need::Tracing);
    let builder = World::builder()
        .traceable()
        .set("ledger.heartbeat", "500ms");
    let (mut world, stub) = one_upstream_with(builder).await;
    let mut tunnel = world.tunnel().await;
    for fault in ["fdatasync:error=EIO", "write:error=ENOSPC"] {
        let (call, fault) = fault.split_once(':').expect("call and fault");
        let from = world.log().len();
        let Some(strace) = Fault::on(&world, "checkpoints", call, fault).await else {
            return;
        };
        eventually("the log to say so", || {
            world.log()[from..]
                .contains("a checkpoint could not be written")
                .then_some(())
        })
        .await;
        let answer = tunnel.get(&format!("/during-{call}"), &[HEADER]).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let directory = world.data.join("ledger");
        let before = std::fs::metadata(directory.join("checkpoints"))
            .expect("checkpoints")
            .len();
        strace.end().await;
        eventually("a checkpoint", || {
            let now = std::fs::metadata(directory.join("checkpoints")).ok()?.len();
            (now > before).then_some(())
        })
        .await;
    }
    drop(tunnel);
    assert!(world.stop().await.success());
    let (_, checkpoints) = ledger_files::check(&world.data.join("ledger"));
    assert_eq!(
        checkpoints.last().map(|last| last.cause.as_str()),
        Some("shutdown")
    );
    assert_recorded(&world.data.join("ledger"), &stub);
}

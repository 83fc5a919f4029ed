//! A new program that fails after the old one has given everything up: the old one goes on.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tokio::net::UnixStream;

use crate::client::request_to;
use crate::hand_over::asked_slowly;
use crate::needs::{Need, needs};
use crate::upgrade::{Followed, Load, all_is_on_record, followed, has_ended, serving};
use crate::upstream::ok;
use crate::world::{EGRET, HOST, World, finish};
use crate::{base_url, eventually, within};

const HEADER: &str = "X-Api-Key: <<pat>>";

/// Says that it is ready, and is killed as soon as the ledger is closed.
const KILLED: &str = r#"#!/usr/bin/env python3
import os, signal, socket
s = socket.socket(fileno=0)
socket.recv_fds(s, 1, 64)
length = int.from_bytes(s.recv(4, socket.MSG_WAITALL), "big")
s.recv(length, socket.MSG_WAITALL)
s.send(b"R")
assert s.recv(9, socket.MSG_WAITALL)[:1] == b"C"
os.kill(os.getpid(), signal.SIGKILL)
"#;

/// The real program, with a fault in what it does with a file of the ledger.
fn faulty(world: &World, file: &str, call: &str, fault: &str) -> String {
    let path = world.data.join("ledger").join(file);
    format!(
        "#!/bin/sh\nexec strace -f -qq -o /dev/null -P '{}' -e trace={call} -e inject={call}:{fault} \
         '{EGRET}' \"$@\"\n",
        path.display()
    )
}

/// Puts a program in the place of the running one.
fn install(world: &World, program: &[u8]) {
    let path = world.scratch().join("egret");
    std::fs::remove_file(&path).expect("removed");
    std::fs::write(&path, program).expect("written");
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).expect("executable");
}

/// Has the running program followed by the installed one, which fails when it is too late to say so.
async fn fails_late(world: &World) {
    let before = serving(world);
    let upgrade = finish(world.command(&["upgrade"]), b"").await;
    assert!(!upgrade.status.success(), "{upgrade:?}");
    let says_so = upgrade.stderr.contains("the server goes on as before");
    assert!(says_so, "{upgrade:?} {}", world.log());
    assert_eq!(serving(world), before);
    assert_eq!(world.admin_get("/readyz").await, Some(200));
}

fn count(world: &World, event: &str) -> usize {
    let lines = world.ledger().into_iter();
    lines.filter(|line| line["event"] == event).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_the_new_program_fails_late_the_old_one_goes_on() {
    needs!(Need::Program("python3"), Need::Program("strace"));
    let builder = World::builder()
        .listening("base.sock")
        .set("base_url.principal", "default")
        .set("base_url.action", "sheet")
        .set("proxy.drain_timeout", "60s");
    let Followed { world, stub, .. } = &followed(builder).await;
    let socket = world.scratch().join("base.sock");
    let before = serving(world);

    // Under way since before the first failure, and to its end after the last one.
    let (mut slow, gate) = asked_slowly(world, stub, "first").await;
    stub.answer(ok("next"));

    let load = Load::start(world, 4).await;
    let programs = [
        KILLED.to_owned(),
        faulty(world, "lock", "openat", "error=EACCES"),
        faulty(world, "current.jsonl", "fsync", "signal=KILL"),
    ];
    for (failures, program) in programs.iter().enumerate() {
        load.until_more(8).await;
        install(world, program.as_bytes());
        fails_late(world).await;
        assert_eq!(count(world, "ledger.taken_back"), failures + 1);
        via_socket(&socket).await;
    }
    load.until_more(8).await;
    gate.notify_one();
    let answer = within("the answer", slow.wire.response(false)).await;
    assert_eq!(answer.expect("whole").text(), "firstlast");

    // Everything works as before, another upgrade too.
    world.reload().await;
    install(world, &std::fs::read(EGRET).expect("the program"));
    world.run(&["upgrade"]).await.ok();
    assert_ne!(serving(world), before);
    load.until_more(8).await;
    via_socket(&socket).await;
    let old = before.expect("a server");
    eventually("the old program to end", || has_ended(old).then_some(())).await;
    let failures = load.end().await;
    assert_eq!(failures, Vec::<String>::new(), "{}", world.log());
    all_is_on_record(world).await;
}

async fn via_socket(path: &Path) {
    let socket = UnixStream::connect(path).await.expect("it listens");
    let target = format!("/-/https/{HOST}/x");
    let answer = base_url::ask_on(socket, request_to("localhost", "GET", &target, &[], "")).await;
    assert_eq!(answer.status, 200);
}

/// It has opened the ledger, and ends when it begins to send it on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_configuration_with_which_only_the_new_program_fails_does_no_harm() {
    let Followed { world, .. } = &followed(World::builder()).await;
    let path = world.scratch().join("egret.toml");
    let config = std::fs::read_to_string(&path).expect("read");
    let broken = format!(
        "ledger.ship_url = \"https://127.0.0.1:1/\"\nledger.ship_token = \"/nowhere\"\n{config}"
    );
    world.configure_text(&broken);
    let upgrade = finish(world.command(&["upgrade"]), b"").await;
    assert!(upgrade.stderr.contains("goes on as before"), "{upgrade:?}");
    assert_eq!(count(world, "ledger.taken_back"), 1);
    let mut tunnel = world.tunnel().await;
    assert_eq!(tunnel.get("/v1", &[HEADER]).await.status, 200);
    drop(tunnel);
    world.configure_text(&config);
    world.run(&["upgrade"]).await.ok();
    world.run(&["ledger", "verify"]).await.ok();
}

//! What happens within months, in minutes and under load.

use std::time::{Duration, Instant};

use crate::upgrade::{Followed, Load, followed, serving, without_one_result};
use crate::world::World;
use crate::{eventually, within_secs};

/// How long the long form takes.
const LONG: Duration = Duration::from_secs(20 * 60);
/// Clients that ask all the time.
const CLIENTS: usize = 4;
/// How much more memory and how many more files there may be at the end than after the first round.
const MORE_KIB: u64 = 64 * 1024;
const MORE_FILES: usize = 32;

/// Memory that is not swapped out, in KiB, and open files of the process that serves.
fn size(world: &World) -> (u64, usize) {
    let pid = serving(world).expect("a server");
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("its status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let memory = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
    // Whoever may not look at them sees none.
    let files = std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count);
    (memory.expect("a number"), files)
}

/// Everything that an operator does once.
async fn round(server: &Followed, load: &Load, number: usize) {
    let world = &server.world;
    let backup = world.scratch().join(format!("backup-{number}"));
    let backup = backup.display().to_string();
    let commands: [&[&str]; 5] = [
        &["reload"],
        &["keys", "rotate"],
        &["ca", "rotate", "--now"],
        &["backup", &backup],
        &["upgrade"],
    ];
    for command in commands {
        world.run(command).await.ok();
        load.until_more(2 * CLIENTS).await;
    }
    std::fs::remove_dir_all(backup).expect("a backup");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn months_of_operation_leave_everything_as_it_was() {
    let is_long = std::env::var_os("EGRET_TEST_LONG").is_some();
    let builder = World::builder()
        .set("ledger.max_size", "256KiB")
        .set("ledger.keep_size", "4MiB")
        .set("log.level", "info");
    let server = followed(builder).await;
    let world = &server.world;
    let load = Load::start(world, CLIENTS).await;
    load.until_more(10 * CLIENTS).await;
    let begun = Instant::now();
    round(&server, &load, 0).await;
    let (memory, files) = size(world);
    let mut rounds = 1;
    while is_long && begun.elapsed() < LONG {
        round(&server, &load, rounds).await;
        // What the stub has seen is not what is measured.
        server.stub.take();
        rounds += 1;
    }
    let (memory_after, files_after) = size(world);
    eprintln!("{rounds} rounds: {memory} to {memory_after} KiB, {files} to {files_after} files");
    assert!(
        memory_after < memory + MORE_KIB,
        "{memory} KiB, then {memory_after}"
    );
    assert!(
        files_after < files + MORE_FILES,
        "{files} files, then {files_after}"
    );
    let failures = within_secs(60, "the load to end", load.end()).await;
    assert_eq!(failures, Vec::<String>::new(), "{}", world.log());
    eventually("each use to have its result", || {
        without_one_result(&world.ledger()).is_empty().then_some(())
    })
    .await;
    world.run(&["ledger", "verify"]).await.ok();
    world.run(&["health", "--deep"]).await.ok();
}

//! The server is killed at random moments under load. After each start, every request that reached
//! the upstream is on record, every unfinished use has a `recovered` line, and the ledger verifies.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use tokio::task::JoinSet;

use crate::client::{Wanted, trusting};
use crate::ledger_files;
use crate::upstream::{Step, ok};
use crate::wire::Request;
use crate::world::{SLUG, VALUE, World, one_upstream_with};

/// Number of kills, and with `EGRET_TEST_LONG=1`.
const ROUNDS: (u64, u64) = (20, 200);
const CLIENTS: usize = 8;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whenever_it_is_killed_every_value_that_left_is_on_record() {
    // Small files, so that rotation and compression are interrupted too.
    let builder = World::builder()
        .set("ledger.max_size", "16KiB")
        .set("ledger.heartbeat", "100ms")
        .set("log.level", "info");
    let (mut world, stub) = one_upstream_with(builder).await;
    stub.serve(|request: Arc<Request>| async move {
        // Some requests take longer, so that some are in flight at the kill.
        if request.path().ends_with('7') {
            tokio::time::sleep(Duration::from_millis(40)).await;
        }
        vec![Step::Send(ok("ok"))]
    });
    let is_long = std::env::var_os("EGRET_TEST_LONG").is_some_and(|value| value == "1");
    let rounds = if is_long { ROUNDS.1 } else { ROUNDS.0 };
    // A fixed sequence of delays, so that a failure can be reproduced; spread over the duration of
    // a round.
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut arrived = HashSet::new();
    let mut recovered = 0;
    for round in 0..rounds {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let clients = load(&world, round).await;
        tokio::time::sleep(Duration::from_micros(random % 300_000)).await;
        world.signal(Signal::KILL);
        world.ended().await;
        finish(clients).await;
        for request in stub.take() {
            assert_eq!(request.header("x-api-key").as_deref(), Some(VALUE));
            arrived.insert(request.path().to_owned());
        }
        world.restart().await;
        let (records, checkpoints) = ledger_files::check(&world.data.join("ledger"));
        let used: HashSet<&str> = paths(&records, "use").collect();
        for path in &arrived {
            assert!(
                used.contains(path.as_str()),
                "round {round}: {path} is not on record"
            );
        }
        recovered = assert_all_finished(&records);
        assert!(
            checkpoints
                .iter()
                .any(|checkpoint| checkpoint.cause == "recovery")
        );
    }
    let rotated = ledger_files::files(&world.data.join("ledger")).len() - 1;
    println!(
        "{rounds} kills: {} requests arrived, {recovered} uses recovered, {rotated} files rotated",
        arrived.len()
    );
    assert!(
        arrived.len() as u64 > rounds,
        "there was load: {}",
        arrived.len()
    );
    assert!(recovered > 0, "requests were under way when the end came");
    assert!(rotated > 0, "files were rotated");
}

fn paths<'a>(records: &'a [Value], event: &'static str) -> impl Iterator<Item = &'a str> {
    let lines = records
        .iter()
        .filter(move |l| l["event"] == event && l["slug"] == SLUG);
    lines.filter_map(|l| l["path"].as_str())
}

/// After a start each `use` has a `result` or a `recovered` line, never two. Returns the number of
/// the latter.
fn assert_all_finished(records: &[Value]) -> usize {
    let mut ends: HashMap<&str, Vec<&str>> = HashMap::new();
    let mut recovered = 0;
    for line in records {
        let (Some(event), Some(request)) = (line["event"].as_str(), line["request"].as_str())
        else {
            continue;
        };
        match event {
            "use" => drop(ends.entry(request).or_default()),
            "result" => ends.entry(request).or_default().push(event),
            "recovered" => {
                recovered += 1;
                assert_eq!(line["outcome"], "unknown");
                assert_eq!(line["version"], 1);
                ends.entry(request).or_default().push(event);
            }
            _ => {}
        }
    }
    for (request, ends) in ends {
        assert_eq!(ends.len(), 1, "{request}: {ends:?}");
    }
    recovered
}

/// Clients that send until the server is gone.
async fn load(world: &World, round: u64) -> JoinSet<()> {
    let mut clients = JoinSet::new();
    let tls = trusting(&world.ca_pem().await);
    for client in 0..CLIENTS {
        let mut wanted = Wanted::new(world);
        wanted.tls = Some(tls.clone());
        let Ok(mut tunnel) = wanted.open(world).await else {
            panic!("no tunnel");
        };
        clients.spawn(async move {
            for number in 0.. {
                let target = format!("/{round}-{client}-{number}");
                let request = crate::client::request("GET", &target, &["X-Api-Key: <<pat>>"], "");
                if tunnel.try_roundtrip(request).await.is_err() {
                    return;
                }
            }
        });
    }
    clients
}

async fn finish(mut clients: JoinSet<()>) {
    let all = async { while clients.join_next().await.is_some() {} };
    crate::within("the clients to notice", all).await;
}

//! Rotations while requests are sent: value, owner and version stay together, and no request fails.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::client::{Wanted, basic};
use crate::within;
use crate::world::{HOST, World, one_upstream};

const SLUG: &str = "key";
const ROTATIONS: u32 = 3;
const TUNNELS: usize = 2;

fn value(owner: &str, version: u32) -> String {
    format!("value-{version}-of-{owner}-x7Kq2")
}

/// Sends requests on one tunnel until it is told to stop. Returns their number.
async fn load(
    world: Arc<World>,
    owner: &str,
    token: String,
    tunnel: usize,
    stop: Arc<AtomicBool>,
) -> usize {
    let wanted = Wanted::new(&world).authorized(basic("load", &token));
    let mut connection = world.tunnel_for(&wanted).await;
    let mut sent = 0;
    while !stop.load(Ordering::Relaxed) {
        let path = format!("/{owner}/{tunnel}/{sent}");
        let answer = connection.get(&path, &["X-Api-Key: <<key>>"]).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        sent += 1;
    }
    sent
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_request_carries_the_version_and_owner_that_the_ledger_names() {
    let (world, stub) = one_upstream().await;
    let world = Arc::new(world);
    let stop = Arc::new(AtomicBool::new(false));
    let mut loads = Vec::new();
    for owner in ["alice", "bob"] {
        let limits = ["--host", HOST, "--owner", owner];
        world.save(SLUG, value(owner, 1), &limits).await;
        let token = world.client(&format!("of-{owner}"), owner).await;
        for tunnel in 0..TUNNELS {
            let load = load(world.clone(), owner, token.clone(), tunnel, stop.clone());
            loads.push(tokio::spawn(load));
        }
    }
    let used = async |owner: &str, version: u32| {
        let is_use = |line: &serde_json::Value| {
            line["event"] == "use" && line["owner"] == owner && line["version"] == version
        };
        world.ledger_line("a use", is_use).await
    };
    used("alice", 1).await;
    used("bob", 1).await;
    for version in 2..2 + ROTATIONS {
        let rotate = ["credential", "rotate", SLUG, "--owner", "alice"];
        let new = value("alice", version);
        world.run_with(&rotate, new.as_bytes()).await.ok();
        used("alice", version).await;
    }
    stop.store(true, Ordering::Relaxed);
    let mut sent = 0;
    for load in loads {
        sent += within("the last requests", load).await.expect("a load");
    }
    let arrived = stub.take();
    assert_eq!(arrived.len(), sent);
    let lines = world.ledger();
    let uses = lines.iter().filter(|line| line["event"] == "use");
    let uses: BTreeMap<_, _> = uses
        .map(|line| (line["path"].as_str().expect("a path"), line))
        .collect();
    let mut versions = BTreeMap::new();
    for request in &arrived {
        let path = request.path();
        let owner = path.split('/').nth(1).expect("an owner");
        let line = uses.get(path).unwrap_or_else(|| panic!("{path}: no line"));
        assert_eq!(line["owner"], owner, "{path}");
        let version = line["version"].as_u64().and_then(|n| u32::try_from(n).ok());
        let version = version.expect("a version");
        let got = request.header("x-api-key").expect("a value");
        assert_eq!(got, value(owner, version), "{path}");
        *versions.entry((owner.to_owned(), version)).or_insert(0) += 1;
    }
    assert!(
        versions.contains_key(&("bob".to_owned(), 1)),
        "{versions:?}"
    );
    let of_alice = versions.keys().filter(|(owner, _)| owner == "alice");
    assert!(
        of_alice.count() > 1,
        "no rotation met a request: {versions:?}"
    );
}

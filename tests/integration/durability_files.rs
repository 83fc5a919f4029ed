//! The ledger's files over the life of a server: checkpoints, rotation, and starts that find
//! something missing or changed.

use serde_json::Value;

use crate::eventually;
use crate::ledger_files;
use crate::needs::{Need, needs};
use crate::world::{World, one_upstream, one_upstream_with};

const HEADER: &str = "X-Api-Key: <<pat>>";

#[tokio::test]
async fn a_clean_life_is_signed_from_start_to_shutdown() {
    let (mut world, _stub) = one_upstream().await;
    world.tunnel().await.get("/1", &[HEADER]).await;
    assert!(world.stop().await.success());
    world.restart().await;
    assert!(world.stop().await.success());
    let (records, checkpoints) = ledger_files::check(&world.data.join("ledger"));
    let causes: Vec<&str> = checkpoints.iter().map(|c| c.cause.as_str()).collect();
    let ends: Vec<&&str> = causes
        .iter()
        .filter(|cause| !["time", "count"].contains(*cause))
        .collect();
    assert_eq!(ends, [&"start", &"shutdown", &"start", &"shutdown"]);
    assert_eq!(
        checkpoints.last().map(|last| last.size),
        Some(records.len())
    );
    let unusual = |l: &&Value| {
        l["event"]
            .as_str()
            .is_some_and(|e| e.starts_with("ledger.") || e == "recovered")
    };
    assert_eq!(records.iter().find(unusual), None);
}

#[tokio::test]
async fn silence_is_signed() {
    let builder = World::builder().set("ledger.heartbeat", "200ms");
    let (world, _stub) = one_upstream_with(builder).await;
    let directory = world.data.join("ledger");
    eventually("two heartbeats", || {
        let (_, checkpoints) = ledger_files::check(&directory);
        let beats = checkpoints.iter().filter(|c| c.cause == "heartbeat");
        (beats.count() > 1).then_some(())
    })
    .await;
}

#[tokio::test]
async fn files_are_rotated_and_compressed_while_tail_follows() {
    needs!(Need::Program("tail"));
    let builder = World::builder().set("ledger.max_size", "4KiB");
    let (mut world, stub) = one_upstream_with(builder).await;
    let mut tail = tokio::process::Command::new("tail")
        .args(["-n", "+1", "-F"])
        .arg(world.ledger_path())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("tail");
    let stdout = tail.stdout.take().expect("stdout");
    let mut tunnel = world.tunnel().await;
    let directory = world.data.join("ledger");
    for number in 0..40 {
        assert_eq!(
            tunnel.get(&format!("/{number}"), &[HEADER]).await.status,
            200
        );
    }
    eventually("compressed files", || {
        let files = ledger_files::files(&directory);
        let packed = files
            .iter()
            .filter(|file| file.extension().is_some_and(|e| e == "zst"));
        (packed.count() > 2).then_some(())
    })
    .await;
    follows(stdout).await;
    drop(tunnel);
    assert!(world.stop().await.success());
    let (records, checkpoints) = ledger_files::check(&directory);
    assert_eq!(stub.take().len(), 40);
    assert_eq!(records.iter().filter(|l| l["event"] == "use").count(), 40);
    assert!(checkpoints.iter().any(|c| c.cause == "rotation"));
    world.restart().await;
    assert_eq!(
        world.tunnel().await.get("/after", &[HEADER]).await.status,
        200
    );
}

/// `tail -F` gives whole lines from more than one file. It looks once a second, and misses lines
/// that are rotated out of `current.jsonl` in between; `egret ledger tail` sees all.
async fn follows(stdout: tokio::process::ChildStdout) {
    use tokio::io::AsyncBufReadExt as _;
    let mut lines = tokio::io::BufReader::new(stdout).lines();
    let mut first = None;
    loop {
        let line = crate::within("a line of another file", lines.next_line()).await;
        let line = line.expect("read").expect("another line of tail");
        let line: Value = serde_json::from_str(&line).expect("a whole line");
        let seq = line["seq"].as_u64().expect("a number");
        // A file of 4 KiB holds at most this many lines.
        if seq > *first.get_or_insert(seq) + 20 {
            return;
        }
    }
}

#[tokio::test]
async fn a_ledger_without_checkpoints_is_taken_up_and_says_so() {
    let (mut world, _stub) = one_upstream().await;
    world.tunnel().await.get("/1", &[HEADER]).await;
    assert!(world.stop().await.success());
    let directory = world.data.join("ledger");
    // As an Egret without checkpoints left it.
    for file in ["checkpoints", "signing.key", "public.key", "../ledger.head"] {
        std::fs::remove_file(directory.join(file)).expect("remove");
    }
    world.restart().await;
    let line = world
        .ledger_line("the new key", |l| l["event"] == "ledger.signed")
        .await;
    let key = std::fs::read_to_string(directory.join("public.key")).expect("the key");
    assert_eq!(line["locations"], serde_json::json!([key.trim_end()]));
    assert!(world.stop().await.success());
    ledger_files::check(&directory);
    // The checkpoints are missing although the signing key exists.
    std::fs::remove_file(directory.join("checkpoints")).expect("remove");
    world.restart().await;
    let line = world
        .ledger_line("the damage", |l| l["event"] == "ledger.damaged")
        .await;
    assert_eq!(line["code"], "checkpoints_missing");
    assert!(world.log().contains("checkpoints_missing"));
    assert_eq!(world.tunnel().await.get("/2", &[HEADER]).await.status, 200);
}

#[tokio::test]
async fn a_ledger_that_lost_signed_lines_is_not_written_over() {
    let (mut world, _stub) = one_upstream().await;
    for number in 0..3 {
        world
            .tunnel()
            .await
            .get(&format!("/{number}"), &[HEADER])
            .await;
    }
    assert!(world.stop().await.success());
    let whole = world.ledger_bytes();
    let without_last = whole[..whole.len() - 1]
        .iter()
        .rposition(|b| *b == b'\n')
        .expect("lines")
        + 1;
    let edited = String::from_utf8_lossy(&whole).replace("forwarded", "forwardeD");
    for (damaged, message) in [
        (&whole[..without_last], "lines were cut off"),
        (&[], "lines were cut off"),
        (edited.as_bytes(), "is not the one that was written there"),
    ] {
        std::fs::write(world.ledger_path(), damaged).expect("damage the ledger");
        let output = world.run(&["serve"]).await;
        assert!(!output.status.success());
        assert!(output.stderr.contains(message), "{}", output.stderr);
        assert_eq!(world.ledger_bytes(), damaged, "nothing is touched");
    }
    std::fs::write(world.ledger_path(), &whole).expect("restore the ledger");
    world.restart().await;
}

#[tokio::test]
async fn a_second_server_on_the_same_data_is_refused() {
    let (world, _stub) = one_upstream().await;
    let output = world.run(&["serve"]).await;
    assert!(!output.status.success());
    assert!(
        output.stderr.contains("in use by another Egret"),
        "{}",
        output.stderr
    );
    assert_eq!(world.tunnel().await.get("/1", &[HEADER]).await.status, 200);
}

#[tokio::test]
async fn what_is_not_kept_is_dropped_and_said() {
    let builder = World::builder()
        .set("ledger.max_size", "4KiB")
        .set("ledger.keep_size", "6KiB");
    let (mut world, _stub) = one_upstream_with(builder).await;
    let mut tunnel = world.tunnel().await;
    for number in 0..80 {
        assert_eq!(
            tunnel.get(&format!("/{number}"), &[HEADER]).await.status,
            200
        );
    }
    drop(tunnel);
    let directory = world.data.join("ledger");
    eventually("the first file to go", || {
        let first = ledger_files::files(&directory).remove(0);
        (!first.to_string_lossy().contains("/00000000000000000001.")).then_some(())
    })
    .await;
    assert!(world.stop().await.success());
    let lines = ledger_files::lines(&directory);
    let borrowed: Vec<&[u8]> = lines.iter().map(Vec::as_slice).collect();
    crate::durability::verify_chain_from(&borrowed, None).expect("the chain runs on");
    let first: Value = serde_json::from_slice(&lines[0]).expect("a record");
    let first = first["seq"].as_u64().expect("a number");
    let checkpoints = std::fs::read_to_string(directory.join("checkpoints")).expect("checkpoints");
    assert!(
        checkpoints.contains(&format!("\n{}\n", first - 1)),
        "the boundary stays signed"
    );
    assert!(checkpoints.contains("\ncause retention\n"));
    world.restart().await;
    assert_eq!(
        world.tunnel().await.get("/after", &[HEADER]).await.status,
        200
    );
}

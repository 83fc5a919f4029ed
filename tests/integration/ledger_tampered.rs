//! A ledger that was changed by somebody without its key, while no server ran or beside one.

use serde_json::Value;

use crate::durability::line_hash;
use crate::world::{World, one_upstream};

const HEADER: &str = "X-Api-Key: <<pat>>";

/// The lines linked again, from the first one on.
fn linked_again(lines: &[String]) -> String {
    let mut prev = "0".repeat(64);
    let mut out = String::new();
    for (index, line) in lines.iter().enumerate() {
        let record: Value = serde_json::from_str(line).expect("a record");
        let old = record["prev"].as_str().expect("a hash");
        let seq = record["seq"].as_u64().expect("a number");
        let line = line.replace(old, &prev).replace(
            &format!("{{\"seq\":{seq},"),
            &format!("{{\"seq\":{},", index + 1),
        );
        prev = line_hash(line.as_bytes());
        out += &line;
        out.push('\n');
    }
    out
}

fn lines(world: &World) -> Vec<String> {
    let text = String::from_utf8(world.ledger_bytes()).expect("text");
    text.lines().map(str::to_owned).collect()
}

async fn with_uses(count: u32) -> World {
    let (mut world, _stub) = one_upstream().await;
    for number in 0..count {
        let answer = world
            .tunnel()
            .await
            .get(&format!("/{number}"), &[HEADER])
            .await;
        assert_eq!(answer.status, 200);
    }
    assert!(world.stop().await.success());
    world
}

#[tokio::test]
async fn a_history_that_was_linked_again_is_not_signed() {
    let world = with_uses(3).await;
    let ledger = world.data.join("ledger");
    let mut changed = lines(&world);
    changed.retain(|line| !line.contains("\"path\":\"/1\""));
    assert!(changed.len() < lines(&world).len());
    std::fs::write(world.ledger_path(), linked_again(&changed)).expect("write");
    std::fs::remove_file(ledger.join("checkpoints")).expect("remove");
    let output = world.run(&["serve"]).await;
    assert!(!output.status.success());
    assert!(
        output.stderr.contains("lines were cut off"),
        "{}",
        output.stderr
    );
}

#[tokio::test]
async fn lines_added_after_a_clean_end_are_set_aside_and_fail_the_check() {
    let mut world = with_uses(1).await;
    let own = lines(&world);
    let used = own.iter().find(|line| line.contains("\"path\":\"/0\""));
    let forged = used.expect("a use").replace("\"/0\"", "\"/forged\"");
    let all = [own.clone(), vec![forged]].concat();
    std::fs::write(world.ledger_path(), linked_again(&all)).expect("write");
    world.restart().await;
    let line = world
        .ledger_line("the damage", |line| line["event"] == "ledger.damaged")
        .await;
    assert_eq!(line["code"], "lines_foreign");
    let aside = line["locations"][1].as_str().expect("a file");
    let aside = std::fs::read_to_string(world.data.join("ledger").join(aside)).expect("read");
    assert!(aside.contains("/forged"), "nothing is lost: {aside}");
    assert_eq!(world.tunnel().await.get("/2", &[HEADER]).await.status, 200);
    assert!(world.stop().await.success());
    assert!(!String::from_utf8_lossy(&world.ledger_bytes()).contains("/forged"));
    let data = world.data.to_str().expect("text").to_owned();
    let verified = world.run(&["ledger", "verify", "--data-dir", &data]).await;
    assert!(!verified.status.success());
    assert!(
        verified.stderr.contains("lines_foreign"),
        "{}",
        verified.stderr
    );
    let seq = line["seq"].to_string();
    let known = [
        "ledger",
        "verify",
        "--known-damage",
        &seq,
        "--data-dir",
        &data,
    ];
    world.run(&known).await.ok();
}

/// The lines of a command are its own: they are signed, and the next start adopts them.
#[tokio::test]
async fn what_a_command_records_without_a_server_is_vouched_for() {
    let mut world = with_uses(1).await;
    let data = world.data.to_str().expect("text").to_owned();
    let revoke = ["credential", "revoke", "pat", "--data-dir", &data];
    world.run(&revoke).await.ok();
    let restore = ["credential", "restore", "pat", "--data-dir", &data];
    world.run(&restore).await.ok();
    world
        .run(&["ledger", "verify", "--data-dir", &data])
        .await
        .ok();
    world.restart().await;
    assert_eq!(world.tunnel().await.get("/2", &[HEADER]).await.status, 200);
    assert!(world.stop().await.success());
    let events: Vec<String> = lines(&world);
    assert!(
        events
            .iter()
            .any(|line| line.contains("credential.revoked"))
    );
    assert!(!events.iter().any(|line| line.contains("ledger.damaged")));
    world
        .run(&["ledger", "verify", "--data-dir", &data])
        .await
        .ok();
}

#[tokio::test]
async fn a_second_server_is_refused_also_where_the_lock_was_removed() {
    let (world, _stub) = one_upstream().await;
    std::fs::remove_file(world.data.join("ledger/lock")).expect("remove");
    let output = world.run(&["serve"]).await;
    assert!(!output.status.success());
    assert!(output.stderr.contains("in use"), "{}", output.stderr);
}

/// A backup is put in place, or the directory is made again, beside a running server: it writes
/// nothing there and cuts nothing.
#[tokio::test]
async fn a_file_that_took_the_place_of_the_ledger_is_not_touched() {
    for file in ["current.jsonl", "checkpoints"] {
        let (world, _stub) = one_upstream().await;
        assert_eq!(world.tunnel().await.get("/1", &[HEADER]).await.status, 200);
        let path = world.data.join("ledger").join(file);
        std::fs::rename(&path, path.with_extension("mine")).expect("rename");
        let backup = b"{\"somebody\":\"else's\"}\n".repeat(200);
        std::fs::write(&path, &backup).expect("write");
        let answer = world.tunnel().await.get("/2", &[HEADER]).await;
        let expected = if file == "checkpoints" { 200 } else { 503 };
        assert_eq!(answer.status, expected, "{file}");
        let mut world = world;
        let _ = world.stop().await;
        assert_eq!(std::fs::read(&path).expect("read"), backup, "{file}");
    }
}

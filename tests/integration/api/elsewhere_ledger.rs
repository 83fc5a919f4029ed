//! `--server`: the usage record of a server elsewhere, exported, checked, and rules made of it.

use serde_json::json;

use super::client::Api;
use super::elsewhere::{Laptop, served};
use crate::client::{Wanted, assert_refused, basic};
use crate::world::HOST;

#[tokio::test]
async fn the_record_is_exported_as_the_host_exports_it() {
    let (world, stub) = served().await;
    let root = Laptop::of(&world, "root", "audit").await;
    let mut tunnel = world.tunnel().await;
    // What a client chose is for another program here, not for a terminal.
    let path = "/x?a=%1b[2J&b=%00\u{7f}".replace('\u{7f}', "%7f");
    assert_eq!(tunnel.get(&path, &["X-Api-Key: <<pat>>"]).await.status, 200);
    drop(stub.take_one());
    world
        .ledger_line("the result", |line| line["event"] == "result")
        .await;
    for args in [
        &["--format", "jsonl"][..],
        &["--format", "csv"],
        &["--format", "ocsf"],
        &[
            "--format",
            "jsonl",
            "--event",
            "credential",
            "--since",
            "1d",
        ],
        &["--format", "csv", "--slug", "absent"],
    ] {
        let export = [&["ledger", "export"], args].concat();
        let there = root.run(&export).await.ok();
        let here = world.run(&export).await.ok();
        assert_eq!(there, here, "{args:?}");
    }
    // Alice's are those about her.
    let alice = Laptop::of(&world, "alice", "audit").await;
    let lines = alice.run(&["ledger", "export"]).await.ok();
    let parse = |line: &str| serde_json::from_str::<serde_json::Value>(line).expect("a line");
    assert!(lines.lines().count() > 0);
    for line in lines.lines().map(parse) {
        assert_eq!(line["principal"], "alice", "{line}");
    }
    let reader = Laptop::of(&world, "alice", "read").await;
    let refused = reader.run(&["ledger", "export"]).await;
    assert!(
        refused.stderr.contains("scope `audit`"),
        "{}",
        refused.stderr
    );
    assert!(!root.has_a_store(), "a command worked here");
}

#[tokio::test]
async fn the_record_is_checked_by_its_server() {
    let (world, _stub) = served().await;
    let root = Laptop::of(&world, "root", "audit").await;
    let checked = root.run(&["ledger", "verify"]).await.ok();
    assert!(checked.contains("every line is in its place"), "{checked}");
    let checkpoint = root.run(&["ledger", "checkpoint"]).await.ok();
    let key = root.run(&["ledger", "checkpoint", "--key"]).await.ok();
    let directory = tempfile::tempdir().expect("a directory");
    let note = directory.path().join("kept.note");
    std::fs::write(&note, &checkpoint).expect("write");
    let note = note.to_str().expect("a path");
    let verify = [
        "ledger",
        "verify",
        "--public-key",
        key.trim(),
        "--checkpoint",
        note,
        "--json",
    ];
    let checked = root.run(&verify).await.json();
    assert_eq!(
        (&checked["state"], &checked["kept"]),
        (&json!("whole"), &json!(1))
    );
    assert_eq!(checked["number"], 2);

    // A checkpoint of another ledger does not agree.
    let (other, _stub) = served().await;
    let strange = Laptop::of(&other, "root", "audit").await;
    let differs = strange
        .run(&["ledger", "verify", "--checkpoint", note])
        .await;
    assert_eq!(differs.status.code(), Some(1), "{differs:#?}");
    assert!(
        differs.stderr.contains("does not verify"),
        "{}",
        differs.stderr
    );
    // A line is gone from the middle.
    let path = other.ledger_path();
    let text = std::fs::read_to_string(&path).expect("a ledger");
    let lines: Vec<&str> = text.lines().collect();
    let without = [&lines[..2], &lines[3..]].concat().join("\n") + "\n";
    std::fs::write(&path, without).expect("write");
    let damaged = strange.run(&["ledger", "verify", "--json"]).await;
    assert_eq!(damaged.status.code(), Some(1), "{damaged:#?}");
    assert!(
        damaged.stdout.contains("\"state\":\"wrong\""),
        "{}",
        damaged.stdout
    );

    let alice = Laptop::of(&world, "alice", "manage").await;
    let refused = alice.run(&["ledger", "verify"]).await;
    assert!(
        refused.stderr.contains("Administrators and auditors"),
        "{}",
        refused.stderr
    );
    let wrong = ["ledger", "verify", "--from", "../../etc/passwd"];
    let wrong = root.run(&wrong).await;
    assert!(wrong.stderr.contains("no rotated file"), "{}", wrong.stderr);
    assert!(!root.has_a_store(), "a command worked here");
}

#[tokio::test]
async fn a_rule_is_suggested_of_what_a_client_did_there() {
    let (world, _stub) = served().await;
    let root = Laptop::of(&world, "root", "audit").await;
    let manager = Laptop::of(&world, "root", "manage").await;
    let token = manager.run(&["client", "add", "ci", "--json"]).await.json()["token"].clone();
    let token = token.as_str().expect("a token").to_owned();
    let suggest = ["egress", "suggest", "--client", "ci"];
    let nothing = root.run(&suggest).await;
    assert!(
        nothing.stderr.contains("nothing was observed"),
        "{}",
        nothing.stderr
    );

    manager
        .run(&["egress", "observe", "--client", "ci"])
        .await
        .ok();
    let wanted = Wanted::new(&world).authorized(basic("report", &token));
    let mut tunnel = world.tunnel_for(&wanted).await;
    assert_eq!(tunnel.get("/x", &[]).await.status, 200);
    world
        .ledger_line("the destination", |line| line["event"] == "destination")
        .await;
    let there = root.run(&suggest).await.ok();
    assert_eq!(there, format!("egret egress allow {HOST} --client ci\n"));
    assert_eq!(there, world.run(&suggest).await.ok());
    assert_eq!(
        root.run(&[&suggest[..], &["--json"]].concat()).await.json()["hosts"],
        json!([HOST])
    );

    // What was refused for want of a rule, when that is asked for.
    let rules = Api::of(&world, "root", "manage")
        .await
        .get("/rules")
        .await
        .json();
    let number = rules["items"][0]["number"].to_string();
    manager.run(&["egress", "remove", &number]).await.ok();
    manager
        .run(&["egress", "deny", "--client", "ci", "--yes"])
        .await
        .ok();
    assert_refused(&tunnel.get("/x", &[]).await, "destination_not_allowed");
    world
        .ledger_line("the refusal", |line| {
            line["code"] == "destination_not_allowed"
        })
        .await;
    let refused = [&suggest[..], &["--refused"]].concat();
    assert_eq!(
        root.run(&refused).await.ok(),
        world.run(&refused).await.ok()
    );
    assert!(!root.has_a_store(), "a command worked here");
}

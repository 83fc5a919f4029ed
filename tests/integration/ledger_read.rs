//! The ledger as the commands read it: `verify`, `prove`, `export`, `tail`, `usage`.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::world::{Output, SLUG, World, one_upstream};

const HEADER: &str = "X-Api-Key: <<pat>>";

/// A data directory with a copy of the world's ledger. Checkpoints first: they follow the lines.
pub fn copy_ledger(world: &World, name: &str) -> PathBuf {
    let copy = world.scratch().join(name);
    let _ = std::fs::remove_dir_all(&copy);
    std::fs::create_dir_all(copy.join("ledger")).expect("a directory");
    for file in ["checkpoints", "public.key", "signing.key", "current.jsonl"] {
        let from = world.data.join("ledger").join(file);
        std::fs::copy(from, copy.join("ledger").join(file)).expect("copy the ledger");
    }
    copy
}

/// A world whose ledger has a use, its result, a refusal and changes, and whose server has ended.
async fn stopped() -> World {
    let (mut world, _stub) = one_upstream().await;
    let mut tunnel = world.tunnel().await;
    for _ in 0..3 {
        tunnel.get("/x", &[HEADER, "Egret-Action: =report"]).await;
    }
    tunnel.get("/y", &["X-A: <<nope>>"]).await;
    drop(tunnel);
    world.stop().await;
    world
}

async fn verify(world: &World, args: &[&str]) -> Output {
    world.run(&[&["ledger", "verify"], args].concat()).await
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

#[tokio::test]
async fn a_ledger_verifies_with_the_key_beside_it_or_one_kept_elsewhere() {
    let world = stopped().await;
    let lines = world.ledger().len();
    let report = verify(&world, &["--json"]).await.json();
    assert_eq!(report["verified"], true);
    assert_eq!(report["signed"], true);
    assert_eq!(report["key_source"], "beside the ledger");
    assert_eq!(report["report"]["lines"], lines);
    assert_eq!(
        report["report"]["unsigned"], 0,
        "the last checkpoint is that of the shutdown"
    );
    let said = verify(&world, &[]).await.ok();
    assert!(said.contains("give a key kept elsewhere"), "{said}");

    let key = world.run(&["ledger", "checkpoint", "--key"]).await.ok();
    let kept = world.scratch().join("ledger.pub");
    std::fs::write(&kept, &key).expect("keep the key");
    for given in [key.trim_end(), text(&kept)] {
        let report = verify(&world, &["--json", "--public-key", given])
            .await
            .json();
        assert_eq!(report["key_source"], "given");
    }
    let other = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
    let refused = verify(&world, &["--public-key", other]).await;
    assert_eq!(refused.status.code(), Some(1), "{refused:#?}");
}

#[tokio::test]
async fn the_first_bad_line_is_named() {
    let world = stopped().await;
    let path = world.ledger_path();
    let good = world.ledger_bytes();
    let lines: Vec<&[u8]> = good.split_inclusive(|b| *b == b'\n').collect();
    let last = lines.len();

    let mut changed = good.clone();
    let at = lines[0].len() + 20;
    changed[at] ^= 1;
    std::fs::write(&path, &changed).expect("tamper");
    let failed = verify(&world, &["--json"]).await;
    assert_eq!(failed.status.code(), Some(1));
    let report: Value = serde_json::from_str(&failed.stdout).expect("a report");
    assert_eq!(report["verified"], false);
    assert_eq!(report["file"], "current.jsonl");
    let line = report["line"].as_u64().expect("a line");
    assert!(line == 2 || line == 3, "{report}");
    assert_eq!(report["seq"], line);
    assert!(failed.stderr.contains("current.jsonl"), "{}", failed.stderr);

    std::fs::write(&path, lines[..last - 1].concat()).expect("tamper");
    let failed = verify(&world, &[]).await;
    assert_eq!(failed.status.code(), Some(1));
    assert!(failed.stderr.contains("1 are missing"), "{}", failed.stderr);

    std::fs::write(&path, &good).expect("restore");
    verify(&world, &[]).await.ok();
    std::fs::remove_file(world.data.join("ledger/checkpoints")).expect("take them away");
    let failed = verify(&world, &[]).await;
    assert_eq!(failed.status.code(), Some(1));
    assert!(
        failed.stderr.contains("checkpoints are missing"),
        "{}",
        failed.stderr
    );
}

#[tokio::test]
async fn a_ledger_without_checkpoints_says_that_it_is_not_signed() {
    let world = stopped().await;
    let data = world.scratch().join("fresh");
    let args = [
        "credential",
        "add",
        "gh",
        "--host",
        "a.test",
        "--data-dir",
        text(&data),
    ];
    world.run_with(&args, b"some value\n").await.ok();
    // As an Egret without checkpoints left it.
    for file in ["checkpoints", "signing.key", "public.key"] {
        std::fs::remove_file(data.join("ledger").join(file)).expect("remove");
    }
    let said = world
        .run(&["ledger", "verify", "--data-dir", text(&data)])
        .await
        .ok();
    assert!(said.contains("NOT SIGNED"), "{said}");
    // An empty ledger is not a signed one.
    let none = world.scratch().join("none");
    let said = world
        .run(&["ledger", "verify", "--data-dir", text(&none)])
        .await
        .ok();
    assert!(said.contains("NOT SIGNED"), "{said}");
}

#[tokio::test]
async fn a_checkpoint_kept_elsewhere_holds_the_ledger_to_it() {
    let mut world = stopped().await;
    let note = world.scratch().join("kept.note");
    let printed = world.run(&["ledger", "checkpoint"]).await.ok();
    std::fs::write(&note, &printed).expect("keep the checkpoint");
    let size = printed.lines().nth(1).expect("a size").to_owned();
    world.restart().await;
    world.tunnel().await.get("/x", &[HEADER]).await;
    world.stop().await;
    let report = verify(&world, &["--json", "--checkpoint", text(&note)])
        .await
        .json();
    assert_eq!(report["report"]["kept"], 1);
    assert!(report["report"]["last"].as_u64() > size.parse().ok());
    // Only the lines after the checkpoint.
    let time = printed
        .lines()
        .nth(3)
        .expect("a time")
        .strip_prefix("time ")
        .expect("a time");
    let report = verify(&world, &["--json", "--since", time]).await.json();
    assert_eq!(report["verified"], true);
}

#[tokio::test]
async fn a_proof_is_checked_with_nothing_but_itself_and_the_key() {
    let world = stopped().await;
    let proof = world.scratch().join("line.tlog-proof");
    let used = world
        .ledger()
        .into_iter()
        .find(|line| line["event"] == "use")
        .expect("a use");
    let seq = used["seq"].to_string();
    world
        .run(&["ledger", "prove", &seq, "--output", text(&proof)])
        .await
        .ok();
    let key = world.run(&["ledger", "checkpoint", "--key"]).await.ok();
    std::fs::rename(&world.data, world.scratch().join("elsewhere")).expect("take the ledger away");
    let check = [
        "ledger",
        "verify-proof",
        text(&proof),
        "--public-key",
        key.trim_end(),
    ];
    let proven = world.run(&[&check[..], &["--json"]].concat()).await.json();
    assert_eq!(proven["record"], used);
    let said = world.run(&check).await.ok();
    assert!(said.contains(SLUG), "{said}");

    let good = std::fs::read_to_string(&proof).expect("the proof");
    std::fs::write(&proof, good.replace("index ", "index 1")).expect("tamper");
    assert_eq!(world.run(&check).await.status.code(), Some(1));
    std::fs::write(&proof, &good).expect("restore");
    let none = world.run(&["ledger", "prove", "999999"]).await;
    assert_eq!(none.status.code(), Some(1));
}

#[tokio::test]
async fn the_record_is_exported_in_three_forms() {
    let world = stopped().await;
    let bytes = world.ledger_bytes();
    let lines = world.run(&["ledger", "export"]).await.ok();
    assert_eq!(lines.as_bytes(), bytes);
    let tail = world.run(&["ledger", "tail", "--json"]).await.ok();
    assert_eq!(tail.as_bytes(), bytes);

    let csv = world
        .run(&["ledger", "export", "--format", "csv", "--event", "use"])
        .await
        .ok();
    let rows: Vec<&str> = csv.split_terminator("\r\n").collect();
    assert_eq!(rows.len(), 4, "{csv}");
    assert!(rows[0].starts_with("seq,time,event,request,slug"), "{csv}");
    assert!(
        rows[1].contains("\"'=report\""),
        "a formula is made text: {csv}"
    );

    let ocsf = world
        .run(&[
            "ledger", "export", "--format", "ocsf", "--action", "=report",
        ])
        .await
        .ok();
    for line in ocsf.lines() {
        let event: Value = serde_json::from_str(line).expect("JSON");
        assert_eq!(event["class_uid"], 6003);
        assert_eq!(event["unmapped"]["action"], "=report");
    }
    assert!(ocsf.lines().count() >= 3);
}

#[tokio::test]
async fn usage_is_answered_from_an_index_that_can_always_be_made_again() {
    let (mut world, _stub) = one_upstream().await;
    let mut tunnel = world.tunnel().await;
    for action in ["report", "report", "sync"] {
        let action = format!("Egret-Action: {action}");
        tunnel.get("/x", &[HEADER, action.as_str()]).await;
    }
    drop(tunnel);
    world.stop().await;
    let ask = ["credential", "usage", SLUG, "--json"];
    let usage = world.run(&ask).await.json();
    assert_eq!(usage["uses"], 3);
    assert_eq!(usage["to_seq"], world.ledger().len());
    assert_eq!(usage["recent"].as_array().expect("recent").len(), 3);
    let listed = world.run(&["credential", "list", "--json"]).await.json();
    assert_eq!(listed[0]["last_used"], usage["last_used"]);

    let index = world.data.join("ledger/usage.db");
    std::fs::remove_file(&index).expect("delete it");
    assert_eq!(world.run(&ask).await.json(), usage);
    std::fs::write(
        &index,
        b"garbage in the place of a database, and quite some of it",
    )
    .expect("damage it");
    assert_eq!(world.run(&ask).await.json(), usage);
    let said = world.run(&ask[..3]).await.ok();
    assert!(said.contains("report") && said.contains("200: 2"), "{said}");
}

#[tokio::test]
async fn the_server_keeps_the_index_up_to_date() {
    let (world, _stub) = one_upstream().await;
    world.tunnel().await.get("/x", &[HEADER]).await;
    let index = world.data.join("ledger/usage.db");
    let asked = async {
        loop {
            if indexed_uses(&index).await == Some(1) {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    crate::within("the server to index the use", asked).await;
}

/// The content of the index on disk, without updating it.
async fn indexed_uses(path: &Path) -> Option<i64> {
    use sqlx::{ConnectOptions, Connection};
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
    let mut index = options.read_only(true).connect().await.ok()?;
    let uses = sqlx::query_scalar("SELECT sum(uses) FROM credential");
    let uses = uses.fetch_one(&mut index).await.ok();
    index.close().await.ok()?;
    uses
}

#[tokio::test]
async fn a_followed_ledger_goes_on_across_rotation_and_filters() {
    let world = stopped().await;
    let copy = copy_ledger(&world, "followed");
    let current = copy.join("ledger/current.jsonl");
    let bytes = world.ledger_bytes();
    let lines: Vec<&[u8]> = bytes.split_inclusive(|b| *b == b'\n').collect();
    let (one, two) = lines.split_at(3);
    std::fs::write(&current, one.concat()).expect("the first file");
    let args = ["ledger", "tail", "-f", "--json", "--data-dir", text(&copy)];
    let mut tail = world.command(&args).spawn().expect("start tail");
    let out = tail.stdout.take().expect("stdout");
    let mut out = tokio::io::BufReader::new(out);
    let mut seen = Vec::new();
    read_lines(&mut out, 3, &mut seen).await;
    std::fs::rename(&current, copy.join("ledger/00000000000000000001.jsonl")).expect("rotate");
    std::fs::write(&current, two.concat()).expect("the second file");
    read_lines(&mut out, two.len(), &mut seen).await;
    assert_eq!(seen, bytes);
    tail.kill().await.expect("end tail");
    // Both files, when it starts afterwards.
    let tail = ["ledger", "tail", "--data-dir", text(&copy)];
    let all = world.run(&[&tail[..], &["--json"]].concat()).await.ok();
    assert_eq!(all.as_bytes(), bytes);
    let last = world
        .run(&[&tail[..], &["--json", "-n", "4"]].concat())
        .await
        .ok();
    assert_eq!(last.as_bytes(), lines[lines.len() - 4..].concat());
    let uses = world
        .run(&[&tail[..], &["--event", "use", "--action", "=report"]].concat())
        .await
        .ok();
    assert_eq!(uses.lines().count(), 3, "{uses}");
    assert!(!uses.contains('\x1b'), "colour only on a terminal");
}

async fn read_lines(
    from: &mut (impl tokio::io::AsyncBufRead + Unpin),
    count: usize,
    seen: &mut Vec<u8>,
) {
    use tokio::io::AsyncBufReadExt as _;
    for _ in 0..count {
        let line = from.read_until(b'\n', seen);
        crate::within("a line of tail -f", line)
            .await
            .expect("a line");
    }
}

#[tokio::test]
async fn metrics_are_numbers_without_names() {
    let (world, _stub) = one_upstream().await;
    let mut tunnel = world.tunnel().await;
    tunnel
        .get("/x", &[HEADER, "Egret-Action: quite-a-name"])
        .await;
    tunnel.get("/y", &["X-A: <<nope>>"]).await;
    let page = world.admin_page("/metrics").await.expect("an answer");
    assert_eq!(page.status, 200);
    let text = page.text();
    let value = |name: &str| {
        let line = text
            .lines()
            .find(|line| line.split(' ').next() == Some(name));
        let line = line.unwrap_or_else(|| panic!("no {name} in {text}"));
        line.rsplit(' ')
            .next()
            .expect("a value")
            .parse::<f64>()
            .expect("a number")
    };
    assert_eq!(value("egret_requests_total{outcome=\"forwarded\"}"), 1.0);
    assert_eq!(value("egret_requests_total{outcome=\"tunnel\"}"), 1.0);
    assert_eq!(
        value("egret_requests_total{outcome=\"credential_not_found\"}"),
        1.0
    );
    assert!(value("egret_ledger_lines_total") >= 4.0);
    assert!(value("egret_ledger_commit_seconds_count") >= 1.0);
    assert_eq!(value("egret_ledger_healthy"), 1.0);
    let slug = format!("\"{SLUG}\"");
    for name in ["quite-a-name", &slug, "example.test", "tester", "nope"] {
        assert!(!text.contains(name), "{name} in {text}");
    }
}

#[tokio::test]
async fn an_export_that_lacks_lines_fails_and_says_which() {
    let world = stopped().await;
    world.run(&["ledger", "export"]).await.ok();
    let lines = world.ledger_bytes();
    let lines: Vec<&[u8]> = lines.split_inclusive(|b| *b == b'\n').collect();
    let ledger = world.data.join("ledger");
    // Three files, of which the second is lost.
    std::fs::write(
        ledger.join("00000000000000000001.jsonl"),
        lines[..2].concat(),
    )
    .expect("write");
    std::fs::write(world.ledger_path(), lines[4..].concat()).expect("write");
    let output = world.run(&["ledger", "export"]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stderr.contains("lines 3 to 4"), "{}", output.stderr);
    let exported = output.stdout.lines().count();
    assert_eq!(exported, lines.len() - 2, "what is there is exported");
}

#[tokio::test]
async fn the_usage_of_a_deleted_credential_is_told() {
    let world = stopped().await;
    let add = ["credential", "add", "never", "--host", "a.test"];
    world.run_with(&add, b"some value\n").await.ok();
    for slug in ["never", crate::world::SLUG] {
        world.run(&["credential", "delete", slug]).await.ok();
        let said = world.run(&["credential", "usage", slug]).await.ok();
        assert!(said.contains(slug), "{said}");
    }
    let unknown = world.run(&["credential", "usage", "nosuch"]).await;
    assert!(!unknown.status.success());
}

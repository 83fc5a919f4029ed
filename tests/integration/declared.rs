//! Users, groups, limits, shares, bundles and clients as a file says them.

use crate::world::World;

const FILE: &str = r#"
[users.alice]
display_name = "Alice"
[users.bob]
role = "auditor"
[groups.ops]
members = ["bob"]
[credentials."default/pat"]
hosts = ["api.example.test"]
methods = ["GET"]
shares = [{ with = "group:ops", paths = ["/v1"] }]
[bundles."default/work"]
entries = { gh = "pat" }
[clients.tester]
bundle = "default/work"
"#;

async fn world() -> World {
    let world = World::builder().start().await;
    world
        .save("pat", "v", &["--host", "api.example.test"])
        .await;
    world
}

#[tokio::test]
async fn a_file_is_planned_applied_once_and_exported_as_it_was() {
    let world = world().await;
    let file = FILE.as_bytes();
    let planned = world.run_with(&["plan", "-", "--json"], file).await.json();
    assert_eq!(planned["applied"], false);
    assert_eq!(
        planned["steps"].as_array().expect("steps").len(),
        9,
        "{planned}"
    );
    let users = world.run(&["user", "list"]).await.ok();
    assert!(!users.contains("alice"), "{users}");

    let before = world.ledger().len();
    world.run_with(&["apply", "-"], file).await.ok();
    let again = world.run_with(&["plan", "-"], file).await;
    assert!(
        again.stdout.contains("Everything is as the file says"),
        "{again:#?}"
    );
    world
        .ledger_line("the last step", |line| {
            line["event"] == "client.changed" && line["client"] == "tester"
        })
        .await;
    let events = world.ledger().split_off(before);
    assert!(
        events
            .iter()
            .any(|line| line["event"] == "credential.shared")
    );

    let exported = world.run(&["export"]).await.ok();
    assert!(exported.contains("[bundles.\"default/work\""), "{exported}");
    let same = world
        .run_with(&["plan", "-", "--json"], exported.as_bytes())
        .await
        .json();
    assert_eq!(same["steps"], serde_json::json!([]), "{same}");
    assert_eq!(same["unmanaged"], serde_json::json!([]));
}

#[tokio::test]
async fn all_changes_are_made_or_none() {
    let world = world().await;
    // The last step cannot be made: a share is wider than the credential.
    let wider = FILE.replace("paths = [\"/v1\"]", "methods = [\"PUT\"]");
    let refused = world.run_with(&["apply", "-"], wider.as_bytes()).await;
    assert!(!refused.status.success());
    assert!(
        refused.stderr.contains("nothing is changed"),
        "{}",
        refused.stderr
    );
    let users = world.run(&["user", "list"]).await.ok();
    assert!(!users.contains("alice"), "{users}");

    // Nor on a state that is not the one that was planned for.
    let planned = world
        .run_with(&["plan", "-", "--json"], FILE.as_bytes())
        .await
        .json();
    world.run(&["user", "add", "carol"]).await.ok();
    let revision = planned["revision"].to_string();
    let arguments = ["apply", "-", "--revision", &revision];
    let late = world.run_with(&arguments, FILE.as_bytes()).await;
    assert!(
        late.stderr.contains("changed in the meantime"),
        "{}",
        late.stderr
    );
    let users = world.run(&["user", "list"]).await.ok();
    assert!(!users.contains("alice"), "{users}");
    world.run_with(&["apply", "-"], FILE.as_bytes()).await.ok();
}

#[tokio::test]
async fn what_a_file_cannot_make_is_said() {
    let world = world().await;
    let file = "[credentials.'default/new']\nhosts = ['a.test']\n[clients.ci]\n";
    let planned = world.run_with(&["plan", "-"], file.as_bytes()).await;
    assert!(
        planned.stderr.contains("egret credential add new"),
        "{planned:#?}"
    );
    assert!(planned.stderr.contains("egret client add ci"));
    assert!(planned.stderr.contains("left as it is: user default"));
    for wrong in ["[users.alice]\nrol = 'x'", "[users.'A']", "{\"users\": 1}"] {
        let refused = world.run_with(&["plan", "-"], wrong.as_bytes()).await;
        assert!(!refused.status.success(), "{wrong}");
    }
}

//! A check that a process passes which replaces nothing is no check.

use crate::world::{World, one_upstream_with};

fn passed(view: &serde_json::Value) -> Vec<(String, bool)> {
    let checks = view["checks"].as_array().expect("a list").iter();
    checks
        .map(|check| {
            let name = check["name"].as_str().expect("a name").to_owned();
            (name, check["passed"].as_bool().expect("a verdict"))
        })
        .collect()
}

#[tokio::test]
async fn a_deep_check_sends_a_value_through_everything_and_leaves_no_credential() {
    let (mut world, _stub) = one_upstream_with(World::builder()).await;
    for _ in 0..2 {
        let said = world.run(&["health", "--deep"]).await.ok();
        assert_eq!(said.lines().count(), 4, "{said}");
        assert!(said.lines().all(|line| line.starts_with("ok ")), "{said}");
    }
    let view = world.run(&["health", "--deep", "--json"]).await.json();
    assert_eq!(view["healthy"], true);
    let names: Vec<String> = passed(&view).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["request", "value", "answer", "ledger"]);
    let listed = world
        .run(&["credential", "list", "--all", "--json"])
        .await
        .ok();
    assert!(
        listed.contains("pat") && !listed.contains("egret-canary"),
        "{listed}"
    );
    let clients = world.run(&["client", "list", "--json"]).await.ok();
    assert!(!clients.contains("health-"), "{clients}");
    world.stop().await;
    let none = world.run(&["health", "--deep"]).await;
    assert_eq!(none.status.code(), Some(1));
    assert!(none.stderr.contains("no server runs"), "{none:?}");
}

/// Rules about where clients may go do not concern it.
#[tokio::test]
async fn a_deep_check_passes_where_nothing_is_allowed_out() {
    let builder = World::builder().set("egress.default", "deny");
    let (world, _stub) = one_upstream_with(builder).await;
    let said = world.run(&["health", "--deep"]).await.ok();
    assert!(said.contains("use and result are on record"), "{said}");
}

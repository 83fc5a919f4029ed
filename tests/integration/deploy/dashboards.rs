//! Dashboard and alert rules: they ask for metrics that exist.

use std::collections::BTreeSet;
use std::process::Command;

use super::{deploy, succeeds};
use crate::api::client::Api;
use crate::needs::{Need, needs};
use crate::world::World;

/// The names of metrics in a text.
fn metrics(text: &str) -> BTreeSet<String> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .filter(|word| word.starts_with("egret_") || word.starts_with("process_"))
        .map(str::to_owned)
        .collect()
}

#[tokio::test]
async fn every_metric_that_is_asked_for_exists() {
    let world = World::builder().start().await;
    world
        .run(&["user", "add", "wim", "--role", "auditor"])
        .await
        .ok();
    let page = Api::of(&world, "wim", "audit").await.get("/metrics").await;
    let page = page.text();
    let exported = metrics(&page);
    for file in ["dashboards/alerts.yaml", "dashboards/egret.json"] {
        let text = std::fs::read_to_string(deploy(file)).expect("text");
        let asked = metrics(&text);
        assert!(asked.len() > 5, "{file}: {asked:?}");
        let missing: Vec<_> = asked.difference(&exported).collect();
        assert!(missing.is_empty(), "{file} asks for {missing:?}");
    }
}

#[test]
fn the_dashboard_is_json_with_unlike_panels() {
    let text = std::fs::read_to_string(deploy("dashboards/egret.json")).expect("text");
    let dashboard: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let titles: BTreeSet<_> = panels
        .iter()
        .map(|panel| panel["title"].to_string())
        .collect();
    let places: BTreeSet<_> = panels
        .iter()
        .map(|panel| panel["gridPos"].to_string())
        .collect();
    assert_eq!((titles.len(), places.len()), (panels.len(), panels.len()));
}

#[test]
fn prometheus_takes_the_alert_rules() {
    needs!(Need::Program("promtool"));
    let told = succeeds(
        Command::new("promtool")
            .args(["check", "rules"])
            .arg(deploy("dashboards/alerts.yaml")),
    );
    assert!(told.contains("rules found"), "{told}");
}

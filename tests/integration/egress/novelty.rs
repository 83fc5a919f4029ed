//! What a `use` line says is new.

use serde_json::{Value, json};

use crate::client::{Tunnel, Wanted, basic};
use crate::upstream::{Stub, ok};
use crate::within;
use crate::world::{HOST, World, one_upstream_with};

async fn open(world: &World, action: &str, token: &str) -> Tunnel {
    let wanted = Wanted::new(world).authorized(basic(action, token));
    wanted.open(world).await.expect("a tunnel")
}

/// What the line about the use with this path says is new.
async fn first(world: &World, path: &str) -> Value {
    let line = world.ledger_line("a use", |line| {
        line["event"] == "use" && line["path"] == path
    });
    line.await["first"].clone()
}

/// Waits until the server knows what was used before: until it calls an action new that never was. It
/// uses a credential of its own, so that it makes nothing known of another.
async fn until_known(world: &World, round: &str) {
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(30);
    for number in 0.. {
        let action = format!("probe-{round}-{number}");
        let mut tunnel = open(world, &action, &world.token).await;
        let path = format!("/{action}");
        tunnel.get(&path, &["X-Api-Key: <<probe>>"]).await;
        if first(world, &path).await != Value::Null {
            return;
        }
        assert!(tokio::time::Instant::now() < deadline, "{}", world.log());
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn the_first_use_by_an_action_client_or_place_is_named_once_and_alerted() {
    let hook = Stub::plain().await;
    hook.answer(ok(""));
    let builder = World::builder()
        .set("alerts.url", format!("http://{}/", hook.addr))
        .set("alerts.events", vec!["first_use".to_owned()]);
    let (mut world, _stub) = one_upstream_with(builder).await;
    world
        .save("probe", "value-of-the-probe", &["--host", HOST])
        .await;
    until_known(&world, "first").await;
    within("an alert", hook.until_requests(1)).await;
    hook.take();
    let mut tunnel = open(&world, "report", &world.token).await;
    tunnel.get("/1", &["X-Api-Key: <<pat>>"]).await;
    let all = json!(["action", "client", "destination", "location"]);
    assert_eq!(first(&world, "/1").await, all);
    tunnel.get("/2", &["X-Api-Key: <<pat>>"]).await;
    assert_eq!(first(&world, "/2").await, Value::Null);
    tunnel.get("/3", &["X-Other: <<pat>>"]).await;
    assert_eq!(first(&world, "/3").await, json!(["location"]));
    let mut other = open(&world, "cleanup", &world.token).await;
    other.get("/4", &["X-Api-Key: <<pat>>"]).await;
    assert_eq!(first(&world, "/4").await, json!(["action"]));
    within("the alerts", hook.until_requests(3)).await;
    let alerted = hook.take();
    let paths = alerted.iter().map(|alert| {
        let line: Value = serde_json::from_slice(&alert.body).expect("a line");
        line["path"].as_str().expect("a path").to_owned()
    });
    assert_eq!(paths.collect::<Vec<_>>(), ["/1", "/3", "/4"]);

    // A restart makes nothing new, whoever uses it then.
    world.stop().await;
    world.restart().await;
    until_known(&world, "second").await;
    let token = world.client("second", "default").await;
    let mut known = open(&world, "report", &world.token).await;
    known.get("/5", &["X-Other: <<pat>>"]).await;
    assert_eq!(first(&world, "/5").await, Value::Null);
    let mut second = open(&world, "report", &token).await;
    second.get("/6", &["X-Api-Key: <<pat>>"]).await;
    assert_eq!(first(&world, "/6").await, json!(["client"]));
}

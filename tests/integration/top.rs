//! `egret top`.

use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::within;
use crate::world::one_upstream;

const HEADER: &str = "X-Api-Key: <<pat>>";

#[tokio::test]
async fn it_shows_what_goes_through_once_and_live() {
    let (world, _stub) = one_upstream().await;
    let mut tunnel = world.tunnel().await;
    for _ in 0..3 {
        assert_eq!(tunnel.get("/v1", &[HEADER]).await.status, 200);
    }
    assert_ne!(
        tunnel.get("/v1", &["X-Api-Key: <<nope>>"]).await.status,
        200
    );
    world
        .ledger_line("the last result", |line| {
            line["event"] == "result" && line["seq"].as_u64() > Some(4)
        })
        .await;
    let view = world.run(&["top", "--once", "--json"]).await.json();
    let row = &view["rows"][0];
    assert_eq!(
        (&row["uses"], &row["slug"]),
        (&3.into(), &"pat".into()),
        "{view}"
    );
    assert_eq!(row["action"], "act-1");
    assert!(
        row["last"]
            .as_str()
            .is_some_and(|last| last.starts_with("200 ")),
        "{view}"
    );
    let refused = &view["rows"][1];
    assert_eq!(
        (&refused["refused"], &refused["slug"]),
        (&1.into(), &"nope".into()),
        "{view}"
    );
    assert_eq!(refused["last"], "credential_not_found");
    let text = world.run(&["top", "--once", "--rows", "1"]).await.ok();
    assert!(
        text.contains("3 uses and 1 refused") && text.contains("and 1 more"),
        "{text}"
    );

    // Live: what comes while it runs is shown.
    let mut command = world.command(&["top"]);
    let mut child = command.spawn().expect("started");
    let mut lines = BufReader::new(child.stdout.take().expect("stdout")).lines();
    let mut until = async |wanted: &str| {
        within("a line", async {
            while let Some(line) = lines.next_line().await.expect("readable") {
                if line.starts_with(wanted) {
                    return;
                }
            }
            panic!("it ended before it showed {wanted:?}");
        })
        .await;
    };
    until("3 uses").await;
    assert_eq!(tunnel.get("/v1", &[HEADER]).await.status, 200);
    until("4 uses").await;
}

//! What an orchestrator gets for a sandbox: enough to use the proxy without a command of Egret.

use base64::Engine as _;
use serde_json::{Value, json};
use tokio::process::Command;

use super::client::{Api, When, expect, expect_problem};
use crate::needs::{Need, needs};
use crate::world::{HOST, World, one_upstream};

async fn client(world: &World) -> Api<'_> {
    let token = world
        .run(&["client", "add", "orchestrator", "--json"])
        .await
        .json();
    Api {
        world,
        token: token["token"].as_str().map(str::to_owned),
    }
}

#[tokio::test]
async fn a_sandbox_uses_the_proxy_with_what_the_answer_has() {
    needs!(Need::Program("curl"));
    let (world, stub) = one_upstream().await;
    let orchestrator = client(&world).await;
    let place = world.scratch().join("sandbox");
    std::fs::create_dir_all(place.join("php.d")).expect("a directory");
    let wanted = json!({ "action": "report", "run": "r-1", "ttl": 60, "slugs": ["pat"], "directory": place });
    let made = orchestrator.post("/sandboxes", When::Always, wanted).await;
    expect(&made, 201);
    let made = made.json();
    assert_eq!(made["address"], world.proxy.to_string());
    let pem = world.run(&["ca", "show"]).await.ok();
    assert_eq!(made["authority"]["pem"], pem);
    for file in made["files"].as_array().expect("files") {
        let content = file["content"].as_str().expect("a content");
        let content = match file["encoding"].as_str() {
            Some("base64") => base64::engine::general_purpose::STANDARD
                .decode(content)
                .expect("base64"),
            _ => content.as_bytes().to_vec(),
        };
        std::fs::write(file["path"].as_str().expect("a path"), content).expect("written");
    }
    let mut curl = Command::new("curl");
    curl.args(["-sS", "-o", "/dev/null", "-w", "%{http_code}"])
        .args([
            "-H",
            "X-Api-Key: <<pat>>",
            &format!("https://{HOST}/sandboxed"),
        ])
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default());
    for (name, value) in made["set"].as_object().expect("variables") {
        curl.env(name, value.as_str().expect("text"));
    }
    let answered = crate::within("curl", curl.output())
        .await
        .expect("run curl");
    let said = String::from_utf8_lossy(&answered.stderr);
    assert_eq!(String::from_utf8_lossy(&answered.stdout), "200", "{said}");
    assert_eq!(stub.take_one().path(), "/sandboxed");
    let line = world
        .ledger_line("its use", |line| line["event"] == "use")
        .await;
    assert_eq!(
        (&line["action"], &line["run"]),
        (&json!("report"), &json!("r-1"))
    );
}

#[tokio::test]
async fn a_sandbox_is_for_a_client_and_what_it_asks_for_is_checked() {
    let world = World::builder().start().await;
    let orchestrator = client(&world).await;
    world.run(&["user", "add", "alice"]).await.ok();
    let alice = Api::of(&world, "alice", "manage").await;
    let made = alice
        .post("/sandboxes", When::Always, json!({ "action": "a" }))
        .await;
    expect_problem(&made, "unauthenticated");
    for (member, wrong) in [
        ("action", json!("")),
        ("ttl", json!(0)),
        ("proxy", json!("hunter2")),
        ("proxy", json!("http://hunter2:1")),
        ("directory", json!("relative/hunter2")),
        ("directory", json!("/hunter2\n")),
    ] {
        let mut input = json!({ "action": "a" });
        input[member] = wrong;
        let refused = orchestrator.post("/sandboxes", When::Always, input).await;
        expect_problem(&refused, "invalid");
        assert_eq!(refused.json()["errors"][0]["field"], member);
        assert!(!refused.text().contains("hunter2"), "{}", refused.text());
    }
    let named = json!({ "action": "a", "proxy": "egret.internal:7070" });
    let named = orchestrator.post("/sandboxes", When::Always, named).await;
    expect(&named, 201);
    let set: &Value = &named.json()["set"];
    let url = set["HTTPS_PROXY"].as_str().expect("a URL");
    assert!(url.ends_with("@egret.internal:7070"), "{url}");
    assert_eq!(set["NODE_EXTRA_CA_CERTS"], "/etc/egret/ca.pem");
}

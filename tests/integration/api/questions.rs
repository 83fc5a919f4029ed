//! What waits for somebody's word: uses that owners are asked about, and credentials that clients ask
//! for.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::client::{Api, When, expect, expect_problem};
use crate::client::{Wanted, assert_refused, basic};
use crate::upstream::Stub;
use crate::wire::Response;
use crate::within;
use crate::world::{HOST, World, one_upstream_with};

const HEADER: &str = "X-Api-Key: <<key>>";

/// Alice, who owns a credential that asks, and her client.
struct Scene {
    world: World,
    stub: Stub,
    client: String,
}

impl Scene {
    async fn set() -> Self {
        let builder = World::builder().set("approvals.wait", "20s");
        let (world, stub) = one_upstream_with(builder).await;
        for (user, role) in [("alice", "member"), ("bob", "member"), ("wim", "auditor")] {
            world.run(&["user", "add", user, "--role", role]).await.ok();
        }
        let alice = Api::of(&world, "alice", "manage").await;
        let new =
            json!({ "value": "v-1", "hosts": [HOST], "approve": "always", "max_uses": "100/h" });
        let made = alice.put("/credentials/alice/key", When::New, new).await;
        expect(&made, 201);
        assert_eq!(made.json()["approve"], "always");
        let client = alice.put("/clients/laptop", When::New, json!({})).await;
        let client = client.json()["token"].as_str().expect("a token").to_owned();
        Self {
            world,
            stub,
            client,
        }
    }

    /// The client with its own token.
    fn of_client(&self) -> Api<'_> {
        Api {
            world: &self.world,
            token: Some(self.client.clone()),
        }
    }

    /// A request of the client, on a connection of its own.
    async fn send(&self, header: &'static str) -> JoinHandle<Response> {
        let wanted = Wanted::new(&self.world).authorized(basic("report", &self.client));
        let mut tunnel = self.world.tunnel_for(&wanted).await;
        tokio::spawn(async move { tunnel.get("/customers?q=1", &[header]).await })
    }
}

/// The question that waits, once there is one.
async fn waiting(alice: &Api<'_>) -> Value {
    let asked = async {
        loop {
            let listed = alice.get("/approvals?waiting=true").await.json();
            match listed["items"].get(0) {
                Some(question) => return question.clone(),
                None => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    };
    within("a question", asked).await
}

#[tokio::test]
async fn an_owner_answers_and_nobody_else_does() {
    let scene = Scene::set().await;
    let alice = Api::of(&scene.world, "alice", "manage").await;
    let sent = scene.send(HEADER).await;
    let question = waiting(&alice).await;
    assert_eq!(question["slug"], "key");
    assert_eq!(question["action"], "report");
    assert_eq!(question["path"], "/customers");
    let path = format!("/approvals/{}", question["id"].as_str().expect("an id"));
    let answer = format!("{path}/answer");
    let once = || json!({ "answer": "once" });
    // Whoever asks does not answer, and learns nothing; nor does anyone else.
    let client = scene.of_client();
    expect_problem(
        &client.post(&answer, When::Always, once()).await,
        "unauthenticated",
    );
    expect_problem(&client.get("/approvals").await, "unauthenticated");
    let bob = Api::of(&scene.world, "bob", "manage").await;
    expect_problem(&bob.post(&answer, When::Always, once()).await, "not_found");
    let wim = Api::of(&scene.world, "wim", "manage").await;
    expect(&wim.get(&path).await, 200);
    expect_problem(&wim.post(&answer, When::Always, once()).await, "forbidden");
    let wrong = json!({ "answer": "maybe-hunter2" });
    let wrong = alice.post(&answer, When::Always, wrong).await;
    expect_problem(&wrong, "invalid");
    assert!(!wrong.text().contains("hunter2"), "{}", wrong.text());
    assert!(
        scene.stub.take().is_empty(),
        "nothing was sent without a yes"
    );

    let said = alice.post(&answer, When::Always, once()).await;
    expect(&said, 200);
    assert_eq!(said.json()["answered_by"], "api:alice");
    assert_eq!(
        within("the answer", sent).await.expect("a task").status,
        200
    );
    expect_problem(
        &alice.post(&answer, When::Always, once()).await,
        "not_found",
    );
    scene
        .world
        .ledger_line("the yes", |line| line["event"] == "approval.granted")
        .await;

    // Always is for the action at its destination, until it is taken back.
    let sent = scene.send(HEADER).await;
    let question = waiting(&alice).await;
    let path = format!("/approvals/{}", question["id"].as_str().expect("an id"));
    let always = json!({ "answer": "always" });
    expect(
        &alice
            .post(&format!("{path}/answer"), When::Always, always)
            .await,
        200,
    );
    assert_eq!(
        within("the answer", sent).await.expect("a task").status,
        200
    );
    let next = scene.send(HEADER).await;
    assert_eq!(
        within("the answer", next).await.expect("a task").status,
        200
    );
    expect(&alice.delete(&path, When::Always).await, 204);
    let sent = scene.send(HEADER).await;
    let question = waiting(&alice).await;
    let path = format!(
        "/approvals/{}/answer",
        question["id"].as_str().expect("an id")
    );
    expect(
        &alice
            .post(&path, When::Always, json!({ "answer": "no" }))
            .await,
        200,
    );
    let refused = within("the answer", sent).await.expect("a task");
    assert_refused(&refused, "approval_required");
}

#[tokio::test]
async fn a_client_asks_polls_and_never_supplies_a_value() {
    let scene = Scene::set().await;
    let alice = Api::of(&scene.world, "alice", "manage").await;
    let client = scene.of_client();
    let reason = "<script>alert(1)</script>\u{1b}[2J\u{202e}";
    let wanted = |slug: &str| json!({ "slug": slug, "host": HOST, "place": "header:x-api-key", "reason": reason });
    let asked = client.post("/requests", When::Always, wanted("jira")).await;
    expect(&asked, 201);
    let number = asked.json()["number"].as_i64().expect("a number");
    assert!(!asked.text().contains("\\u001b"), "{}", asked.text());
    let again = client.post("/requests", When::Always, wanted("jira")).await;
    assert_eq!(again.json()["number"], number, "the same is asked for once");
    let with_value = json!({ "slug": "crm", "host": HOST, "value": "hunter2" });
    let with_value = client.post("/requests", When::Always, with_value).await;
    expect_problem(&with_value, "invalid");
    assert!(!with_value.text().contains("hunter2"));
    let path = format!("/requests/{number}");
    assert_eq!(client.get(&path).await.json()["state"], "open");
    // Another client of hers does not see it, nor does another user; a person does not ask.
    let other = alice.put("/clients/other", When::New, json!({})).await;
    let other = Api {
        world: &scene.world,
        token: other.json()["token"].as_str().map(str::to_owned),
    };
    expect_problem(&other.get(&path).await, "not_found");
    let bob = Api::of(&scene.world, "bob", "manage").await;
    expect_problem(&bob.get(&path).await, "not_found");
    let save = format!("{path}/save");
    let value = || json!({ "value": "the-value-of-jira", "methods": ["GET"] });
    expect_problem(&bob.post(&save, When::Always, value()).await, "not_found");
    expect_problem(
        &client.post(&save, When::Always, value()).await,
        "unauthenticated",
    );
    expect_problem(
        &alice.post("/requests", When::Always, wanted("x")).await,
        "unauthenticated",
    );

    let saved = alice.post(&save, When::Always, value()).await;
    expect(&saved, 201);
    assert_eq!(saved.json()["hosts"], json!([HOST]));
    assert_eq!(saved.json()["locations"], json!(["header:x-api-key"]));
    assert_eq!(client.get(&path).await.json()["state"], "saved");
    expect_problem(&alice.post(&save, When::Always, value()).await, "conflict");
    let sent = scene.send("X-Api-Key: <<jira>>").await;
    assert_eq!(
        within("the answer", sent).await.expect("a task").status,
        200
    );
    let seen = scene.stub.take_one().header("x-api-key");
    assert_eq!(seen.as_deref(), Some("the-value-of-jira"));

    let declined = client.post("/requests", When::Always, wanted("crm")).await;
    let path = format!("/requests/{}", declined.json()["number"]);
    let decline = format!("{path}/decline");
    expect(&alice.send("POST", &decline, When::Always, None).await, 200);
    assert_eq!(client.get(&path).await.json()["state"], "declined");
    let open = |slug: &'static str| client.post("/requests", When::Always, wanted(slug));
    for slug in ["a1", "a2", "a3", "a4", "a5"] {
        expect(&open(slug).await, 201);
    }
    expect_problem(&open("a6").await, "invalid");
}

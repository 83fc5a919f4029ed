//! Where clients may go: every way in against every rule.

mod alerts;
mod approvals;
mod demands;
mod moments;
mod novelty;
mod programs;
mod requests;
mod table;

use serde_json::{Value, json};

use crate::api::client::When;
use crate::client::{Wanted, assert_refused, basic};
use crate::upstream::Stub;
use crate::world::{HOST, World, one_upstream, one_upstream_with};

const REFUSED: &str = "destination_not_allowed";

async fn egret(world: &World, arguments: &[&str]) -> String {
    world.run(arguments).await.ok()
}

/// Lines of an event.
fn lines(world: &World, event: &str) -> Vec<Value> {
    let mut lines = world.ledger();
    lines.retain(|line| line["event"] == event);
    lines
}

#[tokio::test]
async fn a_rule_holds_in_an_open_tunnel_and_its_end_too() {
    let (world, stub) = one_upstream().await;
    let mut tunnel = world.tunnel().await;
    assert_eq!(tunnel.get("/x", &[]).await.status, 200);
    let denied = world.run(&["egress", "deny", HOST, "--json"]).await.json();
    let refused = tunnel.get("/secret/<<pat>>", &[]).await;
    assert_refused(&refused, REFUSED);
    assert!(refused.text().contains("egress rule"), "{}", refused.text());
    assert_eq!(stub.take().len(), 1);
    let line = world
        .ledger_line("denied", |line| line["code"] == REFUSED)
        .await;
    assert_eq!(line["event"], "denied");
    assert_eq!(line["client"], "tester");
    assert_eq!(line["destination"], format!("https://{HOST}:443"));
    let number = denied["number"].to_string();
    egret(&world, &["egress", "remove", &number]).await;
    assert_eq!(tunnel.get("/x", &[]).await.status, 200);
    let again = world.run(&["egress", "remove", &number]).await;
    assert!(again.stderr.contains("no egress rule"), "{}", again.stderr);
    let added = world
        .ledger_line("added", |line| line["event"] == "egress.added")
        .await;
    let said = added["locations"].to_string();
    assert!(
        said.contains("deny everyone") && said.contains(HOST),
        "{said}"
    );
}

#[tokio::test]
async fn rules_are_about_clients_users_and_groups() {
    let (world, _stub) = one_upstream().await;
    let token = world.client("bobs", "bob").await;
    let of_bob = Wanted::new(&world).authorized(basic("act-1", &token));
    let mut bob = world.tunnel_for(&of_bob).await;
    let mut tester = world.tunnel().await;
    egret(&world, &["group", "add", "ops"]).await;
    let unknown = world.run(&["egress", "deny", "--group", "obs"]).await;
    assert!(
        unknown.stderr.contains("no group `obs`"),
        "{}",
        unknown.stderr
    );
    for subject in [["--client", "bobs"], ["--user", "bob"], ["--group", "ops"]] {
        let rule = [&["egress", "deny", "--json"], &subject[..]].concat();
        let number = world.run(&rule).await.json()["number"].to_string();
        if subject[0] == "--group" {
            assert_eq!(bob.get("/x", &[]).await.status, 200);
            egret(&world, &["group", "join", "ops", "bob"]).await;
        }
        assert_refused(&bob.get("/x", &[]).await, REFUSED);
        assert_eq!(tester.get("/x", &[]).await.status, 200, "{subject:?}");
        let Err(connect) = of_bob.connect(&world).await else {
            panic!("{subject:?}: a tunnel was opened");
        };
        assert_refused(&connect, REFUSED);
        egret(&world, &["egress", "remove", &number]).await;
        assert_eq!(bob.get("/x", &[]).await.status, 200, "{subject:?}");
    }
}

#[tokio::test]
async fn what_was_observed_becomes_a_list_that_lets_it_through() {
    let builder = World::builder().set("egress.default", "observe");
    let (mut world, stub) = one_upstream_with(builder).await;
    let mut tunnel = world.tunnel().await;
    for _ in 0..3 {
        let answer = tunnel.get("/x?token=1", &["X-Api-Key: <<pat>>"]).await;
        assert_eq!(answer.status, 200);
    }
    let seen = world
        .ledger_line("a destination", |line| line["event"] == "destination")
        .await;
    assert_eq!(seen["destination"], format!("https://{HOST}:443"));
    assert_eq!(
        (&seen["client"], &seen["path"]),
        (&"tester".into(), &Value::Null)
    );
    assert_eq!(lines(&world, "destination").len(), 1, "once for a host");
    let metrics = world.admin_page("/metrics").await.expect("metrics").text();
    assert!(
        metrics.contains("egret_requests_observed_total 3"),
        "{metrics}"
    );

    let suggest = ["egress", "suggest", "--client", "tester", "--since", "7d"];
    let suggested = egret(&world, &suggest).await;
    assert_eq!(
        suggested,
        format!("egret egress allow {HOST} --client tester\n")
    );
    world.configure("egress.default", "deny");
    world.reload().await;
    assert_refused(&tunnel.get("/x", &[]).await, REFUSED);
    let words: Vec<&str> = suggested.split_whitespace().skip(1).collect();
    egret(&world, &words).await;
    assert_eq!(tunnel.get("/x", &[]).await.status, 200);
    stub.take();
}

#[tokio::test]
async fn a_rule_that_would_end_what_works_has_to_be_meant() {
    let (world, _stub) = one_upstream().await;
    let mut tunnel = world.tunnel().await;
    let answer = tunnel.get("/x", &["X-Api-Key: <<pat>>"]).await;
    assert_eq!(answer.status, 200);
    world
        .ledger_line("a use", |line| line["event"] == "use")
        .await;
    let locked = world.run(&["egress", "deny"]).await;
    assert_eq!(locked.status.code(), Some(2));
    let said = format!("tester to https://{HOST}:443");
    assert!(locked.stderr.contains(&said), "{}", locked.stderr);
    let file = b"[[rules.everyone]]\nrule = \"deny\"\n";
    let locked = world.run_with(&["apply", "-"], file).await;
    assert_eq!(locked.status.code(), Some(2));
    assert!(locked.stderr.contains(&said), "{}", locked.stderr);
    egret(&world, &["egress", "deny", "--client", "another"]).await;
    let allow = ["egress", "allow", HOST, "--client", "tester", "--json"];
    let opened = world.run(&allow).await.json()["number"].to_string();
    egret(&world, &["egress", "deny"]).await;
    assert_eq!(tunnel.get("/x", &[]).await.status, 200);
    let listed = egret(&world, &["egress", "list"]).await;
    assert!(listed.contains("client:another"), "{listed}");
    let url = format!("https://{HOST}/x");
    for (client, decision) in [("tester", "allow"), ("another", "deny")] {
        let check = ["egress", "check", &url, "--client", client, "--json"];
        assert_eq!(world.run(&check).await.json()["decision"], decision);
    }
    let twice = world.run(&["egress", "deny"]).await;
    assert!(twice.stderr.contains("covers this one"), "{}", twice.stderr);
    // Also where it is about everyone, and where it covers a part.
    egret(&world, &["egress", "deny", "a.example"]).await;
    let client = ["--client", "tester"];
    let partly = ["egress", "allow", "a.example", "b.example"];
    let partly = world.run(&[&partly[..], &client].concat()).await;
    let named = partly.stderr.contains("(deny) decides at a.example");
    assert!(named, "{}", partly.stderr);
    let whole = ["egress", "allow", "a.example", "--path", "/x"];
    let whole = world.run(&[&whole[..], &client].concat()).await;
    let named = whole.stderr.contains("(deny) covers this one");
    assert!(named, "{}", whole.stderr);
    // The API says the same.
    egret(&world, &["user", "add", "olga", "--role", "administrator"]).await;
    let olga = crate::api::client::Api::of(&world, "olga", "manage").await;
    let deny = json!({ "subject": "everyone", "rule": "deny" });
    let locked = olga.post(
        "/rules",
        When::Always,
        json!({ "subject": "client:tester", "rule": "deny", "hosts": [HOST] }),
    );
    let locked = locked.await;
    assert!(
        locked.status == 409 && locked.text().contains(&said),
        "{}",
        locked.text()
    );
    let idle = olga.post("/rules", When::Always, deny).await;
    assert_eq!(idle.status, 201, "{}", idle.text());
    let idle: Value = serde_json::from_slice(&idle.body).expect("JSON");
    assert!(
        idle["remarks"]
            .to_string()
            .contains("(deny) covers this one"),
        "{idle}"
    );
    let strange = json!({ "subject": "client:nobodys", "rule": "allow", "hosts": ["a.example", "b.example"] });
    let strange = olga.post("/rules", When::Always, strange).await;
    let strange: Value = serde_json::from_slice(&strange.body).expect("JSON");
    let remarks = strange["remarks"].to_string();
    assert!(remarks.contains("(deny) decides at a.example"), "{remarks}");
    assert!(
        remarks.contains("there is no client nobodys yet"),
        "{remarks}"
    );
    let again =
        json!({ "subject": "client:tester", "rule": "allow", "hosts": [HOST], "methods": ["GET"] });
    let again = olga.post("/rules", When::Always, again).await;
    let again: Value = serde_json::from_slice(&again.body).expect("JSON");
    let removed = olga
        .delete(&format!("/rules/{}", again["number"]), When::Always)
        .await;
    let removed: Value = serde_json::from_slice(&removed.body).expect("JSON");
    assert_eq!(
        removed["remarks"],
        json!([]),
        "another rule lets it through"
    );
    egret(&world, &["egress", "remove", &opened]).await;
    let opened = world.run(&allow).await.json()["number"].to_string();
    let removed = olga.delete(&format!("/rules/{opened}"), When::Always).await;
    assert_eq!(removed.status, 200, "{}", removed.text());
    let removed: Value = serde_json::from_slice(&removed.body).expect("JSON");
    let ends = removed["remarks"].to_string();
    assert!(
        ends.contains(&format!("refused from now on: {said}")),
        "{ends}"
    );
    let opened = world.run(&allow).await.json()["number"].to_string();
    // A rule goes when it is told to, and what cannot be done without it is said.
    let removed = world.run(&["egress", "remove", &opened]).await;
    let named = removed
        .stderr
        .contains(&format!("refused from now on: {said}"));
    assert!(named, "{}", removed.stderr);
    let bound = world.run(&["bundle", "bind", "jwt:ci", "work"]).await;
    assert!(bound.stderr.contains("bundle_claim"), "{}", bound.stderr);
}

/// What the name says is what is dialled: a client that names an open host and means another one.
#[tokio::test]
async fn naming_an_open_host_leads_nowhere_else() {
    let builder = World::builder().set("egress.default", "deny");
    let other = Stub::tls(builder.pki(), &["closed.example.test"]).await;
    let builder = builder
        .route("closed.example.test:443", other.addr)
        .set("egress.allow", vec![HOST.to_owned()]);
    let (world, stub) = one_upstream_with(builder).await;
    for spelling in [
        "closed.example.test",
        "CLOSED.example.test",
        "closed.example.test.",
    ] {
        let wanted = Wanted::new(&world).host(spelling);
        let Err(refused) = wanted.connect(&world).await else {
            panic!("{spelling}: a tunnel was opened");
        };
        assert_refused(&refused, REFUSED);
    }
    for open in ["API.example.test", "api.example.test."] {
        let wanted = Wanted {
            authority: format!("{open}:443"),
            ..Wanted::new(&world)
        };
        let mut tunnel = world.tunnel_for(&wanted).await;
        assert_eq!(tunnel.get("/", &[]).await.status, 200, "{open}");
    }
    // The TLS server name.
    let mut sni = world
        .tunnel_for(&Wanted {
            server_name: "closed.example.test".to_owned(),
            ..Wanted::new(&world)
        })
        .await;
    assert_refused(&sni.get("/", &[]).await, "destination_mismatch");
    // `Host`, and an absolute target inside the tunnel.
    for request in [
        "GET / HTTP/1.1\r\nHost: closed.example.test\r\n\r\n".to_owned(),
        format!("GET https://closed.example.test/ HTTP/1.1\r\nHost: {HOST}\r\n\r\n"),
    ] {
        let mut tunnel = world.tunnel().await;
        assert_refused(&tunnel.roundtrip(request).await, "destination_mismatch");
    }
    // Its address.
    for authority in [
        other.addr.to_string(),
        format!("[::ffff:127.0.0.1]:{}", other.addr.port()),
    ] {
        let wanted = Wanted {
            authority,
            ..Wanted::new(&world)
        };
        let Err(refused) = wanted.connect(&world).await else {
            panic!("a tunnel to an address was opened");
        };
        assert_refused(&refused, REFUSED);
    }
    assert_eq!(other.take().len(), 0);
    stub.take();
}

#[tokio::test]
async fn addresses_of_the_operators_list_are_not_dialled() {
    let builder = World::builder().set("egress.deny_addresses", vec!["127.0.0.0/8".to_owned()]);
    let (world, stub) = one_upstream_with(builder).await;
    let mut tunnel = world.tunnel().await;
    let refused = tunnel.get("/x", &[]).await;
    assert_refused(&refused, "destination_forbidden");
    assert!(refused.text().contains("egress.deny_addresses"));
    assert!(stub.take().is_empty());
}

#[tokio::test]
async fn a_list_that_contradicts_itself_is_named_with_its_line() {
    let world = World::builder().start().await;
    world.configure_text("[egress]\nallow = [\"a.example.com\"]\ndeny = [\"*.example.com\"]\n");
    let checked = world.run(&["config", "check"]).await;
    assert!(!checked.status.success());
    let output = checked.stdout + &checked.stderr;
    assert!(
        output.contains("egret.toml:2: egress.allow: a.example.com"),
        "{output}"
    );
}

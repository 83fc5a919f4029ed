//! Filters of the list of credentials: each shows what it is for, and its opposite the rest.

use serde_json::json;

use super::client::{Api, When, expect};
use crate::wire::Response;
use crate::world::{HOST, one_upstream};

/// The slugs of a page.
fn slugs(page: &Response) -> Vec<String> {
    expect(page, 200);
    let items = page.json()["items"].clone();
    let items = items.as_array().expect("items").clone();
    let slug = |item: &serde_json::Value| item["slug"].as_str().expect("a slug").to_owned();
    items.iter().map(slug).collect()
}

#[tokio::test]
async fn a_list_has_what_upstreams_refuse_or_the_rest() {
    let (world, stub) = one_upstream().await;
    world.save("other", "v-2", &["--host", HOST]).await;
    let administrator = ["user", "add", "root", "--role", "administrator"];
    world.run(&administrator).await.ok();
    let root = Api::of(&world, "root", "audit").await;
    let rejected = root.get("/credentials?rejected=true").await;
    assert_eq!(slugs(&rejected), [""; 0]);

    let mut tunnel = world.tunnel().await;
    for _ in 0..3 {
        stub.answer(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n".to_vec());
        assert_eq!(tunnel.get("/x", &["X-Api-Key: <<pat>>"]).await.status, 401);
    }
    let rejected = root.get("/credentials?rejected=true").await;
    assert_eq!(slugs(&rejected), ["pat"]);
    let since = rejected.json()["items"][0]["rejected_since"].clone();
    assert!(
        since.as_str().is_some_and(|since| since.ends_with('Z')),
        "{since}"
    );
    let taken = root.get("/credentials?rejected=false").await;
    assert_eq!(slugs(&taken), ["other"]);
    assert_eq!(taken.json()["items"][0]["rejected_since"], json!(null));
    assert_eq!(slugs(&root.get("/credentials").await), ["other", "pat"]);
}

#[tokio::test]
async fn a_list_is_narrowed_by_owner_text_state_and_due_date() {
    let (world, _stub) = one_upstream().await;
    for user in ["alice", "bob"] {
        world.run(&["user", "add", user]).await.ok();
    }
    let administrator = ["user", "add", "root", "--role", "administrator"];
    world.run(&administrator).await.ok();
    let alice = Api::of(&world, "alice", "manage").await;
    for (slug, description) in [("one", "For Reports"), ("two", "for builds")] {
        let new = json!({ "value": "v", "hosts": [HOST], "description": description });
        let path = format!("/credentials/alice/{slug}");
        expect(&alice.put(&path, When::New, new).await, 201);
    }
    let revoke = "/credentials/alice/two/revoke";
    expect(&alice.send("POST", revoke, When::Any, None).await, 200);
    let due = json!({ "rotate_every": 1 });
    let rotation = "/credentials/alice/one/rotation";
    expect(&alice.put(rotation, When::Any, due).await, 200);
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;

    let root = Api::of(&world, "root", "audit").await;
    let all = ["one", "two", "pat"];
    for (query, expected) in [
        ("", &all[..]),
        ("?owner=alice", &["one", "two"]),
        ("?owner=bob", &[]),
        ("?text=reports", &["one"]),
        ("?text=tw", &["two"]),
        ("?state=revoked", &["two"]),
        ("?state=active", &["one", "pat"]),
        ("?due=true", &["one"]),
        ("?due=false", &["two", "pat"]),
        ("?owner=alice&state=active&text=for", &["one"]),
    ] {
        let page = root.get(&format!("/credentials{query}")).await;
        assert_eq!(slugs(&page), expected, "{query}");
    }
    let first = root.get("/credentials?limit=2").await;
    assert_eq!(slugs(&first), ["one", "two"]);
    let next = first.json()["next"]
        .as_str()
        .expect("another page")
        .to_owned();
    let rest = root
        .get(&format!("/credentials?limit=2&after={next}"))
        .await;
    assert_eq!(slugs(&rest), ["pat"]);
    assert_eq!(rest.json()["next"], json!(null));
}

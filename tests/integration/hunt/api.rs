//! Values that come over the API: saved, refused, and in the middle of what cannot be read.

use serde_json::json;

use super::canary::{self, Canary};
use super::search::Search;
use super::{Hunt, image};
use crate::api::client::{Api, When};
use crate::world::HOST;

/// Every way for a value to come in over the API, right and wrong. Connections stay open afterwards, as
/// those of real programs do.
async fn send(hunt: &Hunt, api: &Api<'_>, canary: &Canary) -> Vec<Vec<u8>> {
    let value = std::str::from_utf8(&canary.value).expect("text");
    let (new, other) = (&canary.slug, &hunt.canaries[0].slug);
    let path = format!("/credentials/default/{new}");
    let good = json!({ "value": value, "hosts": [HOST] }).to_string();
    let login = json!({ "kind": "login", "hosts": [HOST],
        "value": { "username": "u", "password": value } });
    let elsewhere = json!({ "value": 1, "hosts": [value], "kind": value, value: value });
    let versions = format!("{path}/versions");
    let promote = format!("{path}/versions/promote");
    let staged = json!({ "value": value, "stage": true });
    let import = |save: bool| json!({ "content": format!("{}='{value}'\n", new.to_uppercase()), "save": save });
    let requests = [
        ("PUT", path.clone(), When::New, good.clone()),
        // It is there already.
        ("PUT", path.clone(), When::New, good.clone()),
        ("PUT", format!("{path}-login"), When::New, login.to_string()),
        ("POST", versions.clone(), When::Any, staged.to_string()),
        ("POST", promote, When::Any, "{}".to_owned()),
        // Of a revision that is over.
        ("POST", versions, When::As("\"r1\""), good.clone()),
        ("PUT", format!("{path}-x"), When::New, elsewhere.to_string()),
        (
            "PUT",
            format!("{path}-x"),
            When::New,
            format!("{good} {good}"),
        ),
        (
            "PUT",
            format!("{path}-x"),
            When::New,
            good[..good.len() - 1].to_owned(),
        ),
        // No condition, and a member that the value is too much for.
        ("PUT", format!("{path}-x"), When::Always, good.clone()),
        (
            "POST",
            format!("/credentials/default/{other}/revoke"),
            When::As(value),
            good.clone(),
        ),
        (
            "POST",
            "/import".to_owned(),
            When::Always,
            import(false).to_string(),
        ),
        (
            "POST",
            "/plan".to_owned(),
            When::Always,
            json!({ "file": value }).to_string(),
        ),
    ];
    let mut received = Vec::new();
    for (method, path, when, body) in requests {
        if let When::As(tag) = when
            && !tag.bytes().all(|byte| byte.is_ascii_graphic())
        {
            // A field of a head holds no such text.
            continue;
        }
        let mut wire = api.connect().await;
        let request = api.request(method, &path, when, Some(&body));
        let request = request.replace("Connection: close\r\n", "");
        wire.send(request).await.expect("send a request");
        let answer = crate::within("an answer of the API", wire.response(false)).await;
        answer.expect("an answer of the API");
        received.push(wire.received.clone());
        // Some clients keep a connection for the next request.
        tokio::spawn(async move {
            let _ = wire.response(false).await;
        });
    }
    for slug in [new.clone(), format!("{new}-login")] {
        let gone = api
            .delete(&format!("/credentials/default/{slug}"), When::Any)
            .await;
        assert_eq!(gone.status, 204, "{}", gone.text());
    }
    received
}

/// After they were deleted, neither answers, log, ledger and store nor a core image of the server hold
/// any of the values that came over the API.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_value_that_came_over_the_api_is_nowhere_afterwards() {
    let mut hunt = Hunt::begin("a_value_that_came_over_the_api_is_nowhere_afterwards").await;
    let token = Api::of(&hunt.world, "default", "manage").await.token;
    let sent = canary::plant(&mut hunt.chance, "api");
    // The longest fill many buffers, the shortest are in no more places than others.
    let sent: Vec<Canary> = sent.into_iter().step_by(2).collect();
    let mut received = Vec::new();
    for canary in &sent {
        let api = Api {
            world: &hunt.world,
            token: token.clone(),
        };
        received.extend(send(&hunt, &api, canary).await);
    }
    hunt.replaced.extend(sent);
    let search = Search::whole(&hunt.all());
    for answer in &received {
        assert_eq!(search.find(answer), None, "in an answer");
    }
    hunt.search_outside(&search);
    image::nothing_stays(&mut hunt).await;
}

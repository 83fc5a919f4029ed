//! People sign in at a real OpenID provider (npm `oidc-provider`), and tokens that are not right are
//! refused.

mod glewlwyd;

use std::collections::BTreeMap;
use std::process::Stdio;

use serde_json::{Value, json};
use tempfile::NamedTempFile;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdout, Command};

use crate::browser::{Browser, root};
use crate::needs::{Need, client_file, needs};
use crate::wire::{Response, Wire, values};
use crate::within;
use crate::world::World;

/// The page of these tests. Its port is in the redirect URI, which the provider has to know before.
const PAGE: &str = "http://egret.localhost:7071";

struct Provider {
    issuer: String,
    /// The file with the secret of the client.
    secret: NamedTempFile,
    /// Kept, because the provider would end if nobody could read what it says.
    _output: Lines<BufReader<ChildStdout>>,
    process: Child,
}

impl Provider {
    async fn start() -> Self {
        let program = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/integration/openid/provider.mjs"
        );
        let node = client_file("npm/node");
        let mut process = Command::new(node)
            .arg(program)
            .arg(format!("{PAGE}/signin/openid/callback"))
            .current_dir(client_file("openid"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("start the provider");
        let stdout = process.stdout.take().expect("its output");
        let mut lines = BufReader::new(stdout).lines();
        let issuer = within("the provider", lines.next_line()).await;
        let issuer = issuer.expect("its output").expect("an issuer");
        let secret = NamedTempFile::new().expect("a file");
        std::fs::write(secret.path(), "a secret: with %\n").expect("write the secret");
        Self {
            issuer,
            secret,
            _output: lines,
            process,
        }
    }

    /// A world whose people sign in there, with an administrator of its own.
    async fn world(&self, more: &[(&str, toml::Value)]) -> (World, Browser) {
        let mut builder = World::builder()
            .set("admin.url", PAGE)
            .set("openid.issuer", self.issuer.as_str())
            .set("openid.client_id", "egret");
        for (key, value) in more {
            builder = builder.set(key, value.clone());
        }
        let path = self.secret.path().display().to_string();
        let world = builder.set("openid.client_secret_file", path).start().await;
        let browser = root(&world).await;
        (world, browser)
    }

    /// What the next tokens are like.
    async fn set(&self, what: Value) {
        let body = what.to_string();
        let answer = self.ask("POST", "/fault", "", &body).await;
        assert_eq!(answer.status, 200);
    }

    async fn ask(&self, method: &str, path: &str, cookie: &str, body: &str) -> Response {
        let authority = self.issuer.strip_prefix("http://").expect("plain HTTP");
        let asked = async {
            let socket = TcpStream::connect(authority).await.expect("the provider");
            let mut wire = Wire::new(socket);
            let head = format!(
                "{method} {path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\
                 Cookie: {cookie}\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            wire.send(head).await.expect("send");
            wire.response(false).await.expect("an answer")
        };
        within("the provider", asked).await
    }

    /// Follows the redirects of the provider, back to the page.
    async fn follow(&self, from: &str) -> String {
        let mut cookies = BTreeMap::new();
        let mut place = from.to_owned();
        for _ in 0..10 {
            let path = place
                .strip_prefix(&self.issuer)
                .unwrap_or(&place)
                .to_owned();
            let cookie: Vec<String> = cookies.iter().map(|(k, v)| format!("{k}={v}")).collect();
            let answer = self.ask("GET", &path, &cookie.join("; "), "").await;
            for field in values(&answer.headers, "set-cookie") {
                let field = String::from_utf8_lossy(field).into_owned();
                let pair = field.split(';').next().expect("a cookie");
                let (name, value) = pair.split_once('=').expect("a value");
                cookies.insert(name.to_owned(), value.to_owned());
            }
            place = answer
                .header("location")
                .unwrap_or_else(|| panic!("{path}: {}", answer.text()));
            if let Some(back) = place.strip_prefix(PAGE) {
                return back.to_owned();
            }
        }
        panic!("the provider leads in a circle");
    }

    /// Signs in, up to the answer to the callback.
    async fn sign_in(&self, world: &World, browser: &mut Browser) -> Response {
        self.sign_in_from(world, browser, "/signin/openid?next=/credentials")
            .await
    }

    async fn sign_in_from(&self, world: &World, browser: &mut Browser, path: &str) -> Response {
        let begun = browser.get(world, path).await;
        assert_eq!(begun.status, 303, "{}", begun.text());
        let away = begun.header("location").expect("the provider");
        let back = self.follow(&away).await;
        browser.get(world, &back).await
    }
}

/// A setting that lists texts.
fn list(texts: &[&str]) -> toml::Value {
    toml::Value::Array(texts.iter().map(|text| (*text).into()).collect())
}

async fn is_in(world: &World, browser: &Browser) -> bool {
    let answer = browser.clone().get(world, "/account/password").await;
    answer.status == 200
}

#[tokio::test]
async fn somebody_at_the_provider_becomes_a_user_whose_key_is_the_subject() {
    needs!(Need::OpenIdProvider);
    let provider = Provider::start().await;
    let groups = [
        ("openid.groups_claim", "groups".into()),
        ("openid.groups", list(&["platform=ops", "nobody=dev"])),
    ];
    let (world, _) = provider.world(&groups).await;
    world.run(&["group", "add", "ops"]).await.ok();
    let mut jane = Browser::default();
    let answer = provider.sign_in(&world, &mut jane).await;
    assert_eq!(answer.status, 303, "{}", answer.text());
    assert_eq!(answer.header("location").as_deref(), Some("/credentials"));
    assert!(is_in(&world, &jane).await);
    let users = world.run(&["user", "list", "--json"]).await.json();
    let known = users.as_array().expect("a list").iter();
    let jane_of = known
        .filter(|user| user["name"] == "jane")
        .collect::<Vec<_>>();
    assert_eq!(jane_of[0]["role"], "member");
    let listed = world.run(&["group", "list", "--json"]).await.json();
    assert_eq!(listed[0]["members"], json!(["jane"]));

    // Another name for the same subject is the same user, and the groups follow.
    let renamed = json!({"person": {"preferred_username": "root", "groups": []}});
    provider.set(renamed).await;
    let answer = provider.sign_in(&world, &mut jane).await;
    assert_eq!(answer.status, 303, "{}", answer.text());
    let line = world
        .ledger_line("the second sign-in", |line| {
            line["event"] == "group.left" && line["principal"] == "jane"
        })
        .await;
    assert_eq!(line["action"], "server:openid");

    // Somebody else with the name of a user who is there is nobody.
    let other = json!({"person": {"sub": "2", "preferred_username": "root"}});
    provider.set(other).await;
    let mut mallory = Browser::default();
    let answer = provider.sign_in(&world, &mut mallory).await;
    assert_eq!(answer.status, 401);
    assert!(answer.text().contains("egret user link root"));
    assert!(!is_in(&world, &mallory).await);
    // The operator says who it is.
    world
        .run(&["user", "link", "root", "--subject", "2"])
        .await
        .ok();
    let answer = provider.sign_in(&world, &mut mallory).await;
    assert_eq!(answer.status, 303, "{}", answer.text());
    // A disabled user is not let in by the provider.
    world.run(&["user", "disable", "jane"]).await.ok();
    provider
        .set(json!({"person": {"sub": "248289761001"}}))
        .await;
    let answer = provider.sign_in(&world, &mut jane).await;
    assert_eq!(answer.status, 401);
}

#[tokio::test]
async fn an_answer_that_is_not_right_signs_nobody_in() {
    needs!(Need::OpenIdProvider);
    let provider = Provider::start().await;
    let (world, _) = provider.world(&[]).await;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = now.expect("after 1970").as_secs();
    for (what, fault) in [
        ("nonce", json!({"claims": {"nonce": "another"}})),
        ("no nonce", json!({"claims": {"nonce": null}})),
        ("audience", json!({"claims": {"aud": "another"}})),
        ("party", json!({"claims": {"aud": ["egret", "another"]}})),
        ("other party", json!({"claims": {"azp": "another"}})),
        (
            "issuer",
            json!({"claims": {"iss": format!("{}/", provider.issuer)}}),
        ),
        ("subject", json!({"claims": {"sub": null}})),
        ("expired", json!({"claims": {"exp": now - 120}})),
        ("future", json!({"claims": {"iat": now + 3600}})),
        ("unsigned", json!({"algorithm": "none"})),
        ("symmetric", json!({"algorithm": "HS256"})),
        ("unpublished key", json!({"key": "unpublished"})),
        ("forged", json!({"key": "forged"})),
    ] {
        provider.set(json!({"fault": fault})).await;
        let mut browser = Browser::default();
        let answer = provider.sign_in(&world, &mut browser).await;
        assert_eq!(answer.status, 401, "{what}: {}", answer.text());
        assert!(!is_in(&world, &browser).await, "{what}");
    }
    // Sixty seconds of difference between clocks are forgiven.
    provider
        .set(json!({"fault": {"claims": {"exp": now - 20}}}))
        .await;
    let answer = provider.sign_in(&world, &mut Browser::default()).await;
    assert_eq!(answer.status, 303, "{}", answer.text());
    let users = world.run(&["user", "list", "--json"]).await.json();
    // `default` of the tester's client, root, and the one who was let in.
    assert_eq!(users.as_array().map(Vec::len), Some(3), "{users}");
}

#[tokio::test]
async fn a_state_belongs_to_one_browser_and_works_once() {
    needs!(Need::OpenIdProvider);
    let provider = Provider::start().await;
    let (world, _) = provider.world(&[]).await;
    let mut victim = Browser::default();
    let mut attacker = Browser::default();
    let begun = attacker.get(&world, "/signin/openid").await;
    let back = provider
        .follow(&begun.header("location").expect("away"))
        .await;
    // The attacker's answer in the victim's browser, with a sign-in of the victim's own begun or not.
    let answer = victim.get(&world, &back).await;
    assert_eq!(answer.status, 401);
    victim.get(&world, "/signin/openid").await;
    assert_eq!(victim.get(&world, &back).await.status, 401);
    assert!(!is_in(&world, &victim).await);
    let wrong = back.replacen("state=", "state=x", 1);
    assert_eq!(attacker.clone().get(&world, &wrong).await.status, 401);
    let other_issuer = back.replacen("iss=http", "iss=https", 1);
    assert_eq!(
        attacker.clone().get(&world, &other_issuer).await.status,
        401
    );

    let mut own = Browser::default();
    let begun = own.get(&world, "/signin/openid").await;
    let back = provider
        .follow(&begun.header("location").expect("away"))
        .await;
    let mut replay = own.clone();
    assert_eq!(own.get(&world, &back).await.status, 303);
    assert!(is_in(&world, &own).await);
    assert_eq!(replay.get(&world, &back).await.status, 401);
}

#[tokio::test]
async fn new_keys_are_fetched_and_a_provider_that_is_down_keeps_no_local_account_out() {
    needs!(Need::OpenIdProvider);
    let mut provider = Provider::start().await;
    let (world, mut administrator) = provider.world(&[]).await;
    let mut jane = Browser::default();
    assert_eq!(provider.sign_in(&world, &mut jane).await.status, 303);
    // Its keys are fetched again at the earliest two seconds after the last time.
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    provider.set(json!({"fault": {"key": "rotated"}})).await;
    let answer = provider.sign_in(&world, &mut jane).await;
    assert_eq!(answer.status, 303, "{}", answer.text());
    // Whoever signed in there proves it there, again.
    let asked = jane.get(&world, "/reauthenticate?next=/x").await;
    let place = asked.header("location").expect("the provider");
    assert_eq!(place, "/signin/openid?prove=true&next=%2Fx");
    provider.set(json!({})).await;
    let answer = provider.sign_in_from(&world, &mut jane, &place).await;
    assert_eq!(
        answer.header("location").as_deref(),
        Some("/x"),
        "{}",
        answer.text()
    );
    let old = json!({"fault": {"claims": {"auth_time": 1_000_000}}});
    provider.set(old).await;
    let answer = provider.sign_in_from(&world, &mut jane, &place).await;
    assert_eq!(answer.status, 401);

    provider.process.kill().await.expect("end the provider");
    let mut late = Browser::default();
    late.get(&world, "/signin").await;
    let away = late.get(&world, "/signin/openid").await;
    // What it said of itself is remembered, so that this leads to it; it does not answer there.
    assert!(matches!(away.status, 303 | 502));
    assert!(is_in(&world, &jane).await);
    administrator.post(&world, "/signout", &[]).await;
    assert_eq!(administrator.sign_in(&world, "root").await.status, 303);
}

#[tokio::test]
async fn a_provider_that_is_not_the_one_that_is_configured_is_said() {
    needs!(Need::OpenIdProvider);
    let provider = Provider::start().await;
    let issuer = format!("{}/", provider.issuer);
    let (world, _) = provider
        .world(&[("openid.issuer", issuer.as_str().into())])
        .await;
    let answer = Browser::default().get(&world, "/signin/openid").await;
    assert_eq!(answer.status, 502);
    let text = answer.text();
    assert!(
        text.contains(&issuer) && text.contains(&format!("{}&#34;", provider.issuer)),
        "{text}"
    );
}

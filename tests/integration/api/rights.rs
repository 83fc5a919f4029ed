//! Who may do what: every endpoint, by everyone who may ask, as a table.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::client::{Api, When};
use crate::client::{Wanted, assert_refused, basic};
use crate::wire::Response;
use crate::world::{HOST, World, one_upstream_with};

/// Those who ask. Everything that is asked about is alice's; bob gets it by himself, and carol in a
/// group.
const COLUMNS: [&str; 9] = [
    "owner", "shared", "group", "none", "admin", "auditor", "reads", "audits", "nobody",
];

/// People, and one credential, bundle, client and token at a time to ask about.
struct Scene<'a> {
    world: &'a World,
    owner: Api<'a>,
    askers: Vec<Api<'a>>,
    made: u32,
    /// Whether a question has to wait for an answer, which takes its time.
    asks: bool,
}

/// Which asker administers.
const ADMINISTRATOR: usize = 4;

impl<'a> Scene<'a> {
    async fn set(world: &'a World) -> Self {
        for (user, role) in [
            ("alice", "member"),
            ("bob", "member"),
            ("carol", "member"),
            ("dave", "member"),
            ("eve", "member"),
            ("olga", "administrator"),
            ("wim", "auditor"),
        ] {
            world.run(&["user", "add", user, "--role", role]).await.ok();
        }
        world.run(&["group", "add", "ops"]).await.ok();
        world.run(&["group", "join", "ops", "carol"]).await.ok();
        let mut askers = Vec::new();
        for user in ["alice", "bob", "carol", "dave", "olga", "wim"] {
            askers.push(Api::of(world, user, "manage").await);
        }
        for scope in ["read", "audit"] {
            askers.push(Api::of(world, "alice", scope).await);
        }
        askers.push(Api::nobody(world));
        let owner = askers[0].clone();
        Self {
            world,
            owner,
            askers,
            made: 0,
            asks: false,
        }
    }

    /// New things to ask about, as a request may have ended the last ones.
    async fn renew(&mut self) -> BTreeMap<&'static str, String> {
        self.made += 1;
        let number = self.made;
        let (slug, bundle, client) = (
            format!("key-{number}"),
            format!("bundle-{number}"),
            format!("client-{number}"),
        );
        let value = json!({ "value": "v", "hosts": [HOST], "approve": "always" });
        let credential = format!("/credentials/alice/{slug}");
        made(self.owner.put(&credential, When::New, value).await);
        let staged = json!({ "value": "w", "stage": true });
        let versions = format!("{credential}/versions");
        made(self.owner.post(&versions, When::Any, staged).await);
        made(
            self.owner
                .put(&format!("/bundles/alice/{bundle}"), When::New, json!({}))
                .await,
        );
        let entry = format!("/bundles/alice/{bundle}/entries/{slug}");
        made(
            self.owner
                .put(&entry, When::Any, json!({ "slug": slug }))
                .await,
        );
        for with in ["bob", "group:ops"] {
            for thing in [&credential, &format!("/bundles/alice/{bundle}")] {
                let share = format!("{thing}/shares/{with}");
                made(self.owner.put(&share, When::Any, json!({})).await);
            }
        }
        let administrator = &self.askers[ADMINISTRATOR];
        let spare = format!("/groups/spare-{number}");
        made(administrator.put(&spare, When::New, json!({})).await);
        let added = self
            .owner
            .put(&format!("/clients/{client}"), When::New, json!({}))
            .await;
        let attached = json!({ "header": format!("X-Api-Key: <<{slug}>>"), "hosts": [HOST],
            "methods": ["PUT"] });
        let attachments = format!("{credential}/attachments");
        made(self.owner.post(&attachments, When::Any, attached).await);
        let stand_ins = format!("{credential}/stand-ins");
        let stand_in = json!({ "like": "uuid" });
        let stand_in = self.owner.post(&stand_ins, When::Any, stand_in).await;
        let text = stand_in.json()["stand_ins"][0].clone();
        let text = text.as_str().expect("a stand-in").to_owned();
        let rule = [
            "egress",
            "observe",
            "x.example.test",
            "--client",
            &client,
            "--json",
        ];
        let rule = self.world.run(&rule).await.json()["number"].to_string();
        let (request, approval) = self.questions(&added, &slug).await;
        made(added);
        let token = self
            .world
            .run(&[
                "api-token",
                "add",
                "asked",
                "--user",
                "alice",
                "--scope",
                "read",
                "--expires",
                "1d",
                "--json",
            ])
            .await
            .json();
        BTreeMap::from([
            ("slug", slug.clone()),
            ("text", text),
            ("name", bundle),
            ("client", client),
            ("id", token["id"].as_str().expect("an id").to_owned()),
            ("owner", "alice".to_owned()),
            ("with", "eve".to_owned()),
            ("alias", slug),
            ("request", request),
            ("approval", approval),
            ("rule", rule),
            ("number", "2".to_owned()),
            ("group", "ops".to_owned()),
            ("user", "eve".to_owned()),
        ])
    }
}

impl Scene<'_> {
    /// The number of a line about alice alone, once a checkpoint covers it.
    async fn covered(&self) -> String {
        let is_hers =
            |line: &Value| line["event"] == "credential.created" && line["slug"] == "key-1";
        let line = self.world.ledger_line("a line of alice's", is_hers).await;
        let seq = line["seq"].to_string();
        let path = format!("/ledger/{seq}/proof");
        let proven = async {
            while self.owner.get(&path).await.status == 409 {
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        };
        crate::within("a checkpoint", proven).await;
        seq
    }

    /// What a new client asks for, and the question about what it did.
    async fn questions(&self, added: &Response, slug: &str) -> (String, String) {
        let token = added.json()["token"].as_str().expect("a token").to_owned();
        let client = Api {
            world: self.world,
            token: Some(token.clone()),
        };
        let wanted = json!({ "slug": format!("asked-{}", self.made), "host": HOST });
        let asked = client.post("/requests", When::Always, wanted).await;
        let request = asked.json()["number"].to_string();
        if !self.asks {
            return (request, "req-none".to_owned());
        }
        let wanted = Wanted::new(self.world).authorized(basic("report", &token));
        let mut tunnel = self.world.tunnel_for(&wanted).await;
        let header = format!("X-Api-Key: <<{slug}>>");
        assert_refused(&tunnel.get("/", &[&header]).await, "approval_required");
        let waiting = self
            .owner
            .get("/approvals?waiting=true&limit=500")
            .await
            .json();
        let mut waiting = waiting["items"].as_array().expect("items").iter();
        let question = waiting.find(|question| question["slug"] == slug);
        let id = question.expect("a question")["id"].as_str().expect("an id");
        (request, id.to_owned())
    }
}

#[track_caller]
fn made(answer: Response) {
    assert!(
        (200..300).contains(&answer.status),
        "{answer:#?}\n{}",
        answer.text()
    );
}

/// What an endpoint answers. Of a stream, which does not end, only the head is read.
async fn ask(asker: &Api<'_>, endpoint: &Endpoint, path: &str, message: Option<Value>) -> Response {
    if endpoint.operation != "follow_ledger" {
        let send = || asker.send(&endpoint.method, path, endpoint.when, message.clone());
        let answered = async {
            loop {
                let answer = send().await;
                // The check that was asked for before still runs.
                if answer.status != 409 || endpoint.operation != "check_ledger" {
                    return answer;
                }
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        };
        return crate::within("an answer", answered).await;
    }
    let mut wire = asker.connect().await;
    let request = asker.request(&endpoint.method, path, endpoint.when, None);
    wire.send(request).await.expect("send a request");
    let head = crate::within("the head of a stream", wire.head()).await;
    let (start, headers) = head.expect("the head of a stream");
    let status = start.split(' ').nth(1).expect("a status");
    let body = Vec::new();
    let (version, framing) = ("HTTP/1.1".to_owned(), crate::wire::Framing::None);
    Response {
        status: status.parse().expect("a status"),
        version,
        headers,
        framing,
        body,
    }
}

/// What a request of an endpoint says, and under which names it makes something.
fn message(operation: &str, number: u32) -> (Option<Value>, Option<(&'static str, String)>) {
    let new = |name: &'static str| Some((name, format!("new-{number}")));
    let hosts = json!({ "hosts": [HOST] });
    match operation {
        "create_credential" => (
            Some(json!({ "value": "v", "hosts": ["api.example.test"] })),
            new("slug"),
        ),
        "set_limits" => (Some(hosts), None),
        "set_rotation" => (Some(json!({ "rotate_every": 86400 })), None),
        "add_version" => (Some(json!({ "value": "x" })), None),
        "create_bundle" => (None, new("name")),
        "put_bundle_entry" => (Some(json!({ "slug": format!("key-{number}") })), None),
        "create_user" => (Some(json!({})), new("user")),
        "create_group" => (Some(json!({})), new("group")),
        "delete_group" => (None, Some(("group", format!("spare-{number}")))),
        "create_client" => (Some(json!({})), new("client")),
        "create_api_token" => (
            Some(json!({ "name": "x", "scope": "read", "expires": "2027-01-31T12:00:00Z" })),
            None,
        ),
        "answer_approval" => (Some(json!({ "answer": "always" })), None),
        "ask_for_key" => (Some(json!({ "slug": "wanted", "host": HOST })), None),
        "save_requested_key" => (Some(json!({ "value": "v" })), None),
        "add_rule" => (
            Some(json!({ "subject": "everyone", "rule": "observe", "hosts": [HOST] })),
            None,
        ),
        "create_sandbox" | "mint_token" => (Some(json!({ "action": "report" })), None),
        "import_credentials" => (Some(json!({ "content": "A=b" })), None),
        "attach_credential" => (
            Some(json!({ "header": format!("X-Other: <<key-{number}>>"), "hosts": [HOST] })),
            None,
        ),
        "add_stand_in" => (Some(json!({ "like": "jwt" })), None),
        "plan_declared" | "apply_declared" => {
            let file = format!("[groups.made-{number}]");
            (Some(json!({ "file": file })), None)
        }
        "hand_over_credential" => (Some(json!({ "to": "bob" })), None),
        "probe_version" => {
            let url = format!("https://{HOST}/");
            (Some(json!({ "method": "GET", "url": url })), None)
        }
        "promote_version"
        | "check_ledger"
        | "share_credential"
        | "share_bundle"
        | "change_user"
        | "bind_client"
        | "revoke_client_tokens" => (Some(json!({})), None),
        "revoke_issued_tokens" => (Some(json!({ "client": "jwt:ci" })), None),
        _ => (None, None),
    }
}

/// A path with names in it.
fn filled(path: &str, names: &BTreeMap<&str, String>) -> String {
    let path = path.strip_prefix("/api/v1").expect("below the base");
    let mut filled = path.to_owned();
    for (name, value) in names {
        filled = filled.replace(&format!("{{{name}}}"), value);
    }
    assert!(!filled.contains('{'), "{filled}");
    filled
}

/// What an endpoint has to be asked with.
fn query(operation: &str, names: &BTreeMap<&str, String>) -> String {
    match operation {
        "check_destination" => format!("?url=https://{HOST}/&client={}", names["client"]),
        _ => String::new(),
    }
}

struct Endpoint {
    method: String,
    path: String,
    operation: String,
    when: When<'static>,
}

fn endpoints(document: &Value) -> Vec<Endpoint> {
    let mut endpoints = Vec::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("operations") {
            let names = operation["parameters"]
                .as_array()
                .cloned()
                .unwrap_or_default();
            let takes = |field: &str| names.iter().any(|one| one["name"] == field);
            endpoints.push(Endpoint {
                method: method.to_uppercase(),
                path: path.clone(),
                operation: operation["operationId"].as_str().expect("an id").to_owned(),
                when: if takes("If-None-Match") {
                    When::New
                } else if takes("If-Match") {
                    When::Any
                } else {
                    When::Always
                },
            });
        }
    }
    endpoints.sort_by(|a, b| (&a.path, &a.method).cmp(&(&b.path, &b.method)));
    endpoints
}

/// The body without the id of the request.
fn body(answer: &Response) -> Value {
    let mut body = answer.json();
    if let Some(members) = body.as_object_mut() {
        members.remove("request_id");
    }
    body
}

#[tokio::test]
async fn every_endpoint_answers_everyone_as_the_table_says() {
    let builder = World::builder().set("approvals.wait", "100ms");
    let (world, _stub) = one_upstream_with(builder).await;
    let mut scene = Scene::set(&world).await;
    let document = scene.owner.get("/openapi.json").await.json();
    let mut table = format!(
        "{:66}{}\n",
        "",
        COLUMNS.map(|name| format!("{name:8}")).join("")
    );
    let mut names = scene.renew().await;
    let seq = scene.covered().await;
    for endpoint in endpoints(&document) {
        let asks = endpoint.path.contains("{approval}");
        if asks && !scene.asks {
            scene.asks = true;
            names = scene.renew().await;
        }
        scene.asks = asks;
        let row = format!("{} {}", endpoint.method, endpoint.path);
        let mut cells = String::new();
        for asker in scene.askers.clone() {
            let (message, new) = message(&endpoint.operation, scene.made);
            let mut own = names.clone();
            if let Some((name, value)) = new {
                own.insert(name, value);
            }
            if endpoint.path.contains("/attachments/") {
                own.insert("number", "1".to_owned());
            }
            own.insert("seq", seq.clone());
            let path = filled(&endpoint.path, &own) + &query(&endpoint.operation, &own);
            let answer = ask(&asker, &endpoint, &path, message.clone()).await;
            cells.push_str(&format!("{:8}", answer.status));
            let names_something = endpoint.path.contains('{') || path.contains('?');
            if answer.status == 404 && names_something {
                nothing_is_told(&asker, &endpoint, &own, message, &answer).await;
            }
            if answer.status < 300 && endpoint.method != "GET" {
                names = scene.renew().await;
            }
        }
        table.push_str(&format!("{row:66}{}\n", cells.trim_end()));
    }
    crate::golden::check("api-rights.txt", &table);
}

/// A row that was left out would be a right that nobody looks at.
#[test]
fn the_table_has_a_row_for_each_operation_of_the_document() {
    let golden = |name: &str| {
        let path = format!("{}/tests/golden/{name}", env!("CARGO_MANIFEST_DIR"));
        std::fs::read_to_string(path).expect(name)
    };
    let document = serde_json::from_str(&golden("openapi.json")).expect("JSON");
    let described = endpoints(&document).into_iter();
    let described: Vec<String> = described
        .map(|endpoint| format!("{} {}", endpoint.method, endpoint.path))
        .collect();
    let table = golden("api-rights.txt");
    let rows = table.lines().skip(1).map(|row| {
        let cells: Vec<&str> = row.split_whitespace().collect();
        assert_eq!(cells.len(), 2 + COLUMNS.len(), "{row}");
        cells[..2].join(" ")
    });
    assert_eq!(rows.collect::<Vec<_>>(), described);
    assert!(described.len() > 60, "{described:?}");
}

/// What is somebody else's is answered like what is not there.
async fn nothing_is_told(
    asker: &Api<'_>,
    endpoint: &Endpoint,
    names: &BTreeMap<&str, String>,
    message: Option<Value>,
    answer: &Response,
) {
    let mut absent = names.clone();
    for name in ["slug", "name", "client", "alias"] {
        absent.insert(name, "absent".to_owned());
    }
    absent.insert("id", "0123456789abcdef".to_owned());
    absent.insert("request", "999999999".to_owned());
    absent.insert("approval", "req-absent".to_owned());
    absent.insert("seq", "999999999".to_owned());
    let path = filled(&endpoint.path, &absent) + &query(&endpoint.operation, &absent);
    let other = ask(asker, endpoint, &path, message).await;
    assert_eq!(
        (other.status, body(&other)),
        (answer.status, body(answer)),
        "{path}"
    );
}

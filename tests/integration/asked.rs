//! What may be used, and what would become of a request: `egret explain`, `egret mcp` and
//! `egret.internal` say it without sending anything and without a value.

use serde_json::{Value, json};

use crate::client::{assert_refused, request};
use crate::leak::{assert_absent, forms};
use crate::needs::{Need, needs};
use crate::world::{HOST, SLUG, VALUE, World, one_upstream};

async fn explained(world: &World, args: &[&str]) -> Value {
    let args = [&["explain", "--json"], args].concat();
    world.run(&args).await.json()
}

#[tokio::test]
async fn explain_says_what_is_replaced_where_and_how() {
    let (world, stub) = one_upstream().await;
    let url = format!("https://{HOST}/a?k=<<{SLUG}>>");
    let json = "Content-Type: application/json";
    let args = [
        "POST",
        &url,
        "-H",
        "X-Api-Key: <<pat>>",
        "-H",
        json,
        "--data",
        "{\"a\": {\"b\": \"<<pat>>\"}}",
    ];
    let said = explained(&world, &args).await;
    assert_eq!(said["destination"], format!("https://{HOST}:443"));
    assert_eq!(said["refused"], Value::Null);
    let uses = said["uses"].as_array().expect("uses");
    let uses: Vec<_> = uses
        .iter()
        .map(|used| (used["location"].clone(), used["written"].clone()))
        .collect();
    let expected = [
        (json!("query:k"), json!("percent-encoded")),
        (json!("header:x-api-key"), json!("as it is")),
        (json!("body:/a/b"), json!("as a JSON string")),
    ];
    assert_eq!(uses, expected);
    let text = world.run(&["explain", "GET", &url]).await;
    assert!(
        text.stdout
            .contains("<<pat>> in query:k becomes the value of pat of default, version 1"),
        "{text:#?}"
    );
    assert_absent(
        "the explanation",
        text.stdout.as_bytes(),
        &forms(VALUE.as_bytes()),
    );
    assert_eq!(stub.take().len(), 0, "something was sent");
    let recorded = ["use", "denied", "ignored"];
    let lines = world.ledger();
    let is_about_it = |line: &Value| recorded.iter().any(|event| line["event"] == **event);
    assert!(!lines.iter().any(is_about_it), "something was recorded");
}

#[tokio::test]
async fn explain_refuses_what_the_proxy_refuses() {
    let (world, _stub) = one_upstream().await;
    let url = format!("https://{HOST}/");
    let exposed = format!("X-Other: {VALUE}");
    for (args, code) in [
        (
            vec!["GET", url.as_str(), "-H", "X-A: <<nope>>"],
            "credential_not_found",
        ),
        (
            vec!["GET", "https://other.example.test/", "-H", "X-A: <<pat>>"],
            "credential_not_allowed",
        ),
        (
            vec!["GET", url.as_str(), "-H", "X-A: <<pat>>", "--as", "bob"],
            "credential_not_found",
        ),
        (vec!["GET", url.as_str(), "-H", &exposed], "secret_exposed"),
        (
            vec!["GET", "https://h.example.test:25/"],
            "destination_forbidden",
        ),
    ] {
        let said = explained(&world, &args).await;
        assert_eq!(said["refused"]["code"], code, "{said}");
        assert_eq!(said["uses"], json!([]));
        assert_absent(
            "the explanation",
            said.to_string().as_bytes(),
            &forms(VALUE.as_bytes()),
        );
        // What the proxy itself says to the same request, where it can be sent there.
        if args.len() == 4 && args[1] == url {
            let mut tunnel = world.tunnel().await;
            assert_refused(&tunnel.get("/", &[args[3]]).await, code);
        }
    }
    let wrong = world
        .run(&["explain", "GET", &format!("ftp://{VALUE}/")])
        .await;
    assert_eq!(wrong.status.code(), Some(2));
    assert!(!wrong.stderr.contains(VALUE), "{}", wrong.stderr);
}

#[tokio::test]
async fn a_program_can_ask_what_it_may_use() {
    let (world, stub) = one_upstream().await;
    let login = r#"{"username": "alice", "password": "a-password-of-alice"}"#;
    let limits = ["--kind", "login", "--host", "site.example.test"];
    world.save("site", login, &limits).await;
    let other = [
        "credential",
        "add",
        "others",
        "--owner",
        "bob",
        "--host",
        HOST,
    ];
    world.run_with(&other, b"a-value-of-bob\n").await.ok();
    let script = "curl -sS http://egret.internal/slugs; echo; curl -sS https://egret.internal/slugs; echo; \
        curl -sS -o /dev/null -w '%{http_code}' http://egret.internal/other";
    let said = world.run(&["run", "--", "sh", "-c", script]).await.ok();
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[0], lines[1], "plain and in a tunnel");
    assert_eq!(lines[2], "400");
    let slugs: Value = serde_json::from_str(lines[0]).expect("JSON");
    let slugs = slugs["slugs"].as_array().expect("slugs");
    assert_eq!(slugs.len(), 2, "{slugs:#?}");
    assert_eq!(slugs[0]["placeholders"], json!(["<<pat>>"]));
    assert_eq!(slugs[0]["hosts"], json!([HOST]));
    let fields = slugs[1]["placeholders"].to_string();
    assert!(
        fields.contains("<<site.username>>") && fields.contains("<<site.password>>"),
        "{fields}"
    );
    for value in [VALUE, "a-password-of-alice"] {
        assert_absent("the list", said.as_bytes(), &forms(value.as_bytes()));
    }
    // Who shows no token learns nothing.
    let mut wire = world.dial().await;
    wire.send(request("GET", "http://egret.internal/slugs", &[], ""))
        .await
        .expect("sent");
    let refused = wire.response(false).await.expect("an answer");
    assert_refused(&refused, "proxy_auth_required");
    assert_eq!(stub.take().len(), 0);
}

/// One line in, one line out.
async fn mcp(world: &World, messages: &[Value]) -> Vec<Value> {
    let input: String = messages
        .iter()
        .map(|message| format!("{message}\n"))
        .collect();
    let said = world.run_with(&["mcp"], input.as_bytes()).await.ok();
    said.lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

fn call(id: u32, name: &str, arguments: Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": "tools/call",
        "params": {"name": name, "arguments": arguments}})
}

#[tokio::test]
async fn an_assistant_can_ask_over_mcp() {
    let (world, _stub) = one_upstream().await;
    let asked = json!({"method": "GET", "url": format!("https://{HOST}/"), "headers": ["X-Api-Key: <<pat>>"]});
    let initialize = json!({"protocolVersion": "2025-03-26", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
    let answers = mcp(
        &world,
        &[
            json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": initialize}),
            json!({"jsonrpc": "2.0", "method": "notifications/initialized"}),
            json!({"jsonrpc": "2.0", "id": 2, "method": "tools/list"}),
            call(3, "list_credentials", json!({})),
            call(4, "explain_request", asked),
            call(5, "explain_request", json!({"method": "GET", "url": VALUE})),
            call(6, "no_such_tool", json!({})),
            json!({"jsonrpc": "2.0", "id": 7, "method": "no/such/method"}),
            json!("not a request"),
        ],
    )
    .await;
    let ids: Vec<_> = answers.iter().map(|answer| answer["id"].clone()).collect();
    assert_eq!(ids, [1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(answers[0]["result"]["protocolVersion"], "2025-03-26");
    assert_eq!(
        answers[1]["result"]["tools"].as_array().map(Vec::len),
        Some(3)
    );
    let text = |answer: &Value| {
        answer["result"]["content"][0]["text"]
            .as_str()
            .expect("text")
            .to_owned()
    };
    assert!(text(&answers[2]).contains("<<pat>>"), "{}", answers[2]);
    assert!(
        text(&answers[3]).contains("becomes the value of pat"),
        "{}",
        answers[3]
    );
    assert_eq!(answers[4]["result"]["isError"], true);
    assert_eq!(answers[5]["error"]["code"], -32602);
    assert_eq!(answers[6]["error"]["code"], -32601);
    let all = serde_json::to_vec(&answers).expect("JSON");
    assert_absent("the answers", &all, &forms(VALUE.as_bytes()));
}

#[tokio::test]
async fn the_python_sdk_talks_to_the_mcp_server() {
    needs!(Need::Python);
    let (world, _stub) = one_upstream().await;
    let python = crate::needs::client_file("venv/bin/python");
    let has_sdk = tokio::process::Command::new(&python)
        .args(["-c", "import mcp"])
        .output()
        .await;
    if !has_sdk.is_ok_and(|output| output.status.success()) {
        return crate::needs::skipped("the Python package mcp");
    }
    let script = r#"
import asyncio, os, sys
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client
async def main():
    env = {name: os.environ[name] for name in ("PATH", "HOME", "EGRET_CONFIG", "EGRET_DATA_DIR")}
    server = StdioServerParameters(command=sys.argv[1], args=["mcp"], env=env)
    async with stdio_client(server) as (read, write):
        async with ClientSession(read, write) as session:
            await session.initialize()
            print(sorted(tool.name for tool in (await session.list_tools()).tools))
            print((await session.call_tool("list_credentials", {})).content[0].text)
asyncio.run(main())
"#;
    let mut command = world.command(&[]);
    let mut ask = tokio::process::Command::new(&python);
    ask.args(["-c", script, crate::world::EGRET])
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    for (name, value) in command.as_std_mut().get_envs() {
        if let Some(value) = value {
            ask.env(name, value);
        }
    }
    let said = crate::world::finish(ask, b"").await.ok();
    assert!(
        said.starts_with("['explain_request', 'list_credentials', 'request_credential']\n"),
        "{said}"
    );
    assert!(said.contains("<<pat>>"), "{said}");
}

#[tokio::test]
async fn an_assistant_asks_for_what_is_not_there_over_mcp() {
    let (world, _stub) = one_upstream().await;
    let wanted = json!({"slug": "jira", "host": "crm.example.test", "in": "query:key",
        "reason": "to read\u{1b}[2J the open tickets"});
    let has = json!({"slug": "pat", "host": HOST});
    let answers = mcp(
        &world,
        &[
            call(1, "request_credential", wanted.clone()),
            call(2, "request_credential", wanted.clone()),
            call(3, "request_credential", has),
            call(
                4,
                "request_credential",
                json!({"slug": VALUE, "host": HOST}),
            ),
            call(5, "request_credential", json!({"slug": "x", "host": "a b"})),
            call(
                6,
                "request_credential",
                json!({"slug": "x", "host": HOST, "value": "v"}),
            ),
        ],
    )
    .await;
    let text = |at: usize| answers[at]["result"]["content"][0]["text"].to_string();
    assert!(text(0).contains("has been asked"), "{answers:?}");
    assert_eq!(text(0), text(1), "the same is asked for once");
    assert!(text(2).contains("it is there already"), "{answers:?}");
    for at in [3, 4] {
        assert_eq!(answers[at]["result"]["isError"], true, "{answers:?}");
    }
    assert_eq!(answers[5]["error"]["code"], -32602, "a value is not taken");
    let all = serde_json::to_vec(&answers).expect("JSON");
    assert_absent("the answers", &all, &forms(VALUE.as_bytes()));
    let listed = world.run(&["requests", "list", "--json"]).await.json();
    assert_eq!(listed.as_array().map(Vec::len), Some(1), "{listed}");
    let request = &listed[0];
    assert_eq!(
        (
            &request["slug"],
            &request["host"],
            &request["place"],
            &request["client"]
        ),
        (
            &"jira".into(),
            &"crm.example.test".into(),
            &"query:key".into(),
            &"mcp".into()
        )
    );
    assert!(
        !request["reason"].to_string().contains("\\u001b"),
        "{request}"
    );
    let number = request["number"].to_string();
    world.run(&["requests", "decline", &number]).await.ok();
    let again = mcp(&world, &[call(7, "request_credential", wanted)]).await;
    assert!(again[0].to_string().contains("said no"), "{again:?}");
}

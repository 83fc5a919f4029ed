//! Assistants as they are published, each with a placeholder as the key of its model and an MCP server that
//! asks an API. The model and the API get the values; neither assistant nor MCP server sees one.

use std::path::Path;

use tokio::process::Command;

use super::server::{Front, Server};
use super::{installed, program, text};
use crate::leak::{assert_absent, forms, in_tree};
use crate::needs::{Need, needs};
use crate::upstream::{Step, Stub, ok};
use crate::world::{EGRET, HOST, Output, VALUE, World, finish};

/// The value of the key for the model.
const MODEL_KEY: &str = "m0del+Canary/1a2b3c4d5e6f";

/// What a test needs to know of an assistant.
struct Assistant {
    /// Its name for `egret env --format`.
    name: &'static str,
    /// Its program among the clients.
    program: &'static str,
    /// The host of its model.
    model: &'static str,
    /// The variable in which it expects its key.
    key: &'static str,
    /// Where it reads its MCP servers from, in the home directory.
    servers: &'static str,
    arguments: &'static [&'static str],
    /// What else it needs in its environment.
    variables: &'static [(&'static str, &'static str)],
}

const QUESTION: &str = "What is the weather?";

/// A world with a strict stand-in for the model, and an API that says the key that it was sent.
async fn world_of(assistant: &Assistant) -> (World, Server, Front, Stub) {
    let mut models = Command::new(installed("venv/bin/python"));
    let models = Server::start(models.args([&program("models.py"), MODEL_KEY])).await;
    let builder = World::builder().set("egress.default", "deny");
    let front = Front::of(&models, builder.pki(), assistant.model, &["http/1.1"]).await;
    let api = Stub::tls(builder.pki(), &[HOST]).await;
    api.serve(|request| async move {
        let key = request.header("x-api-key").unwrap_or_default();
        vec![Step::Send(ok(&format!("sunny for {key}")))]
    });
    let builder = builder.route(&format!("{}:443", assistant.model), front.addr);
    let world = builder
        .route(&format!("{HOST}:443"), api.addr)
        .start()
        .await;
    for (slug, value, host) in [
        ("model-key", MODEL_KEY, assistant.model),
        ("pat", VALUE, HOST),
    ] {
        let limits = ["--host", host, "--in", "header"];
        world.save(slug, value, &limits).await;
        // Whatever else an assistant wants to reach, such as where it reports to, stays unreached.
        world.run(&["egress", "allow", host]).await.ok();
    }
    (world, models, front, api)
}

/// Asks the question, with the MCP server as `egret env` says.
async fn ask(world: &World, assistant: &Assistant) -> Output {
    let home = world.scratch();
    let python = installed("venv/bin/python");
    let server = program("mcp_server.py");
    let wanted = [
        "env",
        "--format",
        assistant.name,
        "--action",
        "weather",
        "--",
    ];
    let wanted = [&wanted[..], &[text(&python), &server]].concat();
    let printed = world.run(&wanted).await.ok();
    let file = home.join(assistant.servers);
    std::fs::create_dir_all(file.parent().expect("a directory")).expect("a directory");
    std::fs::write(&file, printed).expect("written");

    let mut command = world.command(&["run", "--env"]);
    let key = format!("{}=model-key", assistant.key);
    command.args([&key, "--action", "assistant", "--"]);
    if assistant.program.ends_with(".js") {
        command.arg(installed("npm/node"));
    }
    let file = installed("assistants").join(assistant.program);
    command.arg(file).args(assistant.arguments);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut path: Vec<_> = std::env::split_paths(&path).collect();
    let egret = Path::new(EGRET).parent().expect("a directory");
    path.insert(0, egret.to_owned());
    command
        .env("PATH", std::env::join_paths(path).expect("a path"))
        .envs(assistant.variables.iter().copied());
    finish(command, b"").await
}

async fn answers(assistant: Assistant) {
    needs!(Need::Assistant(assistant.program));
    let (world, _models, model, api) = world_of(&assistant).await;
    let output = ask(&world, &assistant).await;
    let said = format!("{output:#?}\n{}", world.log());
    assert!(output.status.success(), "{said}");
    // The API's answer went through the MCP server and the assistant to the model and back.
    assert!(output.stdout.contains("The tool said: "), "{said}");
    assert!(output.stdout.contains("200 sunny for <<pat>>"), "{said}");
    let asked = api.take_one();
    assert_eq!(asked.header("x-api-key").as_deref(), Some(VALUE));
    let sent = model.sent();
    let sent = String::from_utf8_lossy(&sent);
    assert!(sent.contains(MODEL_KEY), "the model got no key");
    assert!(sent.contains(QUESTION), "the model was not asked");
    assert!(
        !sent.contains(VALUE),
        "the key of the API came to the model"
    );
    let used = |slug: &str, action: &str| {
        let ledger = world.ledger();
        let of = |line: &&serde_json::Value| line["slug"] == slug && line["action"] == action;
        ledger
            .iter()
            .filter(of)
            .filter(|line| line["event"] == "use")
            .count()
    };
    assert!(used("model-key", "assistant") >= 2, "{said}");
    assert_eq!(used("pat", "weather"), 1, "{said}");
    for value in [MODEL_KEY, VALUE] {
        let forms = forms(value.as_bytes());
        assert_absent("standard output", output.stdout.as_bytes(), &forms);
        assert_absent("standard error", output.stderr.as_bytes(), &forms);
        // Transcripts, logs and caches of the assistant are in its home directory.
        let found = in_tree(world.scratch(), &forms);
        assert!(found.is_empty(), "{found:?}");
    }
}

#[tokio::test]
async fn claude_code_asks_its_model_and_an_mcp_server() {
    answers(Assistant {
        name: "claude",
        program: "claude",
        model: "api.anthropic.com",
        key: "ANTHROPIC_API_KEY",
        servers: "servers.json",
        arguments: &[
            "-p",
            QUESTION,
            "--mcp-config",
            "servers.json",
            "--strict-mcp-config",
            "--allowedTools",
            "mcp__weather__look",
        ],
        variables: &[
            ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1"),
            // Otherwise the model has to search for the tool first.
            ("ENABLE_TOOL_SEARCH", "false"),
        ],
    })
    .await;
}

#[tokio::test]
async fn codex_asks_its_model_and_an_mcp_server() {
    answers(Assistant {
        name: "codex",
        program: "codex",
        model: "api.openai.com",
        key: "CODEX_API_KEY",
        servers: ".codex/config.toml",
        arguments: &[
            "exec",
            "--skip-git-repo-check",
            // Its sandbox is for commands, and none is run here.
            "--dangerously-bypass-approvals-and-sandbox",
            // Without it the first question may be asked before the server is there.
            "-c",
            "mcp_servers.weather.required=true",
            "-m",
            "gpt-5.1",
            QUESTION,
        ],
        variables: &[],
    })
    .await;
}

#[tokio::test]
async fn gemini_cli_asks_its_model_and_an_mcp_server() {
    answers(Assistant {
        name: "gemini",
        program: "node_modules/@google/gemini-cli/bundle/gemini.js",
        model: "generativelanguage.googleapis.com",
        key: "GEMINI_API_KEY",
        servers: ".gemini/settings.json",
        arguments: &[
            "-m",
            "gemini-2.5-flash",
            "--approval-mode",
            "yolo",
            "--skip-trust",
            "-p",
            QUESTION,
        ],
        variables: &[],
    })
    .await;
}

//! Clients that are generated from the document, for Python and TypeScript, against a running server.

use std::path::Path;

use tokio::process::Command;

use super::client::Api;
use crate::leak::{assert_absent, forms};
use crate::needs::{Need, client_file, needs};
use crate::within_secs;
use crate::world::{World, finish};

const VALUE: &str = "the-v4lue/of+a generated client";

/// Writes the document of a server with alice, and her token.
async fn described() -> (World, String) {
    let world = World::builder().start().await;
    for user in ["alice", "bob"] {
        world.run(&["user", "add", user]).await.ok();
    }
    let api = Api::of(&world, "alice", "manage").await;
    let document = api.get("/openapi.json").await.text();
    std::fs::write(world.scratch().join("openapi.json"), document).expect("write");
    let token = api.token.expect("a token");
    (world, token)
}

/// Runs a program with nothing in its environment but what is named here.
async fn run(mut command: Command, directory: &Path) -> String {
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", directory)
        .current_dir(directory);
    run_in(command).await
}

async fn run_in(mut command: Command) -> String {
    command
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .kill_on_drop(true);
    let what = format!("{command:?}");
    within_secs(120, &what, finish(command, b"")).await.ok()
}

fn of_scene(mut command: Command, world: &World, token: &str) -> Command {
    command
        .arg(format!("http://{}", world.admin))
        .env("API_TOKEN", token)
        .env("VALUE", VALUE)
        .current_dir(world.scratch());
    command
}

#[tokio::test]
async fn a_client_for_python_does_what_the_document_says() {
    needs!(Need::Generators);
    let (world, token) = described().await;
    let mut generate = Command::new(client_file("api/bin/openapi-python-client"));
    generate
        .args(["generate", "--path", "openapi.json", "--meta", "none"])
        .args(["--output-path", "egret_api"]);
    let said = run(generate, world.scratch()).await;
    assert!(!said.contains("WARNING"), "{said}");
    let program =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/integration/api/generated/client.py");
    let mut python = Command::new(client_file("api/bin/python"));
    python.arg(program).env("PYTHONPATH", world.scratch());
    let said = run_in(of_scene(python, &world, &token)).await;
    assert_eq!(said, "done\n");
    nothing_stays(&world).await;
}

#[tokio::test]
async fn a_client_for_typescript_does_what_the_document_says() {
    needs!(Need::Generators);
    let (world, token) = described().await;
    let modules = client_file("generated/node_modules");
    let modules = modules.canonicalize().expect("the packages");
    let scratch = world.scratch();
    std::os::unix::fs::symlink(&modules, scratch.join("node_modules")).expect("link");
    std::fs::write(scratch.join("package.json"), r#"{"type":"module"}"#).expect("write");
    let program = Path::new(env!("CARGO_MANIFEST_DIR"));
    let program = program.join("tests/integration/api/generated/client.mts");
    std::fs::copy(program, scratch.join("client.mts")).expect("copy");
    let node = client_file("npm/node");
    let mut generate = Command::new(&node);
    generate
        .arg(modules.join("openapi-typescript/bin/cli.js"))
        .args(["openapi.json", "-o", "schema.d.ts"]);
    run(generate, scratch).await;
    let mut compile = Command::new(&node);
    compile
        .arg(modules.join("typescript/bin/tsc"))
        .args(["--noEmit", "--strict", "--skipLibCheck"])
        .args([
            "--target",
            "es2022",
            "--module",
            "nodenext",
            "--types",
            "node",
            "client.mts",
        ]);
    run(compile, scratch).await;
    let mut client = Command::new(&node);
    client.args(["--disable-warning=ExperimentalWarning", "client.mts"]);
    assert_eq!(run_in(of_scene(client, &world, &token)).await, "done\n");
    nothing_stays(&world).await;
}

/// What a client saved is in no log and no ledger.
async fn nothing_stays(world: &World) {
    let forms = forms(VALUE.as_bytes());
    assert_absent("the log", &world.log_bytes(), &forms);
    assert_absent("the ledger", &world.ledger_bytes(), &forms);
}

//! The API against the document that describes it.

use std::process::Stdio;

use tokio::process::Command;

use super::client::Api;
use crate::needs::{Need, client_file, needs};
use crate::world::World;

/// What an answer must not do. That a request which fits the document may be refused is documented:
/// a name may be taken, and a time in the past.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
     response_headers_conformance,response_schema_conformance,ignored_auth";

/// Seconds for all requests.
const BUDGET: &str = "25";

#[tokio::test]
async fn no_request_makes_it_fail_or_answer_what_the_document_does_not_say() {
    needs!(Need::Schemathesis);
    let world = World::builder().start().await;
    for (user, role) in [("alice", "administrator"), ("bob", "administrator")] {
        world.run(&["user", "add", user, "--role", role]).await.ok();
    }
    let alice = Api::of(&world, "alice", "manage").await;
    let token = alice.token.expect("a token");
    let document = format!("http://{}/api/v1/openapi.json", world.admin);
    let tried = Command::new(client_file("api/bin/python"))
        .args(["-m", "schemathesis.cli", "run", &document])
        .args(["--checks", CHECKS, "--phases", "examples,coverage,fuzzing"])
        .args([
            "--max-time",
            BUDGET,
            "--generation-database",
            "none",
            "--warnings",
            "off",
        ])
        .args(["--exclude-operation-id", "follow_ledger"])
        .args(["--exclude-operation-id", "disable_user"])
        .args(["--header", &format!("Authorization: Bearer {token}")])
        .current_dir(world.scratch())
        .env("NO_COLOR", "1")
        .stdin(Stdio::null())
        .output();
    let tried = crate::within_secs(120, "schemathesis", tried).await;
    let tried = tried.expect("run schemathesis");
    assert!(
        tried.status.success(),
        "{}\n{}",
        String::from_utf8_lossy(&tried.stdout),
        String::from_utf8_lossy(&tried.stderr)
    );
}

//! Compose files, loaded by the library that `docker compose` loads them with.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::{deploy, output, succeeds};
use crate::needs::{Need, client_file, needs};

const VARIABLES: [(&str, &str); 3] = [
    ("ASSISTANT_IMAGE", "assistant"),
    ("EGRET_TOKEN", "TOKEN"),
    ("EGRET_MASTER_KEY_FILE", "/key"),
];

/// Loads the project of a file, with these variables.
pub(super) fn load(file: &Path, variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(client_file("go/programs"));
    command
        .arg("compose")
        .arg(file)
        .env_clear()
        .envs(variables.iter().copied());
    command
}

#[test]
fn the_assistant_reaches_nothing_but_egret_and_sees_no_key() {
    needs!(Need::GoPrograms);
    let file = deploy("compose/compose.yaml");
    let project = succeeds(&mut load(&file, &VARIABLES));
    let project: Value = serde_json::from_str(&project).expect("JSON");
    let services = &project["services"];
    assert_eq!(project["networks"]["inside"]["internal"], true);
    let assistant = &services["assistant"];
    assert_eq!(assistant["networks"], json!({ "inside": null }));
    let volumes = assistant["volumes"].as_array().expect("volumes");
    let sources: Vec<&Value> = volumes.iter().map(|volume| &volume["source"]).collect();
    assert_eq!(
        (sources, &volumes[0]["read_only"]),
        (vec![&json!("trust")], &json!(true))
    );
    // What it is told to trust is written there before it starts.
    let bundle = assistant["environment"]["SSL_CERT_FILE"]
        .as_str()
        .expect("a path");
    let target = volumes[0]["target"].as_str().expect("a path");
    assert_eq!(bundle, format!("{target}/ca-bundle.pem"));
    let condition = &assistant["depends_on"]["trust"]["condition"];
    assert_eq!(condition, "service_completed_successfully");
    let trust = &services["trust"];
    assert_eq!(trust["command"], json!(["ca", "export", "/trust"]));
    let targets = trust["volumes"].as_array().expect("volumes").iter();
    let written = targets.filter(|volume| volume["source"] == "trust");
    let written: Vec<&Value> = written.map(|volume| &volume["target"]).collect();
    assert_eq!(written, [&json!("/trust")]);
    for name in ["egret", "trust"] {
        let service = &services[name];
        assert_eq!(service["user"], "65532:65532");
        assert_eq!(
            (&service["read_only"], &service["cap_drop"]),
            (&json!(true), &json!(["ALL"]))
        );
    }
}

/// The loader knows every key, and what has to be set.
#[test]
fn a_file_with_a_mistake_is_refused() {
    needs!(Need::GoPrograms);
    let file = deploy("compose/compose.yaml");
    for missing in 0..VARIABLES.len() {
        let mut variables = VARIABLES.to_vec();
        let (name, _) = variables.remove(missing);
        let said = output(&mut load(&file, &variables));
        let error = String::from_utf8_lossy(&said.stderr).into_owned();
        assert!(!said.status.success() && error.contains(name), "{said:?}");
    }
    let text = std::fs::read_to_string(&file).expect("text");
    let home = tempfile::tempdir().expect("a directory");
    let wrong = home.path().join("compose.yaml");
    for (right, mistake) in [
        ("cap_drop:", "cap_dropp:"),
        ("networks: [inside]", "networks: [insider]"),
        ("- trust:/egret:ro", "- trusted:/egret:ro"),
    ] {
        assert!(text.contains(right), "{right}");
        std::fs::write(&wrong, text.replace(right, mistake)).expect("written");
        let said = output(&mut load(&wrong, &VARIABLES));
        assert!(!said.status.success(), "{mistake}: {said:?}");
    }
}

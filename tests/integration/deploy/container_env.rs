//! What `egret env --format` prints, as the runner reads it.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;

use tokio::process::Command;

use super::validator;
use crate::needs::{Need, is_there, needs};
use crate::world::{HOST, SLUG, VALUE, World, finish, one_upstream};

/// Reads the fragment of the first argument (`compose`, `kubernetes` or `n8n`) from standard input, writes the
/// manifest that it makes to the second, and prints the variables as the container has them: the
/// expansion is the runner's.
const READ: &str = r#"
import json, re, sys, yaml
kind, out = sys.argv[1:3]
whole = yaml.safe_load(sys.stdin.read())
known = {}
if kind != "kubernetes":
    (service,) = whole["services"].values()
    assert service["volumes"][0].endswith(":ro"), service
    def expand(match):
        return "$" if match[0] == "$$" else {"${EGRET_TOKEN:?}": "TOKEN"}[match[0]]
    for name, value in service["environment"].items():
        known[name] = re.sub(r"\$\$|\$\{[^}]*\}|\$", expand, value)
    service["image"] = "x"
else:
    container = {"name": "c", "image": "x", "env": whole["env"], "volumeMounts": whole["volumeMounts"]}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
           "spec": {"containers": [container], "volumes": whole["volumes"]}}
    for entry in whole["env"]:
        if "valueFrom" in entry:
            known[entry["name"]] = "TOKEN"
            continue
        def expand(match):
            return "$" if match[0] == "$$" else known[match[1]]
        known[entry["name"]] = re.sub(r"\$\$|\$\(([A-Z_]+)\)", expand, entry["value"])
    whole = pod
yaml.safe_dump(whole, open(out, "w"))
print(json.dumps(known))
"#;

async fn read(world: &World, kind: &str) -> (BTreeMap<String, String>, std::path::PathBuf) {
    // The directory of a test is closed to other users, where `ca export` would refuse to write.
    std::fs::set_permissions(world.scratch(), std::fs::Permissions::from_mode(0o755))
        .expect("chmod");
    let trust = world.scratch().join("public");
    let trust = trust.to_str().expect("UTF-8");
    world.run(&["ca", "export", trust]).await.ok();
    let proxy = world.proxy.to_string();
    let printed = world
        .run(&[
            "env",
            "--format",
            kind,
            "--action",
            "nightly job",
            "--proxy",
            &proxy,
            "--trust",
            trust,
        ])
        .await
        .ok();
    let manifest = world.scratch().join(format!("{kind}.yaml"));
    let mut reader = Command::new(validator("python"));
    reader
        .args(["-c", READ, kind])
        .arg(&manifest)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let variables = finish(reader, printed.as_bytes()).await.json();
    let variables: BTreeMap<String, String> = serde_json::from_value(variables).expect("texts");
    (variables, manifest)
}

#[tokio::test]
async fn a_container_with_these_variables_uses_the_proxy() {
    needs!(Need::Validators, Need::Program("curl"));
    let (world, stub) = one_upstream().await;
    for kind in ["compose", "kubernetes", "n8n"] {
        let (variables, manifest) = read(&world, kind).await;
        if kind == "kubernetes" {
            super::succeeds(
                std::process::Command::new(validator("kubernetes-validate"))
                    .arg("--strict")
                    .arg(&manifest),
            );
        }
        if kind == "compose" && is_there(Need::GoPrograms) {
            let project = super::compose::load(&manifest, &[("EGRET_TOKEN", "TOKEN")]);
            let project = super::succeeds(&mut { project });
            let project: serde_json::Value = serde_json::from_str(&project).expect("JSON");
            let mut services = project["services"].as_object().expect("services").values();
            let service = services.next().expect("a service");
            assert_eq!(service["environment"], serde_json::json!(variables));
        }
        let mut curl = Command::new("curl");
        curl.env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .args(["-sS", "-f", "-H", &format!("X-Api-Key: <<{SLUG}>>")])
            .arg(format!("https://{HOST}/v1"))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        for (name, value) in &variables {
            curl.env(name, value.replace("TOKEN", &world.token));
        }
        finish(curl, b"").await.ok();
        let seen = stub.take();
        assert_eq!(
            seen[0].header("x-api-key").as_deref(),
            Some(VALUE),
            "{kind}"
        );
        let line = world
            .ledger_line("the use", |line| line["action"] == "nightly job")
            .await;
        assert_eq!(line["event"], "use");
    }
}

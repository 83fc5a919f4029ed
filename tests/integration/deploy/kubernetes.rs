//! Manifests and the chart, against the schemas of Kubernetes and by Helm itself.

use std::process::Command;

use super::{deploy, output, succeeds, validator};
use crate::needs::{Need, needs};

/// Renders the chart with the values of the second argument, as JSON.
const RENDER: &str = r#"
import json, sys
import helm_python as helm
with helm.Chart.load(sys.argv[1]) as chart:
    files = chart.render(json.loads(sys.argv[2]), name="demo", namespace="prod")
for name in sorted(files):
    if name.endswith(".yaml") and files[name].strip():
        print("---\n# " + name + "\n" + files[name].strip())
"#;

fn render(values: &str) -> std::process::Output {
    output(
        Command::new(validator("python"))
            .args(["-c", RENDER])
            .arg(deploy("helm/egret"))
            .arg(values),
    )
}

fn validate(files: &[std::path::PathBuf]) {
    succeeds(
        Command::new(validator("kubernetes-validate"))
            .arg("--strict")
            .args(files),
    );
}

#[test]
fn manifests_are_valid() {
    needs!(Need::Validators);
    let files: Vec<_> = std::fs::read_dir(deploy("kubernetes"))
        .expect("the directory")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|end| end == "yaml"))
        .collect();
    assert!(files.len() >= 4, "{files:?}");
    validate(&files);
}

/// The validator itself finds a field in the wrong place.
#[test]
fn a_misplaced_field_is_found() {
    needs!(Need::Validators);
    let home = tempfile::tempdir().expect("a directory");
    let wrong = home.path().join("wrong.yaml");
    let right = std::fs::read_to_string(deploy("kubernetes/sidecar-advice.yaml")).expect("text");
    let moved = right.replacen("      restartPolicy: Never\n", "      sidecar: true\n", 1);
    assert_ne!(right, moved);
    std::fs::write(&wrong, moved).expect("write");
    let found = output(
        Command::new(validator("kubernetes-validate"))
            .arg("--strict")
            .arg(&wrong),
    );
    assert!(!found.status.success());
}

#[test]
fn the_chart_renders_what_kubernetes_takes() {
    needs!(Need::Validators);
    let all = r#"{"masterKey":{"existingSecret":"key"},"authority":{"existingSecret":"ca"},
        "networkPolicy":{"metricsFrom":[{"namespaceSelector":{"matchLabels":{"a":"b"}}}]},
        "persistence":{"storageClass":"fast"},"nodeSelector":{"disk":"ssd"},"podLabels":{"x":"y"}}"#;
    let least = r#"{"masterKey":{"existingSecret":"key"}}"#;
    let home = tempfile::tempdir().expect("a directory");
    for (name, values) in [("all", all), ("least", least)] {
        let rendered = render(values);
        assert!(
            rendered.status.success(),
            "{}",
            String::from_utf8_lossy(&rendered.stderr)
        );
        let path = home.path().join(format!("{name}.yaml"));
        std::fs::write(&path, &rendered.stdout).expect("write");
        validate(&[path]);
    }
    let rendered = String::from_utf8(render(least).stdout).expect("text");
    let golden = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/helm.yaml");
    if std::env::var_os("EGRET_UPDATE_GOLDEN").is_some() {
        std::fs::write(&golden, &rendered).expect("write");
    }
    let known = std::fs::read_to_string(&golden).unwrap_or_default();
    assert_eq!(
        rendered,
        known,
        "EGRET_UPDATE_GOLDEN=1 writes {}",
        golden.display()
    );
}

#[test]
fn the_chart_refuses_what_would_lose_data() {
    needs!(Need::Validators);
    for (values, reason) in [
        (
            r#"{"masterKey":{"existingSecret":"key"},"replicas":2}"#,
            "replicas",
        ),
        (r#"{}"#, "masterKey.existingSecret"),
        (
            r#"{"masterKey":{"existingSecret":"key"},"replica":1}"#,
            "replica",
        ),
    ] {
        let refused = render(values);
        let text = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(
            !refused.status.success() && text.contains(reason),
            "{values}: {text}"
        );
    }
}

/// A certificate authority or a key that a template makes is another one at each upgrade.
#[test]
fn no_template_makes_a_secret() {
    let templates = std::fs::read_dir(deploy("helm/egret/templates")).expect("the templates");
    for template in templates {
        let path = template.expect("an entry").path();
        let text = std::fs::read_to_string(&path).expect("text");
        for made in [
            "genCA",
            "genSignedCert",
            "genPrivateKey",
            "rand",
            "kind: Secret",
        ] {
            assert!(!text.contains(made), "{made} in {}", path.display());
        }
    }
}

/// Every variable of the environment that a manifest sets is a key of the configuration.
#[test]
fn variables_are_those_that_egret_reads() {
    let known = std::fs::read_to_string(
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference.md"),
    )
    .expect("the reference");
    for file in [
        "kubernetes/proxy-pod.yaml",
        "kubernetes/sidecar-nftables.yaml",
        "kubernetes/sidecar-advice.yaml",
        "helm/egret/templates/deployment.yaml",
        "compose/compose.yaml",
        "image/Dockerfile",
        "systemd/egret.service",
    ] {
        let text = std::fs::read_to_string(deploy(file)).expect("text");
        let names = text
            .split(|c: char| !(c.is_ascii_uppercase() || c == '_'))
            .filter(|word| word.starts_with("EGRET_"));
        for name in names {
            // What the manifests define for themselves.
            if matches!(
                name,
                "EGRET_TOKEN" | "EGRET_ADDRESS" | "EGRET_MASTER_KEY_FILE"
            ) {
                continue;
            }
            let key = name
                .trim_start_matches("EGRET_")
                .to_lowercase()
                .replacen('_', ".", 1);
            assert!(
                known.contains(name) || known.contains(&format!("`{key}`")),
                "{file} sets {name}, which nothing reads"
            );
        }
    }
}

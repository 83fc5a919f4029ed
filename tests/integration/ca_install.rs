//! The authority in the stores of a machine.

use std::process::Stdio;

use tokio::process::Command;

use crate::needs::{Need, may_make_namespace, needs, skipped};
use crate::world::{EGRET, Output, World, finish};

/// The fingerprints that a command has installed or removed.
fn fingerprints(view: &serde_json::Value) -> Vec<String> {
    let list = view["fingerprints"].as_array().expect("a list").iter();
    let list = list.map(|one| one.as_str().expect("a fingerprint").to_owned());
    list.collect()
}

async fn certutil(database: &str) -> Output {
    let mut command = Command::new("certutil");
    command
        .args(["-d", database, "-L"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    finish(command, b"").await
}

#[tokio::test]
async fn nss_trusts_the_authority_and_the_next_one() {
    needs!(Need::Program("certutil"));
    let world = World::builder().start().await;
    let database = format!("sql:{}", world.scratch().join("nss").display());
    let run = async |args: &[&str]| {
        let mut command = world.command(&[&["ca", "install", "nss", "--json"], args].concat());
        command.env("NSS_DATABASE", &database);
        finish(command, b"").await
    };
    assert_eq!(fingerprints(&run(&[]).await.json()).len(), 1);
    world.run(&["ca", "rotate", "--after", "7d"]).await.ok();
    let both = fingerprints(&run(&[]).await.json());
    assert_eq!(both.len(), 2);
    let listed = certutil(&database).await.ok();
    for fingerprint in &both {
        let name = format!("egret-{}", &fingerprint[..12]);
        let line = listed.lines().find(|line| line.contains(&name));
        assert!(line.is_some_and(|line| line.contains("C,,")), "{listed}");
    }
    assert_eq!(fingerprints(&run(&["--remove"]).await.json()), both);
    let listed = certutil(&database).await.ok();
    assert!(!listed.contains("egret-"), "{listed}");
    let again = run(&["--remove"]).await;
    assert!(!again.status.success(), "what is not there is not removed");
    assert!(again.stderr.contains("--print"), "{again:#?}");
    // Nothing is left behind.
    let files = std::fs::read_dir(&world.data).expect("readable");
    let names = files.map(|file| file.expect("a file").file_name());
    assert!(
        !names
            .into_iter()
            .any(|name| name.to_string_lossy().starts_with("egret-"))
    );
}

#[tokio::test]
async fn java_has_it_in_its_key_store() {
    needs!(Need::Program("keytool"));
    let world = World::builder().start().await;
    let store = world.scratch().join("roots.p12");
    let run = async |args: &[&str]| {
        let mut command = world.command(&[&["ca", "install", "java"], args].concat());
        command.env("JAVA_KEYSTORE", &store);
        finish(command, b"").await
    };
    let said = run(&[]).await.ok();
    assert!(said.starts_with("installed "), "{said}");
    let listed = async || {
        let mut command = Command::new("keytool");
        command
            .args(["-list", "-storepass", "changeit", "-keystore"])
            .arg(&store)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        finish(command, b"").await.ok()
    };
    assert!(listed().await.contains("trustedCertEntry"));
    run(&["--remove"]).await.ok();
    assert!(!listed().await.contains("trustedCertEntry"));
}

/// In namespaces of its own, where nothing of the machine is changed.
#[tokio::test]
async fn the_store_of_debian_trusts_it() {
    needs!(Need::Program("update-ca-certificates"), Need::SystemRoots);
    if !may_make_namespace() || !rustix::process::geteuid().is_root() {
        return skipped("root, for a namespace with a store of its own");
    }
    let home = tempfile::tempdir().expect("a directory");
    let script = r#"
set -eu
cp -a /etc/ssl "$HOME/ssl"
mount -t tmpfs none /usr/local/share
mount --bind "$HOME/ssl" /etc/ssl
bundle=/etc/ssl/certs/ca-certificates.crt
# What the machine has beside its packages is not in this namespace.
update-ca-certificates --fresh >/dev/null
before=$(grep -c BEGIN "$bundle")
"$1" --data-dir "$HOME/data" ca install ca-certificates
[ "$(grep -c BEGIN "$bundle")" = $((before + 1)) ] && echo installed
ls /etc/ssl/certs | grep -c '^egret-'
"$1" --data-dir "$HOME/data" ca install ca-certificates --remove
[ "$(grep -c BEGIN "$bundle")" = "$before" ] && echo removed
[ -z "$(ls /etc/ssl/certs | grep '^egret-')" ]
"#;
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "sh", "-c", script, "sh", EGRET])
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", home.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let said = finish(command, b"").await;
    assert!(said.status.success(), "{said:#?}");
    let lines: Vec<&str> = said.stdout.lines().collect();
    assert_eq!(lines.len(), 5, "{said:#?}");
    assert!(lines[0].starts_with("installed ") && lines[3].starts_with("removed "));
    assert_eq!(
        (lines[1], lines[2], lines[4]),
        ("installed", "1", "removed")
    );
}

/// What is shown is what is run.
#[tokio::test]
async fn the_script_can_be_read_first() {
    let world = World::builder().start().await;
    for store in ["ca-certificates", "ca-trust", "macos", "nss", "java"] {
        let shown = world.run(&["ca", "install", store, "--print"]).await.ok();
        let path = format!("{}/certs/install/{store}.sh", env!("CARGO_MANIFEST_DIR"));
        assert_eq!(shown, std::fs::read_to_string(path).expect("a script"));
    }
}

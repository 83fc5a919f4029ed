//! The root file system of the image, which `.ci/test` builds: what is in it, and whether it runs
//! with nothing else around it.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::{deploy, output, succeeds, validator};
use crate::needs::{Need, image_root, needs, skipped};

/// The user of the image.
const USER: u32 = 65532;

fn root() -> PathBuf {
    image_root()
}

fn files(directory: &Path, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).expect("a directory") {
        let entry = entry.expect("an entry");
        if entry.file_type().expect("a type").is_dir() {
            files(&entry.path(), into);
        } else {
            into.push(entry.path());
        }
    }
}

#[test]
fn the_image_holds_one_program_and_no_shell() {
    needs!(Need::ImageRoot);
    let mut found = Vec::new();
    files(&root(), &mut found);
    let runnable: Vec<_> = found
        .iter()
        .filter(|path| path.metadata().expect("metadata").permissions().mode() & 0o111 != 0)
        .collect();
    assert_eq!(runnable, [&root().join("egret")]);
    for path in &found {
        let mode = path.metadata().expect("metadata").mode();
        assert_eq!(mode & 0o7022, 0, "{} has mode {mode:o}", path.display());
    }
    let headers = succeeds(
        Command::new("readelf")
            .args(["-lW"])
            .arg(root().join("egret")),
    );
    assert!(!headers.contains("INTERP"), "it needs a loader:\n{headers}");
    assert!(headers.contains("DYN"), "it is not position-independent");
}

#[test]
fn the_bill_of_materials_names_what_is_linked() {
    needs!(Need::ImageRoot);
    let text =
        std::fs::read_to_string(root().with_file_name("image-root.cdx.json")).expect("the bill");
    let bill: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let components = bill["components"].as_array().expect("components");
    let has = |name: &str| components.iter().any(|component| component["name"] == name);
    assert!(has("rustls") && has("aws-lc-rs") && has("hyper"));
    // A tool of the tests, and one of the build.
    assert!(!has("proptest") && !has("cc"));
    assert!(
        components
            .iter()
            .all(|component| component["licenses"].is_array())
    );
}

/// A server in the root file system, with its own processes. Ends with the test.
struct Contained {
    home: tempfile::TempDir,
    server: Child,
}

impl Contained {
    fn start() -> Self {
        let home = tempfile::tempdir().expect("a directory");
        let inside = home.path().join("root");
        succeeds(Command::new("cp").arg("-a").arg(root()).arg(&inside));
        std::fs::write(inside.join("etc/hosts"), "127.0.0.1 localhost\n").expect("write");
        let server = command(&inside, &["serve"])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("start");
        Self { home, server }
    }

    fn run(&self, args: &[&str]) -> std::process::Output {
        output(&mut command(&self.home.path().join("root"), args))
    }
}

impl Drop for Contained {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// Egret as the image starts it: the user of the image, in the root, with its variables.
fn command(root: &Path, args: &[&str]) -> Command {
    let mut command = Command::new("chroot");
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("EGRET_DATA_DIR", "/data/egret")
        .env("TMPDIR", "/data")
        .env("EGRET_PROXY_LISTEN", "127.0.0.1:0")
        .env("EGRET_ADMIN_LISTEN", "127.0.0.1:0")
        .arg(format!("--userspec={USER}:{USER}"))
        .arg(root)
        .arg("/egret")
        .args(args);
    command
}

#[test]
fn the_image_serves_and_is_healthy() {
    needs!(Need::ImageRoot);
    if !rustix::process::geteuid().is_root() {
        skipped("root, for a root file system of its own");
        return;
    }
    let contained = Contained::start();
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let health = contained.run(&["health"]);
        if health.status.success() {
            break;
        }
        let told = String::from_utf8_lossy(&health.stderr).into_owned();
        assert!(Instant::now() < deadline, "not healthy in time: {told}");
        std::thread::sleep(Duration::from_millis(100));
    }
    // Saves, sends, substitutes, scrubs and records, with no file but its own.
    let demo = contained.run(&["demo"]);
    let told = String::from_utf8_lossy(&demo.stdout).into_owned();
    assert!(
        demo.status.success(),
        "{told}{}",
        String::from_utf8_lossy(&demo.stderr)
    );
    let data = contained.home.path().join("root/data/egret");
    let owner = data.metadata().expect("the data directory");
    assert_eq!((owner.uid(), owner.mode() & 0o777), (USER, 0o700));
}

#[test]
fn the_recipe_has_no_flaw_that_a_linter_knows() {
    needs!(Need::Validators);
    succeeds(Command::new(validator("hadolint")).arg(deploy("image/Dockerfile")));
}

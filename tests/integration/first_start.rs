//! A first start that is interrupted: killed before any of its system calls on files, or with one of
//! them failing. The next start has to work.

use std::path::Path;
use std::process::Stdio;

use tokio::process::Command;

use crate::needs::{Need, needs};
use crate::world::{EGRET, Output, finish};

/// Calls by which a first start makes files and puts them in place.
const CALLS: [&str; 10] = [
    "mkdir",
    "linkat",
    "rename",
    "unlink",
    "chmod",
    "fchmod",
    "fsync",
    "fdatasync",
    "ftruncate",
    "pwrite64",
];

/// Every call up to this one is tried; then, unless `EGRET_TEST_LONG=1`, each is twice as far as the
/// one before. Most come within the first few of their kind.
const EACH: u32 = 3;

fn command(program: &str, home: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", home)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// `egret run -- true`, which starts a server and ends it.
const START: [&str; 3] = ["run", "--", "true"];

async fn start(home: &Path) -> Output {
    finish(command(EGRET, home, &START), b"").await
}

/// A first start in which `inject` happens to a call.
async fn faulty_start(home: &Path, call: &str, inject: &str) -> Output {
    let inject = format!("inject={call}:{inject}");
    let trace = format!("trace={call}");
    let options = ["-f", "-qq", "-o", "/dev/null", "-e", &trace, "-e", &inject];
    let args = [&options[..], &[EGRET], &START].concat();
    finish(command("strace", home, &args), b"").await
}

/// Starts again, and looks at what is there.
async fn assert_next_start_works(home: &Path, after: &str) {
    let next = start(home).await;
    assert!(next.status.success(), "after {after}: {next:#?}");
    let verified = finish(command(EGRET, home, &["ledger", "verify"]), b"").await;
    assert!(verified.status.success(), "after {after}: {verified:#?}");
    let data = home.join(".local/share/egret");
    for file in [
        "master.key",
        "ca.key",
        "ca.pem",
        "egret.db",
        "ledger/signing.key",
    ] {
        let length = std::fs::metadata(data.join(file)).map(|metadata| metadata.len());
        assert!(
            length.is_ok_and(|length| length > 0),
            "after {after}: {file}"
        );
    }
    let add = ["credential", "add", "pat", "--host", "api.example.test"];
    finish(command(EGRET, home, &add), b"a-value-to-keep\n")
        .await
        .ok();
}

/// The numbers of the calls at which a first start is interrupted, until there is none any more.
async fn for_each_call(call: &str, inject: &str, is_interrupted: fn(&Output) -> bool) -> u32 {
    let is_long = std::env::var_os("EGRET_TEST_LONG").is_some_and(|value| value == "1");
    let (mut number, mut interrupted) = (1, 0);
    loop {
        let home = tempfile::tempdir().expect("a directory");
        let what = format!("{call}:{inject}:when={number}");
        let first = faulty_start(home.path(), call, &format!("{inject}:when={number}")).await;
        if !is_interrupted(&first) {
            assert!(first.status.success(), "{what}: {first:#?}");
            return interrupted;
        }
        interrupted += 1;
        assert_next_start_works(home.path(), &what).await;
        number = if is_long || number < EACH {
            number + 1
        } else {
            2 * number
        };
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_start_that_is_killed_at_any_call_is_followed_by_one_that_works() {
    needs!(Need::Program("strace"), Need::Tracing);
    let mut kinds = tokio::task::JoinSet::new();
    for call in CALLS {
        kinds.spawn(async move {
            let killed = for_each_call(call, "signal=KILL", |first| !first.status.success()).await;
            println!("{call}: killed at {killed} calls");
            killed
        });
    }
    let killed: u32 = kinds.join_all().await.into_iter().sum();
    assert!(killed > 20, "{killed} calls were found");
}

#[tokio::test]
async fn a_first_start_on_a_failing_or_full_disk_is_followed_by_one_that_works() {
    needs!(Need::Program("strace"), Need::Tracing);
    for (call, error) in [
        ("linkat", "EIO"),
        ("fsync", "EIO"),
        ("fdatasync", "EIO"),
        ("rename", "ENOSPC"),
        ("pwrite64", "ENOSPC"),
    ] {
        for number in 1..=3 {
            let home = tempfile::tempdir().expect("a directory");
            let inject = format!("error={error}:when={number}");
            let first = faulty_start(home.path(), call, &inject).await;
            if !first.status.success() {
                assert!(
                    first.stderr.starts_with("error: "),
                    "{call}:{inject}: {first:#?}"
                );
            }
            assert_next_start_works(home.path(), &format!("{call}:{inject}")).await;
        }
    }
}

/// States in which an earlier version, or a restored backup, can leave the files of a start.
#[tokio::test]
async fn a_start_with_files_that_are_missing_or_empty_works_or_says_what_to_do() {
    use std::os::unix::fs::PermissionsExt as _;
    for (file, advice) in [
        ("master.key", Some("backup")),
        ("ca.key", Some("restore the key from a backup")),
        ("ca.pem", None),
        ("server.json", None),
    ] {
        let home = tempfile::tempdir().expect("a directory");
        assert!(start(home.path()).await.status.success());
        let path = home.path().join(".local/share/egret").join(file);
        let _ = std::fs::remove_file(&path);
        assert_start(home.path(), &format!("without {file}"), advice).await;
    }
    for (file, advice) in [
        ("master.key", "32 bytes"),
        ("ca.key", "is empty; remove it"),
        ("ca.pem", "is empty; remove it"),
    ] {
        let home = tempfile::tempdir().expect("a directory");
        assert!(start(home.path()).await.status.success());
        let path = home.path().join(".local/share/egret").join(file);
        std::fs::write(&path, "").expect("write");
        let private = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(&path, private).expect("chmod");
        assert_start(home.path(), &format!("with an empty {file}"), Some(advice)).await;
    }
}

async fn assert_start(home: &Path, what: &str, advice: Option<&str>) {
    let next = start(home).await;
    match advice {
        None => assert!(next.status.success(), "{what}: {next:#?}"),
        Some(advice) => {
            assert_eq!(next.status.code(), Some(1), "{what}: {next:#?}");
            assert!(next.stderr.contains(advice), "{what}: {}", next.stderr);
        }
    }
}

//! Variables that hold placeholders, from the command line and from `.egret.toml`.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use crate::needs::{Need, needs};
use crate::world::{HOST, VALUE, finish, one_upstream};

fn write_project(directory: &Path, text: &str, mode: u32) {
    let file = directory.join(".egret.toml");
    std::fs::write(&file, text).expect("written");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).expect("a mode");
}

#[tokio::test]
async fn a_program_finds_placeholders_where_it_expects_keys() {
    needs!(Need::Program("curl"));
    let (world, stub) = one_upstream().await;
    let project = tempfile::tempdir().expect("a directory");
    let text = "action = \"tests\"\n\n[env]\nAPI_KEY = \"pat\"\nOTHER_KEY = \"other\"\n";
    write_project(project.path(), text, 0o644);
    let script =
        format!("curl -sS -H \"X-Api-Key: $API_KEY\" https://{HOST}/x; echo \" $OTHER_KEY\"");
    let args = [
        "run",
        "--env",
        "OTHER_KEY=login.username",
        "--",
        "sh",
        "-c",
        &script,
    ];
    let mut command = world.command(&args);
    command.current_dir(project.path());
    let output = finish(command, b"").await;
    let note = output.stderr.clone();
    assert_eq!(output.ok(), "ok <<login.username>>\n");
    assert!(
        note.contains(".egret.toml: action tests, API_KEY=<<pat>>"),
        "{note}"
    );
    assert_eq!(stub.take_one().header("x-api-key").as_deref(), Some(VALUE));
    let used = world
        .ledger_line("the use", |line| line["event"] == "use")
        .await;
    assert_eq!(used["action"], "tests");
}

#[tokio::test]
async fn a_project_file_steers_nothing_else() {
    let (world, _stub) = one_upstream().await;
    let project = tempfile::tempdir().expect("a directory");
    for (text, mode, expected) in [
        (
            "principal = \"admin\"\n",
            0o644,
            "not TOML with nothing but",
        ),
        ("[env]\nHTTPS_PROXY = \"pat\"\n", 0o644, "named like a key"),
        (
            "[env]\nLD_LIBRARY_PATH = \"pat\"\n",
            0o644,
            "named like a key",
        ),
        (
            "[env]\nAPI_KEY = \"https://evil.example\"\n",
            0o644,
            "NAME=SLUG",
        ),
        ("action = \"tests\"\n", 0o666, "other users can write it"),
    ] {
        write_project(project.path(), text, mode);
        let mut command = world.command(&["run", "--", "true"]);
        command.current_dir(project.path());
        let output = finish(command, b"").await;
        assert!(!output.status.success(), "{text}: {output:#?}");
        assert!(
            output.stderr.contains(expected),
            "{text}: {}",
            output.stderr
        );
        assert!(!output.stderr.contains("evil"), "{}", output.stderr);
    }
}

#[tokio::test]
async fn a_remote_that_speaks_ssh_is_reached_by_https_with_the_value() {
    needs!(Need::Program("git"));
    let (world, stub) = one_upstream().await;
    for remote in [
        format!("git@{HOST}:me/repo.git"),
        format!("ssh://git@{HOST}/me/repo.git"),
    ] {
        stub.answer(
            "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"git\"\r\nContent-Length: 0\r\n\r\n",
        );
        let command = [
            "run",
            "--",
            "git",
            "-c",
            "http.userAgent=mine",
            "ls-remote",
            &remote,
        ];
        // What the stub answers then is no repository.
        let _ = world.run(&command).await;
        let pair = BASE64_STANDARD.encode(format!("x-access-token:{VALUE}"));
        let seen = stub.take();
        let last = seen.last().expect("a request");
        assert_eq!(
            last.header("authorization"),
            Some(format!("Basic {pair}")),
            "{seen:#?}"
        );
        assert_eq!(last.header("user-agent").as_deref(), Some("mine"));
    }
}

//! `egret adopt`: keys that lie in files of programs are saved, and placeholders are put in their place.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use crate::needs::{Need, needs};
use crate::world::{HOST, World, one_upstream};

const KEY: &str = "adopted-Key-0123456789";

fn write(world: &World, name: &str, content: &str, mode: u32) -> PathBuf {
    let path = world.scratch().join(name);
    std::fs::create_dir_all(path.parent().expect("a directory")).expect("made");
    std::fs::write(&path, content).expect("written");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("a mode");
    path
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).expect("readable")
}

fn mode(path: &Path) -> u32 {
    let metadata = std::fs::symlink_metadata(path).expect("metadata");
    metadata.permissions().mode() & 0o7777
}

fn pair(text: &str) -> String {
    BASE64_STANDARD.encode(text)
}

/// Placeholder and fate of each key.
fn fates(found: &Value) -> Vec<(Option<&str>, &str)> {
    let entries = found["entries"].as_array().expect("a list").iter();
    let fate = |one: &Value| one["fate"].as_str().map(str::to_owned);
    entries
        .map(|one| {
            assert!(fate(one).is_some(), "{one}");
            (
                one["placeholder"].as_str(),
                one["fate"].as_str().unwrap_or_default(),
            )
        })
        .collect()
}

async fn slugs(world: &World) -> Vec<String> {
    let listed = world.run(&["credential", "list", "--json"]).await.json();
    let listed = listed.as_array().expect("a list").iter();
    let slug = |one: &Value| one["slug"].as_str().expect("a slug").to_owned();
    listed.map(slug).collect()
}

#[tokio::test]
async fn nothing_is_changed_until_it_is_said_and_no_key_is_shown() {
    let world = World::builder().start().await;
    let netrc = write(
        &world,
        ".netrc",
        &format!("machine {HOST} login me password {KEY}\n"),
        0o600,
    );
    let aws = format!("[default]\naws_access_key_id = AKIA\naws_secret_access_key = {KEY}x\n");
    write(&world, ".aws/credentials", &aws, 0o600);
    write(&world, ".env", &format!("PORT=1\nAPI_KEY={KEY}y\n"), 0o644);
    let before = text(&netrc);
    let shown = world.run(&["adopt"]).await;
    for output in [&shown.stdout, &shown.stderr] {
        assert!(!output.contains(KEY), "{shown:?}");
    }
    assert!(shown.stderr.contains("add --yes"), "{shown:?}");
    let said = shown.ok();
    for part in [
        "~/.netrc:1",
        HOST,
        "would be saved",
        "stays: ",
        "needs --host",
    ] {
        assert!(said.contains(part), "no {part}: {said}");
    }
    let found = world.run(&["adopt", "--json"]).await.json();
    assert!(!found.to_string().contains(KEY), "{found}");
    assert_eq!(
        fates(&found),
        [
            (Some("<<api-example-test>>"), "would_be_saved"),
            (None, "stays"),
            (Some("<<api-key>>"), "needs_hosts"),
        ]
    );
    assert_eq!(found["kept"], json!([]));
    assert_eq!(text(&netrc), before);
    assert!(slugs(&world).await.is_empty());
    assert!(!world.data.join("adopted").exists());

    let refused = world.run(&["adopt", "--yes", "--skip", "nothing"]).await;
    assert!(!refused.status.success(), "{refused:?}");
    let unknown = write(&world, "notes.txt", KEY, 0o600);
    let refused = world.run(&["adopt", unknown.to_str().expect("text")]).await;
    assert!(refused.stderr.contains("kind"), "{refused:?}");
}

#[tokio::test]
async fn placeholders_take_the_place_of_keys_and_work() {
    needs!(Need::Program("curl"), Need::Program("git"));
    let (world, stub) = one_upstream().await;
    let real = write(
        &world,
        "dotfiles/netrc",
        &format!("# mine\nmachine {HOST}\n  login me\n  password {KEY}\n"),
        0o640,
    );
    let link = world.scratch().join(".netrc");
    symlink("dotfiles/netrc", &link).expect("a link");
    let credentials = write(
        &world,
        ".git-credentials",
        &format!("https://me:{KEY}@{HOST}\n"),
        0o600,
    );
    let docker = format!(
        "{{\n\t\"auths\": {{\n\t\t\"{HOST}\": {{\"auth\": \"{}\"}}\n\t}}\n}}\n",
        pair(&format!("me:{KEY}"))
    );
    let docker = write(&world, ".docker/config.json", &docker, 0o600);
    let env = write(
        &world,
        ".env",
        &format!("API_KEY={KEY}2 # for {HOST}\n"),
        0o644,
    );
    let host = format!("api-key={HOST}");
    let adopted = world
        .run(&["adopt", "--yes", "--json", "--host", &host])
        .await
        .json();
    assert_eq!(
        fates(&adopted),
        [
            (Some("<<api-example-test>>"), "adopted"),
            (Some("<<api-key>>"), "adopted"),
        ]
    );
    let placeholder = "<<api-example-test>>";
    assert_eq!(
        text(&real),
        format!("# mine\nmachine {HOST}\n  login me\n  password {placeholder}\n")
    );
    assert_eq!((mode(&real), mode(&env)), (0o640, 0o644));
    assert!(
        std::fs::symlink_metadata(&link)
            .expect("there")
            .is_symlink()
    );
    assert_eq!(
        text(&credentials),
        format!("https://me:%3C%3Capi-example-test%3E%3E@{HOST}\n")
    );
    assert!(
        text(&docker).contains(&pair(&format!("me:{placeholder}"))),
        "{}",
        text(&docker)
    );
    assert_eq!(text(&env), format!("API_KEY='<<api-key>>' # for {HOST}\n"));

    // The programs send it as they always did, and the value arrives.
    let url = format!("https://{HOST}/netrc");
    let curl = ["run", "--", "curl", "-sS", "--netrc", &url];
    assert_eq!(world.run(&curl).await.ok(), "ok");
    let basic = format!("Basic {}", pair(&format!("me:{KEY}")));
    assert_eq!(stub.take_one().header("authorization"), Some(basic.clone()));
    let asking = "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"git\"\r\nContent-Length: 0\r\n\r\n";
    stub.answer(asking);
    let url = format!("https://{HOST}/repo.git");
    let git = [
        "run",
        "--",
        "git",
        "-c",
        "credential.helper=store",
        "ls-remote",
        &url,
    ];
    // What the stub answers is no repository.
    let _ = world.run(&git).await;
    let seen = stub.take();
    assert!(
        seen.iter()
            .any(|request| request.header("authorization").as_deref() == Some(&*basic)),
        "{seen:#?}"
    );

    // The old files are there, closed to others, until they are removed.
    let kept = adopted["kept"].as_array().expect("a list");
    assert_eq!(kept.len(), 4, "{adopted}");
    let backup = Path::new(kept[0]["backup"].as_str().expect("a path"));
    assert!(text(backup).contains(KEY) && mode(backup) == 0o600);
    assert_eq!(mode(backup.parent().expect("a directory")), 0o700);
    let doctor = world.run(&["doctor"]).await.stdout;
    assert!(
        doctor.contains("old files") && doctor.contains("--remove-backups"),
        "{doctor}"
    );
    let removed = world.run(&["adopt", "--remove-backups"]).await.ok();
    assert!(
        removed.contains("4 old files") && !backup.exists(),
        "{removed}"
    );
    let again = world.run(&["adopt", "--yes"]).await.ok();
    assert!(again.contains("No keys found"), "{again}");
}

#[tokio::test]
async fn a_key_that_is_saved_is_not_saved_again_and_a_taken_slug_stays() {
    let world = World::builder().start().await;
    world.save("mine", KEY, &["--host", HOST]).await;
    world
        .save("other-example", "something else", &["--host", HOST])
        .await;
    let text_before = format!(
        "machine {HOST} login me password {KEY}\nmachine other.example login me password {KEY}-2\n"
    );
    let netrc = write(&world, ".netrc", &text_before, 0o600);
    let path = netrc.to_str().expect("text");
    let found = world.run(&["adopt", path, "--json"]).await.json();
    assert_eq!(
        fates(&found),
        [
            (Some("<<mine>>"), "is_saved"),
            (Some("<<other-example-2>>"), "would_be_saved"),
        ]
    );
    let skip = ["adopt", path, "--yes", "--skip", "other-example-2"];
    assert!(world.run(&skip).await.ok().contains("skipped"));
    assert_eq!(text(&netrc), text_before.replacen(KEY, "<<mine>>", 1));
    assert_eq!(slugs(&world).await, ["mine", "other-example"]);
}

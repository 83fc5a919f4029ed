//! Well-known services, and credentials from files of other programs.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::upstream::ok;
use crate::world::{HOST, World, one_upstream};

fn file(world: &World, name: &str, content: &str) -> PathBuf {
    let path = world.scratch().join(name);
    std::fs::write(&path, content).expect("write");
    path
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes
        .windows(text.len())
        .any(|window| window == text.as_bytes())
}

async fn slugs(world: &World) -> Vec<String> {
    let listed = world.run(&["credential", "list", "--json"]).await.json();
    let slug = |one: &Value| one["slug"].as_str().expect("a slug").to_owned();
    listed
        .as_array()
        .expect("a list")
        .iter()
        .map(slug)
        .collect()
}

fn fates(listed: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let entries = listed.as_array().expect("a list").iter();
    entries
        .map(|one| (text(&one["slug"]), text(&one["fate"])))
        .collect()
}

#[tokio::test]
async fn an_import_shows_first_and_saves_when_asked() {
    let (world, stub) = one_upstream().await;
    let github = format!("ghp_{}", "Zx9".repeat(12));
    let text = format!("GH={github}\nexport INNER_KEY='in ner$1' # remark\nPORT=3000\nPAT=other\n");
    let path = file(&world, ".env", &text);
    let path = path.to_str().expect("a path");
    let before = slugs(&world).await;

    let shown = world.run(&["credential", "import", path]).await;
    for secret in [&github, "in ner$1"] {
        assert!(
            !shown.stdout.contains(secret) && !shown.stderr.contains(secret),
            "{shown:?}"
        );
    }
    assert!(shown.ok().contains("GitHub"));
    assert_eq!(slugs(&world).await, before, "a preview saves nothing");

    let host = format!("inner-key={HOST}");
    let args = [
        "credential",
        "import",
        path,
        "--save",
        "--json",
        "--host",
        &host,
    ];
    let saved = world.run(&args).await.json();
    let fate = |slug: &str, fate: &str| (slug.to_owned(), fate.to_owned());
    assert_eq!(
        fates(&saved),
        [
            fate("gh", "saved"),
            fate("inner-key", "saved"),
            fate("port", "needs --host"),
            fate("pat", "is there already"),
        ]
    );
    assert_eq!(saved[0]["service"], "github");
    assert_eq!(saved[0]["locations"], json!(["header:authorization"]));

    // It works from the next request on, with the value as it was in the file.
    stub.answer(ok("fine"));
    let answer = world
        .tunnel()
        .await
        .get("/x", &["X-Key: <<inner-key>>"])
        .await;
    assert_eq!(answer.status, 200);

    assert!(contains(&stub.bytes(), "X-Key: in ner$1"));
}

#[tokio::test]
async fn a_file_that_cannot_be_read_is_never_quoted() {
    let world = World::builder().start().await;
    for (name, content) in [
        ("a.env", "GOOD=1\nhunter2hunter2\n"),
        ("a.json", "{\"a\": hunter2hunter2}"),
        ("a.csv", "name,password\nhunter2hunter2\n"),
        ("b.csv", "hunter2hunter2,x\n1,2\n"),
    ] {
        let path = file(&world, name, content);
        let refused = world
            .run(&[
                "credential",
                "import",
                path.to_str().expect("a path"),
                "--save",
            ])
            .await;
        assert_eq!(refused.status.code(), Some(1), "{name}");
        assert!(!refused.stderr.contains("hunter2"), "{}", refused.stderr);
    }
    assert!(slugs(&world).await.is_empty());
}

#[tokio::test]
async fn a_login_of_an_export_is_one_credential() {
    let (world, stub) = one_upstream().await;
    let text = format!("Title,Url,Username,Password\nThe CRM,https://{HOST}/login,bob,\"p,w\"\n");
    let path = file(&world, "export.csv", &text);
    world
        .run(&[
            "credential",
            "import",
            path.to_str().expect("a path"),
            "--save",
        ])
        .await
        .ok();
    stub.answer(ok("fine"));
    let headers = [
        "X-User: <<the-crm.username>>",
        "X-Pass: <<the-crm.password>>",
    ];
    assert_eq!(world.tunnel().await.get("/x", &headers).await.status, 200);

    assert!(contains(&stub.bytes(), "X-Pass: p,w"));
}

#[tokio::test]
async fn a_service_brings_hosts_and_place() {
    let world = World::builder().start().await;
    let add = |args: &'static [&'static str], value: &'static str| {
        let world = &world;
        async move {
            let all = [&["credential", "add"], args].concat();
            world.run_with(&all, value.as_bytes()).await
        }
    };
    let odd = add(&["gh", "--service", "github"], "hunter2hunter2").await;
    assert!(odd.status.success(), "{}", odd.stderr);
    assert!(
        odd.stderr.contains("hardly is a key of GitHub"),
        "{}",
        odd.stderr
    );
    assert!(!odd.stderr.contains("hunter2"), "{}", odd.stderr);
    let shown = world
        .run(&["credential", "show", "gh", "--json"])
        .await
        .json();
    assert_eq!(shown["locations"], json!(["header:authorization"]));
    assert_eq!(shown["hosts"][0], "api.github.com");

    let blank = add(&["shop", "--service", "shopify"], "x").await;
    assert_eq!(blank.status.code(), Some(2));
    assert!(
        blank.stderr.contains("{shop}.myshopify.com"),
        "{}",
        blank.stderr
    );
    let near = add(&["gh2", "--service", "githib"], "x").await;
    assert!(near.stderr.contains("is it github?"), "{}", near.stderr);
    let other = add(&["key", "--host", "a.test"], "sk-ant-api03-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa").await;
    assert!(
        other.stderr.contains("looks like a key of Anthropic"),
        "{}",
        other.stderr
    );
    let list = world
        .run(&["credential", "services", "--json"])
        .await
        .json();
    assert!(list.as_array().expect("a list").len() >= 60);
}

//! What the program says about itself: codes, keys of ledger lines, configuration, commands, metrics.

use std::path::Path;
use std::time::Duration;

use super::files;
use crate::api::client::Api;
use crate::api::here::HERE;
use crate::within;
use crate::world::{EGRET, World, finish};

/// A table of a page. A row that is one cell short has a last column that people write.
pub struct Table {
    pub name: String,
    pub header: Vec<String>,
    pub rows: Vec<Vec<String>>,
}

impl Table {
    fn new<const N: usize>(name: &str, header: [&str; N], rows: Vec<Vec<String>>) -> Self {
        assert!(rows.len() > 2, "{name}: {rows:?}");
        Self {
            name: name.to_owned(),
            header: header.map(str::to_owned).to_vec(),
            rows,
        }
    }
}

/// Every table that can be generated.
pub async fn all() -> Vec<Table> {
    let home = tempfile::tempdir().expect("a directory");
    vec![
        codes(),
        ledger_keys(home.path()).await,
        configuration(home.path()).await,
        destinations(),
        commands(home.path()).await,
        elsewhere(home.path()).await,
        metrics().await,
        clients(),
        clients_set_aside(),
        endpoints(),
        messages(),
    ]
}

/// What the API says of itself, from the document that another test keeps equal to the program's.
fn document() -> serde_json::Value {
    let text = std::fs::read_to_string(files::root().join("tests/golden/openapi.json"));
    serde_json::from_str(&text.expect("the document")).expect("JSON")
}

fn endpoints() -> Table {
    let document = document();
    let mut rows = Vec::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("operations") {
            let parameters = operation["parameters"].as_array();
            let query = parameters.into_iter().flatten();
            let query = query.filter(|one| one["in"] == "query");
            let query: Vec<_> = query
                .filter_map(|one| one["name"].as_str())
                .map(code)
                .collect();
            let body = &operation["requestBody"]["content"]["application/json"]["schema"];
            let sent = match name_of(body) {
                Some(name) => code(&name),
                None if query.is_empty() => "-".to_owned(),
                None => query.join(", "),
            };
            let ok = ["200", "201"].map(|status| {
                let content = &operation["responses"][status]["content"];
                name_of(&content["application/json"]["schema"])
            });
            let answer = ok.into_iter().flatten().next();
            let short = path.strip_prefix("/api/v1").expect("below the base");
            rows.push(vec![
                code(&format!("{} {short}", method.to_uppercase())),
                operation["summary"].as_str().expect("a summary").to_owned(),
                sent,
                answer.map_or("-".to_owned(), |name| code(&name)),
            ]);
        }
    }
    Table::new(
        "api endpoints",
        ["endpoint", "what it does", "sends", "answers"],
        rows,
    )
}

/// The name of a schema that is referred to, or of the items of a list.
fn name_of(schema: &serde_json::Value) -> Option<String> {
    let last = |reference: &str| reference.rsplit('/').next().unwrap_or_default().to_owned();
    let own = schema["$ref"].as_str().map(last);
    own.or_else(|| Some(format!("{}[]", name_of(schema.get("items")?)?)))
}

fn messages() -> Table {
    let document = document();
    let mut rows = Vec::new();
    for (name, schema) in document["components"]["schemas"]
        .as_object()
        .expect("schemas")
    {
        if !name.ends_with("Input") {
            continue;
        }
        for (member, described) in schema["properties"].as_object().expect("members") {
            let text = described["description"].as_str().unwrap_or_default();
            rows.push(vec![
                code(name),
                code(member),
                text.split_whitespace().collect::<Vec<_>>().join(" "),
            ]);
        }
    }
    Table::new("api messages", ["message", "member", "meaning"], rows)
}

/// What the binary prints on a machine where nothing is configured.
async fn said(home: &Path, args: &[&str]) -> String {
    let mut command = tokio::process::Command::new(EGRET);
    command
        .args(args)
        .env_clear()
        .env("HOME", home)
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    finish(command, b"").await.ok()
}

fn code(text: &str) -> String {
    format!("`{text}`")
}

/// The variables that lead a program through Egret, from the file that the program is built with.
fn clients() -> Table {
    let rows = entries("variable").map(|entry| {
        let value = match text(&entry, "is").as_str() {
            "proxy" => "the proxy's address",
            "direct" => "hosts that are reached without the proxy",
            "authority" => "a file with Egret's CA",
            "bundle" => "a file with the system's roots and Egret's CA",
            "java" => "options for the proxy and for a key store",
            "php" => "a directory with settings, after those that PHP reads anyway",
            "mercurial" => "the files that it reads anyway, and one with settings",
            "apt" => "a file with settings, which includes the user's own",
            "wget" => "a file with settings, unless the user has their own",
            "on" => "`1`",
            other => panic!("what is {other}?"),
        };
        vec![
            code(&text(&entry, "name")),
            value.to_owned(),
            text(&entry, "read_by"),
        ]
    });
    Table::new("clients", ["variable", "set to", "read by"], rows.collect())
}

fn clients_set_aside() -> Table {
    let rows = entries("set_aside").map(|entry| {
        let is_kept = entry.contains_key("options");
        let what = if is_kept {
            "the other options"
        } else {
            "nothing"
        };
        vec![
            code(&text(&entry, "name")),
            what.to_owned(),
            text(&entry, "read_by"),
        ]
    });
    Table::new(
        "clients set aside",
        ["variable", "passed on", "read by"],
        rows.collect(),
    )
}

fn entries(kind: &str) -> impl Iterator<Item = toml::Table> {
    let file = std::fs::read_to_string(files::root().join("certs/clients.toml"));
    let mut table: toml::Table = file.expect("the file").parse().expect("TOML");
    let Some(toml::Value::Array(entries)) = table.remove(kind) else {
        panic!("no {kind}");
    };
    entries
        .into_iter()
        .map(|entry| entry.try_into().expect("a table"))
}

fn text(entry: &toml::Table, key: &str) -> String {
    entry[key].as_str().expect("text").to_owned()
}

/// Error codes, from the list that a unit test of `src/error.rs` keeps equal to the code.
fn codes() -> Table {
    let list = std::fs::read_to_string(files::root().join("tests/golden/codes.txt"));
    let rows = list.expect("the list of codes");
    let rows = rows.lines().map(|line| {
        let mut words = line.split(' ');
        let mut word = || words.next().expect("status, code, proxy status").to_owned();
        vec![word(), code(&word())]
    });
    Table::new("codes", ["status", "code", "when"], rows.collect())
}

async fn ledger_keys(home: &Path) -> Table {
    let head = said(home, &["ledger", "export", "--format", "csv"]).await;
    let keys = head.trim_end().split(',');
    let rows = keys.map(|key| vec![code(key)]).collect();
    Table::new("ledger keys", ["key", "value"], rows)
}

async fn configuration(home: &Path) -> Table {
    let shown = said(home, &["config", "show"]).await;
    let example = Example::read();
    let mut rows = Vec::new();
    for line in shown.lines() {
        let (setting, origin) = line.rsplit_once("  # ").expect("an origin");
        let (key, default) = setting.split_once(" = ").expect("a value");
        // The others are the data directory, and the tables that `destinations` shows.
        if origin == "default" && key.contains('.') {
            rows.push(vec![
                code(key),
                code(default.trim_end()),
                example.meaning(key).to_owned(),
            ]);
        }
    }
    Table::new("configuration", ["key", "default", "meaning"], rows)
}

/// The keys of `[[destination]]`, of which the example shows a rule.
fn destinations() -> Table {
    let rows = Example::read()
        .0
        .into_iter()
        .filter_map(|setting| {
            let key = setting.key.strip_prefix("destination.")?;
            Some(vec![code(key), code(&setting.value), setting.meaning])
        })
        .collect();
    Table::new("destinations", ["key", "shown", "meaning"], rows)
}

/// A setting as `config/egret.example.toml` explains it.
struct Setting {
    key: String,
    value: String,
    meaning: String,
}

struct Example(Vec<Setting>);

impl Example {
    fn read() -> Self {
        let text = std::fs::read_to_string(files::root().join("config/egret.example.toml"));
        let mut settings = Vec::new();
        let mut section = String::new();
        let mut meaning = Vec::new();
        for line in text.expect("the example").lines() {
            let text = line.strip_prefix("# ").unwrap_or(line);
            if let Some(name) = text.strip_prefix('[') {
                section = name.trim_matches(['[', ']']).to_owned();
                meaning.clear();
            } else if let Some((key, value)) = setting(text) {
                settings.push(Setting {
                    key: format!("{section}.{key}"),
                    value: value.to_owned(),
                    meaning: meaning.join(" "),
                });
                meaning.clear();
            } else if line.starts_with("# ") {
                meaning.push(text);
            } else {
                meaning.clear();
            }
        }
        Self(settings)
    }

    fn meaning(&self, key: &str) -> &str {
        let setting = self.0.iter().find(|setting| setting.key == key);
        &setting
            .unwrap_or_else(|| panic!("the example lacks {key}"))
            .meaning
    }
}

/// A line `key = value`.
fn setting(line: &str) -> Option<(&str, &str)> {
    let (key, value) = line.split_once(" = ")?;
    let is_part = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    let is_key = key.bytes().all(is_part);
    is_key.then_some((key, value))
}

async fn commands(home: &Path) -> Table {
    let helps = helps(home).await;
    let rows = helps.iter().map(|(_, help)| command(help)).collect();
    Table::new("commands", ["command", "what it does", "options"], rows)
}

/// Which commands work on a server elsewhere, and why not the others.
async fn elsewhere(home: &Path) -> Table {
    let helps = helps(home).await;
    let rows = helps.iter().map(|(path, _)| {
        let name = path.join(" ");
        let here = HERE.iter().find(|here| here.command == name);
        let takes = here.map_or("yes", |here| here.why);
        vec![code(&format!("egret {name}")), takes.to_owned()]
    });
    let rows = rows.collect();
    Table::new("commands elsewhere", ["command", "with `--server`"], rows)
}

/// Every command that has none below it, as its words, with its help text.
pub async fn helps(home: &Path) -> Vec<(Vec<String>, String)> {
    let mut found = Vec::new();
    let mut open = vec![Vec::new()];
    while let Some(path) = open.pop() {
        let words: Vec<&str> = path.iter().map(String::as_str).collect();
        let help = said(home, &[&words[..], &["--help"]].concat()).await;
        let mut below: Vec<Vec<String>> = section(&help, "Commands:")
            // Deeper is the rest of an explanation.
            .filter_map(|line| line.strip_prefix("  ")?.split(' ').next())
            .filter(|name| !name.is_empty() && *name != "help")
            .map(|name| [&path[..], &[name.to_owned()]].concat())
            .collect();
        if below.is_empty() {
            found.push((path, help));
        }
        // The next to be looked at is the last of the list.
        below.reverse();
        open.append(&mut below);
    }
    found
}

/// The row of one command.
fn command(help: &str) -> Vec<String> {
    let usage = help.lines().find_map(|line| line.strip_prefix("Usage: "));
    let about = help.lines().next().unwrap_or_default();
    let options: Vec<_> = section(help, "Options:")
        .filter_map(option)
        .filter(|name| *name != "--help")
        .map(code)
        .collect();
    let options = if options.is_empty() {
        "-".to_owned()
    } else {
        options.join(", ")
    };
    vec![code(usage.expect("a usage")), about.to_owned(), options]
}

/// The lines below a heading of a help text, up to the next.
fn section<'a>(help: &'a str, heading: &str) -> impl Iterator<Item = &'a str> {
    let lines = help.lines().skip_while(move |line| *line != heading);
    let lines = lines.skip(1);
    lines.take_while(|line| line.is_empty() || line.starts_with(' '))
}

/// The long name of an option, in the line that introduces it.
fn option(line: &str) -> Option<&str> {
    let text = line.trim_start();
    // Deeper are the explanations.
    if !text.starts_with('-') || line.len() - text.len() > 6 {
        return None;
    }
    text.split([' ', ',']).find(|word| word.starts_with("--"))
}

async fn metrics() -> Table {
    let world = World::builder().start().await;
    let auditor = ["user", "add", "wim", "--role", "auditor"];
    world.run(&auditor).await.ok();
    let api = Api::of(&world, "wim", "audit").await;
    let page = within("the first checkpoint", measured(&api)).await;
    let mut kinds = page.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let helps = page.lines().filter_map(|line| line.strip_prefix("# HELP "));
    let rows = helps.map(|help| {
        let (name, meaning) = help.split_once(' ').expect("a name and a text");
        let kind = kinds.next().and_then(|kind| kind.strip_prefix(name));
        let kind = kind.expect("a type for each").trim().to_owned();
        vec![code(name), kind, meaning.to_owned()]
    });
    Table::new("metrics", ["metric", "type", "meaning"], rows.collect())
}

/// The metrics of a server that has written a checkpoint: one of them has no value before.
async fn measured(api: &Api<'_>) -> String {
    loop {
        let page = api.get("/metrics").await;
        let text = String::from_utf8(page.body).expect("UTF-8");
        if text.contains("egret_ledger_checkpoint_timestamp_seconds") {
            return text;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

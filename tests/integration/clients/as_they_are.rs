//! Clients that take no password of a proxy, or read settings of their own: under plain `egret run` they
//! work as they are.

use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::json;

use super::server::{Front, Server};
use super::{installed, program, text};
use crate::needs::{Need, needs};
use crate::upstream::{Step, Stub, ok};
use crate::wire::Request;
use crate::world::{HOST, Output, SLUG, VALUE, World, finish, one_upstream};

/// The credentials of the user `user`.
fn basic() -> String {
    let pair = BASE64_STANDARD.encode(format!("user:{VALUE}"));
    format!("Basic {pair}")
}

/// A strict stand-in for what the clients below speak to: it wants the value, and answers `ok` in the form
/// of each.
async fn answer(request: Arc<Request>) -> Vec<Step> {
    let sent = request.header("authorization");
    let wanted = [format!("Bearer {VALUE}"), basic()];
    let is_known = sent.is_some_and(|sent| wanted.contains(&sent));
    let is_known = is_known || request.header("x-api-key").as_deref() == Some(VALUE);
    if !is_known {
        let refused = "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n";
        return vec![Step::Send(refused.as_bytes().to_vec())];
    }
    let (kind, body) = content(&request);
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    vec![Step::Send(head.into_bytes())]
}

fn content(request: &Request) -> (&'static str, String) {
    let body = String::from_utf8_lossy(&request.body);
    let json = |value: serde_json::Value| ("application/json", value.to_string());
    match request.path() {
        "/v1/statement" => json(trino()),
        "/v1/models/m" => {
            json(json!({"id": "ok", "object": "model", "created": 1, "owned_by": "test"}))
        }
        "/v1/messages" => json(json!({
            "id": "m", "type": "message", "role": "assistant", "model": "m",
            "content": [{"type": "text", "text": "ok"}], "stop_reason": "end_turn",
            "stop_sequence": null, "usage": {"input_tokens": 1, "output_tokens": 1},
        })),
        "/api/v1/namespaces" => json(json!({
            "kind": "NamespaceList", "apiVersion": "v1", "metadata": {},
            "items": [{"metadata": {"name": "ok"}}],
        })),
        "/-/whoami" => json(json!({"username": "ok"})),
        "/" if body.contains("GetCallerIdentity") => (
            "text/xml",
            "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\
             <GetCallerIdentityResult><Arn>ok</Arn></GetCallerIdentityResult>\
             </GetCallerIdentityResponse>"
                .to_owned(),
        ),
        "/" if body.contains("SELECT version()") => ("text/plain", "24.8.1.1\tUTC\n".to_owned()),
        // No setting differs: nothing in ClickHouse's own format.
        "/" if body.contains("FORMAT Native") => ("text/plain", String::new()),
        "/" if body.contains("SELECT 1") => ("text/plain", "1\n".to_owned()),
        _ => ("text/plain", "ok".to_owned()),
    }
}

/// The whole result of a query in one answer.
fn trino() -> serde_json::Value {
    let counts = [
        "nodes",
        "totalSplits",
        "queuedSplits",
        "runningSplits",
        "completedSplits",
        "cpuTimeMillis",
        "wallTimeMillis",
        "queuedTimeMillis",
        "elapsedTimeMillis",
        "processedRows",
        "processedBytes",
        "physicalInputBytes",
        "physicalWrittenBytes",
        "peakMemoryBytes",
        "spilledBytes",
    ];
    let mut stats = json!({"state": "FINISHED", "queued": false, "scheduled": true});
    for count in counts {
        stats[count] = json!(0);
    }
    let length = json!({"kind": "LONG", "value": 2});
    let signature = json!({"rawType": "varchar", "arguments": [length]});
    json!({
        "id": "q", "infoUri": "https://api.example.test/ui", "warnings": [], "stats": stats,
        "columns": [{"name": "a", "type": "varchar(2)", "typeSignature": signature}],
        "data": [["ok"]],
    })
}

async fn strict() -> (World, Stub) {
    let (world, stub) = one_upstream().await;
    stub.serve(answer);
    (world, stub)
}

/// The last line that a program printed which ended well.
fn last_line(world: &World, output: Output) -> String {
    assert!(output.status.success(), "{output:#?}\n{}", world.log());
    output.stdout.lines().last().unwrap_or_default().to_owned()
}

/// Runs the program for Java with one of its libraries.
async fn library(world: &World, name: &str) -> String {
    let (classes, source) = (installed("java"), program("Libraries.java"));
    let classes = format!("{}/*", text(&classes));
    let args = ["run", "--action", "java", "--", "java", "-cp", &classes];
    let output = world
        .run(&[&args[..], &[source.as_str(), name]].concat())
        .await;
    last_line(world, output)
}

#[tokio::test]
async fn libraries_for_java() {
    needs!(Need::Jdk, Need::JavaClients);
    let (world, stub) = strict().await;
    for name in [
        "rest-template",
        "rest-client",
        "aws",
        "trino",
        "openai",
        "anthropic",
    ] {
        assert_eq!(library(&world, name).await, "ok", "{name}");
        let seen = stub.take();
        assert!(!seen.is_empty(), "{name} went round the proxy");
    }
}

#[tokio::test]
async fn grpc_for_java() {
    needs!(Need::Jdk, Need::JavaClients, Need::Python);
    // Of the characters that metadata may have.
    let value = "grpc-s3cr3t-9f8e7d6c";
    let mut server = tokio::process::Command::new(installed("venv/bin/python"));
    let server = Server::start(server.arg(program("grpc_server.py"))).await;
    let builder = World::builder();
    let front = Front::of(&server, builder.pki(), HOST, &["h2"]).await;
    let builder = builder.route(&format!("{HOST}:443"), front.addr);
    let world = builder.start().await;
    world.save(SLUG, value, &["--host", HOST]).await;
    // The server repeats the metadata: a value in gRPC keeps its length.
    let hidden = format!("hello|Bearer {}", "*".repeat(value.len()));
    assert_eq!(library(&world, "grpc").await, hidden);
}

const KUBERNETES: &str = r#"
import kubernetes
configuration = kubernetes.client.Configuration(host="https://api.example.test")
configuration.api_key = {"authorization": "<<pat>>"}
configuration.api_key_prefix = {"authorization": "Bearer"}
with kubernetes.client.ApiClient(configuration) as client:
    print(kubernetes.client.CoreV1Api(client).list_namespace().items[0].metadata.name)
"#;

const CLICKHOUSE: &str = r#"
import clickhouse_connect
client = clickhouse_connect.get_client(
    host="api.example.test", port=443, secure=True, username="user", password="<<pat>>")
print("ok" if client.command("SELECT 1") == 1 else "another answer")
"#;

#[tokio::test]
async fn clients_of_kubernetes_and_clickhouse_for_python() {
    needs!(Need::PythonServices);
    let (world, stub) = strict().await;
    let python = installed("services/bin/python");
    for script in [KUBERNETES, CLICKHOUSE] {
        let args = ["run", "--action", "py", "--", text(&python), "-c", script];
        let output = world.run(&args).await;
        assert_eq!(last_line(&world, output), "ok");
        assert!(!stub.take().is_empty());
    }
}

#[tokio::test]
async fn yarn_4() {
    needs!(Need::Node);
    let (world, stub) = strict().await;
    let project = world.scratch().join("project");
    std::fs::create_dir(&project).expect("a directory");
    std::fs::write(project.join("package.json"), "{\"private\": true}").expect("written");
    std::fs::write(project.join("yarn.lock"), "").expect("written");
    let node = installed("npm/node");
    let yarn = installed("npm/node_modules/@yarnpkg/cli-dist/bin/yarn.js");
    let variable = "YARN_NPM_AUTH_TOKEN=pat";
    let args = ["run", "--env", variable, "--", text(&node), text(&yarn)];
    let mut command = world.command(&[&args[..], &["npm", "whoami"]].concat());
    command
        .current_dir(&project)
        .env("YARN_NPM_REGISTRY_SERVER", format!("https://{HOST}"))
        .env("YARN_ENABLE_TELEMETRY", "0");
    let output = finish(command, b"").await;
    assert!(output.stdout.contains(": ok\n"), "{output:#?}");
    assert!(output.status.success(), "{output:#?}");
    assert_eq!(stub.take_one().path(), "/-/whoami");
}

#[tokio::test]
async fn curl_of_php() {
    needs!(Need::Program("php"));
    let (world, stub) = strict().await;
    let script = r#"
$curl = curl_init("https://api.example.test/php");
curl_setopt_array($curl, [CURLOPT_RETURNTRANSFER => true, CURLOPT_HTTPHEADER => ["X-Api-Key: <<pat>>"]]);
echo curl_exec($curl), curl_error($curl), "\n";
"#;
    let output = world.run(&["run", "--", "php", "-r", script]).await;
    assert_eq!(last_line(&world, output), "ok");
    assert_eq!(stub.take_one().path(), "/php");
}

#[tokio::test]
async fn mercurial_clones() {
    needs!(Need::Program("hg"));
    let world = World::builder();
    let scratch = tempfile::tempdir().expect("a directory");
    let repository = scratch.path().join("repository");
    let hg = async |args: &[&str]| {
        let mut command = tokio::process::Command::new("hg");
        command
            .args(args)
            .env("HGPLAIN", "1")
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped());
        finish(command, b"").await.ok()
    };
    hg(&["init", text(&repository)]).await;
    std::fs::write(repository.join("file"), "content").expect("written");
    let commit = ["commit", "-A", "-m", "first", "-u", "me", "-R"];
    hg(&[&commit[..], &[text(&repository)]].concat()).await;
    // Debian's modules of Mercurial belong to Debian's Python.
    let mut server = tokio::process::Command::new("/usr/bin/python3");
    server.args([&program("hg.py"), text(&repository), VALUE]);
    let server = Server::start(&mut server).await;
    let front = Front::of(&server, world.pki(), HOST, &["http/1.1"]).await;
    let world = world.route(&format!("{HOST}:443"), front.addr);
    let world = world.start().await;
    world.save(SLUG, VALUE, &["--host", HOST]).await;
    let url = format!("https://user:%3C%3Cpat%3E%3E@{HOST}/");
    let args = ["run", "--action", "hg", "--", "hg", "clone", &url, "copy"];
    let output = world.run(&args).await;
    assert!(output.status.success(), "{output:#?}\n{}", world.log());
    let copy = world.scratch().join("copy/file");
    assert_eq!(std::fs::read_to_string(copy).expect("cloned"), "content");
    let kept = world.scratch().join("copy/.hg/hgrc");
    let kept = std::fs::read_to_string(kept).expect("readable");
    assert!(!kept.contains(VALUE), "{kept}");
}

/// What a client for Debian packages finds: an empty list, with its digest.
fn debian(path: &str) -> Option<String> {
    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let release = format!(
        "Origin: test\nSuite: test\nDate: Tue, 01 Jan 2019 00:00:00 UTC\nSHA256:\n {EMPTY} 0 Packages\n"
    );
    match path.rsplit('/').next() {
        Some("Release") => Some(release),
        Some("Packages") => Some(String::new()),
        _ => None,
    }
}

#[tokio::test]
async fn apt_updates_as_whoever_runs_it() {
    needs!(Need::Program("apt-get"));
    let (world, stub) = one_upstream().await;
    stub.serve(|request| async move {
        let found = debian(request.path()).map(|text| ok(&text));
        let missing = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_vec();
        vec![Step::Send(found.unwrap_or(missing))]
    });
    let root = world.scratch().join("apt");
    for directory in [
        "lists/partial",
        "cache/archives/partial",
        "etc/apt.conf.d",
        "etc/preferences.d",
    ] {
        std::fs::create_dir_all(root.join(directory)).expect("a directory");
    }
    let write = |name: &str, content: &str| {
        let file = root.join(name);
        std::fs::write(&file, content).expect("written");
        text(&file).to_owned()
    };
    let sources = format!("deb [trusted=yes] https://{HOST}/debian ./\n");
    let sources = write("sources.list", &sources);
    let login = format!("machine {HOST} login user password <<pat>>\n");
    let login = write("auth.conf", &login);
    let status = write("status", "");
    // Settings of the user's own, which are kept.
    let own = format!(
        "Dir::State \"{0}\";\nDir::State::Lists \"{0}/lists\";\nDir::State::Status \"{status}\";\n\
         Dir::Cache \"{0}/cache\";\nDir::Etc \"{0}/etc\";\nDir::Etc::SourceList \"{sources}\";\n\
         Dir::Etc::Netrc \"{login}\";\n",
        text(&root)
    );
    let own = write("own.conf", &own);
    let mut command = world.command(&["run", "--action", "apt", "--", "apt-get", "update"]);
    command.env("APT_CONFIG", own);
    let output = finish(command, b"").await;
    assert!(output.status.success(), "{output:#?}\n{}", world.log());
    assert!(!output.stderr.contains("W:"), "{output:#?}");
    let seen = stub.take();
    let of = |name: &str| seen.iter().find(|request| request.path().ends_with(name));
    let release = of("/Release").expect("a request for the list");
    assert_eq!(release.header("authorization"), Some(basic()));
}

/// What Subversion asks of a repository before it can say something about it. It wants to be asked for a
/// password first, and the value as that.
async fn subversion(request: Arc<Request>) -> Vec<Step> {
    let said = |status: &str, headers: &str, body: &str| {
        let head = format!(
            "HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        vec![Step::Send(head.into_bytes())]
    };
    if request.header("authorization") != Some(basic()) {
        let challenge = "WWW-Authenticate: Basic realm=\"code\"\r\n";
        return said("401 Unauthorized", challenge, "");
    }
    if request.method == "OPTIONS" {
        let headers = "Content-Type: text/xml\r\n\
            DAV: 1,2, http://subversion.tigris.org/xmlns/dav/svn/depth\r\n\
            SVN-Youngest-Rev: 7\r\nSVN-Repository-UUID: b3f8a2f0-0000-4000-8000-000000000000\r\n\
            SVN-Repository-Root: /repo\r\nSVN-Me-Resource: /repo/!svn/me\r\n\
            SVN-Rev-Root-Stub: /repo/!svn/rvr\r\nSVN-Rev-Stub: /repo/!svn/rev\r\n\
            SVN-Txn-Root-Stub: /repo/!svn/txr\r\nSVN-Txn-Stub: /repo/!svn/txn\r\n\
            SVN-VTxn-Root-Stub: /repo/!svn/vtxr\r\nSVN-VTxn-Stub: /repo/!svn/vtxn\r\n";
        return said("200 OK", headers, "<D:options-response xmlns:D=\"DAV:\"/>");
    }
    let properties = "<D:resourcetype><D:collection/></D:resourcetype>\
        <D:version-name>7</D:version-name><D:creationdate>2020-01-01T00:00:00.000000Z</D:creationdate>";
    let found = format!(
        "<D:multistatus xmlns:D=\"DAV:\"><D:response><D:href>{}</D:href><D:propstat><D:prop>{properties}\
         </D:prop><D:status>HTTP/1.1 200 OK</D:status></D:propstat></D:response></D:multistatus>",
        request.path()
    );
    said("207 Multi-Status", "Content-Type: text/xml\r\n", &found)
}

#[tokio::test]
async fn subversion_arrives_by_its_wrapper() {
    needs!(
        Need::Program("svn"),
        Need::Program("svnsync"),
        Need::Program("svnrdump")
    );
    let (world, stub) = one_upstream().await;
    stub.serve(subversion);
    let url = format!("https://{HOST}/repo");
    let info = [
        "svn",
        "info",
        "--non-interactive",
        "--no-auth-cache",
        "--username=user",
        "--password=<<pat>>",
        &url,
    ];
    let run = ["run", "--action", "svn", "--"];
    let output = world.run(&[&run[..], &info].concat()).await;
    assert!(output.status.success(), "{output:#?}\n{}", world.log());
    assert!(output.stdout.contains("Revision: 7"), "{output:#?}");
    assert_eq!(output.stderr, "");
    // Those that copy a repository speak to it, too.
    for command in [["svnsync", "info"], ["svnrdump", "dump"]] {
        stub.take();
        let options = ["--non-interactive", "--no-auth-cache", &url];
        world.run(&[&run[..], &command, &options].concat()).await;
        let seen = stub.take();
        assert!(
            seen.iter().any(|request| request.method == "OPTIONS"),
            "{command:?}"
        );
    }
    // Without the variables it is Subversion as it is.
    let direct = "unset HTTPS_PROXY; exec svn info --non-interactive \"$1\"";
    let direct = ["run", "--", "sh", "-c", direct, "sh", &url];
    stub.take();
    let output = world.run(&direct).await;
    assert!(!output.status.success(), "{output:#?}");
    assert_eq!(stub.take().len(), 0, "{output:#?}");
}

#[tokio::test]
async fn a_wrapper_adds_options_and_takes_nothing_from_the_users_own() {
    let world = World::builder().start().await;
    let directory = world.scratch().join("bin");
    std::fs::create_dir_all(&directory).expect("a directory");
    let file = directory.join("svn");
    std::fs::write(&file, "#!/bin/sh\nprintf '%s\\n' \"$@\"\n").expect("written");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&file, mode).expect("a mode");
    let settings = world.scratch().join(".subversion");
    std::fs::create_dir_all(&settings).expect("a directory");
    let servers = "[groups]\n[lab]\nssl-authority-files = /lab.pem\n[global]\nssl-authority-files = /own.pem\n";
    std::fs::write(settings.join("servers"), servers).expect("written");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::iter::once(directory).chain(std::env::split_paths(&path));
    let path = std::env::join_paths(path).expect("a path");
    let said = async |options: &[&str]| {
        let arguments = ["run", "--quiet", "--no-proxy", "svn.example", "--"];
        let mut command = world.command(&arguments);
        command.args(options).env("PATH", &path);
        finish(command, b"").await.ok()
    };
    let given = said(&["svn", "info", "a  b"]).await;
    let lines: Vec<&str> = given.lines().collect();
    let of = |name: &str| {
        let option = format!("servers:global:{name}=");
        lines.iter().find_map(|line| line.strip_prefix(&option))
    };
    assert_eq!(of("http-proxy-host"), Some("127.0.0.1"), "{given}");
    assert!(
        of("http-proxy-port").is_some_and(|port| port.parse::<u16>().is_ok()),
        "{given}"
    );
    let direct = of("http-proxy-exceptions").unwrap_or_default();
    assert!(
        direct.split(',').any(|host| host == "svn.example"),
        "{given}"
    );
    let authorities = of("ssl-authority-files").unwrap_or_default();
    let (own, ours) = authorities.split_once(';').unwrap_or_default();
    assert!(own == "/own.pem" && ours.ends_with("/ca.pem"), "{given}");
    assert!(given.ends_with("\ninfo\na  b\n"), "{given}");
    // Called with nothing, or without the proxy's variable, it gets what it was given.
    assert_eq!(said(&["svn"]).await, "\n");
    assert_eq!(
        said(&["env", "-u", "HTTPS_PROXY", "svn", "info"]).await,
        "info\n"
    );
    let other = "HTTPS_PROXY=http://me:pass@corp.example:1";
    assert_eq!(said(&["env", other, "svn", "info"]).await, "info\n");
}

#[tokio::test]
async fn a_wrapped_program_says_how_it_is_used_as_without_the_wrapper() {
    needs!(
        Need::Program("svn"),
        Need::Program("svnmucc"),
        Need::Program("svnsync"),
        Need::Program("svnrdump")
    );
    let world = World::builder().start().await;
    for asked in [
        "svn",
        "svn --version",
        "svn --version --quiet",
        "svn help info",
        "svn nonsense",
        "svnmucc",
        "svnmucc --version",
        "svnmucc --help",
        "svnsync",
        "svnsync --version",
        "svnsync help initialize",
        "svnsync nonsense",
        "svnrdump",
        "svnrdump --version",
        "svnrdump help dump",
        "svnrdump nonsense",
    ] {
        let here = world
            .run(&["run", "--quiet", "--", "sh", "-c", asked])
            .await;
        let mut plain = tokio::process::Command::new("sh");
        plain
            .args(["-c", asked])
            .env("HOME", world.scratch())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped());
        let plain = finish(plain, b"").await;
        assert_eq!(
            (here.status.code(), here.stdout, here.stderr),
            (plain.status.code(), plain.stdout, plain.stderr),
            "{asked}"
        );
    }
}

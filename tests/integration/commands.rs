//! The command line: exit statuses, what goes to which stream, `run`, `env`, `demo`.

use std::path::Path;

use crate::client::{request, trusting};
use crate::leak::{assert_absent, forms};
use crate::needs::{Need, needs};
use crate::world::{EGRET, HOST, SLUG, VALUE, World, finish, one_upstream};

/// A command with an empty home directory and no configuration.
fn fresh(home: &Path, args: &[&str]) -> tokio::process::Command {
    let mut command = tokio::process::Command::new(EGRET);
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", home)
        .args(args)
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .kill_on_drop(true);
    command
}

#[tokio::test]
async fn the_demo_tells_the_whole_story_and_leaves_nothing_behind() {
    let home = tempfile::tempdir().expect("a directory");
    let mut command = fresh(home.path(), &["demo"]);
    command.env("TMPDIR", home.path());
    let output = finish(command, b"").await;
    assert!(output.status.success(), "{output:#?}");
    assert!(output.stdout.contains("<<"), "{}", output.stdout);
    let left: Vec<_> = std::fs::read_dir(home.path())
        .expect("home")
        .flatten()
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn exit_statuses_tell_usage_from_failure() {
    let home = tempfile::tempdir().expect("a directory");
    for (args, code) in [
        (&["version"][..], 0),
        (&["--help"], 0),
        (&["credential", "--help"], 0),
        (&["no-such-command"], 2),
        (&["credential", "add"], 2),
        (&["credential", "add", "Bad_Slug!", "--host", HOST], 2),
        (&["credential", "add", "ok", "--host", "not a host"], 2),
        (
            &["credential", "add", "ok", "--host", HOST, "--in", "nowhere"],
            2,
        ),
        (&["credential", "revoke", "never-saved"], 1),
        (&["client", "remove", "never-added"], 1),
        (&["--config", "/no/such/file.toml", "config", "check"], 1),
    ] {
        let output = finish(fresh(home.path(), args), b"value\n").await;
        assert_eq!(output.status.code(), Some(code), "{args:?}: {output:#?}");
        if code != 0 {
            assert!(!output.stderr.is_empty(), "{args:?} failed without a word");
        }
    }
}

#[tokio::test]
async fn ca_path_prints_the_path_and_nothing_else() {
    let home = tempfile::tempdir().expect("a directory");
    let output = finish(fresh(home.path(), &["ca", "path"]), b"").await;
    let stdout = output.ok();
    let path = stdout.strip_suffix('\n').expect("one line");
    let pem = std::fs::read(path).expect("the path leads to a file");
    assert!(pem.starts_with(b"-----BEGIN CERTIFICATE-----"));
    assert!(!String::from_utf8_lossy(&pem).contains("PRIVATE KEY"));
    trusting(&pem);
}

#[tokio::test]
async fn config_check_names_all_problems_with_the_nearest_key() {
    let home = tempfile::tempdir().expect("a directory");
    let file = home.path().join("egret.toml");
    std::fs::write(
        &file,
        "[proxy]\nlissten = \"x\"\nrequire_auth = \"maybe\"\n[upstraem]\n",
    )
    .expect("write");
    let file = file.to_str().expect("a path");
    let output = finish(
        fresh(home.path(), &["--config", file, "config", "check"]),
        b"",
    )
    .await;
    assert_eq!(output.status.code(), Some(1), "{output:#?}");
    for part in ["lissten", "listen", "require_auth", "upstraem", "upstream"] {
        assert!(
            output.stderr.contains(part) || output.stdout.contains(part),
            "no {part} in {output:#?}"
        );
    }
}

#[tokio::test]
async fn config_show_says_where_a_value_comes_from() {
    let home = tempfile::tempdir().expect("a directory");
    let mut command = fresh(home.path(), &["config", "show"]);
    command.env("EGRET_PROXY_LISTEN", "127.0.0.1:9999");
    let text = finish(command, b"").await.ok();
    let line = text
        .lines()
        .find(|l| l.contains("127.0.0.1:9999"))
        .expect("the value");
    assert!(
        line.contains("EGRET_PROXY_LISTEN") || line.contains("env"),
        "{line}"
    );
    assert!(text.contains("default"), "{text}");
}

#[tokio::test]
async fn authentication_cannot_be_switched_off_for_the_world() {
    let home = tempfile::tempdir().expect("a directory");
    let file = home.path().join("egret.toml");
    std::fs::write(
        &file,
        "[proxy]\nlisten = \"0.0.0.0:0\"\nrequire_auth = false\n",
    )
    .expect("write");
    let file = file.to_str().expect("a path");
    let output = finish(
        fresh(home.path(), &["--config", file, "config", "check"]),
        b"",
    )
    .await;
    assert_eq!(output.status.code(), Some(1), "{output:#?}");
}

#[tokio::test]
async fn run_needs_no_other_set_up() {
    // Nothing runs, nothing is configured: `run` brings its own proxy and passes the status on.
    let home = tempfile::tempdir().expect("a directory");
    let script = "test -n \"$HTTPS_PROXY\" && test -s \"$SSL_CERT_FILE\" && test -s \"$NODE_EXTRA_CA_CERTS\" && exit 7";
    let output = finish(fresh(home.path(), &["run", "--", "sh", "-c", script]), b"").await;
    assert_eq!(output.status.code(), Some(7), "{output:#?}");
}

#[tokio::test]
async fn run_uses_a_running_server_and_takes_its_token_back() {
    needs!(Need::Program("curl"));
    let (world, stub) = one_upstream().await;
    let url = format!("https://{HOST}/x");
    let args = [
        "run",
        "--action",
        "nightly",
        "--",
        "sh",
        "-c",
        "curl -sS -H 'X-Api-Key: <<pat>>' \"$0\" && echo \"$HTTPS_PROXY\"",
        &url,
    ];
    let stdout = world.run(&args).await.ok();
    assert!(stdout.starts_with("ok"), "{stdout}");
    assert_eq!(stub.take_one().header("x-api-key").as_deref(), Some(VALUE));
    let line = world
        .ledger()
        .into_iter()
        .rfind(|l| l["event"] == "use")
        .expect("a use line");
    assert_eq!(line["action"], "nightly");

    let proxy = stdout.trim_start_matches("ok").trim();
    assert!(proxy.contains("@127.0.0.1:"), "{proxy}");
    let userinfo = proxy
        .split_once("://")
        .and_then(|(_, rest)| rest.split_once('@'))
        .expect("userinfo")
        .0;
    let (action, token) = userinfo.split_once(':').expect("action and token");
    let wanted = crate::client::Wanted::new(&world).authorized(crate::client::basic(action, token));
    assert_eq!(
        wanted
            .connect(&world)
            .await
            .expect_err("the token outlived its run")
            .status,
        407
    );
}

#[tokio::test]
async fn run_brings_its_own_proxy_when_none_runs() {
    needs!(Need::Program("curl"));
    let (mut world, stub) = one_upstream().await;
    assert!(world.stop().await.success());
    let url = format!("https://{HOST}/x");
    let args = ["run", "--", "curl", "-sS", "-H", "X-Api-Key: <<pat>>", &url];
    assert_eq!(world.run(&args).await.ok(), "ok");
    assert_eq!(stub.take_one().header("x-api-key").as_deref(), Some(VALUE));
    let uses = world
        .ledger()
        .into_iter()
        .filter(|l| l["event"] == "use")
        .count();
    assert_eq!(uses, 1);
}

#[tokio::test]
async fn run_withholds_variables_that_hold_a_stored_value() {
    let (world, _stub) = one_upstream().await;
    let mut command = world.command(&["run", "--", "env"]);
    command
        .env("GITHUB_TOKEN", VALUE)
        .env("DATABASE_URL", format!("postgres://u:{VALUE}@db/x"))
        .env("HARMLESS", "stays");
    let output = finish(command, b"").await;
    assert!(output.status.success(), "{output:#?}");
    assert!(output.stdout.contains("HARMLESS=stays"));
    let forms = forms(VALUE.as_bytes());
    assert_absent("the child's environment", output.stdout.as_bytes(), &forms);
    assert_absent("the complaint", output.stderr.as_bytes(), &forms);
    assert!(
        output.stderr.contains("GITHUB_TOKEN"),
        "it says what it withheld: {}",
        output.stderr
    );
}

#[tokio::test]
async fn run_sets_every_variable_that_clients_look_at() {
    needs!(Need::SystemRoots);
    let (world, _stub) = one_upstream().await;
    let text = world.run(&["run", "--", "env"]).await.ok();
    let value = |name: &str| {
        let line = text
            .lines()
            .find_map(|l| l.strip_prefix(&format!("{name}=")));
        line.unwrap_or_else(|| panic!("no {name} in\n{text}"))
            .to_owned()
    };
    for name in [
        "HTTP_PROXY",
        "http_proxy",
        "HTTPS_PROXY",
        "https_proxy",
        "ALL_PROXY",
        "all_proxy",
    ] {
        assert!(value(name).contains("@127.0.0.1:"), "{name}");
    }
    let ca = world.ca_pem().await;
    let additive = ["NODE_EXTRA_CA_CERTS", "DENO_CERT"];
    let replacing = [
        "SSL_CERT_FILE",
        "CURL_CA_BUNDLE",
        "REQUESTS_CA_BUNDLE",
        "GIT_SSL_CAINFO",
        "AWS_CA_BUNDLE",
        "PIP_CERT",
        "CARGO_HTTP_CAINFO",
        "HTTPLIB2_CA_CERTS",
        "npm_config_cafile",
        "PERL_LWP_SSL_CA_FILE",
        "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
        "CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE",
        "COMPOSER_CAFILE",
        "NIX_SSL_CERT_FILE",
        "HEX_CACERTS_PATH",
        "BUNDLE_SSL_CA_CERT",
        "CONDA_SSL_VERIFY",
    ];
    let certificates = |pem: &[u8]| {
        String::from_utf8_lossy(pem)
            .matches("BEGIN CERTIFICATE")
            .count()
    };
    for name in additive {
        let pem = std::fs::read(value(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(certificates(&pem), 1, "{name} holds the CA alone");
    }
    for name in replacing {
        let pem = std::fs::read(value(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(
            certificates(&pem) > 1,
            "{name} holds the system's roots too"
        );
        let has_ca = memchr::memmem::find(&pem, ca.trim_ascii()).is_some();
        assert!(has_ca, "{name} holds the CA");
    }
    assert_eq!(value("NODE_USE_ENV_PROXY"), "1");
    assert!(value("JAVA_TOOL_OPTIONS").contains("-Dhttps.proxyHost=127.0.0.1"));
}

#[tokio::test]
async fn env_prints_what_a_shell_can_read() {
    needs!(Need::Program("curl"));
    let (world, stub) = one_upstream().await;
    let script = world.run(&["env", "--shell", "sh"]).await.ok();
    let file = world.scratch().join("egret-env.sh");
    std::fs::write(&file, script).expect("write");
    let mut shell = tokio::process::Command::new("sh");
    shell
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", world.scratch())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .arg("-ec")
        .arg(format!(
            ". {} && exec curl -sS -H 'X-Api-Key: <<pat>>' https://{HOST}/x",
            file.display()
        ));
    assert_eq!(finish(shell, b"").await.ok(), "ok");
    assert_eq!(stub.take_one().header("x-api-key").as_deref(), Some(VALUE));
    for shell in ["fish", "powershell", "dotenv"] {
        assert!(
            world
                .run(&["env", "--shell", shell])
                .await
                .ok()
                .contains("HTTPS_PROXY")
        );
    }
}

#[tokio::test]
async fn a_minted_action_token_is_signed_and_limited() {
    let (world, stub) = one_upstream().await;
    world
        .save("other", "another-value", &["--host", HOST])
        .await;
    let minted = world
        .run(&[
            "token", "mint", "--client", "tester", "--action", "report", "--run", "r-1", "--slug",
            SLUG, "--json",
        ])
        .await
        .json();
    let token = minted["token"].as_str().expect("a token").to_owned();
    assert!(
        token.starts_with("ega_") && minted["expires"].is_string(),
        "{minted}"
    );
    let wanted = crate::client::Wanted::new(&world)
        .authorized(crate::client::basic("something-else", &token));
    let mut tunnel = world.tunnel_for(&wanted).await;
    assert_eq!(
        tunnel
            .get("/x", &["X-A: <<pat>>", "Egret-Action: forged"])
            .await
            .status,
        200
    );
    stub.take_one();
    let line = world
        .ledger()
        .into_iter()
        .rfind(|l| l["event"] == "use")
        .expect("a use line");
    assert_eq!(
        (&line["action"], &line["action_source"]),
        (&"report".into(), &"signed".into())
    );
    assert_eq!(line["run"], "r-1");
    let answer = tunnel
        .roundtrip(request("GET", "/x", &["X-A: <<other>>"], ""))
        .await;
    crate::client::assert_refused(&answer, "credential_not_allowed");
    assert_eq!(stub.take().len(), 0);
}

#[tokio::test]
async fn without_configuration_everything_starts() {
    let home = tempfile::tempdir().expect("a directory");
    let data = home.path().join("data");
    let mut command = fresh(home.path(), &["serve"]);
    command
        .env("EGRET_PROXY_LISTEN", "127.0.0.1:0")
        .env("EGRET_ADMIN_LISTEN", "127.0.0.1:0")
        .env("XDG_DATA_HOME", &data);
    let mut server = command.spawn().expect("serve");
    let file = data.join("egret/server.json");
    crate::eventually("a server", || {
        std::fs::read(&file)
            .ok()
            .filter(|t| t.ends_with(b"}") || t.ends_with(b"}\n"))
    })
    .await;
    server.kill().await.expect("end it");
    for part in ["egret.db", "master.key", "ledger"] {
        assert!(data.join("egret").join(part).exists(), "{part}");
    }
}

#[tokio::test]
async fn completions_and_help_are_there() {
    let (world, _stub): (World, _) = one_upstream().await;
    for shell in ["bash", "zsh", "fish"] {
        assert!(
            world
                .run(&["completions", shell])
                .await
                .ok()
                .contains("egret")
        );
    }
    let help = world.run(&["credential", "add", "--help"]).await.ok();
    for part in ["--host", "--in", "<<", "standard input"] {
        assert!(
            help.contains(part),
            "the help does not mention {part}:\n{help}"
        );
    }
}

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
        (
            &[
                "credential",
                "add",
                "ok",
                "--host",
                HOST,
                "--expires",
                "99999999d",
            ],
            2,
        ),
        (&["ledger", "tail", "--since", "99999999d"], 2),
        (&["ledger", "tail", "--event", "nosuch"], 2),
        (&["ledger", "export", "--outcome", "nosuch"], 2),
        (&["serve", "--listen", "foo"], 2),
        (&["serve", "--admin-listen", "1.2.3.4"], 2),
        (&["env", "--ttl", "0s"], 2),
        (&["env", "--ttl", "99999999d"], 2),
        (
            &[
                "token", "mint", "--client", "c", "--action", "a", "--ttl", "0s",
            ],
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
    let address = proxy.strip_prefix("http://127.0.0.1:");
    let port: u16 = address
        .and_then(|port| port.parse().ok())
        .unwrap_or_else(|| panic!("a loopback port and no password: {proxy}"));
    let closed = tokio::net::TcpStream::connect(("127.0.0.1", port)).await;
    assert!(closed.is_err(), "the listener outlived its run");
    let clients = world.run(&["client", "list"]).await.ok();
    assert!(!clients.contains("run-"), "{clients}");
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
async fn run_withholds_encoded_copies_and_the_master_key_under_any_name() {
    use base64::Engine as _;
    use base64::prelude::BASE64_STANDARD;
    let (mut world, _stub) = one_upstream().await;
    let key = std::fs::read_to_string(world.data.join("master.key")).expect("the key");
    let raw = BASE64_STANDARD.decode(key.trim()).expect("base64");
    let hex = |bytes: &[u8]| -> String { bytes.iter().map(|b| format!("{b:02x}")).collect() };
    let percent: String = VALUE.bytes().map(|b| format!("%{b:02X}")).collect();
    let secret = [
        ("A", BASE64_STANDARD.encode(VALUE)),
        (
            "B",
            format!("Basic {}", BASE64_STANDARD.encode(format!("me:{VALUE}"))),
        ),
        ("C", hex(VALUE.as_bytes())),
        ("D", percent),
        ("E", key.trim().to_owned()),
        ("F", hex(&raw)),
        ("G", BASE64_STANDARD.encode(key.trim())),
        ("H", format!("--key={}", key.trim())),
        ("I", "egc_a-token-of-egrets-own".to_owned()),
    ];
    // With a server, and with the proxy inside the command.
    for serving in [true, false] {
        let mut command = world.command(&["run", "--", "env"]);
        command
            .envs(secret.iter().map(|(name, text)| (name, text)))
            .env("EGRET_TOKEN", "egc_a-token-of-egrets-own")
            .env("HARMLESS", "stays");
        let output = finish(command, b"").await;
        assert!(output.status.success(), "{output:#?}");
        assert!(output.stdout.contains("HARMLESS=stays"));
        for (name, text) in &secret {
            assert!(
                !output.stdout.contains(text.as_str()),
                "{name} was passed on"
            );
            assert!(!output.stderr.contains(text.as_str()), "{name} was printed");
        }
        assert!(
            output.stderr.contains("A, B, C, D, E, F, G, H, I"),
            "{}",
            output.stderr
        );
        if serving {
            assert!(world.stop().await.success());
        }
    }
}

#[tokio::test]
async fn the_exported_ca_can_be_read_by_others_and_its_key_cannot() {
    use std::os::unix::fs::PermissionsExt as _;
    let home = tempfile::tempdir().expect("a directory");
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(home.path(), open).expect("chmod");
    let public = home.path().join("public");
    let target = public.to_str().expect("text");
    for _ in 0..2 {
        let exported = finish(fresh(home.path(), &["ca", "export", target, "--json"]), b"").await;
        let exported = exported.json();
        assert_eq!(exported["path"], format!("{target}/ca.pem"));
    }
    let mode = |path: &Path| {
        let metadata = std::fs::metadata(path).expect("present");
        metadata.permissions().mode() & 0o777
    };
    assert_eq!(mode(&public), 0o755);
    let mut names: Vec<_> = std::fs::read_dir(&public)
        .expect("a directory")
        .flatten()
        .map(|entry| entry.file_name().into_string().expect("text"))
        .collect();
    names.sort();
    let expected = [
        "ca-bundle.apt.conf",
        "ca-bundle.hgrc",
        "ca-bundle.jks",
        "ca-bundle.p12",
        "ca-bundle.pem",
        "ca-bundle.php.d",
        "ca-bundle.wgetrc",
        "ca.pem",
        "trust.env",
    ];
    assert_eq!(names, expected);
    assert_eq!(mode(&public.join("ca-bundle.php.d")), 0o755);
    for name in [
        "ca-bundle.apt.conf",
        "ca-bundle.hgrc",
        "ca-bundle.jks",
        "ca-bundle.p12",
        "ca-bundle.pem",
        "ca-bundle.php.d/egret.ini",
        "ca-bundle.wgetrc",
        "ca.pem",
        "trust.env",
    ] {
        assert_eq!(mode(&public.join(name)), 0o644, "{name}");
    }
    let shown = finish(fresh(home.path(), &["ca", "show"]), b"").await.ok();
    assert_eq!(
        std::fs::read_to_string(public.join("ca.pem")).expect("read"),
        shown
    );
    let variables = std::fs::read_to_string(public.join("trust.env")).expect("read");
    let line = format!("SSL_CERT_FILE={target}/ca-bundle.pem");
    assert!(variables.lines().any(|it| it == line), "{variables}");
    assert!(!variables.contains("PROXY"), "{variables}");
    let data = home.path().join(".local/share/egret");
    assert_eq!(mode(&data.join("ca.key")), 0o600);
    let closed = home.path().join("closed");
    std::fs::create_dir(&closed).expect("a directory");
    std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o700)).expect("chmod");
    let closed = closed.to_str().expect("text");
    let refused = finish(fresh(home.path(), &["ca", "export", closed]), b"").await;
    assert_eq!(refused.status.code(), Some(1), "{refused:#?}");
    assert!(
        refused.stderr.contains("cannot read it"),
        "{}",
        refused.stderr
    );
}

#[tokio::test]
async fn java_and_openssl_read_the_exported_key_stores() {
    needs!(
        Need::Program("keytool"),
        Need::Program("openssl"),
        Need::SystemRoots
    );
    use std::os::unix::fs::PermissionsExt as _;
    let home = tempfile::tempdir().expect("a directory");
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(home.path(), open).expect("chmod");
    let public = home.path().join("public");
    let target = public.to_str().expect("text");
    let exported = finish(fresh(home.path(), &["ca", "export", target, "--json"]), b"").await;
    let exported = exported.json();
    let bundle = std::fs::read_to_string(public.join("ca-bundle.pem")).expect("the bundle");
    let expected = bundle.matches("BEGIN CERTIFICATE").count();
    let run = |program: &str, arguments: &[&str]| {
        let output = std::process::Command::new(program).args(arguments).output();
        let output = output.expect("run it");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.success(), text)
    };
    for (store, kind) in [("pkcs12", "PKCS12"), ("java", "JKS")] {
        let path = exported[store].as_str().expect("a path");
        let list = |password: &str| {
            run(
                "keytool",
                &[
                    "-list",
                    "-keystore",
                    path,
                    "-storetype",
                    kind,
                    "-storepass",
                    password,
                ],
            )
        };
        let (is_read, text) = list("changeit");
        assert!(is_read, "{text}");
        assert_eq!(text.matches("trustedCertEntry").count(), expected, "{kind}");
        assert!(!list("wrong-password").0, "the checksum is compared");
    }
    let path = exported["pkcs12"].as_str().expect("a path");
    let (is_read, text) = run(
        "openssl",
        &["pkcs12", "-in", path, "-passin", "pass:changeit", "-nokeys"],
    );
    assert!(is_read, "{text}");
    let certificates = |text: &str| -> Vec<String> {
        let parts = text.split("-----BEGIN CERTIFICATE-----").skip(1);
        let parts = parts.map(|part| part.split("-----END").next().unwrap_or_default().to_owned());
        parts.collect()
    };
    assert_eq!(
        certificates(&text),
        certificates(&bundle),
        "in the same order"
    );
    let wrong = ["pkcs12", "-in", path, "-passin", "pass:x", "-nokeys"];
    assert!(!run("openssl", &wrong).0);
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
        "YARN_HTTPS_PROXY",
        "GLOBAL_AGENT_HTTP_PROXY",
    ] {
        assert!(value(name).starts_with("http://127.0.0.1:"), "{name}");
    }
    assert!(!text.contains("egc_"), "the token is not for the program");
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
    let script = world.run(&["env", "--format", "sh"]).await.ok();
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
                .run(&["env", "--format", shell])
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
async fn no_token_works_longer_than_the_configured_maximum() {
    let (mut world, _stub) = one_upstream().await;
    let mint = |ttl| {
        [
            "token", "mint", "--client", "tester", "--action", "a", "--ttl", ttl,
        ]
    };
    let long = world.run(&mint("2h")).await.ok();
    world.configure("proxy.max_token_lifetime", "1h");
    world.run(&["reload"]).await.ok();
    for refused in [
        &mint("2h")[..],
        &["env", "--ttl", "2h"],
        &["client", "add", "eternal"],
        &["client", "add", "eternal", "--expires", "never"],
        &["client", "add", "eternal", "--expires", "2h"],
    ] {
        let output = world.run(refused).await;
        assert_eq!(output.status.code(), Some(2), "{refused:?}: {output:#?}");
        assert!(
            output.stderr.contains("max_token_lifetime"),
            "{}",
            output.stderr
        );
    }
    let short = world.run(&mint("30m")).await.ok();
    world
        .run(&["client", "add", "visitor", "--expires", "30m"])
        .await
        .ok();
    world.run(&["env", "--ttl", "1h"]).await.ok();
    let with = |token: &str| {
        crate::client::Wanted::new(&world).authorized(crate::client::basic("a", token.trim()))
    };
    assert!(with(&short).connect(&world).await.is_ok());
    let refused = with(&long).connect(&world).await.expect_err("too long");
    assert_eq!(refused.status, 407);
    assert!(
        refused.text().contains("max_token_lifetime"),
        "{}",
        refused.text()
    );
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

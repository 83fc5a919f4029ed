//! Starting, reloading, draining, stopping.

use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;
use tokio::sync::Notify;

use crate::client::{Wanted, assert_refused, request, trusting};
use crate::upstream::{Step, Stub, ok};
use crate::world::{HOST, SLUG, VALUE, World, one_upstream};
use crate::{eventually, within};

const HEADER: &str = "X-Api-Key: <<pat>>";

#[tokio::test]
async fn health_and_readiness_are_told_on_the_admin_listener() {
    let (world, _stub) = one_upstream().await;
    assert_eq!(world.admin_get("/healthz").await, Some(200));
    assert_eq!(world.admin_get("/readyz").await, Some(200));
    assert_eq!(world.admin_get("/startupz").await, Some(200));
    // A page is at a name of its own.
    assert_eq!(world.admin_get("/no-such-page").await, Some(307));
}

#[tokio::test]
async fn a_health_check_needs_no_shell() {
    let (mut world, _stub) = one_upstream().await;
    let ready = world.run(&["health"]).await;
    assert!(ready.status.success(), "{}", ready.stderr);
    let alive = world.run(&["health", "--live", "--json"]).await.json();
    assert_eq!(alive, serde_json::json!({"healthy": true, "detail": "ok"}));
    world.stop().await;
    let gone = world.run(&["health"]).await;
    assert_eq!(gone.status.code(), Some(1));
    assert!(gone.stderr.contains("no server answers"), "{}", gone.stderr);
}

/// What systemd waits for with `Type=notify`.
#[tokio::test]
async fn the_service_manager_is_told() {
    let home = tempfile::tempdir().expect("a directory");
    let path = home.path().join("notify");
    let socket = tokio::net::UnixDatagram::bind(&path).expect("a socket");
    let prelude = format!("export NOTIFY_SOCKET='{}'", path.display());
    let mut world = World::builder().after(prelude.leak()).start().await;
    let told = async || {
        let mut text = [0; 256];
        let length = within("a notification", socket.recv(&mut text)).await;
        String::from_utf8_lossy(&text[..length.expect("a datagram")]).into_owned()
    };
    assert_eq!(told().await.trim_end(), "READY=1");
    assert_eq!(world.admin_get("/readyz").await, Some(200));
    world.signal(Signal::TERM);
    assert_eq!(told().await.trim_end(), "STOPPING=1");
    assert!(world.ended().await.success());
}

#[tokio::test]
async fn logs_can_be_json_lines() {
    let builder = World::builder().set("log.format", "json");
    let stub = Stub::tls(builder.pki(), &[HOST]).await;
    let mut world = builder
        .route(&format!("{HOST}:443"), stub.addr)
        .start()
        .await;
    world.tunnel().await.get("/x", &["X-A: <<nope>>"]).await;
    world.stop().await;
    let log = world.log();
    let lines: Vec<&str> = log.lines().filter(|l| l.starts_with('{')).collect();
    assert!(!lines.is_empty(), "{log}");
    for line in lines {
        let record: serde_json::Value =
            serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        assert!(
            record["level"].is_string() && record["timestamp"].is_string(),
            "{line}"
        );
    }
}

#[tokio::test]
async fn sigterm_lets_a_request_in_flight_end_and_takes_no_new_ones() {
    for signal in [Signal::TERM, Signal::INT] {
        let (mut world, stub) = one_upstream().await;
        let gate = Arc::new(Notify::new());
        stub.steps(vec![
            Step::Send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nfirst".to_vec()),
            Step::Hold(gate.clone()),
            Step::Send(b"last".to_vec()),
        ]);
        let mut tunnel = world.tunnel().await;
        let mut idle = world.tunnel().await;
        tunnel
            .wire
            .send(request("GET", "/slow", &[HEADER], ""))
            .await
            .expect("send");
        within("the request", stub.until_requests(1)).await;

        world.signal(signal);
        refuses_new_work(&world).await;
        within("an idle tunnel to be closed", idle.wire.until_closed()).await;
        gate.notify_one();
        let answer = within("the answer", tunnel.wire.response(false))
            .await
            .expect("the whole answer");
        assert_eq!((answer.status, answer.text().as_str()), (200, "firstlast"));
        let status = world.ended().await;
        assert!(status.success(), "{status}\n{}", world.log());
        let results: Vec<_> = world
            .ledger()
            .into_iter()
            .filter(|l| l["event"] == "result")
            .collect();
        assert_eq!(
            results.len(),
            1,
            "the result of the last request is on record"
        );
        assert_eq!(results[0]["outcome"], "forwarded");
    }
}

/// A draining proxy refuses connections, or answers `shutting_down`.
async fn refuses_new_work(world: &World) {
    for _ in 0..100 {
        let Ok(socket) = tokio::net::TcpStream::connect(world.proxy).await else {
            return;
        };
        let mut wire = crate::wire::Wire::new(socket);
        let _ = wire.send(Wanted::new(world).head()).await;
        match within("an answer", wire.connect_response()).await {
            Ok(answer) if answer.status == 503 => return assert_refused(&answer, "shutting_down"),
            Ok(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            Err(_) => return,
        }
    }
    panic!("the proxy still takes new work");
}

#[tokio::test]
async fn a_drain_has_a_deadline() {
    let builder = World::builder().set("proxy.drain_timeout", "1s");
    let stub = Stub::tls(builder.pki(), &[HOST]).await;
    stub.steps(vec![Step::Hang]);
    let mut world = builder
        .route(&format!("{HOST}:443"), stub.addr)
        .start()
        .await;
    world.save(SLUG, VALUE, &["--host", HOST]).await;
    let mut tunnel = world.tunnel().await;
    tunnel
        .wire
        .send(request("GET", "/never", &[HEADER], ""))
        .await
        .expect("send");
    within("the request", stub.until_requests(1)).await;
    let started = std::time::Instant::now();
    world.stop().await;
    assert!(
        started.elapsed() < Duration::from_secs(10),
        "{:?}",
        started.elapsed()
    );
    let uses = world
        .ledger()
        .into_iter()
        .filter(|l| l["event"] == "use")
        .count();
    assert_eq!(uses, 1);
}

#[tokio::test]
async fn a_restart_keeps_credentials_clients_ca_and_chain() {
    let (mut world, stub) = one_upstream().await;
    world.tunnel().await.get("/1", &[HEADER]).await;
    let ca = world.ca_pem().await;
    assert!(world.stop().await.success());
    world.restart().await;
    assert_eq!(world.ca_pem().await, ca);
    assert_eq!(world.tunnel().await.get("/2", &[HEADER]).await.status, 200);
    assert_eq!(stub.take().len(), 2);
    let bytes = world.ledger_bytes();
    let lines: Vec<&[u8]> = bytes
        .split(|b| *b == b'\n')
        .filter(|l| !l.is_empty())
        .collect();
    crate::durability::verify_chain(&lines).expect("one chain over two lives");
}

#[tokio::test]
async fn commands_work_while_no_server_runs() {
    let (mut world, stub) = one_upstream().await;
    assert!(world.stop().await.success());
    world
        .run_with(&["credential", "rotate", SLUG], b"rotated-while-down\n")
        .await
        .ok();
    world.restart().await;
    world.tunnel().await.get("/x", &[HEADER]).await;
    assert_eq!(
        stub.take_one().header("x-api-key").as_deref(),
        Some("rotated-while-down")
    );
    world
        .ledger_line("the rotation", |l| {
            l["event"] == "credential.rotated" && l["slug"] == SLUG
        })
        .await;
}

#[tokio::test]
async fn a_second_server_on_the_same_data_directory_is_refused() {
    let (world, _stub) = one_upstream().await;
    let second = world.run(&["serve"]).await;
    assert_eq!(second.status.code(), Some(1), "{second:?}");
    assert!(!second.stderr.is_empty());
    assert_eq!(world.tunnel().await.get("/x", &[HEADER]).await.status, 200);
    assert_eq!(world.admin_get("/readyz").await, Some(200));
}

#[tokio::test]
async fn a_valid_file_takes_effect_on_sighup_without_dropping_a_connection() {
    let builder = World::builder();
    let stub = Stub::tls(builder.pki(), &[HOST]).await;
    stub.answer(ok("ok"));
    let mut world = builder
        .route(&format!("{HOST}:443"), stub.addr)
        .set("upstream.allow_private", toml::Value::Array(Vec::new()))
        .start()
        .await;
    let mut tunnel = world.tunnel().await;
    assert_refused(&tunnel.get("/x", &[]).await, "destination_forbidden");
    world.configure(
        "upstream.allow_private",
        toml::Value::Array(vec!["127.0.0.0/8".into()]),
    );
    world.signal(Signal::HUP);
    for _ in 0..200 {
        // The tunnel stays the same throughout.
        let answer = tunnel.get("/x", &[]).await;
        if answer.status == 200 {
            return;
        }
        assert_refused(&answer, "destination_forbidden");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the new file never took effect:\n{}", world.log());
}

#[tokio::test]
async fn reload_returns_when_the_configuration_is_in_force() {
    let builder = World::builder();
    let stub = Stub::tls(builder.pki(), &[HOST]).await;
    stub.answer(ok("ok"));
    let mut world = builder
        .route(&format!("{HOST}:443"), stub.addr)
        .start()
        .await;
    let mut tunnel = world.tunnel().await;
    let everything = || toml::Value::Array(vec!["127.0.0.0/8".into()]);
    for _ in 0..10 {
        // The very next request is decided by the new file.
        world.configure("upstream.allow_private", toml::Value::Array(Vec::new()));
        let said = world.run(&["reload"]).await.ok();
        assert_eq!(said, "The new configuration is in force.\n");
        assert_refused(&tunnel.get("/x", &[]).await, "destination_forbidden");
        world.configure("upstream.allow_private", everything());
        world.run(&["reload"]).await.ok();
        assert_eq!(tunnel.get("/x", &[]).await.status, 200);
    }
    world.configure("proxy.max_connections", 77);
    let said = world.run(&["reload"]).await;
    assert!(said.status.success(), "{said:#?}");
    assert!(
        said.stderr.contains("proxy.max_connections"),
        "{}",
        said.stderr
    );
}

#[tokio::test]
async fn reload_says_what_the_server_refuses() {
    let (mut world, _stub) = one_upstream().await;
    let missing = world.scratch().join("no-such-root.pem");
    let missing = missing.to_str().expect("text").to_owned();
    let mut tunnel = world.tunnel().await;
    world.configure(
        "upstream.ca_files",
        toml::Value::Array(vec![missing.into()]),
    );
    // The command sees another value than the server.
    let mut reload = world.command(&["reload"]);
    reload.env(
        "EGRET_UPSTREAM_CA_FILES",
        world.scratch().join("upstream-root.pem"),
    );
    let refused = crate::world::finish(reload, b"").await;
    assert_eq!(refused.status.code(), Some(1), "{refused:#?}");
    assert!(
        refused.stderr.contains("the server refuses"),
        "{}",
        refused.stderr
    );
    assert!(
        refused.stderr.contains("no-such-root.pem"),
        "{}",
        refused.stderr
    );
    assert_eq!(tunnel.get("/x", &[HEADER]).await.status, 200);
}

#[tokio::test]
async fn an_egret_run_is_not_told_to_reload() {
    let (mut world, _stub) = one_upstream().await;
    assert!(world.stop().await.success());
    let ready = world.scratch().join("ready");
    let script = format!("trap 'exit 9' HUP; echo > {}; read line", ready.display());
    let mut command = world.command(&["run", "--", "sh", "-c", &script]);
    let mut run = command
        .stdin(std::process::Stdio::piped())
        .spawn()
        .expect("run");
    eventually("the program", || ready.exists().then_some(())).await;
    let refused = world.run(&["reload"]).await;
    assert_eq!(refused.status.code(), Some(1), "{refused:#?}");
    assert!(refused.stderr.contains("egret run"), "{}", refused.stderr);
    drop(run.stdin.take());
    let status = within("the program to end", run.wait())
        .await
        .expect("wait");
    assert_ne!(status.code(), Some(9), "the program was signalled");
}

#[tokio::test]
async fn an_invalid_file_is_refused_on_sighup_and_everything_goes_on() {
    let (world, _stub) = one_upstream().await;
    let mut wanted = Wanted::new(&world);
    // Run before the file becomes unreadable for the command line.
    wanted.tls = Some(trusting(&world.ca_pem().await));
    let mut tunnel = world.tunnel_for(&wanted).await;
    for text in [
        "this is not TOML",
        "[proxy]\nlissten = \"127.0.0.1:1\"\n",
        "[upstream]\nallow_private = [\"everything\"]\n",
    ] {
        world.configure_text(text);
        let from = world.log_bytes().len();
        world.signal(Signal::HUP);
        eventually("the refusal in the log", || {
            let log = world.log_bytes();
            let news = String::from_utf8_lossy(&log[from..]).to_lowercase();
            (news.contains("error") || news.contains("warn")).then_some(())
        })
        .await;
        assert_eq!(tunnel.get("/x", &[HEADER]).await.status, 200);
        assert_eq!(
            world
                .tunnel_for(&wanted)
                .await
                .get("/x", &[HEADER])
                .await
                .status,
            200
        );
    }
}

#[tokio::test]
async fn files_in_the_data_directory_are_for_their_owner_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let (world, _stub) = one_upstream().await;
    world.tunnel().await.get("/x", &[HEADER]).await;
    let mut open = Vec::new();
    let mut directories = vec![world.data.clone()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(&directory)
            .expect("a directory")
            .flatten()
        {
            let path = entry.path();
            if path.is_dir() {
                directories.push(path);
                continue;
            }
            let mode = entry.metadata().expect("metadata").permissions().mode() & 0o777;
            let text = std::fs::read(&path).unwrap_or_default();
            // Certificates are public.
            let public = text.starts_with(b"-----BEGIN CERTIFICATE")
                && !text.windows(11).any(|w| w == b"PRIVATE KEY");
            if mode & 0o077 != 0 && !public {
                open.push(format!("{} {mode:o}", path.display()));
            }
        }
    }
    assert_eq!(open, Vec::<String>::new());
}

#[tokio::test]
async fn a_key_file_that_others_can_read_is_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    let (mut world, _stub) = one_upstream().await;
    assert!(world.stop().await.success());
    let key = world.data.join("master.key");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).expect("chmod");
    let refused = world.run(&["serve"]).await;
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert!(refused.stderr.contains("master.key"), "{}", refused.stderr);
}

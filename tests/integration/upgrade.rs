//! A server that hands over to another program, and one whose sockets are there before it.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use tokio::process::Command;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::client::{Tunnel, Wanted, request, trusting};
use crate::needs::{Need, needs};
use crate::upstream::{Step, Stub};
use crate::wire::WireError;
use crate::world::{Builder, EGRET, HOST, World, finish, one_upstream_with};
use crate::{eventually, within, within_secs};

const HEADER: &str = "X-Api-Key: <<pat>>";

/// Starts the server from a copy of the program in its home, which can be replaced.
pub const COPIED: &str = r#"cp "$1" "$HOME/egret"; shift; set -- "$HOME/egret" "$@""#;

/// A server that may hand over.
pub struct Followed {
    pub world: Arc<World>,
    pub stub: Stub,
    _last: LastServer,
}

/// Whichever process serves at the end is ended.
pub struct LastServer(pub Arc<World>);

impl Drop for LastServer {
    fn drop(&mut self) {
        if let Some(pid) = serving(&self.0).and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

/// The process that says in the data directory that it serves.
pub fn serving(world: &World) -> Option<i32> {
    let text = std::fs::read(world.data.join("server.json")).ok()?;
    let file: serde_json::Value = serde_json::from_slice(&text).ok()?;
    file["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok())
}

/// Whether a process has ended, also if its parent has not waited for it.
pub fn has_ended(process: i32) -> bool {
    let pid = Pid::from_raw(process).expect("a pid");
    let is_zombie = std::fs::read_to_string(format!("/proc/{process}/stat"))
        .is_ok_and(|stat| stat.contains(") Z "));
    is_zombie || test_kill_process(pid).is_err()
}

pub async fn followed(builder: Builder) -> Followed {
    let (world, stub) = one_upstream_with(builder.after(COPIED)).await;
    let world = Arc::new(world);
    Followed {
        _last: LastServer(Arc::clone(&world)),
        world,
        stub,
    }
}

/// Checks that each use gets its result, that none was cut short, and that the ledger is whole.
pub async fn all_is_on_record(world: &World) {
    let lines = eventually("each use to have its result", || {
        let lines = world.ledger();
        without_one_result(&lines).is_empty().then_some(lines)
    })
    .await;
    assert!(lines.iter().all(|line| line["event"] != "recovered"));
    world.run(&["ledger", "verify"]).await.ok();
}

/// Uses that have another number of results than one.
pub fn without_one_result(lines: &[serde_json::Value]) -> Vec<String> {
    let of = |event: &str| {
        let lines = lines.iter().filter(|line| line["event"] == event);
        let ids = lines.filter_map(|line| line["request"].as_str());
        ids.map(str::to_owned).collect::<Vec<_>>()
    };
    let results = of("result");
    let mut uses = of("use");
    uses.retain(|id| results.iter().filter(|result| *result == id).count() != 1);
    uses
}

/// Clients that ask without a pause, and what became of that.
pub struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    clients: Vec<JoinHandle<Vec<String>>>,
}

impl Load {
    pub async fn start(world: &Arc<World>, count: usize) -> Self {
        let (stop, answered) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let wanted = Wanted::new(world);
        let client = |number: usize| {
            let (world, wanted) = (Arc::clone(world), wanted.clone());
            let (stop, answered) = (Arc::clone(&stop), Arc::clone(&answered));
            tokio::spawn(async move {
                let mut failures = Vec::new();
                let mut kept = None;
                while !stop.load(Ordering::Relaxed) {
                    // Some keep their connections, and some make a new one for each request.
                    match ask(&world, &wanted, kept.take()).await {
                        Ok(tunnel) => kept = tunnel.filter(|_| !number.is_multiple_of(3)),
                        Err(failure) => failures.push(failure),
                    }
                    answered.fetch_add(1, Ordering::Relaxed);
                }
                failures
            })
        };
        Self {
            clients: (0..count).map(client).collect(),
            stop,
            answered,
        }
    }

    pub async fn until_more(&self, count: usize) {
        let before = self.answered.load(Ordering::Relaxed);
        eventually("more answers", || {
            (self.answered.load(Ordering::Relaxed) >= before + count).then_some(())
        })
        .await;
    }

    pub async fn end(self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        let mut failures = Vec::new();
        for client in self.clients {
            failures.extend(
                within_secs(60, "a client to end", client)
                    .await
                    .expect("a client"),
            );
        }
        failures
    }
}

/// One request, on a connection that was kept if there is one. A connection that was kept may turn out
/// to be closed, as every client has to expect; then it is made anew. Returns the connection, unless
/// the answer says that it ends.
async fn ask(
    world: &World,
    wanted: &Wanted,
    kept: Option<Tunnel>,
) -> Result<Option<Tunnel>, String> {
    let request = request("GET", "/v1", &[HEADER], "");
    if let Some(mut tunnel) = kept {
        match tunnel.try_roundtrip(&request).await {
            Ok(answer) => return judge(tunnel, &answer),
            Err(WireError::Closed) => {}
            Err(error) => return Err(format!("on a kept connection: {error}")),
        }
    }
    // What is to be trusted may have changed.
    let ca = std::fs::read(world.data.join("ca.pem")).map_err(|error| error.to_string())?;
    let wanted = Wanted {
        tls: Some(trusting(&ca)),
        ..wanted.clone()
    };
    let mut tunnel = wanted
        .open(world)
        .await
        .map_err(|refused| format!("CONNECT was answered with {}", refused.status))?;
    match tunnel.try_roundtrip(&request).await {
        Ok(answer) => judge(tunnel, &answer),
        Err(error) => Err(format!("on a new connection: {error}")),
    }
}

fn judge(tunnel: Tunnel, answer: &crate::wire::Response) -> Result<Option<Tunnel>, String> {
    if answer.status != 200 {
        return Err(format!("{}: {}", answer.status, answer.text()));
    }
    let ends = answer.header("connection").as_deref() == Some("close");
    Ok((!ends).then_some(tunnel))
}

/// Curl, again and again, with several requests on each of its connections.
fn curl(
    world: &Arc<World>,
    ca: String,
    version: &'static str,
    stop: &Arc<AtomicBool>,
) -> JoinHandle<Vec<String>> {
    let proxy = format!("http://act-1:{}@{}", world.token, world.proxy);
    let stop = Arc::clone(stop);
    tokio::spawn(async move {
        let mut failures = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            let mut command = Command::new("curl");
            command
                .args([
                    "-sS",
                    "--max-time",
                    "60",
                    version,
                    "--cacert",
                    ca.trim_end(),
                ])
                .args(["--proxy", &proxy, "-H", HEADER, "-w", "%{http_code} "])
                .env_clear()
                .env("PATH", std::env::var_os("PATH").unwrap_or_default())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped());
            for number in 0..8 {
                command.args(["-o", "/dev/null"]);
                command.arg(format!("https://{HOST}/{number}"));
            }
            let output = finish(command, b"").await;
            if !output.status.success() || output.stdout != "200 ".repeat(8) {
                failures.push(format!("{output:?}"));
            }
        }
        failures
    })
}

/// So many upgrades under the load of so many clients, and of curl.
async fn upgrades_under_load(rounds: usize, clients: usize) {
    needs!(Need::Program("curl"));
    let server = followed(World::builder()).await;
    let world = &server.world;
    let load = Load::start(world, clients).await;
    let ca = world.run(&["ca", "path"]).await.ok();
    let stop = Arc::clone(&load.stop);
    let curls: Vec<_> = ["--http1.1", "--http2"]
        .map(|version| curl(world, ca.clone(), version, &stop))
        .into();
    for _ in 0..rounds {
        let before = serving(world).expect("a server");
        load.until_more(3 * clients).await;
        world.run(&["upgrade"]).await.ok();
        assert_ne!(serving(world), Some(before));
        eventually("the old process to end", || has_ended(before).then_some(())).await;
    }
    load.until_more(3 * clients).await;
    let mut failures = load.end().await;
    for curl in curls {
        failures.extend(within_secs(60, "curl to end", curl).await.expect("curl"));
    }
    assert_eq!(failures, Vec::<String>::new(), "{}", world.log());
    all_is_on_record(world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upgrade_under_load_fails_no_request() {
    let is_long = std::env::var_os("EGRET_TEST_LONG").is_some();
    if is_long {
        upgrades_under_load(20, 32).await;
    } else {
        upgrades_under_load(1, 6).await;
    }
}

/// What is under way is finished by the old program, and what is new goes to the other one.
#[tokio::test]
async fn a_request_under_way_is_finished_and_an_idle_tunnel_ends() {
    let server = followed(World::builder()).await;
    let (world, stub) = (&server.world, &server.stub);
    let mut idle = world.tunnel().await;
    assert_eq!(idle.get("/v1", &[HEADER]).await.status, 200);
    let gate = Arc::new(Notify::new());
    stub.steps(vec![
        Step::Send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nfirst".to_vec()),
        Step::Hold(gate.clone()),
        Step::Send(b"last".to_vec()),
    ]);
    let mut tunnel = world.tunnel().await;
    let sent = request("GET", "/slow", &[HEADER], "");
    tunnel.wire.send(sent).await.expect("send");
    within("the request", stub.until_requests(2)).await;
    let before = serving(world);
    let upgrading = tokio::spawn({
        let world = Arc::clone(world);
        async move { world.run(&["upgrade"]).await }
    });
    within("an idle tunnel to be closed", idle.wire.until_closed()).await;
    gate.notify_one();
    let answer = within("the answer", tunnel.wire.response(false)).await;
    assert_eq!(answer.expect("whole").text(), "firstlast");
    upgrading.await.expect("upgraded").ok();
    assert_ne!(serving(world), before);
    stub.answer(crate::upstream::ok("after"));
    assert_eq!(world.tunnel().await.get("/v1", &[HEADER]).await.status, 200);
}

#[tokio::test]
async fn where_the_new_program_does_not_start_the_old_one_goes_on() {
    let server = followed(World::builder()).await;
    let world = &server.world;
    let program = world.scratch().join("egret");
    let mut tunnel = world.tunnel().await;
    let before = serving(world);
    let is_there = |world: &World| serving(world) == before;
    for (text, reason) in [
        ("#!/bin/sh\nexit 3\n", "ended with exit status: 3"),
        ("#!/bin/sh\nsleep 0.1\nkill -9 $$\n", "ended"),
    ] {
        std::fs::remove_file(&program).expect("removed");
        std::fs::write(&program, text).expect("written");
        std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).expect("executable");
        let refused = world.run(&["upgrade"]).await;
        assert!(!refused.status.success());
        assert!(refused.stderr.contains(reason), "{refused:#?}");
        assert!(is_there(world));
    }
    std::fs::remove_file(&program).expect("removed");
    assert!(!world.run(&["upgrade"]).await.status.success());
    // A configuration that only the new process reads.
    std::fs::copy(EGRET, &program).expect("copied");
    let config = std::fs::read_to_string(world.scratch().join("egret.toml")).expect("read");
    let broken = format!("{config}\n[nonsense]\nx = 1\n");
    world.configure_text(&broken);
    let mut upgrade = world.command(&["upgrade"]);
    upgrade.env_remove("EGRET_CONFIG");
    let upgrade = finish(upgrade, b"").await;
    assert!(!upgrade.status.success(), "{upgrade:#?}");
    assert!(is_there(world));
    // The connection from before is the same, and works.
    assert_eq!(tunnel.get("/v1", &[HEADER]).await.status, 200);
    world.configure_text(&config);
    world.run(&["upgrade"]).await.ok();
    assert!(!is_there(world));
}

/// As systemd does it: the sockets are there first, and remain between two servers.
#[tokio::test]
async fn sockets_of_the_service_manager_are_used() {
    needs!(Need::Program("python3"));
    let home = tempfile::tempdir().expect("a directory");
    let script = r#"
import os, socket, sys
keep = []
for name in ("proxy", "admin"):
    s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(("127.0.0.1", 0)); s.listen(128)
    keep.append((name, s))
for at, (name, s) in enumerate(keep):
    os.dup2(s.fileno(), 10 + at)
for at, (name, s) in enumerate(keep):
    os.dup2(10 + at, 3 + at); os.set_inheritable(3 + at, True)
    os.environ[f"EGRET_{name.upper()}_LISTEN"] = "127.0.0.1:%d" % s.getsockname()[1]
os.environ["LISTEN_FDS"] = "2"; os.environ["LISTEN_PID"] = str(os.getpid())
os.closerange(5, 64)
os.execv(sys.argv[1], [sys.argv[1], "serve", "--data-dir", sys.argv[2]])
"#;
    let data = home.path().join("data");
    let mut command = Command::new("python3");
    command
        .args(["-c", script, EGRET])
        .arg(&data)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", home.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let mut server = command.spawn().expect("started");
    let address = eventually("the server", || {
        let text = std::fs::read(data.join("server.json")).ok()?;
        let file: serde_json::Value = serde_json::from_slice(&text).ok()?;
        file["proxy"].as_str()?.parse::<SocketAddr>().ok()
    })
    .await;
    // The port was bound by another process, so that to bind it again would have failed.
    let answer = within("a connection", tokio::net::TcpStream::connect(address)).await;
    let mut wire = crate::wire::Wire::new(answer.expect("it listens"));
    wire.send("GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n")
        .await
        .expect("sent");
    let answer = within("an answer", wire.response(false))
        .await
        .expect("one");
    assert_eq!(answer.status, 407);
    let pid = server.id().and_then(|pid| i32::try_from(pid).ok());
    let pid = pid.and_then(Pid::from_raw).expect("a pid");
    kill_process(pid, Signal::TERM).expect("signalled");
    assert!(
        within("the end", server.wait())
            .await
            .expect("ended")
            .success()
    );
}

/// A Unix socket of systemd's serves base URLs, passes to another program, and stays systemd's.
#[tokio::test]
async fn a_unix_socket_of_the_service_manager_is_used_and_stays_its_own() {
    needs!(Need::Program("python3"));
    // `$1` is the server: it is started by what binds the socket.
    const SOCKET: &str = r#"cp "$1" "$HOME/egret"; shift; set -- "$HOME/egret" "$@"
        exec python3 -c '
import os, socket, sys
path = os.environ["HOME"] + "/managed.sock"
s = socket.socket(socket.AF_UNIX); s.bind(path); os.chmod(path, 0o666); s.listen(128)
os.dup2(s.fileno(), 3); os.set_inheritable(3, True)
os.environ["LISTEN_FDS"] = "1"; os.environ["LISTEN_PID"] = str(os.getpid())
os.closerange(4, 64)
os.execv(sys.argv[1], sys.argv[1:])
' "$@""#;
    let builder = World::builder()
        .set("base_url.principal", "default")
        .set("base_url.action", "sheet");
    let mut world = builder
        .after(SOCKET)
        .listening("managed.sock")
        .start()
        .await;
    let path = world.scratch().join("managed.sock");
    let get = || crate::client::request_to("localhost", "GET", "/-/https/a.example/x", &[], "");
    let asked = async || {
        let socket = tokio::net::UnixStream::connect(&path).await;
        let socket = socket.expect("it listens");
        crate::base_url::ask_on(socket, get()).await.status
    };
    assert_eq!(asked().await, 502);
    world.run(&["upgrade"]).await.ok();
    world.ended().await;
    assert_eq!(asked().await, 502);
    let last = serving(&world).and_then(Pid::from_raw).expect("a pid");
    kill_process(last, Signal::TERM).expect("signalled");
    let announced = world.data.join("server.json");
    eventually("the end", || (!announced.exists()).then_some(())).await;
    assert!(path.exists(), "it is not the server's to remove");
}

/// Nobody but a running server can start a process that takes over.
#[tokio::test]
async fn a_process_takes_over_only_from_a_server() {
    let home = tempfile::tempdir().expect("a directory");
    let mut command = Command::new(EGRET);
    command
        .args(["serve", "--take-over", "--data-dir"])
        .arg(home.path())
        .env_clear()
        .env("HOME", home.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let output = finish(command, b"x").await;
    assert!(!output.status.success(), "{output:#?}");
    assert!(
        output.stderr.contains("only a running server"),
        "{output:#?}"
    );
}

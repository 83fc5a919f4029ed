//! A running Egret with a data directory, a configuration and upstreams of its own.

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

use crate::client::{Tunnel, Wanted};
use crate::pki::Pki;
use crate::wire::Wire;
use crate::{eventually, within};

/// The slug most tests use.
pub const SLUG: &str = "pat";
/// Its value: long enough to be searched for, with bytes that each encoding treats differently.
pub const VALUE: &str = "s3cr3t+Canary/9f8e7d6c&x=\"1\"";
/// The host most tests call.
pub const HOST: &str = "api.example.test";

/// The binary under test.
pub const EGRET: &str = env!("CARGO_BIN_EXE_egret");

/// Settings of a world before it starts.
pub struct Builder {
    pki: Pki,
    config: toml::Table,
    shell: Option<&'static str>,
    /// A Unix socket in the directory of the world.
    socket: Option<&'static str>,
    /// Files for that shell.
    files: Vec<(&'static str, Vec<u8>)>,
}

/// The result of a command.
#[derive(Debug)]
pub struct Output {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Output {
    /// The standard output of a command that had to succeed.
    pub fn ok(self) -> String {
        assert!(self.status.success(), "{self:#?}");
        self.stdout
    }

    /// The standard output as JSON of a command that had to succeed.
    pub fn json(self) -> Value {
        let out = self.ok();
        serde_json::from_str(&out).unwrap_or_else(|e| panic!("{e} in {out:?}"))
    }
}

/// A running server. It is killed when the world goes out of scope.
pub struct World {
    pub pki: Pki,
    pub proxy: SocketAddr,
    pub admin: SocketAddr,
    /// Token of the client `tester`, whose principal is `default`.
    pub token: String,
    pub data: PathBuf,
    dir: TempDir,
    server: Child,
    output: Arc<Mutex<Vec<u8>>>,
    config: toml::Table,
}

impl Builder {
    fn new() -> Self {
        let config = toml::toml! {
            [proxy]
            listen = "127.0.0.1:0"
            [admin]
            listen = "127.0.0.1:0"
            [upstream]
            allow_private = ["127.0.0.0/8"]
            [log]
            level = "trace"
        };
        Self {
            pki: Pki::new(),
            config,
            shell: None,
            socket: None,
            files: Vec::new(),
        }
    }

    /// The certificates of this world's upstreams.
    pub fn pki(&self) -> &Pki {
        &self.pki
    }

    /// Sets a key such as `proxy.header_timeout`.
    pub fn set(mut self, key: &str, value: impl Into<toml::Value>) -> Self {
        set(&mut self.config, key, value.into());
        self
    }

    /// Sends connections for `authority` (`host:port`) to `addr`.
    pub fn route(mut self, authority: &str, addr: SocketAddr) -> Self {
        self.resolve(format!("{authority}={addr}"));
        self
    }

    fn resolve(&mut self, entry: String) {
        let upstream = self.config["upstream"].as_table_mut().expect("a table");
        upstream
            .entry("resolve")
            .or_insert_with(|| toml::Value::Array(Vec::new()))
            .as_array_mut()
            .expect("an array")
            .push(entry.into());
    }

    /// Starts the server from a shell that ran `prelude` first.
    pub fn after(mut self, prelude: &'static str) -> Self {
        self.shell = Some(prelude);
        self
    }

    /// Puts a file into the directory of the world, for the prelude of [`after`](Self::after).
    pub fn in_scratch(mut self, name: &'static str, content: &[u8]) -> Self {
        self.files.push((name, content.to_vec()));
        self
    }

    /// Serves base URLs at a Unix socket of this name in the directory of the world.
    pub fn listening(mut self, name: &'static str) -> Self {
        self.socket = Some(name);
        self
    }

    /// Lets this test trace the server and read its memory, where the machine permits it.
    ///
    /// The server is not dumpable: only a process with CAP_SYS_PTRACE over it may trace it. Root has
    /// that capability, and an ordinary user has it over the processes of a user namespace that they
    /// made.
    pub fn traceable(self) -> Self {
        if rustix::process::geteuid().is_root() || !crate::needs::may_make_namespace() {
            return self;
        }
        self.after("exec unshare --user --map-root-user \"$@\"")
    }

    /// Starts the server and waits until it is ready.
    pub async fn start(self) -> World {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let data = dir.path().join("data");
        let root = dir.path().join("upstream-root.pem");
        std::fs::write(&root, &self.pki.root_pem).expect("write the root");
        let mut config = self.config;
        set(
            &mut config,
            "upstream.ca_files",
            toml::Value::Array(vec![root.display().to_string().into()]),
        );
        if let Some(name) = self.socket {
            let socket = format!("unix:{}", dir.path().join(name).display());
            set(&mut config, "base_url.listen", vec![socket].into());
        }
        write_config(dir.path(), &config);
        for (name, content) in &self.files {
            std::fs::write(dir.path().join(name), content).expect("write a file");
        }
        let mut world = World {
            pki: self.pki,
            proxy: SocketAddr::from(([127, 0, 0, 1], 0)),
            admin: SocketAddr::from(([127, 0, 0, 1], 0)),
            token: String::new(),
            server: spawn(dir.path(), &data, self.shell),
            data,
            dir,
            output: Arc::default(),
            config,
        };
        world.collect();
        world.until_ready().await;
        world.token = world.client("tester", "default").await;
        world
    }
}

fn set(config: &mut toml::Table, key: &str, value: toml::Value) {
    let (section, key) = key.split_once('.').expect("section.key");
    config
        .entry(section)
        .or_insert_with(|| toml::Value::Table(toml::Table::new()))
        .as_table_mut()
        .expect("a table")
        .insert(key.to_owned(), value);
}

fn write_config(dir: &Path, config: &toml::Table) {
    let text = toml::to_string(config).expect("a configuration");
    std::fs::write(dir.join("egret.toml"), text).expect("write the configuration");
}

/// A command with a minimal environment, which does not depend on that of the test.
fn bare(program: impl AsRef<OsStr>, home: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", home)
        .env("LANG", "C.UTF-8")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

fn spawn(dir: &Path, data: &Path, shell: Option<&str>) -> Child {
    let mut command = match shell {
        None => bare(EGRET, dir),
        Some(prelude) => {
            let mut command = bare("/bin/sh", dir);
            command.args(["-c", &format!("{prelude}; exec \"$@\""), "sh", EGRET]);
            command
        }
    };
    command
        .arg("serve")
        .arg("--config")
        .arg(dir.join("egret.toml"))
        .arg("--data-dir")
        .arg(data);
    command.spawn().expect("start egret serve")
}

/// Builds a world around one TLS upstream for [`HOST`] and saves [`SLUG`] for it.
pub async fn one_upstream() -> (World, crate::upstream::Stub) {
    one_upstream_with(World::builder()).await
}

/// [`one_upstream`] with other settings.
pub async fn one_upstream_with(builder: Builder) -> (World, crate::upstream::Stub) {
    let stub = crate::upstream::Stub::tls(builder.pki(), &[HOST]).await;
    let world = builder
        .route(&format!("{HOST}:443"), stub.addr)
        .start()
        .await;
    world
        .save(
            SLUG,
            VALUE,
            &[
                "--host", HOST, "--in", "header", "--in", "query", "--in", "path", "--in", "body",
            ],
        )
        .await;
    (world, stub)
}

impl World {
    pub fn builder() -> Builder {
        crate::more_files();
        Builder::new()
    }

    /// The same, whose upstreams have certificates of `pki`.
    pub fn builder_of(pki: &Pki) -> Builder {
        Builder {
            pki: pki.clone(),
            ..Self::builder()
        }
    }

    /// A world around one upstream for [`HOST`] without TLS, on port 80. No credential is saved.
    pub async fn plain_upstream() -> (Self, crate::upstream::Stub) {
        let stub = crate::upstream::Stub::plain().await;
        let builder = Self::builder().route(&format!("{HOST}:80"), stub.addr);
        (builder.start().await, stub)
    }

    fn collect(&mut self) {
        let stdout = self.server.stdout.take().expect("stdout");
        let stderr = self.server.stderr.take().expect("stderr");
        for (pipe, mut copy) in [
            (
                Box::new(stdout) as Box<dyn AsyncRead + Send + Unpin>,
                self.output.clone(),
            ),
            (Box::new(stderr), self.output.clone()),
        ] {
            tokio::spawn(async move { pump(pipe, &mut copy).await });
        }
    }

    async fn until_ready(&mut self) {
        let file = self.data.join("server.json");
        for _ in 0..600 {
            if let Some(status) = self.server.try_wait().expect("wait") {
                tokio::time::sleep(Duration::from_millis(100)).await;
                panic!("egret serve ended with {status}:\n{}", self.log());
            }
            let ports = std::fs::read(&file).ok().and_then(|text| ports(&text));
            if let Some((proxy, admin)) = ports {
                (self.proxy, self.admin) = (proxy, admin);
                if matches!(self.admin_get("/readyz").await, Some(200)) {
                    return;
                }
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("egret serve was not ready in 30 s:\n{}", self.log());
    }

    /// Status of a GET on the admin listener, if it answers at all.
    pub async fn admin_get(&self, path: &str) -> Option<u16> {
        Some(self.admin_page(path).await?.status)
    }

    /// The answer to a GET on the admin listener, if there is one.
    pub async fn admin_page(&self, path: &str) -> Option<crate::wire::Response> {
        let socket = tokio::net::TcpStream::connect(self.admin).await.ok()?;
        let mut wire = Wire::new(socket);
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
            self.admin
        );
        wire.send(request).await.ok()?;
        let answer = tokio::time::timeout(Duration::from_secs(5), wire.response(false)).await;
        answer.ok()?.ok()
    }

    /// Everything the server has written to its standard output and standard error.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&self.log_bytes()).into_owned()
    }

    /// [`World::log`] as bytes.
    pub fn log_bytes(&self) -> Vec<u8> {
        self.output.lock().unwrap().clone()
    }

    /// A directory of this test's own, outside the data directory.
    pub fn scratch(&self) -> &Path {
        self.dir.path()
    }

    /// A command of the binary, with this world's configuration and data directory.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = bare(EGRET, self.dir.path());
        command
            .env("EGRET_CONFIG", self.dir.path().join("egret.toml"))
            .env("EGRET_DATA_DIR", &self.data)
            .current_dir(self.dir.path())
            .args(args);
        command
    }

    /// Runs a command of the binary with `stdin` as its standard input.
    pub async fn run_with(&self, args: &[&str], stdin: &[u8]) -> Output {
        finish(self.command(args), stdin).await
    }

    /// Runs a command of the binary.
    pub async fn run(&self, args: &[&str]) -> Output {
        self.run_with(args, b"").await
    }

    /// `credential add`, the value through standard input with the newline that a shell would add.
    pub async fn save(&self, slug: &str, value: impl AsRef<[u8]>, limits: &[&str]) {
        let mut args = [&["credential", "add", slug], limits].concat();
        // Most tests look at one value in many places.
        if !limits.contains(&"--copies") {
            args.extend(["--copies", "any"]);
        }
        let mut stdin = value.as_ref().to_vec();
        stdin.push(b'\n');
        self.run_with(&args, &stdin).await.ok();
    }

    /// `client add`; its token.
    pub async fn client(&self, name: &str, principal: &str) -> String {
        let added = self
            .run(&["client", "add", name, "--principal", principal, "--json"])
            .await
            .json();
        added["token"].as_str().expect("a token").to_owned()
    }

    /// The CA certificate that clients of this proxy trust.
    pub async fn ca_pem(&self) -> Vec<u8> {
        let path = self.run(&["ca", "path"]).await.ok();
        std::fs::read(path.trim_end()).expect("read the CA")
    }

    /// A new connection to the proxy.
    pub async fn dial(&self) -> Wire<tokio::net::TcpStream> {
        let socket = within(
            "connecting to the proxy",
            tokio::net::TcpStream::connect(self.proxy),
        )
        .await
        .expect("the proxy listens");
        socket.set_nodelay(true).expect("nodelay");
        Wire::new(socket)
    }

    /// A tunnel to [`HOST`] with TLS inside, as client `tester`.
    pub async fn tunnel(&self) -> Tunnel {
        self.tunnel_for(&Wanted::new(self)).await
    }

    /// A tunnel with other properties.
    pub async fn tunnel_for(&self, wanted: &Wanted) -> Tunnel {
        match wanted.open(self).await {
            Ok(tunnel) => tunnel,
            Err(refused) => panic!("CONNECT was answered with {refused:#?}"),
        }
    }

    /// The parsed ledger. A last line without its newline does not count yet.
    pub fn ledger(&self) -> Vec<Value> {
        parse_ledger(&self.ledger_bytes())
    }

    /// The ledger file as it is.
    pub fn ledger_bytes(&self) -> Vec<u8> {
        std::fs::read(self.ledger_path()).unwrap_or_default()
    }

    pub fn ledger_path(&self) -> PathBuf {
        self.data.join("ledger/current.jsonl")
    }

    /// Waits for a ledger line and returns it.
    pub async fn ledger_line(&self, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        eventually(what, || self.ledger().into_iter().find(|line| is_it(line))).await
    }

    /// Process id of the server.
    pub fn pid(&self) -> i32 {
        i32::try_from(self.server.id().expect("running")).expect("a pid")
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.pid()).expect("a pid");
        kill_process(pid, signal).expect("signal the server");
    }

    /// Waits for the server to exit.
    pub async fn ended(&mut self) -> ExitStatus {
        within("the server to end", self.server.wait())
            .await
            .expect("wait for the server")
    }

    /// Ends the server by SIGTERM and waits for it.
    pub async fn stop(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.ended().await
    }

    /// Starts the server again on the same data directory.
    pub async fn restart(&mut self) {
        let _ = std::fs::remove_file(self.data.join("server.json"));
        self.server = spawn(self.dir.path(), &self.data, None);
        self.collect();
        self.until_ready().await;
    }

    /// Changes the configuration file; the running server does not read it until a reload.
    pub fn configure(&mut self, key: &str, value: impl Into<toml::Value>) {
        set(&mut self.config, key, value.into());
        write_config(self.dir.path(), &self.config);
    }

    /// Writes `[[destination]]` rules to the configuration file.
    pub fn destinations(&mut self, rules: Vec<toml::Table>) {
        self.tables("destination", rules);
    }

    /// Writes an array of tables to the configuration file.
    pub fn tables(&mut self, name: &str, tables: Vec<toml::Table>) {
        let tables = tables.into_iter().map(toml::Value::Table).collect();
        self.config
            .insert(name.to_owned(), toml::Value::Array(tables));
        write_config(self.dir.path(), &self.config);
    }

    /// Lets the upstream be asked for parts, whatever values may lie there.
    pub async fn allow_ranges(&mut self) {
        self.destinations(vec![toml::toml! {
            hosts = ["api.example.test"]
            range = "allow"
        }]);
        self.reload().await;
    }

    /// Reloads the configuration by SIGHUP and waits until the log reports it.
    pub async fn reload(&self) {
        let from = self.log_bytes().len();
        self.signal(Signal::HUP);
        eventually("the server to speak of its configuration", || {
            let log = self.log_bytes();
            let news = String::from_utf8_lossy(&log[from..]).to_lowercase();
            news.contains("configuration").then_some(())
        })
        .await;
    }

    /// Replaces the configuration file by this text.
    pub fn configure_text(&self, text: &str) {
        std::fs::write(self.dir.path().join("egret.toml"), text).expect("write the configuration");
    }
}

fn ports(text: &[u8]) -> Option<(SocketAddr, SocketAddr)> {
    let ports: Value = serde_json::from_slice(text).ok()?;
    let addr = |key: &str| ports[key].as_str()?.parse().ok();
    Some((addr("proxy")?, addr("admin")?))
}

async fn pump(mut from: Box<dyn AsyncRead + Send + Unpin>, to: &mut Arc<Mutex<Vec<u8>>>) {
    let mut chunk = vec![0u8; 64 * 1024];
    while let Ok(n) = from.read(&mut chunk).await {
        if n == 0 {
            return;
        }
        to.lock().unwrap().extend_from_slice(&chunk[..n]);
    }
}

/// Runs a prepared command to its end.
pub async fn finish(mut command: Command, stdin: &[u8]) -> Output {
    command.stdin(Stdio::piped());
    let mut child = command.spawn().expect("start a command");
    let mut pipe = child.stdin.take().expect("stdin");
    let stdin = stdin.to_vec();
    let feed = tokio::spawn(async move {
        // A command that refuses its arguments may exit before it reads.
        let _ = pipe.write_all(&stdin).await;
    });
    let output = crate::within_secs(120, "a command to end", child.wait_with_output())
        .await
        .expect("run a command");
    let _ = feed.await;
    Output {
        status: output.status,
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Whole lines of a ledger file.
pub fn parse_ledger(bytes: &[u8]) -> Vec<Value> {
    let whole = bytes
        .iter()
        .rposition(|b| *b == b'\n')
        .map_or(0, |at| at + 1);
    bytes[..whole]
        .split(|b| *b == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap_or_else(|e| panic!("{e} in the ledger")))
        .collect()
}

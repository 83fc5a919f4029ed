//! What is measured: the origin alone, the floor, and Egret in several set-ups.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tempfile::TempDir;

use crate::cells::Cell;
use crate::client::Connectors;
use crate::pki::{self, Authority};
use crate::process::{Cpu, Guarded};
use crate::stored;

/// The origin's name; `h0.` to `h999.` in front of it are its cold hosts.
pub const HOST: &str = "bench.test";
/// How many cold hosts there are.
pub const COLD_HOSTS: usize = 1_000;
/// The stored value.
pub const SECRET: &str = "s3cr3t-REAL-value-0123456789abcdef";
/// What requests say instead, where somebody puts the value in.
pub const PLACEHOLDER: &str = "<<bench>>";
/// Rules of the set-up that has some.
const RULES: usize = 1_000;
/// Longest wait for a process to be ready: under a profiler, one with 100,000 credentials takes minutes.
const START: Duration = Duration::from_secs(900);

/// CPU seconds that a proxy may take in half a second and still count as being at rest.
const RESTING: f64 = 0.02;
/// The data directory before any request, beside the one that is served.
const PREPARED: &str = "prepared";

/// Where the origin listens.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    pub tls: u16,
    pub plain: u16,
}

impl Ports {
    /// Tells the other processes.
    pub fn write(self, directory: &Path) -> Result<()> {
        write_port(directory, "origin-plain", self.plain)?;
        write_port(directory, "origin", self.tls)
    }
}

/// Room for all cold hosts at once: who finds none tries again after a second.
pub fn listen() -> std::io::Result<tokio::net::TcpListener> {
    let socket = tokio::net::TcpSocket::new_v4()?;
    socket.bind(([127, 0, 0, 1], 0).into())?;
    socket.listen(4096)
}

/// Writes where a process listens, whole or not at all.
pub fn write_port(directory: &Path, name: &str, port: u16) -> Result<()> {
    let path = directory.join(format!("{name}.port"));
    fs::write(path.with_extension("new"), port.to_string())?;
    Ok(fs::rename(path.with_extension("new"), path)?)
}

/// A column of the table.
pub struct Target {
    pub name: String,
    pub cells: Vec<Cell>,
    setup: Setup,
}

impl Target {
    /// Whether it records what it does.
    pub fn has_ledger(&self) -> bool {
        matches!(self.setup, Setup::Egret(_))
    }
}

enum Setup {
    Direct,
    Floor,
    Egret(Egret),
}

/// One set-up of Egret.
#[derive(Clone)]
struct Egret {
    binary: PathBuf,
    durability: &'static str,
    /// Whether the caller's principal has the credential.
    has_credential: bool,
    /// Credentials of other principals.
    others: usize,
    /// Egress rules.
    rules: usize,
}

/// A target that runs. Ends with this value.
pub struct Route {
    pub proxy: Option<SocketAddr>,
    pub ports: Ports,
    pub connectors: Connectors,
    /// What stands where the value is needed.
    pub written: &'static str,
    /// The proxy's process.
    pub pid: Option<u32>,
    pub origin_pid: u32,
    token: Option<String>,
    pub process: Option<Guarded>,
}

impl Route {
    /// The header line that a proxy wants, or nothing.
    pub fn authorization(&self) -> String {
        let Some(token) = &self.token else {
            return String::new();
        };
        let pair = STANDARD.encode(format!("load:{token}"));
        format!("Proxy-Authorization: Basic {pair}\r\n")
    }
}

impl Target {
    /// Whether there is anything between client and origin.
    pub fn is_a_proxy(&self) -> bool {
        !matches!(self.setup, Setup::Direct)
    }
}

/// The directory of a run, and the origin.
pub struct Stage {
    directory: TempDir,
    origin: Guarded,
    ports: Ports,
    /// Tokens of the data directories made so far.
    prepared: Mutex<HashMap<String, String>>,
}

impl Stage {
    /// Makes keys and starts the origin.
    pub fn new() -> Result<Self> {
        let directory = tempfile::tempdir()?;
        Authority::create(directory.path(), "origin-ca")?;
        Authority::create(directory.path(), "floor-ca")?;
        let origin = Guarded::spawn(&mut role("origin", directory.path())?)?;
        let tls = wait_for_port(directory.path(), "origin")?;
        let plain = wait_for_port(directory.path(), "origin-plain")?;
        Ok(Self {
            directory,
            origin,
            ports: Ports { tls, plain },
            prepared: Mutex::default(),
        })
    }

    /// The columns of the table: `builds` are other builds of Egret.
    pub fn targets(
        &self,
        builds: &[(String, PathBuf)],
        stored: usize,
        quick: bool,
    ) -> Result<Vec<Target>> {
        let target = |name: &str, setup, cells: &[Cell]| Target {
            name: name.to_owned(),
            cells: cells.to_vec(),
            setup,
        };
        let mut targets = vec![
            target("direct", Setup::Direct, Cell::DIRECT),
            target("floor", Setup::Floor, Cell::FLOOR),
            target("egret", Setup::Egret(Egret::usual()), Cell::EGRET),
        ];
        for (name, path) in builds {
            let mut egret = Egret::usual();
            egret.binary = path
                .canonicalize()
                .with_context(|| path.display().to_string())?;
            let commit = egret.clone().with_durable_ledger();
            targets.push(target(name, Setup::Egret(egret), Cell::EGRET));
            let name = format!("{name}-commit");
            targets.push(target(&name, Setup::Egret(commit), Cell::COMMIT));
        }
        let commit = Egret::usual().with_durable_ledger();
        targets.push(target("commit", Setup::Egret(commit), Cell::COMMIT));
        let empty = Egret {
            has_credential: false,
            ..Egret::usual()
        };
        targets.push(target("nothing stored", Setup::Egret(empty), Cell::UNUSED));
        let many = Egret {
            others: if quick { stored.min(1_000) } else { stored },
            ..Egret::usual()
        };
        let name = format!("{} stored", many.others + 1);
        targets.push(target(&name, Setup::Egret(many), Cell::STORED));
        let ruled = Egret {
            rules: RULES,
            ..Egret::usual()
        };
        let name = format!("{RULES} rules");
        targets.push(target(&name, Setup::Egret(ruled), Cell::STORED));
        Ok(targets)
    }

    /// The one set-up that soak and overload tests need. `limit` is `proxy.max_connections`.
    pub async fn start_egret(&self, limit: usize) -> Result<Route> {
        self.egret("egret", &Egret::usual(), limit, &[]).await
    }

    /// One of this name with a token for its API: where that listens, and the token.
    pub async fn start_with_api(&self, name: &str) -> Result<(Route, SocketAddr, String)> {
        let egret = Egret::usual();
        let route = self.egret(name, &egret, 20_000, &[]).await?;
        let home = self.path().join(name.replace(' ', "-"));
        let mut add = egret.command(&home);
        let made = output(
            add.args(["api-token", "add", "load", "--scope", "audit", "--json"]),
            "",
        )?;
        let made: serde_json::Value = serde_json::from_slice(&made)?;
        let token = made["token"].as_str().context("no token")?.to_owned();
        let text = fs::read(home.join("data/server.json"))?;
        let server: serde_json::Value = serde_json::from_slice(&text)?;
        let admin = server["admin"].as_str().context("no address")?.parse()?;
        Ok((route, admin, token))
    }

    /// Starts a target in a fresh process.
    pub async fn start(&self, target: &Target) -> Result<Route> {
        self.start_under(target, &[]).await
    }

    /// Starts a target as the argument of another command, such as a profiler's.
    pub async fn start_under(&self, target: &Target, prefix: &[String]) -> Result<Route> {
        match &target.setup {
            Setup::Direct => self.route(None, SECRET, None, "origin-ca.pem", None),
            Setup::Floor => {
                // What the one before left.
                let _ = fs::remove_file(self.path().join("floor.port"));
                let process = Guarded::spawn(&mut under(prefix, &role("floor", self.path())?))?;
                let port = wait_for_port(self.path(), "floor")?;
                let proxy = ([127, 0, 0, 1], port).into();
                self.route(Some(proxy), SECRET, None, "floor-ca.pem", Some(process))
            }
            Setup::Egret(egret) => self.egret(&target.name, egret, 20_000, prefix).await,
        }
    }

    async fn egret(
        &self,
        name: &str,
        egret: &Egret,
        limit: usize,
        prefix: &[String],
    ) -> Result<Route> {
        let home = self.path().join(name.replace(' ', "-"));
        self.configure(&home, egret, limit)?;
        let known = lock(&self.prepared).get(name).cloned();
        let token = match known {
            Some(token) => token,
            None => {
                let token = self.prepare(&home, egret).await?;
                lock(&self.prepared).insert(name.to_owned(), token.clone());
                token
            }
        };
        // As it was before any request: the ledger that another process wrote, and was killed
        // at, would be read, indexed and compressed at this one's cost.
        let data = home.join("data");
        if data.exists() {
            fs::remove_dir_all(&data)?;
        }
        output(
            Command::new("cp")
                .arg("-a")
                .arg(home.join(PREPARED))
                .arg(&data),
            "",
        )?;
        let log = fs::File::create(home.join("log"))?;
        let mut serve = egret.command(&home);
        let mut serve = under(prefix, serve.arg("serve"));
        let mut process = Guarded::spawn(serve.stdout(Stdio::null()).stderr(log))?;
        let proxy = wait_for(|| {
            ensure!(
                !process.has_ended(),
                "{name} did not start; see {}",
                home.display()
            );
            let text = fs::read(home.join("data/server.json"))?;
            let server: serde_json::Value = serde_json::from_slice(&text)?;
            Ok(server["proxy"].as_str().context("no address")?.parse()?)
        })?;
        let ca = home.join("data/ca.pem");
        let ca = ca.to_str().context("a path in UTF-8")?;
        let written = if egret.has_credential {
            PLACEHOLDER
        } else {
            SECRET
        };
        let route = self.route(Some(proxy), written, Some(token), ca, Some(process))?;
        come_to_rest(&route).await;
        Ok(route)
    }

    fn route(
        &self,
        proxy: Option<SocketAddr>,
        written: &'static str,
        token: Option<String>,
        roots: &str,
        process: Option<Guarded>,
    ) -> Result<Route> {
        Ok(Route {
            proxy,
            ports: self.ports,
            connectors: Connectors::new(pki::roots(&self.path().join(roots))?)?,
            written,
            pid: process.as_ref().map(Guarded::id),
            origin_pid: self.origin.id(),
            token,
            process,
        })
    }

    fn configure(&self, home: &Path, egret: &Egret, limit: usize) -> Result<()> {
        let Ports { tls, plain } = self.ports;
        let mut names = vec![format!("{HOST}:{tls}"), format!("{HOST}:{plain}")];
        names.extend((0..COLD_HOSTS).map(|n| format!("h{n}.{HOST}:{tls}")));
        let resolve: Vec<toml::Value> = names
            .iter()
            .map(|name| {
                let port = name.rsplit(':').next().unwrap_or_default();
                format!("{name}=127.0.0.1:{port}").into()
            })
            .collect();
        let ca = self.path().join("origin-ca.pem").display().to_string();
        let limit = i64::try_from(limit)?;
        let durability = egret.durability;
        let mut config = toml::toml! {
            [proxy]
            listen = "127.0.0.1:0"
            [admin]
            listen = "127.0.0.1:0"
            [upstream]
            allow_private = ["127.0.0.0/8"]
        };
        let mut set = |table: &str, key: &str, value: toml::Value| {
            let tables = config
                .entry(table)
                .or_insert_with(|| toml::Table::new().into());
            if let Some(table) = tables.as_table_mut() {
                table.insert(key.to_owned(), value);
            }
        };
        set("proxy", "max_connections", limit.into());
        set("upstream", "ca_files", vec![toml::Value::from(ca)].into());
        set("upstream", "resolve", resolve.into());
        set("ledger", "durability", durability.into());
        fs::create_dir_all(home)?;
        fs::write(home.join("egret.toml"), toml::to_string(&config)?)?;
        Ok(())
    }

    /// Fills a data directory for others to be copied from; returns the client's token.
    async fn prepare(&self, home: &Path, egret: &Egret) -> Result<String> {
        let Ports { tls, plain } = self.ports;
        if egret.has_credential {
            let mut add = egret.command(home);
            add.args([
                "credential",
                "add",
                "bench",
                "--in",
                "header",
                "--in",
                "body",
            ]);
            for host in [
                format!("{HOST}:{tls}"),
                format!("*.{HOST}:{tls}"),
                format!("http://{HOST}:{plain}"),
            ] {
                add.args(["--host", &host]);
            }
            output(&mut add, SECRET)?;
        }
        let data = home.join("data");
        let origin = format!("{HOST}:{tls}");
        stored::fill(&data, egret.others, egret.rules, &origin).await?;
        // A command moves the events of before into the ledger, which each start would do otherwise.
        let mut add = egret.command(home);
        let added = output(add.args(["client", "add", "load", "--json"]), "")?;
        let added: serde_json::Value = serde_json::from_slice(&added)?;
        fs::rename(&data, home.join(PREPARED))?;
        Ok(added["token"].as_str().context("no token")?.to_owned())
    }

    /// The directory of the run.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }
}

impl Egret {
    fn usual() -> Self {
        Self {
            binary: env!("CARGO_BIN_EXE_egret").into(),
            durability: "interval",
            has_credential: true,
            others: 0,
            rules: 0,
        }
    }

    fn with_durable_ledger(self) -> Self {
        Self {
            durability: "commit",
            ..self
        }
    }

    fn command(&self, home: &Path) -> Command {
        let mut command = Command::new(&self.binary);
        command
            .env("EGRET_DATA_DIR", home.join("data"))
            .env("EGRET_CONFIG", home.join("egret.toml"));
        command
    }
}

/// Waits until the proxy has nothing to do of its own. What a start prepares in the background (from
/// a hundred thousand stored values, for seconds) is not what a request costs.
pub async fn come_to_rest(route: &Route) {
    let mut before = Cpu::read(route);
    for _ in 0..START.as_secs() * 2 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let now = Cpu::read(route);
        if now.since(&before).proxy() < RESTING {
            return;
        }
        before = now;
    }
}

fn role(name: &str, directory: &Path) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("--role").arg(name).arg(directory);
    Ok(command)
}

/// The command as the arguments of another.
fn under(prefix: &[String], command: &Command) -> Command {
    let mut words = prefix
        .iter()
        .map(OsStr::new)
        .chain([command.get_program()])
        .chain(command.get_args());
    let mut whole = Command::new(words.next().unwrap_or_default());
    whole.args(words);
    whole.envs(
        command
            .get_envs()
            .filter_map(|(name, value)| Some((name, value?))),
    );
    whole
}

fn output(command: &mut Command, input: &str) -> Result<Vec<u8>> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    child
        .stdin
        .take()
        .context("stdin")?
        .write_all(input.as_bytes())?;
    let output = child.wait_with_output()?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {errors}");
    Ok(output.stdout)
}

fn wait_for_port(directory: &Path, name: &str) -> Result<u16> {
    let path = directory.join(format!("{name}.port"));
    wait_for(|| Ok(fs::read_to_string(&path)?.parse()?))
}

fn wait_for<T>(mut look: impl FnMut() -> Result<T>) -> Result<T> {
    let end = std::time::Instant::now() + START;
    loop {
        match look() {
            Ok(found) => return Ok(found),
            Err(error) if std::time::Instant::now() > end => bail!("gave up waiting: {error:#}"),
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

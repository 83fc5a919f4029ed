//! What the clients are tried on: a proxy with a data directory of its own, an echo, and the environment
//! that `egret run` would give them.

use std::ffi::OsString;
use std::fs::{self, DirBuilder};
use std::net::Ipv4Addr;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::process::Command;

use super::client::{Client, Proof};
use super::outcome::Arrived;
use super::process::{Ended, run};
use super::relay::Relay;
use crate::app::Server;
use crate::cli::context::{Session, actor};
use crate::cli::demo::upstream::{Received, Upstream, Welcome};
use crate::cli::own_client::{OwnClient, random_name};
use crate::cli::server;
use crate::config::{Config, DestinationRule, Flag, Sources, Unresolved};
use crate::environment::inherited::{Inherited, inherited};
use crate::environment::proxy_access::ProxyAccess;
use crate::environment::trust::TrustFiles;
use crate::environment::variables::{self, Changes};
use crate::environment::wrappers;
use crate::policy::egress::{EgressRule, Stance};
use crate::policy::grant::Grant;
use crate::secret::SecretBytes;
use crate::substitution::slug::Slug;
use crate::vault::egress::Subject;
use crate::vault::people::Grantee;
use crate::vault::{Kind, NewCredential, Principal};

/// Where the clients are sent. The name is reserved, so that a client which goes round the proxy reaches
/// nobody (RFC 6761 section 6.2).
pub(super) const HOST: &str = "doctor.egret.test";
/// Where the models of assistants are whose MCP servers are tried. What arrives there is not looked at.
const MODEL: &str = "model.egret.test";
/// The made-up credential.
pub(super) const SLUG: &str = "doctor-canary";
/// Its value, of characters that no encoding changes.
const VALUE: &str = "canary-of-egret-doctor-0123456789";
/// How long a client may take to say whether it has what it needs.
const CHECK: Duration = Duration::from_secs(20);
/// What the MCP SDKs pass to a server by default, and nothing else.
const PASSED: [&str; 6] = ["HOME", "LOGNAME", "PATH", "SHELL", "TERM", "USER"];
/// How long a client may take to end by itself once its request has arrived.
const ENDING: Duration = Duration::from_secs(2);
/// How often is looked whether it has.
const LOOK: Duration = Duration::from_millis(50);
/// How long connections may take to end.
const DRAIN: Duration = Duration::from_secs(1);

pub(super) struct Stage {
    directory: Directory,
    server: Server,
    echo: Upstream,
    relay: Relay,
    changes: Changes,
    is_filtered: bool,
}

impl Stage {
    /// Starts everything. Where it `is_filtered`, the clients get what MCP hosts pass on.
    pub(super) async fn set(is_filtered: bool) -> anyhow::Result<Self> {
        let directory = Directory::create()?;
        let echo = Upstream::start(&directory.0, &[HOST, MODEL], Welcome::Challenged).await?;
        let config = configuration(&directory.0.join("data"), &echo)?;
        let token = enrol(&config).await?;
        let server = server::start(&config).await?;
        let credentials = format!("Bearer {}", token.as_str());
        let relay = Relay::open(server.proxy_addr(), credentials, HOST).await?;
        let inherited = inherited();
        let trust = TrustFiles::write(&config.data_dir, &config.tls.ca_cert, &inherited)
            .context("cannot set up the certificates")?;
        let mut changes = changes(&config, &relay, &trust, &inherited);
        wrappers::add(&mut changes, &config.data_dir, &inherited)
            .context("cannot write the scripts for programs that read no variable")?;
        Ok(Self {
            directory,
            server,
            echo,
            relay,
            changes,
            is_filtered,
        })
    }

    pub(super) fn is_filtered(&self) -> bool {
        self.is_filtered
    }

    pub(super) fn relay(&self) -> &Relay {
        &self.relay
    }

    /// Whether the client is on this machine: its program is, and says so where more is needed.
    pub(super) async fn has(&self, client: &Client) -> bool {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let is_there = |program: &str| {
            std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
        };
        if !is_there(client.program) || !client.with.is_none_or(is_there) {
            return false;
        }
        let Some(check) = client.check else {
            return true;
        };
        let mut command = Command::new(client.program);
        command.args(check);
        run(command, CHECK).await == Ended::With(Some(0))
    }

    /// Whether the client's program runs at all.
    pub(super) async fn runs(&self, client: &Client) -> bool {
        let mut command = Command::new(client.program);
        self.surround(&mut command);
        command.args(client.version());
        run(command, CHECK).await == Ended::With(Some(0))
    }

    /// The client with its request, in the environment that `egret run` gives.
    pub(super) fn command(&self, client: &Client) -> Command {
        let url = format!("https://{HOST}/{}", client.path());
        let placeholder = format!("<<{SLUG}>>");
        let work = self.directory.0.join(client.path());
        let fill = |text: &str| {
            text.replace("{url}", &url)
                .replace("{host}", HOST)
                .replace("{model}", MODEL)
                .replace("{placeholder}", &placeholder)
                .replace("{encoded}", &format!("%3C%3C{SLUG}%3E%3E"))
                .replace("{xml}", &format!("&lt;&lt;{SLUG}&gt;&gt;"))
                .replace("{basic}", &STANDARD.encode(format!("key:{placeholder}")))
                .replace("{work}", &work.display().to_string())
        };
        // Where one cannot be written the client fails, and is unknown.
        let _ = fs::create_dir_all(&work);
        if let Some((name, text)) = client.file {
            let file = work.join(name);
            let _ = file.parent().map(fs::create_dir_all);
            let _ = fs::write(file, fill(text));
        }
        let mut command = Command::new(client.program);
        command.args(client.arguments.iter().map(|argument| fill(argument)));
        command.current_dir(&work);
        self.surround(&mut command);
        for name in client.without {
            command.env_remove(name);
        }
        let more = client.variables.iter();
        command.envs(more.map(|(name, value)| (*name, OsString::from(fill(value)))));
        command
    }

    /// Gives a program the environment in which the clients are tried.
    fn surround(&self, command: &mut Command) {
        if self.is_filtered {
            command.env_clear();
            let passed = PASSED
                .iter()
                .filter_map(|name| Some((name, std::env::var_os(name)?)));
            command.envs(passed);
        } else {
            for name in &self.changes.remove {
                command.env_remove(name);
            }
            let set = self.changes.set.iter().map(|(name, value)| (name, value));
            command.envs(set);
        }
    }

    /// Ends a moment after what proves that the client works has arrived.
    pub(super) async fn proved(&self, client: &Client) {
        let is_proof = |received: &Received| {
            client.asked_for(&received.target)
                && (client.proof == Proof::Request || holds_value(received))
        };
        while !self.echo.has(is_proof) {
            tokio::time::sleep(LOOK).await;
        }
        tokio::time::sleep(ENDING).await;
    }

    /// What arrived at the echo from this client.
    pub(super) fn take(&self, client: &Client) -> Arrived {
        let mut arrived = Arrived::Nothing;
        while let Some(received) = self.echo.take() {
            if !client.asked_for(&received.target) {
                continue;
            }
            if holds_value(&received) {
                return Arrived::Value;
            }
            arrived = Arrived::Request;
        }
        arrived
    }

    /// Ends everything.
    pub(super) async fn strike(self) {
        self.server.shutdown(DRAIN, false).await;
    }
}

/// Whether the value is in a header, at the end or as a password.
fn holds_value(received: &Received) -> bool {
    received.headers.values().any(|header| {
        let password = header.as_bytes().strip_prefix(b"Basic ");
        let password = password.and_then(|text| STANDARD.decode(text).ok());
        let password = password.is_some_and(|pair| pair.ends_with(VALUE.as_bytes()));
        password || header.as_bytes().ends_with(VALUE.as_bytes())
    })
}

fn changes(config: &Config, relay: &Relay, trust: &TrustFiles, inherited: &Inherited) -> Changes {
    let access = ProxyAccess::at(relay.address(), None);
    let direct = variables::direct(config, &[]);
    variables::changes(&access, trust, &direct, inherited)
}

/// The configuration of the trial. Nothing of the user's own is read.
fn configuration(data: &Path, echo: &Upstream) -> anyhow::Result<Config> {
    let flag = |key, text| Flag {
        key,
        name: "egret doctor",
        text,
    };
    let sources = Sources {
        data_dir: Some(data.to_owned()),
        flags: vec![
            flag("proxy.listen", format!("{}:0", Ipv4Addr::LOCALHOST)),
            flag("admin.listen", format!("{}:0", Ipv4Addr::LOCALHOST)),
            flag("upstream.ca_files", echo.ca_file().display().to_string()),
            flag("upstream.allow_private", "127.0.0.0/8".to_owned()),
            // A client may ask for news of itself, or for what its own configuration names.
            flag("egress.default", "deny".to_owned()),
            flag(
                "upstream.resolve",
                format!("{HOST}:443={0},{MODEL}:443={0}", echo.address()),
            ),
        ],
        ..Sources::default()
    };
    let mut config = sources.load()?.config;
    // As the presets have it for models: tools of assistants are described with texts that look like
    // placeholders.
    config.destinations.push(DestinationRule {
        hosts: vec![HOST.parse()?, MODEL.parse()?],
        scan: None,
        unresolved: Some(Unresolved::Ignore),
        range: None,
        exposed: None,
        require: None,
        require_except: None,
        own_keys: None,
        approval_fields: None,
    });
    Ok(config)
}

async fn enrol(config: &Config) -> anyhow::Result<zeroize::Zeroizing<String>> {
    let session = Session::open(config.clone()).await?;
    let owner = Principal::parse("default")?;
    let new = NewCredential {
        owner: owner.clone(),
        slug: Slug::parse(SLUG)?,
        kind: Kind::Secret,
        description: String::new(),
        grant: Grant::for_hosts(vec![HOST.parse()?]),
        rotate_every: None,
    };
    let value = SecretBytes::new(VALUE.as_bytes().to_vec());
    session.registrar.add(&actor(), new, value).await?;
    let here = EgressRule {
        stance: Stance::Allow,
        hosts: vec![HOST.parse()?, MODEL.parse()?],
        methods: Vec::new(),
        paths: Vec::new(),
        actions: Vec::new(),
    };
    let everyone = Subject::Of(Grantee::Everyone);
    session
        .registrar
        .add_egress(&actor(), &everyone, &here)
        .await?;
    let client = OwnClient::add(&session.store, "doctor-", &owner, None).await?;
    session.finish().await?;
    Ok(client.token())
}

/// A directory of the trial's own, removed at its end.
struct Directory(PathBuf);

impl Directory {
    fn create() -> anyhow::Result<Self> {
        let name = random_name("egret-doctor-")?;
        let path = std::env::temp_dir().join(name.as_str());
        DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .context("cannot create a temporary directory")?;
        Ok(Self(path))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

//! What commands share: the configuration, the open store, and the ledger lines of their changes.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Args;

use super::exit::usage;
use super::remote::{ONLY_HERE, Remote, ServerArgs};
use super::{output, server};
use crate::app;
use crate::changes;
use crate::config::{Config, Flag, Loaded, Problems, Sources};
use crate::ledger::Ledger;
use crate::tls::authority::Authority;
use crate::vault::{Actor, Keyring, Principal, Registrar, Store};

/// How long a command waits for another one that is writing its ledger line.
const PATIENCE: Duration = Duration::from_secs(1);

/// Options of every command.
#[derive(Args, Clone)]
pub(super) struct Global {
    /// Where Egret keeps its store, CA, keys and ledger
    ///
    /// Also EGRET_DATA_DIR; default $XDG_DATA_HOME/egret, else ~/.local/share/egret.
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        help_heading = "Global options"
    )]
    data_dir: Option<PathBuf>,
    /// The configuration file
    ///
    /// Also EGRET_CONFIG; default egret.toml in the data directory, if there is one.
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        help_heading = "Global options"
    )]
    config: Option<PathBuf>,
}

/// The options of every command.
pub(super) struct Context {
    global: Global,
    server: Option<Remote>,
}

impl Context {
    pub(super) fn new(global: Global) -> Self {
        Self {
            global,
            server: None,
        }
    }

    /// The same for a command about the server that is named, if one is.
    pub(super) async fn at(&self, named: &ServerArgs) -> anyhow::Result<Self> {
        Ok(Self {
            global: self.global.clone(),
            server: Remote::open(named).await?,
        })
    }

    /// The server elsewhere that the command is about.
    pub(super) fn server(&self) -> Option<&Remote> {
        self.server.as_ref()
    }

    /// Refuses a command that has no way over the API, where a server elsewhere is named: it would do
    /// something to the store of this machine instead.
    pub(super) fn only_here(&self) -> anyhow::Result<()> {
        if self.server.is_none() {
            return Ok(());
        }
        Err(usage(ONLY_HERE))
    }

    /// Whom a command is about that names nobody: `default` here, and at a server elsewhere whom the token
    /// is for.
    pub(super) fn principal(&self, named: Option<Principal>) -> anyhow::Result<Principal> {
        match (named, &self.server) {
            (Some(named), _) => Ok(named),
            (None, Some(server)) => server.user(),
            (None, None) => Ok(Principal::parse("default")?),
        }
    }

    /// The sources of the configuration, with the flags of the command that set a key.
    pub(super) fn sources(&self, flags: Vec<Flag>) -> Sources {
        Sources::from_process(
            self.global.data_dir.clone(),
            self.global.config.clone(),
            flags,
        )
    }

    /// The options that lead another `egret` to the same data directory and configuration, where they were
    /// named: by an option, or by a variable, which a filtered environment may lose.
    pub(super) fn named_places(&self) -> anyhow::Result<Vec<String>> {
        let places = [
            ("--config", &self.global.config, "EGRET_CONFIG"),
            ("--data-dir", &self.global.data_dir, "EGRET_DATA_DIR"),
        ];
        let mut arguments = Vec::new();
        for (option, given, variable) in places {
            let named = std::env::var_os(variable).filter(|value| !value.is_empty());
            let Some(path) = given.clone().or_else(|| named.map(PathBuf::from)) else {
                continue;
            };
            let path = std::path::absolute(path).context("the working directory is gone")?;
            let path = path.into_os_string().into_string();
            let path = path.map_err(|_| usage(format!("{option} would not be UTF-8")))?;
            arguments.extend([option.to_owned(), path]);
        }
        Ok(arguments)
    }

    /// The configuration in force.
    pub(super) fn load(&self) -> Result<Loaded, Problems> {
        self.sources(Vec::new()).load()
    }

    /// The configuration in force, and the store that it names.
    pub(super) async fn open(&self) -> anyhow::Result<Session> {
        self.only_here()?;
        Session::open(self.load()?.config).await
    }
}

/// An open store.
pub(super) struct Session {
    pub(super) config: Config,
    /// For what is read, and for the outbox.
    pub(super) store: Store,
    /// Makes every change.
    pub(super) registrar: Registrar,
    pub(super) keyring: Keyring,
}

impl Session {
    pub(super) async fn open(config: Config) -> anyhow::Result<Self> {
        let keyring = Keyring::load(&config.keys, &config.data_dir).await?;
        let store = Store::open(&config.store.url, keyring.policy_keys()).await?;
        let registrar = Registrar::new(store.clone(), &keyring).under(config.policy.clone());
        Ok(Self {
            config,
            store,
            registrar,
            keyring,
        })
    }

    /// Says that a principal is going to be added as a user: it may be a mistyped name.
    pub(super) async fn say_if_new(&self, name: &Principal) -> anyhow::Result<()> {
        if !self.store.list_users().await?.contains_key(name) {
            output::note(&format!("{name} is a new user"));
        }
        Ok(())
    }

    /// Writes the ledger lines of what was changed, and closes the store.
    ///
    /// Where a server runs, it writes the lines: only one process can. A change whose line cannot be
    /// written now is made all the same, and the line waits in the store.
    pub(super) async fn finish(self) -> anyhow::Result<()> {
        if let Err(error) = self.record().await {
            output::note(&format!(
                "the change is made, but its ledger line has to wait: {error:#}"
            ));
        }
        self.store.close().await;
        Ok(())
    }

    /// Writes the ledger lines of what was changed, unless a server does that.
    pub(super) async fn record(&self) -> anyhow::Result<()> {
        let Some(ledger) = self.ledger().await? else {
            return Ok(());
        };
        changes::drain_outbox(&self.store, &ledger, &mut None).await?;
        ledger
            .close()
            .await
            .context("the ledger could not be closed")
    }

    /// The ledger, unless a server has it.
    async fn ledger(&self) -> anyhow::Result<Option<Ledger>> {
        let start = Instant::now();
        loop {
            match app::open_ledger(&self.config, &self.keyring).await {
                Err(error) if !server::is_locked(&error) => return Err(error),
                Ok(ledger) => return Ok(Some(ledger)),
                Err(_) if server::live(&self.config.data_dir).is_some() => return Ok(None),
                // Another command has it, or a server that is just starting.
                Err(_) if start.elapsed() < PATIENCE => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Err(_) => return Ok(None),
            }
        }
    }
}

/// The CA. The first command or server that needs it makes it.
pub(super) fn authority(config: &Config) -> anyhow::Result<Authority> {
    // An existing directory keeps its mode: it may be shared on purpose.
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&config.data_dir)
        .with_context(|| format!("cannot create {}", config.data_dir.display()))?;
    Ok(Authority::load_or_create(
        &config.tls.ca_cert,
        &config.tls.ca_key,
    )?)
}

/// Who makes a change, for the ledger. Anyone who can write to the store could forge it: it helps a
/// team to find out who did what, and proves nothing.
pub(super) fn actor() -> Actor {
    let name = ["USER", "LOGNAME"]
        .iter()
        .find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
        .unwrap_or_else(|| format!("uid-{}", rustix::process::getuid().as_raw()));
    Actor::operator("cli", &name)
}

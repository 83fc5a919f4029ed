//! Opening the ledger as the configuration says, and sealing its signing key.

use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::config::{Config, Durability};
use crate::ledger::{self, Ledger};
use crate::secret::SecretBytes;
use crate::vault::key_wrap::KeyWrap;
use crate::vault::{Keyring, OpenError};

/// Opens the ledger of `config` for the lines of a command, without the key that signs checkpoints.
/// Blocks other servers and commands until it is closed.
pub async fn open(config: &Config) -> Result<Ledger> {
    let (dir, durability, options) = options(config);
    let opened = tokio::task::spawn_blocking(move || Ledger::open(&dir, durability, options));
    Ok(opened.await??)
}

/// Opens the ledger of `config` for a server.
pub(super) async fn open_signed(config: &Config, key: SigningKeySeal) -> Result<Ledger> {
    if let Durability::Interval(interval) = config.ledger.durability {
        tracing::warn!(
            ?interval,
            "ledger.durability = \"interval\": a crash may lose the uses of the last interval"
        );
    }
    let (dir, durability, options) = options(config);
    let open = move || Ledger::open_signed(&dir, durability, options, &key);
    Ok(tokio::task::spawn_blocking(open).await??)
}

fn options(config: &Config) -> (PathBuf, ledger::Durability, ledger::Options) {
    let durability = match config.ledger.durability {
        Durability::Commit => ledger::Durability::Commit,
        Durability::Interval(every) => ledger::Durability::Interval(every),
    };
    let options = ledger::Options {
        deadline: config.ledger.deadline,
        heartbeat: config.ledger.heartbeat,
        max_size: config.ledger.max_size,
        keep: ledger::Keep {
            time: config.ledger.keep_for,
            size: config.ledger.keep_size,
        },
        ..ledger::Options::default()
    };
    (config.ledger_dir(), durability, options)
}

/// Seals the key that signs the ledger's checkpoints with the vault's master key. Ledger and vault
/// do not know each other; this is the only place that connects them.
pub(super) struct SigningKeySeal(KeyWrap);

impl SigningKeySeal {
    /// What the keyring's master key seals.
    pub(super) fn of(keyring: &Keyring) -> Result<Self> {
        let wrap = keyring.key_wrap("ledger signing key");
        Ok(Self(wrap.context("the master key cannot be used")?))
    }
}

impl ledger::writer::signing::Seal for SigningKeySeal {
    fn seal(&self, seed: &SecretBytes) -> Result<Vec<u8>, String> {
        self.0.wrap(seed).map_err(|error| error.to_string())
    }

    fn open(&self, sealed: &[u8]) -> Result<SecretBytes, String> {
        self.0.unwrap(sealed).map_err(|error| match error {
            OpenError::OtherKey(_) => error.to_string(),
            _ => "the file is damaged".to_owned(),
        })
    }
}

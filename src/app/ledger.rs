//! Opening the ledger as the configuration says, and sealing its signing key and its head.

use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::config::{Config, Durability};
use crate::files;
use crate::ledger::writer::signing::{Seal, Signing};
use crate::ledger::{self, Ledger, LedgerError};
use crate::secret::SecretBytes;
use crate::vault::key_wrap::{KeyWrap, wrapped_under};
use crate::vault::{KeyId, Keyring, OpenError};

/// Opens the ledger of `config` for the lines of a command. Blocks other servers and commands until
/// it is closed.
///
/// It needs the master key: the checkpoint at the end is what tells the lines of a command from
/// lines that somebody without the key added to the file. A command that cannot load the key leaves
/// its lines in the store, and the next server writes them.
pub async fn open(config: &Config, keyring: &Keyring) -> Result<Ledger> {
    let signing = signing(config, SigningKeySeal::of(keyring));
    let (dir, durability, options) = options(config);
    let options = ledger::Options {
        is_brief: true,
        ..options
    };
    let open = move || Ledger::open_signed(&dir, durability, options, &signing);
    Ok(tokio::task::spawn_blocking(open).await??)
}

/// Seals the ledger's signing key again under the master key in use. A writer reads it at its start
/// only.
///
/// # Errors
/// When it cannot be opened or written.
pub fn rekey_signing_key(config: &Config, keyring: &Keyring) -> Result<()> {
    let path = signing_key(config);
    let sealed = match fs::read(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        sealed => sealed.with_context(|| format!("cannot read {}", path.display()))?,
    };
    if wrapped_under(&sealed) == Some(keyring.id()) {
        return Ok(());
    }
    let wrap = keyring.key_wrap(SIGNING_KEY_PURPOSE);
    let opened = wrap.unwrap(&sealed);
    let again = wrap.wrap(&opened.with_context(|| path.display().to_string())?)?;
    files::replace(&path, &again, files::PRIVATE)
        .with_context(|| format!("cannot write {}", path.display()))
}

/// The master keys under which signing key and head of the ledger are sealed, as far as they are
/// there.
pub fn ledger_keys(config: &Config) -> [Option<KeyId>; 2] {
    let head = config.data_dir.join(files::LEDGER_HEAD);
    [signing_key(config), head].map(|path| wrapped_under(&fs::read(path).ok()?))
}

fn signing_key(config: &Config) -> PathBuf {
    config.ledger_dir().join(ledger::layout::SIGNING_KEY)
}

/// How long a server waits for a command that is writing its lines.
const BRIEF: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(10);

/// Waits until no command writes into the ledger, for at most [`BRIEF`].
pub(super) async fn until_free(config: &Config) {
    let free = async {
        while let Err(LedgerError::Locked(_)) = Ledger::probe_lock(&config.ledger_dir()) {
            tokio::time::sleep(PAUSE).await;
        }
    };
    let _ = tokio::time::timeout(BRIEF, free).await;
}

/// Opens the ledger of `config` for a server, which may follow one that still serves requests.
pub(super) async fn open_signed(
    config: &Config,
    key: SigningKeySeal,
    follows: Option<u64>,
) -> Result<Ledger> {
    if let Durability::Interval(interval) = config.ledger.durability {
        tracing::warn!(
            ?interval,
            "ledger.durability = \"interval\": a crash may lose the uses of the last interval"
        );
    }
    let signing = signing(config, key);
    let (dir, durability, options) = options(config);
    let options = ledger::Options { follows, ..options };
    let open = move || Ledger::open_signed(&dir, durability, options, &signing);
    Ok(tokio::task::spawn_blocking(open).await??)
}

fn signing(config: &Config, key: SigningKeySeal) -> Signing {
    Signing {
        seal: Arc::new(key),
        head: config.data_dir.join(files::LEDGER_HEAD),
    }
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

/// What the key is for that seals signing key and head.
const SIGNING_KEY_PURPOSE: &str = "ledger signing key";

/// Seals the key that signs the ledger's checkpoints with the vault's master key. Ledger and vault
/// do not know each other; this is the only place that connects them.
pub(super) struct SigningKeySeal(KeyWrap);

impl SigningKeySeal {
    /// What the keyring's master key seals.
    pub(super) fn of(keyring: &Keyring) -> Self {
        Self(keyring.key_wrap(SIGNING_KEY_PURPOSE))
    }
}

impl Seal for SigningKeySeal {
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

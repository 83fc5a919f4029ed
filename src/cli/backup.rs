//! `egret backup`: a copy of the data directory, while it is in use.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;

use super::context::{Context, Session, actor};
use super::output::{self, Format};
use crate::backup::{self, Manifest, Sources};
use crate::vault::store::Event;
use crate::views::BackupMade;

/// How long the running server may take to put on record that a backup is made.
const PATIENCE: Duration = Duration::from_secs(5);

/// Copy the store, the ledger and the CA into a directory, also while a server runs
///
/// The copy is consistent: the store and the ledger are of one moment. It needs the master key to be
/// of use and does not hold it, so keep that in another place. Values, the key of the CA and the key
/// that signs the ledger are sealed in it. The configuration is not part of it, and a CA outside of the
/// data directory neither. Requests go on meanwhile; changes wait while the store is copied.
#[derive(Args)]
#[command(after_help = "\
Examples:
  egret backup /var/backups/egret-2026-11-30
  egret restore /var/backups/egret-2026-11-30")]
pub(super) struct Backup {
    /// Where to write it; made, or empty
    #[arg(value_name = "DIRECTORY")]
    directory: PathBuf,
    #[command(flatten)]
    format: Format,
}

impl Backup {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let session = context.open().await?;
        let made = make(&session, &self.directory).await;
        session.store.close().await;
        let manifest = made?;
        let view = BackupMade {
            directory: self.directory.display().to_string(),
            made: &manifest.made,
            master_key: &manifest.master_key,
            change: manifest.store.revision,
            line: manifest.ledger.seq,
            files: manifest.files.len(),
            bytes: manifest.files.iter().map(|file| file.size).sum(),
        };
        output::data(self.format, &view, || {
            format!(
                "{}: {} and {} bytes, up to line {} of the ledger\n\
                 It opens with master key {}, which is not in it: keep that elsewhere.\n",
                view.directory,
                output::count(view.files as u64, "file"),
                view.bytes,
                view.line,
                view.master_key
            )
        })
    }
}

async fn make(session: &Session, directory: &std::path::Path) -> anyhow::Result<Manifest> {
    let config = &session.config;
    let ledger = config.ledger_dir();
    let sources = Sources {
        data_dir: &config.data_dir,
        ledger: &ledger,
        ca: (&config.tls.ca_cert, &config.tls.ca_key),
    };
    backup::check_target(&config.data_dir, directory)?;
    refuse_two_keys(session)?;
    // Whoever copies everything is on record, also if the copy fails then.
    let store = &session.store;
    store.note_event(&actor(), Event::StoreBackedUp, "").await?;
    session.record().await?;
    let start = Instant::now();
    while !store.is_on_record().await? && start.elapsed() < PATIENCE {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let manifest = backup::take(sources, store, &session.keyring, directory).await?;
    if let Err(error) = refuse_two_keys(session) {
        std::fs::remove_dir_all(directory)?;
        return Err(error);
    }
    Ok(manifest)
}

/// What is sealed under two master keys could be restored with neither.
fn refuse_two_keys(session: &Session) -> anyhow::Result<()> {
    let (keys, keyring) = (&session.config.keys, &session.keyring);
    let has_begun = keys.is_rotating(&session.config.data_dir)
        || keyring.accepted().first() != Some(&keyring.id());
    anyhow::ensure!(
        !has_begun,
        "the master key is being rotated: complete that first, with `egret keys rotate`"
    );
    Ok(())
}

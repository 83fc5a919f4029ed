//! `egret restore`: puts a backup into an empty data directory.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use clap::Args;

use super::context::{Context, actor};
use super::ledger::describe::describe;
use super::output::{self, Format, Style};
use crate::backup::{self, Backup, Lost, Manifest, Places, Restored};
use crate::config::{Config, Loaded};
use crate::files;
use crate::vault::{KeySource, Keyring};
use crate::views::{BackupRestored, LostSince};

/// Put a backup into an empty data directory
///
/// Put the master key of the backup in its place first, and the configuration. Everything is verified
/// before anything is written. What happened after the backup is not in it: with the ledger of the lost
/// machine, if it can still be read, this says what that is.
#[derive(Args)]
#[command(after_help = "\
Examples:
  egret restore /var/backups/egret-2026-11-30
  egret restore /var/backups/egret-2026-11-30 --ledger /mnt/lost/egret/ledger")]
pub(super) struct Restore {
    /// The backup
    #[arg(value_name = "DIRECTORY")]
    directory: PathBuf,
    /// The ledger of the lost machine: says what happened after the backup
    #[arg(long, value_name = "DIRECTORY")]
    ledger: Option<PathBuf>,
    #[command(flatten)]
    format: Format,
}

impl Restore {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let Loaded { config, file, .. } = context.load()?;
        let backup = Backup::read(&self.directory)?;
        let allowed = allowed(&config, file);
        let places = Places {
            data_dir: &config.data_dir,
            store: &config.store.url,
            ca: (&config.tls.ca_cert, &config.tls.ca_key),
            allowed: &allowed,
        };
        let prepared = backup::Restore::prepare(places)?;
        refuse_new_key(&config, &backup.manifest)?;
        let keyring = Keyring::load(&config.keys, &config.data_dir).await?;
        let ledger = self.ledger.as_deref().map(ledger_within);
        let lost = ledger
            .as_deref()
            .map(|directory| Lost::since(&backup.manifest, directory))
            .transpose()?;
        let restored = prepared
            .run(&backup, &keyring, &actor(), lost.as_ref())
            .await?;
        let manifest = &backup.manifest;
        if self.format.json {
            return output::json(&view(manifest, &restored, lost.as_ref())?);
        }
        output::print(&summary(manifest, &restored, &config))?;
        match (lost, ledger) {
            (Some(lost), Some(directory)) => print_lost(manifest, &lost, &directory),
            _ => output::print(UNKNOWN),
        }?;
        output::print(&next_step(&restored))
    }
}

const UNKNOWN: &str = "\
What happened after the backup is not known. A credential that was revoked, unshared or narrowed since
works again as it did then: repeat that now. With the ledger of the lost machine, `--ledger` says what
it was.
";

/// What may be in the data directory: what an operator puts there before.
fn allowed(config: &Config, file: Option<PathBuf>) -> Vec<PathBuf> {
    let mut allowed: Vec<PathBuf> = file.into_iter().collect();
    if let KeySource::File(path) = &config.keys.master {
        allowed.push(config.data_dir.join(path));
    }
    allowed
}

/// A missing key file would be made, and a new key opens nothing of the backup.
fn refuse_new_key(config: &Config, manifest: &Manifest) -> anyhow::Result<()> {
    let KeySource::File(path) = &config.keys.master else {
        return Ok(());
    };
    let path = config.data_dir.join(path);
    ensure!(
        path.exists(),
        "there is no master key at {}: put the key of the backup there first (its name is {})",
        path.display(),
        output::printable(&manifest.master_key)
    );
    Ok(())
}

/// A data directory is as good as the ledger in it.
fn ledger_within(directory: &Path) -> PathBuf {
    let inside = directory.join(files::LEDGER);
    if inside.is_dir() {
        inside
    } else {
        directory.to_owned()
    }
}

fn view<'a>(
    manifest: &'a Manifest,
    restored: &'a Restored,
    lost: Option<&Lost>,
) -> anyhow::Result<BackupRestored<'a>> {
    let lost = lost.map(|lost| {
        let changes = lost.changes.iter().map(serde_json::to_value);
        Ok::<_, serde_json::Error>(LostSince {
            changes: changes.collect::<Result<_, _>>()?,
            uses: lost.uses,
            last_line: lost.last_line,
        })
    });
    Ok(BackupRestored {
        made: &manifest.made,
        change: manifest.store.revision,
        line: manifest.ledger.seq,
        unverified: &restored.unverified,
        must_be_accepted: restored.must_be_accepted,
        lost: lost.transpose()?,
    })
}

fn summary(manifest: &Manifest, restored: &Restored, config: &Config) -> String {
    let mut text = format!(
        "Restored the backup of {} into {}, up to line {} of the ledger.\n",
        manifest.made,
        config.data_dir.display(),
        manifest.ledger.seq
    );
    if !restored.has_authority {
        text += "It has no certificate authority for this data directory.\n";
    }
    for entry in &restored.unverified {
        text += &format!(
            "Not written by Egret, and not used: {}\n",
            output::printable(entry)
        );
    }
    text
}

fn print_lost(manifest: &Manifest, lost: &Lost, directory: &Path) -> anyhow::Result<()> {
    let style = Style::of_stdout();
    let mut out = io::stdout().lock();
    let changes = output::count(lost.changes.len() as u64, "change");
    let uses = output::count(lost.uses, "use");
    writeln!(
        out,
        "Lost since the backup, up to line {} of that ledger: {changes}, and the record of {uses}.",
        lost.last_line
    )?;
    for record in &lost.changes {
        writeln!(out, "  {}", describe(record, style))?;
    }
    if lost.uses > 0 {
        backup::each_use(manifest, directory, |record| {
            writeln!(out, "  {}", describe(&record, style))
        })
        .with_context(|| format!("cannot read {}", directory.display()))?;
    }
    Ok(())
}

fn next_step(restored: &Restored) -> String {
    if restored.must_be_accepted {
        "The store is older than that ledger, so no command and no server uses it yet. Run `egret store \
         accept`, which records that it is taken as it is; then repeat the changes above, then start: \
         `egret serve`.\n"
            .to_owned()
    } else {
        "Start with `egret serve`. `egret ledger verify` checks the record.\n".to_owned()
    }
}

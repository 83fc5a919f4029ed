//! `egret keys`: the master key, and another one in its place.

use std::io::{self, IsTerminal as _};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use clap::{Args, Subcommand};

use super::context::{Context, Session, actor};
use super::output::{self, Format};
use super::server;
use crate::app::{self, ServerFile};
use crate::config::Config;
use crate::vault::{self, KeyId, KeySource, Rekeyed};
use crate::views::MasterKeys;

/// How long the running server may take to accept the next key.
const ACCEPTING: Duration = Duration::from_secs(15);
/// How long it may take to seal the head of the ledger under it: until the next checkpoint.
const SEALING: Duration = Duration::from_secs(60);
/// How often both are asked for.
const POLL: Duration = Duration::from_millis(100);

/// Show the master key by name, and put everything under a new one
#[derive(Args)]
pub(super) struct Keys {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Put everything under a new master key, also while a server runs
    ///
    /// Values, entries of the store, the key that signs the ledger and its head are sealed again. No
    /// request fails, and both keys are accepted until it is over. If it is interrupted, run it again. A
    /// key in a file is made and put in place, and the former one is kept beside it: backups that were
    /// made before need it. For a key from elsewhere, set keys.next to the new one and restart the
    /// server first; afterwards make it keys.master.
    #[command(after_help = "Example:\n  egret keys rotate")]
    Rotate(Format),
    /// Say which master key is in use, by its name, and whether a rotation is under way
    #[command(after_help = "Example:\n  egret keys status")]
    Status(Format),
}

impl Keys {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<()> {
        match self.command {
            Command::Rotate(format) => rotate(context, format).await,
            Command::Status(format) => status(context, format).await,
        }
    }
}

async fn status(context: &Context, format: Format) -> anyhow::Result<()> {
    let session = context.open().await?;
    session.store.close().await;
    let view = view(&session);
    output::data(format, &view, || text(&view))
}

fn view(session: &Session) -> MasterKeys {
    let config = &session.config;
    let [signing_key, ledger_head] = app::ledger_keys(config).map(|id| Some(id?.to_string()));
    MasterKeys {
        source: config.keys.master.to_string(),
        store: session.keyring.id().to_string(),
        loaded: session.keyring.names(),
        signing_key,
        ledger_head,
        server: server::live(&config.data_dir).map(|file| file.keys),
        rotating: session.keyring.accepted().len() > 1,
    }
}

fn text(view: &MasterKeys) -> String {
    let none = || "none".to_owned();
    let mut rows = vec![
        ["source".to_owned(), view.source.clone()],
        ["store".to_owned(), view.store.clone()],
        [
            "signing key of the ledger".to_owned(),
            view.signing_key.clone().unwrap_or_else(none),
        ],
        [
            "head of the ledger".to_owned(),
            view.ledger_head.clone().unwrap_or_else(none),
        ],
        ["loaded".to_owned(), view.loaded.join(", ")],
    ];
    rows.extend(
        view.server
            .as_ref()
            .map(|keys| ["running server".to_owned(), keys.join(", ")]),
    );
    let mut text = output::table(["WHAT", "MASTER KEY"], &rows);
    if view.rotating {
        text += "A rotation is under way, or keys.next is set: `egret keys rotate` completes it.\n";
    }
    text
}

async fn rotate(context: &Context, format: Format) -> anyhow::Result<()> {
    let config = context.load()?.config;
    let keys = &config.keys;
    ensure!(
        keys.next.is_some() || matches!(keys.master, KeySource::File(_)),
        "the master key comes from {}, where Egret cannot put another one: set keys.next to where the \
         new key is, restart the server, and run this again",
        keys.master
    );
    // Nothing may be made where the master key is missing.
    let session = Session::open(config).await?;
    session.store.close().await;
    let config = session.config;
    config
        .keys
        .make_next(&config.data_dir)
        .with_context(|| format!("cannot make {}", config.keys.next_name(&config.data_dir)))?;
    let session = Session::open(config).await?;
    let rotated = rotate_in(&session).await;
    session.store.close().await;
    let (rekeyed, former) = rotated?;
    let mut view = view(&session);
    if former.is_some() {
        view.rotating = false;
        view.loaded.retain(|name| *name == view.store);
    }
    output::data(format, &view, || {
        said(&session.config, &view, rekeyed, former)
    })
}

/// Returns what was sealed again in the store, unless that was done before, and where the former key is
/// kept now, if it was in a file.
async fn rotate_in(session: &Session) -> anyhow::Result<(Option<Rekeyed>, Option<PathBuf>)> {
    let config = &session.config;
    let accepted = session.keyring.accepted();
    let [former, .., next] = accepted.as_slice() else {
        bail!(
            "the next master key, {}, is the same as the present one, or is missing",
            config.keys.next_name(&config.data_dir)
        );
    };
    until_server_accepts(config, *next).await?;
    let rekeyed = vault::rekey(&session.store, &session.keyring, &actor(), &progress).await?;
    app::rekey_signing_key(config, &session.keyring)?;
    session.record().await?;
    until_head_is_sealed(config, *next).await?;
    let kept = config
        .keys
        .promote(&config.data_dir, *former)
        .context("the next key could not be put in the place of the master key; run this again")?;
    Ok((rekeyed, kept))
}

/// A server that does not accept the next key could read nothing any more.
async fn until_server_accepts(config: &Config, next: KeyId) -> anyhow::Result<()> {
    let start = Instant::now();
    let next = next.to_string();
    while let Some(file) = server::live(&config.data_dir) {
        if file.keys.contains(&next) {
            return Ok(());
        }
        ensure!(
            start.elapsed() < ACCEPTING,
            "the running server does not accept the next master key, so nothing was changed. Where \
             keys.next is set, restart it first; else see its log"
        );
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}

/// With the next checkpoint, the server seals the head of the ledger under the key in use.
async fn until_head_is_sealed(config: &Config, next: KeyId) -> anyhow::Result<()> {
    let start = Instant::now();
    loop {
        let [_, head] = app::ledger_keys(config);
        if head.is_none_or(|head| head == next) {
            return Ok(());
        }
        let waits_for = if ServerFile::read(&config.data_dir).is_some() {
            "the running server"
        } else {
            "the next server"
        };
        ensure!(
            start.elapsed() < SEALING,
            "the store is under the next master key; the head of the ledger waits for {waits_for}. Both \
             keys are accepted. Run this again later"
        );
        tokio::time::sleep(POLL).await;
    }
}

/// On a terminal the line is written over; elsewhere it would fill a log.
fn progress(done: u64, total: u64) {
    if io::stderr().is_terminal() {
        eprint!("\regret: sealed again: {done} of {total}");
        if done >= total {
            eprintln!();
        }
    }
}

fn said(
    config: &Config,
    view: &MasterKeys,
    rekeyed: Option<Rekeyed>,
    former: Option<PathBuf>,
) -> String {
    let mut text = match rekeyed {
        Some(Rekeyed { entries, unusable }) => {
            let entries = output::count(entries, "entry").replace("entrys", "entries");
            let unusable = match unusable {
                0 => String::new(),
                _ => format!(" ({unusable} of them are unusable, as before: `egret store check`)"),
            };
            format!(
                "Sealed again under master key {}: {entries}{unusable}.\n",
                view.store
            )
        }
        None => format!("The store was under master key {} already.\n", view.store),
    };
    text += &match former {
        Some(former) => format!(
            "It is in place. The former key is {}: backups that were made before need it. Remove it \
             when there are none.\n",
            former.display()
        ),
        None => format!(
            "Now make {} the master key (keys.master), remove keys.next, and restart the server. Keep \
             the former key for as long as there are backups that were made before.\n",
            config.keys.next_name(&config.data_dir)
        ),
    };
    if view.server.is_some() {
        text +=
            "The running server accepts action tokens of the former key until it is restarted.\n";
    }
    text
}

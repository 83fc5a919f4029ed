//! Stores rotated files of the ledger and its checkpoints in a bucket, where whoever gets hold of this
//! machine cannot change them.
//!
//! A thread of its own reads what lies on disk: no request and no writer ever waits for the store. The
//! name of an object follows from what is in it, so that one that is stored again after a crash takes
//! its own place. What is stored is remembered in a file, and an outage is made up for.

mod checkpoints;
mod object;
mod progress;

use std::fs::File;
use std::io::{self, Cursor};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use self::object::{Bucket, Content, PutError};
use self::progress::Progress;
use crate::config::Config;
use crate::ledger::Ledger;
use crate::ledger::format::note::Verifier;
use crate::ledger::history::{History, Part};
use crate::ledger::layout::{CHECKPOINTS, PUBLIC_KEY};
use crate::proxy::outbound::way::Way;

/// How often it is looked for rotated files.
const INTERVAL: Duration = Duration::from_secs(2);
/// How long checkpoints are gathered.
const GATHER: Duration = Duration::from_secs(60);
/// How long after a failure it is tried again: twice as long each time, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Stores what the ledger holds, if the configuration says where, until `stop` is cancelled.
///
/// # Errors
/// When a file that it needs cannot be read, or no thread can be started.
pub(super) fn start(
    config: &Config,
    ledger: &Ledger,
    way: Way,
    stop: CancellationToken,
) -> Result<()> {
    let Some(target) = &config.ledger.s3 else {
        return Ok(());
    };
    let store = Store {
        bucket: Bucket::new(target, &config.upstream.ca_files, way)?,
        dir: config.ledger_dir(),
        progress: Progress::open(&config.data_dir)?,
        ledger: ledger.clone(),
        gathered: None,
        saw_gap: None,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let run = move || {
        runtime.block_on(stop.run_until_cancelled(store.run()));
    };
    thread::Builder::new()
        .name("egret-s3".to_owned())
        .spawn(run)
        .context("no thread")?;
    Ok(())
}

struct Store {
    bucket: Bucket,
    dir: PathBuf,
    /// Counts what waits and what failed.
    ledger: Ledger,
    progress: Progress,
    /// When checkpoints were stored last.
    gathered: Option<Instant>,
    /// The first line after a gap that was said.
    saw_gap: Option<u64>,
}

impl Store {
    async fn run(mut self) {
        let mut pause = FIRST_PAUSE;
        loop {
            match self.pass().await {
                Ok(()) => {
                    pause = FIRST_PAUSE;
                    sleep(INTERVAL).await;
                }
                Err(reason) => {
                    self.ledger.store_failed();
                    if pause == FIRST_PAUSE {
                        tracing::warn!(%reason, "the ledger cannot be stored in the bucket; it is tried again");
                    }
                    sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    async fn pass(&mut self) -> Result<(), PutError> {
        let key = Key::read(&self.dir)?;
        if self.progress.key() != key.id {
            let content = Content::new(Cursor::new(key.line.clone().into_bytes()))?;
            self.bucket
                .put(&format!("{}/{PUBLIC_KEY}", key.name), content)
                .await?;
            self.progress.begin_key(&key.id)?;
        }
        let stored_one = self.files(&key.name).await?;
        let is_due = self.gathered.is_none_or(|then| then.elapsed() >= GATHER);
        if stored_one || is_due {
            self.checkpoints(&key.name).await?;
            self.gathered = Some(Instant::now());
        }
        Ok(())
    }

    /// Stores the rotated files that are compressed and not stored yet, the oldest first. Returns
    /// whether there were any.
    async fn files(&mut self, ledger: &str) -> Result<bool, PutError> {
        let history = History::open(&self.dir)?;
        let parts: Vec<&Part> = history.parts.iter().collect();
        let firsts: Vec<u64> = parts.iter().filter_map(|part| part.first).collect();
        self.progress.follow(&firsts);
        let is_new = |part: &&&Part| part.first > Some(self.progress.file());
        let waiting: Vec<&&Part> = parts
            .iter()
            .filter(|part| !part.is_current())
            .filter(is_new)
            .collect();
        self.say_gap(waiting.first().and_then(|part| part.first));
        self.ledger.unstored(waiting.len() as u64);
        let mut is_any = false;
        for (at, part) in waiting.iter().enumerate() {
            let (true, Some(first)) = (part.is_compressed(), part.first) else {
                break;
            };
            let content = Content::new(File::open(&part.path)?)?;
            self.bucket
                .put(&format!("{ledger}/{}", part.name()), content)
                .await?;
            let next = firsts.iter().copied().find(|other| *other > first);
            self.progress.stored(first, next)?;
            self.ledger.unstored((waiting.len() - at - 1) as u64);
            is_any = true;
        }
        Ok(is_any)
    }

    /// Says once that files were dropped before they were stored.
    fn say_gap(&mut self, first: Option<u64>) {
        let Some((first, expected)) = first.zip(self.progress.next()) else {
            return;
        };
        if first > expected && self.saw_gap != Some(first) {
            tracing::error!(
                from = expected,
                to = first - 1,
                "lines of the ledger were dropped before they were stored in the bucket"
            );
            self.saw_gap = Some(first);
        }
    }

    /// Stores the checkpoints that were written since, many in an object.
    async fn checkpoints(&mut self, ledger: &str) -> Result<(), PutError> {
        let path = self.dir.join(CHECKPOINTS);
        while let Some(batch) = checkpoints::read(&path, self.progress.checkpoints())? {
            let name = format!("{ledger}/{CHECKPOINTS}/{}", batch.name);
            let length = batch.text.len() as u64;
            let content = Content::new(Cursor::new(batch.text.into_bytes()))?;
            self.bucket.put(&name, content).await?;
            self.progress.advance(batch.from + length)?;
            self.ledger.stored_checkpoint(batch.last_size);
        }
        Ok(())
    }
}

/// The public key of the ledger, whose name begins the names of its objects: the bucket may hold those
/// of other ledgers.
struct Key {
    name: String,
    /// Name and key ID.
    id: String,
    line: String,
}

impl Key {
    fn read(dir: &Path) -> io::Result<Self> {
        let line = std::fs::read_to_string(dir.join(PUBLIC_KEY))?;
        let key: Verifier = line.trim().parse().map_err(io::Error::other)?;
        let id = line.trim().splitn(3, '+').take(2).collect::<Vec<_>>();
        Ok(Self {
            name: key.name().to_string(),
            id: id.join("+"),
            line,
        })
    }
}

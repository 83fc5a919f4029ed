//! The index kept up to date beside a running server.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::index::{UsageError, UsageIndex, is_locked};
use super::log;
use super::schema::{self, USAGE};
use crate::files;
use crate::ledger::first_uses::FirstUses;
use crate::ledger::layout::CURRENT;
use crate::ledger::priority::come_last;

/// How long after the last look the next one follows. It bounds how much is left to a command.
const INTERVAL: Duration = Duration::from_secs(5);

/// How long after the start the first look follows: what it finds says what is new about a use.
const FIRST: Duration = Duration::from_millis(500);

/// Keeps the index of the ledger in `dir` up to date until `stop` is cancelled, on a thread of its
/// own: neither the requests nor the writer of the ledger ever wait for it. Tells `first_uses` what the
/// index knows.
///
/// # Errors
/// When the thread cannot be started.
pub fn keep(dir: PathBuf, first_uses: Arc<FirstUses>, stop: CancellationToken) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let run = move || {
        come_last();
        runtime.block_on(stop.run_until_cancelled(run(&dir, &first_uses, &stop)));
    };
    thread::Builder::new()
        .name("egret-usage".to_owned())
        .spawn(run)?;
    Ok(())
}

async fn run(dir: &Path, first_uses: &FirstUses, stop: &CancellationToken) {
    let mut failed = false;
    let mut known = None;
    let mut folded = None;
    let mut pause = FIRST;
    loop {
        tokio::time::sleep(pause).await;
        pause = INTERVAL;
        if files::is_disk_full(dir) {
            // What fails for want of space would be taken for damage, and the index be made again.
            continue;
        }
        let written = log::state(dir).filter(log::is_long);
        if written.is_some() && written != folded && fold(dir).await {
            folded = written;
        }
        // Before the look: what is written meanwhile may not be in it.
        let ledger = ledger(dir);
        let is_known = known.is_some() && known == ledger.zip(index(dir));
        if (is_known || is_kept_by_others(dir)) && !first_uses.is_incomplete() {
            continue;
        }
        let result = look(dir, first_uses, stop).await;
        known = match result {
            Ok(()) => ledger.zip(index(dir)),
            Err(_) => None,
        };
        // Said once: a command that needs the index makes its own.
        if let Err(error) = &result
            && !failed
        {
            tracing::warn!(%error, "the usage index cannot be kept up to date");
        }
        failed = result.is_err();
    }
}

/// Which file is being written, and how long it is. While that stays, there is nothing to take in, and
/// opening the database for it every few seconds would keep a server from being idle.
fn ledger(dir: &Path) -> Option<(u64, u64)> {
    let file = fs::metadata(dir.join(CURRENT)).ok()?;
    Some((file.ino(), file.len()))
}

/// Which file is the index.
fn index(dir: &Path) -> Option<u64> {
    Some(fs::metadata(dir.join(USAGE)).ok()?.ino())
}

/// Whether others take in lines as they come, which the API does where it is asked. On a machine without a
/// core to spare they would wait for this thread, which comes last.
fn is_kept_by_others(dir: &Path) -> bool {
    let log = fs::metadata(dir.join(format!("{USAGE}-wal")));
    let written = log.ok().and_then(|log| log.modified().ok());
    let since = written.and_then(|written| written.elapsed().ok());
    since.is_some_and(|since| since < INTERVAL / 2)
}

/// Moves the write-ahead log, which others made long, into the database; whether all of it is there.
async fn fold(dir: &Path) -> bool {
    let Ok(mut index) = UsageIndex::open_behind(dir).await else {
        return false;
    };
    let result = log::fold(&mut index.connection, dir).await;
    index.close().await;
    if let Err(error) = &result {
        tracing::debug!(%error, "the usage index's write-ahead log is moved later");
    }
    result.unwrap_or(false)
}

/// Opened for each look: a file that was deleted or replaced is noticed.
async fn look(
    dir: &Path,
    first_uses: &FirstUses,
    stop: &CancellationToken,
) -> Result<(), UsageError> {
    let mut index = UsageIndex::open_behind(dir).await?;
    let mut result = index.catch_up(|| !stop.is_cancelled()).await;
    if result.is_ok() && !stop.is_cancelled() && first_uses.is_incomplete() {
        result = index.tell(first_uses).await.map(|()| 0);
    }
    index.close().await;
    if let Err(UsageError::Database(error)) = &result
        && !is_locked(error)
    {
        schema::remove(dir);
    }
    result.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_written_or_replaced_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        assert_eq!((ledger(dir), index(dir)), (None, None));
        let current = dir.join(CURRENT);
        let mut states = Vec::new();
        fs::write(&current, "1\n").unwrap();
        states.push(ledger(dir));
        fs::write(&current, "1\n2\n").unwrap();
        states.push(ledger(dir));
        // Rotated; the next one is as long.
        fs::rename(&current, dir.join("rotated")).unwrap();
        states.push(ledger(dir));
        fs::write(&current, "3\n4\n").unwrap();
        assert_eq!(ledger(dir), ledger(dir));
        states.push(ledger(dir));
        for (at, state) in states.iter().enumerate() {
            assert!(!states[..at].contains(state), "{states:?}");
        }

        fs::write(dir.join(USAGE), "a").unwrap();
        let before = index(dir);
        fs::write(dir.join("other"), "a").unwrap();
        fs::rename(dir.join("other"), dir.join(USAGE)).unwrap();
        assert!(before.is_some() && index(dir) != before);
    }
}

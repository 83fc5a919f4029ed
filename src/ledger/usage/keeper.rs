//! The index kept up to date beside a running server.

use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{UsageError, UsageIndex, is_locked, schema};
use crate::ledger::come_last;

/// How long after the last look the next one follows. It bounds how much is left to a command.
const INTERVAL: Duration = Duration::from_secs(5);

/// Keeps the index of the ledger in `dir` up to date until `stop` is cancelled, on a thread of its
/// own: neither the requests nor the writer of the ledger ever wait for it.
///
/// # Errors
/// When the thread cannot be started.
pub fn keep(dir: PathBuf, stop: CancellationToken) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let run = move || {
        come_last();
        runtime.block_on(stop.run_until_cancelled(run(&dir, &stop)));
    };
    thread::Builder::new()
        .name("egret-usage".to_owned())
        .spawn(run)?;
    Ok(())
}

async fn run(dir: &Path, stop: &CancellationToken) {
    let mut failed = false;
    loop {
        tokio::time::sleep(INTERVAL).await;
        let result = look(dir, stop).await;
        // Said once: a command that needs the index makes its own.
        if let Err(error) = &result
            && !failed
        {
            tracing::warn!(%error, "the usage index cannot be kept up to date");
        }
        failed = result.is_err();
    }
}

/// Opened for each look: a file that was deleted or replaced is noticed.
async fn look(dir: &Path, stop: &CancellationToken) -> Result<(), UsageError> {
    let mut index = UsageIndex::open_behind(dir).await?;
    let result = index.catch_up(|| !stop.is_cancelled()).await;
    index.close().await;
    if let Err(UsageError::Database(error)) = &result
        && !is_locked(error)
    {
        schema::remove(dir);
    }
    result.map(drop)
}

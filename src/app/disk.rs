//! Work that waits for the disk.

use std::time::Duration;

use anyhow::{Context as _, Result};

/// Longest time for reading or writing a few files.
const DISK: Duration = Duration::from_secs(10);

/// Runs what reads or writes files on a thread that may wait for the disk.
pub(super) async fn on_disk<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    let work = tokio::task::spawn_blocking(work);
    let done = tokio::time::timeout(DISK, work).await;
    Ok(done.context("the disk does not answer in time")??)
}

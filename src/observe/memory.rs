//! Gives memory back after the start, and after a flood of connections.
//!
//! glibc keeps what was freed in its arenas: after a thousand tunnels the process stays three times
//! its idle size although nothing lives there. `malloc_trim` returns free pages wherever they lie.
//!
//! And most of the program that a start maps in, serving never touches again: reading arguments and
//! configuration, making tables, opening keys. Two thirds of what an idle process holds is that.

use std::time::Duration;

use tokio_util::task::TaskTracker;

use crate::memory;

/// When parts of the start are over, each counted from the one before: the first rounds of what runs
/// in the background, and the first look of the usage index, which opens a database.
const SETTLED: [Duration; 2] = [Duration::from_millis(250), Duration::from_secs(10)];
/// How often the number of connections is looked at.
const INTERVAL: Duration = Duration::from_secs(2);
/// Below so many connections at their height there is nothing worth giving back.
const FLOOD: usize = 64;

/// Releases what only the start needed, and trims the heap each time a flood has gone. Runs until
/// aborted.
pub async fn watch(connections: TaskTracker) {
    for wait in SETTLED {
        tokio::time::sleep(wait).await;
        // Reads a long file of the kernel's, so not on a worker.
        let _ = tokio::task::spawn_blocking(release).await;
    }
    let mut height = 0;
    loop {
        tokio::time::sleep(INTERVAL).await;
        let open = connections.len();
        height = height.max(open);
        if height >= FLOOD && open < height / 2 {
            height = open;
            // Walks the whole heap, so not on a worker. It can only fail to be worth it.
            let _ = tokio::task::spawn_blocking(memory::trim).await;
        }
    }
}

fn release() {
    match memory::release_program() {
        Ok(bytes) => tracing::debug!(bytes, "pages of the program were released"),
        // Nothing depends on it.
        Err(error) => tracing::debug!(%error, "pages of the program could not be released"),
    }
}

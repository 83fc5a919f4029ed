//! Gives memory back after the start, and after a flood of connections.
//!
//! glibc keeps what was freed in its arenas: after a thousand tunnels the process stays three times
//! its idle size although nothing there is in use. `malloc_trim` returns all free pages.
//!
//! Most pages of the program that a start reads are not used again while it serves: those that read
//! arguments and configuration, make tables and open keys. They are two thirds of the memory of an
//! idle process.

use std::time::Duration;

use tokio_util::task::TaskTracker;

use crate::memory;

/// When the start is over, with the first rounds of what runs in the background.
const SETTLED: Duration = Duration::from_millis(250);
/// How often the number of connections is looked at.
const INTERVAL: Duration = Duration::from_secs(2);
/// After so many looks the usage index has looked for the first time, which opens a database.
const LAST_OF_START: u64 = 5;
/// If there were never more connections than this, too little is free to be returned.
const FLOOD: usize = 64;

/// Releases what only the start needed, and trims the heap each time a flood of connections is over. Runs until
/// aborted.
pub async fn watch(connections: TaskTracker) {
    tokio::time::sleep(SETTLED).await;
    aside(release).await;
    let mut height = 0;
    for look in 1_u64.. {
        tokio::time::sleep(INTERVAL).await;
        let open = connections.len();
        height = height.max(open);
        let has_ebbed = height >= FLOOD && open < height / 2;
        if has_ebbed {
            height = open;
            aside(memory::trim).await;
        }
        if has_ebbed || look == LAST_OF_START {
            aside(release).await;
        }
    }
}

/// Runs what walks the whole heap, or reads a long file of the kernel, on a thread that serves no
/// requests. Its failure costs memory and nothing else.
async fn aside(work: fn()) {
    let _ = tokio::task::spawn_blocking(work).await;
}

fn release() {
    match memory::release_program() {
        Ok(bytes) => tracing::debug!(bytes, "pages of the program were released"),
        // Nothing depends on it.
        Err(error) => tracing::debug!(%error, "pages of the program could not be released"),
    }
}

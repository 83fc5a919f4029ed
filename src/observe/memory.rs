//! Gives memory back after a flood of connections.
//!
//! glibc keeps what was freed in its arenas: after a thousand tunnels the process stays three times
//! its idle size although nothing lives there. `malloc_trim` returns free pages wherever they lie.

use std::time::Duration;

use tokio_util::task::TaskTracker;

use crate::memory;

/// How often the number of connections is looked at.
const INTERVAL: Duration = Duration::from_secs(2);
/// Below so many connections at their height there is nothing worth giving back.
const FLOOD: usize = 64;

/// Trims the heap each time a flood has gone. Runs until aborted.
pub async fn watch(connections: TaskTracker) {
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

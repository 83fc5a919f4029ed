//! How many connections the system's limit on open files has room for.
//!
//! A connection is a file descriptor, and a request needs two: the client's and the upstream's. With
//! the usual soft limit of 1,024 a thousand silent clients would leave none for anybody's request,
//! for the ledger and for probes. So the soft limit is raised to the hard one, some descriptors are
//! kept back, and past the rest a client is turned away with `overloaded`.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::process;

/// Descriptors that connections may not take: store, ledger, log, admin listener and its probes,
/// configuration files, name resolution.
const RESERVE: usize = 192;
/// Where the limit is low they are one in so many, so that most are for connections.
const SHARE: usize = 5;
/// But always some more than are open before the first client connects. How many those are varies by a few:
/// the store's connections are open or not yet.
const SPARE: usize = 8;
/// Descriptors of a client's connection: its own, and one towards the upstream.
const PER_CONNECTION: usize = 2;

/// Raises the soft limit as far as the process may, and returns what it is then.
fn raise() -> usize {
    let mut limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    if limit.current != limit.maximum && setrlimit(Resource::Nofile, raised).is_ok() {
        limit.current = limit.maximum;
    }
    let current = limit.current.unwrap_or(u64::MAX);
    usize::try_from(current).unwrap_or(usize::MAX)
}

/// How many clients may be connected at once: `wanted`, or as many as open files allow.
pub fn connections(wanted: usize) -> usize {
    let files = raise();
    let connections = wanted.min(room(files, process::open_files()));
    if connections < wanted {
        tracing::warn!(
            files,
            connections,
            wanted,
            "the limit on open files allows fewer connections than proxy.max_connections; raise it \
             (ulimit -n, LimitNOFILE=)"
        );
    }
    tracing::info!(connections, files, "limits");
    connections
}

fn room(files: usize, open: usize) -> usize {
    let reserve = RESERVE.min((files / SHARE).max(open + SPARE));
    (files.saturating_sub(reserve) / PER_CONNECTION).max(1)
}

#[cfg(test)]
mod tests {
    use super::room;

    #[test]
    fn descriptors_are_kept_back() {
        assert_eq!(room(1_024, 40), 416);
        assert_eq!(room(256, 30), 102);
        // What the program has open for itself, and the most that it had.
        assert_eq!(room(256, 44), 102);
        assert_eq!(room(256, 48), 100);
        // A machine of many cores has more open for itself.
        assert_eq!(room(256, 120), 64);
        assert_eq!(room(10, 40), 1);
        assert_eq!(room(usize::MAX, 40), (usize::MAX - 192) / 2);
    }
}

//! What the machine gives: ports, disk, locked memory, namespaces.

use std::fs;
use std::net::TcpListener;

use rustix::process::{Resource, getrlimit};

use super::finding::{Finding, Verdict};
use crate::app::ServerFile;
use crate::cli::server;
use crate::config::Config;

/// Free space below which the ledger is about to stop, in bytes.
const LEAST_SPACE: u64 = 256 * 1024 * 1024;
/// Memory that holds some thousand values, in bytes.
const LEAST_LOCKED: u64 = 1024 * 1024;

/// Settings of the kernel that may forbid user namespaces: the file, the value that does, the remedy.
const NAMESPACES: &[(&str, &str, &str)] = &[
    (
        "/proc/sys/kernel/unprivileged_userns_clone",
        "0",
        "sysctl kernel.unprivileged_userns_clone=1",
    ),
    (
        "/proc/sys/user/max_user_namespaces",
        "0",
        "sysctl user.max_user_namespaces=10000",
    ),
    (
        "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
        "1",
        "an AppArmor profile with `userns` for egret",
    ),
];

/// All of them.
pub(super) fn all(config: &Config) -> Vec<Finding> {
    vec![ports(config), disk(config), locked_memory(), isolation()]
}

fn ports(config: &Config) -> Finding {
    if let Some(file) = server::live(&config.data_dir) {
        let ServerFile { proxy, admin, .. } = file;
        return Finding::ok(
            "ports",
            format!("a server listens at {proxy}, and at {admin}"),
        );
    }
    for (key, address) in [
        ("proxy.listen", config.proxy.listen),
        ("admin.listen", config.admin.listen),
    ] {
        if let Err(error) = TcpListener::bind(address) {
            let found = Finding::ok("ports", format!("{address} ({key}): {error}"));
            return found.with(
                Verdict::Warning,
                format!("`egret serve` cannot start; choose another port with {key}"),
            );
        }
    }
    let (proxy, admin) = (config.proxy.listen, config.admin.listen);
    Finding::ok("ports", format!("no server; {proxy} and {admin} are free"))
}

fn disk(config: &Config) -> Finding {
    let existing = config.data_dir.ancestors().find(|path| path.exists());
    let free = existing.and_then(|path| rustix::fs::statvfs(path).ok());
    let Some(free) = free.map(|free| free.f_bavail.saturating_mul(free.f_frsize)) else {
        return Finding::ok("disk", "the free space is not told").with(
            Verdict::Unknown,
            "requests that use a credential need room for their ledger lines",
        );
    };
    let found = Finding::ok("disk", format!("{} MiB are free", free / (1024 * 1024)));
    if free < LEAST_SPACE {
        return found.with(
            Verdict::Warning,
            "make room: without it no use can be recorded, and none is granted",
        );
    }
    found
}

fn locked_memory() -> Finding {
    match getrlimit(Resource::Memlock).current {
        Some(limit) if limit < LEAST_LOCKED => {
            Finding::ok("memory", format!("{} KiB can be locked", limit / 1024)).with(
                Verdict::Warning,
                "values may be swapped out: raise RLIMIT_MEMLOCK (systemd: LimitMEMLOCK=), or \
                 encrypt the swap",
            )
        }
        Some(limit) => Finding::ok("memory", format!("{} KiB can be locked", limit / 1024)),
        None => Finding::ok("memory", "any amount can be locked"),
    }
}

/// Whether `egret run --isolate` can work, as far as settings say. A container may forbid it besides.
fn isolation() -> Finding {
    let is_set =
        |file: &str, value: &str| fs::read_to_string(file).is_ok_and(|text| text.trim() == value);
    let forbidding = NAMESPACES
        .iter()
        .find(|(file, value, _)| is_set(file, value));
    match forbidding {
        Some((file, value, remedy)) => {
            Finding::ok("isolation", format!("{file} is {value}")).with(Verdict::Warning, *remedy)
        }
        None => Finding::ok("isolation", "no setting forbids `egret run --isolate`"),
    }
}

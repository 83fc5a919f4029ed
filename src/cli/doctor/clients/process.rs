//! The process of a client.

use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

/// How a client's process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    With(Option<i32>),
    NotStarted,
    TooLate,
}

/// Runs a client to its end, and no longer than `patience`.
pub(super) async fn run(mut command: Command, patience: Duration) -> Ended {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // What it started goes with it.
        .process_group(0)
        .kill_on_drop(true);
    let Ok(mut child) = command.spawn() else {
        return Ended::NotStarted;
    };
    let group = child.id();
    match tokio::time::timeout(patience, child.wait()).await {
        Ok(Ok(status)) => Ended::With(status.code()),
        Ok(Err(_)) => Ended::NotStarted,
        Err(_) => {
            let group =
                group.and_then(|id| rustix::process::Pid::from_raw(i32::try_from(id).ok()?));
            if let Some(group) = group {
                let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
            }
            Ended::TooLate
        }
    }
}
